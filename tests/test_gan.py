"""Lesson 04's module: losses against their formulas, the penalty against autograd, the two-player loop against a hand.

The parts that `fit_adversarial` shares with `fit` are tested there; here that they hold for two players.
"""

import math

import pytest
import torch
from torch import nn

from minidiff import data, gan, seeded
from minidiff.gan import GAN, Discriminator, Generator, NonSaturating, Wasserstein, gradient_penalty
from minidiff.support.rng import numbered
from minidiff.train import Ema, Tick, fit, fit_adversarial, loop, run


def made(seed=0, **options):
    """A GAN from its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GAN(**{"width": 8} | options)


def points(steps, rows=16):
    return data.batches(data.ring(1000), size=rows)


def weights(*modules):
    return torch.cat([x.double().flatten() for module in modules for x in module.state_dict().values()])


# ---- The losses


@pytest.mark.parametrize("rows", [1, 2, 16])
def test_non_saturating_is_equation_1_and_the_papers_other_loss(rows):
    real, fake = torch.randn(2, rows, generator=seeded(), dtype=torch.float64) * 3
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    value = d_real.log().mean() + (1 - d_fake).log().mean()  # V(D, G), of which the discriminator takes the maximum
    assert torch.allclose(NonSaturating().discriminator(real, fake), -value)
    assert torch.allclose(NonSaturating().generator(fake), -d_fake.log().mean())


def test_the_undecided_discriminator_loses_2_log_2():
    zero = torch.zeros(4)
    assert NonSaturating().discriminator(zero, zero).item() == pytest.approx(2 * math.log(2))


def test_non_saturating_has_a_slope_where_the_discriminator_is_sure():
    """-log D is as steep as it can be there, log(1 - D) is flat; and neither overflows."""
    score = torch.tensor([-200.0], requires_grad=True)
    (slope,) = torch.autograd.grad(NonSaturating().generator(score), score)
    assert slope.item() == pytest.approx(-1.0)
    (flat,) = torch.autograd.grad(-NonSaturating().discriminator(torch.zeros(1), score), score)
    assert abs(flat.item()) < 1e-6
    assert torch.isfinite(NonSaturating().discriminator(score, -score))


def test_wasserstein_is_the_difference_of_the_means():
    real, fake = torch.randn(2, 9, generator=seeded())
    assert torch.allclose(Wasserstein().discriminator(real, fake), fake.mean() - real.mean())
    assert torch.allclose(Wasserstein().generator(fake), -fake.mean())


@pytest.mark.parametrize("shape", [(2, 2), (16, 2), (5, 1, 4, 4), (1, 3)])
def test_the_penalty_is_that_of_a_jacobian_row_by_row(shape):
    real, fake = torch.randn(2, *shape, generator=seeded(), dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape[1:]), 6), nn.Tanh(), nn.Linear(6, 1)).double()
    torch.manual_seed(5)
    got = gradient_penalty(lambda x: net(x)[:, 0], real, fake)
    torch.manual_seed(5)
    at = torch.rand(shape[0], *[1] * (len(shape) - 1), dtype=torch.float64)
    mixed = at * real + (1 - at) * fake
    norms = [torch.autograd.functional.jacobian(lambda row: net(row[None])[0, 0], row).norm() for row in mixed]
    expected = torch.stack([(norm - 1) ** 2 for norm in norms]).mean()
    assert torch.allclose(got, expected)
    (slope,) = torch.autograd.grad(got, net[1].weight)  # and it can be minimised
    assert slope.abs().sum() > 0


def test_the_penalty_knows_its_optimum_and_where_it_looks():
    real, fake = torch.randn(2, 200, 2, generator=seeded())
    assert gradient_penalty(lambda x: x[:, 0], real, fake).item() == pytest.approx(0.0, abs=1e-9)
    assert gradient_penalty(lambda x: 3 * x[:, 1], real, fake).item() == pytest.approx(4.0)
    seen = []
    gradient_penalty(lambda x: (seen.append(x.detach()), x.sum(1))[1], real, fake)
    share = ((seen[0] - fake) / (real - fake)).double()
    assert torch.allclose(share[:, 0], share[:, 1], atol=1e-3)  # on the line, one place a row
    assert 0 <= share[:, 0].min() < 0.05 and 0.95 < share[:, 0].max() <= 1
    assert 0.4 < share[:, 0].mean() < 0.6


# ---- The networks


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("classes", [0, 3])
def test_shapes_in_and_out(size, classes):
    generator, discriminator = Generator(4, size, classes, 8), Discriminator(size, classes, 8)
    y = torch.tensor([0, 1, 2, 2, 1]) if classes else None
    x = generator(torch.randn(5, 4), y)
    assert x.shape == ((5, 2) if size is None else (5, 1, size, size))
    assert discriminator(x, y).shape == (5,)
    if size:
        assert x.abs().max() <= 1
    if classes:
        z = torch.randn(1, 4).expand(3, -1)
        assert generator(z, torch.arange(3)).flatten(1).unique(dim=0).shape[0] == 3
        assert len(discriminator(x[:1].expand(3, *x.shape[1:]), torch.arange(3)).unique()) == 3


@pytest.mark.parametrize("size, channels", [(28, 1), (32, 3)])
def test_other_sizes_and_colours(size, channels):
    model = made(code=4, size=size, channels=channels)
    x = torch.rand(3, channels, size, size) * 2 - 1
    assert model.sample(2).shape == (2, channels, size, size)
    assert model.discriminator_terms(x)["loss"].isfinite() and model.generator_loss(3).isfinite()


class Labelled(nn.Module):
    """A network of one's own that reads a label: a linear layer for each."""

    def __init__(self, inside, out):
        super().__init__()
        self.layer, self.label = nn.Linear(inside, out), nn.Embedding(3, out)

    def forward(self, x, y):
        return self.layer(x) + self.label(y)


