"""Lesson 15's widgets and measurements."""

import pytest
import torch

from minidiff import checkpoints, data, seeded
from minidiff.data import mascots, mascots_emoji
from minidiff.latent import text_to_image
from minidiff.lessons.lesson15 import claims as lesson15
from minidiff.lessons.lesson15 import emoji, sketching, widgets
from minidiff.personalize import fresh, prior_preservation
from minidiff.scorecard import stored


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("ldm-shapes")


def loud(model, word):
    """A LoRA that changes every picture, as if badly trained."""
    adapter = fresh(model, word, "lora", layers="all", rank=2)
    generator = seeded(1)
    adapter.weights = {n: w + 0.3 * torch.randn(w.shape, generator=generator) for n, w in adapter.weights.items()}
    return adapter


def test_the_strength_changes_the_picture_and_comes_back(model):
    shown = widgets.strengths(model, loud(model, "zib"), "a photo of a zib", n=2)
    first = shown.picture.src
    assert shown.picture.alt == "2 pictures of “a photo of a zib” with the adapter at strength 1"
    shown.set(strength=0.0, prompt="a large red circle")
    plain = shown.picture.src
    shown.set(strength=2.0)
    assert len({first, plain, shown.picture.src}) == 3
    shown.reset()
    assert shown.picture.src == first and model.unknown_words("zib") == ["zib"]


def test_two_adapters_are_mixed_each_at_its_strength(model):
    mix = widgets.mix(model, loud(model, "zib"), loud(model, "wug"))
    first = mix.picture.src
    mix.set(first=0.0)
    assert "first adapter at strength 0 and the second at 1" in mix.picture.alt and mix.picture.src != first


def test_what_is_drawn_is_counted(model, monkeypatch):
    hens = torch.stack([mascots.mascot("hen", ground, place) for place, ground in lesson15.ALONE])
    monkeypatch.setattr(lesson15, "text_to_image", lambda model, prompts, **options: hens)
    assert lesson15.alone(model, "hen") == {"fidelity": 1, "nearly": 1, "obedience": 1}
    assert lesson15.alone(model, "rocket")["fidelity"] == 0
    monkeypatch.setattr(lesson15, "text_to_image", lambda model, prompts, **options: hens[[0] * 12])
    assert lesson15.beside(model, "hen") == {"thing beside": 0, "figure beside": 0}


def test_the_untouched_model_draws_its_figures(model):
    before = text_to_image(model, lesson15.held_out(8), generator=seeded(1))
    row = lesson15.others(model, before)
    assert row["change"] == 0 and row["others right"] > 0.9


def test_the_table_has_every_way_seed_and_thing():
    rows = stored.read("15_four")
    each = [(way, seed, thing) for way in lesson15.WAYS for seed in range(3) for thing in mascots.NAMES]
    assert [(row["way"], row["seed"], row["thing"]) for row in rows] == each
    assert stored.command("15_four") == lesson15.COMMAND


def test_the_table_is_made_as_it_is_stored(monkeypatch):
    measures = {"alone": ("fidelity", "nearly", "obedience"), "beside": ("thing beside", "figure beside")}
    for name, keys in (measures | {"others": ("others right", "change")}).items():
        monkeypatch.setattr(lesson15, name, lambda *told, keys=keys: dict.fromkeys(keys, 0.5))
    monkeypatch.setattr(lesson15, "held_out", lambda: ["a red circle"])
    rows = lesson15.table([0], ["textual inversion"], steps=1)
    assert [row.keys() for row in rows] == [row.keys() for row in stored.read("15_four")[:3]]
    assert rows[0]["weights"] == 64 and rows[0]["kB"] < 1


def test_the_claims_are_told_and_can_fail(monkeypatch):
    claims = lesson15.claims([0], full=False)
    assert [claim.holds for claim in claims[:8]] == [True, True, False, False, True, True, True, True]
    assert all(claim.holds or claim.why for claim in claims)
    good = lesson15.means("DreamBooth")
    assert not lesson15._of_forgetting({way: good for way in lesson15.WAYS}).holds
    monkeypatch.setattr(lesson15, "merging_gap", lambda *told: 0.1)
    assert not lesson15._of_merging().holds


def test_the_solution_is_the_packages_prior():
    from minidiff.lessons.lesson15.solutions import prior_loss

    losses = torch.rand(7)
    torch.testing.assert_close(prior_loss(losses, 3, 0.5), prior_preservation(losses, 3, 0.5))


# Control


@pytest.fixture(scope="module")
def control():
    return checkpoints.load("control-shapes")


def test_a_sketch_is_drawn_followed_and_taken_back(model, control):
    pad = widgets.pad(model, control, "a red circle on a white background", widgets.OUTLINES["circle"])
    first = pad.picture.src
    pixels = int(widgets.OUTLINES["circle"].sum())
    told = f"a sketch of {pixels} of 1024 pixels, “a red circle on a white background” drawn twice"
    assert pad.picture.alt.startswith(told)
    pad.set(sketch=widgets.OUTLINES["square"][0] > 0)
    second = pad.picture.src
    pad.set(strength=0.0)
    assert len({first, second, pad.picture.src}) == 3
    pad.reset()
    assert pad.picture.src == first


def test_what_is_asked_for_is_where_it_should_be():
    said, brief, corner = (sketching.asked(where, 8) for where in sketching.WHERE)
    assert data.shapes.marks(said.prompts, said.images).attributes == 1
    assert data.shapes.marks(brief.prompts, brief.images).attributes == 1
    assert not any("left" in prompt or "large" in prompt for prompt in brief.prompts)
    masks = sketching.figure_masks(corner.images).float()
    y, x = ((masks.mean((0, 1)).sum(axis) > 0).nonzero() for axis in (1, 0))
    assert y.min() < 8 and y.max() > 24 and x.min() < 8 and x.max() > 24  # all four corners


