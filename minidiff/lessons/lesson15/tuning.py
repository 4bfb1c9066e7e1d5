"""The ways that lesson 15 compares, whatever the model, and what an adapter weighs."""

from tempfile import TemporaryDirectory

from torch import Tensor

from minidiff.adapter import Adapter
from minidiff.latent import LatentDiffusion
from minidiff.personalize import tune

WAYS = {  # name -> how it is tuned; `kept` where the prior is shown too
    "textual inversion": {"how": "textual inversion", "kept": False},
    "DreamBooth, no prior": {"how": "dreambooth", "kept": False},
    "DreamBooth": {"how": "dreambooth", "kept": True},
    "LoRA": {"how": "lora", "kept": True},
    "LoRA, every layer": {"how": "lora", "kept": True, "layers": "all", "rank": 2},
    "hypernetwork": {"how": "hypernetwork", "kept": True},
}


def tuned(
    model: LatentDiffusion,
    shown: tuple[Tensor, list[str]],
    word: str,
    way: str,
    prior: list[str],
    seed: int,
    steps: int,
) -> Adapter:
    """An adapter by one of WAYS, from the pictures `shown` and their captions. prior: for the ways that keep it."""
    pictures, captions = shown
    options = dict(WAYS[way])
    kept = prior if options.pop("kept") else None
    return tune(model, pictures, word, steps=steps, captions=captions, prior=kept, seed=seed, **options)


def kilobytes(adapter: Adapter) -> float:
    """Of its file."""
    with TemporaryDirectory() as folder:
        return adapter.save(f"{folder}/adapter.safetensors").stat().st_size / 1000