@pytest.mark.parametrize("out", [1, None])
def test_networks_of_ones_own_score_as_a_row_or_a_column_alike(out):
    """A judge that says (B, 1) is read as one that says (B,): nothing is broadcast to (B, B)."""
    judge = nn.Sequential(nn.Linear(5, 1), nn.Flatten(0) if out is None else nn.Identity())
    model = made(code=2, generator=nn.Linear(2, 5), discriminator=judge, penalty=1.0)
    x = torch.randn(4, 5)
    torch.manual_seed(1)
    loss = model.discriminator_terms(x)["loss"]
    torch.manual_seed(1)
    fake = model.generator(torch.randn(4, 2)).detach()
    scores = [judge[0](each)[:, 0] for each in (x, fake)]
    penalty = gradient_penalty(lambda mixed: judge[0](mixed)[:, 0], x, fake)
    assert torch.allclose(loss, NonSaturating().discriminator(*scores) + penalty)
    assert model.sample(7).shape == (7, 5)


def test_labelled_networks_of_ones_own_are_called_with_the_labels():
    model = made(code=2, classes=3, generator=Labelled(2, 5), discriminator=Labelled(5, 1))
    y = torch.tensor([2, 0, 1])
    z = torch.randn(3, 2, generator=seeded())
    assert torch.equal(model.sample(3, y, generator=seeded()), model.generator(z, y))
    assert model.discriminator_terms(torch.randn(3, 5), y)["loss"].isfinite()
    with pytest.raises(ValueError, match="labels: got none, but the model has 3 classes"):
        model.sample(2)
    with pytest.raises(ValueError, match="labels: got some, but the model has 0 classes"):
        made(generator=nn.Linear(2, 2)).sample(1, y[:1])


def test_answers_of_another_shape_are_named():
    x = torch.randn(4, 2)
    with pytest.raises(ValueError, match=r"generator\(z\): got shape \(4, 3\), expected that of x, \(4, 2\)"):
        made(generator=nn.Linear(2, 3)).discriminator_terms(x)
    with pytest.raises(ValueError, match=r"discriminator\(x\): .* \(4, 3\), expected shape \(4,\)"):
        made(discriminator=nn.Linear(2, 3)).discriminator_terms(x)
    with pytest.raises(ValueError, match=r"fake: got shape \(1, 2\), expected that of real, \(4, 2\)"):
        gradient_penalty(lambda mixed: mixed.sum(1), x, x[:1])


def test_bad_input_is_named():
    model, labelled = made(size=16), made(size=16, classes=10)
    with pytest.raises(ValueError, match="labels: got some, but the model has 0 classes"):
        model.sample(2, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="labels: got none, but the model has 10 classes"):
        labelled.sample(2)
    with pytest.raises(ValueError, match="labels: got labels 3 to 11"):
        labelled.sample(2, torch.tensor([3, 11]))
    with pytest.raises(ValueError, match=r"z: .*expected shape \(B, 2\)"):
        model.generator(torch.randn(3, 5))
    with pytest.raises(ValueError, match=r"x: .*expected shape \(B, 1, 16, 16\)"):
        model.loss(torch.randn(3, 1, 8, 8))
    with pytest.raises(ValueError, match="penalty: got -1"):
        GAN(penalty=-1)
    with pytest.raises(ValueError, match="turns: got 0"):
        GAN(turns=0)
    with pytest.raises(TypeError, match="gan: got Linear"):
        fit_adversarial(nn.Linear(2, 2), points(1), 1)
    with pytest.raises(ValueError, match="betas: got 1"):
        fit_adversarial(made(), points(1), 1, betas=(0.5, 1.0))


