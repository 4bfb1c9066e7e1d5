"""The parts that networks share: time embedding, residual block, attention. Start here to read a U-Net."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.support import expect
from minidiff.support.parts import part


class TimeEmbedding(nn.Module):
    """A time t in [0, 1] as `dim` waves: (B,) -> (B, dim), or () -> (1, dim), in t's dtype.

    Row = [sin(1000 t w_0), sin(1000 t w_1), ..., cos(1000 t w_0), cos(1000 t w_1), ...] with w_i = 10000^(-2i / dim).
    One number tells a network little; among waves of every length some change quickly at t, some slowly. The
    factor 1,000 puts t on the scale of DDPM's steps 0 to 1,000, for which these lengths were chosen.

    `dim` is even. Time is float: a TypeError for whole numbers catches a step index passed for t.
    Source: Vaswani et al. 2017 (1706.03762), section 3.5; all sines first, then all cosines, as in DDPM (2006.11239).
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = expect.integer("dim", dim, 2)
        if self.dim % 2:
            raise ValueError(f"dim: got {dim}, expected an even number (a sine and a cosine for each wave)")

    def forward(self, t: Tensor) -> Tensor:
        expect.tensor("t", t, "B" if getattr(t, "ndim", 1) else "")
        # In half precision 1000 t is wrong by whole steps, so the angle is taken in float32 at least.
        dtype = torch.promote_types(t.dtype, torch.float32)
        i = torch.arange(self.dim // 2, dtype=dtype, device=t.device)
        w = torch.exp(-math.log(10_000) * 2 * i / self.dim)  # (dim/2,)
        angle = 1000 * t.to(dtype).reshape(-1, 1) * w  # (B, dim/2)
        return torch.cat([angle.sin(), angle.cos()], dim=1).to(t.dtype)  # (B, dim)


def time_mlp(dim: int, out: int) -> nn.Sequential:
    """t (B,) or () -> (B, out) or (1, out): the waves of `TimeEmbedding(dim)`, then a small network that mixes them.

    DDPM has it once per network; each residual block then reads its own scale and shift from the result.
    """
    out = expect.integer("out", out, 1)
    return nn.Sequential(TimeEmbedding(dim), nn.Linear(dim, out), nn.SiLU(), nn.Linear(out, out))


part(nn.SiLU)  # activations that are given to a model as an argument
part(nn.ReLU)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm (Wu & He 2018, 1803.08494) that suits narrow networks: at most 8 groups, each of 4 channels or more.

    (DDPM's 32 groups would leave one channel to a group here, and its mean brightness would be lost.)
    Channels that are no multiple of 8 make fewer groups, in the worst case one.
    """
    channels = expect.integer("channels", channels, 1)
    return nn.GroupNorm(max(1, math.gcd(channels, 32) // 4), channels)


class FiLM(nn.Module):
    """A condition speaks to feature maps: h (1 + scale) + shift, with (scale, shift) linear in SiLU(embedding).

    h (B, C, H, W), embedding (B, E) or (1, E) for one that all share -> (B, C, H, W). The 1 makes a scale of zero
    mean "leave h as it is". Source: Perez et al. 2018 (1709.07871), eq. 2; after group norm it is AdaGN of
    Dhariwal & Nichol 2021 (2105.05233), section 3.1.
    """

    def __init__(self, embed: int, channels: int):
        super().__init__()
        self.embed, self.channels = expect.integer("embed", embed, 1), expect.integer("channels", channels, 1)
        self.linear = nn.Linear(embed, 2 * channels)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        expect.tensor("h", h, f"B {self.channels} H W")
        rows = len(expect.tensor("embedding", embedding, f"B {self.embed}", like=self.linear.weight))
        if rows not in (1, len(h)):
            raise ValueError(f"embedding: got {rows} rows, expected {len(h)}, one for each picture, or a single row")
        scale, shift = self.linear(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        return h * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """x + f(x): (B, channels_in, H, W) -> (B, channels_out, H, W). f: norm, SiLU, conv, norm, FiLM, SiLU, conv.

    embed: width of the embedding that conditions the block; None for an unconditional one, which has no FiLM.
    The last convolution starts at zero, so a new block is nothing but its shortcut and a deep stack of them trains from
    the first step. Where the channels change, the shortcut is a 1x1 convolution.
    Source: He et al. 2016 (1603.05027), fig. 4e; conditioned as in Dhariwal & Nichol 2021 (2105.05233), section 3.1.
    """

    def __init__(self, channels_in: int, channels_out: int, embed: int | None = None):
        super().__init__()
        self.channels_in = expect.integer("channels_in", channels_in, 1)
        channels_out = expect.integer("channels_out", channels_out, 1)
        self.norm1 = group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = group_norm(channels_out)
        self.film = None if embed is None else FiLM(embed, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)
        self.shortcut = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """`embedding` (B, embed) or (1, embed) goes with embed=..., and is refused without."""
        expect.tensor("x", x, f"B {self.channels_in} H W", like=self.conv1.weight)
        if (embedding is None) != (self.film is None):
            wanted = "None (the block was built without embed=)" if self.film is None else "an embedding"
            raise ValueError(f"embedding: got {'None' if embedding is None else 'a value'}, expected {wanted}")
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.film is not None:
            h = self.film(h, embedding)
        return self.shortcut(x) + self.conv2(F.silu(h))


def pooled(words: Tensor, mask: Tensor) -> Tensor:
    """One vector for a text, (B, D): the sum of its words (B, L, D) where mask (B, L) is True, padding left out.

    Over the square root of their number, so that the sum is as large as one word: a mean is hardly heard.
    """
    return (words * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1).sqrt()


class Attention(nn.Module):
    """Every token gathers from the tokens that resemble it: x (B, L, channels) -> the same shape, no residual inside.

    softmax(q k^T / sqrt(d)) v in each of `heads` heads of d = channels / heads numbers, then a linear layer over them
    all. q comes from x, k and v from x too (self-attention), or from another sequence (cross-attention: pictures
    that read a text) where `context` gives the width of its tokens. causal: token i sees tokens 0 ... i only.
    bias: of q, k and v (CLIP has it).
    Source: Vaswani et al. 2017 (1706.03762), eq. 1 and section 3.2.2; across two sequences as in 2112.10752, 3.3.
    """

    def __init__(self, channels: int, heads: int, context: int | None = None, causal: bool = False, bias: bool = False):
        super().__init__()
        self.channels, self.heads = expect.integer("channels", channels, 1), expect.integer("heads", heads, 1)
        if channels % heads:
            raise ValueError(f"heads: got {heads}, expected a divisor of channels = {channels}")
        self.context = None if context is None else expect.integer("context", context, 1)
        self.causal = expect.choice("causal", causal, (False, True))
        if causal and context is not None:
            raise ValueError("causal: got True, expected False with a context (its tokens are not in x's order)")
        self.query = nn.Linear(channels, channels, bias=bias)
        self.key_value = nn.Linear(context or channels, 2 * channels, bias=bias)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """context: (B, L_context, context), in cross-attention only. mask: bool (B, L_context), False for padding."""
        h = attend(*self._parts(x, context), mask, self.causal)  # (B, heads, L, d)
        return self.out(h.transpose(1, 2).flatten(2))  # (B, L, channels)

    def weights(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """How much each token gathers from each, for the same arguments: (B, heads, L, L_context), rows add up to 1."""
        q, k, _ = self._parts(x, context)
        each = torch.eye(k.shape[2]).to(k).expand(*k.shape[:3], -1)  # as values, so that what is gathered tells whence
        return attend(q, k, each, mask, self.causal)

    def _parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, heads, L, d), keys and values (B, heads, L_context, d)."""
        source = self._source(x, context)  # (B, L_context, context), or x itself
        return self._split(self.query(x)), *(self._split(y) for y in self.key_value(source).chunk(2, dim=2))

    def _source(self, x: Tensor, context: Tensor | None) -> Tensor:
        expect.tensor("x", x, f"B L {self.channels}", like=self.query.weight)
        if (context is None) != (self.context is None):
            wanted = "None (built without context=)" if self.context is None else "the sequence to read from"
            raise ValueError(f"context: got {'None' if context is None else 'a value'}, expected {wanted}")
        return x if context is None else expect.tensor("context", context, f"{len(x)} L_context {self.context}", like=x)

    def _split(self, y: Tensor) -> Tensor:
        return y.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, L, channels) -> (B, heads, L, d)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, shape (B, heads, L, d), over the keys that `mask` (B, L_context) marks True.

    A query left without a key (a text of padding only) gets zeros: it attends to all, and the result is dropped.
    Handing it to the softmax as it is would be 0/0, which some devices answer with NaN gradients.
    ValueError for k and v that do not fit q: a single row of them would be shared by all.
    """
    rows, heads, _, width = expect.tensor("q", q, "B heads L d").shape
    keys = expect.tensor("k", k, f"{rows} {heads} L_context {width}", like=q).shape[2]
    expect.tensor("v", v, f"{rows} {heads} {keys} d", like=q)
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    _check_mask(mask, (rows, keys))
    seen = mask[:, None, None, :]  # (B, 1, 1, L_context)
    if causal:
        seen = seen & mask.new_ones(q.shape[2], k.shape[2]).tril()  # (B, 1, L, L_context)
    some = seen.any(dim=3, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen | ~some) * some


def _check_mask(mask: Tensor, shape: tuple[int, int]) -> None:
    # A float mask would be added to the scores instead, and one row would be shared by all texts: neither in silence.
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"mask: got {getattr(mask, 'dtype', type(mask).__name__)}, expected a bool tensor")
    if mask.shape != shape:
        raise ValueError(f"mask: got shape {tuple(mask.shape)}, expected {shape}")


@part
class PointNet(nn.Module):
    """A small network for points in a diffusion: x (B, dims), t (B,) or () and labels -> (B, dims).

    `layers` dense residual layers of `width`, smooth, each told the time and the label by adding them to what it reads.
    classes: labels are 0 ... classes - 1, and `classes` stands for no label; 0 for a net that takes none. It goes into
    a `Denoiser` as a `UNet` does for pictures.
    """

    def __init__(self, dims: int = 2, width: int = 128, layers: int = 3, classes: int = 0):
        super().__init__()
        self.dims = expect.integer("dims", dims, 1)
        self.width = expect.integer("width", width, 1)
        self.layers = expect.integer("layers", layers, 1)
        self.classes = expect.integer("classes", classes, 0)
        self.time_embed = time_mlp(64, width)
        self.label_embed = nn.Embedding(classes + 1, width) if classes else None
        self.linear_in = nn.Linear(dims, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.linear_out = nn.Linear(width, dims)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        expect.tensor("x", x, f"B {self.dims}", like=self.linear_in.weight)
        expect.tensor("t", t, f"{len(x)}" if getattr(t, "ndim", 1) else "", like=x)
        if (cond is None) != (self.label_embed is None):
            wanted = "None (built without classes)" if self.label_embed is None else "a label for each point"
            raise ValueError(f"cond: got {'None' if cond is None else 'a value'}, expected {wanted}")
        embedding = self.time_embed(t)  # (B, width), or (1, width) for one time for all
        if self.label_embed is not None:
            embedding = embedding + self.label_embed(expect.labels("cond", cond, self.classes + 1, len(x)))
        h = self.linear_in(x)
        for block in self.blocks:
            h = h + block(F.silu(h + embedding))
        return self.linear_out(F.silu(h))


def conv_encoder(out: int, size: int = 16, channels: int = 1, width: int = 24, hidden: int = 128) -> nn.Sequential:
    """(B, channels, size, size) -> (B, out): halve while the side is even and above 7, then two dense layers."""
    levels, side = halvings(size)
    out, width, hidden = _sizes(out=out, width=width, hidden=hidden)
    layers = []
    c = expect.integer("channels", channels, 1)
    for level in range(levels):
        layers += [nn.Conv2d(c, width * 2**level, 4, stride=2, padding=1), nn.SiLU()]
        c = width * 2**level
    layers += [nn.Flatten(), nn.Linear(c * side * side, hidden), nn.SiLU(), nn.Linear(hidden, out)]
    return nn.Sequential(*layers)


def conv_decoder(code: int, size: int = 16, channels: int = 1, width: int = 24, hidden: int = 128) -> nn.Sequential:
    """(B, code) -> (B, channels, size, size): the encoder's mirror image. No squashing at the end."""
    levels, side = halvings(size)
    code, channels, width, hidden = _sizes(code=code, channels=channels, width=width, hidden=hidden)
    c = width * 2 ** (levels - 1)
    layers = [nn.Linear(code, hidden), nn.SiLU(), nn.Linear(hidden, c * side * side), nn.SiLU()]
    layers += [nn.Unflatten(1, (c, side, side))]
    for _ in range(levels - 1):
        layers += [nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1), nn.SiLU()]
        c //= 2
    layers += [nn.ConvTranspose2d(c, channels, 4, stride=2, padding=1)]
    return nn.Sequential(*layers)


def _sizes(**sizes: int) -> list[int]:
    return [expect.integer(name, size, 1) for name, size in sizes.items()]


def halvings(size: int) -> tuple[int, int]:
    """How often a side is halved while it is even and above 7, and what is left: 16 -> (2, 4), 28 -> (2, 7).

    ValueError for a side that cannot be halved once.
    """
    side = expect.integer("size", size, 1)
    levels = 0
    while side % 2 == 0 and side > 7:
        side //= 2
        levels += 1
    if not levels:
        raise ValueError(f"size: got {size}, expected an even number of pixels, at least 8, so that it can be halved")
    return levels, side
