"""Published weights in the course's own modules: `from_folder` reads a CLIP as transformers stores one. Lesson 10."""

import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from minidiff.clip import CLIP, VisionTransformer
from minidiff.text import TextEncoder, merge

NEEDED = ("config.json", "model.safetensors")
ELSEWHERE = (
    "A CLIP is a folder with both; one is published as openai/clip-vit-large-patch14 on huggingface.co (1.7 GB); "
    "download it where there is a network. `save_pretrained` of transformers makes one of any other CLIPModel"
)
TEXT = {"vocab_size": 49408, "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8}  # where unsaid
TEXT |= {"max_position_embeddings": 77, "eos_token_id": 2, "intermediate_size": 2048, "hidden_act": "quick_gelu"}
VISION = {"image_size": 224, "patch_size": 32, "hidden_size": 768, "num_hidden_layers": 12, "num_channels": 3}
VISION |= {"num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "quick_gelu"}
COLOURS = {  # mean and std of a picture in [0, 1], as CLIP was trained
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
NAMES = (  # parts of their names -> of ours, in this order
    ("text_model.embeddings.token_embedding", "text.word"),
    ("text_model.embeddings.position_embedding.weight", "text.place"),
    ("text_model.final_layer_norm", "text.norm"),
    ("vision_model.embeddings.patch_embedding", "vision.patches"),
    ("vision_model.embeddings.position_embedding.weight", "vision.place"),
    ("vision_model.embeddings.class_embedding", "vision.first"),
    ("vision_model.pre_layrnorm", "vision.norm1"),
    ("vision_model.post_layernorm", "vision.norm2"),
    ("visual_projection", "image_projection"),
    ("_model.encoder.layers", ".blocks"),
    ("layer_norm", "norm"),
    ("self_attn.q_proj", "attention.query"),
    ("self_attn.k_proj", "attention.key"),
    ("self_attn.v_proj", "attention.value"),
    ("self_attn.out_proj", "attention.out"),
    ("mlp.fc1", "wide"),
    ("mlp.fc2", "narrow"),
)


def from_folder(path) -> CLIP:
    """The CLIP in a folder with config.json and model.safetensors, such as openai/clip-vit-large-patch14, in eval mode.

    It takes pictures in [-1, 1], as all of the course: the shift and scale of colours that such a CLIP expects
    (preprocessor_config.json, else CLIP's own) are worked into its first layer. With vocab.json and merges.txt it has
    its tokenizer too. FileNotFoundError says what is missing and where it is published; nothing is downloaded.
    ValueError for another architecture than CLIP's and for a damaged file; no file is ever run.
    """
    folder = Path(path)
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: {' and '.join(missing)} missing. {ELSEWHERE}")
    config = _json(folder / "config.json")
    text, vision = TEXT | config.get("text_config", {}), VISION | config.get("vision_config", {})
    for part, said in (("text", text), ("vision", vision)):
        if said["hidden_act"] != "quick_gelu" or said["intermediate_size"] != 4 * said["hidden_size"]:
            found = f"{said['hidden_act']}, {said['intermediate_size']} inside {said['hidden_size']}"
            raise ValueError(f"{folder}: the {part} model has {found}; expected quick_gelu, 4 times as wide inside")
    model = _build(text, vision, config.get("projection_dim", 512))
    with _readable(folder / "model.safetensors") as file:
        model.load_state_dict(_renamed(safetensors.torch.load_file(file)))
    _take_plain_pictures(model, COLOURS | _json(folder / "preprocessor_config.json"))
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        model.tokenizer = PublishedTokenizer(folder, text["max_position_embeddings"])
    return model.eval()


@cache  # all of Unicode is looked through: when a text is first read, not at import
def _word() -> re.Pattern:
    """A word of CLIP's: one of its marks, an English ending, letters, one digit, or signs."""
    signs = map(chr, range(sys.maxunicode + 1))
    digit = r"\d" + "".join(sign for sign in signs if unicodedata.category(sign) in ("No", "Nl"))  # ², ½ and Ⅷ too
    marks, endings = r"<\|startoftext\|>|<\|endoftext\|>", "'s|'t|'re|'ve|'m|'ll|'d"
    return re.compile(rf"{marks}|{endings}|[^\W{digit}_]+|[{digit}]|(?:[^\s\w]|_)+")


class PublishedTokenizer:
    """CLIP's own byte-pair tokenizer, from its vocab.json and merges.txt: texts -> int64 (B, length).

    Like `text.Tokenizer`, but a word is marked at its end ("</w>"), and its table was made on the captions of the web.
    The same ids as transformers' CLIPTokenizer, padded with the end mark to `length`.
    """

    def __init__(self, folder: Path, length: int = 77):
        self.ids, self.length = _json(folder / "vocab.json"), length
        lines = (folder / "merges.txt").read_text("utf-8").splitlines()
        pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}
        # A byte is written as a printable sign: itself, or for those that are none a letter from 256 on.
        plain = [byte for byte in range(256) if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174]
        others = [byte for byte in range(256) if byte not in plain]
        self.signs = {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}

    def encode(self, text: str) -> list[int]:
        """The ids of one text with start and end, of any length; what the table lacks becomes the end mark."""
        pieces = [piece for word in _word().findall(" ".join(text.lower().split())) for piece in self._spell(word)]
        end = self.ids["<|endoftext|>"]
        return [self.ids["<|startoftext|>"], *(self.ids.get(piece, end) for piece in pieces), end]

    def __call__(self, texts: str | list[str]) -> Tensor:
        rows = [self.encode(text) for text in ([texts] if isinstance(texts, str) else texts)]
        if (most := max(map(len, rows))) > self.length:
            raise ValueError(f"texts: got one of {most} tokens with start and end, expected at most {self.length}")
        return torch.tensor([ids + ids[-1:] * (self.length - len(ids)) for ids in rows])

    def _spell(self, word: str) -> list[str]:
        *first, last = (self.signs[byte] for byte in word.encode("utf-8", "replace"))
        pieces = [*first, last + "</w>"]
        while known := [pair for pair in pairwise(pieces) if pair in self.ranks]:
            pair = min(known, key=self.ranks.get)
            pieces = merge(pieces, pair, "".join(pair))
        return pieces


def _build(text: dict, vision: dict, width: int) -> CLIP:
    # Configs written before 2023 say 2 where they mean the last id: transformers reads them so, too.
    end = text["vocab_size"] - 1 if text["eos_token_id"] == 2 else text["eos_token_id"]
    sizes = (text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"])
    reader = TextEncoder(text["vocab_size"], *sizes, text["max_position_embeddings"], end)
    sizes = (vision["hidden_size"], vision["num_hidden_layers"], vision["num_attention_heads"])
    viewer = VisionTransformer(vision["image_size"], vision["patch_size"], *sizes, vision["num_channels"])
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


def _take_plain_pictures(model: CLIP, colours: dict) -> None:
    """Fold (x / 2 + 1 / 2 - mean) / std into the layer that reads patches, and its constant into their places."""
    vision, (mean, std) = model.vision, (torch.tensor(colours[name]) for name in ("image_mean", "image_std"))
    with torch.no_grad():
        constant = torch.einsum("wchk,c->w", vision.patches.weight, (0.5 - mean) / std)
        vision.place[1:] += constant
        vision.patches.weight *= (0.5 / std)[:, None, None]


def _json(path: Path) -> dict:
    if not path.is_file():
        return {}
    with _readable(path):
        if not isinstance(found := json.loads(path.read_text("utf-8")), dict):
            raise ValueError(f"holds a {type(found).__name__}, expected names with values")
    return found


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    try:
        yield path
    except (OSError, ValueError, KeyError, RuntimeError, RecursionError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as a CLIP's ({error}); download it again") from error
