"""Lesson 02's checks: the functions that make a VAE, its two bounds, and what its codes add up to."""

import math

import torch

from minidiff.exercises import CheckFailed, close, exercise, require, shaped
from minidiff.lessons.lesson02 import solutions
from minidiff.lessons.lesson02.probes import (
    Scaled,
    awake,
    elbo_slips,
    losses_with_a_slip,
    seeded_loss,
    slips_of_a_weight,
)


@exercise(
    "02.kl",
    solution=solutions.gaussian_kl,
    core=True,
    hints=(
        "It is one line: the formula for a single number of the code, and then a sum over the code.",
        "`log_var` is log sigma², so `log_var.exp()` is sigma². The code is the last dimension: `.sum(1)`.",
    ),
)
def _(attempt):
    mu, log_var = torch.randn(2, 5, 3)
    kl = shaped(attempt(mu, log_var), (5,), "One number for each picture: sum over the code, the last dimension.")
    zero = attempt(torch.zeros(1, 3), torch.zeros(1, 3))
    require(zero.abs().max() < 1e-6, "The KL of N(0, I) to itself should be 0: look at mu = 0, log_var = 0.")
    right = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    slips = {
        "The whole sum is halved: ½ (mu² + sigma² - 1 - log sigma²).": 2 * right,
        "log_var is log sigma², and not log sigma: exp(log_var) is sigma².": solutions.gaussian_kl(mu, 2 * log_var),
        "Take the sum over the code, not the mean: the terms of independent numbers add up.": right / 3,
        "The sign is turned: a KL is never negative.": -right,
        "The log term has the other sign: - log sigma².": 0.5 * (mu**2 + log_var.exp() - 1 + log_var).sum(1),
        "mu is squared.": 0.5 * (mu + log_var.exp() - 1 - log_var).sum(1),
        "exp(log_var) is sigma² already: no half in it.": right + 0.5 * ((0.5 * log_var).exp() - log_var.exp()).sum(1),
        "The ½ stands before the whole sum.": (0.5 * mu**2 + log_var.exp() - 1 - log_var).sum(1),
    }
    close(kl, right, "Not the KL to a standard normal: ½ Σ (mu² + sigma² - 1 - log sigma²).", slips=slips)
    mu, log_var = torch.randn(2, 3, 8)
    hint = "Right for codes of 3 numbers, not for codes of 8."
    close(attempt(mu, log_var), solutions.gaussian_kl(mu, log_var), hint)


@exercise(
    "02.reparameterize",
    solution=solutions.reparameterize,
    core=True,
    hints=(
        "Three lines: sigma from log_var, the noise eps, and then their sum with mu.",
        "sigma is the root of exp(log_var), which is `(0.5 * log_var).exp()`. `torch.randn_like(mu)` is the noise.",
    ),
)
def _(attempt):
    mu = torch.full((40_000, 2), 1.5, requires_grad=True)
    log_var = torch.full((40_000, 2), math.log(0.25), requires_grad=True)
    z = shaped(attempt(mu, log_var), (40_000, 2), "One z for each mu: noise of the same shape, torch.randn_like(mu).")
    deviation = z.std().item()
    require(z.requires_grad, "No gradient reaches mu: torch.normal cuts it off. Write z = mu + sigma * eps.")
    alike = z.std(0).min() < 0.01 < (z[0] - 1.5).abs().max()
    require(not alike, "Every picture needs an eps of its own: torch.randn_like(mu), not one for all.")
    one = (z[:, 0] - z[:, 1]).abs().max() < 0.01 < deviation
    require(not one, "Every number of a code needs an eps of its own: torch.randn_like(mu), of mu's shape.")
    require(deviation > 0.01, "There is no noise in z: add sigma * eps with eps from torch.randn_like(mu).")
    require(abs(z.mean().item() - 1.5) < 0.02, "The mean of z should be mu: add mu, and take eps from randn, around 0.")
    require(abs(deviation - 0.25) > 0.01, "The noise has the size sigma²: take the root, exp(log_var / 2).")
    require(abs(deviation - 0.5) < 0.01, "The noise has the wrong size: sigma = exp(log_var / 2).")
    _lets_gradients_through(z, mu, log_var)
    require(not torch.equal(attempt(mu, log_var), z), "The same noise each time: do not seed it.")
    _has_a_sigma_for_each_number(attempt)


