"""What lesson 14's models are made of: pictures of `shapes` as tokens, the writer of them, and unCLIP of the emoji."""

from functools import cache

import torch
from torch import Tensor, nn

from minidiff import data, generate
from minidiff.autoregressive_prior import AutoregressivePrior, NumberNet, Quantiser
from minidiff.clip import embed
from minidiff.dalle import DALLE, VQVAE
from minidiff.denoiser import Denoiser
from minidiff.recipes import emoji, shapes
from minidiff.recipes.recipe import Recipe, lengths
from minidiff.schedule import cosine
from minidiff.unclip import EmbeddingDiffusion, EmbeddingUNet, Prior, PriorNet, TextPrior, UnCLIP


def tokens(split: str, vqvae: nn.Module) -> tuple[Tensor, Tensor]:
    """The tokens (N, 64) of pictures of `shapes` and the ids (N, 24) of their captions."""
    images, ids = shapes.captioned(split)
    return _tokens(vqvae, split, len(images)), ids


@cache
@torch.no_grad()
def _tokens(vqvae: nn.Module, split: str, n: int) -> Tensor:
    images = data.shapes(split, n)[0].to(vqvae.codebook.device)
    return torch.cat([vqvae.encode(x) for x in images.split(256)]).flatten(1)


def dalle(**sizes) -> DALLE:
    """Words to tokens to pictures of `shapes`."""
    return DALLE(VQVAE(), shapes.reader(), **sizes)


def with_vqvae(model: DALLE, needed, *tensors: Tensor) -> None:
    """The trained VQ-VAE goes into a new model."""
    model.vqvae.load_state_dict(needed[0].state_dict())


def embedded(split: str, clip: nn.Module, *others: nn.Module) -> tuple[Tensor, Tensor]:
    """CLIP's embeddings (2 N, 64) of the drawings, and the ids (2 N, 24) of their names, written and typed."""
    images, names = emoji.drawings(split)
    z = embed(clip, images.to(clip.logit_scale.device))
    return torch.cat([z, z]), emoji.tokenizer()([*names, *map(emoji.plain, names)])


def prior() -> Prior:
    """Names to CLIP's embeddings of drawings, reading with CLIP's own text tower."""
    clip = emoji.clip_emoji()
    net = PriorNet(clip.text, clip.width, width=128, layers=2, heads=4)
    blank = emoji.reader().encode("")
    null = blank + [0] * (emoji.reader().length - len(blank))
    return Prior(Denoiser(net, cosine(), "x0", null=null, drop=0.1), emoji.reader())


def written_prior() -> AutoregressivePrior:
    """The same by a transformer that writes 24 of an embedding's 64 numbers, each in one of 32 buckets."""
    clip = emoji.clip_emoji()
    net = NumberNet(clip.text, Quantiser(clip.width, dims=24, buckets=32), width=128, layers=2, heads=4)
    return AutoregressivePrior(net, emoji.reader())


def with_clip(model: TextPrior, needed, *tensors: Tensor) -> None:
    """CLIP's trained text tower and its projection go into a new prior."""
    model.net.text.load_state_dict(needed[0].text.state_dict())
    model.net.project.load_state_dict(needed[0].text_projection.state_dict())


def with_buckets(model: AutoregressivePrior, needed, z: Tensor, ids: Tensor) -> None:
    """The same, and the axes and buckets of training's embeddings."""
    with_clip(model, needed)
    model.measure(z, ids)


def coded(split: str, autoencoder: nn.Module, clip: nn.Module, *others: nn.Module) -> tuple[Tensor, Tensor]:
    """The codes (N, 8, 8, 8) of the drawings in a trained autoencoder, and CLIP's embeddings of them (N, 64)."""
    images = emoji.drawings(split)[0].to(clip.logit_scale.device)
    return shapes.encoded(autoencoder.to(images.device), images), embed(clip, images)


def decoder() -> EmbeddingDiffusion:
    """CLIP's embeddings to drawings: the network of "ldm-emoji", told the embedding where that is told words."""
    net = EmbeddingUNet(embedding=64, channels=8, widths=(64, 128), attention=(1,))
    return EmbeddingDiffusion(emoji.autoencoder(), Denoiser(net, cosine(), "x0", null=[0] * 64, drop=0.1))


def from_worded(model: EmbeddingDiffusion, needed, *tensors: Tensor) -> None:
    """A new decoder begins with the weights of "ldm-emoji", without those that read words."""
    known = {name: x for name, x in needed[-1].state_dict().items() if ".net.text." not in name}
    model.load_state_dict(model.state_dict() | known)


def whole(model: EmbeddingDiffusion, clip: nn.Module, trained: nn.Module) -> UnCLIP:
    """What draws with the decoder: unCLIP, told by CLIP and a prior."""
    return UnCLIP(clip, trained, model)


RECIPES = {
    "vqvae-shapes": Recipe(
        VQVAE, lambda split: shapes.captioned(split)[:1], lengths(1800, 10_000), (3, 32, 32), lr=3e-3, batch=32
    ),
    "dalle-shapes": Recipe(
        dalle,
        tokens,
        lengths(3600, 20_000),
        (3, 32, 32),
        generate.written,
        lr=3e-3,
        batch=32,
        needs=("vqvae-shapes",),
        start=with_vqvae,
        prompts=shapes.captions,
    ),
    "prior-emoji": Recipe(prior, embedded, lengths(2000, 10_000), lr=1e-3, needs=("clip-emoji",), start=with_clip),
    "prior-emoji-written": Recipe(
        written_prior, embedded, lengths(1180, 5900), lr=2e-3, needs=("clip-emoji",), start=with_buckets
    ),
    "unclip-emoji": Recipe(
        decoder,
        coded,
        lengths(2500, 10_000),
        (3, 32, 32),
        generate.in_parts,
        lr=1.5e-3,
        needs=("ae-emoji", "clip-emoji", "ldm-emoji"),
        start=from_worded,
        prompts=emoji.never_seen,
        whole=whole,
        beside=("clip-emoji", "prior-emoji"),
    ),
}
