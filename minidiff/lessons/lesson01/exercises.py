"""Lesson 01: PCA and the autoencoder by hand, then five exercises on what codes are good for.

Solutions and predictions are in `solutions01`.
"""

import torch
import torch.nn.functional as F

from minidiff.exercises.compare import CheckFailed, close, require, shaped
from minidiff.exercises.core import exercise
from minidiff.lessons.lesson01.solutions import (
    Autoencoder,
    denoising_loss,
    draw_codes,
    interpolate,
    numbers_needed,
    pca,
    suspects,
)


@exercise("01.pca", solution=pca, core=True)
def _(attempt):
    x = torch.randn(40, 6) @ torch.randn(6, 6) + 3
    mean, directions, variances = attempt(x, 2)
    close(mean, x.mean(0), "The mean is taken over the rows: one number for each column.")
    shaped(directions, (2, 6), "One row for each of the `code` directions, from V (its rows are the directions).")
    close(
        directions @ directions.T, torch.eye(2), "Directions have length 1 and right angles between them: V as it is."
    )
    _same_plane(x, mean, directions)
    right = torch.linalg.svdvals(x - x.mean(0)) ** 2 / len(x)
    slips = {
        "A variance is the singular value squared, over N.": right.sqrt() * len(x) ** 0.5,
        "Divide the squared singular values by N, the number of rows.": right * len(x),
    }
    close(variances, right, "The variances are S ** 2 / N, all of them, in falling order.", slips=slips)


def _same_plane(x, mean, directions):
    from minidiff.autoencoder import LinearCode

    theirs = LinearCode(x[:, None, None], len(directions))  # LinearCode takes pictures (N, C, H, W)
    wanted = theirs.decode(theirs.encode(x[:, None, None])).flatten(1)
    ours = mean + (x - mean) @ directions.T @ directions
    close(ours, wanted, "Not the directions of most variance: subtract the mean before the SVD.", rtol=1e-3, atol=1e-3)


@exercise("01.autoencoder", solution=Autoencoder, core=True)
def _(attempt):
    from minidiff.autoencoder import Autoencoder as Theirs

    mine, theirs, x = attempt(code=5), Theirs(code=5), torch.rand(3, 1, 16, 16) * 2 - 1
    shaped(mine.encode(x), (3, 5), "A code has `code` numbers: the encoder's last layer is nn.Linear(128, code).")
    shaped(mine.decode(torch.randn(3, 5)), (3, 1, 16, 16), "Two transposed convolutions bring 4x4 back to 16x16.")
    try:
        mine.load_state_dict(theirs.state_dict())
    except RuntimeError as error:
        raise CheckFailed("Not the same layers as minidiff's, in the same order.", str(error)[:200]) from error
    z, back = theirs.encode(x), theirs(x)
    slips = {"A code may be any number: no activation after the encoder's last layer.": z.relu()}
    close(mine.encode(x), z, "The encoder computes something else between the same layers.", slips=slips)
    slips = {"No squashing at the end: the last transposed convolution is the picture.": theirs.decode(z).tanh()}
    close(mine.decode(z), theirs.decode(z), "The decoder computes something else between the layers.", slips=slips)
    slips = {
        "The mean over pixels and pictures, not their sum.": (back - x).square().sum(),
        "Squared differences, not absolute ones.": (back - x).abs().mean(),
    }
    close(mine.loss(x), theirs.loss(x), "The loss is the mean of (decode(encode(x)) - x) ** 2.", slips=slips)


@exercise("01.interpolate", solution=interpolate)
def _(attempt):
    z0 = torch.randn(4)
    z1 = torch.randn(4)
    z = shaped(attempt(z0, z1, 5), (5, 4), "One code a step: give t the shape (steps, 1), and it meets (code,).")
    require(not torch.allclose(z[0], z1), "It runs backwards: at t = 0 it is z0, at t = 1 it is z1.")
    close(z[[0, -1]], torch.stack([z0, z1]), "The first code is z0 and the last is z1: linspace(0, 1, steps).")
    close(z, torch.stack([z0.lerp(z1, t / 4) for t in range(5)]), "Even steps on the straight line: (1 - t) z0 + t z1.")


