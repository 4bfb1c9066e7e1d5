"""Lesson 05 measured: what is left at the end of the way, what can still be read, and the exact way back."""

import math
from collections.abc import Callable
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import data, seeded
from minidiff.data import GaussianMixture
from minidiff.sampler import last, sample, times
from minidiff.schedule import Schedule, cosine, from_betas, linear, straight
from minidiff.scorecard.common import Claim, spread

STEPS = (5, 20, 100)
DDPM = "about 1e-5 bits/dim (CIFAR-10; 2006.11239, section 4)"
NICHOL = "the last quarter of linear is almost noise, cosine's is not (pictures; 2102.09672, figure 3)"
SOHL = "small Gaussian steps lead back to the roll (pictures; 1503.03585, figure 1)"
EFRON = "equal (Efron 2011)"


def unscaled() -> Schedule:
    """The lesson's mistake: the betas of 1,000 steps, 1e-4 to 0.02, taken for 100 steps."""
    return from_betas(torch.linspace(1e-4, 0.02, 100))


def roll(parts: int = 300, std: float = 0.05) -> GaussianMixture:
    """`data.swiss_roll` with exact answers: many small Gaussians along the spiral, at even angles.

    They overlap so far that draws of the two cannot be told apart; the score is exact for this mixture.
    """
    angle = math.pi * (1.5 + 3 * (torch.arange(parts, dtype=torch.float64) + 0.5) / parts)
    spiral = torch.stack([angle * angle.cos(), angle * angle.sin()], 1)
    spiral = spiral - spiral.mean(0)
    means = (spiral / spiral.square().mean().sqrt()).float()  # unit variance, as the toy has it
    return GaussianMixture(torch.full((parts,), 1 / parts), means, torch.full((parts,), std))


def exact(mixture: GaussianMixture, schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x0 | x_t = x] as a function of x (B, D) and t, the best denoiser there is."""
    return lambda x, t: mixture.denoise(x, *(float(value) for value in schedule(t)))


def finite(known: Tensor, schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x0 | x_t = x] if x0 is one of the pictures `known` (N, ...), each as likely: their mean, weighted."""
    return lambda x, t: (_weights(x, known, *schedule(t)) @ known.flatten(1)).view_as(x)


def drawn_from(known: Tensor, schedule: Schedule, n: int = 500, steps: int = 100, seed: int = 0) -> Tensor:
    """n pictures drawn from pure noise by the chain run backwards, with the best denoiser for `known` (N, ...)."""
    generator = seeded(seed)
    noise = schedule.prior((n, *known.shape[1:]), generator)
    return last(sample(finite(known, schedule), noise, times(steps), schedule, eta=1.0, generator=generator))


