"""Lesson 04 in a real JupyterLab: the laboratory plays, pauses and moves one player; the walk and truncation answer."""

import re
import time

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(notebook):
    return notebook("04_gan.ipynb")


def test_the_laboratory_moves_one_player_and_comes_back(lesson):
    laboratory = lesson.explorer("laboratory")
    first = laboratory.picture()
    laboratory.alt(re.compile("^0 moves of the discriminator, 0 of the generator"))
    laboratory.button("Move discriminator")
    laboratory.alt(re.compile("^1 moves of the discriminator, 0 of the generator"))
    moved = laboratory.changed(first)
    laboratory.button("Move generator")
    laboratory.alt(re.compile("^1 moves of the discriminator, 1 of the generator"))
    laboratory.changed(moved)
    laboratory.button("Reset")
    laboratory.shows(first)


def test_every_setting_makes_another_game_and_comes_back(lesson):
    laboratory, moves = lesson.explorer("laboratory"), ("discriminator", "generator", "discriminator")
    first = laboratory.picture()

    def played() -> str:
        for move in moves:
            laboratory.button(f"Move {move}")
        laboratory.alt(re.compile("^2 moves of the discriminator, 1 of the generator"))
        return laboratory.picture()

    usual, games = played(), []
    for name, there, back in (
        ("data", "ArrowDown", "ArrowUp"),
        ("loss", "ArrowDown", "ArrowUp"),
        ("momentum", "ArrowLeft", "ArrowRight"),
    ):
        laboratory.press(name, there)
        laboratory.alt(re.compile("^0 moves"))
        games.append(played())
        laboratory.press(name, back)
        laboratory.shows(first)
    assert len({usual, *games}) == 4 and played() == usual
    laboratory.watch()
    for k in range(20):
        laboratory.box.get_by_role("button", name=f"Move {moves[k % 2]}").press("Enter")
        laboratory.answers(k + 1)
    times = sorted(ms for ms, *_ in laboratory.answers(20))
    print(f"lesson 04, the laboratory: p50 {times[9]:.0f} ms, p95 {times[18]:.0f} ms of 20 moves")
    laboratory.button("Reset")
    laboratory.shows(first)


def test_the_laboratory_plays_five_pictures_a_second_and_stops(lesson):
    laboratory = lesson.explorer("laboratory")
    laboratory.picture()
    laboratory.button("Play")
    seen, began = set(), time.time()
    while time.time() - began < 3:
        seen.add(laboratory.image.get_attribute("src"))
        time.sleep(0.02)
    laboratory.changed(laboratory.picture())
    laboratory.button("Pause")
    laboratory.settle()
    still = laboratory.picture()
    print(f"lesson 04, the laboratory: {len(seen) / 3:.1f} pictures a second")
    time.sleep(0.5)
    assert laboratory.picture() == still
    laboratory.button("Reset")


def test_the_walk_goes_on_and_back(lesson):
    walk = lesson.explorer("walk")
    first = walk.picture()
    walk.press("step", "ArrowRight", 3)
    walk.alt("4 pictures at step 3 of a walk of 100 through the codes")
    walk.changed(first)
    walk.press("step", "ArrowLeft", 3)
    walk.shows(first)


def test_truncation_changes_the_pictures_and_back(lesson):
    truncation = lesson.explorer("truncation")
    first = truncation.picture()
    truncation.press("threshold", "ArrowLeft", 10)
    truncation.alt("24 pictures from random codes without numbers beyond 2.0")
    truncation.changed(first)
    truncation.button("Reset")
    truncation.shows(first)
