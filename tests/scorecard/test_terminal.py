"""What the scorecard says of a claim, and how it looks in a terminal."""

import pytest

from minidiff.scorecard import Claim, report
from minidiff.scorecard.terminal import verdict

LONG = "a word " * 40


def claim(holds, why="", stored=""):
    return Claim("06", f"samples are good: {LONG}", f"FID 3.17 ({LONG})", "4.6 ± 0.2", holds, why, stored)


@pytest.mark.parametrize(
    "given, profile, told",
    [
        (claim(True), "ci", "holds"),
        (claim(None, "it takes --full"), "cpu", "not measured: it takes --full"),
        (claim(False, "digits are few"), "cpu", "does not hold, for a known reason: digits are few"),
        (claim(False), "cpu", "does not hold, and why is not known"),
        (claim(False, "digits are few"), "ci", "does not hold: profile ci trains for 20 steps only"),
        (claim(False, "digits are few", "scorecard 06 --full"), "ci", "for a known reason: digits are few"),
    ],
)
def test_too_short_is_said_in_ci_alone_and_a_known_reason_is_marked(given, profile, told, monkeypatch):
    monkeypatch.setenv("MINIDIFF_PROFILE", profile)
    assert verdict(given).endswith(told)


def test_it_fits_a_terminal_and_loses_no_word():
    claims = [claim(True), claim(False, LONG), claim(None, "slow", "python -m minidiff scorecard 06 --full")]
    text = report(claims)
    assert max(map(len, text.splitlines())) <= 100
    assert text.split().count("word") == 3 * 80 + 40 * (1 if "known" in text else 0)
    assert "stored table, made by `python -m minidiff scorecard 06 --full`" in " ".join(text.split())
    assert text.splitlines()[0] == "Lesson 06" and text.endswith("3 claims: 1 hold, 1 do not, 1 not measured")


def test_each_lesson_has_its_heading():
    other = Claim("07", "steps", "-", "1", True)
    assert [line for line in report([claim(True), other]).splitlines() if line.startswith("Lesson")] == [
        "Lesson 06",
        "Lesson 07",
    ]
