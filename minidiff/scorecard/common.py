"""What every lesson's measurements share: a claim, the course's judge, models trained from a recipe, a spread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, device, profile, seed_everything
from minidiff.recipes import RECIPES, Recipe
from minidiff.tables import rounded
from minidiff.train import Ema, run


@dataclass(frozen=True)
class Claim:
    """One claim of a lesson. paper: its figure and source; ours: the same, measured; why: when it does not hold."""

    lesson: str
    text: str
    paper: str
    ours: str
    holds: bool | None
    why: str = ""


def judge() -> Callable[[Tensor], Tensor]:
    """Pictures (N, 1, 16, 16) or (N, 1, 8, 8) -> features (N, 64) of the shipped digit classifier, for `metrics`."""
    return torch.no_grad()(checkpoints.load("classifier-digits").features)


@cache
def trained(name: str, seed: int) -> nn.Module:
    """The averaged model of a recipe, trained now with this seed for the profile's steps, in eval mode on the CPU."""
    recipe = RECIPES[name]
    tensors = recipe.data("train")
    seed_everything(seed)
    model = recipe.fresh(*tensors)
    return averaged(model, tensors, recipe, f"{name} seed {seed}", seed, steps=recipe.steps[profile()])


def averaged(model: nn.Module, tensors, recipe: Recipe, desc: str, seed: int, batch=None, lr=None, **length):
    """A new model's average, on the CPU, after so many `steps` or `seconds`; a batch and rate other than the recipe's.

    (The model is made before, so that a caller may seed it and put something of its own into it.)
    """
    model = model.to(device())
    ema, batches = Ema(model), data.batches(*tensors, size=batch or recipe.batch, seed=seed)
    run(recipe.fit(model, batches, lr=lr or recipe.lr, seed=seed, ema=ema, **length), desc=desc)
    return ema.model.cpu()


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation over seeds, "0.351 ± 0.012"; the value alone if there is one."""
    centre = rounded(mean(values), digits)
    return centre if len(values) < 2 else f"{centre} ± {rounded(stdev(values), 1)}"
