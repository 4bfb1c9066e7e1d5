"""The standard sets of torchvision: fetched on first use, checked on every use, read by torchvision's own code.

What is kept is the published archives alone, and whole ones only: each is fetched in a folder of its own, compared with
torchvision's md5 and only then moved to its place. It is checked again whenever it is read, and unpacked aside.
"""

import errno
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.support import expect

TIMEOUT = 30.0  # seconds a server may stay silent
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WAITING = threading.Lock()


class DownloadError(RuntimeError):
    """A file could not be fetched. Nothing half is left; the message says what to do."""


def mnist(split: str = "train", size: int | None = None) -> tuple[Tensor, Tensor]:
    """MNIST (LeCun et al., 1998): images (60,000 or 10,000, 1, 28, 28) in [-1, 1], and the digits 0 … 9 as labels.

    `size` asks for another height and width. Downloaded on first use (11 MB) to `data_dir()`.
    ValueError for another split ("train", "test") or size (1 … 1024), `DownloadError` if it cannot be had.
    """
    return _load("mnist", "MNIST", split, size)


def fashion_mnist(split: str = "train", size: int | None = None) -> tuple[Tensor, Tensor]:
    """Fashion-MNIST (arXiv 1708.07747): ten kinds of clothing, otherwise as `mnist` (30 MB)."""
    return _load("fashion_mnist", "FashionMNIST", split, size)


def cifar10(split: str = "train", size: int | None = None) -> tuple[Tensor, Tensor]:
    """CIFAR-10 (Krizhevsky, 2009): images (50,000 or 10,000, 3, 32, 32), otherwise as `mnist` (170 MB)."""
    return _load("cifar10", "CIFAR10", split, size)


def data_dir() -> Path:
    """Where downloads land: MINIDIFF_DATA, else the checkout's data/ if writable, else the user's cache folder."""
    if named := os.environ.get("MINIDIFF_DATA"):
        return Path(named).expanduser().absolute()
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").is_file() and os.access(checkout / "data", os.W_OK):
        return checkout / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "minidiff"


def _load(name: str, dataset: str, split: str, size: int | None) -> tuple[Tensor, Tensor]:
    expect.choice("split", split, ("train", "test"))
    if size is not None:
        size = expect.integer("size", size, 1, 1024)
    from torchvision import datasets  # imported here: torchvision takes two seconds to load

    images, labels = _read(getattr(datasets, dataset), data_dir() / name, train=split == "train")
    if size is not None:
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True).clamp_(-1, 1)
    return images, labels


def _read(dataset, folder: Path, train: bool) -> tuple[Tensor, Tensor]:
    from torchvision.datasets.utils import extract_archive

    archives = [_fetch(folder / file, urls, md5) for file, urls, md5 in _sources(dataset)]
    with _aside(f"read {dataset.__name__}", Path(tempfile.gettempdir()), "TMPDIR") as root:
        unpacked = root / dataset.__name__ / "raw" if hasattr(dataset, "resources") else root
        unpacked.mkdir(parents=True, exist_ok=True)
        for archive in archives:
            extract_archive(archive, unpacked)
        read = dataset(root, train=train)
    pixels = torch.as_tensor(read.data)  # (N, H, W) or (N, H, W, C) uint8
    pixels = pixels.reshape(*pixels.shape[:3], -1).permute(0, 3, 1, 2).contiguous()  # (N, C, H, W)
    return (pixels / 127.5).sub_(1), torch.as_tensor(read.targets)


def _sources(dataset) -> list[tuple[str, list[str], str]]:
    """(file, its addresses, its md5) of each archive, as torchvision lists them: the MNIST family has several."""
    if hasattr(dataset, "resources"):
        return [(file, [mirror + file for mirror in dataset.mirrors], md5) for file, md5 in dataset.resources]
    return [(dataset.filename, [dataset.url], dataset.tgz_md5)]


def _fetch(whole: Path, urls: list[str], md5: str) -> Path:
    """The archive at `whole`, fetched from the first of `urls` that has it unless it is there and undamaged."""
    from torchvision.datasets.utils import check_integrity, download_url

    if check_integrity(whole, md5):
        return whole
    reasons = [f"the file in {whole.parent} is damaged"] if whole.exists() else []
    with _aside(f"get {whole.name}", whole.parent, "MINIDIFF_DATA") as own, _patience():
        for url in urls:
            try:
                download_url(url, own, whole.name, md5)
                return (own / whole.name).replace(whole)
            except (OSError, HTTPException, RuntimeError) as error:
                if getattr(error, "errno", None) in FULL:
                    raise  # another mirror would not make room
                reasons.append(f"from {url}: {error}")
    if check_integrity(whole, md5):  # another process was luckier meanwhile
        return whole
    hint = f"Try again when the network answers, or put the file (md5 {md5}) into {whole.parent} by hand."
    offer = "Without a network, data.digits() has 1,797 real handwritten digits."
    raise DownloadError("\n  ".join([f"could not get {whole.name}:", *reasons]) + f"\n{hint} {offer}")


@contextmanager
def _aside(what: str, folder: Path, variable: str) -> Iterator[Path]:
    """A folder in `folder` that is this call's own: two processes may work at once, and nothing half is left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as own:
            yield Path(own)
    except OSError as error:
        told = f"could not {what}: cannot write in {folder} ({error}). Nothing half is left; free the disk, or"
        raise DownloadError(f"{told} set {variable} to a folder that has room and can be written") from error


@contextmanager
def _patience() -> Iterator[None]:
    """Let a server be silent for TIMEOUT seconds: torchvision waits as long as Python does by default, for ever."""
    with _WAITING:  # the default is one for all threads
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)
        try:
            yield
        finally:
            socket.setdefaulttimeout(before)
