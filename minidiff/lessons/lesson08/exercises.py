"""Lesson 08's checks: the two guidances, hidden labels, and what keeps a strong guidance in bounds."""

import torch

from minidiff.exercises import CheckFailed, close, exercise, require, shaped
from minidiff.lessons.lesson08 import solutions
from minidiff.schedule import cosine


def _half(x, t, cond=None):
    """A denoiser one can do in the head: half of x, plus the label."""
    return x / 2 if cond is None else x / 2 + cond.reshape(-1, *[1] * (x.ndim - 1))


def _towards(goal):
    """A log-probability whose gradient by x is (1 + t) (goal - x)."""
    return lambda x, t: -((1 + t) * ((x - goal) ** 2).flatten(1).sum(1) / 2)


@exercise(
    "08.classifier_guidance",
    solution=solutions.classifier_guidance,
    core=True,
    hints=(
        "`with torch.enable_grad():` allows gradients inside a sampler. `x.detach().requires_grad_()` is the copy.",
        "`torch.autograd.grad(log_prob(leaf, t).sum(), leaf)` returns a tuple of one: the gradient, of x's shape.",
        "Return `denoise(x, t) + scale * sigma**2 / alpha * gradient`.",
    ),
)
def _(attempt):
    schedule = cosine()
    x = torch.randn(5, 1, 4, 4)
    goal = torch.randn(5, 1, 4, 4)
    t = torch.tensor(0.6)
    guided = attempt(_half, _towards(goal), schedule, 3.0)
    require(callable(guided), "Return the inner function, guided(x, t): guidance makes a denoiser out of a denoiser.")
    got = _without_gradients(guided, x, t)
    got = shaped(got, x.shape, "An estimate of x0 for each picture, of x's shape.")
    _guided_by(got, x, t, goal, schedule)
    times = torch.linspace(0.2, 0.8, 5)
    from minidiff import guidance

    theirs = guidance.classifier_guidance(_half, _towards(goal), schedule, 3.0)(x, times)
    hint = "A time for each row: let `schedule(t, like=x)` shape alpha and sigma."
    close(attempt(_half, _towards(goal), schedule, 3.0)(x, times), theirs, hint, rtol=1e-3)


def _without_gradients(guided, x, t):
    """guided(x, t) as a sampler calls it."""
    with torch.no_grad():
        try:
            got = guided(x, t)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise CheckFailed("A sampler runs under torch.no_grad(): open `with torch.enable_grad():`.") from error
        finally:
            asks, x.requires_grad = x.requires_grad, False
    require(not asks, "That makes the caller's own x ask for gradients: take a copy, x.detach().requires_grad_().")
    return got


def _guided_by(got, x, t, goal, schedule):
    """`got` is half of x, moved with scale 3 along the gradient of `_towards(goal)`."""
    alpha, sigma = schedule(t)
    pull = (1 + t) * (goal - x)

    def estimate(factor, pull=pull):
        return x / 2 + factor * pull

    right = 3 * sigma**2 / alpha
    slips = {
        "The sign is wrong: x0 is moved *up* the gradient, where the label is likelier.": estimate(-right),
        "The scale is off by one: 0 means no guidance, 1 means the conditional.": estimate(right * 4 / 3),
        "The scale is off by one: at 1 nothing would be guided.": estimate(right * 2 / 3),
        "The score is multiplied by sigma², not by sigma, to move x0 (Tweedie's formula).": estimate(3 * sigma / alpha),
        "Divide by alpha: x_t holds alpha x0.": estimate(3 * sigma**2),
        "Sum the log-probabilities before the gradient: their mean makes it too small by B.": estimate(right / 5),
        "The classifier is asked about another time than that of x: log_prob(x, t).": estimate(right, goal - x),
        "Where is the scale?": estimate(right / 3),
        "That is the formula for the noise: x0 moves by scale sigma² / alpha.": estimate(-3 * sigma),
    }
    close(got, estimate(right), "Not denoise(x, t) + scale sigma² / alpha times the gradient.", slips=slips, rtol=1e-3)


@exercise(
    "08.cfg",
    solution=solutions.cfg,
    core=True,
    hints=(
        "`torch.full_like(cond, null)` is a row of null labels. `torch.cat` puts one batch below another, x as well.",
        "`.chunk(2)` splits the answer for 2B rows into its two halves, in the order in which you stacked them.",
    ),
)
def _(attempt):
    x = torch.randn(5, 1, 4, 4)
    cond = torch.tensor([3, 1, 4, 1, 5])
    t = torch.tensor(0.6)
    guided = attempt(_half, cond, 10, 3.0)
    require(callable(guided), "Return the inner function, guided(x, t): guidance makes a denoiser out of a denoiser.")
    got = shaped(guided(x, t), x.shape, "One estimate for each picture: chunk the 2B answers in two.")
    label, null = _half(x, t, cond), _half(x, t, torch.full((5,), 10))
    hint = "Not without + scale (with - without)."
    close(got, null + 3 * (label - null), hint, slips=_wrong_pulls(label, null))
    close(attempt(_half, cond, 10, 0.0)(x, t), null, "At scale 0 the label should do nothing.")
    from minidiff import guidance

    close(got, guidance.cfg(_half, cond, 10, 3.0)(x, t), "Not equal to minidiff.guidance.cfg.")


