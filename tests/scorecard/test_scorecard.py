"""What lessons' measurements share: models trained by seed, the judge, a spread, the register."""

import pytest
import torch

from minidiff import data
from minidiff.scorecard import enlarged, judge, real_digits, spread, trained
from minidiff.support import rooms


@pytest.mark.parametrize("lesson", rooms.lessons())
def test_every_lesson_has_claims(lesson):
    assert callable(rooms.part(lesson, "claims").claims)


def test_trained_is_a_function_of_recipe_and_seed():
    first = trained("ae-digits-2", 1)
    trained.cache_clear()
    again, other = trained("ae-digits-2", 1), trained("ae-digits-2", 2)
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not first.training


def test_the_judge_knows_held_out_digits():
    x, _ = data.digits("test")
    features = judge()(x)
    assert features.shape == (297, 64) and not features.requires_grad


@pytest.mark.parametrize("size", [8, 16])
def test_real_digits_are_both_splits_and_the_judge(size):
    train, held_out, features = real_digits(size, n=100)
    assert torch.equal(train, data.digits("train", size)[0])
    assert torch.equal(held_out, data.digits("test", size)[0][:100]) and len(real_digits(size)[1]) == 297
    assert torch.equal(features(held_out), judge()(held_out))


def test_small_pictures_are_enlarged_as_the_data_is():
    small, large = (data.digits("test", size)[0] for size in (8, 16))
    assert torch.equal(enlarged(small), large) and torch.equal(enlarged(large), large)


@pytest.mark.parametrize(
    ("values", "text"), [([0.351], "0.351"), ([0.341, 0.361], "0.351 ± 0.01"), ([1234.0, 1236.0], "1240 ± 1")]
)
def test_spread_is_mean_and_deviation(values, text):
    assert spread(values) == text
