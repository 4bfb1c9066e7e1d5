"""Every exercise of the course: its solution passes, its stub is told apart, each planted bug gets its own hint."""

import inspect
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bugs import planted
from torch import nn

import minidiff.lessons
from minidiff.exercises import (
    CheckFailed,
    check,
    close,
    core,
    exercise,
    folded,
    question,
    require,
    shaped,
    solution,
    typed,
)

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NAMES = core.names()
LESSONS = sorted({name[:2] for name in NAMES})


def failure(name, attempt) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        check(name, attempt)
    return caught.value


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    monkeypatch.setenv("MINIDIFF_STRICT", "1")


def assert_right(name, attempt, capsys):
    capsys.readouterr()
    returned = check(name, attempt)
    assert capsys.readouterr().out == f"✓ {name}\n"
    assert returned is (None if isinstance(core.find(name), core.Question) else attempt)


def assert_not_attempted(name, attempt, capsys):
    capsys.readouterr()
    returned = check(name, attempt)
    assert capsys.readouterr().out.startswith(f"{name}: not attempted yet.")
    assert returned is getattr(core.find(name), "solution", None)


def stub_of(solution):
    """What a learner starts from: the same, with nothing in it."""

    def empty(*args, **kwargs): ...

    if not isinstance(solution, type):
        return empty
    return type("Stub", (), {name: empty for name, part in vars(solution).items() if inspect.isfunction(part)})


def assert_sound(name, bugs, capsys):
    """What DESIGN asks of an exercise: three planted bugs for a core one, else one, each with a hint of its own."""
    task = core.find(name)
    if isinstance(task, core.Question):
        right, bugs, least = task.answer, list(task.hints), 1
        assert task.answer not in task.hints
    else:
        right, least = task.solution, 3 if task.core else 1
        assert_not_attempted(name, stub_of(right), capsys)
    assert_right(name, right, capsys)
    assert_not_attempted(name, ..., capsys)
    assert len(bugs) >= least, f"{name}: {len(bugs)} planted bugs, expected at least {least}"
    hints = [failure(name, bug).hint for bug in bugs]
    assert len(set(hints)) == len(hints), f"{name}: two bugs share a hint: {hints}"


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_is_sound(name, capsys):
    is_question = isinstance(core.find(name), core.Question)
    assert_sound(name, [] if is_question else planted(name[:2]).get(name, []), capsys)


@pytest.mark.parametrize("lesson", LESSONS)
def test_planted_bugs_belong_to_an_exercise(lesson):
    assert set(planted(lesson)) <= set(NAMES)


