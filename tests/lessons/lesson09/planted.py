"""Lesson 09's planted bugs: each must be told apart by a hint of its own."""

import math

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson09.solutions import two_prompts


def outlined(a, b):
    return ((a - b) ** 2).mean() + 10 * ((a - b) ** 4).mean()


def loss(error=outlined, factor=1.0, per=lambda x, mu: x[0].numel(), of_error=lambda beta: 1, of_kl=lambda beta: beta):
    def autoencoder_loss(x, out, mu, log_var, beta):
        kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).flatten(1).sum(1).mean()
        return of_error(beta) * error(out, x) + factor * of_kl(beta) * kl / per(x, mu)

    return autoencoder_loss


def reads(divide=lambda d: d**0.5, dim=2, hide="before", two=True):
    def cross_attention(q, k, v, mask):
        scores, seen = q @ k.mT / divide(q.shape[-1]), mask[:, None]
        if hide == "before":
            scores = scores.masked_fill(~seen, -torch.inf)
        if hide == "turned":
            scores = scores.masked_fill(seen, -torch.inf)
        if hide == "zero":
            scores = scores * seen
        weights = scores.softmax(dim).nan_to_num()
        if hide == "after":
            weights = weights * seen
        return (weights @ v, weights) if two else weights @ v

    return cross_attention


def noised(mix, start=lambda strength: strength, share=True, least=1, whole=round):
    def half_noised(z, strength, steps, schedule, eps):
        count = max(least, whole(strength * steps)) if share else steps
        t = torch.linspace(start(strength), 0, count + 1, dtype=torch.float64)
        return mix(z, strength, schedule, eps), t

    return half_noised


def right(z, strength, schedule, eps):
    return schedule.add_noise(z, strength, eps)


def held(estimate):
    return lambda denoise, known, mask: lambda x, t: estimate(denoise, known, mask, x, t)


def words(offset=1, join=True, reduce=torch.sum, strip=True):
    def word_maps(maps, tokens):
        found = []
        for token, row in zip(tokens, maps[offset:]):
            if join and found and not token.startswith(" "):
                found[-1] = (found[-1][0] + token, [*found[-1][1], row])
            else:
                found.append((token.strip() if strip else token, [row]))
        return [(word, reduce(torch.stack(rows), 0)) for word, rows in found]

    return word_maps


def first_row(rows, dim):
    return rows[0]


