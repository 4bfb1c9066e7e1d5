"""Flow matching: the exact field of a mixture, one gradient for two losses, Euler's steps, couplings, straightness."""

import itertools

import pytest
import torch
from torch import nn

from minidiff import checkpoints, metrics, schedule, seeded
from minidiff.data import GaussianMixture
from minidiff.flow_matching import (
    FlowMatching,
    bend,
    euler,
    marginal_velocity,
    optimal_coupling,
    transport_cost,
)
from minidiff.nn import PointNet
from minidiff.sampler import Step, last, sample, times

CLOUDS = ([0.3, 0.7], [[-1.5, 0.0], [1.0, 0.5]], [0.3, 0.4])


@pytest.fixture
def clouds():
    return GaussianMixture(*(torch.tensor(part, dtype=torch.float64) for part in CLOUDS))


def gradient(loss, net):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


# The field


def test_the_marginal_velocity_is_the_mean_of_all_paths_through_a_point(clouds):
    t, x = 0.6, torch.tensor([[0.2, -0.1]], dtype=torch.float64)
    x0 = clouds.sample(400_000, seeded())
    eps = (x - (1 - t) * x0) / t  # the one noise that leads from each x0 to x
    weight = torch.softmax(-eps.square().sum(1) / 2, 0)[:, None]
    wanted = (weight * (eps - x0)).sum(0)
    assert torch.allclose(marginal_velocity(clouds, x, t)[0], wanted, atol=0.02)
    assert not torch.allclose(-marginal_velocity(clouds, x, t)[0], wanted, atol=0.2)


def test_the_marginal_velocity_carries_noise_to_the_data(clouds):
    noise = torch.randn(4000, 2, generator=seeded(), dtype=torch.float64)

    def walked(sign):
        return last(euler(lambda x, t: sign * marginal_velocity(clouds, x, float(t)), noise, times(60)))

    real = clouds.sample(4000, seeded(1))
    floor = metrics.energy_distance(clouds.sample(4000, seeded(2)), real)
    assert metrics.energy_distance(walked(1), real) < floor + 0.005
    assert metrics.energy_distance(walked(-1), real) > 0.1


def test_conditional_and_marginal_loss_have_one_gradient(clouds):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)).double()
    n, t = 100_000, 0.5
    x0, eps = clouds.sample(n, seeded()), torch.randn(n, 2, generator=seeded(1), dtype=torch.float64)
    x = (1 - t) * x0 + t * eps
    conditional = (net(x) - (eps - x0)).square().sum(1).mean()
    marginal = (net(x) - marginal_velocity(clouds, x, t)).square().sum(1).mean()
    assert conditional > marginal + 1  # the values are far apart
    wanted = gradient(marginal, net)
    assert (gradient(conditional, net) - wanted).norm() / wanted.norm() < 0.03
    turned = (net(x) - (x0 - eps)).square().sum(1).mean()
    assert (gradient(turned, net) - wanted).norm() / wanted.norm() > 0.5


# The model


class Asked(nn.Module):
    """Notes what it is asked, and answers one number."""

    def __init__(self, answer=0.0):
        super().__init__()
        self.answer = nn.Parameter(torch.tensor(answer))
        self.asked = []

    def forward(self, x, t, cond=None):
        self.asked.append((x.detach(), t))
        return self.answer * torch.ones_like(x)


def test_the_loss_is_that_of_the_velocity_on_a_straight_path():
    model = FlowMatching(Asked(0.5))
    x0 = torch.randn(6, 1, 4, 4)
    torch.manual_seed(1)
    loss = model.loss(x0)
    torch.manual_seed(1)
    eps = torch.randn_like(x0)
    assert torch.allclose(loss, (0.5 - (eps - x0)).square().mean())
    [(x, t)] = model.net.asked
    t = t.view(-1, 1, 1, 1)
    path = (1 - t) * x0 + t * eps
    assert torch.allclose(x * ((1 - t) ** 2 + t**2).sqrt(), path, atol=1e-6)  # shown at about unit size


def test_logit_normal_times_crowd_in_the_middle():
    drawn = {}
    for kind in ("uniform", "logit-normal"):
        model = FlowMatching(Asked(), times=kind)
        model.loss(torch.zeros(4000, 2))
        drawn[kind] = ((model.net.asked[0][1] - 0.5).abs() < 0.25).float().mean().item()
    assert drawn["uniform"] == pytest.approx(0.5, abs=0.03)
    assert drawn["logit-normal"] == pytest.approx(0.728, abs=0.03)  # P(|z| < log 3)


