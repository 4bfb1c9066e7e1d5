"""What `python -m minidiff train | sample | scorecard` do: parsed options in, exit status out, errors as exceptions."""

import difflib
import os
import shlex
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from minidiff import checkpoints, data, device, generate, profile
from minidiff.cli import launch
from minidiff.recipes import RECIPES, Recipe, Trained, folder
from minidiff.scorecard import report
from minidiff.support import expect, files, rooms
from minidiff.support.profile import PROFILES

MOST = {".npz": 1_000_000, ".png": 10_000}  # pictures in one file


def train(args) -> int:
    """Train a recipe's model; write its averaged weights and their card; print its held-out loss and the file.

    Of the processes that a launcher started, all train and the first one writes.
    """
    recipe = _asked(args)
    length = _length(args)
    out = _place(args.out or _trained(args.name), ".safetensors")
    state = out.with_suffix(".state") if args.resume else None
    where = _device()
    together = launch.together(args.name, recipe, where)
    where = together["accelerator"].device if together else where
    needed = checkpoints.needed(recipe)
    how = {"seed": args.seed, "resume": state, "where": where, "desc": args.name} | length | together
    trained = _trained_model(recipe, needed, how, state)
    if launch.first():
        loss = recipe.held_out_loss(trained.model, needed)
        _write(out, trained, recipe, args, length, loss)
        _finish(out, trained, args, loss)
    return 0


def sample(args) -> int:
    """Draw pictures with a trained model into an .npz (images, and their labels or prompts) or a .png (a grid)."""
    out = _place(args.out, *MOST)
    n = expect.integer("--n", args.n, 1, MOST[out.suffix])
    seed = expect.integer("--seed", args.seed, 0, 2**32 - 1)
    source = _source(args.name)
    model = checkpoints.load(source).to(_device())
    recipe = _recipe_of(args.name, source, model)
    options = _options(args, recipe, model)
    told = _conditions(args.name, recipe, model, n, args.label, args.prompt)
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    count = {} if "prompts" in told else {"n": n}
    images = recipe.generate(model, **count, **told, generator=generator, **options)
    images = expect.tensor("images", images.float(), "N C H W", finite=True).clamp(-1, 1)
    with files.whole(out) as file:
        if out.suffix == ".png":
            Image.fromarray(generate.page(images)).save(file, "png")
        else:
            np.savez(file, images=images.numpy(), **{what: np.asarray(values) for what, values in told.items()})
    print(f"{args.name}: images {tuple(images.shape)}{''.join(f' with {what}' for what in told)}\n{out}")
    return 0


def scorecard(args) -> int:
    """Measure the claims of lessons and print them as a table: the paper's figure, ours, and whether it holds."""
    seeds = list(range(expect.integer("--seeds", args.seeds, 1, 100)))
    known = rooms.lessons()
    lessons = list(dict.fromkeys(args.lessons)) or known
    if unknown := [lesson for lesson in lessons if lesson not in known]:
        raise ValueError(f"LESSON: got {', '.join(unknown)}, expected some of {', '.join(known)}")
    claims = [claim for lesson in lessons for claim in rooms.part(lesson, "claims").claims(seeds, args.full)]
    print(report(claims))
    return 0


def _asked(args) -> Recipe:
    """The recipe that was named, of the folder that was."""
    if args.name not in RECIPES:
        close = difflib.get_close_matches(args.name, RECIPES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"no recipe named {args.name!r}: {meant}There are: {', '.join(RECIPES) or 'none'}")
    recipe = RECIPES[args.name]
    if args.folder is not None:
        if recipe.data is not folder.photographs:
            raise ValueError(f"--folder: {args.name} is not trained on a folder; there is ddpm-folder")
        os.environ["MINIDIFF_FOLDER"] = args.folder
    return recipe


def _length(args) -> dict:
    """How long to train: as asked, else the recipe's steps for the profile, which --profile sets."""
    if args.profile is not None:
        os.environ["MINIDIFF_PROFILE"] = expect.choice("--profile", args.profile, PROFILES)
    if args.seconds is not None:
        return {"seconds": args.seconds}
    return {"steps": RECIPES[args.name].steps[profile()] if args.steps is None else args.steps}


def _trained(name: str) -> Path:
    return data.data_dir() / "trained" / f"{name}.safetensors"


