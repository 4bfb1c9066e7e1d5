'''Checks, solutions and their register. Those of a lesson are in `lessons/lessonNN/exercises.py`.

They are read when an id "NN.…" is asked for.

    from minidiff.exercises import close, exercise, question, require, shaped

    def project(x, mean, basis):                           # the solution: shown whole, so it stands on its own
        """Codes (B, K) of x (B, D): coordinates along the K rows of `basis` (K, D), counted from `mean` (D,)."""
        return (x - mean) @ basis.T

    @exercise("01.project", solution=project, core=True, hints=("Where is the mean?", "One matrix product will do."))
    def _(attempt):                                        # a function or a class, like the solution; RNG seeded here
        x, mean = torch.randn(5, 8), torch.randn(8)
        basis = torch.linalg.qr(torch.randn(8, 3)).Q.T
        z = attempt(x, mean, basis)
        shaped(z, (5, 3), "One code a picture: multiply by basis.T.")                                        # shape
        require(attempt(mean[None], mean, basis).norm() < 1e-5, "The mean has code 0: subtract it.")         # invariant
        close(z, (x - mean) @ basis.T, "Not the coordinates.", slips={"Why + mean?": (x + mean) @ basis.T})  # value
        from minidiff.autoencoder import pca               # last, the course's own: imported here, not above

    question("00.predict_blur", answer="b", hints={"a": "why not a", "c": "why not c"}, why="why b")

`core` exercises have three planted bugs in their test, others one: tests/lessons/lessonNN/planted.py has
PLANTED = {"01.project": [wrong, wrong, wrong]}, and each must fail with a hint of its own.

A stub in the notebook has `...` where the learner writes, and ends in `project = check("01.project", project)`: from
there on the lesson runs on the learner's version if it is right, and on the solution until then. Below it stands a
Markdown cell with the id `fold-01-project`, whose text is `folded("01.project")`: hints and solution, each behind a
click. `make notebooks` writes that text. With MINIDIFF_STRICT=1, in tests, a wrong answer raises CheckFailed.
'''

import ast
import difflib
import functools
import inspect
import os
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from minidiff.exercises.compare import CheckFailed, NotAttempted
from minidiff.support import rooms

