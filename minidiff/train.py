"""Training: `fit` steps a model and yields after each step, `run` consumes that behind a bar, `Ema` averages it."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import expect
from minidiff.ema import Ema
from minidiff.processes import Processes
from minidiff.progress import run
from minidiff.resume import StateFile, shapes

__all__ = ["Ema", "Tick", "fit", "run"]

CHECK_EVERY = 50  # steps from one look at the losses to the next: each look waits for the device
SAVE_SECONDS = 10.0  # at least, from one write of the state to the next


class Tick(NamedTuple):
    """What step 0, 1, ... did: its loss () and the other terms, detached; its learning rate; the seconds so far."""

    step: int
    loss: Tensor
    parts: dict[str, Tensor]
    lr: float
    seconds: float


def fit(
    model, batches, steps=None, lr=1e-3, *, seconds=None, seed=0, ema=None, accelerator=None, resume=None
) -> Iterator[Tick]:
    """Train `model` in place and yield a Tick after each step: plots and logging are the caller's loop body.

    Step k minimises `model.loss(*batches[k])`, or `model.terms(...)["loss"]` whose other entries are the tick's parts,
    by AdamW with the gradient clipped to norm 1. The rate warms up to `lr`, then falls to 0 along a half cosine.
    Exactly one of `steps` and `seconds` (on the clock, so the loop body counts) says how long.
    Torch's random numbers in step k depend on (seed, rank, k) alone; the caller's own are left as they were.
    The model is in train mode during a step and in eval mode between steps and after. `ema`: an `Ema(model)` to update.
    `accelerator`: accelerate's, made by the caller; rank r of w takes rows r::w of each batch.
    `resume`: a file for the state. Where it exists the run goes on from it, and ends with the very weights, bit for
    bit, of a run of `steps` never stopped (on the same machine, with as many threads).
    TypeError or ValueError for a bad argument. FloatingPointError, which names the step, for a loss or a gradient that
    is not finite: it is noticed within 50 steps and before the state is written. The iterator's `step` counts the steps
    done; `position` of `total` is how far it is, in steps or in seconds.
    """
    if (steps is None) == (seconds is None):
        raise ValueError(f"steps, seconds: got {steps} and {seconds}, expected exactly one of the two")
    if not hasattr(batches, "__getitem__"):
        raise TypeError(f"batches: got {type(batches).__name__}, expected that batches[k] is a tuple of tensors")
    if not isinstance(model, nn.Module) or not callable(getattr(model, "loss", None)):
        raise TypeError(f"model: got {type(model).__name__}, expected a torch module with a method loss(*batch)")
    if ema is not None and not (isinstance(ema, Ema) and shapes(ema.model) == shapes(model)):
        raise TypeError(f"ema: got {type(ema).__name__}, expected an Ema of this model")
    settings = {
        "steps": steps if steps is None else expect.integer("steps", steps, 1),
        "seconds": seconds if seconds is None else expect.number("seconds", seconds, 1e-3),
        "lr": expect.number("lr", lr, 0),
        "seed": expect.integer("seed", seed, 0),
        "ema": ema and ema.decay,
    }
    return _Training(model, batches, settings, ema, Processes(accelerator, model), resume)


class _Training(Iterator):
    """What `fit` returns: the state {weights, average, optimiser, step}, and how to take a step."""

    def __init__(self, model, batches, settings, ema, processes, resume):
        self.model, self.batches, self.settings, self.ema, self.processes = model, batches, settings, ema, processes
        if ema:
            ema.model.to(processes.device)
        self.rank = processes.rank
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        if not self.weights:
            raise ValueError("model: got no weight that requires a gradient, expected at least one")
        self.optimiser = torch.optim.AdamW(self.weights, fused=True)  # fused: one call for all weights
        self.total = settings["steps"] or settings["seconds"]
        self.step, self.before, self.started, self.saved = 0, 0.0, None, (0, 0.0)
        self.recent = []  # loss + gradient norm of the steps since the last look, left on the device
        alike = settings | {"processes": processes.count, "precision": processes.precision} | shapes(model)
        self.file = None if resume is None else StateFile(resume, alike)
        self._restore()
        self.terms = processes.prepare(model)
        model.eval()

    @property
    def position(self) -> float:
        return self.step if self.settings["steps"] else min(self._clock(), self.total)

    def __next__(self) -> Tick:
        done = self._done()
        if done >= 1:
            self.model.eval()
            self._save()
            raise StopIteration
        lr = self.settings["lr"] * _rate(self.step, done)
        tick = Tick(self.step, *self._advance(lr), lr, self._clock())
        self.step += 1
        if self.step % CHECK_EVERY == 0:
            self._save(wait=SAVE_SECONDS)
        return tick

    def _advance(self, lr: float) -> tuple[Tensor, dict[str, Tensor]]:
        """One step at that rate: the loss and its parts."""
        self.optimiser.param_groups[0]["lr"] = lr
        self.model.train()
        try:
            with torch.enable_grad(), _seeded(self.processes.device, self.settings["seed"], self.rank, self.step):
                terms = self.terms(*self._batch())
                loss = expect.tensor("model.loss", terms.get("loss"), "")
                self.optimiser.zero_grad()
                loss.backward()
                norm = nn.utils.clip_grad_norm_(self.weights, 1.0)
                self.optimiser.step()
        finally:
            self.model.eval()
        if self.ema:
            self.ema.update(self.model)
        self.recent.append(loss.detach() + norm)
        return loss.detach(), {name: term.detach() for name, term in terms.items() if name != "loss"}

    def _batch(self) -> list[Tensor]:
        """Batch `step`: this process's rows of it, on the device."""
        name = f"batches[{self.step}]"
        try:
            batch = self.batches[self.step]
        except IndexError as error:
            raise ValueError(f"{name}: got the end of the batches, expected one for each step") from error
        if not isinstance(batch, (tuple, list)) or not all(isinstance(x, Tensor) and x.ndim for x in batch):
            raise TypeError(f"{name}: got {type(batch).__name__}, expected a tuple of tensors with rows")
        return self.processes.rows(name, batch)

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
                raise FloatingPointError(f"step {first}: the loss or its gradient is not finite; a smaller lr may help")
            self.recent.clear()

    def _save(self, wait: float = 0.0) -> None:
        """Look, then write what is new, if `wait` seconds have passed since the last time: rank 0 for all."""
        self._look()
        due = self.step > self.saved[0] and self._clock() >= self.saved[1] + wait
        if self.file and self.rank == 0 and due:
            self.saved = self.step, self._clock()
            state = {"weights": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "run": self.saved}
            if self.ema:
                state["ema"], state["updates"] = self.ema.model.state_dict(), self.ema.updates
            self.file.write(state)

    def _restore(self) -> None:
        """Take up the state in the file, if there is one."""
        state = self.file and self.file.read()
        if state:
            self.model.load_state_dict(state["weights"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.before = self.saved = state["run"]
            if self.ema:
                self.ema.model.load_state_dict(state["ema"])
                self.ema.updates = state["updates"]


def _rate(step: int, done: float) -> float:
    """The learning rate's factor: linear warm-up over 5 % and at least 5 steps, times a half cosine (SGDR, eq. 5)."""
    return min((step + 1) / 5, done / 0.05, 1) * (1 + math.cos(math.pi * done)) / 2


@contextmanager
def _seeded(device: torch.device, *key: int):
    """Inside, torch's random numbers are a function of `key`; afterwards they go on as if nothing had been drawn."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    states = [generator.get_state() for generator in generators]
    seed = int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())  # seed + step would meet across seeds
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.set_state(state)
