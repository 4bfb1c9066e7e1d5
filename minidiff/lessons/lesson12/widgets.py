"""Lesson 12's widgets: draw from a prompt with every dial of Stable Diffusion, and the times that a sampler visits."""

import torch
from matplotlib.figure import Figure

from minidiff import plot, seeded
from minidiff.data import emoji
from minidiff.latent import LatentDiffusion, image_to_image, text_to_image
from minidiff.lessons.lesson09.widgets import heading
from minidiff.sampler import leading_times, times
from minidiff.schedule import Schedule
from minidiff.widgets import Choice, Explorer, Stops, Text

SAMPLERS = {"DDIM": {"order": 1}, "DPM-Solver++(2M)": {"order": 2}, "ancestral": {"order": 1, "eta": 1.0}}
GRIDS = {"trailing": times, "leading": leading_times}
SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 12.0)
STEPS = (2, 5, 10, 20, 50)
STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHOWN = (5, 10, 20, 50)


def console(model: LatentDiffusion, prompt: str, n: int = 4, seed: int = 0) -> Explorer:
    """n pictures of a prompt with everything that one can set, from the same noise, under what they resemble."""

    def draw(prompt, negative, scale, steps, sampler, times):
        options = {"scale": scale, "steps": steps, "negative": negative, "grid": GRIDS[times]} | SAMPLERS[sampler]
        images = text_to_image(model, [prompt] * n, generator=seeded(seed), **options)
        return plot.grid(images, columns=n, titles=emoji.nearest(images), title=heading(model, prompt), scale=4)

    return Explorer(
        draw,
        alt=f"{n} emoji of “{{prompt}}”, away from “{{negative}}”, scale {{scale:g}}, {{steps}} steps of {{sampler}}, "
        "{times} times",
        prompt=Text("prompt", prompt, hint="a name, then Enter"),
        negative=Text("negative prompt", "", hint="what it should not be, then Enter"),
        scale=Stops("guidance scale", SCALES, 2.0),
        steps=Stops("steps", STEPS, 20),
        sampler=Choice("sampler", list(SAMPLERS), "DPM-Solver++(2M)"),
        times=Choice("times", list(GRIDS), "trailing"),
    ).add_class("console")


def make_over(model: LatentDiffusion, images: torch.Tensor, prompt: str, seed: int = 1) -> Explorer:
    """One of `images` (N, 3, H, W), and beside it three times made over after a prompt, at any strength."""

    def draw(picture, prompt, strength):
        image = images[picture : picture + 1].expand(3, -1, -1, -1)
        made = image_to_image(model, image, [prompt] * 3, strength, steps=20, generator=seeded(seed))
        shown = torch.cat([image[:1], made])
        titles = ["the picture", *emoji.nearest(made)]
        return plot.grid(shown, columns=4, titles=titles, title=heading(model, prompt), scale=4)

    return Explorer(
        draw,
        alt="picture {picture}, and three times made over as “{prompt}” with strength {strength}",
        strength=Stops("strength", STRENGTHS, 0.6),
        prompt=Text("prompt", prompt, hint="a name, then Enter"),
        picture=Choice("picture", range(len(images)), 0),
    ).add_class("over")


def visited(schedule: Schedule) -> Explorer:
    """The noise at the times that a sampler visits, by the two ways of spacing them."""

    def draw(steps, times):
        return visited_times(schedule, steps, times)

    return Explorer(
        draw,
        alt="the share of noise over time, and on it the {steps} {times} times and where they end",
        steps=Stops("steps", SHOWN, 10),
        times=Choice("times", list(GRIDS), "trailing"),
    ).add_class("visited")


def visited_times(schedule: Schedule, steps: int, way: str) -> Figure:
    """alpha over t, and a mark at each time of GRIDS[way]; the title says where the first and the last of them lie."""
    line = torch.linspace(0, 1, 201, dtype=torch.float64)
    marks = GRIDS[way](steps)
    axes = plot.curve({"alpha, the share of the picture": (line, schedule(line)[0])}, xlabel="t")
    axes.plot(marks, schedule(marks)[0], "o", color=plot.COLOURS[2], markersize=5, label=f"{steps} steps, {way}")
    first, last = marks[0].item(), marks[-1].item()
    axes.set(title=f"from t = {first:g}, where alpha is {schedule(first)[0].item():.3f}, to t = {last:g}")
    axes.legend()
    return axes.figure
