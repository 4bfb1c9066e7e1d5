"""Lesson 11's planted bugs: each must be told apart by a hint of its own."""

import math

import torch
import torch.nn.functional as F


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


def log_prob(how):
    def caption_log_prob(clip, ids):
        text = clip.encode_text(ids)
        return lambda x, t: how(clip, x, t, text)

    return caption_log_prob


def without_gradient(clip, x, t, text):
    with torch.no_grad():
        return clip.scale * (clip.encode_image(x, t) * text).sum(1)


def hard_loss(pictures, captions=lambda image, text, hard: (text @ image.T, torch.arange(len(text))), weight=0.5):
    def loss_with_hard(image, text, hard, scale):
        logits, classes = captions(image, text, hard)
        own = torch.arange(len(image))
        first = F.cross_entropy(scale * pictures(image, text, hard), own)
        return weight * (first + F.cross_entropy(scale * logits, classes))

    return loss_with_hard


def every(image, text, hard):
    return image @ torch.cat([text, hard]).T


PLANTED = {
    "11.contrastive_loss": [
        loss(1, 0),
        loss(0, 1),
        loss(1, 1),
        loss(how=lambda cosine, scale: cosine / scale),
        loss(how=lambda cosine, scale: cosine),
        loss(reduction="sum"),
        loss(-0.5, -0.5),
        pull_only,
        softmax_twice,
        lambda image, text, scale: loss()(image, text, scale).detach(),
        lambda image, text, scale: loss()(image, text, 5.0),
    ],
    "11.recall_at": [
        recall(dim=0),
        recall(largest=False),
        recall(more=1),
        recall(more=-1),
        recall(reduce=lambda hits: hits.float().mean()),
        recall(reduce=lambda hits: hits.any(1).float().sum()),
        recall(reduce=lambda hits: hits[:, 0].float().mean()),
        recall(reduce=lambda hits: hits[:, -1].float().mean()),
    ],
    "11.ensemble": [
        joined(lambda encode, label, templates: worded(encode, label, templates).mean(0)),
        joined(lambda encode, label, templates: worded(encode, label, templates).sum(0)),
        joined(lambda encode, label, templates: worded(encode, label, templates)[0]),
        joined(lambda encode, label, templates: F.normalize(encode(templates).mean(0), dim=0)),
        joined(lambda encode, label, templates: encode([label])[0]),
        lambda *given: F.normalize(joined(lambda *one: worded(*one).mean(0))(*given), dim=0),
    ],
    "11.loss_without_twins": [
        lambda image, text, ids, scale: loss()(image, text, scale),
        twins(value=0.0),
        twins(columns=False),
        twins(rows=False),
        twins(equal=lambda ids: ids[:, None, 1] == ids[:, 1]),
        twins(equal=lambda ids: (ids[:, None] == ids).any(2)),
        twins(equal=lambda ids: ids[:, None].sum(2) == ids.sum(1)),
        twins(diagonal=True),
        lambda image, text, ids, scale: twins()(image, text, ids, 4.0),
    ],
    "11.caption_log_prob": [
        log_prob(lambda clip, x, t, text: (clip.encode_image(x, t) * text).sum(1)),
        log_prob(lambda clip, x, t, text: (clip.encode_image(x, t) * text).sum(1) / clip.scale),
        log_prob(lambda clip, x, t, text: clip.scale * (clip.encode_image(x) * text).sum(1)),
        log_prob(lambda clip, x, t, text: -clip.scale * (clip.encode_image(x, t) * text).sum(1)),
        log_prob(lambda clip, x, t, text: clip.scale * clip.encode_image(x, t) @ text.T),
        log_prob(lambda clip, x, t, text: (clip.scale * (clip.encode_image(x, t) * text).sum(1)).softmax(0)),
        log_prob(without_gradient),
        log_prob(lambda clip, x, t, text: 6 * (clip.encode_image(x, t) * text).sum(1)),
        lambda clip, ids: clip.encode_text(ids),
    ],
    "11.loss_with_hard": [
        lambda image, text, hard, scale: loss()(image, text, scale),
        hard_loss(lambda image, text, hard: torch.cat([image @ text.T, (image * hard).sum(1, keepdim=True)], dim=1)),
        hard_loss(every, weight=1.0),
        hard_loss(lambda image, text, hard: every(image, hard, text)),
        lambda image, text, hard, scale: hard_loss(every)(image, text, hard, 4.0),
        hard_loss(every, captions=lambda *rows: (every(*rows).T, torch.arange(len(rows[0])).repeat(2))),
        lambda image, text, hard, scale: hard_loss(every)(image, text, hard, 1.0),
        lambda image, text, hard, scale: F.cross_entropy(scale * every(image, text, hard), torch.arange(len(image))),
    ],
}
