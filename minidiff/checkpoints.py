"""Trained weights by name: `load("vae-digits")` gives the model, `card("vae-digits")` how it was made.

A checkpoint names a recipe, and `load` looks the recipe's builder up in `recipes`: nothing named in a file is ever
imported or unpickled.
"""

import difflib
import platform
import reprlib
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

import minidiff
from minidiff import cards, expect
from minidiff.cards import AGAIN, CheckpointError
from minidiff.recipes import RECIPES

__all__ = ["SHIPPED", "CheckpointError", "card", "load", "names", "save"]

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "checkpoints"
CODES = {torch.float16: "F16", torch.int64: "I64", torch.bool: "BOOL"}  # safetensors' names of all that is stored


def names() -> list[str]:
    """The names of the checkpoints that ship with the course."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def card(name_or_path) -> dict:
    """How a checkpoint was made: recipe, args, command, seed, steps, data, metrics, sha256 of the weights, versions.

    CheckpointError if either file is missing or broken, or the weights are not those the card was written for.
    """
    return cards.read(_locate(name_or_path))


def load(name_or_path, into: nn.Module | None = None) -> nn.Module:
    """The trained model in eval() mode: float32 on the CPU, built by the card's recipe, or else `into`, filled.

    A bare name ("vae-digits") is a shipped checkpoint; a Path, or a str with a folder or the suffix .safetensors, is a
    file. `into` may be of any class whose weights have the file's names and shapes; a failure leaves it untouched.
    Before anything is allocated, size (≤ 200 MB), sha256, and the header's names, shapes and dtypes were found right.
    No random number is drawn. CheckpointError names the file, what is wrong, and what to do.
    """
    if into is not None and not isinstance(into, nn.Module):
        raise TypeError(f"into: got {type(into).__name__}, expected a torch.nn.Module or None")
    path = _locate(name_or_path)
    with cards.opened(path) as (made, file), cards.errors_named(path):
        build = partial(_build, path, made["recipe"], made["args"])
        _compare(path, _header(file), build("meta") if into is None else into)
        weights = {name: file.get_tensor(name) for name in file.keys()}
        _storable(path, weights, AGAIN)
        model = build("cpu") if into is None else into
        model.load_state_dict(weights)  # copies, in the model's own dtype
    return model.eval()


def save(path, model: nn.Module, *, recipe, args, command, seed, steps, data, metrics) -> Path:
    """Write the weights as float16 to `path` (….safetensors) and their card beside them; returns the path.

    A kill at any moment leaves the old pair or the new one. What `load` would refuse is not written: CheckpointError
    for weights that are NaN or beyond float16's 65,504 or do not fit `recipe` built with `args`, for entries that JSON
    would not give back as they are, and for a place that cannot be written.
    """
    path, recipe = _target(path), expect.choice("recipe", recipe, RECIPES)
    weights = {name: _stored(tensor) for name, tensor in model.state_dict().items()}
    _storable(path, weights, "Nothing was written: train again with a lower rate, or stop earlier")
    header = {name: _entry(tensor.dtype, tensor.shape) for name, tensor in weights.items()}
    _compare(path, header, _build(path, recipe, args, "meta"))
    made = {"recipe": recipe, "args": args, "command": command, "seed": seed, "steps": steps, "data": data}
    cards.write(path, safetensors.torch.save(weights), made | {"metrics": metrics, "versions": _versions()})
    return path


def _locate(name_or_path) -> Path:
    """The file meant by a path or by a shipped checkpoint's name."""
    if not isinstance(name_or_path, str | Path):
        raise TypeError(f"name_or_path: got {type(name_or_path).__name__}, expected a str or a Path")
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix == ".safetensors" or path.name != name_or_path:
        return path
    if name_or_path not in (known := names()):
        close = difflib.get_close_matches(name_or_path, known, n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        train = f"; `python -m minidiff train {name_or_path}` makes one" if name_or_path in RECIPES else ""
        raise CheckpointError(
            name_or_path, "no such checkpoint", f"{meant}There are: {', '.join(known) or 'none'}{train}"
        )
    return SHIPPED / f"{name_or_path}.safetensors"


def _target(path) -> Path:
    if not isinstance(path, str | Path):
        raise TypeError(f"path: got {type(path).__name__}, expected a str or a Path")
    if Path(path).suffix != ".safetensors":
        raise CheckpointError(path, "is no name for a checkpoint", "Let it end in .safetensors")
    return Path(path)


def _build(path: Path, recipe: str, args: dict, device: str) -> nn.Module:
    """The recipe's model on `device` ("meta": its shapes without its memory), leaving the random state alone."""
    if recipe not in RECIPES:
        remedy = f"Known are: {', '.join(RECIPES) or 'none'}; `load(path, into=model)` fills a model of your own"
        raise CheckpointError(path, f"was made by a recipe that is not here, {recipe!r}", remedy)
    try:
        with torch.device(device), torch.random.fork_rng(devices=[]):
            return RECIPES[recipe].build(**args)
    except Exception as error:  # whatever a builder says of arguments it was not written for
        wrong = f"the recipe {recipe!r} refuses the card's args {reprlib.repr(args)} ({error})"
        raise CheckpointError(path, wrong, AGAIN) from error


def _compare(path: Path, header: dict[str, str], model: nn.Module) -> None:
    """CheckpointError that lists the differences, unless names, shapes and dtypes are those of the model's weights."""
    expected = {name: _entry(_half(tensor.dtype), tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [
        f"{name}: {header.get(name, 'missing')} in the file, {expected.get(name, 'missing')} in the model"
        for name in sorted(header.keys() | expected.keys())
        if header.get(name) != expected.get(name)
    ]
    if wrong:
        more = [f"and {len(wrong) - 8} more"] if len(wrong) > 8 else []
        listed = "\n  ".join(["does not fit the model", *wrong[:8], *more])
        raise CheckpointError(path, listed, "Build the model with the args on the card, or train it again")


def _header(file) -> dict[str, str]:
    parts = {name: file.get_slice(name) for name in file.keys()}
    return {name: f"{part.get_dtype()} {tuple(part.get_shape())}" for name, part in parts.items()}


def _entry(dtype: torch.dtype, shape) -> str:
    return f"{CODES.get(dtype, dtype)} {tuple(shape)}"


def _half(dtype: torch.dtype) -> torch.dtype:
    return torch.float16 if dtype.is_floating_point else dtype


def _stored(tensor: Tensor) -> Tensor:
    """A copy as it is written: on the CPU, contiguous (under channels_last too), sharing memory with no other."""
    return tensor.detach().to("cpu", _half(tensor.dtype)).clone(memory_format=torch.contiguous_format)


def _storable(path: Path, weights: dict[str, Tensor], remedy: str) -> None:
    """CheckpointError for a dtype that is not stored, for NaN, and for what overflowed in float16."""
    if wrong := [f"{name} ({tensor.dtype})" for name, tensor in weights.items() if tensor.dtype not in CODES]:
        raise CheckpointError(path, f"a dtype that is not stored: {', '.join(wrong)}", remedy)
    if wrong := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(path, f"NaN, infinity or numbers beyond float16 (65,504) in {', '.join(wrong)}", remedy)


def _versions() -> dict[str, str]:
    return {"minidiff": minidiff.__version__, "torch": torch.__version__, "python": platform.python_version()}
