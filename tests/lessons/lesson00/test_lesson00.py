"""Lesson 00's widgets and measurements: they show and count what they say."""

import math

import pytest
import torch
from matplotlib.text import Text
from torch import nn

from minidiff import checkpoints, data
from minidiff.autoregressive import LEVELS, MaskedConv, PixelModel, to_levels
from minidiff.exercises.core import find
from minidiff.lessons.lesson00 import claims as scorecard
from minidiff.lessons.lesson00 import widgets
from minidiff.lessons.lesson00.solutions import Painter
from minidiff.metrics import bits_per_dim
from minidiff.support import rooms
from minidiff.widgets import Explorer


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("pixels-digits")


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return PixelModel(width=4, blocks=1).eval()


def picture(explorer: Explorer, **values):
    """What the explorer draws at its defaults but for `values`."""
    return explorer.draw(**explorer.values | values)


# Widgets.


def test_the_map_has_every_lesson_and_no_text_leaves_its_box():
    figure = widgets.course_map("04")
    [ax] = figure.axes
    figure.canvas.draw()
    names = [text for text in ax.texts if text.get_text()[:2].isdigit()]
    assert sorted(text.get_text()[:2] for text in names) == rooms.lessons()
    for text, box in zip(names, ax.patches[-len(names) :]):
        inner, outer = text.get_window_extent(), box.get_window_extent()
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1, text.get_text()
    assert sum(box.get_facecolor()[:3] != (1, 1, 1) for box in ax.patches[-len(names) :]) == 1
    with pytest.raises(ValueError, match="here: got '99'"):
        widgets.course_map("99")


def test_average_shows_the_mean_of_the_first_k_and_the_kth():
    x, y = data.digits("train", 8)
    blur = widgets.average(x, y)
    fives = x[y == 5]
    assert torch.equal(picture(blur, k=1, label=5), fives[[0, 0]])
    assert torch.allclose(picture(blur, k=40, label=5), torch.stack([fives[:40].mean(0), fives[39]]))
    assert blur.controls["k"].high == 100
    assert blur.picture.alt == "left the average of 1 digit of label 4, right the last of them"
    titles = [text.get_text() for text in blur.twin([{"k": 1}, {"k": 5}]).findobj(Text)]
    assert {"average of 1 digit", "average of 5 digits"} <= set(titles)


class Composed(nn.Module):
    """A right answer to 00.masked_conv that has its convolution inside."""

    def __init__(self, channels_in, channels_out, kernel, own):
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.register_buffer("mask", MaskedConv(1, 1, kernel, own).mask)

    def forward(self, x):
        weight = self.convolution.weight * self.mask
        return nn.functional.conv2d(x, weight, self.convolution.bias, padding=self.convolution.padding)


def test_a_masked_convolution_may_have_its_weights_inside():
    find("00.masked_conv")(Composed)


