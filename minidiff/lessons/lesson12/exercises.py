"""Lesson 12's checks: the spatial transformer, the published times, the whole loop, and what loading gets wrong."""

import torch
from torch import nn

from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson12 import probes, solutions


@exercise(
    "12.spatial_transformer",
    solution=solutions.spatial_transformer,
    core=True,
    hints=(
        "From a picture to tokens: `layer.norm(h).flatten(2).mT` is (B, H W, C), a row for each pixel. Then `proj_in`.",
        "Three times the same pattern, x = x + part(norm(x)): `self_attention(norm1(x))`, then "
        "`cross_attention(norm2(x), words)`, then the feed-forward part on `norm3(x)`.",
        "The feed-forward part: `value, gate = block.fc1(block.norm3(x)).chunk(2, dim=2)`, and "
        "`block.fc2(value * F.gelu(gate))`.",
        "Back to a picture: `h + layer.proj_out(x).mT.unflatten(2, h.shape[2:])`.",
    ),
)
def _(attempt):
    layer, h, words = probes.transformer(), torch.randn(2, 8, 3, 4), torch.randn(2, 5, 6)
    got = shaped(attempt(layer, h, words), (2, 8, 3, 4), "A picture comes in and one of the same shape goes out.")
    wanted = solutions.spatial_transformer(layer, h, words)  # not layer(...): the lesson puts the attempt in its place
    slips = probes.transformer_slips(layer, h, words)
    slips["A reshape mixes pixels and channels: flatten(2).mT, and .mT.unflatten back."] = _reshaped(layer, h, words)
    slips["The change is added to h as it came, and not to the normalised h."] = wanted - h + layer.norm(h)
    close(got, wanted, "Not equal to minidiff's SpatialTransformer.", slips=slips, rtol=1e-5, atol=1e-6)


def _reshaped(layer, h, words):
    """What comes out if `reshape` makes the tokens of the picture, and the picture of the tokens."""
    B, C, H, W = h.shape
    mixed = layer.norm(h).reshape(B, H * W, C).mT.unflatten(2, (H, W))
    found = probes.through(layer, mixed, words, first=False, residual=False)
    return h + found.flatten(2).mT.reshape(h.shape)


@exercise(
    "12.leading_times",
    solution=solutions.leading_times,
    core=True,
    hints=(
        "With 20 steps the ratio is 50. The steps of the original that are visited are 1, 51, 101, ... 951, and "
        "step i is our time (i + 1) / 1000. They are visited from the last to the first.",
        "So the times are `(k * ratio + 2) / 1000` for k from steps - 1 down to 0, and one more time, 1/1000, "
        "at the end.",
    ),
)
def _(attempt):
    got = shaped(torch.as_tensor(attempt(20)), (21,), "20 steps need 21 times: from each to the next.").double()
    right = solutions.leading_times(20).double()
    walk, last = right[:-1], right[-1:]
    early, rising = torch.cat([walk - 0.001, last]), torch.cat([walk.flip(0), last])
    slips = {
        "That is one step of the original too early: its step i is our time (i + 1) / 1000.": early,
        "They end at 1/1000 and not at 0: what x is there counts as the picture.": torch.cat([walk, 0 * last]),
        "They fall: the noisiest comes first.": right.flip(0),
        "They fall all the way to 1/1000: the noisiest of the steps comes first.": rising,
        "A time lies between 0 and 1: divide the step by 1000.": 1000 * right,
        "Those are the trailing times, which begin at 1.": torch.linspace(1, 0, 21, dtype=torch.float64),
    }
    close(got, right, "Not (k ratio + 2) / 1000 for k = steps - 1 ... 0, and then 1/1000.", slips=slips)
    seven = shaped(torch.as_tensor(attempt(7)), (8,), "The number of steps is given: 7 steps are 8 times.").double()
    close(seven[0], (142 * 6 + 2) / 1000, "The ratio is 1000 // steps, a whole number.")
    from minidiff.sampler import leading_times

    close(torch.as_tensor(attempt(50)).double(), leading_times(50), "Not equal to minidiff.sampler.leading_times.")


