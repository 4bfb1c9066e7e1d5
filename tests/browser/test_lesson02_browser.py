"""Lesson 02 in a real JupyterLab: the plane, the temperature and beta answer, and come back."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("02_vae.ipynb")


def test_pad_decodes_under_the_finger_and_comes_back(lesson):
    plane = lesson.explorer("plane")
    first = plane.picture()
    plane.drag("code", (0.5, 0.5), (0.25, 0.5))
    plane.alt(re.compile(r"^decoded from the code \(-2\.\d, -0\.\d\); the nearest encoded digit is a 1$"))
    left = plane.changed(first)
    plane.press("code", "ArrowUp", 2)
    moved = plane.changed(left)
    plane.press("code", "ArrowDown", 2)
    plane.shows(left)
    plane.button("Reset")
    plane.shows(first)
    assert len({first, left, moved}) == 3


def test_temperature_changes_the_pictures_and_back(lesson):
    temperature = lesson.explorer("temperature")
    first = temperature.picture()
    temperature.press("temperature", "ArrowRight", 3)
    temperature.alt("24 pictures decoded from random codes at temperature 1.3")
    temperature.changed(first)
    temperature.press("temperature", "ArrowLeft", 3)
    temperature.shows(first)


def test_beta_changes_the_pictures_and_back(lesson):
    beta = lesson.explorer("beta")
    first = beta.picture()
    beta.press("beta", "ArrowRight")
    beta.alt(re.compile("^held-out digits above, rebuilt at beta 4"))
    beta.changed(first)
    beta.button("Reset")
    beta.shows(first)


def test_time_from_a_move_to_the_picture(lesson):
    plane, around = lesson.explorer("plane"), {"Right": 10, "Up": 8, "Left": 20, "Down": 12}
    plane.picture()
    times = plane.answer_times("code", [f"Arrow{way}" for way, steps in around.items() for _ in range(steps)])
    print(f"lesson 02, the plane of codes: p50 {times[24]:.0f} ms, p95 {times[47]:.0f} ms of {len(times)} moves")
    assert len(times) == 50
