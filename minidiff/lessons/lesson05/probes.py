"""What lesson 05's checks try: what slips of the posterior, of the way back and of the best denoiser lead to."""

import torch

from minidiff import seeded


def slips_of_the_mean(schedule, x, x0, t, s) -> dict:
    """Hint -> the mean (B, ...) that this slip of the posterior leads to."""
    (_, sigma_t), (alpha_s, sigma_s), (a, b) = schedule(t), schedule(s), schedule.transition(t, s)

    def mean(x, x0, variance):
        return (a * sigma_s**2 * x + alpha_s * variance * x0) / sigma_t**2

    grown = "b² = sigma_t² - a² sigma_s²: the noise of s has shrunk by a on its way to t."
    return {
        "x and x0 have changed places: x0 weighs with alpha_s b².": mean(x0, x, b**2),
        "Divide by sigma_t²: the weights are of a mean.": mean(x, x0, b**2) * sigma_t**2,
        grown: mean(x, x0, sigma_t**2 - sigma_s**2),
        "By the time s the picture has shrunk too: x0 comes with alpha_s.": mean(x, x0 / alpha_s, b**2),
        "x0 comes with alpha of s, where the step leads, not of t.": mean(x, a * x0, b**2),
        "x0 weighs with the variance b², not with b.": mean(x, x0, b),
        "a is squared in b² too: b² = sigma_t² - a² sigma_s².": mean(x, x0, sigma_t**2 - a * sigma_s**2),
        "a is missing: x weighs with a sigma_s².": mean(x / a, x0, b**2),
        "That is m. The mean is m / P, which is m times the variance.": mean(x, x0, b**2)
        * sigma_t**2
        / (b * sigma_s) ** 2,
    }


def guessed(x, t):
    """A guess at x0 (B, ...) that depends on x (B, ...) and on the time, a number, () or (B,)."""
    t = torch.as_tensor(t, dtype=x.dtype)
    if t.ndim:
        t = t.reshape(-1, *[1] * (x.ndim - 1))
    return 0.5 * torch.cos(3 * t) * x + t


def walk(x, schedule, steps: int, size, shift=0, target="mean", fresh=True):
    """The way back (steps + 1, B, ...), asked at (i - shift) / steps; size(std, b) is the factor of the noise.

    With `fresh` False the first noise is taken in every step.
    """
    path, generator = [x], seeded(1)
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        guess = guessed(x, (i - shift) / steps)
        mean, std = schedule.posterior(x, guess, t, s)
        if fresh or i == steps:
            noise = torch.randn(x.shape, generator=generator)
        x = {"mean": mean, "guess": guess}[target] + size(std, schedule.transition(t, s)[1]) * noise
        path.append(x)
    return torch.stack(path)


def slips_of_the_way(x, schedule, steps: int) -> dict:
    """Hint -> the way that this slip leads."""
    late = "Off by one: the denoiser is asked at t, where x is, not at s, where it goes."
    none = "The noise is never added: each step is a draw, mean + std times noise."
    squared = "The noise is multiplied by the standard deviation, not by the variance."
    large = "The noise is multiplied by the posterior's std, which is sigma_s b / sigma_t, not by b."
    unit = "The noise has a size: multiply it by the posterior's standard deviation."
    jump = "That jumps to the best guess: put the guess into the posterior, and take the posterior's mean."
    again = "Draw fresh noise in each step: torch.randn belongs inside the loop."
    return {
        late: walk(x, schedule, steps, lambda std, b: std, shift=1),
        none: walk(x, schedule, steps, lambda std, b: 0.0),
        squared: walk(x, schedule, steps, lambda std, b: std**2),
        large: walk(x, schedule, steps, lambda std, b: b),
        unit: walk(x, schedule, steps, lambda std, b: 1.0),
        jump: walk(x, schedule, steps, lambda std, b: std, target="guess"),
        again: walk(x, schedule, steps, lambda std, b: std, fresh=False),
    }


def slips_of_the_weights(x, known, alpha, sigma) -> dict:
    """Hint -> the guess (B, ...) that this slip of the best denoiser leads to."""
    flat = x.flatten(1)
    pictures = known.flatten(1)
    distances = torch.cdist(flat, alpha * pictures)
    exponent = -(distances**2) / (2 * sigma**2)

    def mean(exponent, axis=1):
        return (exponent.softmax(axis) @ pictures).view_as(x)

    return _slips_of_the_distances(x, known, alpha, sigma, mean) | {
        "That is the nearest picture: the best guess is the mean of all, weighted.": known[distances.argmin(1)],
        "For each x the weights of the known ones sum to 1: axis 1.": mean(exponent, axis=0),
        "The exponent is negative: the nearest pictures weigh most.": mean(-exponent),
        "Divide the weights by their sum, or take the softmax.": (exponent.exp() @ pictures).view_as(x),
        "softmax takes the exp itself: hand it the exponents.": mean(exponent.exp()),
        "That is alpha times the guess: average the pictures as they are.": alpha * mean(exponent),
    }


def _slips_of_the_distances(x, known, alpha, sigma, mean) -> dict:
    flat = x.flatten(1)
    pictures = known.flatten(1)
    distances = torch.cdist(flat, alpha * pictures)
    variance = 2 * sigma**2
    return {
        "The exponent has the squared distance.": mean(-distances / variance),
        "Distances are from alpha times each picture: x has shrunk on the way.": mean(
            -(torch.cdist(flat, pictures) ** 2) / variance
        ),
        "Divide the squares by 2 sigma², as the normal density does.": mean(-(distances**2) / sigma**2),
        "The squares are summed over the pixels of a picture, not averaged.": mean(-(distances**2) / variance / 16),
        "2 sigma² stands below the squares, not 2 sigma.": mean(-(distances**2) / (2 * sigma)),
    }
