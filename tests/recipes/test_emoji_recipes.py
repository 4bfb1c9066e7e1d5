"""The shipped models of the emoji: what they read, what they rebuild, and that they draw what they are asked for."""

import pytest
import torch

from minidiff import checkpoints, data, generate, seeded
from minidiff.recipes import emoji
from minidiff.transformer import Tokenizer


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("ldm-emoji")


def test_a_name_fits_and_is_read_alike_in_any_capitals(model):
    assert isinstance(model.tokenizer, Tokenizer) and model.tokenizer.merges == emoji.tokenizer().merges
    _, names = data.emoji("train", 32, holdout=None)
    assert model.ids(names).shape == (3470, 24)
    assert torch.equal(model.ids("WOMAN Firefighter"), model.ids("woman firefighter"))


def test_each_drawing_is_there_with_its_name_and_with_that_name_as_it_is_typed():
    mu, ids = emoji.codes("test", checkpoints.shipped("ae-emoji"))
    assert mu.shape == (342, 8, 8, 8) and torch.equal(mu[:171], mu[171:])
    read = [emoji.tokenizer().decode([i for i in row if i > 2]) for row in ids.tolist()]
    names = data.emoji("combinations", 32)[1]
    assert read[:171] == names
    assert read[171:] == [emoji.plain(name) for name in names]


def test_the_autoencoder_rebuilds_drawings_that_it_never_saw():
    images, names = data.emoji("combinations", 32)
    with torch.no_grad():
        again = checkpoints.load("ae-emoji")(images).clamp(-1, 1)
    assert data.emoji.marks(names, again).right > 0.95
    assert (again - images).square().mean() < 0.01


@pytest.mark.parametrize("typed", [False, True])
def test_the_shipped_model_draws_combinations_that_it_never_saw(model, typed):
    """By chance one in 3,470 would be right, and of those that have the thing right one tone in six."""
    names = data.emoji("combinations", 32)[1][::7]
    asked = [emoji.plain(name).title() for name in names] if typed else names
    marks = data.emoji.marks(names, generate.prompted(model, asked, steps=10, generator=seeded(0)))
    assert marks.right > 0.6 and marks.by["thing"] > 0.6 and marks.by["tone"] > 0.8


def test_it_is_the_words_that_do_it(model):
    names = data.emoji("combinations", 32)[1][::7]
    deaf = generate.prompted(model, names, steps=10, scale=0.0, generator=seeded(0))
    assert data.emoji.marks(names, deaf).right < 0.1
