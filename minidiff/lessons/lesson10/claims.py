"""Lesson 10 measured: nats a caption beside the exact entropy, how many written captions are possible, ViT and CNN."""

import math
from statistics import mean

import torch

from minidiff import pick, seeded
from minidiff.lessons.lesson10 import grammar
from minidiff.lessons.lesson10.trained import CAPTION_STEPS, CNN, COMMAND, SIZES, VIT, caption_model, said, vit_table
from minidiff.recipes.shapes import tokenizer
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, spread
from minidiff.transformer import LanguageModel

NONE = "no such figure: nobody knows the entropy of the papers' texts"
PAPER = "ViT-B/32 is far below ResNet50 on 9M pictures of JFT, and above it from 90M on (2010.11929, section 4.3)"
CEILING = "this world is easy: with 3,000 pictures the CNN is at 0.99 already, so nothing is left to win"


@torch.no_grad()
def excess(model: LanguageModel, n: int = 2000) -> float:
    """Nats a caption that a model needs more than the program itself, on n new captions: an estimate of a KL."""
    captions = said(n, seed=2)
    exact = torch.tensor([-grammar.log_prob(caption) for caption in captions])
    return (model.nats(tokenizer()(captions)) - exact).mean().item()


def possible(texts: list[str]) -> float:
    """The share of texts that the program could have written."""
    return mean(math.isfinite(grammar.log_prob(text)) for text in texts)


def written(model: LanguageModel, n: int = 500, seed: int = 0) -> list[str]:
    """n captions drawn from a model."""
    words = tokenizer()
    return [words.decode(ids) for ids in model.sample(n, seeded(seed))]


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims: language models over seeds; ViT and CNN from the stored table, which `full` makes anew."""
    models = [caption_model(seed) for seed in seeds]
    n = pick(ci=50, cpu=500, gpu=500)
    rows = vit_table(seeds) if full else stored.read("10_vit")
    more = [excess(model) for model in models]
    shares = [possible(written(model, n)) for model in models]
    return [_of_nats(more), _of_writing(shares), *of_data(rows, "" if full else stored.command("10_vit"))]


def _claim(text: str, paper: str, ours: str, holds: bool, why: str = "", made: str = "") -> Claim:
    return Claim("10", text, paper, ours, holds, "" if holds else why, made)


def _of_nats(more: list[float]) -> Claim:
    exact = grammar.entropy()
    text = (
        f"{CAPTION_STEPS:,} steps: the model needs at most 0.15 nats a caption more than the exact entropy, {exact:.2f}"
    )
    return _claim(text, NONE, f"{spread(more)} more", 0 <= mean(more) <= 0.15)


def _of_writing(shares: list[float]) -> Claim:
    text = "nine in ten of its captions could have been written by the program"
    return _claim(text, "no such figure", spread(shares), mean(shares) >= 0.9)


def of_data(rows: list[dict], made: str = COMMAND) -> list[Claim]:
    """With few pictures the CNN is ahead; with many the transformer has overtaken it."""
    few, many = min(SIZES), max(SIZES)
    shares = {(net, n): _shares(rows, net, n) for net in (VIT, CNN) for n in (few, many)}
    first, last = (f"ViT {spread(shares[VIT, n])}, CNN {spread(shares[CNN, n])}" for n in (few, many))
    behind = mean(shares[VIT, few]) < mean(shares[CNN, few]) - 0.05
    ahead = mean(shares[VIT, many]) > mean(shares[CNN, many])
    return [
        _claim(f"{few} pictures: the transformer is far behind a CNN of equal size", PAPER, first, behind, "", made),
        _claim(f"{many:,} pictures: the transformer is ahead", PAPER, last, ahead, CEILING, made),
    ]


def _shares(rows: list[dict], net: str, n: int) -> list[float]:
    return [row["accuracy"] for row in rows if (row["net"], row["pictures"]) == (net, n)]
