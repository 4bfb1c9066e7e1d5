"""Pictures from a trained model in one call, whatever its family: many at once, in chunks that suit the device.

`one_pass`, `denoised`, `prompted`, `in_parts` and `written` are the ways to draw that recipes name. `draw` is the short
one for notebooks.
"""

import difflib
import inspect
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from minidiff import guidance, plot
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, TextToImage, text_to_image
from minidiff.sampler import last, sample, times
from minidiff.support import expect
from minidiff.support.rng import randn

CHUNK = {"cpu": 100, "cuda": 1000}  # pictures drawn at once: 500 overflow a CPU's cache and take it twice as long
OWN = "own"  # the limits that go with a shape
SAMPLERS = ("ddim", "ddpm", "dpm")


@torch.no_grad()
def one_pass(model: nn.Module, n: int, *, labels=None, generator=None, **options) -> Tensor:
    """n draws by `model.sample`, points or pictures, on the CPU. labels: int64 (n,), for a model with classes."""
    where = next(model.parameters()).device
    labels = None if labels is None else expect.integers("labels", labels, f"{n}")
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
    scale=None,
    negative=None,
    size=None,
    generator=None,
) -> Tensor:
    """A picture for each prompt, on the CPU: `text_to_image`, with the sampler by its name."""
    how = {"steps": steps, "scale": scale, "negative": negative, "size": size, "generator": generator}
    how |= method(sampler, eta)
    how["watch"] = partial(tqdm, desc="steps", total=steps + 1, leave=False, disable=None)
    return _by_words(partial(text_to_image, model, **how), model, prompts)


def in_parts(model: TextToImage, prompts: list[str], *, steps=20, scale=None, generator=None) -> Tensor:
    """A picture for each prompt, on the CPU, by a whole of several diffusions. scale: of the one that draws first."""
    return _by_words(partial(model, steps=steps, scale=scale, generator=generator), model, prompts)


def written(model: TextToImage, prompts: list[str], *, temperature=1.0, generator=None) -> Tensor:
    """A picture for each prompt, on the CPU, by a model that writes it token by token."""
    return _by_words(partial(model, temperature=temperature, generator=generator), model, prompts)


def _by_words(draw: Callable, model: nn.Module, prompts: list[str]) -> Tensor:
    """draw(some prompts) for all of them, in chunks."""
    chunks = in_chunks(len(prompts), next(model.parameters()).device)
    return torch.cat([draw([prompts[row] for row in rows]).cpu() for rows in chunks])


def options(way: Callable, model: nn.Module) -> set[str]:
    """What can be said of how that model is drawn from in that way: the names of its arguments."""
    return set(inspect.signature(model.sample if hasattr(model, "sample") else way).parameters)


def draw(
    denoiser: Denoiser, labels, *, steps=20, sampler="ddim", eta=None, scale=1.0, shape=None, generator=None, limits=OWN
) -> Tensor:
    """Pictures (n, *shape) in [-1, 1] on the CPU, by `steps` steps of a sampler; x0 is clamped on the way.

    labels: n of them, a list, an array or an int64 tensor (n,); the names of classes too, where the model knows them
    (`class_names`); or the number n, for the labels 0, 1, ... in turn (for a network without labels, its only way).
    sampler: "ddim" with eta, 0 unless given; "ddpm", which is eta 1; "dpm", DPM-Solver++(2M), with eta 0 or 1.
    scale: of classifier-free guidance, 1 for none. The noise of all starts is drawn first, so it is the same for every
    sampler and number of steps.
    shape: of one row; unless given that of the digits, (1, 16, 16), or of the points that the network is for.
    limits: (low, high), what x0 and the result are cut to, None for nothing. Unless given, [-1, 1] for pictures
    (C, H, W), nothing for points; codes of an autoencoder have a picture's shape, so give None for them.
    """
    shape = _shape(denoiser, shape)
    limits = _limits(shape, limits)
    options = method(sampler, eta) | {"generator": generator}
    count, labels = _asked(denoiser, labels)
    like = next(denoiser.parameters())
    x = float(denoiser.schedule(1.0)[1]) * randn((count, *shape), like, generator)
    walk = partial(_walked, denoiser, times(steps), scale, limits, options)
    return torch.cat([walk(x[rows], labels if labels is None else labels[rows]) for rows in in_chunks(count, x.device)])


def _walked(denoiser: Denoiser, t: Tensor, scale: float, limits, options: dict, x: Tensor, labels) -> Tensor:
    """x, noise (B, ...), walked to drawings on the CPU, with x0 and the drawings cut to the limits."""
    denoise = guided(denoiser, labels if labels is None else labels.to(x.device), scale)
    denoise = denoise if limits is None else guidance.clamp(denoise, *limits)
    drawn = last(sample(denoise, x, t, denoiser.schedule, **options)).cpu()
    return drawn if limits is None else drawn.clamp(*limits)


