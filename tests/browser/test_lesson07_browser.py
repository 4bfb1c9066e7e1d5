"""Lesson 07 in a real JupyterLab: steps and noise, the walk, and the arc answer, and come back."""

import re

import pytest


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("07_ddim.ipynb")


def test_steps_and_noise_change_the_pictures_and_back(lesson):
    steps = lesson.explorer("steps")
    first = steps.picture()
    steps.press("steps", "ArrowLeft", 2)
    steps.alt("digits 0 to 9 from the same noise, eta 0, after 2 steps")
    few = steps.changed(first)
    steps.choose("noise", "sigma-hat")
    steps.alt(re.compile("sigma-hat, after 2 steps$"))
    torn = steps.changed(few)
    steps.button("Reset")
    steps.shows(first)
    assert len({first, few, torn}) == 3


def test_the_walk_plays_by_steps_and_comes_back(lesson):
    walk = lesson.explorer("trajectory")
    first = walk.picture()
    walk.button("Next")
    walk.alt(re.compile(r"^above x_t at t = 0\.63, .*after 11 steps, eta 0$"))
    walk.changed(first)
    walk.button("Back")
    walk.shows(first)


def test_the_arc_between_two_noises_answers_in_time(lesson):
    between = lesson.explorer("between")
    first = between.picture()
    times = between.answer_times("share", ["ArrowRight"] * 10 + ["ArrowLeft"] * 10)
    print(f"lesson 07, between two noises: p50 {times[9]:.0f} ms, p95 {times[18]:.0f} ms of {len(times)} moves")
    between.shows(first)
