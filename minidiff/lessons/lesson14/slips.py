"""What lesson 14's checks try an attempt on, and its typical slips: hint -> the value that each leads to."""

from itertools import permutations
from math import log

import torch
import torch.nn.functional as F


def numbered(z, codebook) -> dict[str, torch.Tensor]:
    """Numbers of entries that are not the closest ones."""
    rows = z.movedim(1, -1).flatten(0, 2)
    places = z.shape[:1] + z.shape[2:]
    away = torch.cdist(rows, codebook)
    ids = {
        "That is the entry furthest away: argmin, not argmax.": away.argmax(1),
        "The largest dot product is not the smallest distance: a long entry wins it from afar.": (
            (rows @ codebook.T).argmax(1)
        ),
        "That is the entry in the most similar direction. The closest one has the right length, too.": (
            (F.normalize(rows) @ F.normalize(codebook).T).argmax(1)
        ),
        "The D numbers of a place must become a row: movedim(1, -1) first. A reshape of z mixes places.": (
            torch.cdist(z.reshape(rows.shape), codebook).argmin(1)
        ),
        "ids count from 0, as rows of the codebook do.": away.argmin(1) + 1,
    }
    return {hint: each.view(places) for hint, each in ids.items()}


def rounded(z, codebook) -> dict[str, torch.Tensor]:
    """Values that are not those of the closest entries."""
    ids = torch.cdist(z.movedim(1, -1).flatten(0, 2), codebook).argmin(1).view(z.shape[:1] + z.shape[2:])
    entries = codebook[ids]
    return {
        "The sign is turned: z + (entries - z).detach() is entries.": 2 * z - entries.movedim(-1, 1),
        "That is z itself. Its values must be those of the entries.": z,
        "A reshape mixes places and numbers: codebook[ids].movedim(-1, 1).": entries.reshape(z.shape),
    }


def following(tokens) -> torch.Tensor:
    """Logits (B, 5) that depend on the order of all tokens before."""
    place = torch.arange(1, tokens.shape[1] + 1)
    total = (tokens * place).sum(1, keepdim=True)
    return torch.sin(total + 1.7 * torch.arange(5)) * 2


def likeliest(start, n) -> dict[str, torch.Tensor]:
    """What is written with top_k = 1 if not all tokens before are looked at."""
    looks = {
        "Only the last token is looked at: next_logits wants all tokens so far.": lambda tokens: tokens[:, -1:],
        "Only the start is looked at: next_logits wants the new tokens as well.": lambda tokens: start,
        "The start is not looked at: next_logits wants it before the new tokens.": (
            lambda tokens: tokens[:, start.shape[1] :]
        ),
        "The last token is not looked at: next_logits wants all tokens so far.": lambda tokens: tokens[:, :-1],
        "Only the first row is looked at: each has tokens of its own.": lambda tokens: tokens[:1].expand_as(tokens),
    }
    found = {hint: _likeliest(start, n, look) for hint, look in looks.items()}
    return found | {"That is the least likely token: take the largest logits.": _likeliest(start, n, sign=-1)}


def _likeliest(start, n, look=lambda tokens: tokens, sign=1) -> torch.Tensor:
    tokens = start
    for _ in range(n):
        tokens = torch.cat([tokens, (sign * following(look(tokens))).argmax(1, keepdim=True)], dim=1)
    return tokens


def spread(logits, temperature, top_k) -> dict[str, torch.Tensor]:
    """How often each token is drawn by each slip, where that shows."""

    def drawn(logits, kept=top_k):
        return logits.masked_fill(logits < logits.sort().values[-kept], -torch.inf).softmax(0)

    return {
        "The likeliest token is taken each time: draw one, in proportion to the softmax.": drawn(logits, 1),
        "All the top_k are drawn equally often: draw in proportion to the softmax of each row.": (
            (drawn(logits) > 0) / top_k
        ),
        "The temperature is ignored: divide the logits by it, before the softmax.": drawn(logits),
        "The temperature multiplies here: divide the logits by it, so that a low one makes the likely likelier.": drawn(
            logits * temperature
        ),
        "All tokens are drawn from: keep only the top_k.": drawn(logits / temperature, 5),
    }


def causal(row) -> torch.Tensor:
    """Each place sees those up to itself, all differently."""
    weights = torch.linspace(1, 2, row.shape[1])[:, None]
    return torch.tanh((weights * row).cumsum(1))


