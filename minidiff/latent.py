"""Lesson 09: diffusion on the codes of an autoencoder, told by words what to draw (Rombach et al., 2112.10752).

Three parts: a text encoder, a generator of codes, a decoder from codes to pictures. A prompt is a line of text. ""
asks for nothing: the unconditional model. Words that a model was not trained on are left out: `unknown_words` has them.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import guidance
from minidiff.denoiser import Denoiser
from minidiff.nn import ResidualBlock
from minidiff.sampler import last, sample, times
from minidiff.support import codes, expect
from minidiff.support.parts import part
from minidiff.support.rng import randn
from minidiff.support.words import unknown_words
from minidiff.vae import gaussian_kl, reparameterize

CHUNK = 32  # pictures drawn at once, and
PIXELS = 512 * 512  # no more than so many pixels: memory and caches are as large as they are
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
        expect.tensor("x", x, f"B {self.channels} H W", like=self.encoder[1].weight, scaled=True)
        if x.shape[2] % self.f or x.shape[3] % self.f:
            raise ValueError(f"x: got {x.shape[2]}x{x.shape[3]} pixels, expected multiples of f = {self.f}")
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        return mu, log_var.clamp(-30, 20)  # beyond, exp() is 0 or too large, and no gradient brings it back

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent, h, w) -> (B, channels, f h, f w), near [-1, 1] but not clamped."""
        return self.decoder(expect.tensor("z", z, f"B {self.latent} h w", like=self.decoder[0].weight))

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


class TextToImage(nn.Module):
    """Words to pictures in three parts, whatever they are made of: model(prompts) -> (B, C, H, W) in [-1, 1].

    text(prompts) -> what the generator is told, a row a prompt. generator(told, **options) -> codes (B, ...). decoder:
    codes -> pictures. Stable Diffusion, DALL-E, Imagen and unCLIP are four ways to fill these three places.
    """

    def __init__(self, text: Callable, generator: Callable, decoder: Callable):
        super().__init__()
        self.text, self.generator, self.decoder = text, generator, decoder

    @torch.no_grad()
    def forward(self, prompts: str | list[str], **options) -> Tensor:
        """A picture for each prompt. options: the generator's."""
        return self.decoder(self.generator(self.text(prompts), **options)).clamp(-1, 1)

    def weights(self) -> dict[str, int]:
        """How many weights each part has."""
        return {name: _count(getattr(self, name)) for name in ("text", "generator", "decoder")}


@part
class LatentDiffusion(TextToImage):
    """A trained autoencoder, which stays as it is, and a denoiser of its codes told what to draw: z = scale * mu(x).

    denoiser: its net takes codes and token ids, and its `null` is the row of ids of "". A net that has read(ids) is
    given what it has read in place of ids, so that a run reads its texts once. tokenizer: texts -> ids (B, L).
    size: of the pictures it was trained on. guidance: the scale to draw with, unless another is given.
    scale, a buffer, brings the codes to the standard deviation SIZE (2301.10972). It is 1 until it is measured.
    """

    def __init__(self, autoencoder: nn.Module, denoiser: Denoiser, tokenizer, size: int = 32, guidance: float = SCALE):
        super().__init__(text=self.read, generator=self.generate, decoder=self.decode)
        if not isinstance(denoiser, Denoiser):
            raise TypeError(f"denoiser: got {type(denoiser).__name__}, expected a Denoiser")
        self.autoencoder = codes.complete(autoencoder).requires_grad_(False)
        self.denoiser = denoiser
        self.tokenizer = tokenizer
        self.size = expect.integer("size", size, 1)
        self.guidance = expect.number("guidance", guidance)
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
        return self.scale * codes.encoded(self.autoencoder, x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, latent, h, w) -> pictures (B, channels, f h, f w), cut to [-1, 1]."""
        chunks = expect.tensor("z", z, f"B {self.autoencoder.latent} h w").split(_rows_at_once(self, z))
        return torch.cat([codes.decoded(self.autoencoder, chunk / self.scale).clamp(-1, 1) for chunk in chunks])

    @torch.no_grad()
    def read(self, prompts: str | list[str]) -> Tensor:
        """What the net is told of the prompts: token ids (B, L), or the words that it has read of them (B, L, D)."""
        ids = self.ids(prompts)
        return self.denoiser.net.read(ids) if hasattr(self.denoiser.net, "read") else ids

    @torch.no_grad()
    def generate(self, told: Tensor, *, size=None, steps=20, grid=times, generator=None, **options) -> Tensor:
        """Codes (B, latent, h, w) of what was read, from noise. options: those of `text_to_image`."""
        told = expect.told("told", told)
        height, width = _places(self, size)
        x = self.schedule.prior((len(told), self.autoencoder.latent, height, width), generator)
        t = _times(grid, steps, 1.0)
        return _walked(self, x.to(self.scale.device), t, told, generator=generator, **options)

    def ids(self, prompts: str | list[str]) -> Tensor:
        """Token ids (B, L), int64, on the model's device. ValueError for no prompt, or one too long for the model."""
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, list | tuple) or not prompts or not all(isinstance(text, str) for text in prompts):
            raise ValueError(f"prompts: got {prompts!r:.60}, expected a text or a list of them ('' asks for nothing)")
        return self.tokenizer(list(prompts)).to(self.scale.device)

    def unknown_words(self, prompts: str | list[str]) -> list[str]:
        """The words of these prompts that the model was not trained on: they are left out. [] where it has no list."""
        return unknown_words(self.tokenizer, prompts)

    def weights(self) -> dict[str, int]:
        """How many weights each part has. The encoder is counted with the decoder."""
        text = _count(getattr(self.denoiser.net, "text", None))
        return {"text": text, "generator": _count(self.denoiser) - text, "decoder": _count(self.autoencoder)}

    def loss(self, mu: Tensor, ids: Tensor) -> Tensor:
        """DDPM's simple loss on the codes (2112.10752, eq. 3). mu: autoencoder.encode(x)[0], computed once for all."""
        expect.tensor("mu", mu, f"B {self.autoencoder.latent} h w")
        return self.denoiser.loss(self.scale * mu, expect.told("ids", ids, len(mu)))


