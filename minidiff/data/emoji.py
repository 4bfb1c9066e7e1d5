"""Drawings with names: 3,470 emoji of Noto Emoji, from one sheet that ships with the course (data/emoji/NOTICE).

A name such as "woman firefighter: medium-dark skin tone" says a thing and, of people and hands, a skin tone. So there
are combinations that can be kept from training while each of their words is learned: see `held_out`.
"""

import difflib
import json
import re
import unicodedata
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.support import expect

FOLDER = Path(__file__).resolve().parents[2] / "data" / "emoji"
SIDE = 64  # pixels of a drawing on the sheet
COMPARED = 32  # the size at which `nearest` compares
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
TONE = re.compile(rf",? ({'|'.join(TONES)}) skin tone")
HELD_OUT = (  # besides the skin tones: an hour, and a colour with a shape
    "two o'clock",
    "seven o'clock",
    "five-thirty",
    "ten-thirty",
    "green heart",
    "brown heart",
    "purple circle",
    "orange square",
    "blue book",
)


class Attributes(NamedTuple):
    """What a name says. `thing` is the name without its skin tones, and `tones` are those: none, one or two.

    `kind` is Unicode's, such as "person-role", "animal-bird" or "flag"; `sign` is the sequence of characters itself.
    """

    name: str
    chinese: str
    sign: str
    kind: str
    thing: str
    tones: tuple[str, ...]


class Marks(NamedTuple):
    """Shares of prompts, 0 to 1: `right` where the nearest drawing is the one asked for, `by` what they agree in."""

    right: float
    by: dict[str, float]  # "thing", "kind", and "tone" of those prompts that ask for one


def emoji(split="train", size: int = 64, lang="en", holdout="combinations") -> tuple[Tensor, list[str]]:
    """Drawings on a white ground, float32 (N, 3, size, size) in [-1, 1], and the name of each in lower case.

    split: "train", or "combinations", drawings that are never in "train" although each word of their names is: see
    `held_out`. holdout=None keeps none back, and "train" is then all of them. size: 64, or 32, where each pixel is the
    mean of four. lang: "en" or "zh" (Chinese). ValueError for another value of any of these.
    """
    expect.choice("split", split, ("train", "combinations"))
    expect.choice("size", size, (32, 64))
    expect.choice("lang", lang, ("en", "zh"))
    if expect.choice("holdout", holdout, ("combinations", None)) is None and split != "train":
        raise ValueError(f"split: got {split!r} with holdout=None, expected 'train', which has every drawing then")
    known = catalogue()
    rows = range(len(known))
    if holdout is not None:
        rows = [i for i in rows if (known[i].name in held_out()) == (split == "combinations")]
    said = [known[i].name if lang == "en" else known[i].chinese for i in rows]
    return _pictures(list(rows), size), said


@cache
def held_out() -> frozenset[str]:
    """The names of split "combinations".

    Of every second thing that is drawn in all five skin tones, in the order of the sheet, one tone: light for the first
    such thing, medium-light for the third, and so on in turn. Of handshakes in two tones, those whose second tone is
    two further than the first, in turn. And HELD_OUT: four of the clock faces, five pairs of colour and shape.
    """
    things = {}
    for known in catalogue():
        if len(known.tones) == 1:
            things.setdefault(known.thing, {})[known.tones[0]] = known.name
    whole = [tones for tones in things.values() if len(tones) == len(TONES)]
    single = [tones[TONES[i % len(TONES)]] for i, tones in enumerate(whole[::2])]
    double = [known.name for known in catalogue() if len(known.tones) == 2 and _two_further(*known.tones)]
    return frozenset([*single, *double, *HELD_OUT])


def attributes(names: list[str]) -> list[Attributes]:
    """What each name says, English or Chinese; capitals, colons, commas and brackets do not matter.

    ValueError for a name that no drawing has, with the closest one.
    """
    return [catalogue()[_row(name)] for name in names]


