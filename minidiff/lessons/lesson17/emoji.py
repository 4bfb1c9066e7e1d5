"""Lesson 17 measured on the emoji: two steps of a guided teacher's student, and transformers told words."""

import time
from statistics import mean

import torch
from torch import Tensor

from minidiff import checkpoints, data, seeded
from minidiff.dit import DiT, flops
from minidiff.flow_matching import FlowMatching
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.lessons.lesson09.claims import emoji_names
from minidiff.lessons.lesson13.measures import fd, real
from minidiff.lessons.lesson17.training import follows, loss_of, taught
from minidiff.recipes import emoji as recipes
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim, spread
from minidiff.transformer import WordEmbedding
from minidiff.unet import UNet

DRAWN = 171  # names of each kind: all that were never seen, and as many that were
NAMES = {"seen": "train", "never seen": "combinations"}
WAYS = {"teacher": ("ldm-emoji", (20, 4, 2, 1)), "student": ("two-step-emoji", (2, 1))}
SIZES = ((2, 64, 2), (2, 128, 3), (1, 64, 3), (1, 128, 4))  # patch, width and layers of a DiT
TRIED = 400  # steps of training in the table of sizes
GUIDED = "as few as 1 to 4 steps on latents, guidance inside (2210.03142, abstract)"


def drawn(model: LatentDiffusion, kind: str, steps: int, seed: int, n: int = DRAWN) -> dict:
    """How n names, seen or never seen, are drawn in so many steps: marks, FD by the course's CLIP, seconds."""
    names = emoji_names(NAMES[kind], n)
    start = time.perf_counter()
    images = text_to_image(model, names, steps=steps, generator=seeded(seed))
    seconds = (time.perf_counter() - start) * 100 / n
    marks = data.emoji.marks(names, images)
    measured = {"right": round(marks.right, 3), "thing": round(marks.by["thing"], 3)}
    return measured | {"FD": round(fd(images, real(names, 32)), 1), "seconds for 100": round(seconds, 2)}


def steps_table(seeds, n: int = DRAWN) -> list[dict]:
    """A row for each way to draw, kind of names and seed of the noise."""
    rows = []
    for method, (file, counts) in WAYS.items():
        model = checkpoints.load(file)
        for steps in counts:
            for kind in NAMES:
                told = {"method": method, "steps": steps, "names": kind}
                rows += [told | {"seed": seed} | drawn(model, kind, steps, seed, n) for seed in seeds]
    return rows


def unit_codes(split: str) -> tuple[Tensor, Tensor]:
    """The codes of the drawings, of standard deviation 1 in training, (N, 8, 8, 8), and their names' ids (N, 24)."""
    coder = checkpoints.shipped("ae-emoji")
    mu, ids = recipes.codes(split, coder)
    return mu / recipes.codes("train", coder)[0].std(), ids


def nets(sizes=SIZES) -> dict:
    """New networks told words: transformers of those sizes, and the U-Net of "ldm-emoji"."""
    made = {}
    for patch, width, layers in sizes:
        words = WordEmbedding(recipes.reader().vocabulary)
        name = f"DiT, patch {patch}, width {width}, {layers} layers"
        made[name] = DiT(8, patch, width, layers, 4, channels=8, text=words)
    return made | {"U-Net": recipes.latent_diffusion().denoiser.net}


def sizes_table(steps: int = TRIED, sizes=SIZES) -> list[dict]:
    """A row for each network: work, weights, seconds, and the loss on names never seen after `steps` steps."""
    null = recipes.latent_diffusion().denoiser.null
    codes, held_out = unit_codes("train"), unit_codes("test")
    rows = []
    for name, net in nets(sizes).items():
        start = time.perf_counter()
        model = taught(FlowMatching(net, null, drop=0.1), codes, steps, lr=3e-3)
        seconds = time.perf_counter() - start
        work = flops(net, held_out[0][:1], torch.ones(1), held_out[1][:1])
        told = {"net": name, "MFLOPs": round(work / 1e6, 1), "weights": weights_without_words(net), "steps": steps}
        rows.append(told | {"train (s)": round(seconds), "held-out loss": round(loss_of(model, *held_out), 4)})
    return rows


def weights_without_words(net: DiT | UNet) -> int:
    """How many weights a network has, without the vectors of the words, which are the same for all."""
    return sum(weight.numel() for name, weight in net.named_parameters() if not name.startswith("text."))


def claims() -> list[Claim]:
    """Two steps against twenty, by each measure, and what the loss of a transformer follows."""
    return [*(_of_steps(measure) for measure in ("right", "FD")), _of_sizes()]


def _of_steps(measure: str) -> Claim:
    rows = stored.read("17_emoji")

    def found(method: str, steps: int, kind: str) -> list[float]:
        return [row[measure] for row in rows if (row["method"], row["steps"], row["names"]) == (method, steps, kind)]

    sides = {kind: (found("student", 2, kind), found("teacher", 20, kind)) for kind in NAMES}
    ours = "; ".join(f"{kind}: {spread(two)} against {spread(twenty)}" for kind, (two, twenty) in sides.items())
    ratios = [mean(two) / mean(twenty) for two, twenty in sides.values()]
    holds = min(ratios) >= 0.9 if measure == "right" else max(ratios) <= 1.1
    of = "the share of emoji that are right is" if measure == "right" else "the FD of emoji is"
    text = f"{of} within 10 % of twenty guided steps in two steps of a student"
    return Claim("17", text, GUIDED, f"{measure}, names {ours}", holds, stored=stored.command("17_emoji"))


def _of_sizes() -> Claim:
    rows = [row for row in stored.read("17_emoji_sizes") if row["net"] != "U-Net"]
    work, weights = follows(rows, "MFLOPs"), follows(rows, "weights")
    ours = f"correlation of the loss with log FLOPs {work:.2f}, with log weights {weights:.2f} (4 sizes, 1 seed)"
    text = "on codes of emoji, too, a transformer's loss follows its FLOPs more closely than its weights"
    paper = "transformers with more Gflops consistently have a lower FID (2212.09748, abstract)"
    return Claim("17", text, paper, ours, work < min(weights, -0.9), stored=stored.command("17_emoji_sizes"))