def misread(words, *singles) -> dict[str, torch.Tensor]:
    """What is read in another order, or at another place."""
    four = torch.stack(singles, dim=1)
    mixed = torch.cat(singles).view(four.shape)
    orders = {_ORDER.format(", ".join(_FOUR[i] for i in order)): four[:, order] for order in permutations(range(4))}
    orders.pop(_ORDER.format(", ".join(_FOUR)))
    orders["That mixes the rows of different texts: torch.stack([text, time, noisy, ask], dim=1)."] = mixed
    orders["Stacked along dim=2 the tokens are columns: torch.stack([text, time, noisy, ask], dim=1)."] = four.mT
    orders["Where is the asking token? It stands last."] = four[:, :-1]
    return {hint: causal(torch.cat([words, row], dim=1))[:, -1] for hint, row in orders.items()} | {
        "The words come first, then the four others.": causal(torch.cat([four, words], dim=1))[:, -1],
        "Where are the words? They come first, then the four others.": causal(four)[:, -1],
        **_elsewhere(causal(torch.cat([words, four], dim=1))),
    }


_FOUR = "text", "time", "noisy", "ask"
_ORDER = "The order of the four is text, time, noisy, ask, and not {}."


def _elsewhere(right) -> dict[str, torch.Tensor]:
    return {
        "That is read at the noisy embedding's place. The answer stands at the last one.": right[:, -2],
        "That is read at the time's place. The answer stands at the last one.": right[:, -3],
        "That is read at the text's place. The answer stands at the last one.": right[:, -4],
        "That is read at the place of the last word. The answer stands at the last place of all.": right[:, -5],
        "That is read at the first place, which has seen one word and nothing else.": right[:, 0],
        "That is the mean over all places. The answer stands at the last one, which has seen all others.": right.mean(
            1
        ),
    }


def misplaced(y, low, high, buckets) -> dict[str, torch.Tensor]:
    """Tokens of other buckets."""

    def placed(low=low, high=high, buckets=buckets):
        return (y - low) / (high - low) * buckets

    tokens = {
        "From low to high there are `buckets` widths, one more than buckets - 1.": placed(buckets=buckets - 1),
        "From low to high there are `buckets` widths, and not buckets + 1.": placed(buckets=buckets + 1),
        "Each column has a low and a high of its own.": placed(low.min(), high.max()),
        "Each column has a low and a high of its own: here all have those of the first.": placed(low[0], high[0]),
        "low and high are given: do not take them from y.": placed(y.amin(0), y.amax(0)),
        "Count from low, not from 0.": y / (high - low) * buckets,
        "The width is (high - low) / buckets, and not high / buckets.": (y - low) / high * buckets,
        "Count from low, and not from high.": (high - y) / (high - low) * buckets,
        "Divide by the width: how many widths does y lie above low?": (y - low) * (high - low) / buckets,
    }
    tokens = {hint: each.floor() for hint, each in tokens.items()} | _cut_wrongly(placed(), buckets)
    return {hint: each.clamp(0, buckets - 1) for hint, each in tokens.items()}


def _cut_wrongly(place, buckets) -> dict[str, torch.Tensor]:
    return {
        "Rounding to the closest edge moves the upper half of a bucket into the next one: `floor()`.": place.round(),
        "Rounding up counts from 1, where a bucket's number counts from 0: `floor()`.": place.ceil(),
        "What lies above high belongs to the last bucket: clamp, no remainder.": place.floor().remainder(buckets),
        "The last bucket is never used: clamp(0, buckets - 1) has both ends.": place.floor().clamp(max=buckets - 2),
    }


def mistold(y, tokens, low, high, buckets) -> dict[str, torch.Tensor]:
    """Numbers that are not the middles of their buckets."""
    width = (high - low) / buckets
    return {
        "That is where a bucket begins. A token stands for its middle, half a width further.": low + tokens * width,
        "That is where a bucket ends. A token stands for its middle, half a width less.": low + (tokens + 1) * width,
        "These are y itself. Only what the token tells may come back.": y,
        "These are y, cut to low ... high. Only what the token tells may come back.": y.clamp(low, high),
        "Count from low: add it to the middles.": (tokens + 0.5) * width,
        "Half a *width* is added, not 0.5: low + (tokens + 0.5) * width.": low + tokens * width + 0.5,
        "low is no number of widths: keep it out of the brackets, low + (tokens + 0.5) * width.": (
            (low + tokens + 0.5) * width
        ),
        "These lie between 0 and 1: bring them back to low ... high.": (tokens + 0.5) / buckets,
        "Those are the tokens once more. They stand for numbers between low and high.": tokens,
        "Count upwards from low, and not downwards from high.": high - (tokens + 0.5) * width,
        "Half a width is added, and not taken away.": low + (tokens - 0.5) * width,
        "The middles go from half a width above low to half a width below high, and not from end to end.": (
            low + tokens / (buckets - 1) * (high - low)
        ),
    }


def guesses(row) -> torch.Tensor:
    """Logits (B, M, 16) of what follows each place."""
    return torch.cumsum(torch.sin(row[:, :, None] * torch.linspace(0.3, 2.0, 16)), dim=1)


