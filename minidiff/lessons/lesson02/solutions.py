"""The answers of lesson 02: what it writes by hand and what it leaves open, as `solution` shows it, and predictions."""

import math

import torch
from torch import nn

from minidiff.exercises.core import question
from minidiff.nn import conv_decoder, conv_encoder


def gaussian_kl(mu, log_var):
    """mu, log_var (B, code) -> KL(N(mu, exp(log_var)) || N(0, I)) in nats, (B,)."""
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)


def reparameterize(mu, log_var):
    """A draw z (B, code) from N(mu, exp(log_var)) that lets gradients through to mu and log_var."""
    sigma = (0.5 * log_var).exp()
    return mu + sigma * torch.randn_like(mu)


def negative_elbo(x, out, mu, log_var, sigma):
    """Pictures x, decoded means out (B, 1, H, W), mu, log_var (B, code) -> minus the ELBO in nats, (B,)."""
    squares = ((x - out) ** 2).flatten(1)
    reconstruction = (squares / (2 * sigma**2) + math.log(sigma) + 0.5 * math.log(2 * math.pi)).sum(1)
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    return reconstruction + kl


class VAE(nn.Module):
    """Pictures (B, 1, 16, 16) -> clouds of codes mu, log_var (B, code) -> pictures; trained on minus the ELBO."""

    def __init__(self, code=8, beta=1.0, sigma=0.7):
        super().__init__()
        self.encoder, self.decoder = conv_encoder(2 * code), conv_decoder(code)
        self.code, self.beta, self.sigma = code, beta, sigma

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)  # mu, log_var

    def loss(self, x):
        mu, log_var = self.encode(x)
        out = self.decoder(reparameterize(mu, log_var))
        extra = (self.beta - 1) * gaussian_kl(mu, log_var)
        return (negative_elbo(x, out, mu, log_var, self.sigma) + extra).mean() / x[0].numel()


def log_mean_exp(w):
    """w (k, B), logarithms -> log of the mean of exp(w) over the k rows, (B,), without overflow."""
    top = w.max(0).values
    return top + (w - top).exp().mean(0).log()


def best_sigma(x, out):
    """The decoder's sigma that makes pictures x (B, C, H, W) likeliest, given their decoded means out. A number.

    For the shipped model it is 0.12 on training digits: (0.7 / 0.12)² = 34, so it would act like a beta of 1/34.
    """
    return ((x - out) ** 2).mean().sqrt()


def all_digits(model, z):
    """One code z (code,) decoded under each of the labels 0 … 9 by a conditional VAE: (10, 1, 16, 16)."""
    labels = torch.arange(10)
    return model.decode(z.expand(10, -1), labels)


def aggregate(mu, log_var):
    """Mean and variance, each (code,), of the mixture of all q(z | x) = N(mu, exp(log_var)), rows (N, code).

    The shipped model's variances are 1.00 to 1.12, those at beta 0.1 are 1.3 to 1.5: cheap clouds drift outwards.
    """
    mean = mu.mean(0)
    variance = log_var.exp().mean(0) + ((mu - mean) ** 2).mean(0)
    return mean, variance


question(
    "02.predict_gap",
    answer="b",
    hints={
        "a": "A bound need not be loose: put q = p(z | x) into the ELBO, and log q cancels against log p(z | x).",
        "c": "A lower bound is never above what it bounds, for any q.",
    },
    why="the gap is KL(q || p(z | x)), which is 0 when the two are equal",
)
question(
    "02.predict_kl_alone",
    answer="b",
    hints={
        "a": "The KL is least when every picture has the same q(z | x) = N(0, I). What could the decoder learn from z?",
        "c": "A trace of the squared error is left, and lesson 00 showed what the least squared error draws.",
    },
    why="with KL 0 the code says nothing about the picture, so the best the decoder can draw is the average digit",
)
question(
    "02.predict_beta",
    answer="c",
    hints={
        "a": "The KL is what beta makes expensive: it cannot rise with beta.",
        "b": "Each nat of code helps the decoder; spending fewer of them cannot sharpen the pictures.",
    },
    why="a dearer code carries fewer nats, and the reconstruction pays for it",
)
question(
    "02.predict_iwae",
    answer="a",
    hints={
        "b": "Burda et al., theorem 1: more draws never lower the bound in the mean.",
        "c": "The bound at k = 1 is the ELBO; unless q is the exact posterior, averaging weights before the log gains.",
    },
    why="the log of a mean of k weights has a smaller bias the larger k is; in the limit it is log p(x)",
)
