"""What the recipes of the emoji are made of: drawings of 32 x 32 pixels with their names, and models that read them."""

from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import data, generate, train
from minidiff.clip import CLIP
from minidiff.data.emoji import plain
from minidiff.denoiser import Denoiser
from minidiff.distill import DistilledDiffusion, ProgressiveStudent
from minidiff.latent import KLAutoencoder, LatentDiffusion
from minidiff.recipes.digits import taught
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.recipes.shapes import encoded, with_autoencoder, worded
from minidiff.stable_diffusion import UNetModel, scaled_linear
from minidiff.transformer import TextEncoder, Tokenizer, VisionTransformer

SIZE = 32
SHIFT = 2  # pixels by which a drawing is moved, at most, while a CLIP is trained
autoencoder = partial(KLAutoencoder, width=80)  # wider than that of `shapes`: there is more to be drawn


@cache
def tokenizer() -> Tokenizer:
    """Byte pairs of the names of split "train": 2,500 ids, nearly one for each word, and 24 tokens a text."""
    return Tokenizer.train(_twice(drawings("train")[1]), vocabulary=2500, length=24)


@cache
def reader() -> Tokenizer:
    """The same for a model of the drawings: it reads a name without colon and commas, and leaves out other words."""
    every = data.emoji(size=SIZE, holdout=None)[1]  # the parts of "five-thirty", held out, are known from other hours
    return tokenizer().knowing(map(plain, every), skip=["a", "an", "the"])  # "a red heart" is the name "red heart"


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
    return worded(reader(), autoencoder(), drop)


def named(split: str) -> tuple[Tensor, Tensor]:
    """Drawings (N, 3, 32, 32) and the ids (N, 24) of their names, half of them as one may type them: for a CLIP.

    So it reads ids with colons and commas and without. Each drawing stands there once: under two names it would be a
    wrong answer to itself in a batch.
    """
    images, names = drawings(split)
    typed = np.random.default_rng(0).random(len(names)) < 0.5
    return images, tokenizer()([plain(name) if as_typed else name for name, as_typed in zip(names, typed)])


def shifted(x: Tensor) -> Tensor:
    """Each drawing (B, 3, H, W) moved by up to SHIFT pixels each way; white comes in at the edges.

    Never mirrored: some names say left or right.
    """
    batch, _, height, width = x.shape
    wide = F.pad(x, (SHIFT,) * 4, value=1.0)
    by = torch.randint(0, 2 * SHIFT + 1, (batch, 2), device=x.device)
    rows = by[:, :1] + torch.arange(height, device=x.device)  # (B, H)
    columns = by[:, 1:] + torch.arange(width, device=x.device)
    which = torch.arange(batch, device=x.device)[:, None, None]
    return wide.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def clip_emoji() -> CLIP:
    """A CLIP of the drawings: 16 patches each, three layers to see and one to read, 128 wide, 64 numbers to compare."""
    vision = VisionTransformer(SIZE, 8, 128, 3, 4)
    return CLIP(vision, TextEncoder(tokenizer().vocabulary, 128, layers=1, heads=4, length=24), 64, reader())


def miniature() -> LatentDiffusion:
    """Stable Diffusion in small: its U-Net and schedule, with CLIP's frozen text tower, on the codes of "ae-emoji".

    It predicts velocity, as version 2 does, and its codes have size 1. One of its two levels has spatial transformers.
    """
    text = clip_emoji().text.requires_grad_(False)
    net = UNetModel(text, channels=8, widths=(32, 64), transformers=(0,), blocks=1, heads=(4, 4), groups=8)
    blank = reader().encode("")
    null = blank + [0] * (reader().length - len(blank))
    return LatentDiffusion(autoencoder(), Denoiser(net, scaled_linear(), "v", null=null, drop=0.1), reader())


def two_step() -> DistilledDiffusion:
    """The network of "ldm-emoji", to draw in two steps, each worth ten of it guided."""
    latent = latent_diffusion()
    student = ProgressiveStudent(latent.denoiser.net, latent.denoiser.null, steps=2, worth=10, predict="x0")
    return DistilledDiffusion(latent.autoencoder, student, latent.tokenizer, guidance=1.0)


def told_by(split: str, teacher: LatentDiffusion) -> tuple[Tensor, Tensor]:
    """Codes and ids as `codes` has them, in the teacher's own autoencoder."""
    return codes(split, teacher.autoencoder)


def with_parts(model: LatentDiffusion, needed, mu: Tensor, ids: Tensor) -> None:
    """The trained autoencoder and CLIP's text tower go into a new model; its codes get the standard deviation 1."""
    coder, clip = needed
    model.autoencoder.load_state_dict(coder.state_dict())
    model.denoiser.net.text.load_state_dict(clip.text.state_dict())
    model.scale.copy_(1 / mu.std())


def _twice(names: list[str]) -> list[str]:
    return [*names, *map(plain, names)]


def never_seen() -> list[str]:
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
        prompts=never_seen,
    ),
    "sd-emoji": Recipe(
        miniature,
        codes,
        lengths(6000, 20_000),
        (3, SIZE, SIZE),
        generate.prompted,
        lr=2e-3,
        needs=("ae-emoji", "clip-emoji"),
        start=with_parts,
        prompts=never_seen,
    ),
    "two-step-emoji": Recipe(
        two_step,
        told_by,
        lengths(300, 5000),
        (3, SIZE, SIZE),
        partial(generate.prompted, steps=2),
        lr=1e-3,
        batch=32,
        needs=("ldm-emoji",),
        start=taught,
        prompts=never_seen,
    ),
    "clip-emoji": Recipe(
        clip_emoji,
        named,
        lengths(2000, 8000),
        lr=1e-3,
        batch=128,
        fit=partial(train.fit, augment=shifted),
    ),
}
