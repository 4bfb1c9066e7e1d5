"""Lesson 03 in a real JupyterLab: layers, square, temperature and the way between digits answer, and come back."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("03_flow.ipynb")


def test_layers_are_undone_and_redone_and_the_square_is_dragged(lesson):
    layers = lesson.explorer("layers")
    first = layers.picture()
    layers.press("undone", "ArrowLeft", 2)
    layers.alt(
        re.compile(r"^22 of 24 couplings undone: at z = \(0\.5, 0\.5\) a tiny square has [\d.e-]+ times its area$")
    )
    before = layers.changed(first)
    layers.drag("place", (0.6, 0.4), (0.25, 0.5))
    layers.alt(re.compile(r"^22 of 24 couplings undone: at z = \(-1\.\d, -?0\.\d\)"))
    moved = layers.changed(before)
    layers.button("Reset")
    layers.shows(first)
    assert len({first, before, moved}) == 3


def test_temperature_changes_the_pictures_and_back(lesson):
    temperature = lesson.explorer("temperature")
    first = temperature.picture()
    temperature.press("temperature", "ArrowLeft", 3)
    temperature.alt("24 digits drawn by the flow at temperature 0.7")
    temperature.changed(first)
    temperature.press("temperature", "ArrowRight", 3)
    temperature.shows(first)


def test_the_way_between_two_digits_and_back(lesson):
    between = lesson.explorer("between")
    first = between.picture()
    between.press("way", "ArrowRight", 4)
    between.alt(
        re.compile(r"^digit \d, number 0, then 70% of the way to digit \d, number 1: mixed in z, then pixel by pixel")
    )
    between.changed(first)
    between.button("Reset")
    between.shows(first)
