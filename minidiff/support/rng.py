"""Random numbers that can be had again: the same noise on every device, the same draws in step k of a training."""

from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor

from minidiff.support import expect


def randn(shape, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of that shape, in the dtype and on the device of `like`.

    They are drawn where the generator lives, so that a seed on the CPU gives the same noise on a GPU.
    """
    expect.generator("generator", generator)
    where = generator.device if generator is not None else like.device
    return torch.randn(shape, generator=generator, device=where, dtype=like.dtype).to(like.device)


class _Apple:
    """The generator of an Apple GPU, as torch's others: torch gives its functions alone."""

    get_state, set_state, manual_seed = torch.mps.get_rng_state, torch.mps.set_rng_state, torch.mps.manual_seed


@contextmanager
def numbered(device: torch.device, *key: int):
    """Inside, torch's random numbers are a function of `key`; afterwards they go on as if nothing had been drawn."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    if device.type == "mps":
        generators.append(_Apple)
    states = [generator.get_state() for generator in generators]
    seed = int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())  # seed + step would meet across seeds
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.set_state(state)
