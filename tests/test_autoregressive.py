"""Lesson 00's module: causality by gradients, a likelihood that sums to one, samplers that follow it."""

import pytest
import torch

from minidiff import data
from minidiff.autoregressive import (
    LEVELS,
    IndependentPixels,
    MaskedConv,
    PixelModel,
    draw,
    from_levels,
    to_levels,
)


def small_model():
    torch.manual_seed(0)
    model = PixelModel(width=8, blocks=2, dropout=0.0).eval()
    torch.nn.init.normal_(model.head[-1].weight, std=2.0)  # sharp enough that the pixels matter
    return model


def test_levels_round_trip():
    x, _ = data.digits("train", 8)
    assert torch.equal(from_levels(to_levels(x)), x)
    assert to_levels(x).min() == 0 and to_levels(x).max() == LEVELS - 1


@pytest.mark.parametrize("own", [False, True])
def test_masked_convolution_sees_only_what_came_before(own):
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    out = MaskedConv(1, 1, 5, own)(x)
    for place in (0, 9, 27, 63):
        (seen,) = torch.autograd.grad(out.flatten()[place], x, retain_graph=True)
        after = seen.flatten()[place + 1 :] if own else seen.flatten()[place:]
        assert (after == 0).all()
    assert (seen.flatten()[62] != 0) and (seen.flatten()[63] != 0) == own


def test_every_logit_depends_on_the_pixels_before_it_and_on_no_other():
    model = small_model()
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    logits = model(x, torch.tensor([3])).sum(1).flatten()  # a sum over levels per place
    for place in (0, 5, 20, 63):
        (seen,) = torch.autograd.grad(logits[place], x, retain_graph=True)
        assert (seen.flatten()[place:] == 0).all()
        assert place == 0 or (seen.flatten()[:place] != 0).any()


def colours(classes=0):
    torch.manual_seed(0)
    model = PixelModel(shape=(3, 4, 5), levels=4, width=8, blocks=2, dropout=0.0, classes=classes).eval()
    torch.nn.init.normal_(model.head[-1].weight, std=2.0)
    torch.nn.init.normal_(model.conv_in.weight)  # so that one channel tells much of the next
    return model


def test_a_colour_depends_on_earlier_pixels_and_on_the_earlier_channels_of_its_own():
    model = colours()
    x = torch.randn(1, 3, 4, 5, requires_grad=True)
    logits = model(x).sum(1)  # (1, 3, 4, 5), a sum over levels
    order = torch.arange(60).view(4, 5, 3).permute(2, 0, 1)  # pixel by pixel, red before green before blue
    for channel, row, column in [(0, 0, 0), (1, 0, 0), (2, 1, 3), (0, 2, 4), (1, 3, 4), (2, 3, 4)]:
        (seen,) = torch.autograd.grad(logits[0, channel, row, column], x, retain_graph=True)
        place = order[channel, row, column]
        assert (seen[0][order >= place] == 0).all()
        assert place == 0 or (seen[0][order == place - 1] != 0).all()


def test_a_colour_picture_is_as_likely_as_it_is_drawn():
    """The 64 colours of the last pixel: their chances sum to that of all before it, and are those of its draws."""
    model, k = colours(), torch.cartesian_prod(*[torch.arange(4)] * 3)
    x = (torch.randint(4, (1, 3, 4, 5)) / 1.5 - 1).repeat(64, 1, 1, 1)
    x[:, :, 3, 4] = k / 1.5 - 1
    with torch.no_grad():
        log_p = model.log_prob(x)
        each = model(x[:1]).log_softmax(1).gather(1, ((x[:1] + 1) * 1.5).round().long()[:, None])[0, 0]  # (3, 4, 5)
    before = each.sum() - each[:, 3, 4].sum()
    assert log_p[0].item() == pytest.approx(each.sum().item(), abs=1e-4)
    assert torch.logsumexp(log_p, 0).item() == pytest.approx(before.item(), abs=1e-4)
    assert model.loss(x).item() == pytest.approx(-log_p.mean().item() / 60, rel=1e-4)
    known = torch.ones(4, 5, dtype=torch.bool)
    known[3, 4] = False
    drawn = model.complete(x[:1].repeat(4000, 1, 1, 1), known, generator=torch.Generator().manual_seed(0))
    levels = ((drawn[:, :, 3, 4] + 1) * 1.5).round().long()
    shares = (levels @ torch.tensor([16, 4, 1])).bincount(minlength=64) / 4000
    assert (shares - log_p.softmax(0)).abs().sum() < 0.15


