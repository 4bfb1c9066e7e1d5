"""The answers of lesson 01: the functions that its learner writes, as the notebook shows them, and the predictions."""

import torch
from torch import nn

from minidiff.exercises.core import question


def pca(x, code):
    """Of rows x (N, D): their mean (D,), the `code` directions (code, D) that vary most, and all the variances."""
    mean = x.mean(0)
    U, S, V = torch.linalg.svd(x - mean, full_matrices=False)
    variances = S**2 / len(x)
    return mean, V[:code], variances


class Autoencoder(nn.Module):
    """Pictures (B, 1, 16, 16) become codes (B, code), and pictures (B, 1, 16, 16) again."""

    def __init__(self, code=8, width=24):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),  # 16x16 -> 8x8
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),  # 8x8 -> 4x4
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * 4 * 4, 128),
            nn.SiLU(),
            nn.Linear(128, code),
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, 128),
            nn.SiLU(),
            nn.Linear(128, 2 * width * 4 * 4),
            nn.SiLU(),
            nn.Unflatten(1, (2 * width, 4, 4)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),  # 4x4 -> 8x8
            nn.SiLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),  # 8x8 -> 16x16
        )

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)

    def loss(self, x):
        return (self.decode(self.encode(x)) - x).square().mean()


def interpolate(z0, z1, steps):
    """Codes (steps, code) on the straight line from z0 (code,) to z1 (code,), both ends included."""
    t = torch.linspace(0, 1, steps)[:, None]  # (steps, 1)
    return (1 - t) * z0 + t * z1


def numbers_needed(variances, share):
    """The smallest code size whose error is at most `share` of all the variances (D,), in falling order: an int."""
    dropped = variances.sum() - variances.cumsum(0)  # what is left out with 1, 2, ... numbers
    return int((dropped > share * variances.sum()).sum()) + 1


def draw_codes(z, eps):
    """Of standard normal eps (n, code): n codes (n, code) with the mean and the covariance of the codes z (N, code)."""
    L = torch.linalg.cholesky(torch.cov(z.T))
    return z.mean(0) + eps @ L.T


def denoising_loss(model, x, noise):
    """The mean squared error between pictures x (B, C, H, W) and what the model makes of x + noise * eps: a scalar."""
    eps = torch.randn_like(x)
    return (model.decode(model.encode(x + noise * eps)) - x).square().mean()


def suspects(model, x, normal, share=0.05):
    """True (B,) for each picture of x (B, C, H, W) rebuilt worse than all but a `share` of `normal` (N, C, H, W)."""

    def error(pictures):
        return (model.decode(model.encode(pictures)) - pictures).square().flatten(1).mean(1)

    return error(x) > error(normal).quantile(1 - share)


def overall_spread(z):
    """The root of the mean squared distance of all numbers of the codes z (N, code) from their column's mean: ()."""
    return (z - z.mean(0)).square().mean().sqrt()


question(
    "01.predict_line",
    answer="b",
    hints={
        "a": "To follow the arc, the decoder must bend. PCA adds a multiple of one fixed direction to the mean.",
        "c": "All points in one place would need no number at all. PCA has one number a point.",
    },
    why="mean + z * direction runs along a straight line when z changes.",
)
question(
    "01.predict_numbers",
    answer="b",
    hints={
        "a": "9 numbers would mean that curves gain next to nothing over straight lines. Think of the arc.",
        "c": "With 60 numbers PCA loses next to nothing: too many.",
    },
    why="a curved set needs many straight directions to be covered.",
)
question(
    "01.predict_halfway",
    answer="c",
    hints={
        "a": "Averages of pixels move no stroke. Each stroke only gets fainter.",
        "b": "Only where the two pictures differ do the levels meet at grey. The strokes of both stay visible.",
    },
    why="the mean of two pictures shows both at half strength.",
)
question(
    "01.predict_random",
    answer="b",
    hints={
        "a": "The decoder was trained on codes of digits only. Nothing says that these lie where N(0, 1) falls.",
        "c": "The decoder has learnt strokes: whatever comes out is smooth, not pixel noise.",
    },
    why="the encoder spreads its codes much wider than N(0, 1) reaches, so most kinds of digit are never drawn.",
)
