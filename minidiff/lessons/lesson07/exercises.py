"""Lesson 07's checks: the DDIM family's step, times and loop, the second-order step, the way back, the arc, Heun."""

from functools import partial
from math import pi

import torch

from minidiff import seeded
from minidiff.data import ring_mixture
from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson07 import solutions
from minidiff.schedule import cosine, linear


def _pair(t: float, s: float) -> tuple[float, ...]:
    """alpha_t, sigma_t, alpha_s, sigma_s of the linear schedule."""
    return tuple(float(value) for time in (t, s) for value in linear()(time))


def _exact():
    """The best denoiser of the ring on the cosine schedule."""
    return lambda x, t: ring_mixture().denoise(x, *(float(value) for value in cosine()(t)))


@exercise(
    "07.added_noise",
    solution=solutions.added_noise,
    core=True,
    hints=(
        "Two lines: first b, the noise of one step forwards, and then eta times b times a ratio of two sigmas.",
        "`b = (sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2) ** 0.5`, and the ratio is `sigma_s / sigma_t`.",
    ),
)
def _(attempt):
    for t, s in ((0.5, 0.4), (1.0, 0.2)):
        alpha_t, sigma_t, alpha_s, sigma_s = points = _pair(t, s)
        a = alpha_t / alpha_s
        share = sigma_s / sigma_t
        b = (sigma_t**2 - a**2 * sigma_s**2) ** 0.5
        slips = {
            "That is the variance. up is a standard deviation: take the square root.": (share * b) ** 2,
            "That is b, the noise of one step forwards: the posterior's is smaller, b sigma_s / sigma_t.": b,
            "The fraction is upside down: sigma_s / sigma_t, below 1.": b / share,
            "Under the root a is squared: sigma_t² - a² sigma_s².": share * (sigma_t**2 - a * sigma_s**2) ** 0.5,
            "a is missing: sigma_t² - a² sigma_s².": share * (sigma_t**2 - sigma_s**2) ** 0.5,
        }
        close(attempt(1.0, *points), share * b, "Not sigma_s b / sigma_t, b² = sigma_t² - a² sigma_s².", slips=slips)
        close(attempt(0.3, *points), 0.3 * share * b, "eta multiplies the standard deviation.")
    x = torch.randn(3, 2)
    _, std = linear().posterior(x, x, t, s)  # last, the course's own
    close(attempt(1.0, *points), std[0, 0], "Not the std of Schedule.posterior.", rtol=1e-3)


@exercise(
    "07.step",
    solution=solutions.ddim_step,
    core=True,
    hints=(
        "First find the noise that is in x: take alpha_t x0 away from x, and divide what is left by sigma_t.",
        "Three parts make x at s: the estimate times alpha_s, the old noise times the root of sigma_s² - up², and the "
        "fresh noise times up.",
    ),
)
def _(attempt):
    x, x0, noise = torch.randn(3, 4, 1, 8, 8)
    alpha_t, sigma_t, alpha_s, sigma_s = points = _pair(0.6, 0.5)
    up = 0.6 * sigma_s
    got = shaped(attempt(x, x0, noise, up, *points), (4, 1, 8, 8), "x at s has the shape of x at t.")
    eps, left = (x - alpha_t * x0) / sigma_t, (sigma_s**2 - up**2) ** 0.5
    right = alpha_s * x0 + left * eps + up * noise
    slips = _other_noises(right, eps, noise, up, sigma_s) | {
        "x0 is scaled by alpha at s, where we go, not at t.": right + (alpha_t - alpha_s) * x0,
        "alpha_t / alpha_s is one step's alpha (DDPM's, with its root). Here alpha_s itself belongs.": right
        + (alpha_t / alpha_s - alpha_s) * x0,
        "eps is what is left of x without alpha_t x0, divided by sigma_t.": right + left * ((x - x0) / sigma_t - eps),
        "eps is the noise in x, so find it with alpha and sigma at t, where x is.": right
        + left * ((x - alpha_s * x0) / sigma_s - eps),
    }
    close(got, right, "Not alpha_s x0 + sqrt(sigma_s² - up²) eps + up noise.", slips=slips)


def _other_noises(right, eps, noise, up, sigma_s) -> dict:
    left = (sigma_s**2 - up**2) ** 0.5
    missing = "A square root is missing: variances subtract, so the std of what stays is sqrt(sigma_s² - up²)."
    on_top = "The fresh noise comes on top of all the old: then x_s is too noisy. sqrt(sigma_s² - up²) of it stays."
    return {
        missing: right + (left**2 - left) * eps,
        on_top: right + (sigma_s - left) * eps,
        "Variances subtract, not standard deviations: sqrt(sigma_s² - up²).": right + (sigma_s - up - left) * eps,
        "The fresh noise is multiplied by up, its std.": right + (1 - up) * noise,
        "The fresh noise is missing: + up * noise.": right - up * noise,
    }


