"""Lesson 09 measured: how much of what a prompt asks for is in the picture, and what a smaller code costs and saves."""

from statistics import mean
from time import perf_counter

import torch
from torch import nn

from minidiff import checkpoints, data, pick, seed_everything, seeded
from minidiff.latent import SCALE, KLAutoencoder, LatentDiffusion, Pixels, text_to_image
from minidiff.recipes import RECIPES
from minidiff.recipes.shapes import encoded, latent_diffusion, tokenizer
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, spread

LIVE, RATE, DROP, FOCUS = 1200, 5e-3, 0.05, (0.2, 0.6)  # steps of the denoiser; and what suits so short a run
FACTORS = (1, 2, 4, 8)
BUDGETS = (150,)  # seconds of training in all
SHARE = 0.25  # of them, for the autoencoder
COMMAND = "python -m minidiff scorecard 09 --full"
SETS = {("test", 1): "one, pairs seen", ("novel", 1): "one, pairs never seen", ("test", 2): "two"}
EMOJI = {"train": "seen in training", "combinations": "combinations never seen"}
NONE = "no such figure; the paper shows pictures (2112.10752, figure 5)"
LATE = (  # after 1,200 steps, seeds 0 to 2, 1,000 prompts each
    "the shape is learned last: it is right in 68 to 77 % of the pictures when place, background, size and colour are "
    "in 96 to 99 %"
)


def prompts(split: str, objects: int, n: int) -> list[str]:
    """n captions of pictures that no model was trained on."""
    return data.shapes(split, n, 1, objects)[1]


