"""Digits and batches."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from minidiff import data

# ---------------------------------------------------------------------------------------------------------- digits


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("split, n", [("train", 1500), ("test", 297)])
def test_digits_shapes_and_range(split, n, size):
    x, y = data.digits(split, size)
    assert (x.shape, x.dtype) == ((n, 1, size, size), torch.float32)
    assert (y.shape, y.dtype) == ((n,), torch.int64)
    assert x.min() == -1 and x.max() == 1 and x.is_contiguous()
    share = load_digits().target
    for label in range(10):  # stratified: within one picture of an equal share
        assert abs((y == label).sum().item() - (share == label).sum() * n / 1797) <= 1


def test_digits_of_size_8_are_the_17_levels_exactly():
    x = torch.cat([data.digits(split, 8)[0] for split in ("train", "test")])
    assert torch.equal(x.unique(), torch.arange(17) / 8 - 1)
    ours = ((x + 1) * 8).view(-1, 64).to(torch.int64)
    theirs = torch.from_numpy(load_digits().data).to(torch.int64)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())  # the splits share no picture and miss none


def test_digits_of_size_16_are_the_bilinear_upsampling():
    small, big = data.digits("test", 8)[0], data.digits("test")[0]
    expected = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", align_corners=False)
    assert torch.equal(big, expected)
    assert torch.equal(data.digits("test", 8)[1], data.digits("test", 16)[1])


def test_the_split_never_changes():
    """A checkpoint trained on another split would have seen the test pictures."""
    x, y = data.digits("test", 8)
    told = hashlib.sha256(((x + 1) * 8).byte().numpy().tobytes() + y.byte().numpy().tobytes()).hexdigest()
    assert told == "0e428771f58918b081aaaa5ccfa7f679a695f87fecc83e57220b971ca72ea292"


def test_digits_are_the_callers_own():
    x, y = data.digits("test")
    x.zero_(), y.zero_()
    again, labels = data.digits("test")
    assert again.min() == -1 and labels.max() == 9


def test_a_size_may_be_numpys():
    assert data.digits(size=np.int64(8))[0].shape == (1500, 1, 8, 8)
    assert data.batches(torch.arange(6), size=np.int64(3))[np.int64(1)][0].shape == (3,)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"split": "valid"}, "split: got 'valid' .*expected one of 'train', 'test'"),
        ({"split": None}, "split: got None"),
        ({"size": 28}, "size: got 28 .*expected one of 8, 16"),
        ({"size": -8}, "size: got -8"),
        ({"size": "8"}, "size: got '8'"),
        ({"size": 8.0}, "size: got 8.0"),
        ({"size": torch.tensor([8, 16])}, "size: got int64 tensor"),
    ],
)
def test_digits_refuse_bad_input(arguments, match):
    with pytest.raises(ValueError, match=match):
        data.digits(**arguments)


# --------------------------------------------------------------------------------------------------------- batches


def test_batches_are_epochs_laid_end_to_end():
    n, size = 10, 4
    cut = data.batches(torch.arange(n), size=size, seed=3)
    rows = torch.cat([cut[k][0] for k in range(15)])  # 60 rows: 6 epochs
    epochs = rows.view(6, n)
    assert torch.equal(epochs.sort(1).values, torch.arange(n).expand(6, n))
    assert len({tuple(e.tolist()) for e in epochs}) == 6
    assert all(len(cut[k][0]) == size for k in range(15))


def test_a_batch_depends_on_its_number_alone():
    x = torch.randn(37, 3, generator=torch.Generator().manual_seed(0))
    straight = [b[0] for b in itertools.islice(data.batches(x, size=8, seed=1), 40)]
    cut = data.batches(x, size=8, seed=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5)).tolist()
    for k in [*order, 7, 7, 39, 0]:
        assert torch.equal(cut[k][0], straight[k])
    assert cut[10**12][0].shape == (8, 3)


def test_seeds_and_epochs_do_not_meet():
    x = torch.arange(50)
    orders = [data.batches(x, size=50, seed=seed)[epoch][0] for seed in range(4) for epoch in range(4)]
    assert len({tuple(o.tolist()) for o in orders}) == 16


def test_rows_of_all_tensors_stay_together():
    x, y = torch.randn(20, 1, 4, 4), torch.arange(20)
    for images, labels, plain in itertools.islice(data.batches(x, y, -y, size=7), 10):
        assert torch.equal(images, x[labels]) and torch.equal(plain, -labels)


def test_a_batch_may_be_longer_than_the_data():
    (rows,) = data.batches(torch.arange(3), size=8)[1]
    singly = data.batches(torch.arange(3), size=1)
    assert torch.equal(rows, torch.cat([singly[k][0] for k in range(8, 16)]))


def test_batches_are_copies_and_leave_the_generators_alone():
    x, state = torch.zeros(6, 2), torch.get_rng_state()
    cut = data.batches(x, size=2)
    cut[0][0].fill_(9)
    assert x.eq(0).all() and cut[0][0].eq(0).all()
    assert torch.equal(state, torch.get_rng_state())


def test_batches_have_no_length():
    with pytest.raises(TypeError):
        len(data.batches(torch.zeros(3), size=2))


@pytest.mark.parametrize(
    "k, error, match",
    [
        (-1, ValueError, "k: got -1, expected at least 0"),
        (1.0, TypeError, "k: got 1.0"),
        (slice(3), TypeError, "k: got slice"),
        (None, TypeError, "k: got None"),
    ],
)
def test_batches_refuse_bad_numbers(k, error, match):
    with pytest.raises(error, match=match):
        data.batches(torch.zeros(3), size=2)[k]


@pytest.mark.parametrize(
    "tensors, arguments, error, match",
    [
        (([1, 2],), {"size": 1}, TypeError, "x: got a list, expected a tensor"),
        ((torch.zeros(3), [1, 2, 3]), {"size": 1}, TypeError, r"others\[0\]: got a list"),
        ((torch.zeros(3), torch.zeros(4)), {"size": 1}, ValueError, r"others\[0\]: got shape \(4,\), expected 3 rows"),
        ((torch.zeros(0, 2),), {"size": 1}, ValueError, r"x: got shape \(0, 2\), expected at least one row"),
        ((torch.tensor(1.0),), {"size": 1}, ValueError, r"x: got shape \(\)"),
        ((torch.zeros(3),), {"size": 0}, ValueError, "size: got 0"),
        ((torch.zeros(3),), {"size": -2}, ValueError, "size: got -2"),
        ((torch.zeros(3),), {"size": 2.0}, TypeError, "size: got 2.0"),
        ((torch.zeros(3),), {"size": 2, "seed": -1}, ValueError, "seed: got -1"),
        ((torch.zeros(3),), {"size": 2, "seed": None}, TypeError, "seed: got None"),
    ],
)
def test_batches_refuse_bad_input(tensors, arguments, error, match):
    with pytest.raises(error, match=match):
        data.batches(*tensors, **arguments)
