"""Lesson 18's contest, tables, figures and widgets."""

import pytest
import torch

from minidiff import data, seeded
from minidiff.data import folder
from minidiff.lessons.lesson18 import capstone, claims, contest, drawings, figures, widgets
from minidiff.scorecard import stored


@pytest.fixture(scope="module")
def rows():
    return stored.read("18_families")


@pytest.mark.parametrize("name", ["latent diffusion", "flow", "GAN", "two-step student"])
def test_a_family_is_taught_within_its_budget_and_measured(name, monkeypatch):
    monkeypatch.setattr(contest, "affordable", lambda key, start, budget: 2)
    monkeypatch.setattr(contest, "measured", lambda images: {"shape": tuple(images.shape)})
    row, images = contest.contestant(name, 0, budget=0.1, n=12)
    assert row["family"] == name and row["shape"] == (12, 1, 16, 16) == tuple(images.shape)
    assert row["train (CPU s)"] > 0 and row["1,000 (CPU s)"] > 0 and row["MB"] > 0.1
    assert images.abs().max() <= 1


def test_a_tournament_has_a_row_for_each_family_and_seed_then_the_floors(monkeypatch):
    def contestant(name, seed, budget):
        return {"family": name, "seed": seed}, torch.full((30, 1, 16, 16), float(seed))

    monkeypatch.setattr(contest, "contestant", contestant)
    told = []
    rows, drawn = contest.tournament((3, 4), names=("flow", "GAN"), told=lambda row, flush: told.append(row))
    assert [(row["family"], row["seed"]) for row in told] == [("flow", 3), ("GAN", 3), ("flow", 4), ("GAN", 4)]
    assert rows[:4] == told and rows[-1]["family"] == contest.BASELINE and 1000 < rows[-1]["FD held-out"] < 2000
    assert drawn["GAN"].shape == (2, contest.SHOWN, 1, 16, 16) and drawn["GAN"][1].unique() == 4


def test_a_larger_budget_pays_for_more_steps():
    def start():
        while True:
            sum(range(20_000))
            yield

    few, many = (contest.affordable((name, budget), start, budget) for name, budget in (("a", 0.05), ("b", 0.5)))
    assert 3 < many / few < 30
    assert contest.affordable(("a", 0.05), None, 1000.0) == few  # tried once for each key


def test_detail_is_one_for_real_digits_less_for_a_blur_and_more_for_noise():
    real, other = data.digits("test")[0], data.digits("train")[0]
    assert contest.detail(other, real) == pytest.approx(1, abs=0.1)
    blurred = torch.nn.functional.avg_pool2d(other, 5, stride=1, padding=2)
    assert contest.detail(blurred, real) < 0.5
    assert contest.detail(other + 0.5 * torch.randn(other.shape, generator=seeded(0)), real) > 1.3


def test_the_stored_table_has_every_family_with_the_same_seeds_and_its_floors(rows):
    seeds = {name: [row["seed"] for row in rows if row["family"] == name] for name in contest.FAMILIES}
    assert len(set(map(tuple, seeds.values()))) == 1 and seeds["GAN"] == [*range(5)]
    floors = [row["family"] for row in rows if "seed" not in row]
    assert floors == ["fresh real pictures", "a memoriser", contest.BASELINE]
    assert stored.command("18_families") == stored.command("18_emoji") == claims.COMMAND
    spent = [row["train (CPU s)"] for row in rows if "seed" in row]
    assert all(0.6 * contest.BUDGET < seconds < 1.5 * contest.BUDGET for seconds in spent)


def test_the_kept_digits_are_those_that_were_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "SHEET", tmp_path / "sheet.png")
    images = data.digits("train")[0][: 2 * 20 * len(contest.FAMILIES)].view(-1, 2, 20, 1, 16, 16)
    drawn = dict(zip(contest.FAMILIES, images))
    claims.keep(drawn)
    again = claims.kept()
    assert list(again) == list(drawn)
    assert all((again[name] - drawn[name]).abs().max() < 0.2 for name in drawn)


