"""Where the words of a prompt are looked at: the weights of cross-attention as maps."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.latent import LatentDiffusion
from minidiff.nn import Attention


@torch.no_grad()
def attention_maps(model: LatentDiffusion, z: Tensor, t, ids: Tensor) -> Tensor:
    """Where each word is read as noisy codes z (B, latent, h, w) are denoised at t: (B, L, h, w), 1 in sum over words.

    softmax(q k^T / sqrt(d)) of the cross-attention, averaged over heads and layers, the coarse ones enlarged; padding
    gets 0. ids (B, L).
    """
    maps = []
    looks = [layer for layer in model.denoiser.net.modules() if isinstance(layer, Attention) and layer.context]
    handles = [
        look.register_forward_pre_hook(lambda *seen: maps.append(seen[0].weights(*seen[1]).mean(1))) for look in looks
    ]
    try:
        model.denoiser(z, t, ids)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([_enlarged(one, z.shape[2:]) for one in maps]).mean(0)


def _looks(layer: Attention, asked: tuple) -> Tensor:
    """The weights (B, P, L) that the layer, asked so, gives each word at each of P places, mean over its heads."""
    return layer.weights(*asked).mean(1)


def _enlarged(looks: Tensor, size) -> Tensor:
    """(B, P, L) on a coarser or the same grid of places -> (B, L, h, w)."""
    shrunk = round((size[0] * size[1] / looks.shape[1]) ** 0.5)
    return F.interpolate(looks.mT.unflatten(2, (size[0] // shrunk, size[1] // shrunk)), size=tuple(size))
