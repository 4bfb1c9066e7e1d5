"""Lesson 14 measured: what DALL-E and unCLIP draw of what they are asked for, and what it costs."""

import time
from functools import partial

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, generate, seeded
from minidiff.clip import CLIP, embed
from minidiff.dalle import DALLE, reranked
from minidiff.data.shapes.scene import asked
from minidiff.recipes import RECIPES, emoji
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, spread
from minidiff.support.profile import profile
from minidiff.unclip import TextPrior, UnCLIP

COMMAND = "python -m minidiff scorecard 14 --full"
PICTURES = 150  # of `shapes` a row of the table
CANDIDATES = 16
NAMES = 60  # of emoji a row of the table
STEPS = 10
averaged = partial(stored.averaged, digits=3)
PRIORS = {"diffusion prior": "prior-emoji", "autoregressive prior": "prior-emoji-written"}  # kind -> recipe


def unclip(with_prior: bool = True) -> UnCLIP:
    """The shipped unCLIP of the emoji."""
    prior = checkpoints.shipped("prior-emoji") if with_prior else None
    return UnCLIP(checkpoints.shipped("clip-emoji"), prior, checkpoints.shipped("unclip-emoji"))


def prompts(split: str, n: int) -> list[str]:
    """Captions of the first n pictures of one thing of that split that say what stands there."""
    said = data.shapes(split, 2 * n, 1, 1)[1]
    return [text for text in said if asked(text)][:n]


def _marked(split: str, how: str, seed: int, said: list[str], draw) -> dict:
    start = time.process_time()
    images = draw(said, generator=seeded(seed))
    seconds = 100 * (time.process_time() - start) / len(said)
    marks = data.shapes.marks(said, images)
    told = {"pairs of colour and shape": "seen" if split == "test" else "new", "way": how, "seed": seed}
    right = {"attributes": round(marks.attributes, 3), "pairs": round(marks.pairs, 3)}
    return told | right | {"CPU seconds for 100": round(seconds, 1)}


def _best(model: DALLE, clip: CLIP, said: list[str], generator) -> Tensor:
    return reranked(model, clip, said, CANDIDATES, generator=generator)[0][:, 0]


def shapes_table(seeds, n: int = PICTURES) -> list[dict]:
    """A row for each way to draw `shapes`, split and seed, all of the same n prompts."""
    model, clip = checkpoints.shipped("dalle-shapes"), checkpoints.shipped("clip-shapes")
    latent = checkpoints.shipped("ldm-shapes")
    rows = []
    for split in ("test", "novel"):
        said = prompts(split, n)
        ways = {
            "DALL-E": model,
            "DALL-E, temperature 0.7": partial(model, temperature=0.7),
            f"DALL-E, best of {CANDIDATES}": partial(_best, model, clip),
            "latent diffusion, 20 steps": partial(generate.prompted, latent),
        }
        for name, draw in ways.items():
            rows += [_marked(split, name, seed, said, draw) for seed in seeds]
    return rows


@torch.no_grad()
def rebuilt(vqvae: nn.Module, n: int = 500) -> dict:
    """The share of n real pictures' attributes and pairs that survives the tokens: no writer can do better."""
    images, said = data.shapes("test", n, 1, 1)
    marks = data.shapes.marks(said, vqvae(images).clamp(-1, 1))
    return {"attributes": round(marks.attributes, 3), "pairs": round(marks.pairs, 3)}


