"""The command line, called in the process with small recipes, and a few times as the process a user starts."""

import argparse
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import types
from dataclasses import replace
from functools import partial, wraps
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from minidiff import checkpoints, generate, train
from minidiff.cli import commands, doctor, streams
from minidiff.cli import main as cli
from minidiff.data import DownloadError, shapes
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, Pixels, text_to_image
from minidiff.recipes import RECIPES, Recipe, folder
from minidiff.recipes.shapes import tokenizer
from minidiff.schedule import cosine
from minidiff.scorecard import Claim
from minidiff.support import files, parts, rooms
from minidiff.train import loop

SHIPPED = checkpoints.SHIPPED
EVENTS = {}  # step -> what happens when `Labelled` computes its loss then
X = torch.linspace(-1, 1, 64 * 16).reshape(64, 1, 4, 4)
Y = torch.arange(64) % 3


class Labelled(nn.Module):
    """Learns the mean picture of each of three classes; draws it with noise."""

    def __init__(self, classes=3):
        super().__init__()
        self.classes, self.seen = classes, 0
        self.means = nn.Parameter(torch.randn(classes, 1, 4, 4))

    def loss(self, x, y):
        if self.training:
            EVENTS.get(self.seen, lambda: None)()
            self.seen += 1
        return (self.means[y] + 0.1 * torch.randn_like(x) - x).square().mean()

    def sample(self, n, labels=None, temperature=1.0, generator=None):
        noise = torch.randn(n, 1, 4, 4, generator=generator)
        return self.means[labels].detach() + temperature * noise


