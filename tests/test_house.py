"""The rules of the house: who imports whom, where things stand and are called, how long they are, what is committed."""

import ast
import os
import re
import socket
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pins
import pytest
import yaml

from minidiff.support import rooms

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minidiff"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PAGES = ["README.md", "CONTRIBUTING.md", "data/README.md", "minidiff/README.md"]

LONGER = {}  # reviewed: "module.py" or "module.py::function" -> the lines it may have

# Who may import whom: the rooms floor by floor, from the ground up. A file may import what stands on a lower floor and
# what is in its own room. Every file at the top of the package that is named nowhere here is a model.
TOOLS = {"train", "plot", "evaluate"}  # they know no model, and no model knows them
FLOORS = [
    {"support"},
    {"data"},
    {"nn", "schedule", "metrics"},
    {"models", *TOOLS},
    {"generate", "pretrained"},
    {"recipes"},
    {"checkpoints"},
    {"exercises", "scorecard", "widgets"},
    {"lessons"},
    {"cli"},
    {"__init__", "__main__"},
]
PLACED = set().union(*FLOORS)
ROOMS = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
LESSON_PARTS = ("exercises", "solutions", "widgets", "claims")


def room(name: str) -> str:
    """The room of a dotted name below the package: that of `vae.VAE` is "models", that of `pick` is "support"."""
    first = name.partition(".")[0]
    if first in ROOMS:
        return first if first in PLACED else "models"
    return "support"  # what the package itself hands on


def floor(name: str) -> int:
    return next(k for k, rooms in enumerate(FLOORS) if name in rooms)


