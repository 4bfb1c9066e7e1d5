"""How good are samples? The figures of a set of pictures, beside the two floors that they are to be read against.

Nothing here knows a model: pictures go in, and the `features` to compare them in are a function that the caller gives.
`metrics` has the distances, and says why no figure means much without its floors.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from minidiff import metrics
from minidiff.support import expect
from minidiff.support.profile import seeded

FLOORS = ("fresh real pictures", "a memoriser")


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


def compare(
    pictures: dict[str, Tensor], train: Tensor, held_out: Tensor, features: Callable, seed: int = 0
) -> dict[str, Quality]:
    """The `quality` of each set of pictures by its name, then the two `floors`: a table of samples, whole.

    The sets, `train`, `held_out`, `features` and `seed` are as in `quality`. TypeError if `pictures` is not a dict,
    ValueError if a set has the name of a floor; what is wrong with a set is said by its name.
    """
    if not isinstance(pictures, dict):
        raise TypeError(f"pictures: got {type(pictures).__name__}, expected a dict of name -> pictures")
    if taken := [name for name in FLOORS if name in pictures]:
        raise ValueError(f"pictures: got a set named {taken[0]!r}, expected other names than those of the floors")
    sets = {f"pictures[{name!r}]": x for name, x in pictures.items()}
    metrics.same_shape(held_out, least=4, train=train, **sets)
    found = {name: quality(x, train, held_out, features, seed) for name, x in pictures.items()}
    return found | floors(train, held_out, features, seed)


def quality(samples: Tensor, train: Tensor, held_out: Tensor, features: Callable, seed: int = 0) -> Quality:
    """How good are `samples`? FD to train and to held-out, precision and recall, nearest-neighbour share.

    Every comparison is n against n, n = len(held_out), as in `floors`: the samples are cut into chunks of n (a rest is
    not used), each compared with the held-out pictures and with n training pictures, drawn anew for each chunk. One
    `seed` draws the same ones for every model, so the rows of a table differ by the samples alone. Precision and recall
    are against held-out, where copying gains nothing; the nearest neighbour is sought among the pictures themselves.
    Pictures are float (rows, C, H, W), n or more in each set, n at least 4; `features` makes (B, C, H, W) into (B, D).
    """
    n = metrics.same_shape(held_out, least=4, train=train, samples=samples)
    generator = seeded(seed)
    fake, real, fresh = (_describe(features, x) for x in (samples, train, held_out))
    figures = []
    for start in range(0, len(samples) - n + 1, n):
        chunk = slice(start, start + n)
        drawn = torch.randperm(len(train), generator=generator)[:n]
        to_train = metrics.frechet_distance(fake[chunk], real[drawn])
        to_held_out = metrics.frechet_distance(fake[chunk], fresh)
        nearest = metrics.nearest_share(samples[chunk], train[drawn], held_out)
        figures.append((to_train, to_held_out, *metrics.precision_recall(fresh, fake[chunk]), nearest))
    return _summary(figures)


def floors(train: Tensor, held_out: Tensor, features: Callable, seed: int = 0) -> dict[str, Quality]:
    """The two rows to read `quality` against: {"fresh real pictures": Quality, "a memoriser": Quality}.

    Fresh real pictures are what a perfect model would draw. Here they are the training pictures, compared with the
    held-out ones only, which are none of them: so both FD columns agree, and the nearest share is 0.5 by symmetry.
    A memoriser draws training pictures with replacement. Where the two rows agree, a figure is blind to copying.
    """
    metrics.same_shape(held_out, least=4, train=train)
    fresh = train[torch.randperm(len(train), generator=seeded(seed))]
    copies = train[torch.randint(len(train), fresh.shape[:1], generator=seeded(seed + 1))]
    perfect = quality(fresh, held_out, held_out, features, seed)
    memoriser = quality(copies, train, held_out, features, seed)
    return dict(zip(FLOORS, (perfect, memoriser)))


@torch.no_grad()
def _describe(features: Callable, images: Tensor) -> Tensor:
    expect.function("features", features, "of pictures (B, C, H, W) -> (B, D)")
    parts = images.split(256)
    return torch.cat([expect.tensor("features(images)", features(x), f"{len(x)} D", finite=True) for x in parts])


def _summary(figures: list[tuple[float, ...]]) -> Quality:
    table = torch.tensor(figures, dtype=torch.float64)  # (chunks, 5), in the order of Quality's fields
    names = [field.name for field in fields(Quality)][: table.shape[1]]
    spread = dict(zip(names, table.std(0).tolist())) if len(table) > 1 else None
    return Quality(*table.mean(0).tolist(), chunks=len(table), spread=spread)
