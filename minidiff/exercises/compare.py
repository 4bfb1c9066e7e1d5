"""What a check says of an attempt: every function here is silent when it is right, else raises with a hint."""

import numpy as np
import torch
from torch import Tensor


class CheckFailed(Exception):
    """An attempt that is not right yet. `hint` names the likely slip, `got` what came; a notebook shows only these."""

    def __init__(self, hint: str, got: str = ""):
        super().__init__(hint, got)
        self.hint, self.got = hint, got
        self.exercise = ""  # the id, filled in by `check`

    def __str__(self) -> str:
        return "\n".join(self._render_traceback_())

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback."""
        first = f"✗ {self.exercise}: {self.hint}" if self.exercise else f"✗ {self.hint}"
        return [first, f"  {self.got}"] if self.got else [first]


class NotAttempted(Exception):
    """The attempt, or what it returns, is still `...`."""


def require(condition, hint: str) -> None:
    """The invariant holds, else CheckFailed(hint)."""
    if not condition:
        raise CheckFailed(hint)


def shaped(got, shape: tuple, hint: str) -> Tensor:
    """`got` if it is a tensor of that shape, else CheckFailed(hint) with both shapes."""
    got = _tensor(got)
    if tuple(got.shape) != tuple(shape):
        raise CheckFailed(hint, f"Got shape {tuple(got.shape)}, expected {tuple(shape)}.")
    return got


def typed(got: Tensor, like: Tensor) -> None:
    """`got` has the dtype of `like`, which the attempt was given; else CheckFailed with both."""
    if got.dtype != like.dtype:
        names = [str(x.dtype).removeprefix("torch.") for x in (got, like)]
        raise CheckFailed(
            "The result has another dtype than what you were given, but the code behind it expects the same one.",
            "Got {}, expected {}.".format(*names),
        )


def close(got, wanted, hint: str, *, slips: dict | None = None, rtol=1e-4, atol=1e-5) -> None:
    """|got - wanted| <= atol + rtol |wanted| everywhere, never broadcast; else CheckFailed with a hint.

    wanted: a tensor or a number. slips: hint -> the value that this slip leads to; the first that equals `got` gives
    its hint, otherwise it is `hint`. A wrong type, a wrong shape and NaN have hints of their own.
    """
    wanted = torch.as_tensor(wanted).detach().cpu().double()
    got = _tensor(got, scalar=wanted.ndim == 0).detach().cpu().double()
    if got.shape != wanted.shape:
        raise CheckFailed("The shape is not right.", f"Got {tuple(got.shape)}, expected {tuple(wanted.shape)}.")
    if got.isnan().any() and not wanted.isnan().any():
        raise CheckFailed("There is NaN in the result: look for 0/0, the log of 0, or the root of a negative number.")
    if torch.allclose(got, wanted, rtol=rtol, atol=atol):
        return
    for slip, value in (slips or {}).items():
        value = torch.as_tensor(value).detach().cpu().double()
        if value.shape == got.shape and torch.allclose(got, value, rtol=rtol, atol=atol):
            raise CheckFailed(slip)
    raise CheckFailed(hint, _difference(got, wanted))


def _tensor(got, scalar=False) -> Tensor:
    """`got` as a tensor; a plain number will do where a number is wanted. None, `...` and numpy are told kindly."""
    if got is ...:
        raise NotAttempted
    if got is None:
        raise CheckFailed("The result is None: is a `return` missing?")
    if isinstance(got, np.ndarray):
        raise CheckFailed("The result is a numpy array, expected a torch tensor: stay in torch all the way.")
    if scalar and isinstance(got, int | float | np.number):
        return torch.tensor(got)
    if not isinstance(got, Tensor):
        raise CheckFailed(f"The result is a {type(got).__name__}, expected a {'number' if scalar else 'tensor'}.")
    return got


def _difference(got: Tensor, wanted: Tensor) -> str:
    if not wanted.ndim:
        return f"Got {got.item():.5g}, expected {wanted.item():.5g}."
    worst = (got - wanted).abs().argmax()
    value = got.flatten()[worst].item()
    right = wanted.flatten()[worst].item()
    return f"The largest difference: got {value:.5g}, expected {right:.5g}."
