"""Every family of the course on the same digits, each trained with the same budget of processor time.

Some families draw 8x8 pictures, whose 17 grey levels have a likelihood, the others 16x16 ones. All are judged at 16x16:
small pictures are enlarged as `data.digits` enlarges the real ones. Each family knows how it is taught and drawn from;
the rest is the same for all.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import data, evaluate, generate, metrics, schedule, seed_everything, seeded, train
from minidiff.autoencoder import Autoencoder
from minidiff.autoregressive import IndependentPixels, PixelModel
from minidiff.denoiser import Denoiser, VariationalDenoiser, bound
from minidiff.distill import ProgressiveStudent
from minidiff.flow import Flow
from minidiff.lessons.lesson03.families import likelihood
from minidiff.nn import PointNet
from minidiff.recipes import digits as recipes
from minidiff.scorecard.common import enlarged, real_digits
from minidiff.unet import UNet
from minidiff.vae import VAE, Levels

BUDGET = 20.0  # seconds of one processor to train a model, whatever it is made of
DRAWN = 297  # digits of each model: as many as there are held-out ones
SHOWN = 20  # of them are kept to look at
ENCODER = 0.3  # the share of the budget that an autoencoder gets; its codes' denoiser gets the rest
BASELINE = "independent pixels"
TRIAL = 0.1  # the share of a budget in which the pace of its steps is found out, before the training
_STEPS = {}  # what was trained -> the steps that a budget pays for


@dataclass(frozen=True)
class Family:
    """How a family is taught and drawn from.

    teach: (seed, budget) -> a trained model. draw: (model, n, generator) -> pictures (n, 1, 8 or 16, 8 or 16).
    passes: of a network, for one sample. labels: is it told which digit to draw? weights: model -> the part that draws.
    first: (seed, budget), what must be there before the clock starts: a teacher.
    """

    teach: Callable[[int, float], nn.Module]
    draw: Callable[[nn.Module, int, torch.Generator], Tensor]
    passes: int
    labels: bool = True
    weights: Callable[[nn.Module], nn.Module] = lambda model: model
    first: Callable[[int, float], object] | None = None


class Latent(nn.Module):
    """A denoiser of the codes of an autoencoder, which stays as it is; codes are divided by their deviation."""

    def __init__(self, autoencoder: Autoencoder, denoiser: Denoiser, scale: Tensor):
        super().__init__()
        self.decoder, self.denoiser = autoencoder.decoder, denoiser
        self.register_buffer("scale", scale)


def affordable(key, start: Callable[[], Iterable], budget: float) -> int:
    """How many steps of training `budget` seconds of processor time pay for: some are tried, once for each key.

    start: () -> the ticks of a new training. The first two steps warm up and are not counted.
    """
    if key not in _STEPS:
        ticks = iter(start())
        next(ticks), next(ticks)
        began = time.process_time()
        spent, steps = 0.0, 0
        while spent < TRIAL * budget:
            next(ticks)
            steps += 1
            spent = time.process_time() - began
        _STEPS[key] = max(1, round(budget * steps / spent))
    return _STEPS[key]


def taught(build, tensors, seed: int, budget: float, lr: float, fit=train.fit) -> nn.Module:
    """A new model of build(), trained on those tensors for what `budget` seconds pay for; its average, in eval mode."""

    def begin(steps: int):
        seed_everything(seed)
        model = build()
        ema = train.Ema(model)
        return ema, fit(model, data.batches(*tensors, size=64, seed=seed), steps, lr=lr, seed=seed, ema=ema)

    key = getattr(build, "__name__", build), budget
    steps = affordable(key, lambda: begin(1_000_000)[1], budget)
    ema, ticks = begin(steps)
    train.run(ticks, desc=f"{key[0]} seed {seed}")
    return ema.model


# How each is taught


def autoregressive(seed: int, budget: float) -> PixelModel:
    return taught(PixelModel, data.digits("train", 8), seed, budget, 4e-3)


def vae(seed: int, budget: float) -> VAE:
    return taught(conditional_vae, data.digits("train"), seed, budget, 4e-3)


def vae_levels(seed: int, budget: float) -> VAE:
    return taught(level_vae, recipes.levels("train"), seed, budget, 4e-3)


def flow(seed: int, budget: float) -> Flow:
    return taught(level_flow, recipes.levels("train"), seed, budget, 5e-3)


def gan(seed: int, budget: float) -> nn.Module:
    return taught(conditional_gan, data.digits("train"), seed, budget, 2e-3, train.fit_adversarial)


def diffusion(seed: int, budget: float) -> Denoiser:
    return taught(recipes.ddpm, data.digits("train"), seed, budget, 2e-3)


def small_diffusion(seed: int, budget: float) -> Denoiser:
    return taught(small_ddpm, recipes.levels("train"), seed, budget, 2e-3)


@cache
def flow_matching(seed: int, budget: float) -> Denoiser:
    return taught(recipes.flow_matching, data.digits("train"), seed, budget, 2e-3)


def transformer(seed: int, budget: float) -> Denoiser:
    return taught(recipes.dit, data.digits("train"), seed, budget, 3e-3)


def latent(seed: int, budget: float) -> Latent:
    """An autoencoder in ENCODER of the budget, then a denoiser of its codes in the rest."""
    images, labels = data.digits("train")
    autoencoder = taught(sixteen_numbers, (images,), seed, ENCODER * budget, 4e-3)
    with torch.no_grad():
        codes = autoencoder.encode(images)
    scale = codes.std(0)
    denoiser = taught(code_denoiser, (codes / scale, labels), seed, (1 - ENCODER) * budget, 2e-3)
    return Latent(autoencoder, denoiser, scale)


def student(seed: int, budget: float) -> ProgressiveStudent:
    """A student of two steps, each worth four of its teacher's, the flow matching model of the same seed and budget."""
    teacher = flow_matching(seed, budget)

    def follower() -> ProgressiveStudent:
        net = UNet(channels=1, classes=10)
        return ProgressiveStudent(net, null=10, steps=2, worth=4).follow(teacher)

    return taught(follower, data.digits("train"), seed, budget, 1e-3)


