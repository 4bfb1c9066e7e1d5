"""What lesson 13 measures: drawings against real ones, noise on small pictures, the last enlarger, thresholds."""

import time
from functools import cache
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import checkpoints, data, guidance, metrics, seeded
from minidiff.cascade import LEVEL, Enlarger, degraded
from minidiff.latent import text_to_image
from minidiff.lessons.lesson09.claims import emoji_names

LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
LIMITS = {"nothing": None, "static": guidance.clamp, "dynamic": guidance.dynamic_threshold}
ENLARGERS = {"clean": "cascade-emoji-32-clean", "augmented": "cascade-emoji-32"}
LAST = {"clean": "cascade-emoji-64", "degraded": "cascade-emoji-64-degraded"}


def seconds(work) -> float:
    """How long work() takes, on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def names(n: int, split: str = "combinations") -> list[str]:
    """n names of emoji, evenly spread: by default combinations that no model was trained on."""
    return emoji_names(split, n)


@cache
def every(side: int) -> tuple[Tensor, list[str]]:
    """All drawings (N, 3, side, side), side 16, 32 or 64, and their names."""
    images, said = data.emoji("train", max(side, 32), holdout=None)
    return F.avg_pool2d(images, images.shape[2] // side), said


def real(said: list[str], side: int) -> Tensor:
    """The drawings of those names (B, 3, side, side)."""
    images, known = every(side)
    places = {name: i for i, name in enumerate(known)}
    return images[[places[name] for name in said]]


def right(said: list[str], images: Tensor) -> float:
    """The share of pictures (B, 3, side, side), side 16, 32 or 64, whose nearest real drawing is that of its name."""
    known, known_names = every(images.shape[-1])
    nearest = torch.cdist(images.flatten(1), known.flatten(1)).argmin(1)
    return mean(known_names[i] == name for i, name in zip(nearest.tolist(), said))


def off(images: Tensor) -> float:
    """How far pictures (B, 3, side, side) are from their nearest real drawings: the mean root mean square difference"""
    known = every(images.shape[-1])[0].flatten(1)
    return (torch.cdist(images.flatten(1), known).amin(1) / known.shape[1] ** 0.5).mean().item()


@torch.no_grad()
def fd(images: Tensor, others: Tensor) -> float:
    """The Fréchet distance of two sets of pictures (B, 3, 32, 32), seen by the course's CLIP of the emoji."""
    clip = checkpoints.shipped("clip-emoji")
    return 1000 * metrics.frechet_distance(*(clip.encode_image(each) for each in (images, others)))


@cache
def drawn_small(n: int, seed: int = 0) -> Tensor:
    """Small drawings (n, 3, 16, 16) of n names by the shipped base."""
    base = checkpoints.shipped("cascade-emoji-16")
    return text_to_image(base, names(n), limit=guidance.clamp, generator=seeded(seed))


def enlarged(enlarger: Enlarger, n: int, level: float, seed: int = 0) -> dict:
    """A row: n real small pictures and n drawn ones, enlarged with that level of noise on them.

    error: of the real ones, root mean square. off: how far the others are from any real drawing. FD: see `fd`.
    """
    said = names(n)
    large = real(said, 32)
    from_real = enlarger(real(said, 16), level, generator=seeded(seed))
    from_drawn = enlarger(drawn_small(n, seed), level, generator=seeded(seed))
    return {
        "level": level,
        "error, real": (from_real - large).square().mean().sqrt().item(),
        "off, drawn": off(from_drawn),
        "FD, drawn": fd(from_drawn, large),
        "right, drawn": right(said, from_drawn),
    }


def level_table(n: int, seeds, levels=LEVELS) -> list[dict]:
    """A row for each enlarger, level and seed of noise. The clean one knows level 0 alone."""
    rows = []
    for name, file in ENLARGERS.items():
        enlarger = checkpoints.shipped(file)
        for level in levels:
            if level <= enlarger.most:
                rows += [{"enlarger": name, "seed": seed} | enlarged(enlarger, n, level, seed) for seed in seeds]
    return [rounded(row) for row in rows]


