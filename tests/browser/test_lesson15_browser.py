"""Lesson 15 in a real JupyterLab: a LoRA at any strength, two of them mixed, and a sketch that is followed."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("15_personalize.ipynb")


def test_a_lora_is_made_weaker_and_comes_back(lesson):
    strength = lesson.explorer("strength")
    first = strength.picture()
    strength.alt("4 pictures of “a photo of a zib in the middle of a white background” with the adapter at strength 1")
    strength.press("strength", "ArrowLeft", 4)
    strength.alt("4 pictures of “a photo of a zib in the middle of a white background” with the adapter at strength 0")
    strength.changed(first)
    strength.button("Reset")
    strength.shows(first)


def test_two_loras_are_mixed(lesson):
    mix = lesson.explorer("mix")
    first = mix.picture()
    mix.press("first", "ArrowLeft", 4)
    mix.alt(
        "three pictures each of zib, wug and a red circle, with the first adapter at strength 0 and the second at 1"
    )
    mix.changed(first)
    mix.button("Reset")
    mix.shows(first)


def test_a_sketch_is_drawn_and_followed(lesson):
    pad = lesson.explorer("pad")
    first = pad.picture()
    pad.button("Clear")
    pad.alt(re.compile("a sketch of 0 of 1024 pixels, “.*” drawn twice without it, and twice with it at strength 1"))
    empty = pad.changed(first)
    pad.drag("sketch", (0.2, 0.2), (0.2, 0.8))
    pad.alt(re.compile("a sketch of [1-9][0-9]+ of 1024 pixels"))
    pad.changed(empty)
    pad.button("Reset")
    pad.shows(first)
