"""Lesson 14 in a real JupyterLab: a picture is written token by token, and one picture becomes another."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("14_dalle_unclip.ipynb")


def test_a_picture_is_written_and_cooled(lesson):
    writer = lesson.explorer("written")
    whole = writer.picture()
    writer.press("count", "ArrowLeft", 4)
    half = writer.changed(whole)
    writer.press("temperature", "ArrowLeft", 1)
    writer.changed(half)
    writer.button("Reset")
    writer.shows(whole)


def test_one_picture_becomes_another(lesson):
    middles = lesson.explorer("middles")
    half = middles.picture()
    middles.alt("0.5 of the way from red heart to cat face")
    middles.press("share", "ArrowLeft", 2)
    start = middles.changed(half)
    middles.choose("first", "sun")
    middles.alt("0.0 of the way from sun to cat face")
    middles.changed(start)
    middles.button("Reset")
    middles.shows(half)
