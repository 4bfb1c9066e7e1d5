"""What the first check of lesson 09 compares with."""


def losses(d, mu, log_var, beta):
    """The error of differences d, the weighted KL term, and what slips make of their sum, with a hint each."""
    each = 0.5 * (mu**2 + log_var.exp() - 1 - log_var)
    error, kl = (d**2).mean() + 10 * (d**4).mean(), beta * each.flatten(1).sum(1).mean() / d[0].numel()
    per = "divide by x[0].numel()."
    slips = {
        "Where is the fourth power? A lost outline must cost more than lost grain.": (d**2).mean() + kl,
        "beta weighs the KL term, not the error.": beta * error + kl / beta,
        "Where is beta?": error + kl / beta,
        f"The KL of a code is the sum over its numbers, counted per number of x: {per}": error + beta * each.mean(),
        f"Count the KL per number of x, as the error is: {per}": error + d[0].numel() * kl,
        "The KL is averaged over the pictures, not summed.": error + 4 * kl,
        "The sign of the KL term: it is to be small, too.": error - kl,
        "Half of that: KL = ½ Σ (mu² + sigma² - 1 - log sigma²).": error + 2 * kl,
    }
    return error, kl, slips
