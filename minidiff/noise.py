"""Gaussian noise that means the same on every device."""

import torch
from torch import Tensor


def randn(shape, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of that shape, in the dtype and on the device of `like`.

    They are drawn where the generator lives, so that a seed on the CPU gives the same noise on a GPU.
    """
    where = generator.device if generator is not None else like.device
    return torch.randn(shape, generator=generator, device=where, dtype=like.dtype).to(like.device)
