"""Lesson 09's widgets and measurements, on the shipped model."""

import pytest
import torch

from minidiff import checkpoints, data, seeded
from minidiff.data.shapes import scene as scenes
from minidiff.latent import image_to_image, inpaint, text_to_image
from minidiff.lessons.lesson09 import claims as lesson09
from minidiff.lessons.lesson09 import widgets


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("ldm-shapes")


@pytest.fixture(scope="module")
def images():
    return data.shapes("test", 8)[0]


def shown(explorer) -> torch.Tensor:
    return explorer.draw(**explorer.values)


def test_a_prompt_built_from_parts_is_understood_as_it_was_meant():
    for k, (colour, shape) in enumerate(scenes.PAIRS):
        size, place = ("any", "large", "small")[k % 3], ("any", *scenes.PLACES)[k % 6]
        background = [name for name in ("any", *scenes.BACKGROUNDS) if name != colour][k % 8]
        thing = scenes.Thing(shape, colour, *(None if part == "any" else part for part in (size, place)))
        wanted = scenes.Scene((thing,), None if background == "any" else background)
        assert data.shapes.asked(widgets.sentence(size, colour, shape, place, background)) == wanted


def test_sentences_are_captions_of_the_data():
    same = 0
    for caption in data.shapes("test", 300, 1, 1)[1]:
        [thing], background = (scene := data.shapes.asked(caption)).things, scene.background
        parts = (thing.size, thing.colour, thing.shape, thing.place, background)
        same += widgets.sentence(*(part or "any" for part in parts)) == caption
    assert same > 20  # there are many wordings; this is one of them


def test_the_builder_draws_its_prompt(model, monkeypatch):
    asked = []
    monkeypatch.setattr(widgets, "marked", lambda model, prompt, images: asked.append((prompt, images)) or images)
    explorer = widgets.builder(model, n=2)
    explorer.set(colour="green", shape="square", background="any", place="left", steps=5, scale=2.0)
    prompt = "a large green square on the left"
    assert explorer.picture.alt == f"2 pictures of “{prompt}”, scale 2, 5 steps"
    got, images = asked[-1]
    assert got == prompt
    assert torch.equal(images, text_to_image(model, [prompt] * 2, steps=5, scale=2.0, generator=seeded(0)))


def test_free_text_reads_both_lines(model, monkeypatch):
    monkeypatch.setattr(widgets, "marked", lambda model, prompt, images: images)
    explorer = widgets.free_text(model, "a red circle", n=2)
    first = shown(explorer)
    explorer.set(negative="a red circle on a white background")
    assert not torch.equal(shown(explorer), first)
    explorer.set(prompt="", negative="")
    nothing = shown(explorer)
    assert torch.equal(nothing, text_to_image(model, ["", ""], steps=10, generator=seeded(1)))
    assert explorer.picture.alt == "2 pictures of “”, away from “”, scale 2, 10 steps"


def test_free_text_says_what_is_too_long(model):
    explorer = widgets.free_text(model, "a red circle", n=1)
    with pytest.raises(ValueError, match="at most 24"):
        explorer.set(prompt="a red circle " * 12)
    assert "at most 24" in explorer.picture.error and not explorer.picture.src
    explorer.set(prompt="a blue circle")
    assert not explorer.picture.error and explorer.picture.src


def test_a_picture_is_made_over_from_nearly_itself_to_something_else(model, images):
    explorer = widgets.make_over(model, images, "a large green square", n=2)
    explorer.set(strength=0.0, picture=3)
    page = shown(explorer)
    assert torch.equal(page[0], images[3]) and (page[1] - images[3]).abs().mean() < 0.1
    pair = images[3:4].expand(2, -1, -1, -1)
    for strength, steps in {0.02: 500, 0.2: 50, 1.0: 10}.items():  # ten of them are walked
        explorer.set(strength=strength)
        wanted = image_to_image(model, pair, "a large green square", strength, steps=steps, generator=seeded(2))
        assert torch.allclose(shown(explorer)[1:], wanted, atol=1e-5)
    assert (
        explorer.picture.alt == "top left picture 3, then 2 times made over as “a large green square” with strength 1.0"
    )


