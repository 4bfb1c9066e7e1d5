"""Lesson 15: small changes to a trained model that are kept beside it: a new word, LoRA, hypernetworks, differences.

An `Adapter` is a file of kilobytes. `worn` puts it on a model for as long as a block lasts, at any strength; several
are nested. `merged` is a new model with the change in its weights. `personalize.tune` trains one.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.func import functional_call

from minidiff.latent import LatentDiffusion
from minidiff.support import expect, files
from minidiff.support.parts import part
from minidiff.support.words import unknown_words

HOWS = ("textual inversion", "dreambooth", "lora", "hypernetwork")
ROW = "word"  # the name of the new word's vector among an adapter's weights
TABLE = "text.token_embed"  # the table of word vectors in a network
NAME = re.compile(r"\S+")  # of a new word
FORMAT = "minidiff adapter"


@dataclass
class Adapter:
    """What was learned of one thing, by one of HOWS. word: what it is called, "" where there is none.

    weights: by the names of the network's layers; "word" are the new word's vectors (n, D). settings: a LoRA's rank and
    alpha.
    """

    how: str
    word: str
    weights: dict[str, Tensor]
    settings: dict = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """alpha / rank of a LoRA, else 1."""
        return self.settings.get("alpha", 1) / self.settings.get("rank", 1)

    def numbers(self) -> int:
        """How many numbers it holds."""
        return sum(weight.numel() for weight in self.weights.values())

    def save(self, path: str | Path) -> Path:
        """One .safetensors, written whole or not at all. Returns its path."""
        path = _path(path)
        told = json.dumps({"how": self.how, "word": self.word, "settings": self.settings})
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.weights.items()}
        with files.whole(path) as file:
            file.write(save(weights, {FORMAT: told}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Adapter":
        """What `save` wrote. ValueError for another file, FileNotFoundError for none."""
        path = _path(path)
        try:
            with safe_open(path, "pt") as file:
                told = json.loads((file.metadata() or {})[FORMAT])
                return cls(
                    told["how"], told["word"], {name: file.get_tensor(name) for name in file.keys()}, told["settings"]
                )
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            told = "a published LoRA is read by minidiff.pretrained.adapters"
            raise ValueError(f"{path}: holds no adapter of the course's ({error!s:.100}); {told}") from error


@part
class WithWord:
    """A tokenizer that knows one more word, as new ids behind those it had: texts -> int64 (B, length).

    A text is split at the new word, and what stands around it is read by `base` as before: no id of any other text
    changes. word: without spaces; capitals do not matter. count: how many ids, and so vectors, it stands for.
    """

    def __init__(self, base, word: str, count: int = 1):
        self.base, self.word = base, _new_word(base, word)
        self.count = expect.integer("count", count, 1)
        self.length = base.length
        self.new = list(range(base.vocabulary, base.vocabulary + count))  # the word's ids
        self.vocabulary = base.vocabulary + count

    def encode(self, text: str) -> list[int]:
        """The ids of one text with start and end, of any length."""
        start, *_, end = self.base.encode("")
        before, *others = [self.base.encode(piece)[1:-1] for piece in self._around(text)]
        return [start, *before, *(token for piece in others for token in [*self.new, *piece]), end]

    def __call__(self, texts: str | list[str]) -> Tensor:
        """A row of ids a text, filled up with padding. ValueError for one that does not fit."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        rows = self.base([text if len(self._around(text)) == 1 else "" for text in texts])
        for row, text in zip(rows, texts):
            if len(self._around(text)) > 1:
                ids = self.encode(text)
                if len(ids) > self.length:
                    raise ValueError(f"texts: got {text!r:.60}, {len(ids)} tokens, expected at most {self.length}")
                row[: len(ids)] = torch.tensor(ids)
        return rows

    def unknown(self, texts: str | list[str]) -> list[str]:
        """The words that the base leaves out, which the new one is not."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        return unknown_words(self.base, [" ".join(self._around(text)) for text in texts])

    def _around(self, text: str) -> list[str]:
        """The pieces of a text between the places where the word stands."""
        if not isinstance(text, str):
            raise TypeError(f"text: got {type(text).__name__}, expected a str")
        return re.split(rf"(?<![\w-]){re.escape(self.word)}(?![\w-])", text, flags=re.IGNORECASE)


def _new_word(base, word: str) -> str:
    if not isinstance(word, str) or not NAME.fullmatch(word):
        raise ValueError(f"word: got {word!r:.60}, expected letters and digits without spaces, such as 'zib'")
    known = getattr(base, "words", None) is not None and not base.unknown(word)
    if known or isinstance(base, WithWord) and word.lower() == base.word:
        raise ValueError(f"word: got {word!r}, which the model knows already, expected a new one")
    return word.lower()


class NewWord(nn.Module):
    """A table of word vectors with n rows more: ids (B, L) -> (B, L, width). The rows of `layer` stay as they are."""

    def __init__(self, layer: nn.Module, row: Tensor):
        super().__init__()
        self.layer = layer
        self.row = nn.Parameter(expect.tensor("row", row, f"n {layer.weight.shape[1]}"))

    @property
    def weight(self) -> Tensor:
        return torch.cat([self.layer.weight, self.row])

    @property
    def num_embeddings(self) -> int:
        return self.layer.num_embeddings + len(self.row)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class LoRA(nn.Module):
    """layer(x) + scale up(down(x)), a linear layer or a convolution with a change of low rank (2106.09685, eq. 3).

    down (rank, in) is random at first and up (out, rank) zero, so that a new LoRA changes nothing. scale is
    alpha / rank times the strength. Of a convolution, down (rank, in, k, k) has its kernel and up (out, rank, 1, 1) one
    of a single pixel, as LoCon has it. ValueError or TypeError for other shapes, and for two dtypes.
    """

    def __init__(self, layer: nn.Module, down: Tensor, up: Tensor, scale: float = 1.0):
        super().__init__()
        if not isinstance(getattr(layer, "weight", None), Tensor):
            raise TypeError(f"layer: got {type(layer).__name__}, expected a linear layer or a convolution")
        outside, *inside = layer.weight.shape
        expect.tensor("down", down, " ".join(["rank", *map(str, inside)]), like=layer.weight)
        expect.tensor("up", up, " ".join([str(outside), str(len(down)), *"1" * (len(inside) - 1)]), like=down)
        self.layer, self.scale = layer, expect.number("scale", scale)
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    @property
    def weight(self) -> Tensor:
        return self.layer.weight

    def forward(self, x: Tensor, *told: Tensor) -> Tensor:
        """told: what a step of `UNetModel` is given besides x."""
        return self.layer(x, *told) + self.scale * self._thin(x)

    def change(self) -> Tensor:
        """up down, of the weight's shape: what W gains at scale 1."""
        return (self.up.flatten(1) @ self.down.flatten(1)).reshape(len(self.up), *self.down.shape[1:])

    def _thin(self, x: Tensor) -> Tensor:
        if self.down.ndim == 2:
            return F.linear(F.linear(x, self.down), self.up)
        weights = {"weight": self.down}
        if bare(self.layer).bias is not None:
            weights["bias"] = self.down.new_zeros(len(self.down))
        return F.conv2d(
            functional_call(bare(self.layer), weights, x), self.up
        )  # strides and enlarging as the layer has them


