"""What lesson 06's checks hold an attempt against: a network that notes what it is asked, and chains with a slip."""

import torch
from torch import nn

from minidiff import seeded
from minidiff.exercises import require, shaped


class Spy(nn.Module):
    """Answers ½ everywhere, by a weight if one is wanted, and keeps what it was asked."""

    def __init__(self, weight: bool = False):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5)) if weight else 0.5
        self.asked = []

    def forward(self, x, t, cond=None):
        self.asked.append((x, t))
        return torch.ones_like(x) * self.level


def asked(attempt, x0, path):
    """What the attempt's loss shows a network for x0, and its value."""
    spy = Spy()
    loss = shaped(attempt(spy, x0, path), (), "The loss is one number: the mean over pictures and pixels.")
    require(len(spy.asked) == 1, "Ask the network once, with all pictures: net(x, t).")
    x, t = spy.asked[0]
    shaped(x, tuple(x0.shape), "The network is shown noisy pictures of x0's shape: use schedule(t, like=x0).")
    shaped(t, (len(x0),), "Each picture has a time of its own: t is (B,), one random place of the grid a row.")
    return loss, x, t


def wave(x, t, cond=None):
    """A network without weights, different at every time, under which the chain stays of about unit size."""
    return 0.8 * x + 0.3 * (3 * x + 5 * t.reshape(-1, *[1] * (x.ndim - 1))).sin()


def chain(x, path, mean, std, shift=0, last=lambda *_: 0.0):
    """Algorithm 2 with another mean(x, eps, a, b, sigma_t) or std(a, b, sigma_t, sigma_s), or a slip of its own."""
    generator = seeded(1)
    steps = path.steps
    for i in range(steps, 0, -1):
        (_, sigma_t), (_, sigma_s) = path(i / steps), path((i - 1) / steps)
        a, b = path.transition(i / steps, (i - 1) / steps)
        x = mean(x, wave(x, torch.full((len(x),), (i - shift) / steps)), a, b, sigma_t)
        spread = std if i > 1 else last
        x = x + spread(a, b, sigma_t, sigma_s) * torch.randn(x.shape, generator=generator)
    return x


def mean_of(x, eps, a, b, sigma_t):
    return (x - b**2 / sigma_t * eps) / a


def std_of(a, b, sigma_t, sigma_s):
    return sigma_s * b / sigma_t


def large(a, b, sigma_t, sigma_s):
    return b


WRONG_MEANS = {  # hint -> the mean with that slip
    "eps is divided by sigma_t, the standard deviation, not by its square.": (
        lambda x, eps, a, b, sigma_t: (x - b**2 / sigma_t**2 * eps) / a
    ),
    "The mean is divided by a, the root of 1 - beta, not by 1 - beta.": (
        lambda x, eps, a, b, sigma_t: (x - b**2 / sigma_t * eps) / a**2
    ),
    "1 / a multiplies both parts of the mean, x_t and the noise.": (
        lambda x, eps, a, b, sigma_t: x - b**2 / sigma_t * eps / a
    ),
    "The predicted noise is multiplied by b² / sigma_t, not by b / sigma_t.": (
        lambda x, eps, a, b, sigma_t: (x - b / sigma_t * eps) / a
    ),
    "The mean is divided by a, not multiplied by it: a step back makes x larger.": (
        lambda x, eps, a, b, sigma_t: (x - b**2 / sigma_t * eps) * a
    ),
    "The division by a is missing: a step back makes x larger.": (
        lambda x, eps, a, b, sigma_t: x - b**2 / sigma_t * eps
    ),
    "eps is multiplied by b² / sigma_t: where is the division by sigma_t?": (
        lambda x, eps, a, b, sigma_t: (x - b**2 * eps) / a
    ),
    "The sign: the predicted noise is taken away.": lambda x, eps, a, b, sigma_t: mean_of(x, -eps, a, b, sigma_t),
}
WRONG_STDS = {  # hint -> the standard deviation of the fresh noise with that slip
    "A square root is missing: that is the variance where the noise needs its root, sigma_s b / sigma_t.": (
        lambda *args: std_of(*args) ** 2
    ),
    "That is the large variance, b²: the posterior's std is sigma_s b / sigma_t.": large,
    "The standard deviation of the noise is sigma_s b / sigma_t: where is the division by sigma_t?": (
        lambda a, b, sigma_t, sigma_s: b * sigma_s
    ),
    "The fresh noise is added after the division by a, not before.": lambda a, *rest: std_of(a, *rest) / a,
    "The noise's std is sigma_s b / sigma_t, a small part of sigma_s: where is b / sigma_t?": (
        lambda a, b, sigma_t, sigma_s: sigma_s
    ),
    "The fresh noise is multiplied by sigma_s b / sigma_t.": lambda *_: 1.0,
    "The noise is never added: without it this is no draw of the chain.": lambda *_: 0.0,
}


