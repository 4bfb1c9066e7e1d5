"""Distances between sets: against torchmetrics, scipy, loops and cases known by hand; and what bad input gets."""

import itertools
import math

import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel
from torch import nn

from minidiff import data, metrics
from minidiff.metrics import (
    energy_distance,
    frechet_distance,
    kernel_distance,
    nearest_share,
    precision_recall,
    sliced_wasserstein,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float64)


class Given(nn.Module):
    """For torchmetrics: the pictures are the features."""

    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def forward(self, x):
        return x


def torchmetrics_value(metric, a, b):
    metric.set_dtype(torch.float64)
    metric.update(a, real=True)
    metric.update(b, real=False)
    return metric.compute()


def rotation(d):
    return torch.linalg.qr(rand(d, d)).Q


# Fréchet distance


@pytest.mark.parametrize("n, m, d", [(50, 50, 5), (40, 90, 16), (300, 200, 64), (2, 5, 1)])
def test_frechet_distance_equals_torchmetrics(n, m, d):
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = rand(n, d) @ rand(d, d) + rand(d), rand(m, d) @ rand(d, d)
    expected = torchmetrics_value(FrechetInceptionDistance(feature=Given(d)), a, b).item()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_the_formula_with_a_matrix_square_root():
    a, b = rand(30, 6) @ rand(6, 6), rand(50, 6) @ rand(6, 6) + 2
    s_a, s_b = a.T.cov().numpy(), b.T.cov().numpy()
    root = scipy.linalg.sqrtm(s_a @ s_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + (s_a + s_b - 2 * root).trace()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_a_shift_is_its_squared_length():
    a, shift = rand(40, 7), rand(7)
    assert frechet_distance(a, a + shift) == pytest.approx((shift @ shift).item(), rel=1e-9)
    same = [frechet_distance(x, x[torch.randperm(40)]) for x in rand(50, 40, 7)]
    assert 0 == min(same) and max(same) < 1e-12  # rounding never makes it negative


def test_frechet_distance_of_a_scaling():
    # Same mean, S and 9 S: tr(S + 9 S - 2 * 3 S) = 4 tr(S).
    a = rand(40, 7)
    a -= a.mean(0)
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * a.T.cov().trace().item(), rel=1e-9)


def test_frechet_distance_of_known_gaussians():
    # In the limit |mu|^2 + sum (s_a - s_b)^2, for independent components with deviations s.
    a = rand(200_000, 3) * torch.tensor([1.0, 2.0, 0.5])
    b = rand(200_000, 3) * torch.tensor([2.0, 2.0, 1.5]) + torch.tensor([1.0, 0.0, -2.0])
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 1, abs=0.05)


def test_frechet_distance_without_full_rank():
    a, b = rand(5, 20), rand(4, 20)  # covariances of rank 4 and 3 in 20 dimensions
    s_a, s_b = a.T.cov(), b.T.cov()
    nonzero = torch.linalg.eigvals(s_a @ s_b).real.sort(descending=True).values[:3]
    expected = (a.mean(0) - b.mean(0)).square().sum() + s_a.trace() + s_b.trace() - 2 * nonzero.sqrt().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)
    flat = torch.cat([rand(30, 3), torch.zeros(30, 2)], dim=1)  # two features that never fire
    assert frechet_distance(flat, flat + 1) == pytest.approx(5, rel=1e-9)
    assert frechet_distance(torch.ones(3, 4), torch.zeros(2, 4)) == pytest.approx(4)  # no variance at all


def test_frechet_distance_stays_exact_far_from_the_origin_and_over_many_scales():
    a, b = rand(200, 8), rand(200, 8) + 0.1
    assert frechet_distance(a + 1e4, b + 1e4) == pytest.approx(frechet_distance(a, b), rel=1e-7)
    scales = torch.logspace(-6, 0, 8, dtype=torch.float64)
    assert frechet_distance(a * scales, a.flip(1) * scales) >= 0
    assert frechet_distance(a * scales, -a * scales) == pytest.approx(4 * ((a * scales).mean(0) ** 2).sum().item())


