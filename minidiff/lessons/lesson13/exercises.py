"""Lesson 13's checks: noise on a small picture, what an enlarger is shown, the enlarging itself, thresholds."""

from functools import partial

import torch
import torch.nn.functional as F

from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson13 import probes, solutions
from minidiff.sampler import times
from minidiff.schedule import cosine, straight


@exercise(
    "13.noised",
    solution=solutions.noised,
    core=True,
    hints=(
        "It is the forward process of lesson 05, in one step: a share of the picture, and a share of the noise.",
        "`schedule(level, like=small)` gives alpha and sigma, each of shape (B, 1, 1, 1), a number for each picture.",
    ),
)
def _(attempt):
    small, noise, level = *torch.randn(2, 4, 3, 5, 6), torch.tensor([0.0, 0.1, 0.4, 0.9])
    for schedule in (cosine(), straight()):
        got = shaped(attempt(small, level, noise, schedule), small.shape, "The picture keeps its shape.")
        right = solutions.noised(small, level, noise, schedule)
        slips = _noised_wrongly(small, level, noise, schedule)
        close(got, right, "Not alpha * small + sigma * noise.", slips=slips)
    from minidiff.cascade import noised

    close(got, noised(small, level, noise, schedule), "Not equal to minidiff.cascade.noised.")


def _noised_wrongly(small, level, noise, schedule) -> dict:
    alpha, sigma = schedule(level, like=small)
    first = solutions.noised(small, level[:1].expand(4), noise, schedule)
    by_level = level[:, None, None, None] * noise
    return {
        "The picture keeps its full share: it should be multiplied by alpha.": small + sigma * noise,
        "That is level times the noise: the schedule says what alpha and sigma are at that time.": small + by_level,
        "The two shares are exchanged: alpha belongs to the picture.": sigma * small + alpha * noise,
        "That is the variance: multiply the noise by sigma, not by its square.": alpha * small + sigma**2 * noise,
        "Where is the noise? + sigma * noise.": alpha * small,
        "Each picture has a level of its own, and you used the first one for all.": first,
    }


@exercise(
    "13.shown",
    solution=solutions.shown,
    core=True,
    hints=(
        "Two things side by side: the enlarged picture, three channels, and the level, one channel.",
        '`F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)` enlarges.',
        "A channel that is the level everywhere: `torch.ones_like(large[:, :1]) * level[:, None, None, None]`, and "
        "`torch.cat([large, told], dim=1)`.",
    ),
)
def _(attempt):
    small, level = torch.randn(3, 3, 4, 5), torch.tensor([0.1, 0.5, 0.3])
    hint = "Three channels of the picture and one of the level, twice as high and as wide."
    got = shaped(attempt(small, level), (3, 4, 8, 10), hint)
    slips = _shown_wrongly(small, level)
    hint = "Not the bilinear picture with its level as a fourth channel."
    close(got, solutions.shown(small, level), hint, slips=slips)
    from minidiff.cascade import shown

    close(got, shown(small, level), "Not equal to minidiff.cascade.shown.")


def _shown_wrongly(small, level) -> dict:
    large, told = solutions.shown(small, level).split([3, 1], dim=1)
    enlarge = partial(F.interpolate, small, scale_factor=2)
    squares, cubic = enlarge(mode="nearest"), enlarge(mode="bicubic", align_corners=False)
    corners = enlarge(mode="bilinear", align_corners=True)
    pairs = {
        "Those are squares of four equal pixels (nearest): the enlarger was trained on bilinear ones.": (squares, told),
        "That is bicubic: the enlarger was trained on bilinear ones.": (cubic, told),
        "Nearly: with align_corners=False pixels keep their places.": (corners, told),
        "The level is not told: that channel is all zero.": (large, 0 * told),
        "The level itself, and not 1.": (large, torch.ones_like(told)),
        "Each picture has a level of its own, and you told them all the first one.": (large, told[:1].expand_as(told)),
        "The picture comes first, and the level is the last channel.": (told, large),
    }
    return {hint: torch.cat(pair, dim=1) for hint, pair in pairs.items()}


