"""Lesson 11 measured: zero-shot classification and retrieval, what batch and words are worth, guidance by CLIP.

The tables that take minutes are made by `scorecard 11 --full` and kept in data/tables: 11_guidance.csv,
11_batch.csv, 11_words.csv.
"""

from statistics import harmonic_mean, mean

import torch
from torch import Tensor

from minidiff import checkpoints, data, pick, seeded
from minidiff.clip import CLIP, TEMPLATES, NoisyCLIP, classifier, embed, recall, zero_shot
from minidiff.data.shapes.scene import PAIRS, SHAPES, compare
from minidiff.latent import LatentDiffusion
from minidiff.lessons.lesson11 import named
from minidiff.lessons.lesson11 import verdicts as claims11
from minidiff.lessons.lesson11.guided import AWARE, BLIND, guidance_table
from minidiff.lessons.lesson11.trained import clip_of_batch, words_table
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, trained

LABELS = [" ".join(pair) for pair in PAIRS]  # "red circle", ...: all 30, those never trained on among them
PROMPTS = {"the label alone": ("{}",), "this is a photo of a": ("this is a photo of a {}",), "mean of four": TEMPLATES}
BATCHES = (8, 32, 128)
TRAINED = ("clip-shapes", "clip-shapes-no-cross", "clip-latents", "clip-latents-noisy", "clip-photos", "clip-emoji")
LEFT_OUT = "cross"  # the shape that "clip-shapes-no-cross" has never seen


def single(split: str, n: int = 1000, seed: int = 7) -> tuple[Tensor, Tensor]:
    """n pictures with one thing each, and which of the 30 `LABELS` it is, int64 (n,)."""
    images, _ = data.shapes(split, n, seed, objects=1)
    pairs = [scene.things[0].pair for scene in data.shapes.scenes(split, n, seed, objects=1)]
    return images, torch.tensor([PAIRS.index(pair) for pair in pairs])


def accuracy(model: CLIP, split: str, templates=TEMPLATES, n: int = 1000, seed: int = 7) -> float:
    """The share of pictures of that split whose colour-shape pair the model picks out of all 30."""
    images, right = single(split, n, seed)
    return (zero_shot(model, images, LABELS, templates).argmax(1) == right).double().mean().item()


def zero_shot_table(model: CLIP, n: int = 1000, seed: int = 7) -> list[dict]:
    """A row for each way to ask: the share right among pairs seen in training, among novel ones, and between them.

    The candidates are always all 30 pairs. The harmonic mean is low where either is: a model that never answers with
    a novel pair has 0. Chance is 1 / 30.
    """
    rows = []
    for name, templates in PROMPTS.items():
        seen, novel = (accuracy(model, split, templates, n, seed) for split in ("test", "novel"))
        both = harmonic_mean([seen, novel])
        rows.append({"prompt": name, "seen pairs": seen, "novel pairs": novel, "harmonic mean": both, "chance": 1 / 30})
    return rows


def retrieval(model: CLIP, n: int = 100, seed: int = 8) -> list[dict]:
    """A row each way, picture to caption and back, among n held-out pictures: the share found first, or in the first 5.

    An answer is right if all that the caption says is true of the picture: many captions leave something out.
    """
    images, captions = data.shapes("test", n, seed)
    scenes = data.shapes.scenes("test", n, seed)
    wanted = [data.shapes.asked(caption) for caption in captions]
    right = torch.tensor([[all(fits for _, fits in compare(want, scene)) for want in wanted] for scene in scenes])
    with torch.no_grad():
        similarity = embed(model, images) @ model.encode_texts(captions).T  # (n, n), rows are pictures
    ways = {"picture to caption": (similarity, right), "caption to picture": (similarity.T, right.T)}
    return [
        {
            "way": way,
            "recall at 1": recall(s, 1, r),
            "recall at 5": recall(s, 5, r),
            "chance at 1": r.double().mean().item(),
        }
        for way, (s, r) in ways.items()
    ]


@torch.no_grad()
def noise_table(
    painter: LatentDiffusion, blind: CLIP, aware: NoisyCLIP, times=(0.1, 0.3, 0.5, 0.7), n=300
) -> list[dict]:
    """A row for each time: which share of pairs either CLIP of codes reads out of codes with that much noise."""
    images, right = single("test", n)
    z = painter.encode(images)
    rows = []
    eps = torch.randn(z.shape, generator=seeded(0))
    for t in times:
        noisy = aware.schedule.add_noise(z, t, eps)
        seen = {BLIND: blind.encode_image(noisy), AWARE: aware.encode_image(noisy, t)}
        found = {BLIND: seen[BLIND] @ classifier(blind, LABELS).T, AWARE: seen[AWARE] @ classifier(aware, LABELS).T}
        rows.append({"t": t} | {way: (each.argmax(1) == right).double().mean().item() for way, each in found.items()})
    return rows


