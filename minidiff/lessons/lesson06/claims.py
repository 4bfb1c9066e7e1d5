"""Lesson 06 measured: samples beside the VAE's, losses over t, the bound in bits, what small training sets do."""

from statistics import mean

import torch
from torch import Tensor

from minidiff import checkpoints, data, evaluate, metrics, seeded
from minidiff.denoiser import Denoiser, bound
from minidiff.generate import draw
from minidiff.scorecard.common import Claim, real_digits, spread, trained
from minidiff.support.tables import rounded
from minidiff.vae import VAE

FID = "FID 3.17, NCSN 25.32, PixelIQN 49.46 (CIFAR-10; 2006.11239, table 1)"
SIMPLE = "FID 3.17 against 13.51, 3.75 against 3.70 bits (CIFAR-10; 2006.11239, table 1)"
WAYS = ("DDPM, 50 steps", "VAE, random codes")
COPIES = "each of 1,500 digits was seen thirty times, and copying begins"
NOISY = "the bound's loss scatters thrice as widely from draw to draw, so 1,000 steps on it teach less than on L_simple"
WIDE = "the small variance is right for an exact estimate of x0; where ours errs, a wider step pays less"


def drawn(ddpm: Denoiser, vae: VAE, n: int = 594, steps: int = 50, seed: int = 0) -> dict[str, Tensor]:
    """n pictures in [-1, 1] of each: the ancestral sampler in `steps` steps, labels in turn; the VAE's random codes."""
    pictures = draw(ddpm, n, steps=steps, sampler="ddpm", generator=seeded(seed))
    with torch.no_grad():
        return dict(zip(WAYS, (pictures, vae.sample(n, generator=seeded(seed)))))


def bits(model: Denoiser, draws: int = 100, variance: str = "small", split: str = "test") -> float:
    """DDPM's bound in bits a pixel on at most 297 of the 8x8 digits, labels unknown: at least the true figure."""
    x0 = data.digits(split, 8)[0][:297]
    generator = seeded(0)
    return metrics.bits_per_dim(-bound(model, model.schedule, x0, draws, variance, generator), 64)


def bits_table(simple: Denoiser, variational: Denoiser, draws: int = 100) -> list[dict]:
    """Held-out bits a pixel of the 8x8 digits: two trainings, and both variances of the first."""
    rows = {
        "DDPM on L_simple, small variance": bits(simple, draws),
        "DDPM on L_simple, large variance": bits(simple, draws, "large"),
        "DDPM on the bound L, small variance": bits(variational, draws),
    }
    return [{"model": name, "bits/dim": value} for name, value in rows.items()]


def small_quality(models: dict[str, Denoiser], n: int = 594, steps: int = 50) -> dict[str, evaluate.Quality]:
    """The four figures of n 8x8 samples of each model, drawn in `steps` steps, beside the floors."""
    options = {"steps": steps, "sampler": "ddpm", "shape": (1, 8, 8)}
    pictures = {name: draw(model, n, generator=seeded(0), **options) for name, model in models.items()}
    return evaluate.compare(pictures, *real_digits(8))


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over models trained with each seed; `full` judges more samples."""
    n = 1485 if full else 594
    vae = checkpoints.load("vae-digits")
    pictures = [drawn(trained("ddpm-digits", seed), vae, n) for seed in seeds]
    measured = [evaluate.compare(each, *real_digits()) for each in pictures]
    small = [(trained("ddpm-levels", seed), trained("ddpm-levels-bound", seed)) for seed in seeds]
    return [*_beats_the_vae(measured), _no_copies(measured), *_of_objectives(small)]


def _beats_the_vae(measured: list[dict[str, evaluate.Quality]]) -> list[Claim]:
    """One claim a figure: better in the mean over seeds than the shipped VAE's random codes."""
    figures = {"FD train": "fd_train", "FD held-out": "fd_held_out", "precision": "precision", "recall": "recall"}
    found = []
    for name, field in figures.items():
        ours, (theirs, *_) = ([getattr(row[way], field) for row in measured] for way in WAYS)
        holds = mean(ours) < theirs if name.startswith("FD") else mean(ours) > theirs
        shown = f"DDPM {spread(ours)}, VAE {rounded(theirs)}"
        found.append(Claim("06", f"the DDPM's {name} is better than the VAE's", FID, shown, holds))
    return found


def _no_copies(measured: list[dict[str, evaluate.Quality]]) -> Claim:
    shares = [row[WAYS[0]].nearest for row in measured]
    text = "samples are no copies: nearest is train for less than half of the way from 0.5 to the memoriser's 0.6"
    holds = mean(shares) < 0.55
    paper = "no figure; its appendix shows nearest neighbours (2006.11239)"
    return Claim("06", text, paper, spread(shares), holds, "" if holds else COPIES)


def _of_objectives(pairs: list[tuple[Denoiser, Denoiser]]) -> list[Claim]:
    """Samples and bits of the two trainings, on L_simple and on the bound, and what the large variance costs."""
    names = plain, bounded = ("L_simple", "the bound")
    distances = [small_quality(dict(zip(names, pair))) for pair in pairs]
    simple, variational = ([row[name].fd_held_out for row in distances] for name in names)
    tables = [[row["bits/dim"] for row in bits_table(*pair)] for pair in pairs]
    small, large, fewer = zip(*tables)
    text = "8x8: {} trained on L_simple {} than trained on the bound"
    distance = text.format("samples", "have a lower FD to held-out")
    price = text.format("models", "need more bits/dim")
    return [
        _lower(distance, SIMPLE, {plain: simple, bounded: variational}),
        _lower(price, SIMPLE, {bounded: fewer, plain: small}, NOISY),
        _lower("8x8: the bound is lower with the small variance", "no figure", {"small": small, "large": large}, WIDE),
    ]


def _lower(text: str, paper: str, sides: dict, why: str = "") -> Claim:
    """The claim that the first side's mean is the lower one; `why`, if it does not hold."""
    low, high = sides.values()
    ours = ", ".join(f"{name} {spread(values)}" for name, values in sides.items())
    holds = mean(low) < mean(high)
    return Claim("06", text, paper, ours, holds, "" if holds else why)
