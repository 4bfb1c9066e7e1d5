"""The typical slips of lesson 12's small functions: hint -> the value that each leads to."""

import torch
import torch.nn.functional as F


def leading(right) -> dict[str, torch.Tensor]:
    """What `leading_times(20)` becomes by each slip."""
    return {hint: wrong(right[:-1], right[-1:]) for hint, wrong in _LEADING.items()}


_LEADING = {  # the times of the steps, and the last -> all of them
    "That is one step of the original too early: its step i is our time (i + 1) / 1000.": (
        lambda walk, last: torch.cat([walk - 0.001, last])
    ),
    "That is two steps of the original too early: it counts from step 1, and step i is our time (i + 1) / 1000.": (
        lambda walk, last: torch.cat([walk - 0.002, last])
    ),
    "That is one step of the original too late: its step i is our time (i + 1) / 1000.": (
        lambda walk, last: torch.cat([walk + 0.001, last])
    ),
    "k goes from steps - 1 down to 0, and not from steps down to 1.": lambda walk, last: torch.cat([walk + 0.05, last]),
    "k goes from steps - 1 down to 0, and not from steps down to 1; and step i is our time (i + 1) / 1000.": (
        lambda walk, last: torch.cat([walk + 0.049, last])
    ),
    "They end at 1/1000 and not at 0: what x is there counts as the picture.": (
        lambda walk, last: torch.cat([walk, 0 * last])
    ),
    "The last time is 1/1000 and not 1: divide it by 1000 like the others.": (
        lambda walk, last: torch.cat([walk, 1000 * last])
    ),
    "They fall: the noisiest comes first.": lambda walk, last: torch.cat([last, walk.flip(0)]),
    "They fall all the way to 1/1000: the noisiest of the steps comes first.": (
        lambda walk, last: torch.cat([walk.flip(0), last])
    ),
    "A time lies between 0 and 1: divide the step by 1000.": lambda walk, last: 1000 * torch.cat([walk, last]),
    "// leaves whole numbers, which are 0 here: divide by 1000 with a single /.": (
        lambda walk, last: 0 * torch.cat([walk, last])
    ),
    "Those are the trailing times, which begin at 1.": lambda walk, last: torch.linspace(1, 0, 21),
    "The times go evenly from 1 to 1/1000 here. The published ones begin at (19 * 50 + 2) / 1000.": (
        lambda walk, last: torch.linspace(1, 0.001, 21)
    ),
}


def alpha_bar(right) -> dict[str, torch.Tensor]:
    """What `alpha_bar(0.00085, 0.012, 1000)` becomes by each slip."""
    roots = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64)
    return {hint: wrong(right, roots) for hint, wrong in _ALPHA_BAR.items()}


_ALPHA_BAR = {  # alpha_bar, and the roots of the betas
    "Those are betas on a line: here their square roots lie on one.": (
        lambda right, roots: (1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)).cumprod(0)
    ),
    "Those are the square roots of the betas: square them.": lambda right, roots: (1 - roots).cumprod(0),
    "That is alpha, the root of alpha_bar.": lambda right, roots: right.sqrt(),
    "That is 1 - beta of each step: alpha_bar is the product of all up to it.": lambda right, roots: 1 - roots**2,
    "That is one step late: alpha_bar at the first time has one factor.": (
        lambda right, roots: torch.cat([torch.ones(1), right[:-1]])
    ),
    "Those are the betas: alpha_bar is the product of all 1 - beta up to a time.": lambda right, roots: roots**2,
    "That is the product of the betas: alpha_bar is the one of 1 - beta.": lambda right, roots: (roots**2).cumprod(0),
    "That is the noise's share, 1 - alpha_bar.": lambda right, roots: 1 - right,
    "The betas are not summed: alpha_bar is the product of all factors 1 - beta.": lambda right, roots: (
        1 - (roots**2).cumsum(0)
    ),
    "alpha_bar is a product of the factors 1 - beta, so take cumprod instead of cumsum.": lambda right, roots: (
        1 - roots**2
    ).cumsum(0),
    "It falls: alpha_bar is near 1 at the first time.": lambda right, roots: right.flip(0),
    "The line goes from √first to √last: they are exchanged.": lambda right, roots: (1 - roots.flip(0) ** 2).cumprod(0),
    "The last beta is `last` itself: the line reaches √last at the last of the `steps` numbers.": (
        lambda right, roots: (1 - (roots[0] + (roots[-1] - roots[0]) * torch.arange(1000) / 1000) ** 2).cumprod(0)
    ),
}


