"""Lesson 13: its widgets show what the cascade draws, and its measurements tell good pictures from bad ones."""

import pytest
import torch
import torch.nn.functional as F

from minidiff import checkpoints, seeded
from minidiff.cascade import LEVEL, Cascade
from minidiff.data.emoji import plain
from minidiff.lessons.lesson13 import measures, solutions, widgets
from minidiff.sampler import times
from minidiff.scorecard import stored


@pytest.fixture(scope="module")
def enlarger():
    return checkpoints.shipped("cascade-emoji-32")


@pytest.fixture(scope="module")
def cascade(enlarger):
    return Cascade(checkpoints.shipped("cascade-emoji-16"), [enlarger])


def grids(monkeypatch) -> list:
    seen = []
    monkeypatch.setattr(widgets.plot, "grid", lambda images, *args, **how: seen.append(images) or images)
    return seen


def test_the_growth_shows_every_size(cascade, monkeypatch):
    seen = grids(monkeypatch)
    explorer = widgets.growth(cascade, "penguin")
    explorer.set(prompt="owl", scale=3.0, level=0.2, noise=1)
    small, large = cascade.stages(["owl"], scale=3.0, level=0.2, generator=seeded(1))
    assert torch.allclose(seen[-1][1:], large, atol=1e-5)
    assert torch.allclose(F.avg_pool2d(seen[-1][:1], 2), small, atol=1e-5)
    assert explorer.picture.alt == "“owl” at each size, scale 3, level 0.2, noise 1"


def test_a_small_picture_is_spoiled_and_enlarged(enlarger, monkeypatch):
    seen = grids(monkeypatch)
    said = measures.names(4)
    explorer = widgets.spoiled(enlarger, measures.real(said, 16), said)
    explorer.set(picture=plain(said[2]), level=0.3)
    small = measures.real(said[2:3], 16)
    assert torch.equal(F.avg_pool2d(seen[-1][:1], 2), small)
    wanted = enlarger(small.expand(3, -1, -1, -1), 0.3, generator=seeded(1))
    assert torch.allclose(seen[-1][2:], wanted, atol=1e-5)
    explorer.set(level=0.0)
    assert torch.allclose(seen[-1][0], seen[-1][1])


def test_the_loop_of_the_lesson_is_the_packages_first_order(enlarger):
    small = measures.real(measures.names(2), 16)
    noise = torch.randn(small.shape, generator=(generator := seeded(5)))
    x = torch.randn(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        mine = solutions.enlarge(enlarger.denoiser, small, torch.full((2,), 0.2), noise, x, times(3))
    theirs = enlarger(small, 0.2, steps=3, order=1, generator=seeded(5))
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_right_and_off_and_fd_tell_real_drawings_from_others():
    said = measures.names(60)
    for side in (16, 32):
        images = measures.real(said, side)
        assert measures.right(said, images) == 1 and measures.off(images) == pytest.approx(0, abs=1e-3)
        spoiled = (images + 0.3 * torch.randn(images.shape, generator=seeded(0))).clamp(-1, 1)
        assert measures.off(spoiled) > 0.1
        assert measures.right(said, images.roll(1, 0)) < 0.1
    assert measures.fd(images, images) == pytest.approx(0, abs=0.1) and measures.fd(spoiled, images) > 1
    assert measures.ends(torch.tensor([1.0, -1.0, 0.0, 1.0]))["white"] == 0.5


def test_rows_are_averaged_over_seeds_alone():
    rows = [{"a": "x", "level": 0.1, "seed": seed, "off": float(seed)} for seed in (1, 2, 3)]
    rows.append({"a": "x", "level": 0.2, "seed": 1, "off": 7.0})
    assert stored.averaged(rows, "a", "level") == [
        {"a": "x", "level": 0.1, "off": 2.0},
        {"a": "x", "level": 0.2, "off": 7.0},
    ]


def test_the_cascade_draws_names_that_it_never_saw(cascade):
    said = measures.names(30)
    with torch.no_grad():
        assert measures.right(said, cascade(said, generator=seeded(0))) > 0.4  # by chance 1 of 3,470
        assert measures.right(said, cascade(said, scale=0.0, steps=5, generator=seeded(0))) < 0.2


def test_the_stored_tables_have_their_rows():
    levels = stored.read("13_level")
    assert {row["level"] for row in levels if row["enlarger"] == "clean"} == {0.0}
    assert sorted({row["level"] for row in levels if row["enlarger"] == "augmented"}) == sorted(measures.LEVELS)
    assert {row["seed"] for row in levels} == {0, 1, 2}
    assert [row["mistake"] for row in stored.read("13_mistakes")] == [0.0, 0.1, 0.2, 0.4]
    single, unet = stored.read("13_single"), stored.read("13_unet")
    for rows, kinds in ((single, 2), (unet, 2), (stored.read("13_reader"), 5), (stored.read("13_last"), 9)):
        assert sorted(row["seed"] for row in rows) == [seed for seed in (0, 1, 2) for _ in range(kinds)]
    for rows in (single, unet):  # as long for both
        assert len({(row["seed"], row["seconds"]) for row in rows}) == 3
    assert len({row["steps"] for row in stored.read("13_reader")}) == 1


def test_the_level_that_a_cascade_takes_is_the_best_of_the_sweep():
    rows = stored.averaged(stored.read("13_level"), "enlarger", "level")
    augmented = [row for row in rows if row["enlarger"] == "augmented"]
    assert min(augmented, key=lambda row: row["FD, drawn"])["level"] == LEVEL


def test_a_row_of_mistakes_is_the_error_of_what_is_made_of_them(enlarger):
    [row] = measures.mistakes_table(2, mistakes=(0.2,), seed=3)
    small, large = measures.real(measures.names(2), 16), measures.real(measures.names(2), 32)
    made = enlarger(small + 0.2 * torch.randn(small.shape, generator=seeded(3)), generator=seeded(4))
    assert row["augmented"] == pytest.approx((made - large).square().mean().sqrt().item(), abs=1e-4)