@exercise(
    "12.draw",
    solution=solutions.draw,
    core=True,
    hints=(
        'Before the loop: `told = model.read(prompts)` and `nothing = model.read([""] * len(prompts))`. Texts '
        "are read once, not at every step.",
        "In the loop ask `model.denoiser(z, torch.tensor(now), told)` and the same with `nothing`: two "
        "estimates of x0. Guidance is `without + scale * (with_words - without)`.",
        "`alpha, sigma = model.schedule(now)`. The noise in z is `(z - alpha * x0) / sigma`, and the next z is "
        "`alpha_then * x0 + sigma_then * noise`.",
        "After the loop `model.decode(z)`. The schedule answers in float64, so make z float32 again: `.float()`.",
    ),
)
def _(attempt):
    prompts, z, t = ["a cat", "two dogs"], torch.randn(2, 4, 3, 3), torch.tensor([0.9, 0.5, 0.2, 0.001]).double()
    model = probes.Quick()
    with torch.no_grad():
        got = shaped(attempt(model, prompts, z, t, 3.0), z.shape, "One picture for each prompt.")
        wanted = probes.draw_with(probes.Quick(), prompts, z, t, 3.0)
        slips = {
            hint: probes.draw_with(probes.Quick(), prompts, z, t, 3.0, **how) for hint, how in _DRAWN_WRONGLY.items()
        }
        further = probes.draw_with(probes.Quick(), prompts, z, t, 4.0)
    slips["Guidance starts from `without`: without + scale * (with words - without)."] = further
    slips["The walk ends at the last time: do not go on to 0."] = _to_zero(prompts, z, t)
    close(got, wanted, "Not the guided walk along t, decoded.", slips=slips, rtol=1e-3, atol=1e-4)
    require(got.dtype == z.dtype, "The schedule answers in float64: make z float32 again, `.float()`, at every step.")
    require(model.read_times <= 2, "The texts are read again at every step: read them once, before the loop.")
    with torch.no_grad():
        plain = attempt(probes.Quick(), prompts, z, t[:2], 1.0)
    close(plain, probes.draw_with(probes.Quick(), prompts, z, t[:2], 1.0), "Use the times and the scale you are given.")


_STEPPED_WRONGLY = {  # z, x0, then alpha and sigma now and of the next time -> the next z
    "The noise in z is (z - alpha * x0) / sigma: take away only as much of x0 as there is in z.": (
        lambda z, x0, alpha, sigma, alpha_then, sigma_then: alpha_then * x0 + sigma_then * (z - x0) / sigma
    ),
    "Alpha and sigma of one time only: take the noise out with those of `now`, and mix it in with those of `then`.": (
        lambda z, x0, alpha, sigma, alpha_then, sigma_then: z
    ),
    "The next z has only alpha_then * x0 of the picture, not x0 whole.": (
        lambda z, x0, alpha, sigma, alpha_then, sigma_then: x0 + sigma_then * (z - alpha * x0) / sigma
    ),
    "The noise is left out: the next z is alpha_then * x0 + sigma_then * noise, with the noise that was in z.": (
        lambda z, x0, alpha, sigma, alpha_then, sigma_then: alpha_then * x0
    ),
    "That is x0, without any noise. The next z is alpha_then * x0 + sigma_then * noise.": (
        lambda z, x0, alpha, sigma, alpha_then, sigma_then: x0
    ),
    "The noise is as strong as before: mix it in with sigma_then, that of the next time.": (
        lambda z, x0, alpha, sigma, alpha_then, sigma_then: alpha_then * x0 + (z - alpha * x0)
    ),
}
_DRAWN_WRONGLY = {hint: {"step": step} for hint, step in _STEPPED_WRONGLY.items()} | {
    "The halves are exchanged: away from what is drawn *without* words, not towards it.": {"order": -1},
    "Where is the guidance? without + scale * (with words - without).": {"away": False},
    "Those are codes: model.decode(z) makes pictures of them.": {"last": False},
    "The network is asked one step late: give it the time `now`.": {"index": 0.001},
    "The network is asked one step early: give it the time `now`.": {"index": -0.001},
}


