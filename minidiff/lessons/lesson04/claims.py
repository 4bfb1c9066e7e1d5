"""Lesson 04 measured: modes counted on the ring and the grid, digits beside the VAE's, what truncation trades."""

import time
from statistics import mean

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, evaluate, gan, profile, seed_everything, seeded
from minidiff.data import GaussianMixture
from minidiff.lessons.lesson03 import families
from minidiff.lessons.lesson04.solutions import coverage
from minidiff.lessons.lesson04.widgets import truncated
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, real_digits, spread, trained
from minidiff.support.tables import rounded
from minidiff.train import Ema, fit_adversarial, run

COMMAND = "python -m minidiff scorecard 04 --full"
MIXTURES = {"ring of 8": data.ring_mixture, "grid of 25": data.grid_mixture}
ROUNDS = 1000
GAMES = range(5)  # of one game; the seeds of the games that are stored
WGAN = {"objective": gan.Wasserstein(), "penalty": 1.0}
ADAM = {"lr": 1e-3, "betas": (0.9, 0.999)}  # as it comes
TUNED = {"lr": 5e-3, "betas": (0.5, 0.9), "turns": 2}
WAYS = {  # name -> how it is played
    "non-saturating, Adam as it comes": ADAM,
    "WGAN-GP, Adam as it comes": WGAN | ADAM,
    "non-saturating, momentum 0.5": ADAM | {"betas": (0.5, 0.9)},
    "non-saturating, momentum 0.5, rate 0.005, 2 moves": TUNED,
    "WGAN-GP, momentum 0.5, rate 0.005, 2 moves": WGAN | TUNED,
}
COLLAPSES, *_, COVERS = WAYS
METZ = "no count; a figure shows one mode at a time, and not for long (1611.02163, figure 2)"
GULRAJANI = "no count; figure 1 of 1704.00028 shows critics alone"
SAFE = "the VAE draws safer pictures, and fewer kinds (see its recall): truncation makes the GAN such a model too"
SMALL = "without the penalty all 25 are covered; with a tenth of it, twice the width, 3,000 rounds, in one game tried"


def match(place: str, way: str, seed: int = 0):
    """A new GAN for the data `place`, played in one of WAYS; its average; and the ticks that train it."""
    options = dict(WAYS[way])
    lr = options.pop("lr")
    betas = options.pop("betas")
    seed_everything(seed)
    model = gan.GAN(width=64, **options)
    ema = Ema(model, 0.99)
    points = MIXTURES[place]().sample(50_000, seeded(seed))
    steps = 20 if profile() == "ci" else ROUNDS
    batches = data.batches(points, size=256, seed=seed)
    return model, ema, fit_adversarial(model, batches, steps, lr, seed=seed, ema=ema, betas=betas)


def distance(model: gan.GAN, n: int = 297) -> float:
    """FD of n samples to the held-out digits."""
    return evaluate.quality(drawn({"": model}, n)[""], *real_digits()).fd_held_out


def steepness(model: gan.GAN, mixture: GaussianMixture, n: int = 2000) -> float:
    """The mean length of the discriminator's slope at n real points."""
    x = mixture.sample(n, seeded(0)).requires_grad_()
    (slope,) = torch.autograd.grad(model.discriminator(x).sum(), x)
    return slope.norm(dim=1).mean().item()


@torch.no_grad()
def covered(model: gan.GAN, mixture: GaussianMixture, n: int = 5000) -> tuple[int, float]:
    """Modes covered and the share of good samples, of n samples (see `exercises.solutions04.coverage`)."""
    x = model.sample(n, generator=seeded(0))
    return coverage(x, mixture.means, mixture.stds[0])


def count_modes(seeds: list[int], place: str, ways=tuple(WAYS)) -> list[dict]:
    """A row for each game: the data, how it was played, seed, modes covered, share of good samples."""
    rows = []
    for way in ways:
        for seed in seeds:
            _, ema, ticks = match(place, way, seed)
            run(ticks, desc=f"{place}, {way}, seed {seed}")
            modes, good = covered(ema.model, MIXTURES[place]())
            rows.append({"data": place, "way": way, "seed": seed, "modes": modes, "good": round(good, 3)})
    return rows


def by_way(rows: list[dict]) -> list[dict]:
    """The rows of `count_modes` with the seeds side by side."""
    found = []
    for place, way in dict.fromkeys((row["data"], row["way"]) for row in rows):
        same = [row for row in rows if (row["data"], row["way"]) == (place, way)]
        modes = ", ".join(str(row["modes"]) for row in same)
        good = [row["good"] for row in same]
        found.append({"data": place, "game": way, "modes covered": modes, "good samples": spread(good, 2)})
    return found


@torch.no_grad()
def drawn(models: dict[str, nn.Module], n: int = 891, seed: int = 0) -> dict[str, Tensor]:
    """n pictures (n, 1, 16, 16) of each model, the labels in turn where it wants some."""
    pictures = {}
    for name, model in models.items():
        labels = torch.arange(n) % model.classes if model.classes else None
        pictures[name] = model.sample(n, labels, generator=seeded(seed)).cpu()
    return pictures


@torch.no_grad()
def prices(models: dict[str, tuple[nn.Module, int]], seed: int = 0) -> list[dict]:
    """A row a model: the passes of its network for a sample, as given, and the seconds for 1,000 samples here."""
    rows = []
    for name, (model, passes) in models.items():
        generator = seeded(seed)
        began = time.perf_counter()
        for part in torch.arange(1000).split(250):  # more at once do not fit a processor's cache
            model.sample(len(part), part % model.classes if model.classes else None, generator=generator)
        rows.append({"model": name, "passes a sample": passes, "seconds for 1,000": time.perf_counter() - began})
    return rows


