"""A mixture of Gaussians that knows every answer: the exact score and denoiser that learned ones are drawn beside."""

import math

import torch
from torch import Tensor

from minidiff.support import expect


class GaussianMixture:
    """p(x0) = sum_k w_k N(x0; m_k, s_k^2 I), and what it becomes under noise: x_t = alpha x0 + sigma eps.

    weights (K,) sum to 1; means (K, D); stds (K,) > 0: tensors or lists, kept as float tensors of the means' dtype.
    Noise keeps it a mixture, p_t(x) = sum_k w_k N(x; alpha m_k, v_k I) with v_k = alpha^2 s_k^2 + sigma^2, so all
    below is exact (Bishop, Pattern Recognition and Machine Learning, 2006, sections 2.3 and 9.2).
    x is (B, D) and decides dtype and device; alpha and sigma are numbers >= 0, not both 0, or tensors () or (B,).
    """

    def __init__(self, weights, means, stds):
        self.means = _floats("means", means, "K D")  # (K, D)
        self.stds = _floats("stds", stds, str(len(self.means))).to(self.means)  # (K,)
        self.weights = _floats("weights", weights, str(len(self.means))).to(self.means)  # (K,)
        if self.stds.min() <= 0:
            raise ValueError(f"stds: got {self.stds.min().item():.4g}, expected numbers above 0")
        if self.weights.min() < 0 or abs(self.weights.sum().item() - 1) > 1e-4:
            raise ValueError(f"weights: got {self.weights.tolist()}, expected numbers from 0 to 1 that sum to 1")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws of x0, (n, D)."""
        return self.sample_labelled(n, generator)[0]

    def sample_labelled(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n draws of x0, (n, D), and the component that each came from, (n,)."""
        n = expect.integer("n", n, 1)
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        m = self.means[k]  # (n, D)
        eps = torch.randn(m.shape, generator=generator, dtype=m.dtype, device=m.device)
        return m + self.stds[k, None] * eps, k

    def log_prob(self, x: Tensor, alpha=1.0, sigma=0.0) -> Tensor:
        """log p_t(x) in nats, (B,)."""
        return self._noised(x, alpha, sigma)[0].logsumexp(1)

    def responsibilities(self, x: Tensor, alpha=1.0, sigma=0.0) -> Tensor:
        """p(k | x_t = x), the probability that it came from component k, (B, K); rows sum to 1."""
        return self._noised(x, alpha, sigma)[0].softmax(1)

    def score(self, x: Tensor, alpha=1.0, sigma=0.0) -> Tensor:
        """The gradient of log p_t(x) by x, (B, D): sum_k p(k | x) (alpha m_k - x) / v_k."""
        log_joint, v, offset = self._noised(x, alpha, sigma)
        return -((log_joint.softmax(1) / v)[..., None] * offset).sum(1)

    def denoise(self, x: Tensor, alpha, sigma) -> Tensor:
        """E[x0 | x_t = x], (B, D), the best guess by squared error: sum_k p(k | x) (sigma^2 m_k + alpha s_k^2 x) / v_k.

        It is x / alpha where sigma = 0 and the mixture's mean where alpha = 0.
        Tweedie's formula (Efron, 2011) says the same: (x + sigma^2 score(x)) / alpha.
        """
        log_joint, v, _ = self._noised(x, alpha, sigma)
        alpha = _column("alpha", alpha, x)
        sigma = _column("sigma", sigma, x)
        share = log_joint.softmax(1) / v  # (B, K)
        pull = (share * alpha * self.stds.to(x) ** 2).sum(1, keepdim=True)  # (B, 1)
        return (share * sigma**2) @ self.means.to(x) + pull * x

    def _noised(self, x: Tensor, alpha, sigma) -> tuple[Tensor, Tensor, Tensor]:
        """log w_k + log N(x; alpha m_k, v_k I) (B, K); v (B, K) or (1, K); x - alpha m_k (B, K, D)."""
        expect.tensor("x", x, f"B {self.means.shape[1]}", finite=True)
        alpha = _column("alpha", alpha, x)
        sigma = _column("sigma", sigma, x)
        v = alpha**2 * self.stds.to(x) ** 2 + sigma**2
        if v.min() <= 0:
            raise ValueError("alpha, sigma: got 0 for both, where x_t is 0 whatever x0 was; expected one above 0")
        offset = x[:, None] - alpha[..., None] * self.means.to(x)  # (B, K, D)
        log_normal = -0.5 * (offset.square().sum(2) / v + x.shape[1] * torch.log(2 * math.pi * v))
        return self.weights.to(x).log() + log_normal, v, offset


def _floats(name: str, values, shape: str) -> Tensor:
    try:
        x = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:  # strings, or rows of unequal length
        raise TypeError(
            f"{name}: got {values!r:.60}, expected numbers of shape ({shape.replace(' ', ', ')})"
        ) from error
    return expect.tensor(name, x if x.is_floating_point() else x.float(), shape, finite=True)


def _column(name: str, value, x: Tensor) -> Tensor:
    """`value` as (1, 1) or (B, 1) in x's dtype: (B,) against (B, D) would multiply columns where B = D."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        value = torch.tensor([expect.number(name, value, 0)], dtype=torch.float64)
    elif value.shape != x.shape[:1]:
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected a number or shape ({len(x)},), one per row")
    return expect.tensor(name, value, "B", finite=True, low=0).to(x)[:, None]
