"""What `python -m minidiff train | sample | scorecard` do: parsed options in, exit status out, errors as exceptions."""

import difflib
import inspect
import os
import shlex
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from minidiff import cards, checkpoints, data, device, drawing, expect, profile, seed_everything
from minidiff.cli import Refused
from minidiff.denoiser import Denoiser
from minidiff.recipes import RECIPES, Recipe
from minidiff.tables import table
from minidiff.train import Ema, run

MOST = {".npz": 1_000_000, ".png": 10_000}  # pictures in one file


def train(args) -> int:
    """Train a recipe's model; write its averaged weights and their card; print its held-out loss and the file."""
    recipe, steps = _recipe(args.name), _steps(args)
    out = _place(args.out or data.data_dir() / "trained" / f"{args.name}.safetensors", ".safetensors")
    state = out.with_suffix(".state") if args.resume else None
    where, seed = _device(), args.seed
    seed_everything(seed)
    tensors, held_out = (_data(recipe, split) for split in ("train", "test"))
    model, batches = recipe.build().to(where), data.batches(*tensors, size=recipe.batch, seed=seed)
    ema = Ema(model)
    training = recipe.fit(model, batches, steps, recipe.lr, seconds=args.seconds, seed=seed, ema=ema, resume=state)
    _consume(training, args.name, state)
    loss = _mean_loss(ema.model, held_out, recipe.batch, where)
    _save(out, ema.model, args, steps, training.step, tensors, loss)
    if state:
        state.unlink(missing_ok=True)  # the run is over
    print(f"{args.name}: {training.step} steps, loss {loss:.4g} on held-out data\n{out}")
    return 0


def sample(args) -> int:
    """Draw pictures with a trained model into an .npz (images, and labels where it has some) or a .png (a grid)."""
    out = _place(args.out, *MOST)
    n = expect.integer("--n", args.n, 1, MOST[out.suffix])
    seed = expect.integer("--seed", args.seed, 0, 2**32 - 1)
    model = checkpoints.load(args.name).to(_device())
    chosen = {"sampler": args.sampler, "steps": args.steps, "eta": args.eta, "scale": args.scale}
    options = _options(args.name, model, temperature=args.temperature, **chosen)
    labels = _labels(args.name, model, n, args.label)
    images = _draw(args.name, model, n, labels, seed, options)
    with cards.atomic(out) as file:
        if out.suffix == ".png":
            Image.fromarray(drawing.page(images)).save(file, "png")
        else:
            np.savez(file, images=images.numpy(), **({} if labels is None else {"labels": labels.numpy()}))
    print(f"{args.name}: images {tuple(images.shape)}{'' if labels is None else ' with labels'}\n{out}")
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


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise Refused(f"no recipe named {name!r}: {meant}There are: {', '.join(RECIPES) or 'none'}")
    return RECIPES[name]


def _steps(args) -> int | None:
    """The number asked for, None if seconds were, else the recipe's for the profile, which --profile sets."""
    if args.profile is not None:
        os.environ["MINIDIFF_PROFILE"] = args.profile
    usual = RECIPES[args.name].steps[profile()]
    return usual if args.steps is None and args.seconds is None else args.steps


def _place(out, *suffixes: str) -> Path:
    """`out` as a path that can be written, tried before the work and not after it. Makes its folder if need be."""
    path = Path(out)
    if path.suffix not in suffixes:
        raise Refused(f"--out: got {str(out)!r}, expected a name that ends in {' or '.join(suffixes)}")
    probe = path.with_name(path.name + ".probe")
    try:
        if path.exists() and not path.is_file():
            raise Refused(f"--out: {path} is there and is no file")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
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


def _save(out: Path, model: nn.Module, args, steps, done: int, tensors: tuple[Tensor, ...], loss: float) -> None:
    """Write the checkpoint, with a command on its card that repeats the run wherever it is given."""
    length = ["--seconds", args.seconds] if steps is None else ["--steps", steps]
    command = ["python", "-m", "minidiff", "train", args.name, *length, "--profile", profile(), "--seed", args.seed]
    checkpoints.save(
        out,
        model,
        recipe=args.name,
        args={},
        command=shlex.join(map(str, command)),
        seed=args.seed,
        steps=done,
        data=f"train split: {', '.join(f'{str(x.dtype)[6:]} {tuple(x.shape)}' for x in tensors)}",
        metrics={"test_loss": loss},
    )


def _options(name: str, model: nn.Module, **options) -> dict:
    """The options that were given, all of which the model's way of drawing must have."""
    if not hasattr(model, "sample") and not isinstance(model, Denoiser):
        why = "is no distribution over pictures to draw from (an autoencoder only encodes and decodes; see lesson 01)"
        raise Refused(f"{name}: there is nothing to sample, {type(model).__name__} {why}")
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(drawing.draw if isinstance(model, Denoiser) else model.sample).parameters
    for option in given.keys() - known.keys():
        raise Refused(f"--{option}: {name} draws pictures without it")
    return given


def _labels(name: str, model: nn.Module, n: int, label: int | None) -> Tensor | None:
    """n times `label`, or 0, 1, … in turn, int64 (n,); None for a model without labels."""
    if label is None:
        return drawing.in_turn(model, n)
    if not (classes := drawing.classes_of(model)):
        raise Refused(f"--label: {name} draws pictures without labels")
    return torch.full((n,), expect.integer("--label", label, 0, classes - 1))


@torch.no_grad()
def _draw(name: str, model: nn.Module, n: int, labels: Tensor | None, seed: int, options: dict) -> Tensor:
    """n pictures, float32 (n, C, H, W) in [-1, 1] on the CPU."""
    where = next(model.parameters()).device
    generator, parts = torch.Generator(where).manual_seed(seed), []
    shape = _data(RECIPES[checkpoints.card(name)["recipe"]], "test")[0].shape[1:]
    if len(shape) != 3:
        raise Refused(f"{name}: draws points of shape {tuple(shape)}, and this command writes pictures; see its lesson")
    if isinstance(model, Denoiser):  # its network would draw at any size
        return drawing.draw(model, n if labels is None else labels, shape=shape, generator=generator, **options)
    for rows in drawing.in_chunks(n, where):
        chosen = None if labels is None else labels[rows].to(where)
        parts.append(model.sample(len(rows), labels=chosen, generator=generator, **options).cpu())
    return expect.tensor("images", torch.cat(parts).float(), "N C H W", finite=True).clamp(-1, 1)


def _verdict(claim) -> str:
    if claim.holds is None:
        return f"not measured: {claim.why}"
    return "holds" if claim.holds else f"does not hold, because {claim.why}"