@torch.no_grad()
def right_labels(model: gan.GAN, n: int = 1000, seed: int = 0) -> float:
    """The share of a conditional model's pictures that the shipped classifier takes for the label asked for."""
    labels = torch.arange(n) % model.classes
    x = model.sample(n, labels, generator=seeded(seed))
    return (checkpoints.load("classifier-digits")(x).argmax(1) == labels).float().mean().item()


@torch.no_grad()
def truncation(model: gan.GAN, thresholds=(3.0, 1.0, 0.5, 0.2), n: int = 891) -> list[dict]:
    """A row for each threshold: precision and recall of n pictures from truncated codes."""
    pictures = {f"{t:g}": model.generator(truncated(model, n, t)) for t in thresholds}
    measured = evaluate.compare(pictures, *real_digits())
    return [{"threshold": t} | {k: measured[t].row()[k] for k in ("precision", "recall")} for t in pictures]


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over training seeds; `full` plays all games, of five seeds, and writes both stored tables."""
    games = GAMES if full else seeds
    rows = count_modes(games, "ring of 8", tuple(WAYS) if full else (COLLAPSES, COVERS))
    rows += count_modes(games, "grid of 25", (COLLAPSES, *list(WAYS)[-2:])) if full else []
    models = [{"GAN": trained("gan-digits", s), "VAE": trained("vae-digits", s)} for s in seeds]
    measured = [evaluate.compare(drawn(pair), *real_digits()) for pair in models]
    found = [*_of_modes(rows), *_of_quality(measured), _of_price(models[0]), _of_labels(seeds), _of_truncation(models)]
    if full:
        stored.write("04_modes", COMMAND, rows)
        table = families.families((*families.NAMES, "gan-digits"), seeds[0])
        stored.write("04_families", COMMAND, table)
        found += families.claims(table, "04")
    return found


def _of_modes(rows: list[dict]) -> list[Claim]:
    """Does the one way collapse, and the other cover all modes; on the ring with at least 80 % good samples?"""
    found = []
    for place in dict.fromkeys(row["data"] for row in rows):
        every = len(MIXTURES[place]().means)
        ring = place == "ring of 8"
        here = {way: [row for row in rows if (row["data"], row["way"]) == (place, way)] for way in (COLLAPSES, COVERS)}
        games = by_way([row for row in rows if row["data"] == place])
        shown = {row["game"]: f"modes {row['modes covered']}; good {row['good samples']}" for row in games}
        lost = all(row["modes"] < every or row["good"] < 0.5 for row in here[COLLAPSES])
        text = f"{place}, {COLLAPSES}: modes are missing, or most samples are not good, in every seed"
        found.append(Claim("04", text, METZ, shown[COLLAPSES], lost))
        whole = all(row["modes"] == every and (row["good"] >= 0.8 or not ring) for row in here[COVERS])
        text = f"{place}, {COVERS}: all modes in every seed{', at least 80 % of the samples good' * ring}"
        found.append(Claim("04", text, GULRAJANI, shown[COVERS], whole, "" if whole or ring else SMALL))
    return found


def _of_quality(measured: list[dict[str, evaluate.Quality]]) -> list[Claim]:
    """The GAN beside the VAE, figure by figure, in the mean over seeds."""
    found = []
    for name, field in {"FD held-out": "fd_held_out", "precision": "precision", "recall": "recall"}.items():
        ours, vae = ([getattr(row[way], field) for row in measured] for way in ("GAN", "VAE"))
        holds = mean(ours) < mean(vae) if name == "FD held-out" else mean(ours) > mean(vae)
        why = SAFE if name == "precision" else ""
        text = f"digits: the GAN's {name} is better than the VAE's"
        shown = f"GAN {spread(ours)}, VAE {spread(vae)}"
        found.append(Claim("04", text, "no such figure", shown, holds, "" if holds else why))
    shares = [row["GAN"].nearest for row in measured]
    text = "the GAN's samples are no copies: the nearest picture is a training one about half of the time (40 to 60 %)"
    return [*found, Claim("04", text, "0.5 is fair", spread(shares), all(0.4 < share < 0.6 for share in shares))]


def _of_price(models: dict[str, nn.Module]) -> Claim:
    seconds = prices({"GAN": (models["GAN"], 1)})[0]["seconds for 1,000"]
    text = "one pass a sample: 1,000 digits take less than ten seconds"
    return Claim("04", text, "one pass (1406.2661)", f"{rounded(seconds, 2)} s", seconds < 10)


def _of_labels(seeds: list[int]) -> Claim:
    shares = [right_labels(trained("cgan-digits", seed)) for seed in seeds]
    text = "the conditional GAN draws the label asked for (by the classifier) in 90 % or more, in the mean over seeds"
    holds = mean(shares) >= 0.9
    return Claim("04", text, "no such figure (1411.1784)", spread(shares), holds)


def _of_truncation(models: list[dict[str, nn.Module]]) -> Claim:
    tables = [truncation(pair["GAN"], (3.0, 0.5)) for pair in models]
    recalls, precisions = ([[row[name] for row in table] for table in tables] for name in ("recall", "precision"))
    text = "truncation at 0.5: recall falls, precision rises"
    holds = all(cut < whole for whole, cut in recalls) and mean(c - w for w, c in precisions) > 0
    ours = ", ".join(f"{n} {spread(w)} to {spread(c)}" for n, (w, c) in
                     {"precision": zip(*precisions), "recall": zip(*recalls)}.items())  # fmt: skip
    return Claim("04", text, "variety falls, fidelity rises (BigGAN, 1809.11096, figure 2)", ours, holds)