class Unlabelled(nn.Module):
    """Takes neither labels nor a temperature."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1, 4, 4))

    def loss(self, x):
        return (self.mean - x).square().mean()

    def sample(self, n, labels=None, generator=None):
        assert labels is None
        return self.mean.expand(n, -1, -1, -1)


class Net(nn.Module):
    """Predicts the mean picture of each of three classes, and of none, whatever it is shown."""

    classes = 3

    def __init__(self):
        super().__init__()
        self.means = nn.Parameter(torch.tensor([-0.3, 0.0, 0.5, 0.2])[:, None, None, None].repeat(1, 1, 4, 4))

    def forward(self, x, t, cond):
        return self.means[cond] + 0 * x


class Reader(nn.Module):
    """Predicts a picture as light as the share of the word "red" in what it is told."""

    def __init__(self):
        super().__init__()
        self.red = nn.Parameter(torch.ones(()))

    def forward(self, x, t, cond):
        red = (cond == tokenizer().encode("red")[1]).float().mean(1)
        return self.red * red[:, None, None, None] + 0 * x


def reader():
    null = [1, 2] + [0] * 22
    return LatentDiffusion(Pixels(), Denoiser(Reader(), cosine(), "x0", null=null), tokenizer())


class Silent(Unlabelled):
    """Draws nothing."""


def denoiser():
    return Denoiser(Net(), cosine(), "x0", null=3, drop=0.1)


def reading(split):
    return torch.rand(8, 3, 8, 8), tokenizer()(["red"] * 8)


def no_network(split):
    raise DownloadError("could not get cifar-10-python.tar.gz:\n  no network")


@pytest.fixture(autouse=True)
def house(monkeypatch, tmp_path):
    """Small recipes, a folder of their own for data and checkpoints, the profile ci on the CPU."""
    steps = {"ci": 5, "cpu": 7, "gpu": 9}
    for kind in (Labelled, Unlabelled, Silent, Net, Reader):
        monkeypatch.setitem(parts.PARTS, kind.__name__, kind)
    shape, draws = (1, 4, 4), {"generate": generate.one_pass, "batch": 16}
    walks = {"generate": partial(generate.denoised, shape=shape)}
    talks = {"generate": generate.prompted, "prompts": lambda: shapes("test", 1000)[1]}
    small = {
        "labelled-toy": Recipe(Labelled, lambda split: (X, Y), steps, shape, **draws),
        "plain-toy": Recipe(Unlabelled, lambda split: (X,), steps, shape, **draws),
        "code-toy": Recipe(Silent, lambda split: (X,), steps, shape),
        "points-toy": Recipe(Unlabelled, lambda split: (X,), steps, (2,), generate.one_pass),
        "far-toy": Recipe(Unlabelled, no_network, steps, shape),
        "steps-toy": Recipe(denoiser, lambda split: (X, Y), steps, shape, **walks),
        "text-toy": Recipe(reader, reading, steps, (3, 32, 32), **talks),
        "wild-toy": Recipe(Unlabelled, lambda split: (X * float("inf"),), steps, shape),
    }
    for name, recipe in small.items():
        monkeypatch.setitem(RECIPES, name, recipe)
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    for name, value in {"PROFILE": "ci", "DEVICE": "cpu", "DATA": str(tmp_path / "data")}.items():
        monkeypatch.setenv(f"MINIDIFF_{name}", value)
    monkeypatch.chdir(tmp_path)
    EVENTS.clear()


@pytest.fixture
def shell(capsys):
    """Runs a command line: (status, stdout, stderr without the progress bar)."""

    def call(line, *more):
        status = cli.main([*line.split(), *more])
        out, err = capsys.readouterr()
        return status, out, "".join(part for part in err.splitlines(keepends=True) if "%" not in part)

    return call


def refused(result, *words):
    """One line on stderr with these words, nothing on stdout, status 2."""
    status, out, err = result
    assert (status, out, err.count("\n")) == (2, "", 1), result
    assert err.startswith("minidiff: ")
    for word in words:
        assert word in err
    return True


def test_train_writes_a_checkpoint_that_says_how(shell, tmp_path):
    status, out, err = shell("train labelled-toy")
    path = tmp_path / "data" / "trained" / "labelled-toy.safetensors"
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    card = checkpoints.card(path)
    assert second == str(path) and first.startswith("labelled-toy: 5 steps, loss ")
    assert f"{card['metrics']['test_loss']:.4g}" in first
    assert card["command"] == "python -m minidiff train labelled-toy --steps 5 --profile ci --seed 0"
    assert (card["recipe"], card["model"]["part"], card["seed"], card["steps"]) == ("labelled-toy", "Labelled", 0, 5)
    assert card["data"] == "train split: float32 (64, 1, 4, 4), int64 (64,)"
    assert sorted(os.listdir(path.parent)) == ["labelled-toy.safetensors"]


def test_train_keeps_the_average_of_the_weights(shell, monkeypatch):
    averages = []
    ema = train.Ema
    monkeypatch.setattr(train, "Ema", lambda model: averages.append((ema(model), model)) or averages[-1][0])
    shell("train labelled-toy --out a.safetensors --steps 30")
    ema, model = averages[0]
    saved = checkpoints.load("a.safetensors").means
    assert torch.equal(saved, ema.model.means.half().float())
    assert not torch.equal(saved, model.means.half().float())


def test_the_card_repeats_the_run(shell):
    shell("train labelled-toy --seed 3 --profile cpu --out a.safetensors")
    command = checkpoints.card("a.safetensors")["command"]
    assert command == "python -m minidiff train labelled-toy --steps 7 --profile cpu --seed 3"
    shell(command.removeprefix("python -m minidiff "), "--out", "b.safetensors")
    shell("train labelled-toy --seed 4 --profile cpu --out c.safetensors")
    a, b, c = (Path(f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_the_seed_reaches_batches_and_noise(shell, monkeypatch):
    given = []

    def fit(*args, **kwargs):
        given.append((args, kwargs))
        return train.fit(*args, **kwargs)

    monkeypatch.setitem(RECIPES, "labelled-toy", replace(RECIPES["labelled-toy"], lr=0.5, fit=fit))
    shell("train labelled-toy --seed 3 --out a.safetensors")
    [((_, batches), kwargs)] = given
    assert (batches.seed, batches.size) == (3, 16)
    assert (kwargs["steps"], kwargs["lr"], kwargs["seed"]) == (5, 0.5, 3)


def test_train_for_seconds(shell):
    status, out, err = shell("train plain-toy --seconds 0.2 --out a.safetensors")
    card = checkpoints.card("a.safetensors")
    assert status == 0 and card["steps"] > 5 and f"plain-toy: {card['steps']} steps" in out
    assert card["command"] == "python -m minidiff train plain-toy --seconds 0.2 --profile ci --seed 0"


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_run_leaves_nothing(shell, tmp_path):
    EVENTS[3] = interrupt
    assert shell("train labelled-toy --out a.safetensors") == (130, "", "minidiff: interrupted: nothing was written\n")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_resume_ends_with_the_weights_of_a_run_never_stopped(shell, monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    line = "train labelled-toy --steps 120 --out"
    shell(line, "whole.safetensors")
    EVENTS[70] = interrupt
    status, out, err = shell(line, "a.safetensors", "--resume")
    assert (status, out) == (130, "") and "the same command goes on from a.state" in err
    assert [path.name for path in tmp_path.glob("a.*")] == ["a.state"]
    EVENTS.clear()
    calls = []
    EVENTS.update({k: lambda: calls.append(1) for k in range(200)})
    status, out, err = shell(line, "a.safetensors", "--resume")
    assert (status, len(calls)) == (0, 70) and "labelled-toy: 120 steps" in out  # steps 50 to 119
    assert "a.state (0.0 MB) is kept: the same command with more steps trains on." in out
    assert sorted(path.name for path in tmp_path.glob("a.*")) == ["a.safetensors", "a.state"]
    assert Path("a.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_a_finished_run_is_told_so_and_trains_on_by_more_steps(shell):
    calls, line = [], "train labelled-toy --out a.safetensors --resume"
    EVENTS.update({k: lambda: calls.append(1) for k in range(200)})
    shell(line)
    there = {path: path.read_bytes() for path in Path().glob("a.*")}
    status, out, err = shell(line)
    assert (status, err) == (0, "") and {path: path.read_bytes() for path in Path().glob("a.*")} == there
    assert out.startswith("finished already: 5 steps, nothing was changed; more --steps or --seconds train on")
    assert len(calls) == 5
    status, out, err = shell(line, "--steps", "9")
    assert status == 0 and len(calls) == 9 and "labelled-toy: 9 steps" in out
    assert "It takes the place of the one of 5 steps that was there." in out
    assert refused(shell(line, "--steps", "7"), "a.state", "steps 9 there, 7 here")
    assert len(calls) == 9 and checkpoints.card("a.safetensors")["steps"] == 9


def test_a_finished_model_without_its_state_is_not_trained_anew_by_resume(shell):
    shell("train labelled-toy --out a.safetensors")
    there = Path("a.safetensors").read_bytes()
    line = "train labelled-toy --out a.safetensors --resume"
    assert shell(line)[1].startswith("finished already: 5 steps, nothing was changed; a.state is gone; --out trains")
    assert refused(shell(line, "--steps", "9"), "a.safetensors is there, of 5 steps, and a.state", "remove it to train")
    assert Path("a.safetensors").read_bytes() == there
    out = shell("train labelled-toy --out a.safetensors --steps 9")[1]  # asked for without --resume: done, and said
    assert "It takes the place of the one of 5 steps that was there." in out


def test_resume_after_the_last_step_still_writes_the_checkpoint(shell, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", lambda *args, **kwargs: interrupt())
        assert shell("train labelled-toy --out a.safetensors --resume")[0] == 130
    shell("train labelled-toy --out b.safetensors")
    assert shell("train labelled-toy --out a.safetensors --resume")[0] == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_resume_refuses_another_run(shell, monkeypatch):
    EVENTS[60] = interrupt
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    shell("train labelled-toy --steps 80 --out a.safetensors --resume")
    assert refused(shell("train labelled-toy --steps 70 --out a.safetensors --resume"), "a.state", "another run")
    assert refused(shell("train labelled-toy --steps 80 --seed 1 --out a.safetensors --resume"), "seed 0 there, 1 here")
    Path("a.state").write_bytes(b"junk")
    assert refused(shell("train labelled-toy --steps 80 --out a.safetensors --resume"), "a.state")


BAD_TRAIN = {
    "train": "NAME",
    "train nothing": "no recipe named 'nothing': There are: ",
    "train labeled-toy": "did you mean labelled-toy?",
    "train ../../etc/passwd": "no recipe named",
    "train labelled-toy --steps 0": "steps: got 0, expected at least 1",
    "train labelled-toy --steps -3": "steps: got -3",
    "train labelled-toy --steps many": "--steps: invalid int value: 'many'",
    "train labelled-toy --steps 2.5": "--steps",
    "train labelled-toy --seconds 0": "seconds: got 0.0",
    "train labelled-toy --seconds nan": "seconds: got nan",
    "train labelled-toy --seconds inf": "seconds: got inf",
    "train labelled-toy --steps 5 --seconds 5": "not allowed with argument --steps",
    "train labelled-toy --seed -1": "seed: got -1",
    "train labelled-toy --seed 99999999999": "seed: got 99999999999",
    "train labelled-toy --profile huge": "--profile: got 'huge'",
    "train labelled-toy --steps 5 --profile huge": "--profile: got 'huge'",
    "train labelled-toy --out model.pt": "expected a name that ends in .safetensors",
    "train labelled-toy --out file/a.safetensors": "cannot write file/a.safetensors",
    "train labelled-toy --out folder.safetensors": "folder.safetensors is there and is no file",
    "train labelled-toy --out /proc/a.safetensors": "cannot write /proc/a.safetensors",
    f"train labelled-toy --out {'x' * 300}.safetensors": "File name too long",
    "train labelled-toy --sampler ddim": "unrecognized arguments: --sampler ddim",
    "train far-toy": "could not get cifar-10-python.tar.gz: no network",
    "train wild-toy": "not finite",
    "": "COMMAND",
    "fly": "invalid choice: 'fly'",
}


@pytest.mark.parametrize("line", BAD_TRAIN)
def test_train_refuses(line, shell, tmp_path, monkeypatch):
    Path("file").write_text("")
    Path("folder.safetensors").mkdir()
    EVENTS.update({k: lambda: pytest.fail("it trained") for k in range(5)})
    assert refused(shell(line), BAD_TRAIN[line])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"]


def test_errors_of_the_environment(shell, monkeypatch):
    monkeypatch.setenv("MINIDIFF_DEVICE", "cuda:99")
    assert refused(shell("train plain-toy"), "MINIDIFF_DEVICE: got 'cuda:99'")
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "1")
        assert refused(shell("train plain-toy"), "MINIDIFF_DEVICE: got 'cuda:99'")
    monkeypatch.setenv("MINIDIFF_DEVICE", "cpu")
    Path("file").write_text("")
    monkeypatch.setenv("MINIDIFF_DATA", "file")
    assert refused(shell("train plain-toy"), "cannot write", "file/trained/plain-toy.safetensors")


def test_a_full_disk(shell, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    shell("train plain-toy --out a.safetensors")
    monkeypatch.setattr(os, "fsync", full)
    assert refused(shell("train plain-toy --out b.safetensors"), "b.safetensors", "No space left on device")
    assert refused(shell("sample a.safetensors --out b.npz"), "No space left on device")
    assert sorted(os.listdir()) == ["a.safetensors"]


LARGE = ("sample labelled-toy --n 500 --out a.npz", "sample labelled-toy --n 500 --out a.png")


@pytest.mark.parametrize("line", [*LARGE, "train labelled-toy --out a.safetensors"])
def test_a_disk_that_fills_up_half_through(line, shell, shipped, little_room):
    Path(line.split()[-1]).write_bytes(b"what was there")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    with little_room(100):
        assert refused(shell(line), f"{line.split()[-1]}: cannot be written (File too large)", "free the disk")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert shell(line)[0] == 0


def test_a_full_disk_at_the_end_of_a_run_loses_no_step(shell, monkeypatch, little_room):
    """First there is no room for the state, then room for the state alone."""
    line, calls = "train labelled-toy --steps 80 --out a.safetensors --resume", []
    EVENTS.update({k: lambda: calls.append(1) for k in range(200)})
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    with little_room(1000):
        assert refused(shell(line), "a.state: cannot be written (File too large). Nothing was written: free the disk")
    assert len(calls) == 50 and os.listdir() == []
    with monkeypatch.context() as patch:
        patch.setattr(files, "whole", full_for_checkpoints)
        assert refused(shell(line), "a.safetensors: cannot be written (No space left on device)", "free the disk")
    assert len(calls) == 130 and os.listdir() == ["a.state"]
    assert shell(line)[0] == 0 and len(calls) == 130
    assert sorted(os.listdir()) == ["a.safetensors", "a.state"]


def full_for_checkpoints(path, *more, whole=files.whole):
    """As `files.whole`, where there is no room for a checkpoint."""
    if path.suffix == ".safetensors":
        raise OSError(28, "No space left on device")
    return whole(path, *more)


def test_a_disk_of_64_kib(shell, shipped, small_disk):
    (small_disk / "filler").write_bytes(bytes(64_000))
    wanted = "cannot be written (No space left on device). Nothing was written: free the disk"
    for line in (*LARGE, "train labelled-toy --out a.safetensors"):
        assert refused(shell(line.replace("--out ", f"--out {small_disk}/")), f"{small_disk}/a.", wanted)
    told = f"{small_disk}/a.state: cannot be written (No space left on device). Nothing was written: free the disk"
    assert refused(shell(f"train labelled-toy --out {small_disk}/a.safetensors --resume"), told)
    assert os.listdir(small_disk) == ["filler"]
    (small_disk / "filler").unlink()
    for line in (*LARGE, "train labelled-toy --out a.safetensors --resume"):
        assert shell(line.replace("--out ", f"--out {small_disk}/"))[0] == 0
        for file in small_disk.iterdir():
            file.unlink()


@pytest.mark.parametrize("more", ["", " --resume"])
def test_two_processes_train_to_the_same_file(shell, forked, monkeypatch, more):
    """With seeds of their own: what is left is the whole work of one of them."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    line = "train labelled-toy --steps 150 --out {}.safetensors --seed {}" + more
    for seed in (1, 2):
        shell(line.format(seed, seed))
    whole = {seed: Path(f"{seed}.safetensors").read_bytes() for seed in (1, 2)}
    for _ in range(3):
        running = [forked(lambda seed=seed: sys.exit(cli.main(line.format("a", seed).split()))) for seed in (1, 2)]
        for process in running:
            process.join(60)
        codes = {process.exitcode for process in running}
        assert 0 in codes and codes <= ({0, 2} if more else {0})  # who finds the state of another run is refused
        assert Path("a.safetensors").read_bytes() == whole[checkpoints.card("a.safetensors")["seed"]]
        assert {path.name for path in Path().glob("*a.*")} == (
            {"a.safetensors", "a.state"} if more else {"a.safetensors"}
        )
        for path in Path().glob("a.*"):
            path.unlink()


