"""Lesson 01 measured: PCA against the autoencoder, three ways to pick a code, what denoising takes away."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import data, evaluate, seeded
from minidiff.autoencoder import Autoencoder, GaussianCodes, LinearCode
from minidiff.scorecard.common import Claim, real_digits, spread, trained

PAPER = "3.00 / 13.87 = 0.22 (MNIST, 30 numbers; Hinton & Salakhutdinov 2006, fig. 2B)"
BOUND = 0.45  # of PCA's error, at 8 numbers
RANK = "these digits have but 61 independent numbers: 32 directions keep nearly all, 1,500 digits train no net so well"
CODES = ("codes of real digits", "codes from a fitted Gaussian", "standard normal codes")


@torch.no_grad()
def held_out_error(model, noise: float = 0.0) -> float:
    """Mean squared error a pixel of decode(encode(x + noise * eps)) against x, over the 297 held-out digits."""
    x = data.digits("test")[0]
    eps = torch.randn(x.shape, generator=seeded(0))
    return F.mse_loss(model.decode(model.encode(x + noise * eps)), x).item()


def code_sizes(models: list[Autoencoder]) -> list[dict]:
    """A row for each autoencoder: its held-out error, PCA's at the same code size, and the ratio of the two."""
    train = data.digits("train")[0]
    rows = []
    for model in models:
        pca = held_out_error(LinearCode(train, model.code))
        ours = held_out_error(model)
        rows.append({"numbers": model.code, "PCA": pca, "autoencoder": ours, "ratio": ours / pca})
    return rows


@torch.no_grad()
def drawn(model: Autoencoder, n: int = 1500, seed: int = 0) -> dict[str, Tensor]:
    """Pictures (n, 1, 16, 16) in [-1, 1] decoded from n codes of each of the three kinds in CODES; n at most 1,500."""
    generator = seeded(seed)
    z = model.encode(data.digits("train")[0])
    normal = torch.randn(n, model.code, generator=generator)
    kinds = (z[:n], GaussianCodes(z).sample(n, generator), normal)
    return {name: model.decode(codes).clamp(-1, 1) for name, codes in zip(CODES, kinds)}


def denoising(models: dict[str, Autoencoder], noises=(0.0, 0.25, 0.5, 1.0)) -> list[dict]:
    """A row for each noise level: the error of the noisy picture itself, then that of each model's output."""
    return [
        {"noise": noise, "noisy picture": noise**2} | {name: held_out_error(m, noise) for name, m in models.items()}
        for noise in noises
    ]


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims, each over one model trained for each seed."""
    names = ("ae-digits", "ae-digits-32", "dae-digits")
    small, large, denoisers = ([trained(name, seed) for seed in seeds] for name in names)
    return [_beats_pca(small), _beats_pca(large, RANK), _is_no_generator(small), _removes_noise(denoisers)]


def _beats_pca(models: list[Autoencoder], why: str = "") -> Claim:
    ratios = [row["ratio"] for row in code_sizes(models)]
    text = f"{models[0].code} numbers a digit: the autoencoder's held-out squared error is at most {BOUND} of PCA's"
    holds = max(ratios) <= BOUND
    return Claim("01", text, PAPER, spread(ratios), holds, "" if holds else why)


def _is_no_generator(models: list[Autoencoder]) -> Claim:
    tables = [evaluate.compare(drawn(model), *real_digits()) for model in models]
    rows = [{name: quality.fd_held_out for name, quality in table.items()} for table in tables]
    holds = all(row[CODES[0]] < row[CODES[1]] < row[CODES[2]] for row in rows)
    ours = ", ".join(f"{name} {spread([row[name] for row in rows])}" for name in (*CODES, "fresh real pictures"))
    text = "FD to held-out of decoded codes: real < fitted Gaussian < standard normal"
    return Claim("01", text, "the ordering, no figure (why VAEs were made)", ours, holds)


def _removes_noise(models: list[Autoencoder]) -> Claim:
    shares = [held_out_error(m, 0.5) / 0.25 for m in models]
    text = "a denoising autoencoder leaves less than a tenth of the squared noise (std 0.5)"
    paper = "no such figure (Vincent et al. 2008)"
    holds = max(shares) < 0.1
    return Claim("01", text, paper, f"{spread(shares)} left", holds)
