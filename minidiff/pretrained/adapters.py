"""Public LoRA files and learned words, as `Adapter`s for Stable Diffusion 1.x and 2.x; and ours as public ones.

A published LoRA has two thin matrices and, at times, an alpha for each layer that it changes, under one of these names:
kohya's scripts and LoCon, peft (with an alpha or without), and diffusers' own of 2023.
"""

import json
import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from minidiff.adapter import ROW, Adapter
from minidiff.latent import LatentDiffusion
from minidiff.pretrained import names
from minidiff.pretrained.weights import from_file, json_in, readable, refuse_pickles
from minidiff.stable_diffusion import UNetModel
from minidiff.support import expect, files

KINDS = {  # how a key ends -> what it is
    "down": r"[._](lora_down|lora_A|lora\.down|lora_linear_layer\.down)\.weight$",
    "up": r"[._](lora_up|lora_B|lora\.up|lora_linear_layer\.up)\.weight$",
    "alpha": r"\.(alpha|network_alpha)$",
}
SIDES = (  # how a key begins, where it says it
    ("text.", r"^(lora_te_|text_encoder[._])"),
    ("", r"^(lora_unet_|unet[._])"),
)
SIDE_NAMES = ("unet", "text_encoder")  # in what is told of alphas
REFUSED = {  # what is in a key of another kind of file -> what that is
    "hada_": "a LoHa, a product of two LoRAs number by number",
    "lokr_": "a LoKr, a Kronecker product of two matrices",
    "dora_scale": "a DoRA, which also changes the length of each row of a weight",
    "lora_magnitude_vector": "a DoRA, which also changes the length of each row of a weight",
    "lora_mid": "a LoCon in Tucker form, with a third matrix for each convolution",
    "oft_": "an OFT, which turns the weights",
    ".diff": "a whole difference of weights",
    "on_input": "an (IA)³, which scales what a layer is given",
    "lora_te1_": "a LoRA of Stable Diffusion XL, which has two text towers",
    "lora_te2_": "a LoRA of Stable Diffusion XL, which has two text towers",
    "text_encoder_2": "a LoRA of Stable Diffusion XL, which has two text towers",
    "lora_transformer_": "a LoRA of a diffusion transformer",
    "bundle_emb": "a LoRA with learned words in the same file",
}
HEADER = "lora_adapter_metadata"  # where diffusers' files have their alpha


def load_lora(path: str | Path, model: LatentDiffusion) -> Adapter:
    """The LoRA in a public .safetensors, or in a folder of peft's, for this Stable Diffusion.

    Each alpha is multiplied in. ValueError for a pickle, for another kind of file (LoHa, LoKr, DoRA, and such, by
    name), and for a key that is no layer of the model's: nothing in the file is passed over.
    """
    path = Path(path)
    config = json_in(path / "adapter_config.json") if path.is_dir() else {}
    path = path / "adapter_model.safetensors" if path.is_dir() else path
    refuse_pickles(path)
    given = from_file(path)
    with readable(path, " as a LoRA"):
        told = _header(path) | {f"{side}.{key}": value for side in SIDE_NAMES for key, value in config.items()}
    _refuse(path, given, told)
    layers = _named(path, given, _layers(path, model))
    with readable(path, " as a LoRA"):
        net = model.denoiser.net
        pairs = {name: _pair(name, parts, told, net) for name, parts in layers.items()}
        return Adapter("lora", "", _fused(pairs, net))


def load_word(path: str | Path, model: LatentDiffusion, word: str | None = None) -> Adapter:
    """A learned word, by textual inversion: diffusers' file, {word: vectors}, or one that calls them emb_params.

    word: what to call it; by default as the file does, or by the file's own name. ValueError for another file, and for
    vectors of another width than the model's.
    """
    path = Path(path)
    refuse_pickles(path)
    given = from_file(path)
    if len(given) != 1:
        kind = "a word of Stable Diffusion XL, with two towers" if "clip_g" in given else f"{len(given)} tensors"
        raise ValueError(f"{path}: holds {kind}, expected the vectors of one word")
    [(name, vectors)] = given.items()
    width = model.denoiser.net.text.width
    if vectors.shape[-1:] != (width,) or vectors.ndim > 2:
        raise ValueError(
            f"{path}: holds a vector of shape {tuple(vectors.shape)}, expected {width} numbers: another version?"
        )
    word = word or (path.stem if name == "emb_params" else name)
    return Adapter("textual inversion", word, {ROW: vectors.reshape(-1, width).float()})


def save_lora(adapter: Adapter, model: LatentDiffusion, path: str | Path) -> Path:
    """A LoRA for others to load: peft's names, as diffusers writes them, alpha / rank multiplied in. Returns the path.

    Its word is left out; `save_word` writes that. ValueError for another kind of adapter.
    """
    expect.choice("adapter.how", adapter.how, ["lora"])
    path, theirs = Path(path), {}
    for public, ours in _layers(path, model, dotted=True).items():
        layer, half = _half(ours)
        if f"{layer}.down" in adapter.weights:
            up = adapter.scale * adapter.weights[f"{layer}.up"]
            theirs[f"{public}.lora_A.weight"] = adapter.weights[f"{layer}.down"].detach().clone()
            theirs[f"{public}.lora_B.weight"] = (up if half is None else up.chunk(2)[half]).detach().clone()
    return _written(theirs, path)


