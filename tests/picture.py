"""Draw notebooks/course.png, the picture of the README, with the shipped models. `make picture` runs it."""

from pathlib import Path

import torch
import torch.nn.functional as F

from minidiff import checkpoints, data, plot, seeded
from minidiff.generate import draw
from minidiff.lessons.lesson00.claims import class_means


@torch.no_grad()
def pictures() -> dict[str, torch.Tensor]:
    """A row of ten pictures for each way of drawing that the lessons have so far, labels 0 to 9."""
    (x, y), labels = data.digits("test"), torch.arange(10)
    names = ("pixels-digits", "ae-digits", "cvae-digits", "flow-digits", "cgan-digits", "ddpm-digits")
    pixels, autoencoder, vae, flow, gan, ddpm = (checkpoints.load(name) for name in names)
    drawn = [pixels.sample(10, generator=seeded(4)), flow.sample(10, generator=seeded(1))]
    small = torch.cat([class_means(*data.digits("train", 8)), *drawn])
    average, painted, flowed = F.interpolate(small, size=(16, 16)).split(10)
    return {
        "real digits, held out": torch.stack([x[y == label][1] for label in labels]),
        "00  squared error draws the average": average,
        "00  pixel by pixel: 64 passes": painted,
        "01  autoencoder, random codes": autoencoder.decode(torch.randn(10, 8, generator=seeded(0))),
        "02  VAE, by label: one pass": vae.sample(10, labels, generator=seeded(2)),
        "03  flow, exact likelihood: one pass": flowed,
        "04  GAN, by label: one pass": gan.sample(10, labels, generator=seeded(2)),
        "06  DDPM, by label: 100 passes": draw(ddpm, labels, sampler="ddpm", steps=100, generator=seeded(2)),
        "07  DDIM, the same network: 20 passes": draw(ddpm, labels, generator=seeded(2)),
    }


if __name__ == "__main__":
    plot.rows(pictures()).savefig(Path(__file__).parents[1] / "notebooks" / "course.png", dpi=100)