def _weights(x: Tensor, known: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """p(x0 = known[i] | x_t = x), (B, N)."""
    alpha = float(alpha)
    sigma = float(sigma)
    squares = torch.cdist(x.flatten(1), alpha * known.flatten(1)).square()
    return (-squares / (2 * sigma**2)).softmax(1)


def left_over(schedule: Schedule) -> float:
    """KL(q(x_1 | x0) || N(0, I)) in bits a pixel, over the training digits: what the end still knows of the picture.

    DDPM's L_T, the closed form for two Gaussians.
    """
    alpha, sigma = (value.item() for value in schedule(1.0))
    squares = data.digits("train")[0].square().mean().item()
    nats = 0.5 * (alpha**2 * squares + sigma**2 - 1 - math.log(sigma**2))
    return nats / math.log(2)


def readable(schedule: Schedule, t: float, seed: int = 0) -> float:
    """The share of held-out digits whose label can still be read at time t, by Bayes' rule over the training digits."""
    (known, labels), (x0, truth) = data.digits("train"), data.digits("test")
    eps = torch.randn(x0.shape, generator=seeded(seed))
    weights = _weights(schedule.add_noise(x0, t, eps), known, *schedule(t))
    likeliest = (weights @ F.one_hot(labels, 10).float()).argmax(1)
    return (likeliest == truth).float().mean().item()


def ends(seed: int = 0) -> list[dict]:
    """A row a schedule: alpha_bar at the end, the bits a pixel left over there, and the share of digits readable."""
    schedules = {
        "linear, 1,000 steps": linear(),
        "linear, 100 steps": linear(100),
        "cosine": cosine(),
        "flow": straight(),
    }
    schedules["linear, 100 steps, not scaled"] = unscaled()
    rows = []
    for name, schedule in schedules.items():
        row = {
            "schedule": name,
            "alpha_bar at t = 1": schedule(1.0)[0].item() ** 2,
            "bits/dim left": left_over(schedule),
        }
        rows.append(row | {"readable at 0.75": readable(schedule, 0.75, seed), "at 1": readable(schedule, 1.0, seed)})
    return rows


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'| of two samples (n, D): 0 in the mean where the distributions are equal."""
    within = sum(torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    return (2 * torch.cdist(a, b).mean() - within).item()


def on_the_roll(x: Tensor, mixture: GaussianMixture) -> float:
    """The share of points (n, 2) within three standard deviations of a component's mean."""
    return (torch.cdist(x, mixture.means).amin(1) < 3 * mixture.stds[0]).float().mean().item()


def way_back(steps: int, n: int = 1000, seed: int = 0, schedule: Schedule | None = None) -> Tensor:
    """n points of the roll (n, 2), from pure noise by that many steps of the chain run backwards, exact x0 estimate."""
    schedule = schedule or linear()
    generator = seeded(seed)
    noise = schedule.prior((n, 2), generator)
    return last(sample(exact(roll(), schedule), noise, times(steps), schedule, eta=1.0, generator=generator))


def reversals(steps=STEPS, n: int = 1000, seed: int = 0) -> list[dict]:
    """A row a number of steps: how far n points that came back are from n fresh ones; last, as many more fresh ones."""
    mixture = roll()
    fresh, more = mixture.sample(2 * n, seeded(seed + 1000)).chunk(2)
    made = {f"{count} steps back": way_back(count, n, seed) for count in steps} | {"fresh points of the roll": more}
    return [
        {"points": name, "on the roll": on_the_roll(x, mixture), "energy distance": energy_distance(x, fresh)}
        for name, x in made.items()
    ]


def tweedie_error(seed: int = 0, n: int = 500) -> float:
    """The largest |(x + sigma² grad log p_t(x)) / alpha - E[x0 | x_t = x]|, gradient by autograd, over five times."""
    mixture = roll()
    schedule = linear()
    worst = 0.0
    for k, t in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        alpha, sigma = (value.item() for value in schedule(t))
        x0 = mixture.sample(n, seeded(seed + k)).double()
        x = schedule.add_noise(x0, t, torch.randn_like(x0)).requires_grad_()
        (score,) = torch.autograd.grad(mixture.log_prob(x, alpha, sigma).sum(), x)
        gap = (x + sigma**2 * score) / alpha - mixture.denoise(x, alpha, sigma)
        worst = max(worst, gap.abs().max().item())
    return worst


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over seeds of the noise (nothing is trained); `full` goes back in 1,000 steps too."""
    steps = (*STEPS, 1000) if full else STEPS
    return [_of_the_end(), _of_the_last_quarter(seeds), _of_the_way_back(seeds, steps), _of_tweedie(seeds)]


def _of_the_end() -> Claim:
    scaled = left_over(linear())
    wrong = left_over(unscaled())
    text = (
        "linear, 1,000 steps: x_1 keeps about 1e-5 bits/dim of the picture (100 steps not scaled: 10,000 times as much)"
    )
    return Claim("05", text, DDPM, f"{scaled:.1e}; not scaled {wrong:.2f}", 3e-6 < scaled < 3e-5 < wrong / 1e4 * 3)


def _of_the_last_quarter(seeds: list[int]) -> Claim:
    shares = {s: [readable(s(), 0.75, seed) for seed in seeds] for s in (linear, cosine)}
    text = (
        "held-out digits that can be read at t = 0.75: by linear hardly more than the 10 % of guessing, by cosine many"
    )
    ours = ", ".join(f"{schedule.__name__} {spread(values)}" for schedule, values in shares.items())
    low, high = (mean(values) for values in shares.values())
    return Claim("05", text, NICHOL, ours, low < 0.2 < 0.4 < high)


def _of_the_way_back(seeds: list[int], steps) -> Claim:
    tables = [reversals(steps, seed=seed) for seed in seeds]
    columns = {rows[0]["points"]: [row["on the roll"] for row in rows] for rows in zip(*tables)}
    few, *_, many, real = (mean(values) for values in columns.values())
    text = "with the exact score, many small steps lead from noise back to the roll, few large ones do not"
    ours = "on the roll: " + ", ".join(f"{name} {spread(values)}" for name, values in columns.items())
    return Claim("05", text, SOHL, ours, few < 0.6 < real - 0.01 <= many)


def _of_tweedie(seeds: list[int]) -> Claim:
    worst = max(tweedie_error(seed) for seed in seeds)
    text = "the score by autograd, put into Tweedie's formula, is the exact posterior mean E[x0 | x_t]"
    return Claim("05", text, EFRON, f"largest difference below {10 ** math.ceil(math.log10(worst)):.0e}", worst < 1e-6)
