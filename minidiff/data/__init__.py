"""Data for the lessons: images float32 (N, C, H, W) in [-1, 1], labels int64 (N,), toys float32 (n, 2).

`digits`, `photos` and the toys come with the installed packages, `emoji` with the course, and `shapes` are drawn here;
`mnist`, `fashion_mnist` and `cifar10` are downloaded on first use; `folder` reads the learner's own pictures; `batches`
cuts any of them into batches.
"""

from minidiff.data.batches import Batches, batches
from minidiff.data.digits import digits
from minidiff.data.downloads import DownloadError, cifar10, data_dir, fashion_mnist, mnist
from minidiff.data.emoji import emoji
from minidiff.data.folder import Pictures, folder
from minidiff.data.mixture import GaussianMixture
from minidiff.data.photos import photo_crops, photos
from minidiff.data.shapes import shapes
from minidiff.data.toys import checkerboard, grid25, grid_mixture, moons, ring, ring_mixture, swiss_roll

__all__ = [
    "Batches",
    "DownloadError",
    "GaussianMixture",
    "Pictures",
    "batches",
    "checkerboard",
    "cifar10",
    "data_dir",
    "digits",
    "emoji",
    "fashion_mnist",
    "folder",
    "grid25",
    "grid_mixture",
    "mnist",
    "moons",
    "photo_crops",
    "photos",
    "ring",
    "ring_mixture",
    "shapes",
    "swiss_roll",
]
