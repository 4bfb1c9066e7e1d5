"""Lesson 12: Stable Diffusion's networks: a U-Net with spatial transformers, and a KL autoencoder.

Rombach et al. 2022 (2112.10752). With CLIP's text tower, `transformer.TextEncoder`, they are the parts of a
`LatentDiffusion`; nothing else of lesson 09 changes. `pretrained.load` fills them with published weights. Each computes
in the dtype of its weights and answers in that of its input: codes and times stay float32 beside weights in half.
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion
from minidiff.nn import Attention, time_mlp
from minidiff.schedule import Schedule, from_betas
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.transformer import TextEncoder

SCALE = 0.18215  # 1 / the standard deviation of this autoencoder's codes (2112.10752, appendix G)
GUIDANCE = 7.5  # of classifier-free guidance, the scale that the model was published with
EPS_RESIDUAL = 1e-5  # of group norm in the U-Net's residual blocks; elsewhere it is EPS
EPS = 1e-6
TOKENS = {"vocabulary": 49408, "length": 77, "end": 49407}  # CLIP's

# What differs between the published models; the rest stands in the classes, as their defaults.
VERSIONS = {
    "1.x": {"text": TOKENS | {"width": 768, "layers": 12, "heads": 12}, "unet": {"heads": (8, 8, 8, 8)}},
    "2.x": {  # OpenCLIP's tower has 24 layers, and the last one is left out
        "text": TOKENS | {"width": 1024, "layers": 23, "heads": 16, "activation": "gelu"},
        "unet": {"heads": (5, 10, 20, 20)},
        "predict": "v",
        "size": 768,
    },
}


@part
class UNetModel(nn.Module):
    """(x_t, t, texts) -> a picture of x's shape: noise or velocity, as its `Denoiser` says.

    As in the original code, `down` holds one step for each copy that the way up is handed, `up` again one for each. A
    step is a residual block, a spatial transformer where its level has it, and the change of size at a level's end.

    text: a module that reads token ids (B, L) to words (B, L, text.width). channels: of the code. widths: channels at
    each level, the finest first, multiples of `groups`. transformers: the levels with spatial transformers; the middle
    always has one. blocks: residual blocks at each level on the way down; one more on the way up. heads: of attention,
    a number for each level. factor: what the sides of x must be multiples of, to be halved from level to level.
    Source: 2112.10752, appendix E.1, and its code, `UNetModel`: the same as diffusers' UNet2DConditionModel.
    """

    casts = True  # x to the dtype of the weights and its answer back

    def __init__(
        self,
        text: nn.Module,
        channels=4,
        widths=(320, 640, 1280, 1280),
        transformers=(0, 1, 2),
        blocks=2,
        heads=(8, 8, 8, 8),
        groups=32,
    ):
        super().__init__()
        self.text = text
        self.channels = expect.integer("channels", channels, 1)
        self.widths = [expect.integer("widths", width, 2) for width in widths]
        self.transformers = [expect.integer("transformers", level, 0, len(widths) - 1) for level in transformers]
        self.blocks = expect.integer("blocks", blocks, 1)
        self.heads = [expect.integer("heads", count, 1) for count in heads]
        expect.choice("len(heads)", len(heads), [len(widths)])
        self.groups = expect.integer("groups", groups, 1)
        self.factor = 2 ** (len(widths) - 1)
        top, bottom = self.widths[0], self.widths[-1]
        self.time_embed = time_mlp(top, 4 * top)
        self.down = self._down()
        first, last = (self._residual(bottom, bottom) for _ in range(2))
        self.mid = Steps(first, self._transformer(len(widths) - 1), last)
        self.up = self._up()
        self.out = nn.Sequential(nn.GroupNorm(groups, top, EPS_RESIDUAL), nn.SiLU(), Convolution(top, channels))
        for layer in self.modules():  # at first a block is its shortcut alone, so that deep nets train
            if last := getattr(layer, "conv2", getattr(layer, "proj_out", None)):
                nn.init.zeros_(last.weight)

    def read(self, ids: Tensor) -> Tensor:
        """Token ids (B, L) -> words (B, L, C): what `forward` takes in place of ids, so that they are read once."""
        return self.text(ids)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """x (B, channels, H, W), t (B,) or () in [0, 1] -> x's shape. cond: token ids (B, L) or the words read of them.

        Nothing is masked: the padding at the end of a text is attended to as the words are, and was in training.
        """
        self._check(x)
        weights = self.out[-1].weight
        cond = expect.told("cond", cond, len(x))
        words = (cond if cond.is_floating_point() else self.read(cond)).to(weights.dtype)
        embedding = self.time_embed[1:](self._waves(expect.time("t", t, len(x))).to(weights.dtype))  # (B, 4 widths[0])
        h = x.to(weights.dtype, memory_format=torch.channels_last)  # 8.1 s a step become 6.8 on a CPU
        copies = []
        for step in self.down:
            h = step(h, embedding, words)
            copies.append(h)
        h = self.mid(h, embedding, words)
        for step in self.up:
            h = step(torch.cat([h, copies.pop()], dim=1), embedding, words)
        return self.out(h).to(x.dtype)

    def _waves(self, t: Tensor) -> Tensor:
        """The waves of t, cosines first. Step i = 0 ... 999 of the original is t = (i + 1) / 1000."""
        sines, cosines = self.time_embed[0](t - 1 / 1000).chunk(2, dim=1)
        return torch.cat([cosines, sines], dim=1)

    def _check(self, x: Tensor) -> None:
        h, w = expect.tensor("x", x, f"B {self.channels} H W").shape[2:]
        if h % self.factor or w % self.factor:
            raise ValueError(f"x: got a code of {h}x{w} places, expected multiples of {self.factor}, to be halved")

    def _residual(self, channels_in: int, channels: int) -> nn.Module:
        return ResBlock(channels_in, channels, self.groups, EPS_RESIDUAL, embed=4 * self.widths[0])

    def _transformer(self, level: int) -> nn.Module:
        return SpatialTransformer(self.widths[level], self.heads[level], self.text.width, self.groups)

    def _step(self, channels_in: int, level: int) -> "Steps":
        transformer = [self._transformer(level)] if level in self.transformers else []
        return Steps(self._residual(channels_in, self.widths[level]), *transformer)

    def _down(self) -> nn.ModuleList:
        steps = [Steps(Convolution(self.channels, self.widths[0]))]
        channels = self.widths[0]
        for level, width in enumerate(self.widths):
            for _ in range(self.blocks):
                steps.append(self._step(channels, level))
                channels = width
            if level < len(self.widths) - 1:
                steps.append(Steps(Downsample(width, width)))
        return nn.ModuleList(steps)

    def _up(self) -> nn.ModuleList:
        copies = [self.widths[0]]  # the channels of what each step on the way down has left
        for level, width in enumerate(self.widths):
            copies += [width] * (self.blocks + (level < len(self.widths) - 1))
        steps = []
        channels = self.widths[-1]
        for level in reversed(range(len(self.widths))):
            for _ in range(self.blocks + 1):
                steps.append(self._step(channels + copies.pop(), level))
                channels = self.widths[level]
            if level:
                steps[-1].append(Upsample(channels, channels))
        return nn.ModuleList(steps)


class Steps(nn.Sequential):
    """Layers in a row, each of which is told the embedding of the time and the words, and may not listen."""

    def forward(self, h: Tensor, embedding: Tensor, words: Tensor) -> Tensor:
        for layer in self:
            h = layer(h, embedding, words)
        return h


class ResBlock(nn.Module):
    """x + f(x), f: norm, SiLU, conv, plus the time, norm, SiLU, conv. The time is a shift before the second norm.

    (`nn.ResidualBlock` has FiLM, after it.) embed: width of the time's embedding, None in the autoencoder.
    """

    def __init__(self, channels_in: int, channels: int, groups: int, eps: float, embed: int | None = None):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps)
        self.conv1 = Convolution(channels_in, channels)
        self.time = None if embed is None else nn.Linear(embed, channels)
        self.norm2 = nn.GroupNorm(groups, channels, eps)
        self.conv2 = Convolution(channels, channels)
        self.shortcut = nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None, words: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            h = h + self.time(F.silu(embedding))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class SpatialTransformer(nn.Module):
    """h + a transformer over its pixels, which attend to each other and to the words: (B, C, H, W) -> the same.

    The linear layers at its ends are 1x1 convolutions in version 1.x, which is the same on every pixel.
    """

    def __init__(self, channels: int, heads: int, context: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPS)
        self.proj_in = nn.Linear(channels, channels)
        self.block = TransformerBlock(channels, heads, context)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, h: Tensor, embedding: Tensor, words: Tensor) -> Tensor:
        tokens = self.proj_in(self.norm(h).flatten(2).mT)  # (B, H W, C): a pixel is a token
        tokens = self.proj_out(self.block(tokens, words))
        return h + tokens.mT.unflatten(2, h.shape[2:])


class TransformerBlock(nn.Module):
    """Pixels (B, P, C) look at each other, then at the words (B, L, context), then each thinks for itself."""

    def __init__(self, channels: int, heads: int, context: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.self_attention = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.cross_attention = Attention(channels, heads, context=context)
        self.norm3 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 8 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), words)
        value, gate = self.fc1(self.norm3(x)).chunk(2, dim=2)
        return x + self.fc2(value * F.gelu(gate))  # GEGLU (Shazeer 2020, 2002.05202), with the exact GELU


class Convolution(nn.Conv2d):
    """A convolution of 3 x 3 pixels among steps: it does not listen."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1, padding: int = 1):
        super().__init__(channels_in, channels, 3, stride, padding)

    def forward(self, h: Tensor, *told: Tensor) -> Tensor:
        return super().forward(h)


