"""Few steps: reflow, progressive distillation and consistency, from a trained flow. Lesson 17.

All three begin with the weights of a trained `FlowMatching` model, the teacher, and answer with a velocity as it does,
so they are drawn from by the same samplers. Time t = 0 is data, as everywhere in the course.
"""

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from minidiff import guidance
from minidiff.denoiser import Denoiser
from minidiff.flow_matching import STRAIGHT, FlowMatching, euler, time_of
from minidiff.latent import LatentDiffusion
from minidiff.sampler import last, times
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn

Velocity = Callable[[Tensor, Tensor], Tensor]


def reflow_pairs(
    model: FlowMatching, noise: Tensor, cond: Tensor | None = None, steps: int = 20, batch: int = 100
) -> Tensor:
    """What `euler` makes of each row of noise (N, ...) under its condition (N, ...): data that know their noise.

    A `PairedDenoiser` trained on (data, noise, cond) is the flow rectified once more (2209.03003, algorithm 1).
    """
    expect.tensor("noise", noise, "N ...", finite=True)
    cond = None if cond is None else expect.told("cond", cond, len(noise))
    drawn = []
    for start in range(0, len(noise), expect.integer("batch", batch, 1)):
        rows = slice(start, start + batch)
        told = None if cond is None else cond[rows]
        drawn.append(last(euler(partial(model.velocity, cond=told), noise[rows], times(steps))))
    return torch.cat(drawn)


@torch.no_grad()
def progressive_target(velocity: Velocity, x: Tensor, t: Tensor, s: Tensor, worth: int = 2) -> Tensor:
    """The velocity by which one step of Euler's from t to s arrives where `worth` of the teacher's do, (B, ...).

    x (B, ...) at times t (B,), s < t (B,). It is the mean of the teacher's velocities on the way. In the terms of
    progressive distillation (2202.00512, algorithm 2), which takes two DDIM steps, it is the x0 that one needs to get
    there: on the straight path DDIM is Euler's method. No gradient flows to the teacher.
    """
    _falls(t, s, len(expect.tensor("x", x, "B ...")))
    worth = expect.integer("worth", worth, 1)
    step = (s - t) / worth
    total = torch.zeros_like(x)
    for k in range(worth):
        v = velocity(x + _rows(step, x) * total, t + k * step)
        total = total + expect.alike("velocity(x, t)", v, "x", x)
    return total / worth


def consistency_function(velocity: Velocity, x: Tensor, t: Tensor) -> Tensor:
    """f(x, t) = x - t velocity(x, t): a guess at the end of the path through x, (B, ...), for t () or (B,).

    c_skip = 1 and c_out = -t, so f(x, 0) = x whatever the network says: the boundary condition of consistency models
    (2303.01469, eq. 5), without which a constant answer would be consistent too.
    """
    t = expect.time("t", t, len(expect.tensor("x", x, "B ...")))
    asked = t.where(t > 0, 1.0)  # at 0 the velocity has no say, and not every network can tell it there
    v = expect.alike("velocity(x, t)", velocity(x, asked), "x", x)
    return x - _rows(t.expand(len(x)), x) * v


def boundary(t, smallest: float = 0.002, sigma_data: float = 0.5) -> tuple[Tensor, Tensor]:
    """c_skip and c_out of the paper, for noise of deviation t on data that keep their size (2303.01469, appendix C).

    1 and 0 at t = smallest. t: a number or a tensor, at least `smallest`.
    """
    t = expect.floats("t", t)
    if not (t >= smallest).all():
        raise ValueError(f"t: got less than {smallest}, expected noise of at least that")
    beyond = t - smallest
    return sigma_data**2 / (beyond**2 + sigma_data**2), sigma_data * beyond / (t**2 + sigma_data**2).sqrt()


