"""Lesson 00, measured: the average digit, bits for each pixel, the quality of samples, and the price of a picture."""

import math
import time

import torch
from torch import Tensor, nn

from minidiff import data, evaluate, seed_everything, seeded
from minidiff.autoregressive import LEVELS, IndependentPixels, PixelModel
from minidiff.lessons.lesson00.solutions import Painter
from minidiff.metrics import bits_per_dim
from minidiff.scorecard.common import Claim, real_digits, spread, trained
from minidiff.train import fit

PAPER = "1601.06759, their results on CIFAR-10"  # van den Oord et al. 2016
PAPERS = {"uniform": 8.00, "Gaussian": 4.70, "pixel by pixel": 3.14}  # bits/dim; theirs has no label


def class_means(x: Tensor, y: Tensor, classes: int = 10) -> Tensor:
    """The average picture of each label, (classes, 1, H, W)."""
    return torch.stack([x[y == label].mean(0) for label in range(classes)])


def averageness(draw: nn.Module, x: Tensor, y: Tensor, copies: int = 50) -> dict[str, float]:
    """How a network label -> picture compares with the real pictures x (N, 1, H, W) of labels y, as shares of 1.

    "from the average": mean squared distance of its drawings to the average of their label; "variety": their variance
    over `copies` drawings of one label. Both in units of the real pictures' own variance within a label.
    """
    labels = torch.arange(10).repeat_interleave(copies)
    with torch.no_grad():
        drawn = draw(labels)
    means = class_means(x, y)
    real = (x - means[y]).square().mean()
    variety = drawn.unflatten(0, (10, copies)).var(1).mean()
    return {
        "from the average": ((drawn - means[labels]).square().mean() / real).item(),
        "variety": (variety / real).item(),
    }


def likelihoods(model: PixelModel) -> list[dict]:
    """Rows of the table: held-out bits/dim of `model` and of simpler ones, and the same on the training pictures."""
    train = data.digits("train", 8)
    test = data.digits("test", 8)
    one = IndependentPixels(train[0], train[1] * 0, 1)
    each = IndependentPixels(*train)
    ways = {
        "uniform": lambda x, y: torch.full((len(x),), -64 * math.log(LEVELS)),
        "Gaussian, full covariance": _gaussian(train[0]),
        "independent pixels": lambda x, y: one.log_prob(x, y * 0),
        "independent pixels, given the label": each.log_prob,
        "pixel by pixel": lambda x, y: model.log_prob_unlabelled(x),
        "pixel by pixel, given the label": model.log_prob,
    }
    with torch.no_grad():
        bits = {way: [_bits(log_prob, *split) for split in (test, train)] for way, log_prob in ways.items()}
    return [{"model": way, "held-out": held_out, "train": seen} for way, (held_out, seen) in bits.items()]


def _bits(log_prob, x: Tensor, y: Tensor, rows: int = 250) -> float:
    """bits/dim of the pictures, `rows` at a time: more do not fit a processor's cache."""
    return bits_per_dim(torch.cat([log_prob(*part) for part in zip(x.split(rows), y.split(rows))]), 64)


def _gaussian(x: Tensor):
    """log p of the levels under a Gaussian fitted to x + u/8, u uniform in [0, 1): a lower bound, one u a pixel.

    A level is a cell of volume (1/8)^64, and log p(cell) >= E_u log(density (1/8)^64) (Theis et al., 1511.01844).
    """
    generator = seeded(0)

    def spread_out(x):
        return (x.flatten(1) + torch.rand(len(x), 64, generator=generator) / 8).double()

    many = torch.cat([spread_out(x) for _ in range(8)])
    gaussian = torch.distributions.MultivariateNormal(many.mean(0), many.T.cov())
    return lambda x, y: gaussian.log_prob(spread_out(x)) - 64 * math.log(8)


def drawings(model: PixelModel, n: int, seed: int = 0) -> dict[str, Tensor]:
    """n pictures by each way, of labels 0, 1, … 9, 0, …: the average, independent pixels, pixel by pixel."""
    x, y = data.digits("train", 8)
    labels = torch.arange(n) % 10
    generator = seeded(seed)
    return {
        "the average": class_means(x, y)[labels],
        "independent pixels": IndependentPixels(x, y).sample(n, labels, generator=generator),
        "pixel by pixel": torch.cat([model.sample(len(part), part, generator=generator) for part in labels.split(297)]),
    }


