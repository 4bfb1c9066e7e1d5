"""What comes out of the likely slips of two exercises: paths made straight, and couplings."""

import torch
from scipy.optimize import linear_sum_assignment


def times(alpha, sigma) -> dict:
    """Hint -> the time that it belongs to, for weights alpha and sigma (B,)."""
    return {
        "That is the ratio r of noise to picture. On the straight path it is t / (1 - t): solve for t.": sigma / alpha,
        "sigma is the time only where alpha + sigma = 1.": sigma,
        "That is the weight of the picture, 1 - t: here t = 1 is noise.": alpha / (alpha + sigma),
        "The weights must add up to 1, not their squares.": sigma / (alpha**2 + sigma**2).sqrt(),
    }


def points(x, alpha, sigma) -> dict:
    """Hint -> the point that it belongs to, for x (B, ...) and weights (B,)."""

    def rows(value):
        return value.reshape(-1, *[1] * (x.ndim - 1))

    slips = {
        "The time is right, but x has kept the size that it had on the other path.": x,
        "Divide by alpha + sigma: now the weights add up to its square.": x * rows(alpha + sigma),
        "The squares of the weights add up to 1 now. On the straight path it is the weights that do.": x
        / rows((alpha**2 + sigma**2).sqrt()),
        "Now the picture has the weight 1. On the straight path it has 1 - t.": x / rows(alpha),
    }
    if x.ndim == 2 and len(x) == x.shape[1]:
        slips["alpha + sigma divides the columns of x. It has a number for each row: reshape it."] = x / (alpha + sigma)
    return slips


def dearest(x0, eps):
    """The coupling of the largest sum of squared distances."""
    cost = torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2
    return eps[linear_sum_assignment(-cost.numpy())[1]]


def unsquared(x0, eps):
    """That of the smallest sum of distances."""
    return eps[linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)).numpy())[1]]


def nearest(x0, eps):
    """The nearest noise of each row, whether it is taken or not."""
    return eps[torch.cdist(x0.flatten(1), eps.flatten(1)).argmin(1)]
