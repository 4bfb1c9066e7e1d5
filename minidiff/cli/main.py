"""The command line, `python -m minidiff doctor | train | sample | fetch | scorecard`: what notebooks show, repeatable.

Only the standard library is imported at the top: `doctor` has to answer on a machine where the rest is missing.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Iterator

from minidiff.cli.streams import make_tolerant


def main(argv: list[str] | None = None) -> int:
    """Run a command, by default that of sys.argv, and return its exit status.

    0: done. 1: `doctor` found a fault. 2: refused, with one line on stderr that says why (`python -X dev` shows the
    traceback too). 130: interrupted by Ctrl-C. 141: whoever read what is printed went away, as `| head -1` does.
    """
    make_tolerant()
    try:
        status = _run(_parser().parse_args(argv))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        return 141
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "interrupted: nothing was written", 130)
    except (ValueError, OSError, FloatingPointError) as error:
        if sys.flags.dev_mode:
            raise
        return _say(str(error) or type(error).__name__, 2)
    except (MemoryError, RuntimeError) as error:  # torch has no class of its own for a CPU's memory
        if sys.flags.dev_mode or not (isinstance(error, MemoryError) or "memory" in str(error)):
            raise
        return _say("there is not enough memory for this; ask for fewer or smaller pictures", 2)


def _run(args: argparse.Namespace) -> int:
    if args.command == "doctor":
        from minidiff.cli.doctor import doctor

        return doctor()
    try:
        from minidiff.cli import commands  # with torch and all that stands on it
    except ImportError as error:
        raise ValueError(f"{error}; `python -m minidiff doctor` says what is missing and what to do") from error
    return getattr(commands, args.command)(args)


def _say(text: str, status: int) -> int:
    print("minidiff:", " ".join(text.split()), file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    """A parser whose help ends in an example, and in names that are looked up when it is asked for."""

    def __init__(self, *args, example: str = "", names: Callable[[], Iterator[tuple[str, str]]] = tuple, **kwargs):
        super().__init__(*args, **kwargs)
        self.example, self.names = example, names

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")

    def format_help(self):
        told = f"{super().format_help()}\nexample:\n  {self.prog} {self.example}".rstrip() + "\n"
        indented = {"initial_indent": "  ", "subsequent_indent": "  ", "break_on_hyphens": False}
        return told + "".join(f"\n{title}:\n{textwrap.fill(names, 78, **indented)}\n" for title, names in self.names())


COMMANDS = {  # name -> what it does in a line, the sentence on top of its help, an example
    "doctor": (
        "is everything there that the course needs?",
        "Look at everything that the course needs. Each line begins with [OK], or with [FAIL] and says what to do.",
        "",
    ),
    "train": (
        "train a model by its recipe",
        "Train a model by its recipe, show how far it is, and write it with a card that says how it was made.",
        "ddpm-digits --seconds 60 --resume",
    ),
    "sample": (
        "draw pictures with a trained model",
        "Draw pictures with a model that ships with the course, or with one that you have trained.",
        'ldm-shapes --prompt "a large red circle" --out circles.png',
    ),
    "fetch": (
        "fetch published weights",
        "Fetch published weights, 2 GB of them, from huggingface.co into the data folder; what has come is kept.",
        "sd-1.5",
    ),
    "scorecard": (
        "measure the lessons' claims",
        "Measure what the lessons claim: the paper's figure, ours, and whether the claim holds.",
        "06 --seeds 1",
    ),
}


def _parser() -> argparse.ArgumentParser:
    about = "What the course's notebooks show, made repeatable. Each command has a --help of its own."
    parser = _Parser(prog="python -m minidiff", description=about, example="doctor")
    add = parser.add_subparsers(required=True, dest="command", metavar="COMMAND", parser_class=_Parser).add_parser
    names = {"train": _recipes, "sample": _drawing, "fetch": _published}
    options = {"train": _add_train, "sample": _add_sample, "fetch": _add_fetch, "scorecard": _add_scorecard}
    for name, (brief, about, example) in COMMANDS.items():
        command = add(name, help=brief, description=about, example=example, names=names.get(name, tuple))
        options.get(name, lambda parser: None)(command)
    return parser


def _recipes() -> Iterator[tuple[str, str]]:
    """The names of all recipes, one world of data after another."""
    try:
        from minidiff.recipes import RECIPES
    except ImportError:
        return
    worlds = {}
    for name in RECIPES:
        worlds.setdefault(name.split("-")[1], []).append(name)
    for world, names in worlds.items():
        yield f"recipes of {world}", ", ".join(names)


def _drawing() -> Iterator[tuple[str, str]]:
    """The names of the shipped models that draw pictures."""
    try:
        from minidiff import checkpoints
        from minidiff.recipes import RECIPES
    except ImportError:
        return
    known = [name for name in checkpoints.names() if name in RECIPES]
    yield "models that draw", ", ".join(n for n in known if RECIPES[n].generate and len(RECIPES[n].shape) == 3)


def _published() -> Iterator[tuple[str, str]]:
    """The names of the published weights."""
    try:
        from minidiff.pretrained.fetch import PUBLISHED
    except ImportError:
        return
    yield "published weights", ", ".join(PUBLISHED)


def _add_train(parser):
    parser.add_argument("name", metavar="NAME", help="the recipe: FAMILY-DATA, one of those listed below")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="how many steps (default: the recipe's for the profile)")
    length.add_argument("--seconds", type=float, metavar="S", help="for how long, instead of a number of steps")
    parser.add_argument(
        "--folder", metavar="DIR", help="ddpm-folder's pictures, DIR/CLASS/*.jpg (default: data/folder)"
    )
    parser.add_argument("--profile", metavar="P", help="ci, cpu or gpu (default: MINIDIFF_PROFILE, else what is there)")
    parser.add_argument("--seed", type=int, metavar="K", default=0, help="of weights, batches and noise (default: 0)")
    parser.add_argument("--out", metavar="FILE", help="a .safetensors (default: in trained/ in the data folder)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep a state beside FILE, written every 10 to 60 seconds, and go on from the one that is there, "
        "after a stop or, with more steps, after the end",
    )


def _add_sample(parser):
    parser.add_argument("name", metavar="NAME|FILE|FOLDER", help="a checkpoint, or what `fetch` has fetched")
    parser.add_argument("--n", type=int, metavar="N", help="how many pictures (default: 16; of published weights 1)")
    parser.add_argument("--label", metavar="NAME|K", help="one class only, by name or by number (default: in turn)")
    parser.add_argument("--prompt", metavar="TEXT", help="what to draw, for a text-to-image model (default: captions)")
    parser.add_argument("--negative", metavar="TEXT", help="what to move away from, where there are prompts")
    parser.add_argument(
        "--sampler", choices=("ddpm", "ddim", "dpm"), help="of a denoiser (default: ddim; of prompts, dpm)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="of a denoiser's sampler (default: 20)")
    parser.add_argument("--eta", type=float, metavar="E", help="fresh noise at each step: 0 none (ddim), 1 as ddpm")
    parser.add_argument(
        "--scale", type=float, metavar="S", help="of guidance (default: 1, none; with prompts 2 or 7.5)"
    )
    parser.add_argument("--size", type=_size, metavar="H[xW]", help="pixels, with prompts (default: the model's own)")
    parser.add_argument("--temperature", type=float, metavar="T", help="below 1 likelier, above 1 more varied pictures")
    parser.add_argument("--seed", type=int, metavar="K", default=0, help="of the random numbers (default: 0)")
    parser.add_argument(
        "--out", metavar="FILE", required=True, help=".npz with images and labels or prompts, or .png, a grid"
    )


def _size(text: str) -> int | tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of pixels, or two as in 32x64") from None
    return sides[0] if len(sides) == 1 else sides


def _add_fetch(parser):
    parser.add_argument("name", metavar="NAME", help="one of those listed below")


def _add_scorecard(parser):
    parser.add_argument("lessons", metavar="LESSON", nargs="*", help="00, 01, … (default: all)")
    parser.add_argument("--full", action="store_true", help="also what is too slow for a notebook")
    parser.add_argument("--seeds", type=int, metavar="N", default=3, help="over how many seeds (default: 3)")