def names(split: str, n: int = NAMES) -> list[str]:
    """n names of drawings, spread over those of a split, "train" or "test"."""
    every = emoji.drawings(split)[1]
    return every[:: max(1, len(every) // n)][:n]


@torch.no_grad()
def few_embedded(clip: CLIP, n: int = 1000) -> tuple[Tensor, Tensor]:
    """CLIP's embeddings (n, D) of drawings, and the ids (n, L) of their names: some for a short training."""
    images, said = emoji.drawings("train")
    return embed(clip, images[:n]), emoji.tokenizer()(said[:n])


@torch.no_grad()
def emoji_table(seeds, n: int = NAMES) -> list[dict]:
    """A row for each way to the embedding that the decoder is told, split and seed."""
    whole, straight = unclip(), unclip(with_prior=False)
    rows = []
    for split in ("train", "test"):
        said = names(split, n)
        real, ids = _real(whole.clip, split, said), whole.text(said)
        for seed in seeds:
            ways = {
                "the picture's own embedding": real,
                "the text's embedding, no prior": straight.embed(ids),
                "prior, one draw": whole.embed(ids, n=1, generator=seeded(seed)),
                "prior, best of two by dot product": whole.embed(ids, n=2, generator=seeded(seed)),
                "prior, best of two by cosine": whole.embed(ids, n=2, by="cosine", generator=seeded(seed)),
            }
            rows += [_drawn(whole, split, how, seed, said, z, real) for how, z in ways.items()]
    return rows


def _real(clip: CLIP, split: str, said: list[str]) -> Tensor:
    """The embeddings (n, D) of the real drawings of these names."""
    images, every = emoji.drawings(split)
    return embed(clip, torch.stack([images[every.index(name)] for name in said]))


def _drawn(model: UnCLIP, split: str, how: str, seed: int, said, z: Tensor, real: Tensor) -> dict:
    """The drawings of embeddings z, marked, and how close z is to that of the real picture."""
    marks = data.emoji.marks(said, model.diffusion(z, steps=STEPS, generator=seeded(seed)))
    told = {"names": "seen" if split == "train" else "never seen", "the decoder is told": how, "seed": seed}
    near = {"cosine with the picture's": round((z * real).sum(1).mean().item(), 3)}
    return told | near | {"right": round(marks.right, 3), "thing": round(marks.by["thing"], 3)}


def priors_table(seeds, n: int = NAMES) -> list[dict]:
    """A row for each kind of prior, training seed and split: trained anew for a quarter of its recipe's steps.

    The steps of the two recipes take the same processor time.
    """
    rows = []
    for kind, name in PRIORS.items():
        for seed in seeds:
            prior, seconds = _trained(name, seed)
            model = UnCLIP(checkpoints.shipped("clip-emoji"), prior, checkpoints.shipped("unclip-emoji"))
            trained = {"CPU seconds of training": round(seconds)}
            rows += [_of_prior(model, kind, split, seed, n) | trained for split in ("train", "test")]
    return rows


def _trained(name: str, seed: int) -> tuple[TextPrior, float]:
    """A prior trained for a quarter of its recipe's steps, and the processor seconds that this took."""
    recipe = RECIPES[name]
    needed = checkpoints.needed(recipe)
    tensors = recipe.data("train", *needed)
    start = time.process_time()
    steps = max(1, recipe.steps[profile()] // 4)
    made = recipe.train(needed, seed=seed, tensors=tensors, steps=steps, desc=f"{name} seed {seed}")
    return made.model.cpu(), time.process_time() - start


@torch.no_grad()
def _of_prior(model: UnCLIP, kind: str, split: str, seed: int, n: int) -> dict:
    """One draw of the prior for each of n names: how right it is, how far from a second draw, how long it takes."""
    said = names(split, n)
    ids = model.text(said)
    start = time.process_time()
    z = model.embed(ids, n=1, generator=seeded(seed))
    seconds = 100 * (time.process_time() - start) / len(said)
    again = model.embed(ids, n=1, generator=seeded(100 + seed))
    row = _drawn(model, split, kind, seed, said, z, _real(model.clip, split, said))
    apart = {"two draws apart": round(1 - (z * again).sum(1).mean().item(), 4)}
    return row | apart | {"CPU seconds for 100 embeddings": round(seconds, 2)}


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims; `full` measures the stored tables again.

    Three sampling seeds of the shipped models, and, where two kinds of prior are compared, three trainings of each.
    """
    if full:
        stored.write("14_dalle", COMMAND, shapes_table(range(3)))
        stored.write("14_unclip", COMMAND, emoji_table(range(3)))
        stored.write("14_priors", COMMAND, priors_table(range(3)))
    return [*_of_dalle(), *_of_unclip(), *_of_priors()]


SHORT = "the autoregressive one has not learned to read in this time: its draws are of other things"
OVERLAP = "the seeds of both overlap, so no difference is shown"


def _compared(text: str, source: str, more: list[float], less: list[float], made: str, reversed_by="") -> Claim:
    """The claim that `more` is larger: it holds if all its seeds lie above all of `less`.

    reversed_by: the reason where they all lie below.
    """
    holds = min(more) > max(less)
    ours = f"{spread(more)} against {spread(less)}"
    why = OVERLAP if max(more) >= min(less) else reversed_by
    return Claim("14", text, source, ours, holds, "" if holds else why, made)


def _of_dalle() -> list[Claim]:
    rows = stored.read("14_dalle")

    def pairs(way):
        return [row["pairs"] for row in rows if row["way"] == way and row["pairs of colour and shape"] == "seen"]

    best = f"DALL-E, best of {CANDIDATES}"
    text = f"the best of {CANDIDATES} by CLIP is right more often than one draw"
    source = "the best 32 of 512 are shown (openai.com/research/dall-e)"
    return [_compared(text, source, pairs(best), pairs("DALL-E"), stored.command("14_dalle"))]


def _of_unclip() -> list[Claim]:
    rows = stored.read("14_unclip")

    def right(way, split):
        return [row["right"] for row in rows if row["the decoder is told"] == way and row["names"] == split]

    straight = "the text's embedding, no prior"
    one, two, cosine = "prior, one draw", "prior, best of two by dot product", "prior, best of two by cosine"
    need = "FID 7.99 with a prior, 16.55 with the text's own embedding (2204.06125, section 5.1)"
    kept = "of two draws the one of the larger dot product is kept (2204.06125, section 2.2)"
    better = "a prior is right more often than the text's own embedding, on names"
    cases = (
        (f"{better} seen", need, one, straight, "seen"),
        (f"{better} never seen", need, one, straight, "never seen"),
        ("the best of two draws is right more often than one, on names never seen", kept, two, one, "never seen"),
        ("the larger dot product is right more often than the larger cosine", kept, two, cosine, "never seen"),
    )
    made = stored.command("14_unclip")
    return [_compared(text, source, right(a, split), right(b, split), made) for text, source, a, b, split in cases]


def _of_priors() -> list[Claim]:
    rows = stored.read("14_priors")

    def seen(kind, column, names):
        return [row[column] for row in rows if row["the decoder is told"] == kind and row["names"] == names]

    fid = "FID 10.39 with the diffusion prior, 10.63 with the autoregressive one (2204.06125, table 2)"
    varied = "more varied than GLIDE's in 70.5 % of comparisons, 62.6 % with the autoregressive prior (there, table 1)"
    better = "in equal processor time the diffusion prior is right more often than the autoregressive one, on names"
    cases = (
        (f"{better} seen", fid, "right", "seen"),
        (f"{better} never seen", fid, "right", "never seen"),
        ("two draws of the diffusion prior lie farther apart", varied, "two draws apart", "never seen"),
    )
    made = stored.command("14_priors")
    return [
        _compared(text, source, *(seen(kind, column, names) for kind in PRIORS), made, SHORT)
        for text, source, column, names in cases
    ]
