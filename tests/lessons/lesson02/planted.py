"""Lesson 02's planted bugs: each must be told apart by a hint of its own."""

import math

import torch

from minidiff.lessons.lesson02.solutions import VAE, log_normal, negative_elbo, reparameterize


def kl(mu, log_var):
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)


def elbo(x, out, mu, log_var, sigma, beta=1.0, *, sum=True, sign=1, constant=True, ignored=False):
    squares = ((x - out) ** 2).flatten(1) / (2 * sigma**2)
    if constant:
        squares = squares + math.log(sigma) + 0.5 * math.log(2 * math.pi)
    return (squares.sum(1) if sum else squares.mean(1)) + sign * (1.0 if ignored else beta) * kl(mu, log_var)


def bound(model, x, k, sigma=0.7, *, prior=1, q=-1, fixed=None, count=True, first=False, variance=False, naive=False):
    mu, log_var = model.encode(x)
    w = []
    for _ in range(k):
        z = reparameterize(mu, log_var)
        likelihood = log_normal(x, model.decode(z), fixed or sigma).flatten(1).sum(1)
        posterior = log_normal(z, mu, ((1.0 if variance else 0.5) * log_var).exp()).sum(1)
        w.append(likelihood + prior * log_normal(z, 0.0, 1.0).sum(1) + q * posterior)
    if first:
        return torch.stack(w).mean(0)
    if naive:
        return torch.stack(w).exp().mean(0).log()
    return torch.logsumexp(torch.stack(w), 0) - (math.log(k) if count else 0)


def wrong_bound(**changes):
    return lambda model, x, k, sigma=0.7: bound(model, x, k, sigma, **changes)


class NoBeta(VAE):
    def loss(self, x):
        self.beta = 1.0
        return super().loss(x)


class Undrawn(VAE):
    def loss(self, x):
        mu, log_var = self.encode(x)
        squares = ((x - self.decode(mu)) ** 2).flatten(1) / (2 * self.sigma**2)
        constant = math.log(self.sigma) + 0.5 * math.log(2 * math.pi)
        return ((squares + constant).sum(1) + self.beta * kl(mu, log_var)).mean() / x[0].numel()


class Halves(VAE):
    def encode(self, x):
        return super().encode(x)[::-1]


class Prior(VAE):
    def loss(self, x):
        mu, log_var = self.encode(x)
        return self.of(x, torch.randn_like(mu), mu, log_var)

    def of(self, x, z, mu, log_var, sigma=None):
        return negative_elbo(x, self.decode(z), mu, log_var, sigma or self.sigma, self.beta).mean() / x[0].numel()


class Swapped(Prior):
    def loss(self, x):
        log_var, mu = self.encode(x)
        return self.of(x, reparameterize(mu, log_var), mu, log_var)


class Detached(Prior):
    def loss(self, x):
        mu, log_var = self.encode(x)
        return self.of(x, reparameterize(mu, log_var).detach(), mu, log_var)


class Seven(Prior):
    def loss(self, x):
        mu, log_var = self.encode(x)
        return self.of(x, reparameterize(mu, log_var), mu, log_var, sigma=0.7)


class WholeBatch(VAE):
    def loss(self, x):
        return super().loss(x) / len(x)


class Number(VAE):
    def loss(self, x):
        return super().loss(x).item()