def test_another_process_may_try_the_same_place(shell, monkeypatch):
    """Both make sure that the file can be written, each with a file that it removes again."""
    touch = Path.touch
    monkeypatch.setattr(Path, "touch", lambda path: (touch(path), path.unlink() if path.suffix == ".probe" else None))
    assert shell("train plain-toy --out a.safetensors")[0] == 0


@pytest.fixture
def shipped(shell):
    for name in ("labelled-toy", "plain-toy", "code-toy", "steps-toy", "text-toy", "points-toy"):
        shell(f"train {name} --out shipped/{name}.safetensors")


def test_sample_npz(shell, shipped):
    status, out, err = shell("sample labelled-toy --n 1205 --out a.npz")
    assert (status, out, err) == (0, "labelled-toy: images (1205, 1, 4, 4) with labels\na.npz\n", "")
    with np.load("a.npz") as file:
        assert sorted(file) == ["images", "labels"]
        images, labels = file["images"], file["labels"]
    assert images.shape == (1205, 1, 4, 4) and images.dtype == np.float32
    assert images.min() == -1 and images.max() == 1  # the noise overshoots
    assert labels.dtype == np.int64 and np.array_equal(labels, np.arange(1205) % 3)
    assert not os.path.exists("a.npz.part")
    with np.load("a.npz") as file, np.errstate(all="raise"):
        means = checkpoints.load("labelled-toy").means.detach().clamp(-1, 1).numpy()
        for label in range(3):  # each picture is of the class that its label says
            drawn = images[labels == label].mean(0)
            assert np.abs(drawn - means[label]).max() < 0.6


