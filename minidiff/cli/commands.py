"""What `python -m minidiff train | sample | scorecard` do: parsed options in, exit status out, errors as exceptions."""

import difflib
import os
import shlex
import sys
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from minidiff import checkpoints, data, device, generate, profile
from minidiff.cli import launch, published
from minidiff.recipes import RECIPES, Recipe, Trained, folder
from minidiff.scorecard import report
from minidiff.support import expect, files, rooms, words
from minidiff.support.profile import PROFILES

MOST = {".npz": 1_000_000, ".png": 10_000}  # pictures in one file


def train(args) -> int:
    """Train a recipe's model; write its averaged weights and their card; print its held-out loss and the file.

    Of the processes that a launcher started, all train and the first one writes. With --resume the state stays, so
    that the same command with more steps trains on; a model that is finished is left as it is.
    """
    recipe = _asked(args)
    length = _length(args)
    out = _place(_trained(args.name) if args.out is None else args.out, ".safetensors")
    state = out.with_suffix(".state") if args.resume else None
    command = _command(args, length)
    before = _made_before(out)
    if args.resume and before and _is_finished(out, state, before, command):
        return 0
    where = _device()
    together = launch.together(args.name, recipe, where)
    where = together["accelerator"].device if together else where
    needed = checkpoints.needed(recipe)
    how = {"seed": args.seed, "resume": state, "where": where, "desc": args.name} | length | together
    trained = _trained_model(recipe, needed, how, state)
    if launch.first():
        loss = recipe.held_out_loss(trained.model, needed)
        _write(out, trained, recipe, args, command, loss)
        _tell(out, trained, args.name, loss, before, state)
    return 0


def sample(args) -> int:
    """Draw pictures with a trained model into an .npz (images, their labels, names or prompts) or a .png (a grid)."""
    out = _place(args.out, *MOST)
    place = published.place(args.name)
    usual = 16 if place is None else 1  # a published model takes minutes for one
    n = expect.integer("--n", usual if args.n is None else args.n, 1, MOST[out.suffix])
    seed = expect.integer("--seed", args.seed, 0, 2**32 - 1)
    model, recipe = _opened(args.name) if place is None else published.opened(place)
    model = model.to(_device())
    options = _options(args, recipe, model)
    told = _conditions(args.name, recipe, model, n, args.label, args.prompt)
    _name_unknown(model, args)
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    count = {} if "prompts" in told else {"n": n}
    images = recipe.generate(model, **count, **told, generator=generator, **options)
    images = expect.tensor("images", images.float(), "N C H W", finite=True).clamp(-1, 1)
    names = generate.class_names(model)
    _save(out, images, told | ({"classes": names} if names else {}))
    print(f"{args.name}: images {tuple(images.shape)}{''.join(f' with {what}' for what in told)}{_drawn(told, names)}")
    print(out)
    return 0


def fetch(args) -> int:
    """Fetch published weights and print where they are."""
    return published.fetch(args)


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
        close = difflib.get_close_matches(args.name.lower(), RECIPES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"no recipe named {args.name!r}: {meant}There are: {', '.join(RECIPES) or 'none'}")
    recipe = RECIPES[args.name]
    if args.folder is not None:
        if recipe.data is not folder.photographs:
            raise ValueError(f"--folder: {args.name} is not trained on a folder; there is ddpm-folder")
        if not args.folder:  # as of "$PICTURES" where nothing set it: the usual folder was not meant
            raise ValueError("--folder: got '', expected the path of a folder of pictures")
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
    path = Path(os.path.expanduser(out))  # `--out=~/x.png` keeps its ~ in a shell
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


def _command(args, length: dict) -> str:
    """The command that repeats the run, wherever it is given."""
    chosen = [] if args.folder is None else ["--folder", args.folder]
    [(unit, number)] = length.items()
    command = ["python", "-m", "minidiff", "train", args.name, *chosen, f"--{unit}", number]
    return shlex.join(map(str, [*command, "--profile", profile(), "--seed", args.seed]))


def _made_before(out: Path) -> dict | None:
    """The card of the model that is there already; None where there is none, or nothing that can be read."""
    try:
        return checkpoints.card(out) if out.is_file() else None
    except checkpoints.CheckpointError:
        return None


