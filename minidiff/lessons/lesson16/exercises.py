"""Lesson 16's checks: the denoising loss, Langevin dynamics and its ladder, the reverse SDE and its ODE, EDM."""

from functools import partial

import torch

from minidiff import seeded
from minidiff.data import ring_mixture
from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson16 import solutions


@exercise(
    "16.denoising_loss",
    solution=solutions.denoising_loss,
    core=True,
    hints=(
        "First make the noisy points, and ask the score there. The target is the score of one Gaussian around x0.",
        "That target is `-eps / sigma`, so the error is `score(x) + eps / sigma`.",
        "Half the squared length of a row is `error.square().flatten(1).sum(1) / 2`.",
    ),
)
def _(attempt):
    for shape, sigma in (((6, 2), 0.3), ((4, 1, 3, 3), torch.linspace(0.2, 2, 4).view(4, 1, 1, 1))):
        x0 = torch.randn(shape)
        eps = torch.randn(shape)
        hint = "One loss for each row: sum over what belongs to a row, and do not average over the batch."
        got = shaped(attempt(torch.tanh, x0, sigma, eps), shape[:1], hint)
        right = solutions.denoising_loss(torch.tanh, x0, sigma, eps)
        close(got, right, "Not |score(x0 + sigma eps) + eps / sigma|² / 2.", slips=_wrong_targets(x0, sigma, eps))
    from minidiff.score import denoising_loss

    close(got, denoising_loss(torch.tanh, x0, sigma, eps), "Not equal to minidiff.score.denoising_loss.")


def _wrong_targets(x0, sigma, eps) -> dict:
    s = torch.tanh(x0 + sigma * eps)

    def half(error):
        return error.square().flatten(1).sum(1) / 2

    return {
        "The sign: the score points back to x0, so its target is -eps / sigma.": half(s - eps / sigma),
        "The target is -eps / sigma: one over sigma, not the noise itself.": half(s + eps),
        "One sigma too many: (x - x0) / sigma² is eps / sigma.": half(s + eps / sigma**2),
        "Ask the score at the noisy point, x0 + sigma eps.": half(torch.tanh(x0) + eps / sigma),
        "The noisy point is x0 + sigma eps: the noise has deviation sigma.": half(torch.tanh(x0 + eps) + eps / sigma),
        "The half is missing.": 2 * half(s + eps / sigma),
        "Sum over the numbers of a row, do not average them.": half(s + eps / sigma) / x0[0].numel(),
        "That is the loss times sigma²: here the plain one is wanted.": half(sigma * s + eps),
        "Square the length of a row: it is not the norm itself.": (s + eps / sigma).flatten(1).norm(dim=1) / 2,
    }


@exercise(
    "16.langevin_step",
    solution=solutions.langevin_step,
    core=True,
    hints=(
        "There are two terms besides x: a push uphill, and noise. Their sizes are different powers of the step.",
        "The push is `step / 2 * score`. The noise has variance `step`.",
    ),
)
def _(attempt):
    x, score, z = torch.randn(3, 6, 2)
    for step in (0.3, 0.02):
        got = shaped(attempt(x, score, step, z), (6, 2), "Keep the shape of x.")
        push = step / 2 * score
        longer = x + 2 * push + (2 * step) ** 0.5 * z
        lost = "A factor √2 of the noise is lost: with a push of step/2 the noise has deviation √step."
        slips = {
            "The sign: the score points uphill, where points are likelier.": x - push + step**0.5 * z,
            lost: x + push + (step / 2) ** 0.5 * z,
            "Too much noise: √(2 step) belongs to a push of step times the score.": x + push + (2 * step) ** 0.5 * z,
            "The push is half of the step, where the noise has variance step.": x + step * score + step**0.5 * z,
            "The noise has deviation √step: variances add up with time, deviations do not.": x + push + step * z,
            "Without noise the points climb to the tops and stay there.": x + push,
            "The other way to write it, a step twice as long: here the push is step/2.": longer,
            "Where is x? A step is added to it.": push + step**0.5 * z,
        }
        close(got, solutions.langevin_step(x, score, step, z), "Not x + step/2 score + √step z.", slips=slips)


