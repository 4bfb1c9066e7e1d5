"""Lesson 16 measured: three losses, Langevin's wrong weights, SDEs against the exact density, likelihoods, samplers."""

import math
from statistics import mean

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, evaluate, metrics, schedule, seeded
from minidiff.data import GaussianMixture
from minidiff.denoiser import Denoiser, bound_terms
from minidiff.lessons.lesson16.widgets import lower_left, started
from minidiff.sampler import heun, last, times
from minidiff.schedule import Schedule
from minidiff.score import (
    annealed,
    denoising_loss,
    explicit_loss,
    langevin,
    log_prob,
    predictor_corrector,
    reverse_sde,
    sliced_loss,
    sub_vp,
    vp,
)
from minidiff.scorecard import real_digits, stored
from minidiff.scorecard.common import Claim, spread

COMMAND = "python -m minidiff scorecard 16 --full"
DRAWN = 150  # digits a row of the stored table, against as many held-out ones
HYVARINEN = "equal up to a constant (Hyvärinen 2005; Vincent 2011; Song et al. 1905.07088)"
NCSN = "weights right with annealed, wrong with plain Langevin dynamics (2-D; 1907.05600, figure 3)"
ANDERSON = "equal marginals (Anderson 1982; 2011.13456, section 3.3 and 4.3)"
BITS = "2.99 bits/dim on CIFAR-10 by an ODE (2011.13456), 3.75 by the bound of DDPM on its simple loss (2006.11239)"
FIDS = "FID on CIFAR-10: NCSN 25.32 (1907.05600), DDPM 3.17 (2006.11239), NCSN++ 2.20 (2011.13456)"


def two_clouds() -> GaussianMixture:
    """The toy of NCSN's figure 3: a fifth of the points around (-5, -5), the rest around (5, 5)."""
    return GaussianMixture([0.2, 0.8], [[-5.0, -5.0], [5.0, 5.0]], [1.0, 1.0])


def three_clouds() -> GaussianMixture:
    """Three overlapping clouds of unlike weight and width, in the plane."""
    return GaussianMixture([0.2, 0.5, 0.3], [[-1.0, -0.5], [1.0, 0.3], [0.0, 1.2]], [0.3, 0.4, 0.25])


def paths() -> dict[str, Schedule]:
    """The three SDEs of 2011.13456."""
    return {"VE": schedule.variance_exploding(), "VP": vp(), "sub-VP": sub_vp()}


def exact(mixture: GaussianMixture, path: Schedule):
    """E[x0 | x_t = x] as a function of x and t."""
    return lambda x, t: mixture.denoise(x, *(float(value) for value in path(float(t))))


