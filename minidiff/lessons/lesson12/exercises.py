"""Lesson 12's checks: the spatial transformer, the published times, the whole loop, and what loading gets wrong."""

import torch
from torch import nn

from minidiff.exercises import CheckFailed, close, exercise, require, shaped, typed
from minidiff.lessons.lesson12 import loops, probes, slips, solutions


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
    wrong = probes.transformer_slips(layer, h, words)
    wrong["A reshape mixes pixels and channels: flatten(2).mT, and .mT.unflatten back."] = _reshaped(layer, h, words)
    wrong["The change is added to h as it came, and not to the normalised h."] = wanted - h + layer.norm(h)
    close(got, wanted, "Not equal to minidiff's SpatialTransformer.", slips=wrong, rtol=5e-5, atol=5e-6)
    typed(got, h)
    leaf = h.clone().requires_grad_()
    _trainable(attempt(layer, leaf, words), leaf)


def _trainable(got, *leaves) -> None:
    """A gradient passes from the answer back to all of these."""
    slopes = torch.autograd.grad(got.sum(), leaves, allow_unused=True) if got.requires_grad else [None]
    hint = "No gradient passes back, so nothing could be trained: leave out detach, .data, numpy and torch.no_grad()."
    require(all(slope is not None for slope in slopes), hint)


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
    got = shaped(_numbers(attempt(20)), (21,), "20 steps need 21 times: from each to the next.").double()
    right = solutions.leading_times(20).double()
    close(got, right, "Not (k ratio + 2) / 1000 for k = steps - 1 ... 0, and then 1/1000.", slips=slips.leading(right))
    seven = shaped(_numbers(attempt(7)), (8,), "The number of steps is given: 7 steps are 8 times.").double()
    close(seven[0], (142 * 6 + 2) / 1000, "The ratio is 1000 // steps, a whole number.")
    from minidiff.sampler import leading_times

    close(torch.as_tensor(attempt(50)).double(), leading_times(50), "Not equal to minidiff.sampler.leading_times.")


def _numbers(got) -> torch.Tensor:
    """What came as one row of numbers, be it a tensor, a list or an array."""
    several = isinstance(got, tuple | list) and any(isinstance(part, torch.Tensor) and part.ndim for part in got)
    require(not several, "Return one tensor of numbers, and nothing beside it.")
    return torch.as_tensor(got) if got is not None and got is not ... else got


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
    prompts, z, t = ["one cat", "two dogs"], torch.randn(2, 4, 3, 3), torch.tensor([0.9, 0.5, 0.2, 0.001]).double()
    model, right = loops.Quick(), loops.Quick()
    with torch.no_grad():
        got = shaped(attempt(model, prompts, z, t, 3.0), z.shape, "One picture for each prompt.")
        wanted = loops.draw_with(right, prompts, z, t, 3.0)
        wrong = loops.draw_slips(prompts, z, t, 3.0)
        hint = _left_alone(attempt, prompts, z, t) or "Not the guided walk along t, decoded."
    close(got, wanted, hint, slips=wrong, rtol=1e-3, atol=1e-4)
    require(got.dtype == z.dtype, "The schedule answers in float64: make z float32 again, `.float()`, at every step.")
    require(model.read_times <= 2, "The texts are read again at every step: read them once, before the loop.")
    prompts, z, t = ["an owl", "a red fox", "two dogs"], torch.randn(3, 2, 2, 4), t[1:]
    with torch.no_grad():
        other = attempt(loops.Quick(), prompts, z, t, 1.5)
        wanted = loops.draw_with(right, prompts, z, t, 1.5)
    close(other, wanted, "Use the prompts, the times and the scale you are given.", rtol=1e-3, atol=1e-4)


def _left_alone(attempt, prompts, z, t) -> str:
    """A hint at the argument that makes no difference to what is drawn, or at chance that does."""

    def drawn(prompts=prompts, z=z, t=t, scale=3.0):
        return attempt(loops.Quick(), prompts, z, t, scale)

    first = drawn()
    tries = {
        "Your pictures are the same whatever the scale: use the one you are given.": {"scale": 1.5},
        "Your pictures are the same whatever z is: the walk starts there.": {"z": z + 1},
        "Your pictures are the same whatever the prompts are: tell the network what is read of them.": {
            "prompts": ["an owl", "a red fox"]
        },
        "Your pictures are the same whatever the times are: walk along t.": {"t": t * 0.9},
    }
    if not torch.equal(drawn(), first):
        return "Two runs from the same z differ: draw no noise of your own. It is in z, and is carried along."
    return next((hint for hint, other in tries.items() if torch.equal(drawn(**other), first)), "")


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
    got = _row(got)
    require(len(got) != 5, "No padding: the network was trained on rows that are always `length` long.")
    require(0 not in got, "Padding with 0: in CLIP's vocabulary that is the sign “!”. It pads with the end mark.")
    require(got[:1] == [90], "The row begins with the start mark.")
    require(len(got) == 10, "The row has exactly `length` ids, marks included.")
    require(got != [90] + [91] * 6 + [5, 6, 7], "The padding stands behind the text, and not before it.")
    require(got != [90, 5, 6, 7, 91] + [90] * 5, "The padding is the end mark again, and not the start mark.")
    require(got == [90, 5, 6, 7] + [91] * 6, "Start, the text, end, and then end again up to the length.")
    _fits(attempt, [], [1, 2, 2], "The empty text is start, and ends only.")
    _fits(attempt, [8], [1, 8, 2], "A text of length - 2 tokens still fits.")
    for many, length in ((9, 10), (4, 5)):
        hint = f"{many} tokens and two marks do not fit into {length}: a ValueError, and not a text cut off in silence."
        _refuses(attempt, [5] * many, length, hint)


