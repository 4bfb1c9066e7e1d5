"""Lesson 09 in a real JupyterLab: prompts are built and typed, a mask is painted, and the first pictures come back."""

import re

import pytest


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("09_latent_diffusion.ipynb")


def painted(explorer) -> int:
    """How many pixels the pad says are painted."""
    return int(re.search(r"painted: (\d+) of 1024", explorer.control("mask").locator("output").inner_text()).group(1))


def test_a_painted_mask_is_painted_anew_and_reset(lesson):
    repaint = lesson.explorer("repaint")
    first = repaint.picture()
    assert painted(repaint) == 512
    repaint.button("Clear")
    repaint.alt(re.compile("painted into 0 of 1024 pixels"))
    untouched = repaint.changed(first)
    repaint.drag("mask", (0.2, 0.2), (0.2, 0.8))
    repaint.alt(re.compile("painted into [1-9][0-9]+ of 1024 pixels"))
    assert 60 < painted(repaint) < 200  # a line of 19 pixels, five or so wide
    repaint.alt(re.compile(f"painted into {painted(repaint)} of 1024 pixels"))  # the kernel has the same mask
    repaint.changed(untouched)
    repaint.button("Clear")
    repaint.shows(untouched)
    repaint.button("Reset")
    repaint.shows(first)
    assert painted(repaint) == 512


def test_the_pad_is_painted_by_keys_too(lesson):
    repaint = lesson.explorer("repaint")
    first = repaint.picture()
    repaint.button("Clear")
    cleared = repaint.changed(first)
    repaint.press("mask", "ArrowLeft", 4)
    repaint.press("mask", " ")
    repaint.alt(re.compile("painted into 21 of 1024 pixels"))  # a disc of radius 2
    repaint.changed(cleared)
    repaint.button("Reset")
    repaint.shows(first)


def test_a_prompt_is_built_and_comes_back(lesson):
    builder = lesson.explorer("builder")
    first = builder.picture()
    builder.choose("colour", "green")
    builder.alt("4 pictures of “a large green circle on a blue background”, scale 2, 10 steps")
    green = builder.changed(first)
    builder.press("scale", "ArrowLeft", 3)
    builder.alt("4 pictures of “a large green circle on a blue background”, scale 0, 10 steps")
    builder.changed(green)
    builder.button("Reset")
    builder.shows(first)


def test_a_typed_prompt_is_drawn_and_too_long_a_one_is_told(lesson):
    free = lesson.explorer("text")
    first = free.picture()
    line = free.control("prompt").locator("input")
    before = line.input_value()
    line.fill("a small purple circle")
    line.press("Enter")
    free.alt("4 pictures of “a small purple circle”, away from “”, scale 2, 10 steps")
    free.changed(first)
    line.fill("a red circle " * 12)
    line.press("Enter")
    free.box.locator(".minidiff-error", has_text="at most 24").wait_for()
    line.fill(before)
    line.press("Enter")
    free.shows(first)
    lesson.page.wait_for_function("kernelErrors.length")
    assert all("at most 24" in error for error in lesson.errors())


def test_strength_changes_the_pictures_and_back(lesson):
    over = lesson.explorer("over")
    first = over.picture()
    over.press("strength", "ArrowLeft", 3)
    over.alt(re.compile("with strength 0.02$"))
    over.changed(first)
    over.press("strength", "ArrowRight", 3)
    over.shows(first)


def test_the_maps_of_words_follow_the_time(lesson):
    words = lesson.explorer("words")
    first = words.picture()
    words.press("t", "ArrowRight")
    words.alt(re.compile("at time 0.3"))
    words.changed(first)
    words.button("Reset")
    words.shows(first)
