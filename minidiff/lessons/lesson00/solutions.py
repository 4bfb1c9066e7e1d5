"""The answers of lesson 00: the functions that its learner writes, as the notebook shows them, and the predictions."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from minidiff.autoregressive import to_levels
from minidiff.exercises.core import question


class Painter(nn.Module):
    """label -> picture in one pass, taught by squared error; `noise` random numbers z go in beside the label."""

    def __init__(self, noise=0):
        super().__init__()
        self.noise = noise
        self.net = nn.Sequential(nn.Linear(10 + noise, 128), nn.SiLU(), nn.Linear(128, 64))

    def forward(self, y):
        z = torch.randn(len(y), self.noise, device=y.device)
        inputs = torch.cat([F.one_hot(y, 10), z], dim=1)  # (B, 10 + noise)
        return self.net(inputs).view(-1, 1, 8, 8)

    def loss(self, x, y):
        return (x - self(y)).square().mean()


def train(model, batches, steps, lr):
    """Train `model` for so many steps on batches[0], batches[1], …: a list of the losses, one float for each step."""
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for k in range(steps):
        loss = model.loss(*batches[k])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


class MaskedConv(nn.Conv2d):
    """A convolution that sees only the pixels before its own in reading order, and its own if `own`."""

    def __init__(self, channels_in, channels_out, kernel, own):
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + own :] = 0  # in its own row: what is to the right
        mask[kernel // 2 + 1 :] = 0  # all rows below
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def log_prob(model, x, y):
    """log p(x | y) in nats, (B,): the sum over the 64 pixels of log p(x_i | x_<i, y)."""
    k = to_levels(x)  # (B, 8, 8), 0 … 16
    log_p = model(x, y).log_softmax(dim=1)  # (B, 17, 8, 8)
    return log_p.gather(1, k[:, None]).sum((1, 2, 3))  # (B,)


@torch.no_grad()
def paint(model, labels, generator=None):
    """Draw pixel by pixel, one pass of the network each: yields all the pictures (B, 1, 8, 8) after each pixel."""
    x = torch.full((len(labels), 1, 8, 8), -1.0)
    for place in range(64):
        row, column = divmod(place, 8)
        p = model(x, labels)[:, :, row, column].softmax(dim=1)  # (B, 17)
        k = torch.multinomial(p, 1, generator=generator)[:, 0]  # (B,)
        x[:, 0, row, column] = k / 8 - 1
        yield x.clone()


def bits_per_dim(log_prob, dims):
    """The mean of -log_prob over the pictures (B,), in bits for each of `dims` pixels; log_prob is in nats."""
    return -log_prob.mean() / (dims * math.log(2))


def steadiest(x):
    """The picture c (1, 8, 8) with the smallest mean absolute error |x - c| to the pictures x (N, 1, 8, 8)."""
    return x.median(dim=0).values  # in every pixel: as many pictures brighter as darker


def tempered(logits, temperature):
    """Probabilities (B, 17) from logits (B, 17): softmax(logits / temperature); at 0 all on the largest."""
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=1), logits.shape[1]).float()
    return (logits / temperature).softmax(dim=1)


@torch.no_grad()
def finish(model, x, labels, rows, generator=None):
    """Keep the first `rows` rows of the pictures x (B, 1, 8, 8) and draw the others, given them and the labels."""
    x = x.clone()
    x[:, :, rows:] = -1.0
    for place in range(8 * rows, 64):
        row, column = divmod(place, 8)
        p = model(x, labels)[:, :, row, column].softmax(dim=1)
        x[:, 0, row, column] = torch.multinomial(p, 1, generator=generator)[:, 0] / 8 - 1
    return x


question(
    "00.predict_average",
    answer="b",
    hints={
        "a": "A typical 4 is far from most other 4s. Which one picture pays least, averaged over all of them?",
        "c": "The network has no dice: the same label gives the same picture.",
    },
    why="the mean of all 4s has the smallest mean squared error of any one picture.",
)
question(
    "00.predict_noise",
    answer="b",
    hints={
        "a": "To use z would need to know which z belongs to which 4. They are paired at random, anew each time.",
        "c": "z is random, but a network may learn to give it the weight 0.",
    },
    why="z says nothing of which 4 is the right answer, so the best drawing is still the average.",
)
question(
    "00.predict_passes",
    answer=64,
    hints={
        1: "One pass gives the probabilities of every pixel, but each needs the levels drawn before it as its input.",
        6400: "The 100 pictures go through the network together, as one batch.",
        17: "That is the number of levels. One pass gives the probabilities of all of them.",
    },
    why="one pass for each of the 8 x 8 pixels; the batch shares them.",
)
question(
    "00.predict_own",
    answer="a",
    hints={
        "b": "Ask what the network must do to predict a pixel that is among its inputs.",
        "c": "Nothing crashes: the shapes are the same. That is what makes the bug hard to see.",
    },
    why="the answer is among the inputs, and copying it is all that is learned.",
)
