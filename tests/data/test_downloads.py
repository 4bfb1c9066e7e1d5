"""The downloaded sets, from a server on this machine that works, refuses, cuts, lies or falls silent."""

import gzip
import hashlib
import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets
from torchvision.datasets import utils

from minidiff import data
from minidiff.data import DownloadError, downloads

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def mnist_files(seed):
    draw = np.random.default_rng(seed)
    files = {}
    for part, n in (("train", 7), ("t10k", 4)):
        images = draw.integers(0, 256, (n, 28, 28), np.uint8)
        images[0] = 255
        files[f"{part}-images-idx3-ubyte.gz"] = idx(images)
        files[f"{part}-labels-idx1-ubyte.gz"] = idx(draw.integers(0, 10, n, np.uint8))
    return files


def cifar_parts():
    draw = np.random.default_rng(2)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    parts = {n: {"data": draw.integers(0, 256, (2, 3072), np.uint8), "labels": [3, i]} for i, n in enumerate(names)}
    return parts | {"batches.meta": {"label_names": list("abcdefghij")}}


def cifar_archive(parts):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in parts.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


MNIST, FASHION = mnist_files(0), mnist_files(1)
CIFAR_PARTS = {name: pickle.dumps(part) for name, part in cifar_parts().items()}
CIFAR = cifar_archive(CIFAR_PARTS)


def attributes(address):
    """What torchvision would have to say of these files: {class: {attribute: value}}, as JSON can carry it."""
    listed = {name: md5(content) for name, content in CIFAR_PARTS.items()}
    return {
        "MNIST": {"mirrors": [f"{address}/mnist/"], "resources": [[n, md5(c)] for n, c in MNIST.items()]},
        "FashionMNIST": {"mirrors": [f"{address}/fashion/"], "resources": [[n, md5(c)] for n, c in FASHION.items()]},
        "CIFAR10": {
            "url": f"{address}/cifar/{datasets.CIFAR10.filename}",
            "tgz_md5": md5(CIFAR),
            "train_list": [[n, m] for n, m in listed.items() if n.startswith("data")],
            "test_list": [["test_batch", listed["test_batch"]]],
            "meta": {"filename": "batches.meta", "key": "label_names", "md5": listed["batches.meta"]},
        },
    }


class Server(ThreadingHTTPServer):
    """Serves the files; `ways[file]` is a function of the handler that answers in another way."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {f"/mnist/{n}": c for n, c in MNIST.items()} | {f"/fashion/{n}": c for n, c in FASHION.items()}
        self.files[f"/cifar/{datasets.CIFAR10.filename}"] = CIFAR
        self.ways, self.asked, self.release = {}, [], threading.Event()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.content = self.server.files[self.path]
        self.server.ways.get(os.path.basename(self.path), whole)(self)

    def say(self, content):
        """Promise the whole file, and send this of it."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.go_on(content)

    def go_on(self, content):
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_):
        pass


def whole(handler):
    handler.say(handler.content)


def missing(handler):
    handler.send_error(404)


def cut(handler):
    handler.say(handler.content[:100])


def flipped(handler):
    handler.say(handler.content[:50] + bytes([handler.content[50] ^ 1]) + handler.content[51:])


def garbage(handler):
    handler.go_on(b"\x00\xff not http at all\r\n\r\n")


def silent(handler):
    handler.server.release.wait(20)


def half_then_silent(handler):
    cut(handler)
    silent(handler)


