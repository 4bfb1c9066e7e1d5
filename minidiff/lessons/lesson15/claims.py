"""Lesson 15 measured: four ways to teach a model new things. `sketching` measures control, `emoji` other models."""

import copy
from contextlib import ExitStack
from statistics import mean
from time import process_time

import torch
from torch import Tensor

from minidiff import checkpoints, data, seeded
from minidiff.adapter import Adapter, merged, worn
from minidiff.data import mascots
from minidiff.data.shapes.scene import COLOURS, SHAPES, WHERE
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.lessons.lesson15 import emoji, sketching
from minidiff.lessons.lesson15.tuning import WAYS, kilobytes, tuned
from minidiff.personalize import fresh
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim

DREAMBOOTH = "DINO 0.668 by DreamBooth, ranked above textual inversion (Stable Diffusion; 2208.12242, table 1)"
PRIOR = "language drift, mended by the prior's loss (2208.12242, section 3.3)"
LORA = "as good as full fine-tuning with 10,000 times fewer weights (GPT-3; 2106.09685)"
COMMAND = "python -m minidiff scorecard 15 --full"
WORDS = dict(zip(mascots.NAMES, ("zib", "wug", "dax")))
GROUNDS = ("red", "yellow", "black", "white", "blue", "cyan")
STEPS = 400
ALONE = [(place, ground) for place in WHERE for ground in GROUNDS]  # of which training showed four
BESIDE = [(colour, shape) for shape in SHAPES[:3] for colour in COLOURS[:4]]


def held_out(n: int = 60) -> list[str]:
    """Captions without the new word, of pictures that nobody was trained on."""
    return data.shapes("test", n, seed=1)[1]


def prior(n: int = 64) -> list[str]:
    """n captions of known figures, whose pictures the model is not to forget."""
    return data.shapes("train", n, seed=5)[1]


def taught(model: LatentDiffusion, thing: str, way: str, seed: int = 0, steps: int = STEPS) -> Adapter:
    """An adapter for one of `mascots.NAMES` by one of WAYS, from its four pictures."""
    return tuned(model, mascots.mascots(thing), WORDS[thing], way, prior(), seed, steps)


def alone(model: LatentDiffusion, thing: str) -> dict[str, float]:
    """How often the thing is drawn, and drawn where and on what was asked, of 30 prompts."""
    prompts = [f"a photo of a {WORDS[thing]} {WHERE[place]} of a {ground} background" for place, ground in ALONE]
    found = mascots.seen(text_to_image(model, prompts, generator=seeded(0)))
    obeyed = mean((place == seen[1]) + (ground == seen[2]) for (place, ground), seen in zip(ALONE, found)) / 2
    near = mean(thing in name for name, _, _ in found)
    return {"fidelity": mean(name == thing for name, _, _ in found), "nearly": near, "obedience": obeyed}


def beside(model: LatentDiffusion, thing: str) -> dict[str, float]:
    """How often a thing stands on the right, and a known figure on the left, of 12 prompts that ask for both."""
    prompts = [f"a {colour} {shape} to the left of a {WORDS[thing]} on a white background" for colour, shape in BESIDE]
    images = text_to_image(model, prompts, generator=seeded(2))
    right = [name == thing for name, _, _ in mascots.seen(images, ("right",))]
    left = [name == f"{c} {s}" for (name, _, _), (c, s) in zip(mascots.seen(images, ("left",)), BESIDE)]
    return {"thing beside": mean(right), "figure beside": mean(left)}


def others(model: LatentDiffusion, before: Tensor) -> dict[str, float]:
    """What prompts without the word draw: the share of attributes that is right, and the change of the pictures."""
    images = text_to_image(model, held_out(len(before)), generator=seeded(1))
    marks = data.shapes.marks(held_out(len(before)), images)
    return {"others right": marks.attributes, "change": (images - before).square().mean().item()}


def table(seeds, ways=tuple(WAYS), steps: int = STEPS) -> list[dict]:
    """A row a way, seed and thing. "with another": the fidelity while the next thing's adapter is on as well."""
    model = checkpoints.load("ldm-shapes")
    before = text_to_image(model, held_out(), generator=seeded(1))
    rows = []
    for way in ways:
        for seed in seeds:
            made, seconds = {}, {}
            for thing in mascots.NAMES:
                begin = process_time()
                made[thing] = taught(model, thing, way, seed, steps)
                seconds[thing] = process_time() - begin
            for thing in mascots.NAMES:
                told = {"way": way, "seed": seed, "thing": thing, "weights": made[thing].numbers()}
                told |= {"kB": kilobytes(made[thing]), "seconds": seconds[thing]}
                rows.append(told | _row(model, thing, made, before))
    return [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows]


