"""Training: the same as a hand-written loop, the same again after a kill, and the same on two processes."""

import io
import json
import math
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset
from train_child import ONES, Scalar, batches, killable, line, weights, write_often

from minidiff import data
from minidiff.support.rng import numbered
from minidiff.train import Ema, Tick, fit, loop, progress, run
from minidiff.train import state as resume

CHILD = Path(__file__).with_name("train_child.py")


@pytest.fixture(scope="module", autouse=True)
def children(tmp_path_factory):
    """The two runs under accelerate, in processes of their own (its state is global), beside the other tests."""
    folder = tmp_path_factory.mktemp("children")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    commands = {"two": [*torchrun, str(CHILD), "two"], "bf16": [str(CHILD), "bf16"]}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = {
        name: subprocess.Popen([sys.executable, *command, str(folder)], **pipes) for name, command in commands.items()
    }

    def outcome(name, *files):
        output, _ = started[name].communicate(timeout=120)
        assert started[name].returncode == 0, output
        return [json.loads((folder / file).read_text()) for file in files]

    yield SimpleNamespace(outcome=outcome, folder=folder)
    for process in started.values():
        process.terminate()  # not kill: torchrun has processes of its own to end
        process.wait()


# ---- The loop


def test_fit_is_the_loop_one_would_write():
    """AdamW's own default implementation, the rate written out again, and no module of ours."""
    model, hand, data = line(dropout=0.0, norm=False), line(dropout=0.0, norm=False), batches(40)
    ticks = list(fit(model, data, 40, lr=0.02))
    optimiser = torch.optim.AdamW(hand.parameters(), foreach=False)
    for k, (x, y) in enumerate(data):
        done = (k + 0.5) / 40
        rate = 0.02 * min(1, (k + 1) / 5, done / 0.05) * (1 + math.cos(math.pi * done)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate
        terms = hand.terms(x, y)
        optimiser.zero_grad()
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(hand.parameters(), 1.0)
        optimiser.step()
        assert (ticks[k].step, ticks[k].lr) == (k, pytest.approx(rate))
        torch.testing.assert_close(ticks[k].loss, terms["loss"].detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ticks[k].parts, {name: terms[name].detach() for name in ("error", "size")})
    torch.testing.assert_close(weights(model), weights(hand), rtol=1e-4, atol=1e-5)
    assert ticks[-1].loss < ticks[0].loss / 2


def test_the_gradient_is_clipped_to_norm_1():
    """AdamW does not feel the scale of one gradient, but that of two in a row: 1e6 counts as 1."""
    results = []
    for scale in (1.0, 1e6):
        model = Scalar(lambda w, x, scale=scale: w * x.mean() * (scale if x.sum() > 2 else 0.5))
        list(fit(model, [(torch.full((2,), 1.0 + k % 2),) for k in range(8)], 8, lr=0.1))
        results.append(model.weight.item())
    assert results[0] == pytest.approx(results[1], abs=1e-6)


@pytest.mark.parametrize("steps, warm", [(1000, 50), (20, 5)])
def test_the_rate_warms_up_and_falls(steps, warm):
    rates = [loop.rate(k, (k + 0.5) / steps) for k in range(steps)]
    assert rates.index(max(rates)) in (warm - 1, warm)
    assert all(a < b for a, b in zip(rates[: warm - 1], rates[1:warm]))
    assert all(a > b for a, b in zip(rates[warm:], rates[warm + 1 :]))
    assert max(rates) > 0.85 and 0 < rates[0] < 0.21 and 0 < rates[-1] < 0.01
    assert rates[steps // 2] == pytest.approx(0.5, abs=0.08)


def test_a_tick_holds_no_graph():
    [tick] = fit(line(), batches(1), 1)
    assert isinstance(tick, Tick) and not tick.loss.requires_grad and tick.loss.shape == ()
    assert not any(part.requires_grad for part in tick.parts.values()) and list(tick.parts) == ["error", "size"]
    assert tick.loss == tick.parts["error"] + 0.01 * tick.parts["size"]
    [tick] = fit(Scalar(lambda w, x: w * x.sum()), ONES, 1)
    assert tick.loss == 4 and tick.parts == {}


def test_a_tick_comes_after_the_optimisers_step():
    model = Scalar(lambda w, x: w * x.sum())
    ticks = fit(model, ONES, 3)
    assert model.weight == 2
    next(ticks)
    assert model.weight < 2 and ticks.step == ticks.position == 1 and ticks.total == 3


MEMORY = """
import sys
sys.path.insert(0, {tests!r})
from train_child import line
from minidiff.data import batches
from minidiff.train import Ema, fit
import torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

model = line()
x = torch.randn(400, 3)
training = fit(model, batches(x, x[:, :1], size=8), 11_000, ema=Ema(model))
for _ in zip(range(1000), training):
    pass
before = resident()
for _ in training:
    pass
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux shows it")
def test_ten_thousand_steps_more_hold_no_more_memory():
    code = MEMORY.format(tests=str(CHILD.parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**20  # a graph or a tick kept by each step, 1 kB at least, would be 10 MB


def test_what_is_frozen_stays():
    model = line()
    model.net[0].requires_grad_(False)
    before = weights(model.net[0])
    list(fit(model, batches(3), 3, lr=0.1))
    assert torch.equal(weights(model.net[0]), before)


# ---- Random numbers


def drawn(seed=0, body=lambda: None):
    model = line(dropout=0.5)
    for _ in fit(model, batches(6), 6, lr=0.05, seed=seed):
        body()
    return weights(model)


def test_the_seed_alone_decides():
    assert torch.equal(drawn(), drawn())
    assert not torch.equal(drawn(), drawn(seed=1))
    torch.manual_seed(123)
    assert torch.equal(drawn(), drawn(body=lambda: torch.randn(7)))
    assert torch.equal(drawn(), drawn(body=lambda: torch.manual_seed(5)))


def test_every_step_and_every_seed_draws_its_own():
    def draws(seed):
        return [tick.loss.item() for tick in fit(Scalar(lambda w, x: 0 * w + torch.rand(())), ONES, 30, seed=seed)]

    assert len(set(draws(0) + draws(1) + draws(2))) == 90


def test_the_callers_random_numbers_go_on_as_without_training():
    torch.manual_seed(3)
    alone = [torch.rand(()).item() for _ in range(6)]
    torch.manual_seed(3)
    model = line(dropout=0.5)
    assert [torch.rand(()).item() for _ in fit(model, batches(6), 6)] == alone


def test_the_callers_random_numbers_survive_an_error():
    torch.manual_seed(3)
    alone = torch.rand(())
    torch.manual_seed(3)
    with pytest.raises(TypeError, match="batches"):
        next(fit(line(), [3], 1))
    assert torch.rand(()) == alone


# ---- Modes


def test_the_model_trains_in_a_step_and_not_between():
    model = line()
    for tick in fit(model, batches(5), 5):
        assert model.seen[1] and not any(module.training for module in model.modules())
        model.train(tick.step % 2 == 0)  # the caller may forget what he did
    assert not model.training
    assert model.seen[1]


def test_a_broken_loop_leaves_the_model_in_eval_mode():
    model = line()
    ticks = fit(model, batches(5), 5)
    for _ in ticks:
        break
    assert not any(module.training for module in model.modules())
    assert [tick.step for tick in ticks] == [1, 2, 3, 4]  # and the run can go on
    failing = Scalar(lambda w, x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(fit(failing, ONES, 1))
    assert not failing.training


def test_nothing_is_trained_before_the_first_tick_is_asked_for():
    model = line()
    before = weights(model)
    fit(model, batches(5), 5)
    assert torch.equal(weights(model), before)


# ---- The average


def test_ema_is_the_average_with_warm_up():
    model = line()
    ema = Ema(model, 0.5)
    expected = {name: x.double() for name, x in model.named_parameters()}
    for k in range(12):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
        model.net[1].running_mean.add_(1.0)
        ema.update(model)
        decay = min(0.5, (1 + k) / (10 + k))
        expected = {n: decay * expected[n] + (1 - decay) * x.detach() for n, x in model.named_parameters()}
    for name, average in ema.model.named_parameters():
        torch.testing.assert_close(average.double(), expected[name], rtol=1e-5, atol=1e-6)
        assert not average.requires_grad
    assert torch.equal(ema.model.net[1].running_mean, model.net[1].running_mean)
    assert not any(module.training for module in ema.model.modules()) and model.training


def test_fit_updates_the_ema_after_each_step():
    model = line()
    ema, hand = Ema(model, 0.9), Ema(model, 0.9)
    for _ in fit(model, batches(6), 6, ema=ema):
        hand.update(model)
        assert torch.equal(weights(ema.model), weights(hand.model))
    assert ema.updates == 6 and not torch.equal(weights(ema.model), weights(model))


# ---- Losses that are not finite


def poisoned(bad, steps=200):
    """Data that is 1 up to step `bad` and infinite from there on."""
    return [(torch.full((2,), math.inf if k >= bad else 1.0),) for k in range(steps)]


@pytest.mark.parametrize("bad, noticed", [(0, 50), (37, 50), (50, 100), (199, 200)])
def test_the_first_step_that_is_not_finite_is_named(bad, noticed):
    ticks, taken = fit(Scalar(lambda w, x: (w * x).mean()), poisoned(bad), 200), 0
    with pytest.raises(FloatingPointError, match=f"step {bad}: .*not finite"):
        for _ in ticks:
            taken += 1
    assert taken == min(noticed - 1, 200) or taken == noticed == 200
    with pytest.raises(FloatingPointError, match=f"step {bad}"):
        for _ in ticks:  # it does not go away
            pass


def test_a_gradient_that_is_not_finite_counts_too():
    """sqrt(0) is 0 and its slope infinite: the loss alone shows it a step too late, after the last step never."""
    model = Scalar(lambda w, x: ((w - 2.0) * x).square().sum().sqrt())
    with pytest.raises(FloatingPointError, match="step 0"):
        list(fit(model, ONES, 1))


def test_nothing_is_saved_past_it(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    state = tmp_path / "state"
    with pytest.raises(FloatingPointError, match="step 120"):
        list(fit(Scalar(lambda w, x: (w * x).mean()), poisoned(120), 200, resume=state))
    saved = torch.load(state, weights_only=True)
    assert saved["run"][0] == 100 and torch.isfinite(saved["weights"]["weight"])


def test_no_step_waits_for_the_device(monkeypatch):
    """Reading a value is what waits: nothing is read between two looks, 50 steps apart."""
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda x, *a, f=original, n=name: (reads.append(n), f(x, *a))[1])
    model = line()
    ticks = fit(model, batches(60), 60, ema=Ema(model))
    for _ in range(49):
        next(ticks)
    assert reads == []
    next(ticks)
    assert reads == ["tolist"]


@pytest.mark.parametrize(
    "x, why",
    [
        ([[0.0], [math.nan]], r"batches\[0\]\[0\] holds NaN or infinity"),
        ([[0.0], [255.0]], r"batches\[0\]\[0\] holds values from 0 to 255, expected about -1 to 1"),
        ([[0.5, 0.1], [0.5, 0.2]], r"batches\[0\]\[0\] holds numbers that are the same in every row"),
        ([[0.5]], r"batches\[0\]\[0\] has one row, without a spread"),
        ([[0.5], [0.1]], "no weight had moved yet: look at the data and the loss"),
    ],
)
def test_at_the_first_step_the_data_are_to_blame_and_not_the_rate(x, why):
    model = Scalar(lambda w, x: w * math.inf + x.mean())
    with pytest.raises(FloatingPointError, match=f"step 0: the loss or its gradient is not finite; {why}$"):
        list(fit(model, [(torch.tensor(x),)], 1))


def test_later_it_is_the_rate_unless_the_data_are_odd():
    data = [(torch.full((2, 1), 0.5),)] * 3 + [(torch.full((2, 1), 1e3),)]
    for step, why in [(2, "a smaller lr may help"), (3, r"batches\[3\]\[0\] holds values from 1000 to 1000")]:
        taken = iter(range(4))
        model = Scalar(lambda w, x, taken=taken, step=step: w * x.mean() * (math.inf if next(taken) == step else 1))
        with pytest.raises(FloatingPointError, match=f"step {step}: .*; {why}"):
            list(fit(model, data, 4))


# ---- The clock


@pytest.fixture
def clock(monkeypatch):
    """A clock by which the caller's loop body decides how long a step takes."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def test_seconds_stop_the_run_and_lower_the_rate(clock):
    ticks = []
    for tick in fit(line(), batches(50), seconds=10, lr=0.1):
        ticks.append(tick)
        clock.seconds += 0.25
    assert len(ticks) == 40 and [t.seconds for t in ticks[:3]] == [0, 0.25, 0.5]
    assert ticks[20].lr == pytest.approx(0.05) and ticks[0].lr == 0 and 0 < ticks[-1].lr < 0.001


def test_seconds_go_on_after_a_resume(clock, tmp_path):
    def run_for(steps):
        training = fit(line(), batches(50), seconds=10, resume=tmp_path / "state")
        for _ in range(steps):
            next(training)
            clock.seconds += 1
        return training

    train_on = run_for(6)
    train_on._save()
    clock.seconds += 1000  # the night between
    again = run_for(4)
    assert again.position == 10 == again.total
    with pytest.raises(StopIteration):
        next(again)
    assert list(fit(line(), batches(50), seconds=10, resume=tmp_path / "state")) == []


# ---- Resume


def test_a_finished_run_does_nothing_more(tmp_path):
    model, state = line(), tmp_path / "state"
    ema = Ema(model)
    assert len(list(fit(model, batches(4), 4, ema=ema, resume=state))) == 4
    written = state.read_bytes()
    again = line(seed=9)
    average = Ema(again)
    assert list(fit(again, batches(4), 4, ema=average, resume=state)) == []
    assert torch.equal(weights(again, average.model), weights(model, ema.model))
    assert state.read_bytes() == written and not again.training and average.updates == 4
    assert list(tmp_path.iterdir()) == [state]


ran = []


def test_a_run_that_has_ended_is_trained_on_by_more_steps(tmp_path):
    """It goes on from its last step, at the rate of the longer run; nothing is done twice."""
    state, model = tmp_path / "state", line()
    list(fit(model, batches(8), 4, resume=state))
    assert list(fit(line(), batches(8), 4, resume=state)) == []
    longer = line()
    ticks = list(fit(longer, batches(8), 8, resume=state))
    assert [tick.step for tick in ticks] == [4, 5, 6, 7] and not torch.equal(weights(longer), weights(model))
    assert ticks[0].lr == pytest.approx(1e-3 * loop.rate(4, 4.5 / 8))


def test_slow_steps_are_saved_by_the_clock(tmp_path, monkeypatch):
    """Steps of 5 s, by a clock of the test's own: the state is not left for 50 steps."""
    now, state, slow = [1.0], tmp_path / "state", line()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    lost = slow.loss

    def loss(*batch):
        now[0] += 5
        return lost(*batch)

    slow.loss = loss
    ticks = fit(slow, batches(60), 60, resume=state)
    for _ in range(25):
        next(ticks)
    done = torch.load(state, weights_only=True)["run"][0]
    assert 15 <= done <= 25  # at most 6 steps lost


def harm():
    ran.append("harm")
    return {}


class Harmful:
    """Unpickling it calls `harm`."""

    def __reduce__(self):
        return harm, ()


def test_a_state_of_another_run_is_refused(tmp_path):
    state = tmp_path / "state"
    list(fit(line(), batches(4), 4, resume=state))
    other = dict(batches=batches(4), steps=4, resume=state)
    for change, message in [
        ({"steps": 3}, "steps 4 there, 3 here"),
        ({"lr": 0.1}, "lr 0.001 there, 0.1 here"),
        ({"seed": 1}, "seed 0 there, 1 here"),
        ({"steps": None, "seconds": 3}, "seconds None there, 3.0 here"),
        ({"model": line(norm=False)}, r"net.1.weight torch.float32 \(8,\) there, None here"),
        ({"model": line().double()}, r"net.0.weight torch.float32 \(8, 3\) there, torch.float64 \(8, 3\) here"),
        ({"ema": True}, "ema None there, 0.999 here"),
    ]:
        arguments = {"model": line()} | other | change
        if "ema" in change:
            arguments["ema"] = Ema(arguments["model"])
        before = weights(arguments["model"])
        with pytest.raises(ValueError, match=f"resume: .*another run.*{message}"):
            fit(**arguments)
        assert torch.equal(weights(arguments["model"]), before)


def test_an_apple_gpu_draws_the_same_in_the_same_step_and_goes_on_as_before(monkeypatch):
    apple = torch.Generator().manual_seed(3)
    monkeypatch.setattr("minidiff.support.rng._Apple", apple)
    before, draws = apple.get_state(), []
    for key in ((0, 1), (0, 1), (0, 2)):
        with numbered(torch.device("mps"), *key):
            draws.append((torch.rand(3).tolist(), torch.rand(3, generator=apple).tolist()))
        assert torch.equal(apple.get_state(), before)
    assert draws[0] == draws[1] and all(a != b for a, b in zip(draws[1], draws[2]))


def test_a_state_of_other_batches_is_refused(tmp_path):
    state, (x, y) = tmp_path / "state", batches(1, rows=40)[0]
    list(fit(line(), data.batches(x, y, size=8), 4, resume=state))
    for other in (data.batches(x, y, size=4), data.batches(x, y, size=8, seed=1), data.batches(x[1:], y[1:], size=8)):
        with pytest.raises(ValueError, match=r"resume: .*another run.*batches \(40, 8, 0\) there"):
            fit(line(), other, 4, resume=state)


def test_a_damaged_state_is_refused_and_never_run(tmp_path):
    state = tmp_path / "state"
    list(fit(line(), batches(4), 4, resume=state))
    whole = state.read_bytes()
    torch.save({"a": torch.ones(1)}, tmp_path / "foreign")
    for content in [
        b"",
        whole[: len(whole) // 2],
        whole[:-1],
        b"PK" + whole[2:100] + b"\0" * 500,
        b"hello",
        pickle.dumps(Harmful(), protocol=2),
        (tmp_path / "foreign").read_bytes(),
    ]:
        state.write_bytes(content)
        with pytest.raises(ValueError, match="resume: .*holds no state of a run; remove it"):
            fit(line(), batches(4), 4, resume=state)
    torch.save({"settings": Harmful()}, state)
    with pytest.raises(ValueError, match="holds no state"):
        fit(line(), batches(4), 4, resume=state)
    assert ran == []
    torch.load(state, weights_only=False)
    assert ran == ["harm"]  # it would have done so


def test_a_state_needs_a_folder(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "state"):
        with pytest.raises(ValueError, match="resume: .*expected a file in a folder that exists"):
            fit(line(), batches(4), 4, resume=path)
    with pytest.raises(TypeError, match=r"resume: got 3 \(int\), expected a path"):
        fit(line(), batches(4), 4, resume=3)


def test_a_failed_write_leaves_the_old_state_and_no_rest(tmp_path, monkeypatch):
    file = resume.StateFile(tmp_path / "state", {"steps": 1})
    file.write({"run": 1})
    monkeypatch.setattr(torch, "save", lambda state, out: out.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        file.write({"run": 2})
    assert file.read()["run"] == 1 and list(tmp_path.iterdir()) == [tmp_path / "state"]


@pytest.mark.parametrize("room", [0, 1000, 9000])
def test_a_full_disk_leaves_the_old_state_and_is_tried_again(tmp_path, little_room, room):
    state = tmp_path / "state"
    training = fit(line(), batches(8), 8, resume=state)
    for _ in range(4):
        next(training)
    training._save()
    old, told = (
        state.read_bytes(),
        r"state: cannot be written .File too large.. It is as it was: free the disk and start again",
    )
    with little_room(room), pytest.raises(OSError, match=told):
        list(training)
    assert state.read_bytes() == old and list(tmp_path.iterdir()) == [state]
    assert list(training) == [] and torch.load(state, weights_only=True)["run"][0] == 8  # no step was lost


def test_a_full_disk_that_torch_reports_as_something_else(tmp_path, monkeypatch):
    def full(state, file):
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 4096 vs 4016")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="state: cannot be written .No space left on device.. Nothing was written"):
        list(fit(line(), batches(2), 2, resume=tmp_path / "state"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_fault_of_the_disk_is_not_taken_for_one(tmp_path, monkeypatch):
    def broken(state, file):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="^CUDA error"):
        list(fit(line(), batches(2), 2, resume=tmp_path / "state"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run's state file, its bytes, and what it holds."""
    path = tmp_path_factory.mktemp("whole") / "state"
    list(fit(line(), batches(4), 4, resume=path))
    return path, path.read_bytes(), torch.load(path, weights_only=True)


def as_bytes(state):
    torch.save(state, blob := io.BytesIO())
    return blob.getvalue()


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 255)), max_size=3), st.none() | st.integers(0, 20_000))
def test_a_mutant_of_a_state_is_whole_or_refused(whole, changes, cut):
    """Bytes change at some places, then the file may be cut: never is damage taken for weights."""
    path, blob, held = whole
    mutant = bytearray(blob)
    for place, bits in changes:
        mutant[place % len(blob)] ^= bits
    path.write_bytes(mutant[:cut])
    try:
        found = resume.StateFile(path, held["settings"]).read()
    except ValueError as error:
        assert "state holds no state of a run; remove it or name another file" in str(error)
        assert path.read_bytes() != blob
    else:
        assert as_bytes(found) == as_bytes(held)


def test_temporary_files_of_the_dead_are_removed_and_of_the_living_kept(tmp_path):
    names = [".state.dead.tmp", ".state.alive.tmp", ".other.dead.tmp", "state.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"PK")
        if name != ".state.alive.tmp":
            os.utime(tmp_path / name, (time.time() - 700,) * 2)
    list(fit(line(), batches(2), 2, resume=tmp_path / "state"))
    assert {path.name for path in tmp_path.iterdir()} == {"state", *names[1:]}


@pytest.fixture(scope="module")
def child():
    """Starts a function of train_child in a process of its own, forked from one that has torch loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train_child", "torch._dynamo"])  # what takes long to import
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(CHILD.parent), os.environ.get("PYTHONPATH", "")]))

        def start(function, *arguments):
            process = context.Process(target=function, args=arguments, daemon=True)
            process.start()
            return process

        yield start


def test_a_run_killed_anywhere_ends_as_one_that_was_not(child, tmp_path):
    """Steps 0 to 16, a state every 3 steps. Each kill comes while the child waits at the place that it announced."""
    steps, state = 17, tmp_path / "state"

    def go(path, out, stop):
        ours, theirs = multiprocessing.Pipe()
        process = child(killable, str(path), str(tmp_path / out), steps, stop, theirs)
        theirs.close()
        first = ours.recv()
        if stop is not None:
            assert ours.recv() == stop
            process.kill()
        process.join(60)
        assert process.exitcode == (0 if stop is None else -9)
        return first

    kills = ["half", 0, 2, "rename", 3, 7, "half", 8, "rename", 13, 16, "rename"]
    firsts = [go(state, "killed", stop) for stop in kills]
    assert len(list(tmp_path.glob(".state.*.tmp"))) == kills.count("half") + kills.count("rename")
    assert go(state, "killed", None) == 15
    assert go(tmp_path / "other", "whole", None) == 0
    assert firsts == [0, 0, 0, 3, 3, 3, 6, 6, 9, 9, 12, 15]
    whole, killed = (torch.load(tmp_path / name) for name in ("whole", "killed"))
    assert torch.equal(whole, killed)


def test_two_writers_and_a_reader_never_meet_a_half(child, tmp_path):
    writers = [child(write_often, str(tmp_path / "state"), 150) for _ in range(2)]
    steps, reads = set(), 0
    while any(process.is_alive() for process in writers):
        if (tmp_path / "state").exists():
            steps.add(torch.load(tmp_path / "state", weights_only=True)["run"][0])
            reads += 1
    assert [process.exitcode for process in writers] == [0, 0]
    assert reads > 10 and len(steps) > 5
    assert list(fit(line(), batches(150), 150, resume=tmp_path / "state")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


# ---- Bad input


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"steps": None}, ValueError, "steps, seconds: got None and None, expected exactly one"),
        ({"seconds": 3}, ValueError, "steps, seconds: got 2 and 3, expected exactly one"),
        ({"steps": 0}, ValueError, "steps: got 0, expected at least 1"),
        ({"steps": 2.5}, TypeError, "steps: got 2.5"),
        ({"steps": None, "seconds": 0}, ValueError, "seconds: got 0"),
        ({"steps": None, "seconds": math.nan}, ValueError, "seconds: got nan"),
        ({"lr": -1}, ValueError, "lr: got -1"),
        ({"lr": "fast"}, TypeError, "lr: got 'fast'"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"model": None}, TypeError, "model: got NoneType, expected a torch module"),
        ({"model": nn.Linear(1, 1)}, TypeError, r"model: got Linear, expected .* loss\(\*batch\)"),
        ({"model": line().requires_grad_(False)}, ValueError, "model: got no weight"),
        ({"batches": 3}, TypeError, r"batches: got int, expected data.batches\(x, size=64\), a DataLoader or a list"),
        ({"batches": torch.ones(3, 4)}, TypeError, "batches: got Tensor, expected data.batches"),
        ({"batches": (torch.ones(3, 4), torch.ones(3))}, TypeError, "batches: got a tuple of tensors, expected data"),
        ({"batches": TensorDataset(torch.ones(3, 4))}, TypeError, "batches: got TensorDataset, expected data"),
        ({"optimiser": "adam"}, TypeError, "optimiser: got str, expected a torch optimiser, or a function"),
        ({"optimiser": lambda weights: None}, TypeError, "optimiser: got NoneType, expected a torch optimiser"),
        ({"optimiser": torch.optim.SGD(line().parameters())}, ValueError, "optimiser: got one of other weights"),
        ({"rate": 0.5}, TypeError, "rate: got float, expected a function"),
        ({"clip": 0}, ValueError, "clip: got 0"),
        ({"augment": "flip"}, TypeError, "augment: got str, expected a function"),
        ({"test": iter([])}, TypeError, "test: got list_iterator, expected a tuple of tensors, or a list of batches"),
        ({"test": []}, ValueError, "test: got no batches"),
        ({"test": batches(1), "every": 0}, ValueError, "every: got 0"),
        ({"ema": 0.99}, TypeError, "ema: got float, expected an Ema of this model"),
        ({"ema": Ema(line(norm=False))}, TypeError, "ema: got Ema, expected an Ema of this model"),
        ({"accelerator": "cuda"}, TypeError, "accelerator: got str"),
    ],
)
def test_bad_arguments_fail_at_the_call(change, error, message):
    with pytest.raises(error, match=message):
        fit(**{"model": line(), "batches": batches(2), "steps": 2} | change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mixed_precision": "fp16"}, "mixed_precision: got 'fp16'.*'no', 'bf16'"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps: got 4"),
        ({"distributed_type": SimpleNamespace(value="FSDP")}, "distributed_type: got 'FSDP'"),
    ],
)
def test_an_accelerator_of_another_kind_is_refused(change, message):
    kind = {"distributed_type": SimpleNamespace(value="NO"), "gradient_accumulation_steps": 1, "mixed_precision": "no"}
    accelerator = SimpleNamespace(prepare=None, **kind | change)
    with pytest.raises(ValueError, match=message):
        fit(line(), batches(2), 2, accelerator=accelerator)


@pytest.mark.parametrize(
    "data, error, message",
    [
        (batches(2), ValueError, r"batches\[2\]: got the end of the batches, expected one for each step"),
        ([], ValueError, r"batches\[0\]: got the end"),
        (iter(batches(2)), ValueError, r"batches\[2\]: got the end of the batches, expected one for each step"),
        ([None], TypeError, r"batches\[0\]: got NoneType, expected a tuple of tensors with rows"),
        ([(torch.ones(3), 1)], TypeError, r"batches\[0\]: got tuple, expected a tuple of tensors with rows"),
        ([(torch.tensor(1.0),)], TypeError, r"batches\[0\]: got tuple, expected a tuple of tensors with rows"),
    ],
)
def test_bad_batches_fail_at_their_step(data, error, message):
    with pytest.raises(error, match=message):
        list(fit(line(), data, 3))


@pytest.mark.parametrize(
    "loss, error, message",
    [
        (lambda w, x: w * x, ValueError, r"model.loss: got float32 tensor of shape \(2,\), expected shape \(\)"),
        (lambda w, x: 3.0, TypeError, "model.loss: got 3.0"),
        (lambda w, x: None, TypeError, "model.loss: got None"),
        (lambda w, x: x.mean(), ValueError, "model.loss: got a number that no weight has a part in"),
    ],
)
def test_a_bad_loss_is_named(loss, error, message):
    with pytest.raises(error, match=message):
        next(fit(Scalar(loss), ONES, 1))


def test_terms_need_a_loss():
    model = Scalar(None)
    model.terms = lambda x: {"error": model.weight}
    with pytest.raises(TypeError, match="model.loss: got None"):
        next(fit(model, ONES, 1))


def test_terms_that_are_no_tensors_are_named():
    model = Scalar(None)
    model.terms = lambda x: {"loss": model.weight.square(), "error": 0.5}
    with pytest.raises(TypeError, match=r"model.terms\['error'\]: got 0.5 \(float\), expected a tensor: leave out"):
        next(fit(model, ONES, 1))
    model.terms = lambda x: model.weight.square()
    with pytest.raises(TypeError, match="model.terms: got Tensor, expected a dict of tensors"):
        next(fit(model, ONES, 1))


def test_a_loss_that_does_not_know_the_model_is_named():
    model = nn.Linear(3, 1)
    model.loss = nn.MSELoss()
    with pytest.raises(TypeError, match=r"model.loss: got a module, MSELoss, expected a method loss\(\*batch\)"):
        fit(model, ONES, 1)


def test_float64_data_are_named():
    [(x, y)] = batches(1)
    with pytest.raises(TypeError, match=r"batches\[0\]\[0\]: got float64, expected float32 as the model's weights"):
        next(fit(line(), [(x.double(), y.double())], 1))
    list(fit(line().double(), [(x.double(), y.double())], 1))


def test_ema_refuses_weights_that_would_be_stretched_to_its_own():
    for other in (torch.nn.Linear(1, 3), torch.nn.Linear(3, 3).double(), torch.nn.Linear(3, 3, bias=False)):
        with pytest.raises(ValueError, match="model: got a Linear of other weights"):
            Ema(torch.nn.Linear(3, 3)).update(other)


def test_ema_says_what_it_needs():
    for decay, error in [(1.5, ValueError), (-0.1, ValueError), ("0.9", TypeError)]:
        with pytest.raises(error, match="decay: got"):
            Ema(line(), decay)
    with pytest.raises(TypeError, match="model: got int"):
        Ema(3)


# ---- The bar


def test_run_gives_back_the_ticks_and_writes_lines_into_a_log(capsys):
    ticks = run(fit(line(), batches(60), 60), desc="a line")
    assert [tick.step for tick in ticks] == list(range(60))
    out, err = capsys.readouterr()
    first, last = err.splitlines()
    assert out == "" and "a line   0% |" in first and "a line 100% |" in last
    mean = sum(tick.loss.item() for tick in ticks[-50:]) / 50
    assert f"step 60, loss {mean:.4g}" in last


def test_run_shows_the_time_left_on_a_terminal(monkeypatch):
    screen, now = io.StringIO(), [1000.0]
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: now[0]))

    class Slow(list):
        def __getitem__(self, k):
            now[0] += 0.1
            return super().__getitem__(k)

    run(fit(line(), Slow(batches(40)), 40))
    states = [text.strip() for text in screen.getvalue().split("\r") if text.strip()]
    assert len(states) > 5 and all("training" in text for text in states)
    left = [text.split("<")[1].split(",")[0] for text in states[1:]]
    assert left == sorted(left, reverse=True) and left[0] > "00:01" and left[-1] == "00:00"
    assert all("loss" in text for text in states[1:])


def test_run_reads_the_loss_only_to_draw_it(monkeypatch):
    reads = []
    monkeypatch.setattr(progress, "_summary", lambda seen: reads.append(len(seen)) or "")
    run(fit(line(), batches(300), 300))
    assert reads[-1] == 300 and len(reads) < 10


def stopped(ticks, after):
    """The ticks, and after so many of them what the stop button of a notebook raises."""
    for k, tick in enumerate(ticks):
        if k == after:
            raise KeyboardInterrupt
        yield tick


def test_the_stop_button_of_a_notebook_leaves_what_is_learned_and_says_so(capsys, monkeypatch):
    model = line()
    before = weights(model)
    monkeypatch.setattr(progress, "_notebook", lambda: True)
    monkeypatch.setattr(progress, "_screen", dict)
    assert len(run(stopped(fit(model, batches(60), 60), after=7), total=60)) == 7
    assert "Stopped after 7 steps of 60" in capsys.readouterr().out
    assert not model.training and not torch.equal(weights(model), before)
    monkeypatch.setattr(progress, "_notebook", lambda: False)  # a command has its own way to stop
    with pytest.raises(KeyboardInterrupt):
        run(stopped(fit(model, batches(60), 60), after=7), total=60)


def test_run_knows_seconds_a_total_and_a_finished_run(tmp_path, capsys):
    def last_line():
        return capsys.readouterr().err.splitlines()[-1]

    run(fit(line(), batches(10_000), seconds=0.1))
    assert "100% |" in last_line()
    plain = (Tick(k, torch.tensor(1.0), {}, 0.1, 0.0) for k in range(5))
    assert len(run(plain, total=10)) == 5
    assert " 50% |" in last_line()
    list(fit(line(), batches(2), 2, resume=tmp_path / "state"))
    assert run(fit(line(), batches(2), 2, resume=tmp_path / "state")) == []
    assert "100% |" in (line_ := last_line()) and "nothing left to do" in line_


def test_run_leaves_one_line_of_plain_text_in_a_notebook(monkeypatch, capsys):
    import IPython
    from IPython.core.interactiveshell import InteractiveShell

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr(InteractiveShell, "initialized", lambda: True)
    publish = SimpleNamespace(publish=lambda data, **kind: shown.append((data, kind.get("update", False))))
    monkeypatch.setattr(InteractiveShell, "instance", lambda: SimpleNamespace(display_pub=publish))
    run(fit(line(), batches(5), 5))
    assert [update for _, update in shown] == [False] + [True] * (len(shown) - 1) and len(shown) >= 3
    assert all(list(data) == ["text/plain"] for data, _ in shown)
    assert "100% |█" in shown[-1][0]["text/plain"] and "step 5, loss" in shown[-1][0]["text/plain"]
    assert capsys.readouterr() == ("", "")


def test_run_says_what_it_needs():
    for arguments, message in [((3,), "ticks: got int"), (([], "many"), "total: got 'many'")]:
        with pytest.raises(TypeError, match=message):
            run(*arguments)


def test_only_the_first_process_draws(capsys):
    training = fit(line(), batches(3), 3)
    training.rank = 1
    assert len(run(training)) == 3 and capsys.readouterr() == ("", "")


# ---- Accelerate


@pytest.fixture(scope="module")
def pair(children):
    return children.outcome("two", "0.json", "1.json")


def test_two_processes_are_two(pair):
    assert [(each["world"], each["rank"]) for each in pair] == [(2, 0), (2, 1)]


def test_two_processes_train_as_one_on_the_whole_batch(pair):
    model = line(dropout=0.0, norm=False)
    list(fit(model, batches(12), 12, lr=0.01))
    for each in pair:
        torch.testing.assert_close(torch.tensor(each["weights"]).double(), weights(model), rtol=0, atol=1e-6)
    half = line(dropout=0.0, norm=False)  # what the first process alone would have learned is another thing
    list(fit(half, [(x[::2], y[::2]) for x, y in batches(12)], 12, lr=0.01))
    assert (weights(half) - weights(model)).abs().max() > 1e-3


def test_two_processes_average_their_gradients_to_those_of_the_whole_batch(pair):
    def gradients(data):
        model = line(dropout=0.0, norm=False)
        next(fit(model, data, 1))
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    whole, half = gradients(batches(1)), gradients([(x[::2], y[::2]) for x, y in batches(1)])
    for each in pair:
        torch.testing.assert_close(torch.tensor(each["gradients"]), whole, rtol=0, atol=1e-6)
    assert (half - whole).abs().max() > 1e-2


def test_of_two_processes_each_takes_every_other_row(pair):
    assert [each["rows"] for each in pair] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_two_processes_have_the_same_weights_where_a_layer_takes_them_from_its_rows(pair):
    assert pair[0]["started"] == pair[1]["started"]


def test_two_processes_resume_together(pair):
    for each in pair:
        first, resumed = each["resumed"]
        assert first == 4 and resumed == pair[0]["weights"]


def test_two_processes_draw_differently_and_stop_together(pair):
    assert pair[0]["losses"] != pair[1]["losses"]
    assert pair[0]["steps"] == pair[1]["steps"] > 1


def test_two_processes_fail_together(pair, children):
    for each in pair:
        assert each["uneven"] == "batches[0]: got 7, 7 rows, expected a multiple of the 2 processes"
        assert each["broken"].startswith("step 5: ")  # though the bad row is the second process's
    assert torch.load(children.folder / "broken", weights_only=True)["run"][0] == 4


def test_bfloat16_is_real(children):
    [result] = children.outcome("bf16", "bf16.json")
    assert result["inside"] == "torch.bfloat16" and result["outside"] == "torch.float32"
    assert result["loss"] == result["weights"] == "torch.float32" and result["fall"] < 0.6


def test_a_subclass_that_overrides_the_loss_alone_is_taken_at_its_word():
    class Parts(nn.Linear):
        def terms(self, x):
            return {"loss": self(x).mean(), "part": x.mean()}

        def loss(self, x):
            return self.terms(x)["loss"]

    class Other(Parts):
        def loss(self, x):
            return self(x).square().mean() + 100

    batches = [(torch.ones(4, 3),)] * 2
    assert "part" in next(fit(Parts(3, 1), batches, 2)).parts
    tick = next(fit(Other(3, 1), batches, 2))
    assert tick.loss >= 100 and not tick.parts


def test_training_works_where_gradients_are_switched_off():
    model = nn.Linear(3, 1)
    model.loss = lambda x: model(x).square().mean()
    before = model.weight.detach().clone()
    with torch.no_grad():
        list(fit(model, [(torch.ones(4, 3),)] * 3, 3))
    assert not torch.equal(before, model.weight)
