"""Lesson 07's widgets and measurements, with a denoiser that knows its exact answers in place of a trained one."""

import pytest
import torch
from torch import nn

from minidiff import checkpoints, data, evaluate
from minidiff.denoiser import Denoiser
from minidiff.lessons.lesson07 import claims as lesson07
from minidiff.lessons.lesson07 import few_steps, widgets
from minidiff.lessons.lesson07.solutions import slerp
from minidiff.sampler import heun, times
from minidiff.schedule import cosine
from minidiff.scorecard import real_digits, stored

MEANS = torch.stack([x[y == k].mean(0) for x, y in [data.digits("train")] for k in range(10)])  # (10, 1, 16, 16)
STD = 0.3


class Exact(nn.Module):
    """E[x0 | x_t, label] where the pictures of a label are its average plus noise of deviation STD."""

    classes = 10

    def forward(self, x, t, cond):
        alpha, sigma = cosine()(t, like=x)
        m = MEANS[cond]
        return m + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * m)


@pytest.fixture(scope="module")
def model():
    return Denoiser(Exact(), cosine(), "x0", null=0)


@pytest.fixture
def shipped():
    return checkpoints.load("ddpm-digits")


def shown(explorer) -> torch.Tensor:
    return explorer.draw(**explorer.values)


def rows_of(table: dict, seed=0) -> list[dict]:
    """Rows as `steps_row` makes them, of (steps, noise) -> FD; the other figures follow it."""
    fixed = {"seed": seed, "n": 64}
    figures = {cell: {"FD held-out": fd, "noise left": fd, "variety": 1 - fd / 1000} for cell, fd in table.items()}
    return [fixed | {"steps": steps, "noise": noise} | row for (steps, noise), row in figures.items()]


# What is measured.


def test_every_method_starts_from_the_same_noise_and_draws_labels_in_turn(model):
    ddim = few_steps.drawn(model, 10, 20)
    assert ddim.shape == (20, 1, 16, 16) and ddim.abs().max() <= 1
    dpm = few_steps.drawn(model, 10, 20, order=2)
    by_heun = few_steps.drawn(model, 10, 20, walk=heun)
    for other in (dpm, by_heun):
        assert few_steps.alike(ddim, other) > 0.97 > few_steps.alike(ddim, other.roll(1, 0))
    assert torch.equal(ddim, few_steps.drawn(model, 10, 20)) and not torch.equal(
        ddim, few_steps.drawn(model, 10, 20, seed=1)
    )
    distances = torch.cdist(ddim.flatten(1), MEANS.flatten(1))
    assert torch.equal(distances.argmin(1), torch.arange(20) % 10)


def test_a_row_of_the_table_has_a_figure_for_each_noise(model):
    rows = few_steps.steps_row(model, 5, seed=3, n=40)
    assert [row["noise"] for row in rows] == list(few_steps.WAYS)
    assert all(row["seed"] == 3 and row["steps"] == 5 and row["n"] == 40 for row in rows)
    assert len({row["FD held-out"] for row in rows}) == 5


def test_noise_left_is_what_no_sum_of_real_digits_can_be():
    real = data.digits("test")[0]
    assert few_steps.noise_left(real) < 1e-3
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    assert few_steps.noise_left(real + 0.1 * noise) == pytest.approx(0.1 * (1 - 61 / 256) ** 0.5, rel=0.02)


