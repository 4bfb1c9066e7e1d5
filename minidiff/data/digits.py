"""The 1,797 real handwritten digits that scikit-learn carries: no download."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.support import expect


def digits(split: str = "train", size: int = 16) -> tuple[Tensor, Tensor]:
    """The handwritten digits (Alpaydin and Kaynak, 1998): images (N, 1, size, size) in [-1, 1] and labels (N,).

    The split is fixed and stratified: 1,500 to train, 297 to test. size 8 is the data as it is, with 17 grey levels:
    k / 8 - 1, exact in float32, for k = 0 … 16, so that a likelihood is one of numbers. size 16 is its bilinear
    upsampling, nicer to look at and smooth; its 256 pixels are linear functions of 64, so it has no density.
    Each call returns fresh copies. ValueError for another split or size.
    """
    split = expect.choice("split", split, ("train", "test"))
    size = expect.choice("size", size, (8, 16))
    images, labels = _digits(split, size)
    return images.clone(), labels.clone()


@lru_cache
def _digits(split: str, size: int) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # imported here: scikit-learn takes a second to load
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)  # (1797, 64), whole numbers 0 … 16
    rows = train_test_split(np.arange(len(labels)), test_size=297, random_state=0, stratify=labels)
    rows = rows[0] if split == "train" else rows[1]
    images = torch.from_numpy(pixels[rows]).float().view(-1, 1, 8, 8) / 8 - 1
    if size == 16:
        images = F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)  # (N, 1, 16, 16)
    return images, torch.from_numpy(labels[rows]).long()
