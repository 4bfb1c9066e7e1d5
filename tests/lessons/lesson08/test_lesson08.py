"""Lesson 08's widgets and measurements, on the shipped models."""

from functools import partial

import pytest
import torch

from minidiff import checkpoints, data
from minidiff.guidance import cfg, clamp
from minidiff.lessons.lesson08 import claims as lesson08
from minidiff.lessons.lesson08 import mixture as mixture08
from minidiff.lessons.lesson08 import widgets
from minidiff.sampler import last, sample, times
from minidiff.schedule import cosine


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("ddpm-digits")


@pytest.fixture(scope="module")
def noisy():
    return checkpoints.load("classifier-digits-noisy")


def shown(explorer) -> torch.Tensor:
    return explorer.draw(**explorer.values)


def by_hand(model, denoise, n, seed, steps=widgets.STEPS):
    x = model.schedule.prior((n, 1, 16, 16), torch.Generator().manual_seed(seed))
    return last(sample(clamp(denoise), x, times(steps), model.schedule)).clamp(-1, 1)


def test_the_dial_draws_one_label_from_the_same_noise(model):
    explorer = widgets.scale_and_label(model, n=4)
    assert explorer.values == {"scale": 1.0, "label": 8}
    explorer.set(scale=3.0, label=2)
    twos = torch.full((4,), 2)
    assert torch.allclose(shown(explorer), by_hand(model, cfg(model, twos, 10, 3.0), 4, 0), atol=1e-5)
    assert explorer.picture.alt == "4 digits of label 2 from the same noise at guidance scale 3.0"
    explorer.set(scale=0.0)
    first = shown(explorer)
    explorer.set(label=7)
    assert torch.equal(shown(explorer), first)  # at scale 0 no label counts


def test_two_labels_end_at_each_of_them(model):
    explorer = widgets.two_labels(model, n=3)
    for share, label in ((0.0, 3), (1.0, 8)):
        explorer.set(share=share)
        alone = by_hand(model, cfg(model, torch.full((3,), label), 10, 2.0), 3, 3)
        assert torch.allclose(shown(explorer), alone, atol=1e-4)
    explorer.set(share=0.5)
    assert (shown(explorer) - alone).abs().max() > 0.3
    assert explorer.picture.alt == "3 pictures between the labels 3 and 8, 0.5 of the way"


def test_the_interval_guides_between_its_ends_only(model):
    explorer = widgets.between_times(model)
    labels = torch.arange(10)
    everywhere = by_hand(model, cfg(model, labels, 10, 6.0), 10, 5)
    assert torch.allclose(shown(explorer), everywhere, atol=1e-4)
    explorer.set(low=1.0)  # at t = 1 alone, the first of eight steps
    hardly = shown(explorer)
    plain = by_hand(model, partial(model, cond=labels), 10, 5)
    assert (hardly - plain).abs().mean() < 0.5 * (everywhere - plain).abs().mean()
    explorer.set(low=0.75, high=0.25)  # the ends exchanged mean the same
    crossed = shown(explorer)
    explorer.set(low=0.25, high=0.75)
    assert torch.equal(shown(explorer), crossed)


def test_a_widget_says_what_it_shows(model):
    for make in (widgets.scale_and_label, widgets.two_labels, widgets.between_times):
        explorer = make(model)
        assert explorer.picture.src.startswith("data:image/png") and len(explorer.picture.alt) > 30


# The known case.


def test_the_exact_parts_agree_with_bayes():
    mixture, schedule, t = mixture08.three(), cosine(), torch.tensor(0.4)
    denoise, log_probs = mixture08.exact(mixture, schedule), []
    x = torch.randn(50, 2)
    for label in range(3):
        log_probs.append(mixture08.exact_log_prob(mixture, schedule, label)(x, t))
    alpha, sigma = (float(value) for value in schedule(t))
    assert torch.allclose(torch.stack(log_probs, 1).exp(), mixture.responsibilities(x, alpha, sigma), atol=1e-5)
    mean = sum(p.exp()[:, None] * denoise(x, t, torch.full((50,), k)) for k, p in enumerate(log_probs))
    assert torch.allclose(mean, denoise(x, t), atol=1e-5)  # E[x0] is the mean of E[x0 | label]
    assert torch.equal(denoise(x, t, torch.full((50,), 3)), denoise(x, t))


def test_the_sharpened_density_is_the_conditional_at_1_and_the_mixture_at_0():
    mixture, line = mixture08.three(), torch.linspace(-3, 3, 61)
    points = torch.cartesian_prod(line, line)
    top = data.GaussianMixture([1.0], mixture.means[:1], mixture.stds[:1])
    for scale, wanted in ((0.0, mixture), (1.0, top)):
        density = mixture08.sharpened(mixture, 0, scale, line)
        assert density.sum().item() == pytest.approx(1, abs=1e-4)
        assert torch.allclose(density.flatten(), wanted.log_prob(points).softmax(0), atol=1e-6)


