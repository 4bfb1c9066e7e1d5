"""`python -m minidiff doctor`: is everything there that the course needs? One line each, [OK] or [FAIL] and what to do.

Only the standard library is imported at the top: each check imports what it needs, and may fail in any way.
"""

import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from functools import partial
from importlib import import_module, metadata
from pathlib import Path

GIB = 2**30
PYTHON = ((3, 11), (3, 14))  # the first and the last for which all packages have been built
UNBUILT = {("darwin", "x86_64"): "a Mac with an Intel processor", ("win32", "arm64"): "Windows on ARM"}
MODULES = {"scikit-learn": "sklearn", "scikit-image": "skimage"}  # the others are imported by the name they go by
INSTALL = "activate the environment (`source .venv/bin/activate`), or run `pip install -e .` in the checkout"
NAMED = ("torch", "torchvision", "jupyterlab", "ipywidgets", "anywidget")  # those with a line of their own


def doctor() -> int:
    """Print a line for each need, in an order in which the first fault may be the cause of the next ones.

    Returns 0 if every need is met, else 1.
    """
    faults = [_examine(*need) for need in NEEDS].count(False)
    print(f"{faults} of {len(NEEDS)} to mend; begin with the first" if faults else "everything is there")
    return min(faults, 1)


def _examine(need: str, check, remedy: str) -> bool:
    try:
        _say(f"[OK]   {need}: {check()}")
        return True
    except Exception as error:  # a broken package may raise anything
        _say(f"[FAIL] {need}: {' '.join(str(error).split()) or type(error).__name__}. What to do: {remedy}")
        return False


def _say(line: str) -> None:
    """Print a line, in a terminal as several of its width."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, subsequent_indent=" " * 7, break_on_hyphens=False, break_long_words=False)
    print(line)


def _python() -> str:
    found = ".".join(map(str, sys.version_info[:3]))
    first, last = (".".join(map(str, version)) for version in PYTHON)
    if not PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
        raise RuntimeError(f"{found} is {'older' if sys.version_info < PYTHON[0] else 'newer'} than {first} to {last}")
    return f"{found} in {sys.prefix}"


def _platform() -> str:
    here = (sys.platform, platform.machine().lower())
    if here in UNBUILT:
        raise RuntimeError(f"{UNBUILT[here]}, for which PyTorch is not built any more, or not yet")
    return f"{platform.system()} {platform.machine()}"


def _package() -> str:
    """The package that a script finds, also one that lies beside the clone, whose own folder is called the same."""
    import minidiff

    here = Path(minidiff.__file__).resolve()
    beside = here.parents[2]
    ask = "from importlib.util import find_spec; print(getattr(find_spec('minidiff'), 'origin', None))"
    there = subprocess.run([sys.executable, "-c", ask], cwd=beside, capture_output=True, text=True).stdout.strip()
    if there in ("", "None"):
        raise RuntimeError(f"a script in {beside} finds no package, or the folder {here.parents[1]} in its place")
    if Path(there).resolve() != here:
        raise RuntimeError(f"here it is {here.parent}, and a script elsewhere gets {Path(there).parent}")
    return str(here.parent)


def _packages(*names: str) -> str:
    """Each is there, can be imported, and is as new as pyproject.toml asks. No names: all others that it names."""
    lowest = dict(re.findall(r"^([\w.-]+)>=([\d.]+)$", "\n".join(metadata.requires("minidiff")), re.MULTILINE))
    found = {name: metadata.version(name) for name in names or lowest.keys() - NAMED}
    for name, version in sorted(found.items()):
        import_module(MODULES.get(name, name))
        if _number(version) < _number(lowest[name]):
            raise RuntimeError(f"{name} {version} is older than {lowest[name]}")
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def _number(version: str) -> list[int]:
    return [int(part) for part in re.match(r"[\d.]*\d", version).group().split(".")]


def _torch() -> str:
    """torch and torchvision, and an operator of torchvision's: it is missing where the two come from two places."""
    found = _packages("torch", "torchvision")
    import torch
    from torchvision.ops import nms

    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    return found


def _device() -> str:
    import torch

    from minidiff import device, profile

    where = device()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{where} ({name}), profile {profile()}"


def _jupyter() -> str:
    from jupyter_client.kernelspec import KernelSpecManager

    return f"{_packages('jupyterlab')}, kernel {KernelSpecManager().get_kernel_spec('python3').display_name}"


def _digits() -> str:
    from minidiff import data

    train, test = (len(data.digits(split)[0]) for split in ("train", "test"))
    return f"{train} + {test} handwritten digits"


def _emoji() -> str:
    from minidiff import data

    return f"{len(data.emoji(holdout=None)[1]):,} drawings with names"


def _home_folder() -> str:
    """Where Jupyter writes as it starts."""
    from jupyter_core.paths import jupyter_runtime_dir

    return _written(Path(jupyter_runtime_dir()))


def _data_folder() -> str:
    from minidiff import data

    return _written(data.data_dir())


def _written(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"writable")
    return f"{folder} can be written"


def _checkpoints() -> str:
    from minidiff import checkpoints

    if not (names := checkpoints.names()):
        raise RuntimeError(f"none in {checkpoints.SHIPPED}")
    for name in names:
        checkpoints.load(name)
    return f"{len(names)} readable: {', '.join(names)}"


def _published() -> str:
    from minidiff.cli import published

    return published.told()


def _disk() -> str:
    from minidiff import data

    folder = data.data_dir()
    while not folder.exists():
        folder = folder.parent
    return _enough(shutil.disk_usage(folder).free, 1, f"free at {folder}")


def _memory() -> str:
    import psutil

    return _enough(psutil.virtual_memory().available, 2, "available")


def _enough(count: int, least: int, what: str) -> str:
    if count < least * GIB:
        raise RuntimeError(f"{count / GIB:.1f} GiB {what}, {least} GiB are needed")
    return f"{count / GIB:.1f} GiB {what}"


NEEDS = (
    ("Python", _python, "install Python 3.11 to 3.14 and make the environment again, `make lab PYTHON=python3.12`"),
    ("platform", _platform, "take a Python for this processor, or another machine; WSL on Windows is Linux"),
    ("package", _package, "in the checkout that you mean to use, run `pip install -e .` again"),
    ("torch and torchvision", _torch, f"{INSTALL}; if both are there, install both again, from one and the same index"),
    ("device", _device, "unset MINIDIFF_DEVICE and MINIDIFF_PROFILE, or set them to what is there"),
    ("Jupyter", _jupyter, f"{INSTALL}; a lost kernel comes back with `pip install --force-reinstall ipykernel`"),
    ("widgets", partial(_packages, "ipywidgets", "anywidget"), f"{INSTALL}, and start JupyterLab again"),
    ("other packages", _packages, INSTALL),
    ("digits", _digits, "run `pip install --force-reinstall scikit-learn`"),
    ("emoji", _emoji, "run `git checkout -- data/emoji` in the checkout"),
    ("home folder", _home_folder, "make room there, or start with another home: `HOME=/tmp make lab`"),
    ("data folder", _data_folder, "set MINIDIFF_DATA to a folder that can be written"),
    ("checkpoints", _checkpoints, "run `git checkout -- data/checkpoints` in the checkout"),
    ("published weights", _published, "run `python -m minidiff fetch NAME` again"),
    ("disk", _disk, "free some, or set MINIDIFF_DATA to a folder on another disk"),
    ("memory", _memory, "close other programs and notebooks"),
)
