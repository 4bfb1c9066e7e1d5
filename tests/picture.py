"""Draw notebooks/course.png, the picture of the README, with the shipped models. `make picture` runs it."""

from pathlib import Path

import torch
import torch.nn.functional as F

from minidiff import checkpoints, data, plot
from minidiff.scorecard.lesson00 import class_means


@torch.no_grad()
def pictures() -> dict[str, torch.Tensor]:
    """A row of ten pictures for each way of drawing that the lessons have so far, labels 0 to 9."""
    (x, y), labels = data.digits("test"), torch.arange(10)
    pixels, autoencoder, vae = (checkpoints.load(name) for name in ("pixels-digits", "ae-digits", "cvae-digits"))
    small = torch.cat([class_means(*data.digits("train", 8)), pixels.sample(10, generator=seeded(4))])
    average, painted = F.interpolate(small, size=(16, 16)).split(10)
    return {
        "real digits, held out": torch.stack([x[y == label][1] for label in labels]),
        "00  squared error draws the average": average,
        "00  pixel by pixel: 64 passes": painted,
        "01  autoencoder, random codes": autoencoder.decode(torch.randn(10, 8, generator=seeded(0))),
        "02  VAE, by label: one pass": vae.sample(10, labels, generator=seeded(2)),
    }


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


if __name__ == "__main__":
    plot.rows(pictures()).savefig(Path(__file__).parents[1] / "notebooks" / "course.png", dpi=100)
