"""What lies where in a folder of pictures: its splits, its classes, and what is left out, with the reason."""

import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from minidiff.data import pictures

SPLITS = {
    "train": "train training trainset",
    "val": "val valid validation valset dev eval evaluation",
    "test": "test testing testset",
}
SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words.split()}
FILLERS = set("set data dataset image images img imgs photo photos picture pictures split".split())  # "training_set"
SYSTEM = set("__macosx thumbs.db ehthumbs.db desktop.ini $recycle.bin lost+found @eadir __pycache__ icon\r".split(" "))
WANTED = "expected a folder with one sub-folder of pictures for each class (or with train/ and test/ above them)"


class Row(NamedTuple):
    """A picture: its file, the name of its class, and its split, "" in a folder that has none."""

    file: Path
    kind: str
    split: str


@dataclass
class Folder:
    """A folder with its pictures and its folders; those that hold no picture at any depth are left out of it."""

    name: str
    path: Path
    pictures: list[Path] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)

    def all(self) -> list[Path]:
        """Its pictures at every depth."""
        return self.pictures + [file for folder in self.folders for file in folder.all()]


class Layout:
    """The pictures of `path` as `rows`, by split and class; `left_out`: what is not among them -> why.

    A folder around the classes is gone into; hidden and system files are passed over at every depth. ValueError where
    nothing is a picture, and where it is not plain which folders are classes and which are splits.
    """

    def __init__(self, path: Path):
        self.path = path
        self.left_out: dict[str, str] = {}
        self._root = os.path.realpath(path)
        self._seen = {self._root}
        whole = self._folder(path)
        if not whole.all():
            raise ValueError(f"path: got '{path}', which has no picture, {WANTED}{self._first_left_out()}")
        self.base = unwrapped(whole, past_a_split=False)
        splits = _splits(self.base)
        self.rows = self._split_rows(splits) if splits else self._class_rows(self.base, self.base.name)

    def relative(self, path: Path) -> str:
        """The name by which a file is told of: from the folder on, with slashes."""
        return printable(path.relative_to(self.path).as_posix())

    def leave_out(self, path: Path, why: str) -> None:
        """Note that a file is not read, and why."""
        self.left_out[self.relative(path)] = why

    def _folder(self, path: Path) -> Folder:
        """What is in a folder, at every depth, in the order of names and numbers."""
        here = Folder(_name(path), path)
        for entry in sorted(path.iterdir(), key=lambda entry: natural(entry.name)):
            if is_hidden(entry.name):
                continue
            if os.path.isdir(entry):
                self._enter(entry, here)
            elif not os.path.isfile(entry):
                self.leave_out(entry, "a link that leads nowhere" if entry.is_symlink() else "no regular file")
            elif pictures.is_picture(entry):
                here.pictures.append(entry)
            else:
                self.leave_out(entry, "no picture")
        return here

    def _enter(self, path: Path, parent: Folder) -> None:
        """Go into a folder, if it was not read already; one without pictures is left out as a whole."""
        real = os.path.realpath(path)
        if real in self._seen or (path.is_symlink() and _one_in_the_other(real, self._root)):
            return self.leave_out(path, "a link to a folder that is read already, or to one around it")
        self._seen.add(real)
        try:
            inside = self._folder(path)
        except OSError as error:
            return self.leave_out(path, f"cannot be opened ({error.strerror})")
        if inside.all():
            parent.folders.append(inside)
            return None
        name = self.relative(path) + "/"
        self.left_out = {key: why for key, why in self.left_out.items() if not key.startswith(name)}
        self.left_out[name] = "no picture in it"
        return None

    def _split_rows(self, splits: list[tuple[str, Folder]]) -> list[Row]:
        """The rows of each split. Pictures of one that has no classes are left out if another has some."""
        self._leave_out_loose(self.base, "beside the splits")
        parts = [(split, folder, unwrapped(folder)) for split, folder in splits]
        flat = all(not inner.folders and inner is folder for _, folder, inner in parts)
        rows = []
        for split, folder, inner in parts:
            if inner.folders or inner is not folder or flat:
                rows += self._class_rows(inner, self.base.name if flat else inner.name, split)
            else:
                self._leave_out_loose(folder, "in no class's folder")
        return sorted(rows, key=lambda row: (list(SPLITS).index(row.split), natural(row.kind)))

    def _class_rows(self, folder: Folder, name: str, split: str = "") -> list[Row]:
        """A row for each picture: a class for each of the folders, or one class of that name where there are none."""
        if not folder.folders:
            return [Row(file, name, split) for file in folder.pictures]
        for inner in folder.folders:
            if not inner.pictures and len(inner.folders) > 1:
                names = _listed([each.name for each in inner.folders])
                told = f"path: got '{inner.path}', a folder beside others that holds the folders {names}"
                raise ValueError(f"{told}: {WANTED}, so give '{inner.path}' or move its pictures up")
        self._leave_out_loose(folder, "beside the folders of classes")
        return [Row(file, inner.name, split) for inner in folder.folders for file in inner.all()]

    def _leave_out_loose(self, folder: Folder, where: str) -> None:
        """Leave out the pictures that lie beside folders; ValueError if they are the most."""
        inside = sum(len(inner.all()) for inner in folder.folders)
        if folder.folders and len(folder.pictures) > inside:
            names = _listed([inner.name for inner in folder.folders])
            told = f"path: got '{folder.path}' with {len(folder.pictures)} pictures beside the folders {names}"
            raise ValueError(f"{told} with {inside}: {WANTED}")
        for file in folder.pictures:
            self.leave_out(file, where)

    def _first_left_out(self) -> str:
        return f" ({listed_out(self.left_out)})" if self.left_out else ""


