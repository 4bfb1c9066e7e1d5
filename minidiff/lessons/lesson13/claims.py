"""Lesson 13 measured: what noise on small pictures brings and costs, thresholds, one model, U-Nets, readers."""

import time
from functools import cache, partial
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import checkpoints, data, guidance, metrics, seed_everything, seeded
from minidiff.cascade import LEVEL, Cascade, EfficientUNet, Enlarger
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.lessons.lesson09.claims import emoji_names
from minidiff.recipes import RECIPES
from minidiff.recipes import cascade as recipes
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, spread
from minidiff.unet import UNet

AUGMENTED = "quality relies crucially on it: FID 4.88 at 256 pixels (2106.15282, abstract)"
SWEPT = "the level is swept when drawing; 0 has the best FID, 0.1 to 0.3 look best (2205.11487, appendix D.2)"
PRICE = "the base's mistakes are smaller than those from which augmentation pays (see below), and wide strokes"
EVEN = "each level of our U-Net costs the same: dropping the finest pays for the further block, and no more"
ONE = "one training each"
COMMAND = "python -m minidiff scorecard 13 --full"
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
LIMITS = {"nothing": None, "static": guidance.clamp, "dynamic": guidance.dynamic_threshold}
ENLARGERS = {"clean": "cascade-emoji-32-clean", "augmented": "cascade-emoji-32"}
BASE, LARGE = 500, 250  # steps of a short cascade's two parts
READ = 500  # steps of a base in the comparison of two readers
EQUAL = 300  # steps of ours in the comparison of two U-Nets
NETS = {"ours": partial(UNet, channels=3, widths=(16, 32, 64), known=4), "efficient": EfficientUNet}


def seconds(work) -> float:
    """How long work() takes, on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def names(n: int, split: str = "combinations") -> list[str]:
    """n names of emoji, evenly spread: by default combinations that no model was trained on."""
    return emoji_names(split, n)


@cache
def every(side: int) -> tuple[Tensor, list[str]]:
    """All drawings (N, 3, side, side), side 16 or 32, and their names."""
    images, said = data.emoji("train", 32, holdout=None)
    return F.avg_pool2d(images, 32 // side), said


def real(said: list[str], side: int) -> Tensor:
    """The drawings of those names (B, 3, side, side)."""
    images, known = every(side)
    places = {name: i for i, name in enumerate(known)}
    return images[[places[name] for name in said]]


def right(said: list[str], images: Tensor) -> float:
    """The share of pictures (B, 3, side, side), side 16 or 32, whose nearest real drawing is the one of its name."""
    known, known_names = every(images.shape[-1])
    nearest = torch.cdist(images.flatten(1), known.flatten(1)).argmin(1)
    return mean(known_names[i] == name for i, name in zip(nearest.tolist(), said))


def off(images: Tensor) -> float:
    """How far pictures (B, 3, side, side) are from their nearest real drawings: the mean root mean square difference"""
    known = every(images.shape[-1])[0].flatten(1)
    return (torch.cdist(images.flatten(1), known).amin(1) / known.shape[1] ** 0.5).mean().item()


@torch.no_grad()
def fd(images: Tensor, others: Tensor) -> float:
    """The Fréchet distance of two sets of pictures (B, 3, 32, 32), seen by the course's CLIP of the emoji."""
    clip = checkpoints.shipped("clip-emoji")
    return 1000 * metrics.frechet_distance(*(clip.encode_image(each) for each in (images, others)))


@cache
def drawn_small(n: int, seed: int = 0) -> Tensor:
    """Small drawings (n, 3, 16, 16) of n names by the shipped base."""
    base = checkpoints.shipped("cascade-emoji-16")
    return text_to_image(base, names(n), limit=guidance.clamp, generator=seeded(seed))


