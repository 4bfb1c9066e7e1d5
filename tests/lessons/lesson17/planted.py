"""The bugs planted for lesson 17's exercises."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import nn

from minidiff.lessons.lesson17.solutions import boundary, euler, silence


def rows(value, like):
    return value.reshape(-1, *[1] * (like.ndim - 1))


def loss(target=lambda x0, eps: eps - x0, turned=False, mean=True):
    def flow_loss(velocity, x0, eps, t):
        time = rows(t, x0)
        x = time * x0 + (1 - time) * eps if turned else (1 - time) * x0 + time * eps
        error = (velocity(x, t) - target(x0, eps)).square()
        return error.mean() if mean else error.sum()

    return flow_loss


def columns(velocity, x0, eps, t):
    """Times that multiply columns where a batch is as long as a row, and fail elsewhere."""
    x = (1 - t) * x0 + t * eps if x0.shape[-1] == len(t) else (1 - rows(t, x0)) * x0 + rows(t, x0) * eps
    return (velocity(x, t) - (eps - x0)).square().mean()


def pictures_only(velocity, x0, eps, t):
    """Times shaped for pictures, whatever x0 is."""
    time = t[:, None, None, None]
    return (velocity((1 - time) * x0 + time * eps, t) - (eps - x0)).square().mean()


def walk(step):
    def walked(velocity, x, times):
        for t, s in zip(times[:-1], times[1:]):
            x = step(velocity, x, t, s)
        return x

    return walked


def block(one=1.0, gated=True, order=(0, 1, 2), silu=True, residual=True):
    def forward(block, h, told):
        parts = block.modulation(F.silu(told) if silu else told)[:, None].chunk(6, dim=2)
        for start, norm, layer in ((0, block.norm1, block.attention), (3, block.norm2, block.mlp)):
            shift, scale, gate = (parts[start + k] for k in order)
            back = layer(norm(h) * (one + scale) + shift)
            h = (h if residual else 0) + (gate * back if gated else back)
        return h

    return forward


def target(second=lambda velocity, x, half, middle, s: velocity(half, middle), joined=lambda a, b: (a + b) / 2):
    @torch.no_grad()
    def progressive_target(velocity, x, t, s):
        middle = (t + s) / 2
        first = velocity(x, t)
        return joined(first, second(velocity, x, x + rows(middle - t, x) * first, middle, s))

    return progressive_target


def not_stopped(velocity, x, t, s):
    middle = (t + s) / 2
    first = velocity(x, t)
    return (first + velocity(x + rows(middle - t, x) * first, middle)) / 2


def straight(time=lambda a, s: s / (a + s), size=lambda a, s: a + s, swap=False):
    def straightened(x, alpha, sigma):
        found = x / rows(size(alpha, sigma), x), time(alpha, sigma)
        return found[::-1] if swap else found

    return straightened


def straight_columns(x, alpha, sigma):
    """A size that divides columns where a batch is as long as a row."""
    size = alpha + sigma
    return x / (size if x.shape[-1] == len(x) else rows(size, x)), sigma / size


def assigned(x0, eps):
    cost = torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


def bias_alone(block):
    nn.init.zeros_(block.modulation.bias)
    return block


def weight_alone(block):
    nn.init.zeros_(block.modulation.weight)
    return block


def all_of_it(block):
    for weight in block.parameters():
        nn.init.zeros_(weight)
    return block


PLANTED = {
    "17.flow_loss": [
        loss(turned=True),  # the time reversed
        loss(lambda x0, eps: x0 - eps, turned=True),
        loss(lambda x0, eps: x0 - eps),  # the sign of the velocity
        loss(lambda x0, eps: eps),
        loss(lambda x0, eps: x0),
        loss(mean=False),
        columns,
        pictures_only,
        lambda velocity, x0, eps, t: loss()(lambda x, t: velocity(x, rows(t, x)), x0, eps, t),  # the time's shape
    ],
    "17.euler": [
        walk(lambda velocity, x, t, s: x + (t - s) * velocity(x, t)),
        walk(lambda velocity, x, t, s: x + (s - t) * velocity(x, s)),
        walk(lambda velocity, x, t, s: x - velocity(x, t) / 3),
        lambda velocity, x, times: euler(velocity, x, times[:-1]),
        lambda velocity, x, times: euler(velocity, x, times[:2]),  # return inside the loop
        lambda velocity, x, times: x + (times[-1] - times[-2]) * velocity(x, times[-2]),  # x not kept
    ],
    "17.block_forward": [
        block(one=0.0),
        block(gated=False),
        block(order=(1, 0, 2)),
        block(order=(2, 0, 1)),
        block(silu=False),
        block(residual=False),
    ],
    "17.progressive_target": [
        not_stopped,  # the teacher's gradient
        lambda velocity, x, t, s: velocity(x, t).detach(),
        target(lambda velocity, x, half, middle, s: velocity(x, middle)),
        target(lambda velocity, x, half, middle, s: velocity(half, s)),
        target(joined=lambda a, b: a + b),
        target(joined=lambda a, b: b),
    ],
    "17.straightened": [
        straight(lambda a, s: s / a),
        straight(lambda a, s: s),
        straight(lambda a, s: a / (a + s)),
        straight(lambda a, s: s / (a**2 + s**2).sqrt()),
        straight(size=lambda a, s: torch.ones_like(a)),
        straight(size=lambda a, s: 1 / (a + s)),
        straight(size=lambda a, s: (a**2 + s**2).sqrt()),
        straight(size=lambda a, s: a),
        straight(swap=True),
        straight_columns,
    ],
    "17.coupled": [
        lambda x0, eps: eps[assigned(x0, eps).argsort()],
        lambda x0, eps: eps[torch.cdist(x0.flatten(1), eps.flatten(1)).argmin(1)],
        lambda x0, eps: eps,
        lambda x0, eps: eps[linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)).numpy())[1]],
    ],
    "17.boundary": [
        lambda t, smallest, sigma_data: boundary(t, 0.0, sigma_data),  # the boundary forgotten
        lambda t, smallest, sigma_data: boundary(t, smallest, sigma_data)[::-1],
        lambda t, smallest, sigma_data: (boundary(t, smallest, sigma_data)[0], boundary(t, 0.0, sigma_data)[1]),
    ],
    "17.silence": [
        bias_alone,
        weight_alone,
        all_of_it,
        lambda block: silence(block) and None,
    ],
}
