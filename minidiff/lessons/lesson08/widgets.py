"""Lesson 08's widgets: scale and label, two labels at once, guidance between two times. Each returns an Explorer.

Few pictures and few steps, so that an answer takes about a tenth of a second; every picture is kept once drawn.
"""

import torch
from torch import Tensor

from minidiff import seeded
from minidiff.denoiser import Denoiser
from minidiff.guidance import Denoise, cfg, clamp, interval
from minidiff.sampler import last, sample, times
from minidiff.widgets import Choice, Explorer, Slider, Stops

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
STEPS = 8


def scale_and_label(model: Denoiser, n: int = 8, seed: int = 0) -> Explorer:
    """n pictures of one label from the same noise, at any scale of classifier-free guidance."""
    noise = _noise(model, n, seed)

    def draw(scale, label):
        labels = torch.full((n,), label)
        return _drawn(model, cfg(model, labels, model.null, scale), noise)

    return Explorer(
        draw,
        alt=f"{n} digits of label {{label}} from the same noise at guidance scale {{scale}}",
        columns=n // 2,
        scale=Stops("scale", SCALES, 1.0),
        label=Choice("label", range(10), 8),
    ).add_class("scale")


def two_labels(model: Denoiser, n: int = 6, scale: float = 2.0, seed: int = 3) -> Explorer:
    """n pictures guided to two labels at once: the share of the pull that each has is the slider's."""
    noise, null = _noise(model, n, seed), torch.full((n,), model.null)

    def draw(share, first, second):
        labels = torch.cat([torch.full((n,), first), torch.full((n,), second), null])

        def mixed(x: Tensor, t: Tensor) -> Tensor:
            a, b, without = model(x.repeat(3, 1, 1, 1), t, labels).chunk(3)
            return without + scale * ((1 - share) * a + share * b - without)

        return _drawn(model, mixed, noise)

    return Explorer(
        draw,
        alt=f"{n} pictures between the labels {{first}} and {{second}}, {{share}} of the way",
        columns=n // 2,
        share=Slider("share of the second", 0.0, 1.0, 0.1, 0.5),
        first=Choice("first label", range(10), 3),
        second=Choice("second label", range(10), 8),
    ).add_class("mix")


def between_times(model: Denoiser, scale: float = 6.0, seed: int = 5) -> Explorer:
    """The labels 0 to 9 from the same noise, guided only at times from `low` to `high`, by their labels at others."""
    noise = _noise(model, 10, seed)
    labels = torch.arange(10)
    guided = cfg(model, labels, model.null, scale)

    def draw(low, high):
        low, high = min(low, high), max(low, high)
        return _drawn(model, interval(guided, lambda x, t: model(x, t, labels), low, high), noise)

    return Explorer(
        draw,
        alt=f"digits 0 to 9, guided with scale {scale:g} at times between {{low}} and {{high}}",
        columns=5,
        low=Slider("guided from t", 0.0, 1.0, 0.125, 0.0),
        high=Slider("to t", 0.0, 1.0, 0.125, 1.0),
    ).add_class("interval")


def _noise(model: Denoiser, n: int, seed: int) -> Tensor:
    return model.schedule.prior((n, 1, 16, 16), seeded(seed))


def _drawn(model: Denoiser, denoise: Denoise, noise: Tensor) -> Tensor:
    return last(sample(clamp(denoise), noise, times(STEPS), model.schedule)).clamp(-1, 1)
