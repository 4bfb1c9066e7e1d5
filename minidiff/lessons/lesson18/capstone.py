"""An example for the capstone: a folder of small pictures in four classes, as a learner's own would be."""

from pathlib import Path

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from minidiff import data, plot

CLASSES = {"animals": ("animal",), "faces": ("face",), "flags": ("flag", "country-flag"), "food": ("food", "drink")}
SIDE = 16


def example(place: str | Path) -> Path:
    """Write drawings of animals, faces, flags and food to place/CLASS/NUMBER.png, 16x16 pixels; returns the place."""
    images, names = data.emoji("train", 32, holdout=None)
    kinds = [known.kind for known in data.emoji.attributes(names)]
    for name, starts in CLASSES.items():
        rows = [i for i, kind in enumerate(kinds) if kind.startswith(starts)]
        folder = Path(place) / name
        folder.mkdir(parents=True)
        for number, picture in enumerate(F.avg_pool2d(images[rows], 2)):
            _image(picture).save(folder / f"{number:03}.png")
    return Path(place)


def _image(picture: Tensor) -> Image.Image:
    return Image.fromarray(plot.tile(picture[None], columns=1, gap=0))