def qualities(pictures: dict[str, Tensor]) -> list[dict]:
    """Rows of the table of sample quality, the two floors first."""
    real = real_digits(8)
    found = evaluate.floors(*real) | {way: evaluate.quality(drawn, *real) for way, drawn in pictures.items()}
    return [{"pictures": name, **figures.row()} for name, figures in found.items()]


def cost(painter: nn.Module, model: PixelModel, n: int = 100) -> list[dict]:
    """Rows of the table of prices: network passes and milliseconds for n pictures drawn together, best of two."""
    labels = torch.arange(n) % 10
    ways = {
        "the average digit": (painter, lambda: painter(labels)),
        "pixel by pixel": (model, lambda: model.sample(n, labels)),
        "(one pass of that network)": (model, lambda: model(torch.zeros(n, 1, 8, 8), labels)),
    }
    with torch.no_grad():
        return [{"way": way, "passes": _passes(*each), "milliseconds": _time(each[1])} for way, each in ways.items()]


def _passes(network: nn.Module, work) -> int:
    """How often `work` runs the network."""
    seen = []
    with network.register_forward_hook(lambda *_: seen.append(1)):
        work()
    return len(seen)


def _time(work, times: int = 2) -> float:
    """The shortest of a few runs, in milliseconds: others on the machine only ever add."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over training seeds; `full` judges three times as many samples."""
    models = [trained("pixels-digits", seed) for seed in seeds]
    return [
        *_of_squared_error(seeds),
        _of_likelihood(models),
        _of_quality(models, 891 if full else 297),
        _of_price(models),
    ]


def _of_squared_error(seeds: list[int]) -> list[Claim]:
    theory = "0: the mean has the least squared error"
    far = [averageness(_painter(0, seed), *data.digits("train", 8))["from the average"] for seed in seeds]
    varied = [averageness(_painter(8, seed), *data.digits("train", 8))["variety"] for seed in seeds]
    text = "squared error, from a label: draws the average digit (distance² / variance of real digits)"
    more = "and with a random z beside the label: no variety (variance / that of real digits)"
    return [
        Claim("00", text, theory, spread(far, 1), max(far) < 0.05),
        Claim("00", more, theory, spread(varied, 1), max(varied) < 0.05),
    ]


def _painter(noise: int, seed: int) -> Painter:
    """A Painter as the notebook trains it: a quarter of a second in every profile."""
    seed_everything(seed)
    painter = Painter(noise)
    for _ in fit(painter, data.batches(*data.digits("train", 8), size=64, seed=seed), 300, 4e-3, seed=seed):
        pass
    return painter


def _of_likelihood(models: list[PixelModel]) -> Claim:
    tables = [{row["model"]: row["held-out"] for row in likelihoods(model)} for model in models]
    ours = {
        "pixel by pixel": [table["pixel by pixel"] for table in tables],
        "Gaussian": [tables[0]["Gaussian, full covariance"]],
        "uniform": [tables[0]["uniform"]],
    }
    holds = max(ours["pixel by pixel"]) < ours["Gaussian"][0] < ours["uniform"][0]
    paper = " < ".join(f"{PAPERS[way]:.2f}" for way in ours) + f" ({PAPER})"
    text = "held-out bits/dim, no label: pixel by pixel < Gaussian < uniform"
    return Claim("00", text, paper, " < ".join(map(spread, ours.values())), holds)


def _of_quality(models: list[PixelModel], n: int) -> Claim:
    ways = "pixel by pixel", "independent pixels"
    tables = [
        {row["pictures"]: row for row in qualities(drawings(model, n, seed))} for seed, model in enumerate(models)
    ]
    ours = [[table[way]["FD held-out"] for table in tables] for way in ways]
    holds = max(ours[0]) < min(ours[1])
    text = "samples are nearer to held-out digits (FD): pixel by pixel < independent pixels"
    return Claim("00", text, "no figure", " < ".join(map(spread, ours)), holds)


def _of_price(models: list[PixelModel]) -> Claim:
    _, painted, once = cost(Painter(), models[0], n=10)
    ours = f"{painted['passes']} passes, {painted['milliseconds'] / once['milliseconds']:.0f} times the time of one"
    text = "a picture of 64 pixels costs 64 passes of the network"
    return Claim("00", text, "one pass a pixel (1601.06759)", ours, painted["passes"] == 64)
