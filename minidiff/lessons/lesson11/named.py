"""The CLIP of the emoji measured: names for drawings that it never saw, drawings for names, and eight to look at."""

import torch
from torch import Tensor

from minidiff import data
from minidiff.clip import CLIP, embed, recall
from minidiff.recipes.emoji import drawings

HELD_OUT, ALL = "the 171 never seen", "all 3,470"  # among which an answer is looked for
LOOKED_AT = (
    "astronaut: dark skin tone",
    "woman mage: light skin tone",
    "merman: dark skin tone",
    "woman surfing: medium skin tone",
    "prince: dark skin tone",
    "thumbs down: dark skin tone",
    "green heart",
    "two o'clock",
)


def gallery() -> tuple[Tensor, list[str], int]:
    """All drawings (3470, 3, 32, 32) and their names, those that are never trained on first, and how many those are."""
    unseen, unseen_names = drawings("test")
    seen, seen_names = drawings("train")
    return torch.cat([unseen, seen]), [*unseen_names, *seen_names], len(unseen)


def chosen() -> tuple[Tensor, list[str]]:
    """Eight of the drawings that are never trained on, (8, 3, 32, 32), and their names."""
    images, names = drawings("test")
    return images[[names.index(name) for name in LOOKED_AT]], list(LOOKED_AT)


@torch.no_grad()
def recall_table(model: CLIP) -> list[dict]:
    """A row for each way and choice of answers: of the 171 drawings never seen, which find their name, and back."""
    images, names, n = gallery()
    looks = embed(model, images)
    texts = model.encode_texts(names)
    rows = []
    for among, m in {HELD_OUT: n, ALL: len(names)}.items():
        ways = {"picture to name": looks[:n] @ texts[:m].T, "name to picture": texts[:n] @ looks[:m].T}
        for way, values in ways.items():
            found = {"recall at 1": recall(values, 1), "recall at 5": recall(values, 5)}
            rows.append({"way": way, "among": among} | found | {"chance at 1": 1 / m})
    return rows


@torch.no_grad()
def agreement(model: CLIP) -> dict[str, float]:
    """Of drawings never seen, named among all 3,470: the share whose answer has the name, thing, kind, skin tone right.

    "told before" is the share of wrong answers that are names of the training set.
    """
    images, names, n = gallery()
    best = (embed(model, images[:n]) @ model.encode_texts(names).T).argmax(1).tolist()
    shares = agreeing(names[:n], [names[k] for k in best])
    wrong = [k for i, k in enumerate(best) if k != i]
    return shares | {"told before": sum(k >= n for k in wrong) / max(1, len(wrong))}


def agreeing(names: list[str], answers: list[str]) -> dict[str, float]:
    """The shares of names whose answer says the same name, the same thing, of the same kind, in the same skin tones.

    kind is Unicode's, such as "person-role"; of a name without a skin tone the answer has to be without one, too.
    """
    pairs = [*zip(data.emoji.attributes(names), data.emoji.attributes(answers))]
    parts = {"name": "name", "thing": "thing", "kind": "kind", "skin tone": "tones"}
    return {
        said: sum(getattr(one, part) == getattr(other, part) for one, other in pairs) / len(pairs)
        for said, part in parts.items()
    }
