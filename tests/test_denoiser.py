"""The denoiser: exact predictions give the exact estimate of x0; the loss asks for the right thing."""

import json
import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn
from torch.distributions import Normal, kl_divergence

from minidiff import data, schedule
from minidiff.denoiser import (
    PREDICTS,
    TIMES,
    WEIGHTS,
    Denoiser,
    PairedDenoiser,
    VariationalDenoiser,
    bound,
    bound_terms,
)
from minidiff.nn import PointNet
from minidiff.recipes import digits, folder
from minidiff.sampler import last, sample, times
from minidiff.support import parts
from minidiff.train import Ema, fit, loop, run
from minidiff.unet import UNet

SCHEDULES = {
    "linear": schedule.linear,
    "cosine": schedule.cosine,
    "linear-100": lambda: schedule.linear(100),
    "straight": schedule.straight,
    "variance exploding": lambda: schedule.variance_exploding(0.01, 5.0),
}
PAIRS = [(p, name) for p in PREDICTS for name in SCHEDULES if (p, name) != ("eps", "straight")]
VARIANCES = ("small", "large")
GRID = torch.linspace(0.001, 1, 16, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def weights(predict: str, alpha, sigma):
    """(p, q) of o = p x0 + q eps, written down once more."""
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    return {"x0": (one, zero), "eps": (zero, one), "v": (-sigma, alpha), "flow": (-one, one)}[predict]


class Exact(nn.Module):
    """The network that a perfect training on the ring would end with; it must undo the scale of what it is shown."""

    def __init__(self, path: schedule.Schedule, predict: str):
        super().__init__()
        self.path, self.predict, self.mixture = path, predict, data.ring_mixture()

    def forward(self, x, t, cond):
        alpha, sigma = (value[:, None] for value in self.path(t))
        x = x * (alpha**2 + sigma**2).sqrt()
        x0 = self.mixture.denoise(x, alpha[:, 0], sigma[:, 0])
        p, q = weights(self.predict, alpha, sigma)
        return p * x0 + q * (x - alpha * x0) / sigma


class Fixed(nn.Module):
    """A network that answers what it was given, and remembers what it was asked."""

    def __init__(self, answer=0.0):
        super().__init__()
        self.answer, self.asked = answer, []

    def forward(self, x, t, cond):
        self.asked.append((x, t, cond))
        return torch.as_tensor(self.answer).to(x).expand_as(x)


class Small(nn.Module):
    """A network for points in the plane that learns."""

    def __init__(self, classes: int = 0):
        super().__init__()
        self.label = nn.Embedding(classes + 1, 32) if classes else None
        self.first, self.rest = nn.Linear(3, 32), nn.Sequential(nn.SiLU(), nn.Linear(32, 2))

    def forward(self, x, t, cond):
        h = self.first(torch.cat([x, t[:, None]], 1))
        return self.rest(h if self.label is None else h + self.label(cond))


# What comes out.


@pytest.mark.parametrize("predict, name", PAIRS)
@pytest.mark.parametrize("rows", [2, 16])
def test_the_exact_prediction_gives_back_the_exact_estimate(predict, name, rows):
    path = SCHEDULES[name]()
    model, mixture = Denoiser(Exact(path, predict), path, predict), data.ring_mixture()
    x0, t = mixture.sample(rows).double(), GRID[-rows:]  # with 2 rows the plane's B = D trap, and t = 1
    x = path.add_noise(x0, t, torch.randn_like(x0))
    alpha, sigma = path(t)
    wanted = mixture.denoise(x, alpha, sigma)
    torch.testing.assert_close(model(x, t), wanted, rtol=1e-7, atol=1e-7)
    for row in (0, rows - 1):  # one time for all rows, as samplers ask
        one = mixture.denoise(x, *(float(value) for value in path(t[row])))
        torch.testing.assert_close(model(x, t[row]), one, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(model(x, float(t[row])), one, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("predict, name", PAIRS)
def test_at_t_0_the_estimate_is_the_clean_picture_or_what_an_x0_network_says(predict, name):
    x = torch.randn(3, 1, 4, 4)
    estimate = Denoiser(Fixed(0.25), SCHEDULES[name](), predict)(x, 0.0)
    assert torch.allclose(estimate, torch.full_like(x, 0.25) if predict == "x0" else x)


def test_pictures_in_float32_keep_their_shape_and_dtype():
    x = torch.randn(16, 1, 16, 16)
    for predict in PREDICTS.keys() - {"eps"}:
        out = Denoiser(Fixed(), schedule.straight(), predict)(x, torch.linspace(0, 1, 16))
        assert out.shape == x.shape and out.dtype == x.dtype and torch.isfinite(out).all()


# What the network is shown.


def test_the_network_sees_unit_sized_pictures_and_its_time():
    path = schedule.variance_exploding(0.01, 50)
    model, t = Denoiser(Fixed(), path, "x0"), torch.tensor([0.1, 0.5, 1.0])
    x0 = torch.randn(3, 1, 32, 32)
    model(path.add_noise(x0, t, torch.randn_like(x0)), t)
    [(seen, times, cond)] = model.net.asked
    assert seen.std(dim=(1, 2, 3)).sub(1).abs().max() < 0.1
    assert torch.equal(times, t) and cond is None


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_variance_preserving_pictures_are_shown_as_they_are(name):
    x, model = torch.randn(4, 2), Denoiser(Fixed(), SCHEDULES[name]())
    model(x, 0.3)
    seen, times, _ = model.net.asked[0]
    assert torch.allclose(seen, x) and times.shape == (4,) and times.dtype == x.dtype
    assert times.tolist() == pytest.approx([0.3] * 4)


@pytest.mark.parametrize("null", [10, (3, 0, 0), torch.tensor([3, 0, 0])])
def test_without_a_condition_the_network_is_shown_null(null):
    model, x = Denoiser(Fixed(), schedule.cosine(), "v", null=null), torch.randn(2, 1, 4, 4)
    model(x, 0.5)
    model.loss(x)
    for _, _, cond in model.net.asked:
        assert cond.dtype == torch.int64
        assert cond.tolist() == [torch.as_tensor(null).tolist()] * 2


# What it is asked for.


@pytest.mark.parametrize("predict, name", PAIRS)
def test_the_loss_is_0_for_the_target_and_its_mean_square_for_zeros(predict, name):
    path, x0, eps, t = SCHEDULES[name](), *torch.randn(2, 16, 1, 5, 5, dtype=torch.float64), GRID
    p, q = weights(predict, *path(t, like=x0))
    target = p * x0 + q * eps
    assert Denoiser(Fixed(target), path, predict).losses(x0, t, eps).abs().max() < 1e-12
    rows = Denoiser(Fixed(), path, predict).losses(x0, t, eps)
    torch.testing.assert_close(rows, target.square().mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("name, theirs", [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_what_is_shown_and_asked_for_equals_diffusers(name, theirs):
    scheduler = DDPMScheduler(1000, beta_schedule=theirs)
    x0, eps, steps = *torch.randn(2, 16, 1, 8, 8), torch.arange(3, 1000, 64)
    velocity = scheduler.get_velocity(x0, eps, steps)
    for predict, target in (("v", velocity), ("eps", eps), ("x0", x0)):
        model = Denoiser(Fixed(target), SCHEDULES[name](), predict)
        assert model.losses(x0, (steps + 1) / 1000, eps).max() < 1e-9
        seen, _, _ = model.net.asked[0]
        torch.testing.assert_close(seen, scheduler.add_noise(x0, eps, steps), rtol=1e-4, atol=1e-4)


def test_times_are_drawn_from_the_grid_each_equally_often():
    path = schedule.linear(25)
    model = Denoiser(Fixed(), path)
    model.loss(torch.zeros(50_000, 1))
    values, counts = model.net.asked[0][1].unique(return_counts=True)
    assert torch.equal(values, path.grid) and values[-1] == 1
    assert (counts - 2000).abs().max() < 5 * 2000**0.5


def test_every_second_time_is_drawn_between_the_two_of_focus():
    model = Denoiser(Fixed(), schedule.cosine(), focus=(0.2, 0.6))
    model.loss(torch.zeros(50_000, 1))
    times = model.net.asked[0][1]
    shares = [((low <= times) & (times < high)).float().mean() for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6))]
    assert [round(share.item(), 2) for share in shares] == [0.1, 0.35, 0.35] and times.max() > 0.99


def test_with_focus_the_times_of_a_batch_are_spread():
    model = Denoiser(Fixed(), schedule.cosine(), focus=(0, 1))
    model.loss(torch.zeros(100, 1))
    assert model.net.asked[0][1].sort().values.diff().max() < 0.0211  # one in each hundredth, on a grid of 1,000


def test_the_loss_draws_unit_noise_for_every_number():
    model = Denoiser(Fixed(), schedule.cosine())
    assert model.loss(torch.zeros(64, 1, 16, 16)).item() == pytest.approx(1, abs=0.05)
    shown = model.net.asked[0][0]
    assert (shown[0] - shown[1]).abs().max() > 0.1  # not one noise for all


# Conditions, dropped.


@pytest.mark.parametrize("null, cond", [(10, torch.arange(8000) % 10), ((0, 0), torch.full((8000, 2), 7))])
def test_rows_of_the_condition_become_null_at_the_rate_of_drop_in_training_only(null, cond):
    model, x0 = Denoiser(Fixed(), schedule.cosine(), null=null, drop=0.1), torch.zeros(8000, 1)
    model.train().loss(x0, cond)
    model.eval().loss(x0, cond)
    dropped, kept = (asked[2] for asked in model.net.asked)
    assert torch.equal(kept, cond)
    gone = (dropped == torch.tensor(null)).reshape(8000, -1)
    assert torch.equal(gone.all(1), gone.any(1))  # whole rows
    assert gone.all(1).float().mean().item() == pytest.approx(0.1, abs=0.015)
    assert torch.equal(dropped[~gone.all(1)], cond[~gone.all(1)])


def test_nothing_is_dropped_without_drop_and_forward_never_drops():
    cond, x = torch.arange(500) % 10, torch.randn(500, 1)
    always = Denoiser(Fixed(), schedule.cosine(), null=10, drop=1.0).train()
    always(x, 0.5, cond)
    never = Denoiser(Fixed(), schedule.cosine(), null=10).train()
    never.loss(x, cond)
    assert all(torch.equal(model.net.asked[0][2], cond) for model in (always, never))


# Training.


def test_its_weights_are_the_networks_and_every_one_gets_a_gradient():
    model = Denoiser(Small(classes=8), schedule.cosine(), "v", null=8, drop=0.1)
    assert list(model.state_dict()) == [f"net.{name}" for name in model.net.state_dict()]
    model.loss(data.ring(64), torch.arange(64) % 8).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


@pytest.mark.parametrize("predict", PREDICTS)
def test_training_lowers_the_loss(predict):
    model, x0 = Denoiser(Small(), schedule.cosine(), predict), 1 + 0.3 * data.ring(4000)
    t, eps = schedule.cosine().grid[torch.randint(1000, (4000,))], torch.randn(4000, 2)
    before = model.losses(x0, t, eps).mean().item()
    run(fit(model, data.batches(x0, size=128), 150, lr=1e-2))
    assert model.losses(x0, t, eps).mean().item() < 0.8 * before


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECK_EVERY", 5)  # the state is written at step 5
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)

    def start():
        torch.manual_seed(1)
        model = Denoiser(Small(classes=8), schedule.cosine(), "v", null=8, drop=0.2)
        return model, Ema(model), data.batches(data.ring(200), torch.arange(200) % 8, size=32)

    model, ema, batches = start()
    run(fit(model, batches, 12, ema=ema))
    for stop in (7, 12):
        again, average, batches = start()
        ticks = fit(again, batches, 12, ema=average, resume=tmp_path / "state")
        steps = [tick.step for tick, _ in zip(ticks, range(stop))]
    assert steps == [*range(5, 12)]
    for whole, resumed in ((model, again), (ema.model, average.model)):
        assert all(torch.equal(*pair) for pair in zip(whole.parameters(), resumed.parameters()))


def test_it_is_built_on_the_meta_device_as_a_checkpoint_is_compared():
    path = schedule.cosine()
    with torch.device("meta"):
        for null in (10, (0, 0)):
            assert Denoiser(PointNet(), path, "eps", null=null, drop=0.1).net.linear_in.weight.is_meta


# What is refused.

ROUND = schedule.Schedule(lambda t: (torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)))


@pytest.mark.parametrize(
    "arguments, error, told",
    [
        (dict(predict="noise"), ValueError, "predict: got 'noise'"),
        (dict(schedule=schedule.straight()), ValueError, r"predict: got 'eps' with alpha\(1\) = 0"),
        (dict(schedule=ROUND), ValueError, r"predict: got 'eps' with alpha\(1\) = 6.1e-17"),
        (dict(weight="min-snr"), ValueError, "weight: got 'min-snr'.*'min-snr-5'"),
        (dict(times=0.5), ValueError, "times: got 0.5.*'uniform'"),
        (dict(drop=0.1), ValueError, "drop: got 0.1 without null"),
        (dict(drop=1.5, null=3), ValueError, "drop: got 1.5"),
        (dict(focus=0.5), ValueError, "focus: got 0.5, expected two times"),
        (dict(focus=(0.6, 0.2)), ValueError, "focus: got 0.2"),
        (dict(focus=(0.2, 1.5)), ValueError, "focus: got 1.5"),
        (dict(null=2.5), TypeError, "null: got 2.5"),
        (dict(null="none"), TypeError, "null: got 'none'"),
        (dict(null=True), TypeError, "null: got True"),
        (dict(schedule=torch.linspace(0, 1, 5)), TypeError, "schedule: got Tensor, expected a Schedule"),
    ],
)
def test_a_bad_argument_is_named(arguments, error, told):
    with pytest.raises(error, match=told):
        Denoiser(**(dict(net=Fixed(), schedule=schedule.cosine()) | arguments))


def test_bad_pictures_and_times_are_named():
    model = Denoiser(Fixed(), schedule.cosine())
    x = torch.randn(3, 2)
    for bad, told in [
        ((x, 1.5), "t: got"),
        ((x, torch.rand(2)), "t: got"),
        ((torch.zeros(3, 2, dtype=int), 0.5), "x: got"),
    ]:
        with pytest.raises((ValueError, TypeError), match=told):
            model(*bad)
    with pytest.raises(ValueError, match=r"eps: got shape \(1, 2\)"):
        model.losses(x, 0.5, x[:1])


class Answers(nn.Module):
    """A network that answers what the test says."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x, t, cond):
        return self.answer(x)


@pytest.mark.parametrize(
    "shape, answer, error, told",
    [
        ((4, 2), lambda x: x[:, :1], ValueError, r"net.*: got shape \(4, 1\), expected that of x, \(4, 2\)"),
        ((4, 1), lambda x: x[:, 0], ValueError, r"net.*: got shape \(4,\)"),
        ((4, 3, 5, 5), lambda x: x[:, :1], ValueError, r"net.*: got shape \(4, 1, 5, 5\)"),
        ((4, 1, 5, 5), lambda x: x[:1], ValueError, r"net.*: got shape \(1, 1, 5, 5\)"),
        ((4, 2), lambda x: {"sample": x}, TypeError, "net.*: got dict, expected a tensor of x's shape"),
        ((4, 2), lambda x: SimpleNamespace(sample=x), TypeError, r"net.*: got SimpleNamespace.*: its \.sample"),
        ((4, 2), lambda x: (x,), TypeError, "net.*: got tuple, .*: its first entry"),
        ((4, 2), lambda x: x.double(), TypeError, "net.*: got float64 tensor .*expected float32"),
        ((4, 2), lambda x: x.long(), TypeError, "net.*: got int64 tensor"),
    ],
)
def test_an_answer_of_another_shape_is_refused_and_never_broadcast(shape, answer, error, told):
    model, x = Denoiser(Answers(answer), schedule.cosine()), torch.zeros(shape)
    for ask in (lambda: model(x, 0.5), lambda: model.losses(x, 0.5, x), lambda: model.loss(x)):
        with pytest.raises(error, match=told):
            ask()


def test_a_network_with_labels_that_is_told_no_null_is_warned_of():
    net = Fixed()
    net.classes = 3
    with pytest.warns(UserWarning, match="null: got None for a network with 3 labels, which cannot be guided without"):
        Denoiser(net, schedule.cosine())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Denoiser(net, schedule.cosine(), null=3)
        Denoiser(Fixed(), schedule.cosine())
        with torch.device("meta"):  # planned, without their weights
            digits.ddpm(), digits.ddpm_levels(Denoiser), folder.small(), folder.paper()


# Weights and times of the loss.


@pytest.mark.parametrize("predict, name", PAIRS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_weight_is_that_of_the_squared_error_of_the_estimate_of_x0(predict, name, weight):
    path, (x0, eps), t = SCHEDULES[name](), torch.randn(2, 16, 3, dtype=torch.float64), GRID[:-1]
    x0, eps = x0[:-1], eps[:-1]
    model = Denoiser(Fixed(0.3), path, predict, weight=weight, times=lambda n: t)
    snr = path.log_snr(t).exp()
    wanted = {"x0": 1 + 0 * snr, "snr": snr, "snr+1": snr + 1, "truncated-snr": snr.clamp(min=1)}
    factor = wanted.get(weight, snr.clamp(max=5))
    error = (model(path.add_noise(x0, t, eps), t) - x0).square().mean(1)
    torch.testing.assert_close(model.loss(x0, eps=eps), (factor * error).mean())


@pytest.mark.parametrize("weight, predict", [("snr", "eps"), ("x0", "x0"), ("snr+1", "v")])
def test_a_weight_of_its_own_is_what_a_prediction_has_without(weight, predict):
    x0, eps = torch.randn(2, 300, 2, dtype=torch.float64)
    losses = []
    for choice in (weight, None):
        torch.manual_seed(2)
        losses.append(Denoiser(Fixed(0.3), schedule.cosine(), predict, weight=choice).loss(x0, eps=eps))
    torch.testing.assert_close(*losses)


def test_a_weight_may_be_a_function_of_the_log_snr():
    x0, path = torch.randn(300, 2), schedule.straight()
    losses = []
    for weight in ("snr", torch.exp, lambda log_snr: 2 * log_snr.exp()):
        torch.manual_seed(2)
        losses.append(Denoiser(Fixed(0.3), path, "flow", weight=weight).loss(x0).item())
    assert losses[0] == losses[1] == pytest.approx(losses[2] / 2)
    with pytest.raises(TypeError, match=r"weight\(log_snr\): got 1.0"):
        Denoiser(Fixed(), path, "flow", weight=lambda log_snr: 1.0).loss(x0)


def drawn(times, focus=None, n=20_000):
    model = Denoiser(Fixed(), schedule.cosine(), focus=focus, times=times)
    model.loss(torch.zeros(n, 1))
    return model.net.asked[0][1].sort().values


def test_times_are_drawn_as_they_are_named():
    even = (torch.arange(20_000) + 0.5) / 20_000
    uniform = drawn("uniform")
    assert (uniform - even).abs().max() < 0.015 and uniform.unique().numel() > 15_000 and uniform[0] > 0
    spread = drawn("spread")
    assert (spread - even).abs().max() < 0.0012 and torch.isin(spread, schedule.cosine().grid).all()
    assert torch.equal(drawn("grid").unique(), schedule.cosine().grid)
    normal = drawn("logit-normal").logit()
    assert abs(normal.mean().item()) < 0.03 and normal.std().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(drawn(lambda n: torch.full((n,), 0.25)), torch.full((20_000,), 0.25))
    assert set(TIMES) == {"grid", "spread", "uniform", "logit-normal"}


def test_a_focus_moves_half_of_the_times_however_they_are_drawn():
    t = drawn(lambda n: torch.full((n,), 0.9), focus=(0.2, 0.4))
    assert t.unique().tolist() == pytest.approx([0.38, 0.9])
    assert (t < 0.5).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_times_without_noise_or_of_another_number_are_refused():
    for answer, told in [
        (torch.zeros(4), "got 0, where there is no noise"),
        (torch.ones(3), r"expected shape \(4,\)"),
        (torch.full((4,), 1.5), "got values from 1.5 to 1.5"),
    ]:
        with pytest.raises(ValueError, match=rf"times\(n\): .*{told}"):
            drawn(lambda n, answer=answer: answer, n=4)


# Pairs.


def test_on_pairs_it_learns_the_way_from_each_eps_to_its_x0():
    """Points and others 3 to the right of them: noise drawn anew would teach to end anywhere on the ring."""
    x0, path = data.ring(2000), schedule.straight()
    model = PairedDenoiser(Small(), path, "flow")
    run(fit(model, data.batches(x0, x0 + torch.tensor([3.0, 0.0]), size=128), 300, lr=1e-2))
    end = last(sample(model, x0[:200] + torch.tensor([3.0, 0.0]), times(2), path))
    assert (end - x0[:200]).abs().mean() < 0.1


def test_a_pair_may_have_a_condition_and_must_be_of_one_shape():
    model, x = PairedDenoiser(Fixed(), schedule.cosine(), "v", null=3), torch.zeros(4, 2)
    model.loss(x, x, torch.tensor([0, 1, 2, 3]))
    assert model.net.asked[0][2].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"eps: got shape \(4, 1\)"):
        model.loss(x, x[:, :1])


# As a checkpoint and a pickle keep it.


def test_it_is_built_again_from_its_description_and_from_a_pickle(tmp_path):
    net = UNet(widths=(8, 8), classes=3)
    model = Denoiser(net, schedule.cosine(50), "v", null=3, drop=0.1, focus=(0.2, 0.6), weight="snr", times="uniform")
    described = json.loads(json.dumps(parts.describe(model)))
    assert described["schedule"] == {"part": "cosine", "steps": 50} and described["times"] == "uniform"
    assert parts.describe(parts.build(described)) == described
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(again(x, 0.3), model(x, 0.3))


# The bound in nats.


def levels(rows: int) -> torch.Tensor:
    return torch.randint(17, (rows, 1, 3, 3)).double() / 8 - 1


def guess(x, t):
    return 0.9 * x.clamp(-1, 1)


@pytest.mark.parametrize("variance", VARIANCES)
def test_a_term_of_the_bound_is_the_kl_of_the_two_steps(variance):
    path, x0, eps = schedule.linear(50), levels(16), torch.randn(16, 1, 3, 3).double()
    t = path.grid[torch.randint(1, 50, (16,))].double()
    s = t - 1 / 50
    x = path.add_noise(x0, t, eps)
    (mean, std), (ours, _) = path.posterior(x, x0, t, s), path.posterior(x, guess(x, t), t, s)
    std_ours = std if variance == "small" else path.transition(t, s, like=x)[1]
    kl = kl_divergence(Normal(mean, std), Normal(ours, std_ours.expand_as(x))).flatten(1).sum(1)
    torch.testing.assert_close(bound_terms(guess, path, x0, t, eps, variance), kl, rtol=1e-6, atol=1e-6)


def test_the_last_step_is_a_probability_of_levels():
    path, t = schedule.linear(50), torch.full((17,), 1 / 50)
    x0 = (torch.arange(17).double() / 8 - 1).reshape(17, 1, 1, 1)
    for value in (-1.3, 0.3, 1.0):
        terms = bound_terms(lambda x, t, value=value: torch.full_like(x, value), path, x0, t, torch.zeros_like(x0))
        assert terms.neg().exp().sum().item() == pytest.approx(1, abs=1e-6)
        assert x0[terms.argmin()].item() == pytest.approx(min(max(round(value * 8) / 8, -1), 1))
        assert torch.isfinite(terms).all()  # also some 40 deviations off


def test_the_bound_is_near_the_truth_for_an_exact_denoiser():
    """One pixel with two levels, -0.5 with 0.3 and 0.5 with 0.7: the entropy of that coin is known."""
    path = schedule.linear(1000)
    coin = data.GaussianMixture([0.3, 0.7], [[-0.5], [0.5]], [1e-4, 1e-4])
    x0 = torch.tensor([-0.5] * 300 + [0.5] * 700)[:, None]

    def exact(x, t):
        return coin.denoise(x, *(value.to(x) for value in path(t)))

    entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
    small, large = (bound(exact, path, x0, 200, variance, torch.Generator().manual_seed(0)) for variance in VARIANCES)
    assert small.shape == (1000,) and entropy - 0.02 < small.mean().item() < entropy + 0.06
    assert large.mean() > small.mean()


def test_training_on_the_bound_lowers_it():
    x0 = (data.digits("train", 8)[0])[:, :, 3, 3:5].flatten(1)
    model = VariationalDenoiser(Small(), schedule.linear(200))
    simple = Denoiser(model.net, model.schedule)
    before = bound(model, model.schedule, x0, 50).mean()
    value = model.loss(x0.repeat(40, 1)).item()
    assert value == pytest.approx(before.item() / 2, rel=0.1)
    assert value != pytest.approx(simple.loss(x0).item(), rel=0.1)
    run(fit(model, data.batches(x0, size=128), 150, lr=1e-2))
    assert bound(model, model.schedule, x0, 50).mean() < 0.8 * before


@pytest.mark.parametrize("own", [{"focus": (0.2, 0.6)}, {"weight": "snr"}, {"times": "uniform"}])
def test_the_bound_has_its_own_times_and_weights(own):
    model = VariationalDenoiser(Fixed(), schedule.cosine(), **own)
    with pytest.raises(ValueError, match=f"{[*own][0]}: got .*, expected None: the bound has its own"):
        model.loss(torch.zeros(4, 1))


def test_a_denoiser_that_knows_the_answer_pays_for_the_prior_and_the_last_step_only():
    path, x0 = schedule.from_betas(torch.full((30,), 0.02)), levels(5)
    alpha, sigma = path(1.0)
    prior = kl_divergence(Normal(alpha * x0, sigma), Normal(0 * x0, sigma)).flatten(1).sum(1)
    last = bound_terms(lambda x, t: x0, path, x0, torch.full((5,), 1 / 30), torch.zeros_like(x0))
    assert prior.min() > 1
    torch.testing.assert_close(bound(lambda x, t: x0, path, x0, 30), prior + last)