@exercise(
    "07.sample",
    solution=solutions.ddim,
    core=True,
    hints=(
        "`zip(times, times[1:])` gives the pairs (t, s), one for each step. The estimate is made where x is, at t.",
        "Inside the loop: `x0 = denoise(x, t)`, fresh `noise` from the generator, `up` by `added_noise`, and x by "
        "`ddim_step`. Both functions take alpha_t, sigma_t, alpha_s, sigma_s in this order.",
    ),
)
def _(attempt):
    from minidiff.sampler import last, sample, times

    denoise, schedule, x, path = _exact(), cosine(), torch.randn(6, 2), times(8)
    got = shaped(attempt(denoise, x, path, schedule), (6, 2), "The result is the x of the last step.")
    steps = list(sample(denoise, x, path, schedule))
    right = steps[-1].x
    slips = {
        "The last step, to t = 0, is missing.": steps[-2].x,
        "The times are used in the wrong order: from times[0], noise, down to 0.": x,
        "Ask for the estimate where x is, at t, not where it goes.": solutions.ddim(
            _asked_ahead(denoise, path), x, path, schedule
        ),
    }
    close(got, right, "At eta 0 not the sample of minidiff.sampler.sample.", slips=slips, rtol=1e-3, atol=1e-4)
    draws = [attempt(denoise, x, path, schedule, eta, seeded(3)) for eta in (1.0, 0.0)]
    require((draws[0] - draws[1]).abs().max() > 1e-3, "eta does nothing: hand it to added_noise.")
    wanted = last(sample(denoise, x, path, schedule, eta=1.0, generator=seeded(3)))
    hint = "At eta 1 not the same: draw noise anew at each step, torch.randn(x.shape, generator=generator, ...)."
    close(draws[0], wanted, hint, rtol=1e-3, atol=1e-4)


def _asked_ahead(denoise, times):
    """The denoiser, asked at the next of the times."""
    return lambda x, t: denoise(x, times[(times == t).nonzero().item() + 1])


@exercise(
    "07.times",
    solution=solutions.time_grid,
    core=True,
    hints=(
        "`torch.linspace` makes evenly spaced numbers. For `steps` steps you need one time more than there are steps.",
        "Fall evenly from 1 to 0 first, and then take the power: `torch.linspace(1, 0, steps + 1) ** power`.",
    ),
)
def _(attempt):
    from minidiff.sampler import times

    for steps, power in ((4, 1.0), (10, 1.0), (7, 2.0)):
        got = attempt(steps, power)
        right = times(steps, power=power)
        missing = isinstance(got, torch.Tensor) and len(got) == steps
        require(not missing, "One time is missing: n steps have n + 1 times, the last of them 0.")
        shaped(got, (steps + 1,), "n steps have n + 1 times.")
        slips = {
            "The times fall: noise is at t = 1, where a sampler begins.": right.flip(0),
            "power does nothing: raise the even times to it.": times(steps),
            "For power 2 the times crowd near 0, where the picture is: take the power of the falling times.": 1
            - times(steps).flip(0) ** power,
        }
        close(got, right, "Not (1 - i / steps) to the power, i = 0 ... steps.", slips=slips, atol=1e-6)
    close(attempt(5), times(5), "Without a power the times are even.", atol=1e-6)


@exercise(
    "07.second_order",
    solution=solutions.second_order_step,
    core=True,
    hints=(
        "λ is half of `schedule.log_snr`. First the two lengths on that axis: h from t to s, and h_before from "
        "`before` to t. Both are positive.",
        "`d = x0 + (x0 - x0_before) * h / (2 * h_before)` is the estimate in the middle of the step.",
        "Then it is DDIM's step with d in place of x0: `ddim_step(x, d, 0.0, 0.0, ...)`, whose eps comes from d too.",
    ),
)
def _(attempt):
    path, (x, x0, x0_before) = cosine(), torch.randn(3, 4, 1, 3, 3, dtype=torch.float64)
    for points in ((0.8, 0.6, 0.5), (0.5, 0.45, 0.2)):
        before, t, s = torch.tensor(points, dtype=torch.float64)
        got = shaped(attempt(x, x0, x0_before, before, t, s, path), (4, 1, 3, 3), "x at s has the shape of x at t.")
        h, h_before = ((path.log_snr(b) - path.log_snr(a)) / 2 for a, b in ((t, s), (before, t)))
        by = partial(_moved, x, path(t), path(s))
        ratios = h / h_before, h_before / h, (t - s) / (before - t)
        slips = _second_order_slips(by, x0, x0 - x0_before, *ratios)
        right = by(x0 + (x0 - x0_before) * ratios[0] / 2)
        close(got, right, "Not DDIM's step with d for x0.", slips=slips, rtol=1e-3)


