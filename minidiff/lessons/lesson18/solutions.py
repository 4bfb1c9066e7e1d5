"""The answers of lesson 18: the functions that the learner writes, and the predictions."""

from statistics import mean, stdev

import torch

from minidiff.exercises.core import question


def pareto(costs, distances):
    """Which models are worth taking: bool (N,), True where no other model has both a lower cost and a lower distance.

    costs and distances are tensors (N,)."""
    cheaper = costs[None] < costs[:, None]  # (N, N): is model j cheaper than model i?
    nearer = distances[None] < distances[:, None]
    return ~(cheaper & nearer).any(dim=1)


def fair_distance(samples, held_out, distance):
    """The mean of distance(chunk, held_out) over chunks of samples (N, D), each as long as held_out (n, D).

    A rest shorter than n is not used."""
    n = len(held_out)
    chunks = [samples[start : start + n] for start in range(0, len(samples) - n + 1, n)]
    return mean(distance(chunk, held_out) for chunk in chunks)


def nearest_training_picture(samples, train):
    """For each of the samples (M, C, H, W): the row of train (N, C, H, W) that is nearest, int64 (M,), and its
    Euclidean distance (M,)."""
    distances = torch.cdist(samples.flatten(1), train.flatten(1))  # (M, N)
    nearest = distances.min(dim=1)
    return nearest.indices, nearest.values


def model_card(measured, floors, n):
    """A line of text for each figure: name -> "MEAN ± STD over K seeds (fresh real pictures: FLOOR; n = N)".

    measured: name -> its values, a list with one number for each training seed, two or more. floors: name -> what
    fresh real pictures score. Numbers with two decimals; STD is the sample standard deviation, as stdev gives it."""
    card = {}
    for name, values in measured.items():
        figure = f"{mean(values):.2f} ± {stdev(values):.2f} over {len(values)} seeds"
        card[name] = f"{figure} (fresh real pictures: {floors[name]:.2f}; n = {n})"
    return card


def seconds_for_thousand(draw, n, clock):
    """Seconds for 1,000 pictures: draw(n) draws n of them, clock() says what time it is. The first call is not timed:
    it warms up."""
    draw(n)
    began = clock()
    draw(n)
    return (clock() - began) * 1000 / n


def against_held_out(samples, train, held_out, precision_recall):
    """Precision and recall of samples (M, D), by precision_recall(real, fake), which wants two sets of one length.

    The sets train (N, D) and held_out (n, D) are real; the model has seen train. M is n or more."""
    return precision_recall(held_out, samples[: len(held_out)])


def clearly_better(ours, theirs):
    """Is every seed of ours, a list of distances, below every seed of theirs?"""
    return max(ours) < min(theirs)


question(
    "18.predict_nearest",
    answer="b",
    hints={
        "a": "It has the best likelihood, but must learn every pixel. What can be learned with fewer numbers?",
        "c": "Given hours, it would be. But how many steps does its U-Net get in twenty seconds?",
    },
    why="a step on sixteen numbers costs next to nothing, so it gets thousands of them, and the decoder knows strokes",
)
question(
    "18.predict_n",
    answer="b",
    hints={
        "a": "The pictures come from the same source. But the distance is between two *fitted* Gaussians: how well do"
        " 50 pictures settle a covariance of 64 numbers?",
        "c": "Fewer pictures settle a mean and a covariance less well. Could chance make two of them more alike?",
    },
    why="a Gaussian that is fitted to few pictures is off by chance, and every error adds to the distance",
)