def _is_finished(out: Path, state: Path, before: dict, command: str) -> bool:
    """Is the model of this command there already? Then say so. ValueError where a finished one would be lost."""
    if before.get("command") != command:
        if state.exists():
            return False  # a longer run, or another one, which the state knows and refuses
        there = f"{out} is there, of {before.get('steps')} steps, and {state.name}, to go on from, is not"
        raise ValueError(f"--resume: {there}; remove it to train anew, or name another place with --out")
    more = "more --steps or --seconds train on" if state.exists() else f"{state.name} is gone; --out trains another"
    if launch.first():
        print(f"finished already: {before.get('steps')} steps, nothing was changed; {more}\n{out}")
    return True


def _write(out: Path, trained: Trained, recipe: Recipe, args, command: str, loss: float) -> None:
    """Write the checkpoint, with the command on its card."""
    checkpoints.save(
        trained.model,
        out,
        recipe=args.name,
        command=command,
        seed=args.seed,
        steps=trained.steps,
        data=f"train split: {trained.data}",
        metrics={"test_loss": loss},
        shape=recipe.shape and list(recipe.shape),
    )


def _tell(out: Path, trained: Trained, name: str, loss: float, before: dict | None, state: Path | None) -> None:
    """Say what was trained, what it took the place of, and what is left to go on from."""
    processes = f" by {trained.processes} processes" if trained.processes > 1 else ""
    print(f"{name}: {trained.steps} steps{processes}, loss {loss:.4g} on held-out data\n{out}")
    if before:
        print(f"It takes the place of the one of {before.get('steps')} steps that was there.")
    if state and state.exists():
        print(f"{state} ({state.stat().st_size / 1e6:.1f} MB) is kept: the same command with more steps trains on.")


def _opened(name: str) -> tuple[nn.Module, Recipe]:
    """A checkpoint's model, and its recipe."""
    source = _source(name)
    model = checkpoints.load(source)
    recipe = _recipe_of(name, source, model)
    if recipe.whole is not None:
        model = recipe.whole(model, *map(_part, recipe.beside))
    return model, recipe


def _part(name: str) -> nn.Module:
    """The trained model of that name, to draw with another one. ValueError for a file of another recipe's."""
    source = _source(name)
    if (made_by := checkpoints.card(source).get("recipe")) != name:
        raise ValueError(f"{source}: was made by the recipe {made_by}, expected {name}; remove it, or train {name}")
    return checkpoints.load(source)


def _source(name: str) -> str | Path:
    """Where `sample` takes the model from: what `train` wrote under that name, before what is shipped."""
    own = _trained(name) if name in RECIPES else None
    if own is None or not own.is_file():
        return name
    other = " (remove it to draw with the shipped one)" if name in checkpoints.names() else ""
    print(f"{name}: the model that you have trained, {own}{other}")
    return own


def _save(out: Path, images: torch.Tensor, known: dict) -> None:
    """Write the pictures as a grid, or with what is known of each."""
    with files.whole(out) as file:
        if out.suffix == ".png":
            Image.fromarray(generate.page(images)).save(file, "png")
        else:
            np.savez(file, images=images.numpy(), **{what: np.asarray(values) for what, values in known.items()})


def _drawn(told: dict, names: list[str], most: int = 10) -> str:
    """Which classes were drawn, by number and name; "" where they have no names."""
    labels = sorted({int(label) for label in told.get("labels", [])}) if names else []
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return f": {', '.join(f'{label} {names[label]}' for label in labels[:most])}{more}" if labels else ""


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
    names = ("sampler", "steps", "eta", "scale", "negative", "temperature", "size")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    known = generate.options(recipe.generate, model)
    for option in given.keys() - known:
        raise ValueError(f"--{option}: {args.name} draws pictures without it")
    if "negative" in given and given.get("scale", getattr(model, "guidance", None)) == 1:
        raise ValueError("--negative: nothing is moved away from at --scale 1; expected another scale, 2 say")
    return given


def _name_unknown(model: nn.Module, args) -> None:
    """Say on stderr which words of what was typed the model was never shown, and where none is left."""
    for option in ("prompt", "negative"):
        text = getattr(args, option) or ""
        unknown = words.unknown_words(model.tokenizer, text) if text and hasattr(model, "tokenizer") else []
        if unknown:
            empty = "" if model.tokenizer.tokens(text) else "; nothing is left of it"
            told = words.told(unknown, model.tokenizer.words)
            print(f"minidiff: --{option}: {told}{empty}", file=sys.stderr)


def _conditions(name: str, recipe: Recipe, model: nn.Module, n: int, label: str | None, prompt: str | None) -> dict:
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
    number = generate.label_of(model, label, "--label")
    return {"labels": torch.full((n,), number)}