def _lets_gradients_through(z, mu, log_var):
    to_mu, to_log_var = torch.autograd.grad(z.pow(2).mean(), (mu, log_var), allow_unused=True)
    require(to_mu is not None, "No gradient reaches mu: do not detach it.")
    reached = to_log_var is not None and abs(to_log_var.sum().item() - 0.25) < 0.02
    require(reached, "No gradient reaches log_var through sigma: do not detach it.")


def _has_a_sigma_for_each_number(attempt):
    mu, log_var = torch.randn(5), torch.randn(5)
    z = attempt(mu.expand(40_000, 5), log_var.expand(40_000, 5))
    sigma = (0.5 * log_var).exp()
    right = torch.cat([mu, sigma])
    got = torch.cat([z.mean(0), z.std(0)])
    close(got, right, "Each number of the code has its own mu and its own sigma.", atol=0.05, rtol=0.05)


@exercise(
    "02.elbo",
    solution=solutions.negative_elbo,
    core=True,
    hints=(
        "Compute the two terms separately, each of them (B,), and add them. The KL you have written already.",
        "Minus the logarithm of one pixel's density is (x − out)² / (2 sigma²) + log sigma + ½ log 2π.",
        "`.flatten(1).sum(1)` sums over all pixels of a picture and keeps the pictures apart. sigma is a plain number, "
        "so its logarithm is `math.log(sigma)`.",
    ),
)
def _(attempt):
    x, out = torch.rand(2, 4, 1, 8, 8) * 2 - 1
    mu, log_var = torch.randn(2, 4, 3)
    got = shaped(attempt(x, out, mu, log_var, 0.7), (4,), "One number for each picture: sum over its pixels only.")
    right = solutions.negative_elbo(x, out, mu, log_var, 0.7)
    slips = elbo_slips(x, out, solutions.gaussian_kl(mu, log_var))
    close(got, right, "Not -log N(x; out, sigma²) + KL, summed over pixels and code.", slips=slips, rtol=1e-3)
    _follows_its_arguments(attempt, mu, log_var)


def _follows_its_arguments(attempt, mu, log_var):
    x, out = torch.rand(2, 4, 3, 4, 4)
    kl = solutions.gaussian_kl(mu, log_var)
    right = solutions.negative_elbo(x, out, mu, log_var, 0.7)
    hint = "Right for 64 pixels, but not for 48 numbers in three colours: sum over all but the first dimension."
    close(attempt(x, out, mu, log_var, 0.7), right, hint, rtol=1e-3)
    got = attempt(x, out, mu, log_var, 0.7, 3.0)
    slips = {"beta does nothing: it multiplies the KL.": right, "beta multiplies the KL alone.": 3 * right}
    close(got, right + 2 * kl, "beta multiplies the KL and nothing else.", slips=slips, rtol=1e-3)
    from minidiff.vae import Gaussian

    right = kl - Gaussian(0.3).log_prob(out, x)
    close(attempt(x, out, mu, log_var, 0.3), right, "Right for sigma 0.7, but not for sigma 0.3.", rtol=1e-3)


@exercise(
    "02.vae",
    solution=solutions.VAE,
    hints=(
        "Your three functions, one after the other: encode, draw z, decode, and the loss of each picture.",
        "`self.sigma` and `self.beta` go into `negative_elbo`. The result is (B,): take its mean, and divide by "
        "`x[0].numel()`, the number of pixels of one picture.",
    ),
)
def _(attempt):
    from minidiff.vae import VAE

    x = torch.rand(6, 1, 16, 16) * 2 - 1
    for beta in (1.0, 3.0):
        mine = attempt(code=4, beta=beta)
        theirs = VAE(code=4, beta=beta)
        awake(mine)
        theirs.encoder, theirs.decoder = mine.encoder, mine.decoder
        mu, log_var = mine.encode(x)
        shaped(mu, (6, 4), "The encoder has 2 * code outputs: chunk them in two along dim 1.")
        close(log_var, theirs.encode(x)[1], "The first half is mu, the second half log_var.")
        ours, right = (seeded_loss(model, x) for model in (mine, theirs))
        shaped(ours, (), "The loss is one number: the mean over the batch.")
        hint = "Not the mean of minus the ELBO, with one draw of z."
        close(ours, right, hint, slips=losses_with_a_slip(theirs, x, right.detach()))
        _learns(mine, ours, right)
    mine.sigma = 0.4
    right = seeded_loss(mine, x, solutions.VAE.loss)
    close(seeded_loss(mine, x), right, "Right for sigma 0.7 only: hand self.sigma to negative_elbo.", rtol=1e-3)