# What is built


def conditional_vae() -> VAE:
    return VAE(code=8, classes=10)


def level_vae() -> VAE:
    return VAE(code=8, size=8, likelihood=Levels())


def level_flow() -> Flow:
    return Flow(shape=recipes.SMALL, couplings=8, width=128, dropout=0.3, bin=1 / 8)


def conditional_gan() -> nn.Module:
    return recipes.wgan(classes=10)


def small_ddpm() -> Denoiser:
    return recipes.ddpm_levels(VariationalDenoiser)


def sixteen_numbers() -> Autoencoder:
    return Autoencoder(code=16)


def code_denoiser() -> Denoiser:
    return Denoiser(PointNet(16, width=256, classes=10), schedule.cosine(), predict="v", null=10, drop=0.1)


# How each draws


def _once(model: nn.Module, n: int, generator) -> Tensor:
    return generate.one_pass(model, n, labels=generate.in_turn(model, n), generator=generator)


def _walked(model: Denoiser, n: int, generator, steps: int = 20, shape=recipes.LARGE) -> Tensor:
    return generate.draw(model, n, steps=steps, shape=shape, generator=generator)


@torch.no_grad()
def _decoded(model: Latent, n: int, generator) -> Tensor:
    codes = generate.draw(model.denoiser, n, shape=(16,), limits=None, generator=generator)
    return torch.cat([model.decoder(part * model.scale).clamp(-1, 1) for part in codes.split(generate.CHUNK["cpu"])])


FAMILIES = {
    "autoregressive": Family(autoregressive, _once, 64),
    "VAE": Family(vae, _once, 1, weights=lambda model: model.decoder),
    "VAE of levels": Family(vae_levels, _once, 1, labels=False, weights=lambda model: model.decoder),
    "flow": Family(flow, _once, 1, labels=False),
    "GAN": Family(gan, _once, 1, weights=lambda model: model.generator),
    "diffusion": Family(diffusion, _walked, 20),
    "diffusion of levels": Family(small_diffusion, partial(_walked, shape=recipes.SMALL), 20, labels=False),
    "latent diffusion": Family(latent, _decoded, 20),
    "flow matching": Family(flow_matching, _walked, 20),
    "flow matching, DiT": Family(transformer, _walked, 20),
    "two-step student": Family(student, partial(_walked, steps=2), 2, first=flow_matching),
}


