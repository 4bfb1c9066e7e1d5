"""Lesson 05's checks: the chain, its closed form, the way back, Tweedie's formula, and schedules compared."""

import torch

from minidiff import seeded
from minidiff.data import ring_mixture
from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson05 import solutions
from minidiff.lessons.lesson05.probes import guessed, slips_of_the_mean, slips_of_the_way, slips_of_the_weights
from minidiff.sampler import sample, times
from minidiff.schedule import cosine, from_betas, linear, straight, variance_exploding


@exercise(
    "05.step",
    solution=solutions.noising_step,
    core=True,
    hints=(
        "The formula has two terms, one for `x` and one for `eps`, and each of them has a square root.",
        "The root of a number or a tensor is `value ** 0.5`, which works for both.",
    ),
)
def _(attempt):
    x = torch.randn(6, 2)
    eps = torch.randn(6, 2)
    beta = torch.tensor(0.2)
    got = shaped(attempt(x, beta, eps), (6, 2), "Keep the shape of x.")
    slips = {
        "Both roots are missing: noise of variance beta is sqrt(beta) * eps, and x shrinks by sqrt(1 - beta).": 0.8 * x
        + 0.2 * eps,
        "x must shrink by sqrt(1 - beta), or the variance grows with every step.": x + 0.2**0.5 * eps,
        "x is right, and the noise is too small: its factor is sqrt(beta), not beta.": 0.8**0.5 * x + 0.2 * eps,
        "The two roots have changed places: beta is the variance of the noise.": 0.2**0.5 * x + 0.8**0.5 * eps,
        "The noise is missing: + sqrt(beta) * eps.": 0.8**0.5 * x,
    }
    close(got, solutions.noising_step(x, beta, eps), "Not sqrt(1 - beta) x + sqrt(beta) eps.", slips=slips)


@exercise(
    "05.alpha_bar",
    solution=solutions.alpha_and_sigma,
    core=True,
    hints=(
        "`torch.cumprod` returns the running products of a tensor: the first entry, the first two multiplied, and so"
        " on.",
        "`torch.cat([torch.ones(1), ...])` puts the clean picture in front, and makes T + 1 entries of T.",
        "With `alpha_bar = torch.cat([torch.ones(1), torch.cumprod(1 - betas, 0)])`, alpha is its root, and sigma is"
        " the root of `1 - alpha_bar`.",
    ),
)
def _(attempt):
    betas = torch.linspace(0.05, 0.4, 6)
    result = _pair(attempt(betas), "alpha, sigma")
    alpha = shaped(result[0], (7,), "T + 1 times: put alpha_bar = 1, the clean picture, in front of the products.")
    right, right_sigma = solutions.alpha_and_sigma(betas)
    slips = {"That is alpha_bar: alpha is its root.": right**2} | _wrong_products(betas)
    close(alpha, right, "alpha is the root of the running product of 1 - beta.", slips=slips)
    slips = {
        "alpha² + sigma² = 1, so sigma is a root: sqrt(1 - alpha_bar).": right_sigma**2,
        "Variances add up to 1, not factors: sigma is sqrt(1 - alpha_bar), not 1 - alpha.": 1 - right,
    }
    close(result[1], right_sigma, "sigma² is what alpha² leaves of 1.", slips=slips)
    ours = from_betas(betas)(torch.linspace(0, 1, 7))
    close(torch.stack(result), torch.stack(ours), "Not equal to minidiff.schedule.from_betas.")


def _wrong_products(betas) -> dict:
    def root(alpha_bar):
        return torch.cat([torch.ones(1), alpha_bar]).sqrt()

    return {
        "Multiply what is left after each step, 1 - beta, not the betas.": root(betas.cumprod(0)),
        "Shares of what is left multiply, they do not add: cumprod of 1 - beta.": root(1 - betas.cumsum(0)),
        "That is what each single step keeps: multiply it with all steps before, torch.cumprod.": root(1 - betas),
    }


