"""The answers of lesson 05: the functions that the learner writes, and the predictions."""

import torch

from minidiff.exercises.core import question


def noising_step(x, beta, eps):
    """One step of the chain: x (B, ...) shrunk, and noise of variance beta added, with eps of x's shape."""
    return (1 - beta) ** 0.5 * x + beta**0.5 * eps


def alpha_and_sigma(betas):
    """betas (T,) -> alpha and sigma at the times 0, 1/T, ..., 1: a pair of tensors, each (T + 1,)."""
    alpha_bar = torch.cat([torch.ones(1), torch.cumprod(1 - betas, 0)])
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def add_noise(x0, alpha, sigma, eps):
    """alpha x0 + sigma eps, with an alpha and a sigma for each row: x0 and eps (B, ...), alpha and sigma (B,)."""
    shape = (len(x0), *[1] * (x0.ndim - 1))  # (B, 1, 1, ...)
    return alpha.view(shape) * x0 + sigma.view(shape) * eps


def estimate_x0(x, eps, alpha, sigma):
    """The x0 in x = alpha x0 + sigma eps, if eps is its noise: all of shapes that multiply, x0 of the shape of x."""
    return (x - sigma * eps) / alpha


def posterior(schedule, x, x0, t, s):
    """Mean (B, ...) and standard deviation of q(x_s | x_t = x, x0), for x and x0 (B, ...) and numbers s < t."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    a = alpha_t / alpha_s
    b_squared = sigma_t**2 - a**2 * sigma_s**2
    mean = (a * sigma_s**2 * x + alpha_s * b_squared * x0) / sigma_t**2
    return mean, sigma_s * b_squared.sqrt() / sigma_t


def from_score(x, score, alpha, sigma):
    """Tweedie's formula: E[x0 | x_t = x] (B, D), from x (B, D), the score of p_t at x (B, D), and two numbers."""
    return (x + sigma**2 * score) / alpha


def backward(denoise, schedule, x, steps, generator):
    """From noise x (B, ...) at t = 1 back to t = 0: a list of all x on the way, steps + 1 tensors (B, ...).

    denoise(x, t) is the best guess at x0 for a number t; fresh noise is drawn from the generator.
    """
    path = [x]
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        mean, std = posterior(schedule, x, denoise(x, t), t, s)
        x = mean + std * torch.randn(x.shape, generator=generator)
        path.append(x)
    return path


def linear_betas(steps):
    """DDPM's betas for any number of steps, (steps,): from 1e-4 to 0.02 on a line, scaled by 1000 / steps."""
    return torch.linspace(1e-4, 0.02, steps) * (1000 / steps)


def time_of(schedule, log_snr):
    """The time at which the schedule has this log-SNR, a number: the interval is halved until it is found."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if schedule.log_snr(middle) > log_snr:  # too clear still: look later
            low = middle
        else:
            high = middle
    return middle


def translate(x, t, schedule, other):
    """x (B, ...) at time t of one schedule -> the same x0 and eps in the `other` one (B, ...), and its time there."""
    s = time_of(other, schedule.log_snr(t))  # exercise 2
    return x * other(s)[0] / schedule(t)[0], s


def best_denoiser(x, known, alpha, sigma):
    """E[x0 | x_t = x] if x0 is one of the pictures `known` (N, ...), each as likely: x (B, ...), the same shape out."""
    pictures = known.flatten(1)  # (N, D)
    squares = torch.cdist(x.flatten(1), alpha * pictures) ** 2  # (B, N)
    weights = (-squares / (2 * sigma**2)).softmax(1)  # by Bayes' rule
    return (weights @ pictures).view_as(x)


question(
    "05.predict_guess",
    answer="b",
    hints={
        "a": "The least squared error is the mean of what is possible, not the likeliest. Lesson 00 met it before.",
        "c": "That is a draw from what is possible. No draw has a squared error as small as the mean's.",
    },
    why="the best guess by squared error is the mean of all x0 that could have become this x_t, likely ones first",
)
question(
    "05.predict_minus",
    answer="c",
    hints={
        "a": "Noise of size sigma went in. How much was taken out?",
        "b": "alpha is nearly 1 here, so it cannot be the picture that faded.",
    },
    why="0.2 of the noise went in and all of it is taken out: what is left is about x0 - 0.8 eps",
)
question(
    "05.predict_unscaled",
    answer="b",
    hints={
        "a": "The last beta is 0.02 in both, but alpha_bar is a product over all steps, and there are ten times fewer.",
        "c": "A hundred steps whose variance is about 0.01 each do add up.",
    },
    why="log alpha_bar is about minus the sum of the betas: -10 for 1,000 steps, -1 for 100, and exp(-1) = 0.37",
)
