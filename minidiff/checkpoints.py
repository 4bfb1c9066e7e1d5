"""Trained weights in one file each: `save(model, path)` writes one, `load("vae-digits")` gives the model back.

A checkpoint is a safetensors file. Its metadata hold the card as JSON: how the model was made, and the description of
the model with every constructor argument (`minidiff.support.parts`). `load` builds only what the course knows by name:
nothing that is named in a file is ever imported or unpickled.
"""

import difflib
import hashlib
import json
import platform
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

import minidiff
from minidiff.recipes import RECIPES
from minidiff.support import files, parts

__all__ = ["SHIPPED", "CheckpointError", "card", "load", "names", "needed", "save"]

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "checkpoints"
LIMIT = 200_000_000  # bytes of a file
CODES = {torch.float16: "F16", torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL"}  # safetensors' names
STORED = (torch.float16, torch.int64, torch.bool)
AGAIN = "Get it again: `git checkout -- data/checkpoints` for a shipped one, else `python -m minidiff train`"
ELSEWHERE = "Nothing was written: free the disk, or choose another place"
WEIGHTS = "Nothing was written: give a model whose state is of dense tensors that hold numbers, on any device but meta"
NO_JSON = "Nothing was written: give str, int, finite float, bool, None, lists, and dicts with str keys"
OWN = "`load(path, into=model)` fills a model of your own"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written: `CheckpointError(file, what is wrong, what to do)`."""

    def __str__(self):
        file, wrong, remedy = self.args
        return f"{file}: {wrong}{chr(10) if chr(10) in wrong else '. '}{remedy}"


def names() -> list[str]:
    """The names of the checkpoints that ship with the course."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def card(name_or_path) -> dict:
    """How a checkpoint was made: its model's description, what `save` was told, sha256 of the weights, versions.

    CheckpointError if the file is missing or broken, or the weights are not those the card was written for.
    """
    return _read(_locate(name_or_path))[0]


def load(name_or_path, into: nn.Module | None = None) -> nn.Module:
    """The trained model in eval() mode: float32 on the CPU, built as its card describes it, or else `into`, filled.

    A bare name ("vae-digits") is a shipped checkpoint; a Path, or a str with a folder or the suffix .safetensors, is a
    file. `into` may be of any class whose weights have the file's names and shapes; a failure leaves it untouched.
    Before the model is allocated, size (at most 200 MB), sha256, names, shapes and dtypes were found right.
    The names of its classes, if the card has them, are `class_names` of the model.
    No random number is drawn. CheckpointError names the file, what is wrong, and what to do.
    """
    if into is not None and not isinstance(into, nn.Module):
        raise TypeError(f"into: got {type(into).__name__}, expected a torch.nn.Module or None")
    if into is not None and any(weight.is_meta for weight in into.state_dict().values()):
        remedy = "into.to_empty(device='cpu') makes some"
        raise ValueError(f"into: got weights on the meta device, expected some that can hold numbers: {remedy}")
    path = _locate(name_or_path)
    made, weights = _read(path)
    _compare(path, weights, _build(path, made, "meta") if into is None else into)
    _storable(path, weights, AGAIN)
    model = _build(path, made, "cpu") if into is None else into
    model.load_state_dict(weights)  # copies, in the model's own dtype
    if made.get("classes"):
        model.class_names = [str(name) for name in made["classes"]]
    return model.eval()


@cache
def shipped(name: str) -> nn.Module:
    """The shipped model of that name, loaded once for all: to be read, not changed."""
    return load(name)


def needed(recipe) -> tuple[nn.Module, ...]:
    """The shipped models that a recipe builds on, in the order in which it names them."""
    return tuple(shipped(name) for name in recipe.needs)


def save(model: nn.Module, path, **facts) -> Path:
    """Write the weights of `model` as float16 to `path` (….safetensors), and a card with them; returns the path.

    A model of the course's classes is described on the card and is built again by `load(path)`; one of a class of your
    own comes back by `load(path, into=model)`. facts: what else the card shall say, in JSON's terms, such as recipe,
    command, seed, steps, data, metrics. The names of classes, `model.class_names`, are noted as "classes".
    A kill at any moment leaves the old file or the new one. What `load` would refuse is not written: CheckpointError
    for weights that are NaN or beyond float16's 65,504, for facts that JSON would not give back as they are, and for a
    place that cannot be written.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: got {type(model).__name__}, expected a torch.nn.Module")
    path = _target(path)
    with _errors_named(path, "its weights cannot be stored", WEIGHTS):
        weights = {name: _stored(tensor) for name, tensor in model.state_dict().items()}
    _storable(path, weights, "Nothing was written: train again with a lower rate, or stop earlier")
    described = {"class": type(model).__name__, "model": _described(model)}
    if (names := getattr(model, "class_names", None)) is not None and len(names):
        described["classes"] = [str(name) for name in names]
    made = described | facts | {"sha256": _digest(weights), "versions": _versions()}
    blob = safetensors.torch.save(weights, {"card": _text(path, made)})
    if len(blob) > LIMIT:
        raise CheckpointError(path, f"would have {len(blob):,} bytes, the limit is {LIMIT:,}", "Make the model smaller")
    with _errors_named(path, "cannot be written", ELSEWHERE), files.whole(path) as file:
        file.write(blob)
    return path


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """The card and the weights that it was written for, in memory: the file may be replaced while this goes on."""
    with _errors_named(path):
        blob = _bytes(path)
        weights = safetensors.torch.load(blob)  # refuses what is no safetensors file
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        made = _card(path, header.get("__metadata__", {}).get("card"))
    digest = _digest(weights)
    if digest != made["sha256"]:
        which = f"the sha256 of its weights is {digest[:12]}…, on its card {made['sha256'][:12]}…"
        raise CheckpointError(path, f"is damaged ({which})", AGAIN)
    return made, weights


def _bytes(path: Path) -> bytes:
    """The whole of a regular file (a pipe would be waited for without end) of at most LIMIT bytes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(path, f"is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}", AGAIN)
    if status.st_size > LIMIT:
        raise CheckpointError(path, f"has {status.st_size:,} bytes, the limit is {LIMIT:,}", AGAIN)
    return path.read_bytes()


def _card(path: Path, text: str | None) -> dict:
    if text is None:
        raise CheckpointError(path, "has no card in its metadata: it is no checkpoint of the course's", AGAIN)
    made = json.loads(text)
    if not isinstance(made, dict) or not isinstance(made.get("sha256"), str):
        raise CheckpointError(path, "its card is no JSON object with the weights' sha256", AGAIN)
    if not isinstance(made.get("classes"), list | None):
        raise CheckpointError(path, f"its card has classes = {made['classes']!r:.60}, expected a list of names", AGAIN)
    return made


def _text(path: Path, made: dict) -> str:
    """The card as JSON, if that gives it back as it is."""
    with _errors_named(path, "its card would not be JSON", NO_JSON):
        text = json.dumps(made, allow_nan=False)
        if json.loads(text) != made:
            raise ValueError("an entry would come back changed, such as a tuple as a list")
    return text


def _digest(weights: dict[str, Tensor]) -> str:
    """The sha256 of names, dtypes, shapes and numbers. It detects damage, not malice."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _described(model: nn.Module) -> dict | None:
    try:
        return parts.describe(model)
    except TypeError:
        return None


def _build(path: Path, made: dict, device: str) -> nn.Module:
    """The model on the card, on `device` ("meta": its shapes without its memory), leaving the random state alone."""
    if made.get("model") is None:
        raise CheckpointError(path, f"is of a class that the course does not know, {made.get('class')!r}", OWN)
    try:
        with torch.device(device), torch.random.fork_rng(devices=[]):
            model = parts.build(made["model"])
    except Exception as error:  # whatever a class says of arguments it was not written for
        wrong = f"the model on its card cannot be built: {reprlib.repr(made['model'])} ({error})"
        raise CheckpointError(path, wrong, f"{AGAIN}; {OWN}") from error
    if not isinstance(model, nn.Module):
        raise CheckpointError(path, f"its card describes a {type(model).__name__}, expected a model", AGAIN)
    return model


def _compare(path: Path, weights: dict[str, Tensor], model: nn.Module) -> None:
    """CheckpointError that lists the differences, unless names, shapes and dtypes are those of the model's weights."""
    found = {name: _entry(tensor.dtype, tensor.shape) for name, tensor in weights.items()}
    expected = {name: _entry(_half(tensor.dtype), tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [
        f"{name}: {found.get(name, 'missing')} in the file, {expected.get(name, 'missing')} in the model"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    if wrong:
        more = [f"and {len(wrong) - 8} more"] if len(wrong) > 8 else []
        listed = "\n  ".join(["does not fit the model", *wrong[:8], *more])
        raise CheckpointError(path, listed, "Build the model with the arguments on the card, or train it again")


def _entry(dtype: torch.dtype, shape) -> str:
    return f"{CODES.get(dtype, dtype)} {tuple(shape)}"


def _half(dtype: torch.dtype) -> torch.dtype:
    return torch.float16 if dtype.is_floating_point else dtype


def _stored(tensor: Tensor) -> Tensor:
    """A copy as it is written: on the CPU, contiguous (under channels_last too), sharing memory with no other."""
    return tensor.detach().to("cpu", _half(tensor.dtype)).clone(memory_format=torch.contiguous_format)


def _storable(path: Path, weights: dict[str, Tensor], remedy: str) -> None:
    """CheckpointError for a dtype that is not stored, for NaN, and for what overflowed in float16."""
    if wrong := [f"{name} ({tensor.dtype})" for name, tensor in weights.items() if tensor.dtype not in STORED]:
        kept = "Expected floats, torch.int64 or torch.bool"
        raise CheckpointError(path, f"a dtype that is not stored: {', '.join(wrong)}", kept)
    if wrong := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(path, f"NaN, infinity or numbers beyond float16 (65,504) in {', '.join(wrong)}", remedy)


def _locate(name_or_path) -> Path:
    """The file meant by a path or by a shipped checkpoint's name."""
    if not isinstance(name_or_path, str | Path):
        raise TypeError(f"name_or_path: got {type(name_or_path).__name__}, expected a str or a Path")
    path = Path(name_or_path)
    if path.suffix in files.PICKLED:
        remedy = "Fill a model by load_state_dict(torch.load(...)), then checkpoints.save(model, 'my.safetensors')"
        raise CheckpointError(path, "is a file of torch.save's, whose reading may run what is in it", remedy)
    if isinstance(name_or_path, Path) or path.suffix == ".safetensors" or path.name != name_or_path:
        return path
    if name_or_path not in (known := names()):
        close = difflib.get_close_matches(name_or_path.lower(), known, n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        train = f"; `python -m minidiff train {name_or_path}` makes one" if name_or_path in RECIPES else ""
        there = f"{meant}There are: {', '.join(known) or 'none'}{train}"
        raise CheckpointError(name_or_path, "no such checkpoint", there)
    return SHIPPED / f"{name_or_path}.safetensors"


def _target(path) -> Path:
    if not isinstance(path, str | Path):
        raise TypeError(f"path: got {type(path).__name__}, expected a str or a Path")
    if Path(path).suffix != ".safetensors":
        raise CheckpointError(path, "is no name for a checkpoint", "Let it end in .safetensors")
    return Path(path)


@contextmanager
def _errors_named(path: Path, wrong="cannot be read", remedy=AGAIN) -> Iterator:
    """Errors of the file system, of JSON and of a safetensors header become a CheckpointError for `path`."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, SafetensorError) as error:
        if str(error).startswith(f"{path}: "):  # says all that is to be said already
            wrong, _, remedy = str(error).removeprefix(f"{path}: ").partition(". ")
            raise CheckpointError(path, wrong, remedy) from error
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CheckpointError(path, f"{wrong} ({reason})", remedy) from error


def _versions() -> dict[str, str]:
    return {"minidiff": minidiff.__version__, "torch": torch.__version__, "python": platform.python_version()}
