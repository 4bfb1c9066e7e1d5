"""Lesson 06: the U-Net, a network that reads a noisy picture and its time and answers with a picture."""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import expect
from minidiff.nn import Attention, ResidualBlock, group_norm, time_mlp


class UNet(nn.Module):
    """(x_t, t, cond) -> a picture of x's shape: noise, clean picture or velocity, as its `Denoiser` trains it.

    On the way down the picture is halved from level to level and gains channels, on the way up it grows again. At each
    size the way up is handed a copy of what the way down knew there, a skip connection: the small levels see what the
    picture shows, the copies remember where, to the pixel. Every block is told the time (and the label) by FiLM.

    channels: of the picture. widths: channels at each level, the finest first: few where pixels are many, since a
    convolution costs pixels times width squared. blocks: residual blocks at each level, each way.
    classes: labels are 0 ... classes - 1, and `classes` for no label (null); 0 for a net that takes none.
    attention: the levels, 0 the finest, where pixels attend to each other and, with `text`, to its words. text: a
    module that makes token ids (B, L) into words (B, L, text.width); id 0 is padding, which nobody attends to. Words
    speak of places and of the whole: with them each pixel is told where it is (as in 1807.03247), and every block their
    sum, added to the time as a label is. Early in training 68 % of what is asked for is drawn so, 33 % without.
    time=False, skips=False: the same network blind to the time, or with blank copies, to see what they are for.
    Sources: Ronneberger et al. 2015 (1505.04597), fig. 1; residual blocks, time and attention from Ho et al. 2020
    (2006.11239), appendix B; FiLM and the label added to the time from Dhariwal & Nichol 2021 (2105.05233), section 3.
    """

    def __init__(
        self, channels=1, widths=(16, 32, 64, 128), blocks=1, classes=0, attention=(), text=None, time=True, skips=True
    ):
        super().__init__()
        self.channels, self.classes = expect.integer("channels", channels, 1), expect.integer("classes", classes, 0)
        self.time, self.skips = expect.choice("time", time, (True, False)), expect.choice("skips", skips, (True, False))
        widths, attention, embed = _widths(widths), _attention(attention, len(widths)), max(widths)
        if text is not None and (classes or not attention):
            raise ValueError("text: got a module, expected it with classes=0 and attention at one level or more")
        self.embed_time = time_mlp(64, embed)
        self.embed_label = nn.Embedding(classes + 1, embed) if classes else None
        self.text, self.pool = text, None if text is None else nn.Linear(text.width, embed)
        stage = partial(Stage, embed=embed, words=None if text is None else text.width)
        *above, lowest = range(len(widths))
        self.first = nn.Conv2d(channels + (0 if text is None else 2), widths[0], 3, padding=1)
        self.down = nn.ModuleList(stage(widths[i], widths[i], blocks, i in attention) for i in above)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.bottom = stage(widths[-1], widths[-1], 2 * blocks, lowest in attention)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(stage(2 * widths[i], widths[i], blocks, i in attention) for i in above)
        self.last = nn.Sequential(group_norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], channels, 3, padding=1))
        _zero(self.last[-1])  # a new net answers 0, the mean of all that it may be asked for

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x (B, channels, H, W), t (B,) in [0, 1], cond: labels (B,), token ids (B, L) or None -> x's shape."""
        self._check(x)
        told = self._tell(t, cond, len(x))
        # Channels last in memory, as convolutions on a CPU like it: 6 % of training here, 15 % of a wider net's.
        h, copies = self.first(self._placed(x)).contiguous(memory_format=torch.channels_last), []
        for stage, shrink in zip(self.down, self.shrink):
            h = stage(h, told)
            copies.append(h if self.skips else torch.zeros_like(h))
            h = shrink(h)
        h = self.bottom(h, told)
        for stage, grow in zip(reversed(self.up), reversed(self.grow)):
            # First fewer channels, then more pixels: a tenth faster than a 3x3 convolution of the large picture.
            h = F.interpolate(grow(h), scale_factor=2)
            h = stage(torch.cat([h, copies.pop()], dim=1), told)
        return self.last(h)

    def _tell(self, t: Tensor, cond: Tensor | None, rows: int) -> "Told":
        """What all blocks are told: the time, and the labels or the words."""
        expect.tensor("t", t, f"{rows}" if getattr(t, "ndim", 1) else "")
        embedding = self.embed_time(t if self.time else torch.zeros_like(t))
        if (cond is None) != (self.embed_label is None and self.text is None):
            wanted = "None (a net without classes and text)" if cond is not None else "a label or a text a picture"
            raise ValueError(f"cond: got {'None' if cond is None else 'a value'}, expected {wanted}")
        if self.embed_label is not None:
            return Told(embedding + self.embed_label(expect.labels("cond", cond, self.classes + 1, rows)))
        if self.text is not None:
            words, mask = self.text(_ids(cond, rows)), cond != 0
            # Over the square root of their number, so that the sum is as large as one word: a mean is hardly heard.
            pooled = (words * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1).sqrt()
            return Told(embedding + self.pool(pooled), words, mask)
        return Told(embedding)

    def _placed(self, x: Tensor) -> Tensor:
        """x and, in a net with text, two channels more: how far down and to the right a pixel is, from -1 to 1."""
        if self.text is None:
            return x
        down, right = (torch.linspace(-1, 1, size).to(x) for size in x.shape[2:])
        return torch.cat([x, torch.stack(torch.meshgrid(down, right, indexing="ij")).expand(len(x), -1, -1, -1)], 1)

    def _check(self, x: Tensor) -> None:
        expect.tensor("x", x, f"B {self.channels} H W")
        factor = 2 ** len(self.shrink)
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(f"x: got {x.shape[2]}x{x.shape[3]} pixels, expected multiples of {factor}, to be halved")


