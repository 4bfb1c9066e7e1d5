"""The samplers against diffusers' schedulers, step by step, and against exact mixtures; and what they refuse."""

import gc
import math
from functools import cache

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minidiff import schedule, seeded
from minidiff.data import GaussianMixture, ring_mixture
from minidiff.denoiser import Denoiser
from minidiff.sampler import Step, heun, invert, last, sample, times
from minidiff.support.rng import randn

SCHEDULES = {"linear": schedule.linear(), "cosine": schedule.cosine()}
THEIR_BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
PREDICTS = {"linear": "eps", "cosine": "v"}  # eps from cosine's alpha(1) = 1 / 20,291 is float noise
THEIR_PREDICTS = {"eps": "epsilon", "v": "v_prediction"}


class RandomNet(nn.Module):
    """An untrained network that answers with numbers of about unit size, different at every time."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t, cond=None):
        return torch.tanh(self.conv(x) + (3 * t).sin().reshape(-1, 1, 1, 1)) + 0.3 * x


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def exact(mixture, path):
    """The best denoiser there is for data from the mixture."""
    return lambda x, t: mixture.denoise(x, *at(path, float(t)))


@cache
def at(path, t):
    return tuple(float(value) for value in path(t))


# Against diffusers.


@torch.no_grad()
def theirs(scheduler, net, x, steps, **options):
    """The x of a diffusers scheduler at each of its times, the last one included; its step i is t = (i + 1) / T."""
    scheduler.set_timesteps(steps)
    generator, path = seeded(7), [x]
    for i in scheduler.timesteps:
        o = net(x, ((i + 1) / 1000).expand(len(x)))
        x = scheduler.step(o, i, x, generator=generator, return_dict=False, **options)[0]
        path.append(x)
    return path


def scheduler_of(kind, name, **options):
    options = {"timestep_spacing": "trailing", **options}
    if kind is not DPMSolverMultistepScheduler:
        options["clip_sample"] = False
    predicts = THEIR_PREDICTS[PREDICTS[name]]
    scheduler = kind(beta_schedule=THEIR_BETAS[name], prediction_type=predicts, **options)
    # its own betas, multiplied in float64: in float32 its 1 - alpha_bar has lost up to four digits near t = 0
    scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
    return scheduler


def assert_same_path(name, scheduler, steps, ours: dict, theirs_options=None, but_last=False):
    net, x = RandomNet(), noise(3, 1, 8, 8)
    wanted = theirs(scheduler, net, x, steps, **(theirs_options or {}))
    denoiser = Denoiser(net, SCHEDULES[name], PREDICTS[name])
    got = [step.x for step in sample(denoiser, x, times(steps), SCHEDULES[name], generator=seeded(7), **ours)]
    assert len(got) == len(wanted) == steps + 1
    for i, (a, b) in enumerate(list(zip(got, wanted))[: -1 if but_last else None]):
        assert torch.isfinite(b).all()
        assert (a - b).abs().max() <= 1e-5 * b.abs().max(), f"step {i} of {steps}"


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [5, 20, 50, 1000])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_eta_1_is_diffusers_ddpm(name, steps, variance):
    scheduler = scheduler_of(DDPMScheduler, name, variance_type=f"fixed_{variance}")
    # with fewer steps than 1,000 and the large variance, diffusers adds noise to the finished sample as well
    but_last = variance == "large" and steps < 1000
    assert_same_path(name, scheduler, steps, {"eta": 1.0, "variance": variance}, but_last=but_last)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_order_1_is_diffusers_ddim(name, steps, eta):
    assert_same_path(name, scheduler_of(DDIMScheduler, name), steps, {"eta": eta}, {"eta": eta})


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize("eta, algorithm", [(0.0, "dpmsolver++"), (1.0, "sde-dpmsolver++")])
def test_order_2_is_diffusers_dpm_solver(name, steps, eta, algorithm):
    scheduler = scheduler_of(
        DPMSolverMultistepScheduler, name, algorithm_type=algorithm, solver_order=2, solver_type="midpoint"
    )
    assert_same_path(name, scheduler, steps, {"eta": eta, "order": 2})


# Against formulas of other papers, in float64.

ONE = GaussianMixture([0.3, 0.7], torch.tensor([[-1.0, 0.5], [0.8, -0.4]], dtype=torch.float64), [0.3, 0.5])
PATHS = SCHEDULES | {"straight": schedule.straight(), "variance_exploding": schedule.variance_exploding(0.01, 20.0)}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def start(path, rows=64, seed=0):
    return float(path(1.0)[1]) * noise(rows, 2, seed=seed, dtype=torch.float64)


@every_path
def test_eta_1_draws_from_the_posterior_of_the_schedule(path):
    x, ours = start(path), seeded(3)
    wanted = seeded(3)
    steps = list(sample(exact(ONE, path), x, times(50), path, eta=1.0, generator=ours))
    for now, then in zip(steps, steps[1:-1]):
        mean, std = path.posterior(now.x, now.x0, now.t, then.t)
        assert torch.allclose(then.x, mean + std * randn(x.shape, x, wanted), atol=1e-9)
    assert torch.equal(steps[-1].x, steps[-2].x0)  # the last step adds no noise: the sample is the last estimate


@every_path
def test_large_variance_has_the_mean_of_eta_1_and_the_noise_of_the_forward_step(path):
    x, draws = start(path), seeded(3)
    steps = list(sample(exact(ONE, path), x, times(50), path, eta=1.0, variance="large", generator=seeded(3)))
    for now, then in zip(steps, steps[1:-1]):
        mean, _ = path.posterior(now.x, now.x0, now.t, then.t)
        _, sigma_hat = path.transition(now.t, then.t)
        assert torch.allclose(then.x, mean + sigma_hat * randn(x.shape, x, draws), atol=1e-9)
    assert torch.equal(steps[-1].x, steps[-2].x0)


def test_flow_with_eta_0_is_eulers_method():
    path, x = PATHS["straight"], start(PATHS["straight"])
    got = last(sample(exact(ONE, path), x, times(20), path))
    for k in range(20, 0, -1):
        t = k / 20
        velocity = (x - exact(ONE, path)(x, torch.tensor(t, dtype=torch.float64))) / t  # eps - x0
        x = x - velocity / 20
    assert torch.allclose(got, x, atol=1e-12)


def test_heun_is_algorithm_1_of_karras_where_the_variance_explodes():
    path = PATHS["variance_exploding"]
    x = start(path)
    sigmas = [float(path(t)[1]) for t in times(12)]
    got = [step.x for step in heun(exact(ONE, path), x, times(12), path)]

    def slope(x, sigma):
        return (x - ONE.denoise(x, 1.0, sigma)) / sigma

    for i, (sigma, below) in enumerate(zip(sigmas, sigmas[1:])):
        assert torch.allclose(got[i], x, atol=1e-10)
        first = slope(x, sigma)
        euler = x + (below - sigma) * first
        x = x + (below - sigma) * (first + slope(euler, below)) / 2 if below else euler
    assert torch.allclose(got[-1], x, atol=1e-10)


def test_heun_is_the_ordinary_one_on_the_straight_path():
    path, x = PATHS["straight"], start(PATHS["straight"])
    got = last(heun(exact(ONE, path), x, times(12), path))

    def velocity(x, t):
        return (x - ONE.denoise(x, 1 - t, t)) / t

    for k in range(12, 0, -1):
        t, s = k / 12, (k - 1) / 12
        euler = x + (s - t) * velocity(x, t)
        x = x + (s - t) * (velocity(x, t) + velocity(euler, s)) / 2 if s else euler
    assert torch.allclose(got, x, atol=1e-12)


@every_path
def test_the_way_of_a_single_gaussian_is_known(path):
    """Its probability-flow ODE scales x with the standard deviation of x_t: x_0 = s x_1 / sqrt(alpha² s² + sigma²)."""
    s, x = 0.6, start(path, 16)
    one = GaussianMixture([1.0], torch.zeros(1, 2, dtype=torch.float64), [s])
    alpha, sigma = path(1.0)
    wanted = x * s / math.sqrt(alpha**2 * s**2 + sigma**2)
    for steps in (sample(exact(one, path), x, times(400), path, order=2), heun(exact(one, path), x, times(400), path)):
        assert (last(steps) - wanted).abs().max() < 3e-3


# The order of accuracy. The error is the root mean square, over 64 paths from the same noise, of the distance at
# t = 0.1 to a reference with 640 steps of Heun, from t = 0.9. Both ends are left out: at t = 0 every method takes a
# first-order step, and near t = 1 log-SNR falls so steeply that a step of 1/S is not small. Halving the steps' length
# divides the error by 2^order.


def path_to(method, steps, path, **options):
    """x at t = 0.1 of paths that set out from q(x_t) at t = 0.9."""
    alpha, sigma = at(path, 0.9)
    x = alpha * ONE.sample(64, seeded(1)) + sigma * noise(64, 2, seed=2, dtype=torch.float64)
    inner = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)
    walk = method(exact(ONE, path), x, torch.cat([inner, torch.zeros(1)]), path, **options)
    return [step.x for step in walk][steps]


reference = cache(lambda path: path_to(heun, 640, path))


@every_path
@pytest.mark.parametrize(
    "order, method, options",
    [(1, sample, {}), (2, sample, {"order": 2}), (2, heun, {})],
    ids=["DDIM", "DPM-Solver++(2M)", "Heun"],
)
def test_order_of_accuracy(path, order, method, options):
    ends = [path_to(method, steps, path, **options) for steps in (40, 80)]
    coarse, fine = ((x - reference(path)).square().mean().sqrt() for x in ends)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


# What samples look like.


@pytest.mark.parametrize(
    "walk",
    [
        lambda d, x, path, g: sample(d, x, times(200), path),
        lambda d, x, path, g: sample(d, x, times(200), path, eta=0.5, generator=g),
        lambda d, x, path, g: sample(d, x, times(200), path, eta=1.0, generator=g),
        lambda d, x, path, g: sample(d, x, times(50), path, order=2),
        lambda d, x, path, g: sample(d, x, times(200), path, order=2, eta=1.0, generator=g),
        lambda d, x, path, g: heun(d, x, times(50), path),
    ],
    ids=["ddim", "eta=0.5", "ddpm", "dpm", "sde-dpm", "heun"],
)
@pytest.mark.parametrize("name", ["cosine", "straight"])
def test_samples_of_the_exact_mixture_are_spread_as_it_is(walk, name):
    ring, path, n = ring_mixture(0.2), PATHS[name], 4000
    x = last(walk(exact(ring, path), path.prior((n, 2), seeded(1)), path, seeded(2)))
    shares = ring.responsibilities(x).mean(0)
    real = ring.sample(100_000, seeded(3))
    assert (shares - 1 / 8).abs().max() < 0.025  # 4.8 standard deviations of a share
    assert (x.T.cov() - real.T.cov()).abs().max() < 0.06
    assert ring.log_prob(x).mean().item() == pytest.approx(ring.log_prob(real).mean().item(), abs=0.1)


def test_too_large_a_variance_shows_with_few_steps_only():
    """The DDIM paper's sigma-hat: far too wide at 10 steps, right at 1,000."""
    ring, path = ring_mixture(0.2), SCHEDULES["linear"]
    real = ring.log_prob(ring.sample(100_000, seeded(3))).mean()

    def gap(steps, variance):
        x = path.prior((2000, 2), seeded(1))
        walk = sample(exact(ring, path), x, times(steps), path, eta=1.0, variance=variance, generator=seeded(2))
        return real - ring.log_prob(last(walk)).mean()

    assert gap(10, "large") > 2 * gap(10, "small")
    assert abs(gap(1000, "large")) < 0.1


