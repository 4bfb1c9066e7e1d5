"""Print version pins: those installed here, for constraints.txt, or with --lowest the lowest that the project allows.

Written with the standard library alone, because `--lowest` runs before anything is installed.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

# What torch brings for one platform alone stays with torch; pip and minidiff are not dependencies.
NOT_OURS = re.compile(r"(nvidia|cuda|triton|minidiff\b|pip\b|setuptools\b)|[^=]+@", re.I)


def installed() -> list[str]:
    """name==version of each package in this environment."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    lines = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if not NOT_OURS.match(line)]


def lowest() -> list[str]:
    """name==version for each `name>=version` of the project and its extras `test` and `site`."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [need.replace(">=", "==") for need in project["dependencies"] + extras["test"] + extras["site"]]


if __name__ == "__main__":
    print("\n".join(lowest() if "--lowest" in sys.argv else installed()))
