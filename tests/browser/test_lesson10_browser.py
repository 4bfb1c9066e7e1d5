"""Lesson 10 in a real JupyterLab: a typed beginning goes on, heads of attention are chosen, and both come back."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("10_transformers.ipynb")


def test_a_typed_beginning_goes_on_and_comes_back(lesson):
    guess = lesson.explorer("nextword")
    first = guess.picture()
    guess.write("text", "a red circle on a")
    guess.alt(re.compile("^after “a red circle on a” the model expects: .+ [0-9]+% [(]exact [0-9]+%[)]"))
    guess.changed(first)
    guess.button("Reset")
    guess.shows(first)


def test_heads_are_chosen_and_come_back(lesson):
    reading = lesson.explorer("attention")
    first = reading.picture()
    reading.choose("head", "4")
    reading.alt(re.compile("^block 1, head 4 on “.+”: the last token, background, looks most at .+, [0-9]+%$"))
    other = reading.changed(first)
    reading.choose("block", "2")
    reading.alt(re.compile("^block 2, head 4"))
    typed = reading.changed(other)
    reading.write("text", "a red circle and a blue square")
    reading.alt(re.compile("^block 2, head 4 on “a red circle and a blue square”: the last token, square"))
    reading.changed(typed)
    reading.button("Reset")
    reading.shows(first)
