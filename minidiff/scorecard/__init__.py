"""Each lesson's claims, measured: the paper's figure, ours, and whether it holds. One module a lesson, `lessonNN.py`.

Its functions make the tables of the lesson's notebook too, so that both speak of the same measurement; its
`claims(seeds, full)` repeats them over training seeds and returns a list of `Claim`.
"""

import importlib
import pkgutil
from collections.abc import Callable

from minidiff.scorecard.common import Claim, judge, spread, trained

__all__ = ["LESSONS", "Claim", "judge", "spread", "trained"]

LESSONS: dict[str, Callable[[list[int], bool], list[Claim]]] = {
    module.name.removeprefix("lesson"): importlib.import_module(f"{__name__}.{module.name}").claims
    for module in pkgutil.iter_modules(__path__)
    if module.name.startswith("lesson")
}
