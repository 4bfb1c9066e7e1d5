"""Lesson 05's module, against diffusers, the iterated chain, Bayes' rule on a grid, and values known on paper."""

import json
import math
import pickle

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minidiff import seeded
from minidiff.schedule import Schedule, cosine, from_betas, linear, straight, variance_exploding
from minidiff.support import parts

SCHEDULES = {
    "linear": linear(),
    "linear 50": linear(50),
    "cosine": cosine(),
    "cosine 8": cosine(8),
    "betas": from_betas([0.3, 0.1, 0.6, 0.02, 0.9]),
    "straight": straight(),
    "variance exploding": variance_exploding(),
}
PRESERVING = ["linear", "linear 50", "cosine", "cosine 8", "betas"]  # alpha² + sigma² = 1
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
any_schedule = st.sampled_from(list(SCHEDULES.values()))
any_time = st.floats(0.001, 1.0)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def betas_of(schedule):
    """The noise variances of the steps from one grid point to the next, by transition."""
    t = torch.arange(1, schedule.steps + 1, dtype=torch.float64) / schedule.steps
    return schedule.transition(t, t - 1 / schedule.steps)[1].square()


def density(x, mean, std):
    return torch.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


# Values: diffusers, paper


@pytest.mark.parametrize("steps", [25, 50, 100, 333, 1000])
@pytest.mark.parametrize("ours, theirs", [(linear, "linear"), (cosine, "squaredcos_cap_v2")])
def test_alpha_bar_is_diffusers(ours, theirs, steps):
    ends = {"beta_start": 1e-4 * 1000 / steps, "beta_end": 0.02 * 1000 / steps}
    alphas_cumprod = DDPMScheduler(num_train_timesteps=steps, beta_schedule=theirs, **ends).alphas_cumprod.double()
    schedule = ours(steps)
    alpha, sigma = (value.double() for value in schedule(schedule.grid.double()))
    assert (alpha.square() - alphas_cumprod).abs().max() < 1e-6
    assert (sigma.square() - (1 - alphas_cumprod)).abs().max() < 1e-6


def test_a_schedule_made_from_betas_goes_through_their_products():
    betas = [0.3, 0.1, 0.6]
    alpha, sigma = from_betas(betas)(double(0, 1 / 3, 2 / 3, 1))
    alpha_bar = double(1, 0.7, 0.7 * 0.9, 0.7 * 0.9 * 0.4)
    assert torch.allclose(alpha**2, alpha_bar, rtol=1e-12)
    assert torch.allclose(sigma**2, 1 - alpha_bar, rtol=1e-12)
    assert torch.allclose(from_betas(torch.tensor(betas))(0.5)[0], from_betas(betas)(0.5)[0], rtol=1e-6)


def test_between_grid_points_log_alpha_bar_is_linear():
    schedule = from_betas([0.3, 0.1, 0.6])
    first, last = math.log(0.7), math.log(0.7 * 0.9)
    for share in (0.1, 0.5, 0.9):
        alpha = schedule((1 + share) / 3)[0].item()
        assert 2 * math.log(alpha) == pytest.approx((1 - share) * first + share * last, rel=1e-12)


@pytest.mark.parametrize("t, alpha, sigma", [(0.0, 1, 0), (0.25, 0.75, 0.25), (1.0, 0, 1)])
def test_the_straight_path_is_straight(t, alpha, sigma):
    assert [value.item() for value in straight()(t)] == [alpha, sigma]


@pytest.mark.parametrize("low, high", [(0.01, 50.0), (0.5, 2.0)])
def test_variance_exploding_grows_as_the_exact_process_does(low, high):
    schedule = variance_exploding(low, high)
    for t in (0.0, 0.3, 1.0):
        alpha, sigma = (value.item() for value in schedule(t))
        assert alpha == 1
        # dx = sqrt(d[low² (high / low)^(2t)] / dt) dw adds up, from 0, to this variance
        assert sigma**2 == pytest.approx(low**2 * (high / low) ** (2 * t) - low**2, rel=1e-12, abs=1e-15)


@each_schedule
def test_t_0_is_the_clean_picture(schedule):
    alpha, sigma = schedule(0.0)
    assert (alpha.item(), sigma.item()) == (1, 0) and math.copysign(1, sigma) == 1  # not -0, which a table would show
    x0 = torch.randn(3, 2, generator=seeded())
    assert torch.equal(schedule.add_noise(x0, 0.0, torch.ones(3, 2)), x0)


