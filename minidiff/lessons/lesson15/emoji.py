"""Lesson 15 measured on two models of emoji: three people in colours that no drawing has, and new skin tones for them.

As `claims` does for figures. "ldm-emoji" is built as the model of figures is, "sd-emoji" as Stable Diffusion.
"""

from statistics import mean
from time import process_time

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from minidiff import checkpoints, data, plot, seeded
from minidiff.adapter import Adapter, worn
from minidiff.data import mascots_emoji as mascots
from minidiff.latent import LatentDiffusion, text_to_image
from minidiff.lessons.lesson15 import tuning
from minidiff.lessons.lesson15.tuning import kilobytes, tuned
from minidiff.scorecard import stored
from minidiff.scorecard.common import Claim
from minidiff.support import files

SHEET = stored.TABLES / "15_emoji.png"
COMMAND = "python -m minidiff scorecard 15 --full"
GAP = "DINO 0.668 by DreamBooth, 0.569 by textual inversion (Stable Diffusion; 2208.12242, table 1)"
LORA = "attention weights alone are adapted (GPT-3; 2106.09685, section 4.2)"
DRIFT = "prior preservation counteracts language drift (2208.12242, section 3.3)"
WORDS = dict(zip(mascots.NAMES, ("wug", "zib", "dax")))
MODELS = {"ldm-emoji": 2, "sd-emoji": 1}  # name -> seeds that each way is tuned with
STEPS = 200
EACH = 5  # pictures of every skin tone
DRAWN = ("red mage", "mage", "tiger face", "red apple")  # what the sheet shows: a thing, and other prompts
WAYS = tuple(way for way in tuning.WAYS if way != "DreamBooth, no prior")


def names(first: int, last: int) -> list[str]:
    """Of the names that the models were trained on, these in an order of their own."""
    known = data.emoji(size=mascots.SIZE)[1]
    return [known[i] for i in torch.randperm(len(known), generator=seeded(5))[first:last].tolist()]


def prior() -> list[str]:
    """64 names whose drawings the model is not to forget."""
    return names(0, 64)


def others() -> list[str]:
    """60 further names, which no adapter is shown."""
    return names(64, 124)


def taught(model: LatentDiffusion, thing: str, way: str, seed: int = 0, steps: int = STEPS) -> Adapter:
    """An adapter for one of `mascots_emoji.NAMES` by one of WAYS, from its four pictures."""
    return tuned(model, mascots.mascots(thing), WORDS[thing], way, prior(), seed, steps)


def measured(model: LatentDiffusion, thing: str) -> dict[str, float]:
    """How often the thing is drawn, how often in the skin tone asked for, and how far off: of 30 prompts.

    "new tones" are those of the two tones that the four pictures do not show: thing and tone right. "error" is the mean
    squared difference from the picture asked for.
    """
    tones = [tone for tone in mascots.ASKED for _ in range(EACH)]
    images = text_to_image(model, mascots.prompts(WORDS[thing], EACH), generator=seeded(0))
    found = mascots.seen(images)
    wanted = torch.stack([mascots.mascot(thing, tone) for tone in tones])
    return {
        "fidelity": mean(name == thing for name, _ in found),
        "tone": mean(seen == tone for (_, seen), tone in zip(found, tones)),
        "new tones": mean(pair == (thing, t) for pair, t in zip(found, tones) if t not in mascots.SHOWN),
        "error": (images - wanted).square().mean().item(),
    }


def others_right(model: LatentDiffusion) -> float:
    """The share of `others` for which the nearest drawing is theirs."""
    prompts = others()
    return data.emoji.marks(prompts, text_to_image(model, prompts, generator=seeded(1))).right


def drawn(model: LatentDiffusion) -> Tensor:
    """For the sheet: the first thing of DRAWN in every skin tone, and the further prompts, (9, 3, 32, 32)."""
    thing, *plain = DRAWN
    return text_to_image(model, mascots.prompts(WORDS[thing], 1) + plain, generator=seeded(0))


def table(seeds: dict[str, list[int]], ways=WAYS, steps: int = STEPS) -> tuple[list[dict], dict[str, Tensor]]:
    """A row a model, way, seed and thing, and first one a model of what it does without an adapter.

    Also what each model drew untouched and then by each way with the first seed: name -> (1 + ways, 9, 3, 32, 32).
    """
    rows, sheets = [], {}
    for name, numbers in seeds.items():
        model = checkpoints.load(name)
        untouched = means([measured(model, thing) for thing in mascots.NAMES])
        rows.append({"model": name, "way": "untouched"} | untouched | {"others right": others_right(model)})
        sheet = [drawn(model)]
        for way in ways:
            for seed in numbers:
                made, found = _way(model, way, seed, steps)
                rows += [{"model": name, "way": way, "seed": seed} | row for row in found]
                if seed == numbers[0]:
                    with worn(model, made[DRAWN[0]]):
                        sheet.append(drawn(model))
        sheets[name] = torch.stack(sheet)
    return [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows], sheets


