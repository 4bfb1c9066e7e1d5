"""The scorecard as it is read in a terminal: each claim with the paper's figure, ours, and whether it holds."""

import shutil
import textwrap
from itertools import groupby

from minidiff import profile
from minidiff.scorecard.common import Claim

WIDTH = 100  # columns, unless the terminal has fewer


def report(claims: list[Claim], width: int | None = None) -> str:
    """The claims by lesson, each in a few lines of at most `width` columns, by itself those of the terminal."""
    width = width or min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    pages = []
    for lesson, group in groupby(claims, key=lambda claim: claim.lesson):
        told = [_lines(claim, width) for claim in group]
        pages.append("\n\n".join([f"Lesson {lesson}", *told]))
    return "\n\n".join([*pages, _count(claims)])


def verdict(claim: Claim) -> str:
    """Whether a claim holds here; where it does not, why, and whether that reason was looked into or is not known."""
    if claim.holds is None:
        return f"not measured: {claim.why}"
    if claim.holds:
        return "holds"
    if profile() == "ci" and not claim.stored:
        return "does not hold: profile ci trains for 20 steps only"
    return f"does not hold, for a known reason: {claim.why}" if claim.why else "does not hold, and why is not known"


def _lines(claim: Claim, width: int) -> str:
    ours = claim.ours or "–"
    if claim.stored:
        ours += f" (stored table, made by `{claim.stored}`)"
    rows = [("claim", claim.text), ("paper", claim.paper), ("ours", ours), ("verdict", verdict(claim))]
    return "\n".join(_wrapped(name, text, width) for name, text in rows)


def _wrapped(name: str, text: str, width: int) -> str:
    return textwrap.fill(text, width, initial_indent=f"  {name:<9}", subsequent_indent=" " * 11)


def _count(claims: list[Claim]) -> str:
    held = sum(claim.holds is True for claim in claims)
    failed = sum(claim.holds is False for claim in claims)
    unmeasured = sum(claim.holds is None for claim in claims)
    return f"{len(claims)} claims: {held} hold, {failed} do not, {unmeasured} not measured"
