"""Lesson 16 in a real JupyterLab: points walk by Langevin dynamics, and the ladder of noise is played down."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("16_score.ipynb")


def test_no_point_leaves_its_cloud(lesson):
    walker = lesson.explorer("langevin")
    first = walker.picture()
    walker.alt(re.compile(r"^start everywhere, 100 steps of size 0\.1: \d+% of the points"))
    walker.choose("start", "upper right")
    walker.alt("start upper right, 100 steps of size 0.1: 0% of the points are in the lower left cloud")
    moved = walker.changed(first)
    walker.press("steps", "ArrowLeft", 2)
    walker.alt("start upper right, 0 steps of size 0.1: 0% of the points are in the lower left cloud")
    walker.changed(moved)
    walker.button("Reset")
    walker.shows(first)


def test_the_ladder_goes_down_and_back(lesson):
    ladder = lesson.explorer("ladder")
    first = ladder.picture()
    ladder.alt(re.compile(r"^level 0, sigma 20\.00: \d+% in the lower left$"))
    ladder.press("level", "ArrowRight", 9)
    ladder.alt(re.compile(r"^level 9, sigma 0\.10: (1[5-9]|2[0-6])% in the lower left$"))
    ladder.changed(first)
    ladder.button("Reset")
    ladder.shows(first)
