"""Samples judged: the figures of a set of pictures against their definitions, the floors, and a whole table."""

import math

import pytest
import torch
from torch import nn

from minidiff import data, metrics
from minidiff.evaluate import compare, floors, quality
from minidiff.metrics import frechet_distance, precision_recall


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(1)
    draw = lambda n: torch.randn(n, 1, 4, 4, generator=generator) * 0.3  # noqa: E731
    return draw(130), draw(100), draw(20)  # samples, train, held-out


def halves(x):
    return x.flatten(1)[:, :6] * 2


def test_quality_is_the_mean_over_chunks_of_each_figure(pictures):
    samples, train, held_out = pictures
    result = quality(samples, train, held_out, halves)
    assert result.chunks == 6  # 130 samples, 20 held out, and 10 left over
    chunks = samples[:120].split(20)
    to_held_out = torch.tensor([frechet_distance(halves(c), halves(held_out)) for c in chunks])
    both = torch.tensor([precision_recall(halves(held_out), halves(c)) for c in chunks])
    assert result.fd_held_out == pytest.approx(to_held_out.mean().item())
    assert (result.precision, result.recall) == pytest.approx(tuple(both.mean(0).tolist()))
    assert result.spread["fd_held_out"] == pytest.approx(to_held_out.std().item(), rel=1e-5)
    assert result.spread["recall"] == pytest.approx(both[:, 1].std().item(), rel=1e-5)
    assert set(result.spread) == {"fd_train", "fd_held_out", "precision", "recall", "nearest"}
    assert 0 < result.nearest < 1


def test_quality_compares_with_n_training_pictures_not_with_all(pictures):
    samples, train, held_out = pictures
    seen = []
    original = metrics.frechet_distance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "frechet_distance", lambda a, b: seen.append((len(a), b.tolist())) or original(a, b))
        quality(samples, train, held_out, halves)
    assert {(n, len(b)) for n, b in seen} == {(20, 20)}
    known = {tuple(row) for row in halves(train).tolist()}
    drawn = [set(map(tuple, b)) for _, b in seen[::2]]
    assert all(len(rows) == 20 and rows <= known for rows in drawn)
    assert len(set.union(*drawn)) > 40  # anew for each chunk


def test_quality_where_train_and_held_out_are_known(pictures):
    samples, train, held_out = pictures
    copies = quality(held_out.repeat(2, 1, 1, 1), train, held_out, halves)
    assert (copies.fd_held_out, copies.precision, copies.recall, copies.nearest) == pytest.approx(
        (0, 1, 1, 0), abs=1e-9
    )
    copies = quality(train[:20], train[:20], held_out, halves)
    assert copies.fd_train < 1e-9 < copies.fd_held_out and copies.nearest == 1
    assert copies.spread is None and copies.chunks == 1
    blind = quality(train[:20], train[:20], held_out, lambda x: torch.zeros(len(x), 2))
    assert blind.nearest == 1  # neighbours are sought among the pictures


def test_quality_repeats_and_depends_on_its_seed(pictures):
    first, again, other = (quality(*pictures, halves, seed=s) for s in (3, 3, 4))
    assert first == again and first.fd_train != other.fd_train and first.fd_held_out == other.fd_held_out


def test_quality_asks_for_features_a_few_pictures_at_a_time_and_without_gradients(pictures):
    samples, train, held_out = pictures
    net, asked = nn.Linear(16, 3), []

    def features(x):
        asked.append(len(x))
        assert not torch.is_grad_enabled()
        return net(x.flatten(1))

    assert quality(samples.repeat(6, 1, 1, 1), train, held_out, features).fd_train > 0
    assert sum(asked) == 780 + 100 + 20 and max(asked) <= 256


def test_a_row_is_short_and_rounded(pictures):
    result = quality(*pictures, halves)
    row = result.row()
    assert list(row) == ["FD train", "FD held-out", "precision", "recall", "nearest is train"]
    assert row["FD train"] == round(result.fd_train, 1) and row["nearest is train"] == round(result.nearest, 2)


def test_floors_know_fresh_pictures_from_copies(pictures):
    _, train, held_out = pictures
    result = floors(train, held_out, halves)
    assert list(result) == ["fresh real pictures", "a memoriser"]
    fresh, copies = result.values()
    assert fresh.chunks == copies.chunks == 5
    assert fresh.fd_train == pytest.approx(fresh.fd_held_out) and fresh.nearest == 0.5
    parts = [frechet_distance(halves(train)[i], halves(held_out)) for i in torch.arange(100).split(20)]
    assert fresh.fd_held_out == pytest.approx(sum(parts) / 5, rel=0.3)  # another cut of the same pictures
    assert floors(train, held_out, halves) == result != floors(train, held_out, halves, seed=1)


def test_floors_on_digits():
    """On real digits (as pixels): a memoriser gains nothing but a nearest share near (1 + n / N) / 2."""
    (train, _), (held_out, _) = data.digits("train", size=8), data.digits("test", size=8)
    fresh, copies = floors(train, held_out, lambda x: x.flatten(1)).values()
    assert copies.nearest == pytest.approx(0.6, abs=0.06)
    assert copies.fd_held_out == pytest.approx(fresh.fd_held_out, rel=0.25)
    assert copies.precision == pytest.approx(fresh.precision, abs=0.1)


def test_a_table_has_the_quality_of_each_set_and_then_the_floors(pictures):
    samples, train, held_out = pictures
    sets = {"many": samples, "few": samples[:20]}
    table = compare(sets, train, held_out, halves, seed=3)
    assert list(table) == ["many", "few", "fresh real pictures", "a memoriser"]
    assert table["many"] == quality(samples, train, held_out, halves, seed=3) != table["few"]
    assert {name: table[name] for name in list(table)[2:]} == floors(train, held_out, halves, seed=3)


# Bad input

P = torch.rand(10, 1, 2, 2)


def flat(x):
    return x.flatten(1)


BAD = [
    (lambda: quality(P[:9], P, P, flat), ValueError, "samples: got .* at least 10 rows"),
    (lambda: quality(P, P[:9], P, flat), ValueError, "train: got .* at least 10 rows"),
    (lambda: quality(P, P, P[:3], flat), ValueError, "held_out: got .* at least 4 rows"),
    (lambda: quality(P, P, torch.rand(10, 1, 3, 3), flat), ValueError, "train: got"),
    (lambda: quality(P, P, P, lambda x: x), ValueError, r"features\(images\): got .* expected shape \(10, D\)"),
    (lambda: quality(P, P, P, lambda x: flat(x)[:2]), ValueError, r"features\(images\): got"),
    (lambda: quality(P, P, P, lambda x: flat(x).log() * 0 + math.nan), ValueError, r"features\(images\): got NaN"),
    (lambda: quality(P, P, P, flat, seed="0"), TypeError, "seed: got '0'"),
    (lambda: floors(P[:5], P, flat), ValueError, "train: got .* at least 10 rows"),
    (lambda: floors(P, P[:3], flat), ValueError, "held_out: got .* at least 4 rows"),
    (lambda: compare(P, P, P, flat), TypeError, "pictures: got Tensor, expected a dict"),
    (lambda: compare({"mine": P, "a": P[:9]}, P, P, flat), ValueError, r"pictures\['a'\]: got .* at least 10 rows"),
    (lambda: compare({"a memoriser": P}, P, P, flat), ValueError, "pictures: got a set named 'a memoriser'"),
]


@pytest.mark.parametrize("call, error, words", BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
