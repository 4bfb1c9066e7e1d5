"""What lesson 12's check of the spatial transformer tries an attempt on: one whose every part is heard."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from minidiff.stable_diffusion import SpatialTransformer


def transformer() -> SpatialTransformer:
    """One with loud layers and uneven norms, so that each part left out or exchanged shows."""
    layer = SpatialTransformer(8, 2, 6, 4)
    for weight in layer.parameters():
        nn.init.normal_(weight, std=0.5)
    return layer


_SLIPS = {
    "What comes out is *added* to h: the transformer answers with a change.": {"residual": False},
    "The pixels look at each other first (self_attention), and at the words after that.": {"order": "wst"},
    "The words come before the feed-forward part: self_attention, cross_attention, fc1.": {"order": "stw"},
    "The feed-forward part comes last, behind both attentions.": {"order": "tsw"},
    "The pixels never look at the words: cross_attention(…, words).": {"order": "st"},
    "The pixels never look at each other: self_attention.": {"order": "wt"},
    "The feed-forward part is missing: fc1, the gate, fc2.": {"order": "sw"},
    "The second half of fc1's numbers is the gate: value * gelu(gate).": {"swap": True},
    "The gate is missing: value * gelu(gate), of the two halves of fc1's numbers.": {"gate": False},
    "The gate goes through GELU before it multiplies: value * gelu(gate).": {"act": lambda gate: gate},
    "GELU, and not SiLU.": {"act": F.silu},
    "GELU, and not ReLU.": {"act": F.relu},
    "GELU, and not a sigmoid.": {"act": torch.sigmoid},
    "The exact GELU: the tanh form is near it, and not the same.": {"act": partial(F.gelu, approximate="tanh")},
    "Each part reads a normalised x: norm1, norm2, norm3.": {"norms": ""},
    "self_attention reads a normalised x: norm1.": {"norms": "wt"},
    "cross_attention reads a normalised x: norm2.": {"norms": "st"},
    "The feed-forward part reads a normalised x: norm3.": {"norms": "sw"},
    "Each part's answer is added to x: the sum runs through.": {"add": ""},
    "What self_attention answers is added to x, and does not take its place.": {"add": "wt"},
    "What cross_attention answers is added to x, and does not take its place.": {"add": "st"},
    "What fc2 answers is added to x, and does not take its place.": {"add": "sw"},
    "h is normalised before proj_in: layer.norm.": {"first": False},
    "proj_in is missing: the tokens pass through it before the block.": {"enter": False},
    "proj_out is missing: the tokens pass through it before they are a picture again.": {"leave": False},
    "A row of tokens is turned before it is a picture: .mT, and then unflatten.": {"turned": False},
}


def transformer_slips(layer: SpatialTransformer, h, words) -> dict[str, torch.Tensor]:
    """hint -> what comes out of a spatial transformer with that slip."""
    return {hint: through(layer, h, words, **how) for hint, how in _SLIPS.items()}


def through(layer, h, words, order="swt", residual=True, enter=True, leave=True, turned=True, **how) -> torch.Tensor:
    """A spatial transformer's answer: s self-attention, w the words, t the feed-forward part, in that order.

    norms, add: the parts that read a normalised x, and those whose answer is added to x. first: h is normalised.
    """
    x = (layer.norm(h) if how.pop("first", True) else h).flatten(2).mT
    x = _block(layer.block, layer.proj_in(x) if enter else x, words, order, **how)
    x = layer.proj_out(x) if leave else x
    x = x.mT.unflatten(2, h.shape[2:]) if turned else x.reshape(h.shape)
    return h + x if residual else x


def _block(block, x, words, order, norms="swt", add="swt", **feed) -> torch.Tensor:
    parts = {
        "s": (block.norm1, block.self_attention),
        "w": (block.norm2, lambda x: block.cross_attention(x, words)),
        "t": (block.norm3, lambda x: _feed_forward(block, x, **feed)),
    }
    for name in order:
        norm, each = parts[name]
        new = each(norm(x) if name in norms else x)
        x = x + new if name in add else new
    return x


def _feed_forward(block, x, swap=False, gate=True, act=F.gelu) -> torch.Tensor:
    value, told = block.fc1(x).chunk(2, dim=2)
    if swap:
        value, told = told, value
    return block.fc2(value * act(told) if gate else act(value))