@exercise(
    "16.annealed",
    solution=solutions.annealed,
    core=True,
    hints=(
        "Two loops, one inside the other: over the sigmas, and over the steps at each of them.",
        "The noise of a step is `torch.randn(x.shape, generator=generator)`, and your `langevin_step` makes the step.",
        "Its size is `step * sigma**2`, so the push and the noise shrink together with the cloud.",
    ),
)
def _(attempt):
    sigmas = [3.0, 1.0, 0.2]
    x = 3 * torch.randn(8, 2)

    def pull(x, sigma):
        return (torch.tanh(x) - x) / float(sigma) ** 2

    got, again = (attempt(pull, x, sigmas, 0.3, 4, seeded(1)) for _ in range(2))
    shaped(got, (8, 2), "Return the x of the last step, as many rows as there is noise.")
    require(torch.equal(got, again), "Draw the noise from the generator: torch.randn(x.shape, generator=generator).")
    right = solutions.annealed(pull, x, sigmas, 0.3, 4, seeded(1))
    hint = "Not the ladder of algorithm 1: all sigmas in their order, `each` steps, each of size step sigma²."
    close(got, right, hint, slips=_wrong_ladders(pull, x, sigmas), rtol=1e-3, atol=1e-4)


def _ladder(pull, x, size, sigmas, each=4, again=False, asked=None):
    """Down the sigmas by steps of size(sigma): from x at each level if `again`, by the score under `asked` if given."""
    start, generator = x, seeded(1)
    for sigma in sigmas:
        x = start if again else x
        for _ in range(each):
            z = torch.randn(x.shape, generator=generator)
            x = solutions.langevin_step(x, pull(x, asked or sigma), size(sigma), z)
    return x


def _wrong_ladders(pull, x, sigmas) -> dict:
    walk = partial(_ladder, pull, x)
    right = partial(walk, lambda sigma: 0.3 * sigma**2)
    return {
        "The step is not scaled: its size is step * sigma**2, or it is too large where the noise is small.": walk(
            lambda sigma: 0.3, sigmas
        ),
        "The size of a step grows with sigma squared, not with sigma.": walk(lambda sigma: 0.3 * sigma, sigmas),
        "Take `each` steps at every sigma, not one.": right(sigmas, each=1),
        "From the largest sigma to the smallest, in the order in which they come.": right(sigmas[::-1]),
        "Each level starts where the one before has ended, not from the noise again.": right(sigmas, again=True),
        "Ask for the score under the noise of this level: score(x, sigma).": right(sigmas, asked=sigmas[0]),
        "`return` stands in a loop: all levels come before it.": right(sigmas[:1]),
        "All `each` steps at one sigma, and then the next: the loop over the sigmas is the outer one.": right(
            4 * sigmas, each=1
        ),
    }


@exercise(
    "16.reverse_step",
    solution=solutions.reverse_step,
    core=True,
    hints=(
        "Forward, x gains `f * x * dt`. Going back, it loses the whole drift, f x - g² score, times dt.",
        "Two minus signs make a plus: the score's share of the step is `+ g**2 * score * dt`.",
        "The noise of a time dt has variance g² dt, so it is `g * dt**0.5 * z`.",
    ),
)
def _(attempt):
    x, score, z = torch.randn(3, 6, 2)
    for f, g, dt in ((-1.3, 1.6, 0.01), (0.0, 2.5, 0.04)):
        got = shaped(attempt(x, score, f, g, dt, z), (6, 2), "Keep the shape of x.")
        noise = g * dt**0.5 * z
        slips = {
            "The sign of the score: going back, a point moves uphill.": x - (f * x + g**2 * score) * dt + noise,
            "Time runs backwards: from t to t - dt the drift is subtracted.": x + (f * x - g**2 * score) * dt + noise,
            "Half of g² score is the drift of the ODE: it adds no noise.": x - (f * x - g**2 / 2 * score) * dt + noise,
            "The score's factor is g², the variance of the noise a unit of time.": x - (f * x - g * score) * dt + noise,
            "The noise has deviation g √dt, not g dt.": x - (f * x - g**2 * score) * dt + g * dt * z,
            "A factor √2 too much: the noise has variance g² dt.": x - (f * x - g**2 * score) * dt + 2**0.5 * noise,
            "The time dt multiplies the whole drift, f x as well.": x - f * x + g**2 * score * dt + noise,
            "The noise is missing: + g √dt z.": x - (f * x - g**2 * score) * dt,
            "g stands in the noise once: its deviation is g √dt.": x - (f * x - g**2 * score) * dt + g * noise,
        }
        hint = "Not x - (f x - g² score) dt + g √dt z."
        close(got, solutions.reverse_step(x, score, f, g, dt, z), hint, slips=slips)


