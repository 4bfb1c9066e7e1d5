"""Stable Diffusion as it is published, with random weights and tiny: diffusers' own pipelines, saved to folders."""

import json

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MERGES = ["t h", "th e</w>", "c a", "ca t</w>", "p h", "o f</w>", "d o", "o g"]
MARKS = ["<|startoftext|>", "<|endoftext|>"]
LENGTH = 12
UNET = {
    "sample_size": 8,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 128,
    "attention_head_dim": 8,
}
KL = {
    "block_out_channels": (32, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
}
TEXT = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
SCHEDULER |= {"steps_offset": 1, "set_alpha_to_one": False}  # the published default
LOUD = ("time_emb_proj", "attn2.to_out")  # what a random net hardly hears


def tables(folder):
    """Write a small tokenizer as OpenAI published CLIP's; returns the number of its ids."""
    folder.mkdir(parents=True, exist_ok=True)
    signs = [chr(b) for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]  # what a byte is written as
    signs += [chr(256 + i) for i in range(256 - len(signs))]
    pieces = [*signs, *(sign + "</w>" for sign in signs), *(pair.replace(" ", "") for pair in MERGES), *MARKS]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    return len(pieces)


def randomised(model: nn.Module) -> nn.Module:
    """Every weight at random, norms and biases too, so that each matters; the quiet layers eight times as loud."""
    for name, weight in model.named_parameters():
        spread = weight.shape[1:].numel() ** -0.5 if weight.ndim > 1 else 0.1
        nn.init.normal_(weight, 1.0 if "norm" in name and name.endswith("weight") else 0.0, spread)
        if any(part in name for part in LOUD):
            weight.data *= 8
    return model.eval()


def pipeline(folder, unet=None, text=None, **scheduler) -> StableDiffusionPipeline:
    """A tiny pipeline in the folder, as diffusers saves it. unet, text, scheduler: other than version 1.x's."""
    vocabulary = tables(folder / "tables")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tables", model_max_length=LENGTH)
    config = TEXT | {"vocab_size": vocabulary, "max_position_embeddings": LENGTH, "eos_token_id": vocabulary - 1}
    made = StableDiffusionPipeline(
        vae=randomised(AutoencoderKL(**KL)),
        text_encoder=randomised(CLIPTextModel(CLIPTextConfig(**config | (text or {})))),
        tokenizer=tokenizer,
        unet=randomised(UNet2DConditionModel(**UNET | (unet or {}))),
        scheduler=DDIMScheduler(**SCHEDULER | scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    made.save_pretrained(folder)
    return made


VERSION_2 = {
    "unet": {"attention_head_dim": (1, 2), "use_linear_projection": True},
    "text": {"hidden_act": "gelu"},
    "prediction_type": "v_prediction",
}