def halved(conv, h, pad=(0, 1, 0, 1), **how) -> torch.Tensor:
    """What a convolution of stride 2 gives behind that padding: left, right, above, below."""
    return conv(F.pad(h, pad, **how))[:, :, : h.shape[2] // 2, : h.shape[3] // 2]


def halved_wrongly(conv, h) -> dict[str, torch.Tensor]:
    """hint -> what comes out with other padding."""
    return {
        "Zeros above and to the left, or all around: the picture shifts by half a pixel at every level.": halved(
            conv, h, (1, 1, 1, 1)
        ),
        "Zeros above and to the right: F.pad takes (left, right, above, below).": halved(conv, h, (0, 1, 1, 0)),
        "Zeros below and to the left: F.pad takes (left, right, above, below).": halved(conv, h, (1, 0, 0, 1)),
        "The edge is repeated there: zeros.": halved(conv, h, mode="replicate"),
        "The picture is mirrored beyond its edge, but this network has zeros there.": halved(conv, h, mode="reflect"),
        "The picture begins anew beyond its edge, but this network has zeros there.": halved(conv, h, mode="circular"),
        "You pad with ones, but this network has zeros beyond the edge.": halved(conv, h, value=1.0),
        "The bias of conv is left out: call conv itself.": halved(conv, h) - conv.bias[:, None, None],
    }


def rescaled(given) -> dict[str, torch.Tensor]:
    """What `rescaled(given)` becomes by each slip."""
    root = given.sqrt()
    return {hint: wrong(given, root, root[0], root[-1]) for hint, wrong in _RESCALED.items()}


_RESCALED = {  # alpha_bar, its roots, the first of these and the last
    "Shift and scale the square roots, not alpha_bar itself.": (
        lambda given, root, first, last: (given - given[-1]) * given[0] / (given[0] - given[-1])
    ),
    "Those are the square roots: square them at the end.": (
        lambda given, root, first, last: (root - last) * first / (first - last)
    ),
    "Shifted alone: the first one has changed as well, so scale them back to it.": (
        lambda given, root, first, last: (root - last) ** 2
    ),
    "Scaled alone: shift the roots by the last one first, so that it becomes 0.": (
        lambda given, root, first, last: (root * first / (first - last)) ** 2
    ),
    "The first one is 1 now, but it should be what it was: times its own root.": (
        lambda given, root, first, last: ((root - last) / (first - last)) ** 2
    ),
    "Only the last one has changed: shift and scale all of them.": (
        lambda given, root, first, last: torch.cat([given[:-1], 0 * given[-1:]])
    ),
    "The factor belongs to the square roots: scale them, and square afterwards.": (
        lambda given, root, first, last: (root - last) ** 2 * first / (first - last)
    ),
    "The first *root* was √alpha_bar[0]: scale the roots back to that, and not to alpha_bar[0].": (
        lambda given, root, first, last: ((root - last) * given[0] / (first - last)) ** 2
    ),
    "The factor is upside down: root[0] / (root[0] - root[-1]).": (
        lambda given, root, first, last: ((root - last) * (first - last) / first) ** 2
    ),
    "Shift first, then scale: brackets around root - root[-1].": (
        lambda given, root, first, last: (root - last * first / (first - last)) ** 2
    ),
    "First and last are exchanged: it is the last one that becomes 0.": (
        lambda given, root, first, last: ((root - first) * last / (last - first)) ** 2
    ),
    "Shift the square roots and scale them back; alpha_bar itself is not shifted.": (
        lambda given, root, first, last: given - given[-1]
    ),
    "That is alpha_bar as it was: it ends above 0.": lambda given, root, first, last: given,
}