def test_the_control_follows_the_sketch_and_the_model_alone_does_not(model, control):
    wanted = sketching.asked("not said", 16)
    without, follows = (sketching.measured(model, control, wanted, strength, 0, steps=8) for strength in (0, 1))
    assert follows["agreement"] > 0.6 > 0.4 > without["agreement"]
    assert follows["attributes right"] > 0.8


def test_the_tables_of_control_are_whole():
    rows = stored.read("15_control")
    told = [(row["place"], row["strength"]) for row in rows]
    assert set(told) == {(where, strength) for where in sketching.WHERE for strength in (0, 1)} and len(told) == 18
    assert stored.command("15_control") == stored.command("15_snap") == sketching.COMMAND
    assert [row["steps"] for row in stored.read("15_snap")][:3] == [0, 25, 50]


def test_the_claims_of_control_can_fail(monkeypatch):
    claims = sketching.claims([0], full=False)
    assert all(claim.holds or claim.why for claim in claims)
    monkeypatch.setattr(sketching, "means", lambda where, strength: {"agreement": 0.3, "attributes right": -strength})
    even = [{"steps": 25 * i, "agreement": i / 12} for i in range(13)]
    monkeypatch.setattr(sketching.stored, "read", lambda name: even)
    assert not any(claim.holds for claim in sketching.claims([0], full=False))


# Emoji


def test_what_is_drawn_of_people_is_counted(model, monkeypatch):
    right = torch.stack([mascots_emoji.mascot("red mage", tone) for tone in mascots_emoji.ASKED for _ in range(5)])
    monkeypatch.setattr(emoji, "text_to_image", lambda model, prompts, **options: right)
    assert emoji.measured(model, "red mage") == {"fidelity": 1, "tone": 1, "new tones": 1, "error": 0}
    other = emoji.measured(model, "brown officer")
    assert (other["fidelity"], other["tone"], other["new tones"]) == (0, 1, 0) and other["error"] > 0.1
    monkeypatch.setattr(emoji, "text_to_image", lambda model, prompts, **options: right[:5].repeat(6, 1, 1, 1))
    yellow = emoji.measured(model, "red mage")
    assert yellow["fidelity"] == 1 and yellow["new tones"] == 0 and yellow["tone"] == pytest.approx(1 / 6)


def test_names_are_of_the_training_and_never_both_shown_and_asked():
    prior, others = emoji.prior(), emoji.others()
    assert len(prior) == 64 and len(others) == 60 and not set(prior) & set(others)
    assert not set(prior + others) & data.emoji.held_out()


def test_the_table_of_emoji_is_whole():
    rows = stored.read("15_emoji")
    told = [(row["model"], row["way"], row.get("seed"), row.get("thing")) for row in rows]
    expected = []
    for name, seeds in emoji.MODELS.items():
        expected.append((name, "untouched", None, None))
        expected += [(name, way, s, thing) for way in emoji.WAYS for s in range(seeds) for thing in mascots_emoji.NAMES]
    assert told == expected and stored.command("15_emoji") == emoji.COMMAND
    for name, sheet in emoji.kept().items():
        assert sheet.shape == (1 + len(emoji.WAYS), 9, 3, 32, 32)
        assert mascots_emoji.seen(sheet[4][:1])[0][0] == emoji.DRAWN[0], name


def test_the_table_of_emoji_is_made_as_it_is_stored(monkeypatch, tmp_path):
    numbers = {"fidelity": 0.5, "tone": 0.5, "new tones": 0.5, "error": 0.5}
    monkeypatch.setattr(emoji, "measured", lambda *told: numbers)
    monkeypatch.setattr(emoji, "others_right", lambda model: 0.5)
    monkeypatch.setattr(emoji, "drawn", lambda model: torch.zeros(9, 3, 32, 32))
    rows, sheets = emoji.table({"ldm-emoji": [0]}, ["textual inversion"], steps=1)
    known = stored.read("15_emoji")
    assert [set(row) for row in rows] == [set(known[0])] + [set(known[1])] * 3
    assert rows[1]["weights"] == 64 and sheets["ldm-emoji"].shape == (2, 9, 3, 32, 32)
    monkeypatch.setattr(emoji, "SHEET", tmp_path / "sheet.png")
    sheets["ldm-emoji"][1, 2] += 0.5
    sheets["sd-emoji"] = sheets["ldm-emoji"] - 0.5
    emoji.keep(sheets)
    assert all((again - sheets[name]).abs().max() < 0.02 for name, again in emoji.kept().items())


def test_the_claims_of_emoji_can_fail(monkeypatch):
    assert all(claim.holds or claim.why for claim in emoji.claims([0], full=False))
    shares = {"fidelity": 0.0, "new tones": 0.0, "others right": 1.0}
    monkeypatch.setattr(emoji, "found", lambda model, way: shares)
    assert [claim.holds for claim in emoji.claims([0], full=False)] == [False, False, True, True]
    ways = {"untouched": 1.0, "DreamBooth": 0.9, "LoRA": 0.5, "LoRA, every layer": 0.7, "textual inversion": 0.5}
    monkeypatch.setattr(emoji, "found", lambda model, way: dict.fromkeys(shares, ways[way]))
    assert [claim.holds for claim in emoji.claims([0], full=False)] == [True, False, False, False]
