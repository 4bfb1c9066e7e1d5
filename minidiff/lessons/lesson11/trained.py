"""What is trained for lesson 11's two slow tables: CLIPs of several batch sizes, and denoisers told in two ways."""

import copy

from torch import nn

from minidiff import checkpoints, pick, seed_everything
from minidiff.clip import CLIP
from minidiff.latent import LatentDiffusion
from minidiff.lessons.lesson09.claims import figures
from minidiff.recipes import RECIPES
from minidiff.transformer import WordEmbedding

WORDS, TOWER = "a vector a word", "CLIP's text tower"


def clip_of_batch(batch: int, pictures: int, seed: int = 0) -> CLIP:
    """The recipe "clip-shapes" with another batch size, until it has seen that many pictures."""
    recipe = RECIPES["clip-shapes"]
    # Adam's steps are as many times fewer as batches are larger; the square root is the usual half-way compensation.
    lr = recipe.lr * (batch / recipe.batch) ** 0.5
    desc = f"batches of {batch}, seed {seed}"
    return recipe.train(seed=seed, batch=batch, lr=lr, steps=pictures // batch, desc=desc).model.cpu()


def told_by(text: nn.Module, steps: int, seed: int = 0) -> LatentDiffusion:
    """The recipe "ldm-shapes" with that text module in it, trained for so many steps."""
    recipe = RECIPES["ldm-shapes"]
    needed = checkpoints.needed(recipe)
    tensors = recipe.data("train", *needed)
    seed_everything(seed)
    model = recipe.fresh(needed, *tensors)
    model.denoiser.net.text = text
    desc = f"told by {type(text).__name__}"
    return recipe.train(needed, model=model, tensors=tensors, seed=seed, steps=steps, desc=desc).model.cpu()


def words_table(seeds: list[int], steps: int | None = None, n: int = 300) -> list[dict]:
    """A row for each text module, seed, split and number of things: what is right after equally many steps.

    CLIP's text tower stays as "clip-shapes" has left it; the vectors of words are learned with the denoiser.
    """
    steps = steps or pick(ci=20, cpu=1200, gpu=10_000)
    rows = []
    tower = checkpoints.load("clip-shapes").text.requires_grad_(False)
    for seed in seeds:
        seed_everything(seed)
        ways = {WORDS: WordEmbedding(tower.word.num_embeddings, tower.width), TOWER: copy.deepcopy(tower)}
        for way, text in ways.items():
            model = told_by(text, steps, seed)
            for split, things in (("test", 1), ("novel", 1), ("test", 2)):
                about = {"told by": way, "seed": seed, "steps": steps, "split": split, "things": things}
                drawn = figures(model, split, things, n)
                rows.append(about | {name: drawn[name] for name in ("attributes", "pairs")})
    return rows