def test_reconstruction_error_falls_with_the_steps(model):
    errors = [few_steps.reconstruction(model, steps, n=12) for steps in (5, 20, 80)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01


def test_alike_is_a_correlation():
    a, b = torch.rand(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert few_steps.alike(a, a) == pytest.approx(1) and few_steps.alike(a, -3 * a + 1) == pytest.approx(-1)
    wanted = torch.stack([torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1] for x, y in zip(a, b)]).mean()
    assert few_steps.alike(a, b) == pytest.approx(wanted.item(), abs=1e-5)


def test_the_same_start_gives_the_same_picture_at_eta_0(model):
    rows = few_steps.same_picture(model, steps=(5, 20), against=40, n=20)
    assert [row["steps"] for row in rows] == [5, 20]
    for row in rows:
        same, staggered, label = (value for name, value in row.items() if name != "steps")
        assert same > staggered and same > label
    assert rows[1]["same x_T, eta 0"] > 0.98


def test_solvers_say_how_often_they_ask(model):
    asked, schedule = [], model.schedule
    walk, options, steps = few_steps.SOLVERS["Heun, 10 steps"]
    list(walk(lambda x, t: asked.append(1) or x, torch.zeros(1, 2), times(steps), schedule, **options))
    rows = {row["method"]: row for row in few_steps.solvers(model, n=20)}
    assert list(rows) == list(few_steps.SOLVERS)
    assert rows["Heun, 10 steps"]["passes"] == len(asked) == 19
    assert rows["DPM-Solver++(2M), 10 steps"]["passes"] == 10


def test_by_steps_averages_over_the_seeds_there_are():
    rows = rows_of({(10, way): 10.0 for way in few_steps.WAYS}) + rows_of(
        {(10, way): 20.0 for way in few_steps.WAYS}, 1
    )
    rows += rows_of({(1000, way): 5.0 for way in few_steps.WAYS})
    first, second = few_steps.by_steps(rows)
    assert first["seeds"] == 2 and first["eta 0"] == "15.0 ± 7" and second["seeds"] == 1 and second["eta 1"] == "5.00"


# The claims.


def paper_like(**changed) -> list[dict]:
    table = {(10, "eta 0"): 13.0, (10, "eta 1"): 41.0, (10, "sigma-hat"): 367.0}
    table |= {(1000, "eta 0"): 4.0, (1000, "eta 1"): 4.7, (1000, "sigma-hat"): 3.2}
    table |= {(steps, way): 20.0 if steps == 10 else 4.5 for steps in (10, 1000) for way in ("eta 0.2", "eta 0.5")}
    return rows_of(table | {tuple(k): v for k, v in changed.get("cells", {}).items()})


def test_the_papers_own_figures_would_hold():
    assert all(claim.holds for claim in [*lesson07.of_eta(paper_like()), *lesson07.of_sigma_hat(paper_like())])


@pytest.mark.parametrize(
    "cells, fails",
    [
        ({(10, "eta 0"): 50.0}, "FD held-out at 10 steps: eta 0"),
        ({(1000, "eta 1"): 50.0}, "shrinks from S = 10 to 1000"),
        ({(10, "eta 0.2"): 400.0}, "worst at 10"),
        ({(1000, "eta 0"): 3.0}, "best at 1000"),
    ],
)
def test_each_claim_can_fail_and_then_has_a_reason(cells, fails):
    rows = paper_like(cells=cells)
    failed = [claim for claim in [*lesson07.of_eta(rows), *lesson07.of_sigma_hat(rows)] if not claim.holds]
    assert any(fails in claim.text and claim.why for claim in failed)


def test_what_takes_1000_steps_is_not_claimed_without_them():
    rows = [row for row in paper_like() if row["steps"] == 10]
    *_, best = lesson07.of_sigma_hat(rows)
    assert best.holds is None and "--full" in best.why


def test_reconstruction_is_claimed_for_every_seed():
    rows = [{"seed": seed, "steps": s, "n": 4, "error": 1 / s} for s in (5, 10, 20) for seed in (0, 1)]
    assert lesson07.of_reconstruction(rows).holds
    rows[-1]["error"] = 1.0
    assert not lesson07.of_reconstruction(rows).holds


def test_claims_are_measured_over_seeds(monkeypatch, model, tmp_path):
    monkeypatch.setattr(lesson07, "trained", lambda name, seed: model)
    monkeypatch.setattr(lesson07, "STEPS", (5, 10))
    monkeypatch.setattr(few_steps, "pictures", lambda steps: 20)
    monkeypatch.setattr(lesson07, "reconstruction", lambda model, steps: few_steps.reconstruction(model, steps, n=5))
    monkeypatch.setattr(lesson07, "same_picture", lambda model: few_steps.same_picture(model, (5,), 9, 10))
    monkeypatch.setattr(lesson07, "solvers", lambda model: few_steps.solvers(model, n=8))
    monkeypatch.setattr(stored, "TABLES", tmp_path)
    claims = lesson07.claims([0, 1], full=True)
    assert len(claims) == 12 and all(claim.lesson == "07" and claim.text for claim in claims)
    assert len(stored.read("07_steps")) == 2 * 2 * 5
    assert len(stored.read("07_reconstruction")) == 2 * 2


def test_the_shipped_tables_have_whole_rows_and_their_command():
    rows = stored.read("07_steps")
    for steps in lesson07.STEPS[:3]:
        assert {row["seed"] for row in rows if row["steps"] == steps} == {0, 1, 2}
    for steps, seed in {(row["steps"], row["seed"]) for row in rows}:
        here = [row for row in rows if (row["steps"], row["seed"]) == (steps, seed)]
        assert [row["noise"] for row in here] == list(few_steps.WAYS)
        assert {row["n"] for row in here} == {few_steps.pictures(steps)}
    for table in ("07_steps.csv", "07_reconstruction.csv"):
        text = (stored.TABLES / table).read_text("utf-8")
        assert text.startswith("# python -m minidiff scorecard 07 --full\n") and "nan" not in text


# The widgets.


def test_steps_and_noise_shows_what_was_drawn_from_one_noise(model):
    explorer = widgets.steps_and_noise(model, n=4)
    assert explorer.values == {"steps": 10, "noise": "eta 0"}
    first = shown(explorer)
    assert torch.allclose(first, few_steps.drawn(model, 10, 4), atol=1e-5)
    explorer.set(steps=40)
    assert few_steps.alike(first, shown(explorer)) > 0.95
    explorer.set(noise="sigma-hat", steps=5)
    assert few_steps.alike(first, shown(explorer)) < 0.9
    assert explorer.picture.alt == "digits 0 to 3 from the same noise, sigma-hat, after 5 steps"


def test_the_walk_shows_the_estimate_below_x_t(model):
    explorer = widgets.trajectory(model, steps=6, n=2)
    explorer.set(step=0)
    x, x0 = shown(explorer).split(2)
    assert torch.equal(x, model.schedule.prior((2, 1, 16, 16), torch.Generator().manual_seed(0)))
    assert torch.allclose(x0, MEANS[3:5].clamp(-1, 1), atol=1e-3)  # of pure noise: the label's average
    explorer.set(step=6)
    x, x0 = shown(explorer).split(2)
    assert torch.equal(x, x0) and "t = 0.00" in explorer.picture.alt


def test_between_two_noises_the_ends_are_theirs_and_the_arc_differs_from_the_line(model):
    explorer = widgets.between(model, steps=4)
    for share, same in ((0.0, 0), (1.0, 3)):
        explorer.set(share=share)
        pictures = shown(explorer)
        for k in (1, 2):
            assert torch.allclose(pictures[k], pictures[same], atol=1e-4)
    explorer.set(share=0.5)
    a, arc, line, b = shown(explorer)
    mean = MEANS[explorer.values["label"]]
    assert (arc - mean).norm() > 1.1 * (line - mean).norm()  # the line is nearer to the average digit


def test_the_arc_keeps_the_length_of_noise():
    a, b = torch.randn(2, 8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert slerp(a, b, 0.5).std() == pytest.approx(1, abs=0.03) and ((a + b) / 2).std() < 0.75


def test_few_steps_of_the_shipped_model_draw_digits(shipped):
    real = evaluate.floors(*real_digits(n=100))["fresh real pictures"].fd_held_out
    few = few_steps.drawn(shipped, 10, 100)
    assert few_steps.figures(few).fd_held_out < 3 * real
    assert few_steps.same_picture(shipped, steps=(20,), against=50, n=20)[0]["same x_T, eta 0"] > 0.9
