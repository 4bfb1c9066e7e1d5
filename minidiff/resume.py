"""The file from which a run goes on: written whole or not at all, and read without running anything that is in it."""

import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import torch
from torch import nn

STALE = 600.0  # seconds: a temporary file untouched for so long has lost its writer


class StateFile:
    """A run's state on disk, and the settings that a run must share to go on from it.

    path: a file, present or not, in a folder that can be written. settings: name -> number, string or None.
    """

    def __init__(self, path, settings: dict):
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"resume: got {path!r} ({type(path).__name__}), expected a path")
        self.path, self.settings = Path(path), settings
        if self.path.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise ValueError(f"resume: got {str(path)!r}, expected a file in a folder that exists and can be written")

    def read(self) -> dict | None:
        """The state, on the CPU, or None where there is no file. ValueError if it is damaged or of another run."""
        try:
            with zipfile.ZipFile(self.path) as records:  # torch.load would take a bit that has turned for a weight
                if damaged := records.testzip():
                    raise ValueError(f"{damaged} has another checksum")
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            there = dict(state["settings"])
        except FileNotFoundError:
            return None
        except Exception as error:  # torch.load raises whatever the damage happens to lead to
            raise ValueError(f"resume: {self.path} holds no state of a run; remove it or name another file") from error
        differ = [name for name in there | self.settings if there.get(name) != self.settings.get(name)]
        if differ:
            what = "; ".join(f"{name} {there.get(name)} there, {self.settings.get(name)} here" for name in differ[:3])
            raise ValueError(f"resume: {self.path} is of another run ({what}); remove it or name another file")
        return state

    def write(self, state: dict) -> None:
        """Replace the file's state. Whoever is killed on the way leaves the old state or the new one, never a half.

        Each writer has a temporary file of its own, so that two do not write into one; those of the dead are removed.
        OSError that says what to do where there is no room.
        """
        name = f".{self.path.name}."
        with self._room(), self._instead(name) as file:
            torch.save(state | {"settings": self.settings}, file)
        for old in self.path.parent.glob(escape(name) + "*.tmp"):
            with suppress(OSError):  # another process may have been faster
                if time.time() - old.stat().st_mtime > STALE:
                    old.unlink()

    @contextmanager
    def _instead(self, name: str) -> Iterator:
        """A file that takes the place of the old one when the block ends well, and is gone if not."""
        file = tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=name, suffix=".tmp", delete=False)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # or the new name could reach the disk before its contents
            os.replace(file.name, self.path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise

    @contextmanager
    def _room(self) -> Iterator:
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch.save may hide the one behind the other
            reason = error
            while reason and not isinstance(reason, OSError):
                reason = reason.__context__
            if not reason:
                raise
            left = "is as it was" if self.path.exists() else "is not there"
            told = f"resume: {self.path} cannot be written ({reason.strerror or reason}) and {left}"
            raise OSError(f"{told}; free the disk and start again, or name another file") from error


def shapes(model: nn.Module) -> dict[str, str]:
    """Name -> dtype and shape of every tensor in the state of `model`: what two models must share to share weights."""
    return {name: f"{x.dtype} {tuple(x.shape)}" for name, x in model.state_dict().items()}