class AsFlow(nn.Module):
    """Any trained denoiser as a flow on the straight path, guided if it is to be: a teacher like any other.

    x_t = alpha x0 + sigma eps, divided by alpha + sigma, is a point of the straight path, at t = sigma / (alpha +
    sigma). So the denoiser is asked about a straight point times alpha + sigma, at the time of its own schedule that is
    as noisy, and the velocity there is (x - x0) / t.
    scale: of classifier-free guidance. Its student then learns the guided answer, and needs no second one without words
    (the first stage of 2210.03142, where the student is told the scale as well).
    limit: `guidance.clamp`, say, for estimates out of range, as those of a network that predicts eps are in most noise:
    its error is divided by alpha there, and a student would learn little else.
    """

    def __init__(self, denoiser: Denoiser, scale: float = 1.0, limit: Callable | None = None):
        super().__init__()
        if not isinstance(denoiser, Denoiser):
            raise TypeError(f"denoiser: got {type(denoiser).__name__}, expected a Denoiser")
        self.denoiser = denoiser
        self.scale = expect.number("scale", scale)
        self.limit = limit
        if scale != 1 and denoiser.null is None:
            raise ValueError(f"scale: got {scale} for a denoiser without null, expected 1: it cannot be guided")

    @property
    def net(self) -> nn.Module:
        """The denoiser's network, whose weights a student begins with."""
        return self.denoiser.net

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The estimate of x0 at straight points x (B, ...), times t () or (B,), of x's shape."""
        t = expect.time("t", t, len(expect.tensor("x", x, "B ...")))
        own = time_of(self.denoiser.schedule, t)
        alpha, sigma = self.denoiser.schedule(own, like=x)
        return self._guided(cond)((alpha + sigma) * x, own)

    def velocity(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """dx/dt on the straight path at x (B, ...) and a time t () or (B,) above 0, of x's shape."""
        return STRAIGHT.velocity(x, self(x, t, cond), t)

    def _guided(self, cond) -> guidance.Denoise:
        if cond is None or self.scale == 1:
            denoise = partial(self.denoiser, cond=cond)
        else:
            denoise = guidance.cfg(self.denoiser, cond, self.denoiser.null, self.scale)
        return denoise if self.limit is None else self.limit(denoise)


class Student(FlowMatching):
    """A flow that learns from another one, its teacher, at the times of `steps` even steps.

    `follow(teacher)` comes first; the teacher is no part of the student: it is not saved, and no optimiser sees it.
    predict: what the network answers with, "flow", "x0" or "v": the same as the teacher's, whose weights it takes.
    """

    def __init__(self, net: nn.Module, null=None, steps: int = 1, predict: str = "flow"):
        super().__init__(net, null)
        self.steps = expect.integer("steps", steps, 1)
        self.predict = expect.choice("predict", predict, ("flow", "x0", "v"))
        self.teacher = ()

    def velocity(self, x: Tensor, t, cond: Tensor | None = None) -> Tensor:
        """dx/dt at x (B, ...) and a time t, () or (B,), of x's shape; above 0 unless the network answers with it."""
        if self.predict == "flow":
            return super().velocity(x, t, cond)
        return self.schedule.velocity(x, self(x, t, cond), t)

    def follow(self, teacher: FlowMatching | AsFlow) -> "Student":
        """Take the teacher's weights to begin with, and its answers as targets from now on.

        ValueError for one whose network predicts something else, so that its weights would mean something else here.
        """
        predict = getattr(teacher, "denoiser", teacher).predict
        if predict != self.predict:
            told = f"expected {self.predict!r} as the student's does; `listen(teacher)` keeps the own weights"
            raise ValueError(f"teacher: got one whose network predicts {predict!r}, {told}")
        self.net.load_state_dict(teacher.net.state_dict())
        return self.listen(teacher)

    def listen(self, teacher: FlowMatching | AsFlow) -> "Student":
        """Take the answers of a copy of the teacher as targets from now on, and keep the own weights."""
        self.teacher = (copy.deepcopy(teacher).eval().requires_grad_(False),)  # in a tuple: no module of this one
        return self

    def loss(self, x0: Tensor, cond: Tensor | None = None) -> Tensor:
        """The mean squared error of the student's answer, a scalar, at random noise and random times of its grid."""
        if not self.teacher:
            raise ValueError("teacher: got none, expected `follow(teacher)` before the training")
        cond = self._known(cond, self._data(x0))
        i = torch.randint(1, self.steps + 1, (len(x0),))
        t = (i / self.steps).to(x0)
        s = ((i - 1) / self.steps).to(x0)
        x = self.schedule.add_noise(x0, t, torch.randn_like(x0))
        teacher = self.teacher[0].to(x0.device)
        return self._error(partial(teacher.velocity, cond=cond), x, t, s, cond).mean()

    def _error(self, teacher: Velocity, x: Tensor, t: Tensor, s: Tensor, cond: Tensor | None) -> Tensor:
        raise NotImplementedError


@part
class ProgressiveStudent(Student):
    """A student each of whose `steps` is worth two of its teacher's (2202.00512), or `worth`."""

    def __init__(self, net: nn.Module, null=None, steps: int = 1, worth: int = 2, predict: str = "flow"):
        super().__init__(net, null, steps, predict)
        self.worth = expect.integer("worth", worth, 1)

    def _error(self, teacher, x, t, s, cond) -> Tensor:
        target = progressive_target(teacher, x, t, s, self.worth)
        return (self.velocity(x, t, cond) - target).square()


@part
class ConsistencyStudent(Student):
    """A student that says the same of two neighbours on a path of its teacher's (2303.01469, algorithm 2).

    The answer nearer to the data is the target: that of the student itself, without a gradient, as in 2310.14189.
    """

    def _error(self, teacher, x, t, s, cond) -> Tensor:
        own = partial(self.velocity, cond=cond)
        with torch.no_grad():
            moved = x + _rows(s - t, x) * teacher(x, t)
            target = consistency_function(own, moved, s)
        return (consistency_function(own, x, t) - target).square()


@part
class DistilledDiffusion(LatentDiffusion):
    """A latent diffusion whose denoiser is a student of another one's, told the same words.

    Guidance is inside, so it draws with `guidance` 1, and in as many steps as the student was taught.
    """

    def follow(self, teacher: LatentDiffusion) -> "DistilledDiffusion":
        """Take all of the teacher's weights to begin with, and what it answers when guided, as it draws, as targets."""
        self.autoencoder.load_state_dict(teacher.autoencoder.state_dict())
        self.scale.copy_(teacher.scale)
        self.denoiser.follow(AsFlow(teacher.denoiser, teacher.guidance))
        return self

    def listen(self, teacher: LatentDiffusion) -> "DistilledDiffusion":
        """Take the teacher's answers as targets from now on, and keep the own weights."""
        self.denoiser.listen(AsFlow(teacher.denoiser, teacher.guidance))
        return self

    def generate(self, told: Tensor, *, steps: int | None = None, **options) -> Tensor:
        """Codes (B, latent, h, w) of what was read, by the student's own number of steps unless told another."""
        return super().generate(told, steps=self.denoiser.steps if steps is None else steps, **options)


@torch.no_grad()
def consistency_sample(denoise, x: Tensor, times: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Guess the end, add fresh noise, guess again (2303.01469, algorithm 1, on the straight path), (B, ...).

    denoise(x, t) -> x0; x (B, ...), noise at times[0]; one guess at each of the falling times, the last of which is 0
    and gets none.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    expect.tensor("x", x, "B ...", finite=True)
    *_, end = t = expect.tensor("times", times, "N", low=0, high=1).tolist()
    if len(t) < 2 or end or any(then >= now for now, then in pairwise(t)):
        raise ValueError(f"times: got {t[:8]}, expected times that fall to 0")
    for i, time in enumerate(t[:-1]):
        x0 = expect.alike("denoise(x, t)", denoise(x, torch.tensor(time, dtype=x.dtype)), "x", x)
        x = x0 if i == len(t) - 2 else (1 - t[i + 1]) * x0 + t[i + 1] * randn(x.shape, x, generator)
    return x


def _falls(t: Tensor, s: Tensor, rows: int) -> None:
    expect.tensor("t", t, f"{rows}", low=0, high=1)
    if not (expect.tensor("s", s, f"{rows}", low=0, high=1) < t).all():
        raise ValueError("s: got a time that is not before t, expected s < t")


def _rows(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like).reshape(-1, *[1] * (like.ndim - 1))
