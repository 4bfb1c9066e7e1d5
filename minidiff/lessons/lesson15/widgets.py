"""Lesson 15's widgets: a LoRA at any strength, and a mix of two."""

from contextlib import ExitStack
from copy import deepcopy

import torch

from minidiff import plot, seeded
from minidiff.adapter import Adapter, worn
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.lessons.lesson09.widgets import heading
from minidiff.widgets import Explorer, Stops, Text

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


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
