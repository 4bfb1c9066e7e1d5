"""What lesson 03's checks ask with: a normal density, a flow that bends, layers and what slips make of them."""

import math

import torch

from minidiff import flow


def normal(z):
    """log N(z; 0, 1) of each number."""
    return -0.5 * (z**2 + math.log(2 * math.pi))


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
