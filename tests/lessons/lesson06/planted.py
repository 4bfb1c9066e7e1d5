"""Lesson 06's planted bugs: each must be told apart by a hint of its own."""

import copy

import torch

from minidiff.lessons.lesson06.solutions import averaged


def loss(
    net,
    x0,
    schedule,
    *,
    times="grid",
    alpha_bar=False,
    sigma_bar=False,
    noise="own",
    target="eps",
    reduce="mean",
    square=True,
):
    steps, n = schedule.steps, len(x0)
    i = torch.randint(steps, (n,))
    t = {"grid": schedule.grid[i], "from 0": i / steps, "one": schedule.grid[i[:1]].expand(n), "index": i + 1.0}[times]
    alpha, sigma = schedule(t.clamp(max=1), like=x0)
    kinds = {"own": torch.randn_like(x0), "rand": torch.rand_like(x0), "shared": torch.randn_like(x0[:1]).expand_as(x0)}
    kinds |= {"one a picture": torch.randn(n, 1).expand_as(x0)}
    eps = kinds[noise]
    x = (alpha**2 if alpha_bar else alpha) * x0 + (sigma**2 if sigma_bar else sigma) * eps
    error = net(x, t, None) - {"eps": eps, "x0": x0, "x": x}[target]
    squares = error**2 if square else error
    return squares.sum(1).mean() if reduce == "rows" else getattr(squares, reduce)()


def seeded_loss(net, x0, schedule):
    torch.manual_seed(0)
    return loss(net, x0, schedule)


def bug(**changes):
    return lambda net, x0, schedule: loss(net, x0, schedule, **changes)


def chain(
    net, x, schedule, generator, *, shift=0, root=True, large=False, divide=1, last=False, below=1, sign=1, own=True
):
    steps = schedule.steps
    for i in range(steps, 0, -1):
        (_, sigma_t), (_, sigma_s) = schedule(i / steps), schedule((i - 1) / steps)
        a, b = schedule.transition(i / steps, (i - 1) / steps)
        eps = sign * net(x, torch.full((len(x),), (i - shift) / steps), None)
        x = (x - b**2 / sigma_t**below * eps) / a**divide
        std = b if large else sigma_s * b / sigma_t
        std = std if i > 1 or not last else b
        if i > 1 or last:
            x = x + (std if root else std**2) * torch.randn(x.shape, generator=generator if own else None)
    return x


def walk(**changes):
    return lambda net, x, schedule, generator: chain(net, x, schedule, generator, **changes)


def early(net, x, schedule, generator):
    for i in range(schedule.steps, 0, -1):
        return x - net(x, torch.full((len(x),), i / schedule.steps), None)


class FixedSteps:
    """A schedule that has 25 steps by heart."""

    def __init__(self, schedule):
        self.schedule, self.steps, self.transition = schedule, 25, schedule.transition

    def __call__(self, t, like=None):
        return self.schedule(t, like)


def never_used(model, ticks, decay=0.99):
    averaged(model, ticks, decay)
    return model


def copied_late(model, ticks, decay=0.99):
    for _ in ticks:
        average = copy.deepcopy(model)
    return average


def never_updated(model, ticks, decay=0.99):
    average = copy.deepcopy(model)
    for _ in ticks:
        for mean, weight in zip(average.parameters(), model.parameters()):
            mean = decay * mean + (1 - decay) * weight
    return average


def consumed_first(model, ticks, decay=0.99):
    average = copy.deepcopy(model)
    for _ in list(ticks):
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), model.parameters()):
                mean.lerp_(weight, 1 - decay)
    return average


def from_nothing(model, ticks, decay=0.99):
    average = copy.deepcopy(model)
    for weight in average.parameters():
        weight.data.zero_()
    for _ in ticks:
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), model.parameters()):
                mean.lerp_(weight, 1 - decay)
    return average


def nearest(samples, train, n, power=1, reduce="mean"):
    distances = torch.cdist(samples.flatten(1), train.flatten(1)) ** power
    return getattr(distances.sort(1).values[:, :n], reduce)(1)


def attention(q, k, v, scale=0.5, dim=2):
    return (q @ k.transpose(1, 2) * scale).softmax(dim) @ v