@exercise(
    "13.enlarge",
    solution=solutions.enlarge,
    core=True,
    hints=(
        "First what the network is shown: `shown(noised(small, level, noise, denoiser.schedule), level)`.",
        "A sampler wants a function of x and t alone: `partial(denoiser, cond=told)`. These are pixels, so cut each "
        "estimate to [-1, 1]: `guidance.clamp(…)`.",
        "`last(sample(denoise, x, t, denoiser.schedule))`",
    ),
)
def _(attempt):
    small, noise, x = torch.randn(2, 3, 4, 4).clamp(-1, 1), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    level, t = torch.tensor([0.2, 0.4]), times(4)
    with torch.no_grad():
        got = shaped(attempt(probes.Quick(), small, level, noise, x, t), x.shape, "Pictures twice as large.")
        slips = {hint: probes.enlarge_with(small, level, noise, x, t, **how) for hint, how in _ENLARGED_WRONGLY.items()}
        right = probes.enlarge_with(small, level, noise, x, t)
        untold = probes.enlarge_with(small, level, noise, x, t, told=0 * level)
    slips |= {_CUT_LATE: slips[_UNCUT].clamp(-1, 1), "The network is told level 0, although there is noise.": untold}
    close(
        got, right, "Not the sampler's walk from x along t, shown the noisy small picture and its level.", slips=slips
    )
    with torch.no_grad():
        short = attempt(probes.Quick(), small, 0 * level, noise, x, times(2))
    close(
        short, probes.enlarge_with(small, 0 * level, noise, x, times(2)), "Use the level and the times you are given."
    )


_CUT_LATE = "A cut of the finished picture comes too late: cut the estimate at every step, with guidance.clamp."
_UNCUT = "Estimates may leave [-1, 1]: these are pixels, so cut them with guidance.clamp at every step."
_ENLARGED_WRONGLY = {
    "There is no noise on the small picture, although the network is told that there is: use noised.": {"spoil": False},
    "The small picture is not enlarged as in training: use shown.": {"mode": "nearest"},
    _UNCUT: {"cut": False},
}


@exercise(
    "13.thresholded",
    solution=solutions.thresholded,
    core=True,
    hints=(
        "Each picture has an s of its own: the quantile of |x0| over all its numbers, and at least 1.",
        "`x0.flatten(1).abs().quantile(quantile, dim=1)` is (B,). `.clamp(min=1)` keeps it from falling below 1.",
        "Give s the shape (B, 1, 1, 1). Then `x0.clamp(-s, s) / s`.",
    ),
)
def _(attempt):
    x0 = torch.randn(3, 3, 8, 8) * torch.tensor([0.2, 1.5, 4.0]).view(3, 1, 1, 1)
    x0 = x0 - 0.3  # so that its numbers and their sizes have other quantiles
    got = shaped(attempt(x0, 0.9), x0.shape, "A picture of the same shape.")
    right = solutions.thresholded(x0, 0.9)
    hint = "Not clamp(-s, s) / s, with s = max(1, quantile of |x0|)."
    close(got, right, hint, slips=_thresholded_wrongly(x0))
    close(attempt(x0, 0.5), solutions.thresholded(x0, 0.5), "Use the quantile that you are given.")
    from minidiff.guidance import dynamic_threshold

    course = dynamic_threshold(lambda x, t: x, 0.9)(x0, torch.tensor(0.5))
    close(got, course, "Not equal to minidiff.guidance.dynamic_threshold.")


