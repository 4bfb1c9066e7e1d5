"""Lesson 12's planted bugs: each must be told apart by a hint of its own."""

from itertools import pairwise

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson12.loops import draw_with
from minidiff.lessons.lesson12.probes import through
from minidiff.lessons.lesson12.solutions import alpha_bar, heads_of, leading_times, padded, rescaled


def transformer(**slip):
    return lambda layer, h, words: through(layer, h, words, **slip)


def counted(offset=2, last=0.001, flip=False, ratio=lambda steps: 1000 // steps):
    def times(steps):
        t = (torch.arange(steps - 1, -1, -1) * ratio(steps) + offset) / 1000
        t = torch.cat([t, torch.tensor([last])])
        return t.flip(0) if flip else t

    return times


def root_line(first, last, steps):
    """It does not reach the end."""
    return first**0.5 + (last**0.5 - first**0.5) * torch.arange(steps) / steps


def drawn(**how):
    return lambda model, prompts, z, t, scale: draw_with(model, prompts, z, t, scale, **how)


def step(how):
    """The loop with another step: how(z, x0, alpha, sigma, alpha_then, sigma_then) -> the next z."""
    return drawn(step=how)


def guide(how):
    """The loop with another estimate: how(with words, without, scale)."""
    return drawn(guide=how)


def end(how):
    """The loop that returns how(model, z)."""
    return drawn(end=lambda model, z, x0: how(model, z))


def new_noise(model, prompts, z, t, scale):
    return draw_with(model, prompts, torch.randn(z.shape), t, scale)


def first_noise(model, prompts, z, t, scale):
    return draw_with(model, prompts, z, t, scale, step=lambda now, x0, a, s, a_then, s_then: a_then * x0 + s_then * z)


def scaled_noise(model, prompts, z, t, scale):
    return draw_with(model, prompts, model.schedule(t[0].item())[1] * z, t, scale)


def divided_noise(model, prompts, z, t, scale):
    return draw_with(model, prompts, z / model.schedule(t[0].item())[1], t, scale)


def first_alone(model, prompts, z, t, scale):
    return draw_with(model, prompts[:1], z[:1], t, scale).expand_as(z)


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


def in_front(ids, length, start, end):
    return [start, *[end] * (length - len(ids) - 1), *ids]


def refuses_what_fits(ids, length, start, end):
    if len(ids) + 2 >= length:
        raise ValueError("too long")
    return padded(ids, length, start, end)


def asserts(ids, length, start, end):
    assert len(ids) + 2 <= length
    return padded(ids, length, start, end)


def changes_the_configuration(config):
    config.setdefault("num_attention_heads", config["attention_head_dim"])
    return heads_of(config)


def three_levels(config):
    return (3 * heads_of(config))[:3]


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
        transformer(norms=""),
        transformer(norms="wt"),
        transformer(norms="st"),
        transformer(norms="sw"),
        transformer(add=""),
        transformer(add="wt"),
        transformer(add="st"),
        transformer(add="sw"),
        transformer(order="wt"),
        transformer(order="stw"),
        transformer(order="tsw"),
        transformer(act=lambda gate: gate),
        transformer(act=F.relu),
        transformer(act=torch.sigmoid),
        transformer(enter=False),
        transformer(leave=False),
        transformer(turned=False),
        lambda layer, h, words: through(layer, h, words).detach(),
        lambda layer, h, words: through(layer, h, words).double(),
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
        counted(offset=0),
        counted(offset=3),
        counted(offset=52),
        counted(offset=51),
        counted(last=1.0),
        lambda steps: torch.linspace(1, 0.001, steps + 1),
        lambda steps: (1000 * leading_times(steps)).round() // 1000,
        lambda steps: (leading_times(steps), 1000 // steps),
    ],
    "12.draw": [
        guide(lambda told, nothing, scale: told + scale * (nothing - told)),
        guide(lambda told, nothing, scale: told),
        guide(lambda told, nothing, scale: told + scale * (told - nothing)),
        guide(lambda told, nothing, scale: nothing - scale * (told - nothing)),
        guide(lambda told, nothing, scale: nothing + scale * told - nothing),
        guide(lambda told, nothing, scale: nothing + scale * told),
        guide(lambda told, nothing, scale: scale * (told - nothing)),
        guide(lambda told, nothing, scale: (nothing + scale) * (told - nothing)),
        guide(lambda told, nothing, scale: nothing),
        guide(lambda told, nothing, scale: (told + nothing) / 2),
        guide(lambda told, nothing, scale: (nothing + scale * (told - nothing)).clamp(-1, 1)),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - x0) / s),
        step(lambda z, x0, a, s, a_then, s_then: a * x0 + s * (z - a * x0) / s),
        step(lambda z, x0, a, s, a_then, s_then: x0 + s_then * (z - a * x0) / s),
        step(lambda z, x0, a, s, a_then, s_then: a * x0 + s_then * (z - a * x0) / s),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - a_then * x0) / s),
        step(lambda z, x0, a, s, a_then, s_then: a * x0 + s * (z - a_then * x0) / s_then),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0),
        step(lambda z, x0, a, s, a_then, s_then: x0),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0 + z - a * x0),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - a * x0)),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0 - s_then * (z - a * x0) / s),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z + a * x0) / s),
        step(lambda z, eps, a, s, a_then, s_then: a_then * (z - s * eps) / a + s_then * eps),
        step(lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - s * x0) / a),
        step(lambda z, x0, a, s, a_then, s_then: s_then * x0 + a_then * (z - a * x0) / s),
        step(lambda z, x0, a, s, a_then, s_then: a_then**0.5 * x0 + s_then**0.5 * (z - a**0.5 * x0) / s**0.5),
        drawn(asked=lambda now, then, t: now + 0.001),
        drawn(asked=lambda now, then, t: now - 0.001),
        drawn(asked=lambda now, then, t: then),
        drawn(asked=lambda now, then, t: t[0].item()),
        drawn(asked=lambda now, then, t: 1000 * now),
        drawn(empty=torch.zeros_like),
        drawn(along=lambda t: t.flip(0)),
        drawn(along=lambda t: t[:-1]),
        drawn(along=lambda t: t[1:]),
        drawn(along=lambda t: t[:2]),
        drawn(along=lambda t: torch.stack([t[0], t[-1]])),
        drawn(along=lambda t: torch.cat([t.new_ones(1), t])),
        drawn(along=lambda t: torch.linspace(1, 0.001, 21).double()),
        end(lambda model, z: z),
        end(lambda model, z: model.decode(z / model.scale)),
        end(lambda model, z: model.decode(0.18215 * z)),
        end(lambda model, z: model.decode(z).clamp(-1, 1)),
        end(lambda model, z: model.decode(z) / 2 + 0.5),
        drawn(end=lambda model, z, x0: model.decode(x0)),
        new_noise,
        first_noise,
        scaled_noise,
        divided_noise,
        first_alone,
        lambda model, prompts, z, t, scale: draw_with(model, prompts, torch.zeros_like(z), t, scale),
        lambda model, prompts, z, t, scale: draw_with(model, prompts, z[:1].expand_as(z), t, scale),
        lambda model, prompts, z, t, scale: draw_with(model, prompts[:1] * len(z), z, t, scale),
        lambda model, prompts, z, t, scale: draw_with(model, prompts[::-1], z, t, scale),
        lambda model, prompts, z, t, scale: draw_with(model, ["an owl"] * len(z), z, t, scale),
        lambda model, prompts, z, t, scale: draw_with(model, prompts, z, t, 7.5),
        lambda model, prompts, z, t, scale: draw_with(model, prompts, z, t, 3.0),
        reads_every_step,
        one_empty,
        on_to_zero,
        in_double,
    ],
    "12.padded": [
        lambda ids, length, start, end: [start, *ids, end],
        lambda ids, length, start, end: ([start, *ids, end] + [0] * length)[:length],
        lambda ids, length, start, end: [*ids, end] + [end] * (length - len(ids) - 1),
        cut_off,
        in_place,
        in_front,
        lambda ids, length, start, end: [start, *ids, end] + [start] * (length - len(ids) - 2),
        lambda ids, length, start, end: (padded(ids, length, start, end), length),
        lambda ids, length, start, end: [float(token) for token in padded(ids, length, start, end)],
        lambda ids, length, start, end: padded(ids, 10, start, end),
        refuses_what_fits,
        asserts,
    ],
    "12.alpha_bar": [
        lambda first, last, steps: (1 - torch.linspace(first, last, steps)).cumprod(0),
        lambda first, last, steps: (1 - torch.linspace(first**0.5, last**0.5, steps)).cumprod(0),
        lambda first, last, steps: alpha_bar(first, last, steps).sqrt(),
        lambda first, last, steps: 1 - torch.linspace(first**0.5, last**0.5, steps) ** 2,
        lambda first, last, steps: torch.cat([torch.ones(1), alpha_bar(first, last, steps)[:-1]]),
        lambda first, last, steps: torch.linspace(first**0.5, last**0.5, steps) ** 2,
        lambda first, last, steps: (torch.linspace(first**0.5, last**0.5, steps) ** 2).cumprod(0),
        lambda first, last, steps: 1 - alpha_bar(first, last, steps),
        lambda first, last, steps: 1 - (torch.linspace(first**0.5, last**0.5, steps) ** 2).cumsum(0),
        lambda first, last, steps: (1 - torch.linspace(first**0.5, last**0.5, steps) ** 2).cumsum(0),
        lambda first, last, steps: alpha_bar(first, last, steps).flip(0),
        lambda first, last, steps: alpha_bar(last, first, steps),
        lambda first, last, steps: alpha_bar(0.00085, 0.012, steps),
        lambda first, last, steps: (1 - root_line(first, last, steps) ** 2).cumprod(0),
        lambda first, last, steps: (alpha_bar(first, last, steps), steps),
    ],
    "12.halve": [
        lambda conv, h: conv(F.pad(h, (1, 1, 1, 1)))[:, :, : h.shape[2] // 2, : h.shape[3] // 2],
        lambda conv, h: conv(F.pad(h, (0, 1, 0, 1), mode="replicate")),
        lambda conv, h: conv(h),
        lambda conv, h: conv(F.pad(h, (0, 1, 1, 0))),
        lambda conv, h: conv(F.pad(h, (1, 0, 0, 1))),
        lambda conv, h: conv(F.pad(h, (0, 1, 0, 1), mode="reflect")),
        lambda conv, h: conv(F.pad(h, (0, 1, 0, 1), mode="circular")),
        lambda conv, h: conv(F.pad(h, (0, 1, 0, 1), value=1.0)),
        lambda conv, h: F.conv2d(F.pad(h, (0, 1, 0, 1)), conv.weight, stride=2),
        lambda conv, h: conv(F.pad(h, (0, 1, 0, 1))).double(),
        lambda conv, h: conv(F.pad(h.detach(), (0, 1, 0, 1))),
    ],
    "12.heads_of": [
        lambda config: [channels // config["attention_head_dim"] for channels in config["block_out_channels"]],
        lambda config: config["attention_head_dim"],
        lambda config: [config["attention_head_dim"]] * len(config["block_out_channels"]),
        lambda config: heads_of({name: value for name, value in config.items() if name != "num_attention_heads"}),
        newer_name_only,
        changes_the_configuration,
        three_levels,
        lambda config: torch.tensor(heads_of(config)),
        lambda config: [float(heads) for heads in heads_of(config)],
    ],
    "12.rescaled": [
        lambda a: (a - a[-1]) * a[0] / (a[0] - a[-1]),
        lambda a: rescaled(a).sqrt(),
        lambda a: (a.sqrt() - a.sqrt()[-1]) ** 2,
        lambda a: ((a.sqrt() - a.sqrt()[-1]) / (a.sqrt()[0] - a.sqrt()[-1])) ** 2,
        lambda a: torch.cat([a[:-1], 0 * a[-1:]]),
        lambda a: rescaled(alpha_bar(0.00085, 0.012, 1000)),
        lambda a: (a.sqrt() - a.sqrt()[-1]) ** 2 * a.sqrt()[0] / (a.sqrt()[0] - a.sqrt()[-1]),
        lambda a: ((a.sqrt() - a.sqrt()[-1]) * a[0] / (a.sqrt()[0] - a.sqrt()[-1])) ** 2,
        lambda a: ((a.sqrt() - a.sqrt()[-1]) * (a.sqrt()[0] - a.sqrt()[-1]) / a.sqrt()[0]) ** 2,
        lambda a: (a.sqrt() - a.sqrt()[-1] * a.sqrt()[0] / (a.sqrt()[0] - a.sqrt()[-1])) ** 2,
        lambda a: ((a.sqrt() - a.sqrt()[0]) * a.sqrt()[-1] / (a.sqrt()[-1] - a.sqrt()[0])) ** 2,
        lambda a: (a.sqrt() * a.sqrt()[0] / (a.sqrt()[0] - a.sqrt()[-1])) ** 2,
        lambda a: a - a[-1],
        lambda a: a,
    ],
}
