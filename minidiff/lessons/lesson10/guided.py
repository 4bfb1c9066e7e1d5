"""Who tells a denoiser that was not told the prompt: nobody, a CLIP, a CLIP that knows noise, or the denoiser itself.

GLIDE's comparison (Nichol et al. 2021, 2112.10741, sections 2.4 and 4), on the codes of lesson 09's autoencoder.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from minidiff import data, seeded
from minidiff.clip import CLIP, NoisyCLIP
from minidiff.guidance import Denoise, cfg, clamp, classifier_guidance
from minidiff.latent import SIZE, LatentDiffusion
from minidiff.sampler import last, sample, times

FREE, AWARE, BLIND = "classifier-free", "CLIP that knows noise", "CLIP of clean codes"
SCALES = {BLIND: (1.0, 4.0, 16.0), AWARE: (1.0, 4.0, 16.0), FREE: (1.0, 3.0)}
LIMIT = 4 * SIZE  # codes lie within four standard deviations; estimates are cut there, as pictures are at -1 and 1
ROWS = 100  # drawn at once


def prompts(n: int, seed: int = 9) -> list[str]:
    """Captions of n held-out pictures with one thing each."""
    return data.shapes("test", n, seed, objects=1)[1]


def nobody(model: LatentDiffusion) -> Callable[[Tensor], Denoise]:
    """ids -> the denoiser that is told nothing, whatever the prompt."""
    return lambda ids: clamp(model.denoiser, -LIMIT, LIMIT)


def by_clip(model: LatentDiffusion, clip: CLIP, scale: float) -> Callable[[Tensor], Denoise]:
    """ids -> the same denoiser, moved up the gradient of a CLIP's scaled cosine with the prompt."""
    return lambda ids: clamp(classifier_guidance(model.denoiser, clip.guide(ids), model.schedule, scale), -LIMIT, LIMIT)


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

    "cosine" is what the blind CLIP itself says of its code and prompt: it can be content where nobody else is.
    """
    trials = [("nobody", None, nobody(model))]
    trials += [(BLIND, scale, by_clip(model, blind, scale)) for scale in scales[BLIND]]
    trials += [(AWARE, scale, by_clip(model, aware, scale)) for scale in scales[AWARE]]
    trials += [(FREE, scale, by_itself(model, scale)) for scale in scales[FREE]]
    said = prompts(n)
    rows = []
    for way, scale, guide in trials:
        z = codes(model, guide, said, steps, seed)
        rows.append({"guided by": way, "scale": scale} | _figures(model, blind, z, said))
    return rows


@torch.no_grad()
def _figures(model: LatentDiffusion, blind: CLIP, z: Tensor, said: list[str]) -> dict[str, float]:
    cosine = (blind.encode_image(z) * blind.encode_text(model.ids(said))).sum(1).mean().item()
    marks = data.shapes.marks(said, model.decode(z))
    return {"attributes": marks.attributes, "pairs": marks.pairs, "cosine": cosine}
