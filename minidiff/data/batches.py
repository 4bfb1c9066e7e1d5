"""Batches that can be asked for by number: training can stop at any step and go on from it."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count

import numpy as np
import torch
from torch import Tensor

from minidiff.support import expect


class Batches:
    """`batches[k]` is the k-th batch, a tuple of tensors with `size` rows each, for every k = 0, 1, 2, …

    It is a pure function of (seed, k): rows k * size … (k + 1) * size - 1 of the endless row of epochs, where an epoch
    is every example once, in an order drawn from (seed, epoch). So every batch is full, one may straddle two epochs,
    and no example is drawn more often than another. Iterating it never ends.
    """

    def __init__(self, tensors: tuple[Tensor, ...], size: int, seed: int = 0):
        for i, x in enumerate(tensors):
            name = f"others[{i - 1}]" if i else "x"
            if not isinstance(x, Tensor):
                raise TypeError(f"{name}: got a {type(x).__name__}, expected a tensor")
            if x.ndim == 0 or len(x) == 0 or len(x) != len(tensors[0]):
                rows = f"{len(tensors[0])} rows, as x has" if i else "at least one row"
                raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected {rows}")
        self.tensors = tensors
        self.rows = len(tensors[0])
        self.size = expect.integer("size", size, 1)
        self.seed = expect.integer("seed", seed, 0)

    def __getitem__(self, k: int) -> tuple[Tensor, ...]:
        """Batch k. TypeError for what is no whole number, ValueError for a negative one: there is no last batch."""
        n = self.rows
        start = expect.integer("k", k, 0) * self.size
        first = start // n
        last = (start + self.size - 1) // n  # the epochs it touches
        orders = torch.cat([_order(n, self.seed, epoch) for epoch in range(first, last + 1)])
        rows = orders[start - first * n :][: self.size]
        return tuple(x[rows.to(x.device)] for x in self.tensors)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (self[k] for k in count())


def batches(x: Tensor, *others: Tensor, size: int, seed: int = 0) -> Batches:
    """Cut `x` and `others` (labels, say), of equally many rows, into `Batches` of `size` rows.

    TypeError for what is no tensor, ValueError for no rows, unequal rows, size < 1 or seed < 0.
    """
    return Batches((x, *others), size, seed)


@lru_cache(maxsize=8)
def _order(n: int, seed: int, epoch: int) -> Tensor:
    # the pair seeds the generator: seed + epoch would make epoch 1 of seed 0 the same as epoch 0 of seed 1
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(n))
