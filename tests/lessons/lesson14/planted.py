"""The bugs planted for lesson 14's exercises."""

import torch
import torch.nn.functional as F

from minidiff import seeded
from minidiff.lessons.lesson14.solutions import bucket, draw_tokens, prior_target, quantise, read_out, token_loss


def rounded(straight=True, farthest=False, twice=False):
    def wrong(z, codebook):
        rows = z.movedim(1, -1)
        away = torch.cdist(rows.flatten(0, 2), codebook)
        ids = (away.argmax(1) if farthest else away.argmin(1)).view(rows.shape[:3])
        entries = codebook[ids].movedim(-1, 1)
        if not straight:
            return entries, ids
        return (z + (entries - z).detach()) + (z - z.detach() if twice else 0), ids

    return wrong


def closest(likeness):
    """Wrong about what is close: likeness(rows (N, D), codebook) -> (N, K)."""

    def wrong(z, codebook):
        rows = z.movedim(1, -1)
        ids = likeness(rows.flatten(0, 2), codebook).argmax(1).view(rows.shape[:3])
        return z + (codebook[ids].movedim(-1, 1) - z).detach(), ids

    return wrong


def reshaped(z, codebook):
    ids = torch.cdist(z.reshape(-1, z.shape[1]), codebook).argmin(1).view(z.shape[:1] + z.shape[2:])
    return quantise(z, codebook)[0], ids


def entries(mix):
    """The right entries, but mix(z, entries) comes back."""

    def wrong(z, codebook):
        near, ids = quantise(z, codebook)
        return mix(z, near.detach()), ids

    return wrong


def drawn(before=lambda tokens: tokens, divide=True, cut=True, seed=True, keep=True):
    def wrong(next_logits, start, n, temperature, top_k, generator):
        tokens = start
        for _ in range(n):
            logits = next_logits(before(tokens)) / (temperature if divide else 1)
            values, places = logits.topk(top_k if cut else logits.shape[1], dim=1)
            token = places.gather(1, values.softmax(1).multinomial(1, generator=generator if seed else None))
            tokens = torch.cat([tokens, token], dim=1)
        return tokens if keep else tokens[:, start.shape[1] :]

    return wrong


def ranks(next_logits, start, n, temperature, top_k, generator):
    """The place among the top_k taken for the token."""
    tokens = start
    for _ in range(n):
        values = (next_logits(tokens) / temperature).topk(top_k, dim=1).values
        tokens = torch.cat([tokens, values.softmax(1).multinomial(1, generator=generator)], dim=1)
    return tokens


def other(**changed):
    """Right with other arguments than those given."""

    def wrong(next_logits, start, n, temperature, top_k, generator):
        given = {"n": n, "temperature": temperature, "top_k": top_k, "generator": generator}
        return draw_tokens(next_logits, start, **given | {name: how(given[name]) for name, how in changed.items()})

    return wrong


def at_first(next_logits, start, n, temperature, top_k, generator):
    """Only the start is looked at."""
    return draw_tokens(lambda tokens: next_logits(start), start, n, temperature, top_k, generator)


def without_start(next_logits, start, n, temperature, top_k, generator):
    """Only the new tokens are looked at."""
    return draw_tokens(lambda tokens: next_logits(tokens[:, start.shape[1] :]), start, n, temperature, top_k, generator)


def least(next_logits, start, n, temperature, top_k, generator):
    return draw_tokens(lambda tokens: -next_logits(tokens), start, n, temperature, top_k, generator)


def equally(next_logits, start, n, temperature, top_k, generator):
    """The softmax over rows, which are all alike."""
    tokens = start
    for _ in range(n):
        values, places = (next_logits(tokens) / temperature).topk(top_k, dim=1)
        drawn = values.softmax(0).multinomial(1, generator=generator)
        tokens = torch.cat([tokens, places.gather(1, drawn)], dim=1)
    return tokens


def one_for_all(next_logits, start, n, temperature, top_k, generator):
    tokens = start
    for _ in range(n):
        values, places = (next_logits(tokens) / temperature).topk(top_k, dim=1)
        drawn = values[:1].softmax(1).multinomial(1, generator=generator).expand(len(tokens), 1)
        tokens = torch.cat([tokens, places.gather(1, drawn)], dim=1)
    return tokens


def read(order=lambda text, time, noisy, ask: (text, time, noisy, ask), place=-1, first=True):
    def wrong(blocks, words, *singles):
        four = torch.stack(order(*singles), dim=1)
        return blocks(torch.cat([words, four] if first else [four, words], dim=1))[:, place]

    return wrong


def bucketed(cut=torch.floor, middle=0.5, fewer=0, clamped=True, shared=False, whole=True, back=None):
    def wrong(y, low, high, buckets):
        if shared:
            low, high = low.min(), high.max()
        width = (high - low) / (buckets - fewer)
        tokens = cut((y - low) / width)
        tokens = tokens.clamp(0, buckets - 1) if clamped else tokens
        tokens = tokens.long() if whole else tokens
        return tokens, y if back else low + (tokens + middle) * width

    return wrong


