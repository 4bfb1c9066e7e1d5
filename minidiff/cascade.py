"""Lesson 13: a small picture first, and then larger ones, each drawn by a diffusion that is shown the one before.

SR3 (Saharia et al., 2104.07636) shows a network the small picture, enlarged, as further channels. Cascaded diffusion
models (Ho et al., 2106.15282) spoil that small picture in training, and say how much, so that the network does not
believe every pixel of one that was drawn. Imagen (Saharia et al., 2205.11487) is such a cascade that reads words.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import guidance
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, TextToImage
from minidiff.nn import group_norm, time_mlp
from minidiff.sampler import last, sample, times
from minidiff.schedule import Schedule
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn
from minidiff.unet import Conditioning, Stage

LEVEL = 0.05  # of the noise that is put on a drawn small picture unless another is given: the best of lesson 13's sweep


def noised(small: Tensor, level: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """Conditioning augmentation: small (B, C, h, w) as the forward process has it at the times `level` (B,).

    alpha(level) small + sigma(level) eps, eps ~ N(0, I) of small's shape (2106.15282, section 3.3). Level 0 is small
    itself.
    """
    return schedule.add_noise(small, _levels(level, small), eps)


def shown(small: Tensor, level: Tensor, f: int = 2) -> Tensor:
    """What the network sees beside its own noisy picture: (B, C, h, w) and levels (B,) -> (B, C + 1, f h, f w).

    small enlarged f times, bilinear, and one more channel that has the level everywhere. (The papers embed the level
    as they do the time; a channel needs no other network.)
    """
    level = _levels(level, small)
    large = F.interpolate(small, scale_factor=f, mode="bilinear", align_corners=False)
    told = level.to(small).reshape(-1, 1, 1, 1).expand(-1, 1, *large.shape[2:])
    return torch.cat([large, told], dim=1)


@part
class Enlarger(nn.Module):
    """Small pictures to larger ones by diffusion: (B, C, h, w) -> (B, C, f h, f w), any h and w that suit the network.

    denoiser: of the large pictures, its net a UNet(channels=C, known=C + 1) without labels and words.
    most: levels are drawn evenly from [0, most] in training; with 0 it is trained on clean small pictures alone.
    """

    def __init__(self, denoiser: Denoiser, f: int = 2, most: float = 0.5):
        super().__init__()
        if not isinstance(denoiser, Denoiser):
            raise TypeError(f"denoiser: got {type(denoiser).__name__}, expected a Denoiser")
        self.denoiser = denoiser
        self.f = expect.integer("f", f, 2)
        self.most = expect.number("most", most, 0, 1)

    @property
    def schedule(self) -> Schedule:
        """The denoiser's, also of the noise that is put on small pictures."""
        return self.denoiser.schedule

    def spoil(self, small: Tensor, level: Tensor, generator=None) -> Tensor:
        """small (B, C, h, w) with noise of these levels (B,)."""
        expect.tensor("small", small, "B C h w")
        return noised(small, level, randn(small.shape, small, generator), self.schedule)

    def loss(self, x0: Tensor, level: Tensor | None = None) -> Tensor:
        """The denoiser's loss on pictures x0 (B, C, H, W), shown what they are when made f times smaller and spoiled.

        level: (B,), drawn anew unless given. A scalar.
        """
        expect.tensor("x0", x0, "B C H W")
        if x0.shape[2] % self.f or x0.shape[3] % self.f:
            raise ValueError(f"x0: got {x0.shape[2]}x{x0.shape[3]} pixels, expected multiples of f = {self.f}")
        small = F.avg_pool2d(x0, self.f)
        level = self.most * torch.rand(len(x0)) if level is None else level
        return self.denoiser.loss(x0, shown(self.spoil(small, level), level, self.f))

    @torch.no_grad()
    def forward(self, small: Tensor, level: float = 0.0, *, steps: int = 20, generator=None, **options) -> Tensor:
        """Enlarged pictures (B, C, f h, f w) in [-1, 1]. level: of what is done to small, and told; in [0, most].

        options: those of `sampler.sample`; order=2 unless given.
        """
        expect.tensor("small", small, "B C h w", finite=True)
        levels = torch.full((len(small),), expect.number("level", level, 0, self.most))
        cond = shown(self.spoil(small, levels, generator), levels, self.f)
        x = self.schedule.prior((len(small), small.shape[1], *cond.shape[2:]), generator).to(small)
        denoise = guidance.clamp(partial(self.denoiser, cond=cond))
        return last(sample(denoise, x, times(steps), self.schedule, **{"order": 2, "generator": generator} | options))


