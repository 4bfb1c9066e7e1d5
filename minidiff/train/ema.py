"""The exponential moving average of a model's weights."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from minidiff.support import expect
from minidiff.train.state import shapes


class Ema:
    """The running average of a model's weights, read as a model: `ema.model`, in eval mode and without gradients.

    Update k makes it d average + (1 - d) weights with d = min(decay, (1 + k) / (10 + k)): a small d at first, so that
    the weights of the first steps, which are noise, are soon forgotten. Buffers are copied. Sampling from averaged
    weights is the diffusion papers' custom (Ho et al. 2020, appendix B, decay 0.9999).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999):
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: got {type(model).__name__}, expected a torch module")
        self.decay = expect.number("decay", decay, 0, 1)
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the weights of `model`, which is built as the first one was; ValueError if not."""
        if not self.updates:
            self._check(model)
        average = get_ema_multi_avg_fn(min(self.decay, (1 + self.updates) / (10 + self.updates)))
        average(list(self.model.parameters()), list(model.parameters()), None)
        for copied, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)
        self.updates += 1

    def _check(self, model: nn.Module) -> None:
        """Weights of other shapes would be stretched to those of the average."""
        if not isinstance(model, nn.Module) or shapes(model) != shapes(self.model):
            raise ValueError(f"model: got a {type(model).__name__} of other weights than those that are averaged")
