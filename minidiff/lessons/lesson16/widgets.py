"""Lesson 16's widgets: Langevin dynamics from a start of one's own, and the ladder of noise played down."""

from functools import cache

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from minidiff import plot, seeded
from minidiff.data import GaussianMixture
from minidiff.sampler import last
from minidiff.score import langevin
from minidiff.widgets import Choice, Explorer, Player, Stops

LIMITS = (-9, 9)
STARTS = {"everywhere": None, "lower left": (-5.0, -5.0), "upper right": (5.0, 5.0)}


def started(start: str, n: int, seed: int) -> Tensor:
    """n points (n, 2): spread evenly over the square from -8 to 8, or a round cloud around a corner of it."""
    centre = STARTS[start]
    if centre is None:
        return 16 * torch.rand(n, 2, generator=seeded(seed)) - 8
    return torch.tensor(centre) + torch.randn(n, 2, generator=seeded(seed))


def walker(mixture: GaussianMixture, n: int = 400, seed: int = 0) -> Explorer:
    """n points moved by Langevin dynamics with the exact score of two clouds, and the share of them in the first."""

    @cache
    def cloud(start, step, steps):
        x = started(start, n, seed)
        return last(langevin(mixture.score, x, step, steps, seeded(seed + 1))) if steps else x

    def told(start, step, steps):
        share = lower_left(cloud(start, step, steps))
        return f"{steps} steps of size {step:g}: {share:.0%} of the points are in the lower left cloud"

    return Explorer(
        lambda **values: _drawn(mixture, cloud(**values), 0.0, f"{lower_left(cloud(**values)):.0%} in the lower left"),
        alt=lambda **values: f"start {values['start']}, {told(**values)}",
        start=Choice("start", list(STARTS), "everywhere"),
        step=Stops("step", (0.001, 0.01, 0.1, 1.0, 2.0, 3.0), 0.1),
        steps=Stops("steps", (0, 10, 100, 400), 100),
    ).add_class("langevin")


def lower_left(x: Tensor) -> float:
    """The share of points (n, 2) below the diagonal from the upper left to the lower right."""
    return (x.sum(1) < 0).float().mean().item()


def ladder(mixture: GaussianMixture, sigmas, clouds: list[Tensor]) -> Explorer:
    """The clouds (n, 2) that annealed Langevin dynamics leaves at each sigma, over the density aimed at there."""

    def told(level):
        return f"sigma {sigmas[level]:.2f}: {lower_left(clouds[level]):.0%} in the lower left"

    return Explorer(
        lambda level: _drawn(mixture, clouds[level], float(sigmas[level]), told(level)),
        alt=lambda level: f"level {level}, {told(level)}",
        level=Player("level", len(sigmas), 0, speed=2),
    ).add_class("ladder")


def _drawn(mixture: GaussianMixture, x: Tensor, sigma: float, title: str) -> Figure:
    figure, ax = plt.subplots(figsize=(4.6, 4.6), dpi=72)
    plot.density(lambda at: mixture.log_prob(at, 1.0, sigma), ax, limits=LIMITS, side=80, log=True)
    ax.scatter(*x.T, s=6, color=plot.COLOURS[2], linewidths=0)
    ax.set(xlim=LIMITS, ylim=LIMITS, aspect="equal")
    ax.set_title(title, size=9)
    figure.subplots_adjust(0.08, 0.06, 0.98, 0.93)
    return figure
