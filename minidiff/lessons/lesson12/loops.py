"""What lesson 12's check of the sampling loop tries an attempt on: a quick model, and the loop with each slip."""

import torch
from torch import nn

from minidiff.schedule import Schedule
from minidiff.stable_diffusion import scaled_linear


class Quick(nn.Module):
    """A text-to-image model of formulas: what it is told shows in its estimates, and it counts how often it reads."""

    scale = 0.18215  # that of the codes; it is `decode` that sees to it

    def __init__(self, schedule: Schedule | None = None):
        super().__init__()
        self.schedule = schedule or scaled_linear()
        self.read_times = 0

    def read(self, prompts) -> torch.Tensor:
        """(B, 1, 1): a number for each text, and not 0 for the empty one."""
        self.read_times += 1
        texts = [prompts] if isinstance(prompts, str) else prompts
        return torch.tensor([[[sum(map(ord, text)) % 7 / 3.0 - 0.4]] for text in texts])

    def denoiser(self, z, t, told):
        """An estimate that depends on z, t and what it was told, one row each."""
        if not isinstance(told, torch.Tensor):
            raise TypeError(f"told: got a {type(told).__name__}, expected the tensor that model.read gives")
        if len(told) != len(z):
            raise ValueError(f"told: got {len(told)} rows, expected {len(z)}, one for each row of z")
        return torch.tanh(0.5 * z + float(torch.as_tensor(t).flatten()[0]) + told[:, :, :, None])

    def decode(self, z):
        """Twice z, so that a forgotten decoder shows."""
        return 2 * z


def guided(told, nothing, scale):
    """The estimate by guidance."""
    return nothing + scale * (told - nothing)


def stepped(z, x0, alpha, sigma, alpha_then, sigma_then):
    """The next z of the walk."""
    return alpha_then * x0 + sigma_then * (z - alpha * x0) / sigma


def draw_with(model, prompts, z, t, scale, guide=guided, step=stepped, asked=None, empty=None, along=None, end=None):
    """The right loop, or one with a slip in a single place.

    guide, step: as `guided` and `stepped`. asked: (now, then, all times) -> the time that the network is told. empty:
    what is told for no text -> what is taken for it. along: t -> the times walked. end: (model, the last z, the last
    x0) -> what is returned.
    """
    told, nothing = model.read(prompts), model.read([""] * len(prompts))
    nothing = empty(nothing) if empty else nothing
    t = along(t) if along else t
    for now, then in zip(t[:-1].tolist(), t[1:].tolist()):
        time = torch.tensor(asked(now, then, t) if asked else now)
        x0 = guide(model.denoiser(z, time, told), model.denoiser(z, time, nothing), scale)
        z = step(z, x0, *model.schedule(now), *model.schedule(then)).float()
    return end(model, z, x0) if end else model.decode(z)


def draw_slips(prompts, z, t, scale) -> dict[str, torch.Tensor]:
    """hint -> what is drawn with that slip."""

    def drawn(prompts=prompts, z=z, **slip):
        return draw_with(Quick(), prompts, z, t, scale, **slip)

    sigma, alone = Quick().schedule(t[0].item())[1], prompts[:1] * len(prompts)
    slips = {hint: drawn(**{place: how}) for place, table in _SLIPS.items() for hint, how in table.items()}
    return slips | {
        "z is as strong as it should be at the first time: start from it as it is, not sigma * z.": drawn(z=sigma * z),
        "z is as strong as it should be at the first time: start from it as it is, not z / sigma.": drawn(z=z / sigma),
        "The texts are mixed up: row b of what is told belongs to prompts[b].": drawn(prompts[::-1]),
        "All are drawn with the first prompt: each row has its own.": drawn(alone),
        "Each picture starts from its own row of z: not all of them from z[0].": drawn(z=z[:1].expand_as(z)),
        "Only the first picture is drawn: there is one for each prompt.": drawn(alone, z[:1].expand_as(z)),
        "The noise changes from step to step: take it out of the z of each time, (z - alpha * x0) / sigma.": drawn(
            step=lambda now, x0, a, s, a_then, s_then: a_then * x0 + s_then * z
        ),
    }


