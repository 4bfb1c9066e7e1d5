"""Lesson 18's checks: what a fair comparison needs, from equal numbers to a model card with its floors."""

import re
from statistics import mean, pstdev

import numpy as np
import torch

from minidiff.exercises import CheckFailed, close, exercise, require, shaped
from minidiff.lessons.lesson18 import solutions


@exercise(
    "18.pareto",
    solution=solutions.pareto,
    core=True,
    hints=(
        "Ask for each model whether there is another one that beats it in both columns at once.",
        "`costs[None] < costs[:, None]` is a table (N, N): in row i and column j it says whether j is cheaper than i.",
        "Make the same table of distances, join the two by `&`, and see with `.any(dim=1)` whether a row has a True.",
    ),
)
def _(attempt):
    for costs, distances, general in _markets():
        got = attempt(costs, distances)
        require(isinstance(got, torch.Tensor) and got.dtype == torch.bool, "Return a bool tensor, one for each model.")
        right = solutions.pareto(costs, distances)
        shaped(got, tuple(right.shape), "One True or False for each model, (N,).")
        for hint, wrong in _wrong_choices(costs, distances).items() if general is GENERAL else ():
            require(torch.equal(right, wrong) or not torch.equal(got, wrong), hint)
        require(torch.equal(got, right), general)


GENERAL = "Not the models that nobody beats in both columns at once."
TIE = "Equal is not lower: a rival that is only as cheap, or only as near, does not beat a model."


def _markets():
    """Costs and distances of models, and what is said of a wrong answer; in the last ones two have the same cost."""
    yield torch.tensor([1.0, 2.0, 3.0, 4.0, 2.5]), torch.tensor([9.0, 5.0, 6.0, 1.0, 5.5]), GENERAL
    yield torch.rand(12), torch.rand(12), GENERAL
    yield torch.tensor([1.0, 1.0, 2.0]), torch.tensor([3.0, 2.0, 2.0]), TIE


def _wrong_choices(costs, distances) -> dict:
    cheaper = costs[None] < costs[:, None]
    nearer = distances[None] < distances[:, None]
    return {
        "These are the models to leave: True is for those that nobody beats.": (cheaper & nearer).any(dim=1),
        "A model is beaten only by one that is cheaper *and* nearer: join the two by `&`, not by `|`, and use `<`.": ~(
            cheaper | nearer
        ).any(dim=1),
        "Rows and columns have changed places: you found the models that beat nobody.": ~(cheaper & nearer).any(dim=0),
        "Less is better in both columns: a high distance is a bad model.": ~(cheaper & nearer.mT).any(dim=1),
    }


def _gap(a, b) -> float:
    """A stand-in for a distance, which depends on the number of rows as the real one does."""
    return (a.mean(0) - b.mean(0)).square().sum().item() + 10 / len(a) + 3 / len(b) + a[0].sum().item()


@exercise(
    "18.fair_distance",
    solution=solutions.fair_distance,
    core=True,
    hints=(
        "n is the number of held-out rows. How many whole chunks of n rows do the samples have?",
        "Chunk k is `samples[k * n : (k + 1) * n]`. Measure each with `distance`, and take the mean.",
        "`range(0, len(samples) - n + 1, n)` gives the starts of all whole chunks.",
    ),
)
def _(attempt):
    for rows, n, width in ((9, 3, 2), (11, 4, 5), (6, 6, 3)):
        samples, held_out = torch.randn(rows, width), torch.randn(n, width)
        got = attempt(samples, held_out, _gap)
        right = solutions.fair_distance(samples, held_out, _gap)
        slips = _wrong_means(samples, held_out)
        close(got, right, "Not the mean distance of the whole chunks of n rows.", slips=slips)


