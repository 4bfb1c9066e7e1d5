"""What `python -m minidiff train | sample | scorecard` do: parsed options in, exit status out, errors as exceptions."""

import difflib
import os
import shlex
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from minidiff import (
    cards,
    checkpoints,
    data,
    device,
    drawing,
    expect,
    folders,
    launch,
    profile,
    sampling,
    seed_everything,
)
from minidiff.cli import Refused
from minidiff.profile import PROFILES
from minidiff.recipes import RECIPES, Recipe
from minidiff.tables import table
from minidiff.train import Ema, run

MOST = {".npz": 1_000_000, ".png": 10_000}  # pictures in one file


def train(args) -> int:
    """Train a recipe's model; write its averaged weights and their card; print its held-out loss and the file.

    Of the processes that a launcher started, all train and the first one writes.
    """
    recipe, steps = _asked(args), _steps(args)
    out = _place(args.out or data.data_dir() / "trained" / f"{args.name}.safetensors", ".safetensors")
    state = out.with_suffix(".state") if args.resume else None
    where = _device()
    together = launch.together(args.name, recipe, where)
    where = together["accelerator"].device if together else where
    seed_everything(args.seed)
    tensors, held_out = (_data(recipe, split) for split in ("train", "test"))
    model = recipe.fresh(*tensors).to(where)
    batches = data.batches(*(x.to(where) for x in tensors), size=recipe.batch, seed=args.seed)  # no copies on the way
    how = {"seconds": args.seconds, "seed": args.seed, "ema": Ema(model), "resume": state} | together
    training = recipe.fit(model, batches, steps, recipe.lr, **how)
    _consume(training, args.name, state)
    if launch.first():
        _finish(training, args, steps, out, tensors, _mean_loss(how["ema"].model, held_out, recipe.batch, where))
    return 0


def sample(args) -> int:
    """Draw pictures with a trained model into an .npz (images, and their labels or prompts) or a .png (a grid)."""
    out = _place(args.out, *MOST)
    n = expect.integer("--n", args.n, 1, MOST[out.suffix])
    seed = expect.integer("--seed", args.seed, 0, 2**32 - 1)
    model = checkpoints.load(args.name).to(_device())
    names = ("sampler", "steps", "eta", "scale", "negative", "temperature")
    given = sampling.options(args.name, model, **{name: getattr(args, name) for name in names})
    told = sampling.conditions(args.name, model, n, args.label, args.prompt)
    images = sampling.draw(args.name, model, n, told, seed, given)
    with cards.output(out) as file:
        if out.suffix == ".png":
            Image.fromarray(drawing.page(images)).save(file, "png")
        else:
            np.savez(file, images=images.numpy(), **{what: np.asarray(values) for what, values in told.items()})
    print(f"{args.name}: images {tuple(images.shape)}{''.join(f' with {what}' for what in told)}\n{out}")
    return 0


def scorecard(args) -> int:
    """Measure the claims of lessons and print them as a table: the paper's figure, ours, and whether it holds."""
    from minidiff.scorecard import LESSONS  # here: it imports every lesson's models

    seeds = list(range(expect.integer("--seeds", args.seeds, 1, 100)))
    lessons = list(dict.fromkeys(args.lessons)) or list(LESSONS)
    if unknown := [lesson for lesson in lessons if lesson not in LESSONS]:
        raise Refused(f"LESSON: got {', '.join(unknown)}, expected some of {', '.join(LESSONS)}")
    claims = [claim for lesson in lessons for claim in LESSONS[lesson](seeds, args.full)]
    rows = [{"lesson": c.lesson, "claim": c.text, "paper": c.paper, "ours": c.ours, "": _verdict(c)} for c in claims]
    print(table(rows))
    return 0


def _asked(args) -> Recipe:
    """The recipe that was named, of the folder that was."""
    recipe = _recipe(args.name)
    if args.folder is not None:
        if recipe.data is not folders.photographs:
            raise Refused(f"--folder: {args.name} is not trained on a folder; there is ddpm-folder")
        os.environ["MINIDIFF_FOLDER"] = args.folder
    return recipe


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise Refused(f"no recipe named {name!r}: {meant}There are: {', '.join(RECIPES) or 'none'}")
    return RECIPES[name]


