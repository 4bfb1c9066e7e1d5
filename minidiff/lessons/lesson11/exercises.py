"""Lesson 11's checks: the loss that brings two towers together, labels made of words, retrieval, guidance by a CLIP."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from minidiff.exercises import CheckFailed, close, exercise, require, shaped
from minidiff.lessons.lesson11 import probes as probes11
from minidiff.lessons.lesson11 import solutions


@exercise(
    "11.contrastive_loss",
    solution=solutions.contrastive_loss,
    core=True,
    hints=(
        "All B × B cosines at once are one matrix product, because the rows are unit vectors.",
        "Each row is a classification whose right class is the place on the diagonal: `torch.arange(B)`. "
        "`F.cross_entropy(logits, classes)` takes the softmax and the mean over the batch.",
        "The captions ask the same question with rows and columns exchanged: `logits.T`. Return the mean of both.",
    ),
)
def _(attempt):
    image, text = probes11.towers()
    got = shaped(attempt(image, text, 5.0), (), "One number for the batch.")
    from minidiff.clip import contrastive

    wanted = contrastive(5 * image @ text.T)
    close(got, wanted, "Not the mean of two cross-entropies over scale × cosine.", slips=_loss_slips(image, text))
    image, text = probes11.towers(4)
    wanted = contrastive(2 * image @ text.T)
    got = attempt(image.requires_grad_(), text, 2.0)
    close(got, wanted, "Use the batch and the scale that you are given.")
    require(got.requires_grad, "The loss has lost its gradient: no detach and no .item() here.")


def _loss_slips(image, text):
    """hint -> the contrastive loss at scale 5 with that slip."""
    cosine = image @ text.T
    both = probes11.both_ways
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


@exercise(
    "11.recall_at",
    solution=solutions.recall_at,
    core=True,
    hints=(
        "`similarity.topk(k, dim=1).indices` has the k best columns of each row, (N, k).",
        "Compare them with `torch.arange(N)[:, None]`: True where the partner stands.",
        "A row has found its partner if any of its k places is True, `.any(1)`. Return the mean of that as floats.",
    ),
)
def _(attempt):
    similarity = torch.randn(200, 200) + 2 * torch.eye(200) + torch.randn(200)
    got = _share(attempt(similarity, 3))
    from minidiff.clip import recall

    close(got, recall(similarity, 3), "Not the share of rows that find their own.", slips=_recall_slips(similarity))
    close(_share(attempt(similarity, 200)), 1.0, "Among all answers everybody finds the partner.")
    wide = torch.cat([similarity, torch.randn(200, 90) + 2], dim=1)
    close(_share(attempt(wide, 3)), recall(wide, 3), "There may be more answers than queries: similarity (N, M).")


def _share(got):
    return shaped(torch.as_tensor(got) if isinstance(got, float) else got, (), "One share for all queries.")


def _recall_slips(similarity):
    """hint -> recall at 3 with that slip."""
    rank = (similarity > similarity.diag()[:, None]).sum(1).double()  # how many answers come before the own one
    across = (similarity > similarity.diag()[None]).sum(0)
    hits = (rank < 3).double()
    return {
        "That asks the columns for their rows: the answers to a query stand in its row, dim 1.": (across < 3)
        .double()
        .mean(),
        "Those are the k *least* similar: topk takes the largest.": (199 - rank < 3).double().mean(),
        "k counts from 1: recall at 3 allows two wrong answers before the right one.": (rank < 4).double().mean(),
        "That is one answer too few.": (rank < 2).double().mean(),
        "That counts hits in all k N places: only one of k can be right. Ask `any` of each row.": hits.mean() / 3,
        "A share, not a number of queries.": hits.sum(),
        "That is the best answer alone: any of the k largest will do.": (rank < 1).double().mean(),
        "That is the answer at place k alone: any of the k largest will do.": (rank == 2).double().mean(),
    }


@exercise(
    "11.ensemble",
    solution=solutions.ensemble,
    core=True,
    hints=(
        "Go through the labels one by one. For each label make a list of texts, one for each template.",
        "`template.format(label)` puts the label in the place of {}. `encode(texts)` gives a row for each text; take "
        "the mean over the rows.",
        "`torch.stack` makes one tensor (K, D) of the K means, and `F.normalize(..., dim=1)` makes unit rows.",
    ),
)
def _(attempt):
    labels, encode, templates = ["red circle", "blue square", "cyan cross"], probes11.encode, probes11.TEMPLATES
    got = shaped(attempt(encode, labels, templates), (3, 7), "One vector for each label.")
    every = torch.stack([encode([template.format(label) for template in templates]) for label in labels])  # (3, 3, 7)
    unfilled = F.normalize(encode(templates).mean(0, keepdim=True), dim=1)
    slips = {
        "The mean of unit vectors is shorter than 1: normalise it, or labels whose wordings agree win.": every.mean(1),
        "Those are the sums: normalise them, or labels whose wordings agree win.": every.sum(1),
        "That is the first template alone.": every[:, 0],
        "The label never reached the template: template.format(label).": unfilled.expand(3, 7),
        "Those are the bare labels, without any template.": encode(labels),
        "A row is one label: normalise along dim=1.": F.normalize(every.mean(1), dim=0),
    }
    close(got, F.normalize(every.mean(1), dim=1), "Not the normalised mean over the templates.", slips=slips)
    from minidiff.clip import classifier

    theirs = classifier(SimpleNamespace(encode_texts=encode), labels, templates)
    close(got, theirs, "Not equal to minidiff.clip.classifier.")


@exercise(
    "11.caption_log_prob",
    solution=solutions.caption_log_prob,
    core=True,
    hints=(
        "Define a function of x and t inside and return it, or a lambda. The captions can be encoded once, outside.",
        "Two unit vectors have the cosine `(a * b).sum(1)`, row by row: each picture with its *own* caption.",
        "The logits of a CLIP are cosines times `clip.scale`. Their gradient by x must survive: no `no_grad` around "
        "`encode_image`.",
    ),
)
def _(attempt):
    clip, ids, x = probes11.Seer(), torch.tensor([[1, 5, 2], [1, 7, 2], [1, 3, 2]]), torch.randn(3, 4)
    log_prob = attempt(clip, ids)
    if not callable(log_prob):
        raise CheckFailed("Return a function of x and t.", f"Got a {type(log_prob).__name__}.")
    t = torch.tensor(0.4)
    got = log_prob(x.requires_grad_(), t)
    wanted = clip.scale * (clip.encode_image(x, t) * clip.encode_text(ids)).sum(1)
    got = shaped(got, (3,), "One number for each picture, with its own caption alone: (B,).")
    close(got, wanted, "Not scale × cosine.", slips=_log_prob_slips(clip, ids, x, wanted))
    require(got.requires_grad, "The gradient by the picture is lost: no no_grad, no detach around encode_image.")
    clip.scale = torch.tensor(2.5)
    close(attempt(clip, ids)(x, t), wanted * 2.5 / 6, "Use clip.scale: each CLIP has learned its own.")


def _log_prob_slips(clip, ids, x, wanted):
    """hint -> the values with that slip."""
    early = clip.scale * (clip.encode_image(x, torch.tensor(0.0)) * clip.encode_text(ids)).sum(1)
    return {
        "Where is the scale? A cosine alone is a very soft log-probability.": wanted / clip.scale,
        "The cosines are multiplied by the scale; a temperature would divide.": wanted / clip.scale**2,
        "The pictures are noisy: tell the tower the time, encode_image(x, t).": early,
        "The sign is wrong: guidance climbs, so a better fit has to be a larger number.": -wanted,
        "Leave the logits as they are: guidance wants a logarithm, not a probability.": wanted.softmax(0),
    }


@exercise(
    "11.loss_without_twins",
    solution=solutions.loss_without_twins,
    hints=(
        "`(ids[:, None] == ids[None]).all(2)` is True where two captions are equal, token by token: (B, B).",
        "A row is no twin of itself: take the diagonal out of that matrix with `& ~torch.eye(B, dtype=torch.bool)`.",
        "A logit of −∞ gets nothing of a softmax: `logits.masked_fill(twins, -torch.inf)`, before both questions.",
    ),
)
def _(attempt):
    (image, text), ids = probes11.towers(), probes11.TWINS
    text = text[[0, 1, 0, 3, 0, 5]]
    got = shaped(attempt(image, text, ids, 4.0), (), "One number for the batch.")
    if torch.isinf(got) or torch.isnan(got):
        raise CheckFailed("The right answer is hidden too: a row is no twin of itself, so keep the diagonal.")
    logits = 4 * image @ text.T
    equal = ids[:, None] == ids[None]
    slips = probes11.twin_slips(logits, equal.all(2), equal[:, :, 1])
    slips["One token in common makes no twins, each text has the start: .all(2)."] = torch.tensor(0.0)
    sums = ids.sum(1)
    slips["Other ids may have the same sum: compare token by token."] = probes11.without(logits, sums[:, None] == sums)
    from minidiff.clip import contrastive

    close(got, contrastive(logits, equal.all(2)), "Not the loss with the twins' logits at −∞.", slips=slips)
    close(attempt(image, text, ids, 2.0), contrastive(logits / 2, equal.all(2)), "Use the scale that you are given.")


@exercise(
    "11.loss_with_hard",
    solution=solutions.loss_with_hard,
    hints=(
        "Only the pictures' question changes. Its candidates are the B captions and then the B hard ones.",
        "`torch.cat([text, hard])` stacks them, so the pictures' logits are (B, 2B). The right classes stay the same.",
        "The captions' question is the old one: `scale * text @ image.T`, (B, B). Return the mean of both.",
    ),
)
def _(attempt):
    image, text = probes11.towers()
    hard = probes11.towers()[1]
    got = shaped(attempt(image, text, hard, 4.0), (), "One number for the batch.")
    close(
        got,
        probes11.with_hard(image, text, hard),
        "Not the mean of both questions.",
        slips=_hard_slips(image, text, hard),
    )
    wanted = probes11.with_hard(image, text, hard, scale=2.0)
    close(attempt(image, text, hard, 2.0), wanted, "Use the scale that you are given.")


def _hard_slips(image, text, hard):
    """hint -> the loss with hard captions at scale 4 with that slip."""
    logits, every = 4 * image @ text.T, 4 * image @ torch.cat([text, hard]).T
    own = torch.arange(len(image))
    asked = F.cross_entropy(every, own)
    beside = torch.cat([logits, 4 * (image * hard).sum(1, keepdim=True)], dim=1)
    back = F.cross_entropy(logits.T, own)
    one = F.cross_entropy(beside, own)
    first = F.cross_entropy(every.roll(len(hard), 1), own)
    all_ask = F.cross_entropy(every.T, own.repeat(2))
    return {
        "That is the plain loss: the hard captions are missing.": probes11.both_ways(logits, logits),
        "That asks the pictures only: each caption looks for its picture too.": asked,
        "Each picture has to refuse all hard captions of the batch, not only the one in its own row.": (one + back) / 2,
        "The mean of both questions, not their sum.": asked + back,
        "Where is the scale?": probes11.with_hard(image, text, hard, scale=1.0),
        "The right classes are 0 to B - 1, so the captions come first: torch.cat([text, hard]).": (first + back) / 2,
        "A hard caption belongs to no picture: leave it out of the captions' question.": (asked + all_ask) / 2,
    }