def test_sample_defaults_and_seeds(shell, shipped):
    read = {}
    for name, options in {"a": "", "b": "--seed 0", "c": "--seed 1", "d": "--temperature 0"}.items():
        assert shell(f"sample labelled-toy {options} --out {name}.npz")[0] == 0
        read[name] = np.load(f"{name}.npz")["images"]
    assert len(read["a"]) == 16
    assert np.array_equal(read["a"], read["b"]) and not np.array_equal(read["a"], read["c"])
    assert np.array_equal(read["d"][0], read["d"][3]) and not np.array_equal(read["a"][0], read["a"][3])


def test_sample_one_label(shell, shipped):
    assert shell("sample labelled-toy --n 250 --label 2 --out a.npz")[0] == 0
    with np.load("a.npz") as file:
        assert file["labels"].tolist() == [2] * 250
        assert len(np.unique(file["images"], axis=0)) == 250  # no chunk repeats another


def test_sample_without_labels(shell, shipped):
    assert shell("sample plain-toy --n 3 --out a.npz")[1] == "plain-toy: images (3, 1, 4, 4)\na.npz\n"
    assert sorted(np.load("a.npz")) == ["images"]


def test_sample_png(shell, shipped):
    for n, columns, rows in ((3, 3, 1), (10, 10, 1), (25, 10, 3), (1000, 30, 34)):
        assert shell(f"sample labelled-toy --n {n} --out new/a.png")[0] == 0
        with Image.open("new/a.png") as picture:
            assert picture.format == "PNG"
            assert picture.size == (columns * 80 - 16, rows * 80 - 16), n  # 4 pixels of 16 each, and a gap of 16


def test_sample_a_file(shell, shipped):
    assert shell("sample shipped/plain-toy.safetensors --n 2 --out a.npz")[0] == 0


def test_sample_a_denoiser(shell, shipped):
    drawn = {}
    for name, options in {
        "a": "",
        "b": "--sampler ddim --steps 20 --eta 0 --scale 1 --seed 0",
        "c": "--scale 2",
        "d": "--sampler ddpm --steps 3 --label 2",
        "e": "--sampler dpm --steps 3 --eta 1",
    }.items():
        status, out, err = shell(f"sample steps-toy --n 7 {options} --out {name}.npz")
        assert (status, out, err) == (0, f"steps-toy: images (7, 1, 4, 4) with labels\n{name}.npz\n", "")
        with np.load(f"{name}.npz") as file:
            drawn[name] = torch.from_numpy(file["images"])
            assert file["labels"].tolist() == ([2] * 7 if name == "d" else [0, 1, 2, 0, 1, 2, 0])
    assert torch.equal(drawn["a"], drawn["b"])
    apart = drawn["a"][0] - drawn["c"][0]  # null is above label 0: scale 2 goes as far below it
    assert torch.allclose(apart, torch.tensor(0.5), atol=0.1)
    assert torch.allclose(drawn["d"], drawn["a"][2].expand(7, -1, -1, -1))
    assert shell("sample shipped/steps-toy.safetensors --n 3 --out f.png")[0] == 0


def test_sample_prompts(shell, shipped):
    drawn = {}
    for name, options in {
        "a": ["red red"],
        "b": ["red red", "--scale", "1"],
        "c": ["red", "--negative", "red"],
    }.items():
        command = "sample text-toy --n 3 --steps 3 --out"
        status, out, err = shell(command, f"{name}.npz", "--prompt", *options)
        assert (status, out, err) == (0, f"text-toy: images (3, 3, 32, 32) with prompts\n{name}.npz\n", "")
        with np.load(f"{name}.npz") as file:
            drawn[name] = file["images"]
            assert file["prompts"].tolist() == [options[0]] * 3
    lightest = checkpoints.load("text-toy").denoiser.net.red.item() * 2 / 24
    assert np.allclose(drawn["b"], lightest, atol=1e-4)
    assert np.allclose(drawn["a"], 2 * lightest, atol=1e-4)  # guidance, by itself of scale 2
    assert np.allclose(drawn["c"], lightest / 2, atol=1e-4)  # away from itself: nowhere