def _fits(attempt, ids: list, wanted: list, hint: str) -> None:
    try:
        got = _row(attempt(ids, 3, 1, 2))
    except ValueError as error:
        raise CheckFailed(f"{hint} It is refused here.", f"For {ids} and length = 3: {error!r:.80}") from error
    require(len(got) == 3, "The row is as long as the `length` that is given.")
    require(got == wanted, hint)


def _refuses(attempt, ids: list, length: int, hint: str) -> None:
    try:
        attempt(ids, length, 90, 91)
    except ValueError:
        return
    except Exception as error:
        name = type(error).__name__
        raise CheckFailed(f"A text that does not fit is refused by a ValueError, and not {name}.") from error
    raise CheckFailed(hint)


def _row(got) -> list[int]:
    """The ids of one row, each a whole number."""
    got = got.tolist() if hasattr(got, "tolist") else got
    flat = isinstance(got, list | tuple) and not any(isinstance(token, list | tuple | str) for token in got)
    require(flat, "Return one flat row of ids: [start, *ids, end, …].")
    require(all(not isinstance(token, float) for token in got), "Token ids are whole numbers.")
    return [int(token) for token in got]


@exercise(
    "12.alpha_bar",
    solution=solutions.alpha_bar,
    hints=(
        "The *square roots* of the betas lie on a line, from √first to √last. Square them again.",
        "`betas = torch.linspace(first**0.5, last**0.5, steps) ** 2`, and alpha_bar is `(1 - betas).cumprod(0)`.",
    ),
)
def _(attempt):
    got = shaped(_numbers(attempt(0.00085, 0.012, 1000)), (1000,), "A number for each of the `steps` times.").double()
    right = solutions.alpha_bar(0.00085, 0.012, 1000)
    close(got, right, "Not the running product of 1 - beta.", slips=slips.alpha_bar(right), rtol=1e-4)
    close(_numbers(attempt(0.01, 0.02, 5)), solutions.alpha_bar(0.01, 0.02, 5), "Use first, last and steps.", rtol=1e-4)


@exercise(
    "12.halve",
    solution=solutions.halve,
    hints=(
        "`F.pad(h, (left, right, above, below))` puts zeros around. Where does this network have them?",
        "`conv(F.pad(h, (0, 1, 0, 1)))`",
    ),
)
def _(attempt):
    for channels, shape in ((5, (2, 3, 8, 6)), (4, (1, 2, 4, 10))):
        conv, h = nn.Conv2d(shape[1], channels, 3, stride=2), torch.randn(shape)
        half = (shape[0], channels, shape[2] // 2, shape[3] // 2)
        wanted = slips.halved(conv, h)  # this and the slips before the attempt, which may set conv.padding
        wrong = slips.halved_wrongly(conv, h)
        got = shaped(attempt(conv, h), half, "Half as high and half as wide.")
        close(got, wanted, "Not the convolution of h with zeros to the right and below.", slips=wrong)
        typed(got, h)
        leaf = h.clone().requires_grad_()
        _trainable(attempt(conv, leaf), leaf, conv.weight)


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
        config = {"block_out_channels": (64, 128, 192)} | more
        got = attempt(given := dict(config))
        require(not hasattr(got, "tolist"), "A list of whole numbers, please: no tensor and no array.")
        require(given == config, "That changes the configuration it was given, which others read after you.")
        require(got is not None, "The result is None: is a `return` missing?")
        require(got != more["attention_head_dim"] or got == wanted, "One number for each level: a list.")
        require(got != slip, hint)
        require(
            isinstance(got, list | tuple) and list(got) == wanted, f"For {more} expected {wanted}, got {got!r:.60}."
        )
        require(all(isinstance(heads, int) for heads in got), "A number of heads is a whole number.")
    four = attempt({"block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8})
    require(list(four) == [8] * 4, 'As many levels as "block_out_channels" has entries: here they are four.')


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
    close(
        got,
        solutions.rescaled(given),
        "Not 0 at the end and unchanged at the start.",
        slips=slips.rescaled(given),
        rtol=1e-5,
    )
    short = solutions.alpha_bar(0.01, 0.2, 7)
    close(attempt(short), solutions.rescaled(short), "Use the alpha_bar you are given.", rtol=1e-5)