def left_out_table(model: CLIP, without: CLIP, n: int = 1000, seed: int = 7) -> list[dict]:
    """Crosses and the rest, by a model that has seen crosses and by one that has not: the share of shapes right.

    Asked for all 30 pairs, and only the shape of the answer counts. Chance is 1 / 5.
    """
    images, right = single("test", n, seed)
    shapes = torch.tensor([SHAPES.index(shape) for _, shape in PAIRS])  # of each label
    crosses = shapes[right] == SHAPES.index(LEFT_OUT)
    rows = []
    for name, each in {"all shapes seen": model, "no cross seen": without}.items():
        hit = (shapes[zero_shot(each, images, LABELS).argmax(1)] == shapes[right]).double()
        shares = {"crosses": hit[crosses].mean().item(), "other shapes": hit[~crosses].mean().item()}
        rows.append({"trained with": name} | shares | {"chance": 1 / len(SHAPES)})
    return rows


def photographs(model: CLIP, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The eight photographs against the eight captions: cosines (8, 8) and the softmax over captions, (8, 8).

    images: other pictures of the eight, (8, 3, 32, 32), in place of their middle squares.
    """
    middle, captions = data.photos()
    with torch.no_grad():
        similarity = embed(model, middle if images is None else images) @ model.encode_texts(captions).T
        return similarity, (model.scale * similarity).softmax(1)


def crops(model: CLIP, n: int = 400, seed: int = 99) -> float:
    """The share of n crops, never trained on, of the same eight photographs whose caption is found among the eight."""
    images, said = data.photo_crops(n, seed=seed)
    captions = data.photos()[1]
    with torch.no_grad():
        found = (embed(model, images) @ model.encode_texts(captions).T).argmax(1)
    return mean(captions[k] == caption for k, caption in zip(found.tolist(), said))


def batch_table(seeds: list[int], most: int | None = None) -> list[dict]:
    """A row for each batch size, length and seed: zero-shot accuracy after equally many pictures or equally many steps.

    most: the pictures that all are shown in the long runs; in the short ones all take the steps of the largest batch.
    """
    most = most or pick(ci=20 * 128, cpu=64_000, gpu=500_000)
    rows = []
    for batch in BATCHES:
        for pictures in sorted({most // BATCHES[-1] * batch, most}):
            for seed in seeds:
                model = clip_of_batch(batch, pictures, seed)
                made = {"batch": batch, "steps": pictures // batch, "pictures": pictures, "seed": seed}
                rows.append(made | {"seen pairs": accuracy(model, "test"), "novel pairs": accuracy(model, "novel")})
    return rows


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over training seeds; `full` also trains what the tables in data/tables are made of."""
    models, without, blind, aware, tuned, readers = ([trained(name, seed) for seed in seeds] for name in TRAINED)
    ldm, n = checkpoints.load("ldm-shapes"), pick(ci=24, cpu=200, gpu=1000)
    guided = [guidance_table(ldm, *both, n=n) for both in zip(blind, aware)]
    if full:
        told = [{"seed": seed} | row for seed, rows in zip(seeds, guided) for row in rows]
        tables = {"11_guidance": told, "11_batch": batch_table(seeds), "11_words": words_table(seeds)}
        for name, rows in tables.items():
            stored.write(name, f"python -m minidiff scorecard 11 --full --seeds {len(seeds)}", rows)
    return [
        *claims11.of_pairs([zero_shot_table(model) for model in models]),
        claims11.of_retrieval([retrieval(model) for model in models]),
        claims11.of_left_out([left_out_table(*both) for both in zip(models, without)]),
        *claims11.of_emoji([(named.recall_table(model), named.agreement(model)) for model in readers]),
        *claims11.of_guidance(guided),
        *claims11.of_batches(stored.read("11_batch"), stored.command("11_batch")),
        claims11.of_words(stored.read("11_words"), stored.command("11_words")),
        *claims11.of_photographs([crops(model) for model in tuned], [accuracy(model, "test") for model in tuned]),
    ]