def test_samples_are_the_generators_of_scaled_normal_codes():
    model = made(size=16, code=4)
    x = model.sample(6, temperature=0.5, generator=seeded(3))
    assert torch.equal(x, model.generator(0.5 * torch.randn(6, 4, generator=seeded(3))))
    assert len(model.sample(3, temperature=0.0).unique(dim=0)) == 1


def test_loss_is_the_discriminators_and_hardly_depends_on_the_fakes():
    model, x = made(size=16, code=4), data.digits("test")[0]
    torch.manual_seed(0)
    terms = model.terms(x)
    torch.manual_seed(0)
    fake = model.discriminator(model.sample(gan.FAKES * len(x)))
    assert torch.allclose(terms["loss"], model.objective.discriminator(model.discriminator(x), fake))
    assert torch.allclose(terms["generator"], model.objective.generator(fake))
    losses = [model.loss(x).item() for _ in range(5)]
    assert max(losses) - min(losses) < 0.01 * losses[0]


def test_labels_go_with_their_fakes():
    """The discriminator is asked about fakes with the very labels they were made for."""
    model, seen = made(classes=3), []
    model.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    y = torch.tensor([2, 0, 1, 1])
    model.discriminator_terms(torch.randn(4, 2), y)
    model.generator_loss(4, y)
    assert len(seen) == 5 and all(torch.equal(labels, y) for labels in seen)
    seen.clear()
    model.terms(torch.randn(4, 2), y)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], y.repeat(gan.FAKES))


# ---- The game


@pytest.mark.parametrize("turns, penalty", [(1, 0.0), (3, 2.0)])
def test_fit_is_the_loop_one_would_write(turns, penalty):
    """Adam's own default implementation, backward() where fit uses autograd.grad, random numbers seeded as in fit."""
    objective = Wasserstein() if penalty else NonSaturating()
    model, hand = (made(objective=objective, penalty=penalty, turns=turns) for _ in range(2))
    batches, lam = points(16), penalty
    ticks = list(fit_adversarial(model, batches, 12, lr=0.01, betas=(0.4, 0.8)))
    nets = hand.discriminator, hand.generator
    optimisers = [torch.optim.Adam(net.parameters(), betas=(0.4, 0.8), foreach=False) for net in nets]
    for k in range(12):
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = 0.01 * loop.rate(k, (k + 0.5) / 12)
        with numbered(torch.device("cpu"), 0, 0, k):
            for turn in range(turns):
                [x] = batches[k * turns + turn]
                fake = hand.generator(torch.randn(len(x), 2)).detach()
                loss = objective.discriminator(nets[0](x), nets[0](fake))
                loss = loss + (lam * gradient_penalty(nets[0], x, fake) if lam else 0)
                optimisers[0].zero_grad()
                loss.backward()
                optimisers[0].step()
            other = objective.generator(nets[0](nets[1](torch.randn(len(x), 2))))
            optimisers[1].zero_grad()
            other.backward()
            optimisers[1].step()
        torch.testing.assert_close(ticks[k].loss, loss.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ticks[k].parts["generator"], other.detach(), rtol=1e-4, atol=1e-5)
        assert set(ticks[k].parts) == {"generator"} | ({"penalty"} if lam else set())
    torch.testing.assert_close(weights(model), weights(hand), rtol=1e-4, atol=1e-5)


def test_each_player_moves_alone():
    """With a generator that does not listen nothing but the discriminator's own step may change it."""
    model = made()
    game = fit_adversarial(model, points(4), 4)
    before = [weights(model.discriminator), weights(model.generator)]
    for optimiser in game.optimisers:
        optimiser.param_groups[0]["lr"] = 0.01
    game._move(0, model.discriminator_terms(*points(4)[0])["loss"])
    assert torch.equal(weights(model.generator), before[1]) and not torch.equal(weights(model.discriminator), before[0])
    moved = weights(model.discriminator)
    game._move(1, model.generator_loss(8))
    assert torch.equal(weights(model.discriminator), moved) and not torch.equal(weights(model.generator), before[1])


def test_a_tick_is_that_of_train():
    model = made()
    ticks = run(fit_adversarial(model, points(6), 6))
    assert len(ticks) == 6 and isinstance(ticks[0], Tick) and [tick.step for tick in ticks] == [*range(6)]
    assert not any(x.requires_grad for tick in ticks for x in (tick.loss, *tick.parts.values()))
    game = fit_adversarial(model, points(6), 6)
    next(game)
    assert (game.step, game.position, game.total, model.training) == (1, 1, 6, False)


