"""The tool that lessons measure their claims with: the paper's figure, ours, and whether it holds.

A lesson's `lessons/lessonNN/claims.py` has the functions that make the tables of its notebook, so that both speak of
the same measurement, and `claims(seeds, full)`, which repeats them over training seeds and returns a list of `Claim`.
"""

from minidiff.scorecard.common import Claim, enlarged, judge, real_digits, spread, trained
from minidiff.scorecard.terminal import report

__all__ = ["Claim", "enlarged", "judge", "real_digits", "report", "spread", "trained"]
