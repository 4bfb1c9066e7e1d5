"""Score models: three losses with one gradient, Langevin and its ladder, SDEs and ODEs against exact answers."""

import math

import pytest
import torch
from torch import nn

from minidiff import metrics, schedule, seeded
from minidiff import score as scores
from minidiff.data import GaussianMixture
from minidiff.sampler import Step, heun, last, times
from minidiff.score import SDE

CLOUDS = ([0.2, 0.5, 0.3], [[-1.0, -0.5], [1.0, 0.3], [0.0, 1.2]], [0.3, 0.4, 0.25])
PATHS = {"VE": schedule.variance_exploding(), "VP": scores.vp(), "sub-VP": scores.sub_vp()}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@pytest.fixture
def clouds():
    return GaussianMixture(*(torch.tensor(part, dtype=torch.float64) for part in CLOUDS))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)).double()


def exact(mixture, path):
    return lambda x, t: mixture.denoise(x, *(float(value) for value in path(float(t))))


def gradient(loss, net):
    pieces = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
    return torch.cat([piece.flatten() for piece in pieces])


# Losses


def test_the_divergence_is_the_trace_exactly_and_by_all_probes_of_signs(net):
    x = torch.randn(5, 2, dtype=torch.float64)
    whole = torch.stack([torch.autograd.functional.jacobian(net, row).trace() for row in x])
    value, trace = scores.value_and_divergence(net, x)
    assert torch.equal(value, net(x)) and torch.allclose(trace, whole)
    assert not trace.requires_grad and not x.requires_grad
    signs = torch.cartesian_prod(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0])).double()
    probed = [scores.value_and_divergence(net, x, v.expand(5, 2))[1] for v in signs]
    assert not torch.allclose(probed[0], whole)
    assert torch.allclose(sum(probed) / 4, whole)


def test_the_divergence_of_a_constant_field_is_0_and_pictures_are_rows():
    x = torch.randn(3, 1, 2, 2)
    assert torch.equal(scores.value_and_divergence(torch.zeros_like, x)[1], torch.zeros(3))
    assert torch.allclose(scores.value_and_divergence(lambda x: 3 * x, x)[1], torch.full((3,), 12.0))


