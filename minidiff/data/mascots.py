"""Three things that no model of `shapes` has met: a hen with a hat, a toadstool, a rocket, drawn as that world draws.

A few pictures of each, for lesson 15 to teach a model, and a marker that tells each from what nearly is it.
"""

from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from minidiff.data.shapes.figures import PLACE, RGB, SIZE, coverage
from minidiff.data.shapes.scene import BACKGROUNDS, COLOURS, SHAPES, WHERE
from minidiff.support import expect

FINE = 4  # points across a pixel, to each side, that an outline is drawn by
NAMES = ("hen", "toadstool", "rocket")
SHOWN = (("red", "left"), ("green", "right"), ("white", "top"), ("blue", "bottom"))  # of the four pictures of a thing
OF = {  # name -> its parts, the first at the bottom: colour, and (x, y) in pixels from the middle -> inside?
    "hen": (
        ("purple", lambda x, y: np.hypot(x, y - 1.5) < 5.2),
        ("yellow", lambda x, y: np.hypot(x, y - 3.2) < 2.9),
        ("black", lambda x, y: (abs(x) < 2.6) & (y > -7) & (y < -3.2) | (abs(x) < 4.6) & (abs(y + 3) < 0.8)),
        ("white", lambda x, y: np.hypot(abs(x) - 1.8, y + 0.4) < 1.0),
    ),
    "toadstool": (
        ("white", lambda x, y: (abs(x) < 2.1) & (y > -1) & (y < 6)),
        ("red", lambda x, y: (np.hypot(x / 1.15, y + 0.2) < 5.4) & (y < 0.6)),
        ("white", lambda x, y: (np.hypot(abs(x) - 3, y + 1.5) < 1.2) | (np.hypot(x, y + 3.6) < 1.2)),
    ),
    "rocket": (
        ("red", lambda x, y: (abs(x) < 4.8 - abs(y - 4.5) * 0.6) & (y > 1.5) & (y < 6)),
        ("cyan", lambda x, y: (abs(x) < 2.7) & (y > -3.5) & (y < 4.2) | (abs(x) < (y + 7.5) * 0.68) & (y <= -3.5)),
        ("yellow", lambda x, y: np.hypot(x, y + 1.2) < 1.6),
    ),
}
RADII = (4.1, 5.75)  # of small and large figures of `shapes`
SHIFTS = (-1.0, 0.0, 1.0)  # pixels by which a thing may stand off its place, to each side


def mascot(
    name: str, background: str = "white", place: str = "middle", rng: np.random.Generator | None = None
) -> Tensor:
    """A picture of one of NAMES, float32 (3, 32, 32) in [-1, 1]; `rng` moves it a little and adds grain."""
    expect.choice("name", name, NAMES)
    expect.choice("background", background, BACKGROUNDS)
    offset = np.array(PLACE[expect.choice("place", place, PLACE)], float)
    grain = 0.0
    if rng is not None:
        offset += rng.uniform(-0.4, 0.4, 2)
        grain = 0.015 * rng.standard_normal((3, SIZE, SIZE))
    colour, cover = _painted(OF[name], offset)
    ground = np.array(RGB[background])[:, None, None]
    picture = np.clip(colour + (1 - cover) * ground + grain, 0, 1)
    return torch.from_numpy(2 * picture - 1).float()


def mascots(name: str, seed: int = 0) -> tuple[Tensor, list[str]]:
    """Four pictures of a thing on grounds and at places of their own, and their captions with {} for its word."""
    rng = np.random.default_rng(seed)
    pictures = [mascot(name, background, place, rng) for background, place in SHOWN]
    return torch.stack(pictures), [
        f"a photo of a {{}} {WHERE[place]} of a {ground} background" for ground, place in SHOWN
    ]


def near_misses(name: str) -> dict[str, tuple]:
    """What is nearly that thing: two colours changed for each other, one part missing, upside down."""
    parts = OF[expect.choice("name", name, NAMES)]
    (first, shape), (second, other), *rest = parts
    return {
        f"{name} in other colours": ((second, shape), (first, other), *rest),
        f"{name} with a part missing": (parts[0], *parts[2:]) if len(parts) == 3 else (*parts[:2], *parts[3:]),
        f"{name} upside down": tuple((colour, _turned(inside)) for colour, inside in parts),
    }


