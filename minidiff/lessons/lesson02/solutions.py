"""The answers of lesson 02: the functions that the learner writes, and the predictions."""

import math

import torch
from torch import nn

from minidiff.exercises.core import question
from minidiff.nn import conv_decoder, conv_encoder


def gaussian_kl(mu, log_var):
    """KL(q || N(0, I)) for q = N(mu, exp(log_var)) with one mean and one variance a number, (B, code): nats, (B,)."""
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)


def reparameterize(mu, log_var):
    """A draw z (B, code) from N(mu, exp(log_var)), which lets gradients through to mu and log_var, each (B, code)."""
    sigma = (0.5 * log_var).exp()
    eps = torch.randn_like(mu)
    return mu + sigma * eps


def negative_elbo(x, out, mu, log_var, sigma, beta=1.0):
    """-log N(x; out, sigma²) + beta KL in nats, (B,): pictures x, out (B, C, H, W) and codes mu, log_var (B, code)."""
    squares = ((x - out) ** 2).flatten(1)  # (B, pixels)
    reconstruction = (squares / (2 * sigma**2) + math.log(sigma) + 0.5 * math.log(2 * math.pi)).sum(1)
    return reconstruction + beta * gaussian_kl(mu, log_var)


class VAE(nn.Module):
    """Pictures (B, 1, 16, 16) -> mu and log_var of q(z | x), each (B, code); codes z (B, code) -> mean pictures."""

    def __init__(self, code=8, beta=1.0, sigma=0.7):
        super().__init__()
        self.encoder, self.decoder = conv_encoder(2 * code), conv_decoder(code)
        self.code, self.beta, self.sigma = code, beta, sigma

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)  # mu, log_var

    def decode(self, z):
        return self.decoder(z)

    def loss(self, x):
        mu, log_var = self.encode(x)
        z = reparameterize(mu, log_var)
        per_picture = negative_elbo(x, self.decode(z), mu, log_var, self.sigma, self.beta)
        return per_picture.mean() / x[0].numel()


def log_normal(x, mu, sigma):
    """log N(x; mu, sigma²) of each number; sigma is a number or a tensor."""
    sigma = torch.as_tensor(sigma)
    return -0.5 * ((x - mu) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)


def iwae(model, x, k, sigma=0.7):
    """The bound of k draws on log p(x) for pictures x (B, C, H, W), where p(x | z) = N(decoded z, sigma²): (B,)."""
    mu, log_var = model.encode(x)
    log_weights = []
    for _ in range(k):
        z = reparameterize(mu, log_var)
        likelihood = log_normal(x, model.decode(z), sigma).flatten(1).sum(1)  # log p(x | z), (B,)
        prior = log_normal(z, 0.0, 1.0).sum(1)  # log p(z), (B,)
        posterior = log_normal(z, mu, (0.5 * log_var).exp()).sum(1)  # log q(z | x), (B,)
        log_weights.append(likelihood + prior - posterior)
    return torch.logsumexp(torch.stack(log_weights), dim=0) - math.log(k)


def log_mean_exp(w):
    """Logarithms w (k, B) -> the logarithm of the mean of exp(w) over the k rows, (B,), without overflow."""
    top = w.max(0).values
    return top + (w - top).exp().mean(0).log()


def best_sigma(x, out):
    """The decoder's sigma that makes pictures x (B, C, H, W) likeliest, given their decoded means out: a number."""
    return ((x - out) ** 2).mean().sqrt()


def all_digits(model, z):
    """One code z (code,) decoded by a conditional VAE under each of the labels 0 … 9, in this order: (10, C, H, W)."""
    labels = torch.arange(10)
    return model.decode(z.expand(10, -1), labels)


def aggregate(mu, log_var):
    """Mean and variance, each (code,), of the mixture of all q(z | x) = N(mu, exp(log_var)); mu, log_var (N, code)."""
    mean = mu.mean(0)
    variance = log_var.exp().mean(0) + ((mu - mean) ** 2).mean(0)
    return mean, variance


question(
    "02.predict_gap",
    answer="b",
    hints={
        "a": "A bound need not be loose. Put q = p(z | x) into the last line of the derivation: what is the KL then?",
        "c": "A lower bound is never above what it bounds, and this holds for every q.",
    },
    why="the gap is KL(q || p(z | x)), and a KL is 0 when its two distributions are equal",
)
question(
    "02.predict_kl_alone",
    answer="b",
    hints={
        "a": "The KL is smallest if every picture has the same q(z | x) = N(0, I). What would z tell the decoder?",
        "c": "A trace of the squared error is left, and lesson 00 showed which picture makes that smallest.",
    },
    why="when the KL is 0, the code says nothing about the picture, so the decoder's best answer is the average",
)
question(
    "02.predict_beta",
    answer="c",
    hints={
        "a": "The KL is what beta makes expensive, so training with a larger beta will not spend more of it.",
        "b": "Every nat in the code helps the decoder, so spending fewer of them cannot sharpen the pictures.",
    },
    why="a more expensive code carries fewer nats, so the decoder knows less about the picture and rebuilds it worse",
)
question(
    "02.predict_iwae",
    answer="a",
    hints={
        "b": "Think of the average of k weights: with more draws it fluctuates less, and the logarithm takes off less.",
        "c": "It would stay only if all weights were equal, which happens when q is exactly the posterior.",
    },
    why="the mean of k weights fluctuates less the larger k is, so taking its logarithm loses less",
)
