"""What is really in a picture of `shapes`, by colour and outline and no trained network: an incorruptible marker."""

from functools import lru_cache
from statistics import fmean

import numpy as np
from torch import Tensor

from minidiff.data.shapes.figures import PLACE, RADIUS, RGB, SIZE, coverage
from minidiff.data.shapes.scene import BACKGROUNDS, COLOURS, SHAPES, Marks, Scene, Thing, asked, compare
from minidiff.support import expect

APART = 0.25  # a pixel this far from the ground's colour (RGB in [0, 1]) belongs to a thing
LEAST = 12  # pixels of a thing; less is a speck
UNCLEAR = 0.30  # a colour further from all names, or an outline with a larger share of its pixels amiss, has no name
BETWEEN = (RADIUS["small"][1] + RADIUS["large"][0]) / 2  # the radius from which a thing is large


def read(images: Tensor) -> list[Scene | None]:
    """What is in each picture (N, 3, 32, 32) in [-1, 1]; None where it shows no one or two whole figures on a ground.

    A thing is a patch that differs from the ground. Its colour is that of its inner pixels, its shape the one whose
    outline, of the same area at the same centre, covers the same pixels best.
    """
    expect.tensor("images", images, f"N 3 {SIZE} {SIZE}", finite=True)
    pictures = (images.detach().cpu().double().numpy().transpose(0, 2, 3, 1) + 1) / 2  # (N, H, W, 3)
    return [scene for part in range(0, len(pictures), 500) for scene in _read(pictures[part : part + 500])]


def marks(prompts: list[str], images: Tensor) -> Marks:
    """How much of what each prompt asks for its picture shows. ValueError for a prompt that `asked` cannot understand.

    The share of attributes asked for that are right, of colour-shape pairs, and of each attribute by its name.
    """
    scenes = read(images)
    if len(prompts) != len(scenes):
        raise ValueError(f"prompts: got {len(prompts)}, expected {len(scenes)}, one for each picture")
    wanted = [asked(prompt) for prompt in prompts]
    if None in wanted:
        raise ValueError(f"prompts: got {prompts[wanted.index(None)]!r}, expected one or two figures, each of a colour")
    found = [mark for want, seen in zip(wanted, scenes) for mark in compare(want, seen)]
    by = {name: fmean(right for other, right in found if other == name) for name in dict.fromkeys(dict(found))}
    pairs = by.pop("pair")
    return Marks(fmean(right for name, right in found if name != "pair"), pairs, by)


def _read(pictures: np.ndarray) -> list[Scene | None]:
    """The scenes of pictures (N, H, W, 3) in [0, 1]."""
    edges = np.concatenate([pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]], axis=1)
    grounds = np.median(edges, axis=1)  # (N, 3)
    away = np.linalg.norm(pictures - grounds[:, None, None], axis=3)  # (N, H, W)
    found, where = _patches(away > APART)
    seen = [[] for _ in pictures]
    for patch, picture in zip(found, where):
        seen[picture].append(_thing(pictures[picture], patch, grounds[picture], away[picture]))
    return [_scene(things, _name(ground, BACKGROUNDS)) for things, ground in zip(seen, grounds)]


def _patches(apart: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Connected patches of pixels (N, H, W) that are True: each as (H, W), and its row. Specks are left out."""
    from skimage.measure import label  # imported here: it takes a while to load

    strip = np.pad(apart, ((0, 0), (0, 1), (0, 0))).reshape(-1, SIZE)  # one below the other, a blank line between
    labels = label(strip, connectivity=1).reshape(len(apart), SIZE + 1, SIZE)[:, :SIZE]
    names, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    large = (names > 0) & (sizes >= LEAST)
    rows = first[large] // (SIZE * SIZE)
    return [labels[row] == name for name, row in zip(names[large], rows)], rows


def _thing(picture: np.ndarray, patch: np.ndarray, ground: np.ndarray, away: np.ndarray) -> Thing | None:
    """The figure that a patch (H, W) shows, or None if it looks like none."""
    inner = patch & (away >= np.median(away[patch]))
    colour = np.median(picture[inner], axis=0)
    near = np.linalg.norm(picture - colour, axis=2)
    # On an outline a pixel is a mixture of ground and thing; away from it, texture is no mixture: hence the steep ramp.
    cover = np.clip((away / (away + near + 1e-9) - 0.2) / 0.6, 0, 1) * _grown(patch)
    shape, radius, centre, amiss = _outline(cover)
    name = _name(colour, COLOURS)
    if amiss > UNCLEAR or name is None:
        return None
    place = min(PLACE, key=lambda place: np.hypot(*(centre - SIZE / 2 - PLACE[place])))
    return Thing(shape, name, "large" if radius > BETWEEN else "small", place)


def _outline(cover: np.ndarray) -> tuple[str, float, np.ndarray, float]:
    """The shape that covers the same pixels best: its name, radius, middle (x, y), and the share of pixels amiss."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    area = cover.sum()
    gravity = np.array([(cover * x).sum(), (cover * y).sum()]) / area
    fits = []
    for shape in SHAPES:
        unit_area, drop = _unit(shape)
        radius = (area / unit_area) ** 0.5
        middle = gravity - radius * np.array([0, drop])
        amiss = abs(coverage(shape, x - middle[0], y - middle[1], radius) - cover).sum() / area
        fits.append((amiss, shape, radius, middle))
    amiss, shape, radius, middle = min(fits, key=lambda fit: fit[0])
    return shape, radius, middle, amiss


def _grown(patch: np.ndarray) -> np.ndarray:
    """A patch with the pixels that touch it, where its outline fades."""
    grown = np.pad(patch, 1)
    grown = grown[:-2] | grown[1:-1] | grown[2:]
    return grown[:, :-2] | grown[:, 1:-1] | grown[:, 2:]


def _scene(things: list[Thing | None], background: str | None) -> Scene | None:
    if None in things or background is None or not 1 <= len(things) <= 2:
        return None
    return Scene(tuple(things), background)


def _name(colour: np.ndarray, names) -> str | None:
    """The name of a colour in RGB, None for one that is far from all."""
    distances = {name: np.linalg.norm(colour - RGB[name]) for name in names}
    nearest = min(distances, key=distances.get)
    return nearest if distances[nearest] < UNCLEAR else None


@lru_cache
def _unit(shape: str) -> tuple[float, float]:
    """Of a figure of radius 1: its area, and how far its centre of gravity is below its middle; measured finely."""
    y, x = (np.mgrid[:400, :400] + 0.5) / 10 - 20  # tenths of a pixel, of a figure of radius 10
    inside = coverage(shape, x, y, 10.0) > 0.5
    return inside.sum() / 1e4, y[inside].mean() / 10
