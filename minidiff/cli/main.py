"""The command line, `python -m minidiff doctor | train | sample | scorecard`: what notebooks show, repeatable.

Only the standard library is imported at the top: `doctor` has to answer on a machine where the rest is missing.
"""

import argparse
import sys


def main(argv: list[str] | None = None) -> int:
    """Run a command, by default that of sys.argv, and return its exit status.

    0: done. 1: `doctor` found a fault. 2: refused, with one line on stderr that says why (`python -X dev` shows the
    traceback too). 130: interrupted by Ctrl-C.
    """
    try:
        return _run(_parser().parse_args(argv))
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "interrupted: nothing was written", 130)
    except (ValueError, OSError, FloatingPointError) as error:
        if sys.flags.dev_mode:
            raise
        return _say(str(error) or type(error).__name__, 2)


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
    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m minidiff", description="What the course's notebooks show, made repeatable.")
    add = parser.add_subparsers(required=True, dest="command", metavar="COMMAND").add_parser
    add("doctor", help="[OK] or [FAIL] for everything the course needs, and what to do")
    _add_train(add("train", help="train a model by its recipe and write a checkpoint"))
    _add_sample(add("sample", help="draw pictures with a trained model"))
    _add_scorecard(add("scorecard", help="the lessons' claims: the paper's figure, ours, and whether it holds"))
    return parser


def _add_train(parser):
    parser.add_argument("name", metavar="NAME", help="the recipe: FAMILY-DATA, such as vae-digits")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="how many steps (default: the recipe's for the profile)")
    length.add_argument("--seconds", type=float, metavar="S", help="for how long, instead of a number of steps")
    parser.add_argument(
        "--folder", metavar="DIR", help="ddpm-folder's pictures, DIR/CLASS/*.jpg (default: data/folder)"
    )
    parser.add_argument("--profile", metavar="P", help="ci, cpu or gpu (default: MINIDIFF_PROFILE, else what is there)")
    parser.add_argument("--seed", type=int, metavar="K", default=0, help="of weights, batches and noise (default: 0)")
    parser.add_argument("--out", metavar="FILE", help="a .safetensors (default: in trained/ in the data folder)")
    parser.add_argument("--resume", action="store_true", help="keep a state beside FILE; go on from one that is there")


def _add_sample(parser):
    parser.add_argument("name", metavar="NAME|FILE", help="a shipped checkpoint's name, or a .safetensors")
    parser.add_argument("--n", type=int, metavar="N", default=1000, help="how many pictures (default: 1000)")
    parser.add_argument("--label", type=int, metavar="K", help="one class only (default: 0, 1, … in turn)")
    parser.add_argument("--prompt", metavar="TEXT", help="what to draw, for a text-to-image model (default: captions)")
    parser.add_argument("--negative", metavar="TEXT", help="what to move away from, where there are prompts")
    parser.add_argument(
        "--sampler", choices=("ddpm", "ddim", "dpm"), help="of a denoiser (default: ddim; of prompts, dpm)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="of a denoiser's sampler (default: 20)")
    parser.add_argument("--eta", type=float, metavar="E", help="fresh noise at each step: 0 none (ddim), 1 as ddpm")
    parser.add_argument("--scale", type=float, metavar="S", help="of guidance (default: 1, none; with prompts 2)")
    parser.add_argument("--temperature", type=float, metavar="T", help="below 1 likelier, above 1 more varied pictures")
    parser.add_argument("--seed", type=int, metavar="K", default=0, help="of the random numbers (default: 0)")
    parser.add_argument(
        "--out", metavar="FILE", required=True, help=".npz with images and labels or prompts, or .png, a grid"
    )


def _add_scorecard(parser):
    parser.add_argument("lessons", metavar="LESSON", nargs="*", help="00, 01, … (default: all)")
    parser.add_argument("--full", action="store_true", help="also what is too slow for a notebook")
    parser.add_argument("--seeds", type=int, metavar="N", default=3, help="over how many seeds (default: 3)")
