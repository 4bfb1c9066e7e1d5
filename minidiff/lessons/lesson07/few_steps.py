"""What lesson 07 measures: steps against noise, there and back, other solvers, and what x_T decides."""

from functools import cache

import torch
from torch import Tensor

from minidiff import data, evaluate, seeded
from minidiff.denoiser import Denoiser
from minidiff.generate import guided
from minidiff.guidance import clamp
from minidiff.sampler import heun, invert, last, sample, times
from minidiff.scorecard.common import real_digits, spread

WAYS = {f"eta {eta:g}": {"eta": eta} for eta in (0.0, 0.2, 0.5, 1.0)} | {"sigma-hat": {"eta": 1.0, "variance": "large"}}
SOLVERS = {  # name -> (loop, its options, steps): each asks the network about 20 times
    "DDIM, 20 steps": (sample, {}, 20),
    "DPM-Solver++(2M), 10 steps": (sample, {"order": 2}, 10),
    "DPM-Solver++(2M), 20 steps": (sample, {"order": 2}, 20),
    "Heun, 10 steps": (heun, {}, 10),
}
ROWS = 64  # pictures drawn at once


def pictures(steps: int) -> int:
    """How many pictures a row of the table is judged by: fewer at 1,000 steps, which take most of the time."""
    return 256 if steps <= 100 else 128


def drawn(model: Denoiser, steps: int, n: int, *, walk=sample, seed: int = 0, **options) -> Tensor:
    """n pictures (n, 1, 16, 16) in [-1, 1] of the labels 0, 1, ... in turn, from the same noise for every method."""
    generator = seeded(seed)
    x = model.schedule.prior((n, 1, 16, 16), generator)
    parts = []
    options |= {} if walk is heun else {"generator": generator}
    for rows in torch.arange(n).split(ROWS):
        denoise = clamp(guided(model, rows % 10))
        parts.append(last(walk(denoise, x[rows], times(steps), model.schedule, **options)))
    return torch.cat(parts).clamp(-1, 1)


def figures(x: Tensor) -> evaluate.Quality:
    """The four figures of pictures (n, 1, 16, 16), n at most 297, against n held-out and n training digits."""
    return evaluate.quality(x, *real_digits(n=len(x)))


@cache
def _span() -> Tensor:
    """An orthonormal basis (61, 256) of the pictures that are sums of training digits."""
    _, sizes, directions = torch.linalg.svd(data.digits("train")[0].flatten(1), full_matrices=False)
    return directions[sizes > 1e-4 * sizes[0]]


def noise_left(x: Tensor) -> float:
    """How noisy pictures (n, 1, 16, 16) still are: the deviation, a pixel, of what no sum of real digits can be.

    16x16 digits are enlarged from 8x8 and have but 61 independent numbers of 256: on real ones, held-out too, it is
    below 0.001; noise of deviation 0.1 shows as 0.087.
    """
    x = x.flatten(1)
    return (x - x @ _span().T @ _span()).square().mean().sqrt().item()


def variety(x: Tensor) -> float:
    """How much pictures (n, 1, 16, 16) of the labels 0, 1, ... in turn differ within a label: their variance / real."""
    real, labels = data.digits("train")
    within = [(x[k::10].var(0).mean(), real[labels == k].var(0).mean()) for k in range(10)]
    ours, theirs = map(sum, zip(*within))
    return (ours / theirs).item()


def steps_row(model: Denoiser, steps: int, seed: int, n: int | None = None) -> list[dict]:
    """The paper's table 1 at one number of steps: a dict for each of WAYS, from the same noise."""
    found = []
    n = n or pictures(steps)
    for noise, options in WAYS.items():
        x = drawn(model, steps, n, seed=seed, **options)
        row = {"seed": seed, "steps": steps, "noise": noise, "n": n} | figures(x).row()
        found.append(row | {"noise left": round(noise_left(x), 4), "variety": round(variety(x), 3)})
    return found


@torch.no_grad()
def reconstruction(model: Denoiser, steps: int, n: int = 64) -> float:
    """The paper's table 2: n held-out digits to noise and back by DDIM, the mean squared error of pixels in [0, 1].

    The way there starts at t = 1 / 1,000 and takes `steps` steps; the way back takes the same ones, and one to 0.
    """
    x, labels = (part[:n] for part in data.digits("test"))
    denoise = clamp(guided(model, labels))
    rises = torch.linspace(1 / 1000, 1, steps + 1, dtype=torch.float64)
    code = last(invert(denoise, x, rises, model.schedule))
    falls = torch.cat([rises.flip(0), torch.zeros(1)])
    back = last(sample(denoise, code, falls, model.schedule))
    return ((back - x) / 2).square().mean().item()


def alike(a: Tensor, b: Tensor) -> float:
    """Mean over the pictures (n, ...) of the correlation of the pixels of a[i] and b[i]: 1 for equal ones."""
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    return torch.cosine_similarity(a, b).mean().item()


def same_picture(model: Denoiser, steps=(5, 10, 20), against: int = 100, n: int = 50, seed: int = 0) -> list[dict]:
    """Does x_T decide the picture? Rows of `alike`: pictures at few steps against those from the same x_T at many.

    "same label, another x_T" is what the label alone makes alike.
    """
    many = {way: drawn(model, against, n, seed=seed, **WAYS[way]) for way in ("eta 0", "eta 1")}
    rows = []
    for count in steps:
        few = {way: drawn(model, count, n, seed=seed, **WAYS[way]) for way in many}
        row = {f"same x_T, {way}": alike(few[way], many[way]) for way in many}
        rows.append(
            {"steps": count} | row | {"same label, another x_T": alike(few["eta 0"], many["eta 0"].roll(10, 0))}
        )
    return rows


def solvers(model: Denoiser, n: int = 256, seed: int = 0) -> list[dict]:
    """A row for each of SOLVERS: how often it asks the network for a picture, and the four figures."""
    rows = []
    for name, (walk, options, steps) in SOLVERS.items():
        asked = 2 * steps - 1 if walk is heun else steps
        rows.append(
            {"method": name, "passes": asked} | figures(drawn(model, steps, n, walk=walk, seed=seed, **options)).row()
        )
    return rows


def by_steps(rows: list[dict], figure: str = "FD held-out") -> list[dict]:
    """The rows of seeds as the paper prints them: a row for each number of steps, a column for each of WAYS."""
    table = []
    for steps in sorted({row["steps"] for row in rows}):
        here = [row for row in rows if row["steps"] == steps]
        seeds = {row["seed"] for row in here}
        cells = {way: spread([row[figure] for row in here if row["noise"] == way]) for way in WAYS}
        table.append({"steps": steps, "n": here[0]["n"], "seeds": len(seeds)} | cells)
    return table
