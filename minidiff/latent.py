"""Lesson 09: diffusion on the codes of an autoencoder, told by words what to draw (Rombach et al., 2112.10752).

Three parts: a text encoder, a generator of codes, a decoder from codes to pictures. A prompt is a line of text. ""
asks for nothing: the unconditional model. A word unknown to the tokenizer is spelled in bytes, which are not learned.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import guidance
from minidiff.denoiser import Denoiser
from minidiff.nn import Attention, ResidualBlock
from minidiff.sampler import last, sample, times
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn
from minidiff.unet import AttentionBlock
from minidiff.vae import gaussian_kl, reparameterize

CHUNK = 32  # pictures drawn at once
SIZE = 0.25  # of scaled codes: neighbours are alike and see through noise together, so there must be more of it
OUTLINE = 10  # the weight of the fourth power: a lost outline must cost more than lost grain, which nobody misses
SCALE = 2.0  # of guidance, unless given: from 3 on circles have corners


@part
class KLAutoencoder(nn.Module):
    """Pictures to codes with fewer pixels and back: x (B, channels, H, W) <-> z (B, latent, H / f, W / f).

    A VAE whose code keeps the picture's layout, trained to rebuild: `beta` only keeps the codes from growing without
    end (2112.10752, section 3.1; there networks judge the error too). Patches of f x f pixels become the channels of
    one place, as in a vision transformer, and all the work is done on the small grid; residual blocks let a place see
    its neighbours. f: 1 or more, a divisor of the picture's sides. width: channels on the way.
    """

    def __init__(self, channels=3, latent=8, f=4, width=64, blocks=2, beta=1e-2):
        super().__init__()
        self.channels = expect.integer("channels", channels, 1)
        self.latent = expect.integer("latent", latent, 1)
        self.f = expect.integer("f", f, 1)
        self.width = expect.integer("width", width, 1)
        self.blocks = expect.integer("blocks", blocks, 0)
        self.beta = expect.number("beta", beta, 0)
        patch = channels * f**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(f),  # (B, channels f², H / f, W / f): nothing lost, pixels moved
            nn.Conv2d(patch, width, 3, padding=1),
            *(ResidualBlock(width, width) for _ in range(blocks)),
            nn.Conv2d(width, 2 * latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, width, 1),
            *(ResidualBlock(width, width) for _ in range(blocks)),
            nn.Conv2d(width, patch, 3, padding=1),
            nn.PixelShuffle(f),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log_var of q(z | x), each (B, latent, H / f, W / f). ValueError if f does not divide H and W."""
        expect.tensor("x", x, f"B {self.channels} H W")
        if x.shape[2] % self.f or x.shape[3] % self.f:
            raise ValueError(f"x: got {x.shape[2]}x{x.shape[3]} pixels, expected multiples of f = {self.f}")
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        return mu, log_var.clamp(-30, 20)  # beyond, exp() is 0 or too large, and no gradient brings it back

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent, h, w) -> (B, channels, f h, f w), near [-1, 1] but not clamped."""
        return self.decoder(expect.tensor("z", z, f"B {self.latent} h w"))

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction from the mean code."""
        return self.decode(self.encode(x)[0])

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """The error d of the rebuilt pictures, mean d² + 10 d⁴; the KL term in nats a number of x; "loss", of both."""
        mu, log_var = self.encode(x)
        squared = (self.decode(reparameterize(mu, log_var)) - x).square()
        reconstruction = squared.mean() + OUTLINE * squared.square().mean()
        kl = gaussian_kl(mu.flatten(1), log_var.flatten(1)).mean() / x[0].numel()
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def loss(self, x: Tensor) -> Tensor:
        """The error of the rebuilt picture plus beta times the KL term, a scalar."""
        return self.terms(x)["loss"]


