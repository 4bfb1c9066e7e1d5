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
    return error, kl, _error_slips(d, error, kl, beta) | _kl_slips(d, mu, log_var, beta, each, error, kl)


def _error_slips(d, error, kl, beta):
    return {
        "Where is the fourth power? A lost outline must cost more than lost grain.": (d**2).mean() + kl,
        "Where is mean d²?": 10 * (d**4).mean() + kl,
        "The fourth power counts ten times.": (d**2).mean() + (d**4).mean() + kl,
        "The mean of the fourth powers, not the square of the mean.": (d**2).mean() + 10 * (d**2).mean() ** 2 + kl,
        "Where is the KL term?": error,
        "beta weighs the KL term, not the error.": beta * error + kl / beta,
        "Where is beta?": error + kl / beta,
        "The KL is averaged over the pictures, not summed.": error + 4 * kl,
        "The sign of the KL term: it is to be small, too.": error - kl,
        "Half of that: KL = ½ Σ (mu² + sigma² - 1 - log sigma²).": error + 2 * kl,
    }


def _kl_slips(d, mu, log_var, beta, each, error, kl):
    per = "divide by x[0].numel()."
    weight = beta / d[0].numel()
    no_exp = 0.5 * (log_var - log_var.exp())
    return {
        f"The KL of a code is the sum over its numbers, counted per number of x: {per}": error + beta * each.mean(),
        f"Count the KL per number of x, as the error is: {per}": error + d[0].numel() * kl,
        f"The KL of a code is the sum over its numbers, not their mean, and then {per}": error + weight * each.mean(),
        "The mean over the pictures is taken already: divide by the numbers of *one* picture, x[0].numel().": error
        + kl / len(d),
        "In the KL it is sigma², that is log_var.exp(), not log_var.": error
        + kl
        + weight * no_exp.flatten(1).sum(1).mean(),
        "Where is mu² in the KL?": error + kl - weight * (0.5 * mu**2).flatten(1).sum(1).mean(),
    }


def sides(a, b, without, mask):
    """What slips make of the estimates of the first prompt, the second and none, at scale 3, with a hint each."""
    both = torch.where(mask, a, b)
    one, other = (without + 3 * (told - without) for told in (a, b))
    swapped = torch.where(mask, b + 3 * (a - b), a + 3 * (b - a))
    return {
        "The sides are exchanged: the first prompt is where the mask is True.": torch.where(mask, other, one),
        "No side: that mixes both prompts everywhere.": (one + other) / 2,
        "Where is the guidance?": both,
        "That is guided by the first prompt everywhere: where is the second?": one,
        "That is guided by the second prompt everywhere: where is the first?": other,
        "That asks for both prompts everywhere: each has its own side.": one + 3 * (b - without),
        "Guidance starts from the estimate without a prompt: without + scale * (told - without).": 3 * (both - without),
        "The scale multiplies the difference, told - without.": 3 * both,
        "Towards what is told, not away from it: told - without.": both + 3 * (without - both),
        "The scale is off by one: start from the estimate without a prompt.": both + 3 * (both - without),
        "Only the first side is guided.": torch.where(mask, one, b),
        "Only the second side is guided.": torch.where(mask, a, other),
        "Away from `null`, not from the other prompt.": b + 3 * (a - b),
        "Away from `null` on each side, not from the other side's prompt.": swapped,
    }


def held_slips(denoise, x, t, known, mask):
    """hint -> the estimate at x, held to `known` outside of the mask, with that slip."""
    told, seen = denoise(x, t), denoise(torch.where(mask, x, known), t)
    held = torch.where(mask, seen, known)
    return {
        "The mask is turned around: True is to be painted anew.": torch.where(mask, known, told),
        "The network is to see x as it is: hold the estimate, not its input.": seen,
        "The network is to see x as it is, although the estimate is right to be held.": held,
        "Where the code is known the estimate is `known`, not the noisy x.": torch.where(mask, told, x),
        "The known code takes the *place* of the estimate: it is not added to it.": told + ~mask * known,
        "Nothing is held there: that is the estimate alone.": told,
        "Where the code is known the *known* one is the estimate; 0 is none.": told * mask,
        "Where it is not known the estimate is the network's, not x.": torch.where(mask, x, known),
    }
