"""Forward diffusion: how much picture and how much noise there is at each time. Lesson 05.

x_t = alpha(t) x0 + sigma(t) eps with eps ~ N(0, I); t runs from 0, the clean picture, to 1, noise. alpha here is what
DDPM calls sqrt(alpha_bar); its alpha is 1 - beta; DDIM's alpha is alpha_bar.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff import expect
from minidiff.noise import randn

LINEAR = (1e-4, 0.02)  # DDPM's first and last beta for 1,000 steps (2006.11239, section 4)
EXACT = {"dtype": torch.float64, "device": "cpu"}  # whatever the default device, so under "meta" too
OFFSET = 0.008  # keeps the first betas of the cosine schedule from vanishing (2102.09672, section 3.2)


class Schedule:
    """A path from pictures to noise, any alpha(t) and sigma(t), and what follows from them.

    path: float64 times on the CPU -> their (alpha, sigma), float64, with alpha(0) = 1, sigma(0) = 0 and alpha / sigma
    falling. steps: T, the number of times that models are trained on. Make one by `linear`, `cosine`, `from_betas`,
    `flow` or `variance_exploding`.

    A time is a number or a float tensor () or (B,) in [0, 1]; ValueError outside. All is computed in float64 on the
    CPU and rounded once, at the end: near t = 0 the differences that matter are lost in float32.
    """

    def __init__(self, path: Callable[[Tensor], tuple[Tensor, Tensor]], steps: int = 1000):
        if not callable(path):
            raise TypeError(f"path: got {type(path).__name__}, expected a function of times: t -> (alpha, sigma)")
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
        _alike("x0", x0, "eps", eps)
        alpha, sigma = self(t, like=x0)
        return alpha * x0 + sigma * eps

    def prior(self, shape, generator: torch.Generator | None = None) -> Tensor:
        """What sampling starts from: x at t = 1 without its trace of x0, sigma(1) eps, float32 of that shape."""
        if not isinstance(shape, tuple | list):
            raise TypeError(f"shape: got {type(shape).__name__}, expected a tuple of sizes")
        shape = [expect.integer("shape", size, 1) for size in shape]
        return float(self(1.0)[1]) * randn(shape, torch.empty(()), generator)

    def spread(self, n: int) -> Tensor:
        """n points of the grid at random, (n,), one in each of n equal parts of it: no batch is all noise."""
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
        _alike("x", x, "x0", x0)
        t, s = (time.cpu().double() for time in _falling(t, s))
        a, b = self.transition(t, s)
        (alpha_s, sigma_s), (_, sigma_t) = self(s), self(t)
        of_x, of_x0 = a * (sigma_s / sigma_t).square(), alpha_s * (b / sigma_t).square()
        return _rows(of_x, x) * x + _rows(of_x0, x) * x0, _rows(sigma_s * b / sigma_t, x)


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
    count = len(betas)

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        place, point = t * count, (t * count).round()
        # a grid point that has been through float32 is that point still: cosine is steep enough at its end to tell
        place = torch.where((place - point).abs() <= point * 2**-24, point, place)
        below = place.floor().long().clamp(max=count - 1)
        log = torch.lerp(log_alpha_bar[below], log_alpha_bar[below + 1], place - below)
        return torch.exp(log / 2), torch.sqrt(torch.expm1(log).abs())

    return Schedule(path, count)


def linear(steps: int = 1000) -> Schedule:
    """DDPM's schedule: betas from 1e-4 to 0.02 on a line (2006.11239, section 4), scaled by 1000 / steps.

    Unscaled, 100 steps would leave a third of the picture (alpha_bar = 0.36) at the end. 21 steps at least.
    """
    steps = expect.integer("steps", steps, 21)
    return from_betas(torch.linspace(*LINEAR, steps, **EXACT) * (1000 / steps))


def cosine(steps: int = 1000) -> Schedule:
    """alpha_bar = cos²(pi/2 (t + 0.008) / 1.008), by way of betas of at most 0.999 (2102.09672, eq. 17).

    Without that cap alpha(1) is 0, and rounded to float32 even below.
    """
    steps = expect.integer("steps", steps, 1)
    t = torch.arange(steps + 1, **EXACT) / steps
    alpha_bar = torch.cos((t + OFFSET) / (1 + OFFSET) * math.pi / 2).square()
    return from_betas((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))


def flow() -> Schedule:
    """The straight path of flow matching: alpha = 1 - t, sigma = t (Lipman et al. 2022, 2210.02747; 2209.03003)."""
    return Schedule(lambda t: (1 - t, t))


def variance_exploding(sigma_min: float = 0.01, sigma_max: float = 50.0) -> Schedule:
    """alpha = 1, and sigma grows: sigma_min sqrt((sigma_max / sigma_min)^(2t) - 1) (Song et al. 2011.13456, eq. 30).

    The -1 is that of the exact process, so that sigma(0) = 0.
    """
    low = expect.number("sigma_min", sigma_min, 1e-8)
    high = expect.number("sigma_max", sigma_max)
    if high <= low:
        raise ValueError(f"sigma_max: got {high}, expected more than sigma_min = {low}")
    return Schedule(lambda t: (torch.ones_like(t), low * torch.expm1(2 * t * math.log(high / low)).sqrt()))


def _time(name: str, t) -> Tensor:
    """`t` as a tensor () or (B,) of times in [0, 1]; a plain number becomes float64."""
    if not isinstance(t, Tensor):
        t = torch.tensor(expect.number(name, t, 0, 1), **EXACT)
    return expect.tensor(name, t, "B" if t.ndim else "", low=0, high=1)


def _falling(t, s) -> tuple[Tensor, Tensor]:
    """t and s < t, both of one shape; one that is () serves for all of the other."""
    t, s = _time("t", t), _time("s", s)
    if t.ndim and s.ndim and t.shape != s.shape:
        raise ValueError(f"s: got shape {tuple(s.shape)}, expected () or that of t, {tuple(t.shape)}")
    t, s = torch.broadcast_tensors(t, s.to(t.device))
    if (s >= t).any():
        raise ValueError("s: got a time that is not before t, expected s < t")
    return t, s


def _alike(name: str, x: Tensor, other: str, y: Tensor) -> None:
    """Both are float tensors with rows, and of one shape."""
    expect.tensor(name, x, "B ...")
    if expect.tensor(other, y, "B ...").shape != x.shape:
        raise ValueError(f"{other}: got shape {tuple(y.shape)}, expected that of {name}, {tuple(x.shape)}")


def _rows(value: Tensor, like: Tensor) -> Tensor:
    """() or (B,) -> (B, 1, 1, ...), a value for each row of `like`, in its dtype and on its device."""
    if not isinstance(like, Tensor) or not like.is_floating_point() or not like.ndim:
        raise TypeError(f"like: got {type(like).__name__}, expected a float tensor with rows")
    if value.ndim and len(value) != len(like):
        raise ValueError(f"t: got shape {tuple(value.shape)}, expected () or ({len(like)},), one time for each row")
    return value.to(like).expand(len(like)).reshape(-1, *[1] * (like.ndim - 1))
