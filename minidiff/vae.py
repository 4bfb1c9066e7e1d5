"""Lesson 02: the variational autoencoder (Kingma and Welling, arXiv:1312.6114)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.nn import conv_decoder, conv_encoder
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn


def gaussian_kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, I)) in nats, summed over the last axis: (B, code) -> (B,).

    Kingma and Welling, appendix B: ½ Σ (mu² + sigma² - 1 - log sigma²). ValueError for unequal shapes, TypeError for
    unequal dtypes.
    """
    expect.alike("log_var", log_var, "mu", mu, "B ...")
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(-1)


def reparameterize(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z = mu + sigma eps with eps ~ N(0, I): a draw from q(z | x) that gradients pass through (section 2.4).

    ValueError for a mu and a log_var of unequal shapes, TypeError for unequal dtypes.
    """
    expect.alike("log_var", log_var, "mu", mu)
    return mu + (0.5 * log_var).exp() * randn(mu.shape, mu, generator)


def log_normal(x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """log N(x; mu, exp(log_var)) in nats, summed over all axes but the first: -> (B,).

    x and mu have one shape; log_var has it too, or is one number () for all. ValueError for other shapes, TypeError for
    unequal dtypes.
    """
    expect.alike("mu", mu, "x", x, "B ...")
    if getattr(log_var, "ndim", 1):
        expect.alike("log_var", log_var, "x", x)
    else:
        expect.tensor("log_var", log_var, "", like=x)
    return -0.5 * ((x - mu) ** 2 / log_var.exp() + log_var + math.log(2 * math.pi)).flatten(1).sum(1)


@part
class Gaussian:
    """p(x | z) = N(x; decoder(z), sigma² I): squared error, measured in units of sigma."""

    channels = 1  # that the decoder gives for each channel of a picture

    def __init__(self, sigma: float = 0.7):
        self.sigma = expect.number("sigma", sigma, 1e-6)
        self.log_var = torch.tensor(2 * math.log(self.sigma))

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """log N(x; out, sigma² I) in nats, (B,), x and out of one shape (B, ...)."""
        expect.alike("out", out, "x", x, "B ...")
        return log_normal(x, out, self.log_var.to(x))

    def mean(self, out: Tensor) -> Tensor:
        """The decoder's answer (B, ...) as it is."""
        return out


@part
class Levels:
    """p(x | z): each number one of `levels` levels in [-1, 1], by its own softmax. A probability, not a density.

    17 levels are the k/8 - 1 of the digits of size 8.
    """

    def __init__(self, levels: int = 17):
        self.levels = self.channels = expect.integer("levels", levels, 2)

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,), of pictures x (B, C, H, W) in [-1, 1] by the decoder's out (B, levels C, H, W).

        x is rounded to the levels.
        """
        expect.unit("x", x, "B C H W")
        levels = ((x + 1) * ((self.levels - 1) / 2)).round().long()  # (B, C, H, W)
        logits = self._logits(out)
        expect.alike("out", logits[:, 0], "x", x)
        return -F.cross_entropy(logits, levels, reduction="none").flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        """The mean picture, (B, C, H, W)."""
        chances = self._logits(out).softmax(1)
        return torch.einsum("bkchw,k->bchw", chances, torch.linspace(-1, 1, self.levels).to(out))

    def _logits(self, out: Tensor) -> Tensor:
        if expect.tensor("out", out, "B C H W").shape[1] % self.levels:
            raise ValueError(f"out: got {out.shape[1]} channels, expected {self.levels} times those of the picture")
        return out.unflatten(1, (self.levels, -1))  # (B, levels, C, H, W)


@part
class VAE(nn.Module):
    """Encoder q(z | x) = N(mu(x), diag sigma(x)²), decoder p(x | z), prior p(z) = N(0, I).

    `beta` weighs the KL term (Higgins et al., 2017; 1 is the bound itself). With `classes` > 0 both networks
    also see the label, a conditional VAE (Sohn et al., 2015). `likelihood` is a `Gaussian` or `Levels`.
    size: of the pictures (B, channels, size, size), even and at least 8.
    encoder: a network of your own, x -> (B, 2 code), mu and log_var; with classes x has a plane a class more. decoder:
    (B, code + classes) -> (B, channels * likelihood.channels, size, size). prior: a distribution of your own with
    log_prob(z) -> (B,) and sample(n, generator) -> (n, code); the KL term is estimated by one draw then.
    """

    def __init__(
        self,
        code=8,
        beta=1.0,
        classes=0,
        size=16,
        width=24,
        likelihood=None,
        channels=1,
        encoder=None,
        decoder=None,
        prior=None,
    ):
        super().__init__()
        self.code = expect.integer("code", code, 1)
        self.beta = expect.number("beta", beta, 0)
        self.classes = expect.integer("classes", classes, 0)
        self.size = expect.integer("size", size, 1)
        self.width = expect.integer("width", width, 1)
        self.channels = expect.integer("channels", channels, 1)
        self.likelihood, self.prior = likelihood or Gaussian(), prior
        self.own = {"encoder": encoder, "decoder": decoder}
        self.outputs = channels * self.likelihood.channels  # channels of what the decoder gives
        sees, reads = channels + classes, code + classes
        self.encoder = conv_encoder(2 * code, size, sees, width) if encoder is None else encoder
        self.decoder = conv_decoder(reads, size, self.outputs, width) if decoder is None else decoder

    def described(self) -> dict:
        """Networks of one's own, None for the course's, as a checkpoint writes them down."""
        return self.own

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, channels, size, size) -> mu and log_var, each (B, code), of q(z | x)."""
        like = next(self.parameters(), None)
        expect.tensor("x", x, f"B {self.channels} {self.size} {self.size}", like=like, scaled=True)
        planes = self._one_hot("y", y, len(x))[:, :, None, None].expand(-1, -1, self.size, self.size)
        both = self.encoder(torch.cat([x, planes.to(x)], 1))
        return expect.tensor("encoder(x)", both, f"{len(x)} {2 * self.code}", like=x).chunk(2, dim=1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, code) -> the mean picture of p(x | z), (B, channels, size, size), near [-1, 1] but not clamped."""
        return self.likelihood.mean(self._decode(z, y))

    def terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The two terms of the ELBO in nats a picture, and "loss" = (reconstruction + beta kl) a pixel."""
        mu, log_var = self.encode(x, y)
        z = reparameterize(mu, log_var)
        reconstruction = -self.likelihood.log_prob(self._decode(z, y), x).mean()
        kl = self._kl(z, mu, log_var).mean()
        loss = (reconstruction + self.beta * kl) / x[0].numel()
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """-(E_q[log p(x | z)] - beta KL) in nats a pixel: a pixel, so that one learning rate suits every size."""
        return self.terms(x, y)["loss"]

    def elbo(self, x: Tensor, y: Tensor | None = None, generator=None) -> Tensor:
        """E_q[log p(x | z)] - KL(q || p) <= log p(x), in nats, (B,), by one draw of z (equation 10)."""
        mu, log_var = self.encode(x, y)
        z = reparameterize(mu, log_var, generator)
        return self.likelihood.log_prob(self._decode(z, y), x) - self._kl(z, mu, log_var)

    def iwae(self, x: Tensor, k: int, y: Tensor | None = None, generator=None) -> Tensor:
        """log (1/k) Σ p(x, z_i) / q(z_i | x) with z_i ~ q, in nats, (B,).

        Between the ELBO (its mean at k = 1) and log p(x), rising with k (Burda et al., arXiv:1509.00519, eq. 8).
        """
        mu, log_var = self.encode(x, y)
        weights = [self._log_weight(x, y, mu, log_var, generator) for _ in range(expect.integer("k", k, 1))]
        return torch.logsumexp(torch.stack(weights), 0) - math.log(k)

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n pictures (n, channels, size, size) in [-1, 1], decoded from temperature times a draw of the prior."""
        n = expect.integer("n", n, 1)
        temperature = expect.number("temperature", temperature, 0)
        z = temperature * self._codes(n, generator)
        return self.likelihood.mean(self._decode(z, labels, "labels")).clamp(-1, 1)

    def _codes(self, n: int, generator) -> Tensor:
        """n draws of the prior, (n, code)."""
        like = next(self.parameters())
        if self.prior is None:
            return randn((n, self.code), like, generator)
        return expect.tensor("prior.sample(n)", self.prior.sample(n, generator), f"{n} {self.code}").to(like)

    def _decode(self, z: Tensor, y: Tensor | None, name: str = "y") -> Tensor:
        """The decoder's answer; `name` is what the caller calls the labels."""
        expect.tensor("z", z, f"B {self.code}", like=next(self.parameters(), None))
        out = self.decoder(torch.cat([z, self._one_hot(name, y, len(z)).to(z)], 1))
        return expect.tensor("decoder(z)", out, f"{len(z)} {self.outputs} {self.size} {self.size}", like=z)

    def _kl(self, z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
        """KL(q || prior) in nats, (B,): by its formula, or for a prior of one's own estimated from z ~ q."""
        if self.prior is None:
            return gaussian_kl(mu, log_var)
        return log_normal(z, mu, log_var) - self._log_prior(z)

    def _log_prior(self, z: Tensor) -> Tensor:
        if self.prior is None:
            return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
        return expect.tensor("prior.log_prob(z)", self.prior.log_prob(z), f"{len(z)}", like=z)

    def _one_hot(self, name: str, y: Tensor | None, count: int) -> Tensor:
        y = expect.condition(name, y, self.classes, count)
        return torch.zeros(count, 0) if y is None else F.one_hot(y, self.classes)

    def _log_weight(self, x, y, mu, log_var, generator) -> Tensor:
        z = reparameterize(mu, log_var, generator)
        likelihood = self.likelihood.log_prob(self._decode(z, y), x)
        return likelihood + self._log_prior(z) - log_normal(z, mu, log_var)
