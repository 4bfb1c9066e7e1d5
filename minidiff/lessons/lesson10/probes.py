"""What lesson 10's checks try an attempt on: words to merge, small towers with twins, the values of likely slips."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import seeded

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
TEMPLATES = ("a photo of {}", "{} on a white background", "there is {}")
TWINS = torch.tensor([[1, 5, 2], [1, 6, 2], [1, 5, 2], [1, 2, 5], [1, 5, 2], [1, 5, 6]])  # 0, 2 and 4 are equal


def towers(n: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    """Unit vectors of n pictures and of their captions."""
    return F.normalize(torch.randn(n, width), dim=1), F.normalize(torch.randn(n, width), dim=1)


def encode(texts) -> Tensor:
    """A unit vector for each text, always the same."""
    rows = [torch.randn(7, generator=seeded(sum(map(ord, text)))) for text in texts]
    return F.normalize(torch.stack(rows), dim=1)


def both_ways(rows: Tensor, columns: Tensor, first: float = 0.5, second: float = 0.5, **how) -> Tensor:
    """The cross-entropies of logits (B, B) along their rows and along their columns, weighed and added."""
    own = torch.arange(len(rows))
    return first * F.cross_entropy(rows, own, **how) + second * F.cross_entropy(columns.T, own, **how)


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


def twin_slips(logits: Tensor, same: Tensor, first: Tensor) -> dict[str, Tensor]:
    """hint -> the loss without twins with that slip. same (B, B): equal captions; first: equal in one token."""

    def hidden(mask: Tensor, value: float = -math.inf) -> Tensor:
        return _hidden(logits, mask, value)

    return {
        "That is the plain loss: the twins are still wrong answers.": both_ways(logits, logits),
        "A logit of 0 is no ban: exp(0) is 1. Put −∞ there.": both_ways(hidden(same, 0.0), hidden(same, 0.0)),
        "Hide the twins from the captions' question too: the columns.": both_ways(hidden(same), logits),
        "Hide the twins from the pictures' question too: the rows.": both_ways(logits, hidden(same)),
        "Twins have *all* tokens in common: .all(2).": without(logits, first),
    }


def without(logits: Tensor, same: Tensor) -> Tensor:
    """The loss without the pairs (B, B) that are True in `same`, the diagonal apart."""
    return both_ways(_hidden(logits, same), _hidden(logits, same))


def _hidden(logits: Tensor, mask: Tensor, value: float = -math.inf) -> Tensor:
    return logits.masked_fill(mask & ~torch.eye(len(logits), dtype=torch.bool), value)