def nearest(images: Tensor) -> list[str]:
    """The name of the drawing, among all of them, that is closest to each picture (B, 3, 32, 32) or (B, 3, 64, 64).

    Closest in the sum of squared differences at 32 x 32 pixels; pictures of 64 are averaged down.
    """
    expect.tensor("images", images, "B 3 H W", finite=True)
    if tuple(images.shape[2:]) not in ((COMPARED, COMPARED), (SIDE, SIDE)):
        raise ValueError(f"images: got {images.shape[2]}x{images.shape[3]} pixels, expected 32x32 or 64x64")
    small = F.adaptive_avg_pool2d(images.detach().to("cpu", torch.float32), COMPARED).flatten(1)
    return [catalogue()[i].name for i in torch.cdist(small, _all_small()).argmin(1).tolist()]


def marks(prompts: list[str], images: Tensor) -> Marks:
    """How often the drawing nearest to each picture is the one its prompt names, or agrees with it in part.

    ValueError for a prompt that names no drawing, and where there are not as many prompts as pictures.
    """
    drawn = nearest(images)
    if len(prompts) != len(drawn):
        raise ValueError(f"prompts: got {len(prompts)}, expected {len(drawn)}, one for each picture")
    pairs = list(zip(attributes(prompts), attributes(drawn)))
    by = {name: fmean(getattr(a, name) == getattr(b, name) for a, b in pairs) for name in ("thing", "kind")}
    if toned := [a.tones == b.tones for a, b in pairs if a.tones]:
        by["tone"] = fmean(toned)
    return Marks(fmean(a.name == b.name for a, b in pairs), by)


def plain(name: str) -> str:
    """A name as one may type it: in lower case and without colons, commas, brackets and curly quotes."""
    name = unicodedata.normalize("NFC", name)  # a Mac takes é apart
    return " ".join(re.sub("[:,()“”：，（）]", " ", name.replace("’", "'").lower()).split())


@cache
def catalogue() -> tuple[Attributes, ...]:
    """What is known of every drawing, in the order of the sheet."""
    return tuple(_attributes(**entry) for entry in json.loads(_file("names.json").read_text("utf-8")))


def _attributes(sign: str, en: str, zh: str, kind: str) -> Attributes:
    thing = TONE.sub("", en).replace(":,", ":").removesuffix(":")
    return Attributes(en, zh, sign, kind, thing, tuple(TONE.findall(en)))


def _two_further(first: str, second: str) -> bool:
    return (TONES.index(first) + 2) % len(TONES) == TONES.index(second)


def _row(name: str) -> int:
    if not isinstance(name, str):
        raise TypeError(f"names: got a {type(name).__name__}, expected texts")
    if plain(name) not in _places():
        close = difflib.get_close_matches(plain(name), _places(), n=1)
        meant = f" such as {close[0]!r}" if close else ", such as those of data.emoji()"
        raise ValueError(f"names: got {name!r}, expected the name of a drawing{meant}")
    return _places()[plain(name)]


@cache
def _places() -> dict[str, int]:
    """Every name, as `plain` makes it -> its place on the sheet."""
    both = [*enumerate(known.chinese for known in catalogue()), *enumerate(known.name for known in catalogue())]
    return {plain(name): i for i, name in both}


def _pictures(rows: list[int], size: int) -> Tensor:
    pixels = torch.from_numpy(_sheet()[rows]).permute(0, 3, 1, 2)  # (N, 3, 64, 64)
    images = (pixels / 127.5).sub_(1)
    return images if size == SIDE else F.avg_pool2d(images, SIDE // size)


@cache
def _all_small() -> Tensor:
    return _pictures(list(range(len(catalogue()))), COMPARED).flatten(1)


@cache
def _sheet() -> np.ndarray:
    """Every drawing, uint8 (N, 64, 64, 3), read once."""
    from PIL import Image  # imported here: it is not needed to import the course

    with Image.open(_file("sheet.webp")) as image:
        sheet = np.asarray(image.convert("RGB"))
    tiles = sheet.reshape(sheet.shape[0] // SIDE, SIDE, -1, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    return tiles[: len(catalogue())]


def _file(name: str) -> Path:
    if not (FOLDER / name).is_file():
        told = "it ships with the course; `git checkout -- data/emoji` brings it back"
        raise FileNotFoundError(f"{FOLDER / name} is missing: {told}")
    return FOLDER / name


# Said as the course says it: emoji.nearest(images), emoji.marks(prompts, images), ...
emoji.attributes, emoji.nearest, emoji.marks, emoji.held_out = attributes, nearest, marks, held_out
