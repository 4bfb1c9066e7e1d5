"""Lesson 02's checks: the three lines that make a VAE, its bounds, and what its codes add up to."""

import math

import torch

from minidiff.exercises import CheckFailed, close, exercise, require, shaped
from minidiff.lessons.lesson02 import solutions


@exercise("02.kl", solution=solutions.gaussian_kl, core=True)
def _(attempt):
    mu, log_var = torch.randn(2, 5, 3)
    kl = shaped(attempt(mu, log_var), (5,), "One number a picture: sum over the code, the last axis.")
    zero = attempt(torch.zeros(1, 3), torch.zeros(1, 3))
    require(zero.abs().max() < 1e-6, "A standard normal is no distance from itself: at mu 0, log_var 0 the KL is 0.")
    right = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    slips = {
        "The whole sum is halved: ½ (mu² + sigma² - 1 - log sigma²).": 2 * right,
        "log_var is log sigma², not log sigma: its exponential is the variance already.": 0.5
        * (mu**2 + (2 * log_var).exp() - 1 - 2 * log_var).sum(1),
        "Sum over the code, not the mean: each of its numbers is paid for.": right / 3,
        "The sign is turned: a KL is never negative.": -right,
        "The log term has the other sign: - log sigma².": 0.5 * (mu**2 + log_var.exp() - 1 + log_var).sum(1),
        "mu is squared.": 0.5 * (mu + log_var.exp() - 1 - log_var).sum(1),
    }
    close(kl, right, "Not the KL to a standard normal: ½ Σ (mu² + sigma² - 1 - log sigma²).", slips=slips)
    from minidiff import vae

    close(kl, vae.gaussian_kl(mu, log_var), "Not equal to minidiff.vae.gaussian_kl.")


@exercise("02.reparameterize", solution=solutions.reparameterize, core=True)
def _(attempt):
    mu = torch.full((40_000, 2), 1.5, requires_grad=True)
    log_var = torch.full((40_000, 2), math.log(0.25), requires_grad=True)
    z = shaped(attempt(mu, log_var), (40_000, 2), "One z for each mu: noise of the same shape, torch.randn_like(mu).")
    deviation = z.std().item()
    require(z.requires_grad, "No gradient reaches mu: torch.normal cuts it off. Write z = mu + sigma * eps.")
    alike = z.std(0).min() < 0.01 < (z[0] - 1.5).abs().max()
    require(not alike, "Every number needs an eps of its own: torch.randn_like(mu), not one for all.")
    require(deviation > 0.01, "There is no noise in z: add sigma * eps with eps from torch.randn_like(mu).")
    require(abs(z.mean().item() - 1.5) < 0.02, "The mean of z should be mu: eps comes from randn, around 0, not rand.")
    require(abs(deviation - 0.25) > 0.01, "That is noise of size sigma²: take the root, exp(log_var / 2).")
    require(abs(deviation - 0.5) < 0.01, "The noise has the wrong size: sigma = exp(log_var / 2).")
    (slope,) = torch.autograd.grad(z.pow(2).mean(), log_var)
    require(abs(slope.sum().item() - 0.25) < 0.02, "No gradient reaches log_var through sigma: do not detach it.")


@exercise("02.elbo", solution=solutions.negative_elbo, core=True)
def _(attempt):
    x, out = torch.rand(2, 4, 1, 8, 8) * 2 - 1
    mu, log_var = torch.randn(2, 4, 3)
    got = shaped(attempt(x, out, mu, log_var, 0.7), (4,), "One number a picture: sum over its pixels, not over all.")
    kl = solutions.gaussian_kl(mu, log_var)
    squares = ((x - out) ** 2).flatten(1)
    right = solutions.negative_elbo(x, out, mu, log_var, 0.7)
    constant = 64 * (math.log(0.7) + 0.5 * math.log(2 * math.pi))
    averaged = squares.mean(1) / (2 * 0.49) + constant / 64 + kl
    slips = {
        "Sum the squares over the pixels; the mean makes them 64 times too light against the KL.": averaged,
        "The KL is added to the loss: codes far from the prior must cost.": right - 2 * kl,
        "The normal density's own logarithm is missing: log sigma + ½ log 2π a pixel.": right - constant,
        "The squared error is divided by 2 sigma².": squares.sum(1) + constant + kl,
        "Divide by 2 sigma², not by 2 sigma.": squares.sum(1) / 1.4 + constant + kl,
    }
    close(got, right, "Not -log N(x; out, sigma²) + KL, summed over pixels and code.", slips=slips, rtol=1e-3)
    from minidiff.vae import Gaussian

    close(got, kl - Gaussian(0.7).log_prob(out, x), "Not equal to minidiff.vae's.", rtol=1e-3)


