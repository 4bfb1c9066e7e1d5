"""The four systems that draw emoji from their names, side by side on the same names and seeds."""

import time
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from minidiff import checkpoints, data, generate, seeded
from minidiff.cascade import Cascade
from minidiff.lessons.lesson14.claims import names, unclip

NAMES = 40  # a row of the table


def systems() -> dict[str, tuple[Callable[..., Tensor], nn.Module]]:
    """Each shipped system: draw(names, generator=...) -> pictures (B, 3, 32, 32), and the modules that it needs."""
    latent, stable = checkpoints.load("ldm-emoji"), checkpoints.load("sd-emoji")
    cascade = Cascade(checkpoints.load("cascade-emoji-16"), [checkpoints.load("cascade-emoji-32")])
    meaning = unclip()
    return {
        "latent diffusion (lesson 09)": (partial(generate.prompted, latent), latent),
        "Stable Diffusion's layers (lesson 12)": (partial(generate.prompted, stable), stable),
        "cascade (lesson 13)": (cascade, cascade),
        "unCLIP (lesson 14)": (meaning, meaning),
    }


def row(name: str, draw: Callable, parts: nn.Module, split: str, seed: int, n: int = NAMES) -> dict:
    """How many of n drawings are nearest to the one of their name, and what they cost on one processor."""
    said = names(split, n)
    draw(said[:2], generator=seeded(seed))  # to warm up
    began = time.process_time()
    images = draw(said, generator=seeded(seed))
    seconds = 100 * (time.process_time() - began) / len(said)
    marks = data.emoji.marks(said, images)
    weights = sum(weight.numel() for weight in parts.parameters())
    told = {"system": name, "names": "seen" if split == "train" else "never seen", "seed": seed}
    right = {"right": round(marks.right, 3), "thing": round(marks.by["thing"], 3)}
    return told | right | {"100 (CPU s)": round(seconds, 1), "million weights": round(weights / 1e6, 2)}


def emoji_table(seeds, n: int = NAMES) -> list[dict]:
    """A row for each system, split and sampling seed, all of the same names."""
    return [
        row(name, draw, parts, split, seed, n)
        for name, (draw, parts) in systems().items()
        for split in ("train", "test")
        for seed in seeds
    ]