def guided(denoiser: Denoiser, labels: Tensor | None, scale: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
    """denoise(x, t) of those labels (B,): the network as it is at scale 1, classifier-free guidance at another."""
    labels = None if labels is None else expect.told("labels", labels)
    if scale == 1:
        return partial(denoiser, cond=labels)
    if labels is not None and denoiser.null is None:
        told = "whose denoiser was built without null"
        raise ValueError(f"scale: got {scale} for a network {told}, expected 1 (with null and drop it can be guided)")
    if labels is None:
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
    expect.tensor("images", images, "N C H W")
    columns = 10 * max(1, round(len(images) ** 0.5 / 10))
    return plot.tile(images, columns, scale=max(1, 64 // images.shape[-1]))


def class_names(model: nn.Module) -> list[str]:
    """The names of a model's classes, as its card or `model.class_names` has them; [] where they have only numbers."""
    names = list(getattr(model, "class_names", None) or [])
    if names and len(names) != classes_of(model):
        raise ValueError(f"class_names: got {len(names)} names, expected one for each of {classes_of(model)} classes")
    return names


def label_of(model: nn.Module, label: int | str, argument: str = "label") -> int:
    """The label that a class's name, or a number, stands for.

    A text is a name first; where no class is named by a number, "3" is the label 3 too. So with the classes "1", "2"
    and "10", "10" is the class of that name, and "0" is refused. ValueError lists names that are near.
    """
    classes = classes_of(model)
    if not isinstance(label, str):
        return expect.integer(argument, label, 0, classes - 1)
    names = class_names(model)
    for normal in (_composed, _folded):  # a difference between capitals may matter
        found = [i for i, name in enumerate(names) if normal(name) == normal(label)]
        if len(found) == 1:
            return found[0]
    if re.fullmatch(r"\s*[+-]?\d+\s*", label) and not any(name.strip().isdecimal() for name in names):
        return expect.integer(argument, int(label), 0, classes - 1)
    raise ValueError(f"{argument}: got {label!r}, {_choice(names, label, classes)}")


def _choice(names: list[str], label: str, classes: int) -> str:
    """What could have been given for `label`."""
    if not names:
        return f"expected a number from 0 to {classes - 1}: this model does not know its classes by name"
    folded = {_folded(name): name for name in names}
    near = [folded[each] for each in difflib.get_close_matches(_folded(label), folded, n=3)]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    number = "" if any(name.strip().isdecimal() for name in names) else f", or 0 to {classes - 1}"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{meant}expected one of {', '.join(names[:20])}{more}{number}"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _shape(denoiser: Denoiser, shape) -> list[int]:
    """Of one row: as given, or what fits the network."""
    if shape is None:
        dims = getattr(denoiser.net, "dims", None)
        channels = getattr(denoiser.net, "channels", 1)
        if channels != 1:
            raise ValueError(f"shape: got None, expected that of one picture: ({channels}, 32, 32), say")
        return [1, 16, 16] if dims is None else [dims]
    if not isinstance(shape, tuple | list):
        raise TypeError(f"shape: got {shape!r:.60}, expected a tuple of sizes: (1, 16, 16), say")
    return [expect.integer("shape", size, 1) for size in shape]


def _limits(shape: list[int], limits) -> tuple[float, float] | None:
    """What is drawn is cut to them; None for nothing."""
    if limits == OWN:
        limits = (-1, 1) if len(shape) == 3 else None
    if limits is None:
        return None
    if not isinstance(limits, tuple | list) or len(limits) != 2:
        raise TypeError(f"limits: got {limits!r:.60}, expected (low, high) or None")
    low = expect.number("limits", limits[0])
    return low, expect.number("limits", limits[1], low)


def _asked(denoiser: Denoiser, labels) -> tuple[int, Tensor | None]:
    """How many pictures, and their labels int64 (n,); None for a network without."""
    if isinstance(labels, str):
        labels = [labels]
    if getattr(labels, "ndim", None) == 0 or not hasattr(labels, "__len__"):
        count = expect.integer("labels", labels, 1)
        return count, in_turn(denoiser, count)
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if isinstance(labels, list | tuple) and any(isinstance(label, str) for label in labels):
        labels = [label_of(denoiser, label, "labels") for label in labels]
    if classes := classes_of(denoiser):
        labels = expect.labels("labels", labels, classes + 1)  # the last one stands for none
    elif not isinstance(labels, Tensor):  # of a network that does not say how many it knows
        labels = expect.integers("labels", labels, "n")
    return len(labels), labels