def save_word(adapter: Adapter, path: str | Path) -> Path:
    """The new word's vectors for others to load: {word: vectors (n, D)}. Returns the path."""
    if not adapter.word:
        raise ValueError("adapter: got one without a word, expected one with")
    return _written({adapter.word: adapter.weights[ROW].detach().clone()}, Path(path))


def _written(weights: dict[str, Tensor], path: Path) -> Path:
    with files.whole(path) as file:
        file.write(save({name: weight.cpu().contiguous() for name, weight in weights.items()}, {"format": "pt"}))
    return path


def _refuse(path: Path, given: dict, told: dict) -> None:
    for sign, kind in REFUSED.items():
        if any(sign in name for name in given):
            raise ValueError(f"{path}: holds {kind}; expected a LoRA or a LoCon")
    if any(told.get(f"{side}.alpha_pattern") for side in SIDE_NAMES):
        raise ValueError(f"{path}: holds a LoRA with several alphas (alpha_pattern); expected one for all layers")
    if any(told.get(f"{side}.use_rslora") for side in SIDE_NAMES):
        raise ValueError(f"{path}: holds a LoRA scaled by the root of its rank (rslora); expected alpha / rank")


def _layers(path: Path, model: LatentDiffusion, dotted: bool = False) -> dict[str, str]:
    """Public name -> ours, of every layer that a LoRA may change: with dots, or with _ in place of each."""
    net = model.denoiser.net
    if not isinstance(net, UNetModel):
        raise ValueError(f"{path}: is for Stable Diffusion, got a model with a {type(net).__name__}")
    if dotted:
        unet = {f"unet.{diffusers}": ours for ours, diffusers, _ in names.unet(net)}
        return unet | {f"text_encoder.text_model.{theirs}": f"text.{ours}" for ours, theirs, _ in names.text(net.text)}
    found = {}
    for ours, diffusers, original in names.unet(net):
        found |= {_flat(diffusers): ours, _flat(original): ours}
    for ours, theirs, _ in names.text(net.text):
        old = re.sub(r"self_attn\.(q|k|v|out)_proj", r"self_attn.to_\1", theirs)  # as in 2023
        found |= {f"text.{_flat(name)}": f"text.{ours}" for name in (theirs, old)}
    return found


def _flat(name: str) -> str:
    return name.replace(".", "_").replace("to_out_0", "to_out").removeprefix("text_model_")


def _named(path: Path, given: dict[str, Tensor], layers: dict[str, str]) -> dict[str, dict[str, Tensor]]:
    """Our layer -> its down, up and alpha. ValueError for a key that is none of a layer here."""
    found = {}
    for key, weight in given.items():
        kind = next((kind for kind, ending in KINDS.items() if re.search(ending, key)), None)
        name = re.sub(KINDS[kind], "", key) if kind else key
        name = name.removeprefix("base_model.model.").replace(".processor", "")
        side = next((side for side, beginning in SIDES if re.search(beginning, name)), "")
        name = side + _flat(re.sub("|".join(beginning for _, beginning in SIDES), "", name))
        if kind is None or name not in layers:
            raise ValueError(f"{path}: {key} is of no layer here, expected a LoRA of Stable Diffusion of this version")
        found.setdefault(layers[name], {})[kind] = weight
    return found


def _header(path: Path) -> dict:
    """What diffusers notes in a file's header: "unet.lora_alpha" and such, {} in most."""
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {}).get(HEADER, "{}"))


def _pair(name: str, parts: dict[str, Tensor], alphas: dict, net: nn.Module) -> tuple[Tensor, Tensor]:
    """down and up of a layer in float32, alpha / rank multiplied in."""
    if "down" not in parts or "up" not in parts:
        raise ValueError(f"{name} has one of its two matrices, expected both")
    down, up = (parts[kind].float() for kind in ("down", "up"))
    alpha = parts.get("alpha", alphas.get(("text_encoder" if name.startswith("text.") else "unet") + ".lora_alpha"))
    if alpha is not None:
        up = up * (float(alpha) / len(down))
    layer = net.get_submodule(_half(name)[0])
    return (down, up) if isinstance(layer, nn.Conv2d) else (down.flatten(1), up.flatten(1))


def _half(name: str) -> tuple[str, int | None]:
    """The layer that a key or a value is half of here, and which; another layer itself, and None."""
    front, _, leaf = name.rpartition(".")
    if leaf not in ("key", "value"):
        return name, None
    return f"{front}.key_value", ("key", "value").index(leaf)


def _fused(pairs: dict[str, tuple[Tensor, Tensor]], net: nn.Module) -> dict[str, Tensor]:
    """The weights of an adapter: keys and values, two LoRAs there, are one of both ranks here."""
    downs, ups = {}, {}
    for name, (down, up) in pairs.items():
        layer, half = _half(name)
        if half is not None:
            up = torch.cat([up * (half == 0), up * (half == 1)])
        downs[layer] = torch.cat([downs[layer], down]) if layer in downs else down
        ups[layer] = torch.cat([ups[layer], up], 1) if layer in ups else up
    return {f"{name}.down": down for name, down in downs.items()} | {f"{name}.up": up for name, up in ups.items()}
