"""A progress bar for a training run: the loss and the time left, in a terminal, a notebook or a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from minidiff.support import expect

LAYOUT = "{desc} {percentage:3.0f}% |{bar:24}| {elapsed}<{remaining}{postfix}"


def run(ticks, total=None, desc="training") -> list:
    """Go through `fit(...)`, or any ticks, behind a bar with the loss and the time left; returns the list of them.

    The loss shown is the mean of the last 50. Reading it waits for the device, so that is done only when the bar is
    drawn. `total`: the number of ticks, where `ticks` does not know it. In a notebook the bar is one line of plain
    text, which is still there in the stored page, and the stop button ends the training there: the model keeps what
    it has learned, two lines say so, and the ticks so far are returned. Elsewhere KeyboardInterrupt goes its way.
    """
    if not hasattr(ticks, "__iter__"):
        raise TypeError(f"ticks: got {type(ticks).__name__}, expected what fit(...) returns")
    if total is not None:
        expect.number("total", total, 0)
    if getattr(ticks, "rank", 0):
        return list(ticks)  # of several processes the first one draws
    seen = []
    total = total or getattr(ticks, "total", None)
    look = {"bar_format": LAYOUT, "mininterval": 0.3, "miniters": 0} | _screen()
    with tqdm(total=total, initial=getattr(ticks, "position", 0), desc=desc, **look) as bar, _stoppable(seen, total):
        for tick in ticks:
            seen.append(tick)
            _move(bar, ticks, seen)
        bar.n = getattr(ticks, "position", len(seen))  # the clock may have gone on since the last tick
        bar.set_postfix_str(_summary(seen), refresh=False)
    return seen


def _move(bar: tqdm, ticks, seen: list) -> None:
    if time.time() - bar.last_print_t >= bar.mininterval:
        bar.set_postfix_str(_summary(seen), refresh=False)
    bar.update(getattr(ticks, "position", len(seen)) - bar.n)


@contextmanager
def _stoppable(seen: list, total) -> Iterator[None]:
    """In a notebook the stop button ends what is inside, and two lines say what is left; elsewhere it raises."""
    try:
        yield
    except KeyboardInterrupt:
        if not _notebook():
            raise
        wanted = f" of {total}" if isinstance(total, int) and total >= len(seen) else ""
        print(
            f"Stopped after {len(seen)} steps{wanted}. The model keeps what it has learned so far, and the cells below"
        )
        print("go on with it. To train it in full, run the cell that makes the model again, and then this one.")


def _summary(ticks: list) -> str:
    if not ticks:
        return "nothing left to do"
    loss = torch.stack([tick.loss for tick in ticks[-50:]]).mean().item()
    return f"step {ticks[-1].step + 1}, loss {loss:.4g}"


def _screen() -> dict:
    """tqdm's options for where the bar is drawn."""
    if _notebook():
        from IPython.display import display

        cell = display({"text/plain": ""}, raw=True, display_id=True)
        return {"file": _Lines(lambda line: cell.update({"text/plain": line}, raw=True)), "ascii": False}
    if sys.stderr.isatty():
        return {}
    return {"file": _Lines(lambda line: print(line, file=sys.stderr)), "mininterval": 10.0}


def _notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


class _Lines:
    """A file for tqdm where no cursor can go back: every state of the bar is handed to `show` as a line."""

    def __init__(self, show):
        self.show = show

    def write(self, text: str) -> None:
        if text.strip():
            self.show(text.strip())

    def flush(self) -> None:
        pass
