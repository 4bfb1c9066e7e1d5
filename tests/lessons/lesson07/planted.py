"""Lesson 07's planted bugs: each must be told apart by a hint of its own."""

import torch

from minidiff.lessons.lesson07.solutions import (
    added_noise,
    ddim,
    ddim_step,
    encode,
    heun_step,
    paper_step,
    second_order_step,
    slerp,
    time_grid,
)


def added(eta, alpha_t, sigma_t, alpha_s, sigma_s, *, root=0.5, posterior=True, turned=False):
    b = (sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2) ** 0.5
    share = sigma_t / sigma_s if turned else sigma_s / sigma_t
    return eta * (b * share if posterior else b) ** (2 * root)


def step(x, x0, noise, up, alpha_t, sigma_t, alpha_s, sigma_s, *, root=0.5, keep_all=False, scale=None):
    eps = (x - alpha_t * x0) / sigma_t
    left = sigma_s if keep_all else (sigma_s**2 - up**2) ** root
    return (scale or alpha_s) * x0 + left * eps + up * noise


def deviations_subtracted(x, x0, noise, up, alpha_t, sigma_t, alpha_s, sigma_s):
    return alpha_s * x0 + (sigma_s - up) * (x - alpha_t * x0) / sigma_t + up * noise


def from_table(x, eps, table, i, j, root=0.5):
    x0 = (x - (1 - table[i]) ** root * eps) / table[i] ** root
    return table[j] ** root * x0 + (1 - table[j]) ** root * eps


def stops_early(denoise, x, times, schedule, eta=0.0, generator=None):
    return ddim(denoise, x, times[:-1], schedule, eta, generator)


def one_noise(denoise, x, times, schedule, eta=0.0, generator=None):
    noise = torch.randn(x.shape, generator=generator)
    for t, s in zip(times, times[1:]):
        points = (*schedule(t), *schedule(s))
        x = ddim_step(x, denoise(x, t), noise, added_noise(eta, *points), *points)
    return x


def asks_ahead(denoise, x, times, schedule):
    for t, s in zip(times, times[1:]):
        x = ddim_step(x, denoise(x, s), 0.0, 0.0, *schedule(t), *schedule(s))
    return x


def noise_in_the_end(denoise, x, times, schedule):
    x, (alpha, sigma) = encode(denoise, x, times, schedule), schedule(times[-1])
    return (x - alpha * denoise(x, times[-1])) / sigma


def not_divided(a, b, share):
    angle = torch.cosine_similarity(a.flatten(1), b.flatten(1)).acos().reshape(-1, 1, 1, 1)
    return ((1 - share) * angle).sin() * a + (share * angle).sin() * b


def heun_doubled(denoise, x, t, s, schedule):
    return x + 2 * (heun_step(denoise, x, t, s, schedule) - x)


def euler(denoise, x, t, s, schedule):
    return ddim_step(x, denoise(x, t), 0.0, 0.0, *schedule(t), *schedule(s))


def second_order(x, x0, x0_before, before, t, s, schedule, *, middle=2, turned=False, by_time=False, half=False):
    h, h_before = ((schedule.log_snr(b) - schedule.log_snr(a)) / 2 for a, b in ((t, s), (before, t)))
    ratio = (t - s) / (before - t) if by_time else h_before / h if turned else h / h_before
    d = x0 + (x0 - x0_before) * ratio / middle
    eps = (x - schedule(t)[0] * (x0 if half else d)) / schedule(t)[1]
    return schedule(s)[0] * d + schedule(s)[1] * eps


PLANTED = {
    "07.added_noise": [
        lambda *args: added(*args, root=1),  # the variance: a missing square root
        lambda *args: added(*args, posterior=False),  # sigma-hat
        lambda *args: added(*args, turned=True),
        lambda eta, *points: added(1.0, *points),  # eta forgotten
        lambda eta, alpha_t, sigma_t, alpha_s, sigma_s: eta * sigma_s / sigma_t * (sigma_t**2 - sigma_s**2) ** 0.5,
    ],
    "07.step": [
        lambda *args: step(*args, root=1),  # a missing square root
        lambda *args: step(*args, keep_all=True),  # noise on top of noise
        lambda *args: step(*args, scale=args[4]),  # alpha of t
        lambda *args: step(*args, scale=args[4] / args[6]),  # one step's alpha where alpha_bar's root belongs
        lambda x, x0, noise, up, *points: ddim_step(x, x0, 0 * noise, up, *points),
        deviations_subtracted,
        lambda x, x0, noise, up, *points: ddim_step(x, x0, noise, up, *points[2:], *points[2:]),  # eps found at s
    ],
    "07.sample": [
        stops_early,
        one_noise,
        lambda denoise, x, times, schedule, eta=0.0, generator=None: asks_ahead(denoise, x, times, schedule),
        lambda denoise, x, times, schedule, eta=0.0, generator=None: ddim(denoise, x, times, schedule),
    ],
    "07.times": [
        lambda steps, power=1.0: time_grid(steps - 1, power),  # a time too few
        lambda steps, power=1.0: time_grid(steps, power).flip(0),
        lambda steps, power=1.0: time_grid(steps),
        lambda steps, power=1.0: 1 - time_grid(steps).flip(0) ** power,  # crowded at the noisy end
    ],
    "07.second_order": [
        lambda x, x0, x0_before, *args: second_order_step(x, x0, x0, *args),  # DDIM
        lambda *args: second_order(*args, middle=1),
        lambda *args: second_order(*args, middle=-2),
        lambda *args: second_order(*args, turned=True),
        lambda *args: second_order(*args, by_time=True),
        lambda *args: second_order(*args, half=True),
    ],
    "07.slerp": [
        lambda a, b, share: (1 - share) * a + share * b,
        lambda a, b, share: slerp(b, a, share),
        not_divided,
        lambda a, b, share: slerp(a[None], b[None], share)[0],  # one angle for all rows
    ],
    "07.encode": [
        lambda denoise, x, times, schedule: encode(denoise, x, times[:-1], schedule),
        lambda denoise, x, times, schedule: encode(denoise, x, times.flip(0), schedule),
        asks_ahead,
        lambda denoise, x, times, schedule: x,
        noise_in_the_end,
    ],
    "07.paper_step": [
        lambda x, eps, betas, i, j: from_table(x, eps, 1 - betas, i, j),  # alpha where alpha_bar belongs
        lambda x, eps, betas, i, j: from_table(x, eps, (1 - betas).cumprod(0), i, j, root=1),  # no square root
        lambda x, eps, betas, i, j: from_table(x, eps, (1 - betas).cumprod(0), i - 1, j - 1),  # off by one
        lambda x, eps, betas, i, j: from_table(x, eps, (1 - betas).cumprod(0), i, j),  # j = -1 reads the last entry
        lambda x, eps, betas, i, j: paper_step(x, eps, betas, i, i),
    ],
    "07.heun_step": [
        euler,
        heun_doubled,
        lambda *args: heun_step(*args) + euler(*args) - args[1],  # from the end of the first step
        lambda denoise, x, t, *rest: heun_step(lambda y, _: denoise(y, t), x, t, *rest),  # asks at t twice
    ],
}