def _wrong_pulls(label, null) -> dict:
    """Hint -> what this slip makes of the two estimates at scale 3."""
    return {
        "The scale is off by one: start from the estimate *without* a label.": label + 3 * (label - null),
        "The sign is wrong: move from the null label's estimate to the label's.": null - 3 * (label - null),
        "The two are exchanged: which half of the answers is the label's?": label + 3 * (null - label),
        "That is the label's estimate: where is the one of the null label?": label,
        "That is the null label's estimate: where is the pull of the label?": null,
        "The pull is the *difference* of the two estimates, with - without.": null + 3 * label,
        "A weight for each would do, if the two add up to 1: scale and 1 - scale.": 3 * label - 3 * null,
    }


@exercise(
    "08.drop_labels",
    solution=solutions.drop_labels,
    core=True,
    hints=(
        "`torch.rand(len(labels)) < drop` is True for a share `drop` of the rows, each drawn by itself.",
        "`torch.where(gone, null, labels)` chooses row by row and leaves `labels` as it is.",
    ),
)
def _(attempt):
    labels = torch.randint(10, (20_000,))
    got = shaped(attempt(labels, 10, 0.1), (20_000,), "As many labels out as in.")
    require(got.dtype == torch.int64, "Labels stay whole numbers, int64.")
    gone = got == 10
    kept = torch.equal(got[~gone], labels[~gone])
    require(kept, "A label that is not dropped stays what it was, and a dropped one becomes null.")
    share = gone.double().mean().item()
    require(share not in (0, 1), "Each row is drawn on its own: torch.rand(len(labels)), not one number for all.")
    require(abs(share - 0.9) > 0.02, "That drops nine of ten: drop where the random number is *below* `drop`.")
    require(abs(share - 0.1) < 0.02, "About a tenth of the labels should be dropped at drop = 0.1.")
    require((attempt(labels, 10, 1.0) == 10).all(), "At drop = 1 every label is dropped.")
    require((attempt(labels, 7, 1.0) == 7).all(), "The null label is the number `null`, which need not be 10.")
    _row_by_row(attempt)


def _row_by_row(attempt):
    """Each row is decided by itself: by chance, whatever the others are, and anew in every batch."""
    small = torch.stack([attempt(torch.tensor([1, 1, 2, 3]), 10, 0.5) == 10 for _ in range(1000)]).double()
    require((small - small[0]).any(), "It is the same rows every time: draw new random numbers in each call.")
    chosen = (
        "Every row has the same chance, 1 in 2 here, wherever it stands: compare torch.rand(len(labels)) to `drop`."
    )
    require(((small.mean(0) - 0.5).abs() < 0.1).all(), chosen)
    counted = (
        "The rows depend on each other: draw a number for each row, not for each label, nor a fixed count of rows."
    )
    require(small.sum(1).unique().numel() > 2 and not torch.equal(small[:, 0], small[:, 1]), counted)


@exercise(
    "08.dynamic_threshold",
    solution=solutions.dynamic_threshold,
    core=True,
    hints=(
        "Flatten each picture: `x0.flatten(1).abs()` is (B, C H W), and `.quantile(quantile, dim=1)` one number a row.",
        "`.clamp(min=1)` makes s at least 1. Reshape it to (B, 1, 1, 1), so that it meets its own picture.",
        "`x0.clamp(-s, s) / s` works with tensors as bounds.",
    ),
)
def _(attempt):
    x0 = torch.randn(4, 1, 6, 6) * torch.tensor([0.1, 1.0, 2.0, 4.0])[:, None, None, None]
    got = shaped(attempt(x0, 0.9), x0.shape, "A picture for each estimate.")
    _thresholded(got, x0)
    from minidiff import guidance

    close(got, guidance.dynamic_threshold(lambda x, t: x, 0.9)(x0, torch.tensor(0.5)), "Not equal to minidiff's.")


