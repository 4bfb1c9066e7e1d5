"""Lesson 10's planted bugs: each must be told apart by a hint of its own."""

import math

import torch
import torch.nn.functional as F


def first_only(symbols, pair):
    for at in range(len(symbols) - 1):
        if symbols[at : at + 2] == pair:
            return (*symbols[:at], "".join(pair), *symbols[at + 2 :])
    return symbols


def either_order(symbols, pair):
    joined, at = [], 0
    while at < len(symbols):
        step = 2 if set(symbols[at : at + 2]) == set(pair) and len(symbols[at : at + 2]) == 2 else 1
        joined.append("".join(symbols[at : at + step]))
        at += step
    return tuple(joined)


def loses_the_last(symbols, pair):
    joined, at = [], 0
    while at < len(symbols) - 1:
        step = 2 if symbols[at : at + 2] == pair else 1
        joined.append("".join(symbols[at : at + step]))
        at += step
    return tuple(joined)


def twice_used(symbols, pair):
    joined = []
    for at, symbol in enumerate(symbols):
        if symbols[at : at + 2] == pair:
            joined.append("".join(pair))
        elif symbols[at - 1 : at + 1] != pair:
            joined.append(symbol)
    return tuple(joined)


def by_spelling(symbols, pair):
    whole, joined = "".join(pair), []
    for symbol in symbols:
        joined.append(symbol)
        if len(joined) > 1 and joined[-2] + joined[-1] == whole:
            joined[-2:] = [whole]
    return tuple(joined)


def as_text(symbols, pair):
    return tuple(" ".join(symbols).replace(" ".join(pair), "".join(pair)).split(" "))


def as_list(symbols, pair):
    return [*by_spelling(symbols, pair)]


def attention(mask=lambda length: torch.ones(length, length).triu(1).bool(), fill=-math.inf, root=True, dim=2):
    def causal_attention(q, k, v):
        likeness = q @ k.mT / (math.sqrt(q.shape[2]) if root else 1)
        return likeness.masked_fill(mask(q.shape[1]), fill).softmax(dim) @ v

    return causal_attention


def zero_after(q, k, v):
    weights = (q @ k.mT / math.sqrt(q.shape[2])).softmax(2)
    return weights.tril() @ v


def itself_hidden(q, k, v):
    later = torch.ones(q.shape[1], q.shape[1]).triu(0).bool()
    later[0, 0] = False
    return (q @ k.mT / math.sqrt(q.shape[2])).masked_fill(later, -math.inf).softmax(2) @ v


def cut(order):
    def patches(x, size):
        B, C, H, W = x.shape
        parts = x.reshape(B, C, H // size, size, W // size, size)
        return parts.permute(*order).reshape(B, -1, C * size * size)

    return patches


PLANTED = {
    "10.merge": [first_only, either_order, loses_the_last, twice_used, by_spelling, lambda symbols, pair: symbols]
    + [as_text, as_list],
    "10.causal_attention": [
        attention(mask=lambda length: torch.zeros(length, length).bool()),
        attention(mask=lambda length: torch.ones(length, length).tril(-1).bool()),
        attention(fill=0.0),
        attention(root=False),
        attention(dim=1),
        zero_after,
        itself_hidden,
        attention(mask=lambda length: torch.ones(length, length).triu(2).bool()),
        attention(mask=lambda length: torch.ones(5, 5).triu(1).bool()),
        lambda q, k, v: attention()(k, q, v),
        lambda q, k, v: attention()(q / math.sqrt(q.shape[2]), k, v),
    ],
    "10.patches": [
        lambda x, size: x.reshape(len(x), -1, x.shape[1] * size * size),
        cut((0, 4, 2, 1, 3, 5)),
        cut((0, 2, 4, 3, 5, 1)),
        cut((0, 2, 4, 1, 5, 3)),
    ],
}


def mixed_heads(x, heads):
    B, L, width = x.shape
    return x.reshape(B, heads, L, width // heads)


def every_other(x, heads):
    B, L, width = x.shape
    return x.reshape(B, L, width // heads, heads).permute(0, 3, 1, 2)


def post_norm(x, norm1, attention, norm2, feed_forward):
    x = norm1(x + attention(x))
    return norm2(x + feed_forward(x))


def old_x(x, norm1, attention, norm2, feed_forward):
    return x + attention(norm1(x)) + feed_forward(norm2(x))


def no_residual(x, norm1, attention, norm2, feed_forward):
    x = attention(norm1(x))
    return x + feed_forward(norm2(x))


def no_norm(x, norm1, attention, norm2, feed_forward):
    x = x + attention(x)
    return x + feed_forward(x)


def on_copies(x, norm1, attention, norm2, feed_forward):
    x = norm1(x) + attention(norm1(x))
    return norm2(x) + feed_forward(norm2(x))


def nats(logits, ids, **more):
    return F.cross_entropy(logits.transpose(1, 2), ids, reduction="none", **({"ignore_index": 0} | more))


def padded(hide):
    def padded_attention(q, k, v, real):
        scores = q @ k.mT / math.sqrt(q.shape[2])
        return hide(scores, real) @ v

    return padded_attention


def writes(draw):
    def write(model, start, steps, generator, temperature=1.0):
        ids = start
        for _ in range(steps):
            ids = torch.cat([ids, draw(model(ids), generator, temperature)], dim=1)
        return ids

    return write


PLANTED |= {
    "10.split_heads": [mixed_heads, every_other],
    "10.block": [post_norm, old_x, no_residual, no_norm, on_copies],
    "10.next_token_loss": [
        lambda logits, ids: nats(logits, ids).sum(1).mean(),
        lambda logits, ids: nats(logits[:, 1:], ids[:, :-1]).sum(1).mean(),
        lambda logits, ids: nats(logits[:, :-1], ids[:, 1:], ignore_index=-1).sum(1).mean(),
        lambda logits, ids: F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], ignore_index=0),
        lambda logits, ids: nats(logits[:, :-1], ids[:, 1:]).mean(),
        lambda logits, ids: nats(logits[:, :-1], ids[:, 1:]).sum(0).mean(),
        lambda logits, ids: (nats(logits[:, :-1], ids[:, 1:]).sum(1) / (ids[:, 1:] > 0).sum(1)).mean(),
        lambda logits, ids: nats(logits, ids.roll(-1, 1)).sum(1).mean(),
        lambda logits, ids: nats(logits[:, :-1], ids[:, 1:]).sum(1).mean().detach(),
    ],
    "10.embed": [
        lambda ids, words, places: words[ids],
        lambda ids, words, places: words[ids] + places[ids],
        lambda ids, words, places: words[ids] + places[1 : ids.shape[1] + 1],
    ],
    "10.likeness": [
        lambda places: places @ places.T,
        lambda places: F.normalize(places, dim=0) @ F.normalize(places, dim=0).T,
    ],
    "10.padding": [
        padded(lambda scores, real: scores.softmax(2)),
        padded(lambda scores, real: scores.softmax(2) * real[:, None]),
        padded(lambda scores, real: scores.masked_fill(real[:, None], -1e9).softmax(2)),
    ],
    "10.write": [
        writes(lambda logits, generator, t: logits[:, -1].argmax(1, keepdim=True)),
        writes(lambda logits, generator, t: logits[:, -1].softmax(1).multinomial(1, generator=generator)),
        writes(lambda logits, generator, t: (logits[:, 0] / t).softmax(1).multinomial(1, generator=generator)),
        writes(lambda logits, generator, t: (logits[:, -1] / t).softmax(1).multinomial(1)),
    ],
}