def gradients(n: int = 20_000, sigma: float = 0.5, seed: int = 0) -> dict[str, Tensor]:
    """The gradient, flat, of each loss by the weights of one small network, and that of the distance itself."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    mixture = three_clouds()
    generator = seeded(seed)
    x0 = mixture.sample(n, generator)
    eps = torch.randn(n, 2, generator=generator)
    v = torch.randint(0, 2, (n, 2), generator=generator) * 2.0 - 1
    x = x0 + sigma * eps
    losses = {
        "distance to the true score": (net(x) - mixture.score(x, 1.0, sigma)).square().sum(1) / 2,
        "explicit": explicit_loss(net, x),
        "sliced": sliced_loss(net, x, v),
        "denoising": denoising_loss(net, x0, sigma, eps),
    }
    weights = list(net.parameters())
    return {
        name: torch.cat([g.flatten() for g in torch.autograd.grad(loss.mean(), weights, materialize_grads=True)])
        for name, loss in losses.items()
    }


def weights(seed: int = 0, n: int = 1280) -> dict[str, float]:
    """The share of points in the cloud that should have a fifth: by plain and by annealed Langevin dynamics."""
    mixture = two_clouds()
    path = schedule.variance_exploding(0.1, 20.0)
    plain = last(langevin(mixture.score, started("everywhere", n, seed), 0.1, 1000, seeded(seed + 10)))
    start = path.prior((n, 2), seeded(seed))
    down = last(annealed(exact(mixture, path), start, times(10), path, each=100, generator=seeded(seed + 20)))
    return {"plain": lower_left(plain), "annealed": lower_left(down)}


def line() -> GaussianMixture:
    """Two clouds on a line, of weights 0.3 and 0.7."""
    return GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [0.2, 0.4])


def off_by(x: Tensor, mixture: GaussianMixture, bins: int = 60) -> float:
    """Half the sum of |share of points x (n, 1) - exact probability| over bins from -3 to 3: 0 if equal, 1 if apart."""
    edges = torch.linspace(-3, 3, bins + 1)
    fine = torch.linspace(-3, 3, 20 * bins + 1)
    middle = (fine[1:] + fine[:-1]) / 2
    wanted = mixture.log_prob(middle[:, None]).exp().view(bins, 20).mean(1) * (6 / bins)
    got = torch.histogram(x.flatten(), edges).hist / len(x)
    return (got - wanted).abs().sum().item() / 2


def marginals(seed: int = 0, n: int = 20_000, steps: int = 200) -> list[dict]:
    """A row an SDE: how far n points that came back by it, and by its ODE, are from the exact density."""
    mixture = line()
    rows = []
    for name, path in paths().items():
        noise = path.prior((n, 1), seeded(seed))
        back = last(reverse_sde(exact(mixture, path), noise, times(steps), path, seeded(seed + 1)))
        flow = last(heun(exact(mixture, path), noise, times(steps // 2), path))
        rows.append({"SDE": name, "reverse SDE": off_by(back, mixture), "ODE": off_by(flow, mixture)})
    fresh = off_by(mixture.sample(n, seeded(seed + 2)), mixture)
    return [*rows, {"SDE": "fresh points", "reverse SDE": fresh, "ODE": fresh}]


def likelihood_gap(seed: int = 0, n: int = 50) -> float:
    """The largest |log p by the ODE - exact log p| in nats over n points of three clouds, on the VP path."""
    mixture = three_clouds()
    mixture = GaussianMixture(mixture.weights.double(), mixture.means.double(), mixture.stds.double())
    x = mixture.sample(n, seeded(seed))
    path = vp()
    found = log_prob(exact(mixture, path), x, rising(1e-4, 100), path)
    return (found - mixture.log_prob(x)).abs().max().item()


def rising(start: float, steps: int) -> Tensor:
    """steps + 1 times from `start` to 1, float64, crowded near the start: their roots are even."""
    t = torch.linspace(start**0.5, 1, steps + 1, dtype=torch.float64).square()
    t[0] = start
    t[-1] = 1
    return t


def level_bits(model: Denoiser, x0: Tensor, steps: int = 25, seed: int = 0) -> float:
    """Bits a pixel for levels x0 (B, 1, 8, 8): the ODE's density of x at the first time, and what is left to name x0.

    log P(x0) >= E[log p(x_t) + log P(x0 | x_t) - log q(x_t | x0)], t = 1/T: dequantisation with the chain's own noise.
    """
    path = model.schedule
    first = float(path.grid[0])
    alpha, sigma = (float(value) for value in path(first))
    generator = seeded(seed)
    eps = torch.randn(x0.shape, generator=generator)
    probe = torch.randint(0, 2, x0.shape, generator=generator) * 2.0 - 1
    density = log_prob(model, alpha * x0 + sigma * eps, rising(first, steps), path, probe)
    noise = -(eps.square() / 2 + math.log(sigma) + math.log(2 * math.pi) / 2).flatten(1).sum(1)
    with torch.no_grad():
        named = -bound_terms(model, path, x0, path.grid[:1].expand(len(x0)), eps)
    return metrics.bits_per_dim(density + named - noise, x0[0].numel())


def samplers(seed: int = 0, n: int = DRAWN) -> dict[str, Tensor]:
    """n digits (n, 1, 16, 16) of the shipped score model by each sampler, 100 evaluations for each digit."""
    model = checkpoints.load("ncsn-digits")
    path = model.schedule
    x = path.prior((n, 1, 16, 16), seeded(seed))
    drawn = {
        "annealed Langevin": annealed(model, x, times(20), path, each=5, step=0.7, generator=seeded(seed + 1)),
        "predictor": reverse_sde(model, x, times(100), path, seeded(seed + 1)),
        "predictor and corrector": predictor_corrector(model, x, times(50), path, generator=seeded(seed + 1)),
        "ODE (Heun)": heun(model, x, times(50), path),
    }
    return {name: last(steps).clamp(-1, 1) for name, steps in drawn.items()}


def drawn_table(seeds) -> list[dict]:
    """A row a sampler and seed: the quality of its digits."""
    train, held_out, features = real_digits(n=DRAWN)
    rows = []
    for seed in seeds:
        for name, quality in evaluate.compare(samplers(seed), train, held_out, features).items():
            rows.append({"digits": name, "seed": seed} | quality.row())
    return rows


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over seeds; `full` draws the digits of the stored table again, with three seeds."""
    if full:
        stored.write("16_samplers", COMMAND, drawn_table(range(3)))
    return [
        _of_losses(seeds),
        _of_weights(seeds),
        _of_marginals(seeds),
        _of_likelihood(seeds),
        _of_bits(),
        *_of_digits(),
    ]