def _row(model: LatentDiffusion, thing: str, made: dict[str, Adapter], before: Tensor) -> dict[str, float]:
    with worn(model, made[thing]):
        row = alone(model, thing) | beside(model, thing) | others(model, before)
    with ExitStack() as both:
        for name in (thing, _next(thing)):
            both.enter_context(worn(model, made[name]))
        return row | {"with another": alone(model, thing)["fidelity"]}


def _next(thing: str) -> str:
    return mascots.NAMES[(mascots.NAMES.index(thing) + 1) % len(mascots.NAMES)]


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims; `full` makes the stored tables anew."""
    if full:
        stored.write("15_four", COMMAND, table(seeds))
    found = {way: means(way) for way in WAYS}
    return [
        _of_inversion(found),
        _of_forgetting(found),
        _of_lora(found),
        _of_two(found),
        _of_merging(),
        *sketching.claims(seeds, full),
        *emoji.claims(seeds, full),
    ]


def means(way: str) -> dict[str, float]:
    """The mean of each measure of a way over things and seeds, from the stored table."""
    rows = [row for row in stored.read("15_four") if row["way"] == way]
    return {name: mean(row[name] for row in rows) for name in rows[0] if name not in ("way", "thing", "seed")}


def _of_inversion(found: dict) -> Claim:
    inverted, tuned = found["textual inversion"]["fidelity"], found["DreamBooth"]["fidelity"]
    text = "a new word's vector cannot draw what the model cannot; tuned weights can"
    ours = f"the thing is drawn in {inverted:.0%} of pictures by textual inversion, {tuned:.0%} by DreamBooth"
    return Claim("15", text, DREAMBOOTH, ours, inverted < 0.1 < tuned, stored=stored.command("15_four"))


def _of_forgetting(found: dict) -> Claim:
    without, kept = (found[way]["others right"] for way in ("DreamBooth, no prior", "DreamBooth"))
    text = "without prior preservation, fine-tuning forgets other things; with it, it does not"
    ours = f"attributes right for prompts without the word: {without:.0%} without a prior, {kept:.0%} with it"
    return Claim("15", text, PRIOR, ours, without < 0.7 and kept > 0.9, stored=stored.command("15_four"))


def _of_lora(found: dict) -> Claim:
    attention, every, tuned = (found[way]["fidelity"] for way in ("LoRA", "LoRA, every layer", "DreamBooth"))
    text = "LoRA on the attention is nearly as good as all weights, at one per cent of them"
    ours = f"the thing is drawn in {attention:.0%} of pictures, by all weights in {tuned:.0%}"
    why = f"this U-Net has attention at its coarsest level alone; beside every layer, 2.4 % of the weights, {every:.0%}"
    return Claim("15", text, LORA, ours, attention > tuned - 0.1, why, stored.command("15_four"))


def _of_two(found: dict) -> Claim:
    alone, both = (found["LoRA, every layer"][name] for name in ("fidelity", "with another"))
    text = "two LoRAs that were trained apart can be worn together"
    ours = f"the thing is drawn in {alone:.0%} of pictures by its LoRA alone, in {both:.0%} with another one on"
    why = "each draws its thing for any new word, the other's too, as training showed it one alone"
    return Claim("15", text, "said by users; no figure", ours, both > alone - 0.1, why, stored.command("15_four"))


def _of_merging() -> Claim:
    model = checkpoints.load("ldm-shapes")
    single, double = (merging_gap(model, dtype) for dtype in (torch.float32, torch.float64))
    ours = f"merged against worn: {double:.0e} of the answer in float64, {single:.0e} in float32"
    return Claim("15", "a LoRA merges", LORA, ours, double <= 1e-6 and single < 1e-5)


def merging_gap(model: LatentDiffusion, dtype: torch.dtype) -> float:
    """The largest difference of the denoiser's answers with a random LoRA merged and worn, by the largest answer."""
    adapter = fresh(model, "zib", "lora", layers="all", rank=2)
    generator = seeded(0)
    noisy = {name: 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in adapter.weights.items()}
    adapter.weights = {name: weight.to(dtype) for name, weight in noisy.items()}
    model = copy.deepcopy(model).to(dtype)
    z = torch.randn(4, 8, 8, 8, generator=generator).to(dtype)
    ids = model.ids(["a red circle"] * 4)
    whole = merged(model, adapter)
    with torch.no_grad(), worn(model, adapter):
        answer = model.denoiser(z, 0.5, ids)
        return ((whole.denoiser(z, 0.5, ids) - answer).abs().max() / answer.abs().max()).item()
