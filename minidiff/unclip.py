"""Lesson 14: unCLIP (DALL-E 2), words to the CLIP embedding of a picture, and that embedding to a picture.

The other prior of the paper, which writes an embedding number by number, is in autoregressive_prior.py.
Ramesh et al. 2022, "Hierarchical text-conditional image generation with CLIP latents" (2204.06125).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import guidance
from minidiff.clip import CLIP
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, TextToImage
from minidiff.nn import time_mlp
from minidiff.sampler import last, sample, times
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.transformer import Block, TextEncoder, Tokenizer
from minidiff.unet import Conditioning, UNet

WORDS = 4  # tokens that an embedding becomes for the U-Net, as in 2204.06125, section 2.1


def sentence(words: Tensor, text: Tensor, time: Tensor, noisy: Tensor, ask: Tensor) -> Tensor:
    """What the prior reads: words (B, L, W), then text, time, noisy and ask, (B, W) each -> (B, L + 4, W).

    The order of 2204.06125, section 2.2. A causal transformer answers at the last place, which has seen all others.
    """
    return torch.cat([words, torch.stack([text, time, noisy, ask], dim=1)], dim=1)


class TextReader(nn.Module):
    """What a prior reads with: CLIP's text tower, frozen, for the words, and its `project` for the text's embedding."""

    def __init__(self, text: TextEncoder, embedding: int):
        super().__init__()
        self.text = text.requires_grad_(False)
        self.embedding = expect.integer("embedding", embedding, 1)
        self.project = nn.Linear(text.width, embedding, bias=False).requires_grad_(False)

    def embed_text(self, ids: Tensor) -> Tensor:
        """CLIP's unit vectors (B, embedding) of texts ids (B, L)."""
        return F.normalize(self.project(self.text.pooled(ids)), dim=1)