@exercise("01.numbers_needed", solution=numbers_needed)
def _(attempt):
    variances = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0])
    slips = {"One too few: with all the larger errors counted, the next size is the first that will do.": 2, _KEPT: 1}
    close(attempt(variances, 0.2), 3, _NUMBERS, slips=slips)
    close(attempt(variances, 0.9), 1, _NUMBERS)
    close(attempt(variances, 0.25), 2, "Exactly the share is allowed: at most, not less than.")


_NUMBERS = "The error with k numbers is the sum of the variances after the k-th."
_KEPT = "`share` is what may be left out, not what must be kept."


@exercise("01.draw_codes", solution=draw_codes, core=True)
def _(attempt):
    from minidiff.autoencoder import GaussianCodes

    mix = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 0.3]])
    z = torch.randn(500, 3) @ mix.T + torch.tensor([1.0, -2.0, 3.0])
    eps = torch.randn(7, 3)
    got = shaped(attempt(z, eps), (7, 3), "One code for each row of eps.")
    close(attempt(z, eps * 0), z.mean(0).expand(7, 3), "With eps = 0 the draw is the mean of the codes: add z.mean(0).")
    fitted = GaussianCodes(z)
    slips = {
        "Each row of eps is a row vector: eps @ L.T, not eps @ L.": fitted.mean + eps @ fitted.scale,
        "That is the covariance itself: its Cholesky factor L is wanted, with L @ L.T = covariance.": (
            fitted.mean + eps @ torch.cov(z.T)
        ),
        "The entries of a code vary together: the spread of each alone is not enough.": fitted.mean + eps * z.std(0),
    }
    close(got, fitted.mean + eps @ fitted.scale.T, "Not mean + L eps.", slips=slips, rtol=1e-3, atol=1e-3)


class _Copy:
    """A model that gives back what it sees."""

    def encode(self, x):
        return x

    def decode(self, z):
        return z


@exercise("01.denoising_loss", solution=denoising_loss, core=True)
def _(attempt):
    from minidiff.autoencoder import Autoencoder as Theirs

    x = torch.rand(50, 1, 16, 16) * 2 - 1
    loss = shaped(attempt(_Copy(), x, 0.5), (), "One number for the whole batch: take the mean.")
    require(loss > 1e-6, "A model that copies has loss 0 with you: compare with the clean x, not the noisy one.")
    require(abs(loss - 0.25 / 3) > 0.01, "eps is normal noise: torch.randn_like, not rand_like.")
    require(abs(loss - 0.5) > 0.05, "eps is multiplied by `noise`, the standard deviation, not by its root.")
    require(abs(loss - 0.25) < 0.05, "For a model that copies, the loss is noise ** 2.")
    model = Theirs(code=3, width=4, noise=0.5)
    torch.manual_seed(1)
    wanted = model.loss(x)
    torch.manual_seed(1)
    got = attempt(model, x, 0.5)
    slips = {"The noise belongs on the picture, before it is encoded.": _late(model, x)}
    close(got, wanted, "Compare decode(encode(x + noise * eps)) with x.", slips=slips)


def _late(model, x):
    torch.manual_seed(1)
    return F.mse_loss(model(x) + 0.5 * torch.randn_like(x), x)


class _Blank(_Copy):
    """A model that rebuilds every picture as grey, level 0: the error of a picture is its mean square."""

    def decode(self, z):
        return torch.zeros_like(z)


@exercise("01.suspects", solution=suspects)
def _(attempt):
    normal = torch.linspace(0.01, 1, 100)[:, None, None, None].expand(100, 1, 4, 4)
    x = torch.tensor([0.5, 0.94, 0.97, 1.0])[:, None, None, None].expand(4, 1, 4, 4)
    got = attempt(_Blank(), x, normal)
    got = shaped(got, (4,), "One verdict a picture: average over its pixels only, .flatten(1).mean(1).").bool().tolist()
    require(got != [True, True, True, True], "Too many: the limit is the quantile 1 - share of the normal errors.")
    require(got != [True, True, False, False], "The other way round: a suspect has an error above the limit.")
    require(got == [False, False, True, True], "Compare each error with the (1 - share) quantile of the normal errors.")
    _finds_stains(attempt)


def _finds_stains(attempt):
    from minidiff import checkpoints, data

    model = checkpoints.load("ae-digits")
    normal = data.digits("test")[0]
    x = data.digits("test")[0]
    x[:, :, 6:10, 6:10] *= -1
    with torch.no_grad():
        found = attempt(model, x, normal).float().mean()
    require(found > 0.8, "On digits with a stain in the middle it should find at least 80 %.")
