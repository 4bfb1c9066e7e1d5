"""What a recipe is: how a named model is built, trained and drawn from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import data, device, profile, seed_everything, train


class Trained(NamedTuple):
    """What `Recipe.train` gives: the averaged model in eval mode, steps done, number of processes, the data."""

    model: nn.Module
    steps: int
    processes: int
    data: str  # dtypes and shapes of the tensors, for the card


@dataclass(frozen=True)
class Recipe:
    """How a named model is built, trained and drawn from.

    build: keyword arguments -> a new model. data: (split, *needed) -> the tensors that `model.loss` takes; the split
    is "train" or "test". steps: profile -> number of steps. needs: names of shipped models that it builds on; whoever
    trains hands them over. start: (model, needed, *tensors), what is done to a new model before it is trained.
    fit: what trains it, called as `train.fit` is. generate: what draws with it, from `minidiff.generate`; None where
    there is nothing to draw. shape: of what is drawn, (C, H, W), or (2,) for points. prompts: () -> texts to draw where
    none are given, for a model that is told by words. args: () -> the arguments of `build` that the data decides.
    whole: (model, *beside) -> what draws, where a model is one part of it; beside: names of the trained models that
    are the other parts.
    """

    build: Callable[..., nn.Module]
    data: Callable[..., tuple[Tensor, ...]]
    steps: dict[str, int]
    shape: tuple[int, ...] | None = None
    generate: Callable[..., Tensor] | None = None
    lr: float = 4e-3
    batch: int = 64
    fit: Callable = train.fit
    needs: tuple[str, ...] = ()
    start: Callable[..., None] | None = None
    prompts: Callable[[], list[str]] | None = None
    args: Callable[[], dict] = dict
    whole: Callable[..., nn.Module] | None = None
    beside: tuple[str, ...] = ()

    def fresh(self, needed: tuple[nn.Module, ...], *tensors: Tensor) -> nn.Module:
        """A model ready to be trained on those tensors, built on the models that it needs."""
        model = self.build(**self.args())
        if self.start is not None:
            self.start(model, needed, *tensors)
        return model

    def train(
        self, needed=(), *, seed=0, steps=None, seconds=None, model=None, tensors=None, desc="training", **options
    ) -> Trained:
        """Train a new model with this seed, for the profile's steps unless told how long, behind a progress bar.

        needed: the trained models that `needs` names. model, tensors: others than the recipe's own; a model that is
        given is trained as it is. options: batch and lr in place of the recipe's, and those of `fit`.
        """
        if steps is None and seconds is None:
            steps = self.steps[profile()]
        tensors = self.data("train", *needed) if tensors is None else tensors
        if model is None:
            seed_everything(seed)
            model = self.fresh(needed, *tensors)
        return self._run(model, tensors, seed, desc, steps=steps, seconds=seconds, **options)

    def _run(self, model, tensors, seed, desc, batch=None, lr=None, where=None, **options) -> Trained:
        where = device() if where is None else where
        model = model.to(where)
        ema = train.Ema(model)
        rows = (x.to(where) for x in tensors)  # no copies on the way
        batches = data.batches(*rows, size=batch or self.batch, seed=seed)
        training = self.fit(model, batches, lr=lr or self.lr, seed=seed, ema=ema, **options)
        train.run(training, desc=desc)
        told = ", ".join(f"{str(x.dtype)[6:]} {tuple(x.shape)}" for x in tensors)
        return Trained(ema.model, training.step, training.processes.count, told)

    @torch.no_grad()
    def held_out_loss(self, model: nn.Module, needed=()) -> float:
        """The mean of `model.loss` over all rows of the split "test", a batch at a time."""
        where = next(model.parameters()).device
        tensors = self.data("test", *needed)
        if hasattr(model, "listen"):  # a student without its teacher has no loss
            model.listen(*needed)
        chunks = zip(*(x.to(where).split(self.batch) for x in tensors))
        total = sum(model.loss(*chunk).item() * len(chunk[0]) for chunk in chunks)
        return total / len(tensors[0])


def lengths(cpu: int, gpu: int | None = None) -> dict[str, int]:
    """Steps by profile: 20 in ci, which only shows that it runs."""
    return {"ci": 20, "cpu": cpu, "gpu": cpu if gpu is None else gpu}
