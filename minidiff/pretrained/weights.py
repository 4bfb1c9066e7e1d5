"""Published weights as they lie on a disk: safetensors only, mapped into memory, in one file, a variant or shards."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from minidiff.support.files import PICKLED

REFUSED = (
    "is a pickle, which can run any program as it is read, so it is not opened. Take the same weights as .safetensors: "
    "nearly all are published so"
)


def refuse_pickles(path: Path) -> None:
    """ValueError that says why for a file that could run a program."""
    if path.suffix in PICKLED:
        raise ValueError(f"{path}: {REFUSED}")


def from_file(path: Path) -> dict[str, Tensor]:
    """All weights of a .safetensors by their names, mapped: what is never looked at is never read from the disk."""
    refuse_pickles(path)
    with readable(path), safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def in_folder(folder: Path, stem: str) -> dict[str, Tensor]:
    """The weights of a network in `folder`: those of stem.safetensors, else of a variant of it, whole or in shards.

    A variant has a word before the suffix: stem.fp16.safetensors. FileNotFoundError where there are none, ValueError
    where there are pickles only, for a damaged file, and where an index names a shard that is missing or elsewhere.
    """
    for found in _candidates(folder, stem):
        if found.suffix == ".json":
            return _from_shards(found)
        return from_file(found)
    for suffix in PICKLED:
        for found in folder.glob(f"*{suffix}"):
            refuse_pickles(found)
    raise FileNotFoundError(f"{folder}: {stem}.safetensors missing, expected it, or a variant or shards of it")


def _candidates(folder: Path, stem: str) -> list[Path]:
    """What there is, the best first: full precision, then fp16, then others such as non_ema."""
    names = [f"{stem}.safetensors", f"{stem}.safetensors.index.json"]
    names += [f"{stem}.fp16.safetensors", f"{stem}.safetensors.index.fp16.json"]
    others = [*folder.glob(f"{stem}.*.safetensors"), *folder.glob(f"{stem}.safetensors.index.*.json")]
    first = [folder / name for name in names if (folder / name).is_file()]
    return first + sorted(path for path in others if "-of-" not in path.name)


def _from_shards(index: Path) -> dict[str, Tensor]:
    with readable(index):
        shards = sorted(set(json_in(index)["weight_map"].values()))
        if strangers := [name for name in shards if Path(name).name != name]:
            raise ValueError(f"names {strangers[0]!r}, expected files beside it")
    if missing := [name for name in shards if not (index.parent / name).is_file()]:
        raise FileNotFoundError(f"{index.parent}: {', '.join(missing)} missing, which {index.name} names")
    weights = {}
    for name in shards:
        weights |= from_file(index.parent / name)
    return weights


def fill(
    module: nn.Module, weights: dict[str, Tensor], names: Iterable[tuple[str, str]], where, dtype, but="-"
) -> None:
    """Put `weights` into the module, under its own names; ValueError, with `where`, for any that lack or are too many.

    names: pairs of a layer's name here and there. Keys and values, two layers there, are one here. A weight that fits
    but for sides of 1 is a 1x1 convolution for a linear layer. What is stored in `dtype` stays mapped; the rest is
    copied. but: the beginning of names that are filled by themselves.
    """
    state = {name: weight for name, weight in module.state_dict().items() if not name.startswith(but)}
    given = dict(weights)
    found = {}
    for ours, theirs in names:
        for kind in ("weight", "bias"):
            if (weight := given.pop(f"{theirs}.{kind}", None)) is not None:
                found[ours if ours in state else f"{ours}.{kind}"] = weight.to(dtype)
    found = {name: _fitted(weight, state.get(name)) for name, weight in fused(found).items()}
    _compare(found, state, given, where)
    module.load_state_dict(found, strict=False, assign=True)


def fused(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with each layer's key and value as the one weight that `nn.Attention` has."""
    found = dict(weights)
    for name in [name for name in found if ".key." in name and name.replace(".key.", ".value.") in found]:
        both = [found.pop(name), found.pop(name.replace(".key.", ".value."))]
        found[name.replace(".key.", ".key_value.")] = torch.cat([weight.squeeze() for weight in both])
    return found


def _fitted(weight: Tensor, wanted: Tensor | None) -> Tensor:
    if wanted is not None and weight.shape[: wanted.ndim] == wanted.shape and weight.numel() == wanted.numel():
        return weight.reshape(wanted.shape)
    return weight


def _compare(found: dict, state: dict, left: dict, where) -> None:
    wrong = [f"{name} is missing" for name in state if name not in found]
    wrong += [f"{name} is of no layer here" for name in left]
    for name in found.keys() & state.keys():
        if found[name].shape != state[name].shape:
            shapes = f"{tuple(found[name].shape)}, expected {tuple(state[name].shape)}"
            wrong.append(f"{name} has shape {shapes}")
    if wrong:
        more = f", and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ValueError(f"{where}: its weights do not fit: {'; '.join(wrong[:4])}{more}")


def json_in(path: Path) -> dict:
    """The JSON object in a file, {} where there is no file."""
    if not path.is_file():
        return {}
    with readable(path):
        if not isinstance(found := json.loads(path.read_text("utf-8")), dict):
            raise ValueError(f"holds a {type(found).__name__}, expected names with values")
    return found


@contextmanager
def readable(path: Path, what: str = "") -> Iterator[None]:
    """Whatever is wrong with a file becomes a ValueError that names it. what: " as a CLIP's" say, of which it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, SafetensorError) as error:
        if str(error).startswith((f"{path}: ", f"{path.parent}: ")):  # says all that is to be said already
            raise
        raise ValueError(f"{path}: cannot be read{what} ({error!s:.300}); download it again") from error