class HyperNetwork(nn.Module):
    """Keys and values of words that two small networks have changed first: x + net(x), one for each of the two.

    layer: the fused `Attention.key_value`. nets: of keys and of values. Their last layers begin at zero.
    """

    def __init__(self, layer: nn.Module, nets: nn.ModuleList, strength: float = 1.0):
        super().__init__()
        self.layer, self.nets, self.strength = layer, nets, strength

    @property
    def weight(self) -> Tensor:
        return self.layer.weight

    def forward(self, words: Tensor) -> Tensor:
        """(B, L, context) -> (B, L, 2 channels)."""
        key, value = (self.layer(words + self.strength * net(words)) for net in self.nets)
        return torch.cat([key.chunk(2, 2)[0], value.chunk(2, 2)[1]], 2)


@contextmanager
def worn(model: LatentDiffusion, adapter: Adapter, strength: float = 1.0) -> Iterator[LatentDiffusion]:
    """Inside, the model itself with the adapter on; afterwards it is what it was, bit for bit.

    strength: of all changes but the new word's vector; at 0 only the word is known. Several are nested: the second is
    put on over the first. ValueError for an adapter of another model.
    """
    undo = _put_on(model, adapter, expect.number("strength", strength))
    try:
        yield model
    finally:
        for step in reversed(undo):
            step()


