"""Lesson 08: guidance on a mixture of Gaussians whose components are its labels, where every answer is exact."""

from collections.abc import Callable

import torch
from torch import Tensor

from minidiff import seeded
from minidiff.data import GaussianMixture
from minidiff.guidance import cfg, classifier_guidance
from minidiff.sampler import last, sample, times
from minidiff.schedule import Schedule, cosine


def three() -> GaussianMixture:
    """Three Gaussians around the origin that overlap, each a label; label 0 is on top."""
    turn = torch.tensor([0.0, 1.0, 2.0]) * 2 * torch.pi / 3
    return GaussianMixture([1 / 3] * 3, torch.stack([-turn.sin(), turn.cos()], 1), [0.5] * 3)


def exact(mixture: GaussianMixture, schedule: Schedule) -> Callable[..., Tensor]:
    """denoise(x, t, cond=None) of a mixture whose components are its labels: E[x0 | x_t], or E[x0 | x_t, label].

    The null label is the number of components.
    """
    ones = mixture.weights.new_ones(1)
    parts = [GaussianMixture(ones, m[None], s[None]) for m, s in zip(mixture.means, mixture.stds)]

    def denoise(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = (float(value) for value in schedule(t))
        answers = torch.stack([part.denoise(x, alpha, sigma) for part in (*parts, mixture)])  # (K + 1, B, D)
        return answers[-1] if cond is None else answers[cond, torch.arange(len(x))]

    return denoise


def exact_log_prob(mixture: GaussianMixture, schedule: Schedule, label: int) -> Callable[[Tensor, Tensor], Tensor]:
    """(x, t) -> log p(label | x_t), (B,), by Bayes' rule: log p(x_t | label) + log p(label) - log p(x_t)."""
    part = GaussianMixture(torch.ones(1), mixture.means[label, None], mixture.stds[label, None])

    def log_prob(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (float(value) for value in schedule(t))
        likelihood = part.log_prob(x, alpha, sigma) + mixture.weights[label].log()
        return likelihood - mixture.log_prob(x, alpha, sigma)

    return log_prob


def guided_samples(mixture: GaussianMixture, label: int, scale: float, n: int = 1000, seed: int = 0) -> dict:
    """n samples (n, 2) of the mixture, guided to a label by either way: 200 steps of DDIM, exact parts."""
    schedule = cosine()
    labels = torch.full((n,), label)
    denoise = exact(mixture, schedule)
    log_prob = exact_log_prob(mixture, schedule, label)
    ways = {
        "with a classifier": classifier_guidance(denoise, log_prob, schedule, scale),
        "classifier-free": cfg(denoise, labels, len(mixture.means), scale),
    }
    x = schedule.prior((n, 2), seeded(seed))
    return {way: last(sample(guided, x, times(200), schedule)) for way, guided in ways.items()}


def sharpened(mixture: GaussianMixture, label: int, scale: float, line: Tensor) -> Tensor:
    """p(x) p(label | x)^scale on the grid line x line, summed to 1: (len(line), len(line)), first index x."""
    points = torch.cartesian_prod(line, line)
    log = mixture.log_prob(points) + scale * exact_log_prob(mixture, cosine(), label)(points, torch.tensor(0.0))
    return log.softmax(0).view(len(line), len(line))


def where(mixture: GaussianMixture, label: int = 0, scales=(1.0, 2.0, 4.0), seed: int = 0) -> list[dict]:
    """A row a scale: how far from the middle, along the label's axis, the sharpened density lies, and the samples."""
    line = torch.linspace(-4, 6, 501)
    axis = mixture.means[label] / mixture.means[label].norm()
    reach = (torch.cartesian_prod(line, line) @ axis).view(501, 501)
    rows = []
    for scale in scales:
        row = {"scale": scale, "p(x) p(y|x)^scale": (sharpened(mixture, label, scale, line) * reach).sum().item()}
        samples = guided_samples(mixture, label, scale, 600, seed)
        rows.append(row | {f"samples, {way}": (x @ axis).mean().item() for way, x in samples.items()})
    return rows


def same(a: Tensor, b: Tensor, seed: int = 0, shuffles: int = 200) -> float:
    """The p-value of a two-sample test of points (N, D) each: small where they come from two distributions.

    Energy distance (Székely & Rizzo 2004), against that of the same points shuffled.
    """
    both = torch.cat([a, b]).double()
    n = len(a)
    distances = torch.cdist(both, both)
    generator = seeded(seed)
    side = torch.cat([torch.full((n,), 1 / n), torch.full((len(b),), -1 / len(b))]).double()
    sides = torch.stack([side, *(side[torch.randperm(len(both), generator=generator)] for _ in range(shuffles))])
    energy = -((sides @ distances) * sides).sum(1)
    return (energy >= energy[0]).double().mean().item()


def first_order(mixture: GaussianMixture, lengths: list[float], t: float = 0.5, scale: float = 2.0) -> list[dict]:
    """A row for each length of one random step from t: how far guidance moves its mean, and ADM's from ours.

    ADM's algorithm 1 (2105.05233) adds scale times the variance times the gradient at the unguided mean.
    """
    schedule = cosine()
    x = torch.randn(64, 2, generator=seeded(0), dtype=torch.float64)
    log_prob = exact_log_prob(mixture, schedule, 0)
    rows = []
    estimate = mixture.denoise(x, *(float(value) for value in schedule(t)))
    guided = classifier_guidance(lambda x, t: estimate, log_prob, schedule, scale)(x, torch.tensor(t))
    for length in lengths:
        plain, std = schedule.posterior(x, estimate, t, t - length)
        ours, _ = schedule.posterior(x, guided, t, t - length)
        leaf = plain.requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(leaf, torch.tensor(t - length)).sum(), leaf)
        moved = (ours - plain).norm(dim=1).mean()
        apart = (plain + scale * std**2 * gradient - ours).norm(dim=1).mean()
        rows.append({"step": length, "guidance moves the mean by": moved.item(), "ADM's mean, from ours": apart.item()})
    return rows