def read(notebook: Path) -> tuple[str, dict[str, str]]:
    """All code of a notebook, and the text of each cell that has hints and a solution behind a click, by its id."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return code, {cell["id"]: "".join(cell["source"]) for cell in cells if cell["id"].startswith("fold-")}


def called(function: str, code: str) -> set[str]:
    """The ids in `function("id"…`."""
    return set(re.findall(rf"\b{function}\(\s*[\"']([^\"']+)", code))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_asks_its_lessons_exercises_and_has_hints_and_solution_below_each(notebook):
    code, folds = read(notebook)
    own = {name for name in NAMES if name.startswith(notebook.name[:2])}
    assert called("check", code) == own
    assert folds == {key: folded(name) for key, name in fold_ids(own).items() if key in folds}
    tasks = {name for name in own if isinstance(core.find(name), core.Exercise)}
    handed_back = {
        name for line in code.splitlines() if re.match(r"\w+ = check\(", line) for name in called("check", line)
    }
    assert handed_back == tasks
    if folds:
        assert set(folds) == set(fold_ids(tasks))
    assert len(tasks) >= 3, "a lesson has at least three exercises"


def fold_ids(names) -> dict[str, str]:
    return {f"fold-{name.replace('.', '-')}": name for name in names}


def test_an_exercise_belongs_to_a_notebook():
    assert {path.name[:2] for path in NOTEBOOKS} >= set(LESSONS)


# The machinery, on an exercise and a question of the test's own.


def centre(x, mean):
    """Rows of x (B, D) counted from `mean` (D,)."""
    return x - mean


class Doubler(nn.Module):
    """Twice its input."""

    def reset(self):
        """Nothing to forget."""

    def forward(self, x):
        return 2 * x


@pytest.fixture(autouse=True)
def example(monkeypatch):
    monkeypatch.setattr(core, "REGISTER", dict(core.REGISTER))

    @exercise("99.centre", solution=centre, core=True, hints=("What is left of the mean?", "One minus will do."))
    def _(attempt):
        x, mean = torch.randn(5, 8), torch.randn(8)
        got = shaped(attempt(x, mean), (5, 8), "Keep the shape.")
        require(not got.isnan().any(), "No NaN, please.")
        close(got, x - mean, "Subtract the mean.", slips={"The sign is turned.": mean - x})

    @exercise("99.doubler", solution=Doubler)
    def _(attempt):
        close(attempt()(torch.ones(2)), torch.full((2,), 2.0), "Twice, please.")

    question("99.passes", answer=64, hints={1: "One pass draws one pixel.", 17: "Not the grey levels."}, why="8 x 8.")


BUGS = [lambda x, mean: x.sum(1), lambda x, mean: mean - x, lambda x, mean: x + mean]


def test_an_exercise_a_class_and_a_question_are_sound(capsys):
    assert_sound("99.centre", BUGS, capsys)
    assert_sound("99.doubler", [nn.Identity], capsys)
    assert_sound("99.passes", [], capsys)


def test_soundness_sees_too_few_bugs_and_a_shared_hint(capsys):
    with pytest.raises(AssertionError, match="2 planted bugs, expected at least 3"):
        assert_sound("99.centre", BUGS[:2], capsys)
    with pytest.raises(AssertionError, match="share a hint"):
        assert_sound("99.centre", [BUGS[1], BUGS[2], lambda x, mean: x + 2 * mean], capsys)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        assert_sound("99.centre", [*BUGS, lambda x, mean: x.sub(mean)], capsys)


def test_stubs_are_told_from_answers(capsys):
    def empty(x, mean):
        """Yours."""
        ...

    def blank(x, mean):
        shift = ...
        return x - shift

    def late(x, mean):
        x = x - mean
        return ...

    class Empty(nn.Module):
        def forward(self, x):
            pass

    def nested(x, mean):
        """Yours."""

        def inner(y):
            # a line of help
            ...

        return inner

    for stub in (empty, blank, late, nested):
        assert_not_attempted("99.centre", stub, capsys)
    assert_not_attempted("99.doubler", Empty, capsys)
    assert "tensor" in failure("99.centre", lambda x, mean: 0).hint


def test_a_stub_is_known_by_its_source(capsys):
    @torch.no_grad()
    def decorated(x, mean):
        """Yours."""
        return ...

    def outer():
        def inner(x, mean):
            return None

        return inner

    for stub in (decorated, outer(), lambda x, mean: ..., lambda *a, **k: None):
        assert_not_attempted("99.centre", stub, capsys)
    assert_right("99.centre", torch.no_grad()(lambda x, mean: x - mean), capsys)
    scope = {}
    exec("def unseen(x, mean): return x - mean\ndef blank(x, mean): ...", scope)  # a source that nobody kept
    assert_right("99.centre", scope["unseen"], capsys)
    assert "return" in failure("99.centre", scope["blank"]).hint  # so it counts as an answer


def test_a_class_is_a_stub_where_the_solution_does_more(capsys):
    class Helped(nn.Module):
        def reset(self):  # empty in the solution, too
            pass

        def observe(self, x):  # not in the solution
            ...

        def forward(self, x):
            return x + x

    class Unwritten(Helped):
        @torch.no_grad()
        def forward(self, x):
            """Yours."""

    assert_right("99.doubler", Helped, capsys)
    assert_not_attempted("99.doubler", Unwritten, capsys)


def forgets_return(x, mean):
    x - mean


def raises(x, mean):
    return x @ mean[:3]


@pytest.mark.parametrize(
    "attempt, told",
    [
        (forgets_return, "is a `return` missing?"),
        (lambda x, mean: (x - mean).numpy(), "numpy array"),
        (lambda x, mean: [1, 2], "The result is a list, expected a tensor"),
        (lambda x, mean: x - mean[:3], "Your code raised RuntimeError: The size of tensor a"),
        (lambda x: x, "TypeError: .*takes 1 positional argument"),
        (lambda x, mean: x * float("nan"), "No NaN"),
        (torch.zeros(5, 8), "Hand over the function itself"),
        (Doubler, "Hand over the function itself"),
    ],
)
def test_wrong_kinds_are_told_kindly(attempt, told):
    assert re.search(told, failure("99.centre", attempt).hint)


def test_an_error_in_the_attempt_names_its_line_and_is_chained():
    failed = failure("99.centre", raises)
    assert failed.got.endswith(": return x @ mean[:3]")
    assert isinstance(failed.__cause__, RuntimeError)
    assert failed._render_traceback_() == [f"✗ 99.centre: {failed.hint}", f"  {failed.got}"]


def test_none_where_the_check_takes_the_result_apart(monkeypatch):
    monkeypatch.setattr(
        core, "_LIBRARIES", (core._HERE.parent, Path(__file__).parent)
    )  # this check is not in the package

    @exercise("99.halves", solution=torch.chunk)
    def _(attempt):
        first, second = attempt(torch.ones(4), 2)

    assert "return" in failure("99.halves", lambda x, n: None if n else x).hint


def test_close_compares_without_broadcasting():
    close(1.0, 1, "")
    close(np.float32(0.5), 0.5, "")
    close(torch.ones(3, dtype=torch.float64, requires_grad=True), torch.ones(3), "")
    for got, wanted, told in [
        (torch.ones(1), torch.ones(3), "shape"),
        (torch.tensor([1.0, torch.nan]), torch.ones(2), "NaN"),
        (np.ones(2), torch.ones(2), "numpy"),
        (None, 1.0, "return"),
        (torch.ones(2), torch.zeros(2), "general"),
        ("1", 1.0, "str"),
    ]:
        with pytest.raises(CheckFailed, match=told):
            close(got, wanted, "general")


def test_typed_tells_both_dtypes():
    typed(torch.ones(2), torch.zeros(3))
    with pytest.raises(CheckFailed, match="Got float64, expected float32."):
        typed(torch.ones(2).double(), torch.zeros(3))


def test_a_check_neither_uses_nor_disturbs_the_learners_random_numbers(capsys):
    @exercise("99.seeded", solution=centre)
    def _(attempt):
        print(torch.rand(1).item())

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check("99.seeded", centre)
    assert torch.equal(torch.rand(3), expected)
    check("99.seeded", centre)
    first, second = capsys.readouterr().out.split("✓ 99.seeded\n")[:2]
    assert first == second


def test_a_question_takes_a_word_or_a_number(capsys):
    assert_right("99.passes", 64, capsys)
    assert_right("99.passes", " 64", capsys)
    assert failure("99.passes", 1).hint == "One pass draws one pixel."
    assert failure("99.passes", "lots").hint == "Answer with one of 1, 17, 64."


def test_the_solution_is_shown_as_source_folded_in_a_notebook():
    shown = solution("99.centre")
    assert (
        repr(shown) == 'def centre(x, mean):\n    """Rows of x (B, D) counted from `mean` (D,)."""\n    return x - mean'
    )
    page = shown._repr_markdown_()
    assert page.startswith("<details><summary>Solution of 99.centre</summary>\n\n```python\ndef centre")
    assert page.endswith("```\n\n</details>")
    assert repr(solution("99.passes")) == "64: 8 x 8."


def test_hints_come_one_by_one_and_the_solution_last_each_behind_a_click():
    text = folded("99.centre")
    assert re.findall("<summary>(.*?)</summary>", text) == ["Hint 1", "Hint 2", "Solution"]
    assert text.count("<details>") == text.count("</details>") == 3
    assert "One minus will do.\n\n</details>" in text and "```python\ndef centre" in text


def test_a_wrong_answer_shows_its_hint_and_the_lesson_goes_on_with_the_solution(monkeypatch, capsys):
    monkeypatch.delenv("MINIDIFF_STRICT")
    assert check("99.centre", BUGS[1]) is centre
    told = capsys.readouterr().out
    assert told.startswith("✗ 99.centre: The sign is turned.\n") and "the course's version" in told
    assert check("99.passes", 1) is None
    assert capsys.readouterr().out == "✗ 99.passes: One pass draws one pixel.\n"
    with pytest.raises(ValueError, match="expected an exercise"):
        check("99.center", centre)


def test_an_answer_that_changes_what_it_was_given_is_refused():
    failed = failure("99.centre", lambda x, mean: x.sub_(mean))
    assert "changes a tensor" in failed.hint and "(5, 8)" in failed.got


def test_a_lesson_is_read_when_one_of_its_exercises_is_asked_for(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(minidiff.lessons, "__path__", [str(tmp_path)])
    for lesson in ("97", "98"):
        code = f"from minidiff.exercises import question\nquestion('{lesson}.x', answer='a', hints={{}}, why='')"
        (tmp_path / f"lesson{lesson}").mkdir()
        (tmp_path / f"lesson{lesson}" / "exercises.py").write_text(code)
        (tmp_path / f"lesson{lesson}" / "__init__.py").touch()
        for name in (f"lesson{lesson}", f"lesson{lesson}.exercises"):
            monkeypatch.delitem(sys.modules, f"minidiff.lessons.{name}", raising=False)
    assert_right("98.x", "a", capsys)
    assert "97.x" not in core.REGISTER
    assert {"97.x", "98.x"} <= set(core.names())


def test_an_unknown_id_names_its_neighbours():
    with pytest.raises(ValueError, match="'99.center'.*perhaps 99.centre"):
        check("99.center", ...)
    with pytest.raises(TypeError, match="got 7, expected a string"):
        solution(7)


@pytest.mark.parametrize("name", ["99.centre", "centre", "9.centre", "99.Centre"])
def test_an_id_is_new_and_well_formed(name):
    with pytest.raises(ValueError, match="expected a new one"):
        question(name, answer="a", hints={}, why="")


def test_a_stub_in_a_cell_of_a_notebook_is_told_from_an_answer(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.user_ns.update(check=check)
    shell.run_cell("def centre(x, mean):\n    ...\ncentre = check('99.centre', centre)")
    shell.run_cell("def centre(x, mean):\n    return x - mean\ncentre = check('99.centre', centre)")
    shell.run_cell("blank = check('99.centre', lambda x, mean: ...)")
    told = [line for line in capsys.readouterr().out.splitlines() if "99" in line]
    assert [line[:30] for line in told] == [
        "99.centre: not attempted yet. ",
        "✓ 99.centre",
        "99.centre: not attempted yet. ",
    ]


def test_a_notebook_shows_the_hint_alone(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.user_ns.update(check=check, BUGS=BUGS)
    result = shell.run_cell("check('99.centre', BUGS[1])")
    assert isinstance(result.error_in_exec, CheckFailed)
    assert capsys.readouterr().out.strip() == "✗ 99.centre: The sign is turned."
