"""The model of a diffusion: a network asked what is picture and what is noise, and how it is trained. Lesson 06.

The network predicts o = p x0 + q eps; which (p, q) it is, is a row of `PREDICTS`. Whatever it is, `Denoiser` answers
with the estimate of x0, and neither samplers nor guidance have to know.
"""

import inspect
import warnings
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.schedule import Schedule
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn

LEVEL = 1 / 8  # from one grey level of a picture to the next
TRACE = 1e-6  # an alpha below it leaves no trace of the picture that float32 could tell from noise
FAR = 100.0  # further than any picture: the open end of a bin

PREDICTS = {  # name -> (p, q) of the predicted o = p x0 + q eps, at alpha and sigma
    "eps": lambda alpha, sigma: (0.0, 1.0),  # DDPM (2006.11239)
    "x0": lambda alpha, sigma: (1.0, 0.0),
    "v": lambda alpha, sigma: (-sigma, alpha),  # Salimans and Ho (2202.00512), with d x_t / d angle as its sign
    "flow": lambda alpha, sigma: (-1.0, 1.0),  # flow matching (2210.02747): d x_t / dt on the straight path
}


WEIGHTS = {  # name -> the weight of a squared error of x0, by the log-SNR of its time
    "x0": torch.ones_like,
    "snr": torch.exp,  # what the error of eps weighs: DDPM's simple loss, whatever the network predicts
    "snr+1": lambda log_snr: log_snr.exp() + 1,  # what that of v weighs (2202.00512, section 4)
    "truncated-snr": lambda log_snr: log_snr.exp().clamp(min=1),  # as there
    "min-snr-5": lambda log_snr: log_snr.exp().clamp(max=5),  # Hang et al. (2303.09556)
}
TIMES = {  # name -> n times at random, (n,), on the CPU
    "grid": lambda schedule, n: schedule.grid[torch.randint(schedule.steps, (n,))],  # DDPM's
    "spread": lambda schedule, n: schedule.spread(n),
    "uniform": lambda schedule, n: 1 - torch.rand(n),  # in (0, 1]: at 0 there is nothing to learn
    "logit-normal": lambda schedule, n: torch.sigmoid(torch.randn(n)),  # most in the middle (2403.03206, section 3.1)
}


