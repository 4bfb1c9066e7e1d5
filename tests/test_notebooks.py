"""The form of every stored notebook: legible without a kernel, small, the same on every machine, one idea a cell."""

import ast
import base64
import io
import json
import re
from pathlib import Path
from statistics import median

import nbformat
import numpy as np
import pytest
import store
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MEGABYTES = 1.5
MACHINE = re.compile(r"/(root|home|tmp|work|Users)/|[A-Z]:\\\\?Users|\bat 0x[0-9a-f]{6,}")
SHELL = re.compile(r"^\s*(!|%%|%(?!matplotlib\b))|get_ipython\(|os\.system|subprocess|\bpip install", re.M)
MACHINERY = re.compile(r"# noqa|^\s*assert ", re.M)


def faults(notebook) -> list[str]:
    """What is wrong with a notebook, one line a fault."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [*about_metadata(notebook), *about_length(code), *about_prose(notebook.cells)]
    if any(cell.id.startswith("fold-") for cell in notebook.cells):  # a lesson whose functions the learner writes
        found += about_teaching(notebook.cells)
    for number, cell in enumerate(code, start=1):
        found += [f"code cell {number}: {fault}" for fault in about_code(cell)]
    if (counts := [cell.execution_count for cell in code]) != [*range(1, len(code) + 1)]:
        found.append(f"execution counts {counts}: store a fresh run from top to bottom, `make notebooks`")
    if sum(bool(cell.outputs) for cell in code) < len(code) / 2:
        found.append("less than half of the code cells end in something to see")
    return found


def about_metadata(notebook):
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "no kernelspec python3: JupyterLab would ask for a kernel"
    if "widgets" in notebook.metadata:
        yield "widget state in the metadata"


def about_length(code):
    lengths = [len(cell.source.splitlines()) for cell in code] or [0]
    if max(lengths) > 25:
        yield f"the longest cell has {max(lengths)} lines, expected at most 25"
    if median(lengths) > 8:
        yield f"the median cell has {median(lengths)} lines, expected at most 8"


def about_prose(cells):
    """No cell of more than 230 words, headings, tables, code, formulas and folded answers apart."""
    texts = [cell.source for cell in cells if cell.cell_type == "markdown" and not cell.id.startswith("fold-")]
    if (longest := max(map(words, texts), default=0)) > 230:
        yield f"a markdown cell of {longest} words"
    if any(re.search(r"<style|style=", text) for text in texts):
        yield "styling in a markdown cell"


def about_teaching(cells):
    """Prose in whole thoughts, of 30 words and more but for a fifth of the cells, and no machinery in code."""
    texts = [cell.source for cell in cells if cell.cell_type == "markdown" and not cell.id.startswith("fold-")]
    counts = [words(text) for text in texts if not re.search(r"^#+ .*References", text, re.M) and words(text)]
    short = [count for count in counts if count < 30]
    if len(short) > len(counts) / 5:
        yield f"{len(short)} of {len(counts)} markdown cells have less than 30 words: {short}"
    for cell in cells:
        if cell.cell_type == "code" and (found := MACHINERY.search(cell.source)):
            yield f"machinery in a learner's cell: {found.group()}"


def words(markdown: str) -> int:
    """Words of prose: without headings, tables, code blocks, formulas, pictures and the addresses of links."""
    prose = re.sub(r"```.*?```|\$\$.*?\$\$|!\[.*?\]\(.*?\)|<[^>]*>|\]\(.*?\)", " ", markdown, flags=re.S)
    prose = re.sub(r"\$[^$\n]+\$", "x", prose)
    lines = [line for line in prose.splitlines() if not re.match(r"\s*(#|\|)", line)]
    return len(re.findall(r"\w[\w'’.-]*", " ".join(lines)))


def about_code(cell):
    if SHELL.search(cell.source):
        yield "a shell command, pip or magic"
    if "NBVAL_CHECK_OUTPUT" in cell.source and not cell.outputs:
        yield "NBVAL_CHECK_OUTPUT without a stored output checks nothing"
    statements = [] if SHELL.search(cell.source) else ast.parse(cell.source).body
    if any(ast.unparse(statement).startswith("plot.table(") for statement in statements[:-1]):
        yield "a plot.table that is not the last line is never seen"
    for output in cell.outputs:
        yield from about_output(output)


def about_output(output):
    data = output.get("data", {})
    seen = json.dumps({kind: data[kind] for kind in data if not kind.startswith("image/")}) + output.get("text", "")
    if output.output_type == "error":
        yield f"an error is stored: {output.ename}"
    if any("widget" in kind for kind in data):
        yield "a widget view, which shows an error without a kernel"
    if found := MACHINE.search(seen):
        yield f"what only this machine has: {found.group()}"
    if output.get("name") == "stderr":
        yield f"a warning is stored: {output.text[:80]!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_in_form(path):
    size = path.stat().st_size / 1e6
    assert size < MEGABYTES, f"{size:.2f} MB"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not faults(notebook), "\n".join(faults(notebook))


# The rules themselves, on notebooks made here.


def code(source="draw()", outputs=None, count=1):
    outputs = [new_output("stream", text="a picture\n")] if outputs is None else outputs
    return new_code_cell(source, outputs=outputs, execution_count=count)


def show(**data):
    return new_output("display_data", data={kind.replace("_", "/", 1): value for kind, value in data.items()})


def made(*cells, **metadata):
    return new_notebook(cells=list(cells), metadata=nbformat.from_dict(store.METADATA | metadata))


PROSE = new_markdown_cell("# Title\n" + "word " * 30 + "\n$$x$$\n| a | table |\n[link](https://example.org/a b c)")

FOLD = new_markdown_cell("<details><summary>Solution</summary>x</details>", id="fold-99-x")


def test_a_good_notebook_has_no_faults():
    assert faults(made(PROSE, code(), code(count=2, outputs=[show(image_png="/tmp/", text_plain="<Figure>")]))) == []


@pytest.mark.parametrize(
    "notebook, fault",
    [
        (made(code(), kernelspec={"name": "other", "display_name": "Other"}), "kernelspec"),
        (made(code(), widgets={}), "widget state"),
        (made(code("x\n" * 26)), "longest cell has 26"),
        (made(code("x\n" * 9)), "median cell has 9"),
        (made(code(), new_markdown_cell("Too short."), FOLD), "1 of 1 markdown cells"),
        (made(code(), new_markdown_cell("word " * 240)), "240 words"),
        (made(code(), new_markdown_cell("word " * 30 + "<b style='color: red'>!</b>")), "styling"),
        (made(code(count=None)), "execution counts [None]"),
        (made(code(), code(count=3)), "execution counts [1, 3]"),
        (made(PROSE, code("import torch  # noqa: E402"), FOLD), "machinery"),
        (made(PROSE, code("assert x > 0"), FOLD), "machinery"),
        (made(code("!ls")), "shell"),
        (made(code("%pip install torch")), "shell"),
        (made(code("# NBVAL_CHECK_OUTPUT\n1", outputs=[])), "checks nothing"),
        (made(code("plot.table(rows)\nprint(1)")), "never seen"),
        (made(code(outputs=[new_output("error", ename="KeyError", evalue="", traceback=[])])), "error is stored"),
        (made(code(outputs=[show(**{"application_vnd.jupyter.widget-view+json": {}})])), "widget view"),
        (made(code(outputs=[show(text_plain="<A object at 0x7f01234567>")])), "only this machine has"),
        (made(code(outputs=[new_output("stream", text="saved in /home/a/b")])), "only this machine has"),
        (made(code(outputs=[new_output("stream", name="stderr", text="UserWarning")])), "warning is stored"),
        (made(code(outputs=[]), code(outputs=[], count=2), code(count=3)), "less than half"),
    ],
)
def test_each_fault_is_seen(notebook, fault):
    assert any(fault in line for line in faults(notebook)), faults(notebook)


def test_storing_a_notebook_runs_and_strips_it(tmp_path):
    path = tmp_path / "one.ipynb"
    live = "import ipywidgets, sys\nfrom IPython.display import display\ndisplay(ipywidgets.IntSlider())"
    cells = [code(live, count=7), code("print('a', end=' ', flush=True); print('b')", outputs=[])]
    cells += [code("from PIL import Image\nImage.new('RGB', (2, 2))")]
    cells[0].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    cells[2].metadata["mystnb"] = {"image": {"alt": "a black square"}}
    nbformat.write(made(*cells, widgets={"state": {}}), path)
    store.store(path)
    stored = nbformat.read(path, as_version=4)
    assert faults(stored) == []
    assert [cell.outputs[0].get("text") for cell in stored.cells[1:]] == ["a b\n", None]
    assert stored.cells[2].outputs[0].data["text/plain"] == "a black square"
    assert not stored.cells[0].outputs and not stored.cells[0].metadata
    assert stored.cells[2].metadata.mystnb.image.alt == "a black square"
    assert list(tmp_path.iterdir()) == [path]


def test_a_notebook_with_an_error_stays_as_it_was(tmp_path):
    path = tmp_path / "broken.ipynb"
    nbformat.write(made(code("1 / 0")), path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        store.store(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_is_stored_in_fewer_bytes_with_the_same_pixels():
    grain = Image.linear_gradient("L").convert("RGBA")
    loose = io.BytesIO()
    grain.save(loose, "png", compress_level=0)
    packed = base64.b64decode(store.smaller(base64.b64encode(loose.getvalue()).decode()))
    assert len(packed) < 0.1 * len(loose.getvalue())
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(packed))), np.asarray(grain.convert("RGB")))
    grain.putalpha(100)
    seen_through = io.BytesIO()
    grain.save(seen_through, "png")
    text = base64.b64encode(seen_through.getvalue()).decode()
    assert store.smaller(text) == text