def test_painting_shows_the_pixels_drawn_so_far_and_the_rest_blue(untrained):
    player = widgets.painting(untrained, copies=1)
    whole = picture(player, pixels=64)
    assert torch.equal(whole[:, :1], untrained.sample(10, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(whole[:, 0], whole[:, 2])  # grey
    part = picture(player, pixels=13)
    blue = torch.tensor(widgets.EMPTY).view(3, 1)
    assert torch.equal(part.flatten(2)[..., :13], whole.flatten(2)[..., :13])
    assert (part.flatten(2)[..., 13:] == blue).all()
    assert (picture(player, pixels=0).flatten(2) == blue).all()
    assert not torch.equal(picture(player, pixels=64, temperature=2.0), whole)
    assert not player.controls["pixels"].playing


def test_at_temperature_0_both_rows_are_alike(untrained):
    whole = picture(widgets.painting(untrained), pixels=64, temperature=0.0)
    assert torch.equal(whole[:10], whole[10:])


def test_next_pixel_shows_the_models_probabilities_and_what_came(untrained):
    x, y = data.digits("test", 8)
    first = torch.stack([x[y == label][0] for label in range(10)])
    figure = picture(widgets.next_pixel(untrained, first, torch.arange(10)), pixels=20, label=3)
    _, right = figure.axes
    heights = torch.tensor([bar.get_height() for bar in right.patches])
    with torch.no_grad():
        p = untrained(first[3:4], torch.tensor([3])).softmax(1)[0, :, 2, 4]
    assert torch.allclose(heights.float(), p, atol=1e-6) and len(heights) == LEVELS
    level = round((first[3, 0, 2, 4].item() + 1) * 8)
    colours = [bar.get_facecolor() for bar in right.patches]
    assert [colours.count(colour) for colour in colours].index(1) == level


# Measurements.


def test_averageness_is_0_for_the_average_and_1_for_real_digits():
    x, y = data.digits("train", 8)
    means = scorecard.class_means(x, y)
    exact = scorecard.averageness(lambda labels: means[labels], x, y)
    assert exact == {"from the average": 0, "variety": 0}
    rows = {label: (y == label).nonzero()[:, 0] for label in range(10)}
    pick = lambda label: rows[label][torch.randint(len(rows[label]), ())]  # noqa: E731
    real = scorecard.averageness(lambda labels: torch.stack([x[pick(k)] for k in labels.tolist()]), x, y, copies=100)
    assert real["from the average"] == pytest.approx(1, abs=0.1) and real["variety"] == pytest.approx(1, abs=0.1)


def test_a_painter_taught_by_squared_error_draws_the_average_with_and_without_z():
    x, y = data.digits("train", 8)
    assert scorecard.averageness(scorecard._painter(0, 0), x, y)["from the average"] < 0.01
    assert scorecard.averageness(scorecard._painter(8, 0), x, y)["variety"] < 0.05


def test_the_gaussians_bits_are_those_of_the_formula():
    x = torch.randint(LEVELS, (20_000, 1, 8, 8)) / 8 - 1
    variance = (17 / 8) ** 2 / 12  # of a uniform density over the 17 cells
    wanted = 0.5 * math.log2(2 * math.pi * math.e * variance) + 3
    assert bits_per_dim(scorecard._gaussian(x)(x, None), 64) == pytest.approx(wanted, abs=0.01)


def test_held_out_pairs_of_pixels_gain_what_section_5_says():
    above, below = to_levels(data.digits("train", 8)[0])[:, [1, 2], 5].T
    joint = torch.zeros(LEVELS, LEVELS).index_put((above, below), torch.tensor(1.0), accumulate=True) + 0.1
    joint /= joint.sum()
    separate = joint.sum(1, keepdim=True) * joint.sum(0)
    above, below = to_levels(data.digits("test", 8)[0])[:, [1, 2], 5].T
    assert (joint / separate)[above, below].log2().mean().item() == pytest.approx(0.37, abs=0.005)


def test_likelihoods_are_in_the_papers_order(model):
    bits = {row["model"]: row["held-out"] for row in scorecard.likelihoods(model)}
    assert bits["uniform"] == pytest.approx(math.log2(17))
    with torch.no_grad():
        assert bits["pixel by pixel, given the label"] == pytest.approx(
            model.loss(*data.digits("test", 8)) / math.log(2)
        )
    assert list(bits.values()) == sorted(bits.values(), reverse=True)
    assert bits["pixel by pixel"] < 1.9


def test_drawings_are_of_the_labels_in_turn_and_the_same_for_a_seed(untrained):
    drawn, again, other = (scorecard.drawings(untrained, 12, seed) for seed in (1, 1, 2))
    x, y = data.digits("train", 8)
    assert torch.equal(drawn["the average"][11, 0], x[y == 1].mean((0, 1)))
    for way, pictures in drawn.items():
        assert pictures.shape == (12, 1, 8, 8) and torch.equal(pictures, again[way])
        assert torch.equal(pictures, other[way]) == (way == "the average")


def test_cost_counts_the_passes(untrained):
    rows = scorecard.cost(Painter(), untrained, n=2)
    assert [row["passes"] for row in rows] == [1, 64, 1]
    assert all(row["milliseconds"] > 0 for row in rows)


@pytest.mark.slow
def test_the_claims_hold_for_the_shipped_model(model, monkeypatch):
    monkeypatch.setattr(scorecard, "trained", lambda name, seed: model)
    claims = scorecard.claims([0], full=False)
    assert [claim.holds for claim in claims] == [True] * 5, claims
    assert all(claim.lesson == "00" and claim.paper and claim.ours for claim in claims)


def test_a_claim_does_not_hold_for_an_untrained_model(untrained):
    claim = scorecard._of_likelihood([untrained])
    assert claim.holds is False
