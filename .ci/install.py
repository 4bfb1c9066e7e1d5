"""Install the course into the Python that runs this, and say every few seconds what is done: install.py constraints.txt

Further arguments name extras: `install.py constraints.txt test site`. Only the standard library is at hand by then.
Without an NVIDIA GPU torch's ordinary build for Linux brings five gigabytes of CUDA for nothing, so torch and
torchvision are looked for in PyTorch's index of CPU builds first. TORCH_INDEX names another index; an empty one, none.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
import tomllib
from pathlib import Path

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
PATIENCE = 5  # seconds for the index to answer
EVERY = 5  # seconds from one sign of life to the next
PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--no-compile"]
COMING = "Installing collected packages: "


def main(constraints: str, *extras: str) -> int:
    """Install torch's pair from one index if that is wanted and answers, then all the rest. Returns pip's exit code."""
    index = torch_index()
    sys.stdout.reconfigure(errors="replace")  # a folder's name may have letters that the terminal lacks
    if index:
        from_one_index(index, constraints)
    course = f".[{','.join(extras)}]" if extras else "."
    failed = watched([*PIP, "-c", constraints, "-e", course])
    if not failed:
        settle()
    return failed


def settle() -> None:
    """In an environment of the course's own, JupyterLab shows the glossary as a page and asks nothing about news."""
    if sys.prefix != sys.base_prefix:
        folder = Path(sys.prefix) / "share" / "jupyter" / "lab" / "settings"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(__file__).with_name("overrides.json"), folder)


def torch_index() -> str:
    """The index to take torch and torchvision from, or "" for the ordinary one."""
    if "TORCH_INDEX" in os.environ:
        return os.environ["TORCH_INDEX"]
    return CPU_BUILDS if sys.platform == "linux" and not nvidia() else ""


def nvidia() -> bool:
    """Whether an NVIDIA GPU has its driver here, or in the Windows around this Linux."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/lib/wsl/lib"
    return bool(shutil.which("nvidia-smi", path=path)) or Path("/proc/driver/nvidia/version").exists()


def from_one_index(index: str, constraints: str) -> None:
    """Install torch and torchvision, both from this index or, where it does not answer or lacks one, neither.

    What they need comes later, from the ordinary index: without it, pip takes both or none. Every other place that
    pip is set up to look in is left out, as a mixed pair fails at import.
    """
    if not answers(index):
        return print(f"No answer from {index}: torch comes in its ordinary build.", flush=True)
    needs = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    pair = [need for need in needs if need.startswith("torch")]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    alone["PIP_CONFIG_FILE"] = os.devnull
    if watched([*PIP, "-c", constraints, "--no-deps", "--index-url", index, *pair], alone):
        print(f"Not from {index}, then: torch comes in its ordinary build.", flush=True)


def answers(index: str) -> bool:
    """Whether the index has torch, asked by another process: looking up an address may outlast any time-out."""
    ask = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
    command = [sys.executable, "-c", ask, f"{index}/torch/"]
    try:
        return subprocess.run(command, timeout=PATIENCE, stderr=subprocess.DEVNULL).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def watched(command: list[str], environment: dict | None = None) -> int:
    """Run pip, and print every few seconds the line it is at. Its warnings and errors appear by themselves."""
    pip = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, errors="replace")
    said, ended = ["Starting"], threading.Event()
    watch = threading.Thread(target=tell, args=(said, ended))
    watch.start()
    for line in pip.stdout:
        said.append(line.strip())
    ended.set()
    watch.join()
    return pip.wait()


def tell(said: list[str], ended: threading.Event) -> None:
    """Print the seconds gone and what pip is at, until `ended` is set."""
    began = time.monotonic()
    while not ended.wait(EVERY):
        print(f"{time.monotonic() - began:4.0f} s  {at(said)}", flush=True)


def at(said: list[str]) -> str:
    """What pip is at: its last words, or the first of the packages it has announced that is not there yet."""
    coming = [line for line in said if line.startswith(COMING)]
    if not coming:
        return re.sub(r" (\(?from|in) .*", "", said[-1])[:80]
    names = coming[-1].removeprefix(COMING).split(", ")
    folders = Path(sysconfig.get_path("purelib")).glob("*.dist-info")
    there = {canonical(path.name.split("-")[0]) for path in folders}
    left = [name for name in names if canonical(name) not in there] or names[-1:]
    return f"Installing {left[0]}, {len(names) - len(left) + 1} of {len(names)}"


def canonical(name: str) -> str:
    """A package's name as its index has it: Jinja2 is jinja2, and charset_normalizer charset-normalizer."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