def merged(model: LatentDiffusion, adapter: Adapter, strength: float = 1.0) -> LatentDiffusion:
    """A new model with the adapter in its weights: as fast as before, and to be saved as any model.

    ValueError for a hypernetwork, which is no change of weights.
    """
    if adapter.how == "hypernetwork":
        raise ValueError("adapter: got a hypernetwork, expected one that changes weights: its networks stay in front")
    model = copy.deepcopy(model)
    _put_on(model, adapter, expect.number("strength", strength))
    net = model.denoiser.net
    for name, layer in list(net.named_modules()):
        if isinstance(layer, LoRA):
            _swap(net, name, _folded(layer))
        elif isinstance(layer, NewWord):
            _swap(net, name, nn.Embedding.from_pretrained(layer.weight.detach().clone(), freeze=False))
            net.text.vocabulary = layer.num_embeddings
    return model


def _folded(layer: LoRA) -> nn.Module:
    with torch.no_grad():
        layer.layer.weight += layer.scale * layer.change()
    return layer.layer


def _put_on(model: LatentDiffusion, adapter: Adapter, strength: float) -> list[Callable]:
    """Put it on; returns what takes it off again, in the order in which it was put on."""
    net, undo = model.denoiser.net, []
    try:
        if adapter.word:
            undo.append(partial(setattr, model, "tokenizer", model.tokenizer))
            model.tokenizer = WithWord(model.tokenizer, adapter.word, len(adapter.weights[ROW]))
            undo.append(_swap(net, TABLE, NewWord(net.get_submodule(TABLE), adapter.weights[ROW])))
        for name, make in _changes(net, adapter, strength).items():
            undo.append(make(name))
        return undo
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        for step in reversed(undo):
            step()
        raise ValueError(f"adapter: got one that does not fit this model ({error!s:.150})") from error


def _changes(net: nn.Module, adapter: Adapter, strength: float) -> dict[str, Callable]:
    """Layer or weight -> what changes it there."""
    names = [name for name in adapter.weights if name != ROW]
    if adapter.how == "dreambooth":
        return {name: partial(_add, net, strength * adapter.weights[name]) for name in names}
    if adapter.how == "lora":
        make = partial(_lora, net, adapter, strength)
        return {name.removesuffix(".down"): make for name in names if name.endswith(".down")}
    make = partial(_hyper, net, adapter, strength)
    return {name.partition(".key_value")[0] + ".key_value": make for name in names}


def _swap(net: nn.Module, name: str, new: nn.Module) -> Callable:
    """Put `new` in the place of a layer; returns what brings the old one back."""
    where, _, leaf = name.rpartition(".")
    place, old = net.get_submodule(where), net.get_submodule(name)
    setattr(place, leaf, new)
    return partial(setattr, place, leaf, old)


def _add(net: nn.Module, change: Tensor, name: str) -> Callable:
    """A weight and its change; returns what brings the old one back, the same numbers and not a difference."""
    where, _, leaf = name.rpartition(".")
    weight = getattr(bare(net.get_submodule(where)), leaf)
    old = weight.data
    weight.data = old + expect.alike("change", change.to(old), name, old)
    return partial(setattr, weight, "data", old)


def _lora(net: nn.Module, adapter: Adapter, strength: float, name: str) -> Callable:
    down, up = (adapter.weights[f"{name}.{part}"] for part in ("down", "up"))
    return _swap(net, name, LoRA(net.get_submodule(name), down, up, strength * adapter.scale))


def _hyper(net: nn.Module, adapter: Adapter, strength: float, name: str) -> Callable:
    layer = net.get_submodule(name)
    nets = small_networks(layer.weight.shape[1])
    nets.load_state_dict({key: adapter.weights[f"{name}.{key}"] for key in nets.state_dict()}, assign=True)
    return _swap(net, name, HyperNetwork(layer, nets, strength))


def small_networks(width: int) -> nn.ModuleList:
    """A hypernetwork's two for words (B, L, width): of the keys and of the values, their last layers zero."""
    expect.integer("width", width, 1)
    nets = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(2))
    for net in nets:
        nn.init.zeros_(net[-1].weight)
        nn.init.zeros_(net[-1].bias)
    return nets


def bare(layer: nn.Module) -> nn.Module:
    """A layer without what was put on it."""
    while isinstance(layer, NewWord | LoRA | HyperNetwork):
        layer = layer.layer
    return layer


def _path(path: str | Path) -> Path:
    if not isinstance(path, str | Path) or Path(path).suffix != ".safetensors":
        raise ValueError(f"path: got {path!r:.60}, expected the name of a .safetensors")
    return Path(path)
