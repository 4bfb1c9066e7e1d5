"""Lesson 04's checks: the losses of the game, a round of it, the penalty, and how collapse is counted."""

import math

import torch
from torch import nn

from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson04 import solutions
from minidiff.lessons.lesson04.probes import (
    discriminator_slips,
    hinge_slips,
    near,
    pair,
    places,
    round_of,
    sure,
    teaches,
    weights,
)


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
    hint = "Not -mean log D(real) - mean log(1 - D(fake)) with D = sigmoid(score)."
    close(got, right, hint, slips=discriminator_slips(real, fake, right))
    few = solutions.discriminator_loss(real[:5], fake[:3])
    close(attempt(real[:5], fake[:3]), few, "Right for 12 scores only: take the mean over those that come.")
    hint = "log(sigmoid(-200)) is log 0: softplus(-score) is -log D, and never overflows."
    sure(attempt(torch.tensor([-200.0]), torch.tensor([200.0])), 400.0, hint)
    teaches(attempt(real.requires_grad_(), fake))
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
        "The mean, not the sum: the loss should not grow with the batch.": 12 * right,
        "That is minus the mean score. Here D is the sigmoid of the score, and its logarithm counts.": -fake.mean(),
    }
    close(got, right, "Not -mean log D(fake) with D = sigmoid(score).", slips=slips)
    sure(attempt(torch.tensor([-200.0])), 200.0, "It overflows at a score of -200: use softplus(-score).")
    teaches(attempt(fake.requires_grad_()))
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
    losses, right = (round_of(play, nets, x)[1] for play in (attempt, solutions.play))
    pair(losses, "Return both losses: d_loss, g_loss.")
    after, wanted = (round_of(play, nets, x, times=2)[0] for play in (attempt, solutions.play))
    moved = [weights(net) != weights(old) for net, old in zip(after, nets)]
    require(moved[0], "The discriminator does not move: backward() on its loss, then optimisers[0].step().")
    hint = "The generator does not move: in its turn the fakes must not be detached, and the order is zero_grad, "
    require(moved[1], hint + "backward, step, with optimisers[1].")
    slips = {"Return the discriminator's loss first, then the generator's.": right[1]}
    hint = "The discriminator moves first; its loss is discriminator_loss(scores of x, scores of the fakes)."
    close(losses[0], right[0], hint, slips=slips)
    hint = "The generator's turn comes second: generator_loss of new fakes, scored by the discriminator that has moved."
    close(losses[1], right[1], hint)
    hint = "The weights differ: zero_grad() before each backward(), or one turn's slopes are added to the other's."
    require(all(map(near, after, wanted)), hint)
    _details(attempt, nets, x)


def _details(attempt, nets, x) -> None:
    """A round with fewer points; and how often slopes go back into the generator."""
    losses = round_of(attempt, nets, x)[1]
    require(not any(torch.as_tensor(loss).requires_grad for loss in losses), "Return d_loss.detach(), g_loss.detach().")
    few = [round_of(play, nets, x[:7])[1][1] for play in (attempt, solutions.play)]
    close(few[0], few[1], "As many codes as there are real points: torch.randn(len(x), 2).")
    arrived = []
    nets[1].net[0].weight.register_hook(arrived.append)
    attempt(nets[1], nets[0], [torch.optim.SGD(net.parameters(), lr=0.5) for net in nets], x)
    hint = "In the discriminator's turn the fakes are fake.detach(): here slopes go back into the generator twice."
    require(len(arrived) == 1, hint)


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
    slips = {
        "A length for each row, norm(dim=1): that is one length for all rows together.": 49.0,
        "A length for each row, norm(dim=1): that is one for each column.": 25.0,
        "First the length of a row's slope, then minus 1: not each of its numbers minus 1.": 0.5,
        "Each row's slope by itself: the gradient of the scores' sum, not of their mean.": (1 / 64 - 1) ** 2,
    }
    hint = "A critic whose slope is 1 everywhere pays nothing: (length of the slope - 1)²."
    close(got, 0.0, hint, slips=slips, atol=1e-6)
    slips = {
        "The square is missing: (length - 1)².": 4.0,
        "Length minus 1, then the square.": 24.0,
        "The length is the root of the sum of squares.": 576.0,
        "The mean over the rows, not the sum.": 1024.0,
    }
    got = attempt(lambda x: 3 * x[:, 0] + 4 * x[:, 1], real, fake)
    close(got, 16.0, "A critic whose slope is 5 everywhere should pay (5 - 1)² = 16.", slips=slips, rtol=1e-3)
    _other_slopes(attempt, real, fake)


def _other_slopes(attempt, real, fake) -> None:
    half = attempt(lambda x: x[:, 0] / 2, real, fake)
    close(half, 0.25, "A slope of 0.5 pays too, (0.5 - 1)² = 0.25: the length should be 1, not at most 1.")
    uneven = attempt(lambda x: 2 * torch.relu(x[:, 0]), real, fake)
    close(uneven, 1.0, "Slopes of 2 and of 0 should each pay 1: first (length - 1)² row by row, then the mean.")
    few = attempt(lambda x: 2 * x[:, 0], real[:5], fake[:5])
    close(few, 1.0, "Right for 64 rows only: draw one share for each row that comes.")
    _where(attempt, real, fake)


