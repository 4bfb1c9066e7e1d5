"""One process or several: all that training asks of accelerate."""

import torch
from torch import Tensor, nn

from minidiff.support import expect


class Processes:
    """This process among its kind: `rank` of `count`, its `device` and `precision`; alone where `accelerator` is None.

    ValueError for a kind of accelerator that needs more than is done here: fp16 (it would scale the loss), gradient
    accumulation, weights that are spread over processes.
    """

    def __init__(self, accelerator, model: nn.Module):
        self.accelerator, self.rank, self.count, self.precision = accelerator, 0, 1, "no"
        if accelerator is not None:
            if not hasattr(accelerator, "prepare"):
                raise TypeError(f"accelerator: got {type(accelerator).__name__}, expected an accelerate.Accelerator")
            kind, accumulated = accelerator.distributed_type.value, accelerator.gradient_accumulation_steps
            expect.choice("accelerator.distributed_type", kind, ("NO", "MULTI_CPU", "MULTI_GPU"))
            expect.choice("accelerator.gradient_accumulation_steps", accumulated, (1,))
            self.precision = expect.choice("accelerator.mixed_precision", accelerator.mixed_precision, ("no", "bf16"))
            self.rank, self.count = accelerator.process_index, accelerator.num_processes
            model.to(accelerator.device)
        self.device = next((weight.device for weight in model.parameters()), torch.device("cpu"))

    def prepare(self, model: nn.Module) -> nn.Module:
        """A module from a batch to the terms of its loss; under accelerate with its precision and gradient average."""
        return self.accelerator.prepare(Terms(model)) if self.accelerator else Terms(model)

    def share(self, model: nn.Module) -> None:
        """All go on with the first one's weights."""
        if self.count > 1:
            from accelerate.utils import broadcast  # here: it takes long to import

            broadcast([weight.detach() for weight in model.parameters()])

    def rows(self, name: str, batch) -> list[Tensor]:
        """Rows rank::count of each tensor, on the device. ValueError where the processes would get unequal shares."""
        if any(len(x) % self.count for x in batch):
            sizes = ", ".join(str(len(x)) for x in batch)
            raise ValueError(f"{name}: got {sizes} rows, expected a multiple of the {self.count} processes")
        return [x[self.rank :: self.count].to(self.device) for x in batch]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the processes: the same in each of them, so that they decide alike."""
        return self.accelerator.reduce(values.to(self.device), "mean") if self.count > 1 else values


class Terms(nn.Module):
    """A module whose `forward` is the loss: accelerate's autocast and gradient average hook into `forward` alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.in_parts = hasattr(model, "terms") and _depth(model, "terms") <= _depth(model, "loss")

    def forward(self, *batch: Tensor) -> dict[str, Tensor]:
        """`model.terms(*batch)`, or {"loss": model.loss(*batch)} where there is none, or `loss` alone is overridden."""
        return self.model.terms(*batch) if self.in_parts else {"loss": self.model.loss(*batch)}


def _depth(model: nn.Module, name: str) -> float:
    """How far up its bases a model's method is defined: 0 on the object itself, infinity if nowhere."""
    places = [vars(model), *map(vars, type(model).__mro__)]
    return next((depth for depth, place in enumerate(places) if name in place), float("inf"))
