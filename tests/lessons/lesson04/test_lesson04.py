"""Lesson 04's widgets and measurements, on the shipped models and on games of a few rounds."""

import asyncio

import numpy as np
import pytest
import torch

from minidiff import checkpoints, data, evaluate, gan
from minidiff.lessons.lesson04 import claims as lesson04
from minidiff.lessons.lesson04 import widgets
from minidiff.lessons.lesson04.match import LOSSES, Match
from minidiff.scorecard import real_digits, stored


@pytest.fixture(scope="module")
def shipped():
    return {name: checkpoints.load(name) for name in ("gan-digits", "cgan-digits", "vae-digits")}


def pixels(match):
    return np.asarray(match.draw())


# ---- The match and the laboratory


def test_a_move_of_one_player_leaves_the_other():
    match = Match(data.ring_mixture())
    weights = [[weight.clone() for weight in player.parameters()] for player in match.players]

    def moved():
        now = [list(player.parameters()) for player in match.players]
        return [any(not torch.equal(a, b) for a, b in zip(*pair)) for pair in zip(weights, now)]

    match.move_discriminator()
    assert moved() == [True, False] and match.moves == [1, 0] and [len(x) for x in match.losses] == [1, 0]
    match.move_generator()
    assert moved() == [True, True] and match.moves == [1, 1]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_match_is_a_function_of_its_settings_and_draws_no_numbers_of_others(loss):
    torch.manual_seed(3)
    alone = torch.rand(2)
    torch.manual_seed(3)
    first, again, other = (Match(data.ring_mixture(), loss, 0.5, seed).play(3) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), alone)
    assert np.array_equal(pixels(first), pixels(again)) and not np.array_equal(pixels(first), pixels(other))
    assert first.losses == again.losses


def test_real_points_and_fakes_differ_in_shape_not_only_in_colour():
    match = Match(data.ring_mixture())
    match.real, match.z, match.gan.generator.forward = torch.zeros(1, 2), torch.ones(1, 2), lambda z: z
    match._field = lambda: np.full((48, 48, 3), 255, np.uint8)
    page = pixels(match)[:380].min(2) < 200  # True where there is ink
    spot = slice(187, 194)
    other = int(190 * (1 - 1 / 2.6)), int(190 * (1 + 1 / 2.6))  # where (1, 1) lies
    dot, cross = page[spot, spot], page[other[0] - 3 : other[0] + 4, other[1] - 3 : other[1] + 4]
    assert dot.sum() > 4 and cross.sum() > 4 and not np.array_equal(dot, cross)
    assert page[190, 186:195].sum() >= 3 > page[other[0], other[1] - 4 : other[1] + 5].sum()  # a cross is thin


def test_the_field_is_orange_where_the_score_is_high():
    match = Match(data.ring_mixture())
    match.gan.discriminator.forward = lambda x: 5 * x[:, 0]
    field = match._field()
    assert field[20, -1, 0] > field[20, -1, 2] and field[20, 0, 2] > field[20, 0, 0]  # red over blue, blue over red
    match.gan.discriminator.forward = lambda x: 5 * x[:, 1]
    assert match._field()[0, 20, 0] > match._field()[-1, 20, 0]  # up is up


def test_a_match_with_short_memory_finds_the_ring():
    match = Match(data.ring_mixture(), momentum=0.5).play(500)
    modes, good = match.covered()
    assert modes == 8 and good > 0.5
    assert match.text() == (
        f"500 moves of the discriminator, 500 of the generator: 8 of 8 modes covered, {good:.0%} of the samples good"
    )


def test_the_laboratory_moves_resets_and_begins_anew_with_other_settings():
    laboratory = widgets.Laboratory()
    first, start = laboratory.picture.src, laboratory.picture.alt
    assert start.startswith("0 moves of the discriminator, 0 of the generator: ")
    play, discriminator, generator, reset = laboratory.buttons
    discriminator.click()
    discriminator.click()
    generator.click()
    assert laboratory.picture.alt.startswith("2 moves of the discriminator, 1 of the generator")
    assert laboratory.picture.src != first
    reset.click()
    assert (laboratory.picture.src, laboratory.picture.alt) == (first, start)
    laboratory.controls["data"].value = "grid of 25"
    assert "of 25 modes" in laboratory.picture.alt and laboratory.picture.src != first
    assert laboratory.match.optimisers[0].param_groups[0]["betas"][0] == 0.5
    laboratory.controls["momentum"].value = 0.9
    assert laboratory.match.optimisers[0].param_groups[0]["betas"] == (0.9, 0.999)
    laboratory.controls["loss"].value = "Wasserstein, penalty"
    assert isinstance(laboratory.match.gan.objective, gan.Wasserstein) and laboratory.match.gan.penalty
    reset.click()
    assert {name: control.value for name, control in laboratory.controls.items()} == {
        "data": "ring of 8",
        "loss": "non-saturating",
        "momentum": 0.5,
    }
    assert laboratory.picture.alt == start


