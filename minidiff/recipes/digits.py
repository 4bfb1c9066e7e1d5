"""The real handwritten digits: every family of lessons 00 to 08, and the classifiers that judge and guide them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from minidiff import data, generate, train
from minidiff.autoencoder import Autoencoder
from minidiff.autoregressive import PixelModel
from minidiff.classifier import Classifier, NoisyClassifier
from minidiff.denoiser import Denoiser, VariationalDenoiser
from minidiff.distill import ProgressiveStudent
from minidiff.dit import DiT
from minidiff.flow import Flow
from minidiff.flow_matching import FlowMatching
from minidiff.gan import GAN, Wasserstein
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import cosine, linear, variance_exploding
from minidiff.unet import UNet
from minidiff.vae import VAE, Levels

LARGE = (1, 16, 16)
SMALL = (1, 8, 8)


def pictures(split: str) -> tuple[Tensor]:
    """The 16x16 digits without their labels."""
    return data.digits(split, 16)[:1]


def labelled(split: str, *others: nn.Module) -> tuple[Tensor, Tensor]:
    """The 16x16 digits with their labels, for a model that builds on others too."""
    return data.digits(split, 16)


def levels(split: str) -> tuple[Tensor]:
    """The 8x8 digits with their 17 grey levels, without labels."""
    return data.digits(split, 8)[:1]


def ddpm(**sizes) -> Denoiser:
    """A denoiser of the digits with their labels: v-prediction on the cosine schedule, a tenth of the labels hidden."""
    return Denoiser(UNet(channels=1, classes=10, **sizes), cosine(), predict="v", null=10, drop=0.1)


def flow_matching(**sizes) -> FlowMatching:
    """The network of `ddpm`, trained on the velocity of straight paths."""
    return FlowMatching(UNet(channels=1, classes=10, **sizes), null=10, drop=0.1)


def dit(**sizes) -> FlowMatching:
    """The same with a transformer as its network: 64 patches of 2 x 2 pixels."""
    return FlowMatching(DiT(16, 2, **({"width": 64, "layers": 3, "classes": 10} | sizes)), null=10, drop=0.1)


def two_step(**sizes) -> ProgressiveStudent:
    """The same network, to walk in 2 steps where its teacher takes 16."""
    return ProgressiveStudent(UNet(channels=1, classes=10, **sizes), null=10, steps=2, worth=8)


def taught(model: nn.Module, needed: tuple[nn.Module, ...], *tensors: Tensor) -> None:
    """A new student begins with the weights of its teacher, the one model that it needs."""
    model.follow(*needed)


def ddpm_levels(kind: type[Denoiser], **sizes) -> Denoiser:
    """DDPM as in its paper, noise prediction on the linear schedule, small and for 8x8 digits without labels.

    100 steps: the noise of the first, 0.03, is about as fine as 17 levels, 1/8 apart, ask for.
    """
    return kind(UNet(channels=1, **({"widths": (32, 64)} | sizes)), linear(100), predict="eps")


def ncsn(**sizes) -> Denoiser:
    """A score model of the digits without labels: noise prediction under noise from 0.02 to 17, their largest distance.

    The score is -eps / sigma, so the loss of eps is denoising score matching weighed by sigma² (1907.05600, section
    4.2), and the largest noise is that of Song and Ermon's technique 1 (2006.09011).
    """
    return Denoiser(UNet(channels=1, **({"widths": (24, 48, 64)} | sizes)), variance_exploding(0.02, 17.0), "eps")


def wgan(**sizes) -> GAN:
    """A small Wasserstein GAN of the digits, with gradient penalty; its code is 16 numbers."""
    return GAN(code=16, size=16, width=24, objective=Wasserstein(), penalty=1.0, **sizes)


def noisy_classifier(**sizes) -> NoisyClassifier:
    """A classifier of noisy digits, on the schedule of `ddpm` so that it can guide it."""
    return NoisyClassifier(cosine(), **sizes)


def _autoencoder(steps: int = 1500, **sizes) -> Recipe:
    return Recipe(partial(Autoencoder, **sizes), pictures, lengths(steps, 3 * steps), LARGE)


def _vae(source=pictures, **sizes) -> Recipe:
    return Recipe(partial(VAE, **sizes), source, lengths(3000, 6000), LARGE, generate.one_pass)


def _gan(build: Callable[..., nn.Module], source) -> Recipe:
    fit = train.fit_adversarial
    return Recipe(build, source, lengths(2000, 8000), LARGE, generate.one_pass, lr=2e-3, fit=fit)


def _small_ddpm(kind: type[Denoiser]) -> Recipe:
    way = partial(generate.denoised, shape=SMALL)
    return Recipe(partial(ddpm_levels, kind), levels, lengths(1000), SMALL, way, lr=2e-3)


RECIPES = {
    "classifier-digits": Recipe(Classifier, data.digits, lengths(1000), LARGE, lr=3e-3),
    "classifier-digits-noisy": Recipe(noisy_classifier, data.digits, lengths(600), LARGE, lr=3e-3),
    "pixels-digits": Recipe(PixelModel, partial(data.digits, size=8), lengths(700, 1000), SMALL, generate.one_pass),
    "ae-digits": _autoencoder(code=8),
    "ae-digits-2": _autoencoder(code=2),
    "ae-digits-4": _autoencoder(code=4),
    "ae-digits-16": _autoencoder(code=16),
    "ae-digits-32": _autoencoder(code=32),
    "dae-digits": _autoencoder(code=32, noise=0.5),
    "vae-digits": _vae(code=8),
    "vae-digits-2": _vae(code=2),
    "vae-digits-beta-0.1": _vae(code=8, beta=0.1),
    "vae-digits-beta-4": _vae(code=8, beta=4.0),
    "vae-digits-beta-20": _vae(code=8, beta=20.0),
    "cvae-digits": _vae(data.digits, code=8, classes=10),
    "vae-digits-levels": Recipe(
        lambda: VAE(code=8, size=8, likelihood=Levels()), levels, lengths(1500), SMALL, generate.one_pass
    ),
    "flow-digits": Recipe(
        partial(Flow, shape=SMALL, couplings=8, width=128, dropout=0.3, bin=1 / 8),
        levels,
        lengths(1200),
        SMALL,
        generate.one_pass,
        lr=5e-3,
    ),
    "ddpm-digits": Recipe(
        ddpm, data.digits, lengths(700, 5000), LARGE, partial(generate.denoised, shape=LARGE), lr=2e-3
    ),
    "flow-matching-digits": Recipe(
        flow_matching, data.digits, lengths(700, 5000), LARGE, partial(generate.denoised, shape=LARGE), lr=2e-3
    ),
    "dit-digits": Recipe(dit, data.digits, lengths(900, 5000), LARGE, partial(generate.denoised, shape=LARGE), lr=3e-3),
    "two-step-digits": Recipe(
        two_step,
        labelled,
        lengths(250, 1000),
        LARGE,
        partial(generate.denoised, shape=LARGE),
        lr=1e-3,
        needs=("flow-matching-digits",),
        start=taught,
    ),
    "ncsn-digits": Recipe(ncsn, pictures, lengths(1200, 5000), LARGE, partial(generate.denoised, shape=LARGE), lr=2e-3),
    "gan-digits": _gan(wgan, pictures),
    "cgan-digits": _gan(partial(wgan, classes=10), data.digits),
    "ddpm-levels": _small_ddpm(Denoiser),
    "ddpm-levels-bound": _small_ddpm(VariationalDenoiser),
}
