"""The bugs that are planted for each exercise: `planted("06")` is the dict in tests/lessons/lesson06/planted.py."""

import importlib.util
from functools import cache
from pathlib import Path


@cache
def planted(lesson: str) -> dict:
    """id of an exercise -> functions or classes with one bug each."""
    path = Path(__file__).parent / "lessons" / f"lesson{lesson}" / "planted.py"
    spec = importlib.util.spec_from_file_location(f"planted{lesson}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PLANTED
