"""The answers of lesson 17: the functions that the learner writes, and the predictions."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from minidiff.exercises.core import question


def flow_loss(velocity, x0, eps, t):
    """The flow matching loss, a scalar: data x0 and noise eps (B, ...), times t (B,), velocity(x, t) of x's shape."""
    time = t.reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ...)
    x = (1 - time) * x0 + time * eps
    target = eps - x0
    return (velocity(x, t) - target).square().mean()


def euler(velocity, x, times):
    """Noise x (B, ...) -> data, of x's shape: one step of Euler's from each of the falling times (N,) to the next."""
    for t, s in zip(times[:-1], times[1:]):
        x = x + (s - t) * velocity(x, t)
    return x


def block_forward(block, h, told):
    """What an adaLN-Zero block makes of tokens h (B, L, D), told (B, D): its layers are norm1, attention, norm2, mlp
    and modulation, D -> 6 D, whose six parts are shift, scale and gate for attention, then the same for the mlp."""
    parts = block.modulation(nn.functional.silu(told))[:, None]  # (B, 1, 6 D)
    shift1, scale1, gate1, shift2, scale2, gate2 = parts.chunk(6, dim=2)  # (B, 1, D) each
    h = h + gate1 * block.attention(block.norm1(h) * (1 + scale1) + shift1)
    return h + gate2 * block.mlp(block.norm2(h) * (1 + scale2) + shift2)


def progressive_target(velocity, x, t, s):
    """The velocity that takes x (B, ...) in one step from times t (B,) to s (B,) where two half steps of the teacher's
    `velocity` arrive. No gradient flows to the teacher."""
    with torch.no_grad():
        middle = (t + s) / 2
        first = velocity(x, t)
        half = x + (middle - t).reshape(-1, *[1] * (x.ndim - 1)) * first
        return (first + velocity(half, middle)) / 2


def straightened(x, alpha, sigma):
    """Points x (B, ...) = alpha x0 + sigma eps of any path, alpha and sigma (B,), brought to the straight path: the
    point there, of x's shape, and its time t (B,)."""
    size = alpha + sigma
    point = x / size.reshape(-1, *[1] * (x.ndim - 1))
    return point, sigma / size


def coupled(x0, eps):
    """The rows of eps (B, ...) in another order: row i goes with row i of x0, and the sum of |x0 - eps|² is least."""
    cost = torch.cdist(x0.flatten(1), eps.flatten(1)) ** 2  # (B, B)
    _, columns = linear_sum_assignment(cost.numpy())
    return eps[columns]


def boundary(t, smallest, sigma_data):
    """c_skip and c_out of a consistency model, for noise t (B,) of at least `smallest`."""
    beyond = t - smallest
    skip = sigma_data**2 / (beyond**2 + sigma_data**2)
    out = sigma_data * beyond / (sigma_data**2 + t**2) ** 0.5
    return skip, out


def silence(block):
    """Make a transformer block with a linear layer `modulation` begin as the identity, in place; returns the block."""
    nn.init.zeros_(block.modulation.weight)
    nn.init.zeros_(block.modulation.bias)
    return block


question(
    "17.predict_first",
    answer="c",
    hints={
        "a": "The network does not know which of the clouds this point was paired with. What is the best it can say?",
        "b": "It would have to choose. A mean squared error never rewards choosing between two equal answers.",
    },
    why="at t = 1 the noise says nothing of the picture it was paired with, so the mean points at the mean of the data",
)
question(
    "17.predict_cross",
    answer="b",
    hints={
        "a": "Two straight paths of training may cross in a point. But what does the network answer in that point?",
        "c": "Look at a single point x and time t: how many velocities does the field have there?",
    },
    why="one point has one velocity at one time, so two paths of an ODE that met would be one path from then on",
)
question(
    "17.predict_student",
    answer="a",
    hints={
        "b": "The FD at 2 steps of its teacher is due to the bends of the teacher's paths. The student is not asked to"
        " follow them: it is told where they end.",
        "c": "Nobody shows it anything that is better than what 16 steps of the teacher make.",
    },
    why="its targets are where 16 steps of the teacher arrive, so that is about as good as it can get",
)
