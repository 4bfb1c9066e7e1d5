"""Lesson 08 in a real JupyterLab: the scale, two labels and the interval answer, and come back."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("08_guidance.ipynb")


def test_scale_and_label_change_the_pictures_and_back(lesson):
    dial = lesson.explorer("scale")
    first = dial.picture()
    dial.press("scale", "ArrowRight", 2)
    dial.alt("8 digits of label 8 from the same noise at guidance scale 2.0")
    stronger = dial.changed(first)
    dial.choose("label", "3")
    dial.alt("8 digits of label 3 from the same noise at guidance scale 2.0")
    dial.changed(stronger)
    dial.button("Reset")
    dial.shows(first)


def test_the_share_of_two_labels_changes_the_pictures_and_back(lesson):
    mix = lesson.explorer("mix")
    first = mix.picture()
    mix.press("share", "ArrowRight", 3)
    mix.alt("6 pictures between the labels 3 and 8, 0.8 of the way")
    mix.changed(first)
    mix.press("share", "ArrowLeft", 3)
    mix.shows(first)


def test_the_interval_changes_the_pictures_and_back(lesson):
    window = lesson.explorer("interval")
    first = window.picture()
    window.press("high", "ArrowLeft", 4)
    window.alt("digits 0 to 9, guided with scale 6 at times between 0.0 and 0.5")
    window.changed(first)
    window.button("Reset")
    window.shows(first)
