"""The answers of lesson 03: the functions that its learner writes, as the notebook shows them, and the predictions."""

import math

import torch
from torch import nn

from minidiff.exercises.core import question


def log_prob_on_a_line(x, f):
    """log p(x) in nats, (B,), at x (B,), where z = f(x) is standard normal and f rises everywhere."""
    x = x.detach().requires_grad_()
    z = f(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    return (-0.5 * (z**2 + math.log(2 * math.pi)) + slope.log()).detach()


class ActNorm(nn.Module):
    """One shift and one scale for each of D numbers: x (B, D) becomes z (B, D) and log_det (B,)."""

    def __init__(self, dims):
        super().__init__()
        self.shift, self.log_scale = nn.Parameter(torch.zeros(dims)), nn.Parameter(torch.zeros(dims))

    def forward(self, x):
        z = (x - self.shift) * self.log_scale.exp()
        return z, self.log_scale.sum().expand(len(x))

    def inverse(self, z):
        return z * (-self.log_scale).exp() + self.shift


class Coupling(nn.Module):
    """Numbers with mask 1 stay and decide how the others are scaled and shifted: x (B, D) to z (B, D), log_det (B,)."""

    def __init__(self, mask, net):
        super().__init__()
        self.mask, self.net = mask, net

    def scale_shift(self, x):
        log_s, t = (self.net(x * self.mask) * (1 - self.mask).repeat(2)).chunk(2, dim=1)
        return 3 * torch.tanh(log_s / 3), t

    def forward(self, x):
        log_s, t = self.scale_shift(x)
        return x * log_s.exp() + t, log_s.sum(1)

    def inverse(self, z):
        log_s, t = self.scale_shift(z)
        return (z - t) * (-log_s).exp()


def log_prob(layers, x):
    """log p(x) in nats, (B,), of x (B, D): each layer takes what the last one gave and returns z and log_det."""
    z, total = x, 0.0
    for layer in layers:
        z, log_det = layer(z)
        total = total + log_det
    return total - 0.5 * (z**2 + math.log(2 * math.pi)).sum(1)


def bits(log_p):
    """Bits for each of the 64 pixels, a number, from log p(y) (B,) in nats of digits spread over cells of width 1/8."""
    return -log_p.mean() / (64 * math.log(2)) + 3


def undo(layers, z):
    """The x (B, D) that the layers, one after the other, take to z (B, D)."""
    for layer in reversed(layers):
        z = layer.inverse(z)
    return z


def squeeze(x):
    """(B, 1, H, W) -> (B, 4, H/2, W/2): the four pixels of each 2x2 block, row by row, become four channels."""
    return torch.stack([x[:, 0, 0::2, 0::2], x[:, 0, 0::2, 1::2], x[:, 0, 1::2, 0::2], x[:, 0, 1::2, 1::2]], 1)


def conv1x1(x, weight):
    """x (B, C, H, W), weight (C, C) -> z (B, C, H, W) = weight @ x at each place, and log_det (B,)."""
    z = torch.einsum("ij,bjhw->bihw", weight, x)
    places = x.shape[2] * x.shape[3]  # the matrix acts once at each of them
    log_det = places * torch.linalg.slogdet(weight).logabsdet
    return z, log_det.expand(len(x))


question(
    "03.predict_slope",
    answer="b",
    hints={
        "a": "The area under the density must stay 1. If its width is halved, what happens to its height?",
        "c": "Ten points spread over 2 cm, or the same ten over 1 cm: where are more of them in a millimetre?",
    },
    why="z = 2x maps a piece of x twice as wide in z, so x holds its probability in half the room: twice the density",
)
question(
    "03.predict_network",
    answer="c",
    hints={
        "a": "Look at `inverse`: is the network ever run backwards there?",
        "b": "Then the RealNVP paper could not have put deep residual networks into it. Look at `inverse` again.",
    },
    why="the inverse computes the same log_s and t from the part that was passed on: the network is never inverted",
)
question(
    "03.predict_levels",
    answer="b",
    hints={
        "a": "Is there a limit? On a single value a density may be as high and as narrow as it likes.",
        "c": "Training raises the likelihood of exactly these values, and a density has no upper limit.",
    },
    why="a density may pile infinitely high peaks on the 17 levels, and between them nothing costs it anything",
)