@part
class PriorNet(TextReader):
    """(noisy embedding x (B, embedding), t, token ids (B, L)) -> an estimate of the clean embedding, x's shape.

    A causal transformer of `layers` blocks, `width` wide. text: CLIP's text tower.
    """

    def __init__(self, text: TextEncoder, embedding: int = 64, width: int = 128, layers: int = 3, heads: int = 4):
        super().__init__(text, embedding)
        self.width = expect.integer("width", width, 1)
        self.layers = expect.integer("layers", layers, 1)
        self.heads = expect.integer("heads", heads, 1)
        self.word_in = nn.Linear(text.width, width)
        self.text_in = nn.Linear(embedding, width)
        self.time_in = time_mlp(64, width)
        self.noisy_in = nn.Linear(embedding, width)
        self.ask = nn.Parameter(torch.randn(width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(text.length + 4, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, embedding)

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        return self.out(self.norm(self.blocks(self.tokens(x, t, ids))[:, -1]))

    def tokens(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """The sentence that is read, (B, L + 4, width), with its places."""
        expect.tensor("x", x, f"B {self.embedding}", like=self.ask)
        ids = expect.integers("ids", ids, f"{len(x)} {self.text.length}", low=0)
        told = self.text_in(self.embed_text(ids) * self.embedding**0.5)
        time = self.time_in(expect.time("t", t, len(x), like=self.ask)).expand(len(x), -1)
        ask = self.ask.expand(len(x), -1)
        return sentence(self.word_in(self.text(ids)), told, time, self.noisy_in(x), ask) + self.pos_embed


class TextPrior(nn.Module):
    """Words to CLIP embeddings of pictures that they may belong to: `draw` gives one for each, a call the best of n.

    net: the `TextReader` that it reads with.
    """

    @torch.no_grad()
    def forward(self, ids: Tensor, *, n: int = 2, by: str = "dot", generator=None, **options) -> Tensor:
        """The best of n draws for each text, as unit vectors (B, D).

        by: "dot", the product with the text's embedding, as in 2204.06125, section 2.2; or "cosine". options: of draw.
        """
        ids = expect.integers("ids", ids, f"B {self.net.text.length}")
        many = ids.repeat_interleave(expect.integer("n", n, 1), 0)
        drawn = self.draw(many, generator=generator, **options).unflatten(0, (len(ids), n))
        best = scores(drawn, self.net.embed_text(ids), by).argmax(1)
        return F.normalize(drawn[torch.arange(len(ids)), best], dim=1)


@part
class Prior(TextPrior):
    """Words to CLIP embeddings of pictures that they may belong to, by diffusion that predicts the embedding itself.

    denoiser: of embeddings times √D, so that each of their D numbers has about size 1; its net is a `PriorNet`.
    """

    def __init__(self, denoiser: Denoiser, tokenizer: Tokenizer):
        super().__init__()
        self.denoiser, self.tokenizer = denoiser, tokenizer

    @property
    def net(self) -> PriorNet:
        """The network within the denoiser."""
        return self.denoiser.net

    @property
    def size(self) -> float:
        """What unit vectors are multiplied by: √D."""
        return self.net.embedding**0.5

    def loss(self, z: Tensor, ids: Tensor) -> Tensor:
        """The squared error of the predicted embedding (2204.06125, eq. 2), times D. z: unit vectors (B, D)."""
        expect.unit("z", z, f"B {self.net.embedding}", like=self.net.ask)
        ids = expect.integers("ids", ids, f"{len(z)} {self.net.text.length}")
        return self.denoiser.loss(self.size * z, ids)

    @torch.no_grad()
    def draw(self, ids: Tensor, *, scale: float = 1.0, steps: int = 20, generator=None) -> Tensor:
        """One embedding for each text ids (B, L), as the walk ends, not made a unit vector: (B, D)."""
        ids = expect.integers("ids", ids, f"B {self.net.text.length}")
        x = self.denoiser.schedule.prior((len(ids), self.net.embedding), generator).to(self.net.ask)
        denoise = guidance.cfg(self.denoiser, ids, torch.tensor(self.denoiser.null), scale)
        return last(sample(denoise, x, times(steps), self.denoiser.schedule, order=2)) / self.size


def scores(drawn: Tensor, text: Tensor, by: str = "dot") -> Tensor:
    """How well each of n embeddings (B, n, D) goes with its text's, (B, D): (B, n)."""
    expect.tensor("drawn", drawn, "B n D")
    expect.tensor("text", text, f"{len(drawn)} {drawn.shape[2]}", like=drawn)
    if expect.choice("by", by, ("dot", "cosine")) == "cosine":
        drawn = F.normalize(drawn, dim=2)
    return (drawn * text[:, None]).sum(2)


@part
class EmbeddingWords(nn.Module):
    """An embedding (B, D) as `WORDS` tokens (B, WORDS, width) to attend to."""

    def __init__(self, embedding: int, width: int = 64):
        super().__init__()
        self.embedding = expect.integer("embedding", embedding, 1)
        self.width = expect.integer("width", width, 1)
        self.linear = nn.Linear(embedding, WORDS * width)

    def forward(self, z: Tensor) -> Tensor:
        expect.tensor("z", z, f"B {self.embedding}", like=self.linear.weight)
        return self.linear(z * self.embedding**0.5).unflatten(1, (WORDS, self.width))


@part
class EmbeddingUNet(UNet):
    """A U-Net that is told an embedding (B, embedding): as tokens to attend to, and as their sum beside the time.

    (2204.06125, section 2.1, does both.) Zeros stand for no embedding.
    """

    def __init__(self, embedding=64, channels=8, widths=(64, 128), blocks=1, attention=(1,)):
        super().__init__(channels, widths, blocks, attention=attention, text=EmbeddingWords(embedding))
        self.embedding = embedding

    def _conditioning(self, t: Tensor, cond: Tensor, rows: int) -> Conditioning:
        words = self.text(expect.tensor("cond", cond, f"{rows} {self.embedding}", like=self.conv_in.weight))
        told = self.time_embed(t) + self.text_pool(words.sum(1) / WORDS**0.5)
        return Conditioning(told, words, words.new_ones(words.shape[:2], dtype=torch.bool))


@part
class EmbeddingDiffusion(LatentDiffusion):
    """Latent diffusion whose prompts are embeddings, float (B, D), in place of texts; "" is none."""

    def __init__(self, autoencoder: nn.Module, denoiser: Denoiser, size: int = 32, guidance: float = 2.0):
        super().__init__(autoencoder, denoiser, None, size, guidance)

    def read(self, prompts) -> Tensor:
        """Embeddings as they are; zeros (1, D) for ""."""
        if isinstance(prompts, str) and not prompts:
            return torch.zeros(1, self.denoiser.net.embedding, device=self.scale.device)
        return expect.tensor("prompts", prompts, f"B {self.denoiser.net.embedding}").to(self.scale)


class UnCLIP(TextToImage):
    """Words to an embedding by the prior, to codes by the decoder's diffusion, to pictures.

    clip: whose embeddings both were trained on. prior: a `Prior` or an `AutoregressivePrior`; None: the text's own
    embedding goes to the decoder as it is.
    """

    def __init__(self, clip: CLIP, prior: TextPrior | None, decoder: EmbeddingDiffusion):
        super().__init__(text=self.read, generator=self.generate, decoder=decoder.decode)
        self.clip, self.prior, self.diffusion = clip, prior, decoder
        self.tokenizer = clip.tokenizer

    def read(self, prompts: str | list[str]) -> Tensor:
        """Token ids (B, L)."""
        return self.clip.tokenizer(prompts).to(self.diffusion.scale.device)

    def embed(self, ids: Tensor, *, n: int = 2, by: str = "dot", generator=None) -> Tensor:
        """The embeddings (B, D) that the decoder is told."""
        if self.prior is None:
            return self.clip.encode_text(ids)
        return self.prior(ids, n=n, by=by, generator=generator)

    def generate(self, ids: Tensor, *, n: int = 2, by: str = "dot", generator=None, **options) -> Tensor:
        """Codes (B, latent, h, w). n, by: of the prior. options: of `text_to_image`."""
        z = self.embed(ids, n=n, by=by, generator=generator)
        return self.diffusion.generate(z, generator=generator, **options)


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The unit vectors on the arc from a to b, unit vectors (B, D): share 0 is a, 1 is b (slerp)."""
    expect.alike("b", b, "a", a, "B D")
    angle = (a * b).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def changed(picture: Tensor, before: Tensor, after: Tensor, share: float) -> Tensor:
    """Text difference: a picture's embedding turned towards normalise(after - before), all unit vectors (B, D).

    Share 0 is the picture itself (2204.06125, section 3.3).
    """
    expect.alike("after", after, "before", before, "B D")
    expect.alike("picture", picture, "before", before)
    return between(picture, F.normalize(after - before, dim=1), share)
