"""Lesson 11 in a real JupyterLab: typed captions are ranked, the matrix and the temperature answer, and come back."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("11_clip.ipynb")


def test_typed_captions_are_ranked_and_come_back(lesson):
    ranking = lesson.explorer("rank")
    first = ranking.picture()
    ranking.write("caption4", "a photo of a red cross on a white background")
    ranking.alt(re.compile("a photo of a red cross on a white background: [0-9]+%"))
    typed = ranking.changed(first)
    ranking.choose("picture", "2")
    ranking.alt(re.compile("^picture 2, and how well captions fit, best first: "))
    ranking.changed(typed)
    ranking.button("Reset")
    ranking.shows(first)


def test_words_of_another_script_are_ranked_too(lesson):
    ranking = lesson.explorer("rank")
    first = ranking.picture()
    ranking.write("caption1", "круг")
    ranking.alt(re.compile("круг: [0-9]+%"))
    ranking.changed(first)
    ranking.button("Reset")
    ranking.shows(first)


def test_words_find_drawings_and_come_back(lesson):
    finder = lesson.explorer("nearest")
    first = finder.picture()
    finder.write("words", "green heart")
    finder.alt(
        re.compile("^the drawings nearest to 'green heart' among all 3,470, with their cosines: .*green heart: [0-9.]+")
    )
    found = finder.changed(first)
    finder.choose("among", "the 171 never trained on")
    finder.changed(found)
    finder.button("Reset")
    finder.shows(first)


def test_the_matrix_changes_and_comes_back(lesson):
    board = lesson.explorer("matrix")
    first = board.picture()
    board.press("scale", "ArrowRight", 2)
    board.alt(re.compile("^shapes: share, a picture's captions at scale 100; [0-9] of [0-9] pictures"))
    shares = board.changed(first)
    board.choose("show", "cosine")
    board.alt(re.compile("^shapes: cosine; [0-9] of [0-9] pictures"))
    board.changed(shares)
    board.button("Reset")
    board.shows(first)


def test_the_temperature_changes_and_comes_back(lesson):
    dial = lesson.explorer("temperature")
    first = dial.picture()
    dial.press("scale", "ArrowLeft", 2)
    dial.alt(re.compile("^scale 1: the best caption gets [0-9]+% of the share, the loss is [0-9.]+ nats"))
    dial.changed(first)
    dial.press("scale", "ArrowRight", 2)
    dial.shows(first)
