"""Diffusion of the learner's own photographs: how large the network is, and where the pictures are."""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff import data, generate
from minidiff.data.folder import say
from minidiff.denoiser import Denoiser
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import cosine, linear
from minidiff.unet import UNet

SIZE = 32
HELD_OUT = 10  # one picture in so many, where the folder has no test/ or val/ of its own


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
    return Path(os.path.expanduser(os.environ.get("MINIDIFF_FOLDER") or data.data_dir() / "folder"))


def photographs(split: str) -> tuple[Tensor, Tensor]:
    """32x32 pictures in [-1, 1] with their labels, to train on or to "test" with.

    Of a folder with train/ and test/, those of one of them; without test/, of val/. Of any other the first picture of
    each class is trained on, and of the rest every tenth is held out; where there is no rest, nothing is, and the test
    is of what was trained on. ValueError, as `data.folder`, for a folder that is not as it should be.
    """
    pictures = _read(place())
    rows = _rows(pictures, split)
    return pictures.images[rows], pictures.labels[rows]


def labels() -> dict[str, int]:
    """How many classes the folder has: what its pictures decide about the network."""
    return {"classes": len(_read(place()).classes)}


def _named(model: nn.Module, *_) -> None:
    """Tell a new model the names of its classes, which its card will have."""
    model.class_names = list(_read(place()).classes)


def _tested(pictures: data.Pictures) -> str | None:
    """The split whose pictures are held out, where there is one beside train/."""
    held_out = [split for split in ("test", "val") if split in pictures.splits]
    return held_out[0] if held_out and "train" in pictures.splits else None


def _rows(pictures: data.Pictures, split: str) -> Tensor:
    """Which pictures are of that split, a mask (N,)."""
    tested = _tested(pictures)
    if tested:
        wanted = tested if split == "test" else "train"
        return torch.tensor([name == wanted for name in pictures.splits])
    held_out = _held_out(pictures.labels)
    if not held_out.any():
        return ~held_out
    return held_out if split == "test" else ~held_out


def _held_out(labels: Tensor) -> Tensor:
    """Every tenth of those pictures that are not the first of their class, a mask (N,)."""
    first_rows = {label: i for i, label in reversed(list(enumerate(labels.tolist())))}
    spare = torch.ones(len(labels), dtype=torch.bool)
    spare[list(first_rows.values())] = False
    held_out = torch.zeros_like(spare)
    held_out[spare.nonzero()[::HELD_OUT]] = True
    return held_out


@lru_cache(maxsize=2)  # read once for both splits and for the labels
def _read(path: Path) -> data.Pictures:
    pictures = data.folder(path, SIZE)
    split = _tested(pictures)
    if split:
        _learnable(path, pictures)
    elif not _held_out(pictures.labels).any():
        say("With one picture a class none is held out: the loss at the end is of the pictures trained on.")
    if split == "test" and "val" in pictures.splits:
        say("The pictures in val/ are neither trained on nor tested with.")
    return pictures


def _learnable(path: Path, pictures: data.Pictures) -> None:
    """ValueError where a class has no picture to train on, as when its name is spelled in two ways."""
    learned = {label for label, split in zip(pictures.labels.tolist(), pictures.splits) if split == "train"}
    odd = [name for i, name in enumerate(pictures.classes) if i not in learned]
    if odd:
        there = ", ".join(name for name in pictures.classes if name not in odd)
        raise ValueError(f"path: got '{path}' with no {', '.join(odd)} in train/, expected each class there ({there})")


def _recipe(build: Callable[..., nn.Module], **sizes) -> Recipe:
    shape = (3, SIZE, SIZE)
    way = partial(generate.denoised, shape=shape)
    return Recipe(build, photographs, lengths(3000, 100_000), shape, way, args=labels, start=_named, **sizes)


RECIPES = {
    "ddpm-folder": _recipe(small, lr=2e-3),
    "ddpm-folder-paper": _recipe(paper, lr=2e-4, batch=128),
}