def loss_slips(x, eps) -> dict:
    """Hint -> the loss with that slip, where the network saw x and said ½ everywhere, and x0 is 0."""
    error = 0.5 - eps
    return {
        "The target is the noise eps, not the clean picture.": torch.tensor(0.25),
        "The target is the noise eps, not the noisy picture.": ((0.5 - x) ** 2).mean(),
        "The noise is added in x, and then it is not taken away: x = alpha x0 + sigma eps.": ((0.5 + eps) ** 2).mean(),
        "The squared error, not the absolute one.": error.abs().mean(),
        "The mean over pictures and pixels, not the sum.": (error**2).sum(),
        "The mean over a picture's pixels too, not their sum.": (error**2).sum(1).mean(),
        "The square is missing: errors up and down would cancel.": error.mean(),
        "First the square, then the mean: errors up and down would cancel.": error.mean() ** 2,
        "The mean of the squares, not the root of it.": (error**2).mean().sqrt(),
        "The mean of the squares, not the length of the error.": error.norm(),
        "There is no half in this loss.": 0.5 * (error**2).mean(),
    }


def wave_slips(t) -> dict:
    """Hint -> 12 waves of the times t with that slip."""
    sines, cosines = waves(t, -2).chunk(2, dim=1)
    return {
        "All the sines come first, and then all the cosines.": torch.stack([sines, cosines], 2).flatten(1),
        "The sines come first, the cosines second.": torch.cat([cosines, sines], 1),
        "The second half are the cosines.": torch.cat([sines, sines], 1),
        "The time is multiplied by 1000 first.": waves(t / 1000, -2),
        "DDPM's own code divides by dim/2 - 1; here it is the transformer's 2i/dim.": waves(t, -2 * 6 / 5),
        "i begins at 0: the first wave is sin(1000 t).": waves(t, -2, start=1),
        "The exponent is -2i/dim: with i/dim the slowest wave is still a hundred times too quick.": waves(t, -1),
        "i counts by ones: with 0, 2, 4, ... the 2 is in the exponent twice.": waves(t, -4),
        "dim is an argument: with 32 in the exponent it is right for 32 waves only.": waves(t, -2 * 12 / 32),
        "1000 multiplies the time, and the base of the power is 10000.": waves(t, -2, base=1000),
        "No 2π: the angle is 1000 t w_i.": waves(2 * torch.pi * t, -2),
        "The exponent has a minus sign: the waves get slower with i.": waves(t, 2),
    }


def waves(t, power, start=0, base=10000):
    angle = 1000 * t[:, None] * base ** (power * (torch.arange(6) + start) / 12)
    return torch.cat([angle.sin(), angle.cos()], 1)


