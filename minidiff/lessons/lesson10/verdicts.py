"""What lesson 10's tables say: each of its claims, from rows over training seeds."""

from statistics import mean

from minidiff.lessons.lesson10.guided import AWARE, BLIND, FREE
from minidiff.lessons.lesson10.trained import TOWER, WORDS
from minidiff.scorecard.common import Claim, spread


def _claim(text: str, paper: str, ours: str, holds: bool, why: str = "", stored: str = "") -> Claim:
    return Claim("10", text, paper, ours, holds, "" if holds else why, stored)


def of_pairs(tables: list[list[dict]]) -> list[Claim]:
    rows = [{row["prompt"]: row for row in table} for table in tables]
    alone, many = ([each[name] for each in rows] for name in (tables[0][0]["prompt"], tables[0][-1]["prompt"]))
    seen, novel, both = ([row[name] for row in many] for name in ("seen pairs", "novel pairs", "harmonic mean"))
    gain = [a["harmonic mean"] - b["harmonic mean"] for a, b in zip(many, alone)]
    told = f"{spread(novel)}, harmonic mean {spread(both)}"
    known = "0.762 of ImageNet's 1,000 classes (2103.00020, section 3.1.3)"
    return [
        _claim(
            "30 pairs, zero-shot: of pictures of seen pairs 0.95 are right", known, spread(seen), mean(seen) >= 0.95
        ),
        _claim("of pairs never trained on 0.85 are right (chance 0.033)", "no figure", told, mean(novel) >= 0.85),
        _claim(
            "four prompts do better than the label alone (harmonic mean)",
            "+0.05 on ImageNet, prompts and 80 templates (section 3.1.4)",
            f"gain {spread(gain)}",
            mean(gain) > 0,
        ),
    ]


def of_retrieval(tables: list[list[dict]]) -> Claim:
    shares = [[row[k] for k in ("recall at 1", "recall at 5") for row in table] for table in tables]
    first, back, five, five_back = map(list, zip(*shares))
    ours = f"{spread(first)} and {spread(five)}; {spread(back)} and {spread(five_back)}"
    return _claim(
        "100 held-out pictures and captions: the first found is right for half or more, one of five for 0.8, both ways",
        "Flickr30k, zero-shot: 0.880 and 0.987 to text, 0.687 and 0.906 to picture (table 13)",
        ours,
        min(map(mean, (first, back))) >= 0.5 and min(map(mean, (five, five_back))) >= 0.8,
    )


def of_left_out(tables: list[list[dict]]) -> Claim:
    known, never = ([table[i]["crosses"] for table in tables] for i in (0, 1))
    return _claim(
        "a shape that was left out of training is not recognised: crosses, of five shapes, at chance (0.2) or below",
        "0.88 of MNIST, below logistic regression on pixels: hardly any such pictures on the web (section 6)",
        f"{spread(known)} with crosses in training, {spread(never)} without",
        mean(never) <= 0.25 and mean(known) > 0.8,
    )


def best(rows: list[dict], way: str) -> dict:
    """The row of that way whose pictures have the most attributes right."""
    return max((row for row in rows if row["guided by"] == way), key=lambda row: row["attributes"])


def of_guidance(tables: list[list[dict]]) -> list[Claim]:
    ways = ("nobody", BLIND, AWARE, FREE)
    nobody, blind, aware, free = ([best(rows, way)["attributes"] for rows in tables] for way in ways)
    ours = ", ".join(f"{way} {spread(shares)}" for way, shares in zip(ways, (nobody, blind, aware, free)))
    gain = mean(aware) - mean(nobody)
    return [
        _claim(
            "attributes right, best scale: a CLIP that never saw noise guides hardly; one that did guides",
            "order only: noise-aware CLIPs do better (2112.10741, section 2.4)",
            ours,
            gain > 0.1 and mean(blind) - mean(nobody) < gain / 2,
        ),
        _claim(
            "classifier-free guidance obeys better than either CLIP",
            "order only, in people's eyes (2112.10741, abstract)",
            ours,
            mean(free) > max(mean(aware), mean(blind)),
        ),
    ]


def of_batches(rows: list[dict], command: str) -> list[Claim]:
    """From the stored table, and the command that made it."""
    paper = "batches of 32,768; no comparison (section 2.5)"
    few = "a batch four times as large has a quarter of the steps, and a run as short as this wants steps first"
    return [
        _by_batch(rows, "steps", min(row["steps"] for row in rows), paper, "", command),
        _by_batch(rows, "pictures", max(row["pictures"] for row in rows), paper, few, command),
    ]


def _by_batch(rows: list[dict], alike: str, count: int, paper: str, why: str, command: str) -> Claim:
    shares = {}
    for row in rows:
        if row[alike] == count:
            shares.setdefault(row["batch"], []).append(row["seen pairs"])
    ours = ", ".join(f"{batch}: {spread(each)}" for batch, each in shares.items())
    text = f"after equally many {alike}, {count:,}, the largest batch makes the best classifier (seen pairs right)"
    holds = mean(shares[max(shares)]) == max(map(mean, shares.values()))
    return _claim(text, paper, ours, holds, why, command)


def of_words(rows: list[dict], command: str) -> Claim:
    """From the stored table, and the command that made it."""

    def shares(way: str, things: int) -> list[float]:
        chosen = [row for row in rows if (row["told by"], row["things"], row["split"]) == (way, things, "test")]
        return [row["attributes"] for row in chosen]

    told = "; ".join(f"{way} {spread(shares(way, 1))} and {spread(shares(way, 2))}" for way in (WORDS, TOWER))
    return _claim(
        f"after {rows[0]['steps']:,} steps, CLIP's text tower, never trained to draw, serves a denoiser no worse than "
        "words learned with it (attributes right, of one thing and of two)",
        "a text encoder of its own task, left as it is, serves better the larger it is (2205.11487, section 4.4)",
        told,
        all(mean(shares(TOWER, k)) > mean(shares(WORDS, k)) - 0.03 for k in (1, 2)),
        stored=command,
    )


def of_photographs(shares: list[float], after: list[float]) -> list[Claim]:
    text = "eight photographs, fine-tuned on crops of them: other crops of the same photographs find their caption"
    forgets = "fine-tuned on the photographs alone, it forgets the shapes (seen pairs right, 0.95 before)"
    shift = "a classifier fitted to ImageNet: + 0.092 there, slightly less on pictures of other kinds (section 3.3)"
    return [
        _claim(text, "no figure", f"{spread(shares)} of 400, chance 0.125", mean(shares) >= 0.95),
        _claim(forgets, shift, spread(after), mean(after) < 0.5),
    ]