def turn(t, dim, power=-2):
    angle = 1000 * t[:, None] * 10000 ** (power * torch.arange(dim // 2) / dim)
    return torch.cat([angle.sin(), angle.cos()], 1)


PLANTED = {
    "06.noise_loss": [
        bug(times="from 0"),  # off by one of T
        bug(times="one"),
        bug(times="index"),
        bug(alpha_bar=True),  # a missing square root
        bug(sigma_bar=True),  # and the other
        bug(noise="rand"),
        bug(noise="shared"),
        bug(noise="one a picture"),
        bug(target="x0"),
        bug(target="x"),
        bug(reduce="sum"),
        bug(reduce="rows"),
        bug(square=False),
        torch.no_grad()(loss),
        seeded_loss,
    ],
    "06.ancestral": [
        walk(shift=1),  # off by one of T
        walk(root=False),  # a missing square root
        walk(below=2),  # another
        walk(large=True),
        walk(divide=2),
        walk(last=True),
        walk(sign=-1),
        walk(own=False),
        early,
        lambda net, x, schedule, generator: chain(
            lambda x, t, _: net(x, t[:1].expand(6), None), x, schedule, generator
        ),  # 6 rows by heart
        lambda net, x, schedule, generator: chain(net, x, schedule, torch.Generator().manual_seed(0)),
        lambda net, x, schedule, generator: chain(net, torch.randn_like(x), schedule, generator),
        walk(divide=0),
        lambda net, x, schedule, generator: chain(lambda x, t, _: net(x, t[:1], None), x, schedule, generator),
        lambda net, x, schedule, generator: chain(net, x, FixedSteps(schedule), generator),
    ],
    "06.waves": [
        lambda t, dim: turn(t, dim).unflatten(1, (2, -1)).mT.flatten(1),
        lambda t, dim: turn(t, dim).roll(dim // 2, 1),
        lambda t, dim: turn(t / 1000, dim),
        lambda t, dim: turn(t, dim, power=-1),
        lambda t, dim: turn(t, dim, power=2),
        lambda t, dim: turn(t, dim, power=-4),
        lambda t, dim: turn(t, dim, power=-2 * dim / 32),
        lambda t, dim: turn(t, 12)[:, :dim],
        lambda t, dim: turn(t, dim)[:, : dim // 2],
    ],
    "06.attention": [
        lambda q, k, v: attention(q, k, v, scale=1.0),
        lambda q, k, v: attention(q, k, v, scale=0.25),
        lambda q, k, v: attention(q, k, v, dim=1),
        attention,  # d = 4 by heart
        lambda q, k, v: attention(q, k, v, scale=2.0),
        lambda q, k, v: attention(-q, k, v),
    ],
    "06.velocity": [
        lambda v, x, alpha, sigma: (alpha * x + sigma * v, sigma * x + alpha * v),
        lambda v, x, alpha, sigma: (alpha * x - sigma * v, sigma * x - alpha * v),
        lambda v, x, alpha, sigma: (sigma * x + alpha * v, alpha * x - sigma * v),
    ],
    "06.average": [
        never_used,
        lambda model, ticks, decay: next(ticks),
        lambda model, ticks, decay: averaged(model, ticks),
        copied_late,
        never_updated,
        consumed_first,
        from_nothing,
        lambda model, ticks, decay: averaged(model, ticks, 1 - decay),
    ],
    "06.nearness": [
        lambda samples, train, n: nearest(samples, train, 1) / nearest(samples, train, len(train)),
        lambda samples, train, n: nearest(samples, train, 1) / nearest(samples, train, 50),
        lambda samples, train, n: nearest(samples, train, n) / nearest(samples, train, 1),
        lambda samples, train, n: nearest(samples, train, 1) ** 2 / nearest(samples, train, n, power=2),
        lambda samples, train, n: nearest(samples, train, 1),
        lambda samples, train, n: nearest(samples, train, 1) / nearest(samples, train, 5),
        lambda samples, train, n: nearest(samples, train, 1) / nearest(samples, train, n, reduce="sum"),
        lambda samples, train, n: nearest(samples, train, 1) / nearest(samples, train, n, reduce="amax"),
    ],
    "06.bound": [
        lambda x0, estimate, snr_s, snr_t: (snr_s - snr_t) * ((x0 - estimate) ** 2).flatten(1).sum(1),
        lambda x0, estimate, snr_s, snr_t: (snr_t - snr_s) / 2 * ((x0 - estimate) ** 2).flatten(1).sum(1),
        lambda x0, estimate, snr_s, snr_t: (snr_s - snr_t) / 2 * ((x0 - estimate) ** 2).flatten(1).mean(1),
        lambda x0, estimate, snr_s, snr_t: (snr_s - snr_t) / 2 * (x0 - estimate).flatten(1).norm(dim=1),
        lambda x0, estimate, snr_s, snr_t: 8 * (snr_s - snr_t) * ((x0 - estimate) ** 2).flatten(1).mean(1),
        lambda x0, estimate, snr_s, snr_t: snr_s / 2 * ((x0 - estimate) ** 2).flatten(1).sum(1),
        lambda x0, estimate, snr_s, snr_t: abs(snr_s - snr_t) / 2 * ((x0 - estimate) ** 2).flatten(1).sum(1),
    ],
}
