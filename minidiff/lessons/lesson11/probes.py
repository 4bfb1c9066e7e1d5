"""What lesson 11's checks try an attempt on: small towers, twins, a CLIP that knows time; values of likely slips."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff import seeded

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


def with_hard(image: Tensor, text: Tensor, hard: Tensor, scale: float = 4.0) -> Tensor:
    """The contrastive loss where the pictures have to refuse the hard captions (B, D) as well."""
    own = torch.arange(len(image))
    pictures = F.cross_entropy(scale * image @ torch.cat([text, hard]).T, own)
    return (pictures + F.cross_entropy(scale * text @ image.T, own)) / 2


class Seer:
    """In place of a CLIP that knows noise: its vectors depend on every argument, and `scale` is 6."""

    scale = torch.tensor(6.0)

    def encode_image(self, x: Tensor, t=0.0) -> Tensor:
        """x (B, 4) at time t -> unit vectors (B, 4)."""
        return F.normalize(x + torch.as_tensor(t) * torch.tensor([3.0, -1.0, 2.0, 0.5]), dim=1)

    def encode_text(self, ids: Tensor) -> Tensor:
        """ids (B, L) -> unit vectors (B, 4)."""
        return F.normalize(torch.cos(ids.sum(1, keepdim=True) * torch.tensor([1.0, 2.0, 3.0, 4.0])), dim=1)


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