# Times, inversion, and the iterator itself.


def test_times_fall_from_the_start_to_0():
    assert torch.allclose(times(4), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64))
    assert torch.allclose(times(2, start=0.6), torch.tensor([0.6, 0.3, 0], dtype=torch.float64))
    assert torch.allclose(times(2, power=2.0), torch.tensor([1, 0.25, 0], dtype=torch.float64))
    assert torch.allclose(times(1000)[:-1].flip(0).float(), SCHEDULES["cosine"].grid)
    for steps in (1, 3, 7, 49, 1000):
        assert times(steps)[0] == 1 and times(steps)[-1] == 0 and len(times(steps)) == steps + 1


@settings(max_examples=50)
@given(st.sampled_from(list(PATHS.values())), st.integers(1, 60), st.floats(0.01, 1), st.floats(0.1, 10))
def test_any_times_are_taken_by_a_sampler(path, steps, begin, power):
    at = times(steps, begin, power)
    assert (len(at), at[0], at[-1]) == (steps + 1, begin, 0) and (at.diff() < 0).all()
    one = GaussianMixture([1.0], torch.ones(1, 1, dtype=torch.float64), [0.5])
    assert torch.isfinite(last(sample(exact(one, path), torch.ones(1, 1, dtype=torch.float64), at, path))).all()


