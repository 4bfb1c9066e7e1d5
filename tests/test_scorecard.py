"""What lessons' measurements share: models trained by seed, the judge, a spread, the register."""

import pytest
import torch

from minidiff import data
from minidiff.scorecard import LESSONS, judge, spread, trained


def test_every_lesson_with_a_module_is_registered():
    assert list(LESSONS) == sorted(LESSONS) and {"00", "01", "02"} <= set(LESSONS)


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


@pytest.mark.parametrize(
    ("values", "text"), [([0.351], "0.351"), ([0.341, 0.361], "0.351 ± 0.01"), ([1234.0, 1236.0], "1240 ± 1")]
)
def test_spread_is_mean_and_deviation(values, text):
    assert spread(values) == text