def test_frechet_distance_falls_with_the_number_of_pictures():
    # Why floors are needed: two sets from one source are apart, and less so the more there are.
    apart = [sum(frechet_distance(rand(n, 16), rand(n, 16)) for _ in range(5)) / 5 for n in (20, 80, 320)]
    assert apart[0] > 3 * apart[1] > 9 * apart[2] > 0


# Kernel distance


@pytest.mark.parametrize("n, d", [(20, 3), (150, 64)])
def test_kernel_distance_equals_torchmetrics(n, d):
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = rand(n, d), rand(n, d) * 1.5 + 0.3
    with pytest.warns(UserWarning, match="large memory"):
        metric = KernelInceptionDistance(feature=Given(d), subsets=1, subset_size=n)
    expected = torchmetrics_value(metric, a, b)[0].item()
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n, m, d", [(2, 3, 1), (30, 17, 4), (25, 60, 9)])
def test_kernel_distance_is_its_formula_for_unequal_sets(n, m, d):
    a, b = rand(n, d), rand(m, d) + 0.5
    kernel = lambda x, y: torch.from_numpy(polynomial_kernel(x, y, degree=3, gamma=1 / d, coef0=1))  # noqa: E731
    within = lambda x: (kernel(x, x).sum() - kernel(x, x).trace()) / (len(x) * (len(x) - 1))  # noqa: E731
    expected = within(a) + within(b) - 2 * kernel(a, b).mean()
    assert kernel_distance(a, b) == pytest.approx(expected.item(), rel=1e-9)


def test_kernel_distance_by_hand():
    # D = 1: k(0, 0) = 1, k(1, 1) = 8, k(0, 1) = 1.
    zeros, ones = torch.zeros(2, 1), torch.ones(3, 1)
    assert kernel_distance(zeros, ones) == pytest.approx(1 + 8 - 2 * 1)


def test_kernel_distance_is_unbiased():
    small = torch.tensor([kernel_distance(rand(8, 4), rand(8, 4)) for _ in range(400)])
    assert abs(small.mean()) < 3 * small.std() / 20 and small.min() < 0 < small.max()


# Points: energy distance and sliced Wasserstein


