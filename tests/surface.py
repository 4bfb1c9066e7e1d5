"""Wrong input, made from a right call of a public function: each tensor in the wrong rank, size or type.

The right calls are in surface_images.py and surface_words.py, the walk over them is in test_surface.py.
"""

import importlib
import inspect
import pkgutil
import re

import torch
from torch import Tensor

import minidiff

ROWS = "rows"  # the argument's number of rows is its own affair


def eighths(*shape, seed=0):
    """Normal numbers in steps of 1/8: the same in half, single and double precision."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 8).round() / 8


def pictures(*shape, seed=0):
    """Levels k/8 - 1."""
    return torch.randint(17, shape, generator=torch.Generator().manual_seed(seed)) / 8 - 1


def built(maker, *args, **options):
    """A model in eval mode, the same every time; its last layers, which may start at zero, are moved from there."""
    torch.manual_seed(0)
    model = maker(*args, **options)
    for weight in model.parameters():
        weight.data += 0.01
    return model.eval()


def replacements(x, allowed):
    """What an argument is replaced by: (kind, value). allowed: kinds that are right too, and not looked at."""
    if not isinstance(x, Tensor):
        yield from {"text": "a", "list": [1, 2], "number": float("nan")}.items()
        return
    yield from {"text": "a", "single": 2, "none": None, "list": x.tolist(), "array": x.numpy()}.items()
    if "any" not in allowed:
        yield from types(x)
    for kind, other in shapes(x):
        if not any(word in allowed for word in kind.split()):
            yield f"shape, {kind}", other


def types(x):
    """The same numbers in other dtypes."""
    for kind, dtype in {
        "double": torch.float64,
        "half": torch.float16,
        "whole": torch.int64,
        "short": torch.int32,
    }.items():
        if x.dtype != dtype:
            yield kind, x.to(dtype)
    yield ("bool", x.bool()) if x.dtype != torch.bool else ("single", x.float())


def shapes(x):
    """The same numbers in other shapes."""
    yield from {"rank": x[None], "rank and columns": x[..., None], "rank and rows": x.new_empty(0)}.items()
    if x.ndim:
        less, more = x[:-1], torch.cat([x, x[:1]])
        yield from {"rows": less, "rows more": more, "rows row": x[:1], "rank scalar": x[0]}.items()
    if x.ndim > 1:
        yield from {"columns": x[..., :1], "columns more": torch.cat([x, x[..., :1]], -1)}.items()
        if x.shape[-1] != x.shape[0]:
            yield "rows columns turned", x.transpose(0, -1)


def answer(call, arguments):
    torch.manual_seed(0)
    found = call(**arguments)
    if isinstance(found, dict):
        found = list(found.values())
    return [found] if not isinstance(found, tuple | list) else list(found)


def same(found, right) -> bool:
    """Is it the same answer, but for its precision and the rounding of other arithmetic?"""
    if len(found) != len(right):
        return False
    if not isinstance(right[0], Tensor | float):
        return found == right
    pairs = [(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(found, right)]
    return all(a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-2, atol=1e-3) for a, b in pairs)


def faults(call, arguments, free, handed_on=("x",)) -> list[str]:
    """What is wrong with the answers to wrong input, one argument at a time.

    free: argument -> other right forms. handed_on: names under which another function is given what does not fit.
    """
    right = answer(call, arguments)
    found = []
    for argument, value in arguments.items():
        allowed = free.get(argument, "").split(", ")
        for kind, other in replacements(value, allowed):
            if kind in allowed:
                continue
            fault = judged(call, arguments | {argument: other}, (argument, *handed_on), kind, right)
            if fault:
                found.append(f"{argument}, {kind}: {fault}")
    return found


def judged(call, arguments, named, kind, right) -> str | None:
    """What is wrong with how that call ends, None where nothing is. named: the argument, then what it may be called."""
    # Two shapes or dtypes that do not fit each other: either may be named.
    names = "|".join([*arguments, *named] if kind.startswith("shape") or kind in ("double", "half") else named[:1])
    try:
        found = answer(call, arguments)
    except (TypeError, ValueError) as error:
        return None if re.search(rf"\b({names})\b", str(error)) else f"not named in {error!r:.120}"
    except Exception as error:
        return f"{error!r:.120}"
    return None if same(found, right) else "accepted, with another answer"


def modules():
    """The modules at the top of the package, each with its short name."""
    for _, short, is_room in pkgutil.iter_modules(minidiff.__path__):
        if not is_room and short != "__main__":
            yield short, importlib.import_module(f"minidiff.{short}")


def public():
    """Every public function of those modules, and every public method of their classes."""
    for short, module in modules():
        for name, found in vars(module).items():
            if name.startswith("_") or getattr(found, "__module__", "") != module.__name__ or not callable(found):
                continue
            if not inspect.isclass(found):
                yield f"{short}.{name}"
                continue
            own = [method for method in vars(found) if inspect.isfunction(vars(found)[method])]
            yield from (f"{short}.{name}.{method}" for method in own if not method.startswith("_"))
