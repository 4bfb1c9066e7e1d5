"""Lesson 03's widgets: a grid through the layers, temperature, the way between two digits. Each returns an Explorer."""

from functools import cache

import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from minidiff import plot, seeded
from minidiff.flow import Flow
from minidiff.support.tables import rounded
from minidiff.widgets import Choice, Explorer, Pad, Slider

SIDE = 0.3  # of the small square that is dragged, in units of z


def layers(flow: Flow, n: int = 600) -> Explorer:
    """A flow in the plane, undone coupling by coupling: n normal points, a grid, a small square under the finger."""
    couplings, lines = len(flow.layers) // 2, _grid()
    grids, _ = trail(flow, lines.flatten(0, 1))
    clouds, _ = trail(flow, torch.randn(n, 2, generator=seeded(0)))

    @cache
    def square(place):
        return trail(flow, torch.tensor(place) + SIDE * (_outline() - 0.5))

    def draw(place, undone):
        corners = square(place)[0][undone][1:]
        return _plane(grids[undone].view_as(lines), clouds[undone], corners, undone, couplings)

    def alt(place, undone):
        where, times = f"({place[0]:.1f}, {place[1]:.1f})", rounded(square(place)[1][undone][0].item(), 2)
        return f"{undone} of {couplings} couplings undone: at z = {where} a tiny square has {times} times its area"

    pad = Pad("square", corners=((-2.5, -2.5), (2.5, 2.5)), value=(0.5, 0.5), names=("z1", "z2"))
    slider = Slider("undone", 0, couplings, 1, couplings, unit="couplings")
    return Explorer(draw, alt=alt, place=pad, undone=slider).add_class("layers")


@torch.no_grad()
def trail(flow: Flow, z: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """z (N, 2), and where it is after each coupling with its act-norm is undone, the last one being x.

    Beside it, how many times larger a tiny area there has become, (N,) each: exp(-log_det) of what was undone.
    """
    x = z
    total = z.new_zeros(len(z))
    states = [z]
    growth = [torch.ones(len(z))]
    for k in reversed(range(len(flow.layers))):
        x = flow.layers[k].inverse(x)
        total = total - flow.layers[k](x)[1]
        if k % 2 == 0 and k < len(flow.layers) - 1:  # act-norm, coupling, act-norm, coupling, …, and a last act-norm
            states.append(x)
            growth.append(total.exp())
    return states, growth


def _grid(reach: float = 2.5, lines: int = 11, points: int = 60) -> Tensor:
    """Lines (22, 60, 2) of a square grid, upright and level, each as a row of points."""
    along = torch.linspace(-reach, reach, points)
    across = torch.linspace(-reach, reach, lines)
    upright = torch.stack([across[:, None].expand(-1, points), along.expand(lines, -1)], -1)
    return torch.cat([upright, upright.flip(-1)])


def _outline(points: int = 20) -> Tensor:
    """The middle of the unit square, then its edge, once round: (81, 2)."""
    t = torch.linspace(0, 1, points)
    zero = torch.zeros_like(t)
    one = torch.ones_like(t)
    sides = ((t, zero), (one, t), (1 - t, one), (zero, 1 - t))
    return torch.cat([torch.full((1, 2), 0.5), *(torch.stack(side, 1) for side in sides)])


def _plane(lines: Tensor, cloud: Tensor, square: Tensor, undone: int, couplings: int) -> Figure:
    figure = Figure(figsize=(4.2, 4.4), dpi=80, facecolor="white")  # not pyplot's, which keeps a list of its own
    ax = figure.add_axes((0.08, 0.06, 0.9, 0.87))
    ax.add_collection(LineCollection(lines.numpy(), colors=plot.COLOURS[0], linewidths=0.7, alpha=0.7))
    ax.scatter(*cloud.T, s=4, c=plot.COLOURS[8], linewidths=0)
    ax.fill(*square.T, facecolor=plot.COLOURS[2], edgecolor=plot.COLOURS[2], linewidth=1.5, alpha=0.8)
    ax.set(xlim=(-3, 3), ylim=(-3, 3), title=f"{undone} of {couplings} couplings undone", aspect="equal")
    return figure


def temperatures(flow: Flow, n: int = 24, seed: int = 0) -> Explorer:
    """n digits from z = temperature * eps, with the same eps all along."""

    def draw(temperature):
        with torch.no_grad():  # the same seed at each temperature: the same eps
            return flow.sample(n, temperature=temperature, generator=seeded(seed))

    return Explorer(
        draw,
        alt=f"{n} digits drawn by the flow at temperature {{temperature}}",
        columns=12,
        temperature=Slider("temperature", 0.0, 1.5, 0.1, 1.0),
    ).add_class("temperature")


def between(flow: Flow, images: Tensor, labels: Tensor) -> Explorer:
    """Two of `images` (N, 1, 8, 8) outside, and inside what lies between: mixed in z, then pixel by pixel."""
    texts = [f"digit {label}, number {k}" for k, label in enumerate(labels.tolist())]
    names = {text: k for k, text in enumerate(texts)}
    first = Choice("from", names, 0)
    second = Choice("to", names, 1)

    def draw(a, b, way):
        pair = images[a][None], images[b][None]
        return torch.cat([pair[0], mixed(flow, *pair, way), torch.lerp(*pair, way), pair[1]])

    def alt(a, b, way):
        return f"{texts[a]}, then {way:.0%} of the way to {texts[b]}: mixed in z, then pixel by pixel; last that digit"

    way = Slider("way", 0.0, 1.0, 0.05, 0.5)
    heads = "from", "mixed in z", "mixed in pixels", "to"
    return Explorer(draw, alt=alt, heads=heads, a=first, b=second, way=way).add_class("between")


@torch.no_grad()
def mixed(flow: Flow, a: Tensor, b: Tensor, way: float) -> Tensor:
    """The picture of the code that lies `way` (0 to 1) along the straight line from the code of a to that of b."""
    codes = [flow(x + flow.bin / 2)[0] for x in (a, b)]  # of the middle of each cell
    return (flow.inverse(torch.lerp(*codes, way)) - flow.bin / 2).clamp(-1, 1)
