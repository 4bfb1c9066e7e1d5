"""The answers of lesson 10."""

import math

import torch
import torch.nn.functional as F


def merge(symbols, pair):
    """A word's symbols, a tuple of texts, with each occurrence of the pair joined to one symbol, from the left."""
    joined, at = [], 0
    while at < len(symbols):
        step = 2 if symbols[at : at + 2] == pair else 1
        joined.append("".join(symbols[at : at + step]))
        at += step
    return tuple(joined)


def causal_attention(q, k, v):
    """Attention where token i gathers from tokens 0 ... i only: q, k (B, L, d), v (B, L, c) -> (B, L, c)."""
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])  # (B, L, L)
    later = torch.ones(q.shape[1], k.shape[1]).triu(1).bool()  # True where the key comes after the query
    return scores.masked_fill(later, -math.inf).softmax(dim=2) @ v


def split_heads(x, heads):
    """Vectors (B, L, width) cut into `heads` pieces each: (B, heads, L, width / heads), head 0 the first numbers."""
    B, L, width = x.shape
    return x.reshape(B, L, heads, width // heads).transpose(1, 2)


def block(x, norm1, attention, norm2, feed_forward):
    """One pre-norm block: tokens x (B, L, width) and its four parts, functions of such a tensor -> (B, L, width)."""
    x = x + attention(norm1(x))
    return x + feed_forward(norm2(x))


def next_token_loss(logits, ids):
    """Nats a caption, a scalar: logits (B, L, V), ids (B, L); logits at i are for the id at i + 1, 0 is padding."""
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], ignore_index=0, reduction="none")  # (B, L - 1)
    return nats.sum(1).mean()


def patches(x, size):
    """Pictures (B, C, H, W) -> square patches as rows of numbers (B, N, C size size), left to right, then down."""
    B, C, H, W = x.shape
    cut = x.reshape(B, C, H // size, size, W // size, size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * size * size)


def padded_attention(q, k, v, real):
    """Attention to real tokens only: q, k (B, L, d), v (B, L, c), real (B, L) is False at padding -> (B, L, c)."""
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])  # (B, L, L)
    return scores.masked_fill(~real[:, None, :], -math.inf).softmax(dim=2) @ v


def write(model, start, steps, generator, temperature=1.0):
    """Ids (B, L), `steps` drawn tokens longer than start (B, L0); model: ids (B, L) -> logits (B, L, V)."""
    ids = start
    for _ in range(steps):
        likely = (model(ids)[:, -1] / temperature).softmax(dim=1)  # (B, V)
        drawn = likely.multinomial(1, generator=generator)  # (B, 1)
        ids = torch.cat([ids, drawn], dim=1)
    return ids


def likeness(places):
    """The cosine of each vector of places (N, width) with each other one, (N, N)."""
    unit = places / places.norm(dim=1, keepdim=True)
    return unit @ unit.T


def embed(ids, words, places):
    """Ids (B, L), a table of words (V, width) and one of places (length, width), L <= length -> (B, L, width)."""
    return words[ids] + places[: ids.shape[1]]
