"""Lesson 02's planted bugs: each must be told apart by a hint of its own."""

import math

import torch

from minidiff.lessons.lesson02.solutions import VAE


def kl(mu, log_var):
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)


def elbo(x, out, mu, log_var, sigma, *, sum=True, sign=1, constant=True):
    squares = ((x - out) ** 2).flatten(1) / (2 * sigma**2)
    if constant:
        squares = squares + math.log(sigma) + 0.5 * math.log(2 * math.pi)
    return (squares.sum(1) if sum else squares.mean(1)) + sign * kl(mu, log_var)


class NoBeta(VAE):
    def loss(self, x):
        self.beta = 1.0
        return super().loss(x)


class Halves(VAE):
    def encode(self, x):
        return super().encode(x)[::-1]


PLANTED = {
    "02.vae": [NoBeta, Halves],
    "02.kl": [
        lambda mu, log_var: (mu**2 + log_var.exp() - 1 - log_var).sum(1),  # no half
        lambda mu, log_var: 0.5 * (mu**2 + (2 * log_var).exp() - 1 - 2 * log_var).sum(1),  # log_var taken for log sigma
        lambda mu, log_var: -0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1),  # the sign
        lambda mu, log_var: 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(),  # over the batch too
        lambda mu, log_var: 0.5 * (mu**2 + log_var.exp() - 1 - log_var).mean(1),  # the lesson's own bug
    ],
    "02.reparameterize": [
        lambda mu, log_var: mu + log_var.exp() * torch.randn_like(mu),  # the variance for sigma
        lambda mu, log_var: mu + 0 * log_var,  # the noise forgotten
        lambda mu, log_var: torch.normal(mu, (0.5 * log_var).exp()).detach(),  # cut off
        lambda mu, log_var: mu + (0.5 * log_var).exp() * torch.rand_like(mu),  # uniform noise
        lambda mu, log_var: mu + (0.5 * log_var).exp() * torch.randn(mu.shape[1]),  # one noise for all pictures
    ],
    "02.elbo": [
        lambda *args: elbo(*args, sum=False),
        lambda *args: elbo(*args, sign=-1),
        lambda *args: elbo(*args, constant=False),
    ],
    "02.log_mean_exp": [
        lambda w: torch.logsumexp(w, 0),
        lambda w: w.mean(0),
        lambda w: w.exp().mean(0).log(),
        lambda w: w.max() + (w - w.max()).exp().mean(0).log(),  # one largest for all pictures
    ],
    "02.best_sigma": [lambda x, out: ((x - out) ** 2).mean()],
    "02.all_digits": [
        lambda model, z: model.decode(z.expand(10, -1), torch.zeros(10).long()),
        lambda model, z: model.decode(z, torch.arange(10)),
    ],
    "02.aggregate": [lambda mu, log_var: (mu.mean(0), log_var.exp().mean(0))],
}
