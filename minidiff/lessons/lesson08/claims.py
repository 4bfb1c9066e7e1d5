"""Lesson 08 measured: what a stronger guidance trades on digits; where guided samples of a known mixture lie."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import mean

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, evaluate, seeded
from minidiff.guidance import Denoise, cfg, clamp, classifier_guidance, dynamic_threshold, interval
from minidiff.lessons.lesson08.mixture import guided_samples, same, three, where
from minidiff.sampler import last, sample, times
from minidiff.schedule import Schedule
from minidiff.scorecard.common import Claim, real_digits, spread, trained

NULL = 10  # the label of no label of the digits' denoiser
SCALES = (0.0, 0.5, 1.0, 1.25, 2.0, 4.0)
LED = (1.0, 4.0, 16.0)  # a classifier is asked with larger ones
STRONG = 4.0  # the scale at which limits and intervals are compared
SPAN = (0.0, 0.5)  # the times at which an interval guides
ADM = "ImageNet 256: scale none, 1, 10: {} (2105.05233, table 4, conditional model)"
HO = "best at w = 0.1 or 0.3, scale 1.1 or 1.3, of ImageNet 64 and 128 (2207.12598)"
OBEYS = "at scale 1 these samples are as near, as precise and as legible as fresh real digits: nothing left to repair"


def drawn(guide: Callable[[Tensor], Denoise], labels: Tensor, schedule: Schedule, steps=20, seed: int = 0) -> Tensor:
    """Pictures (n, 1, 16, 16) in [-1, 1] of those labels (n,) by DDIM, from the same noise for the same seed.

    guide: the labels of some of the pictures -> their denoiser.
    """
    noise = schedule.prior((len(labels), 1, 16, 16), seeded(seed))
    parts = zip(noise.split(99), labels.split(99))  # more do not fit a processor's cache
    return torch.cat([last(sample(guide(y), x, times(steps), schedule)) for x, y in parts]).clamp(-1, 1)


@torch.no_grad()
def accuracy(images: Tensor, labels: Tensor) -> float:
    """The share of pictures that the shipped classifier of clean digits reads as their label. It guides nobody."""
    return (checkpoints.load("classifier-digits")(images).argmax(1) == labels).double().mean().item()


def white(images: Tensor) -> float:
    """The share of pixels at the top of the range, 0.98 or more."""
    return (images >= 0.98).double().mean().item()


def figures(images: Tensor, labels: Tensor) -> dict[str, float]:
    """What a row of this lesson's tables says of pictures (n, 1, 16, 16), n at least 297, and the labels asked for."""
    quality = evaluate.quality(images, *real_digits())
    return {"accuracy": round(accuracy(images, labels), 3)} | quality.row() | {"white pixels": round(white(images), 3)}


def without_classifier(model: nn.Module, scale: float) -> Callable[[Tensor], Denoise]:
    """labels -> the digits' denoiser with classifier-free guidance, clamped."""
    return lambda labels: clamp(cfg(model, labels, NULL, scale))


def with_classifier(model: nn.Module, classifier: nn.Module, scale: float) -> Callable[[Tensor], Denoise]:
    """labels -> the same denoiser, not told the label, with the gradient of a classifier of noisy digits, clamped."""
    return lambda labels: clamp(classifier_guidance(model, classifier.log_prob(labels), model.schedule, scale))


def trade(guide: Callable[[float], Callable], schedule: Schedule, scales=SCALES, n=297, steps=20, seed=0) -> list[dict]:
    """A row a scale: the figures of n pictures of the labels 0, 1, ... in turn, drawn by `guide(scale)`."""
    labels = torch.arange(n) % 10
    return [{"scale": s} | figures(drawn(guide(s), labels, schedule, steps, seed), labels) for s in scales]


def limits(model: nn.Module, scale: float = STRONG, n=297, steps=20, seed=0) -> list[dict]:
    """A row for each way to keep strong guidance in the range of pictures."""

    def guide(limit, labels: Tensor) -> Denoise:
        return limit(cfg(model, labels, NULL, scale))

    labels = torch.arange(n) % 10
    rows = []
    for name, limit in {"clamp": clamp, "dynamic threshold": dynamic_threshold}.items():
        images = drawn(partial(guide, limit), labels, model.schedule, steps, seed)
        rows.append({"limit": name} | figures(images, labels))
    return rows


def within(model: nn.Module, scale: float, low: float, high: float) -> Callable[[Tensor], Denoise]:
    """labels -> classifier-free guidance at the times from low to high, the plain conditional at others, clamped."""
    return lambda y: clamp(interval(cfg(model, y, NULL, scale), lambda x, t: model(x, t, y), low, high))


