"""Three people whom no model of the emoji has met: a teacher with a purple board, a mage in red, an officer in brown.

Each is a real drawing in which what is neither skin nor hair has other colours, in every skin tone. So lesson 15 can
teach one from four pictures, and ask for the tones that these do not show.
"""

from functools import cache

import torch
from torch import Tensor

from minidiff.data.emoji import TONES, attributes, catalogue, emoji
from minidiff.support import expect

SIZE = 32
OF = {  # name -> the real drawing, and two of the channels red, green, blue that are changed for each other
    "purple teacher": ("teacher", (0, 1)),
    "red mage": ("mage", (0, 2)),
    "brown officer": ("police officer", (0, 2)),
}
NAMES = tuple(OF)
ASKED = ("", *TONES)  # skin tones that there are pictures of; "" is the yellow of a drawing without one
SHOWN = ("", "light", "medium", "dark")  # those of the four pictures


def mascot(name: str, tone: str = "") -> Tensor:
    """A picture of one of NAMES in one of ASKED, float32 (3, 32, 32) in [-1, 1]."""
    real, swapped = OF[expect.choice("name", name, NAMES)]
    return recoloured(_drawing(_toned(real, expect.choice("tone", tone, ASKED))), swapped)


def mascots(name: str) -> tuple[Tensor, list[str]]:
    """The four pictures of one of NAMES, (4, 3, 32, 32), and their captions with {} for its word."""
    return torch.stack([mascot(name, tone) for tone in SHOWN]), [_toned("{}", tone) for tone in SHOWN]


def prompts(word: str, each: int) -> list[str]:
    """`each` prompts with the word for every tone of ASKED, tone by tone."""
    return [_toned(word, tone) for tone in ASKED for _ in range(expect.integer("each", each, 1))]


def recoloured(image: Tensor, swapped: tuple[int, int]) -> Tensor:
    """A picture (3, H, W) with two channels changed for each other, where red is not the strongest of the three.

    So skin and brown hair, in which it is, stay as they are.
    """
    expect.tensor("image", image, "3 H W")
    order = [0, 1, 2]
    first, second = swapped
    order[first], order[second] = second, first
    return torch.where(image[0] < image[1:].amax(0), image[order], image)


def seen(images: Tensor) -> list[tuple[str, str]]:
    """Who is on each picture (N, 3, 32, 32), and in which skin tone: of all drawings, the closest.

    These are NAMES, the same people in wrong colours ("red mage in other colours") and all 3,470 emoji, each by its
    name without its tones. Closest is the one with the smallest sum of squared differences.
    """
    pixels = expect.tensor("images", images, f"N 3 {SIZE} {SIZE}", finite=True).detach().to("cpu", torch.float32)
    names, known = _bank()
    return [names[i] for i in torch.cdist(pixels.flatten(1), known).argmin(1).tolist()]


@cache
def _bank() -> tuple[list[tuple[str, str]], Tensor]:
    """Everybody and everything: (name, tone), and the pictures (M, 3072)."""
    names = [(known.thing, " ".join(known.tones)) for known in catalogue()]
    rows = [_every()]
    for name, (real, swapped) in OF.items():
        for tone in ASKED:
            drawing = _drawing(_toned(real, tone))
            other = (0, 3 - swapped[1])  # the other one of green and blue
            names += [(name, tone), (f"{name} in other colours", tone)]
            rows.append(torch.stack([recoloured(drawing, swapped), recoloured(drawing, other)]))
    return names, torch.cat(rows).flatten(1)


def _toned(name: str, tone: str) -> str:
    return f"{name}: {tone} skin tone" if tone else name


def _drawing(name: str) -> Tensor:
    return _every()[[known.name for known in catalogue()].index(attributes([name])[0].name)]


@cache
def _every() -> Tensor:
    return emoji(size=SIZE, holdout=None)[0]
