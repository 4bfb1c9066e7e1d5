"""What lesson 15's control is made of: `shapes` with sketches, beside the model that draws them by words."""

from torch import Tensor, nn

from minidiff import seeded
from minidiff.control import Control, crops, sketches
from minidiff.recipes import shapes
from minidiff.recipes.recipe import Recipe, lengths


def sketched(split: str, model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (N, 8, 8, 8) of `crops` of pictures, their captions' ids (N, 24), and sketches (N, 1, 32, 32) of them."""
    images, ids = shapes.captioned(split)
    images = crops(images, seeded(0))
    return shapes.encoded(model.autoencoder, images), ids, sketches(images, seeded(1))


def copied(control: Control, needed: tuple[nn.Module, ...], *tensors: Tensor) -> None:
    """A new control begins as a copy of the model that it needs, and is trained beside it."""
    control.follow(needed[0])


RECIPES = {
    "control-shapes": Recipe(
        Control,
        sketched,
        lengths(1600, 10_000),
        lr=1e-3,
        batch=32,
        needs=("ldm-shapes",),
        start=copied,
    ),
}
