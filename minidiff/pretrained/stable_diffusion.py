"""Stable Diffusion 1.x and 2.x as published, in the course's own modules: a diffusers folder, or the original file."""

from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from minidiff.latent import LatentDiffusion
from minidiff.pretrained import names
from minidiff.pretrained.tokenizer import PublishedTokenizer, published
from minidiff.pretrained.weights import fill, from_file, in_folder, json_in, readable
from minidiff.schedule import from_betas
from minidiff.stable_diffusion import SCALE, scaled_linear, stable_diffusion
from minidiff.transformer import ACTIVATIONS

PREDICTS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
PIPELINES = tuple(f"StableDiffusion{kind}Pipeline" for kind in ("", "Img2Img", "Inpaint"))
CROSS, PLAIN = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
UNET = {"act_fn": "silu", "mid_block_type": "UNetMidBlock2DCrossAttn", "resnet_time_scale_shift": "default"}
UNET |= {"flip_sin_to_cos": True, "freq_shift": 0, "downsample_padding": 1, "mid_block_scale_factor": 1}
UNET |= {"norm_eps": 1e-5, "transformer_layers_per_block": 1, "center_input_sample": False, "encoder_hid_dim": None}
UNET |= {"addition_embed_type": None, "class_embed_type": None, "time_cond_proj_dim": None, "num_class_embeds": None}
UNET |= {"dual_cross_attention": False, "only_cross_attention": False}
UNET |= {"time_embedding_act_fn": None, "timestep_post_act": None}
KL = {"act_fn": "silu", "use_quant_conv": True, "use_post_quant_conv": True, "mid_block_add_attention": True}
KL |= {"shift_factor": None, "latents_mean": None, "latents_std": None}
OTHERS = {9: "a model for inpainting alone, which is shown the mask", 8: "a model for instructions, shown a picture"}
PREFIXES = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")  # U-Net, autoencoder, text tower
TOWERS = ("transformer.", "model.")  # CLIP's and OpenCLIP's, after the last of these
NO_LAYERS = ("position_ids", "text_projection", "text_projection.weight", "logit_scale")  # beside a text tower's
NO_TOKENIZER = (
    "holds weights alone, and no tokenizer. Put vocab.json and merges.txt, or tokenizer.json, of CLIP beside it, or "
    "name their folder: load(path, tokenizer=FOLDER)"
)


def from_diffusers(folder: Path, dtype: torch.dtype) -> LatentDiffusion:
    """The Stable Diffusion in a folder with text_encoder, tokenizer, unet, vae and scheduler, as `pretrained.load`."""
    if (kind := json_in(folder / "model_index.json").get("_class_name", PIPELINES[0])) not in PIPELINES:
        raise ValueError(f"{folder}: holds a {kind}, expected a {PIPELINES[0]}, of version 1.x or 2.x")
    model = _of_configs(folder)
    net, coder = model.denoiser.net, model.autoencoder
    weights = in_folder(folder / "unet", "diffusion_pytorch_model")
    fill(net, weights, _columns(names.unet(net), 1), folder / "unet", dtype, but="text.")
    weights = _of_today(in_folder(folder / "vae", "diffusion_pytorch_model"))
    fill(coder, weights, _columns(names.autoencoder(coder), 1), folder / "vae", dtype)
    weights = _tower(in_folder(folder / "text_encoder", "model"))
    fill(net.text, weights, _columns(names.text(net.text), 1), folder / "text_encoder", dtype)
    return model


def from_original(path: Path, dtype: torch.dtype, tokenizer=None, predict: str | None = None) -> LatentDiffusion:
    """The Stable Diffusion in the one file of its authors, as `pretrained.load`. Its sizes show in its shapes."""
    unet, coder, tower = (_under(from_file(path), prefix) for prefix in PREFIXES)
    if not (unet and coder and tower):
        raise ValueError(f"{path}: holds no Stable Diffusion, expected weights named {', '.join(PREFIXES)}")
    newer = any(name.startswith(TOWERS[1]) for name in tower)
    tower = _under(tower, TOWERS[newer])
    if newer and predict is None:
        told = "predict='v' for one of 768 pixels, 'eps' for one of 512"
        raise ValueError(f"{path}: does not say whether it predicts noise or velocity; load it with {told}")
    with readable(path):
        sizes = _sizes(path, unet, coder, tower, newer)
    model = _of_sizes(path, sizes, newer, tokenizer, predict)
    net = model.denoiser.net
    fill(net, unet, _columns(names.unet(net), 2), path, dtype, but="text.")
    fill(model.autoencoder, coder, _columns(names.autoencoder(model.autoencoder), 2), path, dtype)
    tower = _openclip(tower, net.text.layers) if newer else _tower(tower)
    fill(net.text, tower, _columns(names.text(net.text), 1 + newer), path, dtype)
    return model


