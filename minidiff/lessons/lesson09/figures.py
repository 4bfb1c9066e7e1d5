"""Lesson 09's drawing of a text-to-image model: its three parts, and what goes from one to the next."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import nn

from minidiff.latent import LatentDiffusion
from minidiff.plot import COLOURS

WIDTH, HEIGHT = 2.0, 0.9  # of a box


def draw_parts(model: LatentDiffusion, size: int = 32) -> Figure:
    """Text encoder, generator and decoder as boxes with their weights, for pictures of `size` pixels.

    The way to draw a picture is in solid arrows. A dashed one leads to the encoder, which only training needs.
    """
    text, autoencoder = model.denoiser.net.text, model.autoencoder
    side = size // autoencoder.f
    code = f"{side}×{side}×{autoencoder.latent}"
    figure, ax = plt.subplots(figsize=(10.5, 3.6), layout="constrained")
    _box(ax, (2.6, 2.0), f"text encoder\n{_weights(text):,} weights", COLOURS[1])
    _box(ax, (5.9, 1.0), f"generator: denoiser\n{_weights(model.denoiser) - _weights(text):,} weights", COLOURS[0])
    _box(ax, (9.2, 1.0), f"decoder\n{_weights(autoencoder.decoder):,} weights", COLOURS[3])
    _box(ax, (9.2, -0.6), f"encoder\n{_weights(autoencoder.encoder):,} weights", COLOURS[8])
    _arrows(ax, f"words\n{text.length}×{text.width}", f"code\n{code}")
    _text(ax, (0.2, 2.0), "prompt")
    _text(ax, (2.1, 0.75), f"noise, {code}")
    for y in (1.0, -0.6):
        _text(ax, (11.55, y), f"picture\n{size}×{size}×{autoencoder.channels}")
    ax.set(xlim=(-0.4, 12.2), ylim=(-1.2, 2.6))
    ax.axis("off")
    return figure


def _arrows(ax: Axes, words: str, code: str) -> None:
    _arrow(ax, (0.9, 2.0), (1.55, 2.0))
    _arrow(ax, (3.65, 2.0), (5.4, 1.5), words)
    _arrow(ax, (2.9, 0.8), (4.85, 0.9))
    _arrow(ax, (6.95, 1.0), (8.15, 1.0), code)
    _arrow(ax, (10.25, 1.0), (10.9, 1.0))
    _arrow(ax, (10.9, -0.6), (10.25, -0.6), dashed=True)
    _arrow(ax, (8.15, -0.6), (6.7, 0.5), dashed=True)
    _text(ax, (6.9, -0.75), "code of a training picture\n(in training only)", size=8, color=COLOURS[8])
    ax.annotate("", (5.1, 0.52), (6.1, 0.52), arrowprops=_style(connectionstyle="arc3,rad=-0.9"))
    _text(ax, (5.6, -0.02), "20 steps", size=9)


def _text(ax: Axes, centre: tuple[float, float], words: str, **style) -> None:
    ax.text(*centre, words, **{"ha": "center", "va": "center", "size": 10} | style)


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _box(ax: Axes, centre: tuple[float, float], words: str, colour: str) -> None:
    x, y = centre
    ax.add_patch(
        FancyBboxPatch((x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0.04", fc="white", ec=colour)
    )
    ax.text(x, y, words, ha="center", va="center", size=10)


def _arrow(ax: Axes, start: tuple, end: tuple, words: str = "", dashed: bool = False) -> None:
    style = _style(linestyle="--" if dashed else "-", color=COLOURS[8] if dashed else "black")
    ax.annotate("", end, start, arrowprops=style)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    ax.text(x, y + 0.08, words, ha="center", va="bottom", size=8, color=style["color"])


def _style(**more) -> dict:
    return {"arrowstyle": "-|>", "color": "black", "linewidth": 1.2} | more
