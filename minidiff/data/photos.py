"""The eight photographs of the classic CLIP demonstration, as scikit-image carries them: no download."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.support import expect

CAPTIONS = {  # file -> what the demonstration of Radford et al. (2103.00020) says of it
    "page.png": "a page of text about segmentation",
    "chelsea.png": "a facial photo of a tabby cat",
    "astronaut.png": "a portrait of an astronaut with the American flag",
    "rocket.jpg": "a rocket standing on a launchpad",
    "motorcycle_right.png": "a red motorcycle standing in a garage",
    "camera.png": "a person looking at a camera on a tripod",
    "horse.png": "a black-and-white silhouette of a horse",
    "coffee.png": "a cup of coffee on a saucer",
}
UNTURNED = "page.png"  # writing in a mirror is another picture


def photos(size: int = 32) -> tuple[Tensor, list[str]]:
    """The middle square of each photograph, float32 (8, 3, size, size) in [-1, 1], and the eight captions."""
    size = expect.integer("size", size, 8, 512)
    squares = [_square(photo, min(photo.shape[1:]), 0.5, 0.5, size) for photo in _photographs()]
    return torch.stack(squares), list(CAPTIONS.values())


def photo_crops(n: int, size: int = 32, seed: int = 0) -> tuple[Tensor, list[str]]:
    """n random squares of the photographs in turn, float32 (n, 3, size, size) in [-1, 1], each with its caption.

    A square is 60 to 100 % of the shorter side, at a random place; half of them are mirrored, the page of text never.
    """
    n = expect.integer("n", n, 1)
    size = expect.integer("size", size, 8, 512)
    rng = np.random.default_rng(expect.integer("seed", seed, 0))
    names = list(CAPTIONS)
    crops = []
    for i in range(n):
        photo = _photographs()[i % 8]
        crop = _square(photo, round(min(photo.shape[1:]) * rng.uniform(0.6, 1)), rng.random(), rng.random(), size)
        crops.append(crop.flip(2) if rng.random() < 0.5 and names[i % 8] != UNTURNED else crop)
    return torch.stack(crops), [list(CAPTIONS.values())[i % 8] for i in range(n)]


def _square(photo: Tensor, side: int, down: float, right: float, size: int) -> Tensor:
    """A square of that side, (3, size, size): `down` and `right` in [0, 1] say where between the photograph's edges."""
    top = round(down * (photo.shape[1] - side))
    left = round(right * (photo.shape[2] - side))
    square = photo[None, :, top : top + side, left : left + side]
    return F.interpolate(square, size=(size, size), mode="area")[0]


@lru_cache
def _photographs() -> tuple[Tensor, ...]:
    """Each whole, (3, H, W) in [-1, 1]."""
    import skimage  # imported here: it takes a while to load
    from PIL import Image

    folder = Path(skimage.__file__).parent / "data"
    images = [Image.open(folder / name).convert("RGB") for name in CAPTIONS]
    return tuple(torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1 for image in images)
