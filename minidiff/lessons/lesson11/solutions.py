"""The answers of lesson 11: what it writes by hand and what it leaves open, as `solution` shows it, and predictions."""

import torch
import torch.nn.functional as F

from minidiff.exercises.core import question


def contrastive_loss(image, text, scale):
    """Unit vectors (B, D) of pictures and of their captions, row i beside row i -> the loss in nats, a scalar."""
    logits = scale * image @ text.T  # (B, B), row i is picture i
    own = torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def ensemble(encode, labels, templates):
    """A classifier made of words: K labels, templates with a place {} for the label -> a unit vector a label (K, D).

    encode: a list of n texts -> their unit vectors (n, D).
    """
    means = [encode([template.format(label) for template in templates]).mean(0) for label in labels]
    return F.normalize(torch.stack(means), dim=1)


def recall_at(similarity, k):
    """The share of queries, rows of `similarity` (N, M), whose partner is among the k answers most like them.

    The partner of row i is column i. M may be larger than N: further answers that are nobody's partner.
    """
    best = similarity.topk(k, dim=1).indices  # (N, k)
    own = torch.arange(len(similarity))[:, None]
    return (best == own).any(1).float().mean()


def caption_log_prob(clip, ids):
    """log p(caption | picture), up to a constant: a function of pictures x (B, ...) at time t -> (B,), for guidance.

    ids (B, L): the captions. clip has `scale`, `encode_text(ids)` and `encode_image(x, t)`, both unit vectors (B, D).
    """
    text = clip.encode_text(ids).detach()
    return lambda x, t: clip.scale * (clip.encode_image(x, t) * text).sum(1)


def loss_without_twins(image, text, ids, scale):
    """The contrastive loss where another row with the same caption, token ids (B, L), is no wrong answer."""
    logits = scale * image @ text.T
    same = (ids[:, None] == ids[None]).all(2)  # (B, B)
    twins = same & ~torch.eye(len(ids), dtype=torch.bool)
    logits, own = logits.masked_fill(twins, -torch.inf), torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def loss_with_hard(image, text, hard, scale):
    """The contrastive loss where each picture also has to refuse the captions `hard` (B, D), wrong for all of them.

    image, text, hard: unit vectors (B, D). No picture belongs to a hard caption, so none of those looks for one.
    """
    own = torch.arange(len(image))
    of_images = scale * image @ torch.cat([text, hard]).T  # (B, 2B)
    of_texts = scale * text @ image.T  # (B, B)
    return (F.cross_entropy(of_images, own) + F.cross_entropy(of_texts, own)) / 2


question(
    "11.predict_scale",
    answer="b",
    hints={
        "a": "A cosine lies between −1 and 1, so no answer can be more than e², about 7, times as likely as another.",
        "c": "That is what guessing costs: log 64. Good towers know more than nothing, even at scale 1.",
    },
    why="the best that 64 directions can do is 1 for the own caption and −1/63 for each other: "
    "log(1 + 63 exp(−1 − 1/63)) is 3.2",
)
question(
    "11.predict_batch",
    answer="c",
    hints={
        "a": "Among 8 captions ground and place alone tell nearly all apart: who would have to learn shapes?",
        "b": "A harder question, but 16 times fewer steps to learn from it. Is that enough of them?",
    },
    why="batches of 8 ask too little, since few of their captions differ in one thing alone, and 500 steps of 128 are "
    "too few to learn: with so many pictures a size between them is best",
)
question(
    "11.predict_emoji",
    answer="c",
    hints={
        "a": "In the table below the kind is right for nearly all answers, so the wrong ones cannot be that far off.",
        "b": "Then the thing would be right more often than the skin tone. But a skin tone is a large patch "
        "of one colour, while a few pixels tell a cook from a man who cooks.",
    },
    why="41 of the 57 wrong answers have the right skin tone and only 14 the right thing, but 48 have the right kind: "
    "a colour is easily seen, and a firefighter and a man firefighter look alike at this size",
)
question(
    "11.predict_left_out",
    answer="b",
    hints={
        "a": "In a novel pair both words are known. Who ever said what a cross looks like?",
        "c": "For this model the word is a number whose vector no picture has ever moved.",
    },
    why="a word that no training caption had lies anywhere in the space, and crosses go to the words that are known: "
    "zero-shot recombines what the captions named, and nothing else",
)
