"""How good are samples? Distances between two sets of pictures, in features that the caller chooses.

Nothing here knows a model: features (N, D) go in, floats come out, computed in float64 on the CPU.

On a small data set all of them saturate. The Fréchet distance (FD) is biased upwards by sampling alone: n features do
not settle a covariance, so two sets of 297 *real* digits lie well apart, and a model that scores as they do cannot be
told from a perfect one. Precision and recall depend on n too, and a memoriser of the training set does well in all
three. So compare at one n only, never across papers, and beside the two floors, fresh real pictures and a memoriser.
(None of it is an FID: that is the FD of Inception features of 50,000 pictures, on another scale.)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from minidiff import expect
from minidiff.profile import seeded


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
    hundred pictures that scatter is what one sees. N and M are at least 2.
    Source: Gretton et al. 2012, eq. 3; with this kernel on pictures Bińkowski et al. 2018 (1801.01401), section 4.
    """
    a, b = _pair(a=a, b=b)
    return (_kernel_within(a) + _kernel_within(b) - 2 * _kernel_sum(a, b) / (len(a) * len(b))).item()


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
    n, _ = _alike(held_out, train=train), _alike(held_out[:1], samples=samples)
    rivals = train[torch.randperm(len(train), generator=seeded(seed))[:n]]
    to_train, to_held_out = (torch.cat([d.amin(1) for d in _distances(samples, x)]) for x in (rivals, held_out))
    return ((to_train < to_held_out).double() + 0.5 * (to_train == to_held_out)).mean().item()


@dataclass(frozen=True)
class Quality:
    """The figures of one row in a table of samples, each a mean over `chunks` chunks of n samples.

    `spread`: their standard deviations over the chunks, by name; None for a single chunk. Training seeds add theirs.
    """

    fd_train: float
    fd_held_out: float
    precision: float
    recall: float
    nearest: float
    chunks: int
    spread: dict[str, float] | None

    def row(self) -> dict[str, float]:
        """A row of a table, rounded to what can be told apart."""
        distances = {"FD train": round(self.fd_train, 1), "FD held-out": round(self.fd_held_out, 1)}
        shares = {"precision": self.precision, "recall": self.recall, "nearest is train": self.nearest}
        return distances | {name: round(share, 2) for name, share in shares.items()}


def quality(samples: Tensor, train: Tensor, held_out: Tensor, features: Callable, seed: int = 0) -> Quality:
    """How good are `samples`? FD to train and to held-out, precision and recall, nearest-neighbour share.

    Every comparison is n against n, n = len(held_out), as in `floors`: the samples are cut into chunks of n (a rest is
    not used), each compared with the held-out pictures and with n training pictures, drawn anew for each chunk. One
    `seed` draws the same ones for every model, so the rows of a table differ by the samples alone. Precision and recall
    are against held-out, where copying gains nothing; the nearest neighbour is sought among the pictures themselves.
    Pictures are float (rows, C, H, W), n or more in each set, n at least 4; `features` makes (B, C, H, W) into (B, D).
    """
    n, generator = _alike(held_out, least=4, train=train, samples=samples), seeded(seed)
    fake, real, fresh = (_describe(features, x) for x in (samples, train, held_out))
    figures = []
    for i in range(len(samples) // n):
        chunk, drawn = slice(i * n, (i + 1) * n), torch.randperm(len(train), generator=generator)[:n]
        distances = frechet_distance(fake[chunk], real[drawn]), frechet_distance(fake[chunk], fresh)
        nearest = nearest_share(samples[chunk], train[drawn], held_out)
        figures.append((*distances, *precision_recall(fresh, fake[chunk]), nearest))
    return _summary(figures)


def floors(train: Tensor, held_out: Tensor, features: Callable, seed: int = 0) -> dict[str, Quality]:
    """The two rows to read `quality` against: {"fresh real pictures": Quality, "a memoriser": Quality}.

    Fresh real pictures are what a perfect model would draw. Here they are the training pictures, compared with the
    held-out ones only, which are none of them: so both FD columns agree, and the nearest share is 0.5 by symmetry.
    A memoriser draws training pictures with replacement. Where the two rows agree, a figure is blind to copying.
    """
    _alike(held_out, least=4, train=train)
    fresh = train[torch.randperm(len(train), generator=seeded(seed))]
    copies = train[torch.randint(len(train), fresh.shape[:1], generator=seeded(seed + 1))]
    fresh, copies = quality(fresh, held_out, held_out, features, seed), quality(copies, train, held_out, features, seed)
    return {"fresh real pictures": fresh, "a memoriser": copies}


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


@torch.no_grad()
def _describe(features: Callable, images: Tensor) -> Tensor:
    parts = images.split(256)
    return torch.cat([expect.tensor("features(images)", features(x), f"{len(x)} D", finite=True) for x in parts])


def _summary(figures: list[tuple[float, ...]]) -> Quality:
    table = torch.tensor(figures, dtype=torch.float64)  # (chunks, 5), in the order of Quality's fields
    names = [field.name for field in fields(Quality)][: table.shape[1]]
    spread = dict(zip(names, table.std(0).tolist())) if len(table) > 1 else None
    return Quality(*table.mean(0).tolist(), chunks=len(table), spread=spread)


def _pair(rows: int = 2, **sets: Tensor) -> list[Tensor]:
    # Features of one width, at least `rows` of them in either set, in float64 on the CPU.
    shape = "N D"
    for name, x in sets.items():
        shape = f"N {expect.tensor(name, x, shape, finite=True, rows=rows).shape[1]}"
    return [x.detach().to("cpu", torch.float64) for x in sets.values()]


def _alike(held_out: Tensor, least: int = 1, **others: Tensor) -> int:
    # Rows of one shape, n = len(held_out) of them or more in every set. Returns n.
    n = len(expect.tensor("held_out", held_out, "N ...", finite=True, rows=least))
    shape = " ".join(map(str, ("N", *held_out.shape[1:])))
    for name, x in others.items():
        expect.tensor(name, x, shape, finite=True, rows=n)
    return n
