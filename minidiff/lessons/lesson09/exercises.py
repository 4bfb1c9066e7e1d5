"""Lesson 09's checks: the autoencoder's loss and scale, words read by pixels, and what is done with a picture."""

import torch

from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson09 import solutions
from minidiff.lessons.lesson09.probes import held_slips, losses, sides, two
from minidiff.schedule import cosine


@exercise(
    "09.autoencoder_loss",
    solution=solutions.autoencoder_loss,
    core=True,
    hints=(
        "`(out - x) ** 2` is d², and its square is d⁴. Both terms are plain `.mean()`s.",
        "The KL of each picture: `0.5 * (mu**2 + log_var.exp() - 1 - log_var).flatten(1).sum(1)`. Then its mean "
        "over the pictures.",
        "`squared.mean() + 10 * (squared**2).mean() + beta * kl / x[0].numel()`",
    ),
)
def _(attempt):
    x = torch.randn(4, 3, 8, 8)
    out = x + 0.3 * torch.randn(4, 3, 8, 8)  # not far off, so that the KL term is no small part of the sum
    mu = torch.randn(4, 2, 4, 4)
    log_var = torch.randn(4, 2, 4, 4)
    got = shaped(attempt(x, out, mu, log_var, 0.3), (), "One number: the mean over the pictures.")
    error, kl, slips = losses(out - x, mu, log_var, 0.3)
    close(got, error + kl, "Not mean d² + 10 mean d⁴ + beta KL / x[0].numel().", slips=slips)
    part = (x[:, :, :4], out[:, :, :4], mu[:, :, :2], log_var[:, :, :2])
    error, kl, _ = losses(part[1] - part[0], *part[2:], 0.1)
    slips = {"Right for one beta: use the one that you are given.": error + 3 * kl}
    close(attempt(*part, 0.1), error + kl, "Right for pictures of one size: use x[0].numel().", slips=slips)
    from minidiff.latent import KLAutoencoder

    model = KLAutoencoder(width=8, f=2, latent=2, beta=0.3)
    mu, log_var = model.encode(x)
    model.encode = lambda x: (mu, log_var - 40)  # so that drawing a code changes nothing
    got = attempt(x, model.decode(mu), mu, log_var - 40, 0.3)
    close(got, model.loss(x), "Not equal to minidiff's KLAutoencoder.loss.", rtol=1e-3)
    require(got.requires_grad, "The loss has no slopes to learn from: no detach(), no torch.no_grad().")


@exercise(
    "09.measure",
    solution=solutions.measure,
    core=True,
    hints=(
        "The standard deviation of all numbers together is `mu.std()`. Which factor turns it into `size`?",
        "`size / mu.std()`",
    ),
)
def _(attempt):
    mu = torch.randn(50, 4, 3, 3) * torch.tensor([1.0, 2.0, 3.0, 6.0])[:, None, None] + 1
    got = attempt(mu, 0.5)
    if not isinstance(got, float):  # .item() is as good
        got = shaped(got, (), "One factor for all numbers: several would bend the code's space.")
    channels = mu.std((0, 2, 3))
    slips = {
        "Where is the size?": 1 / mu.std(),
        "Use the size that you are given, which is not always 0.25.": 0.25 / mu.std(),
        "The larger the codes are, the smaller the factor: divide by their deviation.": 0.5 * mu.std(),
        "The standard deviation of all numbers together, not that of the first picture.": 0.5 / mu[0].std(),
        "Turned around: codes are *multiplied* by the factor.": mu.std() / 0.5,
        "Divide by the standard deviation, not by its square.": 0.5 / mu.var(),
        "The deviation is counted from the mean: not the root of the mean square.": 0.5 / mu.square().mean().sqrt(),
        "That is a mean of the channels' factors: take the deviation of all numbers together.": (0.5 / channels).mean(),
        "The deviation of all numbers together, not the mean of each channel's.": 0.5 / channels.mean(),
        "The largest code would decide alone: take the deviation.": 0.5 / mu.abs().max(),
    }
    close(got, 0.5 / mu.std(), "Not size / mu.std().", slips=slips, rtol=1e-3)


