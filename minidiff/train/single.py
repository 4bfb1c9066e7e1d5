"""The training of one model by one loss, as all lessons but that of the GAN do it."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from minidiff.support import expect
from minidiff.support.rng import numbered
from minidiff.support.threads import Threads
from minidiff.train.feed import as_batch, held_out
from minidiff.train.loop import Loop, Tick
from minidiff.train.processes import Terms


def fit(
    model,
    batches,
    steps=None,
    lr=None,
    *,
    seconds=None,
    seed=0,
    ema=None,
    accelerator=None,
    resume=None,
    optimiser=None,
    rate=None,
    clip=1.0,
    augment=None,
    test=None,
    every=50,
) -> Iterator[Tick]:
    """Train `model` in place and yield a Tick after each step: plots and logging are the caller's loop body.

    Step k minimises `model.loss(*batches[k])`, or `model.terms(...)["loss"]` whose other entries are the tick's parts.
    batches: `data.batches`, a list, or what can only be gone through, such as a DataLoader: it is begun again when it
    ends. A batch is a tuple of tensors, or one tensor.
    Exactly one of `steps` and `seconds` (on the clock, so the loop body counts) says how long.

    optimiser: a function weights -> torch optimiser, or an optimiser; AdamW unless given. lr: the highest rate, 1e-3
    unless given, or that which your optimiser was made with. rate: a function of the fraction done, 0 to 1, -> the
    factor of lr; unless given it warms up, then falls to 0 along a half cosine. clip: the norm that the gradient is
    clipped to, None for no clipping.
    augment: a function of the batch's first tensor that changes it, a random flip say, in each step anew.
    test: held-out data, a tuple of tensors or a list or DataLoader of batches. After every `every` steps the tick's
    parts have "test loss", the mean of the model's loss over them: in eval mode, with the same noise each time.

    Torch's random numbers in step k depend on (seed, rank, k) alone; the caller's own are left as they were.
    The model is in train mode during a step and in eval mode between steps and after. `ema`: an `Ema(model)` to update.
    `accelerator`: accelerate's, made by the caller; rank r of w takes rows r::w of each batch.
    On a CPU each step runs on all of torch's threads or on one, whichever proves the quicker (support.threads). That
    may change the last bits of the weights; to keep them, set MINIDIFF_THREADS to a number of threads.
    `resume`: a file for the state. Where it exists the run goes on from it, and ends with the very weights, bit for
    bit, of a run of `steps` never stopped (on the same machine, with as many threads). So it does with a DataLoader
    that draws by torch's random numbers alone: its first batches are gone through again, which takes their time. Of
    functions and optimisers of your own the file knows the names alone: that they are the same is up to you. The file
    is written every 10 to 60 seconds, and at the end: more steps then train on.

    TypeError or ValueError for a bad argument. FloatingPointError, which names the step, for a loss or a gradient that
    is not finite: it is noticed within 50 steps and before the state is written. The iterator's `step` counts the steps
    done; `position` of `total` is how far it is, in steps or in seconds.
    """
    own = {"optimiser": optimiser, "rate": rate, "clip": clip, "augment": augment, "test": test, "every": every}
    return _Training(model, batches, steps, seconds, lr, seed, ema, resume, accelerator, own)


class _Training(Loop):
    """One optimiser, one loss. own: what the caller may choose in place of the usual, by the names of `fit`."""

    def __init__(self, model, batches, steps, seconds, lr, seed, ema, resume, accelerator, own: dict):
        self.own = own
        if hasattr(model, "discriminator_terms"):  # one loss would be minimised over both players
            told = "two networks against each other: see `fit_adversarial`"
            raise TypeError(f"model: got {type(model).__name__}, {told}")
        for name in ("rate", "augment"):
            if own[name] is not None and not callable(own[name]):
                raise TypeError(f"{name}: got {type(own[name]).__name__}, expected a function")
        self.clip = math.inf if own["clip"] is None else expect.number("clip", own["clip"], 1e-12)
        self.every = expect.integer("every", own["every"], 1)
        self.test = None if own["test"] is None else held_out(own["test"])
        lr = 1e-3 if lr is None and own["optimiser"] is None else lr
        names = {name: _name(own[name]) for name in ("optimiser", "rate", "augment")}
        super().__init__(model, batches, steps, seconds, lr, seed, ema, resume, accelerator, clip=self.clip, **names)
        self.terms = self.processes.prepare(self.model)
        self.test_threads = Threads(self.threads.tried)  # its pieces are of another size

    def make_optimisers(self) -> list[torch.optim.Optimizer]:
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        if not weights:
            raise ValueError("model: got no weight that requires a gradient, expected at least one")
        optimiser = make_optimiser(self.own["optimiser"], weights)
        self.weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        return [optimiser]

    def factor(self, done: float) -> float:
        own = self.own["rate"]
        return super().factor(done) if own is None else expect.number("rate(done)", own(done), 0)

    def batch(self, k: int) -> list[Tensor]:
        """Batch k, its first tensor augmented."""
        batch = super().batch(k)
        if augment := self.own["augment"]:
            first = augment(batch[0])
            if not isinstance(first, Tensor) or first.shape[:1] != batch[0].shape[:1]:
                raise TypeError(f"augment: got {type(first).__name__} back, expected a tensor of {len(batch[0])} rows")
            batch[0] = first
        return batch

    def learn(self) -> tuple[dict[str, Tensor], Tensor]:
        [optimiser] = self.optimisers
        terms = checked(self.terms(*self.batch(self.step)))
        optimiser.zero_grad()
        terms["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.weights, self.clip)
        optimiser.step()
        return terms, norm

    def _advance(self, factor: float) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = super()._advance(factor)
        if self.test is not None and (self.step + 1) % self.every == 0:
            parts["test loss"] = self._test_loss()
        return loss, parts

    @torch.no_grad()
    def _test_loss(self) -> Tensor:
        """The mean of the loss over all rows of the test batches, under the same random numbers each time."""
        terms = Terms(self.model)
        device = self.processes.device
        total = torch.zeros((), device=device)
        rows = 0
        with numbered(device, self.settings["seed"], "test"):
            for k, batch in enumerate(self.test):
                batch = [x.to(device) for x in as_batch(f"test[{k}]", batch)]
                with self.test_threads:
                    total += len(batch[0]) * terms(*batch)["loss"]
                rows += len(batch[0])
        return total / rows


def make_optimiser(own, weights: list[Tensor]) -> torch.optim.Optimizer:
    """AdamW of those weights, or the caller's: an optimiser as it is, or what a function makes of the weights.

    TypeError for anything else, ValueError for an optimiser of weights that are not the model's.
    """
    if own is None:
        return torch.optim.AdamW(weights, fused=True)  # fused: one call for all weights
    optimiser = own if isinstance(own, torch.optim.Optimizer) or not callable(own) else own(weights)
    if not isinstance(optimiser, torch.optim.Optimizer):
        name = type(optimiser).__name__
        raise TypeError(f"optimiser: got {name}, expected a torch optimiser, or a function that makes one of weights")
    known = set(map(id, weights))
    if not all(id(weight) in known for group in optimiser.param_groups for weight in group["params"]):
        raise ValueError("optimiser: got one of other weights, expected one of the weights of this model")
    return optimiser


def checked(terms) -> dict[str, Tensor]:
    """`terms`, what a model's loss has given, if they are tensors and the loss is a number () that can be minimised."""
    if not isinstance(terms, dict):
        raise TypeError(f"model.terms: got {type(terms).__name__}, expected a dict of tensors, one of them 'loss'")
    loss = expect.tensor("model.loss", terms.get("loss"), "")
    if not loss.requires_grad:
        raise ValueError("model.loss: got a number that no weight has a part in, expected one to minimise")
    for name, term in terms.items():
        if not isinstance(term, Tensor):
            kind = type(term).__name__
            raise TypeError(f"model.terms[{name!r}]: got {term!r:.60} ({kind}), expected a tensor: leave out .item()")
    return terms


def _name(own) -> str | None:
    """What a state file says of a function or an optimiser of the caller's own."""
    return None if own is None else getattr(own, "__name__", type(own).__name__)
