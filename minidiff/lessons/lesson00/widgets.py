"""Lesson 00: the map of the course, the average of k digits, pixels being drawn, and what comes next."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from minidiff import plot, seeded
from minidiff.autoregressive import LEVELS, PixelModel
from minidiff.support import expect
from minidiff.widgets.controls import Choice, Slider, Stops
from minidiff.widgets.explorer import Explorer
from minidiff.widgets.player import Player

TEMPERATURES = (0.0, 0.5, 0.8, 1.0, 1.3, 2.0)
EMPTY = (-0.45, -0.35, 0.0)  # the colour of a pixel not drawn yet: blue, which no grey level is

# The map: lesson -> (left, top, name, what it brings), and who leads to whom. A row is one way to draw.
ROWS = (
    (3.0, "one network pass for\neach pixel or token"),
    (2.0, "one pass, from\na random code z"),
    (1.0, "many passes, each over\nthe whole picture"),
    (0.0, "from words"),
)
BOXES = {
    "00": (0.0, 3.0, "why generate", "pixel by pixel"),
    "14": (1.0, 3.0, "DALL·E, unCLIP", "token by token"),
    "01": (0.0, 2.0, "autoencoder", "a picture as 8 numbers"),
    "02": (1.0, 2.0, "VAE", "codes one can draw"),
    "03": (2.0, 2.0, "flow", "exact, and invertible"),
    "04": (3.0, 2.0, "GAN", "taught by a critic"),
    "17": (4.0, 2.0, "flow matching", "straight, down to 1 step"),
    "05": (0.0, 1.0, "forward diffusion", "a picture into noise"),
    "06": (1.0, 1.0, "DDPM", "noise into a picture"),
    "07": (2.0, 1.0, "DDIM", "in fewer steps"),
    "08": (3.0, 1.0, "guidance", "closer to the label"),
    "16": (4.0, 1.0, "score models", "one theory for all"),
    "18": (5.0, 1.0, "which model?", "all on one table"),
    "09": (0.0, 0.0, "latent diffusion", "all of it, on codes"),
    "10": (1.0, 0.0, "transformers", "words that read each other"),
    "11": (2.0, 0.0, "CLIP", "words beside pictures"),
    "12": (3.0, 0.0, "Stable Diffusion", "at full size"),
    "13": (4.0, 0.0, "cascades", "small, then enlarged"),
    "15": (5.0, 0.0, "personalisation", "your thing, your sketch"),
}
ARROWS = ("00 01", "01 02", "05 06", "06 07", "07 08", "08 09", "09 10", "10 11", "11 12", "12 13")


def course_map(here: str = "00") -> Figure:
    """The lessons as boxes, one row for each way to draw a picture, arrows to what stands on what; `here` is filled."""
    expect.choice("here", here, BOXES)
    figure = Figure(figsize=(14.4, 4.6), dpi=plot.DPI, facecolor="white")  # not pyplot's: it would show it twice
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-1.52, 5.55), ylim=(-0.55, 3.75))
    ax.axis("off")
    for (y, words), colour in zip(ROWS, plot.COLOURS):
        ax.axhspan(y - 0.42, y + 0.42, color=colour, alpha=0.1, linewidth=0)
        ax.text(-1.45, y, words, va="center", size=10, style="italic")
    for lesson in BOXES:
        _box(ax, lesson, filled=lesson == here)
    for arrow in ARROWS:
        _arrow(ax, *arrow.split())
    ax.text(-1.45, 3.56, "Ways from a label, or from words, to a picture", size=12, weight="bold")
    return figure


def _box(ax: Axes, lesson: str, filled: bool) -> None:
    x, y, name, brings = BOXES[lesson]
    colour = plot.COLOURS[3 - int(y)]
    face = colour if filled else "white"
    shape = FancyBboxPatch((x - 0.44, y - 0.28), 0.88, 0.56, "round,pad=0,rounding_size=0.08", ec=colour, fc=face, lw=2)
    ax.add_patch(shape)
    ax.text(x, y + 0.09, f"{lesson}  {name}", ha="center", va="center", size=10, weight="bold")
    ax.text(x, y - 0.12, brings, ha="center", va="center", size=8.5)


def _arrow(ax: Axes, start: str, end: str) -> None:
    (x0, y0), (x1, y1) = BOXES[start][:2], BOXES[end][:2]
    across = y0 == y1
    tail, head = ((x0 + 0.44, y0), (x1 - 0.44, y1)) if across else ((x0, y0 - 0.28), (x1, y1 + 0.28))
    ax.annotate("", head, tail, arrowprops=dict(arrowstyle="-|>", color="#444", lw=1.4, shrinkA=1, shrinkB=1))


class Averaged(Slider):
    """How many digits are averaged, in words: "average of 1 digit", "average of 5 digits"."""

    def text(self, value: int) -> str:
        return f"average of {value} digit{'s' * (value > 1)}"


def average(x: Tensor, y: Tensor, most: int = 100) -> Explorer:
    """The average of the first k pictures of a label, and beside it the k-th: x (N, 1, 8, 8), y (N,)."""
    kinds = {label: x[y == label] for label in y.unique().tolist()}
    count = Averaged("averaged", 1, min(most, *map(len, kinds.values())), 1, 1, unit="digits")
    return Explorer(
        lambda k, label: torch.stack([kinds[label][:k].mean(0), kinds[label][k - 1]]),
        alt=lambda k, label: f"left the {count.text(k)} of label {label}, right the last of them",
        heads=("their average", "the last of them"),
        k=count,
        label=Choice("label", list(kinds), 4 if 4 in kinds else min(kinds)),
    )


def painting(model: PixelModel, seed: int = 0, copies: int = 2) -> Explorer:
    """`copies` rows of the labels 0, 1, … 9 as `model` draws them, pixel by pixel; pixels not drawn yet are blue.

    All temperatures are drawn here, from the same seed, so that moving a control only looks a picture up.
    """
    labels = torch.arange(model.classes).repeat(copies)
    drawn = {t: _drawn(model, labels, t, seed) for t in TEMPERATURES}
    return Explorer(
        lambda pixels, temperature: unfinished(drawn[temperature], pixels),
        alt="digits 0 to 9 at temperature {temperature}, the first {pixels} of 64 pixels drawn",
        columns=model.classes,
        pixels=Player("pixels drawn", 65, 28, unit="of 64", speed=8),
        temperature=Stops("temperature", TEMPERATURES, 1.0),
    )


def unfinished(x: Tensor, pixels: int) -> Tensor:
    """The pictures x (N, 1, H, W) in colour (N, 3, H, W), all but their first `pixels` pixels blue."""
    colour = torch.tensor(EMPTY).view(1, 3, 1)
    page = x.flatten(2).expand(-1, 3, -1).clone()  # (N, 3, H W)
    page[:, :, expect.integer("pixels", pixels, 0, page.shape[-1]) :] = colour
    return page.view(-1, 3, *x.shape[2:])


def _drawn(model: PixelModel, labels: Tensor, temperature: float, seed: int) -> Tensor:
    return model.sample(len(labels), labels, temperature, seeded(seed))


def next_pixel(model: PixelModel, x: Tensor, y: Tensor) -> Explorer:
    """How likely each level is at a place of a picture, given the pixels before it; x (10, 1, 8, 8) of labels y."""
    with torch.no_grad():
        p = model(x, y).softmax(1).flatten(2)  # (10, 17, 64)
    levels = ((x + 1) * 8).round().long().flatten(1)  # (10, 64)
    names = dict(zip(y.tolist(), range(len(y))))
    return Explorer(
        lambda pixels, label: _guess(x[label], p[label, :, pixels], pixels, levels[label, pixels].item()),
        alt=lambda pixels, label: f"a {y[label]} up to pixel {pixels}, and the probability of each grey level there",
        pixels=Slider("pixels known", 0, 63, 1, 28, unit="of 64"),
        label=Choice("label", names, names.get(4, 0)),
    )


def _guess(x: Tensor, p: Tensor, pixels: int, level: int) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.4), dpi=80, width_ratios=(1, 1.7))
    left.imshow((unfinished(x[None], pixels)[0].permute(1, 2, 0).numpy() + 1) / 2)
    left.plot(pixels % 8, pixels // 8, "s", ms=13, mfc="none", mec=plot.COLOURS[1], mew=2)
    left.set(xticks=[], yticks=[], title="so far")
    right.bar(range(LEVELS), p.tolist(), color=[plot.COLOURS[k == level] for k in range(LEVELS)])
    right.set(ylim=(0, 1), xlabel="grey level", ylabel="probability", title=f"next: orange is what came ({level})")
    figure.subplots_adjust(0.02, 0.24, 0.98, 0.88, 0.32)
    return figure