def _of_configs(folder: Path) -> LatentDiffusion:
    """The model that a folder's configurations describe, without its weights."""
    config = {part: _config(folder / part) for part in ("unet", "vae", "text_encoder")}
    unet = _unet(folder / "unet", config["unet"])
    text = _text(folder / "text_encoder", config["text_encoder"])
    coder = _autoencoder(folder / "vae", config["vae"])
    tokenizer = PublishedTokenizer(folder / "tokenizer", text["length"])
    schedule, predict = _schedule(folder / "scheduler", _config(folder / "scheduler", "scheduler_config.json"))
    with readable(folder):
        size = config["unet"].get("sample_size", 64) * 2 ** (len(coder["widths"]) - 1)
        scale = config["vae"].get("scaling_factor", SCALE)
        return stable_diffusion(tokenizer, text, unet, coder, schedule, predict, size, scale, device="meta")


def _of_sizes(path: Path, sizes: dict, newer: bool, tokenizer, predict: str | None) -> LatentDiffusion:
    """The model of those sizes, without its weights, with the tokenizer from that folder or from beside it."""
    place = Path(tokenizer or path.parent)
    if not published(place):
        raise FileNotFoundError(f"{path}: {NO_TOKENIZER}")
    words = PublishedTokenizer(place, sizes["text"]["length"], padding="!" if newer else None)
    size = 768 if predict == "v" else 512
    with readable(path):
        return stable_diffusion(words, **sizes, predict=predict or "eps", size=size, device="meta")


def _columns(table, theirs: int) -> list[tuple[str, str]]:
    return [(row[0], row[theirs]) for row in table]


