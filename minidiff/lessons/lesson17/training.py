"""How lesson 17 trains what its tables compare, and judges it."""

from statistics import mean

import torch
from torch import Tensor, nn

from minidiff import data, seed_everything, train


def taught(model: nn.Module, tensors, steps: int, seed: int = 0, lr: float = 1e-3) -> nn.Module:
    """The model trained on those tensors, averaged, in eval mode."""
    seed_everything(seed)
    ema = train.Ema(model, 0.99)
    training = train.fit(model, data.batches(*tensors, size=64, seed=seed), steps, lr=lr, seed=seed, ema=ema)
    train.run(training, desc=type(model).__name__)
    return ema.model


def loss_of(model: nn.Module, *held_out: Tensor, draws: int = 6) -> float:
    """The loss over held-out rows, each under the same `draws` noises and times for every model."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mean(model.loss(*held_out).item() for _ in range(draws))


def follows(rows: list[dict], column: str) -> float:
    """The correlation of the held-out losses of a table's rows with the logarithm of that column."""
    numbers = torch.tensor([[row[column], row["held-out loss"]] for row in rows])
    return torch.corrcoef(torch.stack([numbers[:, 0].log(), numbers[:, 1]]))[0, 1].item()
