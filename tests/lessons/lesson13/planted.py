"""Lesson 13's planted bugs: each must be told apart by a hint of its own."""

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson13 import solutions
from minidiff.lessons.lesson13.probes import enlarge_with
from minidiff.lessons.lesson13.solutions import blurred, guided, noised, shown, thresholded


def wide(level):
    return level[:, None, None, None]


def enlarged_by(mode, **more):
    def wrong(small, level):
        large = F.interpolate(small, scale_factor=2, mode=mode, **more)
        return torch.cat([large, shown(small, level)[:, 3:]], 1)

    return wrong


def walked(**slip):
    return lambda denoiser, small, level, noise, x, t: enlarge_with(small, level, noise, x, t, **slip)


def quantile(x0, q):
    return x0.flatten(1).abs().quantile(q, dim=1)[:, None, None, None]


def for_all(x0, q):
    s = x0.abs().quantile(q).clamp(min=1)
    return x0.clamp(-s, s) / s


def for_each_channel(x0, q):
    s = x0.abs().flatten(2).quantile(q, dim=2).clamp(min=1)[:, :, None, None]
    return x0.clamp(-s, s) / s


def below_one(x0, q):
    s = quantile(x0, q)
    return x0.clamp(-s, s) / s


def not_divided(x0, q):
    s = quantile(x0, q).clamp(min=1)
    return x0.clamp(-s, s)


def of_signed(x0, q):
    s = x0.flatten(1).quantile(q, dim=1).clamp(min=1)[:, None, None, None]
    return x0.clamp(-s, s) / s


def dark_edge(small, std):
    wide = solutions.blurred(F.pad(small, (2, 2, 2, 2)), std)
    return wide[:, :, 2:-2, 2:-2]


PLANTED = {
    "13.noised": [
        lambda small, level, noise, schedule: small + schedule(level, like=small)[1] * noise,
        lambda small, level, noise, schedule: small + wide(level) * noise,
        lambda small, level, noise, schedule: (
            schedule(level, like=small)[1] * small + schedule(level, like=small)[0] * noise
        ),
        lambda small, level, noise, schedule: noised(small, level, 0 * noise, schedule),
        lambda small, level, noise, schedule: noised(small, level[:1].expand(len(small)), noise, schedule),
    ],
    "13.shown": [
        enlarged_by("nearest"),
        enlarged_by("bicubic", align_corners=False),
        enlarged_by("bilinear", align_corners=True),
        lambda small, level: shown(small, 0 * level),
        lambda small, level: shown(small, torch.ones_like(level)),
        lambda small, level: shown(small, level[:1].expand(len(small))),
        lambda small, level: shown(small, level).roll(1, 1),
        lambda small, level: shown(small, level)[:, :3],
    ],
    "13.enlarge": [
        lambda denoiser, small, level, noise, x, t: enlarge_with(small, level, noise, x, t, told=0 * level),
        walked(spoil=False),
        walked(mode="nearest"),
        walked(cut=False),
        lambda denoiser, *given: walked(cut=False)(denoiser, *given).clamp(-1, 1),
        lambda denoiser, small, level, noise, x, t: enlarge_with(
            small, torch.full_like(level, 0.2), noise, x, torch.linspace(1, 0, 5).double()
        ),
    ],
    "13.thresholded": [
        below_one,
        not_divided,
        lambda x0, q: x0.clamp(-1, 1),
        lambda x0, q: x0 / quantile(x0, q).clamp(min=1),
        of_signed,
        for_all,
        for_each_channel,
        lambda x0, q: thresholded(x0, 1.0),
        lambda x0, q: thresholded(x0, 0.9),
    ],
    "13.blurred": [
        dark_edge,
        lambda small, std: blurred(small, 0.8),
        lambda small, std: 0.9 * blurred(small, std),
    ],
    "13.guided": [
        lambda a, b, scale: b + scale * (a - b),
        lambda a, b, scale: b.clamp(-1, 1) + scale * (a.clamp(-1, 1) - b.clamp(-1, 1)),
        lambda a, b, scale: guided(b, a, scale),
        lambda a, b, scale: guided(a, b, scale + 1),
        lambda a, b, scale: guided(a, b, 4.0),
    ],
    "13.joined": [
        lambda h, skip: torch.cat([h, skip], 1),
        lambda h, skip: torch.cat([h, skip / 2], 1),
        lambda h, skip: torch.cat([h, skip], 1) / 2**0.5,
    ],
}