def _learns(model, ours, right):
    """Both losses have the same gradient in the encoder's first weights, which only reparameterize lets through."""
    first = next(model.encoder.parameters())
    require(ours.requires_grad, "No gradient reaches the networks: the loss stays a tensor, with nothing detached.")
    ours, right = (torch.autograd.grad(loss, first, allow_unused=True)[0] for loss in (ours, right))
    hint = "The loss is right, but not its gradient: z comes from your reparameterize, and nothing is detached."
    close(torch.zeros_like(first) if ours is None else ours, right, hint, rtol=1e-3)


@exercise(
    "02.iwae",
    solution=solutions.iwae,
    core=True,
    hints=(
        "A loop over the k draws collects one log weight (B,) for each. The logarithm of a weight is a sum of three "
        "logarithms, and `log_normal` gives all three.",
        "log p(x | z) is `log_normal(x, model.decode(z), sigma).flatten(1).sum(1)`. log p(z) and log q(z | x) are sums "
        "over the code, with mean 0 and sigma 1 for the prior.",
        "`torch.stack` makes the list a tensor (k, B). `torch.logsumexp(..., dim=0)` is the logarithm of the sum "
        "of the weights, and `- math.log(k)` makes the sum a mean.",
    ),
)
def _(attempt):
    model, x = Scaled(0.5), torch.randn(6, 1, 2, 2)
    exact = model.log_prob(x)
    got = shaped(attempt(model, x, 3, 0.5), (6,), "One number for each picture.")
    one = x[1:2].expand(4000, -1, -1, -1)
    hint = "A log weight is log p(x | z) + log p(z) - log q(z | x)."
    average, slips = attempt(model, one, 1, 0.5).mean(), slips_of_a_weight(model, one)
    close(average, exact[1], hint, slips=slips, atol=0.12, rtol=0)
    slips = {
        "A mean of the weights, not their sum: take away log k.": exact + math.log(3),
        "Take away log k once, and divide by k no further.": exact - math.log(3),
    }
    hint = "Where q is exactly the posterior, every weight is p(x), so the bound should be log p(x)."
    close(got, exact, hint, slips=slips, atol=1e-2)
    _rises_with_k(attempt, x[:1].expand(4000, -1, -1, -1))
    hint = "exp of a log weight such as -1000 is 0 in float32: torch.logsumexp keeps it in range."
    close(attempt(model, 30 * x, 3, 0.5), model.log_prob(30 * x), hint, rtol=1e-3)


def _rises_with_k(attempt, x):
    """Where q is wider than the posterior, as the bound of 1 and of 5 draws should."""
    wide = Scaled(0.5, wide=2.0)
    averages, right = ([bound(wide, x, k, 0.5).mean() for k in (1, 5)] for bound in (attempt, solutions.iwae))
    require(
        abs(averages[1] - averages[0]) > 0.3,
        "The bound does not rise with k: draw a new z for each weight, and average the weights, not their logarithms.",
    )
    close(torch.stack(averages), torch.stack(right), "Not the logarithm of the mean of k weights.", atol=0.2, rtol=0)


@exercise(
    "02.log_mean_exp",
    solution=solutions.log_mean_exp,
    core=True,
    hints=(
        "log(mean(exp(w))) = c + log(mean(exp(w - c))) for any number c. Which c keeps exp(w - c) in range?",
        "The largest w of each column: `w.max(0).values`. Then at least one of the exponentials is 1.",
    ),
)
def _(attempt):
    w = torch.randn(50, 6)
    got = shaped(attempt(w), (6,), "One number for each picture: the mean is over the first dimension, the k draws.")
    right = torch.logsumexp(w, 0) - math.log(50)
    slips = {
        "The mean is missing: divide the sum by k, or take away log k.": torch.logsumexp(w, 0),
        "Mean of the exponentials, then the log. The mean of the logs is the plain ELBO.": w.mean(0),
    }
    close(got, right, "Not log(mean(exp(w))) over the first dimension.", slips=slips)
    _stays_in_range(attempt, w, right)


