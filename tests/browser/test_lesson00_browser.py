"""Lesson 00 in a real JupyterLab: the average blurs and comes back, pixels are drawn, temperature changes them."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("00_why_generate.ipynb")


def test_the_average_of_k_digits(lesson):
    blur = lesson.explorer("average")
    first = blur.picture()
    blur.alt("left the average of 1 digit of label 4, right the last of them")
    blur.press("k", "ArrowRight", 5)
    blur.alt("left the average of 6 digits of label 4, right the last of them")
    six = blur.changed(first)
    blur.choose("label", "7")
    blur.changed(six)
    blur.choose("label", "4")
    blur.shows(six)
    blur.press("k", "ArrowLeft", 5)
    blur.shows(first)


def test_pixels_are_drawn_one_after_the_other(lesson):
    player = lesson.explorer("painting")
    first = player.picture()
    player.alt("digits 0 to 9 at temperature 1.0, the first 28 of 64 pixels drawn")
    player.button("Next")
    player.alt("digits 0 to 9 at temperature 1.0, the first 29 of 64 pixels drawn")
    more = player.changed(first)
    player.press("temperature", "ArrowRight", 2)
    player.alt("digits 0 to 9 at temperature 2.0, the first 29 of 64 pixels drawn")
    player.changed(more)
    player.button("Reset")
    player.shows(first)


def test_what_comes_next(lesson):
    guess = lesson.explorer("next")
    first = guess.picture()
    guess.press("pixels", "ArrowRight")
    guess.alt("a 4 up to pixel 29, and the probability of each grey level there")
    guess.changed(first)
    guess.press("pixels", "ArrowLeft")
    guess.shows(first)
