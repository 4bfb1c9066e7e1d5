"""Lesson 12 measured: what guidance, steps and samplers buy, and what the published model costs."""

import time
from statistics import mean

import torch
from torch.utils.flop_counter import FlopCounterMode

from minidiff import checkpoints, data, pick, seeded
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.lessons.lesson09.claims import emoji_names
from minidiff.lessons.lesson12.widgets import SAMPLERS
from minidiff.scorecard.common import Claim, spread
from minidiff.stable_diffusion import VERSIONS, stable_diffusion

PUBLISHED = {"text": 123_060_480, "generator": 859_520_964, "decoder": 83_653_863}  # weights of version 1.x
PARTS = {"text": "text encoder", "generator": "U-Net", "decoder": "autoencoder"}
GUIDED = "the larger the scale, the more a picture follows its text, and the less varied it is (2207.12598, figure 1)"


def on_meta(version: str = "1.x") -> LatentDiffusion:
    """A published version without its weights: shapes alone, which take no memory."""
    return stable_diffusion(lambda texts: torch.zeros(1, 77, dtype=torch.int64), **VERSIONS[version], device="meta")


@torch.no_grad()
def flops(model: LatentDiffusion, pixels: int) -> dict[str, float]:
    """Operations, in 1e9, of one pass of each part for a picture of `pixels` a side. A product and a sum are two."""
    net, side = model.denoiser.net, pixels // model.autoencoder.f
    z = torch.zeros(1, model.autoencoder.latent, side, side, device="meta")
    words = torch.zeros(1, net.text.length, net.text.width, device="meta")
    passes = {
        "text": lambda: net.text.blocks(words),
        "generator": lambda: net(z, torch.zeros(1, device="meta"), words),
        "decoder": lambda: model.autoencoder.decode(z),
    }
    return {name: _counted(once) / 1e9 for name, once in passes.items()}


def _counted(once) -> int:
    with FlopCounterMode(display=False) as counter:
        once()
    return counter.get_total_flops()


def costs(model: LatentDiffusion, pixels: int, steps: int = 20) -> list[dict]:
    """A row for each part: its weights, the published number, passes for a picture, operations of all of them."""
    each, weights = flops(model, pixels), model.weights()
    passes = {"text": 2, "generator": 2 * steps, "decoder": 1}  # with guidance
    return [
        {
            "part": PARTS[name],
            "weights": f"{weights[name]:,}",
            "published": f"{PUBLISHED[name]:,}",
            "passes": passes[name],
            "10⁹ operations": round(passes[name] * each[name]),
        }
        for name in PARTS
    ]


def names(n: int) -> list[str]:
    """n names of emoji that no model was trained on."""
    return emoji_names("combinations", n)


def asked(model: LatentDiffusion, n: int, seed: int = 0, **options) -> dict:
    """How n names are drawn: the share whose nearest drawing is the right one; how much two drawings of a name differ.

    *varied* is the root mean square difference between drawings of one name from two noises, in levels of 0 to 2.
    """
    said = names(n)
    started = time.perf_counter()
    once, again = (text_to_image(model, said, generator=seeded(2 * seed + k), **options) for k in (0, 1))
    took = (time.perf_counter() - started) / (2 * n)
    right = mean(data.emoji.marks(said, x).right for x in (once, again))
    varied = (once - again).square().mean().sqrt().item()
    return {"right": round(right, 3), "varied": round(varied, 3), "seconds a picture": round(took, 3)}


def guidance_table(model: LatentDiffusion, n: int, scales=(0.0, 1.0, 2.0, 4.0, 7.5), seed: int = 0) -> list[dict]:
    """A row for each scale of guidance."""
    return [{"scale": scale} | asked(model, n, seed, scale=scale) for scale in scales]


def steps_table(model: LatentDiffusion, n: int, steps=(2, 5, 10, 20), seed: int = 0) -> list[dict]:
    """A row for each number of steps: the share of right drawings by each sampler."""
    return [
        {"steps": count} | {name: asked(model, n, seed, steps=count, **how)["right"] for name, how in SAMPLERS.items()}
        for count in steps
    ]


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims, of the shipped miniature over seeds of noise, and of the published sizes."""
    model, n = checkpoints.load("sd-emoji"), pick(ci=6, cpu=57, gpu=171)
    guided = [guidance_table(model, n, (1.0, 2.0, 4.0), seed) for seed in seeds]
    walked = [steps_table(model, n, (5, 20), seed) for seed in seeds]
    return [_of_weights(), *_of_guidance(guided), *_of_steps(walked)]


def _of_weights() -> Claim:
    ours = on_meta().weights()
    text = "text encoder, U-Net and autoencoder have as many weights as those published"
    told = ", ".join(f"{count:,}" for count in ours.values())
    return Claim("12", text, ", ".join(f"{count:,}" for count in PUBLISHED.values()), told, ours == PUBLISHED)


def _of_guidance(tables: list[list[dict]]) -> list[Claim]:
    right, varied = ([[row[name] for row in table] for table in tables] for name in ("right", "varied"))
    plain, some, _ = (list(column) for column in zip(*right))
    first, _, last = (list(column) for column in zip(*varied))
    return [
        Claim(
            "12",
            "guidance of 2 draws the right emoji more often than none (scale 1)",
            GUIDED,
            f"{spread(plain)} to {spread(some)}",
            mean(some) > mean(plain),
        ),
        Claim(
            "12",
            "and the drawings of one name differ less at 4 than at 1",
            GUIDED,
            f"{spread(first)} to {spread(last)}",
            mean(last) < mean(first),
        ),
    ]


def _of_steps(tables: list[list[dict]]) -> list[Claim]:
    few = {name: [table[0][name] for table in tables] for name in SAMPLERS}
    many = {name: [table[1][name] for table in tables] for name in SAMPLERS}
    text = "5 steps: DPM-Solver++(2M) is right at least as often as DDIM"
    ours = "; ".join(f"{name}: {spread(few[name])} in 5, {spread(many[name])} in 20" for name in SAMPLERS)
    second, first = (mean(few[name]) for name in ("DPM-Solver++(2M)", "DDIM"))
    return [Claim("12", text, "fewer steps for the same quality (2211.01095, figure 1)", ours, second >= first)]