def enlarged(enlarger: Enlarger, n: int, level: float, seed: int = 0) -> dict:
    """A row: n real small pictures and n drawn ones, enlarged with that level of noise on them.

    error: of the real ones, root mean square. off: how far the others are from any real drawing. FD: see `fd`.
    """
    said = names(n)
    large = real(said, 32)
    from_real = enlarger(real(said, 16), level, generator=seeded(seed))
    from_drawn = enlarger(drawn_small(n, seed), level, generator=seeded(seed))
    return {
        "level": level,
        "error, real": (from_real - large).square().mean().sqrt().item(),
        "off, drawn": off(from_drawn),
        "FD, drawn": fd(from_drawn, large),
        "right, drawn": right(said, from_drawn),
    }


def level_table(n: int, seeds, levels=LEVELS) -> list[dict]:
    """A row for each enlarger, level and seed of noise. The clean one knows level 0 alone."""
    rows = []
    for name, file in ENLARGERS.items():
        enlarger = checkpoints.shipped(file)
        for level in levels:
            if level <= enlarger.most:
                rows += [{"enlarger": name, "seed": seed} | enlarged(enlarger, n, level, seed) for seed in seeds]
    return [_rounded(row) for row in rows]


def mistakes_table(n: int, mistakes=(0.0, 0.1, 0.2, 0.4), seed: int = 0) -> list[dict]:
    """A row for each size of mistake: the error of what is made of n real small pictures with such mistakes on them.

    A mistake is normal, of that standard deviation for each number. Errors are root mean square.
    """
    large, small = real(names(n), 32), real(names(n), 16)
    rows = []
    for mistake in mistakes:
        wrong = small + mistake * torch.randn(small.shape, generator=seeded(seed))
        made = {"interpolated": F.interpolate(wrong, scale_factor=2, mode="bilinear")}
        made |= {name: checkpoints.shipped(file)(wrong, generator=seeded(seed + 1)) for name, file in ENLARGERS.items()}
        errors = {name: (images - large).square().mean().sqrt().item() for name, images in made.items()}
        rows.append(_rounded({"mistake": mistake} | errors))
    return rows


def mistake(n: int, seed: int = 0) -> float:
    """How far n small drawings of the base are from the right ones: the median root mean square difference."""
    return (drawn_small(n, seed) - real(names(n), 16)).square().flatten(1).mean(1).sqrt().median().item()


def means(rows: list[dict], *keys: str) -> list[dict]:
    """The rows that agree in `keys` as one, their numbers averaged; without the seed."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    numbers = [name for name in rows[0] if name not in (*keys, "seed")]
    return [
        dict(zip(keys, group)) | {name: round(mean(row[name] for row in each), 4) for name in numbers}
        for group, each in groups.items()
    ]


def ends(images: Tensor) -> dict[str, float]:
    """The shares of numbers that are as bright and as dark as can be, beyond 0.98 and -0.98: white ground is bright."""
    return {"white": (images > 0.98).float().mean().item(), "black": (images < -0.98).float().mean().item()}


def threshold_table(n: int, scales=(1.0, 2.0, 5.0, 10.0), seed: int = 0) -> list[dict]:
    """A row for each scale of guidance and limit: n small drawings, how many are right, and how many numbers saturate.

    The last row is of the real drawings.
    """
    base, said = checkpoints.shipped("cascade-emoji-16"), names(n)
    rows = []
    for scale in scales:
        for name, limit in LIMITS.items():
            images = text_to_image(base, said, scale=scale, limit=limit, generator=seeded(seed))
            rows.append({"scale": scale, "limit": name} | _small_row(said, images))
    return [*rows, {"scale": "", "limit": "real drawings"} | _small_row(said, real(said, 16))]


def _small_row(said: list[str], images: Tensor) -> dict:
    row = {"right": right(said, images), "off": off(images)} | ends(images)
    return {name: round(value, 3) for name, value in row.items()}


def _rounded(row: dict) -> dict:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def single_table(seed: int = 0, base_steps: int = BASE, large_steps: int = LARGE) -> list[dict]:
    """A row for a cascade and for one model at 32 pixels, both trained now with as much of the processor's time."""
    base, base_seconds = _timed(lambda: RECIPES["cascade-emoji-16"].train(steps=base_steps, seed=seed))
    large, large_seconds = _timed(lambda: RECIPES[ENLARGERS["clean"]].train(steps=large_steps, seed=seed))
    took = base_seconds + large_seconds
    models = {"cascade, 16 and 32": partial(Cascade(base, [large]), level=0.0)}
    models["one model at 32"] = trained_single(took, seed)
    rows = []
    for name, model in models.items():
        drawn = _drawn(model, seed)
        said, images = drawn["never seen"]
        row = {"model": name, "seconds": round(took), "seed": seed} | _shares(drawn)
        rows.append(row | {"FD, never seen": round(fd(images, real(said, 32)), 1)})
    return rows


