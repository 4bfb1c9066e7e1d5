"""The file from which a run goes on: written whole or not at all, and read without running anything that is in it."""

import os
import zipfile
from pathlib import Path

import torch
from torch import nn

from minidiff.support import files


class StateFile:
    """A run's state on disk, and the settings that a run must share to go on from it.

    path: a file, present or not, in a folder that can be written. settings: name -> number, string or None.
    """

    def __init__(self, path, settings: dict):
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"resume: got {path!r} ({type(path).__name__}), expected a path")
        self.path = Path(path)
        self.settings = settings
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
        differ = [name for name in there | self.settings if not self._fits(name, there)]
        if differ:
            what = "; ".join(f"{name} {there.get(name)} there, {self.settings.get(name)} here" for name in differ[:3])
            raise ValueError(f"resume: {self.path} is of another run ({what}); remove it or name another file")
        return state

    def _fits(self, name: str, there: dict) -> bool:
        """Is this setting the one that the state was written with? The run may also be asked to go on for longer."""
        old = there.get(name)
        new = self.settings.get(name)
        longer = name in ("steps", "seconds") and None not in (old, new) and new > old
        return new == old or longer

    def write(self, state: dict) -> None:
        """Replace the file's state, whole or not at all. OSError that says what to do where there is no room."""
        with files.whole(self.path, "free the disk and start again, or name another file") as file:
            torch.save(state | {"settings": self.settings}, file)


def shapes(model: nn.Module) -> dict[str, str]:
    """Name -> dtype and shape of every tensor in the state of `model`: what two models must share to share weights."""
    return {name: f"{x.dtype} {tuple(x.shape)}" for name, x in model.state_dict().items()}
