"""Lesson 00: draw a digit pixel by pixel, each given those before it (van den Oord et al., arXiv:1601.06759)."""

import math
from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.support import expect
from minidiff.support.parts import part

COLD = 1e-30  # a temperature below which logits / temperature may be infinite
LEVELS = 17  # grey levels of the 8x8 digits: x = k/8 - 1 for k = 0 … 16


def to_levels(x: Tensor, levels: int = LEVELS) -> Tensor:
    """Grey pictures (B, 1, H, W) -> their levels k (B, H, W), int64; x = 2 k / (levels - 1) - 1, so k/8 - 1 for 17.

    ValueError for values off the levels.
    """
    expect.tensor("x", x, "B 1 H W", finite=True, low=-1, high=1)
    levels = expect.integer("levels", levels, 2)
    k = _nearest(x[:, 0], levels)
    if not torch.equal(from_levels(k, levels)[:, 0], x[:, 0]):
        told = "k/8 - 1 with k = 0 … 16 (digits of size 8)" if levels == LEVELS else f"2 k / {levels - 1} - 1"
        raise ValueError(f"x: got values between the grey levels, expected {told}")
    return k


def from_levels(k: Tensor, levels: int = LEVELS) -> Tensor:
    """Levels (B, H, W), whole numbers 0 … levels - 1 -> pictures (B, 1, H, W) in [-1, 1]."""
    k = expect.integers("k", k, "B H W", 0, expect.integer("levels", levels, 2) - 1)
    return k[:, None].float() / ((levels - 1) / 2) - 1


