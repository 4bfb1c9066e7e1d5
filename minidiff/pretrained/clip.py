"""Published weights in the course's own modules: `from_folder` reads a CLIP as transformers stores one. Lesson 11."""

from pathlib import Path

import torch
from torch import Tensor

from minidiff.clip import CLIP
from minidiff.pretrained.tokenizer import PublishedTokenizer, published
from minidiff.pretrained.weights import in_folder, json_in, readable
from minidiff.transformer import ACTIVATIONS, TextEncoder, VisionTransformer

CLIPS = " as a CLIP's"
ELSEWHERE = (
    "A CLIP is a folder with config.json and model.safetensors; one is published as openai/clip-vit-large-patch14 on "
    "huggingface.co (1.7 GB); download it where there is a network. `save_pretrained` of transformers makes one of any "
    "other CLIPModel"
)
TEXT = {"vocab_size": 49408, "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8}  # where unsaid
TEXT |= {"max_position_embeddings": 77, "eos_token_id": 2, "intermediate_size": 2048}
VISION = {"image_size": 224, "patch_size": 32, "hidden_size": 768, "num_hidden_layers": 12, "num_channels": 3}
VISION |= {"num_attention_heads": 12, "intermediate_size": 3072}
TOWER = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}  # of either
COLOURS = {  # mean and std of a picture in [0, 1], as CLIP was trained
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
NAMES = (  # parts of their names -> of ours, in this order
    ("text_model.embeddings.token_embedding", "text.token_embed"),
    ("text_model.embeddings.position_embedding.weight", "text.pos_embed"),
    ("text_model.final_layer_norm", "text.norm"),
    ("vision_model.embeddings.patch_embedding", "vision.patch_embed"),
    ("vision_model.embeddings.position_embedding.weight", "vision.pos_embed"),
    ("vision_model.embeddings.class_embedding", "vision.class_token"),
    ("vision_model.pre_layrnorm", "vision.pre_norm"),
    ("vision_model.post_layernorm", "vision.post_norm"),
    ("visual_projection", "image_projection"),
    ("_model.encoder.layers", ".blocks"),
    ("layer_norm", "norm"),
    ("self_attn.q_proj", "attention.query"),
    ("self_attn.k_proj", "attention.key"),
    ("self_attn.v_proj", "attention.value"),
    ("self_attn.out_proj", "attention.out"),
    ("mlp.", ""),
)


def from_folder(path) -> CLIP:
    """The CLIP in a folder with config.json and model.safetensors, such as openai/clip-vit-large-patch14, in eval mode.

    The weights may lie in shards or be a variant, model.fp16.safetensors; those stored in half become float32.
    It takes pictures in [-1, 1], as all of the course: the shift and scale of colours that such a CLIP expects
    (preprocessor_config.json or processor_config.json, else CLIP's own) are worked into its first layer. With
    tokenizer.json, or vocab.json and merges.txt, it has its tokenizer too. FileNotFoundError says what is missing and
    where it is published; nothing is downloaded. ValueError for half a CLIP, as Stable Diffusion's text encoder is, for
    another architecture than CLIP's and for a damaged file; each names the folder. No file is ever run.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder}: config.json missing. {ELSEWHERE}")
    config = json_in(folder / "config.json")
    if (kind := config.get("model_type", "clip")) != "clip":
        raise ValueError(f"{folder}: config.json describes a {kind}, expected clip: a whole CLIP, with both its towers")
    text = _sizes(folder, config, "text_config", TEXT)
    vision = _sizes(folder, config, "vision_config", VISION)
    with readable(folder / "config.json", CLIPS):
        model = _build(text, vision, config.get("projection_dim", 512))
    weights = _weights(folder)
    with readable(folder / "model.safetensors", CLIPS):
        model.load_state_dict(_renamed(weights))
    _take_plain_pictures(model, *_colours(folder, model.vision.channels))
    if published(folder):
        model.tokenizer = PublishedTokenizer(folder, model.text.length)
    return model.eval()


def _sizes(folder: Path, config: dict, name: str, unsaid: dict) -> dict:
    """The part `name` of the configuration; ValueError where it asks for what the course's modules do otherwise."""
    said = config.get(name, {})
    if not isinstance(said, dict):
        raise ValueError(f"{folder}: config.json has {name} = {said!r:.60}, expected a tower's sizes, by name")
    older = config.get(f"{name}_dict")  # what older versions of transformers wrote beside it, and obeyed before it
    sizes = unsaid | TOWER | said | (older if isinstance(older, dict) else {})
    if not isinstance(width := sizes["hidden_size"], int):
        raise ValueError(f"{folder}: {name} has hidden_size = {width!r:.60}, expected a whole number")
    if (inside := sizes["intermediate_size"]) != 4 * width:
        raise ValueError(f"{folder}: {name} has intermediate_size = {inside!r:.60}, expected {4 * width}")
    if (act := sizes["hidden_act"]) not in ACTIVATIONS:
        raise ValueError(f"{folder}: {name} has hidden_act = {act!r:.60}, expected {' or '.join(ACTIVATIONS)}")
    return sizes


def _weights(folder: Path) -> dict[str, Tensor]:
    try:
        weights = in_folder(folder, "model")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. {ELSEWHERE}") from None
    for tower in ("text_model", "vision_model"):
        if not any(name.startswith(f"{tower}.") for name in weights):
            raise ValueError(f"{folder}: half a CLIP, without a {tower}; expected a whole one, with both its towers")
    return weights


def _build(text: dict, vision: dict, width: int) -> CLIP:
    # Configs written before 2023 say 2 where they mean the last id: transformers reads them so, too.
    end = text["vocab_size"] - 1 if text["eos_token_id"] == 2 else text["eos_token_id"]
    sizes = (text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"])
    act = (text["hidden_act"], text["layer_norm_eps"])
    reader = TextEncoder(text["vocab_size"], *sizes, text["max_position_embeddings"], end, *act)
    sizes = (vision["hidden_size"], vision["num_hidden_layers"], vision["num_attention_heads"])
    act = (vision["hidden_act"], vision["layer_norm_eps"])
    viewer = VisionTransformer(vision["image_size"], vision["patch_size"], *sizes, vision["num_channels"], False, *act)
    return CLIP(viewer, reader, width)


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their weights under our names; keys and values, two layers there, are one here."""
    found = {}
    for name, weight in weights.items():
        for theirs, ours in NAMES:
            name = name.replace(theirs, ours)
        if not name.endswith("position_ids"):  # a table 0, 1, 2, ... in older files
            found[name] = weight.float()
    for name in [name for name in found if "attention.key." in name]:
        both = [found.pop(name), found.pop(name.replace("key.", "value."))]
        found[name.replace("key.", "key_value.")] = torch.cat(both)
    return found


def _colours(folder: Path, channels: int) -> list[Tensor]:
    """Mean and std (channels,) of pictures in [0, 1] that the CLIP in the folder was trained with."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        file = folder / "processor_config.json"  # as transformers writes it from its version 5 on
    said = json_in(file)
    said = COLOURS | said.get("image_processor", said)
    with readable(file, CLIPS):
        mean, std = (torch.tensor(said[name], dtype=torch.float32) for name in COLOURS)
        if not mean.shape == std.shape == (channels,) or not (std > 0).all():
            raise ValueError(f"image_mean {said['image_mean']}, image_std {said['image_std']}, for {channels} channels")
    return [mean, std]


def _take_plain_pictures(model: CLIP, mean: Tensor, std: Tensor) -> None:
    """Fold (x / 2 + 1 / 2 - mean) / std into the layer that reads patches, and its constant into their places."""
    vision = model.vision
    with torch.no_grad():
        constant = torch.einsum("wchk,c->w", vision.patch_embed.weight, (0.5 - mean) / std)
        vision.pos_embed[1:] += constant
        vision.patch_embed.weight *= (0.5 / std)[:, None, None]
