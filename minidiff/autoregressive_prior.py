"""Lesson 14: unCLIP's other prior. It writes the CLIP embedding of a picture as a sentence, number after number.

Ramesh et al. 2022, "Hierarchical text-conditional image generation with CLIP latents" (2204.06125), section 2.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.dalle import Cache, cached_block, choose
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.transformer import Block, TextEncoder, Tokenizer
from minidiff.unclip import TextPrior, TextReader


@part
class Quantiser(nn.Module):
    """Embeddings as tokens and back: z (B, embedding) <-> tokens (B, dims), each of 0 ... buckets - 1.

    A token says in which bucket the coordinate along a principal axis lies. The axes with the largest variance come
    first, and the buckets of an axis are equally wide (2204.06125, section 2.2, has 319 of 1,024 axes and 1,024
    buckets). `measure` finds axes and buckets.
    """

    def __init__(self, embedding: int = 64, dims: int = 24, buckets: int = 32):
        super().__init__()
        self.embedding = expect.integer("embedding", embedding, 1)
        self.dims = expect.integer("dims", dims, 2, embedding)
        self.buckets = expect.integer("buckets", buckets, 2)
        self.register_buffer("mean", torch.zeros(embedding))
        self.register_buffer("axes", torch.eye(dims, embedding))
        self.register_buffer("low", torch.full((dims,), -1.0))  # where the first bucket of each axis begins
        self.register_buffer("high", torch.full((dims,), 1.0))  # where the last one ends

    @torch.no_grad()
    def measure(self, z: Tensor) -> "Quantiser":
        """The principal axes of embeddings z (N, embedding), and for each its buckets, from their least to the most."""
        expect.tensor("z", z, f"N {self.embedding}", rows=2, finite=True, like=self.mean)
        axes = torch.linalg.eigh(torch.cov(z.double().T)).eigenvectors.T  # the smallest eigenvalue first
        self.mean.copy_(z.mean(0))
        self.axes.copy_(axes.flip(0)[: self.dims])
        low, high = self.coordinates(z).aminmax(dim=0)
        self.low.copy_(low)
        self.high.copy_(torch.maximum(high, low + 1e-6))  # an axis without any variance has buckets too
        return self

    @property
    def bucket(self) -> Tensor:
        """The width of a bucket of each axis, (dims,)."""
        return (self.high - self.low) / self.buckets

    def coordinates(self, z: Tensor) -> Tensor:
        """z (B, embedding) along the axes, counted from the mean: (B, dims)."""
        expect.tensor("z", z, f"B {self.embedding}", like=self.mean)
        return (z - self.mean) @ self.axes.T

    def encode(self, z: Tensor) -> Tensor:
        """z (B, embedding) -> tokens (B, dims), int64; what lies outside goes into the first or the last bucket."""
        place = (self.coordinates(z) - self.low) / self.bucket
        return place.floor().long().clamp(0, self.buckets - 1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, dims) -> embeddings (B, embedding): the middles of their buckets, and the mean for all else."""
        tokens = expect.integers("tokens", tokens, f"B {self.dims}", 0, self.buckets - 1)
        return self.mean + (self.low + (tokens + 0.5) * self.bucket) @ self.axes