def test_means_and_failures_are_taken_over_seeds():
    told = {"labels": "yes", "MB": 1.0, "recall": 0.5}
    rows = [
        {"family": "A", "seed": k, "FD held-out": fd, "bits/dim": "≤ 2.00"} | told for k, fd in enumerate((10, 30, 35))
    ]
    rows.append({"family": contest.BASELINE, "FD held-out": 20})
    assert claims.averaged(rows) == [
        {"family": "A", "labels": "yes", "FD held-out": 25, "recall": 0.5, "bits/dim": 2.0, "MB": 1.0}
    ]
    assert claims.failed(rows) == {"A": 2}


def test_every_claim_can_fail(rows):
    found = claims.claims([], full=False)
    assert all(claim.lesson == "18" and claim.ours and claim.stored for claim in found)
    assert {claim.holds for claim in found} == {True, False}
    swapped = {"GAN": "flow matching", "flow matching": "GAN", "VAE": "flow", "flow": "VAE"}
    turned = [row | {"family": swapped.get(row["family"], row["family"])} for row in rows]
    assert [c.holds for c in claims._of_vae(turned)] != [c.holds for c in claims._of_vae(rows)]


def test_which_ranks_by_the_need_and_leaves_out_what_is_too_slow(rows):
    table = claims.averaged(rows)
    best = min(table, key=lambda row: row["FD held-out"])["family"]
    which = widgets.which(table)
    first = which.picture.src
    assert which.picture.alt.startswith(f"any digit, 1,000 of them in 20 s, close to real digits (FD): {best}")
    which.set(need="a likelihood (bits/dim)", seconds=100)
    assert which.picture.alt.endswith(": autoregressive, then VAE of levels, flow")
    assert which.picture.src != first
    quick = widgets.ranked(table, 0.1, "few weights (MB)", widgets.LABELLED)
    assert [row["family"] for row in quick] == ["VAE", "GAN"]


def test_the_gallery_shows_each_family_and_seed():
    gallery = widgets.gallery(claims.kept())
    first = gallery.picture.src
    gallery.set(family="GAN", seed=1)
    assert gallery.picture.alt == "twenty digits by GAN, trained with seed 1" and gallery.picture.src != first
    gallery.reset()
    assert gallery.picture.src == first


def test_the_map_has_every_system_in_its_row_and_year():
    figure = figures.field_map()
    (ax,) = figure.axes
    texts = [text.get_text() for text in ax.texts]
    assert len(texts) == len(figures.SYSTEMS) + len(figures.ROWS) and "DDPM  2006.11239" in texts
    assert figures.when("2006.11239") == pytest.approx(2020 + 5 / 12)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_trade_joins_the_models_worth_taking():
    rows = [{"family": str(k), "1,000 (CPU s)": 1.0 + k, "FD held-out": 9.0 - k} for k in range(3)]
    ax = figures.trade(rows, [True, False, True])
    (line,) = ax.lines
    assert line.get_xydata().tolist() == [[1.0, 9.0], [3.0, 7.0]]
    assert {text.get_text() for text in ax.texts} == {"0", "1", "2"}


def test_the_example_is_a_folder_as_a_learners_own(tmp_path, capsys):
    pictures = folder(capstone.example(tmp_path / "mine"), size=16)
    assert pictures.classes == ["animals", "faces", "flags", "food"] and len(pictures.images) == 642
    assert pictures.images.shape[1:] == (3, 16, 16)


def test_a_system_is_marked_by_the_drawing_of_its_name():
    said = drawings.names("train", 4)
    images, names = data.emoji("train", 32)
    known = dict(zip(names, images))

    def draw(prompts, generator):
        return torch.stack([known[prompt] for prompt in prompts])

    row = drawings.row("perfect", draw, torch.nn.Linear(10, 100), "train", 0, n=4)
    assert (row["right"], row["thing"], row["names"]) == (1.0, 1.0, "seen") and len(said) == 4
