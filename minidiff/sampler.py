"""From noise to pictures: one step that serves nearly every sampler, and the loops around it. Lesson 07.

A sampler knows no network. It asks `denoise(x, t)`, with a time t (), for the estimate of x0 and yields a `Step` at
each time, so a plot or a widget gets the whole path; `last(...)` keeps only its end.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.schedule import Schedule
from minidiff.support import expect
from minidiff.support.rng import randn


class Step(NamedTuple):
    """Where a sampler is: step i = 0, 1, ..., time t, x_t and the estimate of x0 made from it, both (B, ...).

    In the last Step of a run to t = 0 both are the sample.
    """

    i: int
    t: float
    x: Tensor
    x0: Tensor


class _Point(NamedTuple):
    """A time and the schedule there, as float64 numbers."""

    t: float
    alpha: float
    sigma: float
    half_log_snr: float  # lambda in DPM-Solver's paper


def times(steps: int, start: float = 1.0, power: float = 1.0) -> Tensor:
    """The steps + 1 times that a sampler visits, float64, falling from `start` to 0: start (1 - i / steps)^power.

    start < 1 begins from a half-noised picture, as image-to-image does. power 2 crowds the times near 0: DDIM's
    quadratic choice (2010.02502, appendix D.2). With as many steps as the schedule's grid these are its points.
    """
    steps = expect.integer("steps", steps, 1)
    start = expect.number("start", start, 0, 1)
    if start == 0:
        raise ValueError("start: got 0, where there is no noise to remove; expected a time above 0, at most 1")
    return start * torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** expect.number("power", power, 0.1, 10)


def leading_times(steps: int, start: float = 1.0) -> Tensor:
    """Stable Diffusion's own times for `steps` steps, (steps + 1,), float64: they end at 1/1000, and x there is taken.

    They count every (1000 start / steps)-th step of the original from its step 1 up, so the first of them lies below
    `start`: the noise of t = 1 is taken for less than it is (2305.08891, section 3.3, has what is wrong with that).
    The same as diffusers' DDIM with timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False.
    """
    steps = expect.integer("steps", steps, 1, 999)
    ratio = int(1000 * expect.number("start", start, steps / 1000, 1) + 1e-6) // steps
    counted = torch.arange(steps - 1, -1, -1, dtype=torch.float64, device="cpu") * ratio + 2
    return torch.cat([counted, counted.new_ones(1)]) / 1000


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    eta: float = 0.0,
    order: int = 1,
    variance: str = "small",
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Walk x (B, ...), noise at times[0], down to a sample at t = 0, and yield a Step at each of the times.

    eta = 0 draws no noise on the way: DDIM (2010.02502, eq. 12). eta = 1 over all T steps is DDPM's ancestral sampler
    with the posterior's variance (2006.11239, algorithm 2). order = 2 also uses the estimate before this one: with
    eta = 0 DPM-Solver++(2M) (2211.01095, algorithm 2), with eta = 1 its SDE form; between them no method is published.
    variance="large" keeps the mean of eta = 1 with the noise of q(x_t | x_s), the DDIM paper's sigma-hat.
    ValueError for times that do not fall from at most 1 to 0, and, while it runs, for what `denoise` must not return.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    expect.generator("generator", generator)
    eta, order = _method(eta, order, variance)
    points = _points(times, schedule, falling=True)
    return _sample(denoise, _start(x), points, eta, order, variance == "large", generator)


def _method(eta, order, variance) -> tuple[float, int]:
    """eta and order, once it is known that somebody has published what they stand for together."""
    eta = expect.number("eta", eta, 0, 1)
    order = expect.choice("order", order, (1, 2))
    expect.choice("variance", variance, ("small", "large"))
    if order == 2 and 0 < eta < 1:
        raise ValueError(f"eta: got {eta} with order=2, expected 0 or 1 (between them no method is published)")
    if variance == "large" and (eta, order) != (1, 1):
        raise ValueError(f"variance: got 'large' with eta={eta:g}, order={order}, expected eta=1, order=1 with it")
    return eta, order


@torch.no_grad()
def _sample(denoise, x, points, eta, order, large, generator) -> Iterator[Step]:
    before = None  # the estimate of x0 one step ago, and its half log-SNR
    for i, (now, then) in enumerate(pairwise(points)):
        x0 = _estimate(denoise, x, now.t)
        yield Step(i, now.t, x, x0)
        d = _extrapolate(x0, before, now, then) if order == 2 else x0
        x = _step(x, d, now, then, eta, large, generator)
        before = x0, now.half_log_snr
    yield Step(len(points) - 1, then.t, x, x)


def _step(x: Tensor, d: Tensor, now: _Point, then: _Point, eta=0.0, large=False, generator=None) -> Tensor:
    """x at `now` -> x at `then`: the noise that is in x if d is the picture goes down with sigma, part of it anew."""
    eps = (x - now.alpha * d) / now.sigma
    # 1 - SNR_t / SNR_s: the share of the noise variance at s that the chain adds between s and t
    fresh = -math.expm1(2 * (now.half_log_snr - then.half_log_snr)) if eta else 0.0
    up = eta * then.sigma * math.sqrt(fresh)
    mean = then.alpha * d + math.sqrt(max(then.sigma**2 - up**2, 0.0)) * eps
    if large and then.sigma:
        up = now.sigma * math.sqrt(fresh)  # b of q(x_t | x_s): sigma_t² - (alpha_t / alpha_s)² sigma_s², no root of < 0
    return mean + up * randn(x.shape, x, generator) if up else mean


def _extrapolate(x0: Tensor, before, now: _Point, then: _Point) -> Tensor:
    """The picture as it will look half a step on, by the line through the last two estimates (2211.01095, eq. 17)."""
    if before is None or then.sigma == 0:
        return x0
    x0_before, half_log_snr_before = before
    h = then.half_log_snr - now.half_log_snr
    h_before = now.half_log_snr - half_log_snr_before
    return x0 + (x0 - x0_before) * (h / (2 * h_before))


def heun(denoise, x: Tensor, times: Tensor, schedule: Schedule) -> Iterator[Step]:
    """The probability-flow ODE with two evaluations a step, the last one excepted; arguments and steps as `sample`.

    dx = x0 dalpha + eps dsigma; first DDIM's step, then again with the means of x0 and of eps at both of its ends.
    For a variance-exploding schedule it is algorithm 1 of Karras et al. (2206.00364), for `straight()` the ordinary
    method of Heun.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    return _heun(denoise, _start(x), _points(times, schedule, falling=True))


