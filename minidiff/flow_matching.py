"""Flow matching: a network learns the velocity of points on straight paths from noise to data. Lesson 17.

x_t = (1 - t) x0 + t eps, so t = 0 is data and t = 1 noise, as everywhere in the course, and the velocity dx/dt of such
a path is eps - x0. Papers count the other way: noise is their t = 0, and their velocity is x0 - eps.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from minidiff.data import GaussianMixture
from minidiff.denoiser import Denoiser
from minidiff.sampler import Step
from minidiff.schedule import Schedule, straight
from minidiff.support import expect
from minidiff.support.parts import part

COUPLINGS = ("independent", "optimal")
STRAIGHT = straight()
LOOKED_UP = 10_001  # times of another path: ten to a step of a schedule of 1,000


@part
class FlowMatching(Denoiser):
    """A network that answers with the velocity, trained by the conditional flow matching loss (2210.02747, eq. 23).

    It is a `Denoiser` of the straight path that predicts "flow", so every sampler of the course takes it: forward is
    E[x0 | x_t = x] = x - t velocity. net, null and drop are those of `Denoiser`.
    times: how t is drawn, "uniform", or "logit-normal" with more of the middle (2403.03206, section 3.1).
    coupling: which noise belongs to which picture of a batch: "independent", or "optimal", by `optimal_coupling`. The
    latter is refused with conditions: noise that was chosen by a picture would tell its label, which no sampler knows.
    """

    def __init__(self, net: nn.Module, null=None, drop: float = 0.0, times="uniform", coupling: str = "independent"):
        super().__init__(net, straight(), "flow", null, drop, times=times)
        self.coupling = expect.choice("coupling", coupling, COUPLINGS)

    def velocity(self, x: Tensor, t, cond: Tensor | None = None) -> Tensor:
        """dx/dt at x (B, ...) and time t, () or (B,), of x's shape: what `euler` asks for."""
        alpha, sigma = self.schedule(t, like=expect.tensor("x", x, "B ...", like=self._weight()))
        return self._net(x, t, self._cond(cond, len(x)), alpha, sigma)

    def loss(self, x0: Tensor, cond: Tensor | None = None) -> Tensor:
        """The mean of |net(x_t, t) - (eps - x0)|² over all numbers of a batch, a scalar."""
        eps = torch.randn_like(expect.tensor("x0", x0, "B ..."))
        if self.coupling == "optimal":
            if cond is not None:
                raise ValueError("cond: got a condition with coupling='optimal', expected None")
            eps = eps[optimal_coupling(x0, eps)]
        return super().loss(x0, cond, eps)


def optimal_coupling(x0: Tensor, eps: Tensor) -> Tensor:
    """Which row of eps to give to each row of x0, (B,): no other one-to-one choice has a smaller sum of |x0 - eps|².

    Minibatch optimal transport (2302.00482), by the Hungarian method, whose time grows as B³.
    """
    expect.alike("eps", eps, "x0", x0, "B ...")
    cost = torch.cdist(x0.detach().flatten(1).double(), eps.detach().flatten(1).double()).square()
    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(x0.device)


def marginal_velocity(mixture: GaussianMixture, x: Tensor, t) -> Tensor:
    """E[eps - x0 | x_t = x], (B, D), exact, at a time t above 0, for independent noise: what flow matching learns.

    The mean over all straight paths that pass through x at t (2210.02747, eq. 8).
    """
    alpha, sigma = STRAIGHT(t)
    return STRAIGHT.velocity(x, mixture.denoise(x, alpha, sigma), t)


def time_of(schedule: Schedule, t: Tensor) -> Tensor:
    """The time of another path at which a picture is as noisy as on the straight one at t, of t's shape.

    That is where sigma / (alpha + sigma), which is t on the straight path, is t: x_t = alpha x0 + sigma eps, divided by
    alpha + sigma, is (1 - t) x0 + t eps. Looked up among 10,001 times; later than all of them is the last one, 1.
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: got {type(schedule).__name__}, expected a Schedule")
    expect.tensor("t", t, "B" if getattr(t, "ndim", 1) else "", low=0, high=1)
    known = torch.linspace(0, 1, LOOKED_UP, dtype=torch.float64)
    alpha, sigma = schedule(known)
    found = np.interp(t.cpu().double(), sigma / (alpha + sigma), known)
    return torch.as_tensor(found).to(t)


def euler(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: Tensor) -> Iterator[Step]:
    """x + (s - t) velocity(x, t) from each of the falling times to the next; a `Step` at each, the last one at t = 0.

    x (B, ...) is noise at times[0]; times (N,), from at most 1 to 0. On the straight path DDIM is the same.
    """
    expect.function("velocity", velocity, "(x, t) -> dx/dt")
    t = expect.tensor("times", times, "N", low=0, high=1).double()
    if len(t) < 2 or not ((t.diff() < 0).all() and t[-1] == 0):
        raise ValueError(f"times: got {[round(v, 4) for v in t[:8].tolist()]}, expected times that fall to 0")
    return _euler(velocity, expect.tensor("x", x, "B ...", finite=True), t.tolist())


@torch.no_grad()
def _euler(velocity, x: Tensor, times: list[float]) -> Iterator[Step]:
    for i, (t, s) in enumerate(pairwise(times)):
        v = expect.alike("velocity(x, t)", velocity(x, torch.tensor(t, dtype=x.dtype)), "x", x)
        yield Step(i, t, x, x - t * v)
        x = x + (s - t) * v
    yield Step(len(times) - 1, times[-1], x, x)


def bend(path: list[Step]) -> float:
    """How far a sampler's paths are from straight: E ∫ |(x_1 - x_0) - dx/dt|² dt, 0 for straight ones.

    path: the Steps of a run from t = 1 to 0, many of them for a good integral. It is rectified flow's S (2209.03003),
    smaller the straighter a flow is.
    """
    steps = list(path)
    if len(steps) < 2:
        raise ValueError(f"path: got {len(steps)} steps, expected two or more")
    whole = (steps[0].x - steps[-1].x) / (steps[0].t - steps[-1].t)
    parts = [(a.t - b.t) * _squares(whole - (a.x - b.x) / (a.t - b.t)).mean() for a, b in pairwise(steps)]
    return float(sum(parts))


def transport_cost(x0: Tensor, eps: Tensor) -> float:
    """The mean of |x0 - eps|² over the rows of two tensors (B, ...): what a coupling pays."""
    return float(_squares(expect.alike("eps", eps, "x0", x0, "B ...") - x0).mean())


def _squares(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)