def test_the_laboratory_plays_until_it_is_paused():
    async def watch():
        laboratory = widgets.Laboratory()
        play = laboratory.buttons[0]
        play.click()
        assert laboratory.playing and play.description == "Pause"
        task, frames = laboratory._task, set()
        while len(frames) < 4:
            await asyncio.sleep(0.01)
            frames.add(laboratory.picture.src)
        play.click()
        assert not laboratory.playing and play.description == "Play"
        await asyncio.wait_for(task, 10)
        moves = list(laboratory.match.moves)
        await asyncio.sleep(0.2)
        assert laboratory.match.moves == moves and min(moves) >= 3
        laboratory.reset()
        assert laboratory.match.moves == [0, 0]

    asyncio.run(watch())


def test_an_error_ends_the_play(monkeypatch):
    async def watch():
        laboratory = widgets.Laboratory()
        monkeypatch.setattr(laboratory.match, "play", lambda rounds: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await laboratory.play()
        await asyncio.sleep(0)
        assert not laboratory.playing

    asyncio.run(watch())


def test_the_laboratorys_twin_plays_a_match_of_its_own():
    laboratory = widgets.Laboratory()
    before = laboratory.picture.src
    figure = laboratory.twin((0, 2))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0].startswith("round 0: ") and texts[1].startswith("round 2: ")
    assert laboratory.picture.src == before and laboratory.match.moves == [0, 0]


# ---- The walk and truncation


def test_the_walk_passes_through_its_codes_and_ends_where_it_began(shipped):
    model = shipped["gan-digits"]
    explorer = widgets.walk(model, rows=3)
    codes = torch.randn(15, 16, generator=torch.Generator().manual_seed(0)).unflatten(0, (5, 3))
    for step, code in ((0, codes[0]), (20, codes[1]), (80, codes[4]), (100, codes[0])):
        assert torch.allclose(explorer.draw(step=step), model.generator(code), atol=1e-4)
    assert not torch.allclose(explorer.draw(step=10), explorer.draw(step=0), atol=0.1)


def test_between_turns_and_keeps_the_length():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    half = widgets.between(a, b, 0.5)
    assert torch.allclose(half, torch.tensor([[3.0, 3.0]]) / 2**0.5)
    assert torch.allclose(widgets.between(a, b, 0.0), a) and torch.allclose(widgets.between(a, b, 1.0), b)


def test_truncated_codes_are_normal_numbers_within_the_threshold(shipped):
    model = shipped["gan-digits"]
    z = widgets.truncated(model, 4000, 1.0)
    assert z.abs().max() <= 1 and z.std().item() == pytest.approx(0.5397, abs=0.01)
    assert widgets.truncated(model, 4000, 8.0).std().item() == pytest.approx(1, abs=0.01)
    explorer = widgets.truncation(model, n=4)
    assert torch.allclose(explorer.draw(threshold=0.5), model.generator(widgets.truncated(model, 4, 0.5)))


# ---- Measurements


def test_a_match_of_each_way_is_what_its_name_says():
    for way in lesson04.WAYS:
        model, _, ticks = lesson04.match("ring of 8", way)
        assert isinstance(model.objective, gan.Wasserstein) == (model.penalty == 1) == ("WGAN-GP" in way)
        assert (ticks.settings["betas"] == (0.5, 0.9)) == ("momentum 0.5" in way)
        assert (ticks.settings["lr"] == 0.005) == ("rate 0.005" in way) and (model.turns == 2) == ("2 moves" in way)


def test_modes_are_counted_by_game_and_told_by_way():
    rows = lesson04.count_modes([0, 1], "grid of 25", [lesson04.COVERS])
    assert [row["seed"] for row in rows] == [0, 1] and all(0 <= row["modes"] <= 25 for row in rows)
    [row] = lesson04.by_way(rows)
    assert row["modes covered"] == f"{rows[0]['modes']}, {rows[1]['modes']}" and row["game"] == lesson04.COVERS


def test_covered_knows_the_mixture_and_a_collapsed_model():
    ring = data.ring_mixture()
    model = gan.GAN(width=8)
    model.sample = lambda n, generator=None: ring.sample(n, generator)
    modes, good = lesson04.covered(model, ring)
    assert modes == 8 and good == pytest.approx(0.989, abs=0.005)  # 1 - exp(-9/2): three deviations in the plane
    model.sample = lambda n, generator=None: ring.means[:1].expand(n, -1)
    assert lesson04.covered(model, ring) == (1, 1.0)