def drips(handler):
    """A slow line: each piece comes in time, all of them together do not."""
    handler.say(b"")
    for start in range(0, len(handler.content), 600):
        handler.go_on(handler.content[start : start + 600])
        time.sleep(0.05)


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name, values in attributes(server.address).items():
        for attribute, value in values.items():
            monkeypatch.setattr(getattr(datasets, name), attribute, value)
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(downloads, "TIMEOUT", 5.0)
    own = threading.RLock()  # a bar that is stopped as it draws keeps tqdm's lock: a later test would wait for ever
    monkeypatch.setattr(utils.tqdm, "_lock", own, raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def kept(tmp_path):
    """The files in the folder of downloads."""
    folder = tmp_path / "data"
    return lambda: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


ALL = sorted(f"mnist/{name}" for name in MNIST)


def labels():
    return list(gzip.decompress(MNIST[LABELS])[8:])


@pytest.mark.parametrize("load, files", [(data.mnist, MNIST), (data.fashion_mnist, FASHION)])
@pytest.mark.parametrize("split, part, n", [("train", "train", 7), ("test", "t10k", 4)])
def test_mnist_and_fashion_mnist(server, load, files, split, part, n):
    x, y = load(split)
    raw = gzip.decompress(files[f"{part}-images-idx3-ubyte.gz"])[16:]
    pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(n, 1, 28, 28)
    assert x.dtype == torch.float32 and x.is_contiguous() and torch.equal(x, pixels / 127.5 - 1)
    assert y.dtype == torch.int64 and bytes(y.tolist()) == gzip.decompress(files[f"{part}-labels-idx1-ubyte.gz"])[8:]


@pytest.mark.parametrize("split, n", [("train", 10), ("test", 2)])
def test_cifar10(server, split, n):
    x, y = data.cifar10(split)
    parts = [part for name, part in cifar_parts().items() if name.startswith("data" if split == "train" else "test")]
    pixels = torch.from_numpy(np.concatenate([part["data"] for part in parts])).view(n, 3, 32, 32)
    assert x.dtype == torch.float32 and x.is_contiguous() and torch.equal(x, pixels / 127.5 - 1)
    assert y.dtype == torch.int64 and y.tolist() == sum((part["labels"] for part in parts), [])


def test_another_size(server):
    for size in (7, 45):
        x = data.mnist(size=size)[0]
        assert x.shape == (7, 1, size, size) and x.min() >= -1 and x.max() <= 1 and x[0].min() > 0.999
    assert data.mnist(size=7)[0][1:].std() < 0.2  # antialiased: noise of std 0.58 is averaged, not picked from


def test_the_second_call_asks_nobody_and_files_put_there_by_hand_are_used(server, kept, tmp_path):
    first = data.mnist()
    assert kept() == ALL
    server.asked.clear()
    (tmp_path / "data" / "cifar10").mkdir()
    (tmp_path / "data" / "cifar10" / datasets.CIFAR10.filename).write_bytes(CIFAR)
    assert torch.equal(data.mnist()[0], first[0]) and data.mnist("test")[0].shape == (4, 1, 28, 28)
    assert data.cifar10()[0].shape == (10, 3, 32, 32) and not server.asked


def test_a_slow_line_and_the_next_mirror_will_do(server, kept, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)  # drips takes half a second
    server.ways[IMAGES] = drips
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{server.address}/fashion/", *datasets.MNIST.mirrors])
    assert data.mnist()[1].tolist() == labels() and kept() == ALL


@pytest.mark.parametrize(
    "way, reason",
    [
        (missing, "HTTP Error 404"),
        (cut, "corrupted"),
        (flipped, "corrupted"),
        (silent, "timed out"),
        (half_then_silent, "timed out"),
        (garbage, "from http"),
    ],
)
def test_a_failure_is_told_and_leaves_nothing_half(server, kept, tmp_path, monkeypatch, way, reason):
    server.ways[IMAGES] = way
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3 if reason == "timed out" else 5.0)
    with pytest.raises(DownloadError, match=reason) as caught:
        data.mnist()
    for part in (f"{server.address}/mnist/{IMAGES}", tmp_path / "data" / "mnist", md5(MNIST[IMAGES]), "data.digits()"):
        assert str(part) in str(caught.value)
    assert kept() == [] and socket.getdefaulttimeout() is None
    monkeypatch.setattr(downloads, "TIMEOUT", 5.0)
    server.ways.clear()
    assert data.mnist()[1].tolist() == labels()


def test_no_server_and_no_network(server, kept, monkeypatch):
    def offline(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")  # the discard port: nobody there
    with pytest.raises(DownloadError, match="could not get cifar-10-python.tar.gz(.|\n)*127.0.0.1:9.*refused"):
        data.cifar10()
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(datasets.CIFAR10, "url", "https://www.example.org/cifar.tar.gz")
    with pytest.raises(DownloadError, match="https://www.example.org/.*name resolution"):
        data.cifar10()
    assert kept() == []


@pytest.mark.parametrize("room", [0, 3000])
def test_a_full_disk_is_told_and_leaves_nothing_half(server, kept, monkeypatch, little_room, room):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [*datasets.MNIST.mirrors, f"{server.address}/fashion/"])
    told = "could not get train-images.*cannot write in .*mnist.*free the disk, or set MINIDIFF_DATA"
    with little_room(room), pytest.raises(DownloadError, match=told):
        data.mnist()
    assert kept() == [] and set(server.asked) == {f"/mnist/{IMAGES}"}  # the other mirror would not make room
    assert data.mnist()[1].tolist() == labels()


def test_no_room_to_unpack_is_told(server, kept, tmp_path, monkeypatch, little_room):
    data.mnist()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "aside"))
    told = "could not read MNIST: cannot write in .*aside .*set TMPDIR"
    with little_room(3000), pytest.raises(DownloadError, match=told):
        data.mnist()
    assert kept() == ALL and not list((tmp_path / "aside").iterdir())


