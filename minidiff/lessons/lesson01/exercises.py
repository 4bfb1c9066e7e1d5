"""Lesson 01's checks: PCA, the autoencoder, walks and draws in code space, denoising, strange pictures."""

import torch

from minidiff.exercises.compare import CheckFailed, close, require, shaped
from minidiff.exercises.core import exercise
from minidiff.lessons.lesson01.solutions import (
    Autoencoder,
    denoising_loss,
    draw_codes,
    interpolate,
    numbers_needed,
    overall_spread,
    pca,
    suspects,
)


@exercise(
    "01.pca",
    solution=pca,
    core=True,
    hints=(
        "`x.mean(0)` is the mean over rows. `torch.linalg.svd(x - mean, full_matrices=False)` returns U, S and V.",
        "The directions are the first `code` rows of V as they are, and the variances are `S**2 / len(x)`.",
    ),
)
def _(attempt):
    x = torch.randn(40, 6) @ torch.randn(6, 6) + 3
    result = attempt(x, 2)
    require(isinstance(result, tuple | list) and len(result) == 3, "Return three: mean, directions, variances.")
    mean, directions, variances = result
    close(mean, x.mean(0), "The mean is taken over the rows: one number for each column.")
    shaped(directions, (2, 6), "One row for each of the `code` directions, from V (its rows are the directions).")
    close(
        directions @ directions.T, torch.eye(2), "Directions have length 1 and right angles between them: V as it is."
    )
    _of_most_variance(x, directions)
    right = torch.linalg.svdvals(x - x.mean(0)) ** 2 / len(x)
    slips = {
        "A variance is the singular value squared, over N.": right.sqrt() * len(x) ** 0.5,
        "Divide the squared singular values by N, the number of rows.": right * len(x),
    }
    close(variances, right, "The variances are S ** 2 / N, all of them, in falling order.", slips=slips)
    shaped(attempt(x, 3)[1], (3, 6), "Right for two directions, not for three: `code` says how many.")


def _of_most_variance(x, directions):
    """The variance of x along each of the two directions is right, whatever their signs, which are free."""
    covariance, uncentred = torch.cov(x.T, correction=0), torch.linalg.svd(x, full_matrices=False)[2][:2]
    wanted = torch.linalg.eigvalsh(covariance).flip(0)[:2]
    got, slip = ((rows @ covariance * rows).sum(1) for rows in (directions, uncentred))
    slips = {
        "Not the directions of most variance: subtract the mean before the SVD.": slip,
        "The direction of most variance comes first.": wanted.flip(0),
    }
    close(got, wanted, "Not the directions of most variance: the first rows of V.", slips=slips, rtol=1e-3, atol=1e-3)


@exercise(
    "01.autoencoder",
    solution=Autoencoder,
    core=True,
    hints=(
        "Go through the encoder from the bottom up. `nn.Linear(code, 128)` is the first layer of the decoder.",
        "The layers: Linear(code, 128), SiLU, Linear(128, 2 * width * 16), SiLU, Unflatten, ConvTranspose2d, SiLU, "
        "ConvTranspose2d. The last two go from 2 * width channels to width and to 1: kernel 4, stride 2, padding 1.",
        "The loss is `(self.decode(self.encode(x)) - x).square().mean()`.",
    ),
)
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
    _is_the_decoder(mine, theirs, z)
    narrow, wanted = ([weight.shape for weight in made(5, 4).parameters()] for made in (attempt, Theirs))
    require(narrow == wanted, "Right for a width of 24, but not of 4: `width` is an argument.")
    hint = "The loss is the mean of (decode(encode(x)) - x) ** 2."
    close(mine.loss(x), theirs.loss(x), hint, slips=_means_with_a_slip(back - x))


def _means_with_a_slip(errors):
    """Slips in the mean squared error of pictures (B, C, H, W): hint -> the loss."""
    return {
        "The mean over pixels and pictures, not their sum.": errors.square().sum(),
        "The mean over the pixels too, not their sum.": errors.square().sum() / len(errors),
        "The mean of the squares, without a root.": errors.square().mean().sqrt(),
        "Squared differences, not absolute ones.": errors.abs().mean(),
    }


def _is_the_decoder(mine, theirs, z):
    hint = "The decoder computes something else between the layers: a SiLU after each but the last."
    for codes in (z, 100 * torch.randn_like(z)):  # such large ones leave the levels -1 to 1
        right = theirs.decode(codes)
        slips = {
            "No squashing at the end: the last transposed convolution is the picture.": right.tanh(),
            "No clamp at the end: the last transposed convolution is the picture.": right.clamp(-1, 1),
        }
        close(mine.decode(codes), right, hint, slips=slips)