# What is measured


def detail(images: Tensor, real: Tensor) -> float:
    """The power of fine structure in pictures (N, 1, 16, 16) divided by that in real ones: 1 is right, less is blur.

    Pictures are made 8x8 first, the size at which the digits were written, so that no family is judged by what
    enlarging leaves out; fine are waves of less than four pixels there, across or down.
    """
    return _fine(images) / _fine(real)


def _fine(images: Tensor) -> float:
    power = torch.fft.fft2(F.avg_pool2d(images, 2)).abs().square().mean((0, 1))
    waves = torch.fft.fftfreq(8, 1 / 8).abs()
    return power[torch.maximum(waves[:, None], waves) > 2].sum().item()


def contestant(name: str, seed: int, budget: float = BUDGET, n: int = DRAWN) -> tuple[dict, Tensor]:
    """A row of the table: that family trained with this seed, its n digits measured; and the digits (n, 1, 16, 16)."""
    family = FAMILIES[name]
    if family.first is not None:
        family.first(seed, budget)
    began = time.process_time()
    model = family.teach(seed, budget)
    spent = time.process_time() - began
    family.draw(model, 10, seeded(seed))  # to warm up
    began = time.process_time()
    small = family.draw(model, n, seeded(seed))
    seconds = (time.process_time() - began) * 1000 / n
    weights = sum(weight.numel() for weight in family.weights(model).parameters())
    told = {"family": name, "seed": seed, "drawn at": small.shape[-1], "labels": "yes" if family.labels else "no"}
    told |= {"passes": family.passes} | measured(enlarged(small)) | {"bits/dim": bits(model)}
    costs = {"train (CPU s)": round(spent, 2), "1,000 (CPU s)": round(seconds, 2), "MB": round(4e-6 * weights, 2)}
    return told | costs, enlarged(small)


def measured(images: Tensor) -> dict:
    """The figures of digits (n, 1, 16, 16), beside the held-out ones."""
    real = real_digits()
    return evaluate.quality(images, *real).row() | {"detail": round(detail(images, real[1]), 2)}


def bits(model: nn.Module) -> str | None:
    """Bits a pixel of the held-out 8x8 digits: exact, or an upper bound with ≤ before it; None for other models."""
    if isinstance(model, VariationalDenoiser):
        x = data.digits("test", 8)[0]
        return f"≤ {metrics.bits_per_dim(-bound(model, model.schedule, x, 50, generator=seeded(0)), 64):.2f}"
    return likelihood(model) if isinstance(model, (PixelModel, VAE, Flow)) else None


def floors() -> list[dict]:
    """The rows to read the others against: fresh real pictures, a memoriser, and pixels that know no neighbour."""
    found = [{"family": name} | quality.row() for name, quality in evaluate.floors(*real_digits()).items()]
    train_images, labels = data.digits("train", 8)
    alone = IndependentPixels(train_images, torch.zeros_like(labels), classes=1)
    images = enlarged(alone.sample(DRAWN, generator=seeded(0)))
    held_out = data.digits("test", 8)[0]
    exact = metrics.bits_per_dim(alone.log_prob(held_out, torch.zeros(len(held_out), dtype=torch.int64)), 64)
    return [*found, {"family": BASELINE, "drawn at": 8} | measured(images) | {"bits/dim": f"{exact:.2f}"}]


def tournament(seeds: Sequence[int], budget: float = BUDGET, names=tuple(FAMILIES), told=print) -> tuple[list, dict]:
    """A row for each family and seed, then the floors; and some digits of each, (seeds, SHOWN, 1, 16, 16) by name."""
    rows = []
    drawn = {name: [] for name in names}
    for seed in seeds:
        for name in names:
            row, images = contestant(name, seed, budget)
            rows.append(row)
            drawn[name].append(images[:SHOWN])
            told(row, flush=True)
    return rows + floors(), {name: torch.stack(each) for name, each in drawn.items()}
