"""Lesson 06: the U-Net, a network that reads a noisy picture and its time and answers with a picture."""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.nn import Attention, ResidualBlock, group_norm, pooled, time_mlp
from minidiff.support import expect
from minidiff.support.parts import part


@part
class UNet(nn.Module):
    """(x_t, t, cond) -> a picture of x's shape: noise, clean picture or velocity, as its `Denoiser` trains it.

    On the way down the picture is halved from level to level and gains channels; on the way up it grows again. At each
    size the way up is handed a copy of what the way down knew there, a skip connection: the small levels see what the
    picture shows, and the copies remember where, to the pixel. Every block is told the time (and the label) by FiLM.

    channels: of the picture. widths: channels at each level, the finest first: few where pixels are many, since a
    convolution costs pixels times width squared. blocks: residual blocks at each level, each way.
    classes: labels are 0 ... classes - 1, and `classes` stands for no label (null); 0 for a net that takes none.
    attention: the levels, 0 the finest, where pixels attend to each other and, with `text`, to its words. text: a
    module that makes token ids (B, L) into words (B, L, text.width); id 0 is padding, which nobody attends to. Words
    speak of places and of the whole, so with them each pixel is told where it is (as in 1807.03247), and every block
    their sum, added to the time as a label is. Early in training 68 % of what is asked for is drawn so, 33 % without.
    known: channels of a picture that is the condition and joins x at the input; 0 for none.
    time=False, skips=False: the same network blind to the time, or with blank copies, to see what they are for.

    `down` and `up` hold a `Stage` a level and `mid` the one at the bottom, in the order in which they run.
    Sources: Ronneberger et al. 2015 (1505.04597), fig. 1; residual blocks, time and attention from Ho et al. 2020
    (2006.11239), appendix B; FiLM and the label added to the time from Dhariwal & Nichol 2021 (2105.05233), section 3;
    a picture as condition as in Saharia et al. 2021 (2104.07636), section 2.3.
    """

    def __init__(
        self,
        channels=1,
        widths=(16, 32, 64, 128),
        blocks=1,
        classes=0,
        attention=(),
        text=None,
        time=True,
        skips=True,
        known=0,
    ):
        super().__init__()
        self._settings(channels, widths, blocks, classes, attention, time, skips, known)
        _one_condition(classes, text, known, self.attention)
        widths = self.widths
        embed = max(widths)
        self.time_embed = time_mlp(64, embed)
        self.label_embed = nn.Embedding(classes + 1, embed) if classes else None
        self.text, self.text_pool = text, None if text is None else nn.Linear(text.width, embed)
        stage = partial(Stage, embed=embed, words=None if text is None else text.width)
        *above, lowest = range(len(widths))
        self.conv_in = nn.Conv2d(channels + known + (0 if text is None else 2), widths[0], 3, padding=1)
        self.down = nn.ModuleList(stage(widths[i], widths[i], blocks, i in self.attention) for i in above)
        self.downsample = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.mid = stage(widths[-1], widths[-1], 2 * blocks, lowest in self.attention)
        self.upsample = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(stage(2 * widths[i], widths[i], blocks, i in self.attention) for i in above)
        self.out = nn.Sequential(group_norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], channels, 3, padding=1))
        _zero(self.out[-1])  # a new net answers 0, the mean of all that it may be asked for

    def _settings(self, channels, widths, blocks, classes, attention, time, skips, known) -> None:
        """Every argument, checked and kept under its own name: a checkpoint writes them down."""
        self.channels = expect.integer("channels", channels, 1)
        self.widths = _widths(widths)
        self.blocks = expect.integer("blocks", blocks, 1)
        self.classes = expect.integer("classes", classes, 0)
        if not isinstance(attention, tuple | list):
            raise TypeError(f"attention: got {attention!r:.60}, expected levels, (2, 3) say")
        self.attention = [expect.integer("attention", level, 0, len(self.widths) - 1) for level in attention]
        self.time = expect.choice("time", time, (True, False))
        self.skips = expect.choice("skips", skips, (True, False))
        self.known = expect.integer("known", known, 0)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None, added=None) -> Tensor:
        """x (B, channels, H, W), t (B,) or () in [0, 1] -> x's shape.

        cond: labels (B,), token ids (B, L), a known picture (B, known, H, W), or None for a net that takes none.
        added: what lesson 15 adds to each copy, the finest first, and to the bottom, each of its shape; None for none.
        """
        h, conditioning = self.begin(x, t, cond)
        *copies, h = walk_down(self, h, conditioning)
        if not self.skips:
            copies = [torch.zeros_like(copy) for copy in copies]
        if added is not None:
            *copies, h = [known + more for known, more in zip([*copies, h], added, strict=True)]
        for stage, upsample in zip(reversed(self.up), reversed(self.upsample)):
            # First fewer channels, then more pixels: a tenth faster than a 3x3 convolution of the large picture.
            h = F.interpolate(upsample(h), scale_factor=2)
            h = stage(torch.cat([h, copies.pop()], dim=1), conditioning)
        return self.out(h)

    def begin(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> "tuple[Tensor, Conditioning]":
        """What the way down starts with, (B, widths[0], H, W), and what all blocks are told."""
        self._check(x, cond)
        conditioning = self._conditioning(t, cond, len(x))
        # Channels last in memory, as convolutions on a CPU like it: 6 % of training here, 15 % of a wider net's.
        return self.conv_in(self._input(x, cond)).contiguous(memory_format=torch.channels_last), conditioning

    def _conditioning(self, t: Tensor, cond: Tensor | None, rows: int) -> "Conditioning":
        """What all blocks are told: the time, and the labels or the words."""
        expect.tensor("t", t, f"{rows}" if getattr(t, "ndim", 1) else "", like=self.conv_in.weight)
        embedding = self.time_embed(t if self.time else torch.zeros_like(t))
        if self.label_embed is not None:
            labels = expect.labels("cond", cond, self.classes + 1, rows)
            return Conditioning(embedding + self.label_embed(labels))
        if self.text is None:
            return Conditioning(embedding)
        cond = expect.integers("cond", cond, f"{rows} L", low=0)
        words = self.text(cond)
        mask = cond != 0
        return Conditioning(embedding + self.text_pool(pooled(words, mask)), words, mask)

    def _input(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """x with the channels that join it: a known picture, or in a net with text where a pixel is.

        The latter are two, how far down and how far to the right, from -1 to 1.
        """
        if self.known:
            return torch.cat([x, cond], 1)
        if self.text is None:
            return x
        down, right = (torch.linspace(-1, 1, size).to(x) for size in x.shape[2:])
        return torch.cat([x, torch.stack(torch.meshgrid(down, right, indexing="ij")).expand(len(x), -1, -1, -1)], 1)

    @property
    def factor(self) -> int:
        """What the sides of x must be multiples of."""
        return 2 ** len(self.downsample)

    def _check(self, x: Tensor, cond: Tensor | None) -> None:
        expect.tensor("x", x, f"B {self.channels} H W", like=self.conv_in.weight)
        if x.shape[2] % self.factor or x.shape[3] % self.factor:
            sides = f"{x.shape[2]}x{x.shape[3]}"
            raise ValueError(f"x: got {sides} pixels, expected multiples of {self.factor}, to be halved")
        takes = bool(self.classes or self.text is not None or self.known)
        if (cond is not None) != takes:
            wanted = "a label, a text or a known picture for each row" if takes else "None (a net without conditions)"
            raise ValueError(f"cond: got {'None' if cond is None else 'a value'}, expected {wanted}")
        if self.known:
            expect.tensor("cond", cond, f"{len(x)} {self.known} {x.shape[2]} {x.shape[3]}", like=x)


def walk_down(net: nn.Module, h: Tensor, conditioning: "Conditioning") -> list[Tensor]:
    """What a net's way down knows at each level, the finest first: the copies, and at the end the bottom."""
    found = []
    for stage, downsample in zip(net.down, net.downsample):
        h = stage(h, conditioning)
        found.append(h)
        h = downsample(h)
    return [*found, net.mid(h, conditioning)]


class Conditioning(NamedTuple):
    """What a block is told besides the picture: the embedding of time and label, and the words of a text."""

    embedding: Tensor  # (B, E), or (1, E) for all
    words: Tensor | None = None  # (B, L, D)
    mask: Tensor | None = None  # (B, L), False for padding


class Stage(nn.Module):
    """The work at one size: residual blocks, each followed by attention where the level has it."""

    def __init__(self, channels_in: int, channels: int, blocks: int, attention: bool, embed: int, words: int | None):
        super().__init__()
        widths = [channels_in] + [channels] * blocks
        self.blocks = nn.ModuleList(ResidualBlock(a, b, embed) for a, b in pairwise(widths))
        self.attentions = nn.ModuleList(AttentionBlock(channels, words) for _ in range(blocks)) if attention else None

    def forward(self, h: Tensor, conditioning: Conditioning) -> Tensor:
        for i, block in enumerate(self.blocks):
            h = block(h, conditioning.embedding)
            if self.attentions is not None:
                h = self.attentions[i](h, conditioning)
        return h


class AttentionBlock(nn.Module):
    """Each pixel attends to all pixels and, where `words` gives their width, to the words: h -> h's shape."""

    def __init__(self, channels: int, words: int | None = None):
        super().__init__()
        heads = channels // math.gcd(channels, 32)  # of 32 channels each, where 32 divides them
        self.norm1 = group_norm(channels)
        self.self_attention = Attention(channels, heads)
        self.norm2 = None if words is None else nn.LayerNorm(channels)
        self.cross_attention = None if words is None else Attention(channels, heads, context=words)
        for attention in filter(None, (self.self_attention, self.cross_attention)):
            _zero(attention.out)  # as in a residual block: at first, nothing but h

    def forward(self, h: Tensor, conditioning: Conditioning) -> Tensor:
        tokens = h.flatten(2).mT  # (B, H W, C): a pixel is a token
        tokens = tokens + self.self_attention(self.norm1(h).flatten(2).mT)
        if self.cross_attention is not None:
            tokens = tokens + self.cross_attention(self.norm2(tokens), conditioning.words, conditioning.mask)
        return tokens.mT.unflatten(2, h.shape[2:])


def _one_condition(classes: int, text, known: int, attention) -> None:
    if text is not None and (classes or not attention):
        raise ValueError("text: got a module, expected it with classes=0 and attention at one level or more")
    if known and (classes or text is not None):
        raise ValueError(f"known: got {known} with labels or text, expected a picture as the only condition")


def _zero(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _widths(widths) -> list[int]:
    if not isinstance(widths, tuple | list):
        raise TypeError(f"widths: got {widths!r:.60}, expected the channels of each level, (16, 32) say")
    if not widths:
        raise ValueError("widths: got none, expected the channels of at least one level")
    return [expect.integer("widths", width, 1) for width in widths]