@pytest.mark.parametrize("classes", [0, 3])
def test_a_completed_picture_keeps_what_is_known_and_draws_the_rest_as_paint_would(classes):
    model, labels = colours(classes), torch.tensor([2, 0]) if classes else None
    asked = 2 if labels is None else labels
    *_, whole = model.paint(asked, generator=torch.Generator().manual_seed(3))
    known = torch.zeros(4, 5, dtype=torch.bool)
    anew = model.complete(torch.ones_like(whole), known, labels, generator=torch.Generator().manual_seed(3))
    assert torch.equal(anew, whole)
    known[:2] = True
    known[3, 1] = True  # further on: kept, though what is drawn before it does not know of it
    before = whole.clone()
    done = model.complete(whole, known, labels, temperature=3.0, generator=torch.Generator().manual_seed(4))
    assert torch.equal(done[..., known], whole[..., known]) and torch.equal(whole, before)
    assert (done[..., ~known] != whole[..., ~known]).any()
    assert set(((done + 1) * 1.5).round().unique().tolist()) <= {0, 1, 2, 3}


def test_a_model_without_labels_speaks_of_p_of_x_alone():
    model = PixelModel(shape=(1, 6, 4), levels=2, width=8, blocks=1, classes=0).eval()
    x = torch.randint(2, (5, 1, 6, 4)) * 2.0 - 1
    assert torch.equal(model.log_prob_unlabelled(x), model.log_prob(x))
    assert model.sample(3).shape == (3, 1, 6, 4) and set(model.sample(3).unique().tolist()) <= {-1.0, 1.0}
    with pytest.raises(ValueError, match="labels: got some, but the model has 0 classes"):
        model.sample(2, torch.tensor([0, 1]))


def test_bytes_are_levels_however_they_were_scaled():
    k = torch.arange(256).view(1, 1, 16, 16)
    for x in (k / 127.5 - 1, k / 255 * 2 - 1, (k / 255 - 0.5) / 0.5):
        assert torch.equal(to_levels(x, 256), k[:, 0])
    assert torch.equal(to_levels(from_levels(k[:, 0], 256), 256), k[:, 0])


def test_probabilities_of_all_levels_of_the_last_pixel_sum_to_the_rest():
    model = small_model()
    x = torch.full((LEVELS, 1, 8, 8), -1.0)
    x[:, 0, 7, 7] = torch.arange(LEVELS) / 8 - 1
    y = torch.full((LEVELS,), 4)
    with torch.no_grad():
        total = torch.logsumexp(model.log_prob(x, y), 0)
        without = (
            torch.log_softmax(model(x[:1], y[:1]), 1)[0, 0].sum()
            - torch.log_softmax(model(x[:1], y[:1]), 1)[0, 0, 7, 7]
        )
    assert total.item() == pytest.approx(without.item(), abs=1e-4)


def test_loss_is_minus_log_prob_a_pixel_and_labels_sum_out():
    model = small_model()
    x, y = data.digits("test", 8)
    x, y = x[:20], y[:20]
    assert model.loss(x, y).item() == pytest.approx(-model.log_prob(x, y).mean().item() / 64, rel=1e-5)
    each = torch.stack([model.log_prob(x, torch.full((20,), k)).double().exp() for k in range(10)])
    assert torch.allclose(model.log_prob_unlabelled(x).double(), each.mean(0).log(), atol=1e-3)


def test_first_pixels_are_drawn_as_often_as_the_model_says():
    model = small_model()
    labels = torch.full((4000,), 7)
    generator = torch.Generator().manual_seed(0)
    steps = model.paint(labels, generator=generator)
    next(steps)
    x = next(steps)
    with torch.no_grad():
        first = model(torch.full((1, 1, 8, 8), -1.0), labels[:1]).softmax(1)[0, :, 0, 0]
        second = model(x, labels).softmax(1)[:, :, 0, 1].mean(0)
    seen = torch.nn.functional.one_hot(to_levels(x), LEVELS).float().mean(0)
    assert (seen[0, 0] - first).abs().max() < 0.03
    assert (seen[0, 1] - second).abs().max() < 0.03


def test_paint_yields_one_more_pixel_each_time_and_ends_in_sample():
    model = small_model()
    labels = torch.tensor([0, 1, 2])
    steps = list(model.paint(labels, generator=torch.Generator().manual_seed(1)))
    assert len(steps) == 64
    for k, (a, b) in enumerate(zip(steps, steps[1:])):
        changed = (a != b).flatten(1).any(0).nonzero().flatten()
        assert set(changed.tolist()) <= {k + 1}
    assert torch.equal(steps[-1], model.sample(3, labels, generator=torch.Generator().manual_seed(1)))