@exercise(
    "01.interpolate",
    solution=interpolate,
    hints=(
        "`torch.linspace(0, 1, steps)[:, None]` is (steps, 1).",
        "`(1 - t) * z0 + t * z1` broadcasts (steps, 1) with (code,) to (steps, code).",
    ),
)
def _(attempt):
    z0 = torch.randn(4)
    z1 = torch.randn(4)
    z = shaped(attempt(z0, z1, 5), (5, 4), "One code a step: give t the shape (steps, 1), and it meets (code,).")
    require(not torch.allclose(z[0], z1), "It runs backwards: at t = 0 it is z0, at t = 1 it is z1.")
    close(z[[0, -1]], torch.stack([z0, z1]), "The first code is z0 and the last is z1: linspace(0, 1, steps).")
    close(z, torch.stack([z0.lerp(z1, t / 4) for t in range(5)]), "Even steps on the straight line: (1 - t) z0 + t z1.")
    shaped(attempt(z0, z1, 8), (8, 4), "Right for 5 steps, but not for 8: `steps` is an argument.")


@exercise(
    "01.numbers_needed",
    solution=numbers_needed,
    hints=(
        "`variances.cumsum(0)` has what is kept with 1, 2, … numbers. The rest of the sum is dropped.",
        "Count the code sizes whose dropped part is too large. The next size is the first that will do.",
    ),
)
def _(attempt):
    variances = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0])
    slips = {
        "One too few: with all the larger errors counted, the next size is the first that will do.": 2,
        "`share` is what may be left out, not what must be kept.": 1,
        "One too many: 3 numbers drop 2 of 16, which is a share of 0.125.": 4,
        "`share` is a share of all the variances: multiply it by their sum.": 5,
    }
    close(attempt(variances, 0.2), 3, _NUMBERS, slips=slips)
    close(attempt(variances, 0.9), 1, _NUMBERS)
    close(attempt(variances, 0.25), 2, "Exactly the share is allowed: at most, not less than.")
    close(attempt(variances[2:], 0.25), 2, "Right where the sum is 16. Here it is 4: take it from `variances`.")


_NUMBERS = "The error with k numbers is the sum of the variances after the k-th."


@exercise(
    "01.draw_codes",
    solution=draw_codes,
    core=True,
    hints=(
        "`torch.cov(z.T)` is the covariance (code, code), and `torch.linalg.cholesky` of it is L.",
        "Each row of eps is a row vector, so L eps becomes `eps @ L.T`. Add `z.mean(0)`.",
    ),
)
def _(attempt):
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 0.3]])
    z = torch.randn(500, 3) @ mix.T + torch.tensor([1.0, -2.0, 3.0])
    eps = torch.randn(7, 3)
    got = shaped(attempt(z, eps), (7, 3), "One code for each row of eps.")
    close(attempt(z, eps * 0), z.mean(0).expand(7, 3), "With eps = 0 the draw is the mean of the codes: add z.mean(0).")
    close(attempt(z, eps), got, "The randomness comes with eps: draw no other noise.")
    require(not torch.allclose(got[0], got[1]), "Each row of eps makes a code of its own.")
    rows = attempt(z, torch.eye(3)) - z.mean(0)
    _has_the_covariance(rows, torch.cov(z.T))
    close(got, z.mean(0) + eps @ rows, "Not mean + L eps for each row of eps.", rtol=1e-3, atol=1e-3)


def _has_the_covariance(rows, covariance):
    """rows: L.T, of the Cholesky factor or of any other L with L @ L.T = covariance, as all of them draw rightly."""
    factor = torch.linalg.cholesky(covariance)
    slips = {
        "Each row of eps is a row vector: eps @ L.T, not eps @ L.": factor.T @ factor,
        "That is the covariance itself: its Cholesky factor L is wanted, with L @ L.T = covariance.": (
            covariance @ covariance
        ),
        "The entries of a code vary together: the spread of each alone is not enough.": covariance.diag().diag(),
    }
    close(rows.T @ rows, covariance, "Not mean + L eps.", slips=slips, rtol=1e-2, atol=1e-2)


class _Copy:
    """A model that gives back what it sees."""

    def encode(self, x):
        return x

    def decode(self, z):
        return z


