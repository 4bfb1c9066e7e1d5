"""Lesson 12's planted bugs: each must be told apart by a hint of its own."""

from itertools import pairwise

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson12.probes import draw_with, through
from minidiff.lessons.lesson12.solutions import alpha_bar, heads_of, leading_times, padded, rescaled


def transformer(**slip):
    return lambda layer, h, words: through(layer, h, words, **slip)


def counted(offset=2, last=0.001, flip=False, ratio=lambda steps: 1000 // steps):
    def times(steps):
        t = (torch.arange(steps - 1, -1, -1) * ratio(steps) + offset) / 1000
        t = torch.cat([t, torch.tensor([last])])
        return t.flip(0) if flip else t

    return times


def drawn(**how):
    return lambda model, prompts, z, t, scale: draw_with(model, prompts, z, t, scale, **how)


def one_empty(model, prompts, z, t, scale):
    told, nothing = model.read(prompts), model.read("")
    for now in t[:-1].tolist():
        x0 = (1 - scale) * model.denoiser(z, torch.tensor(now), nothing)
        z = x0 + scale * model.denoiser(z, torch.tensor(now), told)
    return model.decode(z)


def adds_to_the_normalised(layer, h, words):
    return layer.norm(h) + through(layer, h, words, residual=False)


def reads_every_step(model, prompts, z, t, scale):
    for now, then in pairwise(t.tolist()):
        a = model.denoiser(z, torch.tensor(now), model.read(prompts))
        b = model.denoiser(z, torch.tensor(now), model.read([""] * len(prompts)))
        x0 = b + scale * (a - b)
        (alpha, sigma), (alpha_then, sigma_then) = model.schedule(now), model.schedule(then)
        z = (alpha_then * x0 + sigma_then * (z - alpha * x0) / sigma).float()
    return model.decode(z)


def on_to_zero(model, prompts, z, t, scale):
    return draw_with(model, prompts, z, torch.cat([t, t.new_zeros(1)]), scale)


def reshaped(layer, h, words):
    tokens = layer.norm(h).reshape(len(h), -1, h.shape[1])
    picture = tokens.mT.unflatten(2, h.shape[2:])
    return h + through(layer, picture, words, first=False, residual=False).flatten(2).mT.reshape(h.shape)


def in_double(model, prompts, z, t, scale):
    return draw_with(model, prompts, z, t, scale).double()


def in_place(ids, length, start, end):
    row = padded(ids, length, start, end)
    ids[:] = row
    return ids


def cut_off(ids, length, start, end):
    return padded(ids[: length - 2], length, start, end)


def newer_name_only(config):
    name = "num_attention_heads" if "num_attention_heads" in config else "attention_head_dim"
    heads = config[name]
    return list(heads) if isinstance(heads, list) else [heads] * len(config["block_out_channels"])


PLANTED = {
    "12.spatial_transformer": [
        transformer(residual=False),
        transformer(order="wst"),
        transformer(order="st"),
        transformer(order="sw"),
        transformer(swap=True),
        transformer(gate=False),
        transformer(act=F.silu),
        transformer(act=lambda g: F.gelu(g, approximate="tanh")),
        transformer(first=False),
        transformer(norms=False),
        transformer(add=False),
        adds_to_the_normalised,
        reshaped,
    ],
    "12.leading_times": [
        counted(offset=1),
        counted(last=0.0),
        counted(flip=True),
        lambda steps: torch.cat([leading_times(steps)[:-1].flip(0), torch.tensor([0.001])]),
        lambda steps: 1000 * leading_times(steps),
        lambda steps: torch.linspace(1, 0, steps + 1),
        counted(ratio=lambda steps: 1000 / steps),
        lambda steps: leading_times(20),
    ],
    "12.draw": [
        drawn(order=-1),
        drawn(away=False),
        drawn(last=False),
        drawn(index=0.001),
        drawn(step=lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - x0) / s),
        drawn(step=lambda z, x0, a, s, a_then, s_then: a * x0 + s * (z - a * x0) / s),
        drawn(step=lambda z, x0, a, s, a_then, s_then: x0 + s_then * (z - a * x0) / s),
        drawn(step=lambda z, x0, a, s, a_then, s_then: a_then * x0),
        drawn(step=lambda z, x0, a, s, a_then, s_then: x0),
        drawn(step=lambda z, x0, a, s, a_then, s_then: a_then * x0 + z - a * x0),
        reads_every_step,
        one_empty,
        on_to_zero,
        in_double,
        lambda model, prompts, z, t, scale: draw_with(model, prompts, z, t, scale + 1),
        lambda model, prompts, z, t, scale: draw_with(model, prompts, z, t, 3.0),
    ],
    "12.padded": [
        lambda ids, length, start, end: [start, *ids, end],
        lambda ids, length, start, end: ([start, *ids, end] + [0] * length)[:length],
        lambda ids, length, start, end: [*ids, end] + [end] * (length - len(ids) - 1),
        cut_off,
        in_place,
    ],
    "12.alpha_bar": [
        lambda first, last, steps: (1 - torch.linspace(first, last, steps)).cumprod(0),
        lambda first, last, steps: (1 - torch.linspace(first**0.5, last**0.5, steps)).cumprod(0),
        lambda first, last, steps: alpha_bar(first, last, steps).sqrt(),
        lambda first, last, steps: 1 - torch.linspace(first**0.5, last**0.5, steps) ** 2,
        lambda first, last, steps: torch.cat([torch.ones(1), alpha_bar(first, last, steps)[:-1]]),
    ],
    "12.halve": [
        lambda conv, h: conv(F.pad(h, (1, 1, 1, 1)))[:, :, : h.shape[2] // 2, : h.shape[3] // 2],
        lambda conv, h: conv(F.pad(h, (0, 1, 0, 1), mode="replicate")),
        lambda conv, h: conv(h),
    ],
    "12.heads_of": [
        lambda config: [channels // config["attention_head_dim"] for channels in config["block_out_channels"]],
        lambda config: config["attention_head_dim"],
        lambda config: [config["attention_head_dim"]] * len(config["block_out_channels"]),
        lambda config: heads_of({name: value for name, value in config.items() if name != "num_attention_heads"}),
        newer_name_only,
    ],
    "12.rescaled": [
        lambda a: (a - a[-1]) * a[0] / (a[0] - a[-1]),
        lambda a: rescaled(a).sqrt(),
        lambda a: (a.sqrt() - a.sqrt()[-1]) ** 2,
        lambda a: ((a.sqrt() - a.sqrt()[-1]) / (a.sqrt()[0] - a.sqrt()[-1])) ** 2,
        lambda a: torch.cat([a[:-1], 0 * a[-1:]]),
        lambda a: rescaled(alpha_bar(0.00085, 0.012, 1000)),
    ],
}
