"""What lesson 12's checks try an attempt on: a transformer whose every part is heard, and a model that is quick."""

import torch
import torch.nn.functional as F
from torch import nn

from minidiff.schedule import Schedule
from minidiff.stable_diffusion import SpatialTransformer, scaled_linear


def transformer() -> SpatialTransformer:
    """One with loud layers and uneven norms, so that each part left out or exchanged shows."""
    layer = SpatialTransformer(8, 2, 6, 4)
    for weight in layer.parameters():
        nn.init.normal_(weight, std=0.5)
    return layer


def transformer_slips(layer: SpatialTransformer, h, words) -> dict[str, torch.Tensor]:
    """hint -> what comes out of a spatial transformer with that slip."""

    def tanh(gate):
        return F.gelu(gate, approximate="tanh")

    slips = {
        "What comes out is *added* to h: the transformer answers with a change.": {"residual": False},
        "The pixels look at each other first (self_attention), and at the words after that.": {"order": "wst"},
        "The pixels never look at the words: cross_attention(…, words).": {"order": "st"},
        "The pixels never look at each other: self_attention.": {"order": "wt"},
        "The feed-forward part is missing: fc1, the gate, fc2.": {"order": "sw"},
        "The second half of fc1's numbers is the gate: value * gelu(gate).": {"swap": True},
        "The gate is missing: value * gelu(gate), of the two halves of fc1's numbers.": {"gate": False},
        "GELU, and not SiLU.": {"act": F.silu},
        "The exact GELU: the tanh form is near it, and not the same.": {"act": tanh},
        "Each part reads a normalised x: norm1, norm2, norm3.": {"norms": False},
        "Each part's answer is added to x: the sum runs through.": {"add": False},
        "h is normalised before proj_in: layer.norm.": {"first": False},
    }
    return {hint: through(layer, h, words, **how) for hint, how in slips.items()}


def through(layer, h, words, order="swt", add=True, residual=True, first=True, norms=True, **feed) -> torch.Tensor:
    """A spatial transformer's answer: s self-attention, w the words, t the feed-forward part, in that order."""
    block = layer.block
    parts = {
        "s": (block.norm1, block.self_attention),
        "w": (block.norm2, lambda x: block.cross_attention(x, words)),
        "t": (block.norm3, lambda x: _feed_forward(block, x, **feed)),
    }
    x = layer.proj_in((layer.norm(h) if first else h).flatten(2).mT)
    for name in order:
        norm, each = parts[name]
        new = each(norm(x) if norms else x)
        x = x + new if add else new
    x = layer.proj_out(x).mT.unflatten(2, h.shape[2:])
    return h + x if residual else x


def _feed_forward(block, x, swap=False, gate=True, act=F.gelu) -> torch.Tensor:
    value, told = block.fc1(x).chunk(2, dim=2)
    if swap:
        value, told = told, value
    return block.fc2(value * act(told) if gate else act(value))


class Quick(nn.Module):
    """A text-to-image model of formulas: what it is told shows in its estimates, and it counts how often it reads."""

    def __init__(self, schedule: Schedule | None = None):
        super().__init__()
        self.schedule = schedule or scaled_linear()
        self.read_times = 0

    def read(self, prompts) -> torch.Tensor:
        """(B, 1, 1): a number for each text, 0 for the empty one."""
        self.read_times += 1
        texts = [prompts] if isinstance(prompts, str) else prompts
        return torch.tensor([[[sum(map(ord, text)) % 7 / 3.0]] for text in texts])

    def denoiser(self, z, t, told):
        """An estimate that depends on z, t and what it was told, one row each."""
        if len(told) != len(z):
            raise ValueError(f"told: got {len(told)} rows, expected {len(z)}, one for each row of z")
        return torch.tanh(0.5 * z + float(torch.as_tensor(t).flatten()[0]) + told[:, :, :, None])

    def decode(self, z):
        """Twice z, so that a forgotten decoder shows."""
        return 2 * z


def stepped(z, x0, alpha, sigma, alpha_then, sigma_then):
    """The next z of the walk."""
    return alpha_then * x0 + sigma_then * (z - alpha * x0) / sigma


def draw_with(model, prompts, z, t, scale, order=1, away=True, last=True, index=None, step=stepped):
    """The right loop with a slip: order -1 swaps guidance's halves, away=False leaves it out, index shifts the time.

    step: the walk's step, as `stepped`.
    """
    told = model.read(prompts)
    nothing = model.read([""] * len(prompts))
    for now, then in zip(t[:-1].tolist(), t[1:].tolist()):
        asked = now if index is None else now + index
        a = model.denoiser(z, torch.tensor(asked), told)
        b = model.denoiser(z, torch.tensor(asked), nothing)
        a, b = (a, b) if order == 1 else (b, a)
        x0 = b + scale * (a - b) if away else a
        z = step(z, x0, *model.schedule(now), *model.schedule(then)).float()
    return model.decode(z) if last else z
