"""Lesson 14's checks: rounding, drawing tokens, the prior's sentence, numbers in buckets, shifted targets, scale."""

import torch

from minidiff import seeded
from minidiff.exercises import close, exercise, require, shaped, typed
from minidiff.lessons.lesson14 import slips, solutions


@exercise(
    "14.quantise",
    solution=solutions.quantise,
    core=True,
    hints=(
        "Make each place a row of D numbers: `z.movedim(1, -1)`. Then `torch.cdist` knows all distances at once.",
        "`codebook[ids]` has the D numbers last; `.movedim(-1, 1)` brings them back to the second place.",
        "The value of the entry with the gradient of z is `z + (entries - z).detach()`.",
    ),
)
def _(attempt):
    for shape, entries in (((2, 3, 4, 5), 7), ((3, 4, 2, 2), 4)):
        z = torch.randn(shape, requires_grad=True)
        codebook = torch.randn(entries, shape[1])
        rounded, ids = _two(attempt(z, codebook), "Return two things: the rounded z, and ids.")
        wanted, numbers = solutions.quantise(z, codebook)
        shaped(ids, (shape[0], *shape[2:]), "ids has a number for each place: (B, h, w).")
        require(not ids.is_floating_point(), "ids are whole numbers: they pick rows of the codebook.")
        hint = "ids must be the number of the *closest* entry, for each place."
        close(ids, numbers, hint, slips=slips.numbered(z, codebook))
        shaped(rounded, shape, "The rounded z has z's shape.")
        close(rounded, wanted, "Not the values of the closest entries.", slips=slips.rounded(z, codebook))
        typed(rounded, z)
        _straight(rounded, z)


def _two(got, hint: str):
    require(got is not None, "The result is None: is a `return` missing?")
    require(isinstance(got, tuple | list) and len(got) == 2, hint)
    return got


def _straight(rounded, z) -> None:
    """The gradient by z is that by the rounded z."""
    require(
        rounded.requires_grad, "Nothing of what you return needs a gradient: only (entries - z) is detached, not z."
    )
    weight = torch.randn(rounded.shape)
    (slope,) = torch.autograd.grad((weight * rounded).sum(), z, allow_unused=True)
    require(slope is not None, "No gradient passes back to z: straight through is z + (entries - z).detach().")
    wrong = {
        "z and -z cancel out: detach the whole difference, z + (entries - z).detach().": 0 * weight,
        "It is the difference that is detached, and not the z before it: z + (entries - z).detach().": -weight,
        "z passes its gradient on twice: once is enough, z + (entries - z).detach().": 2 * weight,
    }
    close(slope, weight, "The gradient by z must be exactly that by the rounded z, neither more nor less.", slips=wrong)


@exercise(
    "14.draw_tokens",
    solution=solutions.draw_tokens,
    core=True,
    hints=(
        "One turn of the loop: logits of all tokens so far, divide, keep the top_k, softmax, draw, append.",
        "`values, places = logits.topk(top_k, dim=1)` gives the largest and the tokens that they stand for.",
        "What `values.softmax(1).multinomial(1, generator=generator)` draws is a number among the top_k. The token is"
        " `places.gather(1, drawn)`; append it with `torch.cat([tokens, ...], dim=1)`.",
    ),
)
def _(attempt):
    for start in (torch.tensor([[1], [3], [0]]), torch.tensor([[2, 4], [0, 3]])):
        got = attempt(slips.following, start, 4, 1.0, 1, seeded())
        before = start.shape[1]
        shaped(got, (len(start), before + 4), "Return the start and n tokens behind it: (B, i + n).")
        require(not got.is_floating_point(), "Tokens are whole numbers, as they are in start.")
        require(torch.equal(got[:, :before], start), "The start must stay in front of the new tokens.")
        require(bool(got[:, before:].any()), "Return the numbers of tokens, not their ranks among the top_k.")
        hint = "With top_k = 1 it must take the likeliest token each time, given all before it."
        if not torch.equal(got, attempt(slips.following, start, 4, 1.0, 1, seeded(1))):
            hint = "With top_k = 1 nothing is left to chance: only the top_k likeliest tokens may be drawn."
        wanted = solutions.draw_tokens(slips.following, start, 4, 1.0, 1, seeded())
        close(got, wanted, hint, slips=slips.likeliest(start, 4))
    for temperature, top_k in ((0.5, 5), (2.0, 5), (2.0, 3)):
        _drawn_as_often(attempt, temperature, top_k)
    again, same, other = (attempt(slips.following, start, 9, 1.0, 5, seeded(seed)) for seed in (1, 1, 2))
    require(torch.equal(again, same), "Draw with the generator, so that a seed gives the same tokens again.")
    require(not torch.equal(again, other), "Another seed gives the same tokens: draw with the generator that you get.")
    typed(got, start)


def _drawn_as_often(attempt, temperature, top_k) -> None:
    """A token behind 6,000 times the same start is drawn as often as it should be."""
    start = torch.tensor([[2]]).expand(6000, -1)
    got = attempt(slips.following, start, 1, temperature, top_k, seeded(2))
    shaped(got, (6000, 2), "The number of new tokens is given: n of them, here one.")
    often = torch.bincount(got[:, -1], minlength=5) / 6000
    logits = slips.following(start[:1])[0]
    kept = logits.masked_fill(logits < logits.sort().values[-top_k], -torch.inf) / temperature
    away = (often - kept.softmax(0)).abs().max()
    for hint, wrong in slips.spread(logits, temperature, top_k).items():
        require(away < 0.03 or (often - wrong).abs().max() > 0.03, hint)
    require(often.max() < 0.999, "All rows get the same token: each row draws one for itself.")
    require((often[kept.isinf()] == 0).all(), "Only the top_k likeliest tokens may be drawn, the others never.")
    require(away < 0.03, "Tokens are not drawn from softmax(logits / temperature), renormalised over the top_k.")


