"""Lesson 06 in a real JupyterLab: the way from noise, the time and the switch answer, and come back."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("06_ddpm.ipynb")


def test_the_player_walks_from_noise_to_digits_and_back(lesson):
    way = lesson.explorer("trajectory")
    first = way.picture()
    way.press("step", "ArrowRight", 2)
    way.alt(re.compile(r"^step 27 of 50, time 0\.46"))
    way.changed(first)
    way.button("Reset")
    way.shows(first)


def test_the_time_changes_the_estimates_and_back(lesson):
    seeing = lesson.explorer("estimate")
    first = seeing.picture()
    seeing.press("time", "ArrowRight", 3)
    seeing.alt(re.compile(r"noisy at time 0\.56, .*squared error 0\.\d{3}$"))
    seeing.changed(first)
    seeing.press("time", "ArrowLeft", 3)
    seeing.shows(first)


def test_parts_are_switched_off_and_on(lesson):
    parts = lesson.explorer("parts")
    first = parts.picture()
    parts.choose("network", "no skip connections")
    parts.alt(re.compile("no skip connections$"))
    parts.changed(first)
    parts.button("Reset")
    parts.shows(first)
