"""Lesson 14's checks: rounding, drawing tokens, the prior's sentence, numbers in buckets, shifted targets, scale."""

import torch

from minidiff import seeded
from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson14 import solutions


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
        got = attempt(z, codebook)
        require(isinstance(got, tuple | list) and len(got) == 2, "Return two things: the rounded z, and ids.")
        rounded, ids = got
        wanted, numbers = solutions.quantise(z, codebook)
        shaped(ids, (shape[0], *shape[2:]), "ids has a number for each place: (B, h, w).")
        require(torch.equal(ids.long(), numbers), "ids must be the number of the *closest* entry, for each place.")
        close(shaped(rounded, shape, "The rounded z has z's shape."), wanted, "Not the values of the closest entries.")
        _straight(rounded, z)


def _straight(rounded, z) -> None:
    """The gradient by z is that by the rounded z."""
    require(
        rounded.requires_grad, "Nothing of what you return needs a gradient: only (entries - z) is detached, not z."
    )
    weight = torch.randn(rounded.shape)
    (slope,) = torch.autograd.grad((weight * rounded).sum(), z, allow_unused=True)
    require(slope is not None, "No gradient passes back to z: straight through is z + (entries - z).detach().")
    close(slope, weight, "The gradient by z must be exactly that by the rounded z, neither more nor less.")


def _next(tokens):
    """Logits (B, 5) that depend on the order of all tokens before."""
    place = torch.arange(1, tokens.shape[1] + 1)
    total = (tokens * place).sum(1, keepdim=True)
    return torch.sin(total + 1.7 * torch.arange(5)) * 2


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
    start = torch.tensor([[1], [3], [0]])
    got = attempt(_next, start, 4, 1.0, 1, seeded())
    shaped(got, (3, 5), "Return the start and n tokens behind it: (B, i + n).")
    require(torch.equal(got[:, :1], start), "The start must stay in front of the new tokens.")
    require(bool(got[:, 1:].any()), "Return the numbers of tokens, not their ranks among the top_k.")
    for temperature, top_k in ((1.0, 5), (0.5, 5), (2.0, 3)):
        _drawn_as_often(attempt, temperature, top_k)
    wanted = solutions.draw_tokens(_next, start, 4, 1.0, 1, seeded())
    require(torch.equal(got, wanted), "With top_k = 1 it must take the likeliest token each time, given all before it.")
    again = [attempt(_next, start, 9, 1.0, 5, seeded(1)) for _ in range(2)]
    require(torch.equal(*again), "Draw with the generator, so that a seed gives the same tokens again.")


def _drawn_as_often(attempt, temperature, top_k) -> None:
    """A token behind 6,000 times the same start is drawn as often as it should be."""
    logits = _next(torch.tensor([[2]]))[0] / temperature
    kept = logits.masked_fill(logits < logits.sort().values[-top_k], -torch.inf)
    got = attempt(_next, torch.tensor([[2]]).expand(6000, -1), 1, temperature, top_k, seeded(2))
    often = torch.bincount(got[:, -1], minlength=5) / 6000
    require((often[kept.isinf()] == 0).all(), "Only the top_k likeliest tokens may be drawn, the others never.")
    hint = "Tokens are not drawn from softmax(logits / temperature), renormalised over the top_k."
    require((often - kept.softmax(0)).abs().max() < 0.03, hint)


def _causal(row):
    """Each place sees those up to itself, all differently."""
    weights = torch.linspace(1, 2, row.shape[1])[:, None]
    return torch.tanh((weights * row).cumsum(1))


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
        got = shaped(attempt(_causal, words, *singles), (batch, width), "One row of W numbers for each text.")
        close(got, solutions.read_out(_causal, words, *singles), "Not the answer.", slips=_misread(words, *singles))