@part
class NumberNet(TextReader):
    """Which number comes next? (tokens (B, dims) of an embedding, dot (B,), ids (B, L)) -> logits (B, dims, buckets).

    Those at place i are made from the words, the text's embedding, the bucket of its dot product with the picture's, of
    0 ... dots - 1, and the tokens before i. A causal transformer of `layers` blocks, `width` wide.
    """

    def __init__(self, text: TextEncoder, quantiser: Quantiser, dots=16, width=128, layers=2, heads=4):
        super().__init__(text, quantiser.embedding)
        self.quantiser = quantiser
        self.dots = expect.integer("dots", dots, 2)
        self.width = expect.integer("width", width, 1)
        self.layers = expect.integer("layers", layers, 1)
        self.heads = expect.integer("heads", heads, 1)
        self.word_in = nn.Linear(text.width, width)
        self.text_in = nn.Linear(self.embedding, width)
        self.dot_in = nn.Embedding(dots, width)
        self.token_in = nn.Embedding(quantiser.dims * quantiser.buckets, width)  # each axis has buckets of its own
        self.pos_embed = nn.Parameter(torch.randn(text.length + 1 + quantiser.dims, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, quantiser.buckets)

    def forward(self, tokens: Tensor, dot: Tensor, ids: Tensor) -> Tensor:
        tokens = expect.integers("tokens", tokens, f"B {self.quantiser.dims}", 0, self.quantiser.buckets - 1)
        told = self.told(dot, expect.integers("ids", ids, f"{len(tokens)} {self.text.length}"))
        row = torch.cat([told, self.written(tokens[:, :-1])], dim=1)
        return self.out(self.norm(self.blocks(row)))[:, told.shape[1] - 1 :]

    def told(self, dot: Tensor, ids: Tensor) -> Tensor:
        """What is read before the first number: words, the text and dot (B,), (B, L + 2, width), with their places."""
        ids = expect.integers("ids", ids, f"B {self.text.length}", low=0)
        dot = self.dot_in(expect.integers("dot", dot, f"{len(ids)}", 0, self.dots - 1))
        text = self.text_in(self.embed_text(ids) * self.embedding**0.5)
        row = torch.cat([self.word_in(self.text(ids)), torch.stack([text, dot], dim=1)], dim=1)
        return row + self.pos_embed[: row.shape[1]]

    def written(self, tokens: Tensor, first: int = 0) -> Tensor:
        """Tokens (B, n), the first of them that of axis `first`, with their places: (B, n, width)."""
        tokens = expect.integers("tokens", tokens, "B n", 0, self.quantiser.buckets - 1)
        expect.integer("tokens.shape[1]", tokens.shape[1], 1, self.quantiser.dims - 1 - first)  # none follows the last
        axis = first + torch.arange(tokens.shape[1], device=tokens.device)
        return self.token_in(self.quantiser.buckets * axis + tokens) + self.pos_embed[self.text.length + 2 + axis]

    def following(self, row: Tensor, caches: list[Cache]) -> Tensor:
        """Logits (B, buckets) of what comes behind row (B, n, width), which comes behind what is in the caches."""
        for block, cache in zip(self.blocks, caches, strict=True):
            row = cached_block(block, row, cache)
        return self.out(self.norm(row[:, -1]))


@part
class AutoregressivePrior(TextPrior):
    """Words to CLIP embeddings of pictures that they may belong to, written number by number, the coarse ones first.

    drop: the share of texts that `loss` hides, in training. (2204.06125, section 2.2.)
    """

    def __init__(self, net: NumberNet, tokenizer: Tokenizer, drop: float = 0.1):
        super().__init__()
        self.net, self.tokenizer = net, tokenizer
        self.drop = expect.number("drop", drop, 0, 1)
        self.register_buffer("edges", torch.linspace(-1, 1, net.dots + 1)[1:-1])  # from a dot's bucket to the next

    @torch.no_grad()
    def measure(self, z: Tensor, ids: Tensor) -> "AutoregressivePrior":
        """Axes and buckets from training's z (N, D), unit vectors; of the dots with texts ids (N, L), equally full."""
        self.net.quantiser.measure(z)
        ids = expect.integers("ids", ids, f"{len(z)} {self.net.text.length}")
        dots = torch.cat([self._dots(*part) for part in zip(z.split(512), ids.split(512))])
        self.edges.copy_(dots.quantile(torch.linspace(0, 1, self.net.dots + 1)[1:-1].to(dots)))
        return self

    def _dots(self, z: Tensor, ids: Tensor) -> Tensor:
        """The dot product of each embedding (B, D) with that of its text ids (B, L): (B,)."""
        return (z * self.net.embed_text(ids)).sum(1)

    def loss(self, z: Tensor, ids: Tensor) -> Tensor:
        """The mean cross-entropy of a number's bucket, in nats, given its text and the numbers before: a scalar."""
        expect.unit("z", z, f"B {self.net.embedding}", like=self.net.pos_embed)
        ids = expect.integers("ids", ids, f"{len(z)} {self.net.text.length}")
        tokens = self.net.quantiser.encode(z)
        dot = torch.bucketize(self._dots(z, ids), self.edges)
        if self.training:
            hidden = torch.rand(len(ids)).to(ids.device) < self.drop
            ids = torch.where(hidden[:, None], self._null(ids), ids)
        return F.cross_entropy(self.net(tokens, dot, ids).transpose(1, 2), tokens)

    def _null(self, ids: Tensor) -> Tensor:
        """The empty text, as often as ids (B, L) has rows."""
        return self.tokenizer("").to(ids.device).expand_as(ids)

    @torch.no_grad()
    def draw(self, ids: Tensor, *, scale: float = 1.0, temperature: float = 1.0, generator=None) -> Tensor:
        """One embedding for each text ids (B, L), not made a unit vector: (B, D). scale: of guidance, on the logits.

        The dot product that it is told is drawn from the upper half of those of training.
        """
        ids = expect.integers("ids", ids, f"B {self.net.text.length}")
        dot = torch.randint(self.net.dots // 2, self.net.dots, (len(ids),), generator=generator).to(ids.device)
        texts = [ids] if expect.number("scale", scale) == 1 else [ids, self._null(ids)]
        row = torch.cat([self.net.told(dot, text) for text in texts])
        caches = [Cache() for _ in range(self.net.layers)]
        tokens = ids.new_empty(len(ids), 0)
        while True:
            logits = self.net.following(row, caches)
            with_text, without = logits[: len(ids)], logits[-len(ids) :]  # without guidance the same rows
            drawn = choose(without + scale * (with_text - without), temperature, generator=generator)[:, None]
            tokens = torch.cat([tokens, drawn], dim=1)
            if tokens.shape[1] == self.net.quantiser.dims:
                return self.net.quantiser.decode(tokens)
            row = self.net.written(drawn, tokens.shape[1] - 1).repeat(len(texts), 1, 1)