@exercise("02.vae", solution=solutions.VAE)
def _(attempt):
    from minidiff.vae import VAE, gaussian_kl

    x = torch.rand(6, 1, 16, 16) * 2 - 1
    for beta in (1.0, 3.0):
        mine = attempt(code=4, beta=beta)
        theirs = VAE(code=4, beta=beta)
        _wake(mine.encoder)
        theirs.encoder, theirs.decoder = mine.encoder, mine.decoder
        mu, log_var = mine.encode(x)
        shaped(mu, (6, 4), "The encoder has 2 * code outputs: chunk them in two along dim 1.")
        close(log_var, theirs.encode(x)[1], "The first half is mu, the second half log_var.")
        ours, right = (_seeded_loss(model, x) for model in (mine, theirs))
        slips = {
            "beta does nothing: it multiplies the KL.": right - (beta - 1) * gaussian_kl(mu, log_var).mean() / 256,
            "Divide by the number of pixels, x[0].numel().": right * 256,
        }
        close(ours, right, "Not the mean of minus the ELBO, with one draw of z.", slips=slips, rtol=1e-3)


def _seeded_loss(model, x):
    torch.manual_seed(1)  # the same noise for both
    return model.loss(x).detach()


@torch.no_grad()
def _wake(encoder):
    """An untrained encoder has next to no KL, and beta would not show: make its weights larger."""
    for weight in encoder.parameters():
        weight.mul_(3)


@exercise("02.log_mean_exp", solution=solutions.log_mean_exp, core=True)
def _(attempt):
    w = torch.randn(50, 6)
    got = shaped(attempt(w), (6,), "One number a picture: the mean is over the first axis, the k draws.")
    right = torch.logsumexp(w, 0) - math.log(50)
    slips = {
        "A mean, not a sum: divide by k, or take away log k.": torch.logsumexp(w, 0),
        "Mean of the exponentials, then the log. The mean of the logs is the plain ELBO.": w.mean(0),
    }
    close(got, right, "Not log(mean(exp(w))) over the first axis.", slips=slips)
    far = attempt(w - 500)
    require(torch.isfinite(far).all(), "exp(-500) is 0 in float32: take the largest w out first, and add it after.")
    close(far, right - 500, "A constant added to all w should be added to the result.", atol=1e-2)
    apart = torch.tensor([[-160.0, -400.0], [-161.0, -401.0]])  # two pictures, 240 nats apart
    wanted = torch.tensor([-160.3799, -400.3799])
    close(attempt(apart), wanted, "Each picture has its own largest w: take the maximum over dim 0 only.", rtol=1e-5)
    require(torch.isfinite(attempt(w + 500)).all(), "exp(500) overflows: take the largest w out, not the smallest.")


@exercise("02.best_sigma", solution=solutions.best_sigma)
def _(attempt):
    x, out = torch.randn(2, 6, 1, 8, 8)
    mse = ((x - out) ** 2).mean()
    slips = {
        "That is sigma²: the likeliest variance is the mean squared error. Take the root.": mse,
        "One sigma for all pixels: the mean, not the sum.": ((x - out) ** 2).sum().sqrt(),
        "The squares first, then the mean, then the root.": (x - out).abs().mean(),
    }
    got = attempt(x, out)
    close(got, mse.sqrt(), "Set the slope of log sigma + mse / (2 sigma²) to zero.", slips=slips)


@exercise("02.all_digits", solution=solutions.all_digits)
def _(attempt):
    from minidiff.vae import VAE

    model = VAE(code=4, classes=10, width=4).eval()
    z = torch.randn(4)
    with torch.no_grad():
        hint = "Ten pictures: z must be (10, code), so z.expand(10, -1), and the labels torch.arange(10)."
        try:
            got = shaped(attempt(model, z), (10, 1, 16, 16), hint)
        except ValueError as refused:
            raise CheckFailed(hint, str(refused)) from refused
        right = model.decode(z.expand(10, -1), torch.arange(10))
        slips = {"The labels run 0 … 9, in that order.": model.decode(z.expand(10, -1), torch.zeros(10).long())}
    close(got, right, "The same z in all ten rows, and the labels torch.arange(10).", slips=slips)


@exercise("02.aggregate", solution=solutions.aggregate)
def _(attempt):
    mu = torch.randn(200, 3) * 0.8 + 0.3
    log_var = torch.randn(200, 3) - 1
    result = attempt(mu, log_var)
    require(isinstance(result, tuple) and len(result) == 2, "Return two tensors: mean, variance.")
    mean, variance = result
    close(mean, mu.mean(0), "The mean of a mixture is the mean of the means.")
    inside = log_var.exp().mean(0)
    between = mu.var(0, unbiased=False)
    slips = {
        "That is the spread within one q alone: the means differ as well.": inside,
        "That is the spread of the means alone: each q has a width of its own.": between,
        "The mean of the variances, exp(log_var), not of sigma.": (0.5 * log_var).exp().mean(0) + between,
    }
    close(variance, inside + between, "Variance within plus variance between.", slips=slips, rtol=2e-2)
