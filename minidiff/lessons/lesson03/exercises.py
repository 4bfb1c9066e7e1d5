"""Lesson 03's checks: change of variables, the layers of a flow by hand, and Glow's 1x1 convolution."""

import math

import torch
from torch import nn

from minidiff import flow
from minidiff.exercises import close, exercise, require, shaped
from minidiff.exercises.compare import NotAttempted
from minidiff.lessons.lesson03 import solutions
from minidiff.lessons.lesson03.probes import (
    act_norm_backwards,
    awake,
    bend,
    chain_slips,
    conv_slips,
    coupling_backwards,
    coupling_slips,
    filled,
    line_slips,
    normal,
)
from minidiff.metrics import bits_per_dim


@exercise(
    "03.line",
    solution=solutions.log_prob_on_a_line,
    core=True,
    hints=(
        "`(slope,) = torch.autograd.grad(z.sum(), x)` has the slope at each x.",
        "`-0.5 * (z**2 + math.log(2 * math.pi)) + slope.log()`, and `.detach()` at the end.",
    ),
)
def _(attempt):
    x = torch.linspace(-2, 2, 9)
    got = shaped(attempt(x, bend), (9,), "One number for each x.")
    slope = 1 + 0.8 * torch.cos(2 * x)
    close(got, normal(bend(x)) + slope.log(), "Not log N(f(x)) + log f'(x).", slips=line_slips(x, slope))


def _both(result) -> tuple:
    if result is ...:
        raise NotAttempted
    require(isinstance(result, tuple | list) and len(result) == 2, "Return two things: z and log_det.")
    return result


def _layer(attempt, *arguments):
    """A layer and what it makes of x (6, 3): x, z, log_det. Any number of rows will do, and x stays as it is."""
    layer = attempt(*arguments)
    x = torch.randn(6, 3)
    before = x.clone()
    z, log_det = _both(layer(x))
    require(torch.equal(x, before), "Your layer changes the x that it was given: make a new tensor for z.")
    shaped(z, (6, 3), "z has the shape of x.")
    shaped(log_det, (6,), "One log_det for each row: sum over its numbers, and expand to the rows.")
    shaped(_both(layer(x[:2]))[1], (2,), "Right for 6 rows and not for 2: there are len(x) of them.")
    return layer, x, z, log_det


@exercise(
    "03.act_norm",
    solution=solutions.ActNorm,
    core=True,
    hints=(
        "`z = (x - self.shift) * self.log_scale.exp()`.",
        "`self.log_scale.sum().expand(len(x))` is one log_det for all rows. The inverse divides, then shifts back.",
    ),
)
def _(attempt):
    theirs = flow.ActNorm(3).eval()
    theirs.shift.data, theirs.log_scale.data = torch.randn(3), torch.tensor([0.5, -1.0, 0.2])
    shift, scale = theirs.shift.data, theirs.log_scale.exp().data
    layer, x, z, log_det = _layer(lambda dims: filled(attempt(dims), theirs), 3)
    right, total = theirs(x)
    slips = {
        "log_scale is a logarithm: multiply by its exponential.": (x - shift) * theirs.log_scale.data,
        "Shift first, then scale: (x - shift) * scale.": x * scale - shift,
        "The shift is taken away: (x - shift) * scale.": (x + shift) * scale,
        "Multiply by the scale, do not divide: then +log_scale is what log_det adds up.": (x - shift) / scale,
    }
    close(z, right, "Not (x - shift) exp(log_scale).", slips=slips)
    close(log_det, total, "Not the sum of log_scale.", slips=_log_det_slips(total, scale))
    back = "inverse(forward(x)) is not x: divide by the scale first, then add the shift."
    close(layer.inverse(z), x, back, slips=act_norm_backwards(z, shift, scale))


def _log_det_slips(total, scale) -> dict:
    """Hint -> the log_det of an act-norm with that slip."""
    return {
        "The log of a product of scales is the sum of their logs: sum, no mean.": total / 3,
        "The sign: scaling up by 2 has log_det +log 2.": -total,
        "log_det adds up the logs of the scales, not the scales.": scale.sum().expand(6),
        "The logarithm of the product of the scales, not the product: the sum of log_scale.": scale.prod().expand(6),
        "Each row has its own log_det: do not count the batch.": 6 * total,
    }


