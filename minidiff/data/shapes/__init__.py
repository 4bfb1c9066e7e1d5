"""Pictures with captions, drawn here: a world small enough to know by heart, for text-to-image that can be marked.

Coloured figures on coloured ground, 32x32, anti-aliased, with a gradient, stripes and grain, so that compressing them
takes some skill. Each picture comes from (seed, index) alone: the world is endless and always the same.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from minidiff.data.shapes import read
from minidiff.data.shapes.figures import PLACE, RADIUS, RGB, SIZE, coverage
from minidiff.data.shapes.scene import SPLITS, Scene, asked, caption, imagine
from minidiff.support import expect


def shapes(split="train", n: int = 10_000, seed: int = 0, objects: int | None = None) -> tuple[Tensor, list[str]]:
    """The pictures 0 ... n - 1 of a split and seed, float32 (n, 3, 32, 32) in [-1, 1], and a caption for each.

    split: "train" and "test" show the same colour-shape pairs, "novel" in each picture one that they never show.
    objects: 1 or 2 in each picture; None for one in two thirds. The caption is one of many wordings and may leave out
    size, place or background. Drawn once (10,000 in 5 s), then kept. ValueError for another split or number.
    """
    images, captions, _ = _shapes(*_checked(split, n, seed, objects))
    return images.clone(), list(captions)


def scenes(split="train", n: int = 10_000, seed: int = 0, objects: int | None = None) -> list[Scene]:
    """What is in the pictures that `shapes` draws with the same arguments."""
    return list(_shapes(*_checked(split, n, seed, objects))[2])


def draw(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A picture of a scene, float32 (3, 32, 32) in [-1, 1]; `rng` moves and sizes its things a little, and textures."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    picture = _texture(RGB[scene.background], x, y, rng)
    for thing in scene.things:
        place = np.array(PLACE[thing.place])
        low_high = RADIUS[thing.size]
        centre = SIZE / 2 + place + rng.uniform(-0.4, 0.4, 2) + (place == 0) * rng.uniform(-1.5, 1.5, 2)
        cover = coverage(thing.shape, x - centre[0], y - centre[1], rng.uniform(*low_high))
        picture += cover * (_texture(RGB[thing.colour], x, y, rng) - picture)
    grain = 0.015 * rng.standard_normal(picture.shape)
    return (2 * np.clip(picture + grain, 0, 1) - 1).astype(np.float32)


def _texture(rgb, x, y, rng: np.random.Generator) -> np.ndarray:
    """A colour that is not quite even: lighter to one side, and striped."""
    to, along, phase = rng.uniform(0, 2 * np.pi, 3)
    slope = rng.uniform(0, 0.08) * (np.cos(to) * (x / 16 - 1) + np.sin(to) * (y / 16 - 1))
    waves = np.sin((np.cos(along) * x + np.sin(along) * y) * rng.uniform(0.3, 1.0) + phase)
    return np.array(rgb)[:, None, None] + slope + rng.uniform(0, 0.05) * waves


def _checked(split, n, seed, objects) -> tuple:
    if objects is not None:
        expect.choice("objects", objects, (1, 2))
    return expect.choice("split", split, SPLITS), expect.integer("n", n, 1), expect.integer("seed", seed, 0), objects


@lru_cache(maxsize=6)
def _shapes(split: str, n: int, seed: int, objects: int | None) -> tuple[Tensor, tuple[str, ...], tuple[Scene, ...]]:
    images = torch.empty(n, 3, SIZE, SIZE)
    captions = []
    seen = []
    for index in range(n):
        rng = np.random.default_rng((seed, index, list(SPLITS).index(split), objects or 0))
        seen.append(imagine(rng, split, objects))
        captions.append(caption(seen[-1], rng))
        images[index] = torch.from_numpy(draw(seen[-1], rng))
    return images, tuple(captions), tuple(seen)


# Said as the course says it: shapes.read(images), shapes.marks(prompts, images), ...
shapes.scenes, shapes.read, shapes.marks, shapes.asked = scenes, read.read, read.marks, asked
