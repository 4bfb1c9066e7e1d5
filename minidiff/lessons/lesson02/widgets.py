"""Lesson 02's widgets: the plane of codes, the price of a code, the temperature. Each function returns an Explorer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minidiff import plot, seeded
from minidiff.lessons.lesson01.widgets import plane_of_codes
from minidiff.vae import VAE
from minidiff.widgets import Explorer, Slider, Stops


def latent_plane(model: VAE, images: Tensor, labels: Tensor) -> Explorer:
    """A VAE with two numbers a code: point at the plane and see what p(x | z) draws; `images` lie at their mu."""
    with torch.no_grad():
        mu, _ = model.encode(images)
    corners = ((-3.5, -3.5), (3.5, 3.5))  # of the prior, where random codes fall
    return plane_of_codes(model, mu, labels, corners=corners, value=(0.0, 0.0)).add_class("plane")


def price_of_a_code(models: Sequence[VAE], images: Tensor, seed: int = 0) -> Explorer:
    """Models trained at several beta: `images`, below them rebuilt, and as many decoded from the same random codes."""
    by_beta = {model.beta: model for model in models}
    z = torch.randn(len(images), models[0].code, generator=seeded(seed))

    def draw(beta):
        model = by_beta[beta]
        with torch.no_grad():
            mu, _ = model.encode(images)
        return torch.cat([images, _pictures(model, mu), _pictures(model, z)])

    return Explorer(
        draw,
        alt="held-out digits above, rebuilt at beta {beta} in the middle, decoded from random codes below",
        rows=("held out", "rebuilt", "from random codes"),
        beta=Stops("beta", sorted(by_beta), 1.0),
    ).add_class("beta")


def temperatures(model: VAE, n: int = 24, seed: int = 0) -> Explorer:
    """n pictures decoded from z = temperature * eps, eps the same all along."""
    eps = torch.randn(n, model.code, generator=seeded(seed))

    def draw(temperature):
        return _pictures(model, temperature * eps)

    return Explorer(
        draw,
        alt=f"{n} pictures decoded from random codes at temperature {{temperature}}",
        temperature=Slider("temperature", 0.0, 3.0, 0.1, 1.0),
    ).add_class("temperature")


def plane_of_pictures(model: VAE, steps: int = 11, reach: float = 2.5):
    """The decoded pictures of a square grid of codes, z1 rightwards, z2 upwards, from -reach to reach: a Figure."""
    line = torch.linspace(-reach, reach, steps)
    z = torch.cartesian_prod(line.flip(0), line).flip(1)
    return plot.grid(_pictures(model, z), columns=steps, title=f"decoded codes from -{reach:g} to {reach:g}", scale=2)


@torch.no_grad()
def _pictures(model: VAE, z: Tensor) -> Tensor:
    return model.decode(z)
