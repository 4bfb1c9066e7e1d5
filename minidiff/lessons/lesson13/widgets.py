"""Lesson 13's widgets: a cascade that grows a drawing from words, and noise put on a small picture before it grows."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import plot, seeded
from minidiff.cascade import LEVEL, Cascade, Enlarger
from minidiff.data.emoji import plain
from minidiff.lessons.lesson09.widgets import heading
from minidiff.widgets import Choice, Explorer, Stops, Text

SCALES = (1.0, 2.0, 3.0, 5.0, 10.0)
LEVELS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
SEEDS = (0, 1, 2, 3, 4)


def as_large(pictures: list[Tensor]) -> Tensor:
    """Pictures (1, 3, h, w) of several sizes as one batch of the largest, every pixel a square: nothing is smoothed."""
    side = pictures[-1].shape[-1]
    return torch.cat([F.interpolate(each, scale_factor=side // each.shape[-1]) for each in pictures])


def growth(cascade: Cascade, prompt: str) -> Explorer:
    """A drawing of a prompt at every size of the cascade, side by side, its pixels to be seen."""

    def draw(prompt, scale, level, noise):
        stages = cascade.stages([prompt], scale=scale, level=level, generator=seeded(noise))
        sizes = [f"{each.shape[-1]} x {each.shape[-1]}" for each in stages]
        return plot.grid(as_large(stages), len(stages), sizes, heading(cascade.base, prompt), scale=3)

    return Explorer(
        draw,
        alt="“{prompt}” at each size, scale {scale:g}, level {level:g}, noise {noise}",
        prompt=Text("prompt", prompt, hint="a name, then Enter"),
        scale=Stops("guidance scale", SCALES, 2.0),
        level=Stops("augmentation level", LEVELS, LEVEL),
        noise=Choice("noise", SEEDS, 0),
    ).add_class("growth")


def spoiled(enlarger: Enlarger, small: Tensor, names: list[str]) -> Explorer:
    """One of the small pictures (N, 3, 16, 16), what noise leaves of it, and three drawings that are made of that."""
    names = [plain(name) for name in names]

    def draw(picture, level):
        one = small[names.index(picture)][None]
        left = enlarger.spoil(one, torch.tensor([level]), seeded(1)).clamp(-1, 1)
        drawn = enlarger(one.expand(3, -1, -1, -1), level, generator=seeded(1))
        titles = ["small", f"level {level:g}", *["enlarged"] * 3]
        return plot.grid(as_large([one, left, *drawn.split(1)]), 5, titles, scale=4)

    return Explorer(
        draw,
        alt="{picture}: the small picture, the same with noise of level {level:g}, and three enlarged drawings of it",
        picture=Choice("picture", names, names[0]),
        level=Stops("augmentation level", [level for level in LEVELS if level <= enlarger.most], LEVEL),
    ).add_class("spoiled")
