"""Lesson 17 in a real JupyterLab: paths of three flows in few steps, and digits by the number of steps."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("17_flow_matching.ipynb")


def test_a_straight_flow_survives_a_single_step(lesson):
    paths = lesson.explorer("paths")
    first = paths.picture()
    paths.alt(re.compile(r"^independent, 50 steps: the ends are 0\.\d\d from the nearest cloud's middle$"))
    paths.press("steps", "ArrowLeft", 4)
    paths.alt(re.compile(r"^independent, 1 step: the ends are 1\.\d\d "))
    bent = paths.changed(first)
    paths.choose("flow", "reflow")
    paths.alt(re.compile(r"^reflow, 1 step: the ends are 0\.\d\d "))
    paths.changed(bent)
    paths.button("Reset")
    paths.shows(first)


def test_digits_in_few_steps_and_back(lesson):
    few = lesson.explorer("few-steps")
    first = few.picture()
    few.alt("ten digits in 2 steps by each of DDPM, flow matching, two-step student")
    few.press("steps", "ArrowRight", 3)
    few.alt("ten digits in 20 steps by each of DDPM, flow matching, two-step student")
    few.changed(first)
    few.button("Reset")
    few.shows(first)