def _misread(words, text, time, noisy, ask) -> dict:
    def read(*singles, first=True, place=-1):
        four = torch.stack(singles, dim=1)
        return _causal(torch.cat([words, four] if first else [four, words], dim=1))[:, place]

    row = text, time, noisy, ask
    return {
        "That is read at the noisy embedding's place. The answer stands at the last one.": read(*row, place=-2),
        "That is read at the first place, which has seen one word and nothing else.": read(*row, place=0),
        "The words come first, then the four others.": read(*row, first=False),
        "The order of the four is text, time, noisy, ask.": read(time, text, noisy, ask),
        "The asking token must stand last, behind the noisy embedding.": read(text, time, ask, noisy),
    }


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
        got = attempt(y.clone(), low.clone(), high.clone(), buckets)
        require(isinstance(got, tuple | list) and len(got) == 2, "Return two things: the tokens, and their numbers.")
        tokens = shaped(got[0], (rows, columns), "A token for each number: (B, K).")
        require(not tokens.is_floating_point(), "Tokens are whole numbers: `.long()` makes them so.")
        require(tokens.max() < buckets, "There is no bucket of that number: the last one is buckets - 1.")
        require(tokens.min() >= 0, "There is no bucket below 0: what lies below low belongs to the first one.")
        wanted, middles = solutions.bucket(y, low, high, buckets)
        close(tokens, wanted, "Not the numbers of the buckets.", slips=_misplaced(y, low, high, buckets))
        slips = _mistold(y, middles, low, (high - low) / buckets)
        close(got[1], middles, "Not the middles of the buckets.", slips=slips)


def _mistold(y, middles, low, width) -> dict:
    return {
        "That is where a bucket begins. A token stands for its middle, half a width further.": middles - width / 2,
        "These are y itself. Only what the token tells may come back.": y,
        "Count from low: add it to the middles.": middles - low,
    }


def _misplaced(y, low, high, buckets) -> dict:
    def placed(low, high, cut=torch.floor, buckets=buckets):
        return cut((y - low) / (high - low) * buckets).clamp(0, buckets - 1)

    return {
        "Rounding to the closest edge moves the upper half of a bucket into the next one: `floor()`.": placed(
            low, high, torch.round
        ),
        "From low to high there are `buckets` widths, one more than buckets - 1.": torch.floor(
            (y - low) / (high - low) * (buckets - 1)
        ).clamp(0, buckets - 1),
        "Each column has a low and a high of its own.": placed(low.min(), high.max()),
        "Count from low, not from 0.": torch.floor(y / (high - low) * buckets).clamp(0, buckets - 1),
    }


def _model(row):
    """Logits (B, M, 12) of what follows each place."""
    h = torch.cumsum(torch.sin(row[:, :, None] * torch.linspace(0.3, 2.0, 12)), dim=1)
    return h


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
    for batch, length, n in ((3, 4, 5), (2, 6, 6)):
        ids, tokens = torch.randint(7, (batch, length)), torch.randint(5, (batch, n))
        got = shaped(attempt(_model, ids, tokens, 7), (), "One number: the mean over all tokens of the pictures.")
        hint = "Not the mean cross-entropy of the picture's tokens."
        close(got, solutions.token_loss(_model, ids, tokens, 7), hint, slips=_shifted(ids, tokens, 7))


def _shifted(ids, tokens, words) -> dict:
    length, pictures = ids.shape[1], words + tokens
    whole = torch.cat([ids, pictures], dim=1)
    logits = _model(whole).transpose(1, 2)

    alone = _model(torch.cat([ids, tokens[:, :-1]], 1)).transpose(1, 2)
    loss = torch.nn.functional.cross_entropy
    return {
        "Shifted by one: each place is asked for the token that it was just given.": loss(
            logits[:, :, length:], pictures
        ),
        "The first token of the picture is left out: its guess stands at the text's last place.": loss(
            logits[:, :, length:-1], pictures[:, 1:]
        ),
        "That counts the words of the text too.": loss(logits[:, :, :-1], whole[:, 1:]),
        "Token k of a picture has the id words + k.": loss(alone[:, :, length - 1 :], tokens),
        "Take the softmax over all V ids, those of words included.": loss(logits[:, words:, length - 1 : -1], tokens),
    }


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
        unit = features / features.norm(dim=1, keepdim=True)
        slips = {
            "Not made unit vectors: what is sampled later is compared with unit vectors.": features * width**0.5,
            "These are unit vectors; their numbers are far smaller than the noise. Multiply by √D.": unit,
            "Multiply by √D, not by D.": unit * width,
            "Each row gets length 1, not each column.": features / features.norm(dim=0) * width**0.5,
        }
        close(got, solutions.prior_target(features), "Not √D times unit vectors.", slips=slips)