_SLIPS = {
    "guide": {
        "The halves are exchanged: away from what is drawn *without* words, not towards it.": (
            lambda told, nothing, scale: told + scale * (nothing - told)
        ),
        "Where is the guidance? without + scale * (with words - without).": lambda told, nothing, scale: told,
        "Guidance starts from `without`: without + scale * (with words - without).": (
            lambda told, nothing, scale: told + scale * (told - nothing)
        ),
        "The sign of guidance is turned: the difference is with words - without, and it is added.": (
            lambda told, nothing, scale: nothing - scale * (told - nothing)
        ),
        "The scale multiplies the *difference*, in brackets: without + scale * (with words - without).": (
            lambda told, nothing, scale: scale * told
        ),
        "The scale multiplies the difference of the two estimates, not the one with words alone.": (
            lambda told, nothing, scale: nothing + scale * told
        ),
        "Where does guidance start? without + scale * (with words - without).": (
            lambda told, nothing, scale: scale * (told - nothing)
        ),
        "The scale multiplies the difference alone: no brackets around without + scale.": (
            lambda told, nothing, scale: (nothing + scale) * (told - nothing)
        ),
        "The estimate with words is never used: without + scale * (with words - without).": (
            lambda told, nothing, scale: nothing
        ),
        "Guidance is not an average of the two estimates: it goes beyond the one with words.": (
            lambda told, nothing, scale: (told + nothing) / 2
        ),
        "The estimate is one of codes, and not of pictures: do not clamp it.": (
            lambda told, nothing, scale: guided(told, nothing, scale).clamp(-1, 1)
        ),
    },
    "step": {  # z, x0, then alpha and sigma now and of the next time -> the next z
        "The noise in z is (z - alpha * x0) / sigma: take away only as much of x0 as there is in z.": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - x0) / s
        ),
        "Alpha and sigma of one time only: take the noise out with those of `now`, mix it in with those of `then`.": (
            lambda z, x0, a, s, a_then, s_then: z
        ),
        "The next z has only alpha_then * x0 of the picture, not x0 whole.": (
            lambda z, x0, a, s, a_then, s_then: x0 + s_then * (z - a * x0) / s
        ),
        "The next z has alpha_then * x0 of the picture: alpha is that of the time before.": (
            lambda z, x0, a, s, a_then, s_then: a * x0 + s_then * (z - a * x0) / s
        ),
        "The noise is in z at the time `now`: take away alpha * x0, and not alpha_then * x0.": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - a_then * x0) / s
        ),
        "`now` and `then` are exchanged: noise comes out of z with those of `now`, and goes in with those of `then`.": (
            lambda z, x0, a, s, a_then, s_then: a * x0 + s * (z - a_then * x0) / s_then
        ),
        "The noise is left out: the next z is alpha_then * x0 + sigma_then * noise, with the noise that was in z.": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0
        ),
        "That is x0, without any noise. The next z is alpha_then * x0 + sigma_then * noise.": (
            lambda z, x0, a, s, a_then, s_then: x0
        ),
        "The noise is as strong as before: mix it in with sigma_then, that of the next time.": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0 + (z - a * x0)
        ),
        "z - alpha * x0 is sigma * noise: divide by sigma.": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - a * x0)
        ),
        "The sign of the noise is turned: alpha_then * x0 *plus* sigma_then * noise.": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0 - s_then * (z - a * x0) / s
        ),
        "What is left of z without the picture is the noise: z *minus* alpha * x0.": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z + a * x0) / s
        ),
        "The network answers with x0, the picture, and not with the noise. Or are alpha and sigma exchanged?": (
            lambda z, x0, a, s, a_then, s_then: a_then * (z - s * x0) / a + s_then * x0
        ),
        "Alpha and sigma of `now` are exchanged: the schedule answers (alpha, sigma).": (
            lambda z, x0, a, s, a_then, s_then: a_then * x0 + s_then * (z - s * x0) / a
        ),
        "Alpha and sigma of `then` are exchanged: the schedule answers (alpha, sigma).": (
            lambda z, x0, a, s, a_then, s_then: s_then * x0 + a_then * (z - a * x0) / s
        ),
        "No roots here: the schedule answers alpha and sigma themselves, not their squares.": (
            lambda z, x0, a, s, a_then, s_then: stepped(z, x0, a**0.5, s**0.5, a_then**0.5, s_then**0.5)
        ),
    },
    "asked": {
        "The network is asked one step late: give it the time `now`.": lambda now, then, t: now + 0.001,
        "The network is asked one step early: give it the time `now`.": lambda now, then, t: now - 0.001,
        "z stands at the time `now`: ask the network at `now`, not at `then`.": lambda now, then, t: then,
        "Each step has its own time: ask the network at `now`, not always at the first.": (
            lambda now, then, t: t[0].item()
        ),
        "The network wants a time between 0 and 1, as it is: no step number, now * 1000.": lambda now, then, t: (
            now * 1000
        ),
    },
    "empty": {
        'The empty text is read as well: model.read([""] * len(prompts)), and not zeros.': torch.zeros_like,
    },
    "along": {
        "The walk ends at the last time: do not go on to 0.": lambda t: torch.cat([t, t.new_zeros(1)]),
        "t falls already: walk along it as it is, from the first time to the last.": lambda t: t.flip(0),
        "The last time is left out: each time but the last is a `now`, and each but the first a `then`.": (
            lambda t: t[:-1]
        ),
        "The first time is left out: z stands at t[0].": lambda t: t[1:],
        "The walk begins at t[0], whatever that is: put no 1 before it.": lambda t: torch.cat([t.new_ones(1), t]),
        "Only one step is taken: is the `return` inside the loop?": lambda t: t[:2],
        "That is one leap from the first time to the last: walk along all of t.": lambda t: t[[0, -1]],
    },
    "end": {
        "Those are codes: model.decode(z) makes pictures of them.": lambda model, z, x0: z,
        "Decode z at the last time, and not the last estimate of x0.": lambda model, z, x0: model.decode(x0),
        "model.decode sees to the scale of the codes: give it z itself, not z / model.scale.": (
            lambda model, z, x0: model.decode(z / model.scale)
        ),
        "model.decode sees to the scale of the codes: give it z itself, not z * model.scale.": (
            lambda model, z, x0: model.decode(z * model.scale)
        ),
        "Return what model.decode gives: it cuts to [-1, 1] itself.": (
            lambda model, z, x0: model.decode(z).clamp(-1, 1)
        ),
        "Return what model.decode gives: pictures lie between -1 and 1, and not between 0 and 1.": (
            lambda model, z, x0: (model.decode(z) + 1) / 2
        ),
    },
}
