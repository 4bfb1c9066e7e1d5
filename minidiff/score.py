"""Score models and SDEs: the score learned and walked along, and diffusion in continuous time. Lesson 16.

The score of a density p is the gradient of log p. Where a `Schedule` adds the noise, a denoiser and a score are one
thing (`Schedule.score`), so the samplers here ask for `denoise(x, t)` and yield `Step`s, as those of `sampler` do.
"""

import math
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from minidiff.sampler import Step
from minidiff.schedule import Schedule
from minidiff.support import expect
from minidiff.support.rng import randn

STEP = 0.2  # of Langevin dynamics in units of sigma²: NCSN's 2e-5 at its last sigma, 0.01 (1907.05600, section 5)
SNR = 0.16  # of a corrector (2011.13456, appendix G)
HALVINGS = 60  # of an interval of times: as far as float64 goes


# Training: three losses with one minimum


def value_and_divergence(field, x: Tensor, probe: Tensor | None = None, graph: bool = False) -> tuple[Tensor, Tensor]:
    """field(x) (B, ...) and its divergence, the trace of its Jacobian, (B,), for x (B, ...).

    Exact by one backward pass for each of the D numbers of a row; with a probe v (B, ...) it is v^T J v, one pass,
    whose mean is the trace if the entries of v are independent with mean 0 and variance 1 (Hutchinson, 1990). graph:
    keep both differentiable, for a loss. No row of field(x) may depend on another row of x, as in batch norm.
    """
    expect.tensor("x", x, "B ...")
    with torch.enable_grad():
        x = x if graph and x.requires_grad else x.detach().requires_grad_()
        value = expect.alike("field(x)", field(x), "x", x)
        if probe is not None:
            expect.alike("probe", probe, "x", x)
            trace = _row_sums(_gradient((value * probe).sum(), x, graph) * probe)
        else:
            columns = value.flatten(1).unbind(1)
            trace = sum(_gradient(column.sum(), x, graph).flatten(1)[:, k] for k, column in enumerate(columns))
    return (value, trace) if graph else (value.detach(), trace.detach())


def explicit_loss(score, x: Tensor) -> Tensor:
    """|s|² / 2 + tr(ds/dx) for each row, (B,), exact (Hyvärinen, 2005, theorem 1), score: (B, ...) -> (B, ...).

    Its mean over data differs from half the squared distance of s from the true score by a constant.
    """
    value, trace = value_and_divergence(score, x, graph=True)
    return _row_sums(value.square()) / 2 + trace


def sliced_loss(score, x: Tensor, v: Tensor) -> Tensor:
    """|s|² / 2 + v^T (ds/dx) v for each row, (B,): one backward pass in place of D (Song et al. 1905.07088, eq. 8)."""
    expect.alike("v", v, "x", x, "B ...")
    value, trace = value_and_divergence(score, x, v, graph=True)
    return _row_sums(value.square()) / 2 + trace


def denoising_loss(score, x0: Tensor, sigma, eps: Tensor) -> Tensor:
    """|s(x0 + sigma eps) + eps / sigma|² / 2 for each row, (B,) (Vincent, 2011): no derivative of s is needed.

    sigma: a number above 0, or a tensor (B, 1, ...). The minimum is the score of the noisy data, not of the data.
    Times sigma² it is NCSN's loss (1907.05600, eq. 5 and 6), and half the loss of eps = -sigma s.
    """
    expect.alike("eps", eps, "x0", x0, "B ...")
    sigma = expect.factor("sigma", sigma, x0)
    x = x0 + sigma * eps
    return _row_sums((expect.alike("score(x)", score(x), "x0", x0) + eps / sigma).square()) / 2