def test_where_samples_lie_beyond_the_sharpened_density_above_1():
    one, four = mixture08.where(mixture08.three(), scales=(1.0, 4.0))
    assert max(list(one.values())[1:]) - min(list(one.values())[1:]) < 0.05
    sharp, *samples = list(four.values())[1:]
    assert sharp == pytest.approx(1.146, abs=0.01)
    assert all(1.7 < reach < 2.0 for reach in samples)


def test_the_two_sample_test_tells_apart_what_differs_alone():
    a, b = torch.randn(300, 2), torch.randn(300, 2)
    assert mixture08.same(a, b) > 0.05
    assert mixture08.same(a, b + 0.4) < 0.01
    assert mixture08.same(a, 1.5 * b) < 0.01


def test_adms_form_is_first_order():
    rows = mixture08.first_order(mixture08.three(), [0.01, 0.005])
    assert rows[0]["ADM's mean, from ours"] / rows[1]["ADM's mean, from ours"] == pytest.approx(4, abs=0.4)
    assert rows[0]["guidance moves the mean by"] / rows[1]["guidance moves the mean by"] == pytest.approx(2, abs=0.2)


# Digits.


def test_drawn_is_the_same_whatever_the_chunks(model):
    labels = torch.arange(100) % 10
    guide = lesson08.without_classifier(model, 2.0)
    many = lesson08.drawn(guide, labels, model.schedule, steps=2)  # in parts of 99 and 1
    assert many.shape == (100, 1, 16, 16) and many.abs().max() <= 1
    noise = model.schedule.prior((100, 1, 16, 16), torch.Generator().manual_seed(0))
    whole = last(sample(guide(labels), noise, times(2), model.schedule))
    assert torch.allclose(many, whole, atol=1e-5)
    assert not torch.equal(lesson08.drawn(guide, labels[:5], model.schedule, steps=2, seed=1), many[:5])


def test_both_ways_of_guidance_reach_the_label_and_none_does_not(model, noisy):
    labels = torch.arange(60) % 10
    ways = {
        "none": lesson08.without_classifier(model, 0.0),
        "free": lesson08.without_classifier(model, 2.0),
        "led": lesson08.with_classifier(model, noisy, 4.0),
        "sign": lesson08.with_classifier(model, noisy, -4.0),
    }
    right = {
        name: lesson08.accuracy(lesson08.drawn(way, labels, model.schedule, 6), labels) for name, way in ways.items()
    }
    assert right["none"] < 0.4 and right["free"] > 0.9 and right["led"] > 0.9 and right["sign"] < 0.1


def test_accuracy_and_white_pixels_of_real_digits():
    x, y = data.digits("test")
    assert lesson08.accuracy(x, y) > 0.97
    assert lesson08.accuracy(x, (y + 1) % 10) < 0.02
    assert lesson08.white(torch.tensor([1.0, 0.97, -1.0, 0.98])) == 0.5


ROW = {"accuracy": 0.9, "recall": 0.9, "FD held-out": 50.0, "white pixels": 0.01}


def test_claims_follow_the_figures():
    falling = [
        [{**ROW, "scale": s, "recall": 0.9 - 0.1 * s, "FD held-out": 50 + (s - 1.25) ** 2} for s in lesson08.SCALES]
    ]
    accuracy, recall = lesson08._of_trade(falling, "any")
    assert accuracy.holds and recall.holds and lesson08._of_best(falling).holds
    rising = [[row | {"recall": 0.1 * row["scale"], "accuracy": -row["scale"]} for row in falling[0]]]
    accuracy, recall = lesson08._of_trade(rising, "any")
    assert not accuracy.holds and not recall.holds
    far = [[row | {"FD held-out": 50 - row["scale"]} for row in falling[0]]]
    assert not lesson08._of_best(far).holds
    better = ROW | {"white pixels": 0.0, "FD held-out": 20.0, "recall": 1.0}
    assert lesson08._of_limits([[ROW, better]]).holds and not lesson08._of_limits([[better, ROW]]).holds
    assert lesson08._of_spans([[ROW, better]]).holds and not lesson08._of_spans([[better, ROW]]).holds


def test_claims_are_made_over_seeds(monkeypatch):
    monkeypatch.setattr(lesson08, "trained", lambda name, seed: checkpoints.load(name))
    monkeypatch.setattr(lesson08, "figures", lambda images, labels: dict(ROW))
    monkeypatch.setattr(lesson08, "drawn", lambda guide, labels, *rest: guide(labels[:10]))
    claims = lesson08.claims([0], full=False)
    assert len(claims) == 9 and all(claim.lesson == "08" for claim in claims)
    assert claims[0].holds and claims[1].holds  # the mixture's need no training
    assert not claims[-1].holds
