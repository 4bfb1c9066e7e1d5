"""What lesson 02's checks hold an answer against: models whose log p(x) is known, and what each slip leads to."""

import math

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson02 import solutions


def elbo_slips(x, out, kl):
    """Slips in minus the ELBO of pictures x, out (B, C, H, W) at sigma 0.7, with the KL `kl` (B,): hint -> (B,)."""
    n = x[0].numel()
    constant = n * (math.log(0.7) + 0.5 * math.log(2 * math.pi))
    error = ((x - out) ** 2).flatten(1).sum(1) / (2 * 0.49)
    right = error + constant + kl
    averaged = "Sum the squares over the pixels: with the mean they weigh 64 times too little beside the KL."
    return _density_slips(x, out, right - error) | {
        averaged: (error + constant) / n + kl,
        "The squares are averaged, only their constant is summed. Sum both over the pixels.": right - error + error / n,
        "The KL is added to the loss: codes far from the prior must cost something.": right - 2 * kl,
        "The KL is missing.": right - kl,
        "The KL as it comes from gaussian_kl, summed over the code and not averaged.": right - kl * 2 / 3,
        "The sign is turned: this is the ELBO, and minus the ELBO is what we minimise.": -right,
        "The log density comes with a minus: it should get large.": 2 * kl - right,
    }


def _density_slips(x, out, rest):
    """Slips in the log density alone. rest: all but the squared errors, with the constant of all pixels."""
    squares = ((x - out) ** 2).flatten(1).sum(1)
    n, log_sigma, half_log = x[0].numel(), math.log(0.7), 0.5 * math.log(2 * math.pi)
    right = rest + squares / (2 * 0.49)
    return {
        "The constant of the normal density is missing: log sigma + ½ log 2π for each pixel.": (
            right - n * (log_sigma + half_log)
        ),
        "The constant belongs to each pixel: sum it over them.": right - (n - 1) * (log_sigma + half_log),
        "log sigma is missing, once for each pixel.": right - n * log_sigma,
        "½ log 2π is missing, once for each pixel.": right - n * half_log,
        "The loss has + log sigma, because the density is divided by sigma.": right - 2 * n * log_sigma,
        "The squared error is divided by 2 sigma².": rest + squares,
        "Divide by 2 sigma², not by 2 sigma.": rest + squares / (2 * 0.7),
        "Divide by 2 sigma², not by sigma².": rest + squares / 0.49,
        "Squared differences, not absolute ones.": rest + (x - out).abs().flatten(1).sum(1) / (2 * 0.49),
    }


@torch.no_grad()
def losses_with_a_slip(model, x, right):
    """Slips in the loss of the VAE `model` for pictures x (B, 1, 16, 16): hint -> the loss."""
    mu, log_var = model.encode(x)
    torch.manual_seed(1)  # as in `seeded_loss`
    eps = torch.randn_like(mu)
    kl = solutions.gaussian_kl(mu, log_var).mean() / 256

    def decoded(z, *code):
        return solutions.negative_elbo(x, model.decode(z), *code, 0.7, model.beta).mean() / 256

    unasked = "The code is drawn from q(z | x), by reparameterize(mu, log_var), not from the prior."
    return {
        "beta does nothing: hand self.beta to negative_elbo.": right - (model.beta - 1) * kl,
        "Divide by the number of pixels, x[0].numel().": right * 256,
        "Divide by the pixels of one picture, x[0].numel(), not of the whole batch.": right / len(x),
        "Take the mean over the pictures, not the sum.": right * len(x),
        "The decoder should see a draw z, not mu.": decoded(mu, mu, log_var),
        unasked: decoded(eps, mu, log_var),
        "encode returns mu first, and then log_var.": decoded(log_var + (0.5 * mu).exp() * eps, log_var, mu),
        "The sign is turned: negative_elbo is minimised as it is.": -right,
    }


def seeded_loss(model, x, loss=None):
    """`model.loss(x)`, or `loss(model, x)`, always with the same noise."""
    torch.manual_seed(1)
    return loss(model, x) if loss else model.loss(x)


@torch.no_grad()
def awake(model):
    """Make the weights larger: before training the KL is next to 0 and all codes decode alike, so no slip shows."""
    for network, factor in ((model.encoder, 3), (model.decoder, 2)):
        for weight in network.parameters():
            weight.mul_(factor)


class Scaled:
    """Pictures (B, 1, 2, 2) whose first three pixels are codes, scaled: here the posterior and log p(x) are known.

    q is the posterior, with `wide` times its sigma.
    """

    scale = torch.tensor([1.0, 0.6, -1.4])

    def __init__(self, sigma, wide=1.0):
        self.sigma, self.wide = sigma, wide

    def encode(self, x):
        precision = 1 + self.scale**2 / self.sigma**2
        mu = self.scale * x.flatten(1)[:, :3] / self.sigma**2 / precision
        return mu, (self.wide**2 / precision).log().expand_as(mu)

    def decode(self, z):
        return F.pad(z * self.scale, (0, 1)).unflatten(-1, (1, 2, 2))

    def log_prob(self, x):
        sigma = (F.pad(self.scale**2, (0, 1)) + self.sigma**2).sqrt()
        return solutions.log_normal(x.flatten(1), 0.0, sigma).sum(1)


@torch.no_grad()
def slips_of_a_weight(model, x):
    """Slips in a weight: hint -> the mean log weight of equal pictures x (B, 1, 2, 2). `model` knows the posterior."""
    mu, log_var = model.encode(x)
    z = solutions.reparameterize(mu, log_var)
    q, wrong_q = (solutions.log_normal(z, mu, (half * log_var).exp()).sum(1).mean() for half in (0.5, 1.0))
    prior = solutions.log_normal(z, 0.0, 1.0).sum(1).mean()
    likelihood, wrong = (solutions.log_normal(x, model.decode(z), s).flatten(1).sum(1).mean() for s in (0.5, 0.7))
    exact = model.log_prob(x).mean()
    return {
        "log p(z) is missing: a weight is p(x | z) p(z) / q(z | x).": exact - prior,
        "log q(z | x) is missing: a weight is p(x | z) p(z) / q(z | x).": exact + q,
        "log q(z | x) is taken away, not added.": exact + 2 * q,
        "log p(x | z) is missing: a weight is p(x | z) p(z) / q(z | x).": exact - likelihood,
        "log_normal takes sigma, which is exp(log_var / 2), not the variance.": exact + q - wrong_q,
        "sigma is an argument: do not write 0.7 into the function.": exact - likelihood + wrong,
        "Sum over the pixels of a picture, not their mean.": exact - 0.75 * likelihood,
        "The sign is turned: this is minus the bound.": -exact,
    }