def _gradient(total: Tensor, x: Tensor, graph: bool) -> Tensor:
    if not total.requires_grad:  # a field that is constant
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(total, x, create_graph=graph, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def _row_sums(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


# Langevin dynamics, plain and on a ladder of noise


def langevin(score, x: Tensor, step: float, steps: int, generator: torch.Generator | None = None) -> Iterator[Step]:
    """x + step/2 score(x) + sqrt(step) z, again and again: in the limit of small steps and many of them, draws of p.

    x (B, ...); score is that of p itself, so each `Step`, of steps + 1, has t = 0 and x0 = x (1907.05600, eq. 4).
    """
    expect.function("score", score, "x -> the gradient of log p(x)")
    step = expect.number("step", step, 1e-12)
    steps = expect.integer("steps", steps, 1)
    expect.tensor("x", x, "B ...", finite=True)
    return _langevin(score, x, step, steps, expect.generator("generator", generator))


@torch.no_grad()
def _langevin(score, x, step, steps, generator) -> Iterator[Step]:
    for i in range(steps):
        yield Step(i, 0.0, x, x)
        x = _moved(x, expect.alike("score(x)", score(x), "x", x), step, generator)
    yield Step(steps, 0.0, x, x)


def _moved(x: Tensor, score: Tensor, step: float, generator) -> Tensor:
    return x + step / 2 * score + math.sqrt(step) * randn(x.shape, x, generator)


def annealed(
    denoise, x: Tensor, times: Tensor, schedule: Schedule, *, each: int = 5, step: float = STEP, generator=None
) -> Iterator[Step]:
    """Annealed Langevin dynamics (NCSN, 1907.05600, algorithm 1): `each` steps of size step sigma² at every time.

    x (B, ...) as noisy as times[0]; times (N,) fall to 0. Every step yields a `Step`; the last is the estimate of x0
    at the last noise, which takes that noise out too (2009.05475). Between times x changes with alpha alone.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    expect.generator("generator", generator)
    each = expect.integer("each", each, 1)
    step = expect.number("step", step, 1e-12, 2)
    return _annealed(denoise, _start(x), _falling(times), SDE(schedule).schedule, each, step, generator)


@torch.no_grad()
def _annealed(denoise, x, times, schedule, each, step, generator) -> Iterator[Step]:
    i = 0
    for t, s in pairwise(times):
        alpha, sigma = (float(value) for value in schedule(t))
        for _ in range(each):
            x0 = denoise(x, _at(t, x))
            yield Step(i, t, x, x0)
            x = _moved(x, schedule.score(x, x0, t), step * sigma**2, generator)
            i += 1
        x = x * (float(schedule(s)[0]) / alpha) if s else denoise(x, _at(t, x))
    yield Step(i, 0.0, x, x)


# Stochastic differential equations


def vp(beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
    """The variance-preserving SDE, DDPM's chain with steps of no length: dx = -beta/2 x dt + sqrt(beta) dw.

    beta(t) rises on a line, alpha = exp(-1/2 ∫ beta), alpha² + sigma² = 1 (2011.13456, eq. 11, 29 and 33).
    """
    return Schedule(partial(_vp, *_betas(beta_min, beta_max)))


def sub_vp(beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
    """The sub-VP SDE: the alpha of `vp` and the smaller noise sigma = 1 - alpha² (2011.13456, eq. 12 and 29).

    dx = -beta/2 x dt + sqrt(beta (1 - alpha⁴)) dw.
    """
    return Schedule(partial(_sub_vp, *_betas(beta_min, beta_max)))


def _betas(low, high) -> tuple[float, float]:
    low = expect.number("beta_min", low, 1e-6)
    return low, expect.number("beta_max", high, low)


def _vp(low: float, high: float, t: Tensor) -> tuple[Tensor, Tensor]:
    total = low * t + (high - low) / 2 * t**2  # ∫ beta
    return torch.exp(-total / 2), torch.sqrt(-torch.expm1(-total))


def _sub_vp(low: float, high: float, t: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma = _vp(low, high, t)
    return alpha, sigma.square()


class SDE:
    """dx = f(t) x dt + g(t) dw from t = 0 to 1, so that x_t given x_0 is N(alpha x0, sigma² I): a schedule in motion.

    Every `Schedule` is one: f = alpha' / alpha and g² = (sigma²)' - 2 f sigma² (2011.13456, appendix B). For
    `variance_exploding()` f = 0: that is the VE SDE. t is a number or () in (0, 1]; x (B, ...).
    """

    def __init__(self, schedule: Schedule):
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule: got {type(schedule).__name__}, expected a Schedule")
        self.schedule = schedule

    def marginal(self, t) -> tuple[float, float]:
        """alpha and sigma of x_t given x_0."""
        alpha, sigma = self.schedule(float(t))
        return alpha.item(), sigma.item()

    def coefficients(self, t) -> tuple[float, float]:
        """f(t) and g(t)."""
        alpha, sigma = self.marginal(t)
        if not alpha:
            raise ValueError(f"t: got {float(t):g}, where alpha is 0 and f has no bound, expected an earlier time")
        point = torch.tensor([alpha, sigma], dtype=torch.float64)
        # the path that begins at 1 without noise moves by alpha', that of pure noise by sigma'
        alpha_slope, sigma_slope = self.schedule.velocity(point, point.new_tensor([1.0, 0.0]), float(t)).tolist()
        f = alpha_slope / alpha
        return f, math.sqrt(max(2 * sigma * (sigma_slope - f * sigma), 0.0))

    def drift(self, x: Tensor, t) -> Tensor:
        """f(t) x, of the way forward."""
        return self.coefficients(t)[0] * expect.tensor("x", x, "B ...")

    def diffusion(self, t) -> float:
        """g(t), of the way forward and of the way back."""
        return self.coefficients(t)[1]

    def reverse_drift(self, x: Tensor, x0: Tensor, t) -> Tensor:
        """f x - g² score, of the way back, if x0 is E[x_0 | x_t = x] (Anderson, 1982; 2011.13456, eq. 6)."""
        f, g = self.coefficients(t)
        return f * expect.alike("x", x, "x0", x0) - g**2 * self.schedule.score(x, x0, t)

    def flow_drift(self, x: Tensor, x0: Tensor, t) -> Tensor:
        """f x - g² score / 2, of the probability-flow ODE (2011.13456, eq. 13): `Schedule.velocity`."""
        return self.schedule.velocity(x, x0, t)


def reverse_sde(denoise, x: Tensor, times: Tensor, schedule: Schedule, generator=None) -> Iterator[Step]:
    """The SDE backwards by Euler and Maruyama: x + (f x - g² score) (s - t) + g sqrt(t - s) z, from t to s < t.

    denoise(x, t) -> x0; x (B, ...), noise at times[0]; times (N,) fall to 0, where no noise is added. A Step a time.
    """
    return predictor_corrector(denoise, x, times, schedule, corrections=0, generator=generator)


def predictor_corrector(
    denoise, x: Tensor, times: Tensor, schedule: Schedule, *, corrections: int = 1, snr: float = SNR, generator=None
) -> Iterator[Step]:
    """`reverse_sde` with so many Langevin steps at each new time (2011.13456, algorithms 1, 4 and 5).

    The size of such a step is 4 (snr sigma)², by the paper's rule with the length that a score has in the mean, that
    of the noise over sigma. Each step asks `denoise` 1 + corrections times, the last one once.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    corrections = expect.integer("corrections", corrections, 0)
    snr = expect.number("snr", snr, 1e-6, 0.7)
    expect.generator("generator", generator)
    return _predictor_corrector(denoise, _start(x), _falling(times), SDE(schedule), corrections, snr, generator)


@torch.no_grad()
def _predictor_corrector(denoise, x, times, sde, corrections, snr, generator) -> Iterator[Step]:
    for i, (t, s) in enumerate(pairwise(times)):
        x0 = denoise(x, _at(t, x))
        yield Step(i, t, x, x0)
        x = x + (s - t) * sde.reverse_drift(x, x0, t)
        if not s:
            break
        x = x + sde.diffusion(t) * math.sqrt(t - s) * randn(x.shape, x, generator)
        size = 4 * (snr * sde.marginal(s)[1]) ** 2
        for _ in range(corrections):
            x = _moved(x, sde.schedule.score(x, denoise(x, _at(s, x)), s), size, generator)
    yield Step(i + 1, 0.0, x, x)


# The ordinary differential equation, and its likelihood


def log_prob(denoise, x: Tensor, times: Tensor, schedule: Schedule, probe: Tensor | None = None) -> Tensor:
    """log p(x) in nats, (B,), by the probability-flow ODE: log p_1(x_1) + ∫ div v dt along the path from x.

    The instantaneous change of variables (1806.07366, theorem 1; 2011.13456, eq. 39), with Heun's steps. x (B, ...) is
    data at times[0], a time above 0 (near 0 its noise is none to speak of); times (N,) rise to 1, where p_1 is
    N(0, sigma(1)² I). probe: as in `value_and_divergence`, for many dimensions; the same one all the way.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    t = expect.tensor("times", times, "N", low=0, high=1).double()
    if len(t) < 2 or not (t[0] > 0 and t[-1] == 1 and (t.diff() > 0).all()):
        raise ValueError(f"times: got {[round(v, 4) for v in t[:8].tolist()]}, expected times from above 0 up to 1")
    return _log_prob(denoise, _start(x), t.tolist(), SDE(schedule).schedule, probe)


def _log_prob(denoise, x, times, schedule, probe) -> Tensor:
    def moving(x, t):
        return value_and_divergence(lambda x: schedule.velocity(x, denoise(x, _at(t, x)), t), x, probe)

    total = x.new_zeros(len(x))
    for t, s in pairwise(times):
        v, trace = moving(x, t)
        v_ahead, trace_ahead = moving(x + (s - t) * v, s)
        x = x + (s - t) * (v + v_ahead) / 2
        total = total + (s - t) * (trace + trace_ahead) / 2
    variance = float(schedule(1.0)[1]) ** 2
    return total - _row_sums(x.square() / variance + math.log(2 * math.pi * variance)) / 2


# EDM


def precondition(sigma, sigma_data: float = 0.5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in, c_noise of D(x) = c_skip x + c_out F(c_in x, c_noise), x = x0 + sigma eps; each as sigma is.

    So that what F is shown and what it must answer have variance 1, where data have deviation `sigma_data`, and errors
    of F count as little as they can (2206.00364, table 1, appendix B.6). sigma > 0, a number or a tensor.
    """
    sigma = expect.floats("sigma", sigma)
    if not (sigma > 0).all():
        raise ValueError("sigma: got 0 or less, expected noise above 0")
    sigma_data = expect.number("sigma_data", sigma_data, 1e-6)
    total = sigma.square() + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def edm_sigmas(steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """EDM's noise levels (steps + 1,), float64, from high to low, then 0: even in sigma^(1/rho) (2206.00364, eq. 5)."""
    steps = expect.integer("steps", steps, 2)
    low = expect.number("low", low, 1e-6)
    ends = expect.number("high", high, low) ** (1 / rho), low ** (1 / expect.number("rho", rho, 1))
    levels = torch.linspace(*ends, steps, dtype=torch.float64) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def edm_times(schedule: Schedule, steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """The times (steps + 1,), falling to 0, at which a schedule's sigma / alpha is one of `edm_sigmas`.

    x / alpha is EDM's x there, so its grid serves any schedule. ValueError where the schedule ends before `high`.
    """
    levels = edm_sigmas(steps, low, high, rho)
    most = float(schedule.log_snr(1.0).div(-2).exp())
    if levels[0] > most * (1 + 1e-6):
        raise ValueError(f"high: got {high}, expected at most {most:.4g}, what this schedule has at t = 1")
    wanted = -2 * levels[:-1].log()
    early, late = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(HALVINGS):
        middle = (early + late) / 2
        clear = schedule.log_snr(middle) > wanted
        early = torch.where(clear, middle, early)
        late = torch.where(clear, late, middle)
    return torch.cat([late, late.new_zeros(1)])


def _start(x: Tensor) -> Tensor:
    return expect.tensor("x", x, "B ...", finite=True)


def _falling(times: Tensor) -> list[float]:
    t = expect.tensor("times", times, "N", low=0, high=1).double()
    if len(t) < 2 or not ((t.diff() < 0).all() and t[-1] == 0):
        raise ValueError(f"times: got {[round(v, 4) for v in t[:8].tolist()]}, expected times that fall to 0")
    return t.tolist()


def _at(t: float, x: Tensor) -> Tensor:
    """The time as `denoise` is told it, () in x's dtype."""
    return torch.tensor(t, dtype=x.dtype)