@pytest.mark.parametrize("n, m", [(30, 30), (40, 17), (7, 20), (1, 5)])
def test_distances_of_numbers_equal_scipys(n, m):
    a, b = rand(n, 1), rand(m, 1) * 2 + 0.5
    a[: n // 2] = a[0]  # ties
    root = scipy.stats.energy_distance(a[:, 0], b[:, 0])
    assert energy_distance(a, b) == pytest.approx(root**2, rel=1e-9)
    assert sliced_wasserstein(a, b, p=1) == pytest.approx(scipy.stats.wasserstein_distance(a[:, 0], b[:, 0]), rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_energy_distance_is_its_definition(d):
    a, b = rand(12, d), rand(9, d) + 0.5
    mean = lambda x, y: sum(math.dist(s, t) for s in x.tolist() for t in y.tolist()) / (len(x) * len(y))  # noqa: E731
    assert energy_distance(a, b) == pytest.approx(2 * mean(a, b) - mean(a, a) - mean(b, b), rel=1e-9)
    assert energy_distance(a, a) == 0 <= energy_distance(a, a.flip(0)) < 1e-12


def test_energy_distance_of_two_sets_from_one_source_has_the_bias_it_tells():
    found = [energy_distance(rand(20, 2), rand(30, 2)) for _ in range(200)]
    expected = math.sqrt(math.pi) * (1 / 20 + 1 / 30)  # E|x - x'| of two standard normals in the plane
    assert sum(found) / 200 == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("d", [2, 3])
def test_sliced_wasserstein_of_a_shift_is_the_mean_of_its_components(d):
    """A shift v moves all points by its component along a direction: E (v.u)^2 = |v|^2 / D, E |v.u| known too."""
    a, shift = rand(40, d), 3 * rand(d)
    mean = {2: 2 / math.pi, 3: 1 / 2}[d]  # of a component of a unit vector
    for p, share in ((1, mean), (2, d**-0.5)):
        found = sliced_wasserstein(a, a + shift, directions=20_000, p=p)
        assert found == pytest.approx(share * shift.norm().item(), rel=0.02)
        assert sliced_wasserstein(a, a, p=p) == 0


def test_sliced_wasserstein_with_p_2_of_known_numbers():
    # The lower half of the weight goes from 0 and 1 to 0, the upper from 2 and 3 to 5.
    a, b = torch.tensor([[0.0], [3.0], [1.0], [2.0]]), torch.tensor([[5.0], [0.0]])
    assert sliced_wasserstein(a, b, p=2) == pytest.approx(math.sqrt((0 + 1 + 9 + 4) / 4))
    # 1/3 of the weight from 0 to 0, 1/6 from 3 to 0, 1/6 from 3 to 5, 1/3 from 6 to 5.
    a = torch.tensor([[0.0], [3.0], [6.0]])
    assert sliced_wasserstein(a, b, p=2) == pytest.approx(math.sqrt((0 + 9 / 2 + 4 / 2 + 1) / 3))


def test_sliced_wasserstein_depends_on_its_directions():
    a, b = rand(50, 2), rand(50, 2) + torch.tensor([1.0, 0.0])
    first, again, other = (sliced_wasserstein(a, b, directions=3, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_frechet_distance_is_blind_in_the_plane_and_distances_of_points_are_not():
    roll, other = data.swiss_roll(1000).double(), data.swiss_roll(1000, seed=1)
    noise = rand(1000, 2)
    own, wanted = (torch.linalg.cholesky(x.T.cov()) for x in (noise, roll))
    gaussian = (noise - noise.mean(0)) @ (wanted @ own.inverse()).T + roll.mean(0)  # the roll's mean and covariance
    assert frechet_distance(roll, gaussian) < 1e-9 and kernel_distance(roll, gaussian) < 0
    assert energy_distance(roll, gaussian) > 4 * energy_distance(roll, other)
    assert sliced_wasserstein(roll, gaussian) > 2 * sliced_wasserstein(roll, other)


# Precision and recall


def among(points, centres, k):
    """The definition, with loops."""
    inside = 0
    for x in points:
        found = False
        for i, c in enumerate(centres):
            others = sorted(math.dist(c, o) for j, o in enumerate(centres) if j != i)
            found = found or math.dist(x, c) <= others[k - 1]
        inside += found
    return inside / len(points)


@pytest.mark.parametrize("n, m, d, k", [(12, 9, 2, 1), (30, 20, 3, 3), (25, 40, 8, 5), (4, 4, 2, 3)])
def test_precision_and_recall_are_their_definitions(n, m, d, k):
    real, fake = rand(n, d), rand(m, d) * 0.7 + 0.5
    expected = (among(fake.tolist(), real.tolist(), k), among(real.tolist(), fake.tolist(), k))
    assert precision_recall(real, fake, k) == pytest.approx(expected)
    assert 0 < min(expected) and (n < 5 or min(expected) < 1)  # a case that says something


def test_precision_and_recall_of_known_cases():
    real = rand(40, 3)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)
    assert precision_recall(real[:20], torch.cat([real[:10], real[:10] + 100]))[0] == 0.5
    collapsed = real[:1] + 1e-3 * rand(40, 3)  # one good picture again and again: right, but nothing is covered
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1 and recall <= 1 / 40


def test_the_border_of_a_ball_belongs_to_it():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # radii for k = 1: 1 each
    assert precision_recall(real, torch.tensor([[-1.0], [4.0], [4.5], [-1.5]]), k=1)[0] == 0.5


def test_copies_count_as_neighbours():
    real = torch.tensor([[0.0], [0.0], [5.0], [9.0]])  # radii for k = 1: 0, 0, 4, 4
    assert precision_recall(real, torch.tensor([[0.0], [0.1], [1.0], [20.0]]), k=1)[0] == 0.5


# Nearest neighbours


def test_nearest_share_by_hand():
    held_out, train = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [11.0]])
    samples = torch.tensor([[1.2], [0.1], [12.0], [0.5]])  # train, held-out, train, and a tie
    assert nearest_share(samples, train, held_out) == pytest.approx((1 + 0 + 1 + 0.5) / 4)


def test_nearest_share_is_its_definition_on_pictures():
    samples, train, held_out = rand(20, 1, 3, 3), rand(15, 1, 3, 3), rand(15, 1, 3, 3)
    closer = 0
    for x in samples:
        to_train, to_held_out = (min((x - y).square().sum().item() for y in s) for s in (train, held_out))
        closer += to_train < to_held_out
    assert nearest_share(samples, train, held_out) == closer / 20


def test_nearest_share_is_fair_to_fresh_samples_and_rises_with_copying():
    source = rand(1600, 2)
    train, held_out, fresh = source[:500], source[500:600], source[600:]
    assert nearest_share(fresh, train, held_out) == pytest.approx(0.5, abs=0.1)
    assert nearest_share(held_out, train, held_out) == 0
    assert nearest_share(train[:100], train[:100], held_out) == 1
    shares = [nearest_share(train, train, held_out, seed) for seed in range(20)]
    assert sum(shares) / 20 == pytest.approx((1 + 100 / 500) / 2, abs=0.03)  # n / N of the originals are drawn


def test_nearest_share_draws_by_its_seed():
    samples, train, held_out = rand(200, 2), rand(300, 2), rand(30, 2)
    shares = [nearest_share(samples, train, held_out, seed) for seed in (0, 0, 1, 2)]
    assert shares[0] == shares[1] and len(set(shares)) > 1


def test_a_copy_ties_with_its_copy_and_beats_any_other():
    pictures = rand(50, 256) + 1000
    assert nearest_share(pictures, pictures[torch.randperm(50)], pictures) == 0.5
    assert nearest_share(pictures, pictures + 1e-6, pictures) == 0


# All of them

SETS = {
    "frechet": frechet_distance,
    "kernel": kernel_distance,
    "energy": energy_distance,
    "sliced": sliced_wasserstein,
    "precision": lambda a, b: precision_recall(a, b)[0],
    "recall": lambda a, b: precision_recall(a, b)[1],
    "nearest": lambda a, b: nearest_share(a, b, b.flip(0)[:10] * 0.9),
}


@pytest.mark.parametrize("name", SETS)
def test_the_order_of_pictures_does_not_matter(name):
    a, b = rand(30, 5), rand(30, 5) + 0.4
    if name == "nearest":  # draws from b by position; take all of it
        value = lambda x, y: nearest_share(x, y, b * 0.9)  # noqa: E731
    else:
        value = SETS[name]
    assert value(a[torch.randperm(30)], b[torch.randperm(30)]) == pytest.approx(value(a, b), rel=1e-9)


@pytest.mark.parametrize("name", ["frechet", "energy", "precision", "recall"])
def test_shifting_and_turning_both_sets_does_not_matter(name):
    a, b, turn, shift = rand(30, 5), rand(30, 5) + 0.4, rotation(5), rand(5)
    moved = SETS[name]((a + shift) @ turn, (b + shift) @ turn)
    assert moved == pytest.approx(SETS[name](a, b), rel=1e-9)


@pytest.mark.parametrize("name", ["frechet", "kernel", "energy", "sliced"])
def test_distances_are_symmetric(name):
    a, b = rand(30, 5), rand(20, 5) + 0.4
    assert SETS[name](a, b) == pytest.approx(SETS[name](b, a), rel=1e-9)


@st.composite
def any_two_sets(pick):
    """Features of one width, of any scale, some of them copies or constant."""
    n, m, d = pick(st.integers(5, 14)), pick(st.integers(5, 14)), pick(st.integers(1, 8))
    draw = torch.Generator().manual_seed(pick(st.integers(0, 2**32)))
    a, b = (torch.randn(rows, d, generator=draw, dtype=torch.float64) for rows in (n, m))
    if pick(st.booleans()):
        a[1:3] = a[0]
    if pick(st.booleans()):
        a[:, 0] = b[:, 0] = 1.0
    b = b * pick(st.sampled_from([0.0, 0.1, 1.0, 10.0])) + pick(st.floats(-3, 3))
    scale = 10.0 ** pick(st.integers(-4, 4))
    return scale * a, scale * b, scale, draw


@given(any_two_sets())
def test_what_holds_of_any_two_sets(drawn):
    a, b, scale, draw = drawn
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there >= 0 and there == pytest.approx(back, rel=1e-8, abs=1e-10 * scale**2)
    assert all(0 <= frechet_distance(x, x) <= 1e-10 * scale**2 for x in (a, b))
    assert there / scale**2 == pytest.approx(frechet_distance(a / scale, b / scale), rel=1e-6, abs=1e-9)
    shuffled = a[torch.randperm(len(a), generator=draw)]
    assert frechet_distance(shuffled, b) == pytest.approx(there, rel=1e-8, abs=1e-10 * scale**2)
    for distance in (energy_distance, sliced_wasserstein):
        assert distance(a, b) == pytest.approx(scale * distance(a / scale, b / scale), rel=1e-6, abs=1e-9 * scale)
        assert 0 <= distance(a, shuffled) <= 1e-6 * scale
    precision, recall = precision_recall(a, b)
    assert 0 <= precision <= 1 and 0 <= recall <= 1 and precision_recall(b, a) == (recall, precision)
    assert precision_recall(shuffled, b) == (precision, recall) and precision_recall(a, a) == (1, 1)
    assert 0 <= nearest_share(a, b, b[:3]) <= 1 and nearest_share(a, b, b) == 0.5
    assert kernel_distance(a, b) == pytest.approx(kernel_distance(b, a), rel=1e-6, abs=1e-9 * max(1, scale) ** 6)


@pytest.mark.parametrize("name", SETS)
def test_chunking_of_the_pairs_does_not_matter(name, monkeypatch):
    a, b = rand(30, 5), rand(20, 5) + 0.4
    whole, chunks = SETS[name](a, b), metrics._chunks
    sizes = []

    def tiny(x, y):
        parts = chunks(x, y, cells=70)
        sizes.extend(len(part) * len(y) for part in parts)
        return parts

    monkeypatch.setattr(metrics, "_chunks", tiny)
    assert SETS[name](a, b) == pytest.approx(whole, rel=1e-12)
    assert all(size <= 70 for size in sizes) and (sizes or name in ("frechet", "sliced"))


def test_features_of_any_float_type_and_with_gradients_are_welcome():
    a, b = torch.randn(20, 4, requires_grad=True), torch.randn(20, 4).half()
    assert isinstance(frechet_distance(a, b), float) and isinstance(kernel_distance(a, b), float)
    assert frechet_distance(a, b) == frechet_distance(a.detach().double(), b.double())


# Bad input

F, G = torch.rand(10, 4), torch.rand(10, 5)
NAN, INF = F.clone(), F.clone()
NAN[3, 2], INF[3, 2] = math.nan, math.inf
P = torch.rand(10, 1, 2, 2)


BAD = [
    *itertools.chain.from_iterable(
        [
            (lambda f=f: f(F[:1], F), ValueError, "a: got .* at least 2 rows"),
            (lambda f=f: f(F, F[:1]), ValueError, "b: got .* at least 2 rows"),
            (lambda f=f: f(F, G), ValueError, r"b: got .* \(10, 5\), expected shape \(N, 4\)"),
            (lambda f=f: f(NAN, F), ValueError, "a: got NaN"),
            (lambda f=f: f(F, INF), ValueError, "b: got NaN or infinity"),
            (lambda f=f: f(P, F), ValueError, r"a: got .* expected shape \(N, D\)"),
            (lambda f=f: f(torch.ones(4, 3, dtype=torch.int64), F), TypeError, "a: got int64"),
            (lambda f=f: f(F.numpy(), F), TypeError, "a: got float32 array"),
            (lambda f=f: f(F[:, :0], F[:, :0]), ValueError, "a: got"),
        ]
        for f in (frechet_distance, kernel_distance)
    ),
    *itertools.chain.from_iterable(
        [
            (lambda f=f: f(F[:0], F), ValueError, "a: got .* not empty"),
            (lambda f=f: f(F, G), ValueError, r"b: got .* \(10, 5\), expected shape \(N, 4\)"),
            (lambda f=f: f(F, F[0]), ValueError, r"b: got .* \(4,\), expected shape \(N, 4\)"),
            (lambda f=f: f(NAN, F), ValueError, "a: got NaN"),
        ]
        for f in (energy_distance, sliced_wasserstein)
    ),
    (lambda: sliced_wasserstein(F, F, directions=0), ValueError, "directions: got 0"),
    (lambda: sliced_wasserstein(F, F, p=3), ValueError, "p: got 3 .*expected one of 1, 2"),
    (lambda: sliced_wasserstein(F, F, seed=-1), ValueError, "seed: got -1"),
    (lambda: precision_recall(F, F[:3]), ValueError, "fake: got .* at least 4 rows"),
    (lambda: precision_recall(F[:3], F), ValueError, "real: got .* at least 4 rows"),
    (lambda: precision_recall(F, G), ValueError, "fake: got"),
    (lambda: precision_recall(F, NAN), ValueError, "fake: got NaN"),
    (lambda: precision_recall(F, F, k=0), ValueError, "k: got 0"),
    (lambda: precision_recall(F, F, k=1.5), TypeError, "k: got 1.5"),
    (lambda: nearest_share(P, P[:4], P), ValueError, "train: got .* at least 10 rows"),
    (lambda: nearest_share(P.flatten(2), P, P), ValueError, "samples: got"),
    (lambda: nearest_share(P, P, P[:0]), ValueError, "held_out: got .* not empty"),
    (lambda: nearest_share(P * math.nan, P, P), ValueError, "samples: got NaN"),
    (lambda: nearest_share(P, P, P, seed=-1), ValueError, "seed: got -1"),
    (lambda: nearest_share(P, P, P, seed=2**70), ValueError, "seed: got"),
    (lambda: nearest_share(P, P, [1.0]), TypeError, "held_out: got"),
]


@pytest.mark.parametrize("call, error, words", BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_bits_per_dim_of_uniform_levels_is_their_logarithm():
    uniform = torch.full((5,), -64 * math.log(17.0))
    assert metrics.bits_per_dim(uniform, 64) == pytest.approx(math.log2(17))
    with pytest.raises(ValueError, match="log_prob: got NaN"):
        metrics.bits_per_dim(torch.tensor([float("nan")]), 64)
    with pytest.raises(ValueError, match="dims: got 0"):
        metrics.bits_per_dim(uniform, 0)


@given(st.lists(st.floats(1e-3, 1 - 1e-3), min_size=2, max_size=9), st.integers(1, 50))
def test_bits_per_dim_is_the_length_of_a_code(weights, dims):
    """Of `dims` pixels drawn alike, entropy is the fewest bits; any other code is longer, by the divergence."""
    p = torch.tensor(weights, dtype=torch.float64)
    p, q = p / p.sum(), p.flip(0) / p.sum()
    rows = torch.repeat_interleave(torch.arange(len(p)), (p * 100_000).round().long())  # each level as often as p says
    own, other = (metrics.bits_per_dim(dims * code[rows].log(), dims) for code in (p, q))
    entropy, divergence = -(p * p.log2()).sum().item(), (p * (p / q).log2()).sum().item()
    assert own == pytest.approx(entropy, abs=2e-3) and 0 <= own <= math.log2(len(p)) + 1e-9
    assert other - own == pytest.approx(divergence, abs=5e-3)
