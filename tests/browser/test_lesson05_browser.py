"""Lesson 05 in a real JupyterLab: digits under noise, the designed schedule, the guess and the field come and go."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("05_forward_diffusion.ipynb")


def test_time_adds_noise_and_takes_it_back(lesson):
    noise = lesson.explorer("noise")
    first = noise.picture()
    noise.alt("8 digits at t = 0.10, linear: SNR 8.7")
    noise.press("t", "ArrowRight", 5)
    noise.alt(re.compile(r"^8 digits at t = 0\.20, linear: SNR 1\.\d$"))
    later = noise.changed(first)
    noise.choose("schedule", "cosine")
    noise.alt("8 digits at t = 0.20, cosine: SNR 8.9")
    noise.changed(later)
    noise.choose("schedule", "linear")
    noise.press("t", "ArrowLeft", 5)
    noise.shows(first)


def test_few_steps_leave_a_third_of_the_picture(lesson):
    design = lesson.explorer("designer")
    first = design.picture()
    design.alt(re.compile("1000 steps to a last beta of 0.02, bend 1, alpha_bar ends at 4e-05$"))
    design.press("steps", "ArrowLeft", 3)
    design.alt(re.compile("100 steps to a last beta of 0.02, bend 1, alpha_bar ends at 0.36$"))
    few = design.changed(first)
    design.press("bend", "ArrowRight", 2)
    design.changed(few)
    design.button("Reset")
    design.shows(first)


def test_the_guess_follows_the_pad_and_the_time(lesson):
    guess = lesson.explorer("guess")
    first = guess.picture()
    guess.alt(re.compile(r"^from x_t = \(1\.1, 0\.2\) at t = 0\.10 to the best guess"))
    guess.drag("x", (0.5, 0.5), (0.3, 0.3))
    guess.alt(re.compile(r"^from x_t = \(-1\.\d, 0\.\d\) at t = 0\.10 to the best guess"))
    moved = guess.changed(first)
    guess.press("t", "ArrowRight", 5)
    guess.changed(moved)
    guess.press("t", "ArrowLeft", 5)
    guess.shows(moved)
    guess.button("Reset")
    guess.shows(first)


def test_the_field_turns_with_time_and_cloud(lesson):
    score = lesson.explorer("score")
    first = score.picture()
    score.alt("swiss roll at t = 0.06, arrows along its score")
    score.press("t", "ArrowRight", 4)
    score.alt("swiss roll at t = 0.14, arrows along its score")
    later = score.changed(first)
    score.choose("cloud", "ring")
    score.alt("ring at t = 0.14, arrows along its score")
    score.changed(later)
    score.button("Reset")
    score.shows(first)