def _way(model: LatentDiffusion, way: str, seed: int, steps: int) -> tuple[dict[str, Adapter], list[dict]]:
    """An adapter of each thing, and a row for each."""
    made, rows = {}, []
    for thing in mascots.NAMES:
        begin = process_time()
        made[thing] = taught(model, thing, way, seed, steps)
        costs = {"seconds": process_time() - begin, "weights": made[thing].numbers(), "kB": kilobytes(made[thing])}
        rows.append({"thing": thing} | costs)
    for row, following in zip(rows, (*mascots.NAMES[1:], mascots.NAMES[0])):
        thing = row["thing"]
        with worn(model, made[thing]):
            row |= measured(model, thing) | {"others right": others_right(model)}
        with worn(model, made[thing]), worn(model, made[following]):
            row["with another"] = measured(model, thing)["fidelity"]
    return made, rows


def means(rows: list[dict]) -> dict[str, float]:
    """The mean of each number that the rows have."""
    return {name: mean(row[name] for row in rows) for name, value in rows[0].items() if not isinstance(value, str)}


# Claims


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """Of the models of emoji; `full` makes table and sheet anew, with the first seeds, as many as MODELS says."""
    if full:
        rows, sheets = table({name: seeds[:count] for name, count in MODELS.items()})
        stored.write("15_emoji", COMMAND, rows)
        keep(sheets)
    return [_of_naming(), _of_new_tones(), _of_attention(), _of_drift()]


def found(model: str, way: str) -> dict[str, float]:
    """The means of a model and way over things and seeds, from the stored table."""
    return means([row for row in stored.read("15_emoji") if (row["model"], row["way"]) == (model, way)])


def _told(measure: str, *ways: str) -> tuple[str, list[list[float]]]:
    """A measure of each way, in words and as numbers, for each model."""
    values = [[found(model, way)[measure] for way in ways] for model in MODELS]
    words = [", ".join(f"{v:.0%} {way}" for v, way in zip(each, ways)) for each in values]
    return "; ".join(f"{model}: {told}" for model, told in zip(MODELS, words)), values


def _of_naming() -> Claim:
    ours, values = _told("fidelity", "textual inversion", "DreamBooth")
    text = "where the model knows nearly all of a thing, a new word alone draws it, though less well than all weights"
    return Claim("15", text, GAP, ours, all(0.1 < word < tuned for word, tuned in values), stored=_stored())


def _of_new_tones() -> Claim:
    ours, values = _told("new tones", "DreamBooth", "LoRA")
    text = "a thing learned in four skin tones is drawn in two that nobody showed"
    why = "sd-emoji draws a tone that it was not shown as one of its neighbours (one training); not found out further"
    return Claim("15", text, "shown in pictures (2208.12242)", ours, min(map(min, values)) > 0.5, why, _stored())


def _of_attention() -> Claim:
    ours, values = _told("fidelity", "LoRA", "LoRA, every layer")
    text = "for a thing that is nearly known, LoRA on the attention draws as well as beside every layer"
    why = "on sd-emoji, that of the attention has a quarter of the weights of the other (one training)"
    return Claim("15", text, LORA, ours, all(few > every - 0.1 for few, every in values), why, _stored())


def _of_drift() -> Claim:
    ours, values = _told("others right", "untouched", "DreamBooth")
    text = "64 drawings of the prior keep what the other 3,000 names draw"
    why = "not found out: with a prior of 512 names, sd-emoji forgets as much (one training)"
    return Claim("15", text, DRIFT, ours, all(after > before - 0.05 for before, after in values), why, _stored())


def _stored() -> str:
    return stored.command("15_emoji")


# The sheet


def keep(sheets: dict[str, Tensor]) -> None:
    """The pictures of `table` as one picture beside it: a row for each model and way."""
    page = torch.cat([sheet.flatten(0, 1) for sheet in sheets.values()])
    with files.whole(SHEET) as file:
        tiles = plot.tile(page, columns=next(iter(sheets.values())).shape[1], gap=0)
        Image.fromarray(tiles).quantize(256).save(file, "png", optimize=True)


def kept() -> dict[str, Tensor]:
    """What `keep` kept, in 256 colours: model -> (1 + ways, 9, 3, 32, 32)."""
    page = torch.from_numpy(np.array(Image.open(SHEET).convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
    tiles = page.unflatten(2, (-1, mascots.SIZE)).unflatten(1, (len(MODELS), -1, mascots.SIZE))
    return dict(zip(MODELS, tiles.permute(1, 2, 4, 0, 3, 5)))
