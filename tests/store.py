"""Run notebooks from top to bottom and store what they show, in the form that test_notebooks.py asks for.

`make notebooks` runs it in profile cpu. What needs a running kernel is left out: without one, a widget shows an error.
"""

import base64
import io
import os
import resource
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("tags", "mystnb")  # by hand; the second has the text beside a picture
PNG = "image/png"
WIDGET = "application/vnd.jupyter.widget-view+json"


def store(path: Path) -> None:
    """Execute the notebook in its own folder, strip it, and replace the file. An error in a cell changes nothing."""
    notebook = nbformat.read(path, as_version=4)
    fold(notebook)
    context = {"metadata": {"path": str(path.parent)}}
    options = {"timeout": None, "startup_timeout": 600, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources=context, **options).execute()
    strip(notebook)
    whole = path.with_suffix(".tmp")
    nbformat.write(notebook, whole)
    os.replace(whole, path)


def fold(notebook) -> None:
    """Write hints and solutions anew into the cells that have them, `fold-NN-name`."""
    from minidiff.exercises import folded

    for cell in notebook.cells:
        if cell.get("id", "").startswith("fold-"):
            cell.source = folded(cell.id.removeprefix("fold-").replace("-", ".", 1))


def strip(notebook) -> None:
    """Drop widget views, widget state and whatever differs from machine to machine."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in KEPT if key in cell.metadata})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
            for output in cell.outputs:
                if PNG in output.get("data", {}):
                    output.data[PNG] = smaller(output.data[PNG])
                    output.data["text/plain"] = described(cell) or output.data.get("text/plain", "")


def described(cell) -> str:
    """The text beside the cell's picture. The site reads it in the metadata; VS Code takes a picture's plain text."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def smaller(picture: str) -> str:
    """The same pixels of a PNG, base64, in fewer bytes: Matplotlib packs in haste, and writes alpha where all is white.

    A picture that is somewhere transparent stays as it is.
    """
    raw = base64.b64decode(picture)
    image = Image.open(io.BytesIO(raw))
    if image.convert("RGBA").getextrema()[3] != (255, 255):
        return picture
    packed = io.BytesIO()
    image.convert("RGB").save(packed, "png", optimize=True)
    return base64.b64encode(min(raw, packed.getvalue(), key=len)).decode()


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        began = time.monotonic()
        store(path)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB on Linux; the largest kernel yet
        print(f"{path}: {time.monotonic() - began:.0f} s, {path.stat().st_size / 1e6:.2f} MB, peak {peak:.2f} GiB")