def placed(place):
    """Right about the middles, but not about the tokens: place(y, low, high, buckets), not yet rounded."""

    def wrong(y, low, high, buckets):
        tokens = place(y, low, high, buckets).floor().long().clamp(0, buckets - 1)
        return tokens, low + (tokens + 0.5) * (high - low) / buckets

    return wrong


def told(number):
    """Right about the tokens, but not about the numbers: number(y, tokens, low, width)."""

    def wrong(y, low, high, buckets):
        tokens, _ = bucket(y, low, high, buckets)
        return tokens, number(y, tokens, low, (high - low) / buckets)

    return wrong


def uncounted(y, low, high, buckets):
    """The middles, counted from 0."""
    tokens, middles = bucket(y, low, high, buckets)
    return tokens, middles - low


def shifted(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, ids.shape[1] :].transpose(1, 2), words + tokens)


def first_left_out(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, ids.shape[1] : -1].transpose(1, 2), words + tokens[:, 1:])


def with_text(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, :-1].transpose(1, 2), row[:, 1:])


def with_text_unshifted(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row).mT, row)


def from_the_text(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, : tokens.shape[1]].mT, words + tokens)


def guessed(loss, early=0, target=1):
    """The right places of the logits, or those from `early` earlier on; loss(logits (B, V, N), the picture's ids)."""

    def wrong(model, ids, tokens, words):
        row = torch.cat([ids, words + tokens[:, :-1]], dim=1)
        return loss(model(row)[:, ids.shape[1] - 1 - early :].mT, target * words + tokens)

    return wrong


