"""Lesson 17's widgets and drawings: paths of points, digits by the number of steps, a transformer's block."""

from functools import cache

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from minidiff import generate, plot, seeded
from minidiff.data import ring_mixture
from minidiff.denoiser import Denoiser
from minidiff.sampler import sample, times
from minidiff.widgets import Choice, Explorer, Stops

LIMITS = (-3, 3)
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}


def paths(models: dict[str, Denoiser], n: int = 60, seed: int = 0) -> Explorer:
    """The same n points of noise, walked to the ring by each flow of points, in a number of Euler's steps."""
    noise = torch.randn(n, 2, generator=seeded(seed))

    @cache
    def walked(flow, steps):
        model = models[flow]
        return torch.stack([step.x for step in sample(model, noise, times(steps), model.schedule)])

    def told(flow, steps):
        off = off_ring(walked(flow, steps)[-1])
        return f"{flow}, {steps} step{'s' * (steps > 1)}: the ends are {off:.2f} from the nearest cloud's middle"

    return Explorer(
        lambda flow, steps: _drawn(walked(flow, steps), told(flow, steps)),
        alt=told,
        flow=Choice("flow", list(models), next(iter(models))),
        steps=Stops("steps", (1, 2, 4, 8, 50), 50),
    ).add_class("paths")


def off_ring(x: Tensor) -> float:
    """The mean distance of points (n, 2) from the nearest of the eight middles of the ring."""
    return torch.cdist(x, ring_mixture().means.to(x)).amin(1).mean().item()


def _drawn(path: Tensor, title: str) -> Figure:
    """Paths (steps + 1, n, 2) from grey noise to blue ends, over the density of the ring."""
    figure, ax = plt.subplots(figsize=(4.8, 4.8), dpi=72)
    plot.density(ring_mixture().log_prob, ax, limits=LIMITS, side=80, log=True)
    ax.plot(*path.permute(2, 0, 1), color="0.45", linewidth=0.8)
    ax.scatter(*path[0].T, s=8, color="0.45", linewidths=0)
    ax.scatter(*path[-1].T, s=12, color=plot.COLOURS[2], linewidths=0, zorder=3)
    ax.set(xlim=LIMITS, ylim=LIMITS, aspect="equal")
    ax.set_title(title, size=8)
    figure.subplots_adjust(0.08, 0.06, 0.98, 0.93)
    return figure


def few_steps(models: dict[str, Denoiser], counts=(1, 2, 4, 8, 20), seed: int = 0) -> Explorer:
    """Ten digits from the same noise by each model, in a number of steps."""
    labels = torch.arange(10)

    @cache
    def drawn(name, steps):
        return generate.draw(models[name], labels, steps=steps, generator=seeded(seed))

    for name in models:
        for steps in counts:
            drawn(name, steps)
    return Explorer(
        lambda steps: torch.cat([drawn(name, steps) for name in models]),
        alt=f"ten digits in {{steps}} steps by each of {', '.join(models)}",
        rows=tuple(models),
        steps=Stops("steps", counts, 2),
    ).add_class("few-steps")


def block_drawing() -> Figure:
    """An adaLN-Zero block: the stream of tokens upwards, and to its left what the time and the label change."""
    figure, ax = plt.subplots(figsize=(6.4, 5.2), dpi=80)
    ax.set(xlim=(0, 10), ylim=(0, 10.4))
    ax.axis("off")
    _box(ax, 1.7, 5.1, "SiLU, linear\n(weights\nstart at 0)", height=1.7)
    _arrow(ax, (1.7, 1.2), (1.7, 4.2))
    ax.text(1.7, 0.7, "time + label", ha="center")
    ax.text(6.3, 0.2, "tokens h", ha="center")
    ax.text(6.3, 10.15, "tokens h", ha="center")
    _arrow(ax, (6.3, 0.5), (6.3, 10.0))
    for low, layer, number in ((0.9, "attention", 1), (5.3, "MLP, 4 × as wide", 2)):
        _half(ax, low, layer, number)
    return figure


def _half(ax, low: float, layer: str, number: int) -> None:
    """One of the two halves of a block: norm, shift and scale, layer, gate, and the stream past it all."""
    parts = ("norm, no weights of its own", "× (1 + scale), + shift", layer, "× gate")
    for i, text in enumerate(parts):
        _box(ax, 6.3, low + 0.5 + 0.95 * i, text)
    for i, name in ((1, f"shift{number}, scale{number}"), (3, f"gate{number}")):
        height = low + 0.5 + 0.95 * i
        _arrow(ax, (2.75, 5.1), (4.4, height), colour=plot.COLOURS[1])
        ax.text(4.25, height + 0.3, name, ha="right", size=8, color=plot.COLOURS[1], bbox=WHITE)
    past = FancyArrowPatch(
        (8.2, low - 0.15), (8.2, low + 4.1), connectionstyle="arc3,rad=0.25", arrowstyle="->", mutation_scale=12
    )
    ax.add_patch(past)
    ax.text(9.15, low + 2.0, "+ h", size=9)


def _box(ax, x: float, y: float, text: str, width: float = 3.7, height: float = 0.7) -> None:
    width = 2.0 if height > 1 else width
    corner = x - width / 2, y - height / 2
    ax.add_patch(FancyBboxPatch(corner, width, height, "round,pad=0.05", facecolor="white", edgecolor="0.3", zorder=2))
    ax.text(x, y, text, ha="center", va="center", size=9, zorder=3)


def _arrow(ax, begin, end, colour="0.3") -> None:
    ax.add_patch(FancyArrowPatch(begin, end, arrowstyle="->", mutation_scale=12, color=colour, zorder=1))