@exercise(
    "09.cross_attention",
    solution=solutions.cross_attention,
    core=True,
    hints=(
        "The scores are `q @ k.mT / q.shape[-1] ** 0.5`. `.mT` exchanges the last two dimensions.",
        "`scores.masked_fill(~mask[:, None], -torch.inf)` hides the padding, and `.softmax(dim=2)` shares out "
        "the weight among the words.",
        "What is gathered is `weights @ v`. Return it first, then the weights.",
    ),
)
def _(attempt):
    q = torch.randn(3, 6, 8)
    k = torch.randn(3, 5, 8)
    v = torch.randn(3, 5, 8)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    got = attempt(q, k, v, mask)
    two(got, "Return two things: what is gathered, and the weights.")
    require(tuple(getattr(got[0], "shape", ())) != (3, 6, 5), "First what is gathered, then the weights.")
    out = shaped(got[0], (3, 6, 8), "One row of d numbers a place.")
    weights = got[1]
    shaped(weights, (3, 6, 5), "A weight for each word at each place: (B, P, L).")
    _read_by(q, k, v, mask, weights)
    close(out, weights @ v, "What is gathered is the mean of the words' v by those weights: weights @ v.")
    from minidiff.nn import attend

    wanted = attend(q[:, None], k[:, None], v[:, None], mask)[:, 0]
    close(out, wanted, "Not equal to minidiff.nn.attend.", rtol=1e-3)
    narrow = attempt(q[..., :5], k[..., :5], v[..., :5], mask)[1]
    wanted = solutions.cross_attention(q[..., :5], k[..., :5], v[..., :5], mask)[1]
    close(narrow, wanted, "Right for d = 8 only: take d from q, q.shape[-1].", rtol=1e-3)


def _read_by(q, k, v, mask, weights):
    """`weights` are the softmax over the words that `mask` leaves, of q k^T / sqrt(d)."""
    scores = q @ k.mT / 8**0.5
    hidden = ~mask[:, None]

    def soft(scores, dim=2):
        return scores.masked_fill(hidden, -torch.inf).softmax(dim)

    slips = {
        "Divide the scores by the root of d, or a few words take all.": soft(scores * 8**0.5),
        "By the *root* of d, not by d.": soft(scores / 8**0.5),
        "At each place the weights of the *words* add up to 1: softmax over dim 2.": soft(scores, 1).nan_to_num(),
        "Padding is read, too: set its scores to minus infinity before the softmax.": scores.softmax(2),
        "Padding's scores are 0 there, and e⁰ is 1: set them to minus infinity.": (scores * mask[:, None]).softmax(2),
        "After the softmax it is too late: without padding, the rest no longer adds up to 1.": scores.softmax(2)
        * mask[:, None],
        "The mask is turned around: True is a word.": scores.masked_fill(~hidden, -torch.inf).softmax(2).nan_to_num(),
    }
    close(weights.nan_to_num(), soft(scores), "Not softmax(q k^T / sqrt(d)) over the words.", slips=slips, rtol=1e-3)


@exercise(
    "09.half_noised",
    solution=solutions.half_noised,
    core=True,
    hints=(
        "`n = max(1, round(strength * steps))`, and the times are `torch.linspace(strength, 0, n + 1)` or "
        "`times(n, start=strength)`.",
        "The noisy code is `schedule.add_noise(z, strength, eps)`: the strength is a time.",
    ),
)
def _(attempt):
    schedule, z, eps = cosine(), torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    x, t = two(attempt(z, 0.6, 20, schedule, eps), "Return two things: the noisy codes, and the times.")
    require(getattr(t, "shape", None) != z.shape, "First the noisy codes, then the times.")
    t = shaped(t, (13,), "12 steps are 13 times: strength 0.6 is worth 0.6 of the 20 steps.")
    require(t[0] != 1, "The walk starts at t = strength: at 1 it would take the picture for pure noise.")
    close(t, torch.linspace(0.6, 0, 13), "The times fall evenly from the strength to 0.", rtol=1e-4)
    x = shaped(x, z.shape, "A noisy code for each code.")
    alpha, sigma = (float(value) for value in schedule(0.6))
    slips = {
        "The code has to shrink, too: alpha z + sigma eps.": z + sigma * eps,
        "Noise is mixed in by the schedule, not by the strength itself.": 0.4 * z + 0.6 * eps,
        "That is the noise of t = 1 - strength: 0 leaves the picture, 1 none of it.": schedule.add_noise(z, 0.4, eps),
        "There is no noise in it: the sampler would take the picture's own detail for noise.": z,
        "Only noise: the picture has no say. That is strength 1.": eps,
    }
    close(x, alpha * z + sigma * eps, "Not z under the noise of t = strength.", slips=slips, rtol=1e-3)
    _other_strengths(attempt, z, schedule, eps)