def test_sample_names_the_words_that_the_model_does_not_know(shell, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", SHIPPED)
    line = "sample ldm-shapes --n 1 --steps 1 --out a.npz --prompt"
    for typed, told in [
        ("a red circle.", ""),
        ("a pink circels", "--prompt: left out, as training never showed it: pink, circels (near: circle)"),
        ("猫", "--prompt: left out, as training never showed it: 猫; nothing is left of it"),
    ]:
        status, out, err = shell(line, typed)
        assert (status, err) == (0, f"minidiff: {told}\n" if told else "")
    assert "--negative: left out, as training never showed it: blurry" in shell(line, "", "--negative", "blurry")[2]


def test_sample_without_a_prompt_draws_captions_in_turn(shell, shipped):
    for options in ("", "--sampler ddim", "--sampler ddpm --eta 1", "--sampler dpm --eta 1"):
        assert shell(f"sample text-toy --n 5 --steps 2 {options} --out a.npz")[0] == 0
        assert np.load("a.npz")["prompts"].tolist() == shapes("test", 1000)[1][:5]


@pytest.mark.parametrize(
    "given, options",
    [
        ("", {"eta": 0.0, "order": 2}),
        ("--eta 0", {"eta": 0.0, "order": 2}),
        ("--sampler ddim", {"eta": 0.0, "order": 1}),
        ("--sampler ddim --eta 0.5", {"eta": 0.5, "order": 1}),
        ("--sampler ddpm", {"eta": 1.0, "order": 1}),
        ("--sampler dpm --eta 1", {"eta": 1.0, "order": 2}),
    ],
)
def test_the_sampler_of_prompts_is_the_one_that_was_named(shell, shipped, monkeypatch, given, options):
    walked = []

    @wraps(text_to_image)
    def spy(*arguments, **given):
        walked.append({name: given[name] for name in ("eta", "order")})
        return text_to_image(*arguments, **given)

    monkeypatch.setattr(generate, "text_to_image", spy)
    assert shell(f"sample text-toy --n 2 --steps 2 {given} --out a.npz")[0] == 0
    assert walked == [options]


BAD_SAMPLE = {
    "sample steps-toy --temperature 1 --out a.npz": "--temperature: steps-toy draws pictures without it",
    "sample steps-toy --steps 0 --out a.npz": "steps: got 0",
    "sample steps-toy --eta 2 --out a.npz": "eta: got 2.0",
    "sample steps-toy --sampler ddpm --eta 0.5 --out a.npz": "eta: got 0.5 with sampler='ddpm'",
    "sample steps-toy --sampler dpm --eta 0.5 --out a.npz": "eta: got 0.5 with sampler='dpm', expected 0 or 1",
    "sample text-toy --eta 0.5 --out a.npz": "eta: got 0.5 with sampler='dpm', expected 0 or 1",
    "sample steps-toy --sampler euler --out a.npz": "--sampler: invalid choice: 'euler'",
    "sample steps-toy --label 3 --out a.npz": "--label: got 3, expected between 0 and 2",
    "sample plain-toy --steps 3 --out a.npz": "--steps: plain-toy draws pictures without it",
    "sample labelled-toy --scale 3 --out a.npz": "--scale: labelled-toy draws pictures without it",
    "sample labelled-toy": "required: --out",
    "sample labelled-toy --out a.jpg": "expected a name that ends in .npz or .png",
    "sample labelled-toy --out a": "expected a name that ends in .npz or .png",
    "sample labelled-toy --out folder.npz": "is there and is no file",
    "sample labelled-toy --out /proc/a.npz": "cannot write",
    "sample labelled-toy --n 0 --out a.npz": "--n: got 0",
    "sample labelled-toy --n -5 --out a.npz": "--n: got -5",
    "sample labelled-toy --n 1000001 --out a.npz": "--n: got 1000001, expected between 1 and 1000000",
    "sample labelled-toy --n 10001 --out a.png": "--n: got 10001, expected between 1 and 10000",
    "sample labelled-toy --n ten --out a.npz": "--n: invalid int value",
    "sample labelled-toy --label 3 --out a.npz": "--label: got 3, expected between 0 and 2",
    "sample labelled-toy --label -1 --out a.npz": "--label: got -1",
    "sample labelled-toy --temperature nan --out a.npz": "images: got NaN",
    "sample labelled-toy --seed -1 --out a.npz": "--seed: got -1",
    "sample labelled-toy --prompt cat --out a.npz": "--prompt: labelled-toy draws pictures without words",
    "sample text-toy --label 1 --out a.npz": "without labels; tell it what to draw with --prompt",
    "sample text-toy --sampler ddpm --eta 0.5 --out a.npz": "eta: got 0.5 with sampler='ddpm'",
    f"sample text-toy --prompt {'red-' * 30} --out a.npz": "expected at most 24",
    "sample text-toy --temperature 1 --out a.npz": "--temperature: text-toy draws pictures without it",
    "sample labelled-toy --negative cat --out a.npz": "--negative: labelled-toy draws pictures without it",
    "sample plain-toy --label 1 --out a.npz": "--label: plain-toy draws pictures without labels",
    "sample plain-toy --temperature 1 --out a.npz": "--temperature: plain-toy draws pictures without it",
    "sample code-toy --out a.npz": "there is nothing to sample, Silent is no distribution over pictures",
    "sample points-toy --out a.npz": "draws points of shape (2,)",
    "sample plain-toys --out a.npz": "Did you mean plain-toy? There are: code-toy, labelled-toy, plain-toy, points-",
    "sample none.safetensors --out a.npz": "none.safetensors: cannot be read (No such file",
    "sample shipped --out a.npz": "shipped: no such checkpoint",
    "sample ./shipped --out a.npz": "shipped: is a folder",
    "sample broken.safetensors --out a.npz": "broken.safetensors: cannot be read (Error while deserializing",
}


@pytest.mark.parametrize("line", BAD_SAMPLE)
def test_sample_refuses(line, shell, shipped):
    Path("folder.npz").mkdir()
    Path("broken.safetensors").write_bytes(Path("shipped/plain-toy.safetensors").read_bytes())
    with open("broken.safetensors", "ab") as file:
        file.write(b"x")
    before = sorted(os.listdir())
    assert refused(shell(line), BAD_SAMPLE[line])
    assert sorted(os.listdir()) == before


def test_every_recipe_trains_and_samples_or_says_why_not(shell, monkeypatch, photographs):
    monkeypatch.setattr(checkpoints, "SHIPPED", SHIPPED)  # some start from what an earlier lesson trained
    monkeypatch.setattr(Recipe, "held_out_loss", lambda *_: 0.5)  # compared with every card in tests/recipes
    left = [name for name in RECIPES if name.endswith(("-toy", "-paper"))]  # small ones; one for a GPU
    for name in RECIPES.keys() - left:
        assert shell(f"train {name} --steps 1 --out {name}.safetensors")[0] == 0, name
        assert checkpoints.card(f"{name}.safetensors")["model"] is not None, name
        line = f"sample {name}.safetensors --n 3 --out a.npz"
        if RECIPES[name].generate is None:
            assert refused(shell(line), "nothing to sample")
        elif len(RECIPES[name].shape) == 1:
            assert refused(shell(line), "draws points of shape (2,)")
        else:
            assert shell(line)[0] == 0, name
            images = np.load("a.npz")["images"]
            assert images.shape == (3, *RECIPES[name].shape) and images.dtype == np.float32
            assert abs(images).max() <= 1


def test_what_was_trained_is_sampled_before_what_is_shipped(shell, shipped):
    shell("train labelled-toy --seed 5")
    out = shell("sample labelled-toy --n 3 --temperature 0 --out a.npz")[1]
    assert out.startswith("labelled-toy: the model that you have trained, ") and "/data/trained/labelled-toy." in out
    own = checkpoints.load(Path("data/trained/labelled-toy.safetensors"))
    assert np.array_equal(np.load("a.npz")["images"], own.means.detach().clamp(-1, 1).numpy())


def test_a_part_that_was_trained_draws_with_the_other_parts(shell, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", SHIPPED)
    assert shell("train cascade-emoji-16 --steps 1")[0] == 0
    out = shell("sample cascade-emoji-32 --n 1 --steps 1 --prompt owls --out a.npz")
    assert out[1].startswith("cascade-emoji-16: the model that you have trained, ") and out[0] == 0
    assert np.load("a.npz")["images"].shape == (1, 3, 32, 32) and "owls" in out[2]


def test_a_damaged_photograph_is_named(shell, photographs, tmp_path):
    (photographs / "bee" / "notes.jpg").write_text("which bees these are")
    out = shell("train ddpm-folder --steps 1 --out a.safetensors")[1]
    assert out.startswith("24 pictures in 2 classes: ant 12, bee 12; left out: 1 (bee/notes.jpg: no picture, ")
    for path in photographs.glob("bee/*.png"):
        path.unlink()
    (photographs / "bee" / "another.jpg").write_text("as read once")
    line = "train ddpm-folder --steps 1 --out b.safetensors"
    folder._read.cache_clear()
    assert refused(shell(line), "bee/another.jpg' cannot be read", "remove it, as no picture of bee is left")
    assert not list(tmp_path.glob("b.*"))


def test_a_learners_folder_decides_the_labels_and_is_on_the_card(shell, photographs):
    moved = photographs.rename("mine")
    assert refused(shell("train ddpm-folder --steps 1 --out a.safetensors"), "which is no folder")
    assert refused(shell("train labelled-toy --folder mine --out a.safetensors"), "is not trained on a folder")
    assert refused(shell("train ddpm-folder --folder= --steps 1 --out a.safetensors"), "--folder: got ''")
    assert shell(f"train ddpm-folder --folder {moved} --steps 1 --out a.safetensors")[0] == 0
    card = checkpoints.card("a.safetensors")
    assert card["model"]["net"]["classes"] == 2 and f"--folder {moved} --steps 1 " in card["command"]
    assert card["classes"] == ["ant", "bee"]
    shutil.rmtree(moved)  # who samples needs no folder
    out = shell("sample a.safetensors --n 3 --steps 2 --out a.npz")[1]
    drawn = np.load("a.npz")
    assert drawn["images"].shape == (3, 3, 32, 32) and drawn["labels"].tolist() == [0, 1, 0]
    assert drawn["classes"].tolist() == ["ant", "bee"] and "with labels: 0 ant, 1 bee\n" in out
    for label in ("bee", "Bee", "1"):
        out = shell(f"sample a.safetensors --n 2 --steps 1 --label {label} --out a.npz")[1]
        assert np.load("a.npz")["labels"].tolist() == [1, 1] and "with labels: 1 bee\n" in out
    line = "sample a.safetensors --n 2 --steps 1 --label be --out b.npz"
    assert refused(shell(line), "--label: got 'be', did you mean bee? expected one of ant, bee, or 0 to 1")


def test_folders_with_numbers_for_names_are_asked_for_by_name(shell, photographs):
    for name in ("2", "10"):
        shutil.copytree(photographs / "ant", photographs / name)
    for name in ("ant", "bee"):
        shutil.rmtree(photographs / name)
    shell("train ddpm-folder --steps 1 --out a.safetensors")
    assert "with labels: 1 10\n" in shell("sample a.safetensors --n 1 --steps 1 --label 10 --out a.npz")[1]
    assert "with labels: 0 2\n" in shell("sample a.safetensors --n 1 --steps 1 --label 2 --out a.npz")[1]
    assert refused(shell("sample a.safetensors --n 1 --label 1 --out b.npz"), "got '1'", "expected one of 2, 10")


@pytest.fixture
def lessons(monkeypatch):
    asked = []

    def lesson(number, *claims):
        def measure(seeds, full):
            asked.append((number, seeds, full))
            return [Claim(number, *claim) for claim in claims]

        return measure

    small, few = "digits are few", ("long", "2", "?", None, "slow")
    claims = {
        "00": lesson("00", ("pixels beat a Gaussian", "≤ 2²", "1.9 against 2.9 ± 0.1", True, "")),
        "01": lesson("01", ("the code is small", "1 %", "0.4", False, small), few),
    }
    monkeypatch.setattr(rooms, "lessons", lambda: list(claims))
    monkeypatch.setattr(rooms, "part", lambda lesson, name: types.SimpleNamespace(**{name: claims[lesson]}))
    return asked


def test_scorecard(shell, lessons):
    status, out, err = shell("scorecard")
    assert (status, err) == (0, "") and lessons == [("00", [0, 1, 2], False), ("01", [0, 1, 2], False)]
    assert [line for line in out.splitlines() if line.startswith("Lesson")] == ["Lesson 00", "Lesson 01"]
    assert "the code is small" in out and out.endswith("3 claims: 1 hold, 1 do not, 1 not measured\n")


def test_scorecard_options(shell, lessons):
    assert shell("scorecard 01 01 --full --seeds 1")[0] == 0
    assert lessons == [("01", [0], True)]


@pytest.mark.parametrize("line", ["scorecard 07", "scorecard 00 7", "scorecard --seeds 0", "scorecard --seeds x"])
def test_scorecard_refuses(line, shell, lessons):
    assert refused(shell(line)) and not lessons


def test_help_tells_every_option(capsys, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", SHIPPED)
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0
        parser = cli._parser()._subparsers._group_actions[0].choices[command]
        assert all(action.help and action.help != argparse.SUPPRESS for action in parser._actions)
        told = capsys.readouterr().out
        assert f"example:\n  python -m minidiff {command}" in told and parser.description.endswith(".")
        if command in ("train", "sample"):
            names = {name.strip(",") for name in told.split()}
            assert names >= (set(RECIPES) if command == "train" else {"ddpm-digits", "ldm-shapes"})


def test_each_example_of_the_help_is_understood():
    for command, (_, _, example) in cli.COMMANDS.items():
        assert cli._parser().parse_args([command, *shlex.split(example)]).command == command


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(commands, "_asked", lambda args: {}["a fault"])
    with pytest.raises(KeyError):
        cli.main(["train", "plain-toy"])


def test_doctor_finds_all_well(shell, shipped):
    status, out, err = shell("doctor")
    lines = out.splitlines()
    assert all(line.startswith("[OK]   ") for line in lines[:-1]), out
    assert (status, lines[-1]) == (0, "everything is there")
    assert [line[7:].split(":")[0] for line in lines[:-1]] == [need for need, _, _ in doctor.NEEDS]
    assert f"torch {torch.__version__.split('+')[0]}" in out.replace(torch.__version__, torch.__version__.split("+")[0])
    assert "1500 + 297" in out and "6 readable: code-toy, labelled-toy, plain-toy, points-toy, steps-toy, " in out


def failing(out):
    return [line[7:].split(":")[0] for line in out.splitlines() if line.startswith("[FAIL]")]


MISSING = {
    "torch": "torch and torchvision",
    "torchvision": "torch and torchvision",
    "jupyterlab": "Jupyter",
    "jupyter_client.kernelspec": "Jupyter",
    "ipywidgets": "widgets",
    "anywidget": "widgets",
    "tqdm": "other packages",
    "skimage": "other packages",
    "psutil": "memory",
}


@pytest.mark.parametrize("module", MISSING)
def test_doctor_without_a_package(module, shell, shipped, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # its import raises ImportError
    status, out, err = shell("doctor")
    assert status == 1 and MISSING[module] in failing(out) and err == ""
    assert "What to do: " in next(line for line in out.splitlines() if line.startswith("[FAIL]"))
    assert module in ("torch",) or len(failing(out)) == 1


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def test_doctor_on_a_house_in_disorder(shell, shipped, monkeypatch):
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.20.1+cpu" if name == "torchvision" else version(name))
    monkeypatch.setattr("torchvision.ops.nms", raising(RuntimeError("operator torchvision::nms does not exist")))
    monkeypatch.setenv("MINIDIFF_DEVICE", "cuda:99")
    Path("file").write_text("")
    monkeypatch.setenv("MINIDIFF_DATA", "file/below")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "file/home")
    Path("shipped/plain-toy.safetensors").write_text("{")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=5 * 10**8))
    monkeypatch.setattr("psutil.virtual_memory", lambda: types.SimpleNamespace(available=10**9))
    monkeypatch.setattr("sklearn.datasets.load_digits", raising(OSError()))
    monkeypatch.setattr("minidiff.data.emoji", raising(FileNotFoundError("sheet.webp")))
    status, out, err = shell("doctor")
    assert status == 1 and "torchvision 0.20.1+cpu is older than 0.26" in out
    assert "0.5 GiB free at" in out and "0.9 GiB available, 2 GiB are needed" in out
    files = ["emoji", "home folder", "data folder", "checkpoints"]
    assert failing(out) == ["torch and torchvision", "device", *files, "disk", "memory"]
    assert out.splitlines()[-1] == "8 of 16 to mend; begin with the first"
    assert sum("What to do: " in line for line in out.splitlines()) == 8


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("sys.version_info", (3, 10, 9), "3.10.9 is older than 3.11 to 3.14. What to do: install Python 3.11 to 3.14"),
        ("sys.version_info", (3, 15, 0), "3.15.0 is newer than 3.11 to 3.14"),
        ("sys.platform", "darwin", "a Mac with an Intel processor, for which PyTorch is not built"),
    ],
)
def test_doctor_says_for_what_the_packages_are_built(monkeypatch, capsys, name, value, told):
    monkeypatch.setattr(f"minidiff.cli.doctor.{name}", value)
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    assert doctor._examine(*doctor.NEEDS["version" not in name]) is False
    assert told in capsys.readouterr().out


