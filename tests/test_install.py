"""What `make` installs with: torch's pair comes from one index or another, and pip does not work in silence."""

import functools
import http.server
import importlib.util
import json
import socket
import sys
import threading
import zipfile
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("install", Path(__file__).parents[1] / ".ci" / "install.py")
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)


def wheel(index: Path, name: str) -> None:
    """A package of this name that holds nothing, version 9.0+cpu, in the index."""
    folder = index / name
    info = f"{name}-9.0+cpu.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0+cpu\nRequires-Dist: numpy\n"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{name}-9.0+cpu-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path):
    """A folder that is served as a package index, and its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "index")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield tmp_path / "index", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Where pip installs to in a test, from a project that wants torch and torchvision."""
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=8", "numpy", "torchvision>=8"]\n')
    (tmp_path / "constraints.txt").write_text("torch==9.0\ntorchvision==9.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(install, "PATIENCE", 120)  # a loaded machine takes its time to start a process
    monkeypatch.setattr(install, "PIP", [*install.PIP, "--target", str(tmp_path / "target")])
    return tmp_path / "target"


@pytest.mark.parametrize(
    "there, installed, told",
    [
        (["torch", "torchvision"], ["torch-9.0+cpu.dist-info", "torchvision-9.0+cpu.dist-info"], False),
        (["torch"], [], True),
        ([], [], True),
    ],
)
def test_torch_and_torchvision_come_from_one_index_or_neither_does(index, target, there, installed, told, capfd):
    folder, address = index
    for name in there:
        wheel(folder, name)
    install.from_one_index(address, "constraints.txt")
    assert sorted(path.name for path in target.glob("*.dist-info")) == installed
    assert ("torch comes in its ordinary build" in capfd.readouterr().out) == told


def test_an_index_that_is_silent_is_passed_over(target, monkeypatch, capfd):
    monkeypatch.setattr(install, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        install.from_one_index(f"http://127.0.0.1:{silent.getsockname()[1]}", "constraints.txt")
    assert "No answer from http://127.0.0.1" in capfd.readouterr().out and not target.exists()


def test_only_a_linux_without_an_nvidia_gpu_gets_the_cpu_build_unless_an_index_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    for platform, gpu, index in (("darwin", False, ""), ("linux", True, ""), ("linux", False, install.CPU_BUILDS)):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(install, "nvidia", lambda gpu=gpu: gpu)
        assert install.torch_index() == index
    for named in ("", "https://example.org/whl/cu130"):
        monkeypatch.setenv("TORCH_INDEX", named)
        assert install.torch_index() == named


def test_a_driver_on_the_path_is_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "nvidia-smi").touch(0o755)
    assert install.nvidia()


def test_a_long_step_is_named_over_and_over_and_the_exit_code_is_pips(monkeypatch, capfd):
    monkeypatch.setattr(install, "EVERY", 0.05)
    speaks = "import time; print('Collecting torch>=8 (from minidiff)', flush=True); time.sleep(0.5); exit(3)"
    assert install.watched([sys.executable, "-c", speaks]) == 3
    assert capfd.readouterr().out.count(" s  Collecting torch>=8\n") > 1


def test_of_what_pip_installs_the_first_that_is_missing_is_named():
    coming = "Installing collected packages: pytest, Not.There, not_here"
    assert install.at(["Starting", coming]) == "Installing Not.There, 2 of 3"
    assert install.at([coming, "Successfully uninstalled pytest-9"]) == "Installing Not.There, 2 of 3"
    assert install.at(["Requirement already satisfied: numpy in ./.venv/lib"]) == "Requirement already satisfied: numpy"


def test_in_an_environment_of_its_own_jupyterlab_shows_markdown_as_a_page(monkeypatch, tmp_path):
    written = tmp_path / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    install.settle()
    assert not written.exists()  # a Python that others use as well
    monkeypatch.setattr(sys, "base_prefix", "elsewhere")
    install.settle()
    assert json.loads(written.read_text())["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
