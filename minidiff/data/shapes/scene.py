"""The course's small world in words: what may stand in a picture of `shapes`, and how a caption says it."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

SHAPES = ("circle", "square", "triangle", "diamond", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
BACKGROUNDS = (*COLOURS, "black", "white")
SIZES = ("small", "large")
PLACES = ("left", "right", "top", "bottom", "middle")
PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
# Never in a picture to train on: one pair of every colour, so that each colour and each shape is known, these are not.
NOVEL = frozenset(zip(COLOURS, ("cross", "triangle", "diamond", "circle", "square", "triangle")))
SEEN = tuple(pair for pair in PAIRS if pair not in NOVEL)
SPLITS = {"train": SEEN, "test": SEEN, "novel": tuple(sorted(NOVEL))}

WORDS = {"large": ("large", "big"), "small": ("small", "little")}  # several words for the same size
WHERE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
BESIDE = {"to the left of": ("left", "right"), "to the right of": ("right", "left")}
BESIDE |= {"above": ("top", "bottom"), "below": ("bottom", "top")}  # words -> places of the first thing, the second
FRAMES = ("{}", "a photo of {}", "this is a photo of {}", "there is {}")
THING = re.compile(rf"(?:\b(large|big|small|little) )?\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b")
GROUND = re.compile(rf"\b({'|'.join(BACKGROUNDS)}) background\b")


@dataclass(frozen=True)
class Thing:
    """A figure in a picture; in what a prompt asks for, None stands for what it does not say."""

    shape: str | None
    colour: str | None
    size: str | None = None
    place: str | None = None

    @property
    def pair(self) -> tuple[str | None, str | None]:
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """What is in a picture: one or two things, each with its place, and the colour behind them."""

    things: tuple[Thing, ...]
    background: str | None = None


class Marks(NamedTuple):
    """Shares in [0, 1] of what was asked and is right: of all attributes, of colour-shape pairs, of each attribute."""

    attributes: float
    pairs: float
    by: dict[str, float]


def imagine(rng: np.random.Generator, split: str, objects: int | None = None) -> Scene:
    """A scene at random; `objects` None for one thing in two of three. In split "novel" the first pair is novel."""
    count = objects or int(rng.choice((1, 1, 2)))
    axis = ("left", "right") if rng.random() < 0.5 else ("top", "bottom")
    places = [_one(rng, PLACES)] if count == 1 else list(rng.permutation(axis))
    pairs = [_one(rng, SPLITS[split]), *(_one(rng, SEEN) for _ in range(count - 1))]
    things = tuple(Thing(s, c, _one(rng, SIZES), str(place)) for (c, s), place in zip(pairs, places))
    behind = [colour for colour in BACKGROUNDS if colour not in {thing.colour for thing in things}]
    return Scene(things, _one(rng, behind))


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of many ways to say what is in a scene; size, place and background are left out now and then."""
    said = [_thing(thing, rng) for thing in scene.things]
    if len(said) == 2:
        core = _two(said, scene.things[0].place, rng)
        place = ""
    else:
        core = said[0]
        place = "" if rng.random() < 0.3 else " " + WHERE[scene.things[0].place]
    if rng.random() < 0.15:
        return _one(rng, FRAMES).format(core + place)
    if rng.random() < 0.15:
        return f"on a {scene.background} background there is {core}{place}"
    ground = f" of a {scene.background} background" if place else f" on a {scene.background} background"
    return _one(rng, FRAMES).format(core + place + ground)


def asked(prompt: str) -> Scene | None:
    """What a prompt asks for, as far as this world knows it; None where it names no figure of a colour, or three."""
    text = " ".join(prompt.lower().split())
    things = [Thing(shape, colour, _size(size)) for size, colour, shape in THING.findall(text)]
    ground = GROUND.search(text)
    if not 1 <= len(things) <= 2:
        return None
    if len(things) == 1:
        places = [next((name for name, words in WHERE.items() if words in text), None)]
    else:
        places = next((both for words, both in BESIDE.items() if words in text), (None, None))
    placed = tuple(replace(thing, place=place) for thing, place in zip(things, places))
    return Scene(placed, ground and ground[1])


def compare(wanted: Scene, seen: Scene | None) -> list[tuple[str, bool]]:
    """(attribute, is it right) for each attribute that was asked for, and ("pair", right) for each thing.

    Two things count as the ones asked for in the order that fits better. Another number of things: all wrong.
    """
    if seen is None or len(seen.things) != len(wanted.things):
        seen = Scene((Thing("", ""),) * len(wanted.things), "")
    orders = [seen.things, seen.things[::-1]]
    marks = [[mark for pair in zip(wanted.things, things) for mark in _compare(*pair)] for things in orders]
    ground = [] if wanted.background is None else [("background", wanted.background == seen.background)]
    return max(marks, key=lambda each: sum(right for _, right in each)) + ground


def _compare(wanted: Thing, seen: Thing) -> list[tuple[str, bool]]:
    names = [name for name in ("shape", "colour", "size", "place") if getattr(wanted, name) is not None]
    marks = [(name, getattr(wanted, name) == getattr(seen, name)) for name in names]
    return [*marks, ("pair", wanted.pair == seen.pair)]


def _thing(thing: Thing, rng: np.random.Generator) -> str:
    size = "" if rng.random() < 0.2 else _one(rng, WORDS[thing.size]) + " "
    return f"a {size}{thing.colour} {thing.shape}"


def _two(said: list[str], first: str, rng: np.random.Generator) -> str:
    """Two things in one phrase that says how they stand, or leaves it open with "and"."""
    if rng.random() < 0.25:
        return " and ".join(said)
    words = {places: words for words, places in BESIDE.items()}
    other = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[first]
    if rng.random() < 0.5:
        return f"{said[0]} {words[first, other]} {said[1]}"
    return f"{said[1]} {words[other, first]} {said[0]}"


def _size(word: str) -> str | None:
    return next((size for size, words in WORDS.items() if word in words), None)


def _one(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]
