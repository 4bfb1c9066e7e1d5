"""What lesson 11's tables say: each of its claims, from rows over training seeds."""

from statistics import mean

from minidiff.lessons.lesson11.guided import AWARE, BLIND, FREE, NOBODY, NOTHING, PROMPT
from minidiff.lessons.lesson11.trained import TOWER, WORDS
from minidiff.scorecard.common import Claim, spread


def _claim(text: str, paper: str, ours: str, holds: bool, why: str = "", stored: str = "") -> Claim:
    return Claim("11", text, paper, ours, holds, "" if holds else why, stored)


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


def of_emoji(measured: list[tuple[list[dict], dict]]) -> list[Claim]:
    """measured: for each seed `named.recall_table` and `named.agreement`."""
    tables, parts = zip(*measured)
    few, many = ([table[k]["recall at 1"] for table in tables] for k in (0, 2))
    five = [table[2]["recall at 5"] for table in tables]
    told = ", ".join(f"{part} {spread([each[part] for each in parts])}" for part in ("thing", "kind", "skin tone"))
    return [
        _claim(
            "171 drawings whose combination of words was never trained on: of 171 names the first is right for 0.95",
            "no figure",
            spread(few),
            mean(few) >= 0.95,
        ),
        _claim(
            "of all 3,470 names, most of them trained on, the first is right for half or more, one of five for 0.95",
            "no figure; seen classes draw unseen ones to them (generalised zero-shot learning, 1605.04253)",
            f"{spread(many)} and {spread(five)}; the first answer has right: {told}",
            mean(many) >= 0.5 and mean(five) >= 0.95,
        ),
    ]


def best(rows: list[dict], told: str, way: str) -> dict:
    """Of the rows for what the denoiser is told and who guides it, the one with the most attributes right."""
    fitting = [row for row in rows if (row["denoiser is told"], row["guided by"]) == (told, way)]
    return max(fitting, key=lambda row: row["attributes"])


def of_guidance(tables: list[list[dict]]) -> list[Claim]:
    nobody, blind, aware = alone = _best_shares(tables, NOTHING, (NOBODY, BLIND, AWARE))
    told, helped, free = fair = _best_shares(tables, PROMPT, (NOBODY, AWARE, FREE))
    gain = mean(aware) - mean(nobody)
    return [
        _claim(
            "a denoiser that is told nothing, attributes right at the best scale: a CLIP that never saw noise guides "
            "hardly, one that did guides",
            "noised CLIPs are needed (2112.10741, section 2.4; its denoiser was told the text as well)",
            _listed((NOBODY, BLIND, AWARE), alone),
            gain > 0.1 and mean(blind) - mean(nobody) < gain / 2,
        ),
        _claim(
            "a denoiser that is told the prompt obeys better with guidance by a CLIP that knows noise, and best with "
            "classifier-free guidance (attributes right at the best scale)",
            "order only, in people's eyes (2112.10741, abstract)",
            _listed((NOBODY, AWARE, FREE), fair),
            mean(free) > mean(helped) > mean(told),
        ),
    ]


def _best_shares(tables: list[list[dict]], told: str, ways: tuple[str, ...]) -> list[list[float]]:
    """For each way the attributes right at its best scale, table by table."""
    return [[best(rows, told, way)["attributes"] for rows in tables] for way in ways]


def _listed(ways: tuple[str, ...], shares: list[list[float]]) -> str:
    return ", ".join(f"{way} {spread(each)}" for way, each in zip(ways, shares))


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
