"""Lesson 15 measured, second part: does what is drawn agree with a sketch, with a control and without."""

from functools import partial
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff import checkpoints, data, seeded, train
from minidiff.control import Control, agreement, edges, figure_masks, sketch_to_image
from minidiff.data.shapes.scene import Scene
from minidiff.latent import LatentDiffusion
from minidiff.recipes import RECIPES
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim

COMMAND = "python -m minidiff scorecard 15 --full"
SNAP = "the control is followed all of a sudden, in under 10,000 steps (Stable Diffusion; 2302.05543, section 3.3)"
NOTHING_LOST = "the frozen model's quality stays, as zero convolutions add no noise to it (2302.05543, section 3.1)"
SHIFT = 8  # pixels, from the middle to a corner that no caption has a word for
WHERE = ("said", "not said", "corner")  # what the prompt says of the place
SUDDEN = 50  # steps
EVERY = 25  # steps between two looks at a control in training


class Asked(NamedTuple):
    """What is asked for: a prompt each, and pictures of which the sketches are made."""

    prompts: list[str]
    images: Tensor


def brief(scene: Scene) -> str:
    """The first thing's colour and shape and the ground: nothing of size and place."""
    thing = scene.things[0]
    return f"a {thing.colour} {thing.shape} on a {scene.background} background"


def asked(where: str, n: int, seed: int = 0) -> Asked:
    """n held-out pictures of one thing, and prompts; `where`, one of WHERE, is what the prompts say of the place."""
    images, captions = data.shapes("test", 6 * n, seed=seed, objects=1)
    scenes = data.shapes.scenes("test", 6 * n, seed=seed, objects=1)
    if where == "said":
        return Asked(captions[:n], images[:n])
    chosen = [i for i, scene in enumerate(scenes) if where == "not said" or scene.things[0].place == "middle"][:n]
    prompts, images = [brief(scenes[i]) for i in chosen], images[chosen]
    if where == "corner":
        ways = [(SHIFT * (-1) ** i, SHIFT * (-1) ** (i // 2)) for i in range(n)]
        images = torch.stack([image.roll(way, (1, 2)) for image, way in zip(images, ways)])
    return Asked(prompts, images)


def measured(model: LatentDiffusion, control: Control, asked: Asked, strength: float, seed: int, **options) -> dict:
    """How far what is drawn agrees with the sketched figure's mask, and the share of attributes that is right."""
    drawn = sketch_to_image(
        model, control, edges(asked.images), asked.prompts, strength, generator=seeded(seed), **options
    )
    agreed = agreement(figure_masks(drawn), figure_masks(asked.images)).mean().item()
    return {"agreement": agreed, "attributes right": data.shapes.marks(asked.prompts, drawn).attributes}


def control_table(seeds, n: int = 50) -> list[dict]:
    """A row for each of WHERE, strength 0 and 1, and seed of the noise, n pictures each."""
    model, control = checkpoints.load("ldm-shapes"), checkpoints.load("control-shapes")
    rows = []
    for where in WHERE:
        for seed in seeds:
            for strength in (0, 1):
                row = measured(model, control, asked(where, n), strength, seed)
                rows.append({"place": where, "strength": strength, "seed": seed} | row)
    return _rounded(rows)


def snap_table(seed: int = 0, steps: int = 300, n: int = 32) -> list[dict]:
    """A new control's agreement, of n pictures, before a training at an even rate and after every EVERY steps of it."""
    recipe, model = RECIPES["control-shapes"], checkpoints.load("ldm-shapes")
    torch.manual_seed(seed)
    tensors = recipe.data("train", model)
    control = recipe.fresh((model,), *tensors)
    batches = data.batches(*tensors, size=recipe.batch, seed=seed)
    look = partial(measured, model, control, asked("not said", n), 1, 0, steps=10)
    rows = [{"steps": 0, "seed": seed} | look()]
    for tick in train.fit(control, batches, steps=steps, lr=recipe.lr, seed=seed, rate=lambda done: 1.0):
        if (tick.step + 1) % EVERY == 0:
            rows.append({"steps": tick.step + 1, "seed": seed} | look())
    return _rounded(rows)


def _rounded(rows: list[dict]) -> list[dict]:
    return [{name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()} for row in rows]


def means(where: str, strength: int) -> dict[str, float]:
    """The means over the seeds, from the stored table."""
    rows = [row for row in stored.read("15_control") if (row["place"], row["strength"]) == (where, strength)]
    return {name: mean(row[name] for row in rows) for name in ("agreement", "attributes right")}


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """Of control; `full` makes both stored tables anew."""
    if full:
        stored.write("15_control", COMMAND, control_table(seeds))
        stored.write("15_snap", COMMAND, snap_table())
    return [_of_agreement(), _of_obedience(), _of_snapping()]


def _of_agreement() -> Claim:
    without, follows = (means("not said", strength)["agreement"] for strength in (0, 1))
    text = "a copy of the way down, trained beside a frozen model, makes it follow a sketch"
    ours = f"agreement with the sketched figure where no word says the place: {without:.2f} without, {follows:.2f} with"
    holds = follows > 2 * without and follows > 0.6
    return Claim("15", text, "shown in pictures (2302.05543)", ours, holds, stored=stored.command("15_control"))


def _of_obedience() -> Claim:
    without, follows = (means("not said", strength)["attributes right"] for strength in (0, 1))
    ours = f"attributes of the prompt right: {without:.0%} without a sketch, {follows:.0%} with it"
    text = "with control, the model still does what the words say"
    return Claim("15", text, NOTHING_LOST, ours, follows > without - 0.05, stored=stored.command("15_control"))


def _of_snapping() -> Claim:
    rows = stored.read("15_snap")
    steps, found = ([row[name] for row in rows] for name in ("steps", "agreement"))
    looks = SUDDEN // EVERY
    rises = [later - before for before, later in zip(found, found[looks:])]
    when = rises.index(max(rises))
    ours = f"agreement {found[0]:.2f} at first, {found[when]:.2f} after {steps[when]} steps, {found[when + looks]:.2f} "
    ours += f"after {steps[when + looks]}, {found[-1]:.2f} after {steps[-1]}"
    text = "a control is not followed more and more, but suddenly: half of all that it gains in 300 steps, within 50"
    holds = max(rises) >= (found[-1] - found[0]) / 2
    return Claim("15", text, SNAP, ours, holds, stored=stored.command("15_snap"))
