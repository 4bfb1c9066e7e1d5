"""The answers of lesson 16: the functions that the learner writes, and the predictions."""

import torch

from minidiff.exercises.core import question


def denoising_loss(score, x0, sigma, eps):
    """Vincent's loss for each row, (B,): clean x0 and noise eps (B, ...), sigma a number or (B, 1, ...), score(x)."""
    x = x0 + sigma * eps
    error = score(x) + eps / sigma
    return error.square().flatten(1).sum(1) / 2


def langevin_step(x, score, step, z):
    """One step of Langevin dynamics: x, its score and standard normal z, all (B, ...), and the step's size."""
    return x + step / 2 * score + step**0.5 * z


def annealed(score, x, sigmas, step, each, generator):
    """Annealed Langevin dynamics: x (B, ...) down the falling sigmas, `each` steps of size step sigma² at each one.

    score(x, sigma) is the score of the data under that noise; fresh noise is drawn from the generator.
    """
    for sigma in sigmas:
        for _ in range(each):
            z = torch.randn(x.shape, generator=generator)
            x = langevin_step(x, score(x, sigma), step * sigma**2, z)
    return x


def reverse_step(x, score, f, g, dt, z):
    """One step of the reverse SDE, from t to t - dt: x, the score of p_t at x, noise z (B, ...); f, g, dt numbers."""
    return x - (f * x - g**2 * score) * dt + g * dt**0.5 * z


def flow_drift(x, score, f, g):
    """dx/dt of the probability-flow ODE at x (B, ...), where score is that of p_t at x; f and g are numbers."""
    return f * x - g**2 / 2 * score


def sliced_loss(score, x, v):
    """|s|²/2 + v·(J v) for each row, (B,): J is the Jacobian of score at x; x (B, D) requires grad, probes v (B, D)."""
    s = score(x)
    (gradient,) = torch.autograd.grad((s * v).sum(), x, create_graph=True)
    return s.square().sum(1) / 2 + (gradient * v).sum(1)


def corrector(score, x, snr, z):
    """A corrector's Langevin step at x (B, D), with noise z (B, D), its size by the norms of z and of score(x)."""
    s = score(x)
    ratio = z.norm(dim=1).mean() / s.norm(dim=1).mean()
    return langevin_step(x, s, 4 * (snr * ratio) ** 2, z)


def precondition(sigma, sigma_data):
    """c_skip, c_out and c_in of EDM, for noise sigma (B,) and data of standard deviation sigma_data, a number."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total**0.5, 1 / total**0.5


question(
    "16.predict_weights",
    answer="b",
    hints={
        "a": "That is what the theory promises after a time without end. How would a point ever cross the empty space?",
        "c": "The larger cloud does not pull harder: between the clouds the slope is that of the nearer one.",
    },
    why="half of the points start nearer to each cloud, and none of them ever crosses to the other",
)
question(
    "16.predict_half",
    answer="b",
    hints={
        "a": "The ½ makes up for the noise that the ODE does not add. Without noise, the whole drift is too much.",
        "c": "The score pulls the points together. Twice the pull does not spread them.",
    },
    why="the reverse SDE pulls twice as hard as the ODE because its noise spreads the points again; without the noise"
    " they are pulled together",
)
question(
    "16.predict_bits",
    answer="b",
    hints={
        "a": "Lesson 06's number was an upper bound on another sampler's cost, of one hundred Gaussian steps.",
        "c": "The chain pays for a hundred coarse Gaussian steps. Does the ODE pay for anything that it does not?",
    },
    why="the chain pays for a wrong variance at every one of its steps, and the ODE has no variances to get wrong",
)