def _second_order_slips(by, x0, turn, ratio, turned, in_time):
    return {
        "That is DDIM's step: the estimate before is not used.": by(x0),
        "The sign: the line goes on from the estimate before through this one.": by(x0 - turn * ratio / 2),
        "To the middle of the step: divide by 2.": by(x0 + turn * ratio),
        "The lengths are exchanged: h of this step, over twice that of the step before.": by(x0 + turn * turned / 2),
        "Both lengths are on the axis of λ, half the log-SNR, not of t.": by(x0 + turn * in_time / 2),
        "The noise belongs to d as well: eps = (x - alpha_t d) / sigma_t.": by(x0 + turn * ratio / 2, x0),
    }


def _moved(x, now, then, d, first=None):
    """DDIM's step from `now` to `then`, pairs (alpha, sigma), with the estimate d and the noise of another one."""
    first = d if first is None else first
    return then[0] * d + then[1] * (x - now[0] * first) / now[1]


@exercise(
    "07.slerp",
    solution=solutions.slerp,
    core=True,
    hints=(
        "The angle of two vectors is the arc cosine of `torch.cosine_similarity`. Flatten each row first.",
        "With `angle` of shape (B, 1), the weights of the flattened rows are `((1 - share) * angle).sin()` and "
        "`(share * angle).sin()`, both divided by `angle.sin()`. At the end, back to the shape of a.",
    ),
)
def _(attempt):
    a, b = torch.randn(2, 5, 1, 8, 8)
    b = b + 0.8 * a  # not at right angles, and longer
    hint = "One mixture for each row, of its shape: flatten(1) for the angle, then back."
    start, end = (shaped(attempt(a, b, share), (5, 1, 8, 8), hint) for share in (0.0, 1.0))
    sine = torch.cosine_similarity(a.flatten(1), b.flatten(1)).acos().sin().reshape(5, 1, 1, 1)
    slips = {"The ends are exchanged: share 0 is a, share 1 is b.": b, "Divide by sin(angle).": sine * a}
    close(start, a, "At share 0 it is a.", slips=slips, atol=1e-4)
    close(end, b, "At share 1 it is b.", atol=1e-4)
    whole = torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).acos()
    slips = {
        "That is the straight line: its middle has too little noise. Weigh by sin((1 - share) angle) / sin(angle).": (
            0.7 * a + 0.3 * b
        ),
        "Each row has an angle of its own: flatten(1), and the cosine over dim 1.": _arc(a, b, whole),
        "Those weights are for a right angle: measure the angle between a and b.": _arc(a, b, torch.tensor(pi / 2)),
    }
    close(attempt(a, b, 0.3), solutions.slerp(a, b, 0.3), "Not the arc from a to b.", slips=slips, atol=1e-4)


def _arc(a, b, angle):
    """Three tenths of the way from a to b, by one angle for all."""
    return ((0.7 * angle).sin() * a + (0.3 * angle).sin() * b) / angle.sin()


@exercise(
    "07.encode",
    solution=solutions.encode,
    core=True,
    hints=(
        "It is the loop of `ddim` without noise. The times rise already, so s is later than t.",
        "`ddim_step(x, denoise(x, t), 0.0, 0.0, alpha_t, sigma_t, alpha_s, sigma_s)` goes in either direction, because "
        "with up = 0 nothing in it asks which of the two times is the later one.",
    ),
)
def _(attempt):
    from minidiff.sampler import invert, times

    denoise = _exact()
    schedule = cosine()
    x, rises = ring_mixture().sample(6), times(10)[:-1].flip(0)
    got = shaped(attempt(denoise, x, rises, schedule), (6, 2), "A noise for each picture.")
    steps = list(invert(denoise, x, rises, schedule))
    ask_ahead = solutions.encode(_asked_ahead(denoise, rises), x, rises, schedule)
    slips = {
        "The last step, to times[-1], is missing: zip(times, times[1:]).": steps[-2].x,
        "Ask for the estimate where x is, at t, not where it goes: denoise(x, t).": ask_ahead,
        "The times rise already: do not turn them round.": solutions.encode(denoise, x, rises.flip(0), schedule),
    }
    hint = "Not minidiff.sampler.invert: DDIM's step with eta 0, from t to the later s."
    close(got, steps[-1].x, hint, slips=slips)
    hint = "Return the x of the last step, at times[-1], as it is: it still contains alpha x0 there."
    close(attempt(denoise, x, rises[:-2], schedule), steps[-3].x, hint)


