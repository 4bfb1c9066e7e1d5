"""What is trained for lesson 10's two slow tables: CLIPs of several batch sizes, and denoisers told in two ways."""

import copy

import torch
from torch import nn

from minidiff import checkpoints, data, pick, seed_everything
from minidiff.clip import CLIP
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.recipes import RECIPES
from minidiff.text import WordEmbedding
from minidiff.train import Ema, run

WORDS, TOWER = "a vector a word", "CLIP's text tower"


def clip_of_batch(batch: int, pictures: int, seed: int = 0) -> CLIP:
    """The recipe "clip-shapes" with another batch size, until it has seen that many pictures."""
    recipe = RECIPES["clip-shapes"]
    tensors = recipe.data("train")
    seed_everything(seed)
    model = recipe.fresh(*tensors)
    ema, batches = Ema(model), data.batches(*tensors, size=batch, seed=seed)
    # Adam's steps are as many times fewer as batches are larger; the square root is the usual half-way compensation.
    lr = recipe.lr * (batch / recipe.batch) ** 0.5
    run(recipe.fit(model, batches, pictures // batch, lr, seed=seed, ema=ema), desc=f"batches of {batch}, seed {seed}")
    return ema.model


def told_by(text: nn.Module, steps: int, seed: int = 0) -> LatentDiffusion:
    """The recipe "ldm-shapes" with that text module in it, trained for so many steps."""
    recipe = RECIPES["ldm-shapes"]
    tensors = recipe.data("train")
    seed_everything(seed)
    model = recipe.fresh(*tensors)
    model.denoiser.net.text = text
    ema, batches = Ema(model), data.batches(*tensors, size=recipe.batch, seed=seed)
    run(recipe.fit(model, batches, steps, recipe.lr, seed=seed, ema=ema), desc=f"told by {type(text).__name__}")
    return ema.model


def obeyed(model: LatentDiffusion, split: str, objects: int, n: int = 300) -> dict[str, float]:
    """Share of attributes and of pairs right, of pictures of n held-out captions, 20 steps, guidance 3."""
    said = data.shapes(split, n, 9, objects)[1]
    parts, generator = [said[i : i + 50] for i in range(0, n, 50)], torch.Generator().manual_seed(0)
    images = torch.cat([text_to_image(model, part, generator=generator) for part in parts])
    marks = data.shapes.marks(said, images)
    return {"attributes": marks.attributes, "pairs": marks.pairs}


def words_table(seeds: list[int], steps: int | None = None) -> list[dict]:
    """A row for each text module, seed, split and number of things: what is right after equally many steps.

    CLIP's text tower stays as "clip-shapes" has left it; the vectors of words are learned with the denoiser.
    """
    steps, rows = steps or pick(ci=20, cpu=1200, gpu=10_000), []
    tower = checkpoints.load("clip-shapes").text.requires_grad_(False)
    for seed in seeds:
        seed_everything(seed)
        ways = {WORDS: WordEmbedding(tower.word.num_embeddings, tower.width), TOWER: copy.deepcopy(tower)}
        for way, text in ways.items():
            model = told_by(text, steps, seed)
            for split, things in (("test", 1), ("novel", 1), ("test", 2)):
                about = {"told by": way, "seed": seed, "steps": steps, "split": split, "things": things}
                rows.append(about | obeyed(model, split, things))
    return rows
