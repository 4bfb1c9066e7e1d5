"""Lesson 04's checks: the losses of the game, a round of it, the penalty, and how collapse is counted."""

import copy
import math

import torch
from torch import nn

from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson04 import solutions


@exercise(
    "04.discriminator_loss",
    solution=solutions.discriminator_loss,
    core=True,
    hints=(
        "Each of the two terms is the mean of a `softplus`. Look at the two formulas above the cell: which sign "
        "has the score in each?",
        "For real samples -log D is `F.softplus(-real)`, and for fakes -log(1 - D) is `F.softplus(fake)`. Take "
        "the mean of each and add them.",
    ),
)
def _(attempt):
    real, fake = torch.randn(2, 12) * 2
    got = shaped(attempt(real, fake), (), "One number: the mean over the batch.")
    right = solutions.discriminator_loss(real, fake)
    log_d, log_not = nn.functional.logsigmoid, lambda score: nn.functional.logsigmoid(-score)
    exchanged = -log_not(real).mean() - log_d(fake).mean()
    slips = {
        "The sign is turned: a loss is minus what the discriminator wants most of.": -right,
        "Real and fake are exchanged: real ones should get log D, fakes log(1 - D).": exchanged,
        "The means, not the sums: the loss should not grow with the batch.": 12 * right,
        "The fakes are to be called fake: log(1 - D(fake)), not log D(fake).": -log_d(real).mean() - log_d(fake).mean(),
        "Both terms count in full: no half.": right / 2,
    }
    close(got, right, "Not -mean log D(real) - mean log(1 - D(fake)) with D = sigmoid(score).", slips=slips)
    sure = attempt(torch.tensor([-200.0]), torch.tensor([200.0]))
    require(torch.isfinite(sure), "log(sigmoid(-200)) is log 0: softplus(-score) is -log D, and never overflows.")
    from minidiff.gan import NonSaturating

    close(got, NonSaturating().discriminator(real, fake), "Not equal to minidiff.gan.NonSaturating's.")


@exercise(
    "04.generator_loss",
    solution=solutions.generator_loss,
    core=True,
    hints=(
        "It is the first term of the discriminator's loss, but it gets the scores of the fakes.",
        "`F.softplus(-fake).mean()`",
    ),
)
def _(attempt):
    fake = torch.randn(12) * 2
    got = shaped(attempt(fake), (), "One number: the mean over the batch.")
    right = solutions.generator_loss(fake)
    slips = {
        "That is the other loss, log(1 - D): it has no slope where the generator begins.": solutions.minimax_loss(fake),
        "The sign is turned: the generator wants D(fake) to be high, so its loss is -log D.": -right,
        "That teaches the generator to be called fake: -log D, not -log(1 - D).": -solutions.minimax_loss(fake),
        "The logarithm is missing: -mean(log(sigmoid(score))).": -torch.sigmoid(fake).mean(),
    }
    close(got, right, "Not -mean log D(fake) with D = sigmoid(score).", slips=slips)
    require(torch.isfinite(attempt(torch.tensor([-200.0]))), "It overflows at a score of -200: use softplus(-score).")
    from minidiff.gan import NonSaturating

    close(got, NonSaturating().generator(fake), "Not equal to minidiff.gan.NonSaturating's.")


@exercise(
    "04.play",
    solution=solutions.play,
    core=True,
    hints=(
        "There are two turns of the same form: make fakes, compute a loss, then `zero_grad`, `backward` and "
        "`step` of that player's optimiser.",
        "In the discriminator's turn the fakes are `fake.detach()`. In the generator's turn they are new ones, "
        "not detached, and the discriminator that scores them has already moved.",
        "The generator's turn is: `fake = generator(torch.randn(len(x), 2))`, `g_loss = "
        "generator_loss(discriminator(fake))`, `optimisers[1].zero_grad()`, `g_loss.backward()`, "
        "`optimisers[1].step()`.",
    ),
)
def _(attempt):
    from minidiff.gan import Discriminator, Generator

    nets = (Discriminator(width=8), Generator(2, width=8))
    x = torch.randn(16, 2) + 3
    _, losses = _round(attempt, nets, x)
    require(isinstance(losses, tuple) and len(losses) == 2, "Return both losses: d_loss, g_loss.")
    right = _round(solutions.play, nets, x)[1]
    after, wanted = (_round(play, nets, x, times=2)[0] for play in (attempt, solutions.play))
    moved = [_weights(net) != _weights(old) for net, old in zip(after, nets)]
    require(moved[0], "The discriminator does not move: backward() on its loss, then optimisers[0].step().")
    require(moved[1], "The generator does not move: in its own turn its fakes must not be detached.")
    slips = {"Return the discriminator's loss first, then the generator's.": right[1]}
    hint = "The discriminator moves first; its loss is discriminator_loss(scores of x, scores of the fakes)."
    close(losses[0], right[0], hint, slips=slips)
    hint = "The generator's turn comes second: generator_loss of new fakes, scored by the discriminator that has moved."
    close(losses[1], right[1], hint)
    hint = "The weights differ: zero_grad() before each backward(), or one turn's slopes are added to the other's."
    require(all(map(_near, after, wanted)), hint)


