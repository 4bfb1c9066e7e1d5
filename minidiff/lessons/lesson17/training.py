"""How lesson 17 trains what its tables compare."""

from torch import nn

from minidiff import data, seed_everything, train


def taught(model: nn.Module, tensors, steps: int, seed: int = 0, lr: float = 1e-3) -> nn.Module:
    """The model trained on those tensors, averaged, in eval mode."""
    seed_everything(seed)
    ema = train.Ema(model, 0.99)
    training = train.fit(model, data.batches(*tensors, size=64, seed=seed), steps, lr=lr, seed=seed, ema=ema)
    train.run(training, desc=type(model).__name__)
    return ema.model