def test_t_1_is_what_the_papers_say():
    assert 1 / cosine()(1.0)[0].item() == pytest.approx(20_291, rel=1e-3)
    assert linear()(1.0)[0].item() ** 2 == pytest.approx(4.04e-5, rel=1e-2)
    scaled = [linear(steps)(1.0)[0].item() ** 2 for steps in (50, 100, 4000)]
    assert all(2e-6 < alpha_bar < 6e-5 for alpha_bar in scaled)
    unscaled = from_betas(torch.linspace(1e-4, 0.02, 100))
    assert unscaled(1.0)[0].item() ** 2 == pytest.approx(0.36, abs=0.005)


def test_betas_of_linear_and_cosine_are_the_papers():
    betas = betas_of(linear())
    assert torch.allclose(betas[[0, 499, -1]], double(1e-4, 1e-4 + 0.0199 * 499 / 999, 0.02), rtol=1e-9)
    assert betas_of(cosine())[-1].item() == pytest.approx(0.999, rel=1e-9)
    assert linear(21).steps == 21


# Precision


@pytest.mark.parametrize("name", PRESERVING)
def test_variance_is_preserved_to_double_precision(name):
    alpha, sigma = SCHEDULES[name](torch.linspace(0, 1, 4001, dtype=torch.float64))
    assert (alpha**2 + sigma**2 - 1).abs().max() < 1e-14
    assert alpha.min() > 0


def test_small_noise_keeps_its_digits():
    schedule = from_betas([1e-12, 0.5])
    assert schedule(0.5)[1].item() == pytest.approx(1e-6, rel=1e-9)  # sqrt(1 - alpha²) would keep four of its digits
    assert schedule.log_snr(0.5).item() == pytest.approx(math.log(1e12), rel=1e-9)


@each_schedule
def test_results_take_the_kind_of_t_and_are_rounded_once(schedule):
    t = torch.linspace(0, 1, 33, dtype=torch.float64)  # exact in float32 too
    exact, rounded = schedule(t), schedule(t.float())
    for whole, short in zip(exact, rounded):
        assert (whole.dtype, short.dtype) == (torch.float64, torch.float32)
        assert torch.equal(whole.float(), short)
    assert schedule.log_snr(t.float()).dtype == torch.float64


@pytest.mark.parametrize("schedule", [linear(), cosine(), cosine(4000)])
def test_the_grid_is_the_table_although_it_is_float32(schedule):
    assert schedule.grid.dtype == torch.float32
    assert schedule.grid.tolist() == pytest.approx([(i + 1) / schedule.steps for i in range(schedule.steps)], rel=1e-6)
    steps = torch.arange(1, schedule.steps + 1, dtype=torch.float64) / schedule.steps
    assert torch.allclose(schedule.log_snr(schedule.grid), schedule.log_snr(steps), rtol=1e-12)


@given(any_schedule, any_time, st.floats(0.01, 0.99))
def test_the_signal_to_noise_ratio_falls(schedule, t, share):
    s = share * t
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    assert schedule.log_snr(t) < schedule.log_snr(s)
    assert alpha_t <= alpha_s and sigma_s <= sigma_t
    assert schedule.log_snr(s).item() == pytest.approx(math.log(alpha_s**2 / sigma_s**2), rel=1e-9, abs=1e-9)


@each_schedule
def test_the_signal_to_noise_ratio_at_the_ends(schedule):
    assert schedule.log_snr(0.0).item() == math.inf
    assert math.isfinite(schedule.log_snr(1.0).item()) == (schedule is not SCHEDULES["straight"])


# The chain


@pytest.mark.parametrize("schedule", [linear(50), cosine(50), from_betas([0.3, 0.1, 0.6])])
def test_the_iterated_chain_has_the_closed_forms_distribution(schedule):
    n, x0, generator = 40_000, 1.5, seeded(1)
    x = torch.full((n, 1), x0)
    for beta in betas_of(schedule).float():
        eps = torch.randn(n, 1, generator=generator)
        x = (1 - beta).sqrt() * x + beta.sqrt() * eps
    at_once = schedule.add_noise(torch.full((n, 1), x0), 1.0, torch.randn(n, 1, generator=generator))
    alpha, sigma = (value.item() for value in schedule(1.0))
    for draws in (x, at_once):
        assert stats.kstest(draws.flatten().numpy(), "norm", (alpha * x0, sigma)).pvalue > 0.01
    assert stats.ks_2samp(x.flatten().numpy(), at_once.flatten().numpy()).pvalue > 0.01
    wrong = x.flatten().numpy() + 0.03  # the test can tell
    assert stats.kstest(wrong, "norm", (alpha * x0, sigma)).pvalue < 1e-4


