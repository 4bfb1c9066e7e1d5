"""The shipped models of the emoji: what they read, what they rebuild, and that they draw what they are asked for."""

import pytest
import torch

from minidiff import checkpoints, data, generate, seeded
from minidiff.lessons.lesson11 import named
from minidiff.recipes import emoji
from minidiff.stable_diffusion import UNetModel
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


def test_a_clip_reads_each_drawing_once_under_one_of_its_names():
    images, ids = emoji.named("test")
    drawn, names = data.emoji("combinations", 32)
    assert torch.equal(images, drawn)
    read = [emoji.tokenizer().decode([i for i in row if i > 2]) for row in ids.tolist()]
    assert all(text in (name, emoji.plain(name)) for text, name in zip(read, names))
    assert 0.3 < sum(text == name for text, name in zip(read, names)) / 171 < 0.7


def test_a_shifted_drawing_is_the_same_drawing_at_another_place():
    torch.manual_seed(0)
    x = data.emoji("combinations", 32)[0][:40]
    moved = emoji.shifted(x)
    assert moved.shape == x.shape and not torch.equal(moved, x)
    wide = torch.nn.functional.pad(x, (2, 2, 2, 2), value=1.0)
    places = [wide[:, :, i : i + 32, j : j + 32] for i in range(5) for j in range(5)]
    found = torch.stack([(place == moved).flatten(1).all(1) for place in places])
    assert found.any(0).all()  # each at one of the 25 places
    assert found.any(1).sum() > 10  # and not all at the same


def test_the_shipped_clip_names_combinations_that_it_never_saw():
    few, _, many, _ = named.recall_table(checkpoints.load("clip-emoji"))
    assert few["recall at 1"] > 0.9 and few["recall at 5"] > 0.98  # by chance 1 of 171 and 5 of 171
    assert many["recall at 5"] > 0.9


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


def test_the_miniature_is_stable_diffusion_in_small():
    small = checkpoints.load("sd-emoji")
    clip = checkpoints.shipped("clip-emoji")
    assert isinstance(small.denoiser.net, UNetModel) and small.denoiser.predict == "v"
    same = zip(small.denoiser.net.text.parameters(), clip.text.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in same)  # CLIP's tower, frozen
    mu, _ = emoji.codes("train", checkpoints.shipped("ae-emoji"))
    assert (small.scale * mu).std() == pytest.approx(1, abs=0.01)


def test_the_miniature_draws_names_that_it_never_saw():
    names = data.emoji("combinations", 32)[1][::5]
    marks = data.emoji.marks(names, generate.prompted(checkpoints.load("sd-emoji"), names, generator=seeded(0)))
    assert marks.right > 0.6  # 0.825 of 57 when it was shipped; by chance 1 of 3,470


def test_two_steps_of_the_student_draw_what_twenty_of_its_teacher_do(model):
    """Guidance is inside: it is asked twice for a picture, where the teacher is asked forty times."""
    student = checkpoints.load("two-step-emoji")
    assert student.guidance == 1 and student.denoiser.steps == 2 and student.weights() == model.weights()
    names = data.emoji("combinations", 32)[1][::7]
    goal = generate.prompted(model, names, generator=seeded(0))
    drawn = generate.prompted(student, names, steps=2, generator=seeded(0))
    gaps = [
        (images - goal).square().mean()
        for images in (drawn, generate.prompted(model, names, steps=2, generator=seeded(0)))
    ]
    assert gaps[0] < 0.5 * gaps[1]
    assert data.emoji.marks(names, drawn).right > 0.6
