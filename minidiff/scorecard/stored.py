"""Tables too slow for a notebook, kept in data/tables as CSV below a line with the command that makes them."""

import csv
from statistics import mean

from minidiff import checkpoints
from minidiff.support import files

TABLES = checkpoints.SHIPPED.parent / "tables"


def write(name: str, command: str, rows: list[dict]) -> None:
    """Rows, of numbers, texts and None, to data/tables/NAME.csv. A kill leaves the old file or the new one."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [[_text(row.get(column)) for column in columns] for row in rows]
    TABLES.mkdir(parents=True, exist_ok=True)
    with files.whole(TABLES / f"{name}.csv") as file:
        text = "\n".join([f"# {command}", *(",".join(line) for line in [list(map(_text, columns)), *lines]), ""])
        file.write(text.encode())


def read(name: str) -> list[dict]:
    """The rows that `write` wrote, numbers as numbers; what a row lacks is left out of it."""
    lines = (TABLES / f"{name}.csv").read_text("utf-8").splitlines()[1:]
    rows = csv.DictReader(lines)
    return [{column: _value(text) for column, text in row.items() if text != ""} for row in rows]


def command(name: str) -> str:
    """The command that made data/tables/NAME.csv, as its first line says."""
    with (TABLES / f"{name}.csv").open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def averaged(rows: list[dict], *by: str, digits: int = 4) -> list[dict]:
    """Rows that agree in the columns `by` as one, each other column, of numbers, averaged; without the seed."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    numbers = [name for name in rows[0] if name not in (*by, "seed")]
    return [
        dict(zip(by, key)) | {name: round(mean(row[name] for row in group), digits) for name in numbers}
        for key, group in groups.items()
    ]


def _text(value) -> str:
    text = "" if value is None else str(value)
    return f'"{text}"' if "," in text else text


def _value(text: str):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