@exercise(
    "14.read_out",
    solution=solutions.read_out,
    core=True,
    hints=(
        "The order is words, text, time, noisy, ask. A causal block lets a place see only those before it.",
        "`torch.stack([text, time, noisy, ask], dim=1)` makes (B, 4, W) of the four; put it behind the words.",
        "The answer stands where `ask` was put in: the last place, `blocks(row)[:, -1]`.",
    ),
)
def _(attempt):
    for batch, length, width in ((3, 5, 4), (4, 4, 4)):
        words = torch.randn(batch, length, width) / 4
        singles = torch.randn(4, batch, width) / 4
        got = shaped(attempt(slips.causal, words, *singles), (batch, width), "One row of W numbers for each text.")
        wanted = solutions.read_out(slips.causal, words, *singles)
        close(got, wanted, "Not the answer.", slips=slips.misread(words, *singles))
        typed(got, words)
        learning = attempt(slips.causal, words, *(single.clone().requires_grad_() for single in singles))
        require(learning.requires_grad, "No gradient reaches the prior: no detach and no torch.no_grad() here.")


@exercise(
    "14.bucket",
    solution=solutions.bucket,
    core=True,
    hints=(
        "First the width of a bucket, (K,): (high - low) / buckets. Then count in widths, from low.",
        "`floor()` gives the number of the bucket, `.long()` makes it a whole number, `.clamp(0, buckets - 1)` keeps it"
        " in range.",
        "A number in bucket 3 lies between low + 3 * width and low + 4 * width. Its middle is low + 3.5 * width.",
    ),
)
def _(attempt):
    for rows, columns, buckets in ((6, 4, 5), (3, 3, 8)):
        low = -torch.rand(columns) - 0.2
        high = torch.linspace(3.0, 0.5, columns)
        y = low + (high - low) * torch.rand(rows, columns)
        y[0], y[1], y[2] = high, high + 1, low - 1
        hint = "Return two things: the tokens, and their numbers."
        tokens, numbers = _two(attempt(y.clone(), low.clone(), high.clone(), buckets), hint)
        shaped(tokens, (rows, columns), "A token for each number: (B, K).")
        _whole(tokens, numbers)
        require(tokens.max() < buckets, "There is no bucket of that number: the last one is buckets - 1.")
        require(tokens.min() >= 0, "There is no bucket below 0: what lies below low belongs to the first one.")
        wanted, middles = solutions.bucket(y, low, high, buckets)
        wrong = slips.misplaced(y, low, high, buckets)
        close(tokens, wanted, "Not the numbers of the buckets.", slips=wrong)
        close(numbers, middles, "Not the middles of the buckets.", slips=slips.mistold(y, wanted, low, high, buckets))
        typed(numbers, y)


def _whole(tokens, numbers) -> None:
    swapped = tokens.is_floating_point() and isinstance(numbers, torch.Tensor) and not numbers.is_floating_point()
    require(not swapped, "The tokens come first, and then the numbers that they stand for.")
    require(not tokens.is_floating_point(), "Tokens are whole numbers: `.long()` makes them so.")
    require(
        tokens.dtype in (torch.int64, torch.int32), "Tokens are int64, `.long()`: as an index bool and uint8 are masks."
    )


@exercise(
    "14.token_loss",
    solution=solutions.token_loss,
    hints=(
        "What stands at place i of the logits is a guess at the token at place i + 1.",
        "Give the model the text and all of the picture's tokens but the last. The guess at the first token of the"
        " picture stands at the last place of the text.",
        "So of the logits take `[:, L - 1:]` with L = `ids.shape[1]`, which are N places, for N tokens.",
    ),
)
def _(attempt):
    for batch, length, n, words in ((3, 4, 5, 7), (2, 6, 6, 9)):
        ids, tokens = torch.randint(words, (batch, length)), torch.randint(5, (batch, n))
        got = attempt(slips.guesses, ids, tokens, words)
        require(not isinstance(got, float), "The loss stays a tensor, or nothing can learn from it: no .item() here.")
        shaped(got, (), "One number: the mean over all tokens of the pictures.")
        wanted = solutions.token_loss(slips.guesses, ids, tokens, words)
        hint = "Not the mean cross-entropy of the picture's tokens."
        close(got, wanted, hint, slips=slips.shifted(ids, tokens, words))
        typed(got, wanted)
        learning = attempt(lambda row: slips.guesses(row).requires_grad_(), ids, tokens, words)
        require(learning.requires_grad, "The loss has lost its gradient: no detach and no torch.no_grad() here.")


@exercise(
    "14.prior_target",
    solution=solutions.prior_target,
    hints=(
        "First make every row a vector of length 1, as `encode_image` does.",
        "A unit vector of D numbers has numbers of about 1 / √D. The diffusion wants size 1.",
    ),
)
def _(attempt):
    for batch, width in ((5, 16), (9, 9)):
        features = 3 * torch.randn(batch, width)
        got = shaped(attempt(features), (batch, width), "Keep the shape of the features.")
        close(got, solutions.prior_target(features), "Not √D times unit vectors.", slips=slips.sized(features))
        typed(got, features)
