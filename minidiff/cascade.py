"""Lesson 13: a small picture first, and then larger ones, each drawn by a diffusion that is shown the one before.

SR3 (Saharia et al., 2104.07636) shows a network the small picture, enlarged, as further channels. Cascaded diffusion
models (Ho et al., 2106.15282) spoil that small picture in training, and say how much, so that the network does not
believe every pixel of one that was drawn. Imagen (Saharia et al., 2205.11487) is such a cascade that reads words.
"""

import math
from functools import partial
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
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


def degraded(small: Tensor, generator=None) -> Tensor:
    """Pictures (B, 3, h, w) in [-1, 1] as they look after careless hands: same shape.

    Each is blurred, made smaller and large again, and compressed as a JPEG: each of these with probability 1/2, with a
    strength of its own, in an order of its own. The idea of BSRGAN (2103.14006), and of the last enlarger of unCLIP
    (2204.06125, section 2.1).
    """
    expect.tensor("small", small, "B 3 h w", low=-1, high=1)
    rows = []
    for row in small.float().split(1):
        for i in torch.randperm(len(DEGRADATIONS), generator=generator).tolist():
            use, strength = torch.rand(2, generator=generator).tolist()
            row = DEGRADATIONS[i](row, strength) if use < 0.5 else row
        rows.append(row)
    return torch.cat(rows).clamp(-1, 1).to(small)


def _blurred(row: Tensor, strength: float) -> Tensor:
    from torchvision.transforms.v2 import functional  # a second to import, and for training alone

    return functional.gaussian_blur(row, [5, 5], [0.2 + strength / 2])


def _resized(row: Tensor, strength: float) -> Tensor:
    sides = row.shape[2:]
    fewer = [round(side * (1 - strength / 3)) for side in sides]
    smaller = F.interpolate(row, fewer, mode="bilinear", antialias=True)
    return F.interpolate(smaller, sides, mode="bicubic").clamp(-1, 1)


def _compressed(row: Tensor, strength: float) -> Tensor:
    file = BytesIO()
    whole = ((row[0] + 1) * 127.5).round().byte().movedim(0, -1).numpy()  # (h, w, 3)
    Image.fromarray(whole).save(file, "JPEG", quality=round(95 - 45 * strength))
    return torch.from_numpy(np.array(Image.open(file))).movedim(-1, 0)[None].to(row) / 127.5 - 1


DEGRADATIONS = (_blurred, _resized, _compressed)  # of pictures (1, 3, h, w), by a strength in [0, 1]


@part
class Enlarger(nn.Module):
    """Small pictures to larger ones by diffusion: (B, C, h, w) -> (B, C, f h, f w), any h and w that suit the network.

    denoiser: of the large pictures, its net a UNet(channels=C, known=C + 1) without labels and words.
    most: levels are drawn evenly from [0, most] in training; with 0 it is trained on clean small pictures alone.
    degrade: in training the small pictures are `degraded` before the noise; the network is not told of that.
    """

    def __init__(self, denoiser: Denoiser, f: int = 2, most: float = 0.5, degrade: bool = False):
        super().__init__()
        if not isinstance(denoiser, Denoiser):
            raise TypeError(f"denoiser: got {type(denoiser).__name__}, expected a Denoiser")
        self.denoiser = denoiser
        self.f = expect.integer("f", f, 2)
        self.most = expect.number("most", most, 0, 1)
        self.degrade = expect.choice("degrade", degrade, (True, False))

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
        small = degraded(small) if self.degrade else small
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
        self.tokenizer = base.tokenizer

    def stages(self, prompts, *, level=None, steps=20, limit=guidance.clamp, generator=None, **options) -> list[Tensor]:
        """The pictures of every size, the smallest first, each (B, C, h, w) in [-1, 1].

        level: of the spoiling, for the first enlarger, LEVEL unless given, or 0 if it knows no other; the others get
        what they were given, unspoiled. limit: of the base's estimates, denoise -> denoise. options: those of
        `text_to_image`, for the base.
        """
        told = self.text(prompts)
        small = self.generator(told, steps=steps, limit=limit, generator=generator, **options).clamp(-1, 1)
        return [small, *self.grown(small, level=level, steps=steps, generator=generator)]

    def grown(self, small: Tensor, *, level: float | None = None, steps: int = 20, generator=None) -> list[Tensor]:
        """What each enlarger makes of small, in turn."""
        pictures = [small]
        for i, enlarger in enumerate(self.enlargers):
            first = min(LEVEL, enlarger.most) if level is None else level
            pictures.append(enlarger(pictures[-1], 0.0 if i else first, steps=steps, generator=generator))
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