def guided(model: LatentDiffusion, prompts, scale: float | None = None, negative=None) -> guidance.Denoise:
    """denoise(z, t) -> z0 for those prompts, one for each row of z, with classifier-free guidance.

    negative: what to move away from, a text for all or one each; "" unless given. Nothing limits the estimates: codes
    have no range that is known beforehand, as pictures have.
    """
    told = model.read(prompts)
    return _guided(model, told, _for_all(model, "negative", negative, len(told)), scale)


def text_to_image(model: LatentDiffusion, prompts: str | list[str], **options) -> Tensor:
    """A picture for each prompt, (B, channels, height, width) in [-1, 1]: model(prompts, **options).

    size: in pixels, of a square or (height, width); the model's own unless given. steps=20, order=2 and eta=0 are those
    of `sampler.sample`, grid=times makes the times of (steps, start). scale: of guidance. negative: a text to move away
    from, or one each. limit: guidance.clamp, say, for codes that are pixels. watch: what the steps go through, as tqdm.
    """
    return model(prompts, **options)


def image_to_image(
    model, images: Tensor, prompts, strength: float, *, steps=20, grid=times, generator=None, **options
) -> Tensor:
    """Pictures (B, channels, H, W) made over as the prompts say, one for all or one each: SDEdit (2108.01073).

    Noise is added up to t = strength and taken away in the share `strength` of the steps. 0 only rebuilds the
    pictures from their codes; at 1 they have next to no say. options: those of `text_to_image` but for the size.
    ValueError for a strength outside [0, 1].
    """
    strength = expect.number("strength", strength, 0, 1)
    z = model.encode(expect.tensor("images", images, "B C H W", scaled=True))
    if strength == 0:
        return model.decode(z)
    told = _for_all(model, "prompts", prompts, len(z))
    t = _times(grid, steps, strength)
    x = model.schedule.add_noise(z, t[0].item(), randn(z.shape, z, generator))
    return model.decode(_walked(model, x, t, told, generator=generator, **options))


def inpaint(
    model, images: Tensor, mask, prompts, strength=1.0, *, steps=20, grid=times, generator=None, **options
) -> Tensor:
    """Pictures (B, channels, H, W) painted anew where mask, (H, W) or (B, 1, H, W), is 1; elsewhere left bit for bit.

    A code is held to that of the picture where all its f x f pixels are known. What a decoder makes of it is only near
    the picture, so the known pixels are pasted back. (2112.10752, section 4.5, trains a model for this; here any will
    do, as in 2201.09865 without its going back and forth.) Below strength 1 what is painted over has a say, as in
    `image_to_image`. options: those of `text_to_image` but for the size.
    """
    known = model.encode(expect.tensor("images", images, "B C H W", scaled=True))
    mask = _mask(mask, images)
    anew = F.max_pool2d(mask.float(), model.autoencoder.f) > 0
    told = _for_all(model, "prompts", prompts, len(known))
    t = _times(grid, steps, expect.number("strength", strength, 0.01, 1))
    x = model.schedule.prior(known.shape, generator).to(known)
    if strength < 1:
        x = model.schedule.add_noise(known, t[0].item(), x / model.schedule(1.0)[1].item())
    drawn = _walked(model, x, t, told, keep=(known, anew), generator=generator, **options)
    return torch.where(mask, model.decode(drawn), images)