def pictures_alone(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    return F.cross_entropy(model(row)[:, ids.shape[1] - 1 : -1, words:].transpose(1, 2), tokens)


PLANTED = {
    "14.quantise": [
        rounded(straight=False),  # no gradient
        rounded(farthest=True),
        rounded(twice=True),
        lambda z, codebook: (quantise(z, codebook)[0], quantise(z, codebook)[1].flatten()),
        lambda z, codebook: quantise(z, codebook)[0],
        lambda z, codebook: None if len(z) else z,
        closest(lambda rows, codebook: rows @ codebook.T),
        closest(lambda rows, codebook: F.normalize(rows) @ F.normalize(codebook).T),
        closest(lambda rows, codebook: -torch.cdist(rows, codebook, p=1)),
        reshaped,
        lambda z, codebook: (quantise(z, codebook)[0], quantise(z, codebook)[1] + 1),
        lambda z, codebook: (quantise(z, codebook)[0], quantise(z, codebook)[1].float()),
        lambda z, codebook: (quantise(z, codebook)[0].double(), quantise(z, codebook)[1]),
        entries(lambda z, near: z + (z - near).detach()),
        entries(lambda z, near: z),
        entries(lambda z, near: z + near.movedim(1, -1).reshape(z.shape) - z),
        entries(lambda z, near: z + (near - z)),
        entries(lambda z, near: z.detach() + (near - z)),
    ],
    "14.draw_tokens": [
        drawn(before=lambda tokens: tokens[:, -1:]),
        drawn(divide=False),
        drawn(cut=False),
        drawn(seed=False),
        drawn(keep=False),
        ranks,
        drawn(before=lambda tokens: tokens[:, :-1]),
        drawn(before=lambda tokens: tokens[:1].expand_as(tokens)),
        drawn(before=lambda tokens: tokens.flip(1)),
        at_first,
        without_start,
        least,
        other(temperature=lambda temperature: 1 / temperature),
        other(top_k=lambda top_k: 1),
        other(top_k=lambda top_k: max(top_k - 1, 1)),
        other(generator=lambda generator: seeded(0)),
        other(n=lambda n: 4),
        equally,
        one_for_all,
        lambda *given: draw_tokens(*given).float(),
        lambda *given: draw_tokens(*given).int(),
        lambda *given: draw_tokens(*given).roll(1, dims=1),
    ],
    "14.read_out": [
        read(place=-2),  # read at the noisy embedding
        read(place=0),
        read(first=False),
        read(lambda text, time, noisy, ask: (time, text, noisy, ask)),
        read(lambda text, time, noisy, ask: (text, time, ask, noisy)),
        read(lambda text, time, noisy, ask: (text, noisy, time, ask)),
        read(lambda text, time, noisy, ask: (ask, text, time, noisy)),
        read(lambda text, time, noisy, ask: (text, time, noisy)),
        read(place=-3),
        read(place=-4),
        read(place=-5),
        read(place=slice(None)),
        lambda blocks, words, *four: blocks(torch.cat([words, torch.stack(four, dim=1)], dim=1)).mean(1),
        lambda blocks, words, *four: blocks(torch.stack(four, dim=1))[:, -1],
        lambda blocks, words, *four: blocks(torch.cat([words, torch.cat(four).view(len(words), 4, -1)], dim=1))[:, -1],
        lambda blocks, words, *four: blocks(torch.cat([words, torch.stack(four, dim=2)], dim=1))[:, -1],
        lambda blocks, words, *four: read_out(blocks, words, *four).detach(),
        lambda blocks, words, *four: read_out(blocks, words, *four).double(),
    ],
    "14.bucket": [
        bucketed(middle=0),
        bucketed(torch.round),
        bucketed(clamped=False),
        bucketed(fewer=1),
        bucketed(shared=True),
        bucketed(whole=False),
        bucketed(back="itself"),
        uncounted,
        bucketed(torch.ceil),
        bucketed(fewer=-1),
        bucketed(middle=1),
        bucketed(middle=-0.5),
        placed(lambda y, low, high, buckets: (y - low) / high * buckets),
        placed(lambda y, low, high, buckets: y / (high - low) * buckets),
        placed(lambda y, low, high, buckets: (high - y) / (high - low) * buckets),
        placed(lambda y, low, high, buckets: (y - low) * (high - low) / buckets),
        placed(lambda y, low, high, buckets: (y - low[0]) / (high[0] - low[0]) * buckets),
        placed(lambda y, low, high, buckets: (y - y.amin(0)) / (y.amax(0) - y.amin(0)) * buckets),
        placed(lambda y, low, high, buckets: ((y - low) / (high - low) * buckets).floor() % buckets),
        placed(lambda y, low, high, buckets: ((y - low) / (high - low) * buckets).clamp(max=buckets - 2)),
        lambda y, low, high, buckets: (bucket(y, low, high, buckets)[0], y.clamp(low, high)),
        told(lambda y, tokens, low, width: low + tokens * width + 0.5),
        told(lambda y, tokens, low, width: (low + tokens + 0.5) * width),
        told(lambda y, tokens, low, width: tokens),
        told(lambda y, tokens, low, width: (low + (tokens + 0.5) * width).double()),
        lambda y, low, high, buckets: (
            bucket(y, low, high, buckets)[0],
            (bucket(y, low, high, buckets)[0] + 0.5) / buckets,
        ),
        lambda y, low, high, buckets: (bucket(y, low, high, buckets)[0], high + low - bucket(y, low, high, buckets)[1]),
        lambda y, low, high, buckets: bucket(y, low, high, buckets)[::-1],
        lambda y, low, high, buckets: bucket(y, low, high, buckets)[0],
        lambda y, low, high, buckets: (bucket(y, low, high, buckets)[0].byte(), bucket(y, low, high, buckets)[1]),
    ],
    "14.token_loss": [
        shifted,
        first_left_out,
        with_text,
        pictures_alone,
        with_text_unshifted,
        guessed(lambda logits, pictures: F.cross_entropy(logits[:, :, :-1], pictures), early=1),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures, reduction="sum")),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures, reduction="sum") / len(pictures)),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures, reduction="none")),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures) / torch.tensor(2.0).log()),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures).exp()),
        guessed(lambda logits, pictures: -F.cross_entropy(logits, pictures)),
        guessed(lambda logits, pictures: F.cross_entropy(logits.softmax(1), pictures)),
        guessed(lambda logits, pictures: F.cross_entropy(logits.mT.reshape(logits.shape), pictures)),
        guessed(lambda logits, pictures: F.cross_entropy(logits[:, :, -1], pictures[:, -1])),
        guessed(lambda logits, pictures: F.cross_entropy(logits[:1], pictures[:1])),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures).detach()),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures).double()),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures).item()),
        from_the_text,
        lambda model, ids, tokens, words: token_loss(model, ids, tokens, 0),
        lambda model, ids, tokens, words: token_loss(model, 0 * ids, tokens, words),
        lambda model, ids, tokens, words: token_loss(
            lambda row: model(row - words * (row >= words)), ids, tokens, words
        ),
        guessed(lambda logits, pictures: F.cross_entropy(logits, pictures), target=0),
        lambda model, ids, tokens, words: token_loss(model, ids, tokens, 7),
    ],
    "14.prior_target": [
        lambda features: features * features.shape[1] ** 0.5,
        lambda features: F.normalize(features, dim=1),
        lambda features: F.normalize(features, dim=0) * features.shape[1] ** 0.5,
        lambda features: features,
        lambda features: F.normalize(features) * features.shape[1],
        lambda features: F.normalize(features) / features.shape[1] ** 0.5,
        lambda features: F.normalize(features) * len(features) ** 0.5,
        lambda features: F.normalize(features) * 64**0.5,
        lambda features: features / features.norm() * features.shape[1] ** 0.5,
        lambda features: features / features.square().sum(1, keepdim=True) * features.shape[1] ** 0.5,
        lambda features: F.normalize(features, p=1) * features.shape[1] ** 0.5,
        lambda features: F.layer_norm(features, features.shape[1:]),
        lambda features: features / features.std(1, keepdim=True),
        lambda features: prior_target(features).double(),
        lambda features: prior_target(features)[:1],
    ],
}
