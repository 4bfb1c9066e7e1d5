"""The answers of lesson 07: the functions that its learner writes, as the notebook shows them, and the predictions."""

import torch

from minidiff.exercises.core import question


def added_noise(eta, alpha_t, sigma_t, alpha_s, sigma_s):
    """The std `up` of the fresh noise in a step from t to s: eta times that of the posterior q(x_s | x_t, x_0)."""
    a = alpha_t / alpha_s
    b = (sigma_t**2 - a**2 * sigma_s**2) ** 0.5  # the std of q(x_t | x_s)
    return eta * sigma_s * b / sigma_t


def ddim_step(x, x0, noise, up, alpha_t, sigma_t, alpha_s, sigma_s):
    """x at t, estimate x0, standard normal noise, all (B, ...) -> x (B, ...) at s < t, in which up * noise is new."""
    eps = (x - alpha_t * x0) / sigma_t
    return alpha_s * x0 + (sigma_s**2 - up**2) ** 0.5 * eps + up * noise


@torch.no_grad()
def ddim(denoise, x, times, schedule, eta=0.0, generator=None):
    """x (B, ...) at times[0] -> the sample at times[-1] = 0, by one step from each of the times (n,) to the next."""
    for t, s in zip(times, times[1:]):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        x0 = denoise(x, t)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        up = added_noise(eta, alpha_t, sigma_t, alpha_s, sigma_s)
        x = ddim_step(x, x0, noise, up, alpha_t, sigma_t, alpha_s, sigma_s)
    return x


def time_grid(steps, power=1.0):
    """The times of a sampler, (steps + 1,), falling from 1 to 0: even for power 1, crowded near 0 for power 2."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** power


def second_order_step(x, x0, x0_before, before, t, s, schedule):
    """x (B, ...) at t -> x at s, by the estimates x0 at t and x0_before at the time before; before > t > s > 0."""
    h = (schedule.log_snr(s) - schedule.log_snr(t)) / 2
    h_before = (schedule.log_snr(t) - schedule.log_snr(before)) / 2
    d = x0 + (x0 - x0_before) * h / (2 * h_before)  # the estimate in the middle of the step
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    eps = (x - alpha_t * d) / sigma_t
    return alpha_s * d + sigma_s * eps


def slerp(a, b, share):
    """From noise a (B, ...) at share 0 to noise b at share 1 along the arc between them: each row by its own angle."""
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    angle = torch.cosine_similarity(flat_a, flat_b).clamp(-1, 1).acos()[:, None]  # (B, 1)
    mixed = (((1 - share) * angle).sin() * flat_a + (share * angle).sin() * flat_b) / angle.sin()
    return mixed.reshape(a.shape)


@torch.no_grad()
def encode(denoise, x, times, schedule):
    """Pictures x (B, ...) at times[0], just above 0, -> their noise at times[-1], by DDIM's step to later times."""
    for t, s in zip(times, times[1:]):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        x0 = denoise(x, t)
        eps = (x - alpha_t * x0) / sigma_t
        x = alpha_s * x0 + sigma_s * eps
    return x


def paper_step(x, eps, betas, i, j):
    """x and its noise eps, both (B, ...), at step i -> x at step j < i; betas (T,), and j = -1 is the clean picture."""
    alpha_bar = torch.cat([torch.ones(1), (1 - betas).cumprod(0)])  # alpha_bar[k + 1] belongs to step k
    now, then = alpha_bar[i + 1], alpha_bar[j + 1]
    x0 = (x - (1 - now).sqrt() * eps) / now.sqrt()
    return then.sqrt() * x0 + (1 - then).sqrt() * eps


def heun_step(denoise, x, t, s, schedule):
    """x (B, ...) at t -> x at s, 0 < s < t: DDIM's step, then once more with the means of both ends."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    x0 = denoise(x, t)
    eps = (x - alpha_t * x0) / sigma_t
    ahead = alpha_s * x0 + sigma_s * eps
    x0_ahead = denoise(ahead, s)
    eps_ahead = (ahead - alpha_s * x0_ahead) / sigma_s
    return x + (alpha_s - alpha_t) * (x0 + x0_ahead) / 2 + (sigma_s - sigma_t) * (eps + eps_ahead) / 2


question(
    "07.predict_noise",
    answer="c",
    hints={
        "a": "What the step takes from the old noise, sigma_s² - up², and what it adds, up², make sigma_s² together.",
        "b": "Look at the two shares of the noise: as up grows, the other one shrinks.",
    },
    why="whatever up is, the noise of x_s has variance (sigma_s² - up²) + up² = sigma_s², which is all training saw",
)
question(
    "07.predict_same",
    answer="b",
    hints={
        "a": "With eta 0 nothing is drawn on the way: what else than x_T could decide which digit it becomes?",
        "c": "More steps follow the same curve from the same start, only more closely.",
    },
    why="all of them follow one differential equation from one start; few steps are only a coarser drawing of it",
)
question(
    "07.predict_long",
    answer="b",
    hints={
        "a": "That holds for the true x0. The estimate is an average over all clean points that could lie behind x_t.",
        "c": "Does the estimate of x0 vary more than x0 itself, or less? It is an average.",
    },
    why="an average varies less than what it averages, so a long step with the estimate comes out too narrow",
)
question(
    "07.predict_order",
    answer="c",
    hints={
        "a": "That would be order 0: more steps without any gain.",
        "b": "That is order 1, DDIM. A second-order method gains the square.",
    },
    why="the error of a second-order method is proportional to the square of the step's length: (1/2)² = 1/4",
)
question(
    "07.predict_straight",
    answer="a",
    hints={
        "b": "Two independent noises stand at right angles: the middle of the line between them is nearer to 0.",
        "c": "Nothing adds length: the middle is half of one plus half of the other.",
    },
    why="half of each of two independent noises has variance 1/4 + 1/4 = 1/2: too little noise for t = 1",
)
