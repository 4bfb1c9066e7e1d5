"""Every recipe builds, and its data is what its model's loss takes; every shipped checkpoint comes from one."""

import pytest
import torch

from minidiff import checkpoints
from minidiff.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_a_model_that_its_data_fits(name):
    recipe = RECIPES[name]
    model = recipe.build()
    for split, rows in (("train", 1500), ("test", 297)):
        tensors = recipe.data(split)
        assert all(len(x) == rows for x in tensors) or "digits" not in name
        loss = model.loss(*(x[:8] for x in tensors))
        assert loss.shape == () and torch.isfinite(loss)
    assert set(recipe.steps) == {"ci", "cpu", "gpu"} and recipe.steps["ci"] == 20


@pytest.mark.parametrize("name", checkpoints.names())
def test_a_shipped_checkpoint_is_of_the_recipe_of_its_name_trained_to_its_end(name):
    card = checkpoints.card(name)
    assert card["recipe"] == name and card["args"] == {}
    assert card["steps"] == RECIPES[name].steps["cpu"]
    assert card["command"] == f"python -m minidiff train {name} --steps {card['steps']} --profile cpu --seed 0"


@pytest.mark.parametrize("name", checkpoints.names())
def test_a_shipped_checkpoint_scores_what_its_card_says(name):
    recipe, card = RECIPES[name], checkpoints.card(name)
    torch.manual_seed(0)
    model, tensors = checkpoints.load(name), recipe.data("test")
    with torch.no_grad():
        losses = [model.loss(*tensors).item() for _ in range(8)]  # many a loss draws noise, and times
    told = card["metrics"]["test_loss"]
    assert min(losses) - 0.05 * abs(told) <= told <= max(losses) + 0.05 * abs(told)
