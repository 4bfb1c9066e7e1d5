"""The first half of lesson 09: pictures to codes with fewer pixels that keep the picture's layout (2112.10752)."""

import torch
from torch import Tensor, nn

from minidiff import expect
from minidiff.nn import ResidualBlock
from minidiff.vae import gaussian_kl, reparameterize

OUTLINE = 10  # the weight of the fourth power: a lost outline must cost more than lost grain, which nobody misses


class KLAutoencoder(nn.Module):
    """Pictures to codes with fewer pixels and back: x (B, channels, H, W) <-> z (B, latent, H / f, W / f).

    A VAE whose code keeps the picture's layout, trained to rebuild: `beta` only keeps the codes from growing without
    end (2112.10752, section 3.1; there networks judge the error too). Patches of f x f pixels become the channels of
    one place, as in a vision transformer, and all the work is done on the small grid; residual blocks let a place see
    its neighbours. f: 1 or more, a divisor of the picture's sides. width: channels on the way.
    """

    def __init__(self, channels=3, latent=8, f=4, width=64, blocks=2, beta=1e-2):
        super().__init__()
        self.channels, self.latent = expect.integer("channels", channels, 1), expect.integer("latent", latent, 1)
        self.f, self.beta = expect.integer("f", f, 1), expect.number("beta", beta, 0)
        width, blocks = expect.integer("width", width, 1), expect.integer("blocks", blocks, 0)
        patch = channels * f**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(f),  # (B, channels f², H / f, W / f): nothing lost, pixels moved
            nn.Conv2d(patch, width, 3, padding=1),
            *(ResidualBlock(width, width) for _ in range(blocks)),
            nn.Conv2d(width, 2 * latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, width, 1),
            *(ResidualBlock(width, width) for _ in range(blocks)),
            nn.Conv2d(width, patch, 3, padding=1),
            nn.PixelShuffle(f),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log_var of q(z | x), each (B, latent, H / f, W / f). ValueError if f does not divide H and W."""
        expect.tensor("x", x, f"B {self.channels} H W")
        if x.shape[2] % self.f or x.shape[3] % self.f:
            raise ValueError(f"x: got {x.shape[2]}x{x.shape[3]} pixels, expected multiples of f = {self.f}")
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        return mu, log_var.clamp(-30, 20)  # beyond, exp() is 0 or too large, and no gradient brings it back

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent, h, w) -> (B, channels, f h, f w), near [-1, 1] but not clamped."""
        return self.decoder(expect.tensor("z", z, f"B {self.latent} h w"))

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction from the mean code."""
        return self.decode(self.encode(x)[0])

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """The error d of the rebuilt pictures, mean d² + 10 d⁴; the KL term in nats a number of x; "loss", of both."""
        mu, log_var = self.encode(x)
        squared = (self.decode(reparameterize(mu, log_var)) - x).square()
        reconstruction = squared.mean() + OUTLINE * squared.square().mean()
        kl = gaussian_kl(mu.flatten(1), log_var.flatten(1)).mean() / x[0].numel()
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def loss(self, x: Tensor) -> Tensor:
        """The error of the rebuilt picture plus beta times the KL term, a scalar."""
        return self.terms(x)["loss"]


class Pixels(nn.Module):
    """f = 1: the picture is its own code. It has nothing to train, so diffusion on such codes is diffusion on pixels"""

    f = 1

    def __init__(self, channels=3):
        super().__init__()
        self.channels = self.latent = expect.integer("channels", channels, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x itself, with log_var -30: no spread to speak of."""
        return expect.tensor("x", x, f"B {self.channels} H W"), torch.full_like(x, -30)

    def decode(self, z: Tensor) -> Tensor:
        """z itself."""
        return expect.tensor("z", z, f"B {self.latent} h w")
