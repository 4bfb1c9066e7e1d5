"""The guards and the profile: what they let through, and errors that name the argument, what came, what was wanted."""

import random

import numpy as np
import pytest
import torch

import minidiff
from minidiff.support import expect

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor([3]), np.array(3)])
def test_integer_gives_a_plain_int(value):
    got = expect.integer("n", value, 0, 3)
    assert got == 3 and type(got) is int


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5]), np.array([0.5])])
def test_number_gives_a_plain_float(value):
    got = expect.number("lr", value, 0, 1)
    assert got == 0.5 and type(got) is float
    assert type(expect.number("lr", 1)) is float


def test_the_ends_of_a_range_belong_to_it():
    assert [expect.integer("n", n, -1, 1) for n in (-1, 0, 1)] == [-1, 0, 1]
    assert [expect.number("lr", x, 0, 1) for x in (0, 1.0)] == [0, 1]


@pytest.mark.parametrize(
    "value, options", [("test", ("train", "test")), (8, [8, 16]), (None, {None, 1}), (False, [False])]
)
def test_choice_gives_the_option(value, options):
    assert expect.choice("which", value, options) is value


def test_choice_knows_numpy_scalars():
    assert type(expect.choice("size", np.int64(8), (8, 16))) is int
    assert type(expect.choice("split", np.str_("test"), ("train", "test"))) is str


@pytest.mark.parametrize(
    "shape, words",
    [
        ((2, 1, 16, 16), "B 1 16 16"),
        ((2, 1, 16, 16), "B C H W"),
        ((2, 1, 16, 16), "B ..."),
        ((2,), "B ..."),
        ((2, 7), "B 7"),
        ((), ""),
        ((), "..."),
    ],
)
def test_tensor_passes_what_fits(shape, words):
    x = torch.rand(shape)
    assert expect.tensor("x", x, words, finite=True, low=0, high=1) is x


def test_tensor_passes_every_float_type_and_gradients():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        expect.tensor("x", torch.zeros(1, dtype=dtype), "B")
    x = torch.zeros(2, requires_grad=True)
    assert expect.tensor("x", x, "B", finite=True, low=-1, high=1) is x


def test_tensor_looks_at_values_only_when_asked():
    x = torch.tensor([NAN, INF, 5.0])
    assert expect.tensor("x", x, "B") is x
    meta = torch.empty(2, 3, device="meta")  # has no values at all
    assert expect.tensor("x", meta, "B 3") is meta


def test_an_empty_tensor_passes_with_rows_zero():
    for x in (torch.zeros(0, 4), torch.zeros(3, 0)):
        assert expect.tensor("x", x, "B D", finite=True, low=0, high=1, rows=0) is x


def test_labels_pass():
    y = torch.tensor([0, 9, 3])
    assert expect.labels("y", y, 10) is y and expect.labels("y", y, 10, count=3) is y