@part
class Pixels(nn.Module):
    """f = 1: the picture is its own code. It has nothing to train, so diffusion on such codes is diffusion on pixels"""

    f = 1

    def __init__(self, channels=3):
        super().__init__()
        self.channels = self.latent = expect.integer("channels", channels, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x itself, with log_var -30: no spread to speak of."""
        return expect.tensor("x", x, f"B {self.channels} H W"), torch.full_like(x, -30)

    def decode(self, z: Tensor) -> Tensor:
        """z itself."""
        return expect.tensor("z", z, f"B {self.latent} h w")


@part
class LatentDiffusion(nn.Module):
    """A trained autoencoder, which stays as it is, and a denoiser of its codes told what to draw: z = scale * mu(x).

    denoiser: its net takes codes and token ids, and its `null` is the row of ids of "". tokenizer: texts -> ids (B, L).
    scale, a buffer, brings the codes to the standard deviation SIZE (2301.10972). It is 1 until it is measured.
    """

    def __init__(self, autoencoder: nn.Module, denoiser: Denoiser, tokenizer):
        super().__init__()
        if not isinstance(denoiser, Denoiser):
            raise TypeError(f"denoiser: got {type(denoiser).__name__}, expected a Denoiser")
        self.autoencoder = autoencoder.requires_grad_(False)
        self.denoiser = denoiser
        self.tokenizer = tokenizer
        self.register_buffer("scale", torch.ones(()))

    @property
    def schedule(self):
        """The denoiser's."""
        return self.denoiser.schedule

    def measure(self, mu: Tensor) -> Tensor:
        """Set `scale` to SIZE / the standard deviation of all numbers of the codes mu (N, latent, h, w); return it.

        The LDM paper measures it so on its first batch (appendix G), with SIZE = 1; its 0.18 is its own autoencoder's.
        """
        std = expect.tensor("mu", mu, f"N {self.autoencoder.latent} h w", finite=True).std()
        if not std > 0:
            raise ValueError("mu: got codes that are all alike, expected those of different pictures")
        return self.scale.copy_(SIZE / std)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> z = scale * mu(x), (B, latent, H / f, W / f)."""
        return self.scale * self.autoencoder.encode(x)[0]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, latent, h, w) -> pictures (B, channels, f h, f w), cut to [-1, 1]."""
        return self.autoencoder.decode(z / self.scale).clamp(-1, 1)

    def ids(self, prompts: str | list[str]) -> Tensor:
        """Token ids (B, L), int64, on the model's device. ValueError for no prompt, or one too long for the model."""
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, list | tuple) or not prompts or not all(isinstance(text, str) for text in prompts):
            raise ValueError(f"prompts: got {prompts!r:.60}, expected a text or a list of them ('' asks for nothing)")
        return self.tokenizer(list(prompts)).to(self.scale.device)

    def loss(self, mu: Tensor, ids: Tensor) -> Tensor:
        """DDPM's simple loss on the codes (2112.10752, eq. 3). mu: autoencoder.encode(x)[0], computed once for all."""
        return self.denoiser.loss(self.scale * mu, ids)


def guided(model: LatentDiffusion, prompts, scale: float = SCALE, negative=None) -> guidance.Denoise:
    """denoise(z, t) -> z0 for those prompts, one for each row of z, with classifier-free guidance.

    negative: what to move away from, a text for all or one each; "" unless given. Nothing limits the estimates: codes
    have no range that is known beforehand, as pictures have.
    """
    ids = model.ids(prompts)
    return _guided(model, ids, _for_all(model, "negative", negative, len(ids)), scale)


def text_to_image(
    model: LatentDiffusion, prompts, *, size=32, steps=20, scale=SCALE, negative=None, order=2, eta=0.0, generator=None
) -> Tensor:
    """A picture for each prompt, (B, channels, size, size) in [-1, 1]; order and eta are those of `sampler.sample`."""
    f, latent = model.autoencoder.f, model.autoencoder.latent
    if expect.integer("size", size, f) % f:
        raise ValueError(f"size: got {size}, expected a multiple of {f}: a code stands for {f} x {f} pixels")
    side = size // f
    x = model.schedule.prior((len(model.ids(prompts)), latent, side, side), generator).to(model.scale)
    return _drawn(model, x, prompts, 1.0, steps, scale, negative, order=order, eta=eta, generator=generator)


def image_to_image(model, images: Tensor, prompts, strength: float, *, steps=20, generator=None, **options) -> Tensor:
    """Pictures (B, channels, H, W) made over as the prompts say, one for all or one each: SDEdit (2108.01073).

    Noise is added up to t = strength and taken away in the share `strength` of the steps. 0 only rebuilds the
    pictures from their codes; at 1 they have next to no say. options: those of `text_to_image` but for the size.
    ValueError for a strength outside [0, 1].
    """
    strength = expect.number("strength", strength, 0, 1)
    z = model.encode(expect.tensor("images", images, "B C H W"))
    if strength == 0:
        return model.decode(z)
    x = model.schedule.add_noise(z, strength, randn(z.shape, z, generator))
    steps = max(1, round(strength * expect.integer("steps", steps, 1)))
    return _drawn(model, x, prompts, steps=steps, start=strength, generator=generator, **options)


