"""A learner goes back: every cell run twice in a row, and every section once more after the end of the lesson."""

import ast
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "site"))

import slices  # noqa: E402

ids = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def sections(cells) -> list[list[int]]:
    """The numbers of the code cells below each heading of the second level, those before the first one apart."""
    found = [[]]
    for number, cell in enumerate(cells):
        if cell.cell_type == "code":
            found[-1].append(number)
        elif re.search("^## ", cell.source, re.M):
            found.append([])
    return [numbers for numbers in found if numbers]


def walk(cells) -> list[int]:
    """Each code cell twice in a row; then the sections again, the last one first, as if each were gone back to."""
    each = sections(cells)
    return [number for numbers in each for number in numbers for _ in "12"] + sum(reversed(each), [])


def errors(notebook, folder: Path) -> list[str]:
    """Run the notebook's cells in the order of `walk`: what was raised, one line an error."""
    client, found = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, allow_errors=True), []
    client.timeout, client.startup_timeout = None, 600
    with client.setup_kernel():
        for turn, number in enumerate(walk(notebook.cells)):
            cell = client.execute_cell(notebook.cells[number], number)
            raised = [output for output in cell.outputs if output.output_type == "error"]
            found += [f"cell {number}, turn {turn}: {error.ename}: {error.evalue}" for error in raised]
    return found


@pytest.mark.slow
@ids
def test_cells_run_twice_and_sections_run_again(path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_PROFILE", "ci")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # figures are shown, as in a notebook
    found = errors(nbformat.read(path, as_version=4), path.parent)
    assert not found, "\n".join(found)


def test_a_cell_that_cannot_run_twice_and_a_section_that_cannot_run_again_are_seen(tmp_path):
    first = [new_code_cell("x = {'a': 1}"), new_code_cell("del x['a']"), new_code_cell("x = {}\ny = 1")]
    second = [
        new_markdown_cell("## Two"),
        new_code_cell("y + 1"),
        new_markdown_cell("## Three"),
        new_code_cell("y = ''"),
    ]
    notebook = new_notebook(cells=first + second)
    assert walk(notebook.cells) == [0, 0, 1, 1, 2, 2, 4, 4, 6, 6, 6, 4, 0, 1, 2]
    kinds = [line.split(": ")[:2] for line in errors(notebook, tmp_path)]
    assert kinds == [["cell 1, turn 3", "KeyError"], ["cell 4, turn 11", "TypeError"]]


def reused(notebook) -> dict[str, str]:
    """Names that a cell reads from a cell above it, and a cell below it binds to something else: name -> where.

    Whoever goes back to that cell is given the later one's: an error, or in silence a curve of another training. An
    import is no such thing: it brings the package's version of what was written by hand above.
    """
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    texts = [ast.unparse(node) for source in code for node in ast.parse(source).body]
    lines, found = slices.statements(notebook), {}
    for k, line in enumerate(lines):
        here = set().union(*(other.binds for other in lines if other.cell == line.cell))
        for name in line.reads - line.binds | line.later - here:
            bound = [j for j, other in enumerate(lines) if name in other.binds]
            before = [j for j in bound if j < k]
            if before and lines[before[-1]].cell < line.cell:
                later = [j for j in bound if lines[j].cell > line.cell and texts[j] != texts[before[-1]]]
                anew = [lines[j].cell for j in later if not texts[j].startswith(("import ", "from "))]
                if anew:
                    found[name] = f"cell {line.cell} reads {name}, cell {anew[0]} binds it anew"
    return found


@ids
def test_no_cell_binds_anew_what_a_cell_above_it_reads(path):
    found = reused(nbformat.read(path, as_version=4))
    assert not found


def test_a_name_used_anew_is_seen():
    reads = [new_code_cell("print(model)"), new_code_cell("def f():\n    return model\nmodel = 1")]
    again = [new_code_cell("model = 1"), new_code_cell("for k in range(3):\n    print(k)")]
    assert reused(new_notebook(cells=[new_code_cell("model = 1"), *reads, *again])) == {}
    again[0].source = "model = 2"
    found = reused(new_notebook(cells=[new_code_cell("model = 1"), *reads, *again]))
    assert found == {"model": "cell 1 reads model, cell 3 binds it anew"}