def unwrapped(folder: Folder, past_a_split: bool = True) -> Folder:
    """The folder that there is something in: not one that only wraps one other, as unpacking an archive makes."""
    while not folder.pictures and len(folder.folders) == 1:
        [inner] = folder.folders
        if inner.folders and split_of(inner.name) and not past_a_split:
            return folder  # around a train/ that stands alone
        folder = inner
    return folder


def split_of(name: str) -> str | None:
    """ "train", "val" or "test" for a folder of a usual name such as "Training_Set", None for any other."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    known = {SPLIT_OF[word] for word in words if word in SPLIT_OF}
    others = [word for word in words if word not in SPLIT_OF and word not in FILLERS]
    return known.pop() if len(known) == 1 and not others else None


def _splits(base: Folder) -> list[tuple[str, Folder]]:
    """The folders that are splits; none if they are classes. ValueError where there is something of both."""
    found = [(split_of(folder.name), folder) for folder in base.folders]
    named = [(split, folder) for split, folder in found if split]
    if len(named) in (0, len(found)):
        return named
    [split, folder] = named[0]
    if len(named) == 1 and folder.name.casefold() == "train" and not folder.folders:
        return []  # a train among cars and ships
    others = _listed([folder.name for split, folder in found if not split])
    names = _listed([folder.name for _, folder in named])
    told = f"path: got '{base.path}' with {names} beside {others}, so which are classes is not plain"
    raise ValueError(f"{told}: {WANTED}; move or rename the others")


def natural(name: str) -> tuple:
    """The key that sorts names as people do: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def is_hidden(name: str) -> bool:
    """Is this a file of the system's or JupyterLab's, and not the learner's?"""
    return name.startswith((".", "~$")) or name.casefold() in SYSTEM


def printable(text: str) -> str:
    """The text, or with escapes where a terminal could not show it (names may hold any bytes)."""
    return text if text.isprintable() else ascii(text)[1:-1]


def listed_out(left_out: dict[str, str], most: int = 3) -> str:
    """What is left out in words, the first few with their reasons."""
    told = [f"{name}: {why}" for name, why in list(left_out.items())[:most]]
    more = [f"and {len(left_out) - most} more"] if len(left_out) > most else []
    return f"left out: {len(left_out)} ({'; '.join([*told, *more])})"


def _name(path: Path) -> str:
    """The folder's name in composed letters: a Mac takes é apart."""
    return printable(unicodedata.normalize("NFC", path.name or path.resolve().name or "pictures"))


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _one_in_the_other(one: str, other: str) -> bool:
    try:
        return os.path.commonpath([one, other]) in (one, other)
    except ValueError:  # on two drives
        return False
