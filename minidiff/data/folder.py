"""The learner's own pictures: a folder with one sub-folder a class."""

import os
from pathlib import Path

import torch
from torch import Tensor

from minidiff.support import expect


def folder(path: str | os.PathLike, size: int = 32) -> tuple[Tensor, Tensor, list[str]]:
    """Read path/CLASS/*.jpg (.png, …): images (N, 3, size, size) in [-1, 1], labels (N,), and the class names.

    Classes are numbered in the order of their names; sub-folders with a leading dot (JupyterLab makes some) are passed
    over. A picture is turned as its camera noted, its shorter side is scaled to `size`, and the middle is kept.
    ValueError for a missing folder, one without classes, a class without pictures, an unreadable picture (named).
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: got {path!r} ({type(path).__name__}), expected the path of a folder")
    size = expect.integer("size", size, 1, 1024)
    path = Path(path).expanduser()
    wanted = "expected a folder with one sub-folder of pictures for each class"
    if not path.is_dir():
        raise ValueError(f"path: got '{path}', which is no folder, {wanted}")
    try:
        pictures = _pictures(path, size)
    except FileNotFoundError as error:  # torchvision names the class that is empty
        raise ValueError(f"path: got '{path}', {wanted}. {error}") from error
    images = torch.stack([_read(pictures, i) for i in range(len(pictures))])  # (N, 3, size, size) uint8
    return (images / 127.5).sub_(1), torch.tensor(pictures.targets), pictures.classes


def _pictures(path: Path, size: int):
    from PIL import Image, ImageOps
    from torchvision import datasets, transforms  # imported here: torchvision takes two seconds to load

    class Pictures(datasets.ImageFolder):
        def find_classes(self, directory):
            names = sorted(e.name for e in os.scandir(directory) if e.is_dir() and not e.name.startswith("."))
            if not names:
                raise FileNotFoundError("It has no sub-folder.")
            return names, {name: i for i, name in enumerate(names)}

    def load(file):
        with Image.open(file) as image:
            return ImageOps.exif_transpose(image).convert("RGB")  # a telephone's portrait lies on its side until now

    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()]
    return Pictures(path, transforms.Compose(steps), loader=load)


def _read(pictures, i: int) -> Tensor:
    try:
        return pictures[i][0]
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        file = pictures.samples[i][0]
        raise ValueError(f"path: '{file}' cannot be read as a picture ({error}): mend or remove it") from error
