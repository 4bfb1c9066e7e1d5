"""Guards for public functions: bad input gets an error that names the argument, what came, what is expected."""

import sys

import numpy as np
import torch
from torch import Tensor


def integer(name, value, low=None, high=None) -> int:
    """`value` as an int in [low, high]. TypeError for another type (bool too), ValueError out of range."""
    whole = _scalar(value)
    if isinstance(whole, bool) or not isinstance(whole, int):
        raise TypeError(f"{name}: got {_show(value)}, expected a whole number{_range(low, high)}")
    return _within(name, whole, low, high)


def number(name, value, low=None, high=None) -> float:
    """`value` as a finite float in [low, high]. TypeError for another type, ValueError for NaN, inf or out of range."""
    figure = _scalar(value)
    if isinstance(figure, bool) or not isinstance(figure, int | float):
        raise TypeError(f"{name}: got {_show(value)}, expected a number{_range(low, high)}")
    if not abs(figure) <= sys.float_info.max:  # so for NaN too, and for a whole number too large for a float
        raise ValueError(f"{name}: got {_show(value)}, expected a finite number{_range(low, high)}")
    return _within(name, float(figure), low, high)


def choice(name, value, options):
    """`value` if it is one of `options`, else ValueError that lists them."""
    options = list(options)
    one = _scalar(value)
    if not any(type(one) is type(option) and one == option for option in options):
        raise ValueError(f"{name}: got {_show(value)}, expected one of {', '.join(map(repr, options))}")
    return one


def tensor(name, x, shape: str, *, finite=False, low=None, high=None, rows=1) -> Tensor:
    """`x` if it is a float tensor of that shape with at least `rows` rows, empty only with rows=0.

    `shape` is words apart by spaces: a number must match, a name may be any size ("B 1 16 16"), a final "..." any
    more dimensions. `finite` and `low`/`high` look at the values, which waits for the device: not in a training loop.
    TypeError for no tensor or no float, ValueError for the rest.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"{name}: got {_show(x)}, expected a float tensor of shape ({shape.replace(' ', ', ')})")
    empty = rows > 0 and x.numel() == 0
    if not _fits(tuple(x.shape), shape.split()) or empty or (x.ndim and len(x) < rows):
        least = f" with at least {rows} rows" if rows > 1 else ", not empty" if empty else ""
        raise ValueError(f"{name}: got {_show(x)}, expected shape ({shape.replace(' ', ', ')}){least}")
    if (finite or low is not None or high is not None) and not torch.isfinite(x).all():
        raise ValueError(f"{name}: got NaN or infinity in a {_show(x)}, expected finite numbers")
    if x.numel() and (low is not None and x.min() < low or high is not None and x.max() > high):
        got = f"{x.min().item():.4g} to {x.max().item():.4g}"
        raise ValueError(f"{name}: got values from {got}, expected{_range(low, high)}")
    return x


def labels(name, y, classes: int, count: int | None = None) -> Tensor:
    """`y` if it is an int64 tensor (B,) of labels 0 … classes - 1: `count` of them where given, else at least one."""
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        raise TypeError(f"{name}: got {_show(y)}, expected an int64 tensor of labels")
    if y.ndim != 1 or (not len(y) if count is None else len(y) != count):
        wanted = "(B,), not empty" if count is None else f"({count},)"
        raise ValueError(f"{name}: got {_show(y)}, expected shape {wanted}")
    if not y.is_cuda and len(y) and (y.min() < 0 or y.max() >= classes):
        raise ValueError(f"{name}: got labels {y.min().item()} to {y.max().item()}, expected 0 to {classes - 1}")
    return y


def _fits(got: tuple, words: list[str]) -> bool:
    if words and words[-1] == "...":
        words = words[:-1]
        got = got[: len(words)]
    return len(got) == len(words) and all(not w.isdigit() or int(w) == n for n, w in zip(got, words))


def _scalar(value):
    """The plain Python value in a tensor, array or numpy scalar of one element; anything else as it is."""
    one = isinstance(value, Tensor | np.ndarray | np.generic) and np.prod(value.shape) == 1
    return value.item() if one else value


def _within(name, value, low, high):
    if low is not None and value < low or high is not None and value > high:
        raise ValueError(f"{name}: got {value}, expected{_range(low, high)}")
    return value


def _range(low, high) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" at least {low}"
    return f" at most {high}" if low is None else f" between {low} and {high}"


def _show(value) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
