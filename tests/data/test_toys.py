"""Toys are what they say they are, and GaussianMixture's answers are exact: against autograd, integrals and Bayes."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from minidiff import data
from minidiff.data import GaussianMixture

TOYS = [data.swiss_roll, data.moons, data.ring, data.grid25, data.checkerboard]
NOISES = [(1.0, 0.0), (0.8, 0.6), (0.1, 2.0), (0.0, 1.0)]  # (alpha, sigma)


def random_mixture(dim=2, parts=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(parts, generator=g, dtype=torch.float64) + 0.2
    means = 1.5 * torch.randn(parts, dim, generator=g, dtype=torch.float64)
    return GaussianMixture(weights / weights.sum(), means, 0.3 + torch.rand(parts, generator=g, dtype=torch.float64))


def reference(mixture, alpha, sigma):
    scale = (alpha**2 * mixture.stds**2 + sigma**2).sqrt()[:, None].expand(mixture.means.shape)
    parts = Independent(Normal(alpha * mixture.means, scale), 1)
    return MixtureSameFamily(Categorical(mixture.weights), parts)


def points(b, dim=2, seed=1):
    return 2 * torch.randn(b, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(b, low, high):
    """One level a row, all different: a broadcast along the wrong axis changes the answer."""
    return torch.linspace(low, high, b, dtype=torch.float64)


def plane(half, steps):
    """The midpoints of a grid over [-half, half]^2 and the area of a cell."""
    axis = (torch.arange(steps, dtype=torch.float64) + 0.5) * 2 * half / steps - half
    return torch.cartesian_prod(axis, axis), (2 * half / steps) ** 2


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("alpha, sigma", NOISES)
def test_log_prob_equals_torch_distributions(dim, alpha, sigma):
    mixture, x = random_mixture(dim), points(16, dim)
    expected = reference(mixture, alpha, sigma).log_prob(x)
    torch.testing.assert_close(mixture.log_prob(x, alpha, sigma), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha, sigma", NOISES)
def test_density_integrates_to_one(alpha, sigma):
    grid, cell = plane(12, 400)
    total = random_mixture().log_prob(grid, alpha, sigma).exp().sum() * cell
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("b", [2, 16])
@pytest.mark.parametrize("dim", [2, 16])
def test_score_is_the_gradient_of_log_prob(b, dim):
    mixture, x = random_mixture(dim), points(b, dim).requires_grad_()
    alpha, sigma = levels(b, 0.2, 1), levels(b, 1.5, 0)
    (gradient,) = torch.autograd.grad(mixture.log_prob(x, alpha, sigma).sum(), x)
    torch.testing.assert_close(mixture.score(x, alpha, sigma), gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("b", [2, 16])
@pytest.mark.parametrize("method", ["log_prob", "score", "denoise", "responsibilities"])
def test_a_level_for_each_row_is_that_row_alone(method, b):
    ask, x = getattr(random_mixture(), method), points(b)
    alpha, sigma = levels(b, 0.2, 1), levels(b, 1.5, 0.1)
    rows = [ask(x[i : i + 1], alpha[i].item(), sigma[i].item()) for i in range(b)]
    torch.testing.assert_close(ask(x, alpha, sigma), torch.cat(rows), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ask(x, alpha[0], sigma), ask(x, alpha[0].item(), sigma), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("b", [2, 16])
def test_denoise_is_bayes_rule_on_a_grid(b):
    mixture, x, (x0, _) = random_mixture(), points(b), plane(8, 300)
    alpha, sigma = levels(b, 0.3, 1), levels(b, 1.5, 0.2)
    likelihood = -(x[:, None] - alpha[:, None, None] * x0).square().sum(2) / (2 * sigma[:, None] ** 2)
    posterior = (reference(mixture, 1, 0).log_prob(x0) + likelihood).softmax(1)  # (B, grid)
    torch.testing.assert_close(mixture.denoise(x, alpha, sigma), posterior @ x0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("b", [2, 16])
def test_denoise_is_tweedies_formula(b):
    mixture, x, alpha, sigma = random_mixture(), points(b), levels(b, 0.2, 1), levels(b, 1.5, 0)
    tweedie = (x + sigma[:, None] ** 2 * mixture.score(x, alpha, sigma)) / alpha[:, None]
    torch.testing.assert_close(mixture.denoise(x, alpha, sigma), tweedie, rtol=1e-10, atol=1e-10)


def test_denoise_at_both_ends():
    mixture, x = random_mixture(), points(16)
    torch.testing.assert_close(mixture.denoise(x, 0.7, 0), x / 0.7)
    mean = mixture.weights @ mixture.means
    torch.testing.assert_close(mixture.denoise(x, 0, 1.3), mean.expand(16, 2))
    both = mixture.denoise(x[:2], torch.tensor([0.0, 0.7]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(both, torch.stack([mean, x[1] / 0.7]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha, sigma", NOISES)
def test_responsibilities_are_the_posterior_of_the_component(alpha, sigma):
    mixture, x = random_mixture(), points(16)
    r = mixture.responsibilities(x, alpha, sigma)
    whole = reference(mixture, alpha, sigma)
    joint = whole.component_distribution.log_prob(x[:, None]) + mixture.weights.log()
    torch.testing.assert_close(r, (joint - whole.log_prob(x)[:, None]).exp())
    torch.testing.assert_close(r.sum(1), torch.ones(16, dtype=torch.float64))


def test_samples_follow_the_mixture():
    mixture, n = random_mixture(), 20_000
    x, k = mixture.sample_labelled(n, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, mixture.sample(n, torch.Generator().manual_seed(0)), rtol=0, atol=0)
    for i, (weight, mean, std) in enumerate(zip(mixture.weights, mixture.means, mixture.stds)):
        part = x[k == i]
        assert len(part) / n == pytest.approx(weight.item(), abs=0.02)  # 5 standard errors are 0.018
        assert (part.mean(0) - mean).abs().max() < 6 * std / len(part) ** 0.5
        assert (part.std(0) / std - 1).abs().max() < 0.05
    entropy = -mixture.log_prob(x).mean()  # against the integral of -p log p
    grid, cell = plane(10, 300)
    log_p = mixture.log_prob(grid)
    assert entropy.item() == pytest.approx(-(log_p.exp() * log_p).sum().item() * cell, abs=0.05)


def test_the_dtype_is_the_inputs():
    single, double = data.ring_mixture(), points(16)
    for method in ("log_prob", "score", "denoise", "responsibilities"):
        exact = getattr(single, method)(double, 0.8, 0.6)
        rough = getattr(single, method)(double.float(), torch.full((16,), 0.8, dtype=torch.float64), 0.6)
        assert (exact.dtype, rough.dtype) == (torch.float64, torch.float32)
        torch.testing.assert_close(rough.double(), exact, rtol=1e-4, atol=1e-5)
    assert single.sample(3).dtype == torch.float32


def test_far_points_have_finite_answers():
    mixture, x = data.ring_mixture(), torch.tensor([[300.0, -200.0]])
    assert math.isfinite(mixture.log_prob(x).item())
    assert mixture.score(x).isfinite().all() and mixture.denoise(x, 1.0, 0.01).isfinite().all()


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    for toy in TOYS:
        toy(10)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("toy", TOYS)
def test_toys_are_centred_and_of_unit_scale(toy):
    x = toy(40_000)
    assert x.shape == (40_000, 2) and x.dtype == torch.float32
    assert x.mean(0).abs().max() < 0.03
    assert x.var(0).mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(x, toy(40_000)) and not torch.equal(x, toy(40_000, seed=1))
    assert toy(1).abs().max() > 0.05  # not standardised by the sample itself, which would leave 0 or NaN


def test_the_swiss_roll_is_a_spiral_of_one_and_a_half_turns():
    raw = data.swiss_roll(2000, noise=0.0) * 6.7888 + torch.tensor([2, 2 / (3 * math.pi)])
    radius = raw.norm(dim=1)
    angle = torch.atan2(raw[:, 1], raw[:, 0])
    wound = (radius - angle) / (2 * math.pi)  # r = angle + whole turns
    assert (wound - wound.round()).abs().max() < 2e-3
    assert radius.min() > 4.71 - 0.01 and radius.max() < 14.14 + 0.01
    thick = data.swiss_roll(2000, noise=0.3) - data.swiss_roll(2000, noise=0.0)
    assert thick.std().item() == pytest.approx(0.3, abs=0.02)


def test_moons_are_two_half_circles():
    x = data.moons(2000, noise=0.0)
    upper, lower = x.new_tensor([-0.5, -0.25]), x.new_tensor([0.5, 0.25])
    scale = math.sqrt((1.3125 - 1 / math.pi) / 2)
    to_upper, to_lower = ((x * scale - c).norm(dim=1) - 1 for c in (upper, lower))
    on_upper, on_lower = to_upper.abs() < 1e-5, to_lower.abs() < 1e-5
    assert (on_upper ^ on_lower).float().mean() > 0.99
    assert (x[on_upper, 1] * scale >= -0.251).all() and (x[on_lower, 1] * scale <= 0.251).all()
    assert 900 < on_upper.sum() < 1100


@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_ring_and_grid_keep_the_asked_for_spread(spread):
    ring, grid = data.ring_mixture(spread), data.grid_mixture(spread)
    radius = ring.means.norm(dim=1)
    torch.testing.assert_close(radius, radius[:1].expand(8))
    torch.testing.assert_close(ring.stds / radius, torch.full((8,), spread))
    spacing = grid.means[:, 0].unique()
    assert len(grid.means.unique(dim=0)) == 25 and len(spacing) == 5
    torch.testing.assert_close(grid.stds, (spacing[1] - spacing[0]).expand(25) * spread)
    for mixture, toy in ((ring, data.ring), (grid, data.grid25)):
        variance = mixture.means.square().mean(0) + mixture.stds[0] ** 2
        torch.testing.assert_close(variance, torch.ones(2))
        x = toy(4000, spread=spread)
        counts = mixture.responsibilities(x).argmax(1).bincount(minlength=len(mixture.means))
        assert counts.min() > 0.6 * 4000 / len(mixture.means)
        distance = torch.cdist(x, mixture.means).min(1).values
        assert (distance.square().mean() / 2).sqrt().item() == pytest.approx(mixture.stds[0].item(), rel=0.05)


def test_the_checkerboard_fills_its_dark_fields_alone():
    field = (data.checkerboard(8000) * 2 / math.sqrt(3) + 2).floor().long()
    assert field.min() == 0 and field.max() == 3
    assert ((field.sum(1) % 2) == 0).all()
    counts = (field[:, 0] * 4 + field[:, 1]).bincount(minlength=16)
    assert (counts > 0).sum() == 8 and counts[counts > 0].min() > 850


@pytest.mark.parametrize("toy", TOYS)
def test_a_whole_number_may_be_numpys_or_torchs(toy):
    for five in (np.int64(5), torch.tensor(5)):
        assert torch.equal(toy(five, seed=five), toy(5, seed=5))


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"n": 0}, ValueError, "n: got 0, expected at least 1"),
        ({"n": -3}, ValueError, "n: got -3"),
        ({"n": 2.5}, TypeError, "n: got 2.5"),
        ({"n": 5, "seed": -1}, ValueError, "seed: got -1"),
        ({"n": 5, "seed": "a"}, TypeError, "seed: got 'a'"),
        ({"n": 5, "seed": 2**64}, ValueError, "seed: got"),
    ],
)
def test_toys_refuse_bad_input(toy, arguments, error, match):
    with pytest.raises(error, match=match):
        toy(**arguments)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_toys_refuse_bad_noise_and_spread(bad):
    for toy in (data.swiss_roll, data.moons):
        with pytest.raises(ValueError, match="noise: got"):
            toy(5, noise=bad)
    for make in (lambda s: data.ring(5, spread=s), data.ring_mixture, data.grid_mixture):
        for spread in (bad, 0, 2):
            with pytest.raises(ValueError, match="spread: got"):
                make(spread)


@pytest.mark.parametrize(
    "weights, means, stds, error, match",
    [
        ([0.5, 0.5], [[0.0, 0.0]], [1.0], ValueError, "weights: got .* shape .2,"),
        ([1.0], [[0.0, 0.0]], [1.0, 1.0], ValueError, "stds: got .* shape .2,"),
        ([1.0], [0.0, 0.0], [1.0], ValueError, "means: got .* expected shape .K, D"),
        ([1.0], [[0.0, 0.0]], 1.0, ValueError, "stds: got"),
        ([0.5, 0.6], [[0.0], [1.0]], [1.0, 1.0], ValueError, "weights: got .* sum to 1"),
        ([1.5, -0.5], [[0.0], [1.0]], [1.0, 1.0], ValueError, "weights: got"),
        ([1.0], [[0.0]], [0.0], ValueError, "stds: got 0, expected numbers above 0"),
        ([1.0], [[float("nan")]], [1.0], ValueError, "means: got NaN"),
        ([1.0], [["a"]], [1.0], TypeError, "means: got .* expected numbers"),
        ([0.5, 0.5], [[0.0, 1.0], [1.0]], [1.0, 1.0], TypeError, "means: got .* expected numbers"),
        ([], torch.zeros(0, 2), [], ValueError, "means: got .* shape .0, 2"),
        (None, [[0.0]], [1.0], TypeError, "weights: got None"),
    ],
)
def test_mixture_refuses_bad_parameters(weights, means, stds, error, match):
    with pytest.raises(error, match=match):
        GaussianMixture(weights, means, stds)


@pytest.mark.parametrize("method", ["log_prob", "score", "denoise", "responsibilities"])
@pytest.mark.parametrize(
    "x, alpha, sigma, error, match",
    [
        (torch.zeros(2, 3), 1.0, 0.0, ValueError, "x: got .* expected shape .B, 2"),
        (torch.zeros(2), 1.0, 0.0, ValueError, "x: got"),
        (torch.zeros(0, 2), 1.0, 0.0, ValueError, "x: got .* shape .0, 2"),
        (torch.zeros(2, 2, dtype=torch.int64), 1.0, 0.0, TypeError, "x: got int64"),
        ([[0.0, 0.0]], 1.0, 0.0, TypeError, "x: got .* expected a float tensor"),
        (torch.full((2, 2), float("nan")), 1.0, 0.0, ValueError, "x: got NaN"),
        (torch.zeros(4, 2), torch.ones(2), 0.1, ValueError, "alpha: got shape .2,.* expected a number or shape .4,"),
        (torch.zeros(2, 2), torch.ones(2, 1), 0.1, ValueError, "alpha: got shape .2, 1"),
        (torch.zeros(2, 2), 1.0, torch.ones(1), ValueError, "sigma: got shape .1,"),
        (torch.zeros(2, 2), -1.0, 0.1, ValueError, "alpha: got -1.0, expected at least 0"),
        (torch.zeros(2, 2), 1.0, torch.tensor([0.1, -0.1]), ValueError, "sigma: got values from -0.1"),
        (torch.zeros(2, 2), 1.0, float("nan"), ValueError, "sigma: got nan"),
        (torch.zeros(2, 2), torch.ones(2, dtype=torch.int64), 0.1, TypeError, "alpha: got int64"),
        (torch.zeros(2, 2), "1", 0.1, TypeError, "alpha: got '1'"),
        (torch.zeros(2, 2), 0.0, 0.0, ValueError, "alpha, sigma: got 0 for both"),
        (torch.zeros(2, 2), torch.tensor([1.0, 0.0]), 0.0, ValueError, "alpha, sigma: got 0 for both"),
    ],
)
def test_mixture_refuses_bad_input(method, x, alpha, sigma, error, match):
    with pytest.raises(error, match=match):
        getattr(random_mixture(), method)(x, alpha, sigma)


@pytest.mark.parametrize("n, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_sample_refuses_bad_counts(n, error):
    with pytest.raises(error, match="n: got"):
        random_mixture().sample(n)