@exercise(
    "05.add_noise",
    solution=solutions.add_noise,
    core=True,
    hints=(
        "The formula is one line. The work is to make a shape that has B first and then as many ones as `x0` has "
        "further axes.",
        "`x0.ndim` is the number of axes. `[1] * 3` is a list of three ones, and `alpha.view(16, 1, 1, 1)` gives "
        "alpha that shape.",
        "`shape = (len(x0), *[1] * (x0.ndim - 1))` works for points and for pictures. Both `alpha.view(shape)` and "
        "`sigma.view(shape)` are needed.",
    ),
)
def _(attempt):
    trap = "An alpha of shape (B,) multiplies the last axis. Reshape it to (B, 1, 1, ...): one number for each row."
    for shape in ((16, 1, 16, 16), (2, 2), (5, 1, 5, 5)):
        x0, eps = torch.randn(2, *shape)
        t = torch.rand(shape[0])
        alpha, sigma = linear()(t)
        got = shaped(attempt(x0, alpha, sigma, eps), shape, "Keep the shape of x0: points have 2 axes, pictures 4.")
        right = solutions.add_noise(x0, alpha, sigma, eps)
        slips = {
            trap: alpha * x0 + sigma * eps,
            "alpha and sigma are factors already: neither is squared.": solutions.add_noise(x0, alpha**2, sigma, eps),
            "sigma is a standard deviation, not its square.": solutions.add_noise(x0, alpha, sigma**2, eps),
            "The noise has a size too: sigma * eps.": solutions.add_noise(x0, alpha, torch.ones_like(sigma), eps),
            "They have changed places: alpha is of the picture.": solutions.add_noise(x0, sigma, alpha, eps),
            "The noise is missing: + sigma * eps.": solutions.add_noise(x0, alpha, 0 * sigma, eps),
            "Each row has an alpha and a sigma of its own.": alpha[0] * x0 + sigma[0] * eps,
        }
        close(got, right, "Not alpha x0 + sigma eps, row by row.", slips=slips)
        close(got, linear().add_noise(x0, t, eps), "Not equal to minidiff's Schedule.add_noise.")


@exercise(
    "05.estimate_x0",
    solution=solutions.estimate_x0,
    core=True,
    hints=(
        "Bring `sigma * eps` to the other side of the equation first.",
        "What is left is `alpha * x0`, so one division remains.",
    ),
)
def _(attempt):
    x0, eps = torch.randn(2, 6, 3)
    alpha, sigma = cosine()(0.4)
    x = cosine().add_noise(x0, 0.4, eps)
    slips = {
        "Noisy minus noise forgets both coefficients: sigma of the noise went in, alpha of the picture.": x - eps,
        "The noise is out, but the picture is still shrunk: divide by alpha.": x - sigma * eps,
        "Only sigma of eps went in: take out sigma * eps.": (x - eps) / alpha,
        "alpha here is sqrt(alpha_bar): do not take alpha_bar.": (x - sigma * eps) / alpha**2,
        "The noise was added, so take it away: x - sigma * eps.": (x + sigma * eps) / alpha,
        "Mind the brackets: x is divided by alpha too.": x - sigma * eps / alpha,
        "sigma is the noise's standard deviation, not its square.": (x - sigma**2 * eps) / alpha,
    }
    close(attempt(x, eps, alpha, sigma), x0, "Solve x = alpha x0 + sigma eps for x0.", slips=slips)


@exercise(
    "05.posterior",
    solution=solutions.posterior,
    core=True,
    hints=(
        "Write the symbols down first: `(alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)`, then a, "
        "and then b squared.",
        "`a = alpha_t / alpha_s` and `b_squared = sigma_t**2 - a**2 * sigma_s**2`. The mean weighs x by a sigma_s² "
        "and x0 by alpha_s b², and divides by sigma_t².",
        "The variance is sigma_s² b² / sigma_t², so the standard deviation is `sigma_s * b_squared.sqrt() / sigma_t`.",
    ),
)
def _(attempt):
    x, x0 = torch.randn(2, 5, 2)
    for schedule, t, s in ((cosine(), 0.8, 0.3), (linear(), 0.4, 0.399)):
        mean, std = _pair(attempt(schedule, x, x0, t, s), "mean, standard deviation")
        right, right_std = schedule.posterior(x, x0, t, s)
        slips = slips_of_the_mean(schedule, x, x0, t, s)
        close(mean, right, "Not (a sigma_s² x + alpha_s b² x0) / sigma_t².", slips=slips, rtol=1e-3)
        forward = "That is b, the noise of the way forward: knowing x0 narrows it by sigma_s / sigma_t."
        slips = {forward: schedule.transition(t, s)[1], "That is the variance: take its root.": right_std[0, 0] ** 2}
        close(torch.as_tensor(std).flatten()[0], right_std[0, 0], "Not sigma_s b / sigma_t.", slips=slips, rtol=1e-3)


