"""Points in the plane."""

from functools import partial

import torch
from torch import Tensor, nn

from minidiff import data, generate, seeded
from minidiff.denoiser import PairedDenoiser
from minidiff.distill import reflow_pairs
from minidiff.flow import Flow
from minidiff.flow_matching import FlowMatching
from minidiff.nn import PointNet
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import straight


def ring(split: str) -> tuple[Tensor]:
    """Points on the ring of eight Gaussians: (30000, 2) to train, (10000, 2) others to test."""
    return (data.ring(30_000, seed=0) if split == "train" else data.ring(10_000, seed=1),)


def flow_matching(coupling: str) -> FlowMatching:
    """A small flow of points, with noise that is coupled to them in that way."""
    return FlowMatching(PointNet(2, width=96), coupling=coupling)


def ring_pairs(split: str, flow: FlowMatching) -> tuple[Tensor, Tensor]:
    """What that flow makes of noise, and the noise, (N, 2) each: 10,000 rows to train, 2,000 to test."""
    n, seed = (10_000, 0) if split == "train" else (2000, 1)
    noise = torch.randn(n, 2, generator=seeded(seed))
    return reflow_pairs(flow, noise, steps=50, batch=1000), noise


def reflow() -> PairedDenoiser:
    """The same flow, to be trained on its own pairs."""
    return PairedDenoiser(PointNet(2, width=96), straight(), "flow", times="uniform")


def reflowed(model: PairedDenoiser, needed: tuple[nn.Module, ...], *tensors: Tensor) -> None:
    """It begins with the weights of the flow whose pairs it learns."""
    model.net.load_state_dict(needed[0].net.state_dict())


def _coupled(build, source, **more) -> Recipe:
    way = partial(generate.denoised, shape=(2,))
    return Recipe(build, source, lengths(1000, 4000), (2,), way, lr=3e-3, batch=256, **more)


RECIPES = {
    "flow-ring": Recipe(
        partial(Flow, couplings=24, width=64, activation=nn.ReLU),
        ring,
        lengths(2000, 4000),
        (2,),
        generate.one_pass,
        batch=256,
    ),
    "flow-matching-ring": _coupled(partial(flow_matching, "independent"), ring),
    "flow-matching-ring-optimal": _coupled(partial(flow_matching, "optimal"), ring),
    "flow-matching-ring-reflow": _coupled(reflow, ring_pairs, needs=("flow-matching-ring",), start=reflowed),
}
