"""The bugs planted for lesson 15's exercises."""

import torch
from torch import nn

from minidiff.lessons.lesson15.solutions import hyper, lora, merge


def only_zeroed(*names):
    """A convolution of which only these are set to zero."""

    def attempt(channels):
        layer = nn.Conv2d(channels, channels, kernel_size=1)
        for name in names:
            nn.init.zeros_(getattr(layer, name))
        return layer

    return attempt


def zeroed(layer):
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


PLANTED = {
    "15.embed": [
        lambda ids, table, row: torch.cat([table, row])[ids],  # the other words move too
        lambda ids, table, row: torch.cat([table, row]).detach()[ids],
        lambda ids, table, row: torch.cat([row, table.detach()])[ids],
        lambda ids, table, row: torch.cat([table.detach(), row])[ids].mean(1),
    ],
    "15.prior_loss": [
        lambda losses, own, weight: losses[-own:].mean() + weight * losses[:-own].mean(),  # the wrong rows
        lambda losses, own, weight: weight * losses[:own].mean() + losses[own:].mean(),
        lambda losses, own, weight: losses[:own].mean() + losses[own:].mean(),
        lambda losses, own, weight: losses.mean(),
        lambda losses, own, weight: losses[:own].mean(),
        lambda losses, own, weight: losses[:own].mean() - weight * losses[own:].mean(),
    ],
    "15.new_lora": [
        lambda out, into, rank: (torch.randn(rank, into), torch.randn(out, rank)),  # both random
        lambda out, into, rank: (torch.zeros(rank, into), torch.zeros(out, rank)),
        lambda out, into, rank: (torch.zeros(rank, into), torch.randn(out, rank)),
        lambda out, into, rank: (torch.ones(rank, into), torch.zeros(out, rank)),
        lambda out, into, rank: (torch.randn(into, rank), torch.zeros(rank, out)),
        lambda out, into, rank: (torch.randn(rank, into), torch.zeros(out, rank)),  # the root is forgotten
        lambda out, into, rank: (torch.randn(rank, into) / into, torch.zeros(out, rank)),
    ],
    "15.lora": [
        lambda x, weight, down, up, alpha: x @ weight.T + x @ down.T @ up.T,  # alpha / rank forgotten
        lambda x, weight, down, up, alpha: x @ weight.T + alpha * (x @ down.T @ up.T),
        lambda x, weight, down, up, alpha: x @ weight.T + len(down) / alpha * (x @ down.T @ up.T),
        lambda x, weight, down, up, alpha: lora(x, 0 * weight, down, up, alpha),
        lambda x, weight, down, up, alpha: alpha / len(down) * (x @ weight.T + x @ down.T @ up.T),
    ],
    "15.merge": [
        lambda weight, down, up, alpha, strength: weight + strength * (up @ down),
        lambda weight, down, up, alpha, strength: merge(weight, down, up, alpha, 1.0),
        lambda weight, down, up, alpha, strength: merge(weight, down, up, alpha * len(down), strength),
        lambda weight, down, up, alpha, strength: merge(0 * weight, down, up, alpha, strength),
        lambda weight, down, up, alpha, strength: weight + strength * alpha / 2 * (up @ down),  # the lesson's own rank
        lambda weight, down, up, alpha, strength: weight + strength * alpha / len(up) * (up @ down),
    ],
    "15.two_in_one": [
        lambda one, other, a, b: (torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]], 1)),
        lambda one, other, a, b: (torch.cat([one[0], other[0]]), torch.cat([b * one[1], a * other[1]], 1)),
        lambda one, other, a, b: (torch.cat([a * one[0], b * other[0]]), torch.cat([a * one[1], b * other[1]], 1)),
        lambda one, other, a, b: (torch.cat([one[0], other[0]]), a * torch.cat([one[1], other[1]], 1)),
        lambda one, other, a, b: (torch.cat([one[0], other[0]]), torch.cat([one[1].mul_(a), other[1].mul_(b)], 1)),
    ],
    "15.hyper": [
        lambda words, key, value, key_net, value_net: (key_net(words) @ key.T, value_net(words) @ value.T),
        lambda words, key, value, key_net, value_net: (
            (words + key_net(words)) @ key.T,
            (words + key_net(words)) @ value.T,
        ),
        lambda words, key, value, key_net, value_net: ((words + key_net(words)) @ key.T, words @ value.T),
        lambda words, key, value, key_net, value_net: hyper(words, key, value, key_net, value_net)[::-1],
        lambda words, key, value, key_net, value_net: hyper(words, key, key, key_net, value_net),
        lambda words, key, value, key_net, value_net: (
            hyper(words, key, value, key_net, value_net)[0],
            hyper(words + key_net(words), key, value, key_net, value_net)[1],  # one after the other
        ),
        lambda words, key, value, key_net, value_net: ((words - key_net(words)) @ key.T, words @ value.T),
        torch.no_grad()(hyper),
    ],
    "15.zero_convolution": [
        only_zeroed(),  # random, as PyTorch makes it
        only_zeroed("weight"),
        lambda channels: zeroed(nn.Conv2d(channels, channels, 1, bias=False)),
        lambda channels: zeroed(nn.Conv2d(64, 64, 1)),  # the channels are ignored
        lambda channels: zeroed(nn.Conv2d(channels, channels, 3)),
        lambda channels: zeroed(nn.Conv2d(channels, channels, 1, padding=1)),
        lambda channels: zeroed(nn.Conv2d(channels, channels, 1, groups=channels)),
        lambda channels: zeroed(nn.Conv2d(channels, channels, 1)).requires_grad_(False),
    ],
}
