"""What lesson 05's check of the way back tries: a denoiser that knows its time, and walks that slip."""

import torch

from minidiff import seeded


def guessed(x, t):
    """A guess at x0 (B, ...) that depends on x (B, ...) and on the time, a number, () or (B,)."""
    t = torch.as_tensor(t, dtype=x.dtype)
    if t.ndim:
        t = t.reshape(-1, *[1] * (x.ndim - 1))
    return 0.5 * torch.cos(3 * t) * x + t


def walk(x, schedule, steps: int, size, shift=0, target="mean"):
    """The way back (steps + 1, B, ...), asked at (i - shift) / steps; size(std, b) is the factor of the noise."""
    path, generator = [x], seeded(1)
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        guess = guessed(x, (i - shift) / steps)
        mean, std = schedule.posterior(x, guess, t, s)
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
    return {
        late: walk(x, schedule, steps, lambda std, b: std, shift=1),
        none: walk(x, schedule, steps, lambda std, b: 0.0),
        squared: walk(x, schedule, steps, lambda std, b: std**2),
        large: walk(x, schedule, steps, lambda std, b: b),
        unit: walk(x, schedule, steps, lambda std, b: 1.0),
        jump: walk(x, schedule, steps, lambda std, b: std, target="guess"),
    }
