"""Lesson 13 in a real JupyterLab: a drawing grows from words, its small picture is spoiled, and all comes back."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("13_cascade.ipynb")


def test_a_drawing_grows_and_comes_back(lesson):
    growth = lesson.explorer("growth")
    first = growth.picture()
    growth.write("prompt", "owl")
    growth.alt(re.compile("^“owl” at each size, scale 2, level 0.05, noise 0"))
    owl = growth.changed(first)
    growth.press("level", "ArrowRight", 1)
    growth.alt(re.compile("level 0.1, noise 0$"))
    growth.changed(owl)
    growth.button("Reset")
    growth.shows(first)


def test_a_small_picture_is_spoiled_and_comes_back(lesson):
    spoiled = lesson.explorer("spoiled")
    first = spoiled.picture()
    spoiled.press("level", "ArrowRight", 2)
    spoiled.alt(re.compile("with noise of level 0.2, and three enlarged drawings of it$"))
    spoiled.changed(first)
    spoiled.button("Reset")
    spoiled.shows(first)