def inpaint(model, images: Tensor, mask, prompts, *, generator=None, **options) -> Tensor:
    """Pictures (B, channels, H, W) painted anew where mask, (H, W) or (B, 1, H, W), is 1; elsewhere left bit for bit.

    A code is held to that of the picture where all its f x f pixels are known. What a decoder makes of it is only near
    the picture, so the known pixels are pasted back. (2112.10752, section 4.5, trains a model for this; here any will
    do, as in 2201.09865 without its going back and forth.) options: those of `text_to_image` but for the size.
    """
    known = model.encode(expect.tensor("images", images, "B C H W"))
    mask = _mask(mask, images)
    anew = F.max_pool2d(mask.float(), model.autoencoder.f) > 0
    x = model.schedule.prior(known.shape, generator).to(known)
    drawn = _drawn(model, x, prompts, keep=(known, anew), generator=generator, **options)
    return torch.where(mask, drawn, images)


def keep_known(denoise: guidance.Denoise, known: Tensor, mask: Tensor) -> guidance.Denoise:
    """Estimates with `known` (B, C, h, w) in place of what is denoised where the bool mask (B, 1, h, w) is False.

    Then the sampler itself walks these places along alpha known + sigma eps, and the others see them as noisy as
    they are themselves.
    """
    return lambda x, t: torch.where(mask, denoise(x, t), known)


@torch.no_grad()
def attention_maps(model: LatentDiffusion, z: Tensor, t, ids: Tensor) -> Tensor:
    """Where each word is read as noisy codes z (B, latent, h, w) are denoised at t: (B, L, h, w), 1 in sum over words.

    softmax(q k^T / sqrt(d)) of the cross-attention, averaged over heads and layers, the coarse ones enlarged; padding
    gets 0. ids (B, L).
    """
    maps = []
    looks = [block.cross_attention for block in model.denoiser.net.modules() if isinstance(block, AttentionBlock)]
    handles = [look.register_forward_pre_hook(lambda *seen: maps.append(_looks(seen[0], *seen[1]))) for look in looks]
    try:
        model.denoiser(z, t, ids)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([_enlarged(one, z.shape[2:]) for one in maps]).mean(0)


def _drawn(model, x, prompts, start=1.0, steps=20, scale=SCALE, negative=None, keep=None, **options) -> Tensor:
    """x, noisy codes at t = start, walked to t = 0 and decoded, CHUNK rows at a time."""
    t = times(steps, start)
    ids = _for_all(model, "prompts", prompts, len(x))
    away = _for_all(model, "negative", negative, len(x))
    pictures = []
    for rows in torch.arange(len(x)).split(CHUNK):
        denoise = _guided(model, ids[rows], away[rows], scale)
        if keep is not None:
            denoise = keep_known(denoise, *(part[rows] for part in keep))
        walk = sample(denoise, x[rows], t, model.schedule, **{"order": 2} | options)
        pictures.append(model.decode(last(walk)))
    return torch.cat(pictures)


def _guided(model: LatentDiffusion, ids: Tensor, away: Tensor, scale: float) -> guidance.Denoise:
    if expect.number("scale", scale) == 1:
        return partial(model.denoiser, cond=ids)
    return guidance.cfg(model.denoiser, ids, away, scale)


def _for_all(model: LatentDiffusion, name: str, texts, rows: int) -> Tensor:
    """Token ids (rows, L) of one text for all, or one for each; None is ""."""
    ids = model.ids("" if texts is None else texts)
    if len(ids) not in (1, rows):
        raise ValueError(f"{name}: got {len(ids)} texts, expected one, or one for each of {rows} pictures")
    return ids.expand(rows, -1)


def _mask(mask, images: Tensor) -> Tensor:
    mask, (rows, _, *size) = torch.as_tensor(mask), images.shape
    if tuple(mask.shape) not in (tuple(size), (rows, 1, *size)):
        raise ValueError(f"mask: got shape {tuple(mask.shape)}, expected {tuple(size)} or {(rows, 1, *size)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("mask: got other numbers than 0 and 1, expected 1 where to paint anew and 0 elsewhere")
    return mask.bool().expand(rows, 1, *size).to(images.device)


def _looks(layer: Attention, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """The weights (B, P, L) that layer(x, words, mask) gives each word at each of P places, mean over its heads."""
    q = layer.query(x)
    k = layer.key_value(words).chunk(2, dim=2)[0]
    q, k = (part.unflatten(2, (layer.heads, -1)).transpose(1, 2) for part in (q, k))  # (B, heads, P or L, d)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(3).mean(1)


def _enlarged(looks: Tensor, size) -> Tensor:
    """(B, P, L) on a coarser or the same grid of places -> (B, L, h, w)."""
    shrunk = round((size[0] * size[1] / looks.shape[1]) ** 0.5)
    return F.interpolate(looks.mT.unflatten(2, (size[0] // shrunk, size[1] // shrunk)), size=tuple(size))