def test_doctor_sees_whose_package_a_script_imports(monkeypatch, capsys, tmp_path):
    """A clone is a folder minidiff with the package in it, so a script beside the clone may import the folder."""
    clone = tmp_path / "minidiff" / "minidiff"
    clone.mkdir(parents=True)
    (clone / "__init__.py").write_text("")
    need = next(need for need in doctor.NEEDS if need[0] == "package")
    assert doctor._examine(*need)
    monkeypatch.setattr("minidiff.__file__", str(clone / "__init__.py"))
    assert doctor._examine(*need) is False
    told = capsys.readouterr().out.splitlines()[-1]
    assert "a script elsewhere gets" in told and "run `pip install -e .` again" in told


@pytest.mark.parametrize("column", ["", "x" * 300])
def test_doctor_fits_a_terminal(monkeypatch, capsys, column):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    doctor._examine("packages", lambda: "one two three " * 20 + column, "")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and all(len(line) <= 80 for line in lines if "xx" not in line)


def test_doctor_sees_two_builds_of_torch(shell, monkeypatch):
    monkeypatch.setattr("torchvision.ops.nms", raising(RuntimeError("operator torchvision::nms does not exist")))
    out = shell("doctor")[1]
    assert "torchvision::nms does not exist. What to do:" in out and "from one and the same index" in out


