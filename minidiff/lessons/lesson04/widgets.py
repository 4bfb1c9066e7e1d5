"""Lesson 04's widgets: the laboratory in the plane, a walk from code to code, truncation."""

import torch
from torch import Tensor

from minidiff import seeded
from minidiff.gan import GAN
from minidiff.lessons.lesson04.laboratory import Laboratory
from minidiff.widgets import Explorer, Slider

__all__ = ["Laboratory", "truncation", "walk"]

STOPS = 5  # codes that a walk visits, each at a multiple of 20 steps
STEP = 20


def walk(model: GAN, rows: int = 4, seed: int = 0) -> Explorer:
    """`rows` pictures that change together as their codes go from one random code to the next, and back to the first.

    Between two codes they go along the great circle, at the length that random codes have: on the straight line the
    codes halfway are shorter than any that the generator was trained on.
    """
    generator = seeded(seed)
    codes = model.codes(STOPS * rows, generator).unflatten(0, (STOPS, rows))
    labels = torch.arange(rows) % model.classes if model.classes else None

    def draw(step):
        return _pictures(
            model, between(codes[step // STEP % STOPS], codes[(step // STEP + 1) % STOPS], step % STEP / STEP), labels
        )

    return Explorer(
        draw,
        alt=f"{rows} pictures at step {{step}} of a walk of {STOPS * STEP} through the codes",
        columns=rows,
        step=Slider("step", 0, STOPS * STEP, 1, 0, unit=f"of {STOPS * STEP}"),
    ).add_class("walk")


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Codes on the way from a to b (n, code), `share` of it done: the direction turns evenly, so does the length."""
    lengths = (1 - share) * a.norm(dim=1) + share * b.norm(dim=1)
    cosine = torch.cosine_similarity(a, b).clamp(-0.999, 0.999)
    angle = torch.acos(cosine)[:, None]
    a, b = (z / z.norm(dim=1, keepdim=True) for z in (a, b))
    z = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
    return z * lengths[:, None]


def truncation(model: GAN, n: int = 24, seed: int = 0) -> Explorer:
    """n pictures from normal codes whose numbers are drawn again until none is beyond the threshold (1809.11096)."""

    def draw(threshold):
        return _pictures(model, truncated(model, n, threshold, seed), None)

    return Explorer(
        draw,
        alt=f"{n} pictures from random codes without numbers beyond {{threshold}}",
        threshold=Slider("threshold", 0.1, 3.0, 0.1, 3.0),
    ).add_class("truncation")


def truncated(model: GAN, n: int, threshold: float, seed: int = 0) -> Tensor:
    """n codes (n, code) from N(0, I) cut off at ±threshold; a smooth function of it, as they are the same quantiles."""
    u = torch.rand(n, model.code, generator=seeded(seed), dtype=torch.float64)
    edge = torch.special.ndtr(torch.tensor(threshold, dtype=torch.float64))  # P(z < threshold)
    return torch.special.ndtri(1 - edge + u * (2 * edge - 1)).float()


@torch.no_grad()
def _pictures(model: GAN, z: Tensor, labels: Tensor | None) -> Tensor:
    return model.generator(z, labels)
