"""The training loop shared by all models: take a step, yield a Tick, notice what is not finite, save the state."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff.support import expect
from minidiff.support.rng import numbered
from minidiff.support.threads import Threads
from minidiff.train.ema import Ema
from minidiff.train.feed import Feed
from minidiff.train.processes import Processes
from minidiff.train.state import StateFile, shapes

CHECK_EVERY = 50  # steps from one look at the losses to the next, at most: each look waits for the device
CHECK_SECONDS = 30.0  # from one look to the next, at most, where a step takes less
PACED = (1, 2, 5, 10, 20)  # the first steps after which their pace is measured
SAVE_SECONDS = 10.0  # at least, from one write of the state to the next, which is done at a look


class Tick(NamedTuple):
    """What step 0, 1, ... did: its loss () and the other terms, detached; its learning rate; the seconds so far."""

    step: int
    loss: Tensor
    parts: dict[str, Tensor]
    lr: float
    seconds: float


class Loop(Iterator):
    """The iterator of Ticks that `fit` returns: the state {weights, average, optimisers, step}, and a step's frame.

    A subclass says in `learn()` how a step changes the weights. Its first state is that of a file `resume`, if there
    is one. `more` are settings of the subclass. ValueError or TypeError for a bad argument; what all of them mean is
    said at `minidiff.train.fit`.
    """

    turns = 1  # batches in a step

    def __init__(self, model, batches, steps, seconds, lr, seed, ema, resume, accelerator=None, **more):
        self.settings = _settings(model, batches, steps, seconds, lr, seed, ema) | more
        self.model = model
        self.feed = Feed(batches, seed)
        self.ema = ema
        self.processes = Processes(accelerator, model)
        if ema:
            ema.model.to(self.processes.device)
        self.rank, device = self.processes.rank, self.processes.device
        self.threads = Threads(tried=device.type == "cpu" and self.processes.count == 1)
        self.optimisers = self.make_optimisers()
        self.peaks = self._peaks(lr)
        self.settings["lr"] = self.peaks[0]
        self.total = self.settings["steps"] or self.settings["seconds"]
        self.step, self.before, self.started, self.saved = 0, 0.0, None, (0, 0.0)
        self.stride = CHECK_EVERY
        self.recent = []  # loss + gradient norms of the steps since the last look, left on the device
        alike = self.settings | {"processes": self.processes.count, "precision": self.processes.precision}
        self.file = None if resume is None else StateFile(resume, alike | shapes(model))
        self._restore()
        model.eval()

    def make_optimisers(self) -> list[torch.optim.Optimizer]:
        """The optimisers of the model's weights; the rate of each is set before every step."""
        raise NotImplementedError

    def learn(self) -> tuple[dict[str, Tensor], Tensor]:
        """Move the weights once: the terms, of which "loss" is the loss (), and a number not finite if a gradient is"""
        raise NotImplementedError

    def factor(self, done: float) -> float:
        """What the learning rates are multiplied by when that fraction of the training is done."""
        return rate(self.step, done)

    @property
    def position(self) -> float:
        """How far it is, of `total`: in steps or in seconds."""
        return self.step if self.settings["steps"] else min(self._clock(), self.total)

    def __next__(self) -> Tick:
        done = self._done()
        if done >= 1:
            self.model.eval()
            self._save()
            raise StopIteration
        factor = self.factor(done)
        tick = Tick(self.step, *self._advance(factor), self.peaks[0] * factor, self._clock())
        self.step += 1
        if self.step in PACED or self.step % self.stride == 0:
            self.stride = self._paced()
        if self.step % self.stride == 0:
            self._save(wait=SAVE_SECONDS)
        return tick

    def batch(self, k: int) -> list[Tensor]:
        """Batch k: this process's rows of it, on the device."""
        return self.processes.rows(f"batches[{k}]", self.feed[k])

    def _advance(self, factor: float) -> tuple[Tensor, dict[str, Tensor]]:
        """One step at that part of the rates: the loss and its parts."""
        self._set_rates(factor)
        self.model.train()
        key = self.settings["seed"], self.rank, self.step
        try:
            with self.threads, torch.enable_grad(), numbered(self.processes.device, *key):
                terms, norm = self.learn()
        except (RuntimeError, TypeError):
            self.feed.same_dtype(self.model)
            raise
        finally:
            self.model.eval()
            self._set_rates(1.0)
        if self.step == 0:  # a layer may have set its weights from the first rows that it saw, and saw its share alone
            self.processes.share(self.model)
        if self.ema:
            self.ema.update(self.model)
        terms = {name: term.detach() for name, term in terms.items()}
        self.recent.append(terms["loss"] + norm)
        return terms.pop("loss"), terms

    def _groups(self) -> list[dict]:
        return [group for optimiser in self.optimisers for group in optimiser.param_groups]

    def _peaks(self, lr: float | None) -> list[float]:
        """The highest rate of each group of weights: `lr`, or where that is None what the optimisers were made with."""
        if lr is not None:
            for group in self._groups():
                group["lr"] = self.settings["lr"]
        return [float(group["lr"]) for group in self._groups()]

    def _set_rates(self, factor: float) -> None:
        for group, peak in zip(self._groups(), self.peaks, strict=True):
            group["lr"] = peak * factor

    def _done(self) -> float:
        """The fraction done, 1 or more at the end: the same in each process, so that they stop together."""
        if self.settings["steps"]:
            return (self.step + 0.5) / self.total
        return self.processes.mean(torch.tensor(self._clock())).item() / self.total

    def _clock(self) -> float:
        """Seconds of training so far, those before a resume included. The first call starts the clock."""
        self.started = self.started or time.perf_counter()
        return self.before + time.perf_counter() - self.started

    def _look(self) -> None:
        """FloatingPointError if a loss or gradient since the last look was not finite, in any of the processes."""
        if self.recent:
            finite = self.processes.mean(torch.stack(self.recent)).isfinite().tolist()
            if not all(finite):
                first = self.step - len(finite) + finite.index(False)
                raise FloatingPointError(f"step {first}: the loss or its gradient is not finite; {self._why(first)}")
            self.recent.clear()

    def _why(self, step: int) -> str:
        """What may have made that step's loss not finite: its data, or the learning rate."""
        if fault := self.feed.fault(step * self.turns, unmoved=step == 0):
            return fault
        return "no weight had moved yet: look at the data and the loss" if step == 0 else "a smaller lr may help"

    def _paced(self) -> int:
        """From how many steps to how many to look, by their pace so far: the same number in each process."""
        seconds = self._clock()
        if self.processes.count > 1:
            seconds = self.processes.mean(torch.tensor(seconds)).item()
        return max(1, min(CHECK_EVERY, int(CHECK_SECONDS * self.step / max(seconds, 1e-9))))

    def _save(self, wait: float = 0.0) -> None:
        """Look, then write what is new, if `wait` seconds have passed since the last time: rank 0 for all."""
        self._look()
        due = self.step > self.saved[0] and self._clock() >= self.saved[1] + wait
        if self.file and self.rank == 0 and due:
            run = (self.step, self._clock())
            optimisers = [optimiser.state_dict() for optimiser in self.optimisers]
            state = {"weights": self.model.state_dict(), "optimisers": optimisers, "run": run}
            if self.ema:
                state["ema"], state["updates"] = self.ema.model.state_dict(), self.ema.updates
            self.file.write(state)
            self.saved = run  # where the disk was full it is tried again

    def _restore(self) -> None:
        """Take up the state in the file, if there is one."""
        state = self.file and self.file.read()
        if state:
            self.model.load_state_dict(state["weights"])
            for optimiser, moments in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(moments)
            self.step, self.before = self.saved = state["run"]
            if self.ema:
                self.ema.model.load_state_dict(state["ema"])
                self.ema.updates = state["updates"]


