"""Lesson 18 measured: the half-sentences that one says of the families, each tested on one table of all of them."""

from collections.abc import Callable
from statistics import mean, stdev

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from minidiff import checkpoints, plot, seeded
from minidiff.lessons.lesson18 import contest, drawings
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, enlarged, spread
from minidiff.support import files
from minidiff.support.tables import rounded

COMMAND = "python -m minidiff scorecard 18 --full"
SEEDS = range(5)
SHEET = stored.TABLES / "18_drawn.png"
SHIPPED = {  # families whose checkpoints ship, trained as their own lessons do it
    "autoregressive": "pixels-digits",
    "VAE": "cvae-digits",
    "VAE of levels": "vae-digits-levels",
    "flow": "flow-digits",
    "GAN": "cgan-digits",
    "diffusion": "ddpm-digits",
    "diffusion of levels": "ddpm-levels-bound",
    "flow matching": "flow-matching-digits",
    "flow matching, DiT": "dit-digits",
    "two-step student": "two-step-digits",
}
NUMBERS = ("FD held-out", "precision", "recall", "detail", "bits/dim", "train (CPU s)", "1,000 (CPU s)", "MB")
TRILEMMA = "quality, coverage, fast sampling: models have two of the three (2112.07804, abstract)"
ADM = "FID 2.97 at 128 x 128 on ImageNet, with better coverage than BigGAN-deep (2105.05233, abstract)"
CODED = ("VAE", "VAE of levels", "latent diffusion")  # whose pictures a decoder makes of a few numbers
SHORT = "a transformer fails as often: 20 seconds are some 120 steps for it, and it needs several hundred"
SHAKY = "after some 120 steps the U-Net of flow matching, too, is at another place in every seed"
TIE = "after 20 seconds the VAE's bound is as low; after its lesson's training the autoregressive model is ahead"


def great_table(seeds=SEEDS, budget: float = contest.BUDGET) -> tuple[list[dict], dict[str, Tensor]]:
    """A row for each family and training seed, then the floors; and digits of each, (seeds, 20, 1, 16, 16) by name."""
    return contest.tournament(seeds, budget)


def longer_table(seed: int = 0) -> list[dict]:
    """A row for each family with a shipped checkpoint, trained for as long as its own lesson trains it."""
    rows = []
    for name, file in SHIPPED.items():
        model = checkpoints.load(file)
        images = enlarged(contest.FAMILIES[name].draw(model, contest.DRAWN, seeded(seed)))
        rows.append({"family": name, "checkpoint": file} | contest.measured(images) | {"bits/dim": contest.bits(model)})
    return rows


def by_family(rows: list[dict], figure: str) -> dict[str, list[float]]:
    """The values of a figure over the seeds, by family; families that lack it are left out. "≤ 1.94" counts as 1.94."""
    found = {}
    for row in rows:
        if "seed" in row and figure in row:
            found.setdefault(row["family"], []).append(float(str(row[figure]).removeprefix("≤ ")))
    return found


def averaged(rows: list[dict], of: Callable = mean) -> list[dict]:
    """A row for each family: the mean over its seeds of every number, or what else `of` makes of them."""
    columns = {name: by_family(rows, name) for name in NUMBERS}
    told = {row["family"]: {"labels": row["labels"]} for row in rows if "seed" in row}
    return [
        {"family": family} | words | {name: of(values[family]) for name, values in columns.items() if family in values}
        for family, words in told.items()
    ]


def failed(rows: list[dict]) -> dict[str, int]:
    """How many runs of each family ended farther from held-out digits than pixels that know no neighbour."""
    least = next(row["FD held-out"] for row in rows if row["family"] == contest.BASELINE)
    return {family: sum(fd > least for fd in values) for family, values in by_family(rows, "FD held-out").items()}


