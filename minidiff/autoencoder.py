"""Lesson 01: squeeze a picture through a few numbers, and back. PCA is the linear case."""

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor, nn

from minidiff import expect
from minidiff.convnet import conv_decoder, conv_encoder


class Autoencoder(nn.Module):
    """x (B, 1, 16, 16) -> z = encode(x) (B, code) -> decode(z) (B, 1, 16, 16), trained on the squared error.

    Hinton and Salakhutdinov (2006), with convolutions. With `noise` > 0 it is a denoising autoencoder: it sees
    x + noise * eps and must give x (Vincent et al., 2008).
    """

    def __init__(self, code: int = 8, width: int = 24, noise: float = 0.0):
        super().__init__()
        self.code = expect.integer("code", code, 1)
        self.noise = expect.number("noise", noise, 0)
        self.encoder = conv_encoder(self.code, width=expect.integer("width", width, 1))
        self.decoder = conv_decoder(self.code, width=width)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 1, 16, 16) -> (B, code), any real numbers: nothing tells them where to lie."""
        return self.encoder(expect.tensor("x", x, "B 1 16 16"))

    def decode(self, z: Tensor) -> Tensor:
        """(B, code) -> (B, 1, 16, 16), near [-1, 1] but not clamped to it."""
        return self.decoder(expect.tensor("z", z, f"B {self.code}"))

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction decode(encode(x))."""
        return self.decode(self.encode(x))

    def loss(self, x: Tensor) -> Tensor:
        """Mean squared error a pixel between x and the reconstruction of x, or of x + noise * eps. A scalar."""
        seen = x + self.noise * torch.randn_like(x) if self.noise else x
        return F.mse_loss(self(seen), x)


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
        self.mean = z.mean(0)
        self.scale = torch.linalg.cholesky(torch.cov(z.T).reshape(z.shape[1], -1) + 1e-6 * torch.eye(z.shape[1]).to(z))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes (n, code) = mean + L eps, with L the Cholesky factor of the codes' covariance."""
        eps = torch.randn(expect.integer("n", n, 1), len(self.mean), generator=generator).to(self.mean)
        return self.mean + eps @ self.scale.T