def edges(images: Tensor) -> float:
    """How strong the edges of pictures (B, 3, h, w) are: the mean difference of two neighbouring pixels."""
    return (images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()).item() / 2


@cache
def drawn_large(n: int, seed: int = 0) -> Tensor:
    """The drawings (n, 3, 32, 32) that the cascade hands to its last enlarger."""
    return checkpoints.shipped(ENLARGERS["augmented"])(drawn_small(n, seed), LEVEL, generator=seeded(seed))


def last_table(n: int, seeds) -> list[dict]:
    """A row for each kind of picture of 32 pixels, seed, and way to make 64 pixels of it.

    error: root mean square, against the right drawings. off: from the nearest real drawing. edges: by those of the
    right drawings.
    """
    said = names(n)
    large = real(said, 64)
    rows = []
    for seed in seeds:
        shown = {"real": real(said, 32), "real, degraded": degraded(real(said, 32), seeded(seed))}
        for kind, small in (shown | {"drawn": drawn_large(n, seed)}).items():
            ways = {"interpolated": F.interpolate(small, scale_factor=2, mode="bilinear")}
            ways |= {name: checkpoints.shipped(file)(small, generator=seeded(seed)) for name, file in LAST.items()}
            rows += [{"shown": kind, "enlarger": name, "seed": seed} | _last_row(ways[name], large) for name in ways]
    return [rounded(row) for row in rows]


def _last_row(images: Tensor, large: Tensor) -> dict[str, float]:
    error = (images - large).square().mean().sqrt().item()
    return {"error": error, "off": off(images), "edges": edges(images) / edges(large)}


def mistakes_table(n: int, mistakes=(0.0, 0.1, 0.2, 0.4), seed: int = 0) -> list[dict]:
    """A row for each size of mistake: the error of what is made of n real small pictures with such mistakes on them.

    A mistake is normal, of that standard deviation for each number. Errors are root mean square.
    """
    large, small = real(names(n), 32), real(names(n), 16)
    rows = []
    for mistake in mistakes:
        wrong = small + mistake * torch.randn(small.shape, generator=seeded(seed))
        made = {"interpolated": F.interpolate(wrong, scale_factor=2, mode="bilinear")}
        made |= {name: checkpoints.shipped(file)(wrong, generator=seeded(seed + 1)) for name, file in ENLARGERS.items()}
        errors = {name: (images - large).square().mean().sqrt().item() for name, images in made.items()}
        rows.append(rounded({"mistake": mistake} | errors))
    return rows


def mistake(n: int, seed: int = 0) -> float:
    """How far n small drawings of the base are from the right ones: the median root mean square difference."""
    return (drawn_small(n, seed) - real(names(n), 16)).square().flatten(1).mean(1).sqrt().median().item()


def ends(images: Tensor) -> dict[str, float]:
    """The shares of numbers that are as bright and as dark as can be, beyond 0.98 and -0.98: white ground is bright."""
    return {"white": (images > 0.98).float().mean().item(), "black": (images < -0.98).float().mean().item()}


def threshold_table(n: int, scales=(1.0, 2.0, 5.0, 10.0), seed: int = 0) -> list[dict]:
    """A row for each scale of guidance and limit: n small drawings, how many are right, and how many numbers saturate.

    The last row is of the real drawings.
    """
    base, said = checkpoints.shipped("cascade-emoji-16"), names(n)
    rows = []
    for scale in scales:
        for name, limit in LIMITS.items():
            images = text_to_image(base, said, scale=scale, limit=limit, generator=seeded(seed))
            rows.append({"scale": scale, "limit": name} | _small_row(said, images))
    return [*rows, {"scale": "", "limit": "real drawings"} | _small_row(said, real(said, 16))]


def _small_row(said: list[str], images: Tensor) -> dict:
    row = {"right": right(said, images), "off": off(images)} | ends(images)
    return {name: round(value, 3) for name, value in row.items()}


def rounded(row: dict) -> dict:
    """The row with its numbers to four digits."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