@each_schedule
def test_the_steps_of_the_chain_multiply_up_to_the_closed_form(schedule):
    ends = torch.linspace(0, 1, 41, dtype=torch.float64)
    alpha, variance = 1.0, 0.0
    for s, t in zip(ends[:-1], ends[1:]):
        a, b = schedule.transition(t, s)
        alpha, variance = a * alpha, a**2 * variance + b**2
        assert alpha.item() == pytest.approx(schedule(t)[0].item(), rel=1e-9, abs=1e-12)
        assert variance.item() == pytest.approx(schedule(t)[1].item() ** 2, rel=1e-9)


@given(any_schedule, any_time, st.floats(0.05, 0.95), st.floats(0, 0.95))
def test_transitions_compose(schedule, t, share, less):
    s, r = share * t, less * share * t
    (a_ts, b_ts), (a_sr, b_sr), (a_tr, b_tr) = (schedule.transition(*pair) for pair in ((t, s), (s, r), (t, r)))
    assert (a_ts * a_sr).item() == pytest.approx(a_tr.item(), rel=1e-9, abs=1e-12)
    assert (b_ts**2 + (a_ts * b_sr) ** 2).item() == pytest.approx(b_tr.item() ** 2, rel=1e-6)


@pytest.mark.parametrize("schedule", [linear(), cosine(), linear(50)])
def test_neighbours_have_ddpms_betas_and_posterior(schedule):
    i, steps = schedule.steps // 3, schedule.steps
    t, s = (i + 1) / steps, i / steps  # step i of DDPM, counted from 0
    alphas_cumprod = torch.cat([torch.ones(1), schedule(schedule.grid.double())[0] ** 2])
    bar, bar_before = alphas_cumprod[i + 1], alphas_cumprod[i]
    beta = 1 - bar / bar_before
    a, b = schedule.transition(t, s)
    assert torch.allclose(torch.stack([a**2, b**2]), torch.stack([1 - beta, beta]), rtol=1e-9)
    x, x0 = torch.randn(2, 5, 3, generator=seeded(), dtype=torch.float64)
    mean, std = schedule.posterior(x, x0, t, s)
    of_x0, of_x = bar_before.sqrt() * beta / (1 - bar), (1 - beta).sqrt() * (1 - bar_before) / (1 - bar)  # eq. 7
    assert torch.allclose(mean, of_x0 * x0 + of_x * x, rtol=1e-9)
    assert torch.allclose(std**2, ((1 - bar_before) / (1 - bar) * beta).expand(5, 1), rtol=1e-9)


@each_schedule
@pytest.mark.parametrize("t, s", [(1.0, 0.999), (0.5, 0.4), (0.9, 0.1), (0.2, 0.015), (1.0, 0.3)])
def test_the_posterior_is_bayes_rule_on_a_grid(schedule, t, s):
    x_t, x0 = 0.8, -0.6
    (alpha_t, sigma_t), (alpha_s, sigma_s), (a, b) = schedule(t), schedule(s), schedule.transition(t, s)
    reach = 12 * sigma_s
    x_s = torch.linspace(alpha_s * x0 - reach, alpha_s * x0 + reach, 400_001, dtype=torch.float64)
    joint = density(x_s, alpha_s * x0, sigma_s) * density(x_t, a * x_s, b)
    total = joint.sum()
    marginal = (total * (x_s[1] - x_s[0])).item()  # over all x_s, what q(x_t | x0) says
    assert marginal == pytest.approx(density(x_t, alpha_t * x0, sigma_t).item(), rel=1e-6)
    mean = (joint * x_s).sum() / total
    std = ((joint * (x_s - mean) ** 2).sum() / total).sqrt()
    got = schedule.posterior(double(x_t)[:, None], double(x0)[:, None], t, s)
    assert got[0].item() == pytest.approx(mean.item(), rel=1e-6, abs=1e-9)
    assert got[1].item() == pytest.approx(std.item(), rel=1e-6)