any_way = st.sampled_from([(1, 0.0), (1, 0.3), (1, 1.0), (2, 0.0), (2, 1.0)])  # order and eta
some_times = st.lists(st.floats(0.02, 0.98), max_size=12, unique=True).map(lambda at: [1.0, *sorted(at)[::-1], 0.0])


@settings(max_examples=60)
@given(st.sampled_from(list(PATHS)), any_way | st.none(), some_times, st.floats(-2, 2), st.floats(0.1, 2))
def test_any_walk_to_a_gaussian_ends_at_its_mean(name, way, at, mean, std):
    """Its best denoiser is a line in x, so that the mean stays right with however few steps, at whatever times."""
    path, n = PATHS[name], 2000
    one = GaussianMixture([1.0], torch.full((1, 1), mean, dtype=torch.float64), [std])
    alpha, sigma = path(1.0)
    x = alpha * mean + math.sqrt(alpha**2 * std**2 + sigma**2) * noise(n, 1, seed=1, dtype=torch.float64)
    at = torch.tensor(at, dtype=torch.float64)
    if way:
        order, eta = way
        steps = list(sample(exact(one, path), x, at, path, order=order, eta=eta, generator=seeded(2)))
    else:
        steps = list(heun(exact(one, path), x, at, path))
    assert all(torch.isfinite(step.x).all() and torch.isfinite(step.x0).all() for step in steps)
    end = steps[-1].x
    assert abs(end.mean().item() - mean) <= 5 * end.std().item() / math.sqrt(n) + 1e-9
    if way == (1, 1.0):
        assert end.std().item() <= std * 1.1  # too few steps make it too narrow, never too wide


