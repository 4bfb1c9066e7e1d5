"""The bugs planted for lesson 18's exercises."""

from statistics import mean, pstdev, stdev

import torch

from minidiff.lessons.lesson18.solutions import nearest_training_picture


def beaten(costs, distances):
    return costs[None] < costs[:, None], distances[None] < distances[:, None]


def either(costs, distances):
    cheaper, nearer = beaten(costs, distances)
    return ~(cheaper | nearer).any(dim=1)


def turned(costs, distances):
    cheaper, nearer = beaten(costs, distances)
    return ~(cheaper & nearer).any(dim=0)


def high_is_good(costs, distances):
    cheaper, nearer = beaten(costs, distances)
    return ~(cheaper & nearer.mT).any(dim=1)


def as_good_is_beaten(costs, distances):
    as_cheap, as_near = costs[None] <= costs[:, None], distances[None] <= distances[:, None]
    cheaper, nearer = beaten(costs, distances)
    return ~(as_cheap & as_near & (cheaper | nearer)).any(dim=1)


def the_losers(costs, distances):
    cheaper, nearer = beaten(costs, distances)
    return (cheaper & nearer).any(dim=1)


def one_too_few(samples, held_out, distance):
    n = len(held_out)
    return mean(distance(samples[k : k + n], held_out) for k in range(0, max(1, len(samples) - n), n))


def table(samples, train, p=2.0):
    return torch.cdist(samples.flatten(1), train.flatten(1), p=p)


def wrong_way(samples, train):
    nearest = table(samples, train).min(dim=0)
    return nearest.indices, nearest.values


def card(line):
    def model_card(measured, floors, n):
        return {name: line(values, floors[name], n) for name, values in measured.items()}

    return model_card


def told(middle, deviation, k, floor, n):
    return f"{middle:.2f} ± {deviation:.2f} over {k} seeds (fresh real pictures: {floor:.2f}; n = {n})"


def cold(draw, n, clock):
    began = clock()
    draw(n)
    return (clock() - began) * 1000 / n


def both_calls(draw, n, clock):
    began = clock()
    draw(n)
    draw(n)
    return (clock() - began) * 1000 / n


def not_scaled(draw, n, clock):
    draw(n)
    began = clock()
    draw(n)
    return clock() - began


PLANTED = {
    "18.pareto": [either, turned, high_is_good, the_losers, as_good_is_beaten],
    "18.fair_distance": [
        lambda samples, held_out, distance: distance(samples, held_out),  # FD at another n
        lambda samples, held_out, distance: mean(distance(part, held_out) for part in samples.split(len(held_out))),
        lambda samples, held_out, distance: distance(samples[: len(held_out)], held_out),
        one_too_few,
    ],
    "18.nearest_training_picture": [
        wrong_way,
        lambda samples, train: table(samples, train).min(1),  # distances first
        lambda samples, train: (
            table(samples, train).argmin(1),
            table(samples, train).amin(1) / samples[0].numel() ** 0.5,
        ),
        lambda samples, train: (table(samples, train).argmin(1), table(samples, train).amin(1).square()),
        lambda samples, train: (table(samples, train, 1.0).argmin(1), table(samples, train, 1.0).amin(1)),
        lambda samples, train: (table(samples, train).argmax(1), table(samples, train).amax(1)),
        lambda samples, train: (table(samples, train).argmax(1), nearest_training_picture(samples, train)[1]),
    ],
    "18.model_card": [
        card(lambda values, floor, n: f"{mean(values):.2f} ± {stdev(values):.2f} over {len(values)} seeds (n = {n})"),
        card(lambda values, floor, n: told(mean(values), pstdev(values), len(values), floor, n)),
        card(lambda values, floor, n: told(min(values), stdev(values), len(values), floor, n)),
        card(lambda values, floor, n: f"{mean(values):.2f} (fresh real pictures: {floor:.2f})"),
        card(lambda values, floor, n: f"{mean(values):.2f} (fresh real pictures: {floor:.2f}; n = {n})"),
    ],
    "18.seconds_for_thousand": [cold, both_calls, not_scaled],
    "18.against_held_out": [
        lambda samples, train, held_out, measure: measure(train[: len(held_out)], samples[: len(held_out)]),
        lambda samples, train, held_out, measure: measure(train, samples),
        lambda samples, train, held_out, measure: measure(held_out, samples),
        lambda samples, train, held_out, measure: measure(samples[: len(held_out)], held_out),
        lambda samples, train, held_out, measure: measure(held_out, samples[[0] * len(held_out)]),
    ],
    "18.clearly_better": [
        lambda ours, theirs: mean(ours) < mean(theirs),  # the spread over seeds forgotten
        lambda ours, theirs: min(ours) < min(theirs) and max(ours) < mean(theirs),
        lambda ours, theirs: min(ours) > max(theirs),
        lambda ours, theirs: max(ours) <= min(theirs),
        lambda ours, theirs: mean(ours) + stdev(ours) < mean(theirs) - stdev(theirs),
    ],
}
