"""What `python -m minidiff sample` asks of a model, whatever its family: labels or prompts in, pictures out."""

import inspect
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, drawing, expect
from minidiff.cli import Refused
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.recipes import RECIPES


def options(name: str, model: nn.Module, **given) -> dict:
    """The options that were given, not None, all of which the model's way of drawing must have."""
    if not hasattr(model, "sample") and not isinstance(model, Denoiser | LatentDiffusion):
        why = "is no distribution over pictures to draw from (an autoencoder rebuilds them, CLIP judges them)"
        raise Refused(f"{name}: there is nothing to sample, {type(model).__name__} {why}")
    given = {option: value for option, value in given.items() if value is not None}
    for option in given.keys() - _known(model):
        raise Refused(f"--{option}: {name} draws pictures without it")
    return given


def conditions(name: str, model: nn.Module, n: int, label: int | None, prompt: str | None) -> dict:
    """{"labels": int64 (n,)} or {"prompts": n texts}, as the model wants them; {} for one that takes neither.

    n times what was given; else the labels 0, 1, … or the captions of the pictures to test, in turn.
    """
    if prompt is not None and not isinstance(model, LatentDiffusion):
        raise Refused(f"--prompt: {name} draws pictures without words")
    if isinstance(model, LatentDiffusion):
        if label is not None:
            raise Refused(f"--label: {name} draws pictures without labels; tell it what to draw with --prompt")
        captions = data.shapes("test", 1000)[1] if prompt is None else [prompt]
        return {"prompts": list(islice(cycle(captions), n))}
    if label is None:
        labels = drawing.in_turn(model, n)
        return {} if labels is None else {"labels": labels}
    if not (classes := drawing.classes_of(model)):
        raise Refused(f"--label: {name} draws pictures without labels")
    return {"labels": torch.full((n,), expect.integer("--label", label, 0, classes - 1))}


@torch.no_grad()
def draw(name: str, model: nn.Module, n: int, told: dict, seed: int, given: dict) -> Tensor:
    """n pictures, float32 (n, C, H, W) in [-1, 1] on the CPU, of the `conditions` and with the `options` given."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    if isinstance(model, LatentDiffusion):
        images = _of_prompts(model, told["prompts"], generator, **given)
    elif isinstance(model, Denoiser):  # its network would draw at any size
        images = drawing.draw(model, told.get("labels", n), shape=_shape(name), generator=generator, **given)
    else:
        images = _in_one_pass(name, model, n, told.get("labels"), generator, **given)
    return expect.tensor("images", images.float(), "N C H W", finite=True).clamp(-1, 1)


def _known(model: nn.Module) -> set[str]:
    if isinstance(model, LatentDiffusion):
        return {"sampler", *inspect.signature(text_to_image).parameters}
    return set(inspect.signature(drawing.draw if isinstance(model, Denoiser) else model.sample).parameters)


def _of_prompts(model: LatentDiffusion, prompts: list[str], generator, sampler=None, eta=None, **given) -> Tensor:
    method = drawing.method(sampler or "dpm", eta)
    parts = ([prompts[row] for row in rows] for rows in drawing.in_chunks(len(prompts), generator.device))
    return torch.cat([text_to_image(model, part, generator=generator, **method, **given).cpu() for part in parts])


def _in_one_pass(name: str, model: nn.Module, n: int, labels: Tensor | None, generator, **given) -> Tensor:
    _shape(name)  # refuses a model of points
    parts = []
    for rows in drawing.in_chunks(n, generator.device):
        chosen = None if labels is None else labels[rows].to(generator.device)
        parts.append(model.sample(len(rows), labels=chosen, generator=generator, **given).cpu())
    return torch.cat(parts)


def _shape(name: str) -> torch.Size:
    """(C, H, W) of the pictures that the model of that checkpoint was trained on."""
    recipe = RECIPES[checkpoints.card(name)["recipe"]]
    shape = recipe.shape or recipe.data("test")[0].shape[1:]
    if len(shape) != 3:
        raise Refused(f"{name}: draws points of shape {tuple(shape)}, and this command writes pictures; see its lesson")
    return shape