I64 = torch.int64
BAD = [
    # integer
    (lambda: expect.integer("n", 2.0, 1), TypeError, r"n: got 2.0 \(float\), expected a whole number at least 1"),
    (lambda: expect.integer("n", True), TypeError, "n: got True"),
    (lambda: expect.integer("n", np.bool_(True)), TypeError, "n: got np.True_"),
    (lambda: expect.integer("n", torch.tensor(True)), TypeError, "n: got bool tensor"),
    (lambda: expect.integer("n", torch.tensor(2.0)), TypeError, r"n: got float32 tensor of shape \(\)"),
    (lambda: expect.integer("n", torch.tensor([1, 2])), TypeError, r"n: got int64 tensor of shape \(2,\)"),
    (lambda: expect.integer("n", np.arange(3)), TypeError, r"n: got int64 array of shape \(3,\)"),
    (lambda: expect.integer("n", "3"), TypeError, "n: got '3'"),
    (lambda: expect.integer("n", None), TypeError, "n: got None"),
    (lambda: expect.integer("n", int), TypeError, "n: got <class 'int'>"),
    (lambda: expect.integer("n", -1, 0), ValueError, "n: got -1, expected at least 0"),
    (lambda: expect.integer("n", 9, high=8), ValueError, "n: got 9, expected at most 8"),
    (lambda: expect.integer("n", 9, 1, 8), ValueError, "n: got 9, expected between 1 and 8"),
    # number
    (lambda: expect.number("lr", "1e-3", 0), TypeError, r"lr: got '1e-3' \(str\), expected a number at least 0"),
    (lambda: expect.number("lr", np.str_("3")), TypeError, "lr: got"),
    (lambda: expect.number("lr", True), TypeError, "lr: got True"),
    (lambda: expect.number("lr", torch.tensor(True)), TypeError, "lr: got bool tensor"),
    (lambda: expect.number("lr", 1 + 2j), TypeError, "lr: got"),
    (lambda: expect.number("lr", np.complex64(1)), TypeError, "lr: got"),
    (lambda: expect.number("lr", torch.tensor(1 + 2j)), TypeError, "lr: got complex64 tensor"),
    (lambda: expect.number("lr", np.zeros(2)), TypeError, r"lr: got float64 array of shape \(2,\)"),
    (lambda: expect.number("lr", torch.zeros(0)), TypeError, "lr: got float32 tensor"),
    (lambda: expect.number("lr", float), TypeError, "lr: got <class 'float'>"),
    (lambda: expect.number("lr", NAN, 0, 1), ValueError, "lr: got nan .* expected a finite number between 0 and 1"),
    (lambda: expect.number("lr", -INF), ValueError, "lr: got -inf"),
    (lambda: expect.number("lr", 10**400), ValueError, r"lr: got 1000.*\.\.\. \(int\), expected a finite number"),
    (lambda: expect.number("lr", -0.1, 0), ValueError, "lr: got -0.1, expected at least 0"),
    (lambda: expect.number("lr", torch.tensor(2.0), 0, 1), ValueError, "lr: got 2.0, expected between 0 and 1"),
    # choice
    (
        lambda: expect.choice("split", "val", ("train", "test")),
        ValueError,
        "split: got 'val' .* one of 'train', 'test'",
    ),
    (lambda: expect.choice("size", 8.0, (8, 16)), ValueError, r"size: got 8.0 \(float\), expected one of 8, 16"),
    (lambda: expect.choice("size", True, (1, 2)), ValueError, "size: got True"),
    (lambda: expect.choice("size", [8], (8, 16)), ValueError, r"size: got \[8\]"),
    (lambda: expect.choice("size", torch.zeros(2), (8, 16)), ValueError, "size: got float32 tensor"),
    # tensor
    (
        lambda: expect.tensor("x", [1.0], "B"),
        TypeError,
        r"x: got \[1.0\] \(list\), expected a float tensor of shape \(B,\); torch.as_tensor",
    ),
    (lambda: expect.tensor("x", np.zeros((3, 2)), "B 2"), TypeError, r"x: got float64 array of shape \(3, 2\)"),
    (lambda: expect.tensor("x", torch.zeros(2, dtype=I64), "B"), TypeError, r"x: got int64 tensor of shape \(2,\)"),
    (lambda: expect.tensor("x", torch.zeros(2).bool(), "B"), TypeError, "x: got bool tensor"),
    (lambda: expect.tensor("x", torch.zeros(2, 3), "B 4"), ValueError, r"x: got .* \(2, 3\), expected shape \(B, 4\)$"),
    (lambda: expect.tensor("x", torch.zeros(2, 3), "B"), ValueError, "x: got"),
    (lambda: expect.tensor("x", torch.zeros(2), "B D ..."), ValueError, r"expected shape \(B, D, \.\.\.\)"),
    (lambda: expect.tensor("x", torch.tensor(1.0), "B"), ValueError, r"x: got float32 tensor of shape \(\)"),
    (lambda: expect.tensor("x", torch.zeros(1), ""), ValueError, r"x: got .* expected shape \(\)"),
    (lambda: expect.tensor("x", torch.zeros(0, 2), "B 2"), ValueError, r"x: got .* \(0, 2\), .* not empty"),
    (lambda: expect.tensor("x", torch.zeros(3, 0), "B D", low=0), ValueError, r"x: got .* \(3, 0\), .* not empty"),
    (lambda: expect.tensor("x", torch.zeros(3, 2), "B D", rows=4), ValueError, "with at least 4 rows"),
    (lambda: expect.tensor("x", torch.tensor([NAN]), "B", finite=True), ValueError, "x: got NaN or infinity"),
    (lambda: expect.tensor("x", torch.tensor([INF]), "B", finite=True), ValueError, "x: got NaN or infinity"),
    (lambda: expect.tensor("x", torch.tensor([NAN]), "B", low=0), ValueError, "x: got NaN or infinity"),
    (
        lambda: expect.tensor("x", torch.tensor([0.0, 2]), "B", low=-1, high=1),
        ValueError,
        "0 to 2, expected between -1",
    ),
    (lambda: expect.tensor("x", torch.tensor([-2.0]), "B", low=-1), ValueError, "x: got values from -2 to -2"),
    # labels
    (lambda: expect.labels("y", torch.zeros(3), 10), TypeError, "y: got float32 tensor"),
    (lambda: expect.labels("y", torch.zeros(3).bool(), 10), TypeError, "y: got bool tensor"),
    (lambda: expect.labels("y", np.zeros(3), 10), TypeError, "y: got float64 array"),
    (lambda: expect.labels("y", [[0], [1, 2]], 10), TypeError, "y: got"),
    (lambda: expect.labels("y", [], 10), TypeError, "y: got"),
    (lambda: expect.labels("y", np.array([1, 10]), 10), ValueError, "0 to 9: they count from 0"),
    (lambda: expect.integers("k", [[3]], "B L", high=2), ValueError, "k: got numbers from 3 to 3, expected at most 2"),
    (lambda: expect.labels("y", 3, 10), TypeError, "y: got 3"),
    (lambda: expect.labels("y", torch.tensor(3), 10), ValueError, r"y: got int64 tensor of shape \(\)"),
    (lambda: expect.labels("y", torch.zeros(3, 1, dtype=I64), 10), ValueError, r"y: got .* expected shape \(B,\)"),
    (lambda: expect.labels("y", torch.zeros(3, dtype=I64), 10, count=2), ValueError, r"expected shape \(2,\)"),
    (lambda: expect.labels("y", torch.zeros(0, dtype=I64), 10), ValueError, "y: got .* not empty"),
    (lambda: expect.labels("y", torch.tensor([0, 10]), 10), ValueError, "y: got labels 0 to 10, expected 0 to 9"),
    (lambda: expect.labels("y", torch.tensor([-1, 1]), 10), ValueError, "y: got labels -1 to 1"),
    # the seed
    (lambda: minidiff.seed_everything(-1), ValueError, "seed: got -1"),
    (lambda: minidiff.seed_everything(2**32), ValueError, "seed: got 4294967296"),
    (lambda: minidiff.seed_everything(1.5), TypeError, "seed: got 1.5"),
    (lambda: minidiff.seeded(-1), ValueError, "seed: got -1"),
    (lambda: minidiff.seeded(2**64), ValueError, "seed: got 18446744073709551616"),
    (lambda: minidiff.seeded("a"), TypeError, "seed: got 'a'"),
]