def test_doctor_without_checkpoints_or_installation(shell, monkeypatch):
    monkeypatch.setattr(metadata, "requires", raising(metadata.PackageNotFoundError("minidiff")))
    status, out, err = shell("doctor")
    assert "none in" in out and "git checkout -- data/checkpoints" in out
    assert failing(out) == ["torch and torchvision", "Jupyter", "widgets", "other packages", "checkpoints"]
    assert out.count("No package metadata was found for minidiff") == 4


SIGNS = "² ≤ ± – … → “α” 猫 🔴 é \udce9"


@pytest.mark.parametrize("encoding", ["cp932", "cp1252", "ascii", "latin-1", "utf-8", "gbk", "koi8-r", "utf-16"])
def test_what_is_printed_never_ends_the_program(monkeypatch, encoding):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    streams.make_tolerant()
    print(SIGNS)
    print(SIGNS, file=sys.stderr, flush=True)
    sys.stdout.flush()
    told = sys.stdout.buffer.getvalue().decode(encoding)
    assert sys.stderr.buffer.getvalue().decode(encoding) == told and told.strip().endswith("\\udce9")
    if encoding == "ascii":
        assert told.split()[:7] == ["^2", "<=", "+-", "-", "...", "->", '"alpha"']
    if encoding == "utf-8":
        assert told.startswith(SIGNS[:-1])


