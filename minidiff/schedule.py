"""Forward diffusion: how much picture and how much noise there is at each time. Lesson 05.

x_t = alpha(t) x0 + sigma(t) eps with eps ~ N(0, I); t runs from 0, the clean picture, to 1, noise. alpha here is what
DDPM calls sqrt(alpha_bar); its alpha is 1 - beta; DDIM's alpha is alpha_bar.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn

LINEAR = (1e-4, 0.02)  # DDPM's first and last beta for 1,000 steps (2006.11239, section 4)
EXACT = {"dtype": torch.float64, "device": "cpu"}  # whatever the default device, so under "meta" too
CLEAN = 1e-6  # how near to 1 and 0 alpha(0) and sigma(0) must be
LOOKS = 101  # times, 0 and 1 among them, at which a new path is looked at
OFFSET = 0.008  # keeps the first betas of the cosine schedule from vanishing (2102.09672, section 3.2)


class Schedule:
    """A path from pictures to noise, any alpha(t) and sigma(t), and what follows from them.

    path: float64 times on the CPU -> their (alpha, sigma), float64, with alpha(0) = 1, sigma(0) = 0 and alpha / sigma
    falling; ValueError for other values at 0, NaN and a ratio that rises, TypeError for other answers. steps: T, the
    number of times that models are trained on. Make one by `linear`, `cosine`, `from_betas`, `straight` or
    `variance_exploding`: each writes into `made_by` how it was called.

    A time is a number or a float tensor () or (B,) in [0, 1]; ValueError outside. All is computed in float64 on the
    CPU and rounded once, at the end: near t = 0 the differences that matter are lost in float32.
    """

    def __init__(self, path: Callable[[Tensor], tuple[Tensor, Tensor]], steps: int = 1000):
        _check_path(expect.function("path", path, "of times, t -> (alpha, sigma)"))
        self.path = path
        self.steps = expect.integer("steps", steps, 1)
        self.grid = torch.arange(1, self.steps + 1, **EXACT).div(self.steps).float()  # (T,): 1/T, ..., 1

    def __call__(self, t, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """alpha and sigma at t: shaped like t, or (B, 1, 1, ...) for a batch `like`, whose dtype and device they take.

        `like` is the one way to broadcast here: alpha of shape (16,) times pictures (16, 1, 16, 16) would multiply
        columns, and no error would tell.
        """
        t = _time("t", t)
        alpha, sigma = self.path(t.cpu().double())
        if like is None:
            return alpha.to(t), sigma.to(t)
        return _rows(alpha, like), _rows(sigma, like)

    def log_snr(self, t) -> Tensor:
        """log(alpha² / sigma²), the logarithm of the signal-to-noise ratio, float64, +infinity at t = 0.

        Half of it is DPM-Solver's lambda. Falling in t; minus infinity where alpha is 0.
        """
        alpha, sigma = self.path(_time("t", t).cpu().double())
        return 2 * (alpha.log() - sigma.log())

    def add_noise(self, x0: Tensor, t, eps: Tensor) -> Tensor:
        """A draw of q(x_t | x_0), at once for any t: alpha x0 + sigma eps (DDPM, 2006.11239, eq. 4). Shape of x0."""
        expect.alike("eps", eps, "x0", x0, "B ...")
        alpha, sigma = self(t, like=x0)
        return alpha * x0 + sigma * eps

    def score(self, x: Tensor, x0: Tensor, t) -> Tensor:
        """The gradient of log q(x_t) at x_t = x, of x's shape, if x0 is E[x_0 | x_t = x]: -(x - alpha x0) / sigma².

        It is Tweedie's formula (2011, doi 10.1198/jasa.2011.tm11181), solved for the score; with x0 the one clean
        picture, the score of q(x_t | x_0). ValueError at t = 0, where sigma is 0.
        """
        expect.alike("x0", x0, "x", x, "B ...")
        alpha, sigma = self(_noisy(t), like=x)
        return -(x - alpha * x0) / sigma.square()

    def velocity(self, x: Tensor, x0: Tensor, t) -> Tensor:
        """dx/dt of the probability-flow ODE at x_t = x if x0 is E[x_0 | x_t = x]: alpha' x0 + sigma' eps, of x's shape.

        eps = (x - alpha x0) / sigma, and alpha', sigma' are the path's derivatives; where a path is made of pieces,
        those of the piece that ends at t, which a sampler walks next. It equals f x - g² score / 2 of Song et al.
        (2011.13456, eq. 13); for `straight()` it is eps - x0. ValueError at t = 0, where sigma is 0.
        """
        expect.alike("x0", x0, "x", x, "B ...")
        t = _noisy(t)
        alpha, sigma = self(t, like=x)
        alpha_slope, sigma_slope = _slopes(self.path, t)
        eps = (x - alpha * x0) / sigma
        return _rows(alpha_slope, x) * x0 + _rows(sigma_slope, x) * eps

    def prior(self, shape, generator: torch.Generator | None = None) -> Tensor:
        """What sampling starts from: x at t = 1 without its trace of x0, sigma(1) eps, float32 of that shape."""
        if not isinstance(shape, tuple | list):
            raise TypeError(f"shape: got {type(shape).__name__}, expected a tuple of sizes")
        shape = [expect.integer("shape", size, 1) for size in shape]
        return float(self(1.0)[1]) * randn(shape, torch.empty(()), generator)

    def spread(self, n: int) -> Tensor:
        """n points of the grid at random, (n,), one in each of n equal parts of it: no batch is all noise."""
        n = expect.integer("n", n, 1)
        even = (torch.randperm(n) + torch.rand(n)) / n  # in [0, 1], where rounding makes the largest a 1
        return self.grid[(even * self.steps).long().clamp(max=self.steps - 1)]

    def transition(self, t, s, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of q(x_t | x_s) for s < t, N(a x_s, b² I): the pair (a, b), shaped as by a call.

        a = alpha_t / alpha_s, b² = sigma_t² - a² sigma_s². From one grid point to the next a² = 1 - beta, b² = beta
        (DDPM, eq. 2).
        """
        t, s = _falling(t, s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.path(t.cpu().double()), self.path(s.cpu().double())
        a = alpha_t / alpha_s
        b = (sigma_t.square() - (a * sigma_s).square()).clamp(min=0).sqrt()
        return (a.to(t), b.to(t)) if like is None else (_rows(a, like), _rows(b, like))

    def posterior(self, x: Tensor, x0: Tensor, t, s) -> tuple[Tensor, Tensor]:
        """q(x_s | x_t = x, x_0) for s < t: its mean, of x's shape, and its std, (B, 1, ...).

        Bayes' rule on two Gaussians: mean = (a sigma_s² x + alpha_s b² x0) / sigma_t², std = sigma_s b / sigma_t with
        (a, b) = transition(t, s) (DDPM, eq. 6 and 7, there for neighbours on the grid).
        """
        expect.alike("x0", x0, "x", x, "B ...")
        t, s = (time.cpu().double() for time in _falling(t, s))
        a, b = self.transition(t, s)
        (alpha_s, sigma_s), (_, sigma_t) = self(s), self(t)
        of_x = a * (sigma_s / sigma_t).square()
        of_x0 = alpha_s * (b / sigma_t).square()
        return _rows(of_x, x) * x + _rows(of_x0, x) * x0, _rows(sigma_s * b / sigma_t, x)


@part
def from_betas(betas) -> Schedule:
    """The chain with those noise variances a step, (T,) in (0, 1): alpha_bar_i = prod_{j <= i} (1 - beta_j).

    Step i = 0 ... T - 1 of the papers is t = (i + 1) / T; t = 0 is the clean picture, alpha_bar = 1. Between those
    points log alpha_bar is linear.
    """
    try:
        betas = torch.as_tensor(betas, **EXACT)
    except (TypeError, ValueError, RuntimeError) as error:  # texts, None, or rows of unequal length
        raise TypeError(f"betas: got {betas!r:.60}, expected numbers (T,)") from error
    expect.tensor("betas", betas, "T", finite=True)
    if betas.min() <= 0 or betas.max() >= 1:
        raise ValueError(f"betas: got values from {betas.min():.4g} to {betas.max():.4g}, expected between 0 and 1")
    log_alpha_bar = torch.cat([betas.new_zeros(1), torch.log1p(-betas).cumsum(0)])  # (T + 1,)
    schedule = Schedule(partial(_chain, log_alpha_bar), len(betas))
    return _made(schedule, "from_betas", betas=betas.tolist())


@part
def linear(steps: int = 1000) -> Schedule:
    """DDPM's schedule: betas from 1e-4 to 0.02 on a line (2006.11239, section 4), scaled by 1000 / steps.

    Unscaled, 100 steps would leave a third of the picture (alpha_bar = 0.36) at the end. 21 steps at least.
    """
    steps = expect.integer("steps", steps, 21)
    schedule = from_betas(torch.linspace(*LINEAR, steps, **EXACT) * (1000 / steps))
    return _made(schedule, "linear", steps=steps)


@part
def cosine(steps: int = 1000) -> Schedule:
    """alpha_bar = cos²(pi/2 (t + 0.008) / 1.008), by way of betas of at most 0.999 (2102.09672, eq. 17).

    Without that cap alpha(1) is 0, and rounded to float32 even below.
    """
    steps = expect.integer("steps", steps, 1)
    t = torch.arange(steps + 1, **EXACT) / steps
    alpha_bar = torch.cos((t + OFFSET) / (1 + OFFSET) * math.pi / 2).square()
    schedule = from_betas((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))
    return _made(schedule, "cosine", steps=steps)


@part
def straight() -> Schedule:
    """The straight path of flow matching: alpha = 1 - t, sigma = t (Lipman et al. 2022, 2210.02747; 2209.03003)."""
    return _made(Schedule(_line), "straight")


@part
def variance_exploding(sigma_min: float = 0.01, sigma_max: float = 50.0) -> Schedule:
    """alpha = 1, and sigma grows: sigma_min sqrt((sigma_max / sigma_min)^(2t) - 1) (Song et al. 2011.13456, eq. 30).

    The -1 is that of the exact process, so that sigma(0) = 0.
    """
    low = expect.number("sigma_min", sigma_min, 1e-8)
    high = expect.number("sigma_max", sigma_max)
    if high <= low:
        raise ValueError(f"sigma_max: got {high}, expected more than sigma_min = {low}")
    return _made(Schedule(partial(_exploding, low, high)), "variance_exploding", sigma_min=low, sigma_max=high)


def _made(schedule: Schedule, name: str, **arguments) -> Schedule:
    """The schedule with a note on how it was made, by which a checkpoint makes it again."""
    schedule.made_by = {"part": name} | arguments
    return schedule


# The paths: functions of a module, not of another function, so that a model can be pickled with its schedule.


def _chain(log_alpha_bar: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """log alpha_bar, given at the T + 1 points 0, 1/T, ..., 1, on straight lines between them."""
    count = len(log_alpha_bar) - 1
    place = t * count
    # a grid point that has been through float32 is that point still: cosine is steep enough at its end to tell
    past = (place - place.round()).detach()
    place = place - torch.where(past.abs() <= place.round() * 2**-24, past, 0.0)  # exact; with a slope, unlike round()
    below = (place.ceil().long() - 1).clamp(min=0)  # a point ends its piece
    log = torch.lerp(log_alpha_bar[below], log_alpha_bar[below + 1], place - below)
    return torch.exp(log / 2), torch.sqrt(torch.expm1(log).abs())


def _line(t: Tensor) -> tuple[Tensor, Tensor]:
    return 1 - t, t


def _exploding(low: float, high: float, t: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(t), low * torch.expm1(2 * t * math.log(high / low)).sqrt()


@torch.enable_grad()
def _slopes(path, t: Tensor) -> list[Tensor]:
    """The derivatives of alpha and sigma at the times t, float64, of its shape."""
    t = t.detach().cpu().double().requires_grad_()
    alpha, sigma = path(t)
    return [_slope("alpha", alpha, 1.0, t), _slope("sigma", sigma, 0.0, t)]


def _slope(name: str, value: Tensor, start: float, t: Tensor) -> Tensor:
    """The derivative of alpha or sigma; 0 where it stays as it was at t = 0, as the alpha of a path may."""
    if value.requires_grad:
        return torch.autograd.grad(value.sum(), t, retain_graph=True)[0]  # each depends on its own time alone
    if ((value - start).abs() > CLEAN).any():
        told = "expected one in torch's own functions of t, or `from_betas` for a table"
        raise ValueError(f"path: got {name}(t) without a derivative, {told}")
    return torch.zeros_like(t)


def _check_path(path) -> None:
    """ValueError where t = 0 is not the clean picture, as in a path the wrong way round, or where noise recedes."""
    t = torch.linspace(0, 1, LOOKS, **EXACT)
    answer = path(t)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise TypeError(f"path: got {type(answer).__name__} from it, expected a pair, (alpha, sigma)")
    for name, values in zip(("alpha", "sigma"), answer):
        expect.tensor(f"path: {name}(t)", values, str(LOOKS), like=t, finite=True, low=-CLEAN)
    alpha, sigma = answer
    if not (abs(alpha[0] - 1) <= CLEAN and abs(sigma[0]) <= CLEAN):
        got = f"alpha(0) = {alpha[0]:.4g}, sigma(0) = {sigma[0]:.4g}"
        raise ValueError(f"path: got {got}, expected 1 and 0: t = 1 is noise")
    falls = torch.atan2(sigma, alpha).diff() < -CLEAN  # the angle goes from 0 to pi / 2
    if falls.any():
        after = t[falls.long().argmax()]
        raise ValueError(f"path: got less noise after t = {after:.2f}, expected alpha / sigma to fall")


def _time(name: str, t) -> Tensor:
    """`t` as a tensor () or (B,) of times in [0, 1]; a plain number becomes float64."""
    if not isinstance(t, Tensor):
        t = torch.tensor(expect.number(name, t, 0, 1), **EXACT)
    return expect.tensor(name, t, "B" if t.ndim else "", low=0, high=1)


def _noisy(t) -> Tensor:
    """The same above 0."""
    t = _time("t", t)
    if (t == 0).any():
        raise ValueError("t: got 0, where there is no noise, expected a time above it")
    return t


def _falling(t, s) -> tuple[Tensor, Tensor]:
    """t and s < t, both of one shape; one that is () serves for all of the other."""
    t = _time("t", t)
    s = _time("s", s)
    if t.ndim and s.ndim and t.shape != s.shape:
        raise ValueError(f"s: got shape {tuple(s.shape)}, expected () or that of t, {tuple(t.shape)}")
    t, s = torch.broadcast_tensors(t, s.to(t.device))
    if (s >= t).any():
        raise ValueError("s: got a time that is not before t, expected s < t")
    return t, s


def _rows(value: Tensor, like: Tensor) -> Tensor:
    """() or (B,) -> (B, 1, 1, ...), a value for each row of `like`, in its dtype and on its device."""
    if not isinstance(like, Tensor) or not like.is_floating_point() or not like.ndim:
        raise TypeError(f"like: got {type(like).__name__}, expected a float tensor with rows")
    if value.ndim and len(value) != len(like):
        raise ValueError(f"t: got shape {tuple(value.shape)}, expected () or ({len(like)},), one time for each row")
    return value.to(like).expand(len(like)).reshape(-1, *[1] * (like.ndim - 1))
