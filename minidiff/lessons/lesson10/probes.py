"""What lesson 10's checks try an attempt on."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WORDS = (  # the symbols, the pair, what comes out, and the hint where it does not
    ("t h e", "h e", "t he", "Join the two symbols of the pair: t, h, e becomes t, he."),
    ("r e d", "r e", "re d", "A symbol left over at the end stays in the word: r, e, d becomes re, d."),
    ("e r r e", "r e", "e r re", "The order matters: (r, e) is not (e, r)."),
    ("r e p a i r e", "r e", "re p a i re", "Join each occurrence in the word."),
    ("o o o", "o o", "oo o", "From the left, and a symbol is used once: o, o, o becomes oo, o."),
    ("re d re d", "re d", "red red", "Symbols may be longer than a letter: compare symbols, not characters."),
    ("a bc ab c", "ab c", "a bc abc", "Only where both symbols are the pair's: a, bc spells the same and is another."),
    ("mo re d re d", "e d", "mo re d re d", "A symbol that only ends in e is no e: compare whole symbols."),
)


def attention_slips(q: Tensor, k: Tensor, v: Tensor) -> dict[str, Tensor]:
    """hint -> what comes out of causal attention with that slip."""
    likeness = q @ k.mT / math.sqrt(q.shape[2])
    ones = torch.ones(q.shape[1], k.shape[1])
    later = ones.triu(1).bool()
    hidden = -1e9  # near enough to -inf, and no NaN where a whole row is hidden
    masked = likeness.masked_fill(later, hidden)
    weights = {
        "Token i still sees later ones: hide them before the softmax.": likeness.softmax(2),
        "That hides the past: keep the keys up to the query's own place.": likeness.masked_fill(
            later.T, hidden
        ).softmax(2),
        "The weights no longer add up to 1: put −∞ *before* the softmax, not 0 after it.": likeness.softmax(2).tril(),
        "A likeness of 0 is no ban: exp(0) is 1. Put −∞ there.": likeness.masked_fill(later, 0).softmax(2),
        "Divide by √d, the width of the queries.": (masked * math.sqrt(q.shape[2])).softmax(2),
        "The softmax runs over the keys, dim 2: each query shares out its own weights.": masked.softmax(1),
        "A token sees itself too: hide only what comes after it, triu(1).": likeness.masked_fill(
            ones.triu().bool(), hidden
        ).softmax(2),
    }
    return {hint: each @ v for hint, each in weights.items()}


def block_slips(x: Tensor, norm1, attention, norm2, feed_forward) -> dict[str, Tensor]:
    """hint -> what comes out of a block with that slip."""
    first = x + attention(norm1(x))
    post = norm1(x + attention(x))
    return {
        "That is post-norm: here the norm stands before each part, and the sum itself is never normalised.": norm2(
            post + feed_forward(post)
        ),
        "The first sum is missing: x + attention(norm1(x)).": attention(norm1(x))
        + feed_forward(norm2(attention(norm1(x)))),
        "The second sum is missing: x + feed_forward(norm2(x)).": feed_forward(norm2(first)),
        "The second half reads what the first half has made, not the x that came in.": first + feed_forward(norm2(x)),
        "The norms are missing: each part reads a normalised copy of x.": x
        + attention(x)
        + feed_forward(x + attention(x)),
        "What is added to is x itself, not its normalised copy.": _on_copies(x, norm1, attention, norm2, feed_forward),
    }


def _on_copies(x: Tensor, norm1, attention, norm2, feed_forward) -> Tensor:
    x = norm1(x) + attention(norm1(x))
    return norm2(x) + feed_forward(norm2(x))


def loss_slips(logits: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """hint -> the loss with that slip."""

    def nats(logits, ids, **more):
        return F.cross_entropy(logits.transpose(1, 2), ids, reduction="none", **more)

    right = nats(logits[:, :-1], ids[:, 1:], ignore_index=0)
    return {
        "The shift is missing: the logits at place i are for the id at i + 1.": nats(logits, ids, ignore_index=0)
        .sum(1)
        .mean(),
        "Shifted the wrong way: logits[:, :-1] belongs to ids[:, 1:].": nats(logits[:, 1:], ids[:, :-1], ignore_index=0)
        .sum(1)
        .mean(),
        "The padding counts too: leave out the ids that are 0.": nats(logits[:, :-1], ids[:, 1:]).sum(1).mean(),
        "That is a mean over tokens: add up over the tokens of a caption first.": right.sum() / (ids[:, 1:] > 0).sum(),
        "That is the sum over the captions: take their mean.": right.sum(),
        "A mean over all places, padding among them: add up over a caption's tokens, then average.": right.mean(),
    }


def counting(ids: Tensor) -> Tensor:
    """A language model that is sure: after token i comes i + 1 (of 9)."""
    return 50 * F.one_hot((ids + 1) % 9, 9).float()


def flat(ids: Tensor) -> Tensor:
    """One that is not: token 3 is the likeliest of 9, by a factor of e."""
    return F.one_hot(torch.full_like(ids, 3), 9).float() * 1.5
