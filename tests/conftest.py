"""For all tests: small sizes, one thread, the same seed for each test, and no way out of this machine."""

import ipaddress
import os
import socket
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("MINIDIFF_PROFILE", "ci")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: nothing above does that
os.environ.setdefault("MPLBACKEND", "Agg")
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