def _of_losses(seeds) -> Claim:
    worst = 1.0
    for seed in seeds:
        true, *others = gradients(seed=seed).values()
        worst = min(worst, *(torch.cosine_similarity(true, other, dim=0).item() for other in others))
    text = "explicit, sliced and denoising score matching have one gradient, that of the distance to the true score"
    return Claim("16", text, HYVARINEN, f"cosines of the gradients at least {worst:.4f}", worst > 0.99)


def _of_weights(seeds) -> Claim:
    found = [weights(seed) for seed in seeds]
    plain, down = ([each[name] for each in found] for name in ("plain", "annealed"))
    text = "a cloud of weight 0.2 far from another: annealed Langevin dynamics finds its weight, plain does not"
    ours = f"plain {spread(plain)}, annealed {spread(down)}"
    return Claim("16", text, NCSN, ours, abs(mean(down) - 0.2) < 0.03 < abs(mean(plain) - 0.2))


def _of_marginals(seeds) -> Claim:
    tables = [marginals(seed) for seed in seeds]
    worst = max(max(row["reverse SDE"], row["ODE"]) for rows in tables for row in rows[:-1])
    floor = mean(rows[-1]["ODE"] for rows in tables)
    text = "VE, VP and sub-VP, by the reverse SDE and by the ODE, all lead back to the exact density"
    ours = f"share of points in wrong places at most {worst:.3f} (fresh points {floor:.3f})"
    return Claim("16", text, ANDERSON, ours, worst < floor + 0.02)


def _of_likelihood(seeds) -> Claim:
    gap = max(likelihood_gap(seed) for seed in seeds)
    text = "log p by the probability-flow ODE is the mixture's own, to 0.01 nat"
    return Claim("16", text, "exact (2011.13456, section 4.3)", f"largest difference {gap:.4f} nats", gap < 0.01)


def _of_bits() -> Claim:
    model = checkpoints.load("ddpm-levels")
    bits = level_bits(model, data.digits("test", 8)[0][:100])
    text = "one network costs fewer bits by its ODE than by the bound of its chain (lesson 06: 2.85 bits a pixel)"
    return Claim("16", text, BITS, f"{bits:.2f} bits a pixel (100 held-out 8x8 digits)", bits < 2.85)


def _of_digits() -> list[Claim]:
    rows = stored.read("16_samplers")
    names = dict.fromkeys(row["digits"] for row in rows)
    found = {name: [row["FD held-out"] for row in rows if row["digits"] == name] for name in names}
    middle = {name: mean(values) for name, values in found.items()}
    ours = "FD to held-out digits: " + ", ".join(f"{name} {spread(values)}" for name, values in found.items())
    made = stored.command("16_samplers")
    later = middle["annealed Langevin"] > max(middle["predictor"], middle["ODE (Heun)"])
    pair = middle["predictor and corrector"] < middle["predictor"]
    text = (
        "the samplers that came later draw better digits than NCSN's annealed Langevin dynamics, at equal evaluations"
    )
    both = "predictor and corrector together draw better than the predictor alone, at equal evaluations"
    paper = "correcting betters predicting (CIFAR-10; 2011.13456, section 4.2)"
    why = "" if pair else "with 100 evaluations the predictor's steps become twice as large, and that costs more"
    return [Claim("16", text, FIDS, ours, later, stored=made), Claim("16", both, paper, ours, pair, why, made)]