PLANTED = {
    "02.vae": [NoBeta, Halves, Undrawn, Prior, Swapped, Detached, Seven, WholeBatch, Number],
    "02.kl": [
        lambda mu, log_var: (mu**2 + log_var.exp() - 1 - log_var).sum(1),  # no half
        lambda mu, log_var: 0.5 * (mu**2 + (2 * log_var).exp() - 1 - 2 * log_var).sum(1),  # log_var taken for log sigma
        lambda mu, log_var: -0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1),  # the sign
        lambda mu, log_var: 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(),  # over the batch too
        lambda mu, log_var: 0.5 * (mu**2 + log_var.exp() - 1 - log_var).mean(1),  # the lesson's own bug
        lambda mu, log_var: 0.5 * (mu**2 + (0.5 * log_var).exp() - 1 - log_var).sum(1),  # sigma for sigma²
        lambda mu, log_var: (0.5 * mu**2 + log_var.exp() - 1 - log_var).sum(1),  # half of the first term alone
    ],
    "02.reparameterize": [
        lambda mu, log_var: mu + log_var.exp() * torch.randn_like(mu),  # the variance for sigma
        lambda mu, log_var: mu + 0 * log_var,  # the noise forgotten
        lambda mu, log_var: torch.normal(mu, (0.5 * log_var).exp()).detach(),  # cut off
        lambda mu, log_var: mu + (0.5 * log_var).exp() * torch.rand_like(mu),  # uniform noise
        lambda mu, log_var: mu + (0.5 * log_var).exp() * torch.randn(mu.shape[1]),  # one noise for all pictures
        lambda mu, log_var: mu + (0.5 * log_var).exp() * torch.randn(len(mu), 1),  # one noise for a whole code
        lambda mu, log_var: reparameterize(mu.detach(), log_var),
        lambda mu, log_var: reparameterize(mu, log_var.detach()),
    ],
    "02.elbo": [
        lambda *args: elbo(*args, sum=False),
        lambda *args: elbo(*args, sign=-1),
        lambda *args: elbo(*args, constant=False),
        lambda *args: elbo(*args, ignored=True),
        lambda x, out, mu, log_var, sigma, beta=1.0: elbo(x, out, mu, log_var, 0.7, beta),  # sigma written in
        lambda *args: -elbo(*args),
        lambda x, *args: elbo(x, *args) + ((x - args[0]) ** 2).flatten(1).sum(1) / (2 * 0.7**2),  # no 2 in 2 sigma²
        lambda x, *args: elbo(x, *args) - x[0].numel() * math.log(0.7),  # no log sigma
        lambda x, *args: elbo(x, *args, constant=False) + math.log(0.7) + 0.5 * math.log(2 * math.pi),  # one constant
        lambda x, *args: elbo(x, *args) - kl(*args[1:3]) * 2 / 3,  # the mean over three numbers of a code
        lambda x, *args: elbo(x, *args, constant=False) + 64 * (math.log(0.7) + 0.5 * math.log(2 * math.pi)),
    ],
    "02.iwae": [
        wrong_bound(prior=0),
        wrong_bound(q=0),
        wrong_bound(q=1),
        wrong_bound(fixed=0.7),
        wrong_bound(count=False),
        wrong_bound(first=True),  # the mean of the logarithms
        wrong_bound(variance=True),
        wrong_bound(naive=True),
    ],
    "02.log_mean_exp": [
        lambda w: torch.logsumexp(w, 0),
        lambda w: w.mean(0),
        lambda w: w.exp().mean(0).log(),
        lambda w: w.max() + (w - w.max()).exp().mean(0).log(),  # one largest for all pictures
        lambda w: w.amin(0) + (w - w.amin(0)).exp().mean(0).log(),  # the smallest
        lambda w: torch.logsumexp(w, 0) - math.log(50),
    ],
    "02.best_sigma": [
        lambda x, out: ((x - out) ** 2).mean(),
        lambda x, out: (x - out).std(),
        lambda x, out: ((x - out) ** 2).flatten(1).sum(1).mean().sqrt(),
    ],
    "02.all_digits": [
        lambda model, z: model.decode(z.expand(10, -1), torch.zeros(10).long()),
        lambda model, z: model.decode(z, torch.arange(10)),
    ],
    "02.aggregate": [
        lambda mu, log_var: (mu.mean(0), log_var.exp().mean(0)),
        lambda mu, log_var: (mu.mean(0), mu.var(0)),
        lambda mu, log_var: (mu.mean(0), log_var.mean(0).exp() + mu.var(0)),
        lambda mu, log_var: (mu.mean(0), log_var.exp().mean(0) + mu.square().mean(0)),
        lambda mu, log_var: (mu.mean(0), (log_var.exp().mean(0) + mu.var(0)).sqrt()),
        lambda mu, log_var: log_var.exp().mean(0) + mu.var(0),
    ],
}
