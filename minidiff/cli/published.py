"""Published weights on the command line: `fetch NAME`, and `sample` of a folder that was published."""

from pathlib import Path

from torch import nn

from minidiff import checkpoints, generate, pretrained
from minidiff.latent import LatentDiffusion
from minidiff.pretrained import fetch as published
from minidiff.recipes import Recipe

PROMPT = "a photograph of an astronaut riding a horse"


def fetch(args) -> int:
    """Fetch published weights and print where they are."""
    folder = published.fetch(args.name)
    print(folder)
    return 0


def place(name: str) -> Path | None:
    """Where the published weights of that name are; None for a checkpoint of the course's.

    ValueError for some that can be fetched and are not there.
    """
    path = Path(name)
    if name in published.PUBLISHED:
        if not published.fetched(name):
            raise ValueError(f"{name}: not there yet; `python -m minidiff fetch {name}` fetches it")
        return published.place(name)
    large = path.suffix == ".safetensors" and path.is_file() and path.stat().st_size > checkpoints.LIMIT
    folder = any((path / part).exists() for part in ("unet", "model_index.json", "config.json"))
    return path if folder or large else None


def opened(path: Path) -> tuple[nn.Module, Recipe]:
    """The model, and how it is drawn from."""
    model = pretrained.load(path)
    if not isinstance(model, LatentDiffusion):
        raise ValueError(f"{path}: there is nothing to sample, a {type(model).__name__} draws no pictures")
    shape = (model.autoencoder.channels, model.size, model.size)
    return model, Recipe(type(model), tuple, {}, shape, generate.prompted, prompts=lambda: [PROMPT])


def told() -> str:
    """What is there, for `doctor`."""
    there = [name for name in published.PUBLISHED if published.fetched(name)]
    if there:
        return ", ".join(f"{name} in {published.place(name)}" for name in there)
    return f"none; `python -m minidiff fetch {next(iter(published.PUBLISHED))}` fetches some, lessons run without"