def _under(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _config(folder: Path, name: str = "config.json") -> dict:
    if not (config := json_in(folder / name)):
        raise FileNotFoundError(f"{folder / name}: missing, expected the whole folder as it is published")
    return config


def _require(folder: Path, config: dict, wanted: dict) -> None:
    """ValueError for what the course's modules do otherwise."""
    for key, value in wanted.items():
        if (found := config.get(key, value)) != value:
            raise ValueError(f"{folder}: config.json has {key} = {found!r:.60}, expected {value}")


def _unet(folder: Path, config: dict) -> dict:
    _require(folder, config, UNET)
    channels = config.get("in_channels", 4)
    _four(folder, channels)
    with readable(folder / "config.json"):
        kinds = config["down_block_types"]
        levels = range(len(kinds))
        if not set(kinds) <= {CROSS[0], PLAIN[0]}:
            raise ValueError(f"{folder}: down_block_types = {kinds}, expected {CROSS[0]} and {PLAIN[0]}")
        heads = config.get("num_attention_heads") or config["attention_head_dim"]  # the second name is an old mistake
        return {
            "channels": channels,
            "widths": config["block_out_channels"],
            "transformers": [level for level in levels if kinds[level] == CROSS[0]],
            "blocks": config.get("layers_per_block", 2),
            "heads": [heads for _ in levels] if isinstance(heads, int) else heads,
            "groups": config.get("norm_num_groups", 32),
        }


def _four(where: Path, channels: int) -> None:
    if channels in OTHERS:
        raise ValueError(f"{where}: has {channels} channels at its input, {OTHERS[channels]}; expected 4")


def _autoencoder(folder: Path, config: dict) -> dict:
    _require(folder, config, KL)
    with readable(folder / "config.json"):
        return {
            "channels": config.get("in_channels", 3),
            "latent": config.get("latent_channels", 4),
            "widths": config["block_out_channels"],
            "blocks": config.get("layers_per_block", 1),
            "groups": config.get("norm_num_groups", 32),
        }


def _text(folder: Path, config: dict) -> dict:
    with readable(folder / "config.json"):
        _require(folder, config, {"intermediate_size": 4 * config["hidden_size"]})
        activation = config.get("hidden_act", "quick_gelu")
        if activation not in ACTIVATIONS:
            raise ValueError(f"{folder}: hidden_act = {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        return {
            "vocabulary": config["vocab_size"],
            "width": config["hidden_size"],
            "layers": config["num_hidden_layers"],
            "heads": config["num_attention_heads"],
            "length": config.get("max_position_embeddings", 77),
            "end": config["vocab_size"] - 1,
            "activation": activation,
            "eps": config.get("layer_norm_eps", 1e-5),
        }


def _schedule(folder: Path, config: dict) -> tuple:
    """The schedule, and what the U-Net predicts."""
    _require(folder, config, {"rescale_betas_zero_snr": False, "trained_betas": None})
    kind = config.get("beta_schedule", "scaled_linear")
    with readable(folder / "scheduler_config.json"):
        range_and_steps = (config.get("beta_start", 0.00085), config.get("beta_end", 0.012))
        steps = config.get("num_train_timesteps", 1000)
        made = {
            "scaled_linear": lambda: scaled_linear(*range_and_steps, steps),
            "linear": lambda: from_betas(torch.linspace(*range_and_steps, steps, dtype=torch.float64)),
        }
        if kind not in made:
            raise ValueError(f"{folder}: beta_schedule = {kind!r}, expected one of {', '.join(made)}")
        return made[kind](), PREDICTS[config.get("prediction_type", "epsilon")]


def _of_today(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that diffusers gives an autoencoder's attention today, for those of 2022."""
    found = {}
    for name, weight in weights.items():
        front, _, rest = name.rpartition("attentions.0.")
        layer, _, kind = rest.partition(".")
        found[f"{front}attentions.0.{names.OF_2022[layer]}.{kind}" if layer in names.OF_2022 else name] = weight
    return found


def _tower(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A text tower's, with and without the prefix text_model, without what is no layer of it."""
    bare = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
    return {name: weight for name, weight in bare.items() if not name.endswith(NO_LAYERS)}


def _openclip(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """OpenCLIP's, queries, keys and values apart, without its last layer."""
    found = {}
    for name, weight in _tower(weights).items():
        front, fused, kind = name.partition("attn.in_proj_")
        if fused:
            parts = zip(("query", "key", "value"), weight.chunk(3))
            found |= {f"{front}attn.{part}.{kind}": rows for part, rows in parts}
        else:
            found["positional_embedding.weight" if name == "positional_embedding" else name] = weight
    return {name: weight for name, weight in found.items() if f".resblocks.{layers}." not in name}


def _sizes(path: Path, unet: dict, coder: dict, tower: dict, newer: bool) -> dict:
    """The arguments of the three networks, as the shapes of their weights say."""
    _four(path, unet["input_blocks.0.0.weight"].shape[1])
    steps = next(i for i in count() if not any(name.startswith(f"input_blocks.{i}.") for name in unet))
    levels = 1 + sum(f"input_blocks.{i}.0.op.weight" in unet for i in range(steps))
    blocks = steps // levels - 1
    last = [level * (blocks + 1) + blocks for level in range(levels)]  # the last residual block of each level
    widths = [len(unet[f"input_blocks.{i}.0.out_layers.3.weight"]) for i in last]
    heads = [max(1, width // 64) for width in widths] if newer else [8] * levels
    transformers = [level for level in range(levels) if f"input_blocks.{last[level]}.1.norm.weight" in unet]
    return {
        "unet": {"widths": widths, "transformers": transformers, "blocks": blocks, "heads": heads},
        "autoencoder": _sizes_of_autoencoder(coder),
        "text": _sizes_of_text(tower, newer),
    }


def _sizes_of_autoencoder(weights: dict) -> dict:
    levels = _count(weights, "encoder.down.{}.block.0.conv2.weight")
    widths = [len(weights[f"encoder.down.{level}.block.0.conv2.weight"]) for level in range(levels)]
    blocks = _count(weights, "encoder.down.0.block.{}.conv2.weight")
    return {"latent": len(weights["post_quant_conv.weight"]), "widths": widths, "blocks": blocks}


def _sizes_of_text(weights: dict, newer: bool) -> dict:
    weights = _tower(weights)
    table = weights["token_embedding.weight" if newer else "embeddings.token_embedding.weight"]
    layer = "transformer.resblocks.{}.ln_1.weight" if newer else "encoder.layers.{}.layer_norm1.weight"
    return {
        "vocabulary": len(table),
        "width": table.shape[1],
        "layers": _count(weights, layer) - newer,  # the last one of OpenCLIP's is left out
        "heads": max(1, table.shape[1] // 64),
        "length": len(weights["positional_embedding" if newer else "embeddings.position_embedding.weight"]),
        "end": len(table) - 1,
        "activation": "gelu" if newer else "quick_gelu",
    }


def _count(weights: dict, pattern: str) -> int:
    """How many there are of the names that the pattern makes of 0, 1, 2, ..."""
    return next(i for i in count() if pattern.format(i) not in weights)