def _place(out, *suffixes: str) -> Path:
    """`out` as a path that can be written, tried before the work and not after it. Makes its folder if need be."""
    path = Path(out)
    if path.suffix not in suffixes:
        raise ValueError(f"--out: got {str(out)!r}, expected a name that ends in {' or '.join(suffixes)}")
    probe = path.with_name(path.name + ".probe")
    if not launch.first():
        return path
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"--out: {path} is there and is no file")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may be trying the same place
    except OSError as error:
        raise ValueError(f"--out: cannot write {path} ({error.strerror}); choose another place") from error
    return path


def _device() -> torch.device:
    try:
        return device()
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _trained_model(recipe: Recipe, needed, how: dict, state: Path | None) -> Trained:
    """Train behind a progress bar. A Ctrl-C is passed on with what there is to go on from."""
    try:
        return recipe.train(needed, **how)
    except data.DownloadError as error:
        raise ValueError(str(error)) from error
    except KeyboardInterrupt as stop:
        kept = f"the same command goes on from {state}" if state and state.exists() else "nothing was written"
        raise KeyboardInterrupt(f"interrupted: {kept}") from stop


def _write(out: Path, trained: Trained, recipe: Recipe, args, length: dict, loss: float) -> None:
    """Write the checkpoint, with a command on its card that repeats the run wherever it is given."""
    chosen = [] if args.folder is None else ["--folder", args.folder]
    [(unit, number)] = length.items()
    command = ["python", "-m", "minidiff", "train", args.name, *chosen, f"--{unit}", number]
    command += ["--profile", profile(), "--seed", args.seed]
    checkpoints.save(
        trained.model,
        out,
        recipe=args.name,
        command=shlex.join(map(str, command)),
        seed=args.seed,
        steps=trained.steps,
        data=f"train split: {trained.data}",
        metrics={"test_loss": loss},
        shape=recipe.shape and list(recipe.shape),
    )


def _finish(out: Path, trained: Trained, args, loss: float) -> None:
    """Remove the state, as the run is over, and tell of it."""
    if args.resume:
        out.with_suffix(".state").unlink(missing_ok=True)
    processes = f" by {trained.processes} processes" if trained.processes > 1 else ""
    print(f"{args.name}: {trained.steps} steps{processes}, loss {loss:.4g} on held-out data\n{out}")


def _source(name: str) -> str | Path:
    """Where `sample` takes the model from: what `train` wrote under that name, before what is shipped."""
    own = _trained(name) if name in RECIPES else None
    if own is None or not own.is_file():
        return name
    print(f"{name}: the model that you have trained, {own} (remove it to draw with the shipped one)")
    return own


def _recipe_of(name: str, source, model: nn.Module) -> Recipe:
    """The recipe of a checkpoint, which says how its model is drawn from."""
    made_by = checkpoints.card(source).get("recipe")
    if made_by not in RECIPES:
        raise ValueError(f"{name}: was made by no recipe of the course's ({made_by}), so how to draw is not known")
    recipe = RECIPES[made_by]
    if recipe.generate is None:
        why = "is no distribution over pictures to draw from (an autoencoder rebuilds them, CLIP judges them)"
        raise ValueError(f"{name}: there is nothing to sample, {type(model).__name__} {why}")
    if len(recipe.shape) != 3:
        told = f"{name}: draws points of shape {recipe.shape}, and this command writes pictures; see its lesson"
        raise ValueError(told)
    return recipe


def _options(args, recipe: Recipe, model: nn.Module) -> dict:
    """The options that were given, all of which the model's way of drawing must have."""
    names = ("sampler", "steps", "eta", "scale", "negative", "temperature")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    known = generate.options(recipe.generate, model)
    for option in given.keys() - known:
        raise ValueError(f"--{option}: {args.name} draws pictures without it")
    return given


def _conditions(name: str, recipe: Recipe, model: nn.Module, n: int, label: int | None, prompt: str | None) -> dict:
    """{"labels": int64 (n,)} or {"prompts": n texts}, as the model wants them; {} for one that takes neither.

    n times what was given; else the labels 0, 1, … or the recipe's prompts in turn.
    """
    if recipe.prompts is not None:
        if label is not None:
            raise ValueError(f"--label: {name} draws pictures without labels; tell it what to draw with --prompt")
        return {"prompts": list(islice(cycle([prompt] if prompt is not None else recipe.prompts()), n))}
    if prompt is not None:
        raise ValueError(f"--prompt: {name} draws pictures without words")
    classes = generate.classes_of(model)
    if label is None:
        return {"labels": generate.in_turn(model, n)} if classes else {}
    if not classes:
        raise ValueError(f"--label: {name} draws pictures without labels")
    return {"labels": torch.full((n,), expect.integer("--label", label, 0, classes - 1))}
