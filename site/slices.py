"""What a widget of a notebook stands on: the statements that make it, without the training around them.

A stored notebook has no widgets, as they need a kernel. To draw one again, we walk backwards from its name: the last
statement that binds it, then the last ones before that bind what it reads, and so on. What a statement changes without
binding a name (a training loop) is left out, so this is done in profile ci, where the notebooks take the shipped
checkpoints for their widgets.
"""

import ast
from types import CodeType
from typing import NamedTuple


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


class Names(ast.NodeVisitor):
    """The names that parts of a program bind and read, and those that functions in them read `later`, when called."""

    def __init__(self, *parts: ast.AST):
        self.binds, self.reads, self.later, self.declared = set(), set(), set(), set()
        self._visit_all(parts)

    def from_outside(self) -> set[str]:
        """What is read and not bound here, for the body of a function or of a comprehension."""
        return (self.reads | self.later) - (self.binds - self.declared)

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load):
            self.reads.add(node.id)
        elif isinstance(node.ctx, ast.Store):
            self.binds.add(node.id)

    def visit_AugAssign(self, node):
        if isinstance(node.target, ast.Name):  # x += 1 reads x, too
            self.reads.add(node.target.id)
        self.generic_visit(node)

    def visit_Global(self, node):
        self.declared |= set(node.names)

    def visit_alias(self, node):
        self.binds.add(node.asname or node.name.partition(".")[0])

    def visit_ExceptHandler(self, node):
        self.binds |= {node.name} - {None}
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_ExceptHandler

    def visit_FunctionDef(self, node):
        self.binds.add(node.name)
        self._visit_all(node.decorator_list)
        if node.returns:
            self.visit(node.returns)
        self._function(node.args, node.body)

    def visit_Lambda(self, node):
        self._function(node.args, [node.body])

    def visit_ClassDef(self, node):
        self.binds.add(node.name)
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        body = Names(*node.body)
        self.later |= body.reads - body.binds | body.later  # methods do not see the names of their class

    def visit_ListComp(self, node):
        first = node.generators[0]
        self.visit(first.iter)  # evaluated outside
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self.reads |= Names(first.target, *first.ifs, *node.generators[1:], *results).from_outside()

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def _function(self, args: ast.arguments, body: list[ast.AST]) -> None:
        self.visit(args)  # defaults and annotations
        inner = Names(*body)
        inner.binds |= {arg.arg for arg in ast.iter_child_nodes(args) if isinstance(arg, ast.arg)}
        self.later |= inner.from_outside()

    def _visit_all(self, parts) -> None:
        for part in parts:
            self.visit(part)


def statements(notebook) -> list[Statement]:
    """The statements of all code cells, in order."""
    found = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                code = compile(ast.Module([node], []), f"cell {number}", "exec")
                names = Names(node)
                if not isinstance(node, ast.FunctionDef | ast.ClassDef):  # a lambda handed over may be called at once
                    names.reads |= names.later
                later = names.later - names.reads
                found.append(Statement(number, code, names.binds, names.reads, later, _twin(node)))
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


def make(widget: Widget, lines: list[Statement], filled: int | None = None) -> tuple[object, list]:
    """The widget itself and the settings of each of its twins. Errors are those of the statements it stands on.

    The cell `filled` is run as well, whole, with what it stands on: it fills what the widget stands on by a training.
    """
    scope, settings = {"__name__": "__main__"}, []
    for k in needed([*widget.twins, *(k for k, line in enumerate(lines) if line.cell == filled)], lines):
        if lines[k].twin:
            settings.append(eval(lines[k].twin[1], scope))
        else:
            exec(lines[k].code, scope)
    return scope[widget.name], settings


def _shown(name: str, before: int, lines: list[Statement]) -> int:
    bare = [line.cell for line in lines[:before] if line.reads == {name} and not line.binds and not line.twin]
    return bare[-1] if bare else lines[before].cell


def _twin(node: ast.stmt) -> tuple[str, str] | None:
    match node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(name), "twin"), args)):
            return name, ast.unparse(args[0]) if args else "None"
    return None
