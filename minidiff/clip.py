"""Lesson 11: CLIP, two towers that put a picture and its caption at one place, and what that place is good for.

Radford et al. 2021, "Learning transferable visual models from natural language supervision" (2103.00020).
`pretrained.from_folder` fills these modules with published weights.
"""

import math
import warnings
from string import Formatter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.schedule import Schedule
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.words import unknown_words
from minidiff.transformer import TextEncoder

TEMPLATES = ("a {}", "a photo of a {}", "this is a photo of a {}", "there is a {}")
CHUNK = 256  # pictures looked at at once


@part
class CLIP(nn.Module):
    """Pictures and texts as unit vectors of one space (B, width), near to each other where they belong together.

    vision: pictures -> (B, vision.width). text: a `TextEncoder`. tokenizer: texts -> the ids that the text tower was
    trained on; what `encode_texts` and zero-shot classification use.
    """

    def __init__(self, vision: nn.Module, text: TextEncoder, width: int = 64, tokenizer=None):
        super().__init__()
        self.vision, self.text, self.tokenizer = vision, text, tokenizer
        self.width = expect.integer("width", width, 1)
        for name, tower in (("vision", vision), ("text", text)):
            if not hasattr(tower, "width"):
                told = "expected one that says how many numbers it makes of a row: its attribute `width`"
                raise TypeError(f"{name}: got {type(tower).__name__}, {told}")
        self.image_projection = nn.Linear(vision.width, width, bias=False)
        self.text_projection = nn.Linear(text.width, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's start

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before a softmax, (): 1 / temperature, learned, at most 100."""
        return self.logit_scale.exp().clamp(max=100)

    def encode_image(self, x: Tensor) -> Tensor:
        """Pictures in [-1, 1] -> unit vectors (B, width)."""
        return self._projected(x, self.vision(x))

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids (B, L) -> unit vectors (B, width)."""
        return F.normalize(self.text_projection(self.text.pooled(ids)), dim=1)

    def encode_texts(self, texts: str | list[str]) -> Tensor:
        """Texts, by the model's own tokenizer -> unit vectors (B, width). ValueError for one that is too long."""
        if self.tokenizer is None:
            raise ValueError("texts: got a text, expected ids for a model without a tokenizer (use encode_text)")
        return self.encode_text(self.tokenizer(texts).to(self.logit_scale.device))

    def unknown_words(self, texts: str | list[str]) -> list[str]:
        """The words of these texts that the model was not trained on: they are left out. [] where it has no list."""
        return unknown_words(self.tokenizer, texts)

    def similarity(self, x: Tensor, ids: Tensor) -> Tensor:
        """The cosine of each picture (B) with each text (N): (B, N) in [-1, 1]."""
        return self.encode_image(x) @ self.encode_text(ids).T

    def terms(self, x: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """The loss in nats ("loss"), and how often a picture finds its own caption in the batch ("accuracy")."""
        images = self.encode_image(x)
        expect.integers("ids", ids, f"{len(images)} L")
        return matching(images, self.encode_text(ids), self.scale, ids)

    def loss(self, x: Tensor, ids: Tensor) -> Tensor:
        """CLIP's contrastive loss of pictures and their captions, ids (B, L): a scalar (2103.00020, fig. 3)."""
        return self.terms(x, ids)["loss"]

    def guide(self, ids: Tensor):
        """(x, t) -> (B,): scale times the cosine of each picture with its own text, ids (B, L).

        What `classifier_guidance` takes for log p(text | x), up to a constant, as GLIDE did (2112.10741, section 2.4).
        A `CLIP` has no use for t: it has never seen noise, and what it says of it is worth little.
        """
        texts = self.encode_text(ids).detach()

        def log_prob(x: Tensor, t: Tensor) -> Tensor:
            seen = self._seen(x, t)
            if len(seen) != len(texts):
                raise ValueError(f"x: got {len(seen)} pictures, expected one for each of the {len(texts)} texts")
            return self.scale.detach() * (seen * texts).sum(1)

        return log_prob

    def _seen(self, x: Tensor, t: Tensor) -> Tensor:
        return self.encode_image(x)

    def _projected(self, x: Tensor, seen: Tensor) -> Tensor:
        """What the vision tower says of x, (B, vision.width), as unit vectors."""
        expect.tensor("vision(x)", seen, f"{len(x)} {self.image_projection.in_features}")
        return F.normalize(self.image_projection(seen), dim=1)


@part
class NoisyCLIP(CLIP):
    """A CLIP whose vision tower (time=True) sees pictures through the noise of a schedule: it can guide a denoiser."""

    def __init__(self, vision: nn.Module, text: TextEncoder, schedule: Schedule, width: int = 64, tokenizer=None):
        super().__init__(vision, text, width, tokenizer)
        self.schedule = schedule

    def encode_image(self, x: Tensor, t=0.0) -> Tensor:
        """Pictures x_t at time t, () or (B,) -> unit vectors (B, width)."""
        return self._projected(x, self.vision(x, t))

    def terms(self, x0: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """As CLIP's, of pictures noised here, at times spread evenly over the schedule's grid."""
        expect.tensor("x0", x0, "B ...", like=self.logit_scale)
        expect.integers("ids", ids, f"{len(x0)} L")
        t = self.schedule.spread(len(x0))
        x = self.schedule.add_noise(x0, t, torch.randn_like(x0))
        return matching(self.encode_image(x, t), self.encode_text(ids), self.scale, ids)

    def _seen(self, x: Tensor, t: Tensor) -> Tensor:
        return self.encode_image(x, t)


def matching(images: Tensor, texts: Tensor, scale: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Loss and accuracy of unit vectors of pictures and of their captions, both (B, width), and the captions' ids."""
    expect.alike("texts", texts, "images", images, "B width")
    ids = expect.integers("ids", ids, f"{len(images)} L")
    logits = scale * images @ texts.T  # (B, B), rows are pictures
    same = (ids[:, None] == ids).all(2)  # (B, B)
    found = same.gather(1, logits.argmax(1, keepdim=True))
    return {"loss": contrastive(logits, same), "accuracy": found.float().mean(), "temperature": 1 / scale}


def contrastive(logits: Tensor, same: Tensor | None = None) -> Tensor:
    """Which caption is this picture's, which picture this caption's? The mean of both cross-entropies, nats, a scalar.

    logits (B, B): row i, column j for picture i and caption j; the right ones are on the diagonal. same (B, B): True
    where captions i and j are equal: off the diagonal such a pair is no wrong answer, and it is left out.
    Source: CLIP (2103.00020), fig. 3.
    """
    rows = len(expect.tensor("logits", logits, "B B"))
    expect.tensor("logits", logits, f"{rows} {rows}")
    right = torch.arange(rows, device=logits.device)
    if same is not None:
        expect.mask("same", same, f"{rows} {rows}")
        logits = logits.masked_fill(same & (right[:, None] != right), -torch.inf)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


@torch.no_grad()
def embed(model: CLIP, images: Tensor) -> Tensor:
    """Any number of pictures -> their unit vectors (N, width), a chunk at a time, without gradients."""
    expect.tensor("images", images, "N ...")
    return torch.cat([model.encode_image(x) for x in images.split(CHUNK)])


@torch.no_grad()
def classifier(model: CLIP, labels: list[str], templates=TEMPLATES) -> Tensor:
    """A classifier made of words: labels -> unit vectors (K, width), each the mean over prompts made of its label.

    templates: texts with a place {} for the label, or one such text; their mean is CLIP's prompt ensemble (3.1.4).
    A warning names words of the labels that the model was not trained on, as it does not see them.
    """
    texts = _several(labels)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"labels: got {labels!r:.60}, expected a list of at least one text")
    forms = [templates] if isinstance(templates, str) else _several(templates)
    if not forms or not all(isinstance(form, str) and _places(form) == [""] for form in forms):
        raise ValueError(f"templates: got {templates!r:.60}, expected texts with one place {{}} for the label")
    if unknown := getattr(model, "unknown_words", lambda texts: [])(texts):
        warnings.warn(f"not among the words that this model was trained on: {', '.join(unknown)}", stacklevel=2)
    each = [model.encode_texts([form.format(text) for form in forms]).mean(0) for text in texts]
    return F.normalize(torch.stack(each), dim=1)


def _several(texts) -> list:
    """What there is in a list or the like; nothing in a text itself, nor in what cannot be gone through."""
    return list(texts) if hasattr(texts, "__iter__") and not isinstance(texts, str | bytes) else []


def _places(template: str) -> list[str]:
    """What stands in the braces of a text, [] for one whose braces do not close."""
    try:
        return [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError:
        return []


def zero_shot(model: CLIP, images: Tensor, labels: list[str], templates=TEMPLATES) -> Tensor:
    """How likely is each label? Pictures (B, C, H, W) and K labels -> probabilities (B, K), of no training on labels.

    The softmax of the picture's cosines with `classifier`, times the model's learned scale (CLIP, section 3.1.2).
    """
    return (model.scale.detach() * embed(model, images) @ classifier(model, labels, templates).T).softmax(1)


def recall(similarity: Tensor, k: int = 1, right: Tensor | None = None) -> float:
    """Retrieval: the share of queries, rows of `similarity` (N, M), that have a right answer among their k nearest.

    right (N, M), bool: which answers are right, the diagonal if not given. Transpose both to search the other way.
    """
    n, m = expect.tensor("similarity", similarity, "N M").shape
    k = expect.integer("k", k, 1, m)
    right = torch.eye(n, m, dtype=torch.bool, device=similarity.device) if right is None else right
    found = expect.mask("right", right, f"{n} {m}").gather(1, similarity.topk(k, dim=1).indices)
    return found.any(1).double().mean().item()
