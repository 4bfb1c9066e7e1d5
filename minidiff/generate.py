"""Pictures from a trained model in one call, whatever its family: many at once, in chunks that suit the device.

`one_pass`, `denoised` and `prompted` are the ways to draw that recipes name. `draw` is the short one for notebooks.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from minidiff import guidance, plot
from minidiff.denoiser import Denoiser
from minidiff.latent import SCALE, LatentDiffusion, text_to_image
from minidiff.sampler import last, sample, times
from minidiff.support import expect
from minidiff.support.rng import randn

CHUNK = {"cpu": 100, "cuda": 1000}  # pictures drawn at once: 500 overflow a CPU's cache and take it twice as long
SAMPLERS = ("ddim", "ddpm", "dpm")


@torch.no_grad()
def one_pass(model: nn.Module, n: int, *, labels=None, generator=None, **options) -> Tensor:
    """n draws by `model.sample`, points or pictures, on the CPU. labels: int64 (n,), for a model with classes."""
    where = next(model.parameters()).device
    parts = []
    for rows in in_chunks(n, where):
        chosen = None if labels is None else labels[rows].to(where)
        parts.append(model.sample(len(rows), labels=chosen, generator=generator, **options).cpu())
    return torch.cat(parts)


def denoised(
    denoiser: Denoiser, n: int, *, shape, labels=None, steps=20, sampler="ddim", eta=None, scale=1.0, generator=None
) -> Tensor:
    """n pictures (n, *shape), as `draw` makes them. labels: int64 (n,); without them 0, 1, ... in turn."""
    chosen = n if labels is None else labels
    how = {"steps": steps, "sampler": sampler, "eta": eta, "scale": scale}
    return draw(denoiser, chosen, shape=shape, generator=generator, **how)


@torch.no_grad()
def prompted(
    model: LatentDiffusion,
    prompts: list[str],
    *,
    steps=20,
    sampler="dpm",
    eta=None,
    scale=SCALE,
    negative=None,
    generator=None,
) -> Tensor:
    """A picture for each prompt, on the CPU: `text_to_image`, with the sampler by its name."""
    how = {"steps": steps, "scale": scale, "negative": negative, "generator": generator} | method(sampler, eta)
    parts = []
    for rows in in_chunks(len(prompts), next(model.parameters()).device):
        parts.append(text_to_image(model, [prompts[row] for row in rows], **how).cpu())
    return torch.cat(parts)


def options(way: Callable, model: nn.Module) -> set[str]:
    """What can be said of how that model is drawn from in that way: the names of its arguments."""
    return set(inspect.signature(model.sample if hasattr(model, "sample") else way).parameters)


def draw(
    denoiser: Denoiser, labels, *, steps=20, sampler="ddim", eta=None, scale=1.0, shape=(1, 16, 16), generator=None
) -> Tensor:
    """Pictures (n, *shape) in [-1, 1] on the CPU, by `steps` steps of a sampler; x0 is clamped on the way.

    labels: int64 (n,), or n for the labels 0, 1, ... in turn (for a network without labels, its only way).
    sampler: "ddim" with eta, 0 unless given; "ddpm", which is eta 1; "dpm", DPM-Solver++(2M), with eta 0 or 1.
    scale: of classifier-free guidance, 1 for none. The noise of all starts is drawn first, so it is the same for every
    sampler and number of steps.
    """
    options = method(sampler, eta)
    t = times(steps)
    count, labels = _asked(denoiser, labels)
    like = next(denoiser.parameters())
    x = float(denoiser.schedule(1.0)[1]) * randn((count, *shape), like, generator)

    def drawn(rows: Tensor) -> Tensor:
        chosen = None if labels is None else labels[rows].to(like.device)
        denoise = guidance.clamp(guided(denoiser, chosen, scale))
        return last(sample(denoise, x[rows], t, denoiser.schedule, generator=generator, **options))

    return torch.cat([drawn(rows).clamp(-1, 1).cpu() for rows in in_chunks(count, like.device)])


def guided(denoiser: Denoiser, labels: Tensor | None, scale: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
    """denoise(x, t) of those labels (B,): the network as it is at scale 1, classifier-free guidance at another."""
    if scale == 1:
        return partial(denoiser, cond=labels)
    if labels is None or denoiser.null is None:
        raise ValueError(f"scale: got {scale} for a network without labels, expected 1 (nothing to be guided by)")
    return guidance.cfg(denoiser, labels, denoiser.null, scale)


def method(sampler: str, eta: float | None) -> dict:
    """The options of `sampler.sample` that a sampler's name and an eta, None if not given, stand for."""
    if expect.choice("sampler", sampler, SAMPLERS) == "ddpm":
        if eta not in (None, 1):
            raise ValueError(f"eta: got {eta} with sampler='ddpm', expected 1 or none (ddpm is eta 1)")
        return {"eta": 1.0, "order": 1}
    if sampler == "dpm" and eta not in (None, 0, 1):
        raise ValueError(f"eta: got {eta} with sampler='dpm', expected 0 or 1 (sampler='ddim' takes what lies between)")
    return {"eta": eta or 0.0, "order": 2 if sampler == "dpm" else 1}


def in_turn(model: nn.Module, n: int) -> Tensor | None:
    """The labels 0, 1, ... in turn, int64 (n,); None for a model without labels."""
    classes = classes_of(model)
    return torch.arange(n) % classes if classes else None


def classes_of(model: nn.Module) -> int:
    """How many labels a model knows, 0 for none. Of a denoiser, its network knows."""
    return getattr(getattr(model, "net", model), "classes", 0)


def in_chunks(count: int, where: torch.device) -> Iterator[Tensor]:
    """The rows 0 ... count - 1 in pieces that suit the device, behind a progress bar where there is a terminal."""
    return tqdm(torch.arange(count).split(CHUNK.get(where.type, 100)), "sampling", leave=False, disable=None)


def page(images: Tensor) -> np.ndarray:
    """Pictures (N, C, H, W) as one, a grid as near to a square as multiples of ten in a row allow.

    So labels in turn make columns.
    """
    columns = 10 * max(1, round(len(images) ** 0.5 / 10))
    return plot.tile(images, columns, scale=max(1, 64 // images.shape[-1]))


def _asked(denoiser: Denoiser, labels) -> tuple[int, Tensor | None]:
    if isinstance(labels, Tensor):
        return len(labels), labels
    count = expect.integer("labels", labels, 1)
    return count, in_turn(denoiser, count)