@exercise(
    "16.flow_drift",
    solution=solutions.flow_drift,
    core=True,
    hints=(
        "It has the same two parts as the reverse SDE's drift. Which of the two changes when the noise is gone?",
        "The score's part is halved: `g**2 / 2 * score`.",
    ),
)
def _(attempt):
    x, score = torch.randn(2, 6, 2)
    for f, g in ((-1.3, 1.6), (0.0, 2.5)):
        slips = {
            "That is the SDE's drift: without its noise, half of g² score is enough.": f * x - g**2 * score,
            "The sign: the ODE is written forward in time, where points move downhill.": f * x + g**2 / 2 * score,
            "g is squared: it stands for a variance.": f * x - g / 2 * score,
            "The data shrink too: f x is missing.": -(g**2) / 2 * score,
            "Only the score's part is halved.": (f * x - g**2 * score) / 2,
            "The whole sign is turned: dx/dt is written forward in time.": g**2 / 2 * score - f * x,
        }
        close(attempt(x, score, f, g), solutions.flow_drift(x, score, f, g), "Not f x - g² score / 2.", slips=slips)
    _is_the_velocity(attempt)


def _is_the_velocity(attempt):
    from minidiff.score import SDE, vp

    path = vp()
    x = torch.randn(6, 2)
    alpha, sigma = SDE(path).marginal(0.4)
    x0 = ring_mixture().denoise(x, alpha, sigma)
    got = attempt(x, path.score(x, x0, 0.4), *SDE(path).coefficients(0.4))
    close(got, path.velocity(x, x0, 0.4), "Not equal to minidiff's Schedule.velocity.", rtol=1e-3, atol=1e-4)


@exercise(
    "16.sliced_loss",
    solution=solutions.sliced_loss,
    hints=(
        "`torch.autograd.grad(y.sum(), x, create_graph=True)` returns a tuple with the gradient of a sum by x.",
        "With `y = s * v`, where v does not depend on x, that gradient is v times the Jacobian, row by row.",
        "Multiply the gradient with v once more and sum over each row. Do not forget half the squared length of s.",
    ),
)
def _(attempt):
    from minidiff.score import sliced_loss

    mix, x = torch.randn(3, 3).requires_grad_(), torch.randn(7, 3).requires_grad_()
    score = partial(_bent, mix)
    v = torch.randint(0, 2, (7, 3)) * 2.0 - 1
    got = shaped(attempt(score, x, v), (7,), "One loss for each row.")
    right = sliced_loss(score, x, v)
    half = score(x).square().sum(1) / 2
    slips = {
        "The first term is half the squared length of s.": right + half,
        "The first term is missing: |s|² / 2.": right - half,
        "The trace is added: minus it would make the score flee from the data.": 2 * half - right,
        "Multiply with v on both sides: v·(J v).": half + _one_side(score, x, v),
        "Multiply s by v before you differentiate, too: v·(J v).": half + (_all_alike(score, x) * v).sum(1),
    }
    close(got, right, "Not |s|²/2 + v·(J v).", slips=slips)
    require(got.requires_grad, "The loss has lost its gradient: create_graph=True keeps it.")
    trained, wanted = (torch.autograd.grad(loss.sum(), mix)[0] for loss in (got, right))
    close(trained, wanted, "v·(J v) cannot be trained on: create_graph=True keeps its gradient.", rtol=1e-3)


