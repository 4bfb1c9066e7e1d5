"""Diffusion of the learner's own photographs: how large the network is, and where the pictures are."""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff import data, generate
from minidiff.denoiser import Denoiser
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import cosine, linear
from minidiff.unet import UNet

SIZE = 32
HELD_OUT = 10  # one picture in so many, where the folder has no test/ of its own


def small(classes: int = 10) -> Denoiser:
    """For two CPU cores: as `ddpm` of the digits, with colours and four times the pixels."""
    net = UNet(channels=3, classes=classes)
    return Denoiser(net, cosine(), predict="v", null=classes, drop=0.1)


def paper(classes: int = 10) -> Denoiser:
    """For a GPU: as large as DDPM's network for CIFAR-10 (2006.11239, appendix B), with its schedule and prediction.

    35.4 million weights and 11.7 GFLOP a picture beside 35.7 and 12.4, the same four sizes, attention at 16x16 and 4x4.
    The paper's widths, (128, 256, 256, 256), would leave 22 million: our way up takes one copy a level, not three.
    """
    net = UNet(channels=3, widths=(160, 320, 320, 320), blocks=2, classes=classes, attention=(1, 3))
    return Denoiser(net, linear(), predict="eps", null=classes, drop=0.1)


def place() -> Path:
    """The folder of pictures: MINIDIFF_FOLDER, which `train --folder` sets, else `folder` in the data folder."""
    return Path(os.environ.get("MINIDIFF_FOLDER") or data.data_dir() / "folder").expanduser()


def photographs(split: str) -> tuple[Tensor, Tensor]:
    """32x32 pictures in [-1, 1] with their labels: those in train/ and test/ of the folder, if it has both.

    Else every tenth picture is held out. ValueError, as `data.folder`, for a folder that is not as it should be.
    """
    path = place()
    if _is_split(path):
        _alike(path)
        return _read(path / split)[:2]
    images, labels, _ = _read(path)
    held_out = torch.arange(len(images)) % HELD_OUT == 0
    if held_out.all():
        raise ValueError(f"path: got '{path}' with one picture, expected some to train on and one to test")
    chosen = held_out if split == "test" else ~held_out
    return images[chosen], labels[chosen]


def labels() -> dict[str, int]:
    """How many classes the folder has: what its pictures decide about the network."""
    path = place()
    return {"classes": len(_read(path / "train" if _is_split(path) else path)[2])}


def _alike(path: Path) -> None:
    """ValueError where train/ and test/ have not the same classes: each numbers its own, so labels would differ."""
    train, test = (_read(path / split)[2] for split in ("train", "test"))
    if odd := sorted({*train} ^ {*test}):
        raise ValueError(f"path: got '{path}' with {', '.join(odd)} in one of train/ and test/, expected it in both")


def _is_split(path: Path) -> bool:
    return (path / "train").is_dir() and (path / "test").is_dir()


@lru_cache(maxsize=2)  # read once for both splits and for the labels
def _read(path: Path) -> tuple[Tensor, Tensor, list[str]]:
    return data.folder(path, SIZE)


def _recipe(build: Callable[..., nn.Module], **sizes) -> Recipe:
    shape = (3, SIZE, SIZE)
    way = partial(generate.denoised, shape=shape)
    return Recipe(build, photographs, lengths(3000, 100_000), shape, way, args=labels, **sizes)


RECIPES = {
    "ddpm-folder": _recipe(small, lr=2e-3),
    "ddpm-folder-paper": _recipe(paper, lr=2e-4, batch=128),
}