def test_only_what_is_painted_changes(model, images):
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[:, 16:] = True
    explorer = widgets.repaint(model, images[0], "a red circle", mask, n=2)
    page = shown(explorer)
    assert torch.equal(page[..., :16], images[:1].expand(2, -1, -1, -1)[..., :16])
    assert (page[..., 16:] - images[:1, ..., 16:]).abs().mean() > 0.05
    assert torch.equal(
        page, inpaint(model, images[:1].expand(2, -1, -1, -1), mask, "a red circle", steps=10, generator=seeded(3))
    )
    assert explorer.picture.alt == "2 times “a red circle” painted into 512 of 1024 pixels"
    explorer.set(mask=~mask)
    assert torch.equal(shown(explorer)[..., 16:], images[:1].expand(2, -1, -1, -1)[..., 16:])
    explorer.reset()
    assert torch.equal(shown(explorer), page)


def test_the_words_of_a_prompt_have_a_map_each(model):
    explorer = widgets.by_word(model, "a large red circle")

    def titles() -> list[str]:
        return [text.get_text() for text in shown(explorer).axes[0].texts]

    first = titles()
    assert [title.split()[0] for title in first] == ["picture", "a", "large", "red", "circle"]
    assert all(0 < int(title.split()[1].removesuffix("%")) <= 100 for title in first[1:])
    explorer.set(prompt="")
    assert [title.split()[0] for title in titles()] == ["picture", "start"]


def test_words_that_are_not_known_are_named_above_the_pictures(model):
    assert widgets.heading(model, "a red circle.") == "a red circle."
    assert widgets.heading(model, "a zebra").splitlines() == ["a zebra", "(not known, left out: zebra)"]
    assert widgets.heading(model, "") == "(no prompt)"


def test_an_emoji_is_drawn_by_its_name(monkeypatch):
    emoji = checkpoints.load("ldm-emoji")
    explorer = widgets.emoji_by_name(emoji, "red heart", n=2)
    titles = [text.get_text() for text in shown(explorer).axes[0].texts]
    assert titles == ["red heart"] * 2
    explorer.set(prompt="cat with tears of joy", steps=10)
    assert explorer.picture.alt == "2 emoji of “cat with tears of joy”, scale 2, 10 steps"


def test_a_picture_is_said_in_words(images):
    assert widgets.said(None) == "unreadable"
    one, two = scenes.Thing("circle", "red", "large", "left"), scenes.Thing("cross", "blue", "small", "right")
    assert widgets.said(scenes.Scene((one,), "white")) == "large red circle, left, on white"
    assert widgets.said(scenes.Scene((one, two), "black")).count(" and ") == 1


# What is measured.


def test_figures_mark_what_was_drawn(model, monkeypatch):
    drawn = []

    def fake(model, prompts, **options):
        drawn.append(options)
        return data.shapes("test", len(prompts), 1, 2)[0]

    monkeypatch.setattr(lesson09, "text_to_image", fake)
    row = lesson09.figures(model, "test", 2, 20, steps=7, scale=1.0)
    assert row["attributes"] > 0.98 and row["pairs"] > 0.98  # the pictures that the captions were made for
    assert drawn[0]["steps"] == 7 and drawn[0]["scale"] == 1.0
    assert lesson09.figures(model, "novel", 1, 20)["pairs"] < 0.2  # two figures where one was asked for


def test_the_text_counts_with_guidance_and_not_without(model):
    heard, deaf = (lesson09.figures(model, n=60, steps=10, scale=scale)["attributes"] for scale in (2.0, 0.0))
    assert heard > 0.85 and deaf < 0.5


def test_claims_follow_the_figures():
    good, bad = ([{"attributes": share, "pairs": share}] for share in (0.99, 0.3))
    assert lesson09._of_seen(good, bad).holds and not lesson09._of_seen(good, good).holds
    assert lesson09._of_novel(good).holds and not lesson09._of_novel(bad).holds
    assert lesson09._of_two(good, bad).holds and not lesson09._of_two(bad, good).holds
    assert lesson09._of_live(good).holds and lesson09._of_live(bad).why
    [waiting] = lesson09.of_factors([])
    assert waiting.holds is None and "--full" in waiting.why