def _round(attempt, nets, x, times: int = 1):
    """Copies of the nets after a round, or two, and what the last returned; the same codes for everyone."""
    nets = [copy.deepcopy(net) for net in nets]
    optimisers = [torch.optim.SGD(net.parameters(), lr=0.5) for net in nets]
    for _ in range(times):  # a forgotten zero_grad shows only in the second
        torch.manual_seed(1)
        losses = attempt(nets[1], nets[0], optimisers, x)
    return nets, losses


def _weights(net) -> list[float]:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()]).tolist()


def _near(net, other) -> bool:
    return torch.allclose(torch.tensor(_weights(net)), torch.tensor(_weights(other)), rtol=1e-3, atol=1e-5)


@exercise(
    "04.gradient_penalty",
    solution=solutions.gradient_penalty,
    core=True,
    hints=(
        "One random share for each row, `at = torch.rand(len(real), 1)`, and `x = (at * real + (1 - at) * "
        "fake).detach().requires_grad_()`.",
        "`(slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)` is the slope of each row, (B, 2).",
        "The length of each row is `slope.norm(dim=1)`. Subtract 1, then square, then take the mean.",
    ),
)
def _(attempt):
    real, fake = torch.randn(2, 64, 2)
    got = shaped(attempt(lambda x: x[:, 0], real, fake), (), "One number: the mean over the rows.")
    close(got, 0.0, "A critic whose slope is 1 everywhere pays nothing: (length of the slope - 1)².", atol=1e-6)
    slips = {
        "The length of each row's slope: the root of the sum of squares over dim 1.": ((3 - 1) ** 2 + (4 - 1) ** 2) / 2,
        "Length minus 1, then the square.": 24.0,
        "Each row's slope by itself: the gradient of the scores' sum, not of their mean.": (5 / 64 - 1) ** 2,
    }
    got = attempt(lambda x: 3 * x[:, 0] + 4 * x[:, 1], real, fake)
    close(got, 16.0, "A critic whose slope is 5 everywhere should pay (5 - 1)² = 16.", slips=slips, rtol=1e-3)
    half = attempt(lambda x: x[:, 0] / 2, real, fake)
    close(half, 0.25, "A slope of 0.5 pays too, (0.5 - 1)² = 0.25: the length should be 1, not at most 1.")
    net, at = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)), []
    got = attempt(lambda x: (at.append(x.detach()), net(x))[1], real, fake)
    _places(((at[0] - fake) / (real - fake)).double())
    require(got.requires_grad, "The penalty must teach the critic: grad(..., create_graph=True) keeps its own slope.")
    from minidiff import gan

    close(got, gan.gradient_penalty(net, at[0], at[0]), "Not equal to minidiff.gan.gradient_penalty.", rtol=1e-3)


def _places(share):
    """Where on the way from fake to real, (B, 2), was the slope taken?"""
    alike = (share[:, 0] - share[:, 1]).abs().max() < 1e-2
    require(alike, "One random place a row, torch.rand(B, 1): x is on the line from a real row to its fake.")
    require(share[:, 0].std() > 0.1, "Each row has a random place of its own between real and fake, from torch.rand.")
    between = share.min() > -0.01 and share.max() < 1.01
    require(between, "Between real and fake: at * real + (1 - at) * fake, with at between 0 and 1.")


@exercise(
    "04.coverage",
    solution=solutions.coverage,
    core=True,
    hints=(
        "`torch.cdist(x, means)` has all distances, (N, K). Its `.min(1)` gives both the smallest distance of "
        "each sample and the number of that mean.",
        "`torch.bincount(nearest[good], minlength=len(means))` counts the good samples of each mode. Compare "
        "the counts with `0.1 * len(x) / len(means)`.",
    ),
)
def _(attempt):
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    x = torch.cat([means.repeat_interleave(torch.tensor([50, 41, 5, 2]), 0), torch.full((2, 2), 5.0)])
    x = x + 0.5 * torch.tensor([[1.0, 0.0], [0.0, -1.0]]).repeat(50, 1)
    result = attempt(x, means, 0.2)
    require(isinstance(result, tuple) and len(result) == 2, "Return two numbers: the modes covered, the share of good.")
    close(result[1], 0.98, "Good is what lies within 3 std of the nearest mode.", slips={"Within 3 std, not 1.": 0.0})
    slips = {
        "Two samples of a hundred do not cover a mode: a tenth of its fair share, 2.5, is asked for.": 4,
        "A tenth of the fair share N / K is asked for, 2.5 of a hundred samples: not a tenth of N.": 2,
    }
    close(result[0], 3, "Count the modes that have at least a tenth of N / K good samples.", slips=slips)
    far = attempt(x + 30, means, 0.2)
    close(far[0], 0, "Samples that are not good cover nothing.")