def keep(drawn: dict[str, Tensor]) -> None:
    """The digits of `great_table` as one picture beside the tables: a row for each family and seed, in that order."""
    page = torch.cat([each.flatten(0, 1) for each in drawn.values()])  # (families seeds n, 1, 16, 16)
    n = next(iter(drawn.values())).shape[1]
    with files.whole(SHEET) as file:
        Image.fromarray(plot.tile(page, columns=n, gap=0)[..., 0]).quantize(16).save(file, "png", optimize=True)


def kept(n: int = contest.SHOWN) -> dict[str, Tensor]:
    """What `keep` kept: digits (seeds, n, 1, 16, 16) of each family, in 16 shades."""
    page = torch.from_numpy(np.array(Image.open(SHEET).convert("L"))).float() / 127.5 - 1
    side = page.shape[1] // n
    tiles = page.unflatten(1, (n, side)).unflatten(0, (len(contest.FAMILIES), -1, side)).transpose(2, 3)
    return {name: each[:, :, None] for name, each in zip(contest.FAMILIES, tiles)}


# Claims


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims, all read from stored tables; `full` makes these again, over five training seeds."""
    if full:
        rows, drawn = great_table()
        stored.write("18_families", COMMAND, rows)
        keep(drawn)
        stored.write("18_longer", COMMAND, longer_table())
        stored.write("18_emoji", COMMAND, drawings.emoji_table(range(3)))
    rows = stored.read("18_families")
    found = [*_of_gan(rows), *_of_vae(rows), _of_flow(rows), *_of_pixels(rows), *_of_diffusion(rows), _of_student(rows)]
    return [*found, *_of_emoji(stored.read("18_emoji"))]


def _claim(text: str, source: str, ours: str, holds: bool, why: str = "", table: str = "18_families") -> Claim:
    return Claim("18", text, source, ours, holds, "" if holds else why, stored.command(table))


def _beside(figure: dict[str, list[float]], *names: str) -> str:
    return ", ".join(f"{name} {spread(figure[name])}" for name in names)


def relative(values: list[float]) -> float:
    """The standard deviation over seeds, as a share of the mean."""
    return stdev(values) / mean(values)


def _of_gan(rows: list[dict]) -> list[Claim]:
    recall, fd = by_family(rows, "recall"), by_family(rows, "FD held-out")
    text = "a GAN leaves kinds of pictures out: its recall is below diffusion's in every seed"
    less = max(recall["GAN"]) < min(recall["diffusion"])
    shaky = {name: relative(values) for name, values in fd.items()}
    apart = f"FD differs by {shaky['GAN']:.0%} from seed to seed, others by {_range(shaky, 'GAN')}"
    unstable = "a GAN is hard to balance: its FD differs most from seed to seed"
    return [
        _claim(text, TRILEMMA, _beside(recall, "GAN", "diffusion"), less),
        _of_failures(failed(rows), len(fd["GAN"])),
        _claim(unstable, "no figure", apart, max(shaky, key=shaky.get) == "GAN", SHAKY),
    ]


def _of_failures(lost: dict[str, int], runs: int) -> Claim:
    text = "a GAN is hard to train: of all families, most of its runs fail"
    ours = ", ".join(f"{name} {count}" for name, count in lost.items() if count) + f" of {runs} failed"
    most = max(count for name, count in lost.items() if name != "GAN")
    return _claim(text, "no figure", ours, lost["GAN"] > most, SHORT)


def _range(values: dict[str, float], but: str) -> str:
    others = [value for name, value in values.items() if name != but]
    return f"{min(others):.0%} to {max(others):.0%}"


def _of_vae(rows: list[dict]) -> list[Claim]:
    detail, recall = by_family(rows, "detail"), by_family(rows, "recall")
    lost = failed(rows)
    others = min(min(values) for name, values in detail.items() if name not in CODED and not lost[name])
    blur = "a VAE blurs: it has less fine structure than every family that decodes no codes and has no failed run"
    ours = f"{_beside(detail, 'VAE', 'VAE of levels')}, those others {others:.2f} or more (real digits: 1)"
    safe = "a VAE draws safe pictures: its recall is below that of the autoregressive model in every seed"
    beside = _beside(recall, "VAE", "VAE of levels", "autoregressive")
    return [
        _claim(blur, "no figure", ours, max(detail["VAE"] + detail["VAE of levels"]) < others),
        _claim(safe, "no figure", beside, max(recall["VAE"]) < min(recall["autoregressive"])),
    ]


def _of_flow(rows: list[dict]) -> Claim:
    fd = by_family(rows, "FD held-out")
    others = ("autoregressive", "diffusion")
    text = "a flow pays for its inverse: the autoregressive model and diffusion are nearer, in every seed"
    holds = all(min(fd["flow"]) > max(fd[name]) for name in others)
    return _claim(text, "no figure", _beside(fd, "flow", *others), holds)


def _of_pixels(rows: list[dict]) -> list[Claim]:
    bits, seconds = by_family(rows, "bits/dim"), by_family(rows, "1,000 (CPU s)")
    rest = [min(values) for name, values in bits.items() if name != "autoregressive"]
    return [
        _claim(
            "an autoregressive model has the best likelihood, in every seed",
            "no such table",
            f"bits: {_beside(bits, *bits)}",
            max(bits["autoregressive"]) < min(rest),
            TIE,
        ),
        _claim(
            "it is the slowest to draw",
            "a pass for each number (1601.06759)",
            ", ".join(f"{name} {rounded(mean(values))} s" for name, values in seconds.items()),
            mean(seconds["autoregressive"]) == max(mean(values) for values in seconds.values()),
        ),
    ]


def _of_diffusion(rows: list[dict]) -> list[Claim]:
    seconds, fd = by_family(rows, "1,000 (CPU s)"), by_family(rows, "FD held-out")
    whole, codes, gan = (mean(seconds[name]) for name in ("diffusion", "latent diffusion", "GAN"))
    slow = "diffusion is slow: 20 steps take more than twenty times as long as a GAN"
    ours = f"{whole:.1f} s against {gan:.2f} s for 1,000: {whole / gan:.0f} times"
    better = "diffusion draws better than a GAN that was trained for as long, in every seed"
    nearer = max(fd["diffusion"]) < min(fd["GAN"])
    quick = "on codes it is quicker: latent diffusion draws in a tenth of the time"
    beside = _beside(seconds, "latent diffusion", "diffusion")
    return [
        _claim(slow, TRILEMMA, ours, whole > 20 * gan),
        _claim(better, ADM, _beside(fd, "diffusion", "GAN"), nearer),
        _claim(quick, "see lesson 09", beside, codes < 0.1 * whole),
    ]


def _of_student(rows: list[dict]) -> Claim:
    fd, seconds = by_family(rows, "FD held-out"), by_family(rows, "1,000 (CPU s)")
    times = mean(seconds["flow matching"]) / mean(seconds["two-step student"])
    holds = mean(fd["two-step student"]) < 1.1 * mean(fd["flow matching"]) and times > 5
    text = "distillation takes the slowness away: two steps of a student are within 10 % of twenty of its teacher"
    ours = f"FD {_beside(fd, 'two-step student', 'flow matching')}; {times:.1f} times as fast"
    return _claim(text, "FID 4.51 in 2 steps, 3.0 in 4 on CIFAR-10 (2202.00512)", ours, holds)


def _of_emoji(rows: list[dict]) -> list[Claim]:
    right = {}
    for row in rows:
        right.setdefault(row["names"], {}).setdefault(row["system"], []).append(row["right"])
    best = {names: max(found, key=lambda name: mean(found[name])) for names, found in right.items()}
    text = "one system is the best at names seen and at names never seen"
    ours = "; ".join(f"{names}: {_beside(found, *found)}" for names, found in right.items())
    return [_claim(text, "no such table", ours, len(set(best.values())) == 1, "", "18_emoji")]
