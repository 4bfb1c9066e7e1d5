"""The answers of lesson 13: what the learner writes, and the predictions."""

from functools import partial

import torch
import torch.nn.functional as F

from minidiff import guidance
from minidiff.exercises.core import question
from minidiff.sampler import last, sample


def noised(small, level, noise, schedule):
    """Small pictures (B, 3, h, w) with the noise of time `level`, a time for each picture (B,): small's shape."""
    alpha, sigma = schedule(level, like=small)  # (B, 1, 1, 1) each
    return alpha * small + sigma * noise


def shown(small, level):
    """What an enlarger sees: small pictures (B, 3, h, w) and their levels (B,) -> (B, 4, 2 h, 2 w)."""
    large = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    told = torch.ones_like(large[:, :1]) * level[:, None, None, None]
    return torch.cat([large, told], dim=1)


def enlarge(denoiser, small, level, noise, x, t):
    """Small pictures (B, 3, h, w) -> large ones (B, 3, 2 h, 2 w).

    level (B,): how much of `noise`, of small's shape, is put on small. x (B, 3, 2 h, 2 w): the pure noise to start
    from, t (N,): the falling times of the sampler.
    """
    told = shown(noised(small, level, noise, denoiser.schedule), level)
    denoise = guidance.clamp(partial(denoiser, cond=told))
    return last(sample(denoise, x, t, denoiser.schedule))


def thresholded(x0, quantile):
    """Estimates x0 (B, C, H, W) -> the same in [-1, 1]: dynamic thresholding, that quantile, a number in (0, 1)."""
    s = x0.flatten(1).abs().quantile(quantile, dim=1).clamp(min=1)  # (B,)
    s = s[:, None, None, None]
    return x0.clamp(-s, s) / s


def blurred(small, std):
    """Pictures (B, C, h, w) blurred by a Gaussian of `std` pixels, a number above 0, with 5 x 5 weights: same shape.

    Beyond the edge the pictures go on as they are there (padding of mode "replicate").
    """
    weights = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * std**2))
    weights = weights / weights.sum()
    channels = small.shape[1]
    kernel = (weights[:, None] * weights).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(small, (2, 2, 2, 2), mode="replicate"), kernel, groups=channels)


def guided(with_words, without, scale):
    """Two estimates of x0, of one shape -> the guided one in [-1, 1]: guidance first, and then a cut."""
    return (without + scale * (with_words - without)).clamp(-1, 1)


def joined(h, skip):
    """Two feature maps (B, C, H, W) and (B, D, H, W) -> (B, C + D, H, W): the skip connection scaled by 1/√2."""
    return torch.cat([h, skip / 2**0.5], dim=1)


question(
    "13.predict_generated",
    answer="c",
    hints={
        "a": "It has never seen a small picture with a mistake. Why should it mend one?",
        "b": "It follows the small picture closely, so it will draw something. But what does it do with a wrong pixel?",
    },
    why="a clean small picture was always right in training, so the enlarger believes every pixel of a drawn one, its "
    "mistakes too, and draws them large and sharp",
)
question(
    "13.predict_level",
    answer="b",
    hints={
        "a": "With no noise, more of the base's mistakes are believed. Is that what you want of a drawn picture?",
        "c": "At a high level the small picture is hardly to be seen. What would the enlarger draw then?",
    },
    why="a little noise covers small mistakes, and much noise covers what is drawn as well, so the best lies between; "
    "but look at the other enlarger too",
)
question(
    "13.predict_threshold",
    answer="a",
    hints={
        "b": "A cut to [-1, 1] leaves each number in range. But how many of them lie exactly on the edge of it?",
        "c": "Each is cut at the end, but one of them has brought its numbers well inside the range before that.",
    },
    why="guidance moves estimates beyond [-1, 1]; a cut, early or late, paints all of them black or white, while "
    "dynamic thresholding brings them back in proportion, and with them those that were white with good reason",
)