any_betas = st.lists(st.floats(1e-6, 0.9), min_size=1, max_size=12).map(from_betas)
any_numbers = st.floats(-3, 3).map(lambda value: double(value)[:, None])


@given(any_schedule | any_betas, any_time, st.floats(0.05, 0.95), any_numbers, any_numbers)
def test_noising_and_one_step_back_is_noising_less(schedule, t, share, x0, eps):
    """Of q(x_s | x_t, x0) over q(x_t | x0): its mean is alpha_s x0, its variance sigma_s²."""
    s = share * t
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    x = schedule.add_noise(x0, t, eps)
    assert ((x - alpha_t * x0) / sigma_t).item() == pytest.approx(eps.item(), rel=1e-6, abs=1e-6)
    mean, _ = schedule.posterior(alpha_t * x0, x0, t, s)
    assert mean.item() == pytest.approx((alpha_s * x0).item(), rel=1e-7, abs=1e-9)
    moved, std = schedule.posterior(x, x0, t, s)
    of_noise = schedule.posterior(alpha_t * x0 + sigma_t, x0, t, s)[0] - mean  # as far as eps = 1 moves the mean
    assert (moved - mean).item() == pytest.approx((eps * of_noise).item(), rel=1e-6, abs=1e-7 * sigma_t.item())
    assert (std**2 + of_noise**2).item() == pytest.approx(sigma_s.item() ** 2, rel=1e-6)


@given(any_betas)
def test_any_betas_are_found_again_on_the_grid(schedule):
    alpha, sigma = schedule(torch.cat([torch.zeros(1), schedule.grid]).double())
    assert len(schedule.grid) == schedule.steps and schedule.grid[-1] == 1 and (schedule.grid.diff() > 0).all()
    assert (alpha.diff() < 0).all() and (sigma.diff() > 0).all() and (alpha**2 + sigma**2 - 1).abs().max() < 1e-12
    again = from_betas(betas_of(schedule))
    assert torch.allclose(again(again.grid)[0], schedule(schedule.grid)[0], rtol=1e-6)


@each_schedule
def test_the_posterior_at_t_0_is_the_clean_picture(schedule):
    x, x0 = torch.randn(2, 4, 2, generator=seeded())
    mean, std = schedule.posterior(x, x0, 0.7, 0.0)
    assert torch.equal(mean, x0) and not std.any()


# Score and velocity

PATHS = {**SCHEDULES, "own": Schedule(lambda t: (torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)))}
each_path = pytest.mark.parametrize("schedule", PATHS.values(), ids=PATHS)
TIMES = double(0.01337, 0.21459, 0.50371, 0.80163, 0.99907)  # between the points of all grids


@each_path
def test_the_score_is_the_gradient_of_the_log_density(schedule):
    x, x0 = torch.randn(2, 5, 3, generator=seeded(), dtype=torch.float64)
    alpha, sigma = schedule(TIMES, like=x)
    x.requires_grad_()
    torch.distributions.Normal(alpha * x0, sigma.expand_as(x)).log_prob(x).sum().backward()
    torch.testing.assert_close(schedule.score(x.detach(), x0, TIMES), x.grad)


@each_path
def test_the_velocity_is_how_x_moves_where_x0_and_eps_stand_still(schedule):
    x0, eps = torch.randn(2, 5, 3, generator=seeded(), dtype=torch.float64)
    step = 1e-7
    ahead, behind = (schedule.add_noise(x0, TIMES + h, eps) for h in (step, -step))
    with torch.no_grad():  # as in a sampler
        moved = schedule.velocity(schedule.add_noise(x0, TIMES, eps), x0, TIMES)
    torch.testing.assert_close(moved, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)
    assert not moved.requires_grad


@pytest.mark.parametrize("schedule", [linear(50), cosine(8), from_betas([0.3, 0.1, 0.6, 0.02, 0.9])])
def test_at_a_point_of_the_grid_the_velocity_is_that_of_the_piece_before_it(schedule):
    x0, eps = torch.randn(2, schedule.steps, 2, generator=seeded(), dtype=torch.float64)
    t, step = schedule.grid.double(), 1e-7  # the grid has been through float32: it is its points still
    behind = schedule.add_noise(x0, torch.arange(1, len(t) + 1, dtype=torch.float64) / len(t) - step, eps)
    x = schedule.add_noise(x0, t, eps)
    torch.testing.assert_close(schedule.velocity(x, x0, t), (x - behind) / step, rtol=1e-4, atol=1e-4)


