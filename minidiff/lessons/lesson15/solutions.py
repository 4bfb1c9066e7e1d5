"""The answers of lesson 15: the functions that the learner writes, and the predictions."""

import torch
from torch import nn

from minidiff.exercises.core import question


def embed(ids, table, row):
    """Vectors (B, L, D) of ids (B, L): of the table (V, D), which stays as it is, and of the new word's row (1, D)."""
    return torch.cat([table.detach(), row])[ids]


def prior_loss(losses, own, weight):
    """The mean of the first `own` losses (B,), of the thing, plus weight times the mean of the rest, of the prior."""
    return losses[:own].mean() + weight * losses[own:].mean()


def new_lora(out, into, rank):
    """down (rank, into) and up (out, rank) of a new LoRA, which changes nothing but can be trained."""
    down = torch.randn(rank, into) / into**0.5
    up = torch.zeros(out, rank)
    return down, up


def lora(x, weight, down, up, alpha):
    """x (B, into) through a layer's weight (out, into) and its LoRA, down (rank, into) and up (out, rank): (B, out)."""
    rank = len(down)
    return x @ weight.T + alpha / rank * (x @ down.T @ up.T)


def merge(weight, down, up, alpha, strength):
    """The weight (out, into) with a LoRA in it at that strength; down (rank, into), up (out, rank)."""
    rank = len(down)
    return weight + strength * alpha / rank * (up @ down)


def two_in_one(one, other, a, b):
    """One LoRA (down, up) that does what two do at strengths a and b; each is a pair (down, up), alpha = rank."""
    down = torch.cat([one[0], other[0]])
    up = torch.cat([a * one[1], b * other[1]], dim=1)
    return down, up


def hyper(words, key, value, key_net, value_net):
    """Keys and values (B, L, C) of words (B, L, D) that two networks change first; key, value: weights (C, D)."""
    return (words + key_net(words)) @ key.T, (words + value_net(words)) @ value.T


def zero_convolution(channels):
    """A layer (B, channels, H, W) -> the same shape: a convolution of single pixels that answers 0 until trained."""
    layer = nn.Conv2d(channels, channels, kernel_size=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


question(
    "15.predict_inversion",
    answer="b",
    hints={
        "a": "The new vector reaches the network by the same layers as every other. What do those know how to draw?",
        "c": "The vector is trained on the hen, so it will move towards whatever makes the error smallest.",
    },
    why="A new vector can only ask for what the network already knows how to draw, so it finds the closest thing to a "
    "hen in this world of plain figures.",
)

question(
    "15.predict_forgetting",
    answer="c",
    hints={
        "a": "All weights move, and every step pulls them towards the hen. Nothing in the loss speaks of circles.",
        "b": "The texts share most of their words: a photo, on the left, background. Which of them did it see?",
    },
    why="The network is only ever shown hens, with the same words around them, so nothing keeps its circles in place.",
)

question(
    "15.predict_random",
    answer="b",
    hints={
        "a": "What does a random layer answer, even to an empty sketch? Is that added to nothing, or to every level?",
        "c": "PyTorch's random numbers are small here, and the frozen network still hears the noise and the prompt.",
    },
    why="Small random numbers are added at every level and in every step. The network still draws what it is asked "
    "for, but it was never trained with such noise inside of it, so its pictures are blurred and their colours off.",
)
