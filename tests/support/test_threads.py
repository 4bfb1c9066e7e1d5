"""Threads by trial: which number a piece gets, by a clock and a torch that the test moves."""

from types import SimpleNamespace

import pytest
import torch

from minidiff.support import threads
from minidiff.support.threads import Threads


@pytest.fixture
def machine(monkeypatch):
    """A machine of two threads. work(n) does n pieces, which take `cost[threads]`, and tells the threads they had."""
    now = SimpleNamespace(seconds=0.0, cost={2: 1.0, 1: 2.0}, threads=2)
    monkeypatch.delenv("MINIDIFF_THREADS", raising=False)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: now.seconds)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now.threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(now, "threads", count))

    def work(chooser, pieces):
        seen = []
        for _ in range(pieces):
            with chooser:
                seen.append(now.threads)
                now.seconds += now.cost[now.threads]
            assert now.threads == 2  # outside of the pieces it is the caller's number
        return seen

    now.work = work
    return now


@pytest.mark.parametrize("cost, best", [({2: 1.0, 1: 2.0}, 2), ({2: 2.0, 1: 1.0}, 1)])
def test_the_quicker_number_goes_on(machine, cost, best):
    machine.cost = cost
    seen = machine.work(Threads(), 50)
    assert seen[:8] == [2, 1] * 4 and set(seen[8:]) == {best}


def test_a_clear_case_is_decided_by_one_pair_and_is_seldom_tried_again(machine):
    """20 s beside 1: the trial wastes 19 s, so nothing is tried in the next 380 pieces."""
    machine.cost = {2: 20.0, 1: 1.0}
    seen = machine.work(Threads(), 400)
    assert seen[:5] == [2, 1, 2, 1, 1] and set(seen[4:384]) == {1} and seen[384] == 2


def test_it_changes_its_mind_when_the_other_program_has_ended(machine):
    chooser, machine.cost = Threads(), {2: 2.0, 1: 1.0}
    assert machine.work(chooser, 20)[-1] == 1
    machine.cost = {2: 0.5, 1: 1.0}
    assert machine.work(chooser, 100)[-1] == 2


def test_nothing_is_tried_where_the_number_is_given(machine, monkeypatch):
    assert set(machine.work(Threads(tried=False), 60)) == {2}
    monkeypatch.setenv("MINIDIFF_THREADS", "1")
    assert set(machine.work(Threads(), 60)) == {1}
    monkeypatch.delenv("MINIDIFF_THREADS")
    chooser = Threads()
    machine.work(chooser, 60)
    machine.threads, machine.cost = 1, {1: 1.0}
    for _ in range(20):
        with chooser:
            assert machine.threads == 1


def test_a_function_is_wrapped_and_a_piece_that_fails_leaves_the_threads_as_they_were(machine):
    chooser = Threads()

    @chooser
    def piece(x):
        machine.seconds += 1.0
        return machine.threads / x

    assert [piece(1) for _ in range(3)] == [2, 1, 2]
    with pytest.raises(ZeroDivisionError):
        piece(0)
    assert machine.threads == 2 and piece(1) == 1


@pytest.mark.parametrize("given, error", [("0", ValueError), ("many", TypeError)])
def test_a_number_of_threads_that_is_none_is_named(monkeypatch, given, error):
    monkeypatch.setenv("MINIDIFF_THREADS", given)
    with pytest.raises(error, match=f"MINIDIFF_THREADS: got .?{given}"):
        Threads()
