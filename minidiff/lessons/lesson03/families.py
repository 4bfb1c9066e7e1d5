"""The families side by side on digits: bits a pixel where there is a likelihood, four quality figures, two prices.

Some draw 8x8 pictures, some 16x16. All are judged at 16x16: the smaller ones are enlarged as `data.digits` enlarges the
real digits, so that every row is compared with the same train and held-out pictures.
"""

import time
from statistics import mean

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, evaluate, metrics, seeded
from minidiff.autoregressive import IndependentPixels
from minidiff.scorecard.common import Claim, enlarged, real_digits, trained
from minidiff.support.tables import rounded

NAMES = ("pixels-digits", "vae-digits-levels", "flow-digits")  # and "gan-digits", from lesson 04 on
BASELINE = "independent pixels"
COUNT = 1000  # pictures drawn of each


def families(names=NAMES, seed: int = 0, shipped: bool = False, n: int = COUNT) -> list[dict]:
    """A row for each recipe of `names`, trained here and now with this seed and timed, after two floors and a baseline.

    Columns: held-out bits/dim (exact, or an upper bound), the four figures of `evaluate.quality` over n pictures (297
    or more; a multiple of 297 is used), parameters, seconds to train, seconds for 1,000 samples, from those for n. With
    `shipped` the checkpoints are taken instead, and there is no time to train.
    """
    (train, y), held_out = data.digits("train", 8), data.digits("test", 8)[0]
    alone = IndependentPixels(train, torch.zeros_like(y), classes=1)
    real = real_digits()
    baseline = alone.sample(n, generator=seeded(seed))
    bits = metrics.bits_per_dim(alone.log_prob(held_out, torch.zeros(len(held_out), dtype=torch.int64)), 64)
    rows = [{"model": name} | quality.row() for name, quality in evaluate.floors(*real).items()]
    rows.append({"model": BASELINE, "bits/dim": f"{bits:.2f}"} | evaluate.quality(enlarged(baseline), *real).row())
    for name in names:
        began = time.perf_counter()
        model = checkpoints.load(name) if shipped else trained.__wrapped__(name, seed)  # not one trained before
        seconds = None if shipped else time.perf_counter() - began
        rows.append(_row(name, model, seed, n, real) | {"train (s)": seconds and round(seconds)})
    return rows


def claims(rows: list[dict], lesson: str) -> list[Claim]:
    """A claim for each trained row, with all its figures: it is nearer to held-out digits than BASELINE."""
    known = {row["model"]: row for row in rows}
    least, found = known[BASELINE]["FD held-out"], []
    for row in rows:
        if "parameters" in row:
            ours = ", ".join(f"{name} {rounded(value)}" for name, value in row.items() if name != "model")
            text = f"{row['model']}: nearer to held-out digits than {BASELINE} (FD held-out {least}); all its figures"
            holds = row["FD held-out"] < least
            found.append(Claim(lesson, text, "no figure", ours, holds))
    return found


def _row(name: str, model: nn.Module, seed: int, n: int, real: tuple) -> dict:
    x, seconds = _drawn(model, seed, n)
    row = {"model": name, "drawn at": f"{x.shape[-1]}x{x.shape[-1]}", "bits/dim": likelihood(model)}
    row |= evaluate.quality(enlarged(x), *real).row()
    parameters = sum(weight.numel() for weight in model.parameters())
    return row | {"parameters": parameters, "1,000 samples (s)": round(1000 / n * seconds, 2)}


@torch.no_grad()
def _drawn(model: nn.Module, seed: int, n: int) -> tuple[Tensor, float]:
    """n pictures in parts of 250, labels in turn where there are some, and the seconds that took."""
    generator = seeded(seed)
    parts = []
    began = time.perf_counter()
    for rows in torch.arange(n).split(250):  # more at once do not fit a processor's cache
        labels = rows % model.classes if getattr(model, "classes", 0) else None
        parts.append(model.sample(len(rows), labels=labels, generator=generator))
    return torch.cat(parts), time.perf_counter() - began


@torch.no_grad()
def likelihood(model: nn.Module, draws: int = 5) -> str | None:
    """Held-out bits/dim of the 8x8 digits, labels unknown: exact, the best upper bound there is, or None."""
    x = data.digits("test", 8)[0]
    if hasattr(model, "log_prob_unlabelled"):
        return f"{metrics.bits_per_dim(model.log_prob_unlabelled(x), 64):.2f}"
    if hasattr(model, "bound"):
        seeds = [seeded(k) for k in range(draws)]
        return f"≤ {mean(metrics.bits_per_dim(model.bound(x, generator), 64) for generator in seeds):.2f}"
    if hasattr(model, "iwae") and model.size == 8:
        return f"≤ {metrics.bits_per_dim(model.iwae(x, 50, generator=seeded(0)), 64):.2f}"
    return None