def reader_table(seed: int = 0, steps: int = READ) -> list[dict]:
    """A row for words learned along and for CLIP's frozen tower, the bases trained now with as many steps."""
    train = partial(RECIPES["cascade-emoji-16"].train, steps=steps, seed=seed)
    models = {"words learned along": train().model, "CLIP's text tower, frozen": train(model=with_clip(seed)).model}
    return [
        {"reader": reader, "steps": steps, "seed": seed} | _shares(_drawn(model, seed))
        for reader, model in models.items()
    ]


def with_clip(seed: int) -> LatentDiffusion:
    """A new base told by the frozen text tower of the course's CLIP of the emoji."""
    text = checkpoints.load("clip-emoji").text.requires_grad_(False)
    seed_everything(seed)
    return recipes.base(text)


def trained_single(budget: float, seed: int) -> LatentDiffusion:
    """One model that draws 32 x 32 pixels of words, made as the base is, trained for that much processor's time."""
    images, said = recipes.drawings("train", 32)
    tensors = (torch.cat([images, images]), recipes.named("train")[1])
    train = partial(RECIPES["cascade-emoji-16"].train, tensors=tensors, seed=seed)
    build = partial(recipes.base, widths=(16, 32, 64, 128), size=32)
    pace = _pace(lambda steps: train(model=build(), steps=steps))
    seed_everything(seed)
    return train(model=build(), steps=max(1, int(budget / pace))).model


def _timed(train) -> tuple:
    """What a recipe has trained, and the processor's seconds for it."""
    before = time.process_time()
    trained = train()
    return trained.model, time.process_time() - before


def _drawn(model, seed: int, n: int = 171) -> dict[str, tuple[list[str], Tensor]]:
    """Names and a model's pictures of them: n that were seen in training, and n that never were."""
    splits = {"seen": "train", "never seen": "combinations"}
    drawn = {}
    for told, split in splits.items():
        said = names(n, split)
        drawn[told] = said, model(said, limit=guidance.clamp, generator=seeded(seed))
    return drawn


def _shares(drawn: dict) -> dict[str, float]:
    """How many of `_drawn` are right."""
    return {told: round(right(said, images), 3) for told, (said, images) in drawn.items()}


def net_table(seed: int = 0, steps: int = EQUAL) -> list[dict]:
    """A row for the course's U-Net and for Imagen's, both as enlargers trained for the same processor's time."""
    recipe, rows = RECIPES["cascade-emoji-32"], []
    paces = {
        name: _pace(lambda steps, net=net: recipe.train(model=recipes.enlarger(net=net()), steps=steps))
        for name, net in NETS.items()
    }
    budget = steps * paces["ours"]
    for name, net in NETS.items():
        seed_everything(seed)
        model = recipes.enlarger(net=net())
        weights = sum(weight.numel() for weight in model.parameters())
        model = recipe.train(model=model, steps=int(budget / paces[name]), seed=seed).model
        torch.manual_seed(seed)
        loss = mean(recipe.held_out_loss(model) for _ in range(4))
        row = {"U-Net": name, "seed": seed, "weights": weights, "steps a second": 1 / paces[name]}
        rows.append(_rounded(row | {"seconds": budget, "loss": loss}))
    return rows