def _to_zero(prompts, z, t):
    with torch.no_grad():
        return probes.draw_with(probes.Quick(), prompts, z, torch.cat([t, t.new_zeros(1)]), 3.0)


@exercise(
    "12.padded",
    solution=solutions.padded,
    hints=(
        "Three marks: one start in front, one end behind the text, and padding up to `length`. CLIP's padding "
        "is the end mark itself.",
        "`row = [start, *ids, end]`, and `row + [end] * (length - len(row))`. Raise a ValueError first where "
        "`len(ids) + 2 > length`.",
    ),
)
def _(attempt):
    given = [5, 6, 7]
    got = attempt(given, 10, 90, 91)
    require(got is not None, "The result is None: is a `return` missing?")
    require(given == [5, 6, 7], "That changes the list of ids it was given: make a new list, [start, *ids, end].")
    got = [int(token) for token in got]
    require(len(got) != 5, "No padding: the network was trained on rows that are always `length` long.")
    require(0 not in got, "Padding with 0: in CLIP's vocabulary that is the sign “!”. It pads with the end mark.")
    require(got[0] == 90, "The row begins with the start mark.")
    require(len(got) == 10, "The row has exactly `length` ids, marks included.")
    require(got == [90, 5, 6, 7] + [91] * 6, "Start, the text, end, and then end again up to the length.")
    require([int(token) for token in attempt([], 3, 1, 2)] == [1, 2, 2], "The empty text is start, and ends only.")
    require([int(token) for token in attempt([8], 3, 1, 2)] == [1, 8, 2], "A text of length - 2 tokens still fits.")
    try:
        attempt([5] * 9, 10, 90, 91)
    except ValueError:
        return
    require(False, "Nine tokens and two marks do not fit into 10: a ValueError, and not a text cut off in silence.")


@exercise(
    "12.alpha_bar",
    solution=solutions.alpha_bar,
    hints=(
        "The *square roots* of the betas lie on a line, from √first to √last. Square them again.",
        "`betas = torch.linspace(first**0.5, last**0.5, steps) ** 2`, and alpha_bar is `(1 - betas).cumprod(0)`.",
    ),
)
def _(attempt):
    got = torch.as_tensor(attempt(0.00085, 0.012, 1000))
    got = shaped(got, (1000,), "A number for each of the `steps` times.").double()
    right = solutions.alpha_bar(0.00085, 0.012, 1000)
    plain = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    roots = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64)
    slips = {
        "Those are betas on a line: here their square roots lie on one.": (1 - plain).cumprod(0),
        "Those are the square roots of the betas: square them.": (1 - roots).cumprod(0),
        "That is alpha, the root of alpha_bar.": right.sqrt(),
        "That is 1 - beta of each step: alpha_bar is the product of all up to it.": 1 - roots**2,
        "That is one step late: alpha_bar at the first time has one factor.": torch.cat(
            [right[:1] * 0 + 1, right[:-1]]
        ),
    }
    close(got, right, "Not the running product of 1 - beta.", slips=slips, rtol=1e-4)
    close(attempt(0.01, 0.02, 5)[-1], solutions.alpha_bar(0.01, 0.02, 5)[-1], "Use first, last and steps.", rtol=1e-4)