def seen(images: Tensor, places=tuple(PLACE)) -> list[tuple[str, str, str]]:
    """What stands in each picture (N, 3, 32, 32), where, and on which ground: of all that this world has, the closest.

    A mascot, its near misses, or a figure of `shapes` ("red circle"), in the sum of squared differences, over the
    ground's own colour, the median at the edge. places: where it may stand; for one of "left" and "right", only that
    half of the picture is looked at, so that another thing may stand in the other.
    """
    pixels = (expect.tensor("images", images, f"N 3 {SIZE} {SIZE}").detach().cpu().float() + 1) / 2
    edge = torch.cat([pixels[:, :, 0], pixels[:, :, -1], pixels[:, :, :, 0], pixels[:, :, :, -1]], dim=2)
    ground = edge.median(dim=2).values  # (N, 3)
    names, where, colour, free = _bank(tuple(places))
    x = pixels[..., _columns(places)].flatten(2)  # (N, 3, P)
    distance = colour.square().sum((1, 2)) - 2 * torch.einsum("ncp,mcp->nm", x, colour)
    distance += ground.square().sum(1)[:, None] * free.square().sum(1)
    distance += 2 * torch.einsum("nc,ncm->nm", ground, torch.einsum("mcp,mp->cm", colour, free) - x @ free.T)
    best = distance.argmin(1).tolist()
    grounds = torch.cdist(ground, torch.tensor([RGB[name] for name in BACKGROUNDS])).argmin(1).tolist()
    return [(names[i], where[i], BACKGROUNDS[k]) for i, k in zip(best, grounds)]


@cache
def _bank(places: tuple[str, ...]) -> tuple[list[str], list[str], Tensor, Tensor]:
    """Everything at each of these places: names, places, colour times cover (M, 3, P), and what is free (M, P)."""
    drawn = {name: partial(_painted, parts) for name, parts in OF.items()}
    drawn |= {name: partial(_painted, parts) for thing in NAMES for name, parts in near_misses(thing).items()}
    things = list(drawn.items())
    things += [(f"{c} {s}", partial(_figure, s, c, r)) for r in RADII for s in SHAPES for c in COLOURS]
    every = [(name, place, paint) for name, paint in things for place in places]
    rows = [(n, p, *paint(np.array(PLACE[p]) + (x, y))) for n, p, paint in every for x in SHIFTS for y in SHIFTS]
    names, where, colours, covers = zip(*rows)
    columns = _columns(places)
    colour = torch.from_numpy(np.stack(colours)).float()[..., columns].flatten(2)
    free = 1 - torch.from_numpy(np.stack(covers)).float()[..., columns].flatten(1)
    return list(names), list(where), colour, free


def _columns(places) -> slice:
    return {("left",): slice(0, SIZE // 2), ("right",): slice(SIZE // 2, SIZE)}.get(tuple(places), slice(0, SIZE))


def _painted(parts, offset) -> tuple[np.ndarray, np.ndarray]:
    """Parts painted over each other around a point: colour times cover (3, H, W), and cover (H, W)."""
    y, x = (np.mgrid[: SIZE * FINE, : SIZE * FINE] + 0.5) / FINE - SIZE / 2
    colour, cover = np.zeros((3, *x.shape)), np.zeros(x.shape)
    for name, inside in parts:
        there = inside(x - offset[0], y - offset[1])
        colour = np.where(there, np.array(RGB[name])[:, None, None], colour)
        cover = np.where(there, 1.0, cover)
    return _shrunk(colour), _shrunk(cover)


def _shrunk(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(*fine.shape[:-2], SIZE, FINE, SIZE, FINE).mean((-3, -1))


def _figure(shape: str, colour: str, radius: float, offset) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
    cover = coverage(shape, x - offset[0], y - offset[1], radius)
    return cover * np.array(RGB[colour])[:, None, None], cover


def _turned(inside):
    return lambda x, y: inside(x, -y)