def test_a_folder_that_cannot_be_written(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot write in .*file/mnist .*set MINIDIFF_DATA"):
        data.mnist()
    assert not server.asked


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:40] + b"?" + c[41:], lambda c: b""])
def test_a_damaged_file_is_fetched_again_and_a_whole_one_is_not(server, tmp_path, damage):
    data.mnist()
    for name in MNIST:
        server.asked.clear()
        file = tmp_path / "data" / "mnist" / name
        file.write_bytes(damage(MNIST[name]))
        assert data.mnist()[1].tolist() == labels()
        assert file.read_bytes() == MNIST[name] and set(server.asked) == {f"/mnist/{name}"}


class Trap:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_a_foreign_archive_is_never_unpickled(server, tmp_path, monkeypatch):
    """CIFAR-10's parts are pickles: they are read only where the archive is the published one."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data" / "cifar10" / datasets.CIFAR10.filename
    file.parent.mkdir(parents=True)
    file.write_bytes(cifar_archive(CIFAR_PARTS | {"data_batch_1": pickle.dumps(Trap())}))
    server.ways[file.name] = missing
    with pytest.raises(DownloadError, match="cifar10 is damaged(.|\n)*404"):
        data.cifar10()
    server.ways[file.name] = whole
    assert data.cifar10()[0].shape == (10, 3, 32, 32) and file.read_bytes() == CIFAR
    assert not Path("sprung").exists()


def test_the_stop_button_leaves_nothing_half(server, kept):
    def stop(handler):
        handler.say(handler.content[:100])
        os.kill(os.getpid(), signal.SIGINT)
        handler.server.release.wait(0.2)

    server.ways[IMAGES] = stop
    with pytest.raises(KeyboardInterrupt):
        data.mnist()
    assert kept() == [] and socket.getdefaulttimeout() is None


CHILD = """
import json, sys
from torchvision import datasets
from minidiff.data import downloads
downloads.TIMEOUT = 300
for name, values in json.loads(sys.argv[1]).items():
    for attribute, value in values.items():
        setattr(getattr(datasets, name), attribute, value)
print(downloads.mnist()[1].tolist())
"""


def child(server):
    command = [sys.executable, "-c", CHILD, json.dumps(attributes(server.address))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_and_one_that_is_killed(server, kept, monkeypatch):
    """Three are half through the first file at the same moment: one is killed there, another and this one go on."""
    meet = threading.Barrier(4, timeout=200)  # the three downloads and this test

    def together(handler):
        if handler.headers["Method"] == "HEAD":  # torchvision's question whether the address leads elsewhere
            return whole(handler)
        handler.say(handler.content[:100])
        meet.wait()
        handler.server.release.wait(60)
        handler.go_on(handler.content[100:])

    server.ways[IMAGES] = together
    monkeypatch.setattr(downloads, "TIMEOUT", 300)
    killed, other = child(server), child(server)
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(data.mnist)
        meet.wait()
        for _ in range(1000):  # the server knows sooner than the last of them what it has sent
            if len(kept()) == 3:
                break
            time.sleep(0.02)
        assert len(kept()) == 3 and f"mnist/{IMAGES}" not in kept()
        killed.kill()
        killed.communicate()
        server.release.set()
    theirs, errors = other.communicate(timeout=200)
    assert other.returncode == 0, errors
    assert theirs.strip() == str(labels()) and ours.result()[1].tolist() == labels()
    assert set(kept()) > set(ALL) and len(kept()) == 5  # of the killed one, half a file that is set aside
    assert data.mnist()[1].tolist() == labels()


def test_a_whole_file_from_another_process_will_do(server, tmp_path):
    def overtaken(handler):
        (tmp_path / "data" / "mnist" / IMAGES).write_bytes(handler.content)
        missing(handler)

    server.ways[IMAGES] = overtaken
    assert data.mnist()[1].tolist() == labels()


def test_data_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIDIFF_DATA", "~/sets")
    assert data.data_dir() == Path.home() / "sets"
    monkeypatch.delenv("MINIDIFF_DATA")
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert data.data_dir() == Path(downloads.__file__).parents[2] / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with monkeypatch.context() as patch:  # installed: the two folders are no checkout's
        patch.setattr(downloads, "__file__", str(tmp_path / "site-packages" / "minidiff" / "data" / "downloads.py"))
        assert data.data_dir() == tmp_path / "cache" / "minidiff"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert data.data_dir() == tmp_path / "cache" / "minidiff"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert data.data_dir() == Path.home() / ".cache" / "minidiff"


@pytest.mark.parametrize("load", [data.mnist, data.fashion_mnist, data.cifar10])
def test_bad_input_is_refused_before_anything_is_fetched(server, load):
    for arguments, error, told in [
        ({"split": "valid"}, ValueError, "split: got 'valid'"),
        ({"size": 0}, ValueError, "size: got 0, expected between 1 and 1024"),
        ({"size": 10**6}, ValueError, "size: got 1000000"),
        ({"size": (28, 28)}, TypeError, "size: got .28, 28"),
    ]:
        with pytest.raises(error, match=told):
            load(**arguments)
    assert not server.asked
