"""Lesson 02: the variational autoencoder (Kingma and Welling, arXiv:1312.6114)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import expect
from minidiff.convnet import conv_decoder, conv_encoder
from minidiff.noise import randn


def gaussian_kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, I)) in nats, summed over the last axis: (B, code) -> (B,).

    Kingma and Welling, appendix B: ½ Σ (mu² + sigma² - 1 - log sigma²).
    """
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(-1)


def reparameterize(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z = mu + sigma eps with eps ~ N(0, I): a draw from q(z | x) that gradients pass through (section 2.4)."""
    return mu + (0.5 * log_var).exp() * randn(mu.shape, mu, generator)


def log_normal(x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """log N(x; mu, exp(log_var)) in nats, summed over all axes but the first: -> (B,)."""
    return -0.5 * ((x - mu) ** 2 / log_var.exp() + log_var + math.log(2 * math.pi)).flatten(1).sum(1)


class Gaussian:
    """p(x | z) = N(x; decoder(z), sigma² I): squared error, measured in units of sigma."""

    channels = 1

    def __init__(self, sigma: float = 0.7):
        self.log_var = torch.tensor(2 * math.log(expect.number("sigma", sigma, 1e-6)))

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        return log_normal(x, out, self.log_var.to(x))

    def mean(self, out: Tensor) -> Tensor:
        return out


class Levels:
    """p(x | z): each pixel one of 17 grey levels k/8 - 1, by its own softmax. A probability, not a density."""

    channels = 17

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        levels = ((x[:, 0] + 1) * 8).round().long()
        return -F.cross_entropy(out, levels, reduction="none").flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        grey = torch.linspace(-1, 1, 17).to(out)
        return torch.einsum("bkhw,k->bhw", out.softmax(1), grey)[:, None]


class VAE(nn.Module):
    """Encoder q(z | x) = N(mu(x), diag sigma(x)²), decoder p(x | z), prior p(z) = N(0, I).

    `beta` weighs the KL term (Higgins et al., 2017; 1 is the bound itself). With `classes` > 0 both networks
    also see the label, a conditional VAE (Sohn et al., 2015). `likelihood` is a `Gaussian` or `Levels`.
    """

    def __init__(self, code=8, beta=1.0, classes=0, size=16, width=24, likelihood: Gaussian | Levels | None = None):
        super().__init__()
        self.code = expect.integer("code", code, 1)
        self.beta = expect.number("beta", beta, 0)
        self.classes = expect.integer("classes", classes, 0)
        self.size = expect.integer("size", size, 8)
        width = expect.integer("width", width, 1)
        self.likelihood = likelihood or Gaussian()
        self.encoder = conv_encoder(2 * code, size, channels=1 + classes, width=width)
        self.decoder = conv_decoder(code + classes, size, channels=self.likelihood.channels, width=width)

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 1, size, size) -> mu and log_var, each (B, code), of q(z | x)."""
        expect.tensor("x", x, f"B 1 {self.size} {self.size}")
        planes = self._one_hot(y, len(x))[:, :, None, None].expand(-1, -1, self.size, self.size)
        return self.encoder(torch.cat([x, planes.to(x)], 1)).chunk(2, dim=1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, code) -> the mean picture of p(x | z), (B, 1, size, size), near [-1, 1] but not clamped."""
        return self.likelihood.mean(self._decode(z, y))

    def terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The two terms of the ELBO in nats a picture, and "loss" = (reconstruction + beta kl) a pixel."""
        mu, log_var = self.encode(x, y)
        z = reparameterize(mu, log_var)
        reconstruction = -self.likelihood.log_prob(self._decode(z, y), x).mean()
        kl = gaussian_kl(mu, log_var).mean()
        loss = (reconstruction + self.beta * kl) / x[0].numel()
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """-(E_q[log p(x | z)] - beta KL) in nats a pixel: a pixel, so that one learning rate suits every size."""
        return self.terms(x, y)["loss"]

    def elbo(self, x: Tensor, y: Tensor | None = None, generator=None) -> Tensor:
        """E_q[log p(x | z)] - KL(q || p) <= log p(x), in nats, (B,), by one draw of z (equation 10)."""
        mu, log_var = self.encode(x, y)
        z = reparameterize(mu, log_var, generator)
        return self.likelihood.log_prob(self._decode(z, y), x) - gaussian_kl(mu, log_var)

    def iwae(self, x: Tensor, k: int, y: Tensor | None = None, generator=None) -> Tensor:
        """log (1/k) Σ p(x, z_i) / q(z_i | x) with z_i ~ q, in nats, (B,).

        Between the ELBO (its mean at k = 1) and log p(x), rising with k (Burda et al., arXiv:1509.00519, eq. 8).
        """
        mu, log_var = self.encode(x, y)
        weights = [self._log_weight(x, y, mu, log_var, generator) for _ in range(expect.integer("k", k, 1))]
        return torch.logsumexp(torch.stack(weights), 0) - math.log(k)

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n pictures (n, 1, size, size) in [-1, 1], decoded from z ~ N(0, temperature² I)."""
        like = next(self.parameters())
        z = expect.number("temperature", temperature, 0) * randn(
            (expect.integer("n", n, 1), self.code), like, generator
        )
        return self.decode(z, labels).clamp(-1, 1)

    def _decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        expect.tensor("z", z, f"B {self.code}")
        return self.decoder(torch.cat([z, self._one_hot(y, len(z)).to(z)], 1))

    def _one_hot(self, y: Tensor | None, count: int) -> Tensor:
        if (y is None) != (self.classes == 0):
            raise ValueError(f"y: got {'none' if y is None else 'labels'}, but the model has {self.classes} classes")
        if y is None:
            return torch.zeros(count, 0)
        return F.one_hot(expect.labels("y", y, self.classes, count), self.classes)

    def _log_weight(self, x, y, mu, log_var, generator) -> Tensor:
        z = reparameterize(mu, log_var, generator)
        prior = log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
        return self.likelihood.log_prob(self._decode(z, y), x) + prior - log_normal(z, mu, log_var)