def spans(model: nn.Module, spans=(SPAN,), scale: float = STRONG, n=297, steps=20, seed=0) -> list[dict]:
    """A row for each interval (low, high) of times in which guidance is on."""
    labels = torch.arange(n) % 10
    rows = []
    for low, high in spans:
        images = drawn(within(model, scale, low, high), labels, model.schedule, steps, seed)
        rows.append({"guided from t": low, "to": high} | figures(images, labels))
    return rows


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over training seeds; `full` judges three times as many samples."""
    n = 891 if full else 297
    models = [trained("ddpm-digits", seed) for seed in seeds]
    noisy = [trained("classifier-digits-noisy", seed) for seed in seeds]
    free = [trade(partial(without_classifier, m), m.schedule, n=n) for m in models]
    led = [trade(partial(with_classifier, m, c), m.schedule, LED, n) for m, c in zip(models, noisy)]
    limited = [limits(m, n=n) for m in models]
    return [
        *_of_mixture(seeds),
        *_of_trade(free, "classifier-free"),
        *_of_trade(led, "classifier"),
        _of_best(free),
        _of_limits(limited),
        _of_spans([[clamped, *spans(m, n=n)] for m, (clamped, _) in zip(models, limited)]),
    ]


def _claim(text: str, paper: str, ours: str, holds: bool, why: str = "") -> Claim:
    return Claim("08", text, paper, ours, holds, "" if holds else why)


def _of_mixture(seeds: list[int]) -> list[Claim]:
    mixture = three()
    found = {}
    part = data.GaussianMixture([1.0], mixture.means[:1], mixture.stds[:1])
    for seed in seeds:
        truth = part.sample(1000, seeded(1000 + seed))
        for way, x in guided_samples(mixture, 0, 1.0, seed=seed).items():
            found.setdefault(way, []).append(same(x, truth))
    ours = ", ".join(f"{way} p = {spread(values, 2)}" for way, values in found.items())
    text = "three Gaussians, scale 1, 200 steps: guided samples are the exact conditional's (two-sample test, p > 0.01)"
    rows = [where(mixture, scales=(4.0,), seed=seed)[0] for seed in seeds]
    _, wanted, *ways = rows[0]
    reached = [[row[way] for row in rows] for way in ways]
    shown = f"{rows[0][wanted]:.2f}; " + ", ".join(map(spread, reached))
    other = "scale 4: samples are not those of p(x) p(y|x)^4 but further out (mean along the label's axis: it; samples)"
    chance = "chance: one seed in a hundred at p < 0.01, if all is exact"
    return [
        _claim(text, "Bayes' rule", ours, min(map(min, found.values())) > 0.01, chance),
        _claim(other, "no figure (2408.09000)", shown, min(map(min, reached)) > rows[0][wanted] + 0.3),
    ]


def _columns(tables: list[list[dict]], *names: str) -> list[list[list[float]]]:
    """For each name and each row of the tables: the figures over seeds."""
    return [[[row[name] for row in rows] for rows in zip(*tables)] for name in names]


def _of_trade(tables: list[list[dict]], way: str) -> list[Claim]:
    """From the label's own distribution, scale 1, upwards."""
    tables = [[row for row in rows if row["scale"] >= 1] for rows in tables]
    accuracy, recall = _columns(tables, "accuracy", "recall")
    up, down = ([b - a for a, b in pairwise(map(mean, column))] for column in (accuracy, recall))
    scales = ", ".join(f"{row['scale']:g}" for row in tables[0])
    paper = ADM.format("0.63, 0.52, 0.32")
    rising = ADM.format("precision 0.69, 0.82, 0.88")
    return [
        _claim(
            f"{way}, scale {scales}: accuracy does not fall", rising, ", ".join(map(spread, accuracy)), min(up) > -0.005
        ),
        _claim(f"{way}, scale {scales}: recall falls", paper, ", ".join(map(spread, recall)), max(down) < 0),
    ]


def _of_best(tables: list[list[dict]]) -> Claim:
    [distances] = _columns(tables, "FD held-out")
    best = [min(rows, key=lambda row: row["FD held-out"])["scale"] for rows in tables]
    ours = f"best at {', '.join(f'{b:g}' for b in best)}; FD {', '.join(map(spread, distances))}"
    text = f"classifier-free, scale {', '.join(f'{s:g}' for s in SCALES)}: the best FD to held-out is at scale 1.25"
    return _claim(text, HO, ours, all(b == 1.25 for b in best), OBEYS)


def _of_limits(tables: list[list[dict]]) -> Claim:
    columns = dict(zip(("white pixels", "FD held-out"), _columns(tables, "white pixels", "FD held-out")))
    holds = all(mean(dynamic) < mean(cut) for cut, dynamic in columns.values())
    text = f"scale {STRONG:g}: dynamic thresholding leaves fewer white pixels and a lower FD than a clamp"
    shown = "; ".join(f"{name} {spread(cut)} -> {spread(dynamic)}" for name, (cut, dynamic) in columns.items())
    return _claim(text, "order only: less saturated, more real at large scales (2205.11487, section 2.3)", shown, holds)


def _of_spans(tables: list[list[dict]]) -> Claim:
    recall, distance = _columns(tables, "recall", "FD held-out")
    holds = mean(recall[1]) > mean(recall[0]) and mean(distance[1]) < mean(distance[0])
    text = f"scale {STRONG:g}: guidance at t <= {SPAN[1]:g} only keeps more recall and a lower FD than at all times"
    shown = "; ".join(
        f"{name} {spread(a)} -> {spread(b)}" for name, (a, b) in {"recall": recall, "FD": distance}.items()
    )
    return _claim(text, "FID 1.81 -> 1.40 of ImageNet 512 (2404.07724, abstract)", shown, holds)