@pytest.mark.parametrize("call, error, words", BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


# Profile and device


@pytest.fixture
def unset(monkeypatch):
    """Neither variable set, whatever the tests themselves run under."""
    monkeypatch.delenv("MINIDIFF_PROFILE", raising=False)
    monkeypatch.delenv("MINIDIFF_DEVICE", raising=False)
    return monkeypatch


@pytest.mark.parametrize("name, size", [("ci", 20), ("cpu", 600), ("gpu", 5000)])
def test_the_profile_picks_the_size(unset, name, size):
    unset.setenv("MINIDIFF_PROFILE", name)
    assert minidiff.profile() == name and minidiff.pick(600, ci=20, gpu=5000) == size


@pytest.mark.parametrize("answers, name", [(True, "gpu"), (False, "cpu")])
@pytest.mark.parametrize("value", [None, ""])
def test_without_a_name_cuda_decides(unset, answers, name, value):
    if value is not None:
        unset.setenv("MINIDIFF_PROFILE", value)
    unset.setattr(torch.cuda, "is_available", lambda: answers)
    assert minidiff.profile() == name


def test_an_unknown_profile_is_named(unset):
    unset.setenv("MINIDIFF_PROFILE", "CPU")
    with pytest.raises(ValueError, match="MINIDIFF_PROFILE: got 'CPU' .* expected one of 'ci', 'cpu', 'gpu'"):
        minidiff.pick(ci=1, cpu=2, gpu=3)


@pytest.mark.parametrize("name", ["ci", "cpu"])
def test_small_profiles_compute_on_the_cpu_even_beside_cuda(unset, name):
    unset.setenv("MINIDIFF_PROFILE", name)
    unset.setattr(torch.cuda, "is_available", lambda: True)
    assert minidiff.device() == torch.device("cpu")


def test_the_device_asked_for_comes_before_the_profile(unset):
    unset.setenv("MINIDIFF_PROFILE", "gpu")
    unset.setenv("MINIDIFF_DEVICE", "cpu")
    assert minidiff.device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["banana", "cuda:99", "meta"])
def test_a_device_that_does_not_answer_is_named(unset, name):
    unset.setenv("MINIDIFF_DEVICE", name)
    with pytest.raises(RuntimeError, match=f"MINIDIFF_DEVICE: got '{name}', expected a device that answers"):
        minidiff.device()


@pytest.mark.skipif(torch.cuda.is_available(), reason="here CUDA answers")
def test_profile_gpu_without_cuda_blames_the_profile(unset):
    unset.setenv("MINIDIFF_PROFILE", "gpu")
    with pytest.raises(RuntimeError, match="profile gpu: got 'cuda', expected a device that answers"):
        minidiff.device()


def test_the_seed_reaches_all_three_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    minidiff.seed_everything(7)
    first = draw()
    minidiff.seed_everything(np.int64(7))
    assert draw() == first
    minidiff.seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first))


def test_a_seeded_generator_draws_the_same_and_leaves_the_callers_numbers_alone():
    before = torch.get_rng_state()
    first, again, other = (torch.rand(5, generator=minidiff.seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.rand(5, generator=minidiff.seeded()), torch.rand(5, generator=minidiff.seeded(0)))
    assert torch.equal(torch.get_rng_state(), before)