@exercise(
    "03.coupling",
    solution=solutions.Coupling,
    core=True,
    hints=(
        "`log_s, t = self.scale_shift(x)` in forward, and `self.scale_shift(z)` in inverse: both see the same numbers.",
        "`(z - t) * (-log_s).exp()` undoes `x * log_s.exp() + t`. The log_det is `log_s.sum(1)`.",
    ),
)
def _(attempt):
    mask = torch.tensor([1.0, 0.0, 1.0])
    net = nn.Linear(3, 6).requires_grad_(False)
    layer, x, z, log_det = _layer(attempt, mask, net)
    right, total = flow.Coupling(mask, net)(x)
    lost = "The numbers with mask 1 came out as 0. There log_s is 0, and the factor that keeps them is exp(0) = 1."
    require(z[:, [0, 2]].any(), lost)
    kept = torch.allclose(z[:, [0, 2]], x[:, [0, 2]])
    require(kept, "The numbers with mask 1 must come out unchanged: multiply log_s and t by 1 - mask.")
    close(z[:, 1], right[:, 1], "Not x exp(log_s) + t.", slips=coupling_slips(x, net, mask))
    slips = {
        "The sign: log_det is +log_s, as z = x exp(log_s) + t.": -total,
        "log_det adds up log_s itself: a sum of logarithms, without the exponential.": 2 + total.exp(),
        "Sum log_s, no mean.": total / 3,
        "Only what is scaled counts: log_s is 0 where the mask is 1.": (3 * (net(x * mask)[:, :3] / 3).tanh()).sum(1),
    }
    close(log_det, total, "log_det is the sum of log_s over the numbers.", slips=slips)
    back = "inverse(forward(x)) is not x: the same log_s and t, read from z, then (z - t) exp(-log_s)."
    close(layer.inverse(z), x, back, slips=coupling_backwards(layer, z), atol=1e-4)


@exercise(
    "03.log_prob",
    solution=solutions.log_prob,
    core=True,
    hints=(
        "Loop over the layers: `z, log_det = layer(z)`, and add up the log_dets.",
        "`-0.5 * (z**2 + math.log(2 * math.pi))`, summed over each row, is the log of the standard normal density.",
    ),
)
def _(attempt):
    model = awake(3, couplings=2)
    x = torch.randn(5, 3)
    got = shaped(attempt(model.layers, x), (5,), "One number for each row: sum over its numbers.")
    close(got, model.log_prob(x), "Not log N(z; 0, I) plus the sum of all log_dets.", slips=chain_slips(model, x))


@exercise(
    "03.bits",
    solution=solutions.bits,
    core=True,
    hints=("Minus the mean, divided by 64 log 2. What does the volume of a cell add?",),
)
def _(attempt):
    log_p = 40 + 20 * torch.randn(30)
    nats = -log_p.mean() / 64
    bits = -log_p.mean() / (64 * math.log(2))
    slips = {
        "Divide by log 2: that is nats, not bits.": nats + 3,
        "Divide by the 64 pixels.": 64 * bits + 3,
        "The 3 is missing: a cell is 1/8 wide in each pixel, log2(8) = 3 bits.": bits,
        "Add the 3: a density is 8 times the probability of its cell, so it alone promises too few bits.": bits - 3,
        "Minus the log: the likelier, the fewer bits.": -bits + 3,
        "The sign of the whole: minus the log of the probability of the levels.": -bits - 3,
        "Divide by log 2, do not multiply by it: a nat is 1.44 bits.": nats * math.log(2) + 3,
        "The 3 is in bits, log2(8). In nats it would be log 8, before the division by log 2.": bits + math.log(8),
        "The 3 is in bits already: only the nats are divided by log 2.": bits + 3 / math.log(2),
        "3 bits for each pixel: all else is divided by 64 already.": bits + 3 * 64,
        "The mean over the digits, not their sum.": 30 * bits + 3,
        "The 3 is bits already: add it after dividing.": bits + 3 / 64,
    }
    close(attempt(log_p), bits_per_dim(log_p, 64) + 3, "Not -log p / (64 log 2) + 3.", slips=slips)


