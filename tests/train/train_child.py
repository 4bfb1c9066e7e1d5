"""What the tests of training run in other processes: a run to be killed, two processes under torchrun, bfloat16."""

import json
import math
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from minidiff.flow import Flow
from minidiff.train import Ema, fit, loop


class Line(nn.Module):
    """A small model of y (B, 1) by x (B, 3) with every kind of state: weights, buffers (batch norm), dropout's draws.

    It keeps the dtype of its last output and whether it was in train mode.
    """

    def __init__(self, dropout=0.3, norm=True):
        super().__init__()
        middle = nn.BatchNorm1d(8) if norm else nn.SiLU()
        self.net = nn.Sequential(nn.Linear(3, 8), middle, nn.Dropout(dropout), nn.Linear(8, 1))
        self.seen = None

    def terms(self, x, y):
        out = self.net(x)
        self.seen = out.dtype, self.training
        error, size = (out - y).square().mean(), out.abs().mean()
        return {"loss": error + 0.01 * size, "error": error, "size": size}

    def loss(self, x, y):
        return self.terms(x, y)["loss"]


class Scalar(nn.Module):
    """A model of one weight whose loss is what the test says: f(weight, *batch)."""

    def __init__(self, f):
        super().__init__()
        self.weight, self.f = nn.Parameter(torch.tensor(2.0)), f

    def loss(self, *batch):
        return self.f(self.weight, *batch)


ONES = [(torch.ones(2),)] * 500


def line(seed=0, **options):
    """A Line built from its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Line(**options)


def batches(count, rows=8):
    """A list of `count` pairs x (rows, 3), y (rows, 1)."""
    x = torch.randn(count, rows, 3, generator=torch.Generator().manual_seed(1))
    return [(rows, rows.sum(1, keepdim=True)) for rows in x]


def weights(*modules):
    """Everything in the modules' states as one float64 vector: equal for equal bits."""
    return torch.cat([x.double().flatten() for module in modules for x in module.state_dict().values()])


def killable(state, out, steps, stop, pipe):
    """A run with a state file that says on `pipe` where it is and waits there for its end.

    stop: a step; "half", in the middle of a write; "rename", between a write and its renaming; None, never. What is
    left at the end goes to `out`. The pipe gets the first step taken, then `stop`.
    """
    loop.CHECK_EVERY, loop.SAVE_SECONDS = 3, 0.0
    torch.set_num_threads(1)

    def announce(*_):
        pipe.send(stop)
        time.sleep(600)

    def half(_, file):
        file.write(b"PK half of a state")
        file.flush()
        announce()

    if stop == "half":
        torch.save = half
    if stop == "rename":
        os.replace = announce
    model = line()
    ema = Ema(model, 0.9)
    for count, tick in enumerate(fit(model, batches(steps), steps, ema=ema, resume=state)):
        if not count:
            pipe.send(tick.step)
        if tick.step == stop:
            announce()
    torch.save(weights(model, ema.model), out)


def write_often(state, steps):
    """A run that writes its state after each step."""
    loop.CHECK_EVERY, loop.SAVE_SECONDS = 1, 0.0
    for _ in fit(line(), batches(steps), steps, resume=state):
        pass


def two_processes(folder):
    """Under torchrun: {name: result} of what two processes do together, as JSON in folder/RANK.json."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    result = {"world": accelerator.num_processes, "rank": accelerator.process_index}
    result |= {"gradients": _gradients(accelerator)}
    result |= {"rows": _share(accelerator), "weights": _together(accelerator), "resumed": _resumed(accelerator, folder)}
    result |= {"started": _started(accelerator)}
    result |= {"losses": _drawn(accelerator), "steps": _by_the_clock(accelerator)}
    result |= {"uneven": _uneven(accelerator), "broken": _broken(accelerator, folder)}
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(result))
    accelerator.end_training()


def _share(accelerator):
    """Which rows of 0 to 7 the model gets."""
    model, rows = line(norm=False), []
    model.net.register_forward_pre_hook(lambda _, inputs: rows.extend(inputs[0][:, 0].tolist()))
    x = torch.arange(8.0)[:, None].repeat(1, 3)
    list(fit(model, [(x, x[:, :1])], 1, accelerator=accelerator))
    return rows


def _together(accelerator):
    """Starts apart: the first process's weights are everyone's."""
    model = line(seed=accelerator.process_index, dropout=0.0, norm=False)
    for _ in fit(model, batches(12), 12, lr=0.01, accelerator=accelerator):
        pass
    return weights(model).tolist()


def _started(accelerator):
    """Weights of a layer that takes the first ones from its rows."""
    flow = Flow(couplings=2, width=8)
    points = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(2))
    list(fit(flow, [(x,) for x in points], 3, accelerator=accelerator))
    return weights(flow).tolist()


def _gradients(accelerator):
    """Of the first step, averaged over the processes."""
    model = line(dropout=0.0, norm=False)
    next(fit(model, batches(1), 1, accelerator=accelerator))
    return torch.cat([weight.grad.flatten() for weight in model.parameters()]).tolist()


def _resumed(accelerator, folder):
    loop.CHECK_EVERY, loop.SAVE_SECONDS = 4, 0.0
    state = folder / "together"
    for tick in fit(line(dropout=0.0, norm=False), batches(12), 12, lr=0.01, accelerator=accelerator, resume=state):
        if tick.step == 6:
            break
    model = line(seed=1, dropout=0.0, norm=False)
    steps = [tick.step for tick in fit(model, batches(12), 12, lr=0.01, accelerator=accelerator, resume=state)]
    return steps[0], weights(model).tolist()


def _drawn(accelerator):
    """The loss of one step on equal rows: it differs between the processes by dropout alone."""
    x = torch.ones(8, 3)
    [tick] = fit(line(norm=False), [(x, x[:, :1])], 1, accelerator=accelerator)
    return tick.loss.item()


def _by_the_clock(accelerator):
    """Process 1 is the slower one."""
    count = 0
    for _ in fit(line(), batches(10_000), seconds=0.3, accelerator=accelerator):
        count += 1
        time.sleep(0.02 * accelerator.process_index)
    return count


def _uneven(accelerator):
    try:
        next(fit(line(), batches(1, rows=7), 1, accelerator=accelerator))
    except ValueError as error:
        return str(error)


def _broken(accelerator, folder):
    """One row of step 5 is infinite, in process 1's share."""
    data = batches(8)
    data[5][0][1] = math.inf
    try:
        for _ in fit(line(norm=False), data, 8, accelerator=accelerator, resume=folder / "broken"):
            pass
    except FloatingPointError as error:
        return str(error)


def half_precision(folder):
    """The dtype in which a model computes under an accelerator with mixed_precision "bf16"; then two more runs."""
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    model = line()
    losses = [tick.loss for tick in fit(model, batches(30), 30, lr=0.05, accelerator=accelerator)]
    seen = model.seen
    model.loss(*batches(1)[0])
    result = {"inside": str(seen[0]), "outside": str(model.seen[0]), "loss": str(losses[0].dtype)}
    result |= {"weights": str(model.net[0].weight.dtype), "fall": losses[-1].item() / losses[0].item()}
    (folder / "bf16.json").write_text(json.dumps(result))


if __name__ == "__main__":
    {"two": two_processes, "bf16": half_precision}[sys.argv[1]](Path(sys.argv[2]))