def _bent(mix, x):
    """A field (B, 3) with a Jacobian that is neither diagonal nor symmetric."""
    return torch.tanh(x @ mix) * x.flip(1)


def _one_side(score, x, v):
    return torch.autograd.grad((score(x) * v).sum(), x)[0].sum(1)


def _all_alike(score, x):
    return torch.autograd.grad(score(x).sum(), x)[0]


@exercise(
    "16.corrector",
    solution=solutions.corrector,
    hints=(
        "Compute `s = score(x)` once. `s.norm(dim=1).mean()` is its mean length over the batch.",
        "The size of the step is `4 * (snr * length of z / length of s)**2`, with the mean lengths.",
        "Then it is your `langevin_step(x, s, size, z)`.",
    ),
)
def _(attempt):
    x, z = torch.randn(2, 9, 4)
    got = shaped(attempt(torch.sin, x, 0.16, z), (9, 4), "Keep the shape of x.")

    def moved(size):
        return solutions.langevin_step(x, torch.sin(x), size, z)

    ratio = z.norm(dim=1).mean() / torch.sin(x).norm(dim=1).mean()
    slips = {hint: moved(size) for hint, size in _wrong_sizes(z, torch.sin(x), ratio).items()}
    close(got, moved(4 * (0.16 * ratio) ** 2), "Not a step of size 4 (snr |z| / |s|)².", slips=slips)
    close(attempt(torch.sin, x, 0.3, z), moved(4 * (0.3 * ratio) ** 2), "With another `snr` the size is another.")


def _wrong_sizes(z, s, ratio) -> dict:
    rows = z.norm(dim=1) / s.norm(dim=1)
    return {
        "The ratio is upside down: a long score asks for a small step.": 4 * (0.16 / ratio) ** 2,
        "The ratio and snr are squared.": 4 * 0.16 * ratio,
        "The factor is 4 for a push of half the step; the paper's 2 is for a whole one.": 2 * (0.16 * ratio) ** 2,
        "The factor 4 is missing.": (0.16 * ratio) ** 2,
        "Average the lengths over the batch: one size for all rows.": 4 * (0.16 * rows[:, None]) ** 2,
        "Average the lengths of the rows, norm(dim=1).mean().": 4 * (0.16 * z.norm() / s.norm()) ** 2,
    }


@exercise(
    "16.precondition",
    solution=solutions.precondition,
    hints=(
        "The noisy picture has variance sigma² + sigma_data². `c_in` makes that a variance of 1.",
        "`c_skip` is sigma_data² over the same total, the share of the picture in what the network sees.",
        "`c_out` is sigma times sigma_data, over the root of the total.",
    ),
)
def _(attempt):
    from minidiff.score import precondition

    for sigma, sigma_data in ((torch.tensor([0.01, 0.3, 1.0, 7.0]), 0.5), (torch.tensor([2.0]), 1.3)):
        got = attempt(sigma, sigma_data)
        require(isinstance(got, tuple | list) and len(got) == 3, "Return three things: c_skip, c_out, c_in.")
        skip, out, into, _ = precondition(sigma, sigma_data)
        slips = {"c_in has a root: a deviation.": into**2, "The order is c_skip, c_out, c_in.": out}
        close(got[2], into, "Not 1 / √(sigma² + sigma_data²).", slips=slips)
        slips = {
            "They have changed places: without noise c_skip is 1, and D(x) = x.": 1 - skip,
            "c_skip has no root: it is a ratio of variances.": skip.sqrt(),
        }
        close(got[0], skip, "Not sigma_data² / (sigma² + sigma_data²).", slips=slips)
        slips = {
            "c_out has a root below the line.": out * into,
            "Without noise there is nothing to add: c_out is 0.": skip.sqrt(),
            "sigma_data is missing in c_out.": out / sigma_data,
        }
        close(got[1], out, "Not sigma sigma_data / √(sigma² + sigma_data²).", slips=slips)
