"""Lesson 01 in a real JupyterLab: the plane of codes answers to the finger and the keys, the sliders to theirs."""

import re

import pytest


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("01_autoencoder.ipynb")


def test_pad_decodes_under_the_finger_and_comes_back(lesson):
    latent = lesson.explorer("latent")
    first = latent.picture()
    latent.drag("code", (0.5, 0.5), (0.15, 0.55))  # into the rays of fours, on the left
    latent.alt(re.compile(r"^decoded from the code \(-1\d\.\d, -?\d\.\d\); the nearest encoded digit is a 4$"))
    four = latent.changed(first)
    latent.press("code", "ArrowRight", 2)
    moved = latent.changed(four)
    latent.press("code", "ArrowLeft", 2)
    latent.shows(four)
    latent.button("Reset")
    latent.shows(first)
    assert len({first, four, moved}) == 3


def test_code_size_changes_the_picture_and_back(lesson):
    sizes = lesson.explorer("sizes")
    sizes.alt("held-out digit 0, rebuilt from 8 numbers by the autoencoder, and by PCA")
    eight = sizes.picture()
    sizes.press("numbers", "ArrowRight")
    sizes.alt(re.compile("rebuilt from 16 numbers"))
    sizes.changed(eight)
    sizes.press("numbers", "ArrowLeft")
    sizes.shows(eight)
    sizes.press("digit", "ArrowRight", 3)
    sizes.alt(re.compile("^held-out digit 3,"))
    sizes.changed(eight)
    sizes.button("Reset")
    sizes.shows(eight)


def test_noise_and_dropped_numbers_change_the_picture_and_back(lesson):
    disturbed = lesson.explorer("disturbed")
    clean = disturbed.picture()
    disturbed.press("noise", "ArrowRight", 2)
    disturbed.alt("0 numbers of each code dropped, noise of 0.2 spreads added to the others")
    noisy = disturbed.changed(clean)
    disturbed.press("dropped", "ArrowRight")
    disturbed.alt(re.compile("^1 numbers"))
    disturbed.changed(noisy)
    disturbed.press("dropped", "ArrowLeft")
    disturbed.shows(noisy)
    disturbed.press("noise", "ArrowLeft", 2)
    disturbed.shows(clean)


def test_time_from_a_move_to_the_picture(lesson):
    latent, keys = lesson.explorer("latent"), ["ArrowRight", "ArrowUp", "ArrowLeft", "ArrowUp", "ArrowRight"]
    latent.picture()
    times = latent.answer_times("code", keys * 4 + ["ArrowDown"] * 2 + ["ArrowLeft"] * 8 + keys * 4)
    print(f"lesson 01, the plane of codes: p50 {times[24]:.0f} ms, p95 {times[47]:.0f} ms of {len(times)} moves")
    assert len(times) == 50
