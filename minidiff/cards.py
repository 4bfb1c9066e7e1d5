"""The two files of a checkpoint: NAME.safetensors, and beside it NAME.json, the card that says how it was made.

`write` is atomic for the pair, `read` finds every kind of damage before the weights are opened. The card's sha256
detects damage, not malice. Several processes may write and read the same pair at once.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

LIMIT = 200_000_000  # bytes of weights
CARD_LIMIT = 1_000_000  # bytes of a card
FIELDS = {"recipe": str, "args": dict, "command": str, "seed": int, "steps": int}
FIELDS |= {"data": str, "metrics": dict, "sha256": str, "versions": dict}
AGAIN = "Get it again: `git checkout -- data/checkpoints` for a shipped one, else `python -m minidiff train`"
ELSEWHERE = "Nothing was written: free the disk, or choose another place"
NO_JSON = "Nothing was written: give str, int, finite float, bool, None, lists, and dicts with str keys"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written: `CheckpointError(file, what is wrong, what to do)`."""

    def __str__(self):
        file, wrong, remedy = self.args
        return f"{file}: {wrong}{chr(10) if chr(10) in wrong else '. '}{remedy}"


def read(path: Path) -> dict:
    """The card of the weights in `path`, which it may wait beside after a kill between the two renames of `write`.

    CheckpointError if either is missing, unreadable, too large or broken, or the card is not the weights'.
    """
    with alone(path.parent):
        return _read(path)


@contextmanager
def opened(path: Path) -> Iterator:
    """The card, as `read` finds it, and safetensors' open file of the very weights that it was compared with."""
    with ExitStack() as stack:
        with alone(path.parent):
            card = _read(path)
            with errors_named(path):
                file = stack.enter_context(safe_open(path, framework="pt"))
        yield card, file  # whatever takes the name `path` now is another file


def _read(path: Path) -> dict:
    digest = _digest(path)
    with suppress(CheckpointError):
        if (found := _parse(_pending(path)))["sha256"] == digest:
            return found
    found = _parse(path.with_suffix(".json"))
    if found["sha256"] != digest:
        which = f"its sha256 is {digest[:12]}…, on the card {found['sha256'][:12]}…"
        raise CheckpointError(path, f"is damaged, or is not the file its card was written for ({which})", AGAIN)
    return found


def write(path: Path, blob: bytes, card: dict) -> None:
    """The weights `blob` to `path` and `card`, completed by their sha256, beside it.

    A kill at any moment leaves the old pair or the new one: between the two renames the new card waits under a pending
    name, where `read` finds it. CheckpointError for a card that `read` would refuse and for a place that cannot be
    written.
    """
    text = _text(path.with_suffix(".json"), card | {"sha256": hashlib.sha256(blob).hexdigest()})
    if len(blob) > LIMIT:
        raise CheckpointError(path, f"would have {len(blob):,} bytes, the limit is {LIMIT:,}", "Make the model smaller")
    with errors_named(path, "cannot be written", ELSEWHERE):
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.parent):
            _settle(path)
            try:
                with atomic(path) as file:
                    file.write(blob)
                    with atomic(_pending(path)) as waiting:
                        waiting.write(text)
            finally:
                _settle(path)


@contextmanager
def output(path: Path) -> Iterator:
    """`atomic` for one file by itself, with errors that say what to do."""
    with errors_named(path, "cannot be written", ELSEWHERE), alone(path.parent), atomic(path) as file:
        yield file


@contextmanager
def alone(folder: Path) -> Iterator:
    """While the block runs, whoever else asks for the same folder waits; a process that dies lets go of it.

    Without it, two that write one file would share its .part. No promise where folders have no locks (Windows).
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError, ValueError):  # reading or writing will tell what is wrong with the folder
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def atomic(path: Path) -> Iterator:
    """A binary file that gets the name `path` when the block ends well, whole and on the disk, and is gone if not."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # the new name, too, is to be on the disk; where folders cannot be opened it will be
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


@contextmanager
def errors_named(path: Path, wrong="cannot be read", remedy=AGAIN) -> Iterator:
    """Errors of the file system, of JSON and of a safetensors header become a CheckpointError for `path`."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError, TypeError, RecursionError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CheckpointError(path, f"{wrong} ({reason})", remedy) from error


def _settle(path: Path) -> None:
    """Give a pending card its name if the weights it was written for are there, else remove it."""
    with suppress(CheckpointError):
        if _parse(_pending(path))["sha256"] == _digest(path):
            os.replace(_pending(path), path.with_suffix(".json"))
    _pending(path).unlink(missing_ok=True)


def _pending(path: Path) -> Path:
    return path.with_suffix(".json.pending")


def _digest(path: Path) -> str:
    with errors_named(path), _open(path, LIMIT) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(path: Path) -> dict:
    with errors_named(path), _open(path, CARD_LIMIT) as file:
        return _valid(path, json.loads(file.read().decode()), AGAIN)


def _text(path: Path, card: dict) -> bytes:
    with errors_named(path, "would not be JSON", NO_JSON):
        text = json.dumps(_valid(path, card, NO_JSON), indent=2, allow_nan=False) + "\n"
        if json.loads(text) != card:
            raise ValueError("an entry would come back changed, such as a tuple as a list")
    return text.encode()


def _valid(path: Path, card, remedy: str) -> dict:
    if not isinstance(card, dict):
        raise CheckpointError(path, f"holds a {type(card).__name__}, expected a card (a JSON object)", remedy)
    wrong = [f"{key} ({kind.__name__})" for key, kind in FIELDS.items() if type(card.get(key)) is not kind]
    if wrong:
        raise CheckpointError(path, f"these entries are missing or of another type: {', '.join(wrong)}", remedy)
    return card


def _open(path: Path, limit: int):
    """`path`, opened if it is a regular file (a pipe would be waited for without end) of at most `limit` bytes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(path, f"is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}", AGAIN)
    if status.st_size > limit:
        raise CheckpointError(path, f"has {status.st_size:,} bytes, the limit is {limit:,}", AGAIN)
    return path.open("rb")