def test_steps_carry_their_number_time_and_estimate():
    path, x = PATHS["cosine"], start(PATHS["cosine"], 4)
    steps = list(sample(exact(ONE, path), x, times(5), path))
    assert all(isinstance(step, Step) for step in steps)
    assert [step.i for step in steps] == [0, 1, 2, 3, 4, 5]
    assert [step.t for step in steps] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    assert torch.equal(steps[0].x, x)
    for step in steps[:-1]:
        assert torch.equal(step.x0, exact(ONE, path)(step.x, torch.tensor(step.t, dtype=torch.float64)))
    assert torch.equal(steps[-1].x, steps[-1].x0) and torch.equal(steps[-1].x, last(iter(steps)))


@every_path
def test_what_was_inverted_is_sampled_back(path):
    x = ONE.sample(32, seeded(5))
    rises = times(400)[:-1].flip(0)

    def distance(rises):
        latent = last(invert(exact(ONE, path), x, rises, path))
        back = last(sample(exact(ONE, path), latent, torch.cat([rises.flip(0), torch.zeros(1)]), path))
        return (back - x).abs().mean()

    assert distance(rises) < 0.35 * distance(rises[3::4]) < 0.1


def test_inversion_undoes_a_step_exactly_where_the_estimate_stands_still():
    path, x, fixed = PATHS["cosine"], noise(4, 2, dtype=torch.float64), noise(4, 2, seed=1, dtype=torch.float64)
    rises = times(10)[:-1].flip(0)
    steps = list(invert(lambda x, t: fixed, x, rises, path))
    assert [step.t for step in steps] == pytest.approx(rises.tolist()) and torch.equal(steps[0].x, x)
    back = list(sample(lambda x, t: fixed, steps[-1].x, torch.cat([rises.flip(0), torch.zeros(1)]), path))
    assert torch.allclose(back[-2].x, x, atol=1e-10)


