"""The program that writes the captions of `shapes`, as probabilities: what a perfect language model would know.

It repeats the choices of `data.shapes.scene` (`imagine`, then `caption`) by their weights. A caption is one of 7,674
templates whose open places, the size and the shape of each thing, are filled independently.
"""

import math
from functools import cache
from itertools import product

from minidiff.data.shapes.scene import BACKGROUNDS, BESIDE, COLOURS, FRAMES, SEEN, THING, WHERE

SIZES = ("", "large", "big", "small", "little")  # each with probability 0.2, unsaid with them
ALONE = {"": 0.3} | dict.fromkeys(WHERE.values(), 0.14)  # where one thing is said to stand
BETWEEN = {"and": 0.25} | dict.fromkeys(BESIDE, 0.75 / 4)  # how two things are joined
UNSAID, FIRST, LAST = 0.15, 0.85 * 0.15, 0.85 * 0.85  # the background: left out, in front, at the end
SHAPES = {colour: [shape for other, shape in SEEN if other == colour] for colour in COLOURS}
Template = tuple[str, ...]  # words; SIZE, or the colour whose shapes may stand here in brackets
SIZE = "[size]"


@cache
def templates() -> list[tuple[float, Template]]:
    """Every template with its probability; no two of them write the same caption."""
    found = []
    for colour, (place, p) in product(COLOURS, ALONE.items()):
        ground = f" {'of' if place else 'on'} a"
        found += _grounded(2 / 3 / 6 * p, f"{_thing(colour)} {place}".strip(), ground, {colour})
    for one, other, (words, p) in product(COLOURS, COLOURS, BETWEEN.items()):
        found += _grounded(1 / 3 / 36 * p, f"{_thing(one)} {words} {_thing(other)}", " on a", {one, other})
    return [(p, tuple(text.split())) for p, text in found]


def entropy() -> float:
    """The entropy of the captions in nats: that of the template, then log 5 for each size and log 4 for each shape."""
    whole = 0.0
    for p, words in templates():
        things = words.count(SIZE)
        whole += p * (-math.log(p) + things * (math.log(len(SIZES)) + math.log(4)))
    return whole


def log_prob(caption: str) -> float:
    """The natural logarithm of a caption's probability; -inf for what the program never writes."""
    things = THING.findall(caption)
    template = THING.sub(lambda thing: f"{SIZE} {thing[2]} [{thing[2]}]", caption)
    p = _by_words().get(tuple(template.split()), 0.0)
    known = all((colour, shape) in SEEN for _, colour, shape in things)
    return math.log(p) - len(things) * math.log(len(SIZES) * 4) if p and known else -math.inf


def next_words(prefix: str) -> dict[str | None, float]:
    """The exact probability of each word after `prefix`, likeliest first; None stands for the end of the caption.

    {} where no caption begins so.
    """
    found = _matches(tuple(prefix.split()))
    whole = sum(found.values())
    return dict(sorted(((word, p / whole) for word, p in found.items()), key=lambda item: -item[1]))


@cache
def _by_words() -> dict[Template, float]:
    return {words: p for p, words in templates()}


def _thing(colour: str) -> str:
    return f"a {SIZE} {colour} [{colour}]"


def _grounded(p: float, core: str, ground: str, colours: set[str]) -> list[tuple[float, str]]:
    """A phrase without its background, then with every one that differs from the colours of its things."""
    behind = [colour for colour in BACKGROUNDS if colour not in colours]
    found = [(p * UNSAID / 4, frame.format(core)) for frame in FRAMES]
    for colour in behind:
        found += [(p * FIRST / len(behind), f"on a {colour} background there is {core}")]
        said = f"{core}{ground} {colour} background"
        found += [(p * LAST / 4 / len(behind), frame.format(said)) for frame in FRAMES]
    return found


def _matches(prefix: tuple[str, ...]) -> dict[str | None, float]:
    """The probability that a caption begins with `prefix` and goes on with each word, or with None: it ends there."""
    found = {}
    for p, words in templates():
        for word, share in _after(words, prefix):
            found[word] = found.get(word, 0.0) + p * share
    return found


def _after(words: Template, prefix: tuple[str, ...]) -> list[tuple[str | None, float]]:
    """What may follow `prefix` in a template, with the probability of prefix and word: [] if it does not begin so."""
    share = 1.0
    at = 0
    for word in prefix:
        if at < len(words) and words[at] == SIZE:
            share /= len(SIZES)  # said or unsaid, each of the five alike
            at += 1
            if word in SIZES:
                continue
        if at == len(words) or word not in _open(words[at]):
            return []
        share /= len(_open(words[at]))
        at += 1
    return [(word, share * part) for word, part in _choices(words, at)]


def _choices(words: Template, at: int) -> list[tuple[str | None, float]]:
    if at == len(words):
        return [(None, 1.0)]
    if words[at] == SIZE:
        return [(words[at + 1] if size == "" else size, 1 / len(SIZES)) for size in SIZES]
    return [(word, 1 / len(_open(words[at]))) for word in _open(words[at])]


def _open(word: str) -> list[str]:
    """The words that may stand at a place of a template."""
    return SHAPES[word[1:-1]] if word.startswith("[") else [word]