def test_the_velocity_of_the_straight_path_is_eps_minus_x0_up_to_its_end():
    x0, eps = torch.randn(2, 4, 1, 3, 3, generator=seeded())
    t = torch.tensor([0.1, 0.4, 0.9, 1.0])
    x = straight().add_noise(x0, t, eps)
    moved = straight().velocity(x, x0, t)
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved, eps - x0, rtol=1e-5, atol=1e-5)


# As a checkpoint and a pickle keep it


@each_schedule
def test_a_schedule_is_made_again_from_its_description_and_from_a_pickle(schedule):
    described = json.loads(json.dumps(parts.describe(schedule)))
    t = torch.linspace(0, 1, 777)
    for again in (parts.build(described), pickle.loads(pickle.dumps(schedule))):
        assert again.steps == schedule.steps and parts.describe(again) == described
        assert all(torch.equal(*pair) for pair in zip(again(t), schedule(t)))


def test_a_description_says_what_the_constructor_was_given():
    assert parts.describe(cosine(50)) == {"part": "cosine", "steps": 50}
    assert parts.describe(variance_exploding(0.5)) == {"part": "variance_exploding", "sigma_min": 0.5, "sigma_max": 50}
    with pytest.raises(TypeError, match="Schedule is no part"):
        parts.describe(PATHS["own"])


# Batches


@each_schedule
@pytest.mark.parametrize("shape", [(2, 2), (16, 1, 16, 16), (16, 16), (3, 5)])
def test_each_row_has_its_own_time(schedule, shape):
    x0, eps = torch.randn(2, *shape, generator=seeded())
    t = torch.rand(shape[0], generator=seeded(1)) * 0.9 + 0.05
    s = t / 2
    noisy, (alpha, sigma) = schedule.add_noise(x0, t, eps), schedule(t, like=x0)
    mean, std = schedule.posterior(noisy, x0, t, s)
    a, b = schedule.transition(t, s, like=x0)
    column = (shape[0], *[1] * (len(shape) - 1))
    assert noisy.shape == mean.shape == x0.shape
    assert {alpha.shape, sigma.shape, a.shape, b.shape, std.shape} == {torch.Size(column)}
    for k in range(shape[0]):
        row = slice(k, k + 1)
        alone = schedule.add_noise(x0[row], t[k], eps[row])
        assert torch.allclose(noisy[row], alone)
        assert torch.allclose(alone, alpha[k] * x0[row] + sigma[k] * eps[row])
        mean_alone, std_alone = schedule.posterior(alone, x0[row], t[k], s[k])
        assert torch.allclose(mean[row], mean_alone, atol=1e-6) and torch.allclose(std[row], std_alone)
        assert [a[k].item(), b[k].item()] == pytest.approx([v.item() for v in schedule.transition(t[k], s[k])])


def test_one_time_serves_all_rows_and_like_gives_dtype():
    x0 = torch.ones(16, 1, 16, 16, dtype=torch.float64)
    alpha, sigma = linear()(0.5, like=x0)
    assert alpha.shape == sigma.shape == (16, 1, 1, 1) and alpha.dtype == torch.float64
    assert torch.equal(linear()(torch.full((16,), 0.5), like=x0)[0], alpha)
    assert linear().add_noise(x0.float(), 0.5, x0.float()).dtype == torch.float32


def test_times_keep_their_shape_without_a_batch():
    schedule, t = linear(), torch.tensor([0.2, 0.7])
    assert schedule(0.2)[0].shape == schedule(t[0])[0].shape == ()
    assert schedule(t)[0].shape == schedule.log_snr(t).shape == (2,)
    a, _ = schedule.transition(t, 0.1)
    assert a.shape == (2,) and a.dtype == torch.float32
    assert a.tolist() == pytest.approx([schedule.transition(time, 0.1)[0].item() for time in t])
    assert schedule.transition(0.9, t)[0].shape == (2,)


@pytest.mark.parametrize("schedule, size", [(linear(), 1), (straight(), 1), (variance_exploding(), 50)])
def test_the_prior_is_noise_of_the_last_times_size(schedule, size):
    x = schedule.prior((4000, 2), seeded())
    assert x.shape == (4000, 2) and x.dtype == torch.float32
    assert x.std().item() == pytest.approx(size, rel=0.03) and abs(x.mean().item()) < 0.05 * size
    assert torch.equal(x, schedule.prior([4000, 2], seeded()))
    assert not torch.equal(x, schedule.prior((4000, 2), seeded(1)))


