"""Lesson 10's checks: tokens, a text read from left to right, patches, and the loss that brings two towers together."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from minidiff.exercises import CheckFailed, close, exercise, require, shaped
from minidiff.lessons.lesson10 import probes as probes10
from minidiff.lessons.lesson10 import solutions


@exercise("10.merge", solution=solutions.merge, core=True)
def _(attempt):
    for symbols, pair, wanted, hint in probes10.WORDS:
        got = attempt(tuple(symbols.split()), tuple(pair.split()))
        wanted = tuple(wanted.split())
        require(got is not None, "The result is None: is a `return` missing?")
        if not isinstance(got, tuple):  # no list: the lesson merges what comes out again
            raise CheckFailed(f"The result is a {type(got).__name__}, expected a tuple of symbols.")
        if tuple(got) != wanted:
            raise CheckFailed(hint, f"Got {tuple(got)}, expected {wanted}.")


@exercise("10.causal_attention", solution=solutions.causal_attention, core=True)
def _(attempt):
    q = torch.randn(3, 5, 8)
    k = torch.randn(3, 5, 8)
    v = torch.randn(3, 5, 4)
    got = shaped(attempt(q, k, v), (3, 5, 4), "One row of v's width for each query.")
    slips = {hint: value[:, 1:] for hint, value in probes10.attention_slips(q, k, v).items()}
    wanted = solutions.causal_attention(q, k, v)
    close(got[:, 1:], wanted[:, 1:], "Not softmax(q kᵀ / √d) v.", slips=slips)
    close(got[:, 0], v[:, 0], "The first token sees itself alone: its own value comes out. May a token see itself?")
    from minidiff.nn import attend

    theirs = attend(q[:, None], k[:, None], v[:, None], causal=True)[:, 0]
    close(got, theirs, "Not equal to minidiff.nn.attend with causal=True.")


@exercise("10.patches", solution=solutions.patches, core=True)
def _(attempt):
    x = torch.randn(2, 3, 8, 12)
    got = shaped(attempt(x, 4), (2, 6, 48), "2 rows of 3 patches, of 3 channels times 4 times 4 numbers each.")
    cut = x.reshape(2, 3, 2, 4, 3, 4)

    def ordered(*axes):
        return cut.permute(axes).reshape(2, 6, 48)

    slips = {
        "Those are rows of pixels laid end to end: cut both H and W in two numbers, then permute.": x.reshape(2, 6, 48),
        "From left to right, then down: this goes down first.": ordered(0, 4, 2, 1, 3, 5),
        "Within a patch the channels come first, as in a convolution's weight.": ordered(0, 2, 4, 3, 5, 1),
        "A patch came out mirrored along its diagonal: its rows come before its columns.": ordered(0, 2, 4, 1, 5, 3),
    }
    wanted = F.unfold(x, 4, stride=4).mT
    close(got, wanted, "Not the patches: x.reshape(B, C, H/size, size, W/size, size), then permute.", slips=slips)


@exercise("10.contrastive_loss", solution=solutions.contrastive_loss, core=True)
def _(attempt):
    image, text = probes10.towers()
    got = shaped(attempt(image, text, 5.0), (), "One number for the batch.")
    from minidiff.clip import contrastive

    wanted = contrastive(5 * image @ text.T)
    close(got, wanted, "Not the mean of two cross-entropies over scale × cosine.", slips=_loss_slips(image, text))


def _loss_slips(image, text):
    """hint -> the contrastive loss at scale 5 with that slip."""
    cosine = image @ text.T
    both = probes10.both_ways
    logits = 5 * cosine
    return {
        "That asks the pictures only: each caption looks for its picture too.": both(logits, logits, 1, 0),
        "That asks the captions only: each picture looks for its caption too.": both(logits, logits, 0, 1),
        "The mean of both directions, not their sum.": both(logits, logits, 1, 1),
        "The cosines are multiplied by the scale; a temperature would divide.": both(cosine / 5, cosine / 5),
        "Where is the scale?": both(cosine, cosine),
        "The mean over the batch, not its sum: the loss would grow with B.": both(logits, logits, reduction="sum"),
        "The sign is wrong: a loss falls as partners come together.": -both(logits, logits),
        "cross_entropy takes the softmax itself: give it the logits.": both(logits.softmax(1), logits.softmax(0)),
        "Only partners are pulled together: without the others all could fall on one point.": 5
        * (1 - cosine.diag()).mean(),
    }


@exercise("10.recall_at", solution=solutions.recall_at)
def _(attempt):
    similarity = torch.randn(200, 200) + 2 * torch.eye(200) + torch.randn(200)
    got = attempt(similarity, 3)
    got = shaped(torch.as_tensor(got) if isinstance(got, float) else got, (), "One share for all pictures.")
    from minidiff.clip import recall

    close(got, recall(similarity, 3), "Not the share of rows that find their own.", slips=_recall_slips(similarity))
    close(attempt(similarity, 200), 1.0, "Among all captions everybody finds the partner.")


def _recall_slips(similarity):
    """hint -> recall at 3 with that slip."""
    rank = (similarity > similarity.diag()[:, None]).sum(1).double()  # how many captions come before the own one
    across = (similarity > similarity.diag()[None]).sum(0)
    hits = (rank < 3).double()
    return {
        "That asks the captions for their pictures: a picture's similarities are a row, dim 1.": (across < 3)
        .double()
        .mean(),
        "Those are the k *least* similar: topk takes the largest.": (199 - rank < 3).double().mean(),
        "k counts from 1: recall at 3 allows two wrong captions before the right one.": (rank < 4).double().mean(),
        "That is one caption too few.": (rank < 2).double().mean(),
        "That counts hits in all k N places: only one of k can be right. Ask `any` of each row.": hits.mean() / 3,
        "A share, not a number of pictures.": hits.sum(),
        "That is the best caption alone: any of the k largest will do.": (rank < 1).double().mean(),
        "That is the caption at place k alone: any of the k largest will do.": (rank == 2).double().mean(),
    }


@exercise("10.ensemble", solution=solutions.ensemble)
def _(attempt):
    labels, encode, templates = ["red circle", "blue square", "cyan cross"], probes10.encode, probes10.TEMPLATES
    got = shaped(attempt(encode, labels, templates), (3, 7), "One vector for each label.")
    every = torch.stack([encode([template.format(label) for template in templates]) for label in labels])  # (3, 3, 7)
    unfilled = F.normalize(encode(templates).mean(0, keepdim=True), dim=1)
    slips = {
        "The mean of unit vectors is shorter than 1: normalise it, or labels whose wordings agree win.": every.mean(1),
        "Those are the sums: normalise them, or labels whose wordings agree win.": every.sum(1),
        "That is the first template alone.": every[:, 0],
        "The label never reached the template: template.format(label).": unfilled.expand(3, 7),
        "Those are the bare labels, without any template.": encode(labels),
    }
    close(got, F.normalize(every.mean(1), dim=1), "Not the normalised mean over the templates.", slips=slips)
    from minidiff.clip import classifier

    theirs = classifier(SimpleNamespace(encode_texts=encode), labels, templates)
    close(got, theirs, "Not equal to minidiff.clip.classifier.")


@exercise("10.loss_without_twins", solution=solutions.loss_without_twins)
def _(attempt):
    (image, text), ids = probes10.towers(), probes10.TWINS
    text = text[[0, 1, 0, 3, 0, 5]]
    got = shaped(attempt(image, text, ids, 4.0), (), "One number for the batch.")
    if torch.isinf(got) or torch.isnan(got):
        raise CheckFailed("The right answer is hidden too: a row is no twin of itself, so keep the diagonal.")
    logits = 4 * image @ text.T
    equal = ids[:, None] == ids[None]
    slips = probes10.twin_slips(logits, equal.all(2), equal[:, :, 1])
    slips["One token in common makes no twins, each text has the start: .all(2)."] = torch.tensor(0.0)
    sums = ids.sum(1)
    slips["Other ids may have the same sum: compare token by token."] = probes10.without(logits, sums[:, None] == sums)
    from minidiff.clip import contrastive

    close(got, contrastive(logits, equal.all(2)), "Not the loss with the twins' logits at −∞.", slips=slips)