def left_half(denoise, first, second, null, scale, mask):
    half = (torch.arange(mask.shape[3]) < mask.shape[3] // 2).expand(mask.shape)
    return two_prompts(denoise, first, second, null, scale, half)


def sides(combine):
    def two_prompts(denoise, first, second, null, scale, mask):
        def guided(x, t):
            a, b, without = (denoise(x, t, ids) for ids in (first, second, null))
            return combine(a, b, without, scale, mask)

        return guided

    return two_prompts


def cut_input(denoise, first, second, null, scale, mask):
    def half(x, t, ids):
        without = denoise(x, t, null)
        return without + scale * (denoise(x, t, ids) - without)

    return lambda x, t: torch.where(mask, half(x * mask, t, first), half(x * ~mask, t, second))


PLANTED = {
    "09.autoencoder_loss": [
        loss(error=F.mse_loss),
        loss(of_error=lambda beta: beta, of_kl=lambda beta: 1),
        loss(of_kl=lambda beta: 1),
        loss(per=lambda x, mu: mu[0].numel()),
        loss(per=lambda x, mu: 1),
        loss(factor=4),
        loss(factor=-1),
        loss(factor=2),
        loss(error=lambda a, b: F.mse_loss(a, b, reduction="none")),
        loss(error=lambda a, b: 10 * ((a - b) ** 4).mean()),
        loss(error=lambda a, b: F.mse_loss(a, b) + ((a - b) ** 4).mean()),
        loss(error=lambda a, b: F.mse_loss(a, b) + 10 * F.mse_loss(a, b) ** 2),
        loss(factor=0),
        loss(per=lambda x, mu: 192),  # x[0].numel() by heart
        loss(of_kl=lambda beta: 0.3),
        lambda *given: loss()(*given).detach(),
    ],
    "09.measure": [
        lambda mu, size: 1 / mu.std(),
        lambda mu, size: mu.std() / size,
        lambda mu, size: size / mu.var(),
        lambda mu, size: size / mu.square().mean().sqrt(),
        lambda mu, size: (size / mu.std((0, 2, 3))).mean(),
        lambda mu, size: size / mu.std((0, 2, 3)).mean(),
        lambda mu, size: size / mu.abs().max(),
        lambda mu, size: size / mu.std((0, 2, 3)),
        lambda mu, size: torch.tensor(0.18215),  # Stable Diffusion's, pasted
    ],
    "09.cross_attention": [
        reads(divide=lambda d: 1),
        reads(divide=lambda d: d),
        reads(divide=lambda d: 8**0.5),  # d by heart
        reads(dim=1),
        reads(hide="never"),
        reads(hide="zero"),
        reads(hide="after"),
        reads(hide="turned"),
        reads(two=False),
        lambda *seen: reads()(*seen)[::-1],
    ],
    "09.half_noised": [
        noised(right, share=False),
        noised(right, start=lambda strength: 1.0),
        noised(lambda z, strength, schedule, eps: z + schedule(strength)[1] * eps),
        noised(lambda z, strength, schedule, eps: (1 - strength) * z + strength * eps),
        noised(lambda z, strength, schedule, eps: schedule.add_noise(z, 1 - strength, eps)),
        noised(lambda z, strength, schedule, eps: z),
        noised(lambda z, strength, schedule, eps: eps),
        noised(right, least=0),
        noised(right, whole=int),
        noised(right, whole=math.ceil),
        lambda *given: noised(right)(*given)[0],
        lambda *given: noised(right)(*given)[::-1],
    ],
    "09.keep_known": [
        held(lambda denoise, known, mask, x, t: torch.where(mask, known, denoise(x, t))),
        held(lambda denoise, known, mask, x, t: denoise(torch.where(mask, x, known), t)),
        held(lambda denoise, known, mask, x, t: torch.where(mask, denoise(torch.where(mask, x, known), t), known)),
        held(lambda denoise, known, mask, x, t: denoise(x, t)),
        held(lambda denoise, known, mask, x, t: denoise(x, t) * mask),
        held(lambda denoise, known, mask, x, t: torch.where(mask, x, known)),
        lambda denoise, known, mask: known,
    ],
    "09.code_mask": [
        lambda mask, f: F.avg_pool2d(mask.float(), f) >= 0.5,
        lambda mask, f: F.avg_pool2d(mask.float(), f) == 1,
        lambda mask, f: mask[..., ::f, ::f],
        lambda mask, f: F.max_pool2d(mask.float(), f) == 0,
        lambda mask, f: F.max_pool2d(mask.float(), f),
        lambda mask, f: mask,
        lambda mask, f: F.max_pool2d(mask.float(), 4) > 0,  # f = 4 by heart
    ],
    "09.word_maps": [
        words(offset=0),
        words(join=False),
        words(reduce=torch.mean),
        words(reduce=first_row),
        words(strip=False),
        lambda maps, tokens: [(row, word) for word, row in words()(maps, tokens)],
    ],
    "09.two_prompts": [
        sides(lambda a, b, without, scale, mask: without + scale * (torch.where(mask, b, a) - without)),
        sides(lambda a, b, without, scale, mask: without + scale * ((a + b) / 2 - without)),
        sides(lambda a, b, without, scale, mask: torch.where(mask, a, b)),
        sides(lambda a, b, without, scale, mask: (1 + scale) * torch.where(mask, a, b) - scale * without),
        sides(lambda a, b, without, scale, mask: torch.where(mask, without + scale * (a - without), b)),
        sides(lambda a, b, without, scale, mask: torch.where(mask, a, without + scale * (b - without))),
        sides(lambda a, b, without, scale, mask: b + scale * (a - b)),
        sides(lambda a, b, without, scale, mask: torch.where(mask, b + scale * (a - b), a + scale * (b - a))),
        cut_input,
        left_half,
    ],
}
