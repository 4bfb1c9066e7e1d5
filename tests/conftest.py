"""For all tests: small sizes, one thread, the same seed for each test, and no way out of this machine."""

import ipaddress
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from hypothesis import settings

os.environ.setdefault("MINIDIFF_PROFILE", "ci")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: nothing above does that
os.environ.setdefault("MPLBACKEND", "Agg")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a script that started us in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


def _loopback(host) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except (ValueError, AttributeError, TypeError):
        return False


def _guarded(call, host_of):
    def guard(*args, **kwargs):
        host = host_of(args)
        if not _loopback(host):
            # not an OSError: what handles a failing network must not hide it
            raise RuntimeError(f"host: got {host!r}, expected this machine: tests use a loopback server")
        return call(*args, **kwargs)

    return guard


def _address(args):
    """The host that `sock.connect(address)` or `sock.sendto(data, ..., address)` names; None for a local socket."""
    return args[-1][0] if args[0].family in (socket.AF_INET, socket.AF_INET6) else None


@pytest.fixture(autouse=True, scope="session")
def loopback_only():
    """Refuse every connection and every name look-up beyond this machine, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name), _address))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, name, _guarded(getattr(socket, name), lambda args: args[0]))
        yield


@pytest.fixture(autouse=True)
def same_start():
    """Each test begins from seed 0 and leaves no figure open."""
    import minidiff

    minidiff.seed_everything(0)
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture
def little_room(capsys):
    """`with little_room(n)`: no file of this process grows beyond n bytes, as where a disk fills up half through.

    capsys, as what is printed must stay in memory: a progress bar that cannot be written would keep tqdm's lock.
    """
    resource = pytest.importorskip("resource", reason="this system has no limit to a file's size")

    @contextmanager
    def limited(n):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def forked():
    """forked(do): `do()` in a copy of this process, which has all loaded that this one has."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot copy a process")

    def start(do):
        process = multiprocessing.get_context("fork").Process(target=do, daemon=True)
        process.start()
        return process

    return start


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB, where the tests may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here ({error})")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A learner's folder of 24 pictures of two classes, where `ddpm-folder` looks for it."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "data" / "folder" / name).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "folder" / name / f"{i:02}.png")
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("MINIDIFF_FOLDER", raising=False)
    return tmp_path / "data" / "folder"
