"""What to train, by name: FAMILY-DATA -> the model's builder, its data and its sizes. A plain table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from minidiff import data, folders, gan, train, worded
from minidiff.autoencoder import Autoencoder
from minidiff.autoregressive import PixelModel
from minidiff.classifier import Classifier, NoisyClassifier
from minidiff.compression import KLAutoencoder
from minidiff.denoiser import Denoiser, VariationalDenoiser
from minidiff.flow import Flow
from minidiff.schedule import cosine, linear
from minidiff.unet import UNet
from minidiff.vae import VAE, Levels


@dataclass(frozen=True)
class Recipe:
    """How a named model is built and trained.

    build: keyword arguments (JSON values only) -> model. data: split ("train" or "test") -> the tensors that
    `model.loss` takes. steps: profile -> number of steps. fit: what trains it, called as `train.fit` is. start: what is
    done to a new model before, given it and the tensors to train on: weights of earlier lessons go into it.
    args: () -> the arguments for `build` that the data decides. shape: of a picture, where only the maker of a model
    may have its data.
    """

    build: Callable[..., nn.Module]
    data: Callable[[str], tuple[Tensor, ...]]
    steps: dict[str, int]
    lr: float = 4e-3
    batch: int = 64
    fit: Callable = train.fit
    start: Callable[..., None] | None = None
    args: Callable[[], dict] = dict
    shape: tuple[int, ...] | None = None

    def fresh(self, *tensors: Tensor) -> nn.Module:
        """A model ready to be trained on those tensors."""
        model = self.build(**self.args())
        if self.start is not None:
            self.start(model, *tensors)
        return model


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


def ring(split: str) -> tuple[Tensor]:
    """Points on the ring of eight Gaussians: (30000, 2) to train, (10000, 2) others to test."""
    return (data.ring(30_000, seed=0) if split == "train" else data.ring(10_000, seed=1),)


def ddpm(**sizes) -> Denoiser:
    """A denoiser of the digits with their labels: v-prediction on the cosine schedule, a tenth of the labels hidden."""
    return Denoiser(UNet(channels=1, classes=10, **sizes), cosine(), predict="v", null=10, drop=0.1)


def ddpm_levels(kind: type[Denoiser], **sizes) -> Denoiser:
    """DDPM as in its paper, noise prediction on the linear schedule, small and for 8x8 digits without labels.

    100 steps: the noise of the first, 0.03, is about as fine as 17 levels, 1/8 apart, ask for.
    """
    return kind(UNet(channels=1, **({"widths": (32, 64)} | sizes)), linear(100), predict="eps")


def wgan(**sizes) -> gan.GAN:
    """A small Wasserstein GAN of the digits, with gradient penalty; its code is 16 numbers."""
    return gan.GAN(code=16, size=16, width=24, objective=gan.Wasserstein(), penalty=1.0, **sizes)


def noisy_classifier(**sizes) -> NoisyClassifier:
    """A classifier of noisy digits, on the schedule of `ddpm` so that it can guide it."""
    return NoisyClassifier(cosine(), **sizes)


def ddpm_folder(build: Callable[..., nn.Module], steps: int, **sizes) -> Recipe:
    """A denoiser of the learner's own photographs, in colour and 32x32; how many labels it has, the folder says."""
    lengths = {"ci": 20, "cpu": steps, "gpu": 100_000}
    shape = (3, folders.SIZE, folders.SIZE)
    return Recipe(build, folders.photographs, lengths, args=folders.labels, shape=shape, **sizes)


def latent(steps: int, start: Callable, **sizes) -> Recipe:
    lengths = {"ci": 20, "cpu": steps, "gpu": 2 * steps}
    return Recipe(partial(worded.latent_diffusion, **sizes), worded.codes, lengths, lr=3e-3, start=start)


def clip(build: Callable[..., nn.Module], rows: Callable, steps: int = 4500, start: Callable | None = None) -> Recipe:
    return Recipe(build, rows, {"ci": 20, "cpu": steps, "gpu": 3 * steps}, lr=1e-3, start=start)


RECIPES: dict[str, Recipe] = {
    "classifier-digits": Recipe(Classifier, data.digits, {"ci": 20, "cpu": 1000, "gpu": 1000}, lr=3e-3),
    "classifier-digits-noisy": Recipe(noisy_classifier, data.digits, {"ci": 20, "cpu": 600, "gpu": 600}, lr=3e-3),
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
    "flow-ring": Recipe(
        partial(Flow, couplings=24, width=64, activation=nn.ReLU), ring, {"ci": 20, "cpu": 2000, "gpu": 4000}, batch=256
    ),
    "flow-digits": Recipe(
        partial(Flow, shape=(1, 8, 8), couplings=8, width=128, dropout=0.3, bin=1 / 8),
        levels,
        {"ci": 20, "cpu": 1200, "gpu": 1200},
        lr=5e-3,
    ),
    "ddpm-digits": Recipe(ddpm, data.digits, {"ci": 20, "cpu": 700, "gpu": 5000}, lr=2e-3),
    "gan-digits": Recipe(wgan, pictures, {"ci": 20, "cpu": 2000, "gpu": 8000}, lr=2e-3, fit=gan.fit),
    "cgan-digits": Recipe(
        partial(wgan, classes=10), data.digits, {"ci": 20, "cpu": 2000, "gpu": 8000}, lr=2e-3, fit=gan.fit
    ),
    "ddpm-levels": Recipe(partial(ddpm_levels, Denoiser), levels, {"ci": 20, "cpu": 1000, "gpu": 1000}, lr=2e-3),
    "ddpm-levels-bound": Recipe(
        partial(ddpm_levels, VariationalDenoiser), levels, {"ci": 20, "cpu": 1000, "gpu": 1000}, lr=2e-3
    ),
    "ddpm-folder": ddpm_folder(folders.small, 3000, lr=2e-3),
    "ddpm-folder-paper": ddpm_folder(folders.paper, 3000, lr=2e-4, batch=128),
    "ae-shapes": Recipe(
        KLAutoencoder,
        lambda split: worded.captioned(split)[:1],
        {"ci": 20, "cpu": 3000, "gpu": 10_000},
        lr=3e-3,
        batch=32,
    ),
    "ldm-shapes-unprompted": latent(4000, worded.with_autoencoder, drop=1.0),
    "ldm-shapes": latent(12_000, worded.from_unprompted),
    "clip-shapes": clip(worded.clip_shapes, worded.paired),
    "clip-shapes-no-cross": clip(worded.clip_shapes, partial(worded.paired, without="cross")),
    "clip-photos": clip(worded.clip_shapes, worded.crops, steps=300, start=worded.from_clip_shapes),
    "clip-latents": clip(worded.clip_codes, worded.paired_codes, steps=2500),
    "clip-latents-noisy": clip(worded.clip_noisy_codes, worded.paired_codes, 2500, worded.from_clip_codes),
}
