"""What some checks of lesson 09 compare with."""

import torch

from minidiff.exercises import require


def two(got, hint: str):
    """`got` if it is a pair, else CheckFailed(hint)."""
    require(isinstance(got, tuple | list) and len(got) == 2, hint)
    return got


def losses(d, mu, log_var, beta):
    """The error of differences d, the weighted KL term, and what slips make of their sum, with a hint each."""
    each = 0.5 * (mu**2 + log_var.exp() - 1 - log_var)
    error = (d**2).mean() + 10 * (d**4).mean()
    kl = beta * each.flatten(1).sum(1).mean() / d[0].numel()
    per = "divide by x[0].numel()."
    slips = {
        "Where is the fourth power? A lost outline must cost more than lost grain.": (d**2).mean() + kl,
        "Where is mean d²?": 10 * (d**4).mean() + kl,
        "The fourth power counts ten times.": (d**2).mean() + (d**4).mean() + kl,
        "The mean of the fourth powers, not the square of the mean.": (d**2).mean() + 10 * (d**2).mean() ** 2 + kl,
        "Where is the KL term?": error,
        "beta weighs the KL term, not the error.": beta * error + kl / beta,
        "Where is beta?": error + kl / beta,
        f"The KL of a code is the sum over its numbers, counted per number of x: {per}": error + beta * each.mean(),
        f"Count the KL per number of x, as the error is: {per}": error + d[0].numel() * kl,
        "The KL is averaged over the pictures, not summed.": error + 4 * kl,
        "The sign of the KL term: it is to be small, too.": error - kl,
        "Half of that: KL = ½ Σ (mu² + sigma² - 1 - log sigma²).": error + 2 * kl,
    }
    return error, kl, slips


def sides(a, b, without, mask):
    """What slips make of the estimates of the first prompt, the second and none, at scale 3, with a hint each."""
    both = torch.where(mask, a, b)
    one = without + 3 * (a - without)
    other = without + 3 * (b - without)
    return {
        "The sides are exchanged: the first prompt is where the mask is True.": torch.where(mask, other, one),
        "No side: that mixes both prompts everywhere.": (one + other) / 2,
        "Where is the guidance?": both,
        "The scale is off by one: start from the estimate without a prompt.": both + 3 * (both - without),
        "Only the first side is guided.": torch.where(mask, one, b),
        "Only the second side is guided.": torch.where(mask, a, other),
        "Away from `null`, not from the other prompt.": b + 3 * (a - b),
        "Away from `null` on each side, not from the other side's prompt.": torch.where(
            mask, b + 3 * (a - b), a + 3 * (b - a)
        ),
    }
