"""What a widget of a notebook stands on: the statements that make it, without the training around them.

A stored notebook has no widgets, as they need a kernel. To draw one again, we walk backwards from its name: the last
statement that binds it, then the last ones before that bind what it reads, and so on. What a statement changes without
binding a name (a training loop) is left out, so this is done in profile ci, where the notebooks take the shipped
checkpoints for their widgets.
"""

import ast
import dis
from types import CodeType
from typing import NamedTuple

READS = {"LOAD_NAME", "LOAD_GLOBAL"}


class Statement(NamedTuple):
    """One statement at the top level of a notebook, in the cell of that number, with the names it binds and reads.

    The body of a function reads when it is called, `later`.
    """

    cell: int
    code: CodeType
    binds: set[str]
    reads: set[str]
    later: set[str]
    twin: tuple[str, str] | None  # of `widget.twin(settings)`: the widget's name, and the source of the settings


class Widget(NamedTuple):
    """A widget that a notebook has a twin of: its name, the cell that shows it, and the numbers of its twins' lines."""

    name: str
    cell: int
    twins: list[int]


def statements(notebook) -> list[Statement]:
    """The statements of all code cells, in order."""
    found = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                code = compile(ast.Module([node], []), f"cell {number}", "exec")
                binds = {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_NAME"}
                own, all_of_it = _reads(code, inner=not isinstance(node, ast.FunctionDef | ast.ClassDef)), _reads(code)
                found.append(Statement(number, code, binds, own, all_of_it - own, _twin(node)))
    return found


def needed(targets: list[int], lines: list[Statement]) -> list[int]:
    """The numbers of the statements that those numbered `targets` stand on, themselves included, in order."""
    found, open_ends = set(), [(k, k) for k in targets]
    while open_ends:
        now, called = open_ends.pop()  # a statement, and the one at which a function that it defines is called
        if (now, called) not in found:
            found.add((now, called))
            for names, end in ((lines[now].reads, now), (lines[now].later, called)):
                for name in names:
                    before = [k for k in range(end) if name in lines[k].binds]
                    open_ends += [(k, end) for k in before[-1:]]  # none: a builtin
    return sorted({now for now, _ in found})


def widgets(lines: list[Statement]) -> list[Widget]:
    """The widgets that have a twin, in order; one may have several."""
    found = {}
    for k, line in enumerate(lines):
        if line.twin:
            name, _ = line.twin
            made = max((j for j in range(k) if name in lines[j].binds), default=k)
            found.setdefault((made, name), []).append(k)
    return [Widget(name, _shown(name, twins[0], lines), twins) for (_, name), twins in found.items()]


def make(widget: Widget, lines: list[Statement]) -> tuple[object, list]:
    """The widget itself and the settings of each of its twins. Errors are those of the statements it stands on."""
    scope, settings = {"__name__": "__main__"}, []
    for k in needed(widget.twins, lines):
        if lines[k].twin:
            settings.append(eval(lines[k].twin[1], scope))
        else:
            exec(lines[k].code, scope)
    return scope[widget.name], settings


def _shown(name: str, before: int, lines: list[Statement]) -> int:
    bare = [line.cell for line in lines[:before] if line.reads == {name} and not line.binds and not line.twin]
    return bare[-1] if bare else lines[before].cell


def _reads(code: CodeType, inner: bool = True) -> set[str]:
    """The global names that the code reads, and if `inner` those that the functions in it do."""
    parts = [_reads(const) for const in code.co_consts if inner and isinstance(const, CodeType)]
    return {each.argval for each in dis.get_instructions(code) if each.opname in READS}.union(*parts)


def _twin(node: ast.stmt) -> tuple[str, str] | None:
    match node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(name), "twin"), args)):
            return name, ast.unparse(args[0]) if args else "None"
    return None
