"""Published weights from huggingface.co: what there is, where it lands, and fetching it once, with progress.

Each file is written beside its place and moved there when it has the published size and sha256; a part that is left by
a break is gone on with. Nothing that is fetched is run.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from minidiff.data import data_dir
from minidiff.support import expect

SPARE = 2**30  # bytes that must stay free on the disk
DIFFUSERS = ("unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json")
DIFFUSERS += ("vae/diffusion_pytorch_model.fp16.safetensors", "text_encoder/config.json")
DIFFUSERS += ("text_encoder/model.fp16.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt")
DIFFUSERS += ("tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json", "model_index.json")


class Published(NamedTuple):
    """One model on huggingface.co: its repository there, the files that are wanted, its licence and their size."""

    repository: str
    files: tuple[str, ...]
    licence: str
    size: str


PUBLISHED = {
    "sd-1.5": Published(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        DIFFUSERS,
        "CreativeML Open RAIL-M, which names uses that it forbids: "
        "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
        "2.1 GB",
    ),
    "clip-vit-large-patch14": Published(
        "openai/clip-vit-large-patch14",
        ("model.safetensors", "preprocessor_config.json", "vocab.json", "merges.txt", "config.json"),
        "MIT: https://github.com/openai/CLIP/blob/main/LICENSE",
        "1.7 GB",
    ),
}


class FetchError(OSError):
    """Weights could not be fetched; the message says why, what is kept and what to do."""


def place(name: str) -> Path:
    """The folder of a published model: pretrained/NAME in the data folder."""
    expect.choice("NAME", name, PUBLISHED)
    return data_dir() / "pretrained" / name


def fetched(name: str) -> bool:
    """Is all of it there?"""
    return all((place(name) / file).is_file() for file in PUBLISHED[name].files)


def fetch(name: str, endpoint: str | None = None) -> Path:
    """The folder of a published model, for `pretrained.load`: fetched unless it is there, with its licence named.

    endpoint: another address than huggingface.co (or than HF_ENDPOINT's). FetchError where it cannot be had; what has
    come until then is kept, and the same call goes on from there. ValueError for another name than `PUBLISHED` has.
    """
    folder = place(name)
    wanted = PUBLISHED[name]
    if fetched(name):
        return folder
    from huggingface_hub import HfApi, constants  # here: it takes long to import

    address = (endpoint or constants.ENDPOINT).rstrip("/")
    print(f"{name}: {wanted.size} from {address}/{wanted.repository}\nlicence: {wanted.licence}\ninto {folder}")
    with _explained(name, wanted, folder, address):
        told = HfApi(endpoint=address).model_info(wanted.repository, files_metadata=True)
        there = {file.rfilename: file for file in told.siblings}
        if missing := [file for file in wanted.files if file not in there]:
            raise FetchError(f"{wanted.repository} has no {', '.join(missing)} any more")
        _room_for(folder, sum(there[file].size for file in wanted.files if not (folder / file).is_file()))
        for file in wanted.files:
            if not (folder / file).is_file():
                _fetch_file(address, wanted.repository, told.sha, there[file], folder / file)
    return folder


def _fetch_file(address: str, repository: str, revision: str, entry, whole: Path) -> None:
    """One file, by a part beside it that is named after the version: one of another version is not gone on with."""
    part = whole.with_name(f".{whole.name}.{entry.blob_id[:8]}.part")
    whole.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        if file.tell() > entry.size:
            file.truncate(0)
        _append(file, address, repository, revision, entry)
        file.flush()
        os.fsync(file.fileno())
    if not _is(part, entry):
        part.unlink()
        raise FetchError(f"{entry.rfilename} came damaged: it is not what its repository says, and was thrown away")
    os.replace(part, whole)


def _append(file: BinaryIO, address: str, repository: str, revision: str, entry) -> None:
    """What the open file lacks."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository, entry.rfilename, revision=revision, endpoint=address)
    location = get_hf_file_metadata(url, endpoint=address).location
    headers = build_hf_headers() if location.startswith(address) else {}  # a token is not for other servers
    told = {"expected_size": entry.size, "displayed_filename": entry.rfilename}
    http_get(location, file, resume_size=file.tell(), headers=headers, **told)


def _is(part: Path, entry) -> bool:
    """Has the file the published size and, where one is published, the sha256?"""
    if part.stat().st_size != entry.size:
        return False
    with part.open("rb") as file:
        return entry.lfs is None or hashlib.file_digest(file, "sha256").hexdigest() == entry.lfs.sha256


def _room_for(folder: Path, size: int) -> None:
    """FetchError unless so many bytes fit on the disk, and some more."""
    while not folder.exists():
        folder = folder.parent
    if (free := shutil.disk_usage(folder).free) < size + SPARE:
        needs = f"{(size + SPARE) / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free"
        raise FetchError(f"{needs} at {folder}; make room, or set MINIDIFF_DATA to a folder on another disk")


@contextmanager
def _explained(name: str, wanted: Published, folder: Path, address: str) -> Iterator[None]:
    """Whatever goes wrong becomes a FetchError that says what is kept and what to do."""
    again = f"`python -m minidiff fetch {name}` goes on with what is there"
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"interrupted: {again}") from stop
    except FetchError as error:
        raise FetchError(f"could not fetch {name}: {error}. {again}") from error
    except Exception as error:  # the library hands on its client's errors, which have no class in common
        raise FetchError(f"could not fetch {name}: {_reason(error, wanted, address, folder)} {again}") from error


def _reason(error: Exception, wanted: Published, address: str, folder: Path) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    page = f"{address}/{wanted.repository}"
    if status in (401, 403):
        return f"{page} asks who you are ({status}): accept its licence there, then `hf auth login`."
    if status == 404:
        return f"{page} is not there any more (404)."
    if status is None and not isinstance(error, OSError) or isinstance(error, ConnectionError):
        by_hand = f"Where there is none, bring the folder from another machine to {folder}"
        return f"no answer from {address} ({error}); it needs a network. {by_hand}, and"
    return f"{' '.join(str(error).split())}."