def _thresholded_wrongly(x0) -> dict:
    s = x0.flatten(1).abs().quantile(0.9, dim=1)[:, None, None, None]
    one = s.clamp(min=1)
    signed = x0.flatten(1).quantile(0.9, dim=1).clamp(min=1)[:, None, None, None]
    whole = x0.abs().quantile(0.9).clamp(min=1)
    channel = x0.abs().flatten(2).quantile(0.9, dim=2).clamp(min=1)[:, :, None, None]
    by_channel = x0.clamp(-channel, channel) / channel
    return {
        "s must be at least 1: a picture within the range is left as it is.": x0.clamp(-s, s) / s,
        "Divide by s after the cut: without it numbers are still outside [-1, 1].": x0.clamp(-one, one),
        "That is a static cut to [-1, 1].": x0.clamp(-1, 1),
        "Cut to [-s, s] first: without the cut the largest numbers stay outside [-1, 1].": x0 / one,
        "The quantile is of the sizes, |x0|.": x0.clamp(-signed, signed) / signed,
        "Each picture has a quantile of its own, and yours is one for the batch.": x0.clamp(-whole, whole) / whole,
        "Each picture has one quantile, over all its numbers, and yours has one for each channel.": by_channel,
        "That is the largest number, whatever the quantile.": solutions.thresholded(x0, 1.0),
    }


@exercise(
    "13.blurred",
    solution=solutions.blurred,
    hints=(
        "Five weights exp(-d² / (2 std²)) for d = -2 ... 2, divided by their sum. Their products with each other are "
        "the 5 x 5 weights.",
        "Every channel is blurred alone: `F.conv2d(padded, kernel.expand(C, 1, 5, 5), groups=C)`, where padded is "
        '`F.pad(small, (2, 2, 2, 2), mode="replicate")`.',
    ),
)
def _(attempt):
    small = torch.randn(2, 3, 8, 7)
    got = shaped(attempt(small, 0.8), small.shape, "Pad by 2 pixels on each side, so that the size stays.")
    grey = torch.full((1, 3, 6, 6), 0.7)
    middle = attempt(grey, 0.8)[:, :, 2:4, 2:4]
    require(
        torch.allclose(middle, grey[:, :, 2:4, 2:4], atol=1e-5), "A grey picture stays grey: weights that sum to 1."
    )
    require(torch.allclose(attempt(grey, 0.8), grey, atol=1e-5), "Zeros come in at the edge: repeat the edge instead.")
    close(got, solutions.blurred(small, 0.8), "Not the weights exp(-d² / (2 std²)), in both directions.")
    close(attempt(small, 0.3), solutions.blurred(small, 0.3), "Use the std that you are given.")


@exercise(
    "13.guided",
    solution=solutions.guided,
    hints=("Guidance goes beyond what either estimate says. So where does the cut belong?",),
)
def _(attempt):
    a, b = torch.randn(2, 2, 3, 4, 4)
    got = shaped(attempt(a, b, 4.0), a.shape, "One estimate of the same shape.")
    cut = solutions.guided(a, b, 4.0)
    early = b.clamp(-1, 1) + 4 * (a.clamp(-1, 1) - b.clamp(-1, 1))
    slips = {
        "It is not cut at all: numbers leave [-1, 1].": b + 4 * (a - b),
        "The cut comes before guidance, which then leaves [-1, 1] again.": early,
        "Scale 1 is the estimate with words: start from the one without.": (a + 4 * (a - b)).clamp(-1, 1),
        "The halves are exchanged: away from what is drawn without words.": (a + 4 * (b - a)).clamp(-1, 1),
    }
    close(got, cut, "Not the guided estimate cut to [-1, 1].", slips=slips)
    close(attempt(a, b, 1.0), a.clamp(-1, 1), "Use the scale that you are given.")


@exercise(
    "13.joined",
    solution=solutions.joined,
    hints=("`torch.cat([h, skip / 2**0.5], dim=1)`",),
)
def _(attempt):
    h, skip = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    got = shaped(attempt(h, skip), (2, 8, 4, 4), "All channels of both, one behind the other.")
    slips = {
        "The skip connection is not scaled.": torch.cat([h, skip], 1),
        "Only the skip connection is scaled, not h.": torch.cat([h, skip], 1) / 2**0.5,
        "By the root of 2, and not by 2.": torch.cat([h, skip / 2], 1),
        "That is h which is scaled.": torch.cat([h / 2**0.5, skip], 1),
    }
    close(got, solutions.joined(h, skip), "Not h, and behind it the skip connection over √2.", slips=slips)
