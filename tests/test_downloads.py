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

from minidiff import data
from minidiff.data import DownloadError, downloads

md5 = lambda content: hashlib.md5(content).hexdigest()  # noqa: E731
IMAGES = "train-images-idx3-ubyte.gz"


# --------------------------------------------------------------------------------------- small files, real formats


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


# ------------------------------------------------------------------------------------------------------ the server


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

    def begin(self, length, kind="application/octet-stream", status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_):
        pass


def whole(handler):
    handler.begin(len(handler.content))
    handler.wfile.write(handler.content)


def missing(handler):
    handler.send_error(404)


def refused(handler):
    handler.send_error(503)


def page(handler):
    handler.begin(24, "text/html")
    handler.wfile.write(b"<html>Please log in</html>"[:24])


def cut(handler):
    handler.begin(len(handler.content))
    handler.wfile.write(handler.content[: len(handler.content) // 2])


def says_less(handler):
    handler.begin(len(handler.content) // 2)
    handler.wfile.write(handler.content)


def says_nothing(handler):
    """No length at all, and half the file: HTTP/1.0 ends where the connection does."""
    handler.begin(None)
    handler.wfile.write(handler.content[: len(handler.content) // 2])


def flipped(handler):
    handler.content = handler.content[:50] + bytes([handler.content[50] ^ 1]) + handler.content[51:]
    whole(handler)


def silent(handler):
    handler.server.release.wait(20)


def half_then_silent(handler):
    handler.begin(len(handler.content))
    handler.wfile.write(handler.content[: len(handler.content) // 2])
    handler.wfile.flush()
    handler.server.release.wait(20)


def endless(handler):
    """Never the last byte, and nothing said of a length."""
    handler.begin(None)
    for _ in range(10_000):
        handler.wfile.write(bytes(1 << 16))


def drips(handler):
    """A slow line: each piece comes in time, all of them together do not."""
    handler.begin(len(handler.content))
    for start in range(0, len(handler.content), 600):
        handler.wfile.write(handler.content[start : start + 600])
        handler.wfile.flush()
        time.sleep(0.05)


def says_more(handler):
    """All of the file, and the end of the connection where more was promised."""
    handler.begin(len(handler.content) + 1000)
    handler.wfile.write(handler.content)


def garbage(handler):
    handler.wfile.write(b"\x00\xff not http at all\r\n\r\n")


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
    monkeypatch.setattr(downloads.tqdm, "_lock", own, raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


def kept(tmp_path):
    return sorted(str(p.relative_to(tmp_path / "data")) for p in (tmp_path / "data").rglob("*") if p.is_file())


# ----------------------------------------------------------------------------------------------------- when it works


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
    for size in (7, 16, 20, 45):
        x = data.mnist(size=size)[0]
        assert x.shape == (7, 1, size, size) and x.min() >= -1 and x.max() <= 1 and x[0].min() > 0.999
    assert data.mnist(size=7)[0][1:].std() < 0.2  # antialiased: noise of std 0.58 is averaged, not picked from
    assert data.cifar10(size=48)[0].shape == (10, 3, 48, 48)


def test_the_second_call_asks_nobody(server, tmp_path):
    first = data.mnist()
    asked = len(server.asked)
    assert asked == 4 and kept(tmp_path) == sorted(f"mnist/{name}" for name in MNIST)
    assert torch.equal(data.mnist()[0], first[0]) and data.mnist("test")[0].shape == (4, 1, 28, 28)
    assert len(server.asked) == asked


def test_files_put_there_by_hand_are_used(server, tmp_path):
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for name, content in MNIST.items():
        (tmp_path / "data" / "mnist" / name).write_bytes(content)
    assert data.mnist()[0].shape == (7, 1, 28, 28) and not server.asked


def test_the_next_mirror_is_tried(server, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{server.address}/fashion/", *datasets.MNIST.mirrors])
    assert torch.equal(data.mnist()[1], torch.frombuffer(bytearray(label_bytes()), dtype=torch.uint8).long())


def label_bytes():
    return gzip.decompress(MNIST["train-labels-idx1-ubyte.gz"])[8:]


# ------------------------------------------------------------------------------------------------ when it does not


@pytest.mark.parametrize(
    "way, reason",
    [
        (missing, "HTTP Error 404"),
        (refused, "HTTP Error 503"),
        (page, r"24 bytes came \(text/html\), but they are not the file"),
        (cut, "bytes came"),
        (says_less, "bytes came"),
        (says_nothing, "bytes came"),
        (flipped, "bytes came"),
        (endless, "more than 2,000,000 bytes came"),
        (silent, "timed out"),
        (half_then_silent, "timed out"),
        (garbage, "from http"),
    ],
)
def test_a_failure_is_told_and_leaves_nothing_half(server, tmp_path, monkeypatch, way, reason):
    server.ways[IMAGES] = way
    monkeypatch.setattr(downloads, "LIMIT", 2_000_000)
    if reason == "timed out":
        monkeypatch.setattr(downloads, "TIMEOUT", 0.3)
    with pytest.raises(DownloadError, match=reason) as caught:
        data.mnist()
    said = str(caught.value)
    for part in (IMAGES, f"{server.address}/mnist/{IMAGES}", str(tmp_path / "data" / "mnist"), "data.digits()"):
        assert part in said
    assert md5(MNIST[IMAGES]) in said and "by hand" in said
    assert kept(tmp_path) == []
    monkeypatch.setattr(downloads, "TIMEOUT", 5.0)
    server.ways.clear()
    server.release.set()
    assert data.mnist()[0].shape == (7, 1, 28, 28)


@pytest.mark.parametrize("way", [drips, says_more])
def test_a_whole_file_will_do_however_it_came(server, tmp_path, monkeypatch, way):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)  # drips takes half a second
    server.ways[IMAGES] = way
    assert data.mnist()[0].shape == (7, 1, 28, 28) and kept(tmp_path) == sorted(f"mnist/{name}" for name in MNIST)


def test_no_archive_is_larger_than_the_limit():
    assert downloads.LIMIT > 1.1 * 170_498_071  # CIFAR-10's; the others have a fifth of it at most


@pytest.mark.parametrize("room", [0, 3000])
def test_a_full_disk_is_told_and_leaves_nothing_half(server, tmp_path, monkeypatch, little_room, room):
    monkeypatch.setattr(datasets.MNIST, "mirrors", 2 * datasets.MNIST.mirrors)
    with little_room(room), pytest.raises(DownloadError, match=r"could not get train-images.*no room in .*mnist.*free"):
        data.mnist()
    assert kept(tmp_path) == [] and len(server.asked) == 1  # the other mirror would not make room
    assert data.mnist()[0].shape == (7, 1, 28, 28)


def test_no_room_to_unpack_is_told(server, tmp_path, monkeypatch, little_room):
    data.mnist()
    (tmp_path / "aside").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "aside"))
    with little_room(3000), pytest.raises(DownloadError, match="could not read MNIST: no room in .*aside .*set TMPDIR"):
        data.mnist()
    assert kept(tmp_path) == sorted(f"mnist/{name}" for name in MNIST) and not list((tmp_path / "aside").iterdir())


def test_a_disk_of_64_kib(server, small_disk, monkeypatch):
    monkeypatch.setenv("MINIDIFF_DATA", str(small_disk))
    (small_disk / "filler").write_bytes(bytes(61_000))
    with pytest.raises(DownloadError, match="no room in .*mnist .No space left on device.*MINIDIFF_DATA"):
        data.mnist()
    assert sorted(path.name for path in small_disk.rglob("*")) == ["filler", "mnist"]
    (small_disk / "filler").unlink()
    assert data.mnist()[0].shape == (7, 1, 28, 28)


def test_what_came_before_the_failure_is_kept(server, tmp_path):
    server.ways["t10k-images-idx3-ubyte.gz"] = missing
    with pytest.raises(DownloadError, match="could not get t10k-images"):
        data.mnist()
    assert kept(tmp_path) == sorted(f"mnist/{name}" for name in MNIST if name.startswith("train"))
    server.ways.clear()
    server.asked.clear()
    data.mnist()
    assert len(server.asked) == 2


def test_no_server_and_no_network(server, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")  # the discard port: nobody there
    with pytest.raises(DownloadError, match="could not get cifar-10-python.tar.gz(.|\n)*127.0.0.1:9.*refused"):
        data.cifar10()

    def offline(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(datasets.CIFAR10, "url", "https://www.example.org/cifar.tar.gz")
    with pytest.raises(DownloadError, match="https://www.example.org/.*name resolution"):
        data.cifar10()
    assert kept(tmp_path) == []


@pytest.mark.parametrize("name", list(MNIST))
@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:40] + b"?" + c[41:], lambda c: b""])
def test_a_damaged_file_is_fetched_again(server, tmp_path, name, damage):
    first = data.mnist()
    file = tmp_path / "data" / "mnist" / name
    file.write_bytes(damage(file.read_bytes()))
    assert torch.equal(data.mnist()[0], first[0])
    assert file.read_bytes() == MNIST[name] and len(server.asked) == 5


def test_a_damaged_file_is_never_read_when_it_cannot_be_fetched(server, tmp_path):
    data.cifar10()
    file = tmp_path / "data" / "cifar10" / datasets.CIFAR10.filename
    file.write_bytes(CIFAR[:-10])
    server.ways[file.name] = missing
    with pytest.raises(DownloadError, match="cifar10 is damaged(.|\n)*404"):
        data.cifar10()


class Trap:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_foreign_archive_is_never_unpickled(server, tmp_path, monkeypatch, by_hand):
    """CIFAR-10's parts are pickles: they are read only where the archive is the published one."""
    monkeypatch.chdir(tmp_path)
    foreign = cifar_archive(CIFAR_PARTS | {"data_batch_1": pickle.dumps(Trap())})
    file = tmp_path / "data" / "cifar10" / datasets.CIFAR10.filename
    server.ways[file.name] = missing
    if by_hand:
        file.parent.mkdir(parents=True)
        file.write_bytes(foreign)
    else:
        server.files[f"/cifar/{file.name}"] = foreign
        server.ways.clear()
    with pytest.raises(DownloadError, match="could not get cifar-10-python.tar.gz"):
        data.cifar10()
    assert not Path("sprung").exists()
    server.ways.clear()
    server.files[f"/cifar/{file.name}"] = CIFAR
    assert data.cifar10()[0].shape == (10, 3, 32, 32) and file.read_bytes() == CIFAR


def test_a_whole_file_from_another_process_will_do(server, tmp_path):
    def overtaken(handler):
        (tmp_path / "data" / "mnist" / IMAGES).write_bytes(handler.content)
        missing(handler)

    server.ways[IMAGES] = overtaken
    assert data.mnist()[0].shape == (7, 1, 28, 28)


def test_the_stop_button_leaves_nothing_half(server, tmp_path):
    def stop(handler):
        handler.begin(len(handler.content))
        handler.wfile.write(handler.content[:100])
        handler.wfile.flush()
        os.kill(os.getpid(), signal.SIGINT)
        handler.server.release.wait(0.2)
        handler.wfile.write(handler.content[100:])

    server.ways[IMAGES] = stop
    with pytest.raises(KeyboardInterrupt):
        data.mnist()
    assert kept(tmp_path) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(server, tmp_path):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    dead, living = folder / f"{IMAGES}.0000.part", folder / f"{IMAGES}.1111.part"
    dead.write_bytes(b"half")
    living.write_bytes(b"half")
    os.utime(dead, (0, time.time() - 60))
    data.mnist()
    assert living.exists() and not dead.exists()


# --------------------------------------------------------------------------------------------------- two processes

CHILD = """
import json, sys
from torchvision import datasets
from minidiff import data
for name, values in json.loads(sys.argv[1]).items():
    for attribute, value in values.items():
        setattr(getattr(datasets, name), attribute, value)
x, y = data.mnist()
print(x.sum().item(), y.tolist())
"""


def child(server):
    command = [sys.executable, "-c", CHILD, json.dumps(attributes(server.address))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_and_one_that_is_killed(server, tmp_path, monkeypatch):
    """Three are half through the first file at the same moment: one is killed there, another and this one go on."""
    meet = threading.Barrier(4, timeout=60)  # the three downloads and this test

    def together(handler):
        handler.begin(len(handler.content))
        handler.wfile.write(handler.content[:100])
        handler.wfile.flush()
        meet.wait()
        handler.server.release.wait(20)
        handler.wfile.write(handler.content[100:])

    server.ways[IMAGES] = together
    monkeypatch.setattr(downloads, "TIMEOUT", 60)
    killed, other = child(server), child(server)
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(data.mnist)
        meet.wait()
        assert len(kept(tmp_path)) == 3 and all(name.endswith(".part") for name in kept(tmp_path))
        killed.kill()
        killed.communicate()
        server.release.set()
    theirs, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    assert theirs.split(maxsplit=1)[1].strip() == str(ours.result()[1].tolist()) == str(list(label_bytes()))
    left = kept(tmp_path)
    assert len([name for name in left if name.endswith(".part")]) == 1  # the killed one's, and no other
    assert {name for name in left if not name.endswith(".part")} == {f"mnist/{name}" for name in MNIST}


# ------------------------------------------------------------------------------------------------ where, and bad input


def test_data_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "elsewhere"))
    assert data.data_dir() == tmp_path / "elsewhere"
    monkeypatch.setenv("MINIDIFF_DATA", "~/sets")
    assert data.data_dir() == Path.home() / "sets"
    monkeypatch.delenv("MINIDIFF_DATA")
    checkout = Path(downloads.__file__).parents[2]
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert data.data_dir() == checkout / "data"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.data_dir() == tmp_path / "cache" / "minidiff"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.data_dir() == Path.home() / ".cache" / "minidiff"


def test_data_dir_of_an_installed_package_is_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIDIFF_DATA", raising=False)
    monkeypatch.setattr(downloads, "__file__", str(tmp_path / "site-packages" / "minidiff" / "data" / "downloads.py"))
    (tmp_path / "site-packages" / "data").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.data_dir() == tmp_path / "cache" / "minidiff"


def test_a_folder_that_cannot_be_written(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot write in .*file/mnist .*set MINIDIFF_DATA"):
        data.mnist()
    assert not server.asked


@pytest.mark.parametrize("load", [data.mnist, data.fashion_mnist, data.cifar10])
@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"split": "valid"}, ValueError, "split: got 'valid'"),
        ({"split": True}, ValueError, "split: got True"),
        ({"size": 0}, ValueError, "size: got 0, expected between 1 and 1024"),
        ({"size": -1}, ValueError, "size: got -1"),
        ({"size": 10**6}, ValueError, "size: got 1000000"),
        ({"size": 28.0}, TypeError, "size: got 28.0"),
        ({"size": (28, 28)}, TypeError, "size: got .28, 28"),
    ],
)
def test_bad_input_is_refused_before_anything_is_fetched(server, load, arguments, error, match):
    with pytest.raises(error, match=match):
        load(**arguments)
    assert not server.asked