def test_temperature_zero_takes_the_likeliest():
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    assert draw(logits, 0).tolist() == [1, 0]
    counts = draw(logits[:1].expand(20_000, -1), 2.0, torch.Generator().manual_seed(0)).bincount(minlength=3) / 20_000
    assert torch.allclose(counts, (logits[0] / 2).softmax(0), atol=0.02)


def test_independent_pixels_count_levels_and_add_one():
    x = torch.full((4, 1, 8, 8), -1.0)
    x[0, 0, 3, 3] = 1.0
    model = IndependentPixels(x, torch.tensor([0, 0, 0, 1]), classes=2)
    assert model.log_probs[0, 3, 3, 16].exp().item() == pytest.approx(2 / 20)
    assert model.log_probs[0, 3, 3, 0].exp().item() == pytest.approx(3 / 20)
    assert model.log_probs[1, 3, 3, 0].exp().item() == pytest.approx(2 / 18)
    y = torch.tensor([0])
    expected = model.log_probs[0].gather(-1, to_levels(x[:1])[0, ..., None]).sum()
    assert model.log_prob(x[:1], y).item() == pytest.approx(expected.item())


def test_independent_pixels_beat_uniform_on_held_out_digits_and_sample_their_counts():
    x, y = data.digits("train", 8)
    model = IndependentPixels(x, y)
    held_out = model.log_prob(*data.digits("test", 8)).mean()
    assert -held_out / 64 < 0.7 * torch.tensor(float(LEVELS)).log()
    drawn = model.sample(3000, torch.zeros(3000).long(), generator=torch.Generator().manual_seed(0))
    share = (drawn[:, 0, 0, 2] == -1).float().mean()
    assert share.item() == pytest.approx(model.log_probs[0, 0, 2, 0].exp().item(), abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_levels(torch.full((1, 1, 8, 8), 0.1)), "x: got values between the grey levels"),
        (lambda: to_levels(torch.full((1, 1, 8, 8), 2.0)), "x: got values from 2 to 2"),
        (lambda: to_levels(torch.full((1, 1, 8, 8), float("nan"))), "x: got NaN"),
        (
            lambda: to_levels(torch.full((1, 1, 2, 2), 0.1), 4),
            "x: got values between the grey levels, expected 2 k / 3",
        ),
        (lambda: PixelModel(shape=(8, 8)), r"shape: got \(8, 8\), expected \(C, H, W\)"),
        (lambda: PixelModel(levels=1), "levels: got 1"),
        (lambda: colours()(torch.zeros(1, 3, 4, 5), torch.tensor([0])), "y: got some, but the model has 0 classes"),
        (lambda: colours(3)(torch.zeros(1, 3, 4, 5)), "y: got none, but the model has 3 classes"),
        (lambda: colours().complete(torch.zeros(1, 1, 4, 5), torch.ones(4, 5) > 0), "x: got"),
        (lambda: colours().complete(torch.zeros(1, 3, 4, 5), torch.ones(4, 5)), "known: got .* bool tensor"),
        (lambda: colours().complete(torch.zeros(1, 3, 4, 5), torch.ones(3, 4, 5) > 0), r"known: got \(3, 4, 5\)"),
        (
            lambda: colours(3).complete(torch.zeros(2, 3, 4, 5), torch.ones(4, 5) > 0, torch.tensor([0])),
            "labels: got 1, expected 2",
        ),
        (lambda: PixelModel(width=0), "width: got 0"),
        (lambda: PixelModel(dropout=1.5), "dropout: got 1.5"),
        (lambda: small_model()(torch.zeros(1, 1, 16, 16), torch.tensor([0])), "x: got"),
        (lambda: small_model()(torch.zeros(2, 1, 8, 8), torch.tensor([0])), "y: got"),
        (lambda: small_model()(torch.zeros(1, 1, 8, 8), torch.tensor([10])), "y: got labels 10 to 10"),
        (lambda: small_model().paint(torch.tensor([11])), "labels: got labels 11"),
        (lambda: small_model().paint(torch.tensor([1]), temperature=-1), "temperature: got -1"),
        (lambda: small_model().sample(2, torch.tensor([1])), "labels: got"),
        (lambda: small_model().sample(0), "n: got 0"),
        (lambda: IndependentPixels(*data.digits("train", 8)).sample(0), "n: got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
