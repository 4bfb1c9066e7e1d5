"""Lesson 14: a picture as a sentence. A VQ-VAE turns it into 64 tokens, and one transformer writes them after a text.

Van den Oord et al., 1711.00937 (VQ-VAE); Ramesh et al., 2102.12092 (DALL-E).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.autoregressive import draw
from minidiff.latent import OUTLINE, TextToImage
from minidiff.nn import ResidualBlock, attend
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.transformer import ACTIVATIONS, Block, LanguageModel, Tokenizer

COMMITMENT = 0.25  # beta of 1711.00937, section 3.2
DECAY = 0.99  # of the codebook's running means (there, appendix A.1)
DEAD = 0.05  # a code that is used less often than that in a batch, on average, begins anew


class Quantised(NamedTuple):
    """The codes z (B, D, h, w) of the closest entries, with a gradient, and the entries' numbers ids (B, h, w)."""

    z: Tensor
    ids: Tensor


def quantise(z: Tensor, codebook: Tensor) -> Quantised:
    """Each place of z (B, D, h, w) becomes the entry of the codebook (K, D) that is closest to it.

    No slope passes through a choice, so the gradient goes straight through: dL/dz is taken to be dL/d(entry)
    (1711.00937, section 3.2).
    """
    expect.tensor("z", z, "B D h w")
    expect.tensor("codebook", codebook, f"K {z.shape[1]}", like=z)
    rows = z.movedim(1, -1)  # (B, h, w, D)
    ids = torch.cdist(rows.flatten(0, 2), codebook).argmin(1).view(rows.shape[:3])
    entries = codebook[ids].movedim(-1, 1)
    return Quantised(z + (entries - z).detach(), ids)


@part
class VQVAE(nn.Module):
    """Pictures to tokens and back: x (B, channels, H, W) <-> ids (B, H / f, W / f), each of 0 ... codes - 1.

    Built as lesson 09's `KLAutoencoder`, with a codebook (codes, latent) in place of the Gaussian. The codebook learns
    by no gradient: each entry is a running mean of what was rounded to it (1711.00937, appendix A.1), and an entry that
    hardly anything is rounded to begins anew at some place of the batch (as in 2005.00341).
    """

    def __init__(self, channels=3, latent=16, f=4, width=64, blocks=2, codes=256, revive=True):
        super().__init__()
        self.channels = expect.integer("channels", channels, 1)
        self.latent = expect.integer("latent", latent, 1)
        self.f = expect.integer("f", f, 1)
        self.width = expect.integer("width", width, 1)
        self.blocks = expect.integer("blocks", blocks, 0)
        self.codes = expect.integer("codes", codes, 2)
        self.revive = expect.choice("revive", revive, (True, False))
        patch = channels * f**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(f),
            nn.Conv2d(patch, width, 3, padding=1),
            *(ResidualBlock(width, width) for _ in range(blocks)),
            nn.Conv2d(width, latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, width, 1),
            *(ResidualBlock(width, width) for _ in range(blocks)),
            nn.Conv2d(width, patch, 3, padding=1),
            nn.PixelShuffle(f),
        )
        self.register_buffer("codebook", torch.randn(codes, latent))
        self.register_buffer("counts", torch.zeros(codes))  # how many places of a batch were rounded to each entry
        self.register_buffer("sums", torch.zeros(codes, latent))

    def encode(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> tokens (B, H / f, W / f), int64. ValueError if f does not divide H and W."""
        return quantise(self.codes_of(x), self.codebook).ids

    def codes_of(self, x: Tensor) -> Tensor:
        """What is rounded: (B, latent, H / f, W / f)."""
        expect.tensor("x", x, f"B {self.channels} H W", like=self.encoder[1].weight, scaled=True)
        if x.shape[2] % self.f or x.shape[3] % self.f:
            raise ValueError(f"x: got {x.shape[2]}x{x.shape[3]} pixels, expected multiples of f = {self.f}")
        return self.encoder(x)

    def decode(self, ids: Tensor) -> Tensor:
        """Tokens (B, h, w) -> pictures (B, channels, f h, f w), near [-1, 1] but not clamped."""
        ids = expect.integers("ids", ids, "B h w", 0, self.codes - 1)
        return self.decoder(self.codebook[ids].movedim(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The picture rebuilt from its tokens."""
        return self.decode(self.encode(x))

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """The error of rebuilt pictures as in lesson 09; the commitment |z - entry|²; "loss"; how many entries serve.

        "perplexity" is exp of the entropy of the tokens of this batch. While it trains, the codebook moves, too.
        """
        z = self.codes_of(x)
        rounded = quantise(z, self.codebook)
        squared = (self.decoder(rounded.z) - x).square()
        reconstruction = squared.mean() + OUTLINE * squared.square().mean()
        commitment = (z - rounded.z.detach()).square().mean()
        if self.training:
            self.move(z.detach(), rounded.ids)
        share = torch.bincount(rounded.ids.flatten(), minlength=self.codes) / rounded.ids.numel()
        terms = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "perplexity": torch.special.entr(share).sum().exp(),
        }
        return {"loss": reconstruction + COMMITMENT * commitment} | terms

    def loss(self, x: Tensor) -> Tensor:
        """Error plus 0.25 times commitment, a scalar: 1711.00937, eq. 3, with running means for its second term."""
        return self.terms(x)["loss"]

    @torch.no_grad()
    def move(self, z: Tensor, ids: Tensor) -> None:
        """Each entry moves to the running mean of the codes z (B, latent, h, w) rounded to it, ids (B, h, w)."""
        count, _, height, width = expect.tensor("z", z, f"B {self.latent} h w", like=self.codebook).shape
        ids = expect.integers("ids", ids, f"{count} {height} {width}", 0, self.codes - 1)
        rows = z.movedim(1, -1).flatten(0, 2)
        chosen = F.one_hot(ids.flatten(), self.codes).to(rows)  # (places, codes)
        self.counts.lerp_(chosen.sum(0), 1 - DECAY)
        self.sums.lerp_(chosen.T @ rows, 1 - DECAY)
        used = self.counts > 1e-5
        self.codebook[used] = self.sums[used] / self.counts[used, None]
        dead = self.counts < DEAD
        if self.revive and dead.any():
            self._begin_anew(dead, rows)

    def _begin_anew(self, dead: Tensor, rows: Tensor) -> None:
        """Dead entries (codes,) move to places of the batch, at random, and count as used once."""
        where = torch.randint(len(rows), (int(dead.sum()),), device=rows.device)
        self.codebook[dead] = rows[where]
        self.counts[dead] = 1.0
        self.sums[dead] = rows[where]


