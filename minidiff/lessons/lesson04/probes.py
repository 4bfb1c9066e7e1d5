"""What some checks of lesson 04 look at: a round played, the weights after it, and where a slope was taken."""

import copy

import torch
from torch import nn

from minidiff.exercises import close, require


def pair(got, hint: str):
    require(isinstance(got, tuple | list) and len(got) == 2, hint)


def sure(got, wanted: float, hint: str):
    """The loss of scores of ±200 is finite, and as large as it should be."""
    require(torch.isfinite(torch.as_tensor(got)).all(), hint)
    close(
        got, wanted, "It is cut off where the scores are large, and so is its slope: no clamp, no small number added."
    )


def teaches(loss):
    require(loss.requires_grad, "The loss has no slopes to learn from: no detach(), no item(), no torch.no_grad().")


def round_of(attempt, nets, x, times: int = 1):
    """Copies of the nets after a round, or two, and what the last returned; the same codes for everyone."""
    nets = [copy.deepcopy(net) for net in nets]
    optimisers = [torch.optim.SGD(net.parameters(), lr=0.5) for net in nets]
    for _ in range(times):  # a forgotten zero_grad shows only in the second
        torch.manual_seed(1)
        losses = attempt(nets[1], nets[0], optimisers, x)
    return nets, losses


def weights(net) -> list[float]:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()]).tolist()


def near(net, other) -> bool:
    return torch.allclose(torch.tensor(weights(net)), torch.tensor(weights(other)), rtol=1e-3, atol=1e-5)


def places(share):
    """Where on the way from fake to real, (B, 2), was the slope taken?"""
    alike = (share[:, 0] - share[:, 1]).abs().max() < 1e-2
    require(alike, "One random place a row, torch.rand(B, 1): x is on the line from a real row to its fake.")
    require(share[:, 0].std() > 0.1, "Each row has a random place of its own between real and fake, from torch.rand.")
    between = share.min() > -0.01 and share.max() < 1.01
    require(between, "Between real and fake: at * real + (1 - at) * fake, with at between 0 and 1.")


def discriminator_slips(real, fake, right):
    """hint -> the discriminator's loss with that slip."""
    log_d, log_not = nn.functional.logsigmoid, lambda score: nn.functional.logsigmoid(-score)
    on_real, on_fake = -log_d(real).mean(), -log_not(fake).mean()
    turned = -log_not(real).mean()
    return {
        "The sign is turned: a loss is minus what the discriminator wants most of.": -right,
        "Real and fake are exchanged: real ones should get log D, fakes log(1 - D).": turned - log_d(fake).mean(),
        "The means, not the sums: the loss should not grow with the batch.": len(real) * right,
        "The fakes are to be called fake: log(1 - D(fake)), not log D(fake).": on_real - log_d(fake).mean(),
        "Both terms count in full: no half.": right / 2,
        "For real samples it is softplus(-real): look at the sign in -log D.": turned + on_fake,
        "Both terms are costs, so they are added.": on_real - on_fake,
        "Is one of the two terms missing? That is the one for real samples alone.": on_real,
        "Is one of the two terms missing? That is the one for fakes alone.": on_fake,
    }


def hinge_slips(real, fake, right, generators):
    """hint -> the discriminator's hinge loss with that slip."""
    relu = torch.relu
    above, turned = relu(1 - fake).mean(), relu(real - 1).mean() + relu(-1 - fake).mean()
    return {
        "Real scores should be above 1, fake ones below -1: relu(1 - real) and relu(1 + fake).": relu(1 + real).mean()
        + above,
        "Fake scores should be below -1: relu(1 + fake), not relu(1 - fake).": relu(1 - real).mean() + above,
        "Only what lacks to the margin costs: relu of 1 - real and of 1 + fake, row by row.": (2 - real + fake).mean(),
        "First the discriminator's loss, then the generator's.": generators,
        "The means, not the sums.": len(real) * right,
        "A loss is a cost, and what lacks costs: no minus before it.": -right,
        "A real score lacks 1 - real to its margin, a fake one 1 + fake: the signs are turned.": turned,
        "The margins are missing: 1 for real scores, -1 for fake ones.": (relu(-real) + relu(fake)).mean(),
    }
