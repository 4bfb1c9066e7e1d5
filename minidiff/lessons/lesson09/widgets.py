"""Lesson 09's widgets: a prompt from parts or typed, a picture made over, a painted mask, the words that pixels heed.

Each returns an Explorer. Few pictures and few steps, so that an answer takes a fraction of a second; each is kept.
"""

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from minidiff import plot, seeded
from minidiff.data import emoji, shapes
from minidiff.data.shapes import scene as scenes
from minidiff.latent import SCALE, LatentDiffusion, image_to_image, inpaint, text_to_image
from minidiff.lessons.lesson09.attention import attention_maps
from minidiff.lessons.lesson09.solutions import word_maps
from minidiff.support.words import remark
from minidiff.widgets import Choice, Explorer, Paint, Stops, Text

STRENGTHS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0)
STEPS = (1, 2, 5, 10, 20)
FEW = 10  # steps where there is no control for them
TIMES = (0.9, 0.7, 0.5, 0.3, 0.1)


def sentence(size: str, colour: str, shape: str, place: str, background: str) -> str:
    """A prompt in the course's words; "any" leaves an attribute unsaid."""
    size = "" if size == "any" else size + " "
    place = "" if place == "any" else " " + scenes.WHERE[place]
    ground = "" if background == "any" else (" of" if place else " on") + f" a {background} background"
    return f"a {size}{colour} {shape}{place}{ground}"


def builder(model: LatentDiffusion, n: int = 4, seed: int = 0) -> Explorer:
    """n pictures of a prompt built from parts, at a scale of guidance and a number of steps, from the same noise."""

    def draw(scale, steps, **parts):
        prompt = sentence(**parts)
        return marked(model, prompt, _drawn(model, prompt, n, seed, scale=scale, steps=steps))

    return Explorer(
        draw,
        alt=lambda scale, steps, **parts: f"{n} pictures of “{sentence(**parts)}”, scale {scale:g}, {steps} steps",
        size=Choice("size", ["any", *scenes.SIZES], "large"),
        colour=Choice("colour", list(scenes.COLOURS), "red"),
        shape=Choice("shape", list(scenes.SHAPES), "circle"),
        place=Choice("place", ["any", *scenes.PLACES], "any"),
        background=Choice("background", ["any", *scenes.BACKGROUNDS], "blue"),
        scale=Stops("guidance scale", SCALES, SCALE),
        steps=Stops("steps", STEPS, 10),
    ).add_class("builder")


def free_text(model: LatentDiffusion, prompt: str, n: int = 4, seed: int = 1) -> Explorer:
    """n pictures of any text, and away from another, from the same noise."""

    def draw(prompt, negative, scale, steps):
        return marked(model, prompt, _drawn(model, prompt, n, seed, scale=scale, steps=steps, negative=negative))

    return Explorer(
        draw,
        alt=f"{n} pictures of “{{prompt}}”, away from “{{negative}}”, scale {{scale:g}}, {{steps}} steps",
        prompt=Text("prompt", prompt, hint="a prompt, then Enter"),
        negative=Text("negative prompt", "", hint="what it should not be"),
        scale=Stops("guidance scale", SCALES, SCALE),
        steps=Stops("steps", STEPS, 10),
    ).add_class("text")


def make_over(model: LatentDiffusion, images: Tensor, prompt: str, n: int = 3, seed: int = 2) -> Explorer:
    """One of `images` (N, 3, H, W), and after it n times made over after a prompt, at any strength."""

    def draw(strength, prompt, picture):
        image = images[picture : picture + 1].expand(n, -1, -1, -1)
        steps = round(FEW / max(strength, STRENGTHS[1]))  # of which only a share `strength` is walked
        options = dict(steps=steps, generator=seeded(seed))
        return torch.cat([image[:1], image_to_image(model, image, [prompt] * n, strength, **options)])

    return Explorer(
        draw,
        alt=f"top left picture {{picture}}, then {n} times made over as “{{prompt}}” with strength {{strength}}",
        columns=2,
        strength=Stops("strength", STRENGTHS, 0.2),
        prompt=Text("prompt", prompt, hint="a prompt, then Enter"),
        picture=Choice("picture", range(len(images)), 0),
    ).add_class("over")