class Cache:
    """The keys and values (B, heads, L, d) of the tokens that were read before, for one block."""

    def __init__(self):
        self.keys = self.values = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values so far, those of new tokens last."""
        if self.keys is not None:
            keys = torch.cat([self.keys, keys], dim=2)
            values = torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values


def cached_block(block: Block, x: Tensor, cache: Cache) -> Tensor:
    """A causal block on new tokens x (B, L, width) behind those in the cache: L is 1, or the cache is empty."""
    attention = block.attention
    h = block.norm1(x)
    parts = attention.query(h), *attention.key_value(h).chunk(2, dim=2)
    q, k, v = (y.unflatten(2, (attention.heads, -1)).transpose(1, 2) for y in parts)
    k, v = cache.extend(k, v)
    x = x + attention.out(attend(q, k, v, causal=x.shape[1] > 1).transpose(1, 2).flatten(2))
    return x + block.fc2(ACTIVATIONS[block.activation](block.fc1(block.norm2(x))))


def choose(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, generator=None) -> Tensor:
    """One token of each row of logits (B, K), drawn from softmax(logits / temperature): (B,), int64.

    top_k: only among so many of the likeliest. Temperature 0 takes the likeliest.
    """
    expect.tensor("logits", logits, "B K")
    if top_k is not None:
        least = logits.topk(expect.integer("top_k", top_k, 1, logits.shape[1]), dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return draw(logits, temperature, generator)


@part
class DALLE(TextToImage):
    """Words to pictures by one transformer, which goes on writing a text with the tokens of a picture, row by row.

    vqvae: trained, stays as it is. tokenizer: texts -> ids (B, L). side: tokens in a row of the picture. Tokens of
    words and of pictures share one vocabulary: entry k of the codebook is the id words + k.
    (DALL-E learns to predict the words as well, with an eighth of the weight. Here the picture's tokens alone count.)
    """

    def __init__(self, vqvae: VQVAE, tokenizer: Tokenizer, side=8, width=96, layers=3, heads=4):
        super().__init__(text=self.read, generator=self.generate, decoder=self.decode)
        self.vqvae = vqvae.requires_grad_(False)
        self.tokenizer = tokenizer
        self.side = expect.integer("side", side, 1)
        self.width = expect.integer("width", width, 1)
        self.layers = expect.integer("layers", layers, 1)
        self.heads = expect.integer("heads", heads, 1)
        self.words = tokenizer.vocabulary
        length = tokenizer.length + side**2
        self.writer = LanguageModel(self.words + vqvae.codes, width, layers, heads, length)

    def read(self, prompts: str | list[str]) -> Tensor:
        """Token ids (B, L) of prompts, on the model's device."""
        return self.tokenizer(prompts).to(self.vqvae.codebook.device)

    def logits(self, ids: Tensor, tokens: Tensor) -> Tensor:
        """ids (B, L) of a text, tokens (B, N) of a picture -> (B, N, codes), what is expected at each of the N places.

        That at place i has been made from the text and the tokens before i.
        """
        ids = expect.integers("ids", ids, "B L", 0, self.words - 1)  # from there on they are a picture's
        tokens = expect.integers("tokens", tokens, f"{len(ids)} N", 0, self.vqvae.codes - 1)
        row = torch.cat([ids, self.words + tokens[:, :-1]], dim=1)  # (B, L + N - 1)
        return self.writer(row)[:, ids.shape[1] - 1 :, self.words :]

    def loss(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """The mean cross-entropy of a token, in nats, given its text and the tokens before it: a scalar.

        tokens (B, side²), row by row; ids (B, L).
        """
        tokens = expect.integers("tokens", tokens, f"B {self.side**2}")
        return F.cross_entropy(self.logits(ids, tokens).transpose(1, 2), tokens)

    @torch.no_grad()
    def generate(self, ids: Tensor, *, temperature=1.0, top_k=None, generator=None, given: Tensor | None = None):
        """Tokens (B, side, side) for texts ids (B, L), drawn one by one. given (B, n): the first n, not drawn."""
        caches = [Cache() for _ in range(self.layers)]
        ids = expect.integers("ids", ids, "B L", 0, self.words - 1)
        tokens = ids.new_empty(len(ids), 0) if given is None else self._given(given, len(ids))
        logits = self._next(torch.cat([ids, self.words + tokens], dim=1), 0, caches)
        while True:
            drawn = choose(logits, temperature, top_k, generator)[:, None]
            tokens = torch.cat([tokens, drawn], dim=1)
            if tokens.shape[1] == self.side**2:
                return tokens.unflatten(1, (self.side, self.side))
            place = ids.shape[1] + tokens.shape[1] - 1
            logits = self._next(self.words + drawn, place, caches)

    def _given(self, given: Tensor, rows: int) -> Tensor:
        """The first tokens of so many pictures, (rows, n): at least one is left to draw."""
        given = expect.integers("given", given, f"{rows} n", 0, self.vqvae.codes - 1)
        expect.integer("given.shape[1]", given.shape[1], 1, self.side**2 - 1)
        return given

    def _next(self, row: Tensor, place: int, caches: list[Cache]) -> Tensor:
        """What is expected behind row (B, n), whose first token stands at that place: (B, codes)."""
        text = self.writer.text
        h = text.token_embed(row) + text.pos_embed[place : place + row.shape[1]]
        for block, cache in zip(text.blocks, caches, strict=True):
            h = cached_block(block, h, cache)
        return self.writer.head(text.norm(h[:, -1]))[:, self.words :]

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, side, side) -> pictures (B, 3, H, W) in [-1, 1]."""
        tokens = expect.integers("tokens", tokens, "B h w")
        return self.vqvae.decode(tokens).clamp(-1, 1)


@torch.no_grad()
def reranked(model: TextToImage, clip, prompts: list[str], n: int = 16, **options) -> tuple[Tensor, Tensor]:
    """n pictures for each prompt, sorted by CLIP's cosine with it, the best first: (P, n, C, H, W), and cosines (P, n).

    As the announcement of DALL-E shows the best 32 of 512. options: of the model's generator.
    """
    expect.integer("n", n, 1)
    images = torch.stack([model([prompt] * n, **options) for prompt in prompts])
    seen = clip.encode_image(images.flatten(0, 1)).unflatten(0, (len(prompts), n))
    cosines = (seen * clip.encode_texts(prompts)[:, None]).sum(2)
    order = cosines.argsort(1, descending=True)
    rows = torch.arange(len(prompts))[:, None]
    return images[rows, order], cosines[rows, order]
