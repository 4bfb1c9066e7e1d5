"""Published weights in the course's own modules, and the tokenizers that belong to them."""

from pathlib import Path

import torch

from minidiff.clip import CLIP
from minidiff.latent import LatentDiffusion
from minidiff.pretrained.clip import from_folder
from minidiff.pretrained.stable_diffusion import from_diffusers, from_original
from minidiff.pretrained.tokenizer import PublishedTokenizer
from minidiff.pretrained.weights import refuse_pickles

__all__ = ["PublishedTokenizer", "from_folder", "load"]


def load(path, *, dtype=torch.float32, tokenizer=None, predict: str | None = None) -> LatentDiffusion | CLIP:
    """What was published at `path`, in eval mode on the CPU: Stable Diffusion 1.x or 2.x, or a CLIP.

    path: a diffusers folder of Stable Diffusion, its original single .safetensors, or a CLIP's folder (`from_folder`).
    dtype: of the weights; what is stored so stays on the disk until it is used. Half precision saves memory and, on
    nearly every CPU, costs many times the time. Give it here and not by `.to`: times and codes stay float32.
    tokenizer: for a single file, the folder of its tokenizer, unless that lies beside it. predict: "eps" or "v", for a
    single file of version 2.x, which does not say it.
    Nothing is downloaded (`python -m minidiff fetch` does that), and no file is run: .bin, .ckpt and .pt are refused.
    FileNotFoundError for what is missing, ValueError for another architecture and for what is damaged; each names it.
    """
    path = Path(path)
    if dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype: got {dtype}, expected torch.float32, bfloat16, float16 or float64")
    refuse_pickles(path)
    if path.is_file():
        return from_original(path, dtype, tokenizer, predict)
    if (path / "unet").is_dir() or (path / "model_index.json").is_file():
        return from_diffusers(path, dtype)
    return from_folder(path).to(dtype)
