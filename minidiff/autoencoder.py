"""Lesson 01: squeeze a picture through a few numbers, and back. PCA is the linear case."""

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor, nn

from minidiff.nn import conv_decoder, conv_encoder
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn


@part
class Autoencoder(nn.Module):
    """x (B, C, size, size) -> z = encode(x) (B, code) -> decode(z), of x's shape, trained on the squared error.

    Hinton and Salakhutdinov (2006), with convolutions. With `noise` > 0 it is a denoising autoencoder: it sees
    x + noise * eps and must give x (Vincent et al., 2008). size: even, at least 8. channels: C.
    encoder, decoder: networks of your own in place of the convolutions, x -> (B, code) and back.
    """

    def __init__(self, code=8, width=24, noise=0.0, size=16, channels=1, encoder=None, decoder=None):
        super().__init__()
        self.code = expect.integer("code", code, 1)
        self.width = expect.integer("width", width, 1)
        self.noise = expect.number("noise", noise, 0)
        self.size = expect.integer("size", size, 1)
        self.channels = expect.integer("channels", channels, 1)
        self.own = {"encoder": encoder, "decoder": decoder}
        self.encoder = conv_encoder(code, size, channels, width) if encoder is None else encoder
        self.decoder = conv_decoder(code, size, channels, width) if decoder is None else decoder

    def described(self) -> dict:
        """Networks of one's own, None for the course's, as a checkpoint writes them down."""
        return self.own

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, size, size) -> (B, code), any real numbers: nothing tells them where to lie."""
        self._check(x)
        return expect.tensor("encoder(x)", self.encoder(x), f"{len(x)} {self.code}", like=x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, code) -> (B, C, size, size), near [-1, 1] but not clamped to it."""
        x = self.decoder(expect.tensor("z", z, f"B {self.code}", like=next(self.parameters(), None)))
        return expect.tensor("decoder(z)", x, f"{len(z)} {self.channels} {self.size} {self.size}", like=z)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction decode(encode(x))."""
        return self.decode(self.encode(x))

    def loss(self, x: Tensor) -> Tensor:
        """Mean squared error a pixel between x and the reconstruction of x, or of x + noise * eps. A scalar."""
        self._check(x)
        seen = x + self.noise * torch.randn_like(x) if self.noise else x
        return F.mse_loss(self(seen), x)

    def _check(self, x: Tensor) -> None:
        shape = f"B {self.channels} {self.size} {self.size}"
        expect.tensor("x", x, shape, like=next(self.parameters(), None), scaled=True)


class LinearCode:
    """PCA behind the same two words: the best linear code of a given size (Pearson, 1901), by scikit-learn."""

    def __init__(self, x: Tensor, code: int):
        expect.tensor("x", x, "N C H W", finite=True, rows=2)
        code = expect.integer("code", code, 1, min(len(x), x[0].numel()))
        self.code, self.shape = code, x.shape[1:]
        self._pca = PCA(code, svd_solver="full").fit(x.flatten(1).double().numpy())

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, code), the coordinates along the principal directions."""
        expect.tensor("x", x, " ".join(["B", *map(str, self.shape)]))
        return torch.from_numpy(self._pca.transform(x.flatten(1).double().numpy())).to(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, code) -> (B, C, H, W): the mean picture plus z times the principal directions."""
        expect.tensor("z", z, f"B {self.code}")
        x = torch.from_numpy(self._pca.inverse_transform(z.double().numpy())).to(z)
        return x.unflatten(1, self.shape)


class GaussianCodes:
    """A normal distribution fitted to codes (N, code): the simplest guess at where an encoder puts its codes."""

    def __init__(self, z: Tensor):
        expect.tensor("z", z, "N code", finite=True, rows=2)
        z = z.to(torch.promote_types(z.dtype, torch.float32))  # torch has no Cholesky factor in half precision
        self.mean = z.mean(0)
        self.scale = torch.linalg.cholesky(torch.cov(z.T).reshape(z.shape[1], -1) + 1e-6 * torch.eye(z.shape[1]).to(z))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes (n, code) = mean + L eps, with L the Cholesky factor of the codes' covariance."""
        eps = randn((expect.integer("n", n, 1), len(self.mean)), torch.empty(()), generator).to(self.mean)
        return self.mean + eps @ self.scale.T
