"""What the recipes of the emoji are made of: drawings of 32 x 32 pixels with their names, and models that read them."""

from functools import cache, partial

import torch
from torch import Tensor, nn

from minidiff import data, generate
from minidiff.data.emoji import plain
from minidiff.latent import KLAutoencoder, LatentDiffusion
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.recipes.shapes import encoded, with_autoencoder, worded
from minidiff.transformer import Tokenizer

SIZE = 32
autoencoder = partial(KLAutoencoder, width=80)  # wider than that of `shapes`: there is more to be drawn


@cache
def tokenizer() -> Tokenizer:
    """Byte pairs of the names of split "train": 2,500 ids, nearly one for each word, and 24 tokens a text."""
    return Tokenizer.train(_twice(drawings("train")[1]), vocabulary=2500, length=24)


def drawings(split: str) -> tuple[Tensor, list[str]]:
    """Drawings (N, 3, 32, 32) and their names; split "test" has the combinations that are never in "train"."""
    return data.emoji("train" if split == "train" else "combinations", SIZE)


def codes(split: str, trained: nn.Module, *others: nn.Module) -> tuple[Tensor, Tensor]:
    """The codes (2 N, 8, 8, 8) of the drawings in a trained autoencoder, and the token ids (2 N, 24) of their names.

    Each drawing stands there twice, with its name as it is written and as one may type it, without colon and commas.
    """
    images, names = drawings(split)
    mu = encoded(trained, images.to(next(trained.parameters()).device))
    return torch.cat([mu, mu]), tokenizer()(_twice(names))


def latent_diffusion(drop: float = 0.1) -> LatentDiffusion:
    """Names to codes of the drawings, made as that of `shapes` is."""
    return worded(tokenizer(), autoencoder(), drop)


def _twice(names: list[str]) -> list[str]:
    return [*names, *map(plain, names)]


def _never_seen() -> list[str]:
    """What is drawn where no prompt is given."""
    return drawings("test")[1]


RECIPES = {
    "ae-emoji": Recipe(
        autoencoder,
        lambda split: drawings(split)[:1],
        lengths(6000, 20_000),
        (3, SIZE, SIZE),
        lr=3e-3,
        batch=32,
    ),
    "ldm-emoji": Recipe(
        latent_diffusion,
        codes,
        lengths(11_000, 30_000),
        (3, SIZE, SIZE),
        generate.prompted,
        lr=3e-3,
        needs=("ae-emoji",),
        start=with_autoencoder,
        prompts=_never_seen,
    ),
}
