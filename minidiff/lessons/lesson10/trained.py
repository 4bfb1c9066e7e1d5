"""What lesson 10 trains beside its notebook: classifiers of colour-shape pairs, language models of captions."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import data, pick, seed_everything
from minidiff.data.shapes.scene import SEEN, caption, imagine
from minidiff.recipes.shapes import tokenizer
from minidiff.scorecard import stored
from minidiff.train import Ema, fit, run
from minidiff.transformer import LanguageModel, VisionTransformer

COMMAND = "python -m minidiff scorecard 10 --full"
SIZES = (300, 1000, 3000, 10_000, 30_000)
STEPS, RATE, BATCH = 600, 2e-3, 64  # of every training of the table
CAPTION_STEPS = 1000  # of the language model
VIT, CNN = "vision transformer", "CNN"


class Classifier(nn.Module):
    """A net, pictures (B, 3, 32, 32) -> (B, width), and a linear layer: the logits (B, 24) of the pairs in `SEEN`."""

    def __init__(self, net: nn.Module, width: int):
        super().__init__()
        self.net = net
        self.head = nn.Linear(width, len(SEEN))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.net(x))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self(x), labels)


def vit() -> Classifier:
    """16 patches of 8 x 8 pixels, three blocks of width 64: 165,208 weights."""
    return Classifier(VisionTransformer(32, patch=8, width=64, layers=3, heads=4), 64)


def cnn(width: int = 32) -> Classifier:
    """Three convolutions that halve the picture, then the mean over its 4 x 4 places: 169,144 weights."""
    layers = []
    before = 3
    for channels in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(before, channels, 4, stride=2, padding=1), nn.GroupNorm(8, channels), nn.SiLU()]
        before = channels
    return Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before)


NETS = {VIT: vit, CNN: cnn}


def labelled(split: str, n: int) -> tuple[Tensor, Tensor]:
    """n pictures with one thing each (n, 3, 32, 32), and which of the 24 pairs in `SEEN` it is, int64 (n,)."""
    images, _ = data.shapes(split, n, objects=1)
    pairs = [scene.things[0].pair for scene in data.shapes.scenes(split, n, objects=1)]
    return images, torch.tensor([SEEN.index(pair) for pair in pairs])


@torch.no_grad()
def accuracy(model: Classifier, n: int = 1000) -> float:
    """The share of n held-out pictures whose pair the model names."""
    images, labels = labelled("test", n)
    return (model(images).argmax(1) == labels).double().mean().item()


def learned(name: str, n: int, seed: int = 0, steps: int | None = None) -> Classifier:
    """A net of `NETS` trained on n pictures, its weights averaged."""
    images, labels = labelled("train", n)
    seed_everything(seed)
    model = NETS[name]()
    ema = Ema(model)
    batches = data.batches(images, labels, size=BATCH, seed=seed)
    run(fit(model, batches, steps or STEPS, RATE, seed=seed, ema=ema), desc=f"{name}, {n} pictures, seed {seed}")
    return ema.model.eval()


def vit_table(seeds: list[int]) -> list[dict]:
    """A row for each seed, number of pictures and net, kept as data/tables/10_vit.csv."""
    rows = []
    for seed in seeds:
        for n in SIZES:
            for name in NETS:
                share = accuracy(learned(name, n, seed))
                rows.append({"net": name, "pictures": n, "steps": STEPS, "seed": seed, "accuracy": round(share, 3)})
                stored.write("10_vit", COMMAND, rows)  # so far
    return rows


def said(n: int, seed: int) -> list[str]:
    """n captions by the program that writes those of `shapes`, without their pictures."""
    rng = np.random.default_rng(seed)
    return [caption(imagine(rng, "train"), rng) for _ in range(n)]


def caption_model(seed: int = 0, steps: int | None = None, n: int = 20_000) -> LanguageModel:
    """The notebook's language model: trained on n captions, its weights averaged."""
    seed_everything(seed)
    words = tokenizer()
    model = LanguageModel(words.vocabulary)
    ema = Ema(model)
    batches = data.batches(words(said(n, seed=1)), size=BATCH, seed=seed)
    steps = steps or pick(ci=20, cpu=CAPTION_STEPS, gpu=CAPTION_STEPS)
    run(fit(model, batches, steps, 3e-3, seed=seed, ema=ema), desc=f"captions, seed {seed}")
    return ema.model.eval()