def keep_known(denoise: guidance.Denoise, known: Tensor, mask: Tensor) -> guidance.Denoise:
    """Estimates with `known` (B, C, h, w) in place of what is denoised where the bool mask (B or 1, 1, h, w) is False.

    Then the sampler itself walks these places along alpha known + sigma eps: each step finds them as noisy as the rest.
    """
    rows, _, h, w = expect.tensor("known", known, "B C h w").shape
    one = isinstance(mask, Tensor) and mask.shape[:1] == (1,)
    expect.mask("mask", mask, f"{1 if one else rows} 1 {h} {w}")
    return lambda x, t: torch.where(mask, denoise(expect.alike("x", x, "known", known), t), known)


def _count(part) -> int:
    return sum(weight.numel() for weight in part.parameters()) if isinstance(part, nn.Module) else 0


def _times(grid: Callable, steps: int, start: float) -> Tensor:
    """The times of a run from `start`, its share of the steps."""
    return grid(max(1, round(start * expect.integer("steps", steps, 1))), start)


def _walked(model, x, t, told, scale=None, negative=None, keep=None, limit=None, watch=iter, **options) -> Tensor:
    """x at the first of the times t, (B, latent, h, w), walked to codes at t = 0, as many rows at once as fit."""
    away = _for_all(model, "negative", negative, len(x))
    ends = []
    for rows in torch.arange(len(x)).split(_rows_at_once(model, x)):
        denoise = (limit or nn.Identity())(_guided(model, told[rows], away[rows], scale))
        if keep is not None:
            denoise = keep_known(denoise, *(part[rows] for part in keep))
        walk = sample(*_to_zero(denoise, x[rows], t), model.schedule, **{"order": 2} | options)
        ends.append(last(watch(walk)))
    return torch.cat(ends)


def _to_zero(denoise: guidance.Denoise, x: Tensor, t: Tensor) -> tuple:
    """The three for `sample`, whose times end at 0: where they do not, what x is at their end counts as the picture."""
    if t[-1] == 0:
        return denoise, x, t
    end = t[-1].item() * (1 + 1e-6)  # in float32 a time may be a little later
    return lambda x, t: x if t <= end else denoise(x, t), x, torch.cat([t, t.new_zeros(1)])


def _rows_at_once(model, z: Tensor) -> int:
    pixels = z.shape[2] * z.shape[3] * model.autoencoder.f**2
    return max(1, min(CHUNK, PIXELS // pixels))


def _places(model, size) -> list[int]:
    """Height and width of a code for pictures of that size."""
    size = model.size if size is None else size
    sides = list(size) if isinstance(size, tuple | list) else [size, size]
    factor = model.autoencoder.f * getattr(model.denoiser.net, "factor", 1)
    if len(sides) != 2 or any(expect.integer("size", side, factor) % factor for side in sides):
        raise ValueError(f"size: got {size}, expected a multiple of {factor}, or two of them, height and width")
    return [side // model.autoencoder.f for side in sides]


def _guided(model: LatentDiffusion, told: Tensor, away: Tensor, scale: float | None) -> guidance.Denoise:
    scale = model.guidance if scale is None else scale
    if expect.number("scale", scale) == 1:
        return partial(model.denoiser, cond=told)
    return guidance.cfg(model.denoiser, told, away, scale)


def _for_all(model: LatentDiffusion, name: str, texts, rows: int) -> Tensor:
    """What was read of one text for all, or of one for each: (rows, L, ...). None is ""."""
    told = model.read("" if texts is None else texts)
    if len(told) not in (1, rows):
        raise ValueError(f"{name}: got {len(told)} texts, expected one, or one for each of {rows} pictures")
    return told.expand(rows, *told.shape[1:])


def _mask(mask, images: Tensor) -> Tensor:
    rows, _, *size = images.shape
    return expect.marks("mask", mask, tuple(size), (rows, 1, *size)).expand(rows, 1, *size).to(images.device)
