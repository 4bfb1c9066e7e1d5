"""What lesson 13's checks try an attempt on: a denoiser of formulas, and the loop of enlarging with a slip in it."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import guidance
from minidiff.lessons.lesson13.solutions import noised, shown
from minidiff.sampler import last, sample
from minidiff.schedule import cosine


class Quick:
    """denoiser(x, t, cond) whose estimate shows x, the time and each channel of cond, and leaves [-1, 1]."""

    def __init__(self):
        self.schedule = cosine()

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """An estimate of x's shape."""
        return 0.3 * x + cond[:, :3] * 1.2 + 2 * cond[:, 3:] - 0.5 * t


def enlarge_with(small, level, noise, x, t, told=None, spoil=True, mode="bilinear", cut=True) -> Tensor:
    """The right loop with a slip.

    told: the level that the network hears, in place of the true one. spoil=False: no noise on small. mode: how small is
    enlarged. cut=False: estimates are not clamped.
    """
    denoiser = Quick()
    spoiled = noised(small, level, noise, denoiser.schedule) if spoil else small
    cond = shown(spoiled, level if told is None else told)
    if mode != "bilinear":
        cond = torch.cat([F.interpolate(spoiled, scale_factor=2, mode=mode), cond[:, 3:]], 1)
    denoise = partial(denoiser, cond=cond)
    return last(sample(guidance.clamp(denoise) if cut else denoise, x, t, denoiser.schedule))
