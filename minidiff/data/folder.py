"""The learner's own pictures: a folder with one sub-folder a class."""

import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from minidiff.data import pictures
from minidiff.data.layout import SPLITS, WANTED, Layout, Row, listed_out, natural, printable
from minidiff.support import expect


class Pictures(NamedTuple("Pictures", [("images", Tensor), ("labels", Tensor), ("classes", list)])):
    """What `folder` has read: `images, labels, classes = pictures`, and more beside these three.

    files: of each picture, from the folder on. splits: of each "train", "val" or "test", "" in a folder without.
    left_out: what was not read -> why. `str(pictures)` says it all in a sentence.
    """

    files: list[str]
    splits: list[str]
    left_out: dict[str, str]

    def __str__(self):
        counts = Counter(self.labels.tolist())
        some = [f"{name} {counts[i]}" for i, name in enumerate(self.classes)]
        some = some if len(some) <= 12 else [*some[:10], f"and {len(some) - 10} more"]
        total = f"{_counted(len(self.files), 'picture')} in {_counted(len(self.classes), 'class', 'es')}"
        splits = [f"{split}/ {n}" for split, n in Counter(self.splits).items() if split]
        left = [listed_out(self.left_out)] if self.left_out else []
        return "; ".join(
            [f"{total}: {', '.join(some)}", *([", ".join(splits)] if splits else []), *self._gaps(), *left]
        )

    def _gaps(self) -> list[str]:
        """Which classes are missing in a split."""
        there = {split: set() for split in self.splits}
        for label, split in zip(self.labels.tolist(), self.splits):
            there[split].add(label)
        gaps = {split: [name for i, name in enumerate(self.classes) if i not in got] for split, got in there.items()}
        return [f"none in {split}/ of {', '.join(names[:5])}" for split, names in gaps.items() if names]


def folder(path: str | os.PathLike, size: int = 32, split: str | None = None) -> Pictures:
    """Read path/CLASS/*.jpg (.png, …): images (N, 3, size, size) in [-1, 1], labels (N,), and the class names.

    The result unpacks as these three and says more (`Pictures`); what was found and what was left out is printed.
    Classes are numbered in the order of their names, 2 before 10, over all splits. A folder of pictures without
    sub-folders is one class. Above the classes may stand train/, val/ and test/ (and their usual other names): all are
    read, or the one that `split` names. A picture is turned as its camera noted, the middle square is scaled to `size`,
    transparency is laid on white, grey of 16 bits is scaled by its depth, floats are 0 (black) to 1 (white).
    A file that cannot be read rightly is left out. ValueError for a missing folder, one without pictures, a class of
    which no picture can be read, and folders of which it is not plain whether they are classes.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: got {path!r} ({type(path).__name__}), expected the path of a folder")
    size = expect.integer("size", size, 1, 1024)
    layout = _laid_out(Path(os.path.expanduser(path)))
    rows = _chosen(layout, split)
    classes = sorted({row.kind for row in layout.rows}, key=natural)
    numbers = {name: i for i, name in enumerate(classes)}
    read = _read(layout, rows, size)
    images = torch.stack(list(read.values()))  # (N, 3, size, size) uint8
    kept = [rows[i] for i in read]
    found = Pictures((images / 127.5).sub_(1), torch.tensor([numbers[row.kind] for row in kept]), classes)
    found.files = [layout.relative(row.file) for row in kept]
    found.splits = [row.split for row in kept]
    found.left_out = layout.left_out
    say(found)
    return found


def _laid_out(path: Path) -> Layout:
    """What lies where in a folder. ValueError for what is none, and one that cannot be looked into."""
    if not os.path.isdir(path):
        packed = ": unpack it first" if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar") else ""
        raise ValueError(f"path: got '{path}', which is no folder{packed}, {WANTED}")
    try:
        return Layout(path)
    except OSError as error:
        raise ValueError(f"path: got '{path}', which cannot be opened ({error.strerror}), {WANTED}") from error


def _chosen(layout: Layout, split: str | None) -> list[Row]:
    if split is None:
        return layout.rows
    expect.choice("split", split, SPLITS)
    rows = [row for row in layout.rows if row.split == split]
    if not rows:
        there = sorted({row.split for row in layout.rows} - {""})
        raise ValueError(f"split: got {split!r}, expected one that '{layout.path}' has: {', '.join(there) or 'none'}")
    return rows


def _read(layout: Layout, rows: list[Row], size: int) -> dict[int, Tensor]:
    """The picture of each row that can be read. ValueError if a class would lose all that it has."""
    read = {}
    failed = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large or odd files: they are read, or named
        for i, row in enumerate(tqdm(rows, "reading pictures", leave=False, disable=None, delay=2)):
            try:
                read[i] = pictures.square(row.file, size)
            except Exception as error:  # a damaged file makes Pillow raise nearly anything
                why = _why(error)
                layout.leave_out(row.file, why)
                failed.setdefault(row.kind, (row.file, why))
    lost = failed.keys() - {rows[i].kind for i in read}
    for kind in sorted(lost):
        file, why = failed[kind]
        told = f"path: '{file}' cannot be read as a picture ({why})"
        raise ValueError(f"{told}: mend or remove it, as no picture of {kind} is left")
    return read


def _why(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "no picture, a damaged one, or of a kind that Pillow does not know"
    return printable(" ".join(str(error).split())) or type(error).__name__


def say(text) -> None:
    """Print what was found, in letters that the terminal has; of several processes, the first one does."""
    if int(os.environ.get("RANK", 0)) == 0:
        code = getattr(sys.stdout, "encoding", None) or "utf-8"
        print(str(text).encode(code, "backslashreplace").decode(code))


def _counted(n: int, what: str, plural: str = "s") -> str:
    return f"{n:,} {what}{'' if n == 1 else plural}"