def imported(source: str) -> set[str]:
    """The dotted names below minidiff that the source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import, expected `from minidiff...`"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.removeprefix("minidiff.") for name in names if name.startswith("minidiff.")}
    return found


def forbidden(here: str, source: str) -> set[str]:
    """What a file of the room `here` imports although it stands no lower."""
    return {n for n in imported(source) if room(n) != here and floor(room(n)) >= floor(here)}


def file_of(name: str) -> str | None:
    """The file that a dotted name below minidiff is taken from, or None for what the package itself hands on."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:k])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file in MODULES:
                return str(file.relative_to(PACKAGE))
    return None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    here = room(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    assert not forbidden(here, path.read_text("utf-8"))


def test_the_import_rule_sees_each_kind_of_import():
    assert forbidden("models", "def f():\n    import minidiff.train") == {"train"}
    assert forbidden("train", "from minidiff import data, vae") == {"vae"}
    assert forbidden("nn", "from minidiff.vae import VAE") == {"vae.VAE"}
    assert forbidden("models", "from minidiff.nn import Block\nfrom minidiff import pick\nimport torch") == set()
    assert forbidden("widgets", "from minidiff.scorecard import Claim") == {"scorecard.Claim"}
    with pytest.raises(AssertionError, match="relative"):
        forbidden("models", "from . import nn")


def test_no_imports_go_round_in_a_circle():
    graph = {str(path.relative_to(PACKAGE)): imported(path.read_text("utf-8")) for path in MODULES}
    graph = {file: {file_of(name) for name in names} - {None, file} for file, names in graph.items()}
    assert sum(map(len, graph.values())) > 300
    assert set(TopologicalSorter(graph).static_order()) == set(graph)  # CycleError where it goes round


def test_the_tests_have_the_same_tree_as_the_package():
    tests = ROOT / "tests"
    for name in ROOMS - {"__init__", "__main__"}:
        assert (tests / f"test_{name}.py").exists() or [*(tests / name).rglob("test_*.py")], f"{name} has no tests"
    for path in tests.rglob("test_*.py"):
        if path.parent == tests:
            assert path.stem.removeprefix("test_") in ROOMS | {
                "answers",
                "house",
                "install",
                "notebooks",
                "reuse",
                "site",
                "surface",
                "twice",
            }
        else:
            assert path.relative_to(tests).parts[0] in ROOMS | {"browser"}


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_has_its_room_its_tests_and_its_line_in_the_readme(path):
    lesson = f"lesson{path.name[:2]}"
    assert not [part for part in LESSON_PARTS if not (PACKAGE / "lessons" / lesson / f"{part}.py").exists()]
    assert (ROOT / "tests" / "lessons" / lesson / f"test_{lesson}.py").exists()
    assert f"(notebooks/{path.name})" in (ROOT / "README.md").read_text("utf-8")


def test_every_lessons_room_has_a_notebook():
    assert [path.name[:2] for path in NOTEBOOKS] == rooms.lessons()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_content(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def long_parts(source: str):
    """(name, lines) of every function over 20 lines and constructor over 30, counted without its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            if lines > (30 if node.name == "__init__" else 20):
                yield node.name, lines


def test_functions_and_modules_are_short():
    found = {}
    for path in MODULES:
        source, name = path.read_text("utf-8"), str(path.relative_to(PACKAGE))
        found |= {f"{name}::{function}": lines for function, lines in long_parts(source)}
        if (lines := len(source.splitlines())) > 350:
            found[name] = lines
    found = {name: lines for name, lines in found.items() if lines > LONGER.get(name, 0)}
    assert not found, f"split, or add to LONGER after a review: {found}"


def test_length_is_counted_without_the_docstring():
    long = "def f():\n    '''One.\n\n    Two.\n    '''\n" + "    x = 1\n" * 20
    assert list(long_parts(long)) == [("f", 21)]
    assert list(long_parts(long.replace("    x = 1\n", "", 1))) == []
    assert list(long_parts("class A:\n    def __init__(self):\n" + "        x = 1\n" * 29)) == []


def requirement(text: str) -> str:
    """The requirement by conda's name for it."""
    return re.sub(r"^torch\b", "pytorch", text.replace(" ", ""))


def test_conda_gets_the_same_dependencies():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert environment["name"] == "minidiff" and environment["channels"] == ["conda-forge"]
    *wanted, pip, editable = environment["dependencies"]
    assert (pip, editable) == ("pip", {"pip": ["-e ."]})
    ours = [f"python{PROJECT['requires-python']}", *PROJECT["dependencies"]]
    assert wanted == [requirement(each) for each in ours]


def test_constraints_pin_every_dependency_and_nothing_of_one_platform():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert not [line for line in lines if pins.NOT_OURS.match(line)]
    names = [{re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in each} for each in (lines, pins.lowest())]
    assert names[1] <= names[0]


def test_pins_leave_out_what_is_not_ours(monkeypatch):
    frozen = "numpy==2.4.6\nnvidia-nccl-cu13==2.30.7\ntriton==3.9.0\nmine @ file:///x\npip==26.0\npipx==1.0\n"
    done = subprocess.CompletedProcess([], 0, stdout=frozen)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    assert pins.installed() == ["numpy==2.4.6", "pipx==1.0"]
    assert "torchvision==0.26" in pins.lowest()


def git(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)


in_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


@in_git
@pytest.mark.parametrize(
    "path, ignored",
    [
        ("minidiff/data/__init__.py", False),
        ("data/checkpoints/vae-digits.safetensors", False),
        ("data/tables/04.csv", False),
        ("data/emoji/sheet.webp", False),
        ("data/README.md", False),
        ("data/mnist/train.gz", True),
        (".venv/bin/python", True),
    ],
)
def test_git_keeps_the_source_and_ignores_downloads(path, ignored):
    assert git("check-ignore", "--no-index", "-q", path).returncode == (0 if ignored else 1)


@in_git
def test_no_large_file_is_committed():
    files = [ROOT / name for name in git("ls-files", "-z", "-co", "--exclude-standard").stdout.split("\0") if name]
    sizes = {path: path.stat().st_size / 1e6 for path in files if path.is_file()}
    assert not {str(path): size for path, size in sizes.items() if size > 4}
    assert sum(size for path, size in sizes.items() if path.parent.name == "checkpoints") < 60


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s#]+)", (ROOT / page).read_text("utf-8"))
    local = [link for link in links if not link.startswith("https://")]
    assert not [link for link in local if not ((ROOT / page).parent / link).exists()]


def test_the_readmes_example_runs():
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    exec(compile(example, "README.md", "exec"), {})


def test_a_test_cannot_leave_this_machine():
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
    for family, host in [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]:
        with socket.socket(family, socket.SOCK_DGRAM) as outside:
            for call in (lambda s, a: s.connect(a), lambda s, a: s.connect_ex(a), lambda s, a: s.sendto(b"", a)):
                with pytest.raises(RuntimeError, match=f"{host}.*expected this machine"):
                    call(outside, (host, 9))
    with pytest.raises(RuntimeError, match="example.org.*expected this machine"):
        socket.getaddrinfo("example.org", 80)
    assert socket.getaddrinfo("localhost", 80)


IMPORT = """
import sys, time
import torch
begin = time.perf_counter()
import minidiff
cost = time.perf_counter() - begin
from minidiff import data, train, unet
print(cost, [name for name in ("torchvision", "skimage", "matplotlib", "sklearn", "accelerate") if name in sys.modules])
from minidiff.cli import commands
print([name for name in ("torchvision", "skimage", "accelerate") if name in sys.modules])
"""


def test_importing_costs_little_more_than_torch_and_nothing_that_may_not_be_needed():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    cost, _, loaded = first.partition(" ")
    assert (loaded, second) == ("[]", "[]")
    print(f"import minidiff: {float(cost):.3f} s more than import torch")
    assert float(cost) < 0.3  # a hundred times what it is


@pytest.mark.parametrize(
    "given, count", [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "")]
)
@pytest.mark.parametrize("by", ["package", "make"])
def test_waiting_threads_spin_for_a_moment_unless_told_otherwise(by, given, count, tmp_path):
    named = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in named} | given
    (tmp_path / "Makefile").write_text(f"include {ROOT / 'Makefile'}\nshow:\n\t@echo $$GOMP_SPINCOUNT\n")
    ask = "import minidiff, os; print(os.environ.get('GOMP_SPINCOUNT', ''))"
    command = {"package": [sys.executable, "-c", ask], "make": ["make", "--no-print-directory", "-C", tmp_path, "show"]}
    done = subprocess.run(command[by], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == count


def test_no_two_test_files_have_one_name():
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) == len(set(names)), "pytest imports test files by their bare names"