@part
class Denoiser(nn.Module):
    """x_t and t in, an estimate of x0 out; `loss` trains it.

    net(x, t, cond): x (B, ...) divided by sqrt(alpha² + sigma²), so always of about unit size; t (B,) in [0, 1]; cond
    None, labels (B,), token ids (B, L) or pictures (B, ...) -> x's shape; ValueError or TypeError for anything else.
    null: what stands for "no condition", a number or a row of ids; None for a network without conditions. Without it a
    network with labels cannot be guided: that is warned of.
    drop: the share of rows that `loss` shows as null, in training, so that one network learns p(x) and p(x | cond).
    focus: two times; `loss` draws every second t, on average, between them: there is most to learn, as 2403.03206 has
    it (section 3.1, by other densities). The times of a batch are spread then, unless `times` says otherwise.
    weight: of the squared error of the estimate of x0 at each time: a name of `WEIGHTS`, or a function of the log-SNR
    (n,), float64, -> (n,). None: each error counts as it is, that of what the network predicts.
    times: how `loss` draws t, a name of `TIMES`, or a function n -> times (n,) in (0, 1]. None: "grid", each by itself.
    ValueError for predict="eps" on a schedule with alpha(1) near 0, such as `straight()`: there noise says nothing of
    x0.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        predict: str = "eps",
        null=None,
        drop: float = 0.0,
        focus=None,
        weight: str | Callable[[Tensor], Tensor] | None = None,
        times: str | Callable[[int], Tensor] | None = None,
    ):
        super().__init__()
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule: got {type(schedule).__name__}, expected a Schedule")
        self.net = _takes_three(net)
        self.schedule = schedule
        self.null = _plain(null)
        self.predict = expect.choice("predict", predict, PREDICTS)
        self.drop = expect.number("drop", drop, 0, 1)
        self.focus = _focus(focus)
        self.weight = _named("weight", weight, WEIGHTS)
        self.times = _named("times", times, TIMES)
        if self.drop and self.null is None:
            raise ValueError(f"drop: got {drop} without null, expected what to show in place of a condition")
        if self.null is None and getattr(net, "classes", 0):
            told = f"null: got None for a network with {net.classes} labels, which cannot be guided without"
            warnings.warn(f"{told}; pass null={net.classes} and, to train it, drop=0.1", stacklevel=2)
        alpha = float(schedule(1.0)[0])
        if predict == "eps" and abs(alpha) < TRACE:
            raise ValueError(f"predict: got 'eps' with alpha(1) = {alpha:.2g}, expected 'x0', 'v' or 'flow' with it")

    def forward(self, x: Tensor, t, cond: Tensor | None = None) -> Tensor:
        """E[x0 | x_t = x] as the network estimates it, (B, ...); t () or (B,). Without `cond` it is shown null.

        Solved from x = alpha x0 + sigma eps and o = p x0 + q eps. At t = 0 that is x itself, but for "x0", which
        answers o.
        """
        alpha, sigma = self.schedule(t, like=expect.tensor("x", x, "B ...", like=self._weight()))
        o = self._net(x, t, self._cond(cond, len(x)), alpha, sigma)
        if self.predict == "x0":
            return o
        p, q = PREDICTS[self.predict](alpha, sigma)
        return (q * x - sigma * o) / (q * alpha - p * sigma)

    def losses(self, x0: Tensor, t, eps: Tensor, cond: Tensor | None = None) -> Tensor:
        """The mean squared error of the prediction for each row, (B,), at the given times and noise.

        x0, eps (B, ...), t () or (B,), cond as the network takes it, null too.
        """
        return self._losses(x0, t, eps, self._cond(cond, self._data(x0)))

    def loss(self, x0: Tensor, cond: Tensor | None = None, eps: Tensor | None = None) -> Tensor:
        """DDPM's simple loss (2006.11239, eq. 14), a scalar, t and its weight as they were chosen when it was built.

        eps is drawn from N(0, I), or given, of x0's shape: see `PairedDenoiser`. ValueError for x0 in levels 0 … 255,
        and for labels beyond the network's own, as `null` is: `losses` takes rows without a label.
        """
        cond = self._known(cond, self._data(x0))
        t = self._times(len(x0))
        eps = torch.randn_like(x0) if eps is None else eps
        losses = self._losses(x0, t, eps, self._dropped(cond))
        return losses.mean() if self.weight is None else (self._weights(t).to(losses) * losses).mean()

    def _times(self, n: int) -> Tensor:
        """n times at random, (n,), on the CPU, where the schedule is computed."""
        t = self._drawn(n)
        if self.focus is None:
            return t
        low, high = self.focus
        return torch.where(torch.rand(n) < 0.5, low + (high - low) * t, t)

    def _drawn(self, n: int) -> Tensor:
        if callable(self.times):
            t = expect.tensor("times(n)", self.times(n), f"{n}", low=0, high=1).cpu()
            if not t.min() > 0:
                raise ValueError("times(n): got 0, where there is no noise, expected times above it")
            return t
        return TIMES[self.times or ("grid" if self.focus is None else "spread")](self.schedule, n)

    def _weights(self, t: Tensor) -> Tensor:
        """What the squared error of the prediction is multiplied by at each time, (n,), float64.

        x0's error is sigma / (q alpha - p sigma) times that of o = p x0 + q eps, as in `forward`.
        """
        alpha, sigma = self.schedule(t.double())
        p, q = PREDICTS[self.predict](alpha, sigma)
        log_snr = self.schedule.log_snr(t)
        weight = WEIGHTS[self.weight](log_snr) if isinstance(self.weight, str) else self.weight(log_snr)
        return expect.tensor("weight(log_snr)", weight, f"{len(t)}") * (sigma / (q * alpha - p * sigma)).square()

    def _weight(self) -> Tensor | None:
        """One that x must be like, unless the net casts x itself, as one with weights in half precision does."""
        return None if getattr(self.net, "casts", False) else next(self.parameters(), None)

    def _data(self, x0: Tensor) -> int:
        """The rows of x0, once it is known to be data that the network can be trained on."""
        return len(expect.tensor("x0", x0, "B ...", like=self._weight(), scaled=True))

    def _cond(self, cond, rows: int):
        """A condition for each row: a tensor, or whole numbers that become one."""
        if cond is None or isinstance(cond, Tensor) and cond.is_floating_point():
            return cond if cond is None else expect.tensor("cond", cond, f"{rows} ...")
        return expect.integers("cond", cond, f"{rows} ...")

    def _known(self, cond, rows: int):
        """The same in training, where labels counted from 1 would teach the last of them as "no label"."""
        classes = getattr(self.net, "classes", 0)
        labels = cond is not None and isinstance(classes, int) and classes and not isinstance(self.null, list)
        return expect.labels("cond", cond, classes, rows) if labels else self._cond(cond, rows)

    def _losses(self, x0: Tensor, t, eps: Tensor, cond: Tensor | None) -> Tensor:
        alpha, sigma = self.schedule(t, like=x0)
        o = self._net(self.schedule.add_noise(x0, t, eps), t, cond, alpha, sigma)
        p, q = PREDICTS[self.predict](alpha, sigma)
        return F.mse_loss(o, p * x0 + q * eps, reduction="none").flatten(1).mean(1)

    def _net(self, x: Tensor, t, cond: Tensor | None, alpha: Tensor, sigma: Tensor) -> Tensor:
        t = torch.as_tensor(t).to(x).expand(len(x))  # (B,)
        if cond is None and self.null is not None:
            cond = torch.tensor(self.null, device=x.device).expand(len(x), *torch.tensor(self.null).shape)
        o = self.net(x / (alpha.square() + sigma.square()).sqrt(), t, cond)
        if not isinstance(o, Tensor):
            inside = ".sample" if hasattr(o, "sample") else "first entry"
            told = f"expected a tensor of x's shape, {tuple(x.shape)}: its {inside}, perhaps"
            raise TypeError(f"net(x, t, cond): got {type(o).__name__}, {told}")
        return expect.alike("net(x, t, cond)", o, "x", x)

    def _dropped(self, cond: Tensor | None) -> Tensor | None:
        """`cond` with a share `drop` of its rows replaced by null, in training only."""
        if cond is None or not self.drop or not self.training:
            return cond
        gone = torch.rand(len(cond)).to(cond.device) < self.drop
        null = torch.tensor(self.null, dtype=cond.dtype, device=cond.device)
        return torch.where(gone.reshape(-1, *[1] * (cond.ndim - 1)), null, cond)


@part
class PairedDenoiser(Denoiser):
    """The same model, trained on pairs: what stands at t = 1 is given with each picture and not drawn.

    So one flow is made straighter by its own samples, each with the noise that it came from (reflow, 2209.03003), and
    so x0 can be reached from other data, given in place of noise. A batch is (x0, eps) or (x0, eps, cond).
    """

    def loss(self, x0: Tensor, eps: Tensor, cond: Tensor | None = None) -> Tensor:
        """`Denoiser.loss` with that eps, of x0's shape."""
        return super().loss(x0, cond, eps)


