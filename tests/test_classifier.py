"""The classifier whose features the course measures in, and the one that knows noise."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from minidiff import checkpoints, data
from minidiff.classifier import Classifier, NoisyClassifier
from minidiff.schedule import cosine, linear


def test_shapes_and_that_the_head_sits_on_the_features():
    torch.manual_seed(0)
    model, x = Classifier(width=4).eval(), data.digits("test", 16)[0][:7]
    assert model.features(x).shape == (7, 64)
    assert torch.equal(model(x), model.head(model.features(x)))


def test_small_digits_are_seen_as_the_course_upsamples_them():
    model = Classifier(width=4).eval()
    small, large = data.digits("test", 8)[0][:7], data.digits("test", 16)[0][:7]
    assert torch.allclose(model.features(small), model.features(large), atol=1e-5)


def test_terms_are_cross_entropy_and_accuracy():
    torch.manual_seed(0)
    model = Classifier(width=4).eval()
    x, y = data.digits("test", 16)
    terms = model.terms(x, y)
    assert torch.allclose(terms["loss"], F.cross_entropy(model(x), y))
    assert terms["accuracy"].item() == pytest.approx((model(x).argmax(1) == y).float().mean().item())
    assert torch.equal(model.loss(x, y), terms["loss"])


@pytest.mark.parametrize("size, channels", [(8, 1), (28, 1), (32, 3)])
def test_other_sizes_and_colours_are_learned(size, channels):
    torch.manual_seed(0)
    y = torch.arange(24) % 3
    x = 0.3 * torch.randn(24, channels, size, size) + (y - 1.0)[:, None, None, None]
    for model in (
        Classifier(classes=3, width=4, size=size, channels=channels),
        NoisyClassifier(cosine(), classes=3, width=8, size=size, channels=channels),
    ):
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        losses = []
        for _ in range(30):
            losses.append(model.loss(x, y))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        assert torch.stack(losses[-5:]).mean() < 0.8 * losses[0]


@pytest.mark.parametrize("make", [Classifier, partial(NoisyClassifier, cosine())])
@pytest.mark.parametrize("size", [4, 10, 15])
def test_sizes_that_cannot_be_halved_twice_are_refused(make, size):
    with pytest.raises(ValueError, match=f"size: got {size}, expected"):
        make(size=size)


@pytest.mark.parametrize("shape", [(2, 1, 12, 12), (2, 3, 16, 16), (16, 16), (2, 1, 8, 16)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="x: got float32 tensor of shape"):
        Classifier(width=4)(torch.zeros(shape))
    with pytest.raises(ValueError, match="classes: got 1"):
        Classifier(classes=1)


@pytest.fixture(scope="module")
def noisy():
    return checkpoints.load("classifier-digits-noisy")


def test_a_classifier_of_noise_takes_one_time_or_one_a_row():
    model, x = NoisyClassifier(cosine(), width=8).eval(), torch.randn(3, 1, 16, 16)
    t = torch.tensor([0.1, 0.5, 0.9])
    rows = torch.cat([model(x[i : i + 1], t[i]) for i in range(3)])
    assert model(x, t).shape == (3, 10)
    assert torch.allclose(model(x, t), rows, atol=1e-5)
    assert torch.allclose(model(x, 0.5), model(x, torch.full((3,), 0.5)), atol=1e-5)
    assert (model(x, 0.1) - model(x, 0.9)).abs().max() > 1e-3  # it is told the time


def test_its_log_prob_is_that_of_the_label_asked_for():
    model, x, labels = NoisyClassifier(cosine(), width=8).eval(), torch.randn(4, 1, 16, 16), torch.tensor([3, 0, 9, 3])
    t = torch.tensor(0.3)
    found = model.log_prob(labels)(x, t)
    assert torch.allclose(found, model(x, t).log_softmax(1)[torch.arange(4), labels], atol=1e-6)
    everything = torch.stack([model.log_prob(torch.full((4,), k))(x, t) for k in range(10)])
    assert torch.allclose(everything.exp().sum(0), torch.ones(4), atol=1e-5)


@pytest.mark.parametrize("schedule", [cosine(), linear(100)], ids=["cosine", "linear"])
def test_its_loss_is_of_pictures_noised_at_times_spread_over_the_grid(monkeypatch, schedule):
    model, seen = NoisyClassifier(schedule, width=8).eval(), []
    x, y = (part[:50] for part in data.digits("train"))
    monkeypatch.setattr(model, "forward", lambda x_t, t: seen.append((x_t, t)) or torch.zeros(len(x_t), 10))
    terms = model.terms(x, y)
    [(x_t, t)] = seen
    assert terms["loss"].item() == pytest.approx(2.302585, abs=1e-5)
    assert torch.isin(t, schedule.grid).all()
    assert ((t.sort().values * 50).ceil() - torch.arange(1, 51)).abs().max() <= 1  # one in each fiftieth
    assert not torch.equal(t, t.sort().values)  # in no order that the labels might have
    alpha, sigma = schedule(t, like=x)
    eps = (x_t - alpha * x) / sigma
    assert abs(eps.mean()) < 0.05 and abs(eps.std() - 1) < 0.05


def test_the_shipped_one_knows_digits_under_noise_and_when_it_cannot_know(noisy):
    x, y = data.digits("test")
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = {t: noisy(cosine().add_noise(x, t, eps), t) for t in (0.001, 0.3, 0.5, 0.7, 0.9, 1.0)}
    right = [(each.argmax(1) == y).double().mean().item() for each in logits.values()]
    surprise = [F.cross_entropy(each, y).item() for each in logits.values()]
    assert right[0] > 0.95 and right[2] > 0.8 and right == sorted(right, reverse=True)
    assert surprise[-1] == pytest.approx(2.3026, abs=0.1)  # of noise it says a tenth for each label
    assert surprise[2] < 0.6


def test_the_shipped_one_has_a_gradient_that_points_to_the_label(noisy):
    """A small step along it makes the label likelier: the gradient is that of the log-probability."""
    x, y = (part[:40] for part in data.digits("test"))
    log_prob, t = noisy.log_prob((y + 1) % 10), torch.tensor(0.4)
    x_t = cosine().add_noise(x, t, torch.randn_like(x)).requires_grad_()
    before = log_prob(x_t, t)
    (gradient,) = torch.autograd.grad(before.sum(), x_t)
    with torch.no_grad():
        gain = log_prob(x_t + 1e-3 * gradient, t) - before
    expected = 1e-3 * gradient.square().flatten(1).sum(1)
    assert torch.allclose(gain, expected, rtol=0.05, atol=1e-4)


def test_a_classifier_of_noise_refuses_other_shapes_and_labels():
    model = NoisyClassifier(cosine(), width=8)
    with pytest.raises(ValueError, match="x: got float32 tensor of shape"):
        model(torch.zeros(2, 1, 8, 8), 0.5)
    with pytest.raises(ValueError, match="labels: got labels 0 to 10, expected 0 to 9"):
        model.log_prob(torch.tensor([0, 10]))
    with pytest.raises(TypeError, match="labels: got 3"):
        model.log_prob(3)
    with pytest.raises(ValueError, match="classes: got 1"):
        NoisyClassifier(cosine(), classes=1)
