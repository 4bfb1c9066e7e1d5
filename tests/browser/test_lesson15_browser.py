"""Lesson 15 in a real JupyterLab: a LoRA at any strength, and two of them mixed."""

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
