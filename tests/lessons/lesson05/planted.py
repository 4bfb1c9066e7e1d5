"""Lesson 05's planted bugs: each must be told apart by a hint of its own."""

import torch

from minidiff.lessons.lesson05.solutions import (
    add_noise,
    alpha_and_sigma,
    backward,
    best_denoiser,
    estimate_x0,
    posterior,
    time_of,
)
from minidiff.schedule import linear


def no_front(betas):
    alpha, sigma = alpha_and_sigma(betas)
    return alpha[1:], sigma[1:]


def of_betas(betas):
    alpha_bar = torch.cat([torch.ones(1), torch.cumprod(betas, 0)])
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def added_up(betas):
    alpha_bar = torch.cat([torch.ones(1), 1 - betas.cumsum(0)])
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def kept(betas):
    """What each single step keeps, not multiplied."""
    return torch.cat([torch.ones(1), 1 - betas])


def sigma_squared(betas):
    alpha, sigma = alpha_and_sigma(betas)
    return alpha, sigma**2


def no_roots(betas):
    return tuple(value**2 for value in alpha_and_sigma(betas))


def for_pictures_only(x0, alpha, sigma, eps):
    return alpha[:, None, None, None] * x0 + sigma[:, None, None, None] * eps


def forward_noise(schedule, x, x0, t, s):
    return posterior(schedule, x, x0, t, s)[0], schedule.transition(t, s)[1]


def not_shrunk(schedule, x, x0, t, s):
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    b_squared = sigma_t**2 - sigma_s**2
    mean = (alpha_t / alpha_s * sigma_s**2 * x + alpha_s * b_squared * x0) / sigma_t**2
    return mean, sigma_s * b_squared.sqrt() / sigma_t


def way(denoise, schedule, x, steps, generator, *, shift=0, size="std", jump=False, own=True, fresh=True):
    path = [x]
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        guess = denoise(x, (i - shift) / steps)
        mean, std = posterior(schedule, x, guess, t, s)
        factor = {"std": std, "var": std**2, "large": schedule.transition(t, s)[1], "unit": 1.0, "none": 0.0}[size]
        if fresh or i == steps:
            noise = torch.randn(x.shape, generator=generator if own else None)
        x = (guess if jump else mean) + factor * noise
        path.append(x)
    return path


def walked(**changes):
    return lambda denoise, schedule, x, steps, generator: way(denoise, schedule, x, steps, generator, **changes)


def turned_search(schedule, log_snr):
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if schedule.log_snr(middle) > log_snr else (middle, high)
    return middle


def moment(t, schedule, other):
    return time_of(other, schedule.log_snr(t))


def weighted(x, known, exponent, axis=1):
    return (exponent.softmax(axis) @ known.flatten(1)).view_as(x)


def distance(x, known, alpha):
    return torch.cdist(x.flatten(1), alpha * known.flatten(1))


def underflows(x, known, alpha, sigma):
    weights = (-(distance(x, known, alpha) ** 2) / (2 * sigma**2)).exp()
    return (weights @ known.flatten(1) / weights.sum(1, keepdim=True)).view_as(x)