def shifted(ids, tokens, words) -> dict[str, torch.Tensor]:
    """The loss by each slip."""
    first, pictures = ids.shape[1], words + tokens
    logits = guesses(torch.cat([ids, pictures], dim=1)).mT  # (B, 16, M)
    right = logits[:, :, first - 1 : -1]
    n = tokens.shape[1]
    pairs = {
        "Shifted by one: each place is asked for the token that it was just given.": (logits[:, :, first:], pictures),
        "Shifted by one to the left: the guess at the first token stands at place L - 1.": (
            logits[:, :, first - 2 : -2],
            pictures,
        ),
        "The first N places belong to the text: take those from L - 1 on.": (logits[:, :, :n], pictures),
        **_counted(logits, right, torch.cat([ids, pictures], dim=1), n),
    }
    found = {hint: F.cross_entropy(*pair) for hint, pair in pairs.items()}
    return found | _otherwise(right, pictures, F.cross_entropy(right, pictures), words) | _unread(ids, tokens, words)


def _counted(logits, right, whole, n) -> dict[str, tuple]:
    """The right guesses, but not all of them, or others too."""
    return {
        "The first token of the picture is left out: its guess stands at the text's last place.": (
            right[:, :, 1:],
            whole[:, 1 - n :],
        ),
        "Only the last token counts: take the mean over all of the picture's.": (right[:, :, -1], whole[:, -1]),
        "Only the first picture counts: take the mean over the whole batch.": (right[:1], whole[:1, -n:]),
        "That counts the words of the text too.": (logits[:, :, :-1], whole[:, 1:]),
        "That counts the words of the text too, and each place is asked for what it was just given.": (logits, whole),
    }


def _otherwise(right, pictures, loss, words) -> dict[str, torch.Tensor]:
    """The right logits and targets, put together wrongly."""
    return {
        "A mean over the tokens, and not their sum.": loss * pictures.numel(),
        "A mean over all tokens, and not over the pictures alone.": loss * pictures.shape[1],
        "In nats, with the natural logarithm: nothing is divided by log 2.": loss / log(2),
        "That is the perplexity: leave out exp.": loss.exp(),
        "The sign is turned: a loss falls when the right tokens become likelier.": -loss,
        "cross_entropy takes the logits themselves: it has a softmax of its own.": F.cross_entropy(
            right.softmax(1), pictures
        ),
        "cross_entropy wants the V logits in the second place: transpose(1, 2), and no reshape.": F.cross_entropy(
            right.mT.reshape(right.shape), pictures
        ),
        "The target of token k is the id words + k, too.": F.cross_entropy(right, pictures - words),
        "Take the softmax over all V ids, those of words included.": F.cross_entropy(
            right[:, words:], pictures - words
        ),
    }


def _unread(ids, tokens, words) -> dict[str, torch.Tensor]:
    """The loss where the model reads another row."""

    def loss(text, read, target=words + tokens):
        row = torch.cat([text, read[:, :-1]], dim=1)
        return F.cross_entropy(guesses(row)[:, text.shape[1] - 1 :].mT, target)

    return {
        "Token k of a picture has the id words + k.": loss(ids, tokens, tokens),
        "The model reads token k of a picture as the id words + k, too.": loss(ids, tokens),
        "The text is not read: it comes before the picture's tokens.": loss(0 * ids, words + tokens),
    }


def sized(features) -> dict[str, torch.Tensor]:
    """Features of another length."""
    batch, width = features.shape
    unit, root = F.normalize(features), width**0.5
    return _undivided(features) | {
        "Not made unit vectors: what is sampled later is compared with unit vectors.": features * root,
        "These are the features as they came: make them unit vectors, and multiply by √D.": features,
        "These are unit vectors; their numbers are far smaller than the noise. Multiply by √D.": unit,
        "Multiply by √D, not by D.": unit * width,
        "Multiply by √D, and do not divide by it.": unit / root,
        "D is the number of columns: here √B multiplies, the root of the number of rows.": unit * batch**0.5,
        "D is the number of columns of these features: here the 64 of the lesson's CLIP is built in.": unit * 8,
    }


def _undivided(features) -> dict[str, torch.Tensor]:
    """Features that are not divided by the length of each row."""
    root = features.shape[1] ** 0.5
    square = features.square().sum(1, keepdim=True)
    return {
        "Each row gets length 1, not each column.": F.normalize(features, dim=0) * root,
        "Each row gets length 1, not the whole batch.": features / features.norm() * root,
        "Divide by the length, the *root* of the sum of squares.": features / square * root,
        "The length is the root of the sum of squares, and not the sum of absolute values.": (
            F.normalize(features, p=1) * root
        ),
        "Divide by the length alone: the mean of a row is not taken away.": F.layer_norm(features, features.shape[1:]),
        "Divide by the length. A standard deviation takes the mean away first.": (
            features / features.std(1, keepdim=True)
        ),
    }