@exercise(
    "07.paper_step",
    solution=solutions.paper_step,
    core=True,
    hints=(
        "The paper's alpha_bar is a running product: `(1 - betas).cumprod(0)`. Entry i belongs to step i.",
        "Find x0 at step i first, x = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps, and mix it with the same eps at j.",
        "For j = -1 Python reads the last entry. Put a 1 before the table, and shift the index by one.",
    ),
)
def _(attempt):
    betas, x, eps = torch.linspace(0.001, 0.2, 50), *torch.randn(2, 3, 2)
    got = shaped(attempt(x, eps, betas, 30, 20), (3, 2), "x at step j has the shape of x at step i.")
    bar = (1 - betas).cumprod(0)
    slips = {
        "alpha where alpha_bar belongs: the paper's is the product of all (1 - beta) so far.": _table_step(
            x, eps, 1 - betas, 30, 20
        ),
        "A square root is missing: x = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.": _table_step(
            x, eps, bar, 30, 20, power=1
        ),
        "Off by one: steps are numbered from 0, so alpha_bar of step i contains betas[i].": _table_step(
            x, eps, bar, 29, 19
        ),
    }
    right = _table_step(x, eps, bar, 30, 20)
    close(got, right, "Not sqrt(alpha_bar_j) x0 + sqrt(1 - alpha_bar_j) eps.", slips=slips, rtol=1e-3)
    _reaches_the_clean_picture(attempt, x, eps, betas, bar)


def _table_step(x, eps, table, i, j, power=0.5):
    x0 = (x - (1 - table[i]) ** power * eps) / table[i] ** power
    return table[j] ** power * x0 + (1 - table[j]) ** power * eps


def _reaches_the_clean_picture(attempt, x, eps, betas, bar):
    from minidiff.sampler import last, sample
    from minidiff.schedule import from_betas

    path = torch.tensor([31, 0]) / 50  # step 30 is t = 31 / 50
    theirs = last(sample(lambda x, t: (x - (1 - bar[30]).sqrt() * eps) / bar[30].sqrt(), x, path, from_betas(betas)))
    hint = "j = -1 is the clean picture: alpha_bar is 1 there, not the last entry of the table."
    close(attempt(x, eps, betas, 30, -1), theirs, hint, rtol=1e-3)


@exercise(
    "07.heun_step",
    solution=solutions.heun_step,
    hints=(
        "Begin with DDIM's step to s, and keep x0 and eps. Then ask for the estimate at s, and find the eps there.",
        "The second step starts from x again: add (alpha_s - alpha_t) times the mean of both x0, and "
        "(sigma_s - sigma_t) times the mean of both eps.",
    ),
)
def _(attempt):
    from minidiff.sampler import heun

    denoise = _exact()
    schedule = cosine()
    x = torch.randn(5, 2)
    t, s = torch.tensor([0.6, 0.5], dtype=torch.float64)
    got = shaped(attempt(denoise, x, t, s, schedule), (5, 2), "x at s has the shape of x at t.")
    points = [value for time in (t, s) for value in schedule(time)]
    first = solutions.ddim_step(x, denoise(x, t), 0.0, 0.0, *points)
    right = [step.x for step in heun(denoise, x, torch.stack([t, s, 0 * s]), schedule)][1]
    slips = {
        "That is DDIM's step: to x, add (alpha_s - alpha_t) x0 + (sigma_s - sigma_t) eps of the means.": first,
        "The sum of both ends, not their mean: divide by 2.": x + 2 * (right - x),
        "The second look is made at s, where the first step has arrived: denoise(ahead, s).": _late_look(
            x, first, denoise(x, t), denoise(first, t), points
        ),
        "The corrected step starts from x again, not from the end of the first.": first + right - x,
    }
    close(got, right, "Not Heun's step.", slips=slips, rtol=1e-3)


def _late_look(x, ahead, x0, second, points):
    """Heun's step with `second` as its second estimate."""
    alpha_t, sigma_t, alpha_s, sigma_s = points
    eps = (x - alpha_t * x0) / sigma_t + (ahead - alpha_s * second) / sigma_s
    return x + (alpha_s - alpha_t) * (x0 + second) / 2 + (sigma_s - sigma_t) * eps / 2
