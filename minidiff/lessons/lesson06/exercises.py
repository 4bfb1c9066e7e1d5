"""Lesson 06's checks: DDPM's two algorithms, waves of time, attention, v, averaged weights, copies, the bound."""

import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from minidiff import schedule, seeded
from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson06 import solutions
from minidiff.lessons.lesson06.probes import (
    WRONG_MEANS,
    WRONG_STDS,
    Spy,
    asked,
    attention_slips,
    chain,
    cost_slips,
    large,
    loss_slips,
    mean_of,
    nearness_slips,
    std_of,
    wave,
    wave_slips,
)


@exercise(
    "06.noise_loss",
    solution=solutions.noise_loss,
    core=True,
    hints=(
        "There are four steps, one line each: times, alpha and sigma, noise, the noisy picture. Then the loss.",
        "`torch.randint(schedule.steps, (len(x0),))` draws a place on the grid for each picture, and `schedule.grid` "
        "has the time at each place. `schedule(t, like=x0)` gives alpha and sigma in a shape that multiplies pictures.",
        "The loss compares `net(x, t)` with `eps`: the mean of the squared difference.",
    ),
)
def _(attempt):
    path = schedule.linear(25)
    _noises_rightly(attempt, path)
    loss, x, t = asked(attempt, torch.zeros(4000, 3), path)
    eps = x / path(t, like=x)[1]
    close(
        loss,
        ((0.5 - eps) ** 2).mean(),
        "Not the mean of (prediction - eps)², with the eps in x.",
        slips=loss_slips(x, eps),
    )
    from minidiff.denoiser import Denoiser

    model = Denoiser(Spy(), path, "eps")
    close(loss, model.losses(torch.zeros(4000, 3), t, eps).mean(), "Not equal to minidiff's Denoiser.losses.")
    _teaches(attempt, path)


def _teaches(attempt, path):
    """The loss has a gradient, and its times and noise are new each time."""
    net = Spy(weight=True)
    first, second = (attempt(net, torch.zeros(40, 3), path) for _ in range(2))
    require(first.requires_grad, "The loss has lost its gradient: no detach, no torch.no_grad() and no .item() here.")
    require(first.item() != second.item(), "The same noise in every step: do not set a seed inside the loss.")


def _noises_rightly(attempt, path):
    """The times are the grid's, and the network sees alpha x0 + sigma eps: first by a huge x0, then by none."""
    _, x, t = asked(attempt, torch.full((4000, 3), 1e4), path)
    require(t.max() <= 1, "Times run from 0 to 1: schedule.grid[i], not the index i.")
    require(t.min() > 0, "There is a t = 0: off by one. The times are 1/T ... 1: schedule.grid[i].")
    require(len(t.unique()) > 1, "All pictures have the same time: draw one for each row.")
    require(
        t.unique().tolist() == path.grid.tolist(), "Every point of schedule.grid should be drawn, the last one too."
    )
    alpha = path(t)[0]
    share = x.mean(1) / 1e4
    require((share - alpha**2).abs().max() > 1e-3, "A square root is missing: alpha is the root of alpha_bar.")
    close(share, alpha, "The network should see alpha x0 + sigma eps.", atol=2e-3)
    _, x, t = asked(attempt, torch.zeros(4000, 3), path)
    sigma = path(t, like=x)[1]
    eps = x / sigma
    one = eps.std(0).min() < 0.1 < eps.std()
    require(not one, "Each picture needs noise of its own: torch.randn_like(x0).")
    require(eps.std(1).median() > 0.1, "Each pixel needs noise of its own, not one number a picture: torch.randn_like.")
    require(abs((eps / sigma).std().item() - 1) > 0.03, "The noise is multiplied by sigma, not by sigma².")
    require(abs(eps.std().item() - 1) < 0.05, "The noise should be standard normal (randn, not rand), times sigma.")


