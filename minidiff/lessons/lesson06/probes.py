"""What lesson 06's checks hold an attempt against: a network that notes what it is asked, and chains with a slip."""

import torch
from torch import nn

from minidiff import seeded
from minidiff.exercises import require, shaped


class Spy(nn.Module):
    """Answers ½ everywhere, by a weight if one is wanted, and keeps what it was asked."""

    def __init__(self, weight: bool = False):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5)) if weight else 0.5
        self.asked = []

    def forward(self, x, t, cond=None):
        self.asked.append((x, t))
        return torch.ones_like(x) * self.level


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


def chain(x, path, mean, std, shift=0, last=lambda *_: 0.0):
    """Algorithm 2 with another mean(x, eps, a, b, sigma_t) or std(a, b, sigma_t, sigma_s), or a slip of its own."""
    generator = seeded(1)
    steps = path.steps
    for i in range(steps, 0, -1):
        (_, sigma_t), (_, sigma_s) = path(i / steps), path((i - 1) / steps)
        a, b = path.transition(i / steps, (i - 1) / steps)
        x = mean(x, wave(x, torch.full((len(x),), (i - shift) / steps)), a, b, sigma_t)
        spread = std if i > 1 else last
        x = x + spread(a, b, sigma_t, sigma_s) * torch.randn(x.shape, generator=generator)
    return x


def mean_of(x, eps, a, b, sigma_t):
    return (x - b**2 / sigma_t * eps) / a


def std_of(a, b, sigma_t, sigma_s):
    return sigma_s * b / sigma_t


def large(a, b, sigma_t, sigma_s):
    return b


WRONG_MEANS = {  # hint -> the mean with that slip
    "eps is divided by sigma_t, the standard deviation, not by its square.": (
        lambda x, eps, a, b, sigma_t: (x - b**2 / sigma_t**2 * eps) / a
    ),
    "The mean is divided by a, the root of 1 - beta, not by 1 - beta.": (
        lambda x, eps, a, b, sigma_t: (x - b**2 / sigma_t * eps) / a**2
    ),
    "1 / a multiplies both parts of the mean, x_t and the noise.": (
        lambda x, eps, a, b, sigma_t: x - b**2 / sigma_t * eps / a
    ),
    "The predicted noise is multiplied by b² / sigma_t, not by b / sigma_t.": (
        lambda x, eps, a, b, sigma_t: (x - b / sigma_t * eps) / a
    ),
    "The mean is divided by a, not multiplied by it: a step back makes x larger.": (
        lambda x, eps, a, b, sigma_t: (x - b**2 / sigma_t * eps) * a
    ),
    "The sign: the predicted noise is taken away.": lambda x, eps, a, b, sigma_t: mean_of(x, -eps, a, b, sigma_t),
}
WRONG_STDS = {  # hint -> the standard deviation of the fresh noise with that slip
    "A square root is missing: that is the variance where the noise needs its root, sigma_s b / sigma_t.": (
        lambda *args: std_of(*args) ** 2
    ),
    "That is the large variance, b²: the posterior's std is sigma_s b / sigma_t.": large,
    "The standard deviation of the noise is sigma_s b / sigma_t: where is the division by sigma_t?": (
        lambda a, b, sigma_t, sigma_s: b * sigma_s
    ),
    "The fresh noise is added after the division by a, not before.": lambda a, *rest: std_of(a, *rest) / a,
    "The noise is never added: without it this is no draw of the chain.": lambda *_: 0.0,
}
