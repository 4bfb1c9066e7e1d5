"""Exercises that mark themselves: `check(id, yours)` and `solution(id)` for the learner, the rest for their author."""

from minidiff.exercises.compare import CheckFailed, close, require, shaped, typed
from minidiff.exercises.core import check, exercise, folded, question, solution

__all__ = ["CheckFailed", "check", "close", "exercise", "folded", "question", "require", "shaped", "solution", "typed"]