@exercise(
    "04.minimax",
    solution=solutions.minimax_loss,
    hints=(
        "1 - sigmoid(s) is sigmoid(-s), and its logarithm is -softplus(s).",
        "`-F.softplus(fake).mean()`. Its slope by the score is -D, that is -0.01 where D is 0.01. The slope of "
        "-log D is D - 1, that is -0.99: nearly a hundred times as steep.",
    ),
)
def _(attempt):
    fake = torch.randn(9) * 3
    got = shaped(attempt(fake), (), "One number: the mean over the batch.")
    right = solutions.minimax_loss(fake)
    slips = {
        "The generator minimises it: mean log(1 - D), with no minus before it.": -right,
        "That is the non-saturating loss of the lesson.": solutions.generator_loss(fake),
    }
    close(got, right, "Not mean log(1 - D(fake)) with D = sigmoid(score).", slips=slips)
    require(torch.isfinite(attempt(torch.tensor([200.0]))), "log(1 - sigmoid(200)) is log 0: use -softplus(score).")


@exercise(
    "04.hinge",
    solution=solutions.hinge_losses,
    hints=(
        "`F.relu(1 - real)` is what a real score lacks to its margin. What does a fake score lack to -1?",
        "The discriminator's loss is `F.relu(1 - real).mean() + F.relu(1 + fake).mean()`, and the generator's "
        "is `-fake.mean()`. Return both, in this order.",
    ),
)
def _(attempt):
    real, fake, relu = *torch.randn(2, 40) * 2, torch.relu
    result = attempt(real, fake)
    require(isinstance(result, tuple) and len(result) == 2, "Return two losses: discriminator, generator.")
    right = solutions.hinge_losses(real, fake)
    slips = {
        "Real scores should be above 1, fake ones below -1: relu(1 - real) and relu(1 + fake).": relu(1 + real).mean()
        + relu(1 - fake).mean(),
        "Fake scores should be below -1: relu(1 + fake), not relu(1 - fake).": (relu(1 - real) + relu(1 - fake)).mean(),
        "Only what lacks to the margin costs: relu of 1 - real and of 1 + fake, row by row.": (2 - real + fake).mean(),
    }
    close(result[0], right[0], "Not mean relu(1 - real) + mean relu(1 + fake).", slips=slips)
    hinged = {"The generator has no margin: minus the mean score of its fakes.": relu(1 - fake).mean()}
    close(result[1], right[1], "The generator's loss is minus the mean score of its fakes.", slips=hinged)


@exercise(
    "04.spectral",
    solution=solutions.spectral_normalise,
    hints=(
        "`F.normalize(v, dim=0)` makes a vector of length 1. Each repetition is two lines, first v from u, then "
        "u from v.",
        "After the loop the largest singular value is the number `u @ weight @ v`. Divide the weight by it.",
    ),
)
def _(attempt):
    weight = torch.randn(6, 4) * 3
    got = shaped(attempt(weight, 200), (6, 4), "The weight itself, (out, in), divided by one number.")
    largest = torch.linalg.matrix_norm(weight, 2)
    slips = {
        "That is divided by the square of it: u and v are both made of length 1.": weight / largest**2,
        "That is the root of the sum of all squares, not the largest singular value.": weight / weight.norm(),
    }
    close(got, weight / largest, "After many power iterations the largest singular value is 1.", slips=slips, rtol=1e-3)
    few = torch.linalg.matrix_norm(attempt(weight, 1), 2).item()
    require(few > 1 + 1e-3, "One iteration from a vector of ones is only near: do `steps` of them, not a full SVD.")


@exercise(
    "04.truncate",
    solution=solutions.truncated_codes,
    hints=(
        "Start from `torch.randn(n, code)`, and look for the numbers with `z.abs() > threshold`. While there "
        "are any, draw only those again.",
        "`far = z.abs() > threshold`, and `z[far] = torch.randn(int(far.sum()))`, in a `while` loop that asks "
        "again each time.",
        "Why not clamp? All numbers beyond the threshold would be put exactly on it, and a code with many "
        "numbers at ±threshold was never seen in training. Drawing again keeps the form of the normal "
        "distribution inside.",
    ),
)
def _(attempt):
    z = shaped(attempt(4000, 3, 1.0), (4000, 3), "n codes of `code` numbers each.")
    require(z.abs().max() <= 1.0, "No number may lie beyond ±threshold.")
    same = 1 - len(z.unique()) / z.numel()
    require(same < 0.01, "Many numbers are the same, as clamping makes them: draw those beyond the threshold again.")
    require(z.mean().abs() < 0.1, "As many below 0 as above: the threshold cuts off both sides.")
    spread = z.std().item()
    require(spread > 0.45, "That is a narrower normal distribution: keep its form, draw again only what lies beyond.")
    hint = "Not a normal distribution cut off at the threshold: uniform numbers would be wider."
    require(math.isclose(spread, 0.5397, abs_tol=0.02), hint)
    require(attempt(400, 3, 0.5).abs().max() <= 0.5, "The threshold 0.5 should cut off at 0.5: use the one given.")