def _steps(args) -> int | None:
    """The number asked for, None if seconds were, else the recipe's for the profile, which --profile sets."""
    if args.profile is not None:
        os.environ["MINIDIFF_PROFILE"] = expect.choice("--profile", args.profile, PROFILES)
    usual = RECIPES[args.name].steps[profile()]
    return usual if args.steps is None and args.seconds is None else args.steps


def _place(out, *suffixes: str) -> Path:
    """`out` as a path that can be written, tried before the work and not after it. Makes its folder if need be."""
    path = Path(out)
    if path.suffix not in suffixes:
        raise Refused(f"--out: got {str(out)!r}, expected a name that ends in {' or '.join(suffixes)}")
    probe = path.with_name(path.name + ".probe")
    if not launch.first():
        return path
    try:
        if path.exists() and not path.is_file():
            raise Refused(f"--out: {path} is there and is no file")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may be trying the same place
    except OSError as error:
        raise Refused(f"--out: cannot write {path} ({error.strerror}); choose another place") from error
    return path


def _device() -> torch.device:
    try:
        return device()
    except RuntimeError as error:
        raise Refused(str(error)) from error


def _data(recipe: Recipe, split: str) -> tuple[Tensor, ...]:
    try:
        return recipe.data(split)
    except data.DownloadError as error:
        raise Refused(str(error)) from error


def _consume(training, name: str, state: Path | None) -> None:
    """Train behind a progress bar. A Ctrl-C is passed on with what there is to go on from."""
    try:
        run(training, desc=name)
    except KeyboardInterrupt as stop:
        kept = f"the same command goes on from {state}" if state and state.exists() else "nothing was written"
        raise KeyboardInterrupt(f"interrupted: {kept}") from stop


@torch.no_grad()
def _mean_loss(model: nn.Module, tensors: tuple[Tensor, ...], size: int, where: torch.device) -> float:
    """The mean of `model.loss` over all rows, `size` at a time."""
    chunks = zip(*(tensor.to(where).split(size) for tensor in tensors))
    total = sum(model.loss(*chunk).item() * len(chunk[0]) for chunk in chunks)
    return total / len(tensors[0])


def _finish(training, args, steps, out: Path, tensors: tuple[Tensor, ...], loss: float) -> None:
    """Write the checkpoint, remove the state and tell of it."""
    _save(out, training.ema.model, args, steps, training.step, tensors, loss)
    if args.resume:
        out.with_suffix(".state").unlink(missing_ok=True)  # the run is over
    count = training.processes.count
    processes = f" by {count} processes" if count > 1 else ""
    print(f"{args.name}: {training.step} steps{processes}, loss {loss:.4g} on held-out data\n{out}")


def _save(out: Path, model: nn.Module, args, steps, done: int, tensors: tuple[Tensor, ...], loss: float) -> None:
    """Write the checkpoint, with a command on its card that repeats the run wherever it is given."""
    length = ["--seconds", args.seconds] if steps is None else ["--steps", steps]
    folder = [] if args.folder is None else ["--folder", args.folder]
    command = ["python", "-m", "minidiff", "train", args.name, *folder, *length, "--profile", profile()]
    command += ["--seed", args.seed]
    checkpoints.save(
        out,
        model,
        recipe=args.name,
        args=RECIPES[args.name].args(),
        command=shlex.join(map(str, command)),
        seed=args.seed,
        steps=done,
        data=f"train split: {', '.join(f'{str(x.dtype)[6:]} {tuple(x.shape)}' for x in tensors)}",
        metrics={"test_loss": loss},
    )


def _verdict(claim) -> str:
    if claim.holds is None:
        return f"not measured: {claim.why}"
    return "holds" if claim.holds else f"does not hold, because {claim.why}"