def _nearest(x: Tensor, levels: int) -> Tensor:
    return ((x + 1) * ((levels - 1) / 2)).round().long()


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
        """(B, channels_in, H, W) -> (B, channels_out, H, W)."""
        expect.tensor("x", x, f"B {self.in_channels} H W", like=self.weight)
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class MaskedBlock(nn.Module):
    """h + f(h) with a masked 5x5 convolution in f."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.width = expect.integer("width", width, 1)
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
        """(B, width, H, W) -> the same shape."""
        expect.tensor("h", h, f"B {self.width} H W", like=self.body[1].weight)
        return h + self.body(h)


@part
class PixelModel(nn.Module):
    """p(x | y) = Π_i p(x_i | x_1 … x_{i-1}, y) over the pixels of a picture in reading order, a softmax of levels each.

    shape: (C, H, W). Pictures in colour are read channel by channel: a pixel is C numbers in a row, each given those
    before it. levels: values are 2 k / (levels - 1) - 1 for k = 0 … levels - 1, so 17 for the digits of size 8, 2 for
    black and white, 256 for bytes. classes: 0 for a model without labels, whose y is None.
    """

    def __init__(self, shape=(1, 8, 8), levels=LEVELS, width=48, blocks=3, dropout=0.2, classes=10):
        super().__init__()
        self.shape = tuple(expect.integer("shape", side, 1) for side in shape)
        if len(self.shape) != 3:
            raise ValueError(f"shape: got {tuple(shape)}, expected (C, H, W)")
        self.levels = expect.integer("levels", levels, 2)
        self.width = expect.integer("width", width, 1)
        self.dropout = expect.number("dropout", dropout, 0, 1)
        self.classes = expect.integer("classes", classes, 0)
        channels, height, row = self.shape
        self.conv_in = MaskedConv(1, width, 7, own=False)
        self.pos_embed = nn.Parameter(torch.zeros(1, width, height, row * channels))
        self.label_embed = nn.Embedding(classes, width) if classes else None
        depth = expect.integer("blocks", blocks, 1)
        self.blocks = nn.Sequential(*[MaskedBlock(width, self.dropout) for _ in range(depth)])
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, levels, 1))

    def described(self) -> dict:
        """What a checkpoint writes down: `blocks` is a number there, and the layers here."""
        return {"blocks": len(self.blocks)}

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits of each place's level, given the pixels before it in x and the labels y (B,).

        (B, levels, H, W) for grey pictures, (B, levels, C, H, W) for others.
        """
        read = self._read(x)
        y = expect.condition("y", y, self.classes, len(x))
        h = self.conv_in(read) + self.pos_embed
        if y is not None:
            h = h + self.label_embed(y)[:, :, None, None]
        logits = self.head(self.blocks(h))  # (B, levels, H, W C)
        channels = self.shape[0]
        return logits if channels == 1 else logits.unflatten(3, (-1, channels)).permute(0, 1, 4, 2, 3)

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Exact log p(x | y) in nats, (B,), all factors in one pass. ValueError for values off the levels."""
        levels = to_levels(self._read(x), self.levels)
        return -self._surprise(x, self._unread(levels), y).flatten(1).sum(1)

    def log_prob_unlabelled(self, x: Tensor) -> Tensor:
        """Exact log p(x) = log (1/K) Σ_y p(x | y) in nats, (B,): the label summed out, where the model has one."""
        self._read(x)
        if not self.classes:
            return self.log_prob(x)
        each = [self.log_prob(x, torch.full((len(x),), y, device=x.device)) for y in range(self.classes)]
        return torch.logsumexp(torch.stack(each), 0) - math.log(self.classes)

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """-log p(x | y) in nats a number, a scalar. Values in [-1, 1] are rounded to the levels."""
        expect.unit("x", x, f"B {' '.join(map(str, self.shape))}", self.pos_embed)
        levels = _nearest(x if self.shape[0] > 1 else x[:, 0], self.levels)
        return self._surprise(x, levels, y).mean()

    def paint(self, labels, temperature: float = 1.0, generator=None) -> Iterator[Tensor]:
        """Draw a picture for each label, one number and one network pass at a time: yields all (B, C, H, W) each time.

        labels: int64 (B,); for a model without labels how many pictures. Pixels not yet drawn are -1. `temperature`
        divides the logits; 0 always takes the likeliest level.
        """
        temperature = expect.number("temperature", temperature, 0)
        n, labels = self._asked(labels)
        x = torch.full((n, *self.shape), -1.0, device=self.pos_embed.device)
        return self._paint(x, torch.zeros(self.shape, dtype=torch.bool), labels, temperature, generator)

    def complete(self, x: Tensor, known: Tensor, labels=None, temperature: float = 1.0, generator=None) -> Tensor:
        """Pictures x (B, C, H, W) with the pixels drawn anew where `known` (H, W), bool, is False.

        Each new pixel is drawn given all those before it in reading order, so the result is a draw of p(rest | known)
        where what is known comes first, such as an upper half. Known pixels further on are kept, but not looked at.
        """
        channels, height, row = self.shape
        expect.tensor("x", x, f"B {channels} {height} {row}", like=self.pos_embed)
        if not isinstance(known, Tensor) or known.dtype != torch.bool or known.shape != (height, row):
            got = tuple(getattr(known, "shape", ())) or type(known).__name__
            raise ValueError(f"known: got {got}, expected a bool tensor ({height}, {row}), True where x is known")
        n, labels = self._asked(len(x) if labels is None and not self.classes else labels)
        if n != len(x):
            raise ValueError(f"labels: got {n}, expected {len(x)}, one for each picture")
        temperature = expect.number("temperature", temperature, 0)
        *_, done = self._paint(x.clone(), known.expand(channels, -1, -1), labels, temperature, generator)
        return done

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n pictures (n, C, H, W); without labels they run 0, 1, … in turn. A network pass for each number."""
        if labels is None:
            n = expect.integer("n", n, 1)
            labels = torch.arange(n, device=self.pos_embed.device) % self.classes if self.classes else n
        else:
            labels = expect.condition("labels", labels, self.classes, expect.integer("n", n, 1))
        *_, x = self.paint(labels, temperature, generator)
        return x

    def _read(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1, H, W C): the numbers in the order in which they are read."""
        channels, height, row = self.shape
        expect.tensor("x", x, f"B {channels} {height} {row}", like=self.pos_embed)
        return x if channels == 1 else x.permute(0, 2, 3, 1).flatten(2)[:, None]

    def _unread(self, levels: Tensor) -> Tensor:
        """(B, H, W C) -> (B, C, H, W), or as it is for grey pictures: in the order of the logits."""
        channels = self.shape[0]
        return levels if channels == 1 else levels.unflatten(2, (-1, channels)).permute(0, 3, 1, 2)

    def _surprise(self, x: Tensor, levels: Tensor, y: Tensor | None) -> Tensor:
        return F.cross_entropy(self(x, y), levels, reduction="none")  # a number of nats for each level

    def _asked(self, labels) -> tuple[int, Tensor | None]:
        if not self.classes:
            return expect.integer("labels", labels, 1), None
        labels = expect.labels("labels", labels, self.classes)
        return len(labels), labels.to(self.pos_embed.device)

    @torch.no_grad()
    def _paint(self, x, known, labels, temperature, generator):
        channels, height, width = self.shape
        for row, column, channel in product(range(height), range(width), range(channels)):
            if not known[channel, row, column]:
                logits = self(x, labels)
                here = logits[:, :, row, column] if channels == 1 else logits[:, :, channel, row, column]
                x[:, channel, row, column] = draw(here, temperature, generator) / ((self.levels - 1) / 2) - 1
            yield x.clone()


class IndependentPixels:
    """p(x | y) = Π_i p(x_i | y): how often each level came at each place, and no pixel knows its neighbour.

    One is added to every count, so that a level never seen has a small probability and not none.
    """

    def __init__(self, x: Tensor, y: Tensor, classes: int = 10):
        seen = F.one_hot(to_levels(x), LEVELS).float()  # (N, 8, 8, 17)
        y = expect.labels("y", y, classes, len(x))
        counts = torch.stack([seen[y == label].sum(0) for label in range(classes)]) + 1
        self.log_probs = (counts / counts.sum(-1, keepdim=True)).log()  # (classes, 8, 8, 17)

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Exact log p(x | y) in nats, (B,)."""
        classes, height, width, _ = self.log_probs.shape
        levels = to_levels(expect.tensor("x", x, f"B 1 {height} {width}"))
        y = expect.labels("y", y, classes, len(x))
        return self.log_probs[y].gather(-1, levels[..., None]).sum((1, 2, 3))

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n pictures (n, 1, 8, 8), every pixel drawn by itself."""
        n = expect.integer("n", n, 1)
        labels = torch.arange(n) % len(self.log_probs) if labels is None else labels
        logits = self.log_probs[expect.labels("labels", labels, len(self.log_probs), n)].flatten(0, 2)
        levels = draw(logits, expect.number("temperature", temperature, 0), generator)
        return from_levels(levels.reshape(n, 8, 8))


def draw(logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """One index (B,) from each row of softmax(logits / temperature); at temperature 0, or below COLD, the largest.

    logits: (B, K), finite, or -inf for what is never drawn.
    """
    expect.tensor("logits", logits, "B K")
    expect.generator("generator", generator)
    if expect.number("temperature", temperature, 0) < COLD:
        return logits.argmax(-1)
    chances = (logits / temperature).softmax(-1)
    where = chances.device if generator is None else generator.device  # so that a CPU seed serves every device
    return torch.multinomial(chances.to(where), 1, generator=generator)[:, 0].to(logits.device)
