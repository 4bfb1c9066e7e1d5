"""Lesson 17's checks: the loss of flow matching, Euler's steps, the adaLN-Zero block, targets of students."""

from functools import partial

import torch
from torch import nn

from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson17 import solutions, wrong


def _swirl(x, t):
    """A velocity that depends on every number of x and on the time, with a row for each row."""
    fits = isinstance(t, torch.Tensor) and t.shape in ((), (len(x),))
    require(fits, "Ask `velocity(x, t)` with the times as they came: a tensor with one number, or one for each row.")
    time = t.expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))
    return torch.sin(2 * x.flip(-1)) + time * x - 3 * time


@exercise(
    "17.flow_loss",
    solution=solutions.flow_loss,
    core=True,
    hints=(
        "Three things: the point x on the straight path, the velocity of that path, the squared difference.",
        "At t = 0 the path is at x0, at t = 1 at eps. Its derivative by t is eps - x0, at every t.",
        "`t` has a number for each row: `t.reshape(-1, *[1] * (x0.ndim - 1))` multiplies pictures. The network is asked"
        " with `t` itself, of shape (B,).",
    ),
)
def _(attempt):
    for shape in ((6, 2), (6, 6), (5, 1, 3, 3)):
        x0, eps = torch.randn(2, *shape)
        t = torch.rand(shape[0])
        got = shaped(attempt(_swirl, x0, eps, t), (), "One number: the mean over all rows and all their numbers.")
        hint = "Not the mean of |velocity(x, t) - (eps - x0)|² at x = (1 - t) x0 + t eps."
        close(got, solutions.flow_loss(_swirl, x0, eps, t), hint, slips=_wrong_losses(x0, eps, t))
    weight = torch.ones((), requires_grad=True)
    loss = attempt(lambda x, t: weight * x, x0, eps, t)
    require(loss.requires_grad, "The loss has lost its gradient: no detach and no torch.no_grad() here.")


def _wrong_losses(x0, eps, t) -> dict:
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    x = (1 - time) * x0 + time * eps
    other = time * x0 + (1 - time) * eps

    def loss(target, at=x, asked=t):
        return (_swirl(at, asked) - target).square().mean()

    return {
        "The time runs the other way: in this course t = 0 is data and t = 1 is noise.": loss(eps - x0, other),
        "Time and velocity run the other way, as in most papers: here t = 0 is data.": loss(x0 - eps, other),
        "The sign of the velocity: t grows towards the noise, so the velocity points to the noise.": loss(x0 - eps),
        "The target is the velocity, eps - x0, not the noise.": loss(eps),
        "The target is the velocity, eps - x0, not the data.": loss(x0),
        "The network must be told the time as well, `velocity(x, t)`.": loss(eps - x0, asked=torch.zeros_like(t)),
        "Average over all numbers: `.mean()`, not `.sum()`.": loss(eps - x0) * x0.numel(),
        "Average over the numbers of a row too, not only over the rows.": loss(eps - x0) * x0[0].numel(),
        "t needs as many dimensions as x0 has, not always four: `[1] * (x0.ndim - 1)` ones.": _four(x0, eps, t),
    }


def _four(x0, eps, t):
    """The loss where t is shaped for pictures, whatever x0 is."""
    time = t.reshape(-1, 1, 1, 1)
    return (_swirl((1 - time) * x0 + time * eps, t) - (eps - x0)).square().mean()


@exercise(
    "17.euler",
    solution=solutions.euler,
    core=True,
    hints=(
        "From t to the next time s, x moves by the velocity times the time that passes. Which sign has that time?",
        "`for t, s in zip(times[:-1], times[1:]):` gives all pairs. What passes is `s - t`, below 0.",
    ),
)
def _(attempt):
    times = torch.tensor([1.0, 0.7, 0.2, 0.0])
    for shape in ((5, 2), (3, 1, 4, 4)):
        noise = torch.randn(shape)
        got = shaped(attempt(_swirl, noise, times), shape, "Return x, of the shape in which it came.")
        close(got, solutions.euler(_swirl, noise, times), "Not Euler's steps.", slips=_wrong_walks(noise, times))
    close(
        attempt(lambda x, t: torch.ones_like(x), noise, torch.tensor([0.6, 0.0])),
        noise - 0.6,
        "Begin at times[0], wherever that is.",
    )
    from minidiff.flow_matching import euler
    from minidiff.sampler import last

    close(got, last(euler(_swirl, noise, times)), "Not equal to minidiff.flow_matching.euler.")