def _other_strengths(attempt, z, schedule, eps) -> None:
    least = attempt(z, 0.01, 20, schedule, eps)[1]
    require(len(least) == 2, "However small the strength, at least one step: two times.")
    for strength, n in ((0.27, 3), (0.23, 2)):  # of 10 steps: 2.7 is rounded up, 2.3 down
        t = attempt(z, strength, 10, schedule, eps)[1]
        require(
            len(t) == n + 1,
            f"Rounded: {10 * strength:.1f} steps are {n}, by round(), and {n} steps have {n + 1} times.",
        )
        close(t, torch.linspace(strength, 0, n + 1), "From the strength itself to 0, in equal steps.", rtol=1e-4)


@exercise(
    "09.keep_known",
    solution=solutions.keep_known,
    core=True,
    hints=(
        "Return a function of `(x, t)`. It asks `denoise(x, t)` first, and then replaces a part of the answer.",
        "`lambda x, t: torch.where(mask, denoise(x, t), known)`",
    ),
)
def _(attempt):
    from minidiff.latent import keep_known

    (known, x), t, mask = torch.randn(2, 2, 4, 4, 4), torch.tensor(0.7), torch.rand(2, 1, 4, 4) < 0.5

    def denoise(x, t):
        return x / 2 + t + x.square().mean((1, 2, 3), keepdim=True)  # each place sees all the others, as in a network

    held = attempt(denoise, known, mask)
    require(callable(held), "Return a denoiser, a function of (x, t), as guidance does.")
    got = shaped(held(x, t), x.shape, "An estimate for each code.")
    slips = held_slips(denoise, x, t, known, mask)
    close(got, torch.where(mask, denoise(x, t), known), "Not the estimate, with what is known.", slips=slips)
    close(got, keep_known(denoise, known, mask)(x, t), "Not equal to minidiff.latent.keep_known.")


@exercise(
    "09.code_mask",
    solution=solutions.code_mask,
    core=True,
    hints=(
        "`F.max_pool2d` takes the largest number of each f by f square. It wants floating point numbers.",
        "`F.max_pool2d(mask.float(), f) > 0`",
    ),
)
def _(attempt):
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    mask[0, 0, 5, 6] = mask[1, 0, 8:, :4] = True  # one pixel, and a corner
    mask[1, 0, 3, 3] = mask[0, 0, 14:, 12:] = mask[1, 0, 0, 12] = True
    got = shaped(attempt(mask, 4), (2, 1, 4, 4), "One answer for each code: f by f pixels make one.")
    require(got.dtype == torch.bool, "True or False: compare with > 0 at the end.")
    patches = mask.unflatten(3, (4, 4)).unflatten(2, (4, 4))  # (B, 1, h, f, w, f)
    slips = {
        "A code goes if *any* of its pixels does: the one painted pixel is lost here.": patches.float().mean((3, 5))
        >= 0.5,
        "A code goes if *any* of its pixels does, not if all do.": patches.all(5).all(3),
        "Look at all f by f pixels of a code, not at its first.": mask[..., ::4, ::4],
        "That is the turned mask: True is to be painted anew.": ~patches.any(5).any(3),
        "Everything goes? Some codes have no painted pixel.": torch.ones(2, 1, 4, 4),
    }
    close(got.float(), patches.any(5).any(3).float(), "A code goes if any of its f x f pixels does.", slips=slips)
    none = attempt(torch.zeros(1, 1, 8, 12, dtype=torch.bool), 2)
    none = shaped(none, (1, 1, 4, 6), "f is not always 4, and no picture needs to be square.")
    require(not none.any(), "Nothing painted, nothing goes.")