def test_a_schedule_can_be_made_where_models_are_only_planned():
    with torch.device("meta"):
        planned = [linear(30), cosine(30), straight(), variance_exploding()]
        values = [float(schedule(0.5)[0]) for schedule in planned]
    assert values == [
        float(schedule(0.5)[0]) for schedule in (linear(30), cosine(30), straight(), variance_exploding())
    ]
    assert all(schedule.grid.device.type == "cpu" for schedule in planned)


# Errors

X, STRAIGHT = torch.zeros(4, 2), straight()


@pytest.mark.parametrize(
    "call, error, told",
    [
        (lambda: linear(20), ValueError, "steps: got 20, expected at least 21"),
        (lambda: linear(100.0), TypeError, "steps: got 100.0"),
        (lambda: cosine(0), ValueError, "steps: got 0"),
        (lambda: Schedule(0.5), TypeError, "path: got 0.5 .*expected a function"),
        (lambda: Schedule(lambda t: (1 - t, t), steps=0), ValueError, "steps: got 0"),
        (
            lambda: Schedule(lambda t: (t, 1 - t)),
            ValueError,
            r"path: got alpha\(0\) = 0, sigma\(0\) = 1, expected 1 and 0",
        ),
        (lambda: Schedule(lambda t: (1 - t, t + 0.01)), ValueError, r"path: got .*sigma\(0\) = 0.01"),
        (lambda: Schedule(lambda t: (1 - t + t * t, t * (1 - t))), ValueError, "path: got less noise after t = 0.5"),
        (lambda: Schedule(lambda t: (1 - 2 * t, t)), ValueError, r"path: alpha\(t\): got values from -1 to 1"),
        (lambda: Schedule(lambda t: (1 - t, t / (t < 0.5))), ValueError, r"path: sigma\(t\): got NaN or infinity"),
        (lambda: Schedule(lambda t: (1 - t, t.float())), TypeError, r"path: sigma\(t\): got float32"),
        (lambda: Schedule(lambda t: (1.0, t)), TypeError, r"path: alpha\(t\): got 1.0"),
        (lambda: Schedule(lambda t: 1 - t), TypeError, "path: got Tensor from it, expected a pair"),
        (lambda: STRAIGHT.score(X, X, 0.0), ValueError, "t: got 0, where there is no noise"),
        (lambda: STRAIGHT.velocity(X, X, torch.linspace(0, 1, 4)), ValueError, "t: got 0, where there is no noise"),
        (lambda: STRAIGHT.score(X, X[:1], 0.5), ValueError, r"x0: got shape \(1, 2\), expected that of x"),
        (lambda: from_betas([0.1, 1.0]), ValueError, "betas: got values from 0.1 to 1, expected between 0 and 1"),
        (lambda: from_betas([0.0, 0.5]), ValueError, "betas: got values from 0 to 0.5"),
        (lambda: from_betas([0.1, math.nan]), ValueError, "betas: got NaN"),
        (lambda: from_betas([]), ValueError, "betas: got .* expected shape"),
        (lambda: from_betas([[0.1]]), ValueError, "betas: got .* expected shape"),
        (lambda: from_betas("abc"), TypeError, "betas: got 'abc', expected numbers"),
        (lambda: from_betas(None), TypeError, "betas: got None"),
        (lambda: variance_exploding(2, 1), ValueError, "sigma_max: got 1.0, expected more than sigma_min = 2.0"),
        (lambda: variance_exploding(0), ValueError, "sigma_min: got 0"),
        (lambda: variance_exploding(1, math.inf), ValueError, "sigma_max: got inf"),
        (lambda: STRAIGHT(1.2), ValueError, "t: got 1.2, expected between 0 and 1"),
        (lambda: STRAIGHT(-0.1), ValueError, "t: got -0.1"),
        (lambda: STRAIGHT(math.nan), ValueError, "t: got nan"),
        (lambda: STRAIGHT("now"), TypeError, "t: got 'now'"),
        (lambda: STRAIGHT(True), TypeError, "t: got True"),
        (lambda: STRAIGHT(torch.tensor([0, 1])), TypeError, "t: got int64 tensor"),
        (lambda: STRAIGHT(torch.tensor([0.5, 1.5])), ValueError, "t: got values from 0.5 to 1.5"),
        (lambda: STRAIGHT(torch.full((4, 1), 0.5)), ValueError, r"t: got .*\(4, 1\)"),
        (lambda: STRAIGHT(torch.zeros(0)), ValueError, "t: got .*not empty"),
        (lambda: STRAIGHT.log_snr(2), ValueError, "t: got 2"),
        (
            lambda: STRAIGHT(torch.full((2,), 0.5), like=X),
            ValueError,
            r"t: got shape \(2,\), expected \(\) or \(4,\)",
        ),
        (
            lambda: STRAIGHT(torch.full((1,), 0.5), like=X),
            ValueError,
            r"t: got shape \(1,\), expected \(\) or \(4,\)",
        ),
        (lambda: STRAIGHT(0.5, like=X.long()), TypeError, "like: got"),
        (lambda: STRAIGHT(0.5, like=[1.0]), TypeError, "like: got list"),
        (lambda: STRAIGHT(0.5, like=torch.tensor(1.0)), TypeError, "like: got"),
        (
            lambda: STRAIGHT.add_noise(X, 0.5, X[:1]),
            ValueError,
            r"eps: got shape \(1, 2\), expected that of x0, \(4, 2\)",
        ),
        (lambda: STRAIGHT.add_noise(X, 0.5, 1.0), TypeError, "eps: got 1.0"),
        (lambda: STRAIGHT.add_noise(X.long(), 0.5, X), TypeError, "x0: got int64 tensor"),
        (lambda: STRAIGHT.add_noise([0.5], 0.5, X), TypeError, r"x0: got \[0.5\]"),
        (lambda: STRAIGHT.prior(3), TypeError, "shape: got int, expected a tuple"),
        (lambda: STRAIGHT.prior((3, -1)), ValueError, "shape: got -1"),
        (lambda: STRAIGHT.transition(0.5, 0.5), ValueError, "s: got .*expected s < t"),
        (lambda: STRAIGHT.transition(0.2, 0.5), ValueError, "expected s < t"),
        (lambda: STRAIGHT.transition(0.5, -0.1), ValueError, "s: got -0.1"),
        (
            lambda: STRAIGHT.transition(torch.full((4,), 0.5), torch.full((2,), 0.1)),
            ValueError,
            r"s: got shape \(2,\)",
        ),
        (
            lambda: STRAIGHT.transition(torch.full((4,), 0.5), torch.full((1,), 0.1)),
            ValueError,
            r"s: got shape \(1,\)",
        ),
        (lambda: STRAIGHT.posterior(X, X[:1], 0.5, 0.1), ValueError, r"x0: got shape \(1, 2\), expected that of x"),
        (lambda: STRAIGHT.posterior(X, None, 0.5, 0.1), TypeError, "x0: got None"),
        (lambda: STRAIGHT.posterior(X, X, torch.full((3,), 0.5), 0.1), ValueError, r"t: got shape \(3,\)"),
    ],
)
def test_bad_input_is_named(call, error, told):
    with pytest.raises(error, match=told):
        call()