def figures(model: LatentDiffusion, split="test", objects=1, n=1000, *, steps=20, scale=SCALE, seed=0) -> dict:
    """A row: the shares of attributes and of colour-shape pairs that n drawn pictures have right.

    At scale 0 the model does not hear the text: the row to read the others against.
    """
    said = prompts(split, objects, n)
    generator = seeded(seed)
    marks = data.shapes.marks(said, text_to_image(model, said, steps=steps, scale=scale, generator=generator))
    row = {"figures": SETS[split, objects], "scale": scale, "attributes": marks.attributes, "pairs": marks.pairs}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def emoji_names(split: str, n: int) -> list[str]:
    """n names of a split of the emoji, evenly spread over it."""
    every = data.emoji(split, 32)[1]
    return [every[k * len(every) // n] for k in range(n)]


def drawn_emoji(model: LatentDiffusion, split="combinations", n=171, *, seed=0) -> dict:
    """A row: how n names of a split of the emoji are drawn; see `data.emoji.marks`."""
    names = emoji_names(split, n)
    marks = data.emoji.marks(names, text_to_image(model, names, generator=seeded(seed)))
    row = {
        "names": EMOJI[split],
        "drawn": n,
        "right": marks.right,
        "thing": marks.by["thing"],
        "tone": marks.by["tone"],
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


@torch.no_grad()
def rebuilt(autoencoder: nn.Module, n: int = 1000) -> dict:
    """A row: the same shares of n real pictures squeezed into codes and back; no model of the codes can do better."""
    images, said = data.shapes("test", n, 1, 1)
    again = torch.cat([autoencoder.decode(autoencoder.encode(x)[0]) for x in images.split(100)]).clamp(-1, 1)
    marks = data.shapes.marks(said, again)
    return {"error": round((again - images).square().mean().item(), 5), "attributes": round(marks.attributes, 3)} | {
        "pairs": round(marks.pairs, 3)
    }


def shown(seed: int) -> LatentDiffusion:
    """The recipe's model after as many steps as the lesson takes live, on pictures of one thing as there, averaged."""
    recipe = RECIPES["ldm-shapes"]
    images, said = data.shapes("train", pick(ci=400, cpu=20_000, gpu=20_000), objects=1)
    needed = checkpoints.needed(recipe)
    tensors = encoded(needed[0], images), tokenizer()(said)
    seed_everything(seed)
    model = recipe.fresh(needed, *tensors)
    model.denoiser.drop, model.denoiser.focus = DROP, FOCUS
    steps = pick(ci=20, cpu=LIVE, gpu=LIVE)
    how = {"lr": RATE, "steps": steps, "seed": seed, "desc": f"ldm-shapes seed {seed}"}
    return recipe.train(needed, model=model, tensors=tensors, **how).model.cpu()


def with_f(f: int, seconds: float, n: int = 300, seed: int = 0, pictures: int = 20_000, batch: int = 32) -> dict:
    """A row: pictures from codes f times smaller a side, after so many seconds of training, the autoencoder included.

    The denoiser has the same weights for every f, but for the channels of its first and last layer. f = 1 needs no
    autoencoder; else it has SHARE of the time. Each picture shows one thing. A batch of 64 takes 2 GiB at f = 1.
    """
    seed_everything(seed)
    (images, said), name = data.shapes("train", pictures, objects=1), f"f = {f}"
    squeezing = SHARE * seconds if f > 1 else 0.0
    autoencoder = _squeezed(f, images, squeezing, seed) if f > 1 else Pixels()
    started = perf_counter()
    mu = encoded(autoencoder, images)
    model = _around(autoencoder)
    model.measure(mu)
    left = max(seconds - squeezing - (perf_counter() - started), 1e-3)
    how = {"tensors": (mu, model.ids(said)), "seed": seed, "batch": batch, "seconds": left, "desc": name}
    model = RECIPES["ldm-shapes"].train(model=model, **how).model.cpu()
    started = perf_counter()
    row = figures(model, n=n, seed=seed)
    took = perf_counter() - started
    weights = sum(weight.numel() for weight in model.denoiser.parameters())
    made = {"f": f, "seconds": seconds, "of them autoencoder": squeezing, "denoiser": weights}
    drawn = {"attributes": row["attributes"], "pairs": row["pairs"], "seconds a picture": round(took / n, 3)}
    return made | {"rebuilt pairs": rebuilt(autoencoder, n)["pairs"]} | drawn


def _squeezed(f: int, images: torch.Tensor, seconds: float, seed: int) -> nn.Module:
    """An autoencoder trained for so many seconds."""
    how = {"tensors": (images,), "seed": seed, "seconds": seconds, "desc": f"f = {f}, codes"}
    return RECIPES["ae-shapes"].train(model=KLAutoencoder(f=f), **how).model.cpu()


def _around(autoencoder: nn.Module) -> LatentDiffusion:
    """A new latent diffusion of the codes of an autoencoder."""
    model = latent_diffusion(channels=autoencoder.latent)
    model.autoencoder = autoencoder.requires_grad_(False)
    return model


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims: of the shipped model and of short trainings over seeds; `full` makes the table of f."""
    n = pick(ci=60, cpu=1000, gpu=1000)
    model = checkpoints.load("ldm-shapes")
    rows = {key: [figures(model, *key, n, seed=seed) for seed in seeds] for key in SETS}
    deaf = [figures(model, n=n, scale=0.0, seed=seed) for seed in seeds]
    live = [figures(shown(seed), n=n, seed=seed) for seed in seeds]
    return [
        _of_seen(rows["test", 1], deaf),
        _of_novel(rows["novel", 1]),
        _of_two(rows["test", 1], rows["test", 2]),
        _of_live(live),
        *_of_emoji(seeds),
        *of_factors(table() if full else []),
    ]


def table() -> list[dict]:
    """The rows of `with_f` for all of FACTORS and BUDGETS, kept as data/tables/09_f.csv."""
    rows = []
    for seconds in BUDGETS:
        for f in FACTORS:
            rows.append(with_f(f, seconds, n=150))
            stored.write("09_f", COMMAND, rows)  # so far
    return rows


def _claim(text: str, paper: str, ours: str, holds: bool | None, why: str = "") -> Claim:
    return Claim("09", text, paper, ours, holds, "" if holds else why)


def _shares(rows: list[dict], *names: str) -> str:
    return ", ".join(f"{name} {spread([row[name] for row in rows])}" for name in names)


def _mean(rows: list[dict], name: str) -> float:
    return mean(row[name] for row in rows)


def _of_seen(rows: list[dict], deaf: list[dict]) -> Claim:
    ours = f"{_shares(rows, 'attributes', 'pairs')}; at scale 0, which ignores the text: {_shares(deaf, 'attributes')}"
    holds = _mean(rows, "attributes") >= 0.97 and _mean(deaf, "attributes") < 0.5
    return _claim("one figure, pairs seen: 97 % of what is asked for is drawn", NONE, ours, holds)


def _of_novel(rows: list[dict]) -> Claim:
    holds = _mean(rows, "attributes") >= 0.9 and _mean(rows, "pairs") >= 0.8
    text = "one figure, a pair never seen in training: 90 % of the attributes and 80 % of the pairs are right"
    return _claim(text, NONE, _shares(rows, "attributes", "pairs"), holds)


def _of_two(one: list[dict], two: list[dict]) -> Claim:
    text = "two figures: fewer pairs are right than with one"
    ours = f"{_shares(two, 'attributes', 'pairs')}; one: {_shares(one, 'pairs')}"
    return _claim(text, NONE, ours, _mean(two, "pairs") < _mean(one, "pairs"))


def _of_live(rows: list[dict]) -> Claim:
    text = f"{LIVE:,} steps, about 100 s on two cores: 90 % of what is asked for of one figure is drawn"
    return _claim(text, NONE, _shares(rows, "attributes", "pairs"), _mean(rows, "attributes") >= 0.9, LATE)


def _of_emoji(seeds: list[int]) -> list[Claim]:
    model = checkpoints.load("ldm-emoji")
    n = pick(ci=12, cpu=171, gpu=171)
    found = []
    for split, least in (("train", 0.9), ("combinations", 0.75)):
        rows = [drawn_emoji(model, split, n, seed=seed) for seed in seeds]
        text = f"emoji, {EMOJI[split]}: the nearest of 3,470 drawings is the one asked for in {least:.0%}"
        found.append(_claim(text, NONE, _shares(rows, "right", "thing", "tone"), _mean(rows, "right") >= least))
    return found


def of_factors(rows: list[dict]) -> list[Claim]:
    """After equal seconds: some f > 1 is ahead of pixels; and what a code of the largest f loses. [] rows: not made."""
    text = "after the same seconds, autoencoder included, f = 4 has more attributes right than f = 1, pixels"
    paper = "ImageNet: FID of LDM-8 38 below LDM-1 after 2M steps; LDM-4 to 8 are best (2112.10752, section 4.1)"
    if not rows:
        return [_claim(text, paper, "", None, "it takes --full")]
    cells = {(row["f"], row["seconds"]): row["attributes"] for row in rows}
    ours = "; ".join(
        f"{s} s: " + ", ".join(f"f = {f} {cells[f, s]}" for f in FACTORS if (f, s) in cells)
        for s in sorted({row["seconds"] for row in rows})
    )
    holds = all(cells[4, s] > cells[1, s] for _, s in cells)
    return [_claim(text, paper, ours, holds)]