def _thresholded(got, x0):
    """`got` is x0 cut and divided by its quantile 0.9."""
    size, signed = x0.flatten(1).abs(), x0.flatten(1).quantile(0.9, dim=1).reshape(-1, 1, 1, 1)
    own, one, most = size.quantile(0.9, dim=1).reshape(-1, 1, 1, 1), size.quantile(0.9), size.max(1).values
    s, most = own.clamp(min=1), most.clamp(min=1).reshape(-1, 1, 1, 1)

    def cut(s):
        return x0.clamp(-s, s) / s

    slips = {
        "A picture within [-1, 1] should stay as it is: s is never below 1.": cut(own),
        "Each picture has an s of its own: x0.flatten(1).abs(), and its quantile along dim 1.": cut(one.clamp(min=1)),
        "Divide by s after the cut, so that the picture is in [-1, 1] again.": x0.clamp(-s, s),
        "Cut to [-s, s] before you divide: what lies beyond would still be out of range.": x0 / s,
        "The quantile of |x0|, not of x0: dark pixels overshoot too.": cut(signed.clamp(min=1)),
        "That is the plain clamp.": x0.clamp(-1, 1),
        "Cut to [-s, s], not to [-1, 1], before you divide: what s spares would be lost.": x0.clamp(-1, 1) / s,
        "s is at *least* 1: clamp(min=1), not max.": cut(own.clamp(max=1)),
        "That s is the largest |x0|: one odd pixel would darken the whole picture. Take the quantile.": cut(most),
    }
    close(got, cut(s), "Not x0 cut to [-s, s] and divided by s.", slips=slips)


@exercise(
    "08.two_labels",
    solution=solutions.two_labels,
    hints=(
        "You need three estimates: of the null label (`torch.full_like(first, null)`), of `first` and of `second`.",
        "The pull is the mean of the two labelled estimates minus the one without a label.",
    ),
)
def _(attempt):
    x, t, first, second = torch.randn(3, 1, 4, 4), torch.tensor(0.4), torch.tensor([1, 2, 3]), torch.tensor([7, 7, 9])

    def denoise(x, t, cond):
        require(isinstance(cond, torch.Tensor), "A label for each picture, the null label too: torch.full_like.")
        return _half(x, t, cond**2)  # not linear in the label, as no network is

    guided = attempt(denoise, first, second, 10, 3.0)
    require(callable(guided), "Return the inner function, guided(x, t): guidance makes a denoiser out of a denoiser.")
    got = shaped(guided(x, t), x.shape, "One estimate for each picture.")
    a, b, null = (denoise(x, t, label) for label in (first, second, torch.full((3,), 10)))
    between, right = denoise(x, t, (first + second) // 2), null + 3 * ((a + b) / 2 - null)
    slips = _wrong_pairs(a, b, null) | {
        "Average the two estimates; an average of two labels is a third label.": null + 3 * (between - null)
    }
    close(got, right, "Not without + scale (the mean of both estimates - without).", slips=slips)


def _wrong_pairs(a, b, null) -> dict:
    """Hint -> what this slip makes of the three estimates at scale 3."""
    return {
        "Each label pulls with half of the scale.": null + 3 * (a - null) + 3 * (b - null),
        "That moves from one label to the other: both start from the null label's estimate.": a + 3 * (b - a),
        "The second label took the null label's place: that moves away from it.": b + 3 * (a - b),
        "Two guided estimates are averaged, not added.": 2 * null + 3 * (a - null) + 3 * (b - null),
        "The scale is off by one: start from the null label's estimate.": (a + b) / 2 + 3 * ((a + b) / 2 - null),
        "Where is the null label's estimate?": 3 * (a + b) / 2,
        "The *mean* of the two labelled estimates: divide their sum by 2.": null + 3 * (a + b - null),
    }


@exercise(
    "08.adm_mean",
    solution=solutions.adm_mean,
    hints=(
        "`mean, std = schedule.posterior(x, x0, t, s)`. Take the gradient at a copy of `mean` that asks for one.",
        "`log_prob(leaf, s)`: the mean is a picture at time s. Sum over the batch before you differentiate.",
    ),
)
def _(attempt):
    schedule, x, x0, goal = cosine(), torch.randn(4, 1, 4, 4), torch.randn(4, 1, 4, 4), torch.randn(4, 1, 4, 4)
    t, s = torch.tensor([0.6, 0.5])
    got = shaped(attempt(x, x0, _towards(goal), schedule, t, s, 2.0), x.shape, "A mean for each picture.")
    mean, std = schedule.posterior(x, x0, t, s)
    at_mean, at_x = (1 + s) * (goal - mean), (1 + t) * (goal - x)
    slips = {
        "The variance, std², multiplies the gradient.": mean + 2 * std * at_mean,
        "The gradient is multiplied by scale and by the step's variance, std².": mean + 2 * at_mean,
        "That is the gradient at x. So does ADM's released code; the paper takes it at the mean.": mean
        + 2 * std**2 * at_x,
        "The gradient is taken at the mean, which is a picture at time s, not t.": mean
        + 2 * std**2 * (1 + t) * (goal - mean),
        "The sign is wrong: up the gradient.": mean - 2 * std**2 * at_mean,
        "Where is the scale?": mean + std**2 * at_mean,
        "Sum the log-probabilities before the gradient: their mean makes it too small by B.": mean
        + 2 * std**2 * at_mean / 4,
        "The gradient is taken at the mean of the step, not at x0.": mean + 2 * std**2 * (1 + s) * (goal - x0),
    }
    close(got, mean + 2 * std**2 * at_mean, "Not mean + scale std² times the gradient there.", slips=slips, rtol=1e-3)