@exercise(
    "06.ancestral",
    solution=solutions.ancestral,
    core=True,
    hints=(
        "Loop over `i` from `schedule.steps` down to 1. The network is asked at `t = i / schedule.steps`, and the "
        "step leads to `s = (i - 1) / schedule.steps`.",
        "The network wants a time for each row: `torch.full((len(x),), t)`. Each call `schedule(t)` gives a pair, "
        "alpha and sigma, and `schedule.transition(t, s)` gives a and b.",
        "First the mean: `x = (x - b**2 / sigma_t * eps) / a`. Then, while `i > 1`, add noise from the generator, "
        "`torch.randn(x.shape, generator=generator)`, times `sigma_s * b / sigma_t`.",
    ),
)
def _(attempt):
    path = schedule.linear(25)
    x = torch.randn(6, 3)
    _asks_for_times(attempt, x, path)
    got, again = (attempt(wave, x, path, seeded(1)) for _ in range(2))
    shaped(got, (6, 3), "As many samples as there is noise.")
    require(torch.equal(got, again), "Draw the fresh noise from the generator: torch.randn(..., generator=generator).")
    other = attempt(wave, x, path, seeded(2))
    require(not torch.equal(got, other), "The same noise from every generator: use the one that is handed over.")
    from minidiff.denoiser import Denoiser
    from minidiff.sampler import last, sample, times

    steps = sample(Denoiser(wave, path), x, times(25), path, eta=1.0, generator=seeded(1))
    hint = "Not the chain of algorithm 2: compare your mean and your noise with the formula, factor by factor."
    close(got, last(steps), hint, slips=_chains_with_a_slip(x, path), rtol=1e-3, atol=1e-4)


def _asks_for_times(attempt, x, path):
    """The network is asked once a step, at i / T for each row, on any grid."""
    for steps in (path.steps, 7):
        spy = Spy()
        rows = x[:2] if steps == 7 else x
        attempt(spy, rows, schedule.cosine(steps) if steps == 7 else path, seeded(1))
        times = [t for _, t in spy.asked]
        require(len(times) > 1, "It stops after one step: does `return` stand inside the loop?")
        require(len(times) == steps, f"{len(times)} steps on a grid of {steps}: loop over schedule.steps.")
        for t in times:
            fixed = tuple(t.shape) == (6,) != (len(rows),)
            require(not fixed, "Right for 6 rows and not for 2: there are len(x) of them.")
            shaped(t, (len(rows),), "The network wants a time for each row: torch.full((len(x),), t).")
        require(max(t.max().item() for t in times) <= 1, "Times run from 1 down to 1/T: i / schedule.steps, not i.")
        require(
            times[0][0] > times[-1][0], "The chain runs downwards, from t = 1: for i in range(schedule.steps, 0, -1)."
        )
        require(torch.equal(spy.asked[0][0], rows), "The chain starts from the x that is handed over.")


def _chains_with_a_slip(x, path):
    """Hint -> what the chain leads to with that slip."""
    late = "Off by one: the network should be told t = i / T, where x is, not where it goes."
    noisy = "In the last step nothing is added: x is the mean itself."
    slips = {late: chain(x, path, mean_of, std_of, shift=1), noisy: chain(x, path, mean_of, std_of, last=large)}
    slips |= {hint: chain(x, path, mean, std_of) for hint, mean in WRONG_MEANS.items()}
    return slips | {hint: chain(x, path, mean_of, std) for hint, std in WRONG_STDS.items()}


@exercise(
    "06.waves",
    solution=solutions.waves,
    core=True,
    hints=(
        "Begin with the numbers `i = torch.arange(dim // 2)` and the frequencies w, one for each i.",
        "`1000 * t[:, None] * w` multiplies every time with every frequency: (B, 1) times (dim/2,) is (B, dim/2).",
        "`torch.cat([angle.sin(), angle.cos()], dim=1)` puts the cosines to the right of the sines.",
    ),
)
def _(attempt):
    t = torch.rand(7)
    got = shaped(attempt(t, 12), (7, 12), "A row for each time: dim/2 sines, and then dim/2 cosines.")
    from minidiff.nn import TimeEmbedding

    right = TimeEmbedding(12)(t)
    close(
        got,
        right,
        "Not the sines and cosines of 1000 t w_i with w_i = 10000^(-2i/dim).",
        slips=wave_slips(t),
        atol=1e-3,
    )
    shaped(attempt(t[:3], 8), (3, 8), "The number of waves is dim/2, whatever dim is.")
    close(attempt(t[:3], 8), TimeEmbedding(8)(t[:3]), "Right for dim = 12 and not for dim = 8.", atol=1e-3)