class _Seeing(_Copy):
    """A model that makes pictures brighter by `shift`, and remembers what it was shown."""

    def __init__(self):
        self.shift = torch.tensor(0.3, requires_grad=True)

    def encode(self, x):
        self.seen = x.detach()
        return 2 * x

    def decode(self, z):
        return z / 2 + self.shift


@exercise(
    "01.denoising_loss",
    solution=denoising_loss,
    core=True,
    hints=(
        "`torch.randn_like(x)` is the noise. The model sees `x + noise * eps`.",
        "`(model.decode(model.encode(x + noise * eps)) - x).square().mean()`: compare with the clean x.",
    ),
)
def _(attempt):
    x = torch.rand(50, 1, 16, 16) * 2 - 1
    model = _Seeing()
    loss = shaped(attempt(model, x, 0.5), (), "One number for the whole batch: take the mean.")
    _is_noise((model.seen - x) / 0.5, x)
    back = model.seen + model.shift
    noisy = "Compare with the clean x. Yours is compared with the noisy one."
    slips = _means_with_a_slip(back - x) | {noisy: (back - model.seen).square().mean()}
    close(loss, (back - x).square().mean(), "Compare decode(encode(x + noise * eps)) with x.", slips=slips)
    require(loss.requires_grad, "No gradient reaches the model: detach nothing.")
    attempt(model, x, 0.2)
    require(abs((model.seen - x).std() - 0.2) < 0.02, "`noise` is an argument: do not write 0.5 into the function.")


def _is_noise(eps, x):
    """eps: the noise on the pictures x (50, 1, 16, 16), in units of `noise`."""
    require(eps.any(), "The model sees the clean picture: the noise is added before it is encoded.")
    alike = min(eps.std(0).min(), eps.flatten(1).std(1).min())
    require(alike > 0.1, "Each pixel of each picture has an eps of its own: torch.randn_like(x).")
    require(abs(eps.mean()) < 0.3, "eps is normal noise around 0: torch.randn_like, not rand_like.")
    require(abs((eps * x).mean()) < 0.05, "The model should see x + noise * eps, with x as it is.")
    root = abs(eps.std() - 2**0.5) > 0.1
    require(root, "eps is multiplied by `noise`, the standard deviation, not by its root.")
    require(abs(eps.std() - 1) < 0.05, "The noise has the wrong size: noise * torch.randn_like(x).")


@exercise(
    "01.overall_spread",
    solution=overall_spread,
    hints=("Subtract each column's mean, square, take the mean over everything, and then the root.",),
)
def _(attempt):
    z = torch.randn(300, 5) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]) + torch.tensor([0.0, 10.0, -10.0, 20.0, 0.0])
    right = (z - z.mean(0)).square().mean().sqrt()
    slips = {
        "Subtract each column's mean first: the distances are counted from there.": z.square().mean().sqrt(),
        "The mean over all the numbers, not their sum over a code.": right * 5**0.5,
        "Each number of a code has a mean of its own: subtract z.mean(0), not z.mean().": z.std(correction=0),
        "The root is missing: that is a variance.": right**2,
        "Mean first, root last: the mean of the standard deviations is smaller.": z.std(0, correction=0).mean(),
    }
    close(attempt(z), right, "Not the root of the mean squared distance.", slips=slips, rtol=3e-3)


class _Blank(_Copy):
    """A model that rebuilds every picture as grey, level 0: the error of a picture is its mean square."""

    def decode(self, z):
        return torch.zeros_like(z)


@exercise(
    "01.suspects",
    solution=suspects,
    hints=(
        "The error of a picture is the mean over its own pixels: `.square().flatten(1).mean(1)`.",
        "The limit is `error(normal).quantile(1 - share)`, and a picture above it is a suspect.",
    ),
)
def _(attempt):
    normal = torch.linspace(0.01, 1, 100)[:, None, None, None].expand(100, 1, 4, 4)
    x = torch.tensor([0.5, 0.94, 0.97, 1.0])[:, None, None, None].expand(4, 1, 4, 4)
    got = attempt(_Blank(), x, normal)
    got = shaped(got, (4,), "One verdict a picture: average over its pixels only, .flatten(1).mean(1).").bool().tolist()
    require(got != [True, True, True, True], "Too many: the limit is the quantile 1 - share of the normal errors.")
    require(got != [True, True, False, False], "The other way round: a suspect has an error above the limit.")
    require(got == [False, False, True, True], "Compare each error with the (1 - share) quantile of the normal errors.")
    more = attempt(_Blank(), x, normal, share=0.1).tolist()
    require(more == [False, True, True, True], "Right for a share of 0.05, not of 0.1: `share` is an argument.")
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
