"""Lesson 15's drawing of a control: the frozen U-Net, the copy of its way down, and zero convolutions between."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from minidiff.plot import COLOURS

FROZEN, TRAINED = COLOURS[0], COLOURS[1]
ARROWS = (  # from, to
    ((-0.3, 2.0), (0.4, 3.0)),
    ((-0.3, 1.4), (0.4, 0.4)),
    ((2.6, 3.2), (5.8, 3.2)),
    ((2.3, 2.9), (3.1, 2.3)),
    ((5.3, 2.3), (6.1, 2.9)),
    ((8.0, 3.2), (8.6, 3.2)),
    ((-0.3, -1.2), (0.4, -1.2)),
    ((1.5, -0.9), (1.5, -0.1)),
    ((2.6, 0.4), (3.1, 0.75)),
    ((4.2, 1.2), (4.2, 1.9)),
)


def control() -> Figure:
    """The frozen U-Net above, what is trained below it, and three zero convolutions."""
    figure, ax = plt.subplots(figsize=(9.0, 4.4), layout="constrained")
    for place, name in {(1.5, 3.2): "way down, 8×8", (4.2, 2.2): "bottom, 4×4", (6.9, 3.2): "way up, 8×8"}.items():
        _box(ax, place, f"{name}\nfrozen", FROZEN)
    for place, name in {(1.5, 0.2): "way down, 8×8", (4.2, 0.9): "bottom, 4×4"}.items():
        _box(ax, place, f"{name}\na copy, trained", TRAINED)
    _box(ax, (1.5, -1.2), "encoder of the\nsketch, trained", TRAINED)
    for start, end in ARROWS:
        _arrow(ax, start, end)
    _arrow(ax, (2.6, 0.1), (7.4, 2.9), "angle,angleA=0,angleB=90,rad=8")
    for place in ((1.5, -0.5), (4.2, 1.55), (7.4, 1.2)):
        ax.text(*place, "zero conv", ha="center", va="center", size=8, bbox={"fc": "white", "ec": TRAINED, "pad": 2})
    texts = {(-0.75, 1.7): "noisy code,\ntime, words", (-0.75, -1.2): "sketch,\n32×32", (9.0, 3.2): "answer"}
    for place, words in (texts | {(4.2, 3.32): "skip connection"}).items():
        ax.text(*place, words, ha="center", va="center", size=9)
    ax.set(xlim=(-1.5, 9.5), ylim=(-1.6, 3.6))
    ax.axis("off")
    return figure


def _box(ax: Axes, middle: tuple, words: str, colour: str) -> None:
    x, y = middle
    ax.add_patch(
        FancyBboxPatch((x - 1.05, y - 0.27), 2.1, 0.54, boxstyle="round,pad=0.03", fc="white", ec=colour, lw=2)
    )
    ax.text(x, y, words, ha="center", va="center", size=9)


def _arrow(ax: Axes, start: tuple, end: tuple, bend: str = "arc3") -> None:
    style = {"arrowstyle": "-|>", "color": COLOURS[8], "lw": 1.3, "connectionstyle": bend}
    ax.annotate("", end, start, arrowprops=style, zorder=0)
