"""Lesson 18 in a real JupyterLab: the families ranked by a need, and the samples of each."""

import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("18_which_model.ipynb")


def test_another_need_has_another_winner_and_back(lesson):
    which = lesson.explorer("which")
    first = which.picture()
    which.alt(re.compile(r"^any digit, 1,000 of them in 20 s, close to real digits \(FD\): latent diffusion"))
    which.press("seconds", "ArrowRight", 1)
    which.choose("need", "a likelihood (bits/dim)")
    which.alt(re.compile(r"in 100 s, a likelihood \(bits/dim\): autoregressive, then "))
    which.changed(first)
    which.button("Reset")
    which.shows(first)


def test_the_samples_of_a_family_and_a_seed(lesson):
    gallery = lesson.explorer("gallery")
    first = gallery.picture()
    gallery.alt("twenty digits by autoregressive, trained with seed 0")
    gallery.choose("family", "GAN")
    gallery.press("seed", "ArrowRight", 1)
    gallery.alt("twenty digits by GAN, trained with seed 1")
    gallery.changed(first)
    gallery.button("Reset")
    gallery.shows(first)
