"""Bugs planted in lesson 01's exercises, each with its own hint."""

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson01 import solutions as lesson01


def pca_without_centring(x, code):
    U, S, V = torch.linalg.svd(x, full_matrices=False)
    return x.mean(0), V[:code], S**2 / len(x)


def pca_with_columns(x, code):
    mean = x.mean(0)
    U, S, V = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, V[:, :code], S**2 / len(x)


def pca_mean_of_everything(x, code):
    mean = x.mean().expand(x.shape[1])
    U, S, V = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, V[:code], S**2 / len(x)


def pca_without_square(x, code):
    mean = x.mean(0)
    U, S, V = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, V[:code], S


def pca_without_count(x, code):
    mean, directions, variances = lesson01.pca(x, code)
    return mean, directions, variances * len(x)


def pca_last_first(x, code):
    mean, directions, variances = lesson01.pca(x, code)
    return mean, directions.flip(0), variances


def pca_with_rows_of_v_transposed(x, code):
    mean, _, variances = lesson01.pca(x, code)
    return mean, torch.linalg.svd(x - mean, full_matrices=False)[2].T[:code], variances


def pca_of_two(x, code):
    return lesson01.pca(x, 2)


class FixedCode(lesson01.Autoencoder):
    def __init__(self, code=8):
        super().__init__(code=8)


class ReluCode(lesson01.Autoencoder):
    def encode(self, x):
        return F.relu(self.encoder(x))


class SquashedPicture(lesson01.Autoencoder):
    def decode(self, z):
        return torch.tanh(self.decoder(z))


class SummedLoss(lesson01.Autoencoder):
    def loss(self, x):
        return (self.decode(self.encode(x)) - x).square().sum()


class SummedPixels(lesson01.Autoencoder):
    def loss(self, x):
        return (self.decode(self.encode(x)) - x).square().sum((1, 2, 3)).mean()


class Clamped(lesson01.Autoencoder):
    def decode(self, z):
        return self.decoder(z).clamp(-1, 1)


class FixedWidth(lesson01.Autoencoder):
    def __init__(self, code=8, width=24):
        super().__init__(code)


class Narrow(lesson01.Autoencoder):
    def __init__(self, code=8):
        super().__init__(code, width=16)


def cov_for_cholesky(z, eps):
    return z.mean(0) + eps @ torch.cov(z.T)


def suspects_below(model, x, normal, share=0.05):
    return ~lesson01.suspects(model, x, normal, share)


def suspects_by_batch(model, x, normal, share=0.05):
    return (model.decode(model.encode(x)) - x).square().mean() > 0.5


def suspects_low_quantile(model, x, normal, share=0.05):
    return lesson01.suspects(model, x, normal, 1 - share)


def suspects_of_one_share(model, x, normal, share=0.05):
    return lesson01.suspects(model, x, normal)


PLANTED = {
    "01.pca": [
        pca_without_centring,
        pca_with_columns,
        pca_mean_of_everything,
        pca_without_square,
        pca_without_count,
        pca_last_first,
        pca_with_rows_of_v_transposed,
        pca_of_two,
        lambda x, code: lesson01.pca(x, code)[:2],
    ],
    "01.autoencoder": [FixedCode, ReluCode, SquashedPicture, Clamped, SummedLoss, SummedPixels, Narrow, FixedWidth],
    "01.interpolate": [
        lambda z0, z1, steps: lesson01.interpolate(z1, z0, steps),
        lambda z0, z1, steps: lesson01.interpolate(z0, z1, steps + 1)[:-1],
        lambda z0, z1, steps: lesson01.interpolate(z0, z1, steps).T,
        lambda z0, z1, steps: z0 + torch.linspace(0, 1, steps)[:, None] ** 2 * (z1 - z0),
        lambda z0, z1, steps: lesson01.interpolate(z0, z1, 5),
    ],
    "01.numbers_needed": [
        lambda variances, share: lesson01.numbers_needed(variances, share) - 1,
        lambda variances, share: lesson01.numbers_needed(variances, 1 - share),
        lambda variances, share: lesson01.numbers_needed(variances, share - 1e-4),
        lambda variances, share: lesson01.numbers_needed(variances, share) + 1,
        lambda variances, share: int((variances.sum() - variances.cumsum(0) > share).sum()) + 1,
        lambda variances, share: int((16 - variances.cumsum(0) > share * 16).sum()) + 1,
    ],
    "01.draw_codes": [
        lambda z, eps: z.mean(0) + eps @ torch.linalg.cholesky(torch.cov(z.T)),
        lambda z, eps: eps @ torch.linalg.cholesky(torch.cov(z.T)).T,
        lambda z, eps: z.mean(0) + eps * z.std(0),
        cov_for_cholesky,
        lambda z, eps: lesson01.draw_codes(z, torch.randn_like(eps) * eps.any()),
        lambda z, eps: lesson01.draw_codes(z, eps[:1]).expand_as(eps),
    ],
    "01.denoising_loss": [
        lambda model, x, noise: F.mse_loss(model.decode(model.encode(y := x + noise * torch.randn_like(x))), y),
        lambda model, x, noise: F.mse_loss(model.decode(model.encode(x + noise * torch.rand_like(x))), x),
        lambda model, x, noise: F.mse_loss(model.decode(model.encode(x)) + noise * torch.randn_like(x), x),
        lambda model, x, noise: lesson01.denoising_loss(model, x, noise**0.5),
        lambda model, x, noise: lesson01.denoising_loss(model, x, noise**2),
        lambda model, x, noise: lesson01.denoising_loss(model, x, 0.5),
        lambda model, x, noise: lesson01.denoising_loss(model, x, noise).detach(),
        lambda model, x, noise: F.mse_loss(model.decode(model.encode(x + noise * torch.randn(x.shape[1:]))), x),
        lambda model, x, noise: F.mse_loss(model.decode(model.encode(0.8 * x + noise * torch.randn_like(x))), x),
    ],
    "01.overall_spread": [
        lambda z: z.std(correction=0),
        lambda z: (z - z.mean(0)).square().mean(),
        lambda z: z.std(0).mean(),
        lambda z: z.square().mean().sqrt(),
        lambda z: (z - z.mean(0)).square().sum(1).mean().sqrt(),
    ],
    "01.suspects": [suspects_below, suspects_by_batch, suspects_low_quantile, suspects_of_one_share],
}
