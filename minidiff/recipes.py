"""What to train, by name: FAMILY-DATA -> the model's builder, its data and its sizes. A plain table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from minidiff import data
from minidiff.autoencoder import Autoencoder
from minidiff.autoregressive import PixelModel
from minidiff.classifier import Classifier
from minidiff.vae import VAE, Levels


@dataclass(frozen=True)
class Recipe:
    """How a named model is built and trained.

    build: keyword arguments (JSON values only) -> model. data: split ("train" or "test") -> the tensors that
    `model.loss` takes. steps: profile -> number of steps.
    """

    build: Callable[..., nn.Module]
    data: Callable[[str], tuple[Tensor, ...]]
    steps: dict[str, int]
    lr: float = 4e-3
    batch: int = 64


def pictures(split: str) -> tuple[Tensor]:
    """The 16x16 digits without their labels."""
    return data.digits(split, 16)[:1]


def levels(split: str) -> tuple[Tensor]:
    """The 8x8 digits with their 17 grey levels, without labels."""
    return data.digits(split, 8)[:1]


def autoencoder(steps: int = 1500, **sizes) -> Recipe:
    return Recipe(partial(Autoencoder, **sizes), pictures, {"ci": 20, "cpu": steps, "gpu": 3 * steps})


def vae(**sizes) -> Recipe:
    return Recipe(partial(VAE, **sizes), pictures, {"ci": 20, "cpu": 3000, "gpu": 6000})


RECIPES: dict[str, Recipe] = {
    "classifier-digits": Recipe(Classifier, data.digits, {"ci": 20, "cpu": 1000, "gpu": 1000}, lr=3e-3),
    "pixels-digits": Recipe(PixelModel, partial(data.digits, size=8), {"ci": 20, "cpu": 700, "gpu": 1000}),
    "ae-digits": autoencoder(code=8),
    "ae-digits-2": autoencoder(code=2),
    "ae-digits-4": autoencoder(code=4),
    "ae-digits-16": autoencoder(code=16),
    "ae-digits-32": autoencoder(code=32),
    "dae-digits": autoencoder(code=32, noise=0.5),
    "vae-digits": vae(code=8),
    "vae-digits-2": vae(code=2),
    "vae-digits-beta-0.1": vae(code=8, beta=0.1),
    "vae-digits-beta-4": vae(code=8, beta=4.0),
    "vae-digits-beta-20": vae(code=8, beta=20.0),
    "cvae-digits": Recipe(partial(VAE, code=8, classes=10), data.digits, {"ci": 20, "cpu": 3000, "gpu": 6000}),
    "vae-digits-levels": Recipe(
        lambda: VAE(code=8, size=8, likelihood=Levels()), levels, {"ci": 20, "cpu": 1500, "gpu": 1500}
    ),
}