@exercise(
    "05.tweedie",
    solution=solutions.from_score,
    core=True,
    hints=(
        "It is the last formula above the cell, word for word: uphill, and then undo the shrinking.",
        "The score is multiplied by `sigma**2`, and the division by alpha comes last, so mind the brackets.",
    ),
)
def _(attempt):
    mixture = ring_mixture()
    x = torch.randn(7, 2)
    alpha, sigma = (value.float() for value in linear()(0.3))
    score = mixture.score(x, alpha, sigma)
    slips = {
        "The score is multiplied by the variance, sigma².": (x + sigma * score) / alpha,
        "Uphill: the score points to where x_t is likelier, so it is added.": (x - sigma**2 * score) / alpha,
        "That is E[alpha x0 | x_t]: divide by alpha.": x + sigma**2 * score,
        "Mind the brackets: x is divided by alpha too.": x + sigma**2 * score / alpha,
        "That is the expected noise: here E[x0 | x_t] is wanted.": -sigma * score,
    }
    hint = "Not (x + sigma² score) / alpha."
    close(attempt(x, score, alpha, sigma), mixture.denoise(x, alpha, sigma), hint, slips=slips, rtol=1e-3, atol=1e-4)


@exercise(
    "05.backward",
    solution=solutions.backward,
    core=True,
    hints=(
        "Loop over `i` in `range(steps, 0, -1)`. The point is at `t = i / steps` and goes to `s = (i - 1) / steps`.",
        "The best guess is `denoise(x, t)`. Your function `posterior(schedule, x, guess, t, s)` returns mean and std.",
        "The new x is `mean + std * torch.randn(x.shape, generator=generator)`. Append it to the path in each round.",
    ),
)
def _(attempt):
    for schedule, steps in ((linear(), 8), (cosine(), 5)):
        x = torch.randn(6, 3)
        got, again = (_path(attempt(guessed, schedule, x, steps, seeded(1)), steps) for _ in range(2))
        for cloud in got:
            shaped(cloud, (6, 3), "Every x on the path has the shape of the noise.")
        got, again = torch.stack(got), torch.stack(again)
        require(
            torch.equal(got, again), "Draw the noise from the generator: torch.randn(x.shape, generator=generator)."
        )
        require(torch.equal(got[0], x), "The path begins with the noise x at t = 1, and ends with the sample at t = 0.")
        right = torch.stack(
            [step.x for step in sample(guessed, x, times(steps), schedule, eta=1.0, generator=seeded(1))]
        )
        hint = "Not minidiff's sample(eta=1): each x is the posterior's mean + std times noise, with the guess as x0."
        close(got, right, hint, slips=slips_of_the_way(x, schedule, steps), rtol=1e-3, atol=1e-4)


def _path(result, steps: int):
    require(not isinstance(result, torch.Tensor), "Return the list of all x on the way, not the last one alone.")
    require(isinstance(result, tuple | list), "Return a list of tensors.")
    hint = f"The path has steps + 1 entries: the noise, and one for each step. Got {len(result)} for {steps} steps."
    require(len(result) == steps + 1, hint)
    return result


def _pair(result, names: str):
    require(isinstance(result, tuple | list | torch.Tensor) and len(result) == 2, f"Return two things: {names}.")
    return tuple(result)


