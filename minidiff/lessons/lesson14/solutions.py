"""The answers of lesson 14: the functions that the learner writes, and the prediction."""

import torch
import torch.nn.functional as F

from minidiff.exercises.core import question


def quantise(z, codebook):
    """z (B, D, h, w) rounded to entries of codebook (K, D): (z with entries' values, of z's shape; ids (B, h, w)).

    The gradient of what is returned passes straight on to z.
    """
    rows = z.movedim(1, -1)
    ids = torch.cdist(rows.flatten(0, 2), codebook).argmin(1).view(rows.shape[:3])
    entries = codebook[ids].movedim(-1, 1)
    return z + (entries - z).detach(), ids


def draw_tokens(next_logits, start, n, temperature, top_k, generator):
    """start (B, i), int64, with n more tokens behind it, (B, i + n), drawn one after the other.

    next_logits(tokens (B, j)) -> (B, K) logits of the token behind them. Only the top_k likeliest may be drawn.
    """
    tokens = start
    for _ in range(n):
        logits = next_logits(tokens) / temperature
        values, places = logits.topk(top_k, dim=1)
        drawn = values.softmax(1).multinomial(1, generator=generator)
        tokens = torch.cat([tokens, places.gather(1, drawn)], dim=1)
    return tokens


def read_out(blocks, words, text, time, noisy, ask):
    """The prior's answer (B, W): words (B, L, W), then text, time, noisy and ask (B, W) through causal blocks.

    blocks: (B, L + 4, W) -> the same shape, each place in the light of those before it.
    """
    row = torch.cat([words, torch.stack([text, time, noisy, ask], dim=1)], dim=1)
    return blocks(row)[:, -1]


def bucket(y, low, high, buckets):
    """Numbers y (B, K) as tokens (B, K), int64, and the numbers (B, K) that these stand for.

    Column k is cut into `buckets` equally wide buckets from low[k] to high[k], low and high (K,). A token is the number
    of a bucket, from 0, and stands for its middle. What lies outside belongs to the first bucket or to the last.
    """
    width = (high - low) / buckets
    tokens = ((y - low) / width).floor().long().clamp(0, buckets - 1)
    return tokens, low + (tokens + 0.5) * width


def token_loss(model, ids, tokens, words):
    """Mean cross-entropy of a picture's tokens (B, N) behind its text's ids (B, L), in nats.

    Token k of a picture is the id words + k for model, which maps ids (B, M) to logits (B, M, V).
    """
    pictures = words + tokens
    row = torch.cat([ids, pictures[:, :-1]], dim=1)
    logits = model(row)[:, ids.shape[1] - 1 :]
    return F.cross_entropy(logits.transpose(1, 2), pictures)


def prior_target(features):
    """What the prior learns, (B, D): CLIP's raw features (B, D) as unit vectors, times the root of D."""
    return F.normalize(features, dim=1) * features.shape[1] ** 0.5


question(
    "14.predict_collapse",
    answer="c",
    hints={
        "a": "An entry moves only to what is rounded to it. What becomes of one that is nobody's closest?",
        "b": "Where do the entries begin? At random, while all codes of a new encoder lie close together.",
    },
    why="an entry that is nobody's closest has no mean to move to, so it stays where it is, and most begin like that",
)
