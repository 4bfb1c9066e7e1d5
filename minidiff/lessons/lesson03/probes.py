"""What lesson 03's checks ask with: a normal density, a flow that bends, layers and what slips make of them."""

import math

import torch

from minidiff import flow


def normal(z):
    """log N(z; 0, 1) of each number."""
    return -0.5 * (z**2 + math.log(2 * math.pi))


def bend(x):
    """A function that rises everywhere, in some places by less than 1 and in others by more."""
    return x + 0.4 * torch.sin(2 * x)


def line_slips(x, slope) -> dict:
    """Hint -> log p of x under `bend` with that slip."""
    z = bend(x)
    base = normal(z)
    half = 0.5 * math.log(2 * math.pi)
    return {
        "The slope is missing: add the log of dz/dx.": base,
        "Add the log of the slope: where z rises steeply, much of z falls into little x.": base - slope.log(),
        "The slope goes in as its log: a product of densities is a sum of logs.": base + slope,
        "The normal density is that of z, not of x.": normal(x) + slope.log(),
        "The ½ log 2π of the normal density is missing.": base + half + slope.log(),
        "Both parts of log N(z; 0, 1) have a minus sign, ½ log 2π too.": base + 2 * half + slope.log(),
        "Minus ½ z²: the further from 0, the rarer.": base + z**2 + slope.log(),
        "Half of z², and half of log 2π: one of the halves is missing.": base - 0.5 * z**2 + slope.log(),
        "Half of log 2π, as of z².": base - half + slope.log(),
        "That is the density: return its logarithm.": base.exp() * slope,
        "The log of the slope keeps its sign: where f rises slowly, x is rarer.": base + slope.log().abs(),
    }


def act_norm_backwards(z, shift, scale) -> dict:
    """Hint -> what `inverse` gives with that slip."""
    return {
        "inverse is forward once more: divide by the scale, and then add the shift.": (z - shift) * scale,
        "To undo the scale, divide by it: exp(-log_scale).": z * scale + shift,
        "The inverse adds the shift.": z / scale - shift,
        "The inverse divides by the exponential of log_scale.": z / scale.log() + shift,
    }


def filled(layer, like):
    """The layer with the shift and the scale of another one."""
    layer.shift.data = like.shift.data.clone()
    layer.log_scale.data = like.log_scale.data.clone()
    return layer


def coupling_slips(x, net, mask) -> dict:
    """Hint -> what the slip makes of the second number of each row, the only one that changes."""
    out = net(x * mask)
    log_s = 3 * torch.tanh(out[:, 1] / 3)
    t = out[:, 4]
    return {
        "The network may see only what passes unchanged: net(x * mask).": _one(x, net(x)),
        "Scale first, then shift: x exp(log_s) + t.": (x[:, 1] + t) * log_s.exp(),
        "log_s is a logarithm: multiply by its exponential.": x[:, 1] * log_s + t,
        "The first half of what the network gives is log_s, the second half t.": _one(x, out.roll(3, 1)),
        "Keep log_s within ±3, by 3 tanh(log_s / 3).": _one(x, out, lambda s: s),
        "The shift is added: x exp(log_s) + t.": x[:, 1] * log_s.exp() - t,
        "The shift is missing: x exp(log_s) + t.": x[:, 1] * log_s.exp(),
        "Multiply by exp(log_s), do not divide.": x[:, 1] * (-log_s).exp() + t,
        "scale_shift returns log_s first and t second: they are exchanged.": x[:, 1] * t.exp() + log_s,
    }


def coupling_backwards(layer, z) -> dict:
    """Hint -> what `inverse` gives with that slip."""
    log_s, t = layer.scale_shift(z)
    return {
        "inverse is forward once more: take t away, and then divide by exp(log_s).": z * log_s.exp() + t,
        "Take t away: (z - t) exp(-log_s).": (z + t) * (-log_s).exp(),
        "To undo the scale, multiply by exp(-log_s).": (z - t) * log_s.exp(),
        "Take t away first, and then undo the scale: the last thing done is undone first.": z * (-log_s).exp() - t,
    }


