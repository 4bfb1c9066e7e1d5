"""What lesson 13's cascade of the emoji is made of: a model that draws 16 x 16 pixels of words, and its enlargers."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import data, generate, train
from minidiff.cascade import Cascade, EfficientUNet, Enlarger
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, Pixels
from minidiff.recipes import emoji
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import cosine
from minidiff.transformer import WordEmbedding
from minidiff.unet import UNet

SMALL = 16
CROP = 32  # pixels of the squares that the last enlarger is trained on


def drawings(split: str, size: int) -> tuple[Tensor, list[str]]:
    """Drawings (N, 3, size, size) and their names, for size 16, 32 or 64; split "test" as `emoji.drawings` has it."""
    images, names = data.emoji("train" if split == "train" else "combinations", max(size, 32))
    return F.avg_pool2d(images, images.shape[2] // size), names


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


def enlarger(most: float = 0.5, net: nn.Module | None = None, degrade: bool = False) -> Enlarger:
    """One that doubles the sides of a drawing; it reads no words, since the small picture says what it is.

    net: the course's U-Net unless given.
    """
    net = UNet(channels=3, widths=(16, 32, 64), known=4) if net is None else net
    return Enlarger(Denoiser(net, cosine(), "x0"), most=most, degrade=degrade)


def last_enlarger(degrade: bool = False) -> Enlarger:
    """One for many pixels, with Imagen's Efficient U-Net, that is given small pictures as they are."""
    return enlarger(0.0, EfficientUNet(), degrade)


def cropped(x: Tensor) -> Tensor:
    """A square of CROP pixels out of each picture (B, C, H, W), anywhere in it.

    So do unCLIP's enlargers learn (2204.06125, section 2.1): edges look alike wherever they are.
    """
    corners = torch.randint(0, x.shape[2] - CROP + 1, (len(x), 2)).tolist()
    return torch.stack([row[:, i : i + CROP, j : j + CROP] for row, (i, j) in zip(x, corners)])


def whole(last: Enlarger, base: LatentDiffusion, *enlargers: Enlarger) -> Cascade:
    """What draws with an enlarger: the cascade that ends with it."""
    return Cascade(base, [*enlargers, last])


def _enlarger(build, size: int, before: tuple[str, ...], **options) -> Recipe:
    source = partial(pictures, size=size)
    return Recipe(
        build,
        source,
        lengths(1500, 10_000),
        (3, size, size),
        generate.in_parts,
        lr=3e-3,
        batch=32,
        prompts=emoji.never_seen,
        whole=whole,
        beside=before,
        **options,
    )


def _last(**options) -> Recipe:
    before = ("cascade-emoji-16", "cascade-emoji-32")
    return _enlarger(partial(last_enlarger, **options), 4 * SMALL, before, fit=partial(train.fit, augment=cropped))


RECIPES = {
    "cascade-emoji-16": Recipe(
        base,
        named,
        lengths(3500, 20_000),
        (3, SMALL, SMALL),
        generate.prompted,
        lr=3e-3,
        prompts=emoji.never_seen,
    ),
    "cascade-emoji-32": _enlarger(enlarger, 2 * SMALL, ("cascade-emoji-16",)),
    "cascade-emoji-32-clean": _enlarger(partial(enlarger, most=0.0), 2 * SMALL, ("cascade-emoji-16",)),
    "cascade-emoji-64": _last(),
    "cascade-emoji-64-degraded": _last(degrade=True),
}
