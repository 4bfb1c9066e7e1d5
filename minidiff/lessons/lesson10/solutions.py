"""The answers of lesson 10: what it writes by hand and what it leaves open, as `solution` shows it, and predictions."""

import math

import torch
import torch.nn.functional as F

from minidiff.exercises.core import question


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
    likeness = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])  # (B, L, L)
    later = torch.ones(q.shape[1], k.shape[1]).triu(1).bool()  # True where the key comes after the query
    return likeness.masked_fill(later, -math.inf).softmax(dim=2) @ v


def patches(x, size):
    """Pictures (B, C, H, W) -> square patches as rows of numbers (B, N, C size size), left to right, then down."""
    B, C, H, W = x.shape
    cut = x.reshape(B, C, H // size, size, W // size, size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * size * size)


def contrastive_loss(image, text, scale):
    """Unit vectors (B, D) of pictures and of their captions -> how badly each finds its partner, in nats."""
    logits = scale * image @ text.T  # (B, B)
    own = torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def recall_at(similarity, k):
    """similarity (N, N) of pictures and captions, partners on the diagonal -> the share of pictures that find theirs
    among the k captions most like them."""
    best = similarity.topk(k, dim=1).indices  # (N, k)
    own = torch.arange(len(similarity))[:, None]
    return (best == own).any(1).float().mean()


def ensemble(encode, labels, templates):
    """encode: texts -> unit vectors (N, D). K labels, templates with a {} -> a unit vector a label (K, D)."""
    means = [encode([template.format(label) for template in templates]).mean(0) for label in labels]
    return F.normalize(torch.stack(means), dim=1)


def loss_without_twins(image, text, ids, scale):
    """The contrastive loss where another row with the same caption, token ids (B, L), is no wrong answer."""
    logits = scale * image @ text.T
    same = (ids[:, None] == ids[None]).all(2)  # (B, B)
    twins = same & ~torch.eye(len(ids), dtype=torch.bool)
    logits, own = logits.masked_fill(twins, -math.inf), torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


question(
    "10.predict_scale",
    answer="b",
    hints={
        "a": "A cosine lies between −1 and 1, so no answer can be more than e², about 7, times as likely as another.",
        "c": "That is what guessing costs: log 64. Good towers know more than nothing, even at scale 1.",
    },
    why="the best that 64 directions can do is 1 for the own caption and −1/63 for each other: "
    "log(1 + 63 exp(−1 − 1/63)) is 3.2",
)
question(
    "10.predict_batch",
    answer="c",
    hints={
        "a": "Among 8 captions ground and place alone tell nearly all apart: who would have to learn shapes?",
        "b": "A harder question, but 16 times fewer steps to learn from it. Is that enough of them?",
    },
    why="batches of 8 ask too little, since few of their captions differ in one thing alone, and 500 steps of 128 are "
    "too few to learn: with so many pictures a size between them is best",
)
question(
    "10.predict_left_out",
    answer="b",
    hints={
        "a": "In a novel pair both words are known. Who ever said what a cross looks like?",
        "c": "For this model the word is a number whose vector no picture has ever moved.",
    },
    why="a word that no training caption had lies anywhere in the space, and crosses go to the words that are known: "
    "zero-shot recombines what the captions named, and nothing else",
)