@part
class VariationalDenoiser(Denoiser):
    """The same model trained on the variational bound itself, DDPM's L instead of its L_simple: for pictures in levels.

    Its `loss` weighs the error at each t by what it costs in bits: most at the small t, where L_simple looks away.
    """

    def loss(self, x0: Tensor, cond: Tensor | None = None) -> Tensor:
        """The bound without its constant, in nats a number, by one draw of t and eps a row.

        ValueError for a focus, weight or times: the bound says how often and how much each time counts.
        """
        for name in ("focus", "weight", "times"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected None: the bound has its own")
        cond = self._known(cond, self._data(x0))
        t = self._times(len(x0))
        terms = bound_terms(partial(self, cond=self._dropped(cond)), self.schedule, x0, t, torch.randn_like(x0))
        return terms.mean() * self.schedule.steps / x0[0].numel()


def bound_terms(denoise, schedule: Schedule, x0: Tensor, t: Tensor, eps: Tensor, variance: str = "small") -> Tensor:
    """What the reverse step from t, points of schedule.grid (B,), adds to a bound on -log p(x0), in nats, (B,).

    KL(q(x_s | x_t, x0) || p(x_s | x_t)), s the grid point before t (DDPM, 2006.11239, eq. 5). With the posterior's own
    variance, "small", it is 1/2 (SNR_s - SNR_t) |x0 - estimate|²; "large" is that of q(x_t | x_s).
    The last step, to s = 0, pays -log of the probability of x0's level: N(estimate, sigma_t²) over the bin around it,
    the outermost bins open (eq. 13). x0 holds levels k/8 - 1.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    expect.choice("variance", variance, ("small", "large"))
    expect.tensor("x0", x0, "B ...")
    t = expect.tensor("t", t, f"{len(x0)}")
    s = (t - 1 / schedule.steps).clamp(min=0)
    last = s < 0.5 / schedule.steps  # s = 0 up to rounding
    before = torch.where(last, t / 2, s)  # any time in place of s = 0, where the SNR is infinite
    snr = schedule.log_snr(before).exp() - schedule.log_snr(t).exp()
    estimate = expect.alike("denoise(x, t)", denoise(schedule.add_noise(x0, t, eps), t), "x0", x0)
    kl = 0.5 * snr.to(x0) * (x0 - estimate).square().flatten(1).sum(1)
    if variance == "large":
        ratio = (schedule(before)[1] / schedule(t)[1]).to(x0)  # std of q(x_s | x_t, x0) over that of q(x_t | x_s)
        kl = ratio.square() * kl + x0[0].numel() * (ratio.square() / 2 - ratio.log() - 0.5)
    levels = _level_log_prob(x0, estimate, schedule(t, like=x0)[1]).flatten(1).sum(1)
    return torch.where(last.to(x0.device), -levels, kl)


@torch.no_grad()
def bound(denoise, schedule: Schedule, x0: Tensor, draws: int = 100, variance: str = "small", generator=None) -> Tensor:
    """An estimate of DDPM's upper bound on -log p(x0), nats, (B,): all T terms and the distance of x_1 from the prior.

    Each row is looked at `draws` times, once in each of as many equal stretches of schedule.grid.
    """
    expect.tensor("x0", x0, "B ...")
    draws = expect.integer("draws", draws, 1, schedule.steps)
    alpha, sigma = schedule(1.0)
    total = (float(alpha / sigma) ** 2 / 2) * x0.square().flatten(1).sum(1)  # KL(q(x_1 | x0) || prior)
    for k in range(draws):
        place = (k + torch.rand(len(x0), generator=generator)) * schedule.steps / draws
        t = schedule.grid[place.long().clamp(max=schedule.steps - 1)]
        terms = bound_terms(denoise, schedule, x0, t, randn(x0.shape, x0, generator), variance)
        total = total + terms * schedule.steps / draws
    return total


def _level_log_prob(x0: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log of the mass of N(mean, std²) in the bin of 1/8 around x0, open at -1 and 1; of x0's shape, finite."""
    x0, mean, std = (value.to(torch.promote_types(value.dtype, torch.float32)) for value in (x0, mean, std))
    low = torch.where(x0 < -1 + LEVEL / 2, -FAR, x0 - LEVEL / 2)
    high = torch.where(x0 > 1 - LEVEL / 2, FAR, x0 + LEVEL / 2)
    low = (low - mean) / std
    high = (high - mean) / std
    flip = low + high > 0  # into the lower tail, where logarithms keep their digits
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    top = torch.special.log_ndtr(high)
    rest = torch.special.log_ndtr(low)
    return top + torch.log(-torch.expm1((rest - top).clamp(max=-1e-6)))


def _takes_three(net: nn.Module) -> nn.Module:
    """`net` if it can be called as net(x, t, cond)."""
    takes = inspect.signature(getattr(expect.function("net", net, "(x, t, cond)"), "forward", net))
    try:
        takes.bind(None, None, None)
    except TypeError as error:
        raise TypeError(f"net: got one that is called with {takes}, expected (x, t, cond=None)") from error
    return net


def _focus(times) -> tuple[float, float] | None:
    if times is None:
        return None
    if not isinstance(times, tuple | list) or len(times) != 2:
        raise ValueError(f"focus: got {times!r:.60}, expected two times or None")
    low = expect.number("focus", times[0], 0, 1)
    return low, expect.number("focus", times[1], low, 1)


def _plain(null) -> int | list[int] | None:
    """`null` in Python's numbers, a label or a row of ids: on no device, and no weight of the model."""
    null = null.tolist() if isinstance(null, Tensor) else null
    if isinstance(null, list | tuple):
        return [expect.integer("null", number, 0) for number in null]
    return None if null is None else expect.integer("null", null, 0)


def _named(name: str, own, table: dict):
    """`own` if it is a name in the table, a function or None."""
    return own if own is None or callable(own) else expect.choice(name, own, table)