def test_the_seed_alone_decides_and_the_callers_numbers_go_on():
    def trained(seed=0, body=lambda: None):
        model = made()
        for _ in fit_adversarial(model, points(5), 5, seed=seed):
            body()
        return weights(model)

    assert torch.equal(trained(), trained(body=lambda: torch.randn(3)))
    assert not torch.equal(trained(), trained(seed=1))


def test_a_resumed_game_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECK_EVERY", 4)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    options = dict(objective=Wasserstein(), penalty=1.0, turns=2)
    whole, state = made(**options), tmp_path / "state"
    average = Ema(whole, 0.9)
    run(fit_adversarial(whole, points(40), 20, ema=average))
    for tick in fit_adversarial(part := made(**options), points(40), 20, ema=Ema(part, 0.9), resume=state):
        if tick.step == 10:
            break
    again = made(seed=9, **options)
    ema = Ema(again, 0.9)
    assert [tick.step for tick in fit_adversarial(again, points(40), 20, ema=ema, resume=state)] == [*range(8, 20)]
    assert torch.equal(weights(again, ema.model), weights(whole, average.model))
    with pytest.raises(ValueError, match="another run.*betas"):
        fit_adversarial(made(**options), points(40), 20, ema=Ema(part, 0.9), resume=state, betas=(0.9, 0.999))


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_what_is_not_finite_is_named(player):
    model = made()
    with torch.no_grad():
        next(getattr(model, player).parameters())[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match="step 0: .*not finite"):
        run(fit_adversarial(model, points(3), 3))


def test_a_generators_gradient_that_is_not_finite_is_named_too():
    """The square root of 0 is 0 and its slope infinite: the losses alone would not show it."""

    class Root(Wasserstein):
        def generator(self, fake):
            return (fake - fake.detach()).sqrt().mean()

    with pytest.raises(FloatingPointError, match="step 0"):
        run(fit_adversarial(made(objective=Root()), points(1), 1))


def test_wgan_gp_finds_the_ring():
    """A short game already covers the ring: the sizes' smallest test that the whole works."""
    mixture = data.ring_mixture()
    model = made(width=64, objective=Wasserstein(), penalty=1.0, turns=2)
    ema = Ema(model, 0.99)
    run(fit_adversarial(model, data.batches(data.ring(5000), size=128), 300, 1e-2, ema=ema))
    with torch.no_grad():
        x = ema.model.sample(2000, generator=seeded())
    distance, mode = torch.cdist(x, mixture.means).min(1)
    good = distance < 3 * mixture.stds[0]
    assert good.double().mean() > 0.5 and len(mode[good].unique()) == 8


class Whole(nn.Module):
    """A generator with a frozen layer and one that it does not use."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8).requires_grad_(False), nn.Linear(8, 2))
        self.unused = nn.Linear(2, 2)

    def forward(self, z):
        return self.net(z)


def test_frozen_and_unused_weights_of_a_network_of_ones_own_stay():
    torch.manual_seed(0)
    model = GAN(generator=Whole())
    before = {name: weight.clone() for name, weight in model.generator.state_dict().items()}
    run(fit_adversarial(model, data.batches(data.ring(64), size=16), 3))
    moved = {name for name, weight in model.generator.state_dict().items() if not torch.equal(weight, before[name])}
    assert moved == {"net.1.weight", "net.1.bias"}
    model.generator.requires_grad_(False)
    with pytest.raises(ValueError, match="generator: got no weight that requires a gradient"):
        fit_adversarial(model, data.batches(data.ring(64), size=16), 3)


class Rows(NonSaturating):
    """One that forgets the mean."""

    def discriminator(self, real, fake):
        return fake - real


def test_an_objective_of_ones_own_is_an_object_whose_losses_are_numbers():
    with pytest.raises(TypeError, match="objective: got the class Wasserstein, expected an object with"):
        GAN(objective=Wasserstein)
    with pytest.raises(TypeError, match="objective: got str, expected an object with"):
        GAN(objective="hinge")
    with pytest.raises(ValueError, match=r"objective.discriminator: got float32 tensor of shape \(16,\), expected"):
        run(fit_adversarial(GAN(objective=Rows()), data.batches(data.ring(64), size=16), 1))


def test_one_loss_would_not_do():
    with pytest.raises(TypeError, match="model: got GAN, two networks against each other: see `fit_adversarial`"):
        fit(GAN(), data.batches(data.ring(64), size=16), 3)