@pytest.mark.parametrize("encoding", ["cp932", "cp1252", "ascii"])
def test_every_command_prints_in_any_code_page(monkeypatch, encoding, shipped, lessons):
    monkeypatch.setattr(cli, "COMMANDS", {name: (*told[:2], "²") for name, told in cli.COMMANDS.items()})
    monkeypatch.setenv("COLUMNS", "80")
    for line in (
        "scorecard",
        "train nothing²",
        "sample text-toy --n 1 --steps 1 --out é猫.npz",
        "doctor",
        "train --help",
    ):
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True))
        try:
            cli.main(line.split())
        except SystemExit as stop:
            assert stop.code == 0
        out, err = (stream.buffer.getvalue().decode(encoding) for stream in (sys.stdout, sys.stderr))
        assert (out or err) and "Traceback" not in err
        assert max(map(len, out.splitlines()), default=0) <= 80 or line == "doctor"


def python(*args, **kwargs):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *args], **pipes | kwargs)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from test_cli import RECIPES, Labelled, Recipe, X, Y, EVENTS, parts
from minidiff.cli.main import main
from minidiff.train import loop
loop.SAVE_SECONDS = 0.0
parts.PARTS["Labelled"] = Labelled
RECIPES["labelled-toy"] = Recipe(Labelled, lambda split: (X, Y), {{"ci": 5}}, batch=16)
EVENTS[60] = lambda: print("at step 60", flush=True)
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_as_the_user_presses_it(tmp_path):
    code = CHILD.format(tests=str(Path(__file__).parent))
    line = "train labelled-toy --seconds 300 --out a.safetensors --resume"
    with python("-c", code, *line.split(), cwd=tmp_path) as child:
        assert child.stdout.readline() == "at step 60\n", child.stderr.read()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "") and "Traceback" not in err
    assert err.splitlines()[-1] == "minidiff: interrupted: the same command goes on from a.state"
    assert sorted(os.listdir(tmp_path)) == ["a.state"]


def test_a_reader_who_goes_away_is_no_fault(tmp_path):
    """As `| head -1` does."""
    code = CHILD.format(tests=str(Path(__file__).parent))
    with python("-c", code, *"train labelled-toy --steps 5 --out a.safetensors".split(), cwd=tmp_path) as child:
        child.stdout.close()
        err = child.stderr.read()
    assert child.returncode == 141 and "rror" not in err, err
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_as_a_user_runs_it(tmp_path):
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    runs = [python("-m", "minidiff", *line.split(), cwd=tmp_path, env=env) for line in ("train nothing", "doctor")]
    (out, err), (told, warned) = [run.communicate(timeout=120) for run in runs]
    assert (out, runs[0].returncode) == ("", 2)
    assert err.startswith("minidiff: no recipe named 'nothing': ") and err.count("\n") == 1
    assert runs[1].returncode == (1 if "[FAIL]" in told else 0) and warned == ""
    assert len(told.splitlines()) == len(doctor.NEEDS) + 1 and os.listdir(tmp_path) == ["data"]


def test_an_empty_path_is_refused_and_a_tilde_is_the_home_folder(shell, monkeypatch, tmp_path):
    assert refused(shell("train labelled-toy", "--out", ""), "--out: got ''")
    assert refused(shell("train ddpm-folder --steps 1", "--folder", ""), "--folder: got ''")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert shell("train labelled-toy --out ~/a.safetensors")[0] == 0
    assert (tmp_path / "home" / "a.safetensors").is_file() and not Path("~").exists()


def test_an_option_that_would_change_nothing_is_refused(shell, shipped):
    line = "sample text-toy --n 2 --steps 2 --negative red --out a.npz"
    assert refused(shell(f"{line} --scale 1"), "--negative: nothing is moved away from at --scale 1")
    assert shell(f"{line} --scale 0")[0] == 0


def test_a_size_that_cannot_be_drawn_is_refused_by_what_can(shell, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", SHIPPED)
    line = "sample ldm-shapes --n 1 --steps 1 --out a.npz --size"
    assert refused(shell(f"{line} 32x"), "got '32x', expected a number of pixels")
    assert refused(shell(f"{line} 36"), "size: got 36, expected a multiple of 8")
    assert refused(shell(f"{line} 100000000"), "not enough memory")
    assert shell(f"{line} 40")[0] == 0


def test_a_part_of_another_recipe_is_refused(shell, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", SHIPPED)
    place = Path("data/trained/cascade-emoji-16.safetensors")
    place.parent.mkdir(parents=True)
    place.write_bytes((SHIPPED / "ddpm-digits.safetensors").read_bytes())
    out = shell("sample cascade-emoji-32 --n 1 --steps 1 --out a.npz")
    told = "cascade-emoji-16.safetensors: was made by the recipe ddpm-digits, expected cascade-emoji-16"
    assert out[0] == 2 and told in out[2] and not Path("a.npz").exists()


@pytest.mark.parametrize("name", ["pixels-digits", "dalle-shapes"])
def test_a_temperature_next_to_none_is_none(shell, monkeypatch, name):
    monkeypatch.setattr(checkpoints, "SHIPPED", SHIPPED)
    for kind, temperature in (("a", "1e-40"), ("b", "0")):
        assert shell(f"sample {name} --n 2 --temperature {temperature} --out {kind}.npz")[0] == 0
    assert np.array_equal(np.load("a.npz")["images"], np.load("b.npz")["images"])


def test_a_closed_stderr_ends_no_training(shell, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["train", "labelled-toy", "--out", "a.safetensors"]) == 0 and Path("a.safetensors").is_file()
