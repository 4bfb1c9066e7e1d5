"""Draw site/course.png, the picture of the README, with the shipped models. `make picture` runs it."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import checkpoints, data, plot, seeded
from minidiff.generate import draw, prompted
from minidiff.lessons.lesson00.claims import class_means

SIDE = 32  # pixels of an emoji; a digit is shown as large
EMOJI = (  # names that training never showed, though each of their words
    "green heart",
    "five-thirty",
    "man firefighter medium-light skin tone",
    "woman astronaut light skin tone",
    "purple circle",
    "waving hand light skin tone",
    "woman surfing medium skin tone",
    "orange square",
    "man pilot medium-dark skin tone",
    "blue book",
)


@torch.no_grad()
def pictures() -> dict[str, Tensor]:
    """A row of ten pictures for each way of drawing: digits with the labels 0 to 9, emoji as they are named."""
    (x, y), labels = data.digits("test"), torch.arange(10)
    names = ("pixels-digits", "ae-digits", "cvae-digits", "flow-digits", "cgan-digits", "ddpm-digits", "ldm-emoji")
    pixels, autoencoder, vae, flow, gan, ddpm, painter = (checkpoints.load(name) for name in names)
    return {
        "09  latent diffusion draws emoji by name": prompted(painter, list(EMOJI), generator=seeded(3)),
        "07  DDIM, digits by label: 20 passes": shown(draw(ddpm, labels, generator=seeded(2))),
        "06  DDPM, the same network: 100 passes": shown(
            draw(ddpm, labels, sampler="ddpm", steps=100, generator=seeded(2))
        ),
        "04  GAN, by label: one pass": shown(gan.sample(10, labels, generator=seeded(2))),
        "03  flow, exact likelihood: one pass": shown(flow.sample(10, generator=seeded(1))),
        "02  VAE, by label: one pass": shown(vae.sample(10, labels, generator=seeded(2))),
        "01  autoencoder, random codes": shown(autoencoder.decode(torch.randn(10, 8, generator=seeded(0)))),
        "00  pixel by pixel: 64 passes": shown(pixels.sample(10, generator=seeded(4))),
        "00  squared error draws the average": shown(class_means(*data.digits("train", 8))),
        "real digits, held out": shown(torch.stack([x[y == label][1] for label in labels])),
    }


def shown(digits: Tensor) -> Tensor:
    """Digits (N, 1, 8, 8) or (N, 1, 16, 16) in the size and the colours of an emoji, (N, 3, 32, 32)."""
    return F.interpolate(digits, size=(SIDE, SIDE)).expand(-1, 3, -1, -1)


if __name__ == "__main__":
    plot.rows(pictures(), scale=2).savefig(Path(__file__).parents[1] / "site" / "course.png", dpi=100)