def _walk(noise, times, step):
    for t, s in zip(times[:-1], times[1:]):
        noise = step(noise, t, s)
    return noise


def _wrong_walks(noise, times) -> dict:
    walk = partial(_walk, noise, times)
    even, last_step = 1 / (len(times) - 1), times[-1] - times[-2]
    return {
        "The sign: time falls, so s - t is negative, and x moves against the velocity.": walk(
            lambda x, t, s: x + (t - s) * _swirl(x, t)
        ),
        "Ask for the velocity at the time where x is, t, not at the next one.": walk(
            lambda x, t, s: x + (s - t) * _swirl(x, s)
        ),
        "The times need not be even: the step is s - t.": walk(lambda x, t, s: x - even * _swirl(x, t)),
        "One step is missing: N times have N - 1 steps between them, the last of which ends at 0.": solutions.euler(
            _swirl, noise, times[:-1]
        ),
        "Only the first step is left: is the `return` inside the loop?": solutions.euler(_swirl, noise, times[:2]),
        "Each step begins where the last one ended: x has to change in the loop.": (
            noise + last_step * _swirl(noise, times[-2])
        ),
    }


class _Block(nn.Module):
    """A block of whose layers nothing is zero."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 6 * width)


@exercise(
    "17.block_forward",
    solution=solutions.block_forward,
    core=True,
    hints=(
        "First the six parts: `block.modulation` of SiLU of `told`, cut by `.chunk(6, dim=...)`. They need a dimension"
        " for the tokens: `[:, None]`.",
        "A norm is modulated by `norm * (1 + scale) + shift`. What comes back from a layer is multiplied by the gate.",
        "Twice `h = h + gate * layer(norm(h) * (1 + scale) + shift)`, with attention first, then with mlp.",
    ),
)
def _(attempt):
    from minidiff.dit import DiTBlock

    for batch, tokens, width in ((3, 5, 4), (6, 6, 6)):
        block = _Block(width).requires_grad_(False)
        h, told = torch.randn(batch, tokens, width), torch.randn(batch, width)
        got = shaped(attempt(block, h, told), h.shape, "Tokens in, tokens out: keep the shape of h.")
        slips = {hint: _slip(block, h, told, **way) for hint, way in SLIPS.items()}
        close(got, solutions.block_forward(block, h, told), "Not an adaLN-Zero block.", slips=slips)
    fresh = DiTBlock(8, 2)
    h, told = torch.randn(2, 3, 8), torch.randn(2, 8)
    require(torch.equal(attempt(fresh, h, told), h), "A new block, whose gates are 0, must return h as it came.")


SLIPS = {
    "Scale by 1 + scale, so that a scale of 0 leaves the norm as it is.": {"one": 0.0},
    "The gate multiplies what comes back from a layer.": {"gated": False},
    "Add to h what comes back: both times `h + gate * ...`.": {"residual": False},
    "Shift and scale have changed places: the parts come as shift, scale, gate.": {"order": (1, 0, 2)},
    "The parts come as shift, scale, gate: yours begin with the gate.": {"order": (2, 0, 1)},
    "`told` goes through SiLU before the modulation.": {"silu": False},
    "The second norm reads what the attention has already changed.": {"late": False},
    "The mlp has three parts of its own, the last three of the six.": {"own": False},
}


def _slip(block, h, told, one=1.0, gated=True, residual=True, order=(0, 1, 2), silu=True, late=True, own=True):
    parts = block.modulation(nn.functional.silu(told) if silu else told)[:, None].chunk(6, dim=2)
    begin = h
    for start, norm, layer in ((0, block.norm1, block.attention), (3 if own else 0, block.norm2, block.mlp)):
        shift, scale, gate = (parts[start + k] for k in order)
        back = layer(norm(h if late else begin) * (one + scale) + shift)
        h = (h if residual else 0) + (gate * back if gated else back)
    return h


@exercise(
    "17.progressive_target",
    solution=solutions.progressive_target,
    core=True,
    hints=(
        "Let the teacher take two steps of Euler's, from t to the middle and on to s. How fast was it on the whole?",
        "Both steps take the same time, so the velocity of the whole is the mean of the two.",
        "`middle = (t + s) / 2`; the half step is `x + (middle - t) * velocity(x, t)`, the times brought to the shape"
        " (B, 1, ...). All inside `with torch.no_grad():`.",
    ),
)
def _(attempt):
    for shape in ((6, 2), (6, 6), (4, 1, 3, 3)):
        x = torch.randn(shape)
        t = 0.5 + torch.rand(shape[0]) / 2
        s = t - 0.1 - 0.4 * torch.rand(shape[0])
        got = shaped(attempt(_swirl, x, t, s), shape, "A velocity, of the shape of x.")
        right = solutions.progressive_target(_swirl, x, t, s)
        close(got, right, "Not the mean of the velocities of two half steps.", slips=_wrong_targets(x, t, s))
    weight = torch.ones((), requires_grad=True)
    hint = "The target has a gradient: the student would move its teacher. Wrap it in `with torch.no_grad():`."
    require(not attempt(lambda x, t: weight * _swirl(x, t), x, t, s).requires_grad, hint)
    from minidiff.distill import progressive_target

    close(got, progressive_target(_swirl, x, t, s), "Not equal to minidiff.distill.progressive_target.")


def _wrong_targets(x, t, s) -> dict:
    middle = (t + s) / 2
    first = _swirl(x, t)

    def half(sign=1):
        return x + sign * (middle - t).reshape(-1, *[1] * (x.ndim - 1)) * first

    end = half() + (s - middle).reshape(-1, *[1] * (x.ndim - 1)) * _swirl(half(), middle)
    return {
        "That is one step of the teacher's, not two.": first,
        "The second step begins where the first one ended, not at x.": (first + _swirl(x, middle)) / 2,
        "The second step begins in the middle: ask the teacher at that time.": (first + _swirl(half(), s)) / 2,
        "The mean of the two velocities, not their sum.": first + _swirl(half(), middle),
        "The first half step goes the wrong way: middle - t is negative.": (first + _swirl(half(-1), middle)) / 2,
        "Only the second step is left: the student has to make up for both.": _swirl(half(), middle),
        "That is the point where the teacher arrives. Return the velocity that leads there.": end,
    }


@exercise(
    "17.straightened",
    solution=solutions.straightened,
    hints=(
        "On the straight path the two weights, 1 - t and t, add up to 1. What do alpha and sigma add up to?",
        "Divide x by alpha + sigma. Then the weight of the noise is sigma / (alpha + sigma), and that is t.",
        "alpha and sigma have a number for each row: `.reshape(-1, *[1] * (x.ndim - 1))` gives their sum the dimensions"
        " of x.",
    ),
)
def _(attempt):
    for shape in ((6, 2), (6, 6), (5, 1, 3, 3)):
        x = torch.randn(shape)
        alpha, sigma = torch.rand(2, shape[0]) + 0.1
        got = attempt(x, alpha, sigma)
        require(isinstance(got, tuple | list) and len(got) == 2, "Return two things: the point and its time t.")
        shapes = [tuple(getattr(part, "shape", ())) for part in got]
        require(shapes != [shape[:1], shape], "The point comes first, then its time.")
        point = shaped(got[0], shape, "The point has the shape of x.")
        t = shaped(got[1], shape[:1], "One time for each row of x, (B,).")
        close(t, sigma / (alpha + sigma), "t is not the weight of the noise.", slips=wrong.times(alpha, sigma))
        close(
            point,
            solutions.straightened(x, alpha, sigma)[0],
            "x is not well scaled.",
            slips=wrong.points(x, alpha, sigma),
        )


@exercise(
    "17.coupled",
    solution=solutions.coupled,
    hints=(
        "`torch.cdist(a, b)` has the distances of all rows of a from all rows of b. Pictures need `.flatten(1)` first.",
        "`linear_sum_assignment(cost)` returns rows and columns: row i goes with column i of the answer.",
        "`eps[columns]` puts the noise in the order of the pictures.",
    ),
)
def _(attempt):
    for shape in ((8, 2), (40, 2), (6, 1, 3, 3)):  # among 40 rows distances and their squares disagree
        x0, eps = torch.randn(2, *shape)
        got = shaped(attempt(x0, eps), shape, "All the rows of eps, in another order.")
        right = solutions.coupled(x0, eps)
        order = [int((eps - row).flatten(1).abs().sum(1).argmin()) for row in right]
        slips = {
            "The order is that of x0's rows: row i of the result belongs to row i of x0.": eps[
                torch.tensor(order).argsort()
            ],
            "That is the dearest coupling: the sum of squared distances is to be small.": wrong.dearest(x0, eps),
            "Every noise is used once: the nearest noise of each row is not a coupling.": wrong.nearest(x0, eps),
            "The cost is the squared distance, not the distance.": wrong.unsquared(x0, eps),
            "Nothing has changed places.": eps,
        }
        close(got, right, "Not the cheapest coupling by squared distances.", slips=slips)


@exercise(
    "17.boundary",
    solution=solutions.boundary,
    hints=(
        "At t = smallest c_skip has to be 1 and c_out 0. Which difference is 0 there?",
        "`c_skip = sigma_data² / ((t - smallest)² + sigma_data²)`.",
        "`c_out = sigma_data (t - smallest) / √(sigma_data² + t²)`: here only the numerator has the difference.",
    ),
)
def _(attempt):
    from minidiff.distill import boundary

    for smallest, sigma_data in ((0.1, 0.5), (0.02, 1.3)):
        t = torch.tensor([smallest, 0.3, 1.0, 7.0])
        got = attempt(t, smallest, sigma_data)
        require(isinstance(got, tuple | list) and len(got) == 2, "Return two things: c_skip, c_out.")
        skip, out = (shaped(part, (4,), "One number for each t.") for part in got)
        _skips(skip, *boundary(t, smallest, sigma_data), sigma_data**2 / (t**2 + sigma_data**2))
        slips = {
            "At t = smallest c_out must be 0, or the network may say anything there.": sigma_data
            * t
            / (sigma_data**2 + t**2) ** 0.5,
            "c_out has a root below the line.": sigma_data * (t - smallest) / (sigma_data**2 + t**2),
        }
        close(out, boundary(t, smallest, sigma_data)[1], "c_out is not that of the paper.", slips=slips)


def _skips(got, skip, out, forgotten):
    slips = {
        "The boundary is at t = smallest, not at 0: there c_skip must be 1.": forgotten,
        "c_skip and c_out have changed places.": out,
    }
    close(got, skip, "c_skip is not that of the paper.", slips=slips)


@exercise(
    "17.silence",
    solution=solutions.silence,
    hints=(
        "All that a block adds to h passes a gate. Where do the gates come from?",
        "`nn.init.zeros_(...)` on the weight and on the bias of `block.modulation`; the gates' rows would do.",
    ),
)
def _(attempt):
    from minidiff.dit import DiTBlock

    block = DiTBlock(8, 2)
    for weight in block.parameters():
        nn.init.normal_(weight)
    kept = {name: weight.clone() for name, weight in block.named_parameters() if "modulation" not in name}
    h, told = torch.randn(2, 3, 8), torch.randn(2, 8)
    got = attempt(block)
    require(isinstance(got, nn.Module), "Return the block.")
    hint = "The bias of the modulation still opens a gate: told 0, the block changes h."
    require(torch.equal(got(h, torch.zeros_like(told)), h), hint)
    require(torch.equal(got(h, told), h), "The gates still depend on `told`: their weight is not zero.")
    same = all(torch.equal(weight, kept[name]) for name, weight in got.named_parameters() if name in kept)
    require(same, "Leave the other layers at random: with all weights 0 nothing would ever learn.")
