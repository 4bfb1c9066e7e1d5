"""Guards for public functions: bad input gets an error that names the argument, what came, what is expected."""

import math
import sys
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

LEVELS = 20.0  # data for a network are of about unit size: what reaches further and is nowhere negative, is in levels


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


def tensor(
    name, x, shape: str, *, finite=False, low=None, high=None, rows=1, like: Tensor | None = None, scaled=False
) -> Tensor:
    """`x` if it is a float tensor of that shape with at least `rows` rows, empty only with rows=0.

    `shape` is words apart by spaces: a number must match, a name may be any size ("B 1 16 16"), a final "..." any
    more dimensions. like: a weight, or other data, whose dtype x must have too. `finite` and `low`/`high` look at the
    values, which waits for the device: not in a training loop. `scaled` refuses levels 0 … 255, on the CPU alone.
    TypeError for no tensor, no float or another dtype, ValueError for the rest.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"{name}: got {_show(x)}, expected a float tensor of shape {_shape(shape)}{_remedy(x)}")
    empty = rows > 0 and x.numel() == 0
    if not _fits(x.shape, shape) or empty or (x.ndim and len(x) < rows):
        least = f" with at least {rows} rows" if rows > 1 else ", not empty" if empty else ""
        raise ValueError(f"{name}: got {_show(x)}, expected shape {_shape(shape)}{least}")
    if like is not None and x.dtype != like.dtype:
        _same_dtype(name, x, like.dtype, "the weights are" if isinstance(like, Parameter) else "the rest is")
    if (finite or low is not None or high is not None or scaled and x.is_cpu) and x.numel():
        _values(name, x, finite, low, high, scaled)
    return x


def unit(name, x, shape: str, like: Tensor | None = None) -> Tensor:
    """`x` if it is such a tensor with values in [-1, 1], as pictures have; they are looked at on the CPU alone."""
    limits = {"low": -1, "high": 1} if isinstance(x, Tensor) and x.is_cpu else {}
    return tensor(name, x, shape, like=like, **limits)


def alike(name, x, other, y, shape: str = "...") -> Tensor:
    """`x` if it has the shape and dtype of `y`, which argument `other` is, both float tensors of that `shape`.

    Without it one of them would be stretched to the other's shape, and no error would tell.
    """
    tensor(other, y, shape)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        tensor(name, x, shape)
    if x.shape != y.shape:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected that of {other}, {tuple(y.shape)}")
    if x.dtype != y.dtype:
        _same_dtype(name, x, y.dtype, f"{other} is")
    return x


def mask(name, x, shape: str) -> Tensor:
    """`x` if it is a bool tensor of that shape, TypeError or ValueError if not."""
    if not isinstance(x, Tensor) or x.dtype != torch.bool:
        raise TypeError(f"{name}: got {_show(x)}, expected a bool tensor of shape {_shape(shape)}")
    if not _fits(x.shape, shape):
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected {_shape(shape)}")
    return x


def marks(name, x, *shapes: tuple) -> Tensor:
    """`x` as a bool tensor of one of these shapes: numbers 0 and 1, or bools, in a tensor, an array or a list."""
    try:
        x = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: got {_show(x)}, expected a tensor of 0 and 1") from None
    if tuple(x.shape) not in shapes:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected {' or '.join(map(str, shapes))}")
    if not ((x == 0) | (x == 1)).all():
        raise ValueError(f"{name}: got other numbers than 0 and 1, expected 1 where it marks and 0 elsewhere")
    return x.bool()


def told(name, value, rows="B") -> Tensor:
    """`value` if it is what a network can be told of so many rows: whole numbers, ids say, or a float tensor."""
    check = tensor if isinstance(value, Tensor) and value.is_floating_point() else integers
    return check(name, value, f"{rows} ...")


def time(name, t, rows: int, like: Tensor | None = None) -> Tensor:
    """`t` as a float tensor () or (rows,): a number becomes one. Errors as in `tensor`."""
    t = t if isinstance(t, Tensor) else torch.tensor(number(name, t))
    return tensor(name, t, f"{rows}" if t.ndim else "", like=like)


def factor(name, value, x: Tensor):
    """`value` if the rows of `x` (B, ...) can be multiplied by it: a number, a tensor () or (B, 1, ...) of x's ndim."""
    if isinstance(value, Tensor):
        return tensor(name, value, " ".join([str(len(x)), *"1" * (x.ndim - 1)]) if value.ndim else "")
    return number(name, value)


def floats(name, value) -> Tensor:
    """`value` as a float tensor of any shape: a number, a list or an array becomes one of float64."""
    if isinstance(value, Tensor):
        return tensor(name, value, "...")
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: got {_show(value)}, expected a number or a float tensor") from None


