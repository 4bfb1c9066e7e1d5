"""The training of two networks against each other, in turn: what a GAN needs in place of `fit`. Lesson 04."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from minidiff.support import expect
from minidiff.train.loop import Loop, Tick

NEEDED = ("generator", "discriminator", "turns", "discriminator_terms", "generator_loss")


def fit_adversarial(
    gan, batches, steps=None, lr=1e-3, *, seconds=None, seed=0, ema=None, resume=None, betas=(0.5, 0.9)
) -> Iterator[Tick]:
    """Train both networks in place, turn by turn, and yield a Tick after each step, as `train.fit` does.

    Step k: the discriminator moves `gan.turns` times, on the batches k turns, k turns + 1, ...; then the generator
    moves once, on fresh fakes (1406.2661, algorithm 1). Each has an Adam of its own, with these `betas`: a long memory,
    such as Adam's usual (0.9, 0.999), is full of slopes from before the opponent moved, and the game swings.
    The tick's loss is the last one of the discriminator, its parts are "generator" (the generator's loss) and
    "penalty", where there is one. The rate, the random numbers, `ema`, `resume` and all errors are as in `train.fit`.
    """
    if not all(hasattr(gan, name) for name in NEEDED):
        raise TypeError(f"gan: got {type(gan).__name__}, expected a GAN, with {', '.join(NEEDED)}")
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"betas: got {betas!r:.60}, expected two numbers")
    first, second = (expect.number("betas", beta, 0, 0.9999) for beta in betas)
    return _Adversarial(gan, batches, steps, seconds, lr, seed, ema, resume, betas=(first, second))


class _Adversarial(Loop):
    """Two optimisers, two losses."""

    def make_optimisers(self) -> list[torch.optim.Optimizer]:
        return [self._optimiser(name) for name in ("discriminator", "generator")]

    def _optimiser(self, name: str) -> torch.optim.Optimizer:
        """Adam of those weights of that player that are not frozen."""
        weights = [weight for weight in getattr(self.model, name).parameters() if weight.requires_grad]
        if not weights:
            raise ValueError(f"{name}: got no weight that requires a gradient, expected at least one")
        return torch.optim.Adam(weights, betas=self.settings["betas"], fused=True)

    def learn(self) -> tuple[dict[str, Tensor], Tensor]:
        for turn in range(self.model.turns):
            batch = self.batch(self.step * self.model.turns + turn)
            terms = self.model.discriminator_terms(*batch)
            slopes = self._move(0, terms["loss"])
        loss = self.model.generator_loss(len(batch[0]), *batch[1:])
        return terms | {"generator": loss}, loss.detach() + slopes + self._move(1, loss)

    def _move(self, player: int, loss: Tensor) -> Tensor:
        """One step of that player alone along its loss; the norm of its gradient."""
        weights = self.optimisers[player].param_groups[0]["params"]
        # a weight that the loss does not depend on has the gradient 0
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights, materialize_grads=True)):
            weight.grad = slope
        self.optimisers[player].step()
        return nn.utils.get_total_norm([weight.grad for weight in weights])
