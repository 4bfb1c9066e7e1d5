"""The bugs planted for lesson 14's exercises."""

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson14.solutions import bucket, quantise


def rounded(straight=True, farthest=False, twice=False):
    def wrong(z, codebook):
        rows = z.movedim(1, -1)
        away = torch.cdist(rows.flatten(0, 2), codebook)
        ids = (away.argmax(1) if farthest else away.argmin(1)).view(rows.shape[:3])
        entries = codebook[ids].movedim(-1, 1)
        if not straight:
            return entries, ids
        return (z + (entries - z).detach()) + (z - z.detach() if twice else 0), ids

    return wrong


def drawn(before=lambda tokens: tokens, divide=True, cut=True, seed=True, keep=True):
    def wrong(next_logits, start, n, temperature, top_k, generator):
        tokens = start
        for _ in range(n):
            logits = next_logits(before(tokens)) / (temperature if divide else 1)
            values, places = logits.topk(top_k if cut else logits.shape[1], dim=1)
            token = places.gather(1, values.softmax(1).multinomial(1, generator=generator if seed else None))
            tokens = torch.cat([tokens, token], dim=1)
        return tokens if keep else tokens[:, start.shape[1] :]

    return wrong


def ranks(next_logits, start, n, temperature, top_k, generator):
    """The place among the top_k taken for the token."""
    tokens = start
    for _ in range(n):
        values = (next_logits(tokens) / temperature).topk(top_k, dim=1).values
        tokens = torch.cat([tokens, values.softmax(1).multinomial(1, generator=generator)], dim=1)
    return tokens


def read(order=lambda text, time, noisy, ask: (text, time, noisy, ask), place=-1, first=True):
    def wrong(blocks, words, *singles):
        four = torch.stack(order(*singles), dim=1)
        return blocks(torch.cat([words, four] if first else [four, words], dim=1))[:, place]

    return wrong


def bucketed(cut=torch.floor, middle=0.5, fewer=0, clamped=True, shared=False, whole=True, back=None):
    def wrong(y, low, high, buckets):
        if shared:
            low, high = low.min(), high.max()
        width = (high - low) / (buckets - fewer)
        tokens = cut((y - low) / width)
        tokens = tokens.clamp(0, buckets - 1) if clamped else tokens
        tokens = tokens.long() if whole else tokens
        return tokens, y if back else low + (tokens + middle) * width

    return wrong


def uncounted(y, low, high, buckets):
    """The middles, counted from 0."""
    tokens, middles = bucket(y, low, high, buckets)
    return tokens, middles - low


def shifted(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, ids.shape[1] :].transpose(1, 2), words + tokens)


def first_left_out(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, ids.shape[1] : -1].transpose(1, 2), words + tokens[:, 1:])


def with_text(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, :-1].transpose(1, 2), row[:, 1:])


def pictures_alone(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, ids.shape[1] - 1 : -1, words:].transpose(1, 2), tokens)


PLANTED = {
    "14.quantise": [
        rounded(straight=False),  # no gradient
        rounded(farthest=True),
        rounded(twice=True),
        lambda z, codebook: (quantise(z, codebook)[0], quantise(z, codebook)[1].flatten()),
        lambda z, codebook: quantise(z, codebook)[0],
    ],
    "14.draw_tokens": [
        drawn(before=lambda tokens: tokens[:, -1:]),
        drawn(divide=False),
        drawn(cut=False),
        drawn(seed=False),
        drawn(keep=False),
        ranks,
    ],
    "14.read_out": [
        read(place=-2),  # read at the noisy embedding
        read(place=0),
        read(first=False),
        read(lambda text, time, noisy, ask: (time, text, noisy, ask)),
        read(lambda text, time, noisy, ask: (text, time, ask, noisy)),
    ],
    "14.bucket": [
        bucketed(middle=0),
        bucketed(torch.round),
        bucketed(clamped=False),
        bucketed(fewer=1),
        bucketed(shared=True),
        bucketed(whole=False),
        bucketed(back="itself"),
        uncounted,
    ],
    "14.token_loss": [shifted, first_left_out, with_text, pictures_alone],
    "14.prior_target": [
        lambda features: features * features.shape[1] ** 0.5,
        lambda features: F.normalize(features, dim=1),
        lambda features: F.normalize(features, dim=0) * features.shape[1] ** 0.5,
    ],
}
