"""Training: `fit` steps a model and yields after each step, `run` consumes that behind a bar, `Ema` averages it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from minidiff import expect
from minidiff.ema import Ema
from minidiff.loop import Loop, Tick
from minidiff.progress import run

__all__ = ["Ema", "Tick", "fit", "run"]


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
    return _Training(model, batches, steps, seconds, lr, seed, ema, resume, accelerator)


class _Training(Loop):
    """One optimiser, one loss."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.terms = self.processes.prepare(self.model)

    def make_optimisers(self) -> list[torch.optim.Optimizer]:
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        if not self.weights:
            raise ValueError("model: got no weight that requires a gradient, expected at least one")
        return [torch.optim.AdamW(self.weights, fused=True)]  # fused: one call for all weights

    def learn(self) -> tuple[dict[str, Tensor], Tensor]:
        [optimiser], terms = self.optimisers, self.terms(*self.batch(self.step))
        loss = expect.tensor("model.loss", terms.get("loss"), "")
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.weights, 1.0)
        optimiser.step()
        return terms, norm
