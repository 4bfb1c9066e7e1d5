"""Lesson 15's widgets: a LoRA at any strength, a mix of two, and a sheet to draw a sketch on."""

from contextlib import ExitStack
from copy import deepcopy

import numpy as np
import torch
from PIL import Image, ImageDraw

from minidiff import plot, seeded
from minidiff.adapter import Adapter, worn
from minidiff.control import Control, sketch_to_image
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.lessons.lesson09.widgets import heading
from minidiff.widgets import Explorer, Paint, Stops, Text

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
FEW = 10  # steps of what is drawn after a sketch
CORNERS = {  # of outlines, x and y in pixels
    "square": ((5, 5), (17, 5), (17, 17), (5, 17)),
    "house": ((9, 26), (9, 15), (16, 7), (23, 15), (23, 26)),
}
HOW_TO_SKETCH = "Draw an outline with the mouse or a finger. By keys: arrows move, the space bar draws."


def outline(corners) -> torch.Tensor:
    """A closed line through these corners on a sheet, (1, 32, 32), 1 where it is drawn."""
    sheet = Image.new("1", (32, 32))
    ImageDraw.Draw(sheet).line([*corners, corners[0]], fill=1, width=2)
    return torch.tensor(np.array(sheet), dtype=torch.float32)[None]


def _circle(x: int, y: int, radius: int) -> list[tuple[float, float]]:
    turns = torch.linspace(0, 2 * torch.pi, 40)
    return [(x + radius * turn.cos().item(), y + radius * turn.sin().item()) for turn in turns]


OUTLINES = {"circle": outline(_circle(22, 10, 6))} | {name: outline(corners) for name, corners in CORNERS.items()}


def strengths(model: LatentDiffusion, adapter: Adapter, prompt: str, n: int = 4, seed: int = 0) -> Explorer:
    """n pictures of a prompt with the adapter at any strength, and below them of the same noise without it."""
    model = deepcopy(model)  # a widget may answer while a cell trains

    def draw(prompt, strength):
        with worn(model, adapter, strength):
            images = text_to_image(model, [prompt] * n, generator=seeded(seed))
            return plot.grid(images, columns=n, title=heading(model, prompt), scale=4)

    return Explorer(
        draw,
        alt=f"{n} pictures of “{{prompt}}” with the adapter at strength {{strength:g}}",
        prompt=Text("prompt", prompt, hint="what to draw, then Enter"),
        strength=Stops("strength", STRENGTHS, 1.0),
    ).add_class("strength")


def mix(model: LatentDiffusion, one: Adapter, other: Adapter, seed: int = 0) -> Explorer:
    """Two prompts, each with the word of one adapter, drawn while both adapters are on at strengths of their own."""
    model = deepcopy(model)
    prompts = [f"a photo of a {word} in the middle of a blue background" for word in (one.word, other.word)]
    prompts.append("a large red circle in the middle of a white background")

    def draw(first, second):
        with ExitStack() as both:
            both.enter_context(worn(model, one, first))
            both.enter_context(worn(model, other, second))
            rows = [text_to_image(model, [prompt] * 3, generator=seeded(seed)) for prompt in prompts]
        return plot.grid(torch.cat(rows), columns=9, titles=[one.word] * 3 + [other.word] * 3 + ["circle"] * 3, scale=3)

    return Explorer(
        draw,
        alt=f"three pictures each of {one.word}, {other.word} and a red circle, with the first adapter at strength "
        "{first:g} and the second at {second:g}",
        first=Stops(f"strength of {one.word}", STRENGTHS, 1.0),
        second=Stops(f"strength of {other.word}", STRENGTHS, 1.0),
    ).add_class("mix")


def pad(model: LatentDiffusion, control: Control, prompt: str, lines: torch.Tensor, seed: int = 0) -> Explorer:
    """A sheet (1, H, W) with `lines` to draw on, and beside it a prompt drawn by the model alone and with the sketch.

    Two pictures each, of the same noise.
    """
    black = -torch.ones(3, *lines.shape[1:])
    sheet = Paint("sketch", black, lines[0] > 0.5, brush=1, ink=(255, 255, 255), how=HOW_TO_SKETCH)

    def draw(sketch, prompt, strength):
        drawn = sheet.mask(sketch)[None, None].float().expand(2, -1, -1, -1)
        alone, sketched = (
            sketch_to_image(model, control, drawn, prompt, each, steps=FEW, generator=seeded(seed))
            for each in (0.0, strength)
        )
        return torch.cat([2 * drawn[:1].expand(-1, 3, -1, -1) - 1, alone, sketched])

    return Explorer(
        draw,
        alt=_told_of_sketch,
        heads=("sketch", "without", "without", "with it", "with it"),
        sketch=sheet,
        prompt=Text("prompt", prompt, hint="what to draw, then Enter"),
        strength=Stops("strength of the sketch", STRENGTHS, 1.0),
    ).add_class("pad")


def _told_of_sketch(sketch: bytes, prompt: str, strength: float) -> str:
    drawn = f"“{prompt}” drawn twice without it, and twice with it at strength {strength:g}"
    return f"a sketch of {sum(sketch)} of {len(sketch)} pixels, {drawn}"
