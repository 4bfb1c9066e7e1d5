"""How far apart are two sets? Distances between features of pictures, which the caller chooses, or between points.

Nothing here knows a model: two sets (N, D) and (M, D) go in, floats come out, computed in float64 on the CPU.

On a small data set all of them saturate. The Fréchet distance (FD) is biased upwards by sampling alone: n features do
not settle a covariance, so two sets of 297 *real* digits lie well apart, and a model that scores as they do cannot be
told from a perfect one. Precision and recall depend on n too, and a memoriser of the training set does well in all
three. So compare at one n only, never across papers, and beside the two floors of `evaluate`, fresh real pictures and
a memoriser. (None of it is an FID: that is the FD of Inception features of 50,000 pictures, on another scale.)
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from minidiff.support import expect
from minidiff.support.profile import seeded


def bits_per_dim(log_prob: Tensor, dims: int) -> float:
    """Mean of -log_prob / (dims ln 2): bits for each of `dims` pixels, from log-likelihoods (B,) in nats.

    Of a probability mass it is the length of a lossless code. Of a density of pictures spread over levels 1/8 wide
    (x = k/8 - 1 + u/8), add log2(8) = 3.
    """
    expect.tensor("log_prob", log_prob, "B", finite=True)
    return -log_prob.cpu().double().mean().item() / (expect.integer("dims", dims, 1) * math.log(2))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of the Gaussians fitted to features a (N, D) and b (M, D): at least 0, and 0 if they are equal.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), S with the factor 1 / (N - 1).
    No matrix has its root taken: with S = R^T R, from a QR decomposition of the centred features, the trace of
    (S_a S_b)^(1/2) is the sum of the singular values of R_a R_b^T, which is exact for S without full rank too.
    Biased: its expectation falls as N and M grow, so compare at equal N and M. Both are at least 2.
    It sees means and covariances alone. For points in the plane that is too little: a swiss roll is at about 0 from a
    Gaussian of its mean and covariance. `energy_distance` and `sliced_wasserstein` tell the two apart.
    Source: Dowson & Landau 1982; on features of pictures Heusel et al. 2017 (1706.08500), eq. 6.
    """
    a, b = _pair(a=a, b=b)
    root_a, root_b = (torch.linalg.qr((x - x.mean(0)) / (len(x) - 1) ** 0.5, mode="r").R for x in (a, b))
    overlap = torch.linalg.svdvals(root_a @ root_b.T).sum()
    spread = root_a.square().sum() + root_b.square().sum() - 2 * overlap
    return max(0.0, ((a.mean(0) - b.mean(0)).square().sum() + spread).item())  # below 0 by rounding only


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy of features a (N, D) and b (M, D), unbiased, with kernel (x.y / D + 1)^3.

    Unbiased at any N and M: for two sets from one source it scatters around 0, below as often as above. On a few
    hundred pictures that scatter is what one sees. N and M are at least 2. The kernel is of degree three: sets that
    differ in no moment up to the third are one to it. So for points in the plane `energy_distance` is the one to use.
    Source: Gretton et al. 2012, eq. 3; with this kernel on pictures Bińkowski et al. 2018 (1801.01401), section 4.
    """
    a, b = _pair(a=a, b=b)
    return (_kernel_within(a) + _kernel_within(b) - 2 * _kernel_sum(a, b) / (len(a) * len(b))).item()


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Energy distance of points a (N, D) and b (M, D): 2 E|x - y| - E|x - x'| - E|y - y'|, at least 0, without a root.

    Any difference between two distributions makes it positive, not one of means and covariances alone.
    A V-statistic: each mean is over all pairs, also those of a point with itself. So it is 0 for a set and itself, and
    biased: two sets from one source have E|x - x'| (1/N + 1/M) in the mean. Compare at equal N and M, and beside what
    two halves of the real points have.
    Source: Székely & Rizzo 2013, Energy statistics. (scipy.stats.energy_distance, for D = 1, is its square root.)
    """
    a, b = _pair(1, a=a, b=b)
    return max(0.0, 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b))  # below 0 by rounding only


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 256, p: int = 2, seed: int = 0) -> float:
    """Sliced Wasserstein distance of points a (N, D) and b (M, D): (mean over directions of W_p^p)^(1/p), at least 0.

    In one direction the points are numbers, and the cheapest way to move the ones onto the others keeps their order:
    W_p^p is the integral over q of |quantile_a(q) - quantile_b(q)|^p, exact for unequal N and M too.
    `directions` unit vectors, uniform on the sphere, are drawn with `seed`: one seed draws the same ones for all sets,
    so that figures can be compared. p is 1 or 2. The unit is that of the points. Biased as all distances between
    samples are: compare at equal N and M, and beside what two halves of the real points have.
    Source: Rabin et al. 2011, Wasserstein barycenter and its application to texture mixing; Bonneel et al. 2015.
    """
    a, b = _pair(1, a=a, b=b)
    directions = expect.integer("directions", directions, 1)
    p = expect.choice("p", p, (1, 2))
    lines = torch.randn(a.shape[1], directions, generator=seeded(seed), dtype=torch.float64)
    lines = lines / lines.norm(dim=0)  # (D, directions)
    return _transport(a @ lines, b @ lines, p).mean().item() ** (1 / p)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision: the share of fake features that fall among the real ones. Recall: of real ones among the fake.

    Among a set: inside a ball around one of its points that reaches to that point's k-th neighbour in the set, border
    included. real (N, D), fake (M, D), both above k -> two shares in [0, 1]. Fewer points make larger balls, so compare
    at equal N and M. Source: Kynkäänniemi et al. 2019 (1904.06991), eq. 1 and 2.
    """
    k = expect.integer("k", k, 1)
    real, fake = _pair(k + 1, real=real, fake=fake)
    return _share_among(fake, real, k), _share_among(real, fake, k)


def nearest_share(samples: Tensor, train: Tensor, held_out: Tensor, seed: int = 0) -> float:
    """The share of samples whose nearest neighbour is a training picture and not a held-out one: 0.5 is fair.

    A fair contest has equal numbers: as many training pictures as there are in `held_out`, n, drawn with `seed`. So
    a perfect memoriser of N training pictures scores (1 + n / N) / 2, which is 0.6 for 297 of 1,500, not 1: only
    n / N of its originals are in the contest. Equal distances count half.
    samples (M, ...), train (N, ...), held_out (n, ...), N >= n, of one shape per row; compared by Euclidean distance.
    """
    n = same_shape(held_out, train=train)
    shape = " ".join(map(str, ("M", *held_out.shape[1:])))
    expect.tensor("samples", samples, shape, finite=True)
    rivals = train[torch.randperm(len(train), generator=seeded(seed))[:n]]
    to_train, to_held_out = (torch.cat([d.amin(1) for d in _distances(samples, x)]) for x in (rivals, held_out))
    return ((to_train < to_held_out).double() + 0.5 * (to_train == to_held_out)).mean().item()


def same_shape(held_out: Tensor, least: int = 1, **others: Tensor) -> int:
    """n = len(held_out), once all sets are known to be finite, with rows of one shape and n rows or more each.

    A guard of functions that compare sets n against n: ValueError or TypeError names the set that does not fit, or
    `held_out` where that has fewer than `least` rows.
    """
    n = len(expect.tensor("held_out", held_out, "N ...", finite=True, rows=least))
    shape = " ".join(map(str, ("N", *held_out.shape[1:])))
    for name, x in others.items():
        expect.tensor(name, x, shape, finite=True, rows=n)
    return n


def _mean_distance(a: Tensor, b: Tensor) -> float:
    return sum(rows.sum() for rows in _distances(a, b)).item() / (len(a) * len(b))


def _transport(a: Tensor, b: Tensor, p: int) -> Tensor:
    """W_p^p of each column of a (N, K) and b (M, K) -> (K,)."""
    n = len(a)
    m = len(b)
    # Both quantile functions are steps. In units of 1 / (N M), so that they are whole numbers, the ends of all steps:
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    apart = a.sort(0).values[starts // m] - b.sort(0).values[starts // n]
    return ((ends - starts).double() / (n * m)) @ apart.abs() ** p


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    return sum(((rows @ b.T / a.shape[1] + 1) ** 3).sum() for rows in _chunks(a, b))


def _kernel_within(x: Tensor) -> Tensor:
    diagonal = ((x.square().mean(1) + 1) ** 3).sum()  # a row with itself, which would bias the mean
    return (_kernel_sum(x, x) - diagonal) / (len(x) * (len(x) - 1))


def _share_among(points: Tensor, centres: Tensor, k: int) -> float:
    # kthvalue k + 1: each centre is its own nearest neighbour, at distance 0, and does not count.
    radii = torch.cat([d.kthvalue(k + 1, dim=1).values for d in _distances(centres, centres)])
    return torch.cat([(d <= radii).any(dim=1) for d in _distances(points, centres)]).double().mean().item()


def _distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    # Rows of the table of distances, a few at a time. Not through |a|^2 + |b|^2 - 2 a.b: its rounding would tell two
    # copies of one picture apart, and ties between copies are what a memoriser is known by.
    a, b = (x.detach().flatten(1).to("cpu", torch.float64) for x in (a, b))
    for rows in _chunks(a, b):
        yield torch.cdist(rows, b, compute_mode="donot_use_mm_for_euclid_dist")


def _chunks(a: Tensor, b: Tensor, cells: int = 2**22) -> tuple[Tensor, ...]:
    return a.split(max(1, cells // len(b)))  # at most `cells` pairs at a time: 32 MiB of float64


def _pair(rows: int = 2, **sets: Tensor) -> list[Tensor]:
    # Features of one width, at least `rows` of them in either set, in float64 on the CPU.
    shape = "N D"
    for name, x in sets.items():
        shape = f"N {expect.tensor(name, x, shape, finite=True, rows=rows).shape[1]}"
    return [x.detach().to("cpu", torch.float64) for x in sets.values()]
