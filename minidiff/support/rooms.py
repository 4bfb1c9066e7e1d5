"""Where the lessons' rooms are, read from the folder: what stands in `minidiff/lessons` is all there is to know."""

import importlib
import pkgutil
from types import ModuleType

LESSONS = "minidiff.lessons"


def lessons() -> list[str]:
    """The numbers of the lessons that have a room, in order: "00", "01", ..."""
    found = pkgutil.iter_modules(importlib.import_module(LESSONS).__path__)
    return sorted(room.name.removeprefix("lesson") for room in found)


def part(lesson: str, name: str) -> ModuleType:
    """The module of that name in a lesson's room, imported now: `part("06", "exercises")`."""
    return importlib.import_module(f"{LESSONS}.lesson{lesson}.{name}")
