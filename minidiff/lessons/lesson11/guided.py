"""Who guides a denoiser, whether it was told the prompt or not: nobody, a CLIP, a CLIP that knows noise, or itself.

On the codes of lesson 09's autoencoder. GLIDE (Nichol et al. 2021, 2112.10741, sections 2.4 and 4) compares the last
two for a denoiser that was told the prompt; without the prompt one sees what a CLIP can do alone.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minidiff import data, seeded
from minidiff.clip import CLIP, NoisyCLIP
from minidiff.guidance import Denoise, cfg, clamp, classifier_guidance
from minidiff.latent import SIZE, LatentDiffusion
from minidiff.sampler import last, sample, times

NOBODY, FREE, AWARE, BLIND = "nobody", "classifier-free", "CLIP that knows noise", "CLIP of clean codes"
NOTHING, PROMPT = "nothing", "the prompt"  # what the denoiser is told
SCALES = {
    (NOTHING, BLIND): (1.0, 4.0, 16.0),
    (NOTHING, AWARE): (1.0, 4.0, 16.0),
    (PROMPT, AWARE): (1.0, 4.0, 16.0),
    (PROMPT, FREE): (1.5, 3.0),
}
LIMIT = 4 * SIZE  # codes lie within four standard deviations; estimates are cut there, as pictures are at -1 and 1
ROWS = 100  # drawn at once


def prompts(n: int, seed: int = 9) -> list[str]:
    """Captions of n held-out pictures with one thing each."""
    return data.shapes("test", n, seed, objects=1)[1]


def nobody(model: LatentDiffusion, told: str = NOTHING) -> Callable[[Tensor], Denoise]:
    """ids -> the denoiser without any guidance; it is told nothing, whatever the prompt, or the prompt."""
    return lambda ids: clamp(_told(model, ids, told), -LIMIT, LIMIT)


def by_clip(model: LatentDiffusion, clip: CLIP, scale: float, told: str = NOTHING) -> Callable[[Tensor], Denoise]:
    """ids -> that denoiser, moved up the gradient of a CLIP's scaled cosine with the prompt."""

    def guide(ids: Tensor) -> Denoise:
        moved = classifier_guidance(_told(model, ids, told), clip.guide(ids), model.schedule, scale)
        return clamp(moved, -LIMIT, LIMIT)

    return guide


def _told(model: LatentDiffusion, ids: Tensor, told: str) -> Denoise:
    return model.denoiser if told == NOTHING else lambda x, t: model.denoiser(x, t, ids)


def by_itself(model: LatentDiffusion, scale: float) -> Callable[[Tensor], Denoise]:
    """ids -> classifier-free guidance: the denoiser that is told the prompt against the one that is not."""
    return lambda ids: clamp(cfg(model.denoiser, ids, model.denoiser.null, scale), -LIMIT, LIMIT)


def codes(model: LatentDiffusion, guide: Callable[[Tensor], Denoise], said: list[str], steps=20, seed=0) -> Tensor:
    """A code for each prompt, (n, latent, 8, 8), by DDIM; the same noise for the same seed, whoever guides."""
    ids = model.ids(said)
    side = 32 // model.autoencoder.f
    shape = (len(ids), model.autoencoder.latent, side, side)
    noise = model.schedule.prior(shape, seeded(seed))
    parts = zip(ids.split(ROWS), noise.split(ROWS))
    return torch.cat([last(sample(guide(rows), x, times(steps), model.schedule)) for rows, x in parts])


def guidance_table(
    model: LatentDiffusion, blind: CLIP, aware: NoisyCLIP, n=200, steps=20, seed=0, scales=SCALES
) -> list[dict]:
    """A row for each way and scale: what share of n prompts' attributes and pairs `shapes.read` finds in the pictures.

    scales: what the denoiser is told and who guides it -> the scales to try. "cosine" is what the clean CLIP says.
    """
    guides = {BLIND: partial(by_clip, model, blind), AWARE: partial(by_clip, model, aware)}
    trials = [(told, NOBODY, None, nobody(model, told)) for told in dict.fromkeys(told for told, _ in scales)]
    for (told, way), tried in scales.items():
        for scale in tried:
            guide = by_itself(model, scale) if way == FREE else guides[way](scale, told=told)
            trials.append((told, way, scale, guide))
    said = prompts(n)
    rows = []
    for told, way, scale, guide in trials:
        z = codes(model, guide, said, steps, seed)
        about = {"denoiser is told": told, "guided by": way, "scale": scale}
        rows.append(about | _figures(model, blind, z, said))
    return sorted(rows, key=lambda row: row["denoiser is told"])  # "nothing" first, each group in its order


@torch.no_grad()
def _figures(model: LatentDiffusion, blind: CLIP, z: Tensor, said: list[str]) -> dict[str, float]:
    cosine = (blind.encode_image(z) * blind.encode_text(model.ids(said))).sum(1).mean().item()
    marks = data.shapes.marks(said, model.decode(z))
    return {"attributes": marks.attributes, "pairs": marks.pairs, "cosine": cosine}
