"""What the caller of `fit` may choose in place of the usual: optimiser, rate, batches, augmentation, a test curve."""

import math

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from train_child import ONES, Scalar, batches, line, weights

from minidiff.support.rng import numbered
from minidiff.train import fit


def test_an_optimiser_a_rate_and_no_clipping_of_ones_own_are_the_loop_one_would_write():
    def train(make, **options):
        model = line(dropout=0.0, norm=False)
        optimiser = make(model.parameters())
        ticks = list(fit(model, batches(9), 9, optimiser=optimiser, rate=lambda done: 1 - done, clip=None, **options))
        return model, optimiser, ticks

    def sgd(weights, lr=0.3):
        return torch.optim.SGD(weights, lr=lr, momentum=0.9)

    hand = line(dropout=0.0, norm=False)
    optimiser = sgd(hand.parameters())
    for k, (x, y) in enumerate(batches(9)):
        optimiser.param_groups[0]["lr"] = 0.3 * (1 - (k + 0.5) / 9)
        optimiser.zero_grad()
        hand.loss(x, y).backward()
        optimiser.step()
    model, own, ticks = train(sgd)
    torch.testing.assert_close(weights(model), weights(hand), rtol=1e-6, atol=1e-7)
    assert ticks[0].lr == pytest.approx(0.3 * (1 - 0.5 / 9)) and own.param_groups[0]["lr"] == 0.3
    made = line(dropout=0.0, norm=False)
    list(fit(made, batches(9), 9, optimiser=sgd, rate=lambda done: 1 - done, clip=None))
    assert torch.equal(weights(made), weights(model))
    given, _, _ = train(lambda w: sgd(w, lr=7.0), lr=0.3)  # a rate that is given counts
    assert torch.equal(weights(given), weights(model))


def test_groups_of_weights_keep_their_own_rates():
    model = line(norm=False)
    first, last = model.net[0], model.net[3]
    groups = [{"params": first.parameters(), "lr": 0.0}, {"params": last.parameters(), "lr": 0.1}]
    before, moved = weights(first), weights(last)
    list(fit(model, batches(3), 3, optimiser=torch.optim.Adam(groups)))
    assert torch.equal(weights(first), before) and not torch.equal(weights(last), moved)


def test_the_first_tensor_is_augmented_anew_in_each_step_and_the_seed_decides_how():
    def seen(seed):
        rows = []
        model = Scalar(lambda w, x, y: rows.append((x.tolist(), y.tolist())) or w * x.mean())
        list(fit(model, [(torch.ones(2), torch.ones(2))] * 3, 3, seed=seed, augment=lambda x: x + torch.rand(2)))
        return rows

    assert seen(0) == seen(0) != seen(1)
    assert len({tuple(x) for x, _ in seen(0)}) == 3 and all(y == [1, 1] for _, y in seen(0))
    with pytest.raises(TypeError, match="augment: got NoneType back, expected a tensor of 2 rows"):
        next(fit(Scalar(lambda w, x: w * x.mean()), ONES, 1, augment=lambda x: None))


def loader(rows=20, **options):
    x = torch.arange(3.0 * rows).reshape(rows, 3) / 60
    return DataLoader(TensorDataset(x, x[:, :1]), batch_size=8, shuffle=True, **options)


def test_a_data_loader_is_gone_through_again_and_again_in_an_order_that_the_seed_decides():
    def rows(seed):
        seen = []
        model = Scalar(lambda w, x, y: seen.extend(round(20 * v) for v in y[:, 0].tolist()) or w * y.mean())
        list(fit(model, loader(), 6, seed=seed))
        return seen

    seen = rows(0)
    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20)) and seen[:20] != seen[20:]
    torch.manual_seed(5)
    alone = torch.rand(3)
    torch.manual_seed(5)
    assert rows(0) == seen != rows(1)
    assert torch.equal(torch.rand(3), alone)