def _wrong_means(samples, held_out) -> dict:
    n = len(held_out)
    parts = [_gap(part, held_out) for part in samples.split(n)]
    whole = parts[: len(samples) // n]
    return {
        "All samples at once are not n against n: the distance depends on how many there are.": _gap(samples, held_out),
        "The last chunk is shorter than n, and its distance is too large: leave it out.": mean(parts),
        "That is the first chunk alone. The others are paid for: take the mean over all of them.": parts[0],
        "The mean over the chunks, not their sum.": sum(whole),
        "The mean over the chunks, not the best of them.": min(whole),
        "The last chunk of n rows is whole, so it counts.": mean(whole[:-1] or whole),
        "First the chunk, then the held-out rows: `distance(chunk, held_out)`.": mean(
            _gap(held_out, part) for part in samples.split(n)[: len(whole)]
        ),
    }


@exercise(
    "18.nearest_training_picture",
    solution=solutions.nearest_training_picture,
    core=True,
    hints=(
        "Make each picture one row of numbers first: `.flatten(1)`.",
        "`torch.cdist(a, b)` has the distances from all rows of a to all rows of b, (M, N).",
        "`.min(dim=1)` of this table has both answers, `.indices` and `.values`.",
    ),
)
def _(attempt):
    for m, n, shape in ((5, 8, (1, 4, 4)), (6, 6, (2, 3, 3)), (7, 4, (1, 5, 3))):
        train = torch.randn(n, *shape)
        samples = train[torch.randint(n, (m,))] + 0.9 * torch.randn(m, *shape)
        got = attempt(samples, train)
        require(isinstance(got, tuple) and len(got) == 2, "Return two tensors: the rows of train, and the distances.")
        _nearest(*got, samples, train)


def _nearest(index, distance, samples, train) -> None:
    right_index, right_distance = solutions.nearest_training_picture(samples, train)
    both = isinstance(index, torch.Tensor) and isinstance(distance, torch.Tensor)
    swapped = both and index.is_floating_point() and not distance.is_floating_point()
    require(not swapped, "First the rows, then the distances.")
    shaped(distance, (len(samples),), "One distance for each of the samples: look along the training pictures.")
    hint = "Not the distance to the nearest training picture."
    close(distance, right_distance, hint, slips=_wrong_distances(samples, train), rtol=1e-3)
    index = shaped(index, (len(samples),), "One row for each of the samples.")
    require(not index.is_floating_point(), "Rows are whole numbers.")
    require(torch.equal(index, right_index), "The distances are right, but not the rows of train they belong to.")


def _wrong_distances(samples, train) -> dict:
    table = torch.cdist(samples.flatten(1), train.flatten(1))
    slips = {
        "That is the square: the Euclidean distance is its root.": table.square().amin(1),
        "Add the squares of all pixels, without dividing by their number.": table.amin(1) / samples[0].numel() ** 0.5,
        "Add the squares of all pixels, and take the root.": table.square().amin(1) / samples[0].numel(),
        "That is the sum of absolute differences: the Euclidean distance squares them first.": torch.cdist(
            samples.flatten(1), train.flatten(1), p=1
        ).amin(1),
        "The farthest training picture, not the nearest.": table.amax(1),
        "The mean over all training pictures: only the nearest one counts.": table.mean(1),
    }
    if len(samples) == len(train):
        slips["You looked for the sample nearest to each training picture: take the minimum along dim 1."] = table.amin(
            0
        )
    return slips


@exercise(
    "18.model_card",
    solution=solutions.model_card,
    core=True,
    hints=(
        "Go through `measured.items()`: a name, and the values of its seeds.",
        "`mean(values)`, `stdev(values)` and `len(values)` make the first half, `floors[name]` and n the rest.",
        'f"{mean(values):.2f} ± {stdev(values):.2f} over {len(values)} seeds" is the first half.',
    ),
)
def _(attempt):
    measured = {"FD held-out": [143.21, 150.4, 171.0, 139.9], "precision": [0.8214, 0.87, 0.8]}
    floors = {"precision": 0.951, "FD held-out": 77.1}
    got = attempt(measured, floors, 297)
    require(isinstance(got, dict), "Return a dict, from the name of a figure to its line.")
    require(set(got) == set(measured), "One line for each figure that was measured, under its own name.")
    for name, right in solutions.model_card(measured, floors, 297).items():
        _card_line(got[name], right, measured[name], floors[name])
    require(attempt({"a": [1.0, 2.0]}, {"a": 5.0}, 11) == solutions.model_card({"a": [1.0, 2.0]}, {"a": 5.0}, 11),
            "The line must be made of what is given: n too.")  # fmt: skip


def _card_line(got, right: str, values: list, floor: float) -> None:
    require(isinstance(got, str), "Each line is a text.")
    if got == right:
        return
    numbers = re.findall(r"\d+(?:\.\d+)?", got)
    rounded = all(len(number.partition(".")[2]) == 2 for number in numbers if "." in number)
    require(rounded, "Numbers have two decimals here: `:.2f` in the braces.")
    require(
        f"{floor:.2f}" in numbers,
        "The floor of this figure is missing: without it nobody can tell a good one from a bad one.",
    )
    require("297" in numbers, "n is missing: figures of other numbers of pictures cannot be compared with it.")
    require(f"{min(values):.2f}" not in numbers and f"{max(values):.2f}" not in numbers,
            "That is a single seed, the best one perhaps: a card has the mean.")  # fmt: skip
    require(f"{mean(values):.2f}" in numbers, "The mean over the seeds is missing.")
    require(f"{pstdev(values):.2f}" not in numbers, "Seeds are a sample: divide by K - 1, as `stdev` does.")
    raise CheckFailed("The line does not read as asked for.", f"Got {got!r}, expected {right!r}.")


@exercise(
    "18.seconds_for_thousand",
    solution=solutions.seconds_for_thousand,
    hints=(
        "Draw once before the clock is read: the first call loads, compiles and fills caches.",
        "Read the clock, draw n again, read the clock again. What was n pictures must become 1,000.",
    ),
)
def _(attempt):
    for n, warm, each in ((10, 7.0, 0.5), (40, 3.0, 0.2)):
        state = {"time": 5.0, "calls": 0, "drawn": []}

        def draw(count, state=state, warm=warm, each=each):
            state["time"] += each * count + (warm if not state["calls"] else 0)
            state["calls"] += 1
            state["drawn"].append(count)

        got = attempt(draw, n, lambda state=state: state["time"])
        require(set(state["drawn"][1:]) <= {n}, "Draw n pictures at a time, and scale what they took to 1,000.")
        slips = {
            "The first call is in it: draw once before you read the clock.": (each * n + warm) * 1000 / n,
            "Both calls are in it: read the clock after the first one.": (2 * each * n + warm) * 1000 / n,
            "These are the seconds of n pictures: scale them to 1,000.": each * n,
            "These are the seconds of one picture: scale them to 1,000.": each,
        }
        close(got, each * 1000, "Not the seconds of 1,000 pictures.", slips=slips)


@exercise(
    "18.against_held_out",
    solution=solutions.against_held_out,
    hints=(
        "Which real pictures can a copying model not have copied?",
        "`precision_recall(real, fake)`: first the real ones. Both sets need the same number of rows.",
    ),
)
def _(attempt):
    from minidiff.metrics import precision_recall

    train, held_out, samples = torch.randn(30, 3), torch.randn(12, 3) + 0.5, 0.8 * torch.randn(25, 3)
    asked = []

    def measure(real, fake):
        asked.append((real, fake))
        return precision_recall(real, fake)

    got = attempt(samples, train, held_out, measure)
    require(isinstance(got, tuple) and len(got) == 2, "Return precision and recall, two numbers.")
    slips = {
        hint: torch.tensor(precision_recall(*pair)) for hint, pair in _wrong_sets(samples, train, held_out).items()
    }
    fair = [pair for pair in asked if _n_against_n(*pair, held_out, samples)]  # any n of the samples will do
    right = torch.tensor(precision_recall(*fair[0]) if fair else precision_recall(held_out, samples[: len(held_out)]))
    close(torch.tensor(got), right, "Not precision and recall against the held-out pictures.", slips=slips)


def _wrong_sets(samples, train, held_out) -> dict:
    n = len(held_out)
    return {
        "Those are training pictures: a model that copies them looks perfect.": (train[:n], samples[:n]),
        "All the training pictures: a model that copies them looks perfect.": (train, samples),
        "Equal numbers, n against n: the balls are larger where there are fewer points.": (held_out, samples),
        "Precision and recall have changed places: the real pictures come first.": (samples[:n], held_out),
    }


def _n_against_n(real, fake, held_out, samples) -> bool:
    """Is it the held-out set against as many of the samples, none of them twice?"""
    taken = (fake[:, None] == samples).all(-1)  # (n, M)
    return torch.equal(real, held_out) and len(fake) == len(held_out) == int(taken.any(0).sum())


@exercise(
    "18.clearly_better",
    solution=solutions.clearly_better,
    hints=(
        "Distances: less is better. Which seed of ours is the worst, and which of theirs the best?",
        "`max(ours)` must be below `min(theirs)`.",
    ),
)
def _(attempt):
    cases = {
        ((1.0, 2.0), (3.0, 4.0)): "Every seed of ours is below every one of theirs here: that is clearly better.",
        ((3.0, 4.0), (1.0, 2.0)): "Less is better: ours are the larger distances here.",
        ((1.0, 5.0), (4.0, 6.0)): "The means differ, but the seeds overlap: the order may be chance.",
        ((1.0, 3.0, 9.0), (8.0, 10.0)): "The best seed of ours says little: look at the worst one.",
        ((4.0, 6.0), (5.0, 5.5, 9.0)): "Look at the best seed of theirs too.",
        ((2.0, 3.0), (3.0, 4.0)): "Equal is not below.",
        (
            (1.0, 1.0, 1.0, 1.0, 5.0),
            (4.5, 9.0, 9.0, 9.0),
        ): "*Every* seed: means and deviations may hide one that is not.",
    }
    for (ours, theirs), hint in cases.items():
        got = attempt(list(ours), list(theirs))
        require(isinstance(got, bool | np.bool_) or _one_bool(got), "Return True or False.")
        require(bool(got) == solutions.clearly_better(ours, theirs), hint)


def _one_bool(got) -> bool:
    return isinstance(got, torch.Tensor) and got.dtype == torch.bool and got.ndim == 0
