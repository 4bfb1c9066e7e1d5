"""Wall time and peak memory of every notebook, from an empty kernel to its last cell, in the profiles asked for.

Each runs in a process of its own and changes no file. Peak memory is the kernel's, the largest it held at once.

    OMP_NUM_THREADS=2 python benchmarks/course.py ci cpu
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
RUN = """
import resource, sys, time
from pathlib import Path
import nbformat
from nbclient import NotebookClient

path, begin = Path(sys.argv[1]), time.perf_counter()
context = {"metadata": {"path": str(path.parent)}}
NotebookClient(nbformat.read(path, as_version=4), resources=context, timeout=None).execute()
unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit)
"""


def measured(path: Path, profile: str) -> tuple[float, float]:
    """(seconds, GiB) of one run."""
    command = [sys.executable, "-c", RUN, str(path)]
    environment = os.environ | {"MINIDIFF_PROFILE": profile}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profiles", nargs="*", default=["ci", "cpu"], metavar="PROFILE", help="default: ci cpu")
    parser.add_argument("--only", default="", metavar="TEXT", help="the notebooks with TEXT in their name")
    args = parser.parse_args()
    print("| notebook |", " | ".join(f"{profile}, s | {profile}, GiB" for profile in args.profiles), "|")
    print("|---|" + "---:|---:|" * len(args.profiles))
    for path in sorted(path for path in NOTEBOOKS.glob("*.ipynb") if args.only in path.name):
        print(f"| {path.stem} |", end="", flush=True)
        for profile in args.profiles:
            seconds, peak = measured(path, profile)
            print(f" {seconds:.0f} | {peak:.2f} |", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