def integers(name, values, shape: str, low=None, high=None) -> Tensor:
    """`values` as an int64 tensor of that shape: a tensor, an array or a list of whole numbers.

    TypeError for other things, floats and bools among them, ValueError for another shape or, on the CPU, the range.
    """
    x = _whole(values)
    if x is None:
        raise TypeError(f"{name}: got {_show(values)}, expected whole numbers of shape {_shape(shape)}")
    if not _fits(x.shape, shape) or not x.numel():
        raise ValueError(
            f"{name}: got {_show(values)}, expected shape {_shape(shape)}{'' if x.numel() else ', not empty'}"
        )
    if x.is_cpu and (low is not None or high is not None):
        least, most = (end.item() for end in x.aminmax())
        if low is not None and least < low or high is not None and most > high:
            raise ValueError(f"{name}: got numbers from {least} to {most}, expected{_range(low, high)}")
    return x


def labels(name, y, classes: int, count: int | None = None) -> Tensor:
    """`y` as an int64 tensor (B,) of labels 0 … classes - 1: `count` of them where given, else at least one.

    Arrays, lists and whole numbers of other widths become one, so use what is returned. Errors as in `integers`.
    """
    y = integers(name, y, "B" if count is None else str(count))
    if y.is_cpu:
        least, most = (end.item() for end in y.aminmax())
        if least < 0 or most >= classes:
            remedy = ": they count from 0" if least == 1 and most == classes else ""
            raise ValueError(f"{name}: got labels {least} to {most}, expected 0 to {classes - 1}{remedy}")
    return y


def condition(name, y, classes: int, count: int | None = None) -> Tensor | None:
    """The `labels` of a model with classes, None for one without. ValueError where only one of the two is there."""
    if (y is None) != (classes == 0):
        raise ValueError(f"{name}: got {'none' if y is None else 'some'}, but the model has {classes} classes")
    return None if y is None else labels(name, y, classes, count)


def function(name, value, of: str):
    """`value` if it can be called. `of` says what it is a function of, "denoise(x, t)" say."""
    if not callable(value):
        raise TypeError(f"{name}: got {_show(value)}, expected a function {of}")
    return value


def generator(name, value: torch.Generator | None) -> torch.Generator | None:
    """`value` if it is a torch.Generator or None; TypeError for a seed, which is none."""
    if value is not None and not isinstance(value, torch.Generator):
        raise TypeError(f"{name}: got {_show(value)}, expected a torch.Generator or None: minidiff.seeded(0) makes one")
    return value


def _values(name, x: Tensor, finite: bool, low, high, scaled: bool) -> None:
    least, most = (end.item() for end in x.detach().aminmax())  # both NaN where there is one
    if (finite or low is not None or high is not None) and not math.isfinite(most - least):
        raise ValueError(f"{name}: got NaN or infinity in a {_show(x)}, expected finite numbers")
    if low is not None and least < low or high is not None and most > high:
        raise ValueError(f"{name}: got values from {least:.4g} to {most:.4g}, expected{_range(low, high)}")
    if scaled and least >= 0 and most > LEVELS:
        told = "expected about -1 to 1 (of levels 0 to 255, x / 127.5 - 1)"
        raise ValueError(f"{name}: got values from {least:.4g} to {most:.4g}, {told}")


def _same_dtype(name, x: Tensor, dtype: torch.dtype, others: str) -> None:
    """TypeError, except under autocast, which mixes them on purpose."""
    if not torch.is_autocast_enabled(x.device.type):
        wanted = str(dtype).removeprefix("torch.")
        raise TypeError(f"{name}: got {_show(x)}, expected {wanted} as {others}")


def _whole(values) -> Tensor | None:
    """int64, or None for what holds no whole numbers."""
    if isinstance(values, Tensor):
        exact = not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
        return values.long() if exact else None
    if not isinstance(values, np.ndarray | list | tuple | range):
        return None
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # rows of unequal length
        return None
    return torch.from_numpy(array.astype(np.int64)) if array.dtype.kind in "iu" else None


def _remedy(x) -> str:
    """How what came becomes a float tensor, where that is plain."""
    if isinstance(x, Tensor | np.ndarray) and str(x.dtype).endswith("uint8"):
        return "; pictures in bytes become one by x / 127.5 - 1"
    if isinstance(x, Tensor):
        return "; x.float() makes one"
    return "; torch.as_tensor(x).float() makes one" if isinstance(x, np.ndarray | list) else ""


def _shape(shape: str) -> str:
    words = shape.split()
    return f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"


@lru_cache(maxsize=4096)  # the same few shapes, at every step of a training
def _fits(got: tuple, shape: str) -> bool:
    words = shape.split()
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
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
