"""Lesson 12 in a real JupyterLab: every dial of the console answers, a drawing is made over, and all comes back."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("12_stable_diffusion.ipynb")


def test_the_console_answers_and_comes_back(lesson):
    console = lesson.explorer("console")
    first = console.picture()
    console.write("prompt", "owl")
    console.alt(re.compile("^4 emoji of “owl”"))
    owl = console.changed(first)
    console.choose("sampler", "DDIM")
    console.alt(re.compile("steps of DDIM, trailing times$"))
    console.changed(owl)
    console.button("Reset")
    console.shows(first)


def test_a_drawing_is_made_over_and_comes_back(lesson):
    over = lesson.explorer("over")
    first = over.picture()
    over.press("strength", "ArrowRight", 2)
    over.alt(re.compile("with strength 0.8$"))
    over.changed(first)
    over.button("Reset")
    over.shows(first)


def test_the_times_are_spaced_in_two_ways(lesson):
    visited = lesson.explorer("visited")
    first = visited.picture()
    visited.choose("times", "leading")
    visited.alt("the share of noise over time, and on it the 10 leading times and where they end")
    visited.changed(first)
    visited.button("Reset")
    visited.shows(first)