def _one(x, out, bound=lambda s: 3 * torch.tanh(s / 3)):
    """The second number of each row under a slip, from the network's whole output."""
    return x[:, 1] * bound(out[:, 1]).exp() + out[:, 4]


@torch.no_grad()
def awake(dims, couplings):
    """A new flow is nearly the identity, and slips would not show: every weight is moved."""
    model = flow.Flow((dims,), couplings, width=8).eval()
    for weight in model.parameters():
        weight.add_(0.4 * torch.randn_like(weight))
    return model


@torch.no_grad()
def chain_slips(model, x) -> dict:
    """Hint -> log p of x (B, 3) under the flow with that slip."""
    z, total = model(x)
    layers = model.layers
    right = normal(z).sum(1)
    first, its_log_det = layers[0](x)
    fed_x = normal(layers[-1](x)[0]).sum(1) + sum(layer(x)[1] for layer in layers)
    return (
        {
            "The log_dets are missing: add those of all layers.": right,
            "The log_dets are added: what stretches x towards z makes x denser.": right - total,
            "Each layer takes what the last one gave: the normal density is that of the last z.": total
            + normal(x).sum(1),
            "Each layer takes what the last one gave, not x again.": fed_x,
            "It stops after the first layer: does `return` stand inside the loop?": normal(first).sum(1) + its_log_det,
            "That is minus the log-likelihood, the loss: turn the sign of the whole.": -total - right,
        }
        | _normal_slips(z, total)
        | _log_det_slips(layers, z, total, its_log_det)
    )


def _normal_slips(z, total) -> dict:
    right = normal(z).sum(1)
    log_2pi = math.log(2 * math.pi)
    return {
        "The log 2π is missing: each of the D numbers brings ½ log 2π.": total - 0.5 * (z**2).sum(1),
        "Both parts of the log-density have a minus sign, ½ log 2π too.": total + right + 3 * log_2pi,
        "Minus ½ z²: the further from 0, the rarer.": total + right + (z**2).sum(1),
        "Half of z²: the log-density has -½ z².": total + right - 0.5 * (z**2).sum(1),
        "Sum over the numbers of a row, no mean.": total + right / 3,
        "Each of the D numbers brings its own ½ log 2π, not one for the row.": total + right + log_2pi,
    }


def _log_det_slips(layers, z, total, first) -> dict:
    right = normal(z).sum(1)
    return {
        "Only the last layer's log_det is there: add up all of them.": right + _last_log_det(layers, z),
        "Only the first layer's log_det is there: add up all of them.": right + first,
        "The log_dets of a chain are added up, no mean.": right + total / len(layers),
    }


def _last_log_det(layers, z):
    """The log_det of the last layer, where it gave z."""
    return layers[-1](layers[-1].inverse(z))[1]


def conv_slips(one) -> dict:
    """Hint -> the log_det of 4 pictures of 3 channels, 2 by 5 places, with that slip; `one` is log|det weight|."""
    return {
        hint: value.expand(4)
        for hint, value in {
            "That is the log|det| of one place: the matrix acts at all H W of them.": one,
            "The matrix acts once at each place, whatever C is: H W times, not C H W.": 30 * one,
            "The matrix acts at each place, not on each channel: H W times, not C.": 3 * one,
            "Each picture has its own log_det: do not count the batch.": 40 * one,
            "Those are the rows of places alone: there are H W places.": 2 * one,
            "Those are the places of one row alone: there are H W places.": 5 * one,
            "The sign: what multiplies volumes by |det| has log_det +log|det|.": -10 * one,
            "Take the logarithm of |det|.": 10 * one.exp(),
            "The natural logarithm: log_det is in nats.": 10 * one / math.log(2),
        }.items()
    }