@torch.no_grad()
def _heun(denoise, x, points) -> Iterator[Step]:
    for i, (now, then) in enumerate(pairwise(points)):
        x0 = _estimate(denoise, x, now.t)
        yield Step(i, now.t, x, x0)
        ahead = _step(x, x0, now, then)
        if then.sigma:  # at t = 0 there is no noise left to look at
            other = _estimate(denoise, ahead, then.t)
            eps = (x - now.alpha * x0) / now.sigma
            eps_ahead = (ahead - then.alpha * other) / then.sigma
            turn = (then.alpha - now.alpha) * (x0 + other) + (then.sigma - now.sigma) * (eps + eps_ahead)
            ahead = x + turn / 2
        x = ahead
    yield Step(len(points) - 1, then.t, x, x)


def invert(denoise, x: Tensor, times: Tensor, schedule: Schedule) -> Iterator[Step]:
    """DDIM run backwards: pictures (B, ...) -> the noise that DDIM turns into them (2010.02502, section 4.3).

    times rise from above 0, 1/T say, where x is taken as it is: at t = 0 there is no noise to tell apart (0/0).
    The last Step is at the last time; its x0 is the estimate made one step before.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    return _invert(denoise, _start(x), _points(times, schedule, falling=False))


@torch.no_grad()
def _invert(denoise, x, points) -> Iterator[Step]:
    for i, (now, then) in enumerate(pairwise(points)):
        x0 = _estimate(denoise, x, now.t)
        yield Step(i, now.t, x, x0)
        x = _step(x, x0, now, then)
    yield Step(len(points) - 1, then.t, x, x0)


def last(steps: Iterator[Step]) -> Tensor:
    """The x of the last Step: the sample. ValueError where there is none."""
    ends = deque(steps, maxlen=1) if isinstance(steps, Iterable) else ()
    if not ends or not isinstance(ends[0], Step):
        raise ValueError("steps: got none, expected a sampler that has not been used up")
    return ends[0].x


def _points(times: Tensor, schedule: Schedule, falling: bool) -> list[_Point]:
    wanted = "times that fall from at most 1 to 0" if falling else "times that rise from above 0 to at most 1"
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: got {type(schedule).__name__}, expected a Schedule")
    t = expect.tensor("times", times, "N", low=0, high=1).cpu().double()
    steps = t.diff()
    if len(t) < 2 or not ((steps < 0).all() and t[-1] == 0 if falling else (steps > 0).all() and t[0] > 0):
        raise ValueError(f"times: got {[round(time, 4) for time in t[:8].tolist()]}, expected {wanted}")
    columns = (t, *schedule(t), schedule.log_snr(t) / 2)
    return [_Point(*row) for row in zip(*(column.tolist() for column in columns))]


def _start(x: Tensor) -> Tensor:
    return expect.tensor("x", x, "B ...", finite=True)


def _estimate(denoise, x: Tensor, t: float) -> Tensor:
    """What `denoise` says, looked at: a NaN or another shape would only show many steps later."""
    x0 = expect.alike(f"denoise(x, {t:.4g})", denoise(x, torch.tensor(t, dtype=x.dtype)), "x", x)
    if not torch.isfinite(x0).all():
        raise ValueError(f"denoise(x, {t:.4g}): got NaN or infinity, expected finite numbers")
    return x0