@exercise(
    "06.attention",
    solution=solutions.attention,
    core=True,
    hints=(
        "`q @ k.transpose(1, 2)` has the product of every query with every key: (B, L, M).",
        "Divide by the square root of d, which is `q.shape[2]`. The softmax runs over the keys, the last dimension.",
    ),
)
def _(attempt):
    q = torch.randn(2, 5, 4)
    k = 2 * torch.randn(2, 6, 4)
    v = torch.randn(2, 6, 3)
    got = shaped(attempt(q, k, v), (2, 5, 3), "A row for each query, as wide as the values: softmax(q k^T / √d) v.")
    from minidiff.nn import attend

    right = attend(q[:, None], k[:, None], v[:, None])[:, 0]
    close(got, right, "Not softmax(q k^T / √d) v.", slips=attention_slips(q, k, v))
    q, k = torch.randn(1, 3, 9), torch.randn(1, 2, 9)
    right = attend(q[:, None], k[:, None], k[:, None])[:, 0]
    close(attempt(q, k, k), right, "Right for vectors of 4 numbers and not for vectors of 9: d is q.shape[2].")


@exercise(
    "06.velocity",
    solution=solutions.from_velocity,
    hints=(
        "Two equations, two unknowns. To get rid of eps, multiply the equation of x by alpha and that of v by sigma.",
        "alpha x − sigma v = (alpha² + sigma²) x0, and the bracket is 1. For eps, multiply the other way and add.",
    ),
)
def _(attempt):
    x0, eps = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64)  # alpha is small at 0.95, and a division by it is allowed
    alpha, sigma = schedule.cosine()(torch.tensor([0.1, 0.4, 0.7, 0.95], dtype=torch.float64), like=x0)
    x = alpha * x0 + sigma * eps
    v = alpha * eps - sigma * x0
    result = attempt(v, x, alpha, sigma)
    require(isinstance(result, tuple | list) and len(result) == 2, "Return two tensors: x0, eps.")
    slips = {
        "The sign: v = alpha eps - sigma x0, so sigma v is taken away.": alpha * x + sigma * v,
        "The sign of the whole: x holds +alpha x0, and alpha x comes first.": sigma * v - alpha * x,
        "That would be right if v were eps: use v = alpha eps - sigma x0 too.": (x - sigma * v) / alpha,
        "That is eps: x0 comes first.": eps,
    }
    close(result[0], x0, "The first of the two is not x0.", slips=slips)
    close(result[1], eps, "x0 is right and eps is not: eps = sigma x + alpha v.")


@exercise(
    "06.average",
    solution=solutions.averaged,
    core=True,
    hints=(
        "`copy.deepcopy(model)` before the first tick is the average's beginning. Then go through the ticks: the "
        "model has moved each time that the loop comes round.",
        "Inside `torch.no_grad()`, walk through `average.parameters()` and `model.parameters()` side by side with "
        "`zip`, and change the first in place: `mean.mul_(decay).add_(weight, alpha=1 - decay)`.",
    ),
)
def _(attempt):
    model = nn.Linear(1, 1)
    _fill(model, 5.0)
    average = attempt(model, (_fill(model, 10.0 * k) for k in range(1, 5)), decay=0.8)
    require(isinstance(average, nn.Module), "Return the averaged model.")
    require(average is not model, "That is the trained model itself: the average is kept and never used. Return it.")
    trained = model.weight.item()
    require(trained not in (5, 10), "The training stops at once: go through all ticks, and return after the loop.")
    require(trained == 40, "Training must go on with the model's own weights: average a copy.")
    mean = average.weight.item()
    require(mean != 5, "The average has stayed where it began: change its weights in place.")
    close(mean, _recursion(0.8), "After each tick: decay * average + (1 - decay) * weight.", slips=_wrong_averages())
    close(average.bias.item(), mean, "Every weight is averaged, the bias too.")


