"""Build the reading site into site/html: `make site`.

The notebooks, as last committed, are copied beside the pages of this folder, each widget with a live twin in the place
where JupyterLab shows it; then Sphinx makes HTML. Nothing is fetched, and only what TRAINED names is trained.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbformat.v4 import new_output

HERE = Path(__file__).parent
ROOT = HERE.parent
TRAINED = {("06_ddpm", "off"): "train-parts"}  # a widget on networks trained for it alone: widget -> id of the cell
ORDINARY = {"MINIDIFF_PROFILE": "ci", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}  # of the processes that draw
FAMILIES = (
    "autoregressive autoencoder vae flow gan classifier unet latent transformer clip stable_diffusion "
    "cascade dalle unclip autoregressive_prior personalize adapter control score flow_matching dit distill"
)
TRAINING = "train.loop train.adversarial train.ema train.progress"
JUDGING = "metrics evaluate plot generate checkpoints recipes.recipe"
API = {  # the page of the package: its headings, and the modules under each
    "The four ideas": ["schedule", "denoiser", "sampler", "guidance"],
    "The families": FAMILIES.split(),
    "Training": TRAINING.split(),
    "Drawing, judging and keeping": JUDGING.split(),
    "Data": ["data", "data.mixture", "data.toys"],
    "Widgets and exercises": ["widgets", "widgets.explorer", "widgets.controls", "widgets.pad", "exercises"],
}


def build(out: Path, notebooks: list[Path]) -> list[str]:
    """Write the site with these notebooks to `out`; return what could not be made alive, one line each."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        missed = lay_out(source, notebooks)
        made = source / "made" / "html"  # here: the stored pictures are written beside it, and are copied into it
        options = ["-c", str(HERE), "-d", str(source / ".doctrees"), *f"-q -b html -j {os.cpu_count()}".split()]
        if code := build_main([*options, str(source), str(made)]):
            raise SystemExit(code)
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(made, out)
    return missed


def lay_out(source: Path, notebooks: list[Path]) -> list[str]:
    """Everything that Sphinx reads, in the folder `source`. ValueError for a notebook that was not run whole."""
    for path in notebooks:
        stored(path)
    (source / "lessons").mkdir()
    for page in HERE.glob("*.md"):
        shutil.copy(page, source)
    shutil.copy(HERE / "course.png", source)
    shutil.copy(ROOT / "notebooks" / "glossary.md", source / "lessons")  # beside the lessons, which link to it
    (source / "index.md").write_text(index(), "utf-8")
    (source / "install.md").write_text(install(), "utf-8")
    (source / "api.md").write_text(api(), "utf-8")
    missed = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _ready, (ORDINARY,)) as pool:
        jobs = [pool.submit(_museum, source / "museum")]
        jobs += [pool.submit(_lesson, path, source / "lessons" / path.name) for path in notebooks]
        for job in as_completed(jobs):
            missed += job.result()
    return sorted(missed)


def api() -> str:
    """The page of the package: the modules of API that there are, each with what its docstrings say."""
    text = "# The package\n\nThe reference implementations that the lessons import, from their docstrings.\n"
    for title, names in API.items():
        text += f"\n## {title}\n"
        for name in names:
            path = ROOT / "minidiff" / name.replace(".", "/")
            if path.with_suffix(".py").exists() or path.is_dir():
                text += f"\n### minidiff.{name}\n\n```{{eval-rst}}\n.. automodule:: minidiff.{name}\n```\n"
    return text


def index() -> str:
    """The first page: this folder's, with the page that JupyterLab opens on in it, but for its title and greeting."""
    start = (ROOT / "notebooks" / "START.md").read_text("utf-8")
    start = re.sub(r"\]\((?!https?:|#)", "](lessons/", start[start.index("\n## ") :])
    return (HERE / "index.md").read_text("utf-8").replace("<!-- START.md -->", start)


def install() -> str:
    """The README's section on how to install the course and start it, as a page."""
    readme = (ROOT / "README.md").read_text("utf-8")
    [section] = re.findall(r"^## Start\n(.*?)(?=^## )", readme, re.M | re.S)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", section)
    return "# Install it\n" + re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)  # what is not on this page


def stored(path: Path) -> nbformat.NotebookNode:
    """The notebook as last committed, so what a reader of the course wrote or half ran stays out; a new one as it is.

    ValueError if that holds an error, or was run in part only.
    """
    command = ["git", "show", f"HEAD:./{path.name}"]
    found = subprocess.run(command, cwd=path.parent, capture_output=True) if shutil.which("git") else None
    text = found.stdout.decode() if found and not found.returncode else path.read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        if any(output.output_type == "error" for output in cell.outputs):
            raise ValueError(f"{path.name}: code cell {number} holds an error: make notebooks NOTEBOOKS={path}")
    counts = [cell.execution_count for cell in code]
    if counts not in ([None] * len(code), [*range(1, len(code) + 1)]):
        raise ValueError(f"{path.name}: run in part only: make notebooks NOTEBOOKS={path}")
    return notebook


def _lesson(path: Path, copy: Path) -> list[str]:
    """Copy the notebook with a live twin of each widget; what fails stays a still picture, and is returned."""
    import slices
    import twins

    os.chdir(path.parent)  # where the notebook runs
    notebook, missed = stored(path), []
    lines = slices.statements(notebook)
    for widget in slices.widgets(lines):
        try:
            page = twins.page(_live(path.stem, widget, lines, notebook), widget.name)
        except Exception as error:
            missed.append(f"{path.stem}: {widget.name}: {type(error).__name__}: {error}")
            page = twins.note(twins.STILL)
        else:
            for k in widget.twins:  # the still pictures below it
                notebook.cells[lines[k].cell].metadata["mystnb"] = {"image": {"alt": f"{widget.name} in some settings"}}
        notebook.cells[widget.cell].outputs.insert(0, new_output("display_data", {"text/html": page}))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"(?<=glossary\.md#)[^)\s]+", _anchor, cell.source)
    nbformat.write(notebook, copy)
    return missed


def _anchor(found: re.Match) -> str:
    """The address of a heading as it is on the site, for what it is in JupyterLab."""
    return re.sub(r"[^\w-]", "", found[0].lower())


def _live(lesson: str, widget, lines: list, notebook):
    """The widget's Twin. What the lesson prints on the way, on functions that nobody has written yet, is not shown."""
    import slices
    import twins

    filled = TRAINED.get((lesson, widget.name))
    cells = [number for number, cell in enumerate(notebook.cells) if cell.get("id") == filled]
    profile = {"MINIDIFF_PROFILE": "cpu"} if filled else {}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), patch.dict(os.environ, profile):
        return twins.live(*slices.make(widget, lines, *cells))


def _museum(folder: Path) -> list[str]:
    import museum

    folder.mkdir()
    museum.draw(folder)
    return []


def _ready(environment: dict) -> None:
    os.environ.update(environment)


if __name__ == "__main__":
    began = time.monotonic()
    try:
        missed = build(HERE / "html", sorted((ROOT / "notebooks").glob("*.ipynb")))
    except ValueError as error:
        sys.exit(str(error))
    for line in missed:
        print("a still picture only:", line)
    print(f"{HERE / 'html' / 'index.html'}: {time.monotonic() - began:.0f} s")