def test_velocity_and_estimate_say_the_same_and_any_sampler_takes_it():
    torch.manual_seed(0)
    model = FlowMatching(PointNet(2, 32)).eval()
    x, t = torch.randn(8, 2), torch.tensor(0.3)
    assert torch.allclose(model(x, t), x - 0.3 * model.velocity(x, t), atol=1e-6)
    ddim = last(sample(model, x, times(7), schedule.straight()))
    assert torch.allclose(last(euler(model.velocity, x, times(7))), ddim, atol=1e-5)


@torch.no_grad()
def test_euler_is_the_scheduler_of_diffusers():
    scheduler = pytest.importorskip("diffusers").FlowMatchEulerDiscreteScheduler()
    torch.manual_seed(0)
    model = FlowMatching(PointNet(2, 32)).eval()
    noise = torch.randn(8, 2)
    grid = times(6)
    scheduler.set_timesteps(sigmas=grid[:-1].tolist())
    x = noise
    for t in scheduler.timesteps:
        x = scheduler.step(model.velocity(x, t / 1000), t, x, return_dict=False)[0]
    ours = last(euler(model.velocity, noise, grid))
    assert torch.allclose(ours, x, atol=1e-5) and not torch.allclose(ours, noise, atol=0.1)


def test_euler_of_a_constant_velocity_is_exact_in_one_step_and_names_bad_times():
    x = torch.randn(3, 2)
    steps = list(euler(lambda x, t: torch.ones_like(x), x, times(1)))
    assert len(steps) == 2 and steps[0].i == 0 and torch.allclose(steps[-1].x, x - 1)
    assert torch.allclose(steps[0].x0, x - 1)
    with pytest.raises(ValueError, match="times: got .*, expected times that fall to 0"):
        euler(lambda x, t: x, x, torch.tensor([0.0, 1.0]))


# Couplings


def test_the_coupling_is_the_cheapest_of_all():
    x0, eps = torch.randn(5, 2, generator=seeded()), torch.randn(5, 2, generator=seeded(1))
    costs = {order: transport_cost(x0, eps[list(order)]) for order in itertools.permutations(range(5))}
    found = optimal_coupling(x0, eps)
    assert sorted(found.tolist()) == [0, 1, 2, 3, 4]
    assert costs[tuple(found.tolist())] == pytest.approx(min(costs.values()))
    assert min(costs.values()) < costs[0, 1, 2, 3, 4]


def test_optimal_noise_is_refused_with_labels_and_used_without():
    torch.manual_seed(0)
    x0 = torch.randn(64, 2)
    losses = {}
    for kind in ("independent", "optimal"):
        torch.manual_seed(3)
        losses[kind] = FlowMatching(Asked(), coupling=kind).loss(x0).item()  # |eps - x0|², as the net says nothing
    assert losses["optimal"] < 0.3 * losses["independent"]
    model = FlowMatching(PointNet(2, 8, classes=3), null=3, coupling="optimal")
    with pytest.raises(ValueError, match="cond: got a condition with coupling='optimal'"):
        model.loss(x0, torch.zeros(64, dtype=torch.long))


def test_straight_paths_do_not_bend_and_others_do(clouds):
    noise = torch.randn(500, 2, generator=seeded(), dtype=torch.float64)
    straight = euler(lambda x, t: torch.ones_like(x), noise, times(30))
    assert bend(straight) == pytest.approx(0, abs=1e-12)
    curved = euler(lambda x, t: marginal_velocity(clouds, x, float(t)), noise, times(30))
    assert bend(curved) > 0.05
    by_hand = [Step(0, 1.0, torch.tensor([[2.0]]), None), Step(1, 0.5, torch.tensor([[2.0]]), None)]
    by_hand.append(Step(2, 0.0, torch.tensor([[0.0]]), None))  # velocities 0 and 4, mean 2: (2² + 2²) / 2
    assert bend(by_hand) == pytest.approx(4)


def test_the_shipped_model_knows_its_digits():
    from minidiff import data

    model = checkpoints.load("flow-matching-digits")
    x0, y = (rows[:64] for rows in data.digits("test"))
    torch.manual_seed(0)
    with torch.no_grad():
        told = model.loss(x0, y).item()
        wrong = model.loss(x0, (y + 1) % 10).item()
    assert isinstance(model, FlowMatching) and told < 0.2 and told < wrong
