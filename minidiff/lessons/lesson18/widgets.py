"""Lesson 18's widgets: which of the models to take, and the digits of every family and seed."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from minidiff import plot
from minidiff.support.tables import rounded
from minidiff.widgets import Choice, Explorer, Slider, Stops

NEEDS = {  # what one may want -> the column, and whether more is better
    "close to real digits (FD)": ("FD held-out", False),
    "each picture right (precision)": ("precision", True),
    "every kind of picture (recall)": ("recall", True),
    "a likelihood (bits/dim)": ("bits/dim", False),
    "few weights (MB)": ("MB", False),
}
WIDE = {"FD held-out": 30}  # columns on a log axis, and where it begins
SECONDS = (0.1, 1, 5, 20, 100)
NEAREST, LABELLED = "any digit", "the digit that I name"


def ranked(rows: list[dict], seconds: float, need: str, draws: str) -> list[dict]:
    """The rows that draw 1,000 digits in at most so many seconds and obey a label, if asked to; the best one first."""
    column, more = NEEDS[need]
    fit = [row for row in rows if row["1,000 (CPU s)"] <= seconds and column in row]
    fit = [row for row in fit if draws == NEAREST or row["labels"] == "yes"]
    return sorted(fit, key=lambda row: row[column], reverse=more)


def which(rows: list[dict]) -> Explorer:
    """Bars of the families that meet what is asked for, the best above. rows: a dict for each family."""

    def told(seconds, need, draws):
        found = [row["family"] for row in ranked(rows, seconds, need, draws)]
        first = f"{found[0]}, then {', '.join(found[1:3]) or 'none'}" if found else "none of them"
        return f"{draws}, 1,000 of them in {seconds:g} s, {need}: {first}"

    return Explorer(
        lambda seconds, need, draws: _bars(ranked(rows, seconds, need, draws), need, seconds),
        alt=told,
        seconds=Stops("seconds for 1,000", SECONDS, 20, unit="s"),
        need=Choice("I need", list(NEEDS), next(iter(NEEDS))),
        draws=Choice("draw", [NEAREST, LABELLED], NEAREST),
    ).add_class("which")


def _bars(rows: list[dict], need: str, seconds: float) -> Figure:
    column, more = NEEDS[need]
    figure, ax = plt.subplots(figsize=(5.6, 3.6), dpi=80)
    names = [row["family"] for row in rows]
    ax.barh(names, [row[column] for row in rows], color=[plot.COLOURS[i > 0] for i in range(len(rows))])
    for i, row in enumerate(rows):
        ax.text(row[column], i, f" {rounded(row[column])}", va="center", size=8)
    ax.set(ylim=(10.5, -0.5), xlabel=f"{column}, {'more' if more else 'less'} is better")
    ax.set_title(f"1,000 digits in at most {seconds:g} s" if rows else "none meets all of this", size=9)
    ax.tick_params(labelsize=8)
    if column in WIDE:
        ax.set(xscale="log", xlim=(WIDE[column], None))
    ax.margins(x=0.15)
    figure.subplots_adjust(0.27, 0.14, 0.95, 0.92)
    return figure


def gallery(drawn: dict[str, Tensor]) -> Explorer:
    """The digits of a family, and of one of its training seeds: name -> (seeds, n, 1, 16, 16)."""
    seeds = len(next(iter(drawn.values())))
    return Explorer(
        lambda family, seed: drawn[family][seed],
        alt="twenty digits by {family}, trained with seed {seed}",
        columns=10,
        family=Choice("family", list(drawn), next(iter(drawn))),
        seed=Slider("training seed", 0, seeds - 1, 1, 0),
    ).add_class("gallery")