def _pace(train) -> float:
    """The processor's seconds for each step of train(steps=...), without what is done once."""
    train(steps=1)
    few, many = (_timed(partial(train, steps=steps))[1] for steps in (3, 13))
    return (many - few) / 10


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims; `full` makes the stored tables again, some twenty-five minutes of one core."""
    if full:
        write_tables()
    return [*_of_levels(), _of_single(), _of_readers(), _of_nets()]


def write_tables() -> None:
    """data/tables/13_*.csv: levels with three seeds of noise; what is trained for them, with one."""
    stored.write("13_level", COMMAND, level_table(57, range(3)))
    stored.write("13_mistakes", COMMAND, mistakes_table(57))
    stored.write("13_single", COMMAND, single_table())
    stored.write("13_reader", COMMAND, reader_table())
    stored.write("13_unet", COMMAND, net_table())


def _of_levels() -> list[Claim]:
    made, fd_of = stored.command("13_level"), _by_level("FD, drawn")
    clean, none, some = (fd_of[key] for key in (("clean", 0.0), ("augmented", 0.0), ("augmented", LEVEL)))
    text = f"an enlarger trained with noise on its small pictures does better with drawn ones (level {LEVEL})"
    ours = f"FD {spread(clean)} without, {spread(some)} with"
    better = mean(some) < mean(clean)
    swept = f"FD {spread(none)} at level 0, {spread(some)} at {LEVEL}"
    return [
        Claim("13", text, AUGMENTED, ours, better, "" if better else PRICE, made),
        Claim("13", "a little noise at sampling helps it", SWEPT, swept, mean(some) < mean(none), stored=made),
        _of_mistakes(),
    ]


def _of_mistakes() -> Claim:
    last = max(stored.read("13_mistakes"), key=lambda row: row["mistake"])
    text = f"it passes on less of a mistake in its small picture (normal noise of {last['mistake']})"
    ours = f"error {last['clean']:.3f} without, {last['augmented']:.3f} with"
    paper = "no such figure; made for artifacts of the models before (2205.11487, section 2.4)"
    return Claim("13", text, paper, ours, last["augmented"] < last["clean"], stored=stored.command("13_mistakes"))


def _by_level(column: str) -> dict[tuple, list[float]]:
    """Enlarger and level -> that column of the stored table, over the seeds."""
    found = {}
    for row in stored.read("13_level"):
        found.setdefault((row["enlarger"], row["level"]), []).append(row[column])
    return found


def _of_single() -> Claim:
    cascade, single = stored.read("13_single")
    ours, other = (row["FD, never seen"] for row in (cascade, single))
    told = f"FD after {cascade['seconds']} s, {ONE}: {ours} and {other}"
    text = "at equal training time a cascade's pictures are nearer to real ones than those of one model at 32 pixels"
    paper = "FID 1.48, 3.52, 4.88 at 64, 128, 256 pixels, better than BigGAN-deep (2106.15282, abstract)"
    return Claim("13", text, paper, told, ours < other, stored=stored.command("13_single"))


def _of_readers() -> Claim:
    learned, frozen = stored.read("13_reader")
    told = ", ".join(
        f"{row['reader']}: {row['seen']:.0%} seen, {row['never seen']:.0%} never seen" for row in (learned, frozen)
    )
    text = "a frozen reader that has seen the drawings (CLIP's) does better than words learned along, at equal steps"
    paper = "a larger frozen text encoder helps more than a larger U-Net (2205.11487, abstract)"
    holds = frozen["never seen"] > learned["never seen"]
    return Claim("13", text, paper, f"{ONE}: {told}", holds, stored=stored.command("13_reader"))


def _of_nets() -> Claim:
    ours, efficient = stored.read("13_unet")
    told = f"steps a second {ours['steps a second']:.1f} and {efficient['steps a second']:.1f}, "
    told += f"loss after {ours['seconds']:.0f} s, {ONE}, {ours['loss']:.4f} and {efficient['loss']:.4f}"
    text = "Efficient U-Net reaches a lower loss than ours in the same time"
    paper = "2 to 3 times as many steps a second, and better in the end (2205.11487, section 2.5, appendix D.3.2)"
    better = efficient["loss"] < ours["loss"]
    return Claim("13", text, paper, told, better, "" if better else EVEN, stored.command("13_unet"))
