"""Lesson 06's drawing of a U-Net, with the shapes that its stages really have."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from minidiff.plot import COLOURS
from minidiff.unet import UNet


def draw_unet(net: UNet, size: int = 16) -> Figure:
    """The stages of `net` for a picture of `size` pixels: down on the left, up on the right, skips in between.

    A box is as high as its maps are large and as wide as they are many (both in logarithms); its text has the shape.
    """
    down, mid, up = stage_shapes(net, size)
    levels = len(down)
    figure, ax = plt.subplots(figsize=(8.5, 1.2 * (levels + 1.2)), layout="constrained")
    lefts = [(1.5 * k, -k) for k in range(levels + 1)]
    rights = [(3.0 * levels - x, y) for x, y in lefts]  # the last of both is the middle
    for k in range(levels):
        _arrow(ax, lefts[k], lefts[k + 1], "halve", side=-1)
        _arrow(ax, rights[k + 1], rights[k], "double", side=1)
        _skip(ax, lefts[k], rights[k], "a copy: skip connection" if k == 0 else "copy")
        _box(ax, lefts[k], down[k], side=-1)
        _box(ax, rights[k], up[k], side=1)
    _box(ax, lefts[-1], mid, side=0)
    for (x, y), name in ((lefts[-2], "down"), (lefts[-1], "mid"), (rights[-2], "up")):
        ax.text(x, y, name, ha="center", va="center", size=9, color="white")
    ax.text(-0.6, 0.45, "noisy picture, time t, conv_in  →", ha="right", va="center", size=9)
    ax.text(rights[0][0] + 0.6, 0.45, "→  out: the answer", ha="left", va="center", size=9)
    ax.set(xlim=(-2.9, rights[0][0] + 2.9), ylim=(-levels - 0.75, 0.7))
    ax.axis("off")
    return figure


@torch.no_grad()
def stage_shapes(net: UNet, size: int) -> tuple[list, tuple, list]:
    """(channels, height, width) of what each stage hands on: those on the way down, the middle, those on the way up.

    The ways down and up are both listed from the finest level to the coarsest. Asked by running the network once.
    """
    shapes = {}
    stages = [*net.down, net.mid, *net.up]
    hooks = [
        stage.register_forward_hook(lambda module, _, h: shapes.update({module: tuple(h.shape[1:])}))
        for stage in stages
    ]
    cond = torch.zeros(1, dtype=torch.int64) if net.classes else None
    net(torch.zeros(1, net.channels, size, size), torch.zeros(1), cond)
    for hook in hooks:
        hook.remove()
    return [shapes[stage] for stage in net.down], shapes[net.mid], [shapes[stage] for stage in net.up]


def _box(ax: Axes, place: tuple, shape: tuple, side: int) -> None:
    """A box with its shape written to the left (side -1), to the right (1) or below (0)."""
    x, y = place
    channels, height, width = shape
    w, h = 0.16 * channels**0.4, 0.13 * (height.bit_length() + 1)
    ax.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0.02", color=COLOURS[0], linewidth=0))
    at = (x + side * (w / 2 + 0.12), y) if side else (x, y - h / 2 - 0.08)
    across = {-1: "right", 0: "center", 1: "left"}[side]
    ax.text(*at, f"{height}×{width}\n{channels} channels", ha=across, va="center" if side else "top", size=9)


def _arrow(ax: Axes, start: tuple, end: tuple, text: str, side: int) -> None:
    style = dict(arrowstyle="-|>", color=COLOURS[8], shrinkA=26, shrinkB=26)
    ax.annotate("", end, start, arrowprops=style, zorder=0)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    ax.text(x + 0.2 * side, y - 0.12, text, ha="left" if side > 0 else "right", size=8, color=COLOURS[8])


def _skip(ax: Axes, start: tuple, end: tuple, text: str) -> None:
    style = dict(arrowstyle="-|>", color=COLOURS[2], linestyle="--", shrinkA=24, shrinkB=24)
    ax.annotate("", end, start, arrowprops=style, zorder=0)
    ax.text((start[0] + end[0]) / 2, start[1] + 0.06, text, ha="center", va="bottom", size=8, color=COLOURS[2])