def test_inverted_samples_are_standard_normal():
    ring, path = ring_mixture(0.2), PATHS["cosine"]
    latent = last(invert(exact(ring, path), ring.sample(4000, seeded(0)), times(200)[:-1].flip(0), path))
    assert latent.mean(0).abs().max() < 0.08
    assert (latent.T.cov() - torch.eye(2)).abs().max() < 0.1


def test_last_keeps_the_end_and_refuses_a_used_up_sampler():
    path = PATHS["cosine"]
    steps = sample(exact(ONE, path), start(path, 4), times(3), path)
    assert last(steps).shape == (4, 2)
    with pytest.raises(ValueError, match="steps: got none"):
        last(steps)


WALKS = {"sample": (sample, times(9)), "heun": (heun, times(9)), "invert": (invert, times(9)[:-1].flip(0))}
every_walk = pytest.mark.parametrize("walk, at", WALKS.values(), ids=WALKS)


@every_walk
def test_a_walk_may_be_stopped_in_the_middle(walk, at):
    path, asked = PATHS["cosine"], []

    def denoise(x, t):
        assert not torch.is_grad_enabled()
        asked.append(float(t))
        return x

    steps = walk(denoise, torch.zeros(2, 2), at, path)
    assert not asked  # nothing happens until the first Step is wanted
    for step in steps:
        assert torch.is_grad_enabled()  # the caller's own mode, between the steps too
        if step.i == 2:
            break
    calls = len(asked)
    steps.close()
    assert list(steps) == [] and len(asked) == calls and torch.is_grad_enabled()
    walk(denoise, torch.zeros(2, 2), at, path)  # made and thrown away
    next(iter(walk(denoise, torch.zeros(2, 2), at, path)))
    gc.collect()
    assert torch.is_grad_enabled()


@every_walk
def test_an_error_in_the_middle_ends_the_walk_and_restores_the_grad_mode(walk, at):
    def denoise(x, t):
        if 0.3 < t < 0.7:
            raise KeyboardInterrupt
        return x

    steps = walk(denoise, torch.zeros(2, 2), at, PATHS["cosine"])
    with pytest.raises(KeyboardInterrupt):
        list(steps)
    assert torch.is_grad_enabled() and list(steps) == []


def test_the_generator_decides_the_noise_and_the_callers_stream_is_left_alone():
    path, x = PATHS["cosine"], start(PATHS["cosine"], 4)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    runs = [last(sample(exact(ONE, path), x, times(5), path, eta=1.0, generator=seeded(k))) for k in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), state)
    last(sample(exact(ONE, path), x, times(5), path))  # eta = 0 draws nothing
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_takes_the_dtype_and_is_drawn_by_the_generator():
    like = torch.zeros(3, dtype=torch.float64)
    assert randn((2, 3), like, seeded(4)).dtype == torch.float64
    assert torch.equal(randn((2, 3), like, seeded(4)), noise(2, 3, seed=4, dtype=torch.float64))


# What is refused.


def cosine_times(*points):
    return torch.tensor(points, dtype=torch.float64)


@pytest.mark.parametrize(
    "at, error, message",
    [
        ([], TypeError, r"times: got \[\] \(list\), expected a float tensor"),
        (torch.zeros(0), ValueError, r"times: .*not empty"),
        (torch.tensor([0.0]), ValueError, "times: .*fall from at most 1 to 0"),
        (torch.tensor([1, 0]), TypeError, "times: .*float tensor"),
        (torch.tensor([[1.0, 0.0]]), ValueError, r"times: .*expected shape \(N,\)"),
        (cosine_times(0, 0.5, 1), ValueError, "times: .*fall from at most 1 to 0"),
        (cosine_times(1, 0.5, 0.5, 0), ValueError, "times: .*fall from at most 1 to 0"),
        (cosine_times(1, 0.5, 0.1), ValueError, "times: .*fall from at most 1 to 0"),
        (cosine_times(1.2, 0.5, 0), ValueError, "times: got values from 0 to 1.2, expected between 0 and 1"),
        (cosine_times(1, 0.5, -0.1), ValueError, "times: got values from -0.1 to 1"),
        (cosine_times(1, math.nan, 0), ValueError, "times: got NaN"),
    ],
)
@pytest.mark.parametrize("walk", [sample, heun])
def test_times_that_do_not_fall_to_0_are_refused_at_once(walk, at, error, message):
    with pytest.raises(error, match=message):
        walk(lambda x, t: x, torch.zeros(2, 2), at, PATHS["cosine"])