def repaint(model: LatentDiffusion, image: Tensor, prompt: str, mask: Tensor, n: int = 4, seed: int = 3) -> Explorer:
    """Paint a mask over an image (3, H, W): what is under it is drawn n times anew, after a prompt."""
    pad = Paint("mask", image, mask)

    def draw(mask, prompt):
        images = image.expand(n, -1, -1, -1)
        options = dict(steps=FEW, generator=seeded(seed))
        return inpaint(model, images, pad.mask(mask), [prompt] * n, **options)

    return Explorer(
        draw,
        alt=lambda mask, prompt: f"{n} times “{prompt}” painted into {sum(mask)} of {len(mask)} pixels",
        columns=n // 2,
        mask=pad,
        prompt=Text("prompt", prompt, hint="a prompt, then Enter"),
    ).add_class("repaint")


def by_word(model: LatentDiffusion, prompt: str, seed: int = 4) -> Explorer:
    """The picture of a prompt, and for each word where in it the network looks at that word at time t."""

    def draw(prompt, t):
        return attended(model, prompt, _drawn(model, prompt, 1, seed), t)

    return Explorer(
        draw,
        alt="for each word of “{prompt}” where the network looks at it at time {t}, light where much",
        prompt=Text("prompt", prompt, hint="a prompt, then Enter"),
        t=Stops("time t", TIMES, 0.5),
    ).add_class("words")


def emoji_by_name(model: LatentDiffusion, prompt: str, n: int = 4, seed: int = 6) -> Explorer:
    """n emoji drawn from a name, each under the name of the real drawing that is nearest to it."""

    def draw(prompt, scale, steps):
        images = _drawn(model, prompt, n, seed, scale=scale, steps=steps)
        return plot.grid(images, columns=n, titles=emoji.nearest(images), title=heading(model, prompt), scale=4)

    return Explorer(
        draw,
        alt=f"{n} emoji of “{{prompt}}”, scale {{scale:g}}, {{steps}} steps",
        prompt=Text("prompt", prompt, hint="a name, then Enter"),
        scale=Stops("guidance scale", SCALES, SCALE),
        steps=Stops("steps", STEPS, 20),
    ).add_class("emoji")


def marked(model: LatentDiffusion, prompt: str, images: Tensor) -> Figure:
    """The pictures under their prompt, each with what `shapes.read` finds in it."""
    titles = [said(scene) for scene in shapes.read(images)]
    return plot.grid(images, columns=len(images), titles=titles, title=heading(model, prompt), scale=4)


def heading(model: LatentDiffusion, prompt: str) -> str:
    """The prompt, and in a second line the words in it that the model does not know and leaves out."""
    return f"{prompt or '(no prompt)'}\n{remark(model.unknown_words(prompt))}".rstrip()


def said(scene) -> str:
    """A scene in a few words: "large red circle, left, on blue"."""
    if scene is None:
        return "unreadable"
    things = [f"{thing.size} {thing.colour} {thing.shape}, {thing.place}" for thing in scene.things]
    return f"{' and '.join(things)}, on {scene.background}"


def attended(model: LatentDiffusion, prompt: str, image: Tensor, t: float, seed: int = 5) -> Figure:
    """A picture (1, 3, H, W), and beside it, for each word of its prompt, where at time t the network looks at it.

    All maps are shown on one scale, from black, no weight, to white, the largest weight of any word at any place. Each
    is titled with its word and the word's own largest weight.
    """
    z = model.encode(image)
    ids = model.ids(prompt)
    noise = torch.randn(z.shape, generator=seeded(seed))
    maps = attention_maps(model, model.schedule.add_noise(z, t, noise), torch.tensor(t), ids)[0]  # (L, h, w)
    words = word_maps(maps, model.tokenizer.tokens(prompt))
    heat = torch.stack([row for _, row in words] or [maps[0]])  # of no words, the mark of the start
    light = (2 * heat / heat.max().clamp(min=1e-6) - 1)[:, None].expand(-1, 3, -1, -1)
    shown = torch.cat([image, F.interpolate(light, image.shape[2:])])
    names = [word for word, _ in words] or ["start"]
    titles = ["picture", *(f"{name} {most:.0%}" for name, most in zip(names, heat.amax((1, 2)).tolist()))]
    return plot.grid(shown, columns=min(len(shown), 7), titles=titles, title=f"{prompt}, t = {t:g}", scale=3)


def _drawn(model: LatentDiffusion, prompt: str, n: int, seed: int, **options) -> Tensor:
    generator = seeded(seed)
    return text_to_image(model, [prompt] * n, generator=generator, **({"steps": FEW} | options))
