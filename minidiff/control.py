"""Lesson 15: a sketch that says where, for a trained text-to-image model that stays as it is (ControlNet, 2302.05543).

A `Control` is a copy of the U-Net's way down that also sees the sketch. What it finds is added to what the frozen U-Net
knows at each level, through zero convolutions: at first it adds nothing. `sketch_to_image` draws with both.
"""

import copy
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import guidance
from minidiff.data.shapes.read import APART
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion
from minidiff.sampler import last, sample, times
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn
from minidiff.unet import Stage, UNet, walk_down

EDGE = 0.35  # a gradient of this size is an edge: the figures' have more, grounds' stripes and grain less
SHIFT = 1.0  # pixels, how far the line of a scribble wanders


def zero_convolution(channels: int) -> nn.Conv2d:
    """A convolution of single pixels that answers 0 until it is trained: (B, channels, H, W) -> the same shape."""
    layer = nn.Conv2d(channels, channels, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@part
class Control(nn.Module):
    """The copy with its zero convolutions: what to add to a frozen U-Net, from what that sees and a sketch.

    widths, blocks, attention: of the U-Net; words: the width of its text's. f: pixels of a sketch for each place of a
    code, a power of 2. drop: the share of texts that is hidden in training, so that the sketch is read for what it
    shows; half of them, as in the paper (section 3.3).
    `follow(model)` comes first. The model is no part of the control: it is not saved, and no optimiser sees it.
    """

    def __init__(self, widths=(64, 128), blocks=1, attention=(1,), words=64, f=4, drop=0.5):
        super().__init__()
        self.widths = [expect.integer("widths", width, 1) for width in widths]
        self.blocks = expect.integer("blocks", blocks, 1)
        self.attention = [expect.integer("attention", level, 0, len(widths) - 1) for level in attention]
        self.words = expect.integer("words", words, 1)
        self.f = expect.integer("f", f, 1)
        self.drop = expect.number("drop", drop, 0, 1)
        stage = partial(Stage, embed=max(widths), words=words)
        *above, lowest = range(len(widths))
        self.down = nn.ModuleList(stage(widths[i], widths[i], blocks, i in self.attention) for i in above)
        self.downsample = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.mid = stage(widths[-1], widths[-1], 2 * blocks, lowest in self.attention)
        self.hint = _sketch_encoder(widths[0], f)
        self.zeros = nn.ModuleList(zero_convolution(width) for width in (widths[0], *widths))
        self.model = ()

    def follow(self, model: LatentDiffusion) -> "Control":
        """Begin as a copy of the way down of that model's U-Net, and `listen` to it.

        TypeError or ValueError for another model, or a U-Net of other sizes than the control's.
        """
        self._fits(model)
        own, theirs = self.state_dict(), model.denoiser.net.state_dict()
        new = [name for name in own if name.startswith(("hint.", "zeros."))]
        self.load_state_dict({name: own[name] if name in new else theirs[name] for name in own})
        return self.listen(model)

    def _fits(self, model: LatentDiffusion) -> None:
        if not isinstance(model, LatentDiffusion) or not isinstance(model.denoiser.net, UNet):
            raise TypeError(f"model: got {type(model).__name__}, expected a LatentDiffusion whose network is a UNet")
        net = model.denoiser.net
        for name in ("widths", "blocks", "attention"):
            theirs, own = getattr(net, name), getattr(self, name)
            if theirs != own:
                raise ValueError(f"model: got a U-Net with {name} = {theirs}, expected {own} as the control's")
        if net.text is not None and net.text.width != self.words:
            raise ValueError(f"model: got words of width {net.text.width}, expected {self.words} as the control's")
        if self.attention and net.text is None:
            raise ValueError("model: got a U-Net without words, expected attention=() in the control of one")

    def listen(self, model: LatentDiffusion) -> "Control":
        """Train beside a frozen copy of that model from now on, and keep the own weights."""
        self.model = (copy.deepcopy(model).eval().requires_grad_(False),)  # in a tuple: no module of this one
        return self

    def forward(self, h: Tensor, conditioning, sketches: Tensor) -> list[Tensor]:
        """What to add at each level, the finest first, and at the bottom.

        h (B, widths[0], H, W) and the conditioning are what the U-Net's own way down begins with (`UNet.begin`);
        sketches (B, 1, f H, f W) in [0, 1].
        """
        height, width = (self.f * side for side in h.shape[2:])
        expect.tensor("sketches", sketches, f"{len(h)} 1 {height} {width}", like=h)
        first, *others = self.zeros
        found = walk_down(self, h + first(self.hint(sketches)), conditioning)
        return [zero(each) for zero, each in zip(others, found)]

    def loss(self, mu: Tensor, ids: Tensor, sketches: Tensor) -> Tensor:
        """The frozen model's own loss, with the control beside it, a scalar.

        mu (B, latent, h, w): codes, as `LatentDiffusion.loss` takes them; ids (B, L); sketches (B, 1, f h, f w).
        """
        if not self.model:
            raise ValueError("model: got none, expected `follow(model)` before the training")
        expect.tensor("mu", mu, f"B {self.model[0].autoencoder.latent} h w")
        expect.told("ids", ids, len(mu))
        limits = {"low": 0, "high": 1} if getattr(sketches, "is_cpu", False) else {}
        expect.tensor("sketches", sketches, f"{len(mu)} 1 H W", **limits)
        model = self.model[0].to(mu.device)
        denoiser = _denoiser(model, self, sketches, drop=self.drop)
        denoiser.training = self.training
        return denoiser.loss(model.scale * mu, ids)


class Controlled(nn.Module):
    """A U-Net and a control as one net(x, t, cond) -> x's shape, for the samplers and losses there are.

    sketches (N, 1, H, W): one for each row of x; guidance has two of each, the texts' rows first. strength: what all
    that the control adds is multiplied by; 0 is the U-Net alone.
    """

    def __init__(self, net: UNet, control: Control, sketches: Tensor, strength: float = 1.0):
        super().__init__()
        self.net, self.control, self.sketches, self.strength = net, control, sketches, strength

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        h, conditioning = self.net.begin(x, t, cond)
        sketches = self.sketches.repeat(len(x) // len(self.sketches), 1, 1, 1)
        added = self.control(h, conditioning, sketches)
        return self.net(x, t, cond, [self.strength * each for each in added])


@torch.no_grad()
def sketch_to_image(
    model, control: Control, sketches: Tensor, prompts, strength=1.0, *, scale=None, steps=20, generator=None
) -> Tensor:
    """A picture for each sketch (N, 1, H, W) in [0, 1] and prompt, one for all or one each: (N, channels, H, W).

    strength: of the control; at 0 it is `text_to_image` of the same noise, bit for bit. scale: of guidance.
    ValueError for sketches of another size than the pictures that the model draws.
    """
    side = model.size
    rows = len(expect.tensor("sketches", sketches, f"N 1 {side} {side}", low=0, high=1))
    told = model.read([prompts] * rows if isinstance(prompts, str) else prompts)
    if len(told) != rows:
        raise ValueError(f"prompts: got {len(told)}, expected one, or one for each of {rows} sketches")
    denoiser = _denoiser(model, control, sketches, expect.number("strength", strength))
    scale = model.guidance if scale is None else scale
    denoise = guidance.cfg(denoiser, told, model.read([""] * rows), scale)
    z = model.schedule.prior((rows, model.autoencoder.latent, side // control.f, side // control.f), generator)
    walk = sample(denoise, z.to(model.scale), times(steps), model.schedule, order=2)
    return model.decode(last(walk))


def _denoiser(model: LatentDiffusion, control: Control, sketches: Tensor, strength=1.0, drop=0.0) -> Denoiser:
    """The model's denoiser, with the control beside its net."""
    own = model.denoiser
    net = Controlled(own.net, control, sketches, strength)
    return Denoiser(net, own.schedule, own.predict, own.null, drop)


def _sketch_encoder(width: int, f: int) -> nn.Sequential:
    """Sketches (B, 1, f H, f W) -> (B, width, H, W), by strided convolutions (2302.05543, eq. 4)."""
    halvings = f.bit_length() - 1
    if 2**halvings != f:
        raise ValueError(f"f: got {f}, expected a power of 2")
    widths = [16 * 2**i for i in range(halvings)] + [width]
    layers = [nn.Conv2d(1, widths[0], 3, padding=1), nn.SiLU()]
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers)


def edges(images: Tensor) -> Tensor:
    """1 where pictures (N, C, H, W) in [-1, 1] change steeply, else 0: (N, 1, H, W). Sobel's filters, all channels."""
    expect.tensor("images", images, "N C H W")
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    filters = torch.stack([across, across.T])[:, None].to(images)
    channels = F.pad(images, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
    slopes = F.conv2d(channels, filters).unflatten(0, images.shape[:2])  # (N, C, 2, H, W)
    return (slopes.square().sum((1, 2)).sqrt() > EDGE)[:, None].to(images)


def scribbles(lines: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Lines (N, 1, H, W) of 0 and 1 as a hand may draw them: half of them thicker, and all wander a pixel or so."""
    rows, _, height, width = expect.tensor("lines", lines, "N 1 H W").shape
    thick = torch.rand(rows, 1, 1, 1, generator=generator).to(lines) < 0.5
    lines = torch.where(thick, F.max_pool2d(F.pad(lines, (0, 1, 0, 1)), 2, stride=1), lines)
    wander = SHIFT * randn((rows, 2, 4, 4), lines, generator)  # of a few points, and smooth between them
    wander = F.interpolate(wander, size=(height, width), mode="bicubic").permute(0, 2, 3, 1)
    here = F.affine_grid(torch.eye(2, 3).to(lines).expand(rows, 2, 3), list(lines.shape), align_corners=False)
    there = here + wander * 2 / torch.tensor([width, height]).to(lines)
    return (F.grid_sample(lines, there, align_corners=False) > 0.4).to(lines)


def crops(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Pictures (N, C, H, W), every second of them a square cut out of it and enlarged, by up to a half.

    So figures come in sizes and at places that captions have no words for.
    """
    rows = len(expect.tensor("images", images, "N C H W"))
    size = 1 - torch.rand(rows, 1, generator=generator) / 3 * (torch.rand(rows, 1, generator=generator) < 0.5)
    middle = (1 - size) * (2 * torch.rand(rows, 2, generator=generator) - 1)  # the square stays inside
    cut = torch.cat([size[:, :, None] * torch.eye(2), middle[:, :, None]], 2).to(images)  # (N, 2, 3)
    there = F.affine_grid(cut, list(images.shape), align_corners=False)
    return F.grid_sample(images, there, padding_mode="border", align_corners=False)


def sketches(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A sketch (N, 1, H, W) of each picture (N, C, H, W): its edges, or in every second one a scribble of them."""
    lines = edges(images)
    drawn = torch.rand(len(lines), 1, 1, 1, generator=generator).to(lines) < 0.5
    return torch.where(drawn, scribbles(lines, generator), lines)


def figure_masks(images: Tensor) -> Tensor:
    """Where pictures (N, 3, H, W) in [-1, 1] show something else than their ground: bool (N, 1, H, W)."""
    expect.tensor("images", images, "N 3 H W")
    border = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], 2)
    ground = border.median(2).values[:, :, None, None]
    return (images - ground).square().sum(1, keepdim=True).sqrt() > 2 * APART


def agreement(masks: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of masks (N, 1, H, W): 1 where they are the same, (N,)."""
    expect.mask("masks", masks, "N 1 H W")
    expect.mask("others", others, " ".join(map(str, masks.shape)))
    both, either = (pair.flatten(1).sum(1) for pair in (masks & others, masks | others))
    return both / either.clamp(min=1)