def _wrong_averages():
    return {
        "The last weights, not their average: was the copy made at the end, or overwritten?": 40.0,
        "decay and 1 - decay are swapped: the average moves by a small part, 1 - decay.": _recursion(0.2),
        "The average starts from the weights as they are before training, not from 0.": _recursion(0.8, start=0.0),
        "That is the plain mean of the weights.": 25.0,
        "That is the plain mean of all weights, the first ones too.": 21.0,
        "One tick late: the weights after a tick are those that the model has then.": _late(0.8),
        "decay is an argument: 0.99 is only its default.": _recursion(0.99),
        "A weight is multiplied by 1 - decay before it is added.": _recursion(0.8, gain=1.0),
        "The copy is made before the first tick, while the weights are still as they were.": _recursion(0.8, 10.0, 2),
        "All ticks were consumed first: change the average after each of them.": 40 - 35 * 0.8**4,
    }


@torch.no_grad()
def _fill(model, value):
    """A training step that makes every weight `value`."""
    for weight in model.parameters():
        weight.fill_(value)


def _late(decay):
    mean = 5.0
    for weight in (5.0, 10.0, 20.0, 30.0):
        mean = decay * mean + (1 - decay) * weight
    return mean


def _recursion(decay, start=5.0, first=1, gain=None):
    mean = start
    for k in range(first, 5):
        mean = decay * mean + (1 - decay if gain is None else gain) * 10 * k
    return mean


@exercise(
    "06.nearness",
    solution=solutions.nearness,
    core=True,
    hints=(
        "`torch.cdist` has the distances between all rows of two matrices. Flatten the pictures first.",
        "`distances.topk(n, largest=False).values` has the n smallest of each row, the nearest first.",
    ),
)
def _(attempt):
    train = torch.randn(60, 1, 3, 3)
    samples = torch.randn(4, 1, 3, 3)
    got = shaped(attempt(samples, train, n=5), (4,), "One number for each sample.")
    rising = torch.cdist(samples.flatten(1), train.flatten(1)).sort(1).values
    nearest, near = rising[:, 0], rising[:, :5]
    close(
        got,
        nearest / near.mean(1),
        "Not the smallest distance over the mean of the n smallest.",
        slips=nearness_slips(rising),
    )
    ratio = nearest / rising[:, :9].mean(1)
    close(attempt(samples, train, n=9), ratio, "Right for n = 5 and not for n = 9: n is an argument.")


@exercise(
    "06.bound",
    solution=solutions.step_cost,
    hints=(
        "It is the formula above, with the sum over all pixels of a picture and none over the pictures of the batch.",
    ),
)
def _(attempt):
    x0, estimate = torch.randn(2, 3, 1, 4, 4)
    path = schedule.cosine(50)
    t = torch.tensor(0.5)
    s = torch.tensor(0.48)
    snr_t, snr_s = (float(path.log_snr(time).exp()) for time in (t, s))
    got = shaped(attempt(x0, estimate, snr_s, snr_t), (3,), "One number a picture: sum over its pixels.")
    x = torch.randn(3, 1, 4, 4)
    (mean, std), (guess, _) = path.posterior(x, x0, t, s), path.posterior(x, estimate, t, s)
    right = kl_divergence(Normal(mean, std), Normal(guess, std)).flatten(1).sum(1)
    slips = cost_slips(x0 - estimate, snr_s, snr_t)
    close(got, right, "Not the KL between the two normals of the step.", slips=slips, rtol=1e-3)
    part = attempt(x0[..., :2], estimate[..., :2], snr_s, snr_t) + attempt(x0[..., 2:], estimate[..., 2:], snr_s, snr_t)
    close(part, right, "Right for 4 by 4 pixels and not for 4 by 2: add up all that a picture has.", rtol=1e-3)
    turned = attempt(x0, estimate, snr_t, snr_s)  # no step of a sampler, and negative: a slip of the caller's shows
    close(turned, -right, "The formula has no absolute value: it would hide SNRs in the wrong order.", rtol=1e-3)