@exercise(
    "05.linear_betas",
    solution=solutions.linear_betas,
    core=True,
    hints=(
        "`torch.linspace` makes the line. Which factor makes a hundred steps do the work of a thousand?",
        "Multiply the whole line by `1000 / steps`, both of its ends.",
    ),
)
def _(attempt):
    for steps in (100, 1000, 300):
        betas = shaped(attempt(steps), (steps,), "One beta for each step.")
        line = torch.linspace(1e-4, 0.02, steps)
        short = (1e-4 + 0.0199 * torch.arange(steps) / steps) * (1000 / steps)
        slips = {
            "Fewer steps need larger ones: without the factor 1000 / steps a third of the picture is left.": line,
            "The factor is 1000 / steps: fewer steps, larger betas.": line * (steps / 1000),
            "The line ends at 0.02 exactly, and begins at 1e-4: torch.linspace counts both ends.": short,
            "Both ends are scaled, the first beta too.": torch.linspace(1e-4, 0.02 * 1000 / steps, steps),
            "1000 / steps need not be a whole number: divide with /, because // cuts it off.": line * (1000 // steps),
        }
        close(betas, line * (1000 / steps), "Not a line of betas times 1000 / steps.", slips=slips, atol=1e-8)


@exercise(
    "05.time_of",
    solution=solutions.time_of,
    hints=(
        "Keep two numbers, `low = 0.0` and `high = 1.0`, with the answer between them, and look at the middle.",
        "If `schedule.log_snr(middle)` is larger than the wanted value, the picture is too clear there, and the time"
        " lies later: `low = middle`. Otherwise `high = middle`.",
        "Each halving makes the interval half as long. Thirty of them are enough.",
    ),
)
def _(attempt):
    for schedule, log_snr in ((linear(), 0.0), (cosine(), -3.0), (straight(), 4.0), (variance_exploding(), 0.0)):
        right, double, half = (solutions.time_of(schedule, value) for value in (log_snr, 2 * log_snr, log_snr / 2))
        ends = (1.0, 0.0) if right < 0.5 else (0.0, 1.0)
        slips = {
            "The SNR falls with t: where it is still too high, the time lies later.": ends[0],
            "It ran to the wrong end: turn the comparison.": ends[1],
            "schedule.log_snr is the log of alpha² / sigma² already: do not double it.": double,
            "The roots are in schedule.log_snr already: do not halve it.": half,
        }
        hint = "At that time schedule.log_snr is another. If it is nearly right: ten halvings are too few, take thirty."
        close(attempt(schedule, log_snr), right, hint, slips=slips, rtol=1e-3, atol=1e-4)


@exercise(
    "05.translate",
    solution=solutions.translate,
    hints=(
        "First the time: `s = time_of(other, schedule.log_snr(t))`.",
        "In x the clean picture has the factor alpha of the one schedule, and it should have alpha of the other. The"
        " noise follows by itself, because the SNR is the same.",
        "`schedule(t)[0]` is alpha. Divide by the one that x has, and multiply by `other(s)[0]`.",
    ),
)
def _(attempt):
    x0, eps = torch.randn(2, 6, 2)
    for schedule, other, t in (
        (linear(), cosine(), 0.3),
        (cosine(), straight(), 0.6),
        (straight(), variance_exploding(), 0.8),
    ):
        x = schedule.add_noise(x0, t, eps)
        got, s = _pair(attempt(x, t, schedule, other), "x in the other schedule, its time there")
        right = solutions.time_of(other, schedule.log_snr(t))
        same = "The same time is not the same amount of noise: find the time of equal log-SNR."
        close(s, right, "At that time the log-SNR is another.", slips={same: t}, rtol=1e-3, atol=1e-4)
        ratio = schedule(t)[0] / other(s)[0]
        slips = {
            "Equal log-SNR is not equal size: scale x by alpha of the other, divided by alpha of this one.": x,
            "The ratio is upside down: divide by the alpha that x has, multiply by the one it should get.": x * ratio,
            "x still has the alpha of its own schedule: divide by it.": x * other(s)[0],
            "Now x0 has full size: multiply by alpha of the other schedule.": x / schedule(t)[0],
        }
        close(got, other.add_noise(x0, right, eps), "Not the same x0 and eps.", slips=slips, rtol=1e-2, atol=1e-3)


@exercise(
    "05.best_denoiser",
    solution=solutions.best_denoiser,
    hints=(
        "Flatten all pictures to vectors. `torch.cdist(a, b)` has the distance of every row of a from every row of b.",
        "The logarithm of each density is -distance² / (2 sigma²), up to a constant, with the distance of x from "
        "*alpha times* the picture. `.softmax(1)` turns a row of them into weights.",
        "`weights @ pictures` is the weighted mean of the flat pictures, and `.view_as(x)` gives it back its shape.",
    ),
)
def _(attempt):
    known = torch.randn(9, 1, 4, 4)
    alpha = torch.tensor(0.3)
    sigma = torch.tensor(0.95)
    x = alpha * known[:5] + sigma * torch.randn(5, 1, 4, 4)
    got = shaped(attempt(x, known, alpha, sigma), (5, 1, 4, 4), "One guess for each row of x, of its shape.")
    right = solutions.best_denoiser(x, known, alpha, sigma)
    slips = slips_of_the_weights(x, known, alpha, sigma)
    close(got, right, "Weights exp(-|x - alpha known|² / (2 sigma²)), made to sum to 1.", slips=slips, rtol=1e-3)
    far = attempt(40 + x, known, alpha, torch.tensor(0.05))
    require(far.isfinite().all(), "Far from all pictures each exp(...) is 0, and 0 / 0 is NaN: softmax avoids that.")
