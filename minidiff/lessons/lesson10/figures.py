"""Lesson 10's drawings: a transformer's block, a matrix of attention, the cosines of places on a grid of maps."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from minidiff.plot import COLOURS

PARTS = (  # height, name, colour
    (1.2, "norm1", COLOURS[3]),
    (2.2, "attention: tokens speak to each other", COLOURS[0]),
    (4.6, "norm2", COLOURS[3]),
    (5.6, "feed-forward: each token by itself", COLOURS[1]),
)


def draw_block() -> Figure:
    """A pre-norm block from bottom to top: the residual stream in the middle, and beside it the two parts."""
    figure, ax = plt.subplots(figsize=(7.5, 5.2), layout="constrained")
    _arrow(ax, (0, -0.2), (0, 7.8))
    for leaves, joins in ((0.4, 3.2), (3.8, 6.6)):
        ax.plot([0, 3, 3], [leaves, leaves, joins - 0.6], color=COLOURS[8], zorder=0)
        ax.plot([3, 3], [joins - 0.6, joins], color=COLOURS[8], zorder=0)
        _arrow(ax, (3, joins), (0.22, joins))
        ax.text(0, joins, "+", ha="center", va="center", size=13, zorder=3, bbox={"boxstyle": "circle", "fc": "white"})
    for height, name, colour in PARTS:
        _box(ax, (3, height), name, colour)
    ax.text(-0.3, 3.6, "the residual stream:\nx itself runs through", ha="right", va="center", size=9)
    ax.text(0.15, -0.2, "x (B, L, width)", va="center", size=9)
    ax.text(0.15, 7.7, "x for the next block", va="center", size=9)
    ax.set(xlim=(-3.2, 5.6), ylim=(-0.5, 8.0))
    ax.axis("off")
    return figure


def heat(weights: Tensor, tokens: list[str], title: str = "") -> Figure:
    """A matrix (L, L) of attention: the row of each token shows which tokens it looks at, named on both axes."""
    side = 1.6 + 0.2 * len(tokens)
    figure, ax = plt.subplots(figsize=(side, side), layout="constrained")
    ax.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1)
    names = [token.strip() for token in tokens]
    ax.set_xticks(range(len(names)), names, rotation=90, size=9)
    ax.set_yticks(range(len(names)), names, size=9)
    ax.set(xlabel="looks at", ylabel="token")
    ax.set_title(title, size=10)
    return figure


def place_maps(cosines: Tensor, side: int) -> Figure:
    """A grid of side x side maps: the map at row r, column c shows how like (N, N) its place is to all N places."""
    figure, axes = plt.subplots(side, side, figsize=(5.2, 4.6), layout="constrained")
    for place, ax in enumerate(axes.flat):
        shown = ax.imshow(cosines[place].reshape(side, side).numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.plot(place % side, place // side, "k.", markersize=4)
        ax.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="cosine", shrink=0.7)
    return figure


def bars(shares: dict[str, tuple[float, float]], title: str = "") -> Figure:
    """For each word two bars, the model's probability and the exact one, the first word on top."""
    figure, ax = plt.subplots(figsize=(3.3, 0.9 + 0.28 * len(shares)), layout="constrained")
    places = np.arange(len(shares))
    for k, name in enumerate(("the model", "exact")):
        values = [pair[k] for pair in shares.values()]
        ax.barh(places + 0.2 * (2 * k - 1), values, 0.38, color=COLOURS[2 * k], label=name)
    ax.set_yticks(places, list(shares), size=8)
    ax.set(xlim=(0, 1), xlabel="probability of the next token")
    ax.set_title(title, size=10)
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="lower right", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def _box(ax: Axes, middle: tuple, name: str, colour: str) -> None:
    x, y = middle
    place = (x - 1.9, y - 0.28)
    ax.add_patch(FancyBboxPatch(place, 3.8, 0.56, boxstyle="round,pad=0.05", color=colour, linewidth=0))
    ax.text(x, y, name, ha="center", va="center", size=9.5)


def _arrow(ax: Axes, start: tuple, end: tuple) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": COLOURS[8]}, zorder=0)
