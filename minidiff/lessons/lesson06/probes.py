"""What lesson 06's checks hold an attempt against: a network that notes what it is asked, and chains with a slip."""

import torch
from torch import nn

from minidiff import seeded
from minidiff.exercises import require, shaped


class Spy(nn.Module):
    """Answers ½ everywhere and keeps what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x, t, cond=None):
        self.asked.append((x, t))
        return torch.full_like(x, 0.5)


def asked(attempt, x0, path):
    """What the attempt's loss shows a network for x0, and its value."""
    spy = Spy()
    loss = shaped(attempt(spy, x0, path), (), "The loss is one number: the mean over pictures and pixels.")
    require(len(spy.asked) == 1, "Ask the network once, with all pictures: net(x, t).")
    x, t = spy.asked[0]
    shaped(x, tuple(x0.shape), "The network is shown noisy pictures of x0's shape: use schedule(t, like=x0).")
    shaped(t, (len(x0),), "Each picture has a time of its own: t is (B,), one random place of the grid a row.")
    return loss, x, t


def wave(x, t, cond=None):
    """A network without weights, different at every time, under which the chain stays of about unit size."""
    return 0.8 * x + 0.3 * (3 * x + 5 * t.reshape(-1, *[1] * (x.ndim - 1))).sin()


def chain(x, path, mean, std, shift=0):
    """Algorithm 2 with another mean(x, eps, a, b, sigma_t), std(a, b, sigma_t, sigma_s), or a shifted time."""
    generator = seeded(1)
    steps = path.steps
    for i in range(steps, 0, -1):
        (_, sigma_t), (_, sigma_s) = path(i / steps), path((i - 1) / steps)
        a, b = path.transition(i / steps, (i - 1) / steps)
        x = mean(x, wave(x, torch.full((len(x),), (i - shift) / steps)), a, b, sigma_t)
        x = x + std(a, b, sigma_t, sigma_s) * torch.randn(x.shape, generator=generator) * (i > 1)
    return x


def mean_of(x, eps, a, b, sigma_t):
    return (x - b**2 / sigma_t * eps) / a


def std_of(a, b, sigma_t, sigma_s):
    return sigma_s * b / sigma_t