@part
class EfficientUNet(nn.Module):
    """Imagen's U-Net for large pictures (2205.11487, appendix B.1), in small: (x, t, cond) as a `UNet` with `known`.

    Three changes. The picture is halved before a level's convolutions and grows again after them, so that none of the
    residual blocks works on all its pixels. There are more blocks where pixels are few. And what is handed over from
    the way down is divided by √2.

    widths, blocks: of each level, the first at half the picture's sides. known: channels of the picture that it is
    shown; at least 1.
    """

    def __init__(self, channels: int = 3, widths=(32, 64), blocks=(1, 2), known: int = 4):
        super().__init__()
        self.channels = expect.integer("channels", channels, 1)
        self.widths = [expect.integer("widths", width, 1) for width in widths]
        self.blocks = [expect.integer("blocks", count, 1) for count in blocks]
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"blocks: got {len(self.blocks)}, expected one for each of {len(self.widths)} widths")
        self.known = expect.integer("known", known, 1)
        embed, above = max(self.widths), [self.widths[0], *self.widths[:-1]]
        self.time_embed = time_mlp(64, embed)
        self.conv_in = nn.Conv2d(channels + known, above[0], 3, padding=1)
        sizes = list(zip(above, self.widths, self.blocks))
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b, _ in sizes)
        self.down = nn.ModuleList(Stage(b, b, n, False, embed, None) for _, b, n in sizes)
        self.up = nn.ModuleList(Stage(2 * b, b, n, False, embed, None) for _, b, n in sizes)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b, _ in sizes)
        self.out = nn.Sequential(group_norm(above[0]), nn.SiLU(), nn.Conv2d(above[0], channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """x (B, channels, H, W), t (B,) or () in [0, 1], cond (B, known, H, W) -> x's shape."""
        self._check(x, cond)
        told = Conditioning(self.time_embed(expect.time("t", t, len(x), like=x)))
        first = h = self.conv_in(torch.cat([x, cond], 1)).contiguous(memory_format=torch.channels_last)
        copies = []
        for halve, stage in zip(self.halve, self.down):
            h = stage(halve(h), told)
            copies.append(h)
        for stage, grow in zip(reversed(self.up), reversed(self.grow)):
            h = stage(torch.cat([h, copies.pop() / math.sqrt(2)], 1), told)
            h = F.interpolate(grow(h), scale_factor=2)
        return self.out(h + first / math.sqrt(2))

    def _check(self, x: Tensor, cond: Tensor) -> None:
        expect.tensor("x", x, f"B {self.channels} H W", like=self.conv_in.weight)
        factor = 2 ** len(self.widths)
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(f"x: got {x.shape[2]}x{x.shape[3]} pixels, expected multiples of {factor}, to be halved")
        expect.tensor("cond", cond, f"{len(x)} {self.known} {x.shape[2]} {x.shape[3]}", like=x)


class Cascade(TextToImage):
    """Words to a small picture and on to larger ones: `base` is the generator, the enlargers are the decoder.

    base: a LatentDiffusion on pixels. enlargers: each takes what the one before has drawn.
    """

    def __init__(self, base: LatentDiffusion, enlargers: list[Enlarger]):
        super().__init__(text=base.read, generator=base.generate, decoder=self.enlarge)
        self.base, self.enlargers = base, nn.ModuleList(enlargers)

    def stages(
        self, prompts, *, level=LEVEL, steps=20, limit=guidance.clamp, generator=None, **options
    ) -> list[Tensor]:
        """The pictures of every size, the smallest first, each (B, C, h, w) in [-1, 1].

        level: of the spoiling, for the first enlarger; the others get what they were given, unspoiled. limit: of the
        base's estimates, denoise -> denoise. options: those of `text_to_image`, for the base.
        """
        told = self.text(prompts)
        small = self.generator(told, steps=steps, limit=limit, generator=generator, **options).clamp(-1, 1)
        return [small, *self.grown(small, level=level, steps=steps, generator=generator)]

    def grown(self, small: Tensor, *, level: float = LEVEL, steps: int = 20, generator=None) -> list[Tensor]:
        """What each enlarger makes of small, in turn."""
        pictures = [small]
        for i, enlarger in enumerate(self.enlargers):
            pictures.append(enlarger(pictures[-1], level if i == 0 else 0.0, steps=steps, generator=generator))
        return pictures[1:]

    def enlarge(self, small: Tensor, **options) -> Tensor:
        """The last of `grown`."""
        return [small, *self.grown(small, **options)][-1]

    def forward(self, prompts, **options) -> Tensor:
        """The largest picture for each prompt; options: those of `stages`."""
        return self.stages(prompts, **options)[-1]

    def weights(self) -> dict[str, int]:
        """How many weights each part has."""
        base = self.base.weights()
        count = sum(weight.numel() for weight in self.enlargers.parameters())
        return {"text": base["text"], "generator": base["generator"], "decoder": count}


def _levels(level: Tensor, small: Tensor) -> Tensor:
    """`level` if it is one for each of the pictures `small`."""
    expect.tensor("small", small, "B C h w")
    return expect.tensor("level", level, f"{len(small)}", low=0, high=1)
