"""What every lesson's measurements share: a claim, the course's judge, models trained from a recipe, a spread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import checkpoints, data
from minidiff.recipes import RECIPES
from minidiff.support.tables import rounded


@dataclass(frozen=True)
class Claim:
    """One claim of a lesson, measured.

    paper: its figure and source. ours: the same, measured here. holds: None where it was not measured. why: the known
    reason, looked into, if it does not hold; "" where none is known. stored: the command that made the stored table
    which `ours` was read from; "" where it was measured now.
    """

    lesson: str
    text: str
    paper: str
    ours: str
    holds: bool | None
    why: str = ""
    stored: str = ""


def judge() -> Callable[[Tensor], Tensor]:
    """Pictures (N, 1, 16, 16) or (N, 1, 8, 8) -> features (N, 64) of the shipped digit classifier, for `metrics`."""
    return torch.no_grad()(checkpoints.load("classifier-digits").features)


def real_digits(size: int = 16, n: int | None = None) -> tuple[Tensor, Tensor, Callable]:
    """What drawn digits are compared with: the last arguments of `evaluate.compare`, `quality` and `floors`.

    The 1,500 training digits and the first n of the 297 held-out ones (all for None), (rows, 1, size, size), and the
    judge: `evaluate.compare({"VAE": pictures}, *real_digits())`. For 8x8 pictures at size 16 see `enlarged`.
    """
    return data.digits("train", size)[0], data.digits("test", size)[0][:n], judge()


def enlarged(x: Tensor) -> Tensor:
    """Pictures (N, 1, 8, 8) as (N, 1, 16, 16), made larger as the 16x16 digits are; larger ones as they are."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) if x.shape[-1] == 8 else x


@cache
def trained(name: str, seed: int) -> nn.Module:
    """The averaged model of a recipe, trained now with this seed for the profile's steps, in eval mode on the CPU."""
    recipe = RECIPES[name]
    return recipe.train(checkpoints.needed(recipe), seed=seed, desc=f"{name} seed {seed}").model.cpu()


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation over seeds, "0.351 ± 0.012"; the value alone if there is one."""
    centre = rounded(mean(values), digits)
    return centre if len(values) < 2 else f"{centre} ± {rounded(stdev(values), 1)}"