class Downsample(Convolution):
    """Half the size. one_sided: zeros below and to the right only, and none around."""

    def __init__(self, channels_in: int, channels: int, one_sided: bool = False):
        super().__init__(channels_in, channels, stride=2, padding=0 if one_sided else 1)
        self.one_sided = one_sided

    def forward(self, h: Tensor, *told: Tensor) -> Tensor:
        return super().forward(F.pad(h, (0, 1, 0, 1)) if self.one_sided else h)


class Upsample(Convolution):
    """Twice the size: each pixel four times, and then the convolution."""

    def forward(self, h: Tensor, *told: Tensor) -> Tensor:
        return super().forward(F.interpolate(h, scale_factor=2))


class PixelAttention(nn.Module):
    """h + attention of its pixels to each other, with one head: (B, C, H, W) -> the same."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPS)
        self.attention = Attention(channels, 1, bias=True)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.attention(self.norm(h).flatten(2).mT).mT.unflatten(2, h.shape[2:])


@part
class AutoencoderKL(nn.Module):
    """Pictures (B, channels, H, W) <-> codes (B, latent, H / f, W / f), f = 2^(levels - 1): Stable Diffusion's own.

    It speaks as `latent.KLAutoencoder` does. widths: channels at each level, the finest first, multiples of `groups`.
    blocks: residual blocks at each level of the encoder; the decoder has one more.
    Source: 2112.10752, section 3.1 and its code: the same as diffusers' AutoencoderKL.
    """

    def __init__(self, channels=3, latent=4, widths=(128, 256, 512, 512), blocks=2, groups=32):
        super().__init__()
        self.channels = expect.integer("channels", channels, 1)
        self.latent = expect.integer("latent", latent, 1)
        self.widths = [expect.integer("widths", width, 1) for width in widths]
        self.blocks = expect.integer("blocks", blocks, 1)
        self.groups = expect.integer("groups", groups, 1)
        self.f = 2 ** (len(self.widths) - 1)
        bottom, top = self.widths[-1], self.widths[0]
        self.encoder = nn.Sequential(
            Convolution(channels, top),
            *self._levels(self.widths, blocks, partial(Downsample, one_sided=True)),
            *self._middle(bottom),
            nn.GroupNorm(groups, bottom, EPS),
            nn.SiLU(),
            Convolution(bottom, 2 * latent),
            nn.Conv2d(2 * latent, 2 * latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, latent, 1),
            Convolution(latent, bottom),
            *self._middle(bottom),
            *self._levels(self.widths[::-1], blocks + 1, Upsample),
            nn.GroupNorm(groups, top, EPS),
            nn.SiLU(),
            Convolution(top, channels),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log_var of q(z | x), each (B, latent, H / f, W / f). ValueError if f does not divide H and W."""
        expect.tensor("x", x, f"B {self.channels} H W")
        if x.shape[2] % self.f or x.shape[3] % self.f:
            raise ValueError(f"x: got {x.shape[2]}x{x.shape[3]} pixels, expected multiples of f = {self.f}")
        mu, log_var = self.encoder(x.to(self.encoder[0].weight.dtype)).to(x.dtype).chunk(2, dim=1)
        return mu, log_var.clamp(-30, 20)

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent, h, w) -> (B, channels, f h, f w), near [-1, 1] but not clamped."""
        expect.tensor("z", z, f"B {self.latent} h w")
        return self.decoder(z.to(self.decoder[0].weight.dtype)).to(z.dtype)

    def _levels(self, widths: list[int], blocks: int, resize) -> list[nn.Module]:
        layers = []
        for level, (before, width) in enumerate(pairwise([widths[0], *widths])):
            layers += [ResBlock(width if k else before, width, self.groups, EPS) for k in range(blocks)]
            if level < len(widths) - 1:
                layers.append(resize(width, width))
        return layers

    def _middle(self, width: int) -> list[nn.Module]:
        first, last = (ResBlock(width, width, self.groups, EPS) for _ in range(2))
        return [first, PixelAttention(width, self.groups), last]


def scaled_linear(first: float = 0.00085, last: float = 0.012, steps: int = 1000) -> Schedule:
    """Stable Diffusion's schedule: the square roots of the betas lie on a line. alpha_bar(1) is 0.0047, and not 0."""
    return from_betas(torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64, device="cpu").square())


def stable_diffusion(
    tokenizer, text, unet, autoencoder=None, schedule=None, predict="eps", size=512, scale=SCALE, device=None
) -> LatentDiffusion:
    """A new Stable Diffusion in eval mode. text, unet, autoencoder: the arguments of the three networks' classes.

    `stable_diffusion(tokenizer, **VERSIONS["1.x"])` is that of full size. device: of the networks' weights; on "meta"
    they have shapes only, to be counted or filled.
    """
    with torch.device(device or "cpu"):
        net = UNetModel(TextEncoder(**text), **unet)
        coder = AutoencoderKL(**(autoencoder or {}))
    denoiser = Denoiser(net, schedule or scaled_linear(), predict, null=tokenizer("")[0])
    model = LatentDiffusion(coder, denoiser, tokenizer, size=size, guidance=GUIDANCE)
    model.scale.fill_(scale)
    return model.eval()
