"""What lesson 13 trains for its comparisons: a cascade against one model, readers and sizes, two U-Nets."""

import time
from functools import cache, partial
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import checkpoints, data, guidance, seed_everything, seeded, train
from minidiff.cascade import Cascade, EfficientUNet
from minidiff.latent import LatentDiffusion
from minidiff.lessons.lesson13.measures import fd, names, real, right, rounded
from minidiff.recipes import RECIPES, emoji
from minidiff.recipes import cascade as recipes
from minidiff.transformer import LanguageModel
from minidiff.unet import UNet

PARTS = ("cascade-emoji-16", "cascade-emoji-32-clean", "cascade-emoji-64")
SHORT = (400, 200, 200)  # steps of a short cascade's parts
MODELS = ("cascade, 16 to 64", "one model at 64")
ALONG, SEEING = "words learned along", "CLIP's text tower, frozen"
SMALL_READER, LARGE_READER = "language model of the names, small, frozen", "language model of the names, frozen"
READ = 500  # steps of a base in the comparison of readers
HEARD = 600  # steps of a language model of the names before
WIDE, NARROW = (32, 64, 128), (16, 32, 64)  # of a base's U-Net
EQUAL = 300  # steps of ours in the comparison of two U-Nets
NETS = {"ours": partial(UNet, channels=3, widths=(16, 32, 64), known=4), "efficient": EfficientUNet}


def single_table(seed: int = 0, steps=SHORT, n: int = 57) -> list[dict]:
    """A row for a cascade and for one model at 64 pixels, both trained now with as much of the processor's time.

    FD: of n drawings, at half their sides, as CLIP sees 32 pixels.
    """
    trained = [_timed(partial(RECIPES[part].train, steps=count, seed=seed)) for part, count in zip(PARTS, steps)]
    base, *enlargers = (model for model, _ in trained)
    took = sum(seconds for _, seconds in trained)
    models = (partial(Cascade(base, enlargers), level=0.0), trained_single(took, seed))
    rows = []
    for name, model in zip(MODELS, models):
        drawn = _drawn(model, seed, n)
        said, images = drawn["never seen"]
        row = {"model": name, "seconds": round(took), "seed": seed} | _shares(drawn)
        rows.append(row | {"FD, never seen": round(fd(F.avg_pool2d(images, 2), real(said, 32)), 1)})
    return rows


def reader_table(seed: int = 0, steps: int = READ) -> list[dict]:
    """A row for each reader and U-Net, the bases trained now with as many steps.

    loss: of drawings that were never seen, in the light of their names. The shares are of names that are drawn right.
    """
    small, large = (heard(width, layers) for width, layers in ((32, 1), (128, 2)))
    tried = (
        (ALONG, None, WIDE),
        (SMALL_READER, small, WIDE),
        (LARGE_READER, large, WIDE),
        (LARGE_READER, large, NARROW),
        (SEEING, checkpoints.load("clip-emoji").text.requires_grad_(False), WIDE),
    )
    return [{"reader": name, "seed": seed} | _read(text, widths, seed, steps) for name, text, widths in tried]


@cache
def heard(width: int, layers: int, steps: int = HEARD) -> nn.Module:
    """A text tower that has read the names and seen nothing: that of a language model of them, frozen."""
    words = emoji.reader()
    seed_everything(0)
    model = LanguageModel(words.vocabulary, width, layers, 4, words.length)
    batches = data.batches(recipes.named("train")[1], size=64)
    train.run(train.fit(model, batches, steps=steps, lr=3e-3), desc="language model")
    return model.text.eval().requires_grad_(False)


def _read(text: nn.Module | None, widths: tuple, seed: int, steps: int) -> dict:
    """A base told by that reader, trained and measured. The weights of a reader count those that are frozen, too."""
    seed_everything(seed)
    recipe = RECIPES["cascade-emoji-16"]
    model = recipe.train(model=recipes.base(text, widths), steps=steps, seed=seed).model
    torch.manual_seed(0)
    loss = mean(recipe.held_out_loss(model) for _ in range(4))
    weights = model.weights()
    row = {"reader's weights": weights["text"], "U-Net's weights": weights["generator"], "steps": steps, "loss": loss}
    return rounded(row) | _shares(_drawn(model, seed))


def trained_single(budget: float, seed: int) -> LatentDiffusion:
    """One model that draws 64 x 64 pixels of words, made as the base is, trained for that much processor's time."""
    images, said = recipes.drawings("train", 64)
    tensors = (torch.cat([images, images]), recipes.named("train")[1])
    train = partial(RECIPES["cascade-emoji-16"].train, tensors=tensors, seed=seed)
    build = partial(recipes.base, widths=(16, 16, 32, 64, 128), size=64)
    pace = _pace(lambda steps: train(model=build(), steps=steps))
    seed_everything(seed)
    return train(model=build(), steps=max(1, int(budget / pace))).model


def _timed(train) -> tuple:
    """What a recipe has trained, and the processor's seconds for it."""
    before = time.process_time()
    trained = train()
    return trained.model, time.process_time() - before


def _drawn(model, seed: int, n: int = 171) -> dict[str, tuple[list[str], Tensor]]:
    """Names and a model's pictures of them: n that were seen in training, and n that never were."""
    splits = {"seen": "train", "never seen": "combinations"}
    drawn = {}
    for told, split in splits.items():
        said = names(n, split)
        drawn[told] = said, model(said, limit=guidance.clamp, generator=seeded(seed))
    return drawn


def _shares(drawn: dict) -> dict[str, float]:
    """How many of `_drawn` are right."""
    return {told: round(right(said, images), 3) for told, (said, images) in drawn.items()}


def net_table(seed: int = 0, steps: int = EQUAL) -> list[dict]:
    """A row for the course's U-Net and for Imagen's, both as enlargers trained for the same processor's time."""
    recipe, rows = RECIPES["cascade-emoji-32"], []
    paces = {
        name: _pace(lambda steps, net=net: recipe.train(model=recipes.enlarger(net=net()), steps=steps))
        for name, net in NETS.items()
    }
    budget = steps * paces["ours"]
    for name, net in NETS.items():
        seed_everything(seed)
        model = recipes.enlarger(net=net())
        weights = sum(weight.numel() for weight in model.parameters())
        model = recipe.train(model=model, steps=int(budget / paces[name]), seed=seed).model
        torch.manual_seed(seed)
        loss = mean(recipe.held_out_loss(model) for _ in range(4))
        row = {"U-Net": name, "seed": seed, "weights": weights, "steps a second": 1 / paces[name]}
        rows.append(rounded(row | {"seconds": budget, "loss": loss}))
    return rows


def _pace(train) -> float:
    """The processor's seconds for each step of train(steps=...), without what is done once."""
    train(steps=1)
    few, many = (_timed(partial(train, steps=steps))[1] for steps in (3, 13))
    return (many - few) / 10
