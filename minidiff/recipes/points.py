"""Points in the plane."""

from functools import partial

from torch import Tensor, nn

from minidiff import data, generate
from minidiff.flow import Flow
from minidiff.recipes.recipe import Recipe, lengths


def ring(split: str) -> tuple[Tensor]:
    """Points on the ring of eight Gaussians: (30000, 2) to train, (10000, 2) others to test."""
    return (data.ring(30_000, seed=0) if split == "train" else data.ring(10_000, seed=1),)


RECIPES = {
    "flow-ring": Recipe(
        partial(Flow, couplings=24, width=64, activation=nn.ReLU),
        ring,
        lengths(2000, 4000),
        (2,),
        generate.one_pass,
        batch=256,
    ),
}