PLANTED = {
    "05.step": [
        lambda x, beta, eps: (1 - beta) * x + beta * eps,  # no roots
        lambda x, beta, eps: x + beta**0.5 * eps,  # x does not shrink
        lambda x, beta, eps: (1 - beta) ** 0.5 * x + beta * eps,  # one root
        lambda x, beta, eps: beta**0.5 * x + (1 - beta) ** 0.5 * eps,  # turned
        lambda x, beta, eps: (1 - beta) ** 0.5 * x,
    ],
    "05.alpha_bar": [
        no_front,
        of_betas,
        added_up,
        sigma_squared,
        no_roots,
        lambda betas: tuple(value.sqrt() for value in (kept(betas), 1 - kept(betas))),
        lambda betas: (alpha_and_sigma(betas)[0], 1 - alpha_and_sigma(betas)[0]),
    ],
    "05.add_noise": [
        lambda x0, alpha, sigma, eps: alpha * x0 + sigma * eps,  # multiplies columns, without an error
        lambda x0, alpha, sigma, eps: add_noise(x0, alpha**2, sigma, eps),  # alpha_bar where alpha belongs
        lambda x0, alpha, sigma, eps: add_noise(x0, alpha, sigma**2, eps),  # a missing root
        lambda x0, alpha, sigma, eps: add_noise(x0, alpha, torch.ones_like(sigma), eps),  # all of the noise
        lambda x0, alpha, sigma, eps: add_noise(x0, sigma, alpha, eps),  # turned
        lambda x0, alpha, sigma, eps: add_noise(x0, alpha, 0 * sigma, eps),
        lambda x0, alpha, sigma, eps: alpha[0] * x0 + sigma[0] * eps,  # one for all rows
        for_pictures_only,
    ],
    "05.estimate_x0": [
        lambda x, eps, alpha, sigma: x - eps,  # "denoised = noisy - predicted noise"
        lambda x, eps, alpha, sigma: x - sigma * eps,
        lambda x, eps, alpha, sigma: (x - eps) / alpha,
        lambda x, eps, alpha, sigma: (x - sigma * eps) / alpha**2,
        lambda x, eps, alpha, sigma: (x + sigma * eps) / alpha,
        lambda x, eps, alpha, sigma: x - sigma * eps / alpha,
        lambda x, eps, alpha, sigma: (x - sigma**2 * eps) / alpha,
    ],
    "05.posterior": [
        lambda schedule, x, x0, t, s: posterior(schedule, x0, x, t, s),
        forward_noise,
        not_shrunk,
        lambda schedule, x, x0, t, s: posterior(schedule, x, x0, t, s)[0],
        lambda schedule, x, x0, t, s: posterior(schedule, x, x0 / schedule(s)[0], t, s),  # x0 at full size
        lambda schedule, x, x0, t, s: posterior(schedule, x, x0 * schedule.transition(t, s)[0], t, s),  # alpha of t
        lambda schedule, x, x0, t, s: posterior(schedule, x, x0 / schedule.transition(t, s)[1], t, s),  # b, not b²
        lambda schedule, x, x0, t, s: posterior(schedule, x / schedule.transition(t, s)[0], x0, t, s),  # no a
        lambda schedule, x, x0, t, s: (posterior(schedule, x, x0, t, s)[0], posterior(schedule, x, x0, t, s)[1] ** 2),
    ],
    "05.tweedie": [
        lambda x, score, alpha, sigma: (x + sigma * score) / alpha,
        lambda x, score, alpha, sigma: (x - sigma**2 * score) / alpha,
        lambda x, score, alpha, sigma: x + sigma**2 * score,
        lambda x, score, alpha, sigma: x + sigma**2 * score / alpha,
        lambda x, score, alpha, sigma: -sigma * score,
    ],
    "05.backward": [
        walked(shift=1),  # asked where it goes
        walked(size="none"),
        walked(size="var"),
        walked(size="large"),
        walked(size="unit"),
        walked(jump=True),
        walked(own=False),
        walked(fresh=False),
        lambda denoise, schedule, x, steps, generator: backward(denoise, schedule, x, steps, generator)[-1],
        lambda denoise, schedule, x, steps, generator: backward(denoise, schedule, x, steps, generator)[::-1],
        lambda denoise, schedule, x, steps, generator: backward(denoise, schedule, x, steps, generator)[1:],
        lambda denoise, schedule, x, steps, generator: backward(denoise, linear(), x, steps, generator),
    ],
    "05.linear_betas": [
        lambda steps: torch.linspace(1e-4, 0.02, steps),  # unscaled
        lambda steps: torch.linspace(1e-4, 0.02, steps) * (steps / 1000),  # the wrong way round
        lambda steps: (1e-4 + 0.0199 * torch.arange(steps) / steps) * (1000 / steps),  # never reaches the end
        lambda steps: torch.linspace(1e-4, 0.02 * 1000 / steps, steps),  # one end only
        lambda steps: torch.linspace(1e-4, 0.02, steps) * (1000 // steps),
    ],
    "05.time_of": [
        turned_search,
        lambda schedule, log_snr: time_of(schedule, 2 * log_snr),
        lambda schedule, log_snr: time_of(schedule, log_snr / 2),
        lambda schedule, log_snr: time_of(schedule, -log_snr),
    ],
    "05.translate": [
        lambda x, t, schedule, other: (x, time_of(other, schedule.log_snr(t))),
        lambda x, t, schedule, other: (x * other(t)[0] / schedule(t)[0], t),
        lambda x, t, schedule, other: (x * other(time_of(other, schedule.log_snr(t)))[0], moment(t, schedule, other)),
        lambda x, t, schedule, other: (x / schedule(t)[0], moment(t, schedule, other)),
    ],
    "05.best_denoiser": [
        lambda x, known, alpha, sigma: known[distance(x, known, alpha).argmin(1)],
        lambda x, known, alpha, sigma: weighted(x, known, -distance(x, known, alpha) / (2 * sigma**2)),
        lambda x, known, alpha, sigma: weighted(x, known, -(distance(x, known, 1) ** 2) / (2 * sigma**2)),
        lambda x, known, alpha, sigma: weighted(x, known, -(distance(x, known, alpha) ** 2) / sigma**2),
        lambda x, known, alpha, sigma: estimate_x0(x, 0, alpha, sigma),  # nothing of `known`
        lambda x, known, alpha, sigma: weighted(x, known, -(distance(x, known, alpha) ** 2) / (2 * sigma**2), 0),
        lambda x, known, alpha, sigma: weighted(x, known, -(distance(x, known, alpha) ** 2) / (32 * sigma**2)),
        lambda x, known, alpha, sigma: weighted(x, known, -(distance(x, known, alpha) ** 2) / (2 * sigma)),
        underflows,
        lambda x, known, alpha, sigma: weighted(x, known, distance(x, known, alpha) ** 2 / (2 * sigma**2)),
        lambda x, known, alpha, sigma: alpha * best_denoiser(x, known, alpha, sigma),
    ],
}
