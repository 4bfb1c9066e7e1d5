"""Lesson 14's widgets and measurements."""

import pytest
import torch
import torch.nn.functional as F

from minidiff import checkpoints, data, seed_everything, train
from minidiff.dalle import VQVAE
from minidiff.exercises.core import find
from minidiff.lessons.lesson14 import claims as lesson14
from minidiff.lessons.lesson14 import widgets
from minidiff.scorecard import stored


def test_a_picture_is_written_from_the_top():
    model = checkpoints.shipped("dalle-shapes")
    writer = widgets.written(model, "a red circle", temperatures=(1.0,), n=2)
    whole = writer.picture.src
    assert writer.picture.alt == "a red circle: 64 of 64 tokens at temperature 1.0"
    writer.set(count=0)
    assert writer.picture.src != whole and writer.picture.alt.startswith("a red circle: 0 of 64")
    first = widgets._first(12, 8, 4)
    assert first[:4].all() and first[4:8, :16].all() and not first[4:8, 16:].any() and not first[8:].any()


def test_the_middle_of_two_pictures_is_neither():
    model = checkpoints.shipped("unclip-emoji")
    a, b = F.normalize(torch.randn(2, 1, 64), dim=2)
    middle = widgets.middles(model, {"a": a, "b": b}, n=1)
    half = middle.picture.src
    assert middle.picture.alt == "0.5 of the way from a to b"
    middle.set(share=0.0)
    start = middle.picture.src
    middle.set(share=1.0)
    assert len({half, start, middle.picture.src}) == 3


def test_the_tokens_keep_what_the_marker_reads():
    kept = lesson14.rebuilt(checkpoints.shipped("vqvae-shapes"), 100)
    assert kept["attributes"] > 0.9 and kept["pairs"] > 0.8


def test_without_revival_most_entries_stay_unused():
    images = data.shapes("train", 200)[0]
    seed_everything(0)
    young = VQVAE(width=32, blocks=1, revive=False)
    train.run(train.fit(young, data.batches(images, size=16), steps=60, lr=3e-3))
    with torch.no_grad():
        used = young.encode(images).unique().numel()
    assert used <= 256 // 4 and find("14.predict_collapse").answer == "c"


def test_prompts_can_be_marked_and_names_are_of_their_split():
    said = lesson14.prompts("novel", 7)
    assert len(said) == 7 and all(data.shapes.asked(text) for text in said)
    assert set(lesson14.names("test", 20)) <= set(data.emoji("combinations", 32)[1])
    assert not set(lesson14.names("train", 20)) & set(data.emoji("combinations", 32)[1])


def test_rows_of_seeds_are_averaged():
    rows = [
        {"way": "a", "seed": 0, "right": 0.2},
        {"way": "a", "seed": 1, "right": 0.4},
        {"way": "b", "seed": 0, "right": 1.0},
    ]
    assert lesson14.averaged(rows, "way") == [{"way": "a", "right": pytest.approx(0.3)}, {"way": "b", "right": 1.0}]


def test_unclip_draws_what_it_is_asked_for():
    names = lesson14.names("train", 20)
    drawn = lesson14.unclip()(names, steps=5, generator=torch.Generator().manual_seed(0))
    assert data.emoji.marks(names, drawn).right > 0.3  # by chance one of 3,470


def test_each_claim_is_read_from_a_stored_table():
    assert all(claim.stored for claim in lesson14.claims([0], full=False))
    for name in ("14_dalle", "14_unclip"):
        rows = stored.read(name)
        assert {row["seed"] for row in rows} == {0, 1, 2}
