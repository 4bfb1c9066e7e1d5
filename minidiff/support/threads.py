"""How many threads a piece of work is given on a CPU: all that torch has, or one, whichever is the quicker.

Beside a busy program two threads that wait for each other can take ten times as long as one alone. No one number is
right on every machine and at every moment, so it is tried out, on the work itself (benchmarks/README.md has a table).
"""

import os
import time
from collections.abc import Generator
from contextlib import ContextDecorator
from statistics import median

import torch

from minidiff.support import expect

PAIRS = 3  # in a trial, at most: a piece with all threads and a piece with one
CLEAR = 3.0  # so many times as slow, and a trial ends with its first pair
REST = 50  # pieces from one trial to the next, at least
SHARE = 20  # of all the time at most one part in so many goes into what turns out the slower way


class Threads(ContextDecorator):
    """Gives each piece of a work that has many equal pieces the number of threads that has proved the quicker.

        threads = Threads()
        with threads:                  # for each step of a training
            step()
        denoise = threads(denoise)     # or for each call of a function

    The first pieces take turns, all of torch's threads and one. The quicker way goes on, and from time to time it is
    tried against the other again: the program beside this one may have ended. Nothing is computed twice.
    Outside of the pieces torch has the threads that it had.

    Sums may be rounded otherwise with another number of threads, so the last bits of a result may differ from run to
    run. Where they count, set MINIDIFF_THREADS in the environment: the pieces get so many, and nothing is tried. Nor
    is anything where torch has one thread, or with tried=False, as on a GPU.
    """

    def __init__(self, tried: bool = True):
        self.tried = tried
        self.fixed = _fixed()
        self.most = None  # torch's threads outside of the pieces

    def __enter__(self):
        most = torch.get_num_threads()
        if most != self.most:  # at first, and where the caller has changed it
            self.most, self.plan = most, _plan(*self._ways(most))
            self.count = next(self.plan)
        torch.set_num_threads(self.count)
        self.begin = time.perf_counter()
        return self

    def __exit__(self, kind, *error):
        seconds = time.perf_counter() - self.begin
        torch.set_num_threads(self.most)
        if kind is None:
            self.count = self.plan.send(seconds)

    def _ways(self, most: int) -> tuple[int, ...]:
        """The numbers of threads to choose from."""
        if self.fixed:
            return (self.fixed,)
        return (most, 1) if self.tried and most > 1 else (most,)


def _plan(*ways: int) -> Generator[int, float, None]:
    """The number of threads of each next piece; it is sent the seconds that the piece has taken."""
    for count in ways:  # these do not count: what torch prepares once for a number of threads is done in them
        yield count
    while len(ways) == 1:
        yield count
    while True:
        took = {count: [] for count in ways}
        for _ in range(PAIRS):
            for count in ways:
                took[count].append((yield count))
            quick, slow = sorted(median(seconds) for seconds in took.values())
            if slow > CLEAR * quick:
                break
        best = min(ways, key=lambda count: median(took[count]))
        wasted = (slow - quick) * len(took[best])
        for _ in range(max(REST, round(SHARE * wasted / quick))):
            yield best


def _fixed() -> int | None:
    """The number of threads that MINIDIFF_THREADS asks for, or None."""
    named = os.environ.get("MINIDIFF_THREADS")
    if not named:
        return None
    return expect.integer("MINIDIFF_THREADS", int(named) if named.isdecimal() else named, 1)
