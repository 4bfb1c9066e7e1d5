"""Files that are written whole or not at all: the one way in which the course writes anything that matters."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

PICKLED = (".bin", ".ckpt", ".pkl", ".pt", ".pth")  # endings of files whose reading may run a program
STALE = 600.0  # seconds: a temporary file untouched for so long has lost its writer


@contextmanager
def whole(path: Path, remedy: str = "free the disk, or choose another place") -> Iterator:
    """A binary file that takes the place of `path` when the block ends well; if not, `path` stays as it was.

    Whoever is killed on the way leaves the old file or the new one, never a half. Each writer has a temporary file of
    its own beside `path`, so two at once do not mix; those that a kill has left are removed by a later writer.
    OSError names the file, the reason and the remedy where it cannot be written.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with _named(path, remedy):
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # or the new name could reach the disk before its contents
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    _sweep(path)


@contextmanager
def _named(path: Path, remedy: str) -> Iterator:
    """An OSError, also one that hides behind another exception, becomes one that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = error
        while reason and not isinstance(reason, OSError):  # torch.save raises its own error over it
            reason = reason.__cause__ or reason.__context__
        if not reason and "null byte" not in str(error):
            raise
        left = "It is as it was" if os.path.lexists(path) else "Nothing was written"
        what = getattr(reason, "strerror", None) or reason or error
        raise OSError(f"{path}: cannot be written ({what}). {left}: {remedy}") from error


def _sync(folder: Path) -> None:
    """The new name, too, is to be on the disk; where folders cannot be opened it will be."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _sweep(path: Path) -> None:
    for old in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        with suppress(OSError):  # another process may have been faster
            if time.time() - old.stat().st_mtime > STALE:
                old.unlink()