@exercise("03.undo", solution=solutions.undo, hints=("The last layer is undone first: `reversed(layers)`.",))
def _(attempt):
    model = awake(2, couplings=3)
    count = len(model.layers)
    x = torch.randn(7, 2)
    with torch.no_grad():
        z, _ = model(x)
        slips = {
            "Shoes come off before socks: the last layer is undone first.": solutions.undo(model.layers[::-1], z),
            "Each layer undoes what the one after it gave, not z again.": model.layers[0].inverse(z),
            "Only the last layer is undone: does `return` stand inside the loop?": model.layers[-1].inverse(z),
            "One layer is left: the first one is undone too.": solutions.undo(model.layers[1:], z),
            "That goes forward once more: call each layer's inverse.": model(z)[0],
        }
        got = shaped(attempt(model.layers, z), (7, 2), "x has the shape of z.")
        require(len(model.layers) == count, "Your code takes layers away: the caller still needs them.")
        close(got, x, "Not the x that the layers take to z.", slips=slips, rtol=1e-3, atol=1e-3)


@exercise(
    "03.squeeze",
    solution=solutions.squeeze,
    hints=(
        "`x[:, 0, 0::2, 0::2]` has the upper left pixel of each block: every second row and column.",
        "Stack the four of them along dimension 1, row by row.",
    ),
)
def _(attempt):
    x = torch.randn(3, 1, 4, 6)
    hint = "Four channels of half the height and half the width: every second row and column, x[:, 0, 0::2, 0::2]."
    got = shaped(attempt(x), (3, 4, 2, 3), hint)
    require(torch.equal(got.flatten().sort().values, x.flatten().sort().values), "Each pixel must come out, once.")
    quarters = x[:, 0].unflatten(1, (2, 2)).unflatten(3, (2, 3)).permute(0, 1, 3, 2, 4).flatten(1, 2)
    right = solutions.squeeze(x)
    slips = {
        "Those are the four quarters of the picture. Neighbours belong together: 0::2, not :half.": quarters,
        "A plain reshape cuts the picture into strips of rows: the 2x2 blocks are lost.": x.reshape(3, 4, 2, 3),
        "Row by row: first the upper two pixels of a block, then the lower two.": right[:, [0, 2, 1, 3]],
    }
    close(got, right, "Channel k is pixel k of each 2x2 block, counted row by row.", slips=slips)


@exercise(
    "03.conv1x1",
    solution=solutions.conv1x1,
    core=True,
    hints=(
        '`torch.einsum("ij,bjhw->bihw", weight, x)` multiplies at each place.',
        "There are H W blocks: `x.shape[2] * x.shape[3]` times `torch.linalg.slogdet(weight).logabsdet`.",
    ),
)
def _(attempt):
    x = torch.randn(4, 3, 2, 5)
    weight = torch.randn(3, 3)
    z, log_det = _both(attempt(x, weight))
    shaped(z, (4, 3, 2, 5), "z has the shape of x.")
    shaped(log_det, (4,), "One log_det for each picture: .expand(len(x)).")
    right = nn.functional.conv2d(x, weight[:, :, None, None])
    slips = {"Row i of the weight makes channel i: that is the transposed matrix.": solutions.conv1x1(x, weight.T)[0]}
    close(z, right, "At every place: weight @ (the C numbers there).", slips=slips, atol=1e-4)
    one = torch.linalg.slogdet(weight).logabsdet
    close(log_det, (10 * one).expand(4), "Not H W log|det weight|.", slips=conv_slips(one), rtol=1e-3)
    small = _both(attempt(x[:2, :, :, 1:], weight))[1]
    close(small, (8 * one).expand(2), "Right for 2 by 5 places and not for 2 by 4: count them by x.shape.", rtol=1e-3)
    turned = attempt(x, weight[[1, 0, 2]])[1]  # two rows exchanged: the determinant's sign turns
    require(turned.isfinite().all(), "A determinant may be negative: |det| before the log, or torch.linalg.slogdet.")