@exercise(
    "09.word_maps",
    solution=solutions.word_maps,
    hints=(
        "Go through the tokens together with `maps[1:]`, since the first map belongs to the mark of the start.",
        "If a token starts with a space it begins a new word: append `(token.strip(), row)`. Otherwise it goes "
        "on with the last word.",
        "To go on with the last word: `word, total = words[-1]`, then `words[-1] = (word + token, total + "
        "row)`. Adding with `+=` would change the maps that you were given.",
    ),
)
def _(attempt):
    maps, tokens = torch.rand(8, 4, 4), [" a", " red", " ell", "ip", "se"]
    got = attempt(maps, tokens)
    require(got is not None, "The result is None: is a `return` missing?")
    got = list(got)
    require(len(got) != 5, "Three tokens spell one word: only a token with a space in front begins a word.")
    require(len(got) == 3 and all(len(pair) == 2 for pair in got), "A pair (word, map) for each of the three words.")
    require(all(isinstance(word, str) for word, _ in got), "First the word, then its map.")
    words, heat = [word for word, _ in got], torch.stack([row for _, row in got])
    require([word.strip() for word in words] == ["a", "red", "ellipse"], "The words are a, red, ellipse.")
    require(words == ["a", "red", "ellipse"], "Take the space away: strip().")
    wanted = torch.stack([maps[1], maps[2], maps[3:6].sum(0)])
    slips = {
        "Row 0 is the mark of the start: token k has row k + 1.": torch.stack([maps[0], maps[1], maps[2:5].sum(0)]),
        "A word's weight is the sum of its tokens' weights, not their mean.": torch.stack(
            [maps[1], maps[2], maps[3:6].mean(0)]
        ),
        "The word's other tokens count, too: add their maps.": maps[1:4],
    }
    close(heat, wanted, "The map of a word is the sum of its tokens' maps.", slips=slips)


@exercise(
    "09.two_prompts",
    solution=solutions.two_prompts,
    hints=(
        "Inside, you need three estimates of the same x: for the first prompt, for the second, and for the empty one.",
        "With guidance an estimate is `without + scale * (told - without)`. What is `told` at each place?",
        "`told = torch.where(mask, a, b)`, where a and b are the estimates for the two prompts.",
    ),
)
def _(attempt):
    x = torch.randn(2, 4, 4, 4)
    t = torch.tensor(0.4)
    told = [torch.full((2, 5), k) for k in (3, 7, 2)]
    half = (torch.arange(4) < 2).expand(1, 1, 4, 4)
    guided = attempt(_uneven, *told, 3.0, half)
    require(callable(guided), "Return a denoiser, a function of (x, t), as guidance does.")
    got = shaped(guided(x, t), x.shape, "One estimate for each picture.")
    a, b, without = (_uneven(x, t, ids) for ids in told)
    slips = sides(a, b, without, half) | {
        "Both see the whole x: cut the estimates, not their input.": _cut(x, t, told, half)
    }
    close(got, without + 3 * (torch.where(half, a, b) - without), "Not guided by each prompt on its side.", slips=slips)
    spots = torch.rand(1, 1, 4, 4) < 0.5
    got = attempt(_uneven, *told, 1.5, spots)(x, t)
    wanted = without + 1.5 * (torch.where(spots, a, b) - without)
    close(got, wanted, "Right for one mask and one scale: use the `mask` and the `scale` that you are given.")


def _uneven(x, t, ids):
    """A denoiser that is not linear in the ids, as no network is, and in which each place sees all the others."""
    return x / 2 + x.square().mean((1, 2, 3), keepdim=True) + ids[:, 0].reshape(-1, 1, 1, 1) ** 2


def _cut(x, t, told, mask):
    """Guidance by 3 where each side's estimates see that side of x alone."""
    first, second, null = told
    apart = torch.where(mask, _uneven(x * mask, t, first), _uneven(x * ~mask, t, second))
    blind = torch.where(mask, _uneven(x * mask, t, null), _uneven(x * ~mask, t, null))
    return blind + 3 * (apart - blind)
