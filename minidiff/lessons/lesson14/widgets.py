"""Lesson 14's widgets: a picture that is written token by token, and pictures between two pictures."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import seeded
from minidiff.dalle import DALLE
from minidiff.unclip import EmbeddingDiffusion, between
from minidiff.widgets import Choice, Explorer, Stops

COUNTS = (0, 8, 16, 24, 32, 40, 48, 56, 64)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def written(model: DALLE, prompt: str, temperatures=(0.5, 1.0, 2.0), n: int = 6, seed: int = 0) -> Explorer:
    """n pictures of one prompt after so many of their 64 tokens; what is not yet written is grey."""

    @cache
    def tokens(temperature):
        ids = model.text([prompt] * n)
        return model.generator(ids, temperature=temperature, generator=seeded(seed))

    def drawn(count, temperature):
        return torch.where(_first(count, model.side, model.vqvae.f), model.decoder(tokens(temperature)), 0.0)

    return Explorer(
        drawn,
        alt=f"{prompt}: {{count}} of 64 tokens at temperature {{temperature}}",
        count=Stops("tokens", COUNTS, 64),
        temperature=Stops("temperature", temperatures, 1.0),
    ).add_class("written")


def _first(count: int, side: int, f: int) -> Tensor:
    """True for the pixels (f side, f side) of the first tokens of a picture."""
    places = torch.arange(side**2).unflatten(0, (side, side)) < count
    return F.interpolate(places[None, None].float(), scale_factor=f)[0, 0].bool()


def middles(model: EmbeddingDiffusion, pictures: dict[str, Tensor], n: int = 4, seed: int = 0) -> Explorer:
    """n drawings of an embedding that lies between those of two pictures, unit vectors (1, D) by name."""
    names = list(pictures)

    @cache
    def drawn(first, second, share):
        a, b = pictures[first], pictures[second]
        z = a if first == second else between(a, b, share)
        return model(z.expand(n, -1), steps=10, generator=seeded(seed))

    return Explorer(
        drawn,
        alt="{share} of the way from {first} to {second}",
        first=Choice("from", names, names[0]),
        second=Choice("to", names, names[1]),
        share=Stops("share", SHARES, 0.5),
    ).add_class("middles")
