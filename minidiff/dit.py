"""A diffusion transformer, DiT (2212.09748): patches are tokens, the time scales, shifts and gates. Lesson 17."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.nn import Attention, pooled, time_mlp
from minidiff.support import expect
from minidiff.support.parts import part

WAVES = 256  # numbers that a time is told in, before it is mixed
EPS = 1e-6  # of the norms, as in the paper's code


@part
class DiT(nn.Module):
    """(x_t, t, cond) -> a picture of x's shape, by a transformer: it goes wherever a `UNet` goes.

    size: pixels of a side; patch: those of a token's side, a divisor. width: of a token; layers; heads: a divisor of
    width. channels: of the picture. classes: labels are 0 ... classes - 1, and `classes` stands for none; 0 for a net
    that takes none. text: a module that makes token ids (B, L) into words (B, L, text.width), for a net told by words:
    their sum takes the place of the label, so it does not hear their order. Each of the (size / patch)² tokens is told
    where it is by fixed waves.
    A new net answers 0, and each of its blocks does nothing: all that comes back into the stream passes a gate, 0 at
    first (adaLN-Zero, section 3.2). The same as DiTTransformer2DModel of diffusers on the same weights.
    """

    def __init__(self, size: int, patch: int, width=96, layers=4, heads=4, channels=1, classes=0, text=None):
        super().__init__()
        self.size = expect.integer("size", size, 1)
        self.patch = expect.integer("patch", patch, 1)
        if size % patch:
            raise ValueError(f"patch: got {patch}, expected a divisor of size = {size}")
        self.width = expect.integer("width", width, 4)
        if width % 4:
            raise ValueError(f"width: got {width}, expected a multiple of 4 (sines and cosines of two coordinates)")
        self.layers = expect.integer("layers", layers, 1)
        self.heads = expect.integer("heads", heads, 1)
        self.channels = expect.integer("channels", channels, 1)
        self.classes = expect.integer("classes", classes, 0)
        if text is not None and classes:
            raise ValueError(f"text: got a module with classes = {classes}, expected it with 0")
        self.patch_embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.register_buffer("places", place_waves(size // patch, width), persistent=False)
        self.time_embed = time_mlp(WAVES, width)
        self.label_embed = nn.Embedding(classes + 1, width) if classes else None
        self.text, self.text_pool = text, None if text is None else nn.Linear(text.width, width)
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, EPS, elementwise_affine=False)
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.out = zero(nn.Linear(width, patch * patch * channels))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x (B, channels, size, size), t (B,) or () in [0, 1], cond labels (B,), ids (B, L) or None -> x's shape."""
        expect.tensor("x", x, f"B {self.channels} {self.size} {self.size}", like=self.out.weight)
        told = self._told(t, cond, len(x))
        h = self.patch_embed(x).flatten(2).mT + self.places  # (B, tokens, width)
        for block in self.blocks:
            h = block(h, told)
        shift, scale = self.modulation(F.silu(told)).chunk(2, dim=1)
        return self._picture(self.out(modulate(self.norm(h), shift, scale)))

    def _told(self, t: Tensor, cond: Tensor | None, rows: int) -> Tensor:
        """What all blocks are told, (B, width): the time, and the label or the words."""
        told = self.time_embed(expect.time("t", t, rows, like=self.out.weight)).expand(rows, -1)
        if self.text is not None:
            ids = expect.integers("cond", cond, f"{rows} L", low=0)
            return told + self.text_pool(pooled(self.text(ids), ids != 0))
        if self.label_embed is None:
            if cond is not None:
                raise ValueError("cond: got a value, expected None (a net without labels)")
            return told
        return told + self.label_embed(expect.labels("cond", cond, self.classes + 1, rows))

    def _picture(self, tokens: Tensor) -> Tensor:
        """(B, tokens, patch · patch · channels) -> (B, channels, size, size): each token is laid in its place."""
        side = self.size // self.patch
        x = tokens.reshape(-1, side, side, self.patch, self.patch, self.channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.channels, self.size, self.size)


class DiTBlock(nn.Module):
    """A transformer's block whose norms are told: (h (B, L, width), told (B, width)) -> h's shape.

    The norms have no weights of their own: shift and scale of what they give, and a gate for what comes back, are
    linear in SiLU(told). These linear layers begin at zero, so the block begins as the identity.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPS, elementwise_affine=False)
        self.attention = Attention(width, heads, bias=True)
        self.norm2 = nn.LayerNorm(width, EPS, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.modulation = zero(nn.Linear(width, 6 * width))

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(told)).chunk(6, dim=1)
        h = h + gate1[:, None] * self.attention(modulate(self.norm1(h), shift1, scale1))
        return h + gate2[:, None] * self.mlp(modulate(self.norm2(h), shift2, scale2))


def modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """h (1 + scale) + shift, the same for all tokens of a row: h (B, L, D), shift and scale (B, D)."""
    return h * (1 + scale[:, None]) + shift[:, None]


def zero(layer: nn.Linear) -> nn.Linear:
    """The layer with weights and bias 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def place_waves(side: int, width: int) -> Tensor:
    """Where each of side² tokens is, (side², width), row by row: waves of the column, then of the row, sines first.

    Of n = width / 4 lengths, 10000^(-i / n), as in the paper's code.
    """
    place = torch.arange(side, dtype=torch.float64)
    row, column = torch.meshgrid(place, place, indexing="ij")
    waves = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = [at.flatten()[:, None] * waves for at in (column, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def flops(net: nn.Module, *inputs: Tensor) -> int:
    """Multiplications and additions of one forward pass, as PyTorch's own counter has them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*inputs)
    return counter.get_total_flops()
