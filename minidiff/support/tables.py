"""Small tables with numbers rounded for people, legible as Markdown in a notebook and as text in a terminal."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from minidiff.support import expect


def table(rows: list[dict], digits: int = 3) -> "Table":
    """A table of dicts, one a row; columns in order of first mention. Floats are `rounded` to `digits` digits.

    A column that a row lacks shows as "–". Columns without texts are aligned to the right.
    """
    rows = list(rows)
    if not rows or not all(isinstance(row, dict) and row for row in rows):
        raise TypeError("rows: expected a list of at least one dict, each with entries")
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[rounded(row.get(name), digits) for name in names] for row in rows]
    texts = [any(isinstance(row.get(name), str) for row in rows) for name in names]
    return Table([[str(name) for name in names], *cells], [not text for text in texts])


@dataclass(frozen=True)
class Table:
    """Cells of text, the head first, and which columns go to the right: Markdown in a notebook, else aligned text."""

    cells: list[list[str]]
    right: list[bool]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.cells)]
        lines = [self.cells[0], ["-" * width for width in widths], *self.cells[1:]]
        aligned = [[c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, self.right)] for row in lines]
        return "\n".join("  ".join(row).rstrip() for row in aligned)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        head, *body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in self.cells]
        rule = ["---:" if right else ":---" for right in self.right]
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])


def rounded(value, digits: int = 3) -> str:
    """`value` as text for people: a float with `digits` significant digits, None as "–", anything else as it is."""
    digits = expect.integer("digits", digits, 1, 15)
    value = value.item() if isinstance(value, (Tensor, np.generic)) else value
    if value is None:
        return "–"
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    power = int(f"{value:.{digits - 1}e}".split("e")[1])  # of ten, once rounded
    places = digits - 1 - power
    return f"{value:.{digits - 1}e}" if power < -4 or power > 6 else f"{round(value, places):.{max(0, places)}f}"