def test_spread_times_end_at_the_last_point_where_rounding_reaches_it(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda n: torch.full((n,), 1 - 2**-20))
    assert cosine(1000).spread(64).max() == 1


def test_spread_times_lie_one_in_each_part_of_the_grid():
    torch.manual_seed(0)
    schedule = cosine(1000)
    t = schedule.spread(50)
    assert torch.isin(t, schedule.grid).all()
    assert ((t - 1e-3) * 50).floor().long().sort().values.tolist() == list(range(50))
    assert not torch.equal(t, t.sort().values)


def test_a_path_without_a_derivative_is_refused_where_one_is_needed():
    """As a table that is looked up: the velocity would be 0 everywhere, and an SDE would not move."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    table = torch.cat([torch.ones(1).double(), (1 - betas).cumprod(0)])

    def path(t):
        alpha_bar = table[(1000 * t).round().long()]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    looked_up = Schedule(path)
    assert torch.allclose(torch.stack(looked_up(0.5)), torch.stack(from_betas(betas)(0.5)))
    x = torch.randn(2, 2)
    with pytest.raises(ValueError, match=r"path: got alpha\(t\) without a derivative.*from_betas"):
        looked_up.velocity(x, 0 * x, 0.5)
    assert variance_exploding().velocity(x, x, 0.5).eq(0).all()  # an alpha that does not move has the derivative 0
