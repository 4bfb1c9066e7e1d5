"""The answers of lesson 09: what the learner writes, and the predictions."""

import torch
import torch.nn.functional as F

from minidiff.exercises.core import question


def autoencoder_loss(x, out, mu, log_var, beta):
    """x and its reconstruction `out`, both (B, ...), q(z | x)'s mu and log_var (B, ...) -> the loss, a number."""
    squared = (out - x) ** 2
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).flatten(1).sum(1).mean()
    return squared.mean() + 10 * (squared**2).mean() + beta * kl / x[0].numel()


def measure(mu, size):
    """Codes mu (N, C, h, w) -> the factor that gives all their numbers together the standard deviation `size`."""
    return size / mu.std()


def cross_attention(q, k, v, mask):
    """q (B, P, d) of places, k and v (B, L, d) of words, mask (B, L), False for padding.

    Returns what each place gathers, (B, P, d), and the weights, (B, P, L).
    """
    scores = q @ k.mT / q.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=2)
    return weights @ v, weights


def half_noised(z, strength, steps, schedule, eps):
    """Codes z (B, ...) and noise eps like it -> z under the noise of t = strength, and the times from there to 0."""
    t = torch.linspace(strength, 0, max(1, round(strength * steps)) + 1, dtype=torch.float64)
    return schedule.add_noise(z, strength, eps), t


def keep_known(denoise, known, mask):
    """denoise(x, t) -> one whose estimates are `known` (B, C, h, w) where the bool mask (B, 1, h, w) is False."""
    return lambda x, t: torch.where(mask, denoise(x, t), known)


def code_mask(mask, f):
    """Pixels to be painted anew, bool (B, 1, H, W) -> the codes that have to go, bool (B, 1, H / f, W / f)."""
    return F.max_pool2d(mask.float(), f) > 0


def word_maps(maps, tokens):
    """Maps (L, h, w) of a row of ids, the start's first, and its tokens as texts -> a list of (word, map (h, w)).

    Words come without the space in front. The map of a word is the sum of its tokens' maps.
    """
    words = []
    for token, row in zip(tokens, maps[1:]):
        if token.startswith(" ") or not words:
            words.append((token.strip(), row))
        else:
            word, sum_so_far = words[-1]
            words[-1] = (word + token, sum_so_far + row)
    return words


def two_prompts(denoise, first, second, null, scale, mask):
    """denoise(x, t, ids), ids first, second, null (B, L), mask (1, 1, h, w) True for first -> a denoiser of (x, t)."""

    def guided(x, t):
        a, b, without = denoise(x.repeat(3, 1, 1, 1), t, torch.cat([first, second, null])).chunk(3)
        return without + scale * (torch.where(mask, a, b) - without)

    return guided


question(
    "09.predict_lost",
    answer="a",
    hints={
        "b": "A colour that is wrong costs much, over many pixels: no autoencoder would save there first.",
        "c": "Shapes are large and few, so cheap to keep. What costs a little everywhere, and follows no rule?",
    },
    why="grain follows no rule, so nothing short can hold it, and it costs little at each pixel: it goes first, and "
    "the sharpness of outlines next",
)
question(
    "09.predict_scale",
    answer="b",
    hints={
        "a": "The network could learn to enlarge its input. But the schedule says how much noise is added, not it.",
        "c": "Codes of 1/10 drown ten times sooner, codes of 10 ten times later: is either good for the middle times?",
    },
    why="alpha and sigma are made for data of about size 1: far smaller codes are lost in noise at nearly all times, "
    "and the network hardly ever trains on the times that decide what is drawn",
)
question(
    "09.predict_paste",
    answer="c",
    hints={
        "a": "The decoder is no inverse: what does it make of the code of a picture with grain?",
        "b": "Compression took the grain away everywhere, not only near the mask.",
    },
    why="a code is decoded to what the autoencoder could keep of the picture, so the known pixels come out smoother "
    "and a little off: they are pasted back at the end",
)
question(
    "09.predict_novel",
    answer="b",
    hints={
        "a": "It never had to draw this pair. Early on, will it join two words as well as in known pairs?",
        "c": "Each word has a vector of its own, and each place reads all of them: red and cross were both learned.",
    },
    why="first it learns what it is shown, pairs and all; that colour and shape are two things pays only when many "
    "pairs have to be told apart, and comes late",
)