def _stays_in_range(attempt, w, right):
    far = attempt(w - 2000)
    require(
        torch.isfinite(far).all(), "exp(-2000) is 0 in any precision: take the largest w out first, and add it after."
    )
    close(far, right - 2000, "A constant added to all w should be added to the result.", atol=1e-2)
    apart = torch.tensor([[-160.0, -400.0], [-161.0, -401.0]])  # two pictures, 240 nats apart
    slips = {
        "k is the number of rows of w: do not write 50 into the function.": torch.logsumexp(apart, 0) - math.log(50)
    }
    hint = "Each picture has its own largest w: take the maximum over dim 0 only."
    close(attempt(apart), torch.tensor([-160.3799, -400.3799]), hint, slips=slips, rtol=1e-5)
    spread = torch.tensor([[0.0, -300.0], [-300.0, 0.0], [-300.0, -300.0]])
    hint = "exp(300) overflows: take the largest w of each column out, not the smallest, the mean or the first."
    require(torch.isfinite(attempt(spread)).all(), hint)


@exercise(
    "02.best_sigma",
    solution=solutions.best_sigma,
    hints=(
        "Write m for the mean of the squared errors. For each pixel the loss is log sigma + m / (2 sigma²) on average.",
        "Its derivative by sigma is 1/sigma − m / sigma³. For which sigma is it zero?",
    ),
)
def _(attempt):
    x, out = torch.randn(2, 6, 1, 8, 8)
    mse = ((x - out) ** 2).mean()
    slips = {
        "That is sigma²: the likeliest variance is the mean squared error. Take the root.": mse,
        "One sigma for all pixels: the mean, not the sum.": ((x - out) ** 2).sum().sqrt(),
        "The squares first, then the mean, then the root.": (x - out).abs().mean(),
        "The mean of x - out is not taken away before the squares, as .std() does.": (x - out).std(),
        "The mean over the pixels too, not their sum.": (64 * mse).sqrt(),
    }
    got = attempt(x, out)
    close(got, mse.sqrt(), "Set the slope of log sigma + mse / (2 sigma²) to zero.", slips=slips)


@exercise(
    "02.all_digits",
    solution=solutions.all_digits,
    hints=(
        "`model.decode(codes, labels)` wants ten codes, a row for each label, and ten labels.",
        "`z.expand(10, -1)` repeats the one code in ten rows, and `torch.arange(10)` has the labels.",
    ),
)
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


@exercise(
    "02.aggregate",
    solution=solutions.aggregate,
    hints=(
        "The mean of a mixture is the mean of the means. Its variance has two parts.",
        "First part: the mean of the variances of the clouds. Second part: the variance of their means.",
    ),
)
def _(attempt):
    mu = torch.randn(200, 3) * 0.8 + 0.3
    log_var = torch.randn(200, 3) - 1
    result = attempt(mu, log_var)
    require(isinstance(result, tuple | list | torch.Tensor) and len(result) == 2, "Return two tensors: mean, variance.")
    mean, variance = result
    close(mean, mu.mean(0), "The mean of a mixture is the mean of the means.")
    inside = log_var.exp().mean(0)
    between = mu.var(0, unbiased=False)
    slips = {
        "That is the variance within the clouds alone, but their means differ as well.": inside,
        "That is the variance of the means alone, but each cloud has a width of its own.": between,
        "The mean of the variances, exp(log_var), not of sigma.": (0.5 * log_var).exp().mean(0) + between,
        "The exponential first, then the mean: the variances are averaged, not their logarithms.": (
            log_var.mean(0).exp() + between
        ),
        "Subtract the mean of the means before you square them.": inside + mu.square().mean(0),
        "The variance, not its root.": (inside + between).sqrt(),
    }
    close(variance, inside + between, "Variance within plus variance between.", slips=slips, rtol=2e-2)