REGISTER: dict[str, "Exercise | Question"] = {}
_HERE = Path(__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_LIBRARIES = (_HERE.parent, *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")))


@dataclass(frozen=True)
class Exercise:
    """A function or a class to write. `mark(attempt)` raises CheckFailed; `solution` is what passes it."""

    solution: Callable
    mark: Callable[[object], None]
    core: bool
    hints: tuple[str, ...]  # for who does not know where to begin; the first gives away least

    def __call__(self, attempt) -> None:
        kind = "class" if inspect.isclass(self.solution) else "function"
        if not callable(attempt) or inspect.isclass(attempt) != inspect.isclass(self.solution):
            raise CheckFailed(f"Hand over the {kind} itself, by its name alone.", f"Got a {type(attempt).__name__}.")
        if _untouched(attempt, self.solution):
            raise NotAttempted
        self.mark(attempt if inspect.isclass(attempt) else _guarded(attempt))

    def text(self) -> str:
        return f"```python\n{textwrap.dedent(inspect.getsource(self.solution)).rstrip()}\n```"


@dataclass(frozen=True)
class Question:
    """A prediction with one right answer. hints: each wrong answer -> why it is wrong."""

    answer: str
    hints: dict[str, str]
    why: str

    def __call__(self, attempt) -> None:
        given = str(attempt).strip().lower()
        if given not in (self.answer, *self.hints):
            raise CheckFailed(f"Answer with one of {', '.join(sorted([self.answer, *self.hints]))}.")
        if given != self.answer:
            raise CheckFailed(self.hints[given])

    def text(self) -> str:
        return f"{self.answer}: {self.why}"


@dataclass(frozen=True)
class Solution:
    """What `solution` returns: folded behind a click in a notebook, plain text elsewhere."""

    name: str
    body: str

    def _repr_markdown_(self) -> str:
        return _behind_a_click(f"Solution of {self.name}", self.body)

    def __repr__(self) -> str:
        return self.body.removeprefix("```python\n").removesuffix("\n```")


def exercise(name: str, *, solution: Callable, core: bool = False, hints: tuple[str, ...] = ()) -> Callable:
    """Register the decorated `mark(attempt)` as the check of exercise `name`."""
    return lambda mark: _register(name, Exercise(solution, mark, core, hints))


def question(name: str, *, answer, hints: dict, why: str) -> None:
    """Register a prediction: the right answer, a hint for each wrong one, and why it is right."""
    _register(name, Question(str(answer), {str(wrong): hint for wrong, hint in hints.items()}, why))


def check(name: str, attempt):
    """Say in one or two lines whether `attempt` is right; return it if it is, else the course's own version.

    A wrong attempt gets a hint and stops nothing: the cells below go on with the solution. For a question nothing is
    returned. With MINIDIFF_STRICT=1 a wrong attempt raises CheckFailed.
    """
    task = find(name)
    instead = getattr(task, "solution", None)  # a question has none
    meanwhile = "" if instead is None else "The lesson goes on with the course's version until yours is right."
    try:
        _mark(task, attempt)
    except NotAttempted:
        print(f"{name}: not attempted yet. {meanwhile}".rstrip())
        return instead
    except CheckFailed as failed:
        failed.exercise = name
        if os.environ.get("MINIDIFF_STRICT") == "1":
            raise
        print(f"{failed}\n{meanwhile}".rstrip())
        return instead
    print(f"✓ {name}")
    return instead and attempt


def folded(name: str) -> str:
    """The hints of an exercise one by one, then its solution, each behind a click: Markdown for a notebook's cell."""
    task = find(name)
    several = len(task.hints) > 1
    parts = [(f"Hint {k}" if several else "Hint", hint) for k, hint in enumerate(task.hints, start=1)]
    parts.append(("Solution", task.text()))
    return "\n".join(_behind_a_click(title, text) for title, text in parts)


def _behind_a_click(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def solution(name: str) -> Solution:
    """The solution that the tests run, as source: the last line of a cell shows it folded."""
    return Solution(name, find(name).text())


def names() -> list[str]:
    """Every exercise of the course."""
    for lesson in rooms.lessons():
        rooms.part(lesson, "exercises")
    return sorted(REGISTER)


def find(name: str) -> Exercise | Question:
    """The exercise of that id; ValueError with the nearest ids where there is none."""
    if not isinstance(name, str):
        raise TypeError(f"id: got {name!r}, expected a string such as '01.project'")
    lesson = name.partition(".")[0]
    if name not in REGISTER and lesson in rooms.lessons():
        rooms.part(lesson, "exercises")
    if name not in REGISTER:
        near = difflib.get_close_matches(name, names(), cutoff=0.4) or names()[:3]
        raise ValueError(f"id: got {name!r}, expected an exercise of the course, perhaps {' or '.join(near)}")
    return REGISTER[name]


def _register(name: str, task: Exercise | Question) -> None:
    if not re.fullmatch(r"\d\d\.[a-z][a-z0-9_]*", name) or name in REGISTER:
        raise ValueError(f"id: got {name!r}, expected a new one, the lesson and a name: '01.project'")
    REGISTER[name] = task


def _mark(task: Exercise | Question, attempt) -> None:
    """Run the task; whatever else the attempt raises comes out as NotAttempted or CheckFailed."""
    if attempt is ...:
        raise NotAttempted
    try:
        # the same figures each time, and the learner's own random stream untouched
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            task(attempt)
    except (NotAttempted, CheckFailed):
        raise
    except Exception as error:
        if "ellipsis" in str(error):  # 'Tensor' and 'ellipsis': a blank that is not filled in yet
            raise NotAttempted from error
        raise _explained(error) from error


def _guarded(attempt: Callable) -> Callable:
    """The attempt, that must leave the tensors which it is handed as they are: the caller may still need them."""

    @functools.wraps(attempt)
    def guarded(*args, **kwargs):
        before = [x.clone() if isinstance(x, torch.Tensor) else None for x in (*args, *kwargs.values())]
        result = attempt(*args, **kwargs)
        for x, was in zip((*args, *kwargs.values()), before):
            if was is not None and not torch.equal(x.nan_to_num(), was.nan_to_num()):
                shape = tuple(was.shape)
                raise CheckFailed(
                    "Your code changes a tensor that it was given, and the caller may still need it.",
                    f"It is the one of shape {shape}. Operations such as += and mul_ work in place: make a new tensor.",
                )
        return result

    return guarded


def _explained(error: Exception) -> CheckFailed:
    """What the attempt raised, in two lines: the error, and the learner's own line it came from."""
    what = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
    lines = [f for f in traceback.extract_tb(error.__traceback__) if _is_learners(f.filename)]
    if lines:
        return CheckFailed(f"Your code raised {what}", f"In line {lines[-1].lineno}: {lines[-1].line}")
    if "NoneType" in what:
        return CheckFailed("The result is None: is a `return` missing?")
    return CheckFailed(f"The check could not use it. {what}")


def _is_learners(filename: str) -> bool:
    return not filename.startswith("<frozen") and not any(Path(filename).is_relative_to(at) for at in _LIBRARIES)


def _untouched(attempt: Callable, solution: Callable) -> bool:
    """A stub: a function that does nothing, or a class in which a method does nothing and the solution's does more."""
    if not inspect.isclass(attempt):
        return _does_nothing(attempt)
    wanted = vars(solution)
    stubs = [name for name, part in vars(attempt).items() if name in wanted and _does_nothing(part)]
    return any(not _does_nothing(wanted[name]) for name in stubs)


def _does_nothing(function) -> bool:
    """Has the function no statement but to return None or `...`? One whose source is not to be found may have some."""
    found = _definitions(function)
    return bool(found) and all(_all_idle(_body(node)) for node in found)


def _definitions(function) -> list[ast.AST]:
    """The function in the source, decorated or not: by its line and name, so several where lambdas share a line."""
    try:
        code = inspect.unwrap(function).__code__
        lines, _ = inspect.findsource(code)
        nodes = list(ast.walk(ast.parse("".join(lines))))
    except (AttributeError, OSError, SyntaxError, TypeError, ValueError):  # written in C, typed in a shell, ...
        return []
    at_line = [node for node in nodes if isinstance(node, FUNCTIONS) and _first_line(node) == code.co_firstlineno]
    return [node for node in at_line if getattr(node, "name", "<lambda>") == code.co_name]


def _first_line(node: ast.AST) -> int:
    """Where Python says that a function begins: at its first decorator."""
    return min(part.lineno for part in (node, *getattr(node, "decorator_list", ())))


def _body(node: ast.AST) -> list[ast.stmt]:
    return [ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body


def _all_idle(body: list[ast.stmt]) -> bool:
    """Are all statements idle, where a function inside may be defined, if it is idle too, and returned?"""
    inner = [node for node in body if isinstance(node, ast.FunctionDef) and _all_idle(node.body)]
    names = {node.name for node in inner}
    return all(statement in inner or _is_idle(statement, names) for statement in body)


def _is_idle(statement: ast.stmt, idle_names: set[str]) -> bool:
    if isinstance(statement, ast.Return):
        value = statement.value
        if isinstance(value, ast.Name):
            return value.id in idle_names
        return value is None or isinstance(value, ast.Constant) and value.value in (None, ...)
    if isinstance(statement, ast.Expr):  # `...`, or a docstring
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)
