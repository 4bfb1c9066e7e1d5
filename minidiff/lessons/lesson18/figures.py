"""Lesson 18's drawn figures: the map of published systems, and models by their seconds and their distance."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minidiff import plot

# Who sits where: name -> (row, arXiv number). The number begins with the year and the month, which is the place.
ROWS = ("pixel by pixel, or token by token", "one pass from a code", "many steps from noise", "many steps, from words",
        "few steps, transformers")  # fmt: skip
SYSTEMS = {
    "PixelRNN": (0, "1601.06759"),
    "PixelCNN": (0, "1606.05328"),
    "VQ-VAE": (0, "1711.00937"),
    "DALL·E": (0, "2102.12092"),
    "VAE": (1, "1312.6114"),
    "GAN": (1, "1406.2661"),
    "RealNVP": (1, "1605.08803"),
    "Glow": (1, "1807.03039"),
    "BigGAN": (1, "1809.11096"),
    "StyleGAN": (1, "1812.04948"),
    "NCSN": (2, "1907.05600"),
    "DDPM": (2, "2006.11239"),
    "DDIM": (2, "2010.02502"),
    "score SDE": (2, "2011.13456"),
    "ADM": (2, "2105.05233"),
    "CDM": (2, "2106.15282"),
    "EDM": (2, "2206.00364"),
    "LDM, Stable Diffusion": (3, "2112.10752"),
    "GLIDE": (3, "2112.10741"),
    "unCLIP (DALL·E 2)": (3, "2204.06125"),
    "Imagen": (3, "2205.11487"),
    "Stable Diffusion 3": (3, "2403.03206"),
    "progressive distillation": (4, "2202.00512"),
    "rectified flow": (4, "2209.03003"),
    "DiT": (4, "2212.09748"),
    "consistency models": (4, "2303.01469"),
}


def when(number: str) -> float:
    """The year in which an arXiv number was given, with the month as its fraction: "2006.11239" -> 2020.42."""
    return 2000 + int(number[:2]) + (int(number[2:4]) - 1) / 12


def field_map() -> Figure:
    """Published systems by year, one row for each way to draw, with their arXiv numbers."""
    figure, ax = plt.subplots(figsize=(13, 7.2), dpi=80, layout="constrained")
    ax.set(xlim=(2013.4, 2026.2), ylim=(-0.5, len(ROWS) - 0.5), yticks=[], xticks=range(2014, 2027))
    ax.invert_yaxis()
    for row, words in enumerate(ROWS):
        colour = plot.COLOURS[row % len(plot.COLOURS)]
        ax.axhspan(row - 0.48, row + 0.48, color=colour, alpha=0.1, linewidth=0)
        ax.text(2013.5, row - 0.36, words, size=10, style="italic", va="center")
        _row(ax, row, colour)
    ax.spines[["left", "right", "top"]].set_visible(False)
    return figure


def _row(ax: Axes, row: int, colour) -> None:
    """The systems of a row as dots, each at the first of five heights where its name does not meet another."""
    free = [0.0] * 5  # the year from which each height is free
    for year, name, number in sorted((when(number), name, number) for name, (_, number) in _of(row)):
        words = f"{name}  {number}"
        level = min(range(5), key=lambda i: (free[i] > year, i if free[i] <= year else free[i]))
        free[level] = year + 0.075 * len(words) + 0.2
        height = row - 0.21 + 0.15 * level
        ax.scatter(year, height, s=28, color=colour, zorder=3)
        ax.text(year + 0.08, height, words, size=8.5, va="center", zorder=4)


def _of(row: int) -> list[tuple]:
    return [(name, place) for name, place in SYSTEMS.items() if place[0] == row]


def trade(rows: list[dict], worth=None, x: str = "1,000 (CPU s)", y: str = "FD held-out") -> Axes:
    """Models by two figures on log axes; those that are worth taking, a list of bool, are filled and joined."""
    figure, ax = plt.subplots(figsize=(8, 4.6), dpi=90, layout="constrained")
    worth = [True] * len(rows) if worth is None else list(worth)
    for row, good in zip(rows, worth):
        ax.scatter(row[x], row[y], s=36, color=plot.COLOURS[0] if good else "0.6", zorder=3)
        ax.annotate(row["family"], (row[x], row[y]), (7, -3), textcoords="offset points", size=8)
    front = sorted((row[x], row[y]) for row, good in zip(rows, worth) if good)
    ax.plot(*zip(*front), color=plot.COLOURS[0], linewidth=0.8)
    ax.set(
        xscale="log", yscale="log", xlabel="seconds of one processor for 1,000 digits", ylabel=f"{y}, less is better"
    )
    ax.set_xlim(right=4 * max(row[x] for row in rows))
    return ax
