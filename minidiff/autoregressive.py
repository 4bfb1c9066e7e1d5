"""Lesson 00: draw a digit pixel by pixel, each given those before it (van den Oord et al., arXiv:1601.06759)."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import expect

LEVELS = 17  # grey levels of the 8x8 digits: x = k/8 - 1 for k = 0 … 16


def to_levels(x: Tensor) -> Tensor:
    """Pictures (B, 1, 8, 8) with values k/8 - 1 -> levels k (B, 8, 8), int64. ValueError for values off the levels."""
    expect.tensor("x", x, "B 1 8 8", finite=True, low=-1, high=1)
    k = ((x[:, 0] + 1) * 8).round()
    if not torch.equal(k / 8 - 1, x[:, 0]):
        raise ValueError("x: got values between the grey levels, expected k/8 - 1 with k = 0 … 16 (digits of size 8)")
    return k.long()


def from_levels(k: Tensor) -> Tensor:
    """Levels (B, 8, 8) -> pictures (B, 1, 8, 8) in [-1, 1]."""
    return k[:, None].float() / 8 - 1


class MaskedConv(nn.Conv2d):
    """A convolution that sees only the pixels before its own in reading order: above, or left in the same row.

    `own` lets it see its own place too: right in every layer but the first, whose own place is the answer
    (masks B and A of the paper, figure 2).
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, own: bool):
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + own :] = 0
        mask[kernel // 2 + 1 :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class MaskedBlock(nn.Module):
    """h + f(h) with a masked 5x5 convolution in f."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
            nn.SiLU(),
            MaskedConv(width, width, 5, own=True),
            nn.Dropout2d(dropout),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h)


class PixelModel(nn.Module):
    """p(x | y) = Π_i p(x_i | x_1 … x_{i-1}, y) over the 64 pixels of an 8x8 digit, 17 levels each."""

    def __init__(self, width: int = 48, blocks: int = 3, dropout: float = 0.2, classes: int = 10):
        super().__init__()
        width = expect.integer("width", width, 1)
        self.classes = expect.integer("classes", classes, 1)
        self.first = MaskedConv(1, width, 7, own=False)
        self.place = nn.Parameter(torch.zeros(1, width, 8, 8))
        self.label = nn.Embedding(classes, width)
        depth = expect.integer("blocks", blocks, 1)
        self.blocks = nn.Sequential(
            *[MaskedBlock(width, expect.number("dropout", dropout, 0, 1)) for _ in range(depth)]
        )
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, LEVELS, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits (B, 17, 8, 8): at each place, of its level given the pixels before it in x and the label y (B,)."""
        expect.tensor("x", x, "B 1 8 8")
        expect.labels("y", y, self.classes, len(x))
        return self.head(self.blocks(self.first(x) + self.place + self.label(y)[:, :, None, None]))

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Exact log p(x | y) in nats, (B,), all 64 factors in one pass."""
        return -self._surprise(x, to_levels(x), y).sum((1, 2))

    def log_prob_unlabelled(self, x: Tensor) -> Tensor:
        """Exact log p(x) = log (1/10) Σ_y p(x | y) in nats, (B,): the label summed out."""
        each = [self.log_prob(x, torch.full((len(x),), y, device=x.device)) for y in range(self.classes)]
        return torch.logsumexp(torch.stack(each), 0) - math.log(self.classes)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """-log p(x | y) in nats a pixel, a scalar. Values are rounded to the levels, not checked: no wait for a GPU."""
        return self._surprise(x, ((x[:, 0] + 1) * 8).round().long(), y).mean()

    def paint(self, labels: Tensor, temperature: float = 1.0, generator=None) -> Iterator[Tensor]:
        """Draw a picture for each label, one pixel and one network pass at a time: yields all (B, 1, 8, 8) each time.

        Pixels not yet drawn are -1. `temperature` divides the logits; 0 always takes the likeliest level.
        """
        temperature = expect.number("temperature", temperature, 0)
        return self._paint(expect.labels("labels", labels, self.classes), temperature, generator)

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n pictures (n, 1, 8, 8); without labels they run 0, 1, … 9, 0, …. 64 network passes."""
        if labels is None:
            labels = torch.arange(expect.integer("n", n, 1), device=self.place.device) % self.classes
        *_, x = self.paint(expect.labels("labels", labels, self.classes, n), temperature, generator)
        return x

    def _surprise(self, x: Tensor, levels: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(x, y), levels, reduction="none")  # (B, 8, 8), nats

    @torch.no_grad()
    def _paint(self, labels, temperature, generator):
        x = torch.full((len(labels), 1, 8, 8), -1.0, device=labels.device)
        for place in range(64):
            row, column = divmod(place, 8)
            logits = self(x, labels)[:, :, row, column]
            x[:, 0, row, column] = draw(logits, temperature, generator) / 8 - 1
            yield x.clone()


class IndependentPixels:
    """p(x | y) = Π_i p(x_i | y): how often each level came at each place, and no pixel knows its neighbour.

    One is added to every count, so that a level never seen has a small probability and not none.
    """

    def __init__(self, x: Tensor, y: Tensor, classes: int = 10):
        expect.labels("y", y, classes, len(x))
        seen = F.one_hot(to_levels(x), LEVELS).float()  # (N, 8, 8, 17)
        counts = torch.stack([seen[y == label].sum(0) for label in range(classes)]) + 1
        self.log_probs = (counts / counts.sum(-1, keepdim=True)).log()  # (classes, 8, 8, 17)

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Exact log p(x | y) in nats, (B,)."""
        return self.log_probs[y].gather(-1, to_levels(x)[..., None]).sum((1, 2, 3))

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n pictures (n, 1, 8, 8), every pixel drawn by itself."""
        labels = torch.arange(expect.integer("n", n, 1)) % len(self.log_probs) if labels is None else labels
        logits = self.log_probs[expect.labels("labels", labels, len(self.log_probs), n)].flatten(0, 2)
        levels = draw(logits, expect.number("temperature", temperature, 0), generator)
        return from_levels(levels.reshape(n, 8, 8))


def draw(logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """One index (B,) from each row of softmax(logits / temperature); at temperature 0 the largest."""
    if temperature == 0:
        return logits.argmax(-1)
    chances = (logits / temperature).softmax(-1)
    where = chances.device if generator is None else generator.device  # so that a CPU seed serves every device
    return torch.multinomial(chances.to(where), 1, generator=generator)[:, 0].to(logits.device)