def test_a_stopped_run_on_a_data_loader_goes_on_bit_for_bit(tmp_path):
    whole = line()
    list(fit(whole, loader(), 9))
    first = fit(line(), loader(), 9, resume=tmp_path / "state")
    for _ in range(5):
        next(first)
    first._save()
    model = line(seed=3)
    assert [tick.step for tick in fit(model, loader(), 9, resume=tmp_path / "state")] == [5, 6, 7, 8]
    assert torch.equal(weights(model), weights(whole))


def test_a_tensor_alone_is_a_batch():
    ticks = list(fit(Scalar(lambda w, x: w * x.mean()), DataLoader(torch.ones(4, 2), batch_size=2), 3))
    assert len(ticks) == 3 and ticks[0].loss == 2
    [tick] = fit(Scalar(lambda w, x: w * x.mean()), [torch.ones(4, 2)], 1)
    assert tick.loss == 2


def test_the_test_loss_is_that_of_the_model_at_rest_and_changes_nothing():
    test = batches(1, rows=30)[0]
    model, alone = line(dropout=0.5), line(dropout=0.5)
    seen = {}
    for tick in fit(model, batches(9), 9, test=test, every=4):
        with torch.no_grad():
            seen[tick.step] = tick.parts.get("test loss"), model.loss(*test)
    list(fit(alone, batches(9), 9))
    assert [step for step, (loss, _) in seen.items() if loss is not None] == [3, 7]
    assert all(torch.equal(*seen[step]) for step in (3, 7))
    assert torch.equal(weights(model), weights(alone))


def test_the_test_loss_is_a_mean_over_rows_under_the_same_noise_each_time():
    def noisy(w, x):
        return x.mean() + torch.rand(()) + 0 * w

    parts = [torch.zeros(3, 1), torch.ones(1, 1)]
    ticks = list(fit(Scalar(noisy), ONES, 4, test=parts, every=1))
    first, *others = [tick.parts["test loss"].item() for tick in ticks]
    assert others == [first] * 3
    with numbered(torch.device("cpu"), 0, "test"):
        noise = [torch.rand(()).item() for _ in range(2)]
    assert first == pytest.approx((3 * noise[0] + 1 + noise[1]) / 4)


def test_a_state_of_other_choices_is_refused(tmp_path):
    list(fit(line(), batches(4), 4, resume=tmp_path / "state"))
    for change, message in [
        ({"clip": None}, "clip 1.0 there, inf here"),
        ({"rate": math.sqrt}, "rate None.*sqrt here"),
    ]:
        with pytest.raises(ValueError, match=f"resume: .*another run.*{message}"):
            fit(line(), batches(4), 4, resume=tmp_path / "state", **change)


# ---- Threads


def threads_of(steps, monkeypatch, given=None):
    """The numbers of threads that steps had, where torch has two, and in the loop's body."""
    monkeypatch.delenv("MINIDIFF_THREADS", raising=False)
    if given:
        monkeypatch.setenv("MINIDIFF_THREADS", given)
    before, inside, outside = torch.get_num_threads(), [], []
    torch.set_num_threads(2)
    try:
        model = Scalar(lambda w, x: inside.append(torch.get_num_threads()) or w * x.mean())
        outside = [torch.get_num_threads() for _ in fit(model, ONES, steps)]
    finally:
        torch.set_num_threads(before)
    return inside, outside


def test_a_training_tries_two_threads_and_one_and_leaves_the_callers_as_they_are(monkeypatch):
    inside, outside = threads_of(12, monkeypatch)
    assert inside[:4] == [2, 1, 2, 1] and len(set(inside[8:])) == 1 and set(outside) == {2}


def test_a_training_tries_nothing_where_the_number_is_set(monkeypatch):
    for count in (1, 2):
        inside, outside = threads_of(6, monkeypatch, str(count))
        assert set(inside) == {count} and set(outside) == {2}