@pytest.mark.parametrize(
    "at", [times(5), times(5).flip(0), cosine_times(0.5), cosine_times(0.1, 0.1), cosine_times(0.5, 1.1)], ids=str
)
def test_inversion_wants_times_that_rise_from_above_0(at):
    with pytest.raises(ValueError, match="times: "):
        invert(lambda x, t: x, torch.zeros(2, 2), at, PATHS["cosine"])


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"eta": -0.1}, ValueError, "eta: got -0.1, expected between 0 and 1"),
        ({"eta": 1.01}, ValueError, "eta: got 1.01, expected between 0 and 1"),
        ({"eta": math.nan}, ValueError, "eta: "),
        ({"eta": "1"}, TypeError, "eta: "),
        ({"order": 3}, ValueError, "order: got 3 .*expected one of 1, 2"),
        ({"order": 2, "eta": 0.5}, ValueError, "eta: got 0.5 with order=2, expected 0 or 1"),
        ({"variance": "huge"}, ValueError, "variance: .*'small', 'large'"),
        ({"variance": "large"}, ValueError, "variance: got 'large' with eta=0, order=1"),
        ({"variance": "large", "eta": 1.0, "order": 2}, ValueError, "variance: got 'large' with eta=1, order=2"),
    ],
)
def test_options_that_mean_nothing_are_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        sample(lambda x, t: x, torch.zeros(2, 2), times(5), PATHS["cosine"], **options)


@pytest.mark.parametrize(
    "x, error",
    [([[0.0]], TypeError), (torch.zeros(2, 2, dtype=torch.int64), TypeError), (torch.tensor(1.0), ValueError)]
    + [(torch.zeros(0, 2), ValueError), (torch.full((2, 2), math.nan), ValueError)],
)
@every_walk
def test_a_start_that_is_no_batch_is_refused_at_once(walk, at, x, error):
    with pytest.raises(error, match="^x: "):
        walk(lambda x, t: x, x, at, PATHS["cosine"])


@every_walk
def test_a_schedule_must_be_one(walk, at):
    with pytest.raises(TypeError, match="schedule: got function, expected a Schedule"):
        walk(lambda x, t: x, torch.zeros(2, 2), at, schedule.cosine)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda x: x * math.nan, r"denoise\(x, 0.*: got NaN or infinity"),
        (lambda x: x + math.inf, r"denoise\(x, 0.*: got NaN or infinity"),
        (lambda x: x[:1], r"denoise\(x, 0.*: got shape \(1, 2\), expected that of x, \(3, 2\)"),
        (lambda x: x[:, :1], r"denoise\(x, 0.*: got shape \(3, 1\)"),
        (lambda x: None, r"denoise\(x, 0.*: got None"),
        (lambda x: (x, x), r"denoise\(x, 0.*: got .*\(tuple\), expected a float tensor"),
        (lambda x: x.double(), r"denoise\(x, 0.*: got float64 tensor .*expected float32"),
    ],
)
@every_walk
def test_a_denoiser_that_returns_nonsense_is_named_with_the_time(walk, at, answer, message):
    steps = walk(lambda x, t: answer(x) if 0.3 < t < 0.6 else x, torch.zeros(3, 2), at, PATHS["cosine"])
    seen = []
    with pytest.raises((TypeError, ValueError), match=message):
        for step in steps:
            seen.append(step.t)
    assert seen and not any(0.3 < t < 0.6 for t in seen)  # the good steps before it were yielded
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"steps": 0}, ValueError, "steps: got 0, expected at least 1"),
        ({"steps": 2.5}, TypeError, "steps: "),
        ({"steps": 5, "start": 0}, ValueError, "start: got 0, where there is no noise"),
        ({"steps": 5, "start": 1.1}, ValueError, "start: got 1.1"),
        ({"steps": 5, "power": 0}, ValueError, "power: "),
    ],
)
def test_times_refuses_what_gives_no_times(arguments, error, message):
    with pytest.raises(error, match=message):
        times(**arguments)
