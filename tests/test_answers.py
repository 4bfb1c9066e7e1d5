"""Every lesson with its stubs filled in, rightly and wrongly: it must run to its end either way."""

import ast
import inspect
import re
from pathlib import Path

import nbformat
import pytest
from bugs import planted
from nbclient import NotebookClient

from minidiff.exercises import core

TESTS = Path(__file__).parent
NOTEBOOKS = sorted((TESTS.parent / "notebooks").glob("[0-9]*.ipynb"))
CHECKED = re.compile(r"^(\w+) = check\(\"(\d\d\.\w+)\", \1\)$", re.M)
ASKED = re.compile(r"^check\(\"(\d\d\.\w+)\", (\w+)\)$", re.M)


def filled(source: str, answer, reply) -> str:
    """A cell with `answer(id, name)` in place of each stub, as source, and `reply(id)` in place of each prediction."""
    for name, task in CHECKED.findall(source):
        source = replaced(source, name, answer(task, name))
    for task, name in ASKED.findall(source):
        source = re.sub(rf"^{name} = \.\.\..*$", f"{name} = {reply(task)!r}", source, flags=re.M)
    return source


def replaced(source: str, name: str, answer: str) -> str:
    """The cell with another definition of `name`."""
    found = [node for node in ast.parse(source).body if getattr(node, "name", None) == name]
    assert len(found) == 1, f"expected one definition of {name} beside its check:\n{source}"
    first = min(node.lineno for node in (found[0], *found[0].decorator_list))
    lines = source.splitlines()
    return "\n".join([*lines[: first - 1], answer.rstrip(), *lines[found[0].end_lineno :]])


def solved(task: str, name: str) -> str:
    return inspect.getsource(core.find(task).solution)


def mistaken(task: str, name: str) -> str:
    assert planted(task[:2])[task]
    return f"from bugs import planted\n{name} = planted('{task[:2]}')['{task}'][0]"


def run(path: Path, monkeypatch, answer, reply, strict) -> str:
    """All that the filled notebook prints, run in profile ci."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = filled(cell.source, answer, reply)
    monkeypatch.setenv("MINIDIFF_STRICT", strict)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    options = {"timeout": 600, "startup_timeout": 600, "resources": {"metadata": {"path": str(path.parent)}}}
    NotebookClient(notebook, **options).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lesson_runs_on_the_learners_right_answers(path, monkeypatch):
    told = run(path, monkeypatch, solved, lambda task: core.find(task).answer, strict="1")
    assert set(re.findall(r"✓ (\S+)", told)) == {name for name in core.names() if name[:2] == path.name[:2]}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lesson_runs_to_its_end_past_wrong_answers(path, monkeypatch):
    told = run(path, monkeypatch, mistaken, lambda task: next(iter(core.find(task).hints)), strict="0")
    assert set(re.findall(r"✗ (\S+):", told)) == {name for name in core.names() if name[:2] == path.name[:2]}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stub_has_the_name_the_arguments_and_the_docstring_of_its_solution(path):
    notebook = nbformat.read(path, as_version=4)
    if not any(cell.id.startswith("fold-") for cell in notebook.cells):
        pytest.skip("not yet rewritten")
    for source in (cell.source for cell in notebook.cells if cell.cell_type == "code"):
        for name, task in CHECKED.findall(source):
            (stub,) = [node for node in ast.parse(source).body if getattr(node, "name", None) == name]
            wanted = ast.parse(inspect.getsource(core.find(task).solution)).body[0]
            assert stub.name == wanted.name
            assert ast.get_docstring(stub) == ast.get_docstring(wanted)
            if isinstance(stub, ast.FunctionDef):
                assert ast.unparse(stub.args) == ast.unparse(wanted.args)
