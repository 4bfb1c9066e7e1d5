"""The standard sets of torchvision: fetched on first use, checked on every use, read by torchvision's own code.

What is kept is the published archives alone, and whole ones only: each arrives under a name of its own, is compared
with torchvision's md5 and only then gets its name. It is checked again whenever it is read, and unpacked aside.
"""

import errno
import hashlib
import http.client
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from minidiff import expect

TIMEOUT = 30.0  # seconds a server may stay silent
LIMIT = 200_000_000  # bytes of an archive: the largest, CIFAR-10's, has 170,498,071
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    with _room(f"read {dataset.__name__}", tempfile.gettempdir(), "TMPDIR"), tempfile.TemporaryDirectory() as root:
        unpacked = Path(root, dataset.__name__, "raw") if hasattr(dataset, "resources") else Path(root)
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
    if _has_md5(whole, md5):
        return whole
    reasons = [f"the file in {whole.parent} is damaged"] if whole.exists() else []
    with _part(whole) as part:
        for url in urls:
            try:
                _download(url, part, md5)
                return part.replace(whole)
            except (OSError, http.client.HTTPException) as error:
                reasons.append(f"from {url}: {error}")
    if _has_md5(whole, md5):  # another process was luckier meanwhile
        return whole
    raise DownloadError(
        "\n  ".join([f"could not get {whole.name}:", *reasons])
        + f"\nTry again when the network answers, or put the file (md5 {md5}) into {whole.parent} by hand. "
        "Without a network, data.digits() has 1,797 real handwritten digits."
    )


@contextmanager
def _part(whole: Path) -> Iterator[Path]:
    """A path beside `whole` that is this call's own, so that two processes may fetch at once; nothing is left there."""
    part = whole.with_name(f"{whole.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        hint = "set MINIDIFF_DATA to a folder that can be written"
        raise DownloadError(f"could not get {whole.name}: cannot write in {whole.parent} ({error}); {hint}") from error
    try:
        _sweep(whole.parent)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left: a living one writes to its part, or gives up, within TIMEOUT seconds."""
    for part in folder.glob("*.part"):
        with suppress(OSError):  # another process may sweep too
            if time.time() - part.stat().st_mtime > 10 * TIMEOUT:
                part.unlink()


def _download(url: str, part: Path, md5: str) -> None:
    """Write the answer of `url` to `part`; OSError or HTTPException if none comes or it is not the file with `md5`."""
    request = Request(url, headers={"User-Agent": "pytorch/vision"})  # known to the servers, which are torchvision's
    room = _room(f"get {Path(url).name}", part.parent, "MINIDIFF_DATA")
    with room, urlopen(request, timeout=TIMEOUT) as answer, open(part, "wb") as out:
        with tqdm(total=answer.length, unit="B", unit_scale=True, desc=Path(url).name, leave=False) as bar:
            while chunk := answer.read(1 << 16):
                out.write(chunk)
                bar.update(len(chunk))
                if out.tell() > LIMIT:  # a server that never ends would fill the disk
                    raise OSError(f"more than {LIMIT:,} bytes came: it is not the file")
        kind = answer.headers.get_content_type()
    if not _has_md5(part, md5):
        raise OSError(f"{part.stat().st_size:,} bytes came ({kind}), but they are not the file: another md5")


@contextmanager
def _room(what: str, folder, variable: str) -> Iterator[None]:
    """A disk that is full becomes a DownloadError: another mirror would not help."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        told = f"could not {what}: no room in {folder} ({error.strerror}). Nothing half is left; free the disk, or"
        raise DownloadError(f"{told} set {variable} to a folder with room") from error


def _has_md5(path: Path, md5: str) -> bool:
    """Is there a file with that md5 (it detects damage, not malice)?"""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
