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


def loss(first=0.5, second=0.5, how=lambda cosine, scale: scale * cosine, **reduction):
    def contrastive_loss(image, text, scale):
        logits, own = how(image @ text.T, scale), torch.arange(len(image))
        return first * F.cross_entropy(logits, own, **reduction) + second * F.cross_entropy(logits.T, own, **reduction)

    return contrastive_loss


def softmax_twice(image, text, scale):
    logits, own = scale * image @ text.T, torch.arange(len(image))
    return (F.cross_entropy(logits.softmax(1), own) + F.cross_entropy(logits.T.softmax(1), own)) / 2


def pull_only(image, text, scale):
    return scale * (1 - (image * text).sum(1)).mean()


def recall(dim=1, largest=True, more=0, reduce=lambda hits: hits.any(1).float().mean()):
    def recall_at(similarity, k):
        similarity = similarity if dim == 1 else similarity.T
        best = similarity.topk(min(k + more, len(similarity)), 1, largest=largest).indices
        return reduce(best == torch.arange(len(similarity))[:, None])

    return recall_at


def joined(how):
    def ensemble(encode, labels, templates):
        return torch.stack([how(encode, label, templates) for label in labels])

    return ensemble


def worded(encode, label, templates):
    return encode([template.format(label) for template in templates])


def twins(rows=True, columns=True, value=-math.inf, equal=lambda ids: (ids[:, None] == ids).all(2), diagonal=False):
    def loss_without_twins(image, text, ids, scale):
        logits, same = scale * image @ text.T, equal(ids)
        hide = same if diagonal else same & ~torch.eye(len(ids), dtype=torch.bool)
        hidden, own = logits.masked_fill(hide, value), torch.arange(len(ids))
        one = F.cross_entropy(hidden if rows else logits, own)
        return (one + F.cross_entropy((hidden if columns else logits).T, own)) / 2

    return loss_without_twins


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
    ],
    "10.patches": [
        lambda x, size: x.reshape(len(x), -1, x.shape[1] * size * size),
        cut((0, 4, 2, 1, 3, 5)),
        cut((0, 2, 4, 3, 5, 1)),
        cut((0, 2, 4, 1, 5, 3)),
    ],
    "10.contrastive_loss": [
        loss(1, 0),
        loss(0, 1),
        loss(1, 1),
        loss(how=lambda cosine, scale: cosine / scale),
        loss(how=lambda cosine, scale: cosine),
        loss(reduction="sum"),
        loss(-0.5, -0.5),
        pull_only,
        softmax_twice,
    ],
    "10.recall_at": [
        recall(dim=0),
        recall(largest=False),
        recall(more=1),
        recall(more=-1),
        recall(reduce=lambda hits: hits.float().mean()),
        recall(reduce=lambda hits: hits.any(1).float().sum()),
        recall(reduce=lambda hits: hits[:, 0].float().mean()),
        recall(reduce=lambda hits: hits[:, -1].float().mean()),
    ],
    "10.ensemble": [
        joined(lambda encode, label, templates: worded(encode, label, templates).mean(0)),
        joined(lambda encode, label, templates: worded(encode, label, templates).sum(0)),
        joined(lambda encode, label, templates: worded(encode, label, templates)[0]),
        joined(lambda encode, label, templates: F.normalize(encode(templates).mean(0), dim=0)),
        joined(lambda encode, label, templates: encode([label])[0]),
    ],
    "10.loss_without_twins": [
        lambda image, text, ids, scale: loss()(image, text, scale),
        twins(value=0.0),
        twins(columns=False),
        twins(rows=False),
        twins(equal=lambda ids: ids[:, None, 1] == ids[:, 1]),
        twins(equal=lambda ids: (ids[:, None] == ids).any(2)),
        twins(equal=lambda ids: ids[:, None].sum(2) == ids.sum(1)),
        twins(diagonal=True),
    ],
}
