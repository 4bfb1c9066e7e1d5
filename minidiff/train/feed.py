"""The batches of a training by their numbers, in whatever form they come, and what may be wrong with one."""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from minidiff.support.rng import numbered

FAR = 20.0  # data for a network are of about unit size: what lies further out are levels 0 ... 255, or years


class Feed:
    """`feed[k]` is batch k, a tuple of tensors; the steps of a training ask for k = 0, 1, 2, ...

    batches: something with `batches[k]`, such as `data.batches` or a list; or something that can only be gone through,
    such as a torch DataLoader: see `Stream`. A batch that is one bare tensor counts as a tuple of one.
    TypeError for anything else, and for tensors or a Dataset that nobody has cut into batches.
    """

    def __init__(self, batches, seed: int = 0):
        uncut = isinstance(batches, tuple) and any(isinstance(x, Tensor) for x in batches)
        by_number = hasattr(batches, "__getitem__")
        if uncut or isinstance(batches, Tensor | Dataset) or not (by_number or hasattr(batches, "__iter__")):
            got = "a tuple of tensors" if uncut else type(batches).__name__
            raise TypeError(f"batches: got {got}, expected data.batches(x, size=64), a DataLoader or a list of batches")
        self.batches = batches if by_number else Stream(batches, seed)
        self.last = None  # the number of the batch that was given last

    def __getitem__(self, k: int) -> tuple[Tensor, ...]:
        """Batch k. ValueError where the batches have ended, TypeError for what is no batch."""
        try:
            batch = self.batches[k]
        except IndexError as error:
            raise ValueError(f"batches[{k}]: got the end of the batches, expected one for each step") from error
        self.last = k
        return as_batch(f"batches[{k}]", batch)

    def fault(self, k: int, unmoved: bool) -> str | None:
        """What is odd about batch k, or about the last one where k is gone; None where nothing is.

        unmoved: no weight has moved yet. Then numbers that are the same in every row count as odd too.
        """
        k = self.last if isinstance(self.batches, Stream) else k
        for i, x in enumerate(self[k]):
            if x.is_floating_point():
                odd = _extreme(x) or (_constant(x) if unmoved else None)
                if odd:
                    return f"batches[{k}][{i}] {odd}"
        return None

    def same_dtype(self, model: nn.Module) -> None:
        """TypeError where the last batch holds floats of another dtype than the weights of the model."""
        if self.last is None:
            return
        wanted = next(model.parameters()).dtype
        for i, x in enumerate(self[self.last]):
            if x.is_floating_point() and x.dtype != wanted:
                got, expected = (str(dtype).removeprefix("torch.") for dtype in (x.dtype, wanted))
                raise TypeError(f"batches[{self.last}][{i}]: got {got}, expected {expected} as the model's weights are")


class Stream:
    """What can only be gone through, by number: again from its start when it ends, if it is no iterator.

    Batch k is drawn under random numbers of torch's that (seed, k) decide, so a DataLoader's shuffling is the same
    again with the same seed, and a run that goes on from step k first goes through k batches. IndexError for a batch
    before the last one, and at the end of an iterator.
    """

    def __init__(self, source, seed: int = 0):
        self.source, self.seed = source, seed
        self.turn = iter(())
        self.count, self.last = 0, None  # the batches so far, and the last one of them

    def __getitem__(self, k: int):
        if k < self.count - 1:
            raise IndexError(k)
        while self.count <= k:
            with numbered(torch.device("cpu"), self.seed, "batch", self.count):
                self.last = self._next()
            self.count += 1
        return self.last

    def _next(self):
        for batch in self.turn:
            return batch
        self.turn = iter(self.source)
        for batch in self.turn:
            return batch
        raise IndexError(self.count)


def as_batch(name: str, batch) -> tuple[Tensor, ...]:
    """`batch` as a tuple of tensors with rows; a tensor alone as a tuple of one. TypeError for what is none."""
    rows = (batch,) if isinstance(batch, Tensor) else batch
    if not isinstance(rows, tuple | list) or not all(isinstance(x, Tensor) and x.ndim for x in rows):
        raise TypeError(f"{name}: got {type(batch).__name__}, expected a tuple of tensors with rows")
    return tuple(rows)


def held_out(test) -> list:
    """The batches that a test loss is taken over: one tuple of tensors, or a list or DataLoader of batches.

    TypeError for what is none of these, as it would be used up after the first look, ValueError for an empty one.
    """
    if isinstance(test, Tensor):
        return [(test,)]
    if isinstance(test, tuple) and all(isinstance(x, Tensor) for x in test):
        return [test]
    if not hasattr(test, "__len__") or not hasattr(test, "__iter__"):
        raise TypeError(f"test: got {type(test).__name__}, expected a tuple of tensors, or a list of batches")
    if not len(test):
        raise ValueError("test: got no batches, expected at least one")
    return test


def _extreme(x: Tensor) -> str | None:
    if not x.isfinite().all():
        return "holds NaN or infinity"
    low = x.min().item()
    high = x.max().item()
    if max(-low, high) > FAR:
        return f"holds values from {low:.4g} to {high:.4g}, expected about -1 to 1"
    return None


def _constant(x: Tensor) -> str | None:
    """A layer that divides by the spread of its rows divides by 0 where there is none."""
    if len(x) == 1:
        return "has one row, without a spread"
    if (x == x[:1]).all(0).any():
        return "holds numbers that are the same in every row"
    return None