def _where(attempt, real, fake) -> None:
    net, at = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)), []
    got = attempt(lambda x: (at.append(x.detach()), net(x))[1], real, fake)
    at = torch.cat(at)  # one call, or one a row
    require(at.shape == real.shape, "The slope is taken at one place for each pair of a real row and a fake one.")
    places(((at - fake) / (real - fake)).double())
    require(got.requires_grad, "The penalty must teach the critic: grad(..., create_graph=True) keeps its own slope.")
    from minidiff import gan

    close(got, gan.gradient_penalty(net, at, at), "Not equal to minidiff.gan.gradient_penalty.", rtol=1e-3)


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
    pair(result, "Return two numbers: the modes covered, the share of good.")
    slips = {
        "Within 3 std, not 1 or 2.": 0.0,
        "First the number of modes covered, then the share of good samples.": 3.0,
        "The share of good samples, between 0 and 1: divide by the number of all samples.": 98.0,
        "The share of good *samples*, not of covered modes.": 0.75,
        "All good samples count in the share, also those of modes that are not covered.": 0.96,
    }
    close(result[1], 0.98, "Good is what lies within 3 std of the nearest mode.", slips=slips)
    slips = {
        "Two samples of a hundred do not cover a mode: a tenth of its fair share, 2.5, is asked for.": 4,
        "A tenth of the fair share N / K is asked for, 2.5 of a hundred: not all of it, and not a tenth of N.": 2,
    }
    close(result[0], 3, "Count the modes that have at least a tenth of N / K good samples.", slips=slips)
    _other_numbers(attempt, x, means)


def _other_numbers(attempt, x, means) -> None:
    far = attempt(x + 30, means, 0.2)
    close(far[0], 0, "Samples that are not good cover nothing. The fair share is one of all N samples, good or not.")
    wide = torch.cat([means, torch.tensor([[20.0, 0.0]])])  # five modes, 200 samples, and a mode is wider
    x = wide.repeat_interleave(torch.tensor([100, 92, 5, 3, 0]), 0) + torch.tensor([1.2, 0.0])
    result = attempt(x, wide, 0.45)
    close(result[1], 1.0, "Right for one std only: a sample is good if its distance is below 3 times the std given.")
    close(result[0], 3, "Right for one N and K only: a tenth of 200 / 5 samples is 4.")


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
        "That is mean log D: 1 - sigmoid(s) is sigmoid(-s).": -solutions.generator_loss(fake),
        "The mean, not the sum.": 9 * right,
        "First the logarithm of each, then the mean.": torch.sigmoid(-fake).mean().log(),
    }
    close(got, right, "Not mean log(1 - D(fake)) with D = sigmoid(score).", slips=slips)
    sure(attempt(torch.tensor([200.0])), -200.0, "log(1 - sigmoid(200)) is log 0: use -softplus(score).")
    teaches(attempt(fake.requires_grad_()))


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
    real, fake = torch.randn(2, 40) * 2
    result = attempt(real, fake)
    pair(result, "Return two losses: discriminator, generator.")
    right = solutions.hinge_losses(real, fake)
    slips = hinge_slips(real, fake, *right)
    close(result[0], right[0], "Not mean relu(1 - real) + mean relu(1 + fake).", slips=slips)
    hinged = {
        "The generator has no margin: minus the mean score of its fakes.": torch.relu(1 - fake).mean(),
        "The sign is turned: the generator wants high scores, so its loss is minus their mean.": fake.mean(),
    }
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
    require(got.isfinite().all(), "u and v grow without end: make both of length 1 in each repetition.")
    largest = torch.linalg.matrix_norm(weight, 2)
    slips = {
        "That is divided by the square of it: u and v are both made of length 1.": weight / largest**2,
        "Divide by it, do not multiply.": weight * largest,
        "That is the root of the sum of all squares, not the largest singular value.": weight / weight.norm(),
    }
    close(got, weight / largest, "After many power iterations the largest singular value is 1.", slips=slips, rtol=1e-3)
    few = torch.linalg.matrix_norm(attempt(weight, 1), 2).item()
    require(few > 1 + 1e-3, "One iteration from a vector of ones is only near: do `steps` of them, not a full SVD.")
    hint = "Start from a u of ones, do exactly `steps` repetitions, and divide by u @ weight @ v."
    close(attempt(weight, 2), solutions.spectral_normalise(weight, 2), hint, rtol=1e-3)


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
    z = shaped(attempt(2000, 6, 1.0), (2000, 6), "n codes of `code` numbers each.")
    require(
        z.abs().max() <= 1.0,
        "No number may lie beyond ±threshold, on either side: a number drawn again may need yet another draw.",
    )
    same = 1 - len(z.unique()) / z.numel()
    require(same < 0.01, "Many numbers are the same, as clamping makes them: draw those beyond the threshold again.")
    once, again = (attempt(50, 3, 1.0) for _ in range(2))
    require(not torch.equal(once, again), "The same codes each time: do not set a seed inside.")
    require(z.mean().abs() < 0.1, "As many below 0 as above: the threshold cuts off both sides.")
    spread = z.std().item()
    require(spread > 0.45, "That is a narrower normal distribution: keep its form, draw again only what lies beyond.")
    hint = "Not a normal distribution cut off at the threshold: uniform numbers would be wider."
    require(math.isclose(spread, 0.5397, abs_tol=0.02), hint)
    require(attempt(400, 3, 0.5).abs().max() <= 0.5, "The threshold 0.5 should cut off at 0.5: use the one given.")