def rate(step: int, done: float) -> float:
    """The learning rate's factor: linear warm-up over 5 % and at least 5 steps, times a half cosine (SGDR, eq. 5)."""
    return min((step + 1) / 5, done / 0.05, 1) * (1 + math.cos(math.pi * done)) / 2


def _settings(model, batches, steps, seconds, lr, seed, ema) -> dict:
    """What a run must share with the one it goes on from, checked."""
    if (steps is None) == (seconds is None):
        raise ValueError(f"steps, seconds: got {steps} and {seconds}, expected exactly one of the two")
    if not isinstance(model, nn.Module) or not callable(getattr(model, "loss", None)):
        raise TypeError(f"model: got {type(model).__name__}, expected a torch module with a method loss(*batch)")
    if isinstance(model.loss, nn.Module):
        name = type(model.loss).__name__
        raise TypeError(f"model.loss: got a module, {name}, expected a method loss(*batch) that calls the model")
    if ema is not None and not (isinstance(ema, Ema) and shapes(ema.model) == shapes(model)):
        raise TypeError(f"ema: got {type(ema).__name__}, expected an Ema of this model")
    return {
        "steps": steps if steps is None else expect.integer("steps", steps, 1),
        "seconds": seconds if seconds is None else expect.number("seconds", seconds, 1e-3),
        "lr": lr if lr is None else expect.number("lr", lr, 0),
        "seed": expect.integer("seed", seed, 0),
        "ema": ema and ema.decay,
        "batches": (getattr(batches, "rows", None), getattr(batches, "size", None), getattr(batches, "seed", None)),
    }