def attention_slips(q, k, v) -> dict:
    """Hint -> what q (2, 5, 4) gathers from k (2, 6, 4) and v (2, 6, 3) with that slip."""
    likeness = q @ k.transpose(1, 2)
    return {
        "Divide by the root of d: the longer the vectors, the larger their products.": likeness.softmax(2) @ v,
        "Divide by the root of d, not by d.": (likeness / 4).softmax(2) @ v,
        "Divide by the root of d, do not multiply by it.": (likeness * 2).softmax(2) @ v,
        "The weights of a query sum to 1 over the keys: softmax over the last axis.": (likeness / 2).softmax(1) @ v,
        "Each row of the batch has weights of its own: softmax over the last axis.": (likeness / 2).softmax(0) @ v,
        "The softmax is missing: the weights of a query are positive and sum to 1.": likeness / 2 @ v,
        "Exponentials alone do not sum to 1: softmax divides by their sum.": (likeness / 2).exp() @ v,
        "A sigmoid does not make weights that sum to 1: softmax over the keys.": (likeness / 2).sigmoid() @ v,
        "The weights are the softmax, not its logarithm.": (likeness / 2).log_softmax(2) @ v,
        "The sign: the larger the product, the larger the weight.": (-likeness / 2).softmax(2) @ v,
        "d is the length of a query, not the number of queries.": (likeness / 5**0.5).softmax(2) @ v,
        "d is the length of a query, not the number of keys.": (likeness / 6**0.5).softmax(2) @ v,
        "d is the length of a query, not that of a value.": (likeness / 3**0.5).softmax(2) @ v,
        "Divide the scores before the softmax, not the weights after it.": likeness.softmax(2) / 2 @ v,
    }


def nearness_slips(rising) -> dict:
    """Hint -> the ratio for n = 5 with that slip, by the distances (M, N) of each row in rising order."""
    nearest, near = rising[:, 0], rising[:, :5]
    return {
        "The mean is that of the n nearest, not of all.": nearest / rising.mean(1),
        "n is an argument: the mean of the n nearest.": nearest / rising[:, :50].mean(1),
        "The n nearest include the nearest one.": nearest / rising[:, 1:6].mean(1),
        "The nearest is itself one of the n nearest.": nearest / rising[:, 1:5].mean(1),
        "One too many: n distances, from 0 to n - 1.": nearest / rising[:, :6].mean(1),
        "One too few: n distances, the nearest among them.": nearest / rising[:, :4].mean(1),
        "Upside down: the nearest is divided by the mean.": near.mean(1) / nearest,
        "Distances, not their squares.": nearest**2 / (near**2).mean(1),
        "Divide by the mean of the n nearest: what is near depends on how dense the digits lie there.": nearest,
        "That is the mean alone: the nearest distance is divided by it.": near.mean(1),
        "Each sample has a mean of its own, over its n nearest.": nearest / near.mean(),
        "The mean of the n smallest, not their sum.": nearest / near.sum(1),
        "The mean of the n smallest, not their median.": nearest / near.median(1).values,
        "Those are the farthest ones.": rising[:, -1] / rising[:, -5:].mean(1),
        "Divide by the mean of the n nearest, not by the last of them.": nearest / near[:, -1],
        "Divide by the mean of the n nearest, not by the second of them.": nearest / near[:, 1],
    }


def cost_slips(error, snr_s, snr_t) -> dict:
    """Hint -> the cost of a step with that slip, for estimates that are off by error (B, 1, 4, 4)."""
    squares = (error**2).flatten(1).sum(1)
    half = 0.5 * (snr_s - snr_t)
    return {
        "The half is missing: the log of a normal density has one.": 2 * half * squares,
        "SNR grows towards s: SNR_s - SNR_t, so that the cost is positive.": -half * squares,
        "The sum over pixels, not the mean.": half * squares / 16,
        "The distance is squared.": half * squares.sqrt(),
        "The square of each error, not its absolute value.": half * error.abs().flatten(1).sum(1),
        "The square is missing: errors up and down would cancel.": half * error.flatten(1).sum(1),
        "The difference of two SNRs, not the one at t.": 0.5 * snr_t * squares,
        "The difference of two SNRs, not the one at s.": 0.5 * snr_s * squares,
        "The difference of two SNRs, not their sum.": 0.5 * (snr_s + snr_t) * squares,
        "In nats: no division by log 2 here.": half * squares * 1.4426950,
    }
