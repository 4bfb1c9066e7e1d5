"""Several processes: started by a launcher they train together, one writes, and the death of one ends the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from minidiff import checkpoints
from minidiff.cli import launch
from minidiff.recipes import RECIPES

CPU = torch.device("cpu")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
WORKER = """
import os, sys, time
from pathlib import Path
from minidiff.cli.main import main
from minidiff.data.batches import Batches
from minidiff.train import loop

loop.CHECK_EVERY, loop.SAVE_SECONDS = 5, 0.0
take, second = Batches.__getitem__, os.environ["RANK"] == "1"

def pause(self, k):
    if k == 17 and second and "WAIT" in os.environ:
        Path("waiting.tmp").write_text(str(os.getpid()))
        Path("waiting.tmp").rename("waiting")
        time.sleep(600)
    return take(self, k)

def no_hands(*arguments):
    raise AssertionError("the second process writes")

Batches.__getitem__ = pause
if second:
    os.replace = os.fsync = Path.touch = no_hands
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def two(tmp_path):
    """Starts the command line in two processes, in tmp_path."""
    (tmp_path / "worker.py").write_text(WORKER)
    started = []

    def start(line, **environment):
        clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = [sys.executable, *TORCHRUN, "worker.py", *line.split()]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=clean | environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.terminate()  # not kill: torchrun has processes of its own to end
        process.wait()


@pytest.mark.slow
def test_two_processes_train_one_writes_and_a_dead_one_ends_the_run(two, tmp_path):
    line = "train ae-digits-2 --steps 40 --profile ci --resume --out "
    stopped = two(line + "killed.safetensors", WAIT="1")
    while not (tmp_path / "waiting").exists():
        assert stopped.poll() is None, stopped.communicate()[0]
        time.sleep(0.1)
    os.kill(int((tmp_path / "waiting").read_text()), signal.SIGKILL)
    output, _ = stopped.communicate(timeout=300)
    assert stopped.returncode != 0 and "SIGKILL" in output
    assert {path.name for path in tmp_path.iterdir()} == {"worker.py", "waiting", "killed.state"}
    for name in ("killed", "whole"):
        done = two(f"{line}{name}.safetensors")
        output, _ = done.communicate(timeout=300)
        assert done.returncode == 0 and "ae-digits-2: 40 steps by 2 processes, loss" in output, output
        assert output.count("steps by 2 processes") == 1
        assert checkpoints.card(tmp_path / f"{name}.safetensors")["steps"] == 40
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    files = {"worker.py", "waiting", "killed.safetensors", "killed.state", "whole.safetensors", "whole.state"}
    assert {path.name for path in tmp_path.iterdir()} == files


def test_a_process_by_itself_is_the_first_and_needs_no_accelerator(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    assert launch.together("ae-digits", RECIPES["ae-digits"], CPU) == {} and launch.first()
    monkeypatch.setenv("RANK", "1")
    assert not launch.first()


@pytest.mark.parametrize("told", ["WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"])
def test_a_launcher_is_noticed(monkeypatch, told):
    made = []
    monkeypatch.setattr("accelerate.Accelerator", lambda cpu: made.append(cpu) or "accelerator")
    monkeypatch.setenv(told, "2")
    assert launch.together("ae-digits", RECIPES["ae-digits"], CPU) == {"accelerator": "accelerator"} and made == [True]


def test_a_gan_is_trained_in_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="gan-digits is trained in one process"):
        launch.together("gan-digits", RECIPES["gan-digits"], CPU)


def test_the_real_engine_is_the_one_that_the_readme_names():
    """`torchrun` is this module's command."""
    from importlib.metadata import entry_points

    [torchrun] = entry_points(group="console_scripts", name="torchrun")
    assert torchrun.value == "torch.distributed.run:main" and Path(sys.executable).with_name("torchrun").exists()
