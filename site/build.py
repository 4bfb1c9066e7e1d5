"""Build the reading site into site/html: `make site`.

The notebooks are copied beside the pages of this folder, each widget with a live twin in the place where JupyterLab
shows it; then Sphinx makes HTML. Nothing is trained and nothing is fetched.
"""

import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import nbformat
from nbformat.v4 import new_output

HERE = Path(__file__).parent
ROOT = HERE.parent
ORDINARY = {"MINIDIFF_PROFILE": "ci", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}  # of the processes that draw
FAMILIES = "autoregressive autoencoder vae flow gan classifier unet latent transformer clip"
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
    """Everything that Sphinx reads, in the folder `source`."""
    (source / "lessons").mkdir()
    for page in HERE.glob("*.md"):
        shutil.copy(page, source)
    shutil.copy(ROOT / "notebooks" / "course.png", source)
    shutil.copy(ROOT / "notebooks" / "glossary.md", source / "lessons")  # beside the lessons, which link to it
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


def _lesson(path: Path, copy: Path) -> list[str]:
    """Copy the notebook with a live twin of each widget; what fails stays a still picture, and is returned."""
    import slices
    import twins

    os.chdir(path.parent)  # where the notebook runs
    notebook, missed = nbformat.read(path, as_version=4), []
    lines = slices.statements(notebook)
    for widget in slices.widgets(lines):
        try:
            page = twins.page(twins.live(*slices.make(widget, lines)), widget.name)
        except Exception as error:
            missed.append(f"{path.stem}: {widget.name}: {type(error).__name__}: {error}")
            continue
        for k in widget.twins:  # the still pictures below it
            notebook.cells[lines[k].cell].metadata["mystnb"] = {"image": {"alt": f"{widget.name} in some settings"}}
        notebook.cells[widget.cell].outputs.insert(0, new_output("display_data", {"text/html": page}))
    nbformat.write(notebook, copy)
    return missed


def _museum(folder: Path) -> list[str]:
    import museum

    folder.mkdir()
    museum.draw(folder)
    return []


def _ready(environment: dict) -> None:
    os.environ.update(environment)


if __name__ == "__main__":
    began = time.monotonic()
    for line in build(HERE / "html", sorted((ROOT / "notebooks").glob("*.ipynb"))):
        print("a still picture only:", line)
    print(f"{HERE / 'html' / 'index.html'}: {time.monotonic() - began:.0f} s")
