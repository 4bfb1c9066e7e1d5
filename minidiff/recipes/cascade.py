"""What lesson 13's cascade of the emoji is made of: a model that draws 16 x 16 pixels of words, and its enlargers."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import data, generate
from minidiff.cascade import Enlarger
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, Pixels
from minidiff.recipes import emoji
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import cosine
from minidiff.transformer import WordEmbedding
from minidiff.unet import UNet

SMALL = 16


def drawings(split: str, size: int) -> tuple[Tensor, list[str]]:
    """Drawings (N, 3, size, size) and their names, for size 16 or 32; split "test" as `emoji.drawings` has it."""
    images, names = data.emoji("train" if split == "train" else "combinations", 32)
    return F.avg_pool2d(images, 32 // size), names


def pictures(split: str, size: int) -> tuple[Tensor]:
    """Those drawings without their names."""
    return drawings(split, size)[:1]


def named(split: str) -> tuple[Tensor, Tensor]:
    """Small drawings (2 N, 3, 16, 16) and the ids (2 N, 24) of their names, as written and as one may type them."""
    images, names = drawings(split, SMALL)
    return torch.cat([images, images]), emoji.tokenizer()([*names, *map(emoji.plain, names)])


def base(text: nn.Module | None = None, widths=(32, 64, 128), size: int = SMALL) -> LatentDiffusion:
    """Names to drawings of `size` pixels, as "ldm-emoji", on pixels. text: what reads; unless given, learned along.

    widths: of the U-Net; its lowest level, 4 x 4 pixels, attends to the words.
    """
    words = emoji.reader()
    text = WordEmbedding(words.vocabulary) if text is None else text
    blank = words.encode("")
    null = blank + [0] * (words.length - len(blank))
    net = UNet(channels=3, widths=widths, attention=(len(widths) - 1,), text=text)
    return LatentDiffusion(Pixels(), Denoiser(net, cosine(), "x0", null=null, drop=0.1), words, size=size)


def enlarger(most: float = 0.5, net: nn.Module | None = None) -> Enlarger:
    """One that doubles the sides of a drawing; it reads no words, since the small picture says what it is.

    net: the course's U-Net unless given.
    """
    net = UNet(channels=3, widths=(16, 32, 64), known=4) if net is None else net
    return Enlarger(Denoiser(net, cosine(), "x0"), most=most)


def _never_seen() -> list[str]:
    """What is drawn where no prompt is given."""
    return drawings("test", SMALL)[1]


def _enlarger(most: float = 0.5) -> Recipe:
    size = 2 * SMALL
    source = partial(pictures, size=size)
    return Recipe(partial(enlarger, most=most), source, lengths(1500, 10_000), (3, size, size), lr=3e-3, batch=32)


RECIPES = {
    "cascade-emoji-16": Recipe(
        base,
        named,
        lengths(3500, 20_000),
        (3, SMALL, SMALL),
        generate.prompted,
        lr=3e-3,
        prompts=_never_seen,
    ),
    "cascade-emoji-32": _enlarger(),
    "cascade-emoji-32-clean": _enlarger(most=0.0),
}