class Told(NamedTuple):
    """What a block is told besides the picture: the embedding of time and label, and the words of a text."""

    embedding: Tensor  # (B, E), or (1, E) for all
    words: Tensor | None = None  # (B, L, D)
    mask: Tensor | None = None  # (B, L), False for padding


class Stage(nn.Module):
    """The work at one size: residual blocks, each followed by attention where the level has it."""

    def __init__(self, channels_in: int, channels: int, blocks: int, attention: bool, embed: int, words: int | None):
        super().__init__()
        widths = [channels_in] + [channels] * expect.integer("blocks", blocks, 1)
        self.residual = nn.ModuleList(ResidualBlock(a, b, embed) for a, b in pairwise(widths))
        self.attention = nn.ModuleList(Look(channels, words) for _ in range(blocks)) if attention else None

    def forward(self, h: Tensor, told: Told) -> Tensor:
        for i, block in enumerate(self.residual):
            h = block(h, told.embedding)
            if self.attention is not None:
                h = self.attention[i](h, told)
        return h


class Look(nn.Module):
    """Each pixel looks at all pixels and, where `words` gives their width, at the words: h -> h's shape, h included."""

    def __init__(self, channels: int, words: int | None = None):
        super().__init__()
        heads = channels // math.gcd(channels, 32)  # of 32 channels each, where 32 divides them
        self.pixel_norm, self.pixels = group_norm(channels), Attention(channels, heads)
        self.word_norm = None if words is None else nn.LayerNorm(channels)
        self.words = None if words is None else Attention(channels, heads, context=words)
        for attention in filter(None, (self.pixels, self.words)):
            _zero(attention.out)  # as in a residual block: at first, nothing but h

    def forward(self, h: Tensor, told: Told) -> Tensor:
        tokens = h.flatten(2).mT  # (B, H W, C): a pixel is a token
        tokens = tokens + self.pixels(self.pixel_norm(h).flatten(2).mT)
        if self.words is not None:
            tokens = tokens + self.words(self.word_norm(tokens), told.words, told.mask)
        return tokens.mT.unflatten(2, h.shape[2:])


def _zero(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _widths(widths) -> list[int]:
    if not len(widths):
        raise ValueError("widths: got none, expected the channels of at least one level")
    return [expect.integer("widths", width, 1) for width in widths]


def _attention(levels, count: int) -> set[int]:
    return {expect.integer("attention", level, 0, count - 1) for level in levels}


def _ids(cond: Tensor, rows: int) -> Tensor:
    if not isinstance(cond, Tensor) or cond.dtype != torch.int64:
        raise TypeError(f"cond: got {getattr(cond, 'dtype', type(cond).__name__)}, expected int64 token ids")
    if cond.ndim != 2 or len(cond) != rows:
        raise ValueError(f"cond: got shape {tuple(cond.shape)}, expected ({rows}, L), a row of token ids a picture")
    return cond