def test_steepness_is_the_slope_at_real_points():
    model = gan.GAN(width=8)
    model.discriminator.forward = lambda x: 3 * x[:, 0] + 4 * x[:, 1]
    assert lesson04.steepness(model, data.ring_mixture()) == pytest.approx(5)


def test_the_shipped_gan_beats_the_vae_and_its_labels_are_right(shipped):
    pictures = lesson04.drawn({"GAN": shipped["gan-digits"], "VAE": shipped["vae-digits"]})
    measured = evaluate.compare(pictures, *real_digits())
    assert measured["GAN"].fd_held_out < measured["VAE"].fd_held_out
    assert 0.4 < measured["GAN"].nearest < 0.6
    assert lesson04.right_labels(shipped["cgan-digits"]) > 0.85
    assert lesson04.distance(shipped["gan-digits"]) == pytest.approx(measured["GAN"].fd_held_out, rel=0.3)


def test_truncation_trades_recall(shipped):
    rows = lesson04.truncation(shipped["gan-digits"], (3.0, 0.5), n=297)
    assert [row["threshold"] for row in rows] == ["3", "0.5"] and rows[1]["recall"] < rows[0]["recall"]


def test_prices_tell_the_passes(shipped):
    rows = lesson04.prices({"a": (shipped["gan-digits"], 1), "b": (shipped["cgan-digits"], 1)})
    assert [row["passes a sample"] for row in rows] == [1, 1] and all(0 < row["seconds for 1,000"] < 60 for row in rows)


def test_stored_rows_come_back_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "TABLES", tmp_path / "tables")
    rows = [{"way": "a, b", "n": 3, "x": 0.25, "none": None}, {"way": "≤ 2.10", "n": 4, "more": "8x8"}]
    stored.write("one", "python -m this", rows)
    assert (tmp_path / "tables/one.csv").read_text("utf-8").startswith("# python -m this\nway,n,x,none,more\n")
    assert stored.read("one") == [{"way": "a, b", "n": 3, "x": 0.25}, rows[1]]


def test_each_place_is_judged_by_its_own_games():
    rows = [
        {"data": place, "way": way, "seed": 0, "modes": modes, "good": good}
        for place, modes, good in (("ring of 8", 8, 0.9), ("grid of 25", 20, 0.3))
        for way in (lesson04.COLLAPSES, lesson04.COVERS)
    ]
    texts = [(claim.text.split(",")[0], claim.ours, claim.holds) for claim in lesson04._of_modes(rows)]
    assert [holds for *_, holds in texts] == [False, True, True, False]
    for place, ours, _ in texts:
        assert ("modes 8" in ours) == (place == "ring of 8") and ("modes 20" in ours) == (place == "grid of 25")


def test_the_shipped_table_of_modes_is_what_the_command_makes():
    rows = stored.read("04_modes")
    games = {(row["data"], row["way"], row["seed"]) for row in rows}
    assert games >= {("ring of 8", way, seed) for way in lesson04.WAYS for seed in range(5)}
    assert games >= {("grid of 25", way, seed) for way in (lesson04.COLLAPSES, lesson04.COVERS) for seed in range(5)}
    lost, whole, *_ = lesson04._of_modes(rows)
    assert lost.holds and whole.holds  # collapse, and 8 of 8 in five of five with 80 % good samples


def test_the_shipped_table_of_families_says_what_the_lesson_says_of_it():
    """Pixel by pixel is nearest and dearest; the GAN is the nearest of those with one pass, without a likelihood."""
    rows = {row["model"]: row for row in stored.read("04_families")}
    near = sorted(lesson04.families.NAMES + ("gan-digits",), key=lambda name: rows[name]["FD held-out"])
    assert near[:2] == ["pixels-digits", "gan-digits"] and "bits/dim" not in rows["gan-digits"]
    seconds = {name: rows[name]["1,000 samples (s)"] for name in near}
    assert all(seconds["pixels-digits"] > 100 * seconds[name] for name in near[1:])
    assert all(rows[name]["train (s)"] > 0 for name in near)


def test_claims_are_made_over_seeds_and_fail_for_an_untrained_model(monkeypatch, shipped):
    monkeypatch.setattr(lesson04, "trained", lambda name, seed: shipped[name])
    claims = {claim.text: claim for claim in lesson04.claims([0, 1], full=False)}
    assert [claim.holds for text, claim in claims.items() if "FD held-out" in text or "label" in text] == [True, True]
    torch.manual_seed(0)
    untrained = gan.GAN(code=16, size=16, classes=10, width=8).eval()
    monkeypatch.setattr(lesson04, "trained", lambda name, seed: untrained)
    assert not lesson04._of_labels([0]).holds