def on_a_grid(clouds, sigma, side=161):
    """Points of a grid and the exact probability of each under noise sigma: averages without any draws."""
    line = torch.linspace(-5, 5, side, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    weight = clouds.log_prob(x, 1.0, sigma).exp()
    return x, weight / weight.sum()


def test_explicit_matching_has_the_gradient_of_the_distance_to_the_true_score(net, clouds):
    x, weight = on_a_grid(clouds, 0.4)
    distance = (weight * (net(x) - clouds.score(x, 1.0, 0.4)).square().sum(1)).sum() / 2
    wanted = gradient(distance, net)
    found = gradient((weight * scores.explicit_loss(net, x)).sum(), net)
    assert torch.allclose(found, wanted, atol=1e-5)
    turned = gradient((weight * (scores.explicit_loss(net, x) - net(x).square().sum(1))).sum(), net)
    assert not torch.allclose(turned, wanted, atol=1e-2)


def test_sliced_and_denoising_matching_have_it_too_up_to_the_draws(net, clouds):
    n, sigma = 100_000, 0.4
    x0, eps = clouds.sample(n, seeded()), torch.randn(n, 2, generator=seeded(1), dtype=torch.float64)
    x = x0 + sigma * eps
    v = torch.randint(0, 2, (n, 2), generator=seeded(2)).double() * 2 - 1
    wanted = gradient((net(x) - clouds.score(x, 1.0, sigma)).square().sum(1).mean() / 2, net)
    losses = {"sliced": scores.sliced_loss(net, x, v), "denoising": scores.denoising_loss(net, x0, sigma, eps)}
    gaps = {name: (gradient(loss.mean(), net) - wanted).norm() / wanted.norm() for name, loss in losses.items()}
    assert gaps["sliced"] < 0.03 and gaps["denoising"] < 0.03
    wrong = scores.denoising_loss(lambda x: -net(x), x0, sigma, eps)
    assert (gradient(wrong.mean(), net) - wanted).norm() / wanted.norm() > 0.3


def test_the_denoising_loss_is_lessons_06_loss_in_other_units():
    from minidiff.denoiser import Denoiser
    from minidiff.nn import PointNet

    torch.manual_seed(0)
    path = schedule.variance_exploding()
    model = Denoiser(PointNet(2), path, "eps")
    x0, eps = torch.randn(2, 6, 2)
    t = torch.tensor(0.5)
    sigma = float(path(t)[1])
    found = scores.denoising_loss(lambda x: path.score(x, model(x, t), t), x0, sigma, eps)
    assert torch.allclose(found * sigma**2, model.losses(x0, t, eps), rtol=1e-3)  # half of 2 numbers: 1


# Langevin dynamics


def test_langevin_keeps_a_normal_distribution_and_needs_all_of_its_noise():
    x = torch.randn(4000, 2, generator=seeded())
    path = list(scores.langevin(lambda x: -x, x, 0.1, 200, seeded(1)))
    assert len(path) == 201 and isinstance(path[0], Step) and torch.equal(path[0].x, x)
    assert path[-1].x.std().item() == pytest.approx(1 / math.sqrt(1 - 0.1 / 4), abs=0.03)
    lost = last(scores.langevin(lambda x: -2 * x, x / math.sqrt(2), 0.05, 200, seeded(1)))  # noise too small by √2
    assert lost.std() < 0.8


def test_plain_langevin_has_wrong_weights_and_the_ladder_mends_them():
    far = GaussianMixture([0.2, 0.8], [[-5.0, -5.0], [5.0, 5.0]], [1.0, 1.0])
    path = schedule.variance_exploding(0.1, 20.0)
    start = 16 * torch.rand(600, 2, generator=seeded()) - 8

    def share(x):
        return (x.sum(1) < 0).float().mean().item()

    assert share(last(scores.langevin(far.score, start, 0.1, 500, seeded(1)))) > 0.4
    noise = path.prior((600, 2), seeded(2))
    down = list(scores.annealed(exact(far, path), noise, times(10), path, each=40, step=0.4, generator=seeded(3)))
    assert len(down) == 401 and down[-1].t == 0.0
    assert share(down[-1].x) == pytest.approx(0.2, abs=0.06)
    assert [step.t for step in down[:-1:40]] == pytest.approx(times(10)[:-1].tolist())


def test_annealed_steps_scale_with_the_noise():
    """At a noise that is ten times larger the same walk is ten times larger, for a score that scales so."""
    path = schedule.straight()
    far = []
    for t in (0.05, 0.1):
        sigma = float(path(t)[1])
        x = sigma * torch.ones(4, 2)
        walk = list(
            scores.annealed(
                lambda x, t: torch.zeros_like(x), x, torch.tensor([t, 0.0]), path, each=3, generator=seeded()
            )
        )
        far.append(walk[2].x / sigma)
    assert torch.allclose(*far, atol=1e-5)


# SDEs


@each_path
def test_f_and_g_move_alpha_and_sigma(path):
    sde = SDE(path)
    for t in (0.1, 0.5, 0.9):
        f, g = sde.coefficients(t)
        (low, below), (high, above) = sde.marginal(t - 1e-5), sde.marginal(t + 1e-5)
        alpha, sigma = sde.marginal(t)
        assert f * alpha == pytest.approx((high - low) / 2e-5, rel=1e-4, abs=1e-8)
        assert 2 * f * sigma**2 + g**2 == pytest.approx((above**2 - below**2) / 2e-5, rel=1e-4)


def test_f_and_g_are_the_papers():
    t = 0.3
    beta = 0.1 + 19.9 * t
    alpha = math.exp(-(0.1 * t + 19.9 * t**2 / 2) / 2)
    for path, wanted in ((PATHS["VP"], beta), (PATHS["sub-VP"], beta * (1 - alpha**4))):
        f, g = SDE(path).coefficients(t)
        assert (f, g**2) == (pytest.approx(-beta / 2), pytest.approx(wanted))
        assert SDE(path).marginal(t)[0] == pytest.approx(alpha)
    f, g = SDE(PATHS["VE"]).coefficients(t)
    assert (f, g) == (0.0, pytest.approx(0.01 * 5000**t * math.sqrt(2 * math.log(5000))))
    x = torch.randn(3, 2)
    assert torch.allclose(SDE(PATHS["VP"]).drift(x, t), -beta / 2 * x)
    assert SDE(PATHS["VP"]).diffusion(t) == pytest.approx(beta**0.5)


@each_path
def test_the_flow_satisfies_the_continuity_equation_and_the_sdes_drift_does_not(path):
    line = GaussianMixture(*(torch.tensor(p, dtype=torch.float64) for p in ([0.3, 0.7], [[-1.0], [1.0]], [0.2, 0.4])))
    x = torch.linspace(-4, 4, 4001, dtype=torch.float64)[:, None]
    sde, t, dt = SDE(path), 0.3, 1e-5
    before, now, after = (line.log_prob(x, *sde.marginal(s)).exp() for s in (t - dt, t, t + dt))
    change = ((after - before) / (2 * dt))[1:-1]
    x0 = line.denoise(x, *sde.marginal(t))
    gaps = []
    for drift in (sde.flow_drift, sde.reverse_drift):
        flow = now * drift(x, x0, t)[:, 0]
        gaps.append((change + (flow[2:] - flow[:-2]) / 0.004).abs().max() / change.abs().max())
    assert gaps[0] < 1e-3 < 0.1 < gaps[1]


@each_path
def test_the_way_back_leads_to_the_data_by_sde_by_corrector_and_by_ode(path, clouds):
    denoise, fresh = exact(clouds, path), clouds.sample(2000, seeded(9))
    noise = path.prior((2000, 2), seeded()).double()
    ways = {
        "sde": scores.reverse_sde(denoise, noise, times(100), path, seeded(1)),
        "corrected": scores.predictor_corrector(denoise, noise, times(60), path, generator=seeded(2)),
        "ode": heun(denoise, noise, times(40), path),
    }
    found = {name: metrics.energy_distance(last(steps), fresh) for name, steps in ways.items()}
    assert max(found.values()) < 0.006, found
    flat = last(scores.reverse_sde(lambda x, t: torch.zeros_like(x), noise, times(100), path, seeded(1)))
    assert metrics.energy_distance(flat, fresh) > 0.1


def test_without_noise_the_sdes_drift_leaves_too_narrow_clouds(clouds):
    path, x = PATHS["VP"], PATHS["VP"].prior((500, 2), seeded()).double()
    sde, denoise = SDE(path), exact(clouds, path)
    for t, s in zip(times(200).tolist(), times(200).tolist()[1:]):
        x = x + (s - t) * sde.reverse_drift(x, denoise(x, t), t)
    assert clouds.log_prob(x).mean() > clouds.log_prob(clouds.sample(500, seeded(1))).mean() + 0.5


def test_a_sampler_yields_every_time_and_asks_as_often_as_it_says(clouds):
    path, asked = PATHS["VP"], []

    def denoise(x, t):
        asked.append(float(t))
        return exact(clouds, path)(x, t)

    x = path.prior((5, 2), seeded()).double()
    steps = list(scores.predictor_corrector(denoise, x, times(10), path, corrections=2, generator=seeded(1)))
    assert [step.t for step in steps] == pytest.approx(times(10).tolist())
    assert len(asked) == 10 + 9 * 2
    again = list(scores.predictor_corrector(denoise, x, times(10), path, corrections=2, generator=seeded(1)))
    assert torch.equal(steps[-1].x, again[-1].x)


# Likelihood


def rising(steps=100):
    t = torch.linspace(0.01, 1, steps + 1, dtype=torch.float64).square()
    t[-1] = 1
    return t


@pytest.mark.parametrize("name", ["VP", "sub-VP"])
def test_the_likelihood_of_the_ode_is_the_mixtures(name, clouds):
    x, path = clouds.sample(40, seeded()), PATHS[name]
    found = scores.log_prob(exact(clouds, path), x, rising(), path)
    assert (found - clouds.log_prob(x)).abs().max() < 0.01
    assert not found.requires_grad
    shifted = scores.log_prob(lambda x, t: exact(clouds, path)(x, t) + 0.3, x, rising(), path)
    assert (shifted - clouds.log_prob(x)).abs().max() > 0.1


def test_the_likelihood_by_a_probe_is_right_in_the_mean(clouds):
    x, path = clouds.sample(400, seeded()), PATHS["VP"]
    probe = torch.randint(0, 2, x.shape, generator=seeded(1)).double() * 2 - 1
    found = scores.log_prob(exact(clouds, path), x, rising(40), path, probe)
    gap = found - clouds.log_prob(x)
    assert gap.abs().max() > 0.05 > gap.mean().abs()


# EDM


def test_preconditioning_gives_the_network_unit_size_on_both_sides():
    x0 = 0.5 * torch.randn(200_000, generator=seeded())
    for sigma in (0.01, 0.5, 80.0):
        x = x0 + sigma * torch.randn(200_000, generator=seeded(1))
        skip, out, into, noise = (float(c) for c in scores.precondition(sigma))
        assert (into * x).std().item() == pytest.approx(1, abs=0.01)
        assert ((x0 - skip * x) / out).std().item() == pytest.approx(1, abs=0.01)
        assert noise == pytest.approx(math.log(sigma) / 4)


def test_edms_grid_is_the_papers_and_any_schedule_has_it():
    levels = scores.edm_sigmas(18)
    assert (levels[0].item(), levels[-2].item(), levels[-1].item()) == (pytest.approx(80), pytest.approx(0.002), 0)
    assert torch.allclose((levels[:-1] ** (1 / 7)).diff().diff(), torch.zeros(16, dtype=torch.float64), atol=1e-12)
    for path in (schedule.cosine(), schedule.variance_exploding(sigma_max=100.0)):
        t = scores.edm_times(path, 8, low=0.02)
        assert (t.diff() < 0).all() and t[-1] == 0
        alpha, sigma = path(t[:-1])
        assert torch.allclose(sigma / alpha, scores.edm_sigmas(8, low=0.02)[:-1], rtol=1e-6)
    with pytest.raises(ValueError, match="high: got 80"):
        scores.edm_times(schedule.variance_exploding(), 8)


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda x, d, p: scores.langevin(d, x, 0.0, 5), "step: got 0"),
        (lambda x, d, p: scores.annealed(d, x, torch.tensor([0.0, 1.0]), p), "fall to 0"),
        (lambda x, d, p: scores.annealed(d, x, times(5), p, step=3.0), "step: got 3"),
        (lambda x, d, p: scores.reverse_sde(d, x, torch.tensor([1.0, 0.5]), p), "fall to 0"),
        (lambda x, d, p: scores.predictor_corrector(d, x, times(5), p, corrections=-1), "corrections"),
        (lambda x, d, p: scores.log_prob(d, x, times(5), p), "from above 0 up to 1"),
        (lambda x, d, p: scores.denoising_loss(d, x, 1.0, x[:2]), "eps: got shape"),
        (lambda x, d, p: scores.precondition(0.0), "sigma: got 0"),
        (lambda x, d, p: scores.vp(2.0, 1.0), "beta_max"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(ValueError, match=told):
        call(torch.randn(4, 2), lambda x, t=None: x, PATHS["VP"])


def test_a_score_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"score\(x\): got shape \(5, 1\)"):
        last(scores.langevin(lambda x: -x[:, :1], torch.randn(5, 2), 0.1, 3))


def test_where_alpha_is_0_an_sde_has_no_coefficients():
    with pytest.raises(ValueError, match="t: got 1, where alpha is 0"):
        last(scores.reverse_sde(lambda x, t: x, torch.randn(5, 2), times(3), schedule.straight()))
    later = scores.reverse_sde(lambda x, t: x, torch.randn(5, 2), times(3, 0.99), schedule.straight())
    assert last(later).isfinite().all()


@pytest.mark.parametrize("function, t", [(scores.annealed, times(3)), (scores.log_prob, times(3).flip(0)[1:])])
def test_what_is_no_schedule_is_named(function, t):
    with pytest.raises(TypeError, match="schedule: got str, expected a Schedule"):
        function(lambda x, t: x, torch.randn(5, 2), t, "straight")