@exercise(
    "12.halve",
    solution=solutions.halve,
    hints=(
        "`F.pad(h, (left, right, above, below))` puts zeros around. Where does this network have them?",
        "`conv(F.pad(h, (0, 1, 0, 1)))`",
    ),
)
def _(attempt):
    conv, h = nn.Conv2d(3, 5, 3, stride=2), torch.randn(2, 3, 8, 6)
    pad = nn.functional.pad
    wanted = conv(pad(h, (0, 1, 0, 1)))  # before the attempt, which may set conv.padding
    slips = {
        "Zeros above and to the left, or all around: the picture shifts by half a pixel at every level.": conv(
            pad(h, (1, 1, 1, 1))
        )[:, :, :4, :3],
        "The edge is repeated there: zeros.": conv(pad(h, (0, 1, 0, 1), mode="replicate")),
    }
    got = shaped(attempt(conv, h), (2, 5, 4, 3), "Half as high and half as wide.")
    close(got, wanted, "Not the convolution of h with zeros to the right and below.", slips=slips)


@exercise(
    "12.heads_of",
    solution=solutions.heads_of,
    hints=(
        "`config.get(name)` gives None for a name that is not there. Look for the newer name first.",
        '`heads = config.get("num_attention_heads") or config["attention_head_dim"]`. Then one number, an int, '
        "becomes a list with an entry for each level.",
    ),
)
def _(attempt):
    for more, wanted, hint, slip in _CONFIGS:
        got = attempt({"block_out_channels": (64, 128, 192)} | more)
        require(got is not None, "The result is None: is a `return` missing?")
        require(got != more["attention_head_dim"] or got == wanted, "One number for each level: a list.")
        require(got != slip, hint)
        require(
            isinstance(got, list | tuple) and list(got) == wanted, f"For {more} expected {wanted}, got {got!r:.60}."
        )


_CONFIGS = (  # what a configuration says, the heads, a hint and what the slip gives
    (
        {"attention_head_dim": 8},
        [8, 8, 8],
        "That takes the name by its sound: it is the *number* of heads, and not their size.",
        [8, 16, 24],
    ),
    ({"attention_head_dim": [2, 4, 6]}, [2, 4, 6], "A list is one for each level already.", [[2, 4, 6]] * 3),
    (
        {"attention_head_dim": 32, "num_attention_heads": 4},
        [4, 4, 4],
        "The newer name counts where there is one.",
        [32, 32, 32],
    ),
    (
        {"attention_head_dim": 2, "num_attention_heads": None},
        [2, 2, 2],
        "None means that the newer name says nothing.",
        [None] * 3,
    ),
)


@exercise(
    "12.rescaled",
    solution=solutions.rescaled,
    hints=(
        "Work on the square roots: shift them so that the last one is 0, then scale them so that the first one "
        "is again what it was.",
        "`root = alpha_bar.sqrt()`, and `((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2`.",
    ),
)
def _(attempt):
    given = solutions.alpha_bar(0.00085, 0.012, 1000)
    got = shaped(attempt(given), (1000,), "One number for each time.")
    root = given.sqrt()
    slips = {
        "Shift and scale the square roots, not alpha_bar itself.": (given - given[-1])
        * given[0]
        / (given[0] - given[-1]),
        "Those are the square roots: square them at the end.": (root - root[-1]) * root[0] / (root[0] - root[-1]),
        "Shifted alone: the first one has changed as well, so scale them back to it.": (root - root[-1]) ** 2,
        "The first one is 1 now, but it should be what it was: times its own root.": (
            (root - root[-1]) / (root[0] - root[-1])
        )
        ** 2,
        "Only the last one has changed: shift and scale all of them.": torch.cat([given[:-1], 0 * given[-1:]]),
    }
    close(got, solutions.rescaled(given), "Not 0 at the end and unchanged at the start.", slips=slips, rtol=1e-5)
    short = solutions.alpha_bar(0.01, 0.2, 7)
    close(attempt(short), solutions.rescaled(short), "Use the alpha_bar you are given.", rtol=1e-5)
