"""Points in the plane, (n, 2) float32, centred and of about unit scale: data small enough to draw whole.

Every point is drawn on its own and scaled by constants, never by the sample's own spread, so that 10 points and
10,000 come from the same distribution. The same seed gives the same points.
"""

import math

import torch
from torch import Tensor

from minidiff.data.mixture import GaussianMixture
from minidiff.support import expect
from minidiff.support.profile import seeded


def swiss_roll(n: int, seed: int = 0, noise: float = 0.05) -> Tensor:
    """The spiral of Sohl-Dickstein et al. (arXiv 1503.03585, figure 1): angle a uniform in [1.5 pi, 4.5 pi], radius a.

    (a cos a, a sin a) has mean (2, 2 / (3 pi)) and mean square radius 9.75 pi^2: moved and divided by 6.79 it has zero
    mean and unit variance on average over the axes. `noise` is the std, at that scale, of what is added.
    """
    generator = _generator(n, seed)
    angle = math.pi * (1.5 + 3 * torch.rand(n, generator=generator))
    spiral = torch.stack([angle * angle.cos(), angle * angle.sin()], 1)  # (n, 2)
    mean = torch.tensor([2, 2 / (3 * math.pi)])
    scale = math.sqrt((9.75 * math.pi**2 - mean.square().sum().item()) / 2)
    return _blur((spiral - mean) / scale, noise, generator)


def moons(n: int, seed: int = 0, noise: float = 0.05) -> Tensor:
    """Two interleaved half circles of radius 1.42, the second one upside down; `noise` is the std of what is added."""
    generator = _generator(n, seed)
    angle = math.pi * torch.rand(n, generator=generator)
    side = torch.where(torch.rand(n, generator=generator) < 0.5, 1.0, -1.0)
    # half circle (cos, sin) moved by (-1/2, -1/4), and the same turned by 180 degrees about the middle
    arc = side[:, None] * (torch.stack([angle.cos(), angle.sin()], 1) - torch.tensor([0.5, 0.25]))
    variance = (0.75 + 0.5 - 1 / math.pi + 0.0625) / 2  # the mean over both axes of E[(cos - 1/2)^2], E[(sin - 1/4)^2]
    return _blur(arc / math.sqrt(variance), noise, generator)


def ring(n: int, seed: int = 0, spread: float = 0.1) -> Tensor:
    """Eight Gaussians on a circle, a test of mode collapse: draws of `ring_mixture(spread)`."""
    return ring_mixture(spread).sample(n, _generator(n, seed))


def grid25(n: int, seed: int = 0, spread: float = 0.1) -> Tensor:
    """Twenty-five Gaussians on a 5 x 5 grid: draws of `grid_mixture(spread)`."""
    return grid_mixture(spread).sample(n, _generator(n, seed))


def checkerboard(n: int, seed: int = 0) -> Tensor:
    """Uniform over the dark fields of a 4 x 4 board of side 2 sqrt(3), which has unit variance along each axis."""
    generator = _generator(n, seed)
    row = torch.randint(4, (n,), generator=generator)
    half = torch.randint(2, (n,), generator=generator)
    column = 2 * half + row % 2  # two dark fields in every row
    corner = torch.stack([column, row], 1) - 2.0
    return (corner + torch.rand(n, 2, generator=generator)) * math.sqrt(3) / 2


def ring_mixture(spread: float = 0.1) -> GaussianMixture:
    """`ring` with exact answers: std / radius = spread; the radius, (1/2 + spread^2)^(-1/2), gives unit variance."""
    spread = expect.number("spread", spread, 1e-4, 1)
    angles = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    return _even(torch.stack([angles.cos(), angles.sin()], 1), spread, 0.5 + spread**2)


def grid_mixture(spread: float = 0.1) -> GaussianMixture:
    """`grid25` with exact answers: std / spacing = spread; the spacing, (2 + spread^2)^(-1/2), gives unit variance."""
    spread = expect.number("spread", spread, 1e-4, 1)
    places = torch.arange(-2, 3, dtype=torch.float64)
    return _even(torch.cartesian_prod(places, places), spread, 2 + spread**2)


def _even(means: Tensor, std: float, variance: float) -> GaussianMixture:
    """The mixture of equal parts whose variance along an axis is `variance`, scaled to 1; float32."""
    k = len(means)
    scale = math.sqrt(variance)
    return GaussianMixture(torch.full((k,), 1 / k), (means / scale).float(), torch.full((k,), std / scale))


def _generator(n: int, seed: int) -> torch.Generator:
    expect.integer("n", n, 1)
    return seeded(seed)


def _blur(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    return x + expect.number("noise", noise, 0) * torch.randn(x.shape, generator=generator)
