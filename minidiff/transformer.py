"""Words for networks: a byte-pair tokenizer and the modules that make its ids into vectors. Lessons 09 to 11.

`WordEmbedding` looks each word up by itself; `TextEncoder`, CLIP's, lets a word read what stands before it. Either is
a text module for `UNet(text=...)`: ids (B, L) -> (B, L, width), with its `width`. `LanguageModel` goes on writing;
`VisionTransformer` reads a picture as a sentence of patches.
"""

import math
import re
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.nn import Attention, time_mlp
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.words import understood, vocabulary

PADDING, START, END, BYTES = 0, 1, 2, 3  # ids: three marks, then the 256 bytes, then one for each merge
WORD = re.compile(r" ?\w+| ?[^\w\s]+")  # a run of letters and digits, or of signs, with the space before it
ACTIVATIONS = {"quick_gelu": lambda h: h * torch.sigmoid(1.702 * h), "gelu": F.gelu}


@part
class Tokenizer:
    """Text -> ids and back, by byte-pair encoding: what often stands together is one token, anything else is spelled.

    A text is lower-cased and its white space reduced to single spaces; it is split into words, each with the space
    before it (a first one too), and no token reaches over a word's end. Each word starts as its UTF-8 bytes, and pairs
    of neighbours are merged in the order in which training found them. So nothing is ever unknown: a new word, or
    another script, becomes bytes, which a model may never have met. For such a model there is `words`, those that its
    training showed: of a text then only they are read, `unknown` names the others, and punctuation does not matter.
    skip: words such as "a" that a text may begin with and that say nothing there, where training's do not.

    ids: 0 padding, 1 start, 2 end, 3 to 258 the bytes, then merge after merge. merges: the pairs of ids. length: ids
    in a row, start and end included. Source: Sennrich et al. 2016 (1508.07909); on bytes as in CLIP (2103.00020).
    """

    def __init__(self, merges, length: int = 24, words: list[str] | None = None, skip: list[str] | None = None):
        self.merges = [(expect.integer("merges", a, BYTES), expect.integer("merges", b, BYTES)) for a, b in merges]
        self.length = expect.integer("length", length, 2)
        self.words = words if words is None else sorted(_texts(words))
        self.known = vocabulary(self.words or [])
        self.skip = skip
        self.vocabulary = BYTES + 256 + len(self.merges)  # how many ids there are
        self.ranks = {pair: BYTES + 256 + i for i, pair in enumerate(self.merges)}  # a pair -> the id that it becomes
        self.pieces = [b""] * BYTES + [bytes([byte]) for byte in range(256)]  # an id -> the bytes it stands for
        for a, b in self.merges:
            if max(a, b) >= len(self.pieces):
                raise ValueError(f"merges: got {(a, b)}, expected ids of bytes and of merges before it")
            self.pieces.append(self.pieces[a] + self.pieces[b])

    @classmethod
    def train(cls, texts, vocabulary: int = 512, length: int = 24) -> "Tokenizer":
        """Merge the most frequent pair of neighbours in `texts`, again and again, up to `vocabulary` ids.

        It ends sooner where each word is one token. Of equally frequent pairs the one of smaller ids is taken.
        """
        vocabulary = expect.integer("vocabulary", vocabulary, BYTES + 256)
        counts = Counter(word for text in _texts(texts) for word in words(text))  # each word is looked at once
        spelled = {word: _bytes(word) for word in counts}
        pairs, places = Counter(), defaultdict(set)  # how often a pair stands in the texts, and in which words
        for word in spelled:
            _count(pairs, places, spelled[word], word, counts[word])
        merges = []
        while pairs and len(merges) < vocabulary - BYTES - 256:
            merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
            new = BYTES + 255 + len(merges)
            for word in places.pop(merges[-1]):
                _count(pairs, places, spelled[word], word, -counts[word])
                spelled[word] = merge(spelled[word], merges[-1], new)
                _count(pairs, places, spelled[word], word, counts[word])
        return cls(merges, length)

    def encode(self, text: str) -> list[int]:
        """The ids of one text, start and end with them, of any length."""
        if not isinstance(text, str):
            raise TypeError(f"text: got {type(text).__name__}, expected a str")
        if self.words is not None:
            text = " ".join(understood(text, self.known, self.skip)[0])
        return [START, *(token for word in words(text) for token in _spell(self, word)), END]

    def knowing(self, texts, skip: list[str] | None = None) -> "Tokenizer":
        """The same tokenizer for a model that is trained on these texts: with their words as its `words`."""
        seen = {word for text in _texts(texts) for word in text.lower().split()}
        return Tokenizer(self.merges, self.length, sorted(seen), skip)

    def unknown(self, texts: str | list[str]) -> list[str]:
        """The words of one or more texts that are left out, as its `words` lack them, each once; [] without `words`."""
        if self.words is None:
            return []
        return list(
            dict.fromkeys(word for text in _texts(texts) for word in understood(text, self.known, self.skip)[1])
        )

    def decode(self, ids) -> str:
        """The text of ids, a list or a tensor (L,): what `encode` was given, lower-cased with single spaces.

        Marks are left out. Bytes that are no UTF-8, as a model may write, show as the replacement sign.
        """
        ids = [expect.integer("ids", token, 0, self.vocabulary - 1) for token in ids]
        return b"".join(self.pieces[token] for token in ids).decode("utf-8", "replace").removeprefix(" ")

    def __call__(self, texts: str | list[str]) -> Tensor:
        """int64 (B, length), a row of ids a text, filled up with padding. ValueError for a text that does not fit.

        The empty text is start and end alone: what the course's models take for "no text".
        """
        rows = [(text, self.encode(text)) for text in _texts(texts)]
        for text, ids in rows:
            if len(ids) > self.length:
                shown = text if len(text) <= 60 else text[:57] + "..."
                count = f"{len(ids)} tokens with start and end"
                raise ValueError(f"texts: got {shown!r}, {count}, expected at most {self.length}")
        rows = [ids + [PADDING] * (self.length - len(ids)) for _, ids in rows]
        return torch.tensor(rows, device="cpu")  # whatever the default device, so under "meta" too

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text as they read, without start and end: for looking at."""
        return [self.pieces[token].decode("utf-8", "replace") for token in self.encode(text)[1:-1]]


def words(text: str) -> list[str]:
    """The words of a text, lower-cased, each with a space before it where one stands (the first has one too)."""
    return WORD.findall(" " + " ".join(text.lower().split()))


def merge(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """`ids` with each occurrence of the pair, from the left, replaced by the id `new`."""
    merged, i = [], 0
    while i < len(ids):
        found = tuple(ids[i : i + 2]) == pair
        merged.append(new if found else ids[i])
        i += 2 if found else 1
    return merged


def _count(pairs: Counter, places: dict, ids: list[int], word: str, times: int) -> None:
    """Count the pairs of a word that stands in the texts so many times; with a negative number, count them no more."""
    for pair in pairwise(ids):
        pairs[pair] += times
        if pairs[pair] == 0:
            del pairs[pair]
        if times > 0:
            places[pair].add(word)


@lru_cache(maxsize=10_000)
def _spell(tokenizer: Tokenizer, word: str) -> list[int]:
    """The ids of a word: of its pairs, the one that training found first is merged first."""
    ids = _bytes(word)
    while known := [pair for pair in pairwise(ids) if pair in tokenizer.ranks]:
        first = min(known, key=tokenizer.ranks.get)
        ids = merge(ids, first, tokenizer.ranks[first])
    return ids


def _bytes(word: str) -> list[int]:
    return [BYTES + byte for byte in word.encode("utf-8", "replace")]  # half a surrogate pair becomes "?"


def _texts(texts) -> list[str]:
    texts = list(texts) if hasattr(texts, "__iter__") and not isinstance(texts, str | bytes) else [texts]
    if not texts or not all(isinstance(text, str) for text in texts):
        kinds = ", ".join(sorted({type(text).__name__ for text in texts})) or "none"
        raise (TypeError if texts else ValueError)(f"texts: got {kinds}, expected at least one str")
    return texts


class Block(nn.Module):
    """A transformer's layer, as in CLIP: x (B, L, width) + attention, then + a small network for each token alone.

    Both read a normalised x ("pre-norm"), so the sum itself runs through from the first layer to the last. The small
    network is 4 times as wide inside, with the quick GELU x sigmoid(1.702 x), or "gelu", the exact one, as OpenCLIP has
    it. Source: CLIP's code (2103.00020).
    """

    def __init__(self, width: int, heads: int, causal=False, activation="quick_gelu", eps: float = 1e-5):
        super().__init__()
        self.activation = expect.choice("activation", activation, ACTIVATIONS)
        self.norm1 = nn.LayerNorm(width, eps)
        self.attention = Attention(width, heads, causal=causal, bias=True)
        self.norm2 = nn.LayerNorm(width, eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(ACTIVATIONS[self.activation](self.fc1(self.norm2(x))))


@part
class WordEmbedding(nn.Module):
    """Each word by itself: ids (B, L) -> (B, L, width), a vector for the word plus one for its place.

    Source: the simplest of the conditions of latent diffusion (2112.10752, section 3.3), learned with the denoiser.
    """

    def __init__(self, vocabulary: int, width: int = 64, length: int = 24):
        super().__init__()
        self.vocabulary = expect.integer("vocabulary", vocabulary, 1)
        self.width = expect.integer("width", width, 1)
        self.length = expect.integer("length", length, 1)
        self.token_embed = nn.Embedding(vocabulary, width)
        self.pos_embed = nn.Parameter(torch.zeros(length, width))
        nn.init.normal_(self.pos_embed, std=0.1)

    def forward(self, ids: Tensor) -> Tensor:
        _check_ids(ids, self.token_embed.num_embeddings, len(self.pos_embed))
        return self.token_embed(ids) + self.pos_embed[: ids.shape[1]]


@part
class TextEncoder(nn.Module):
    """CLIP's text tower: ids (B, L) -> (B, L, width), each token in the light of those before it.

    Words and places as vectors, `layers` blocks with a causal mask, a last norm. Padding stands behind the end, where
    no word looks. end: the id that ends a text. activation: of its blocks, "quick_gelu" or "gelu". eps: of its norms.
    Source: CLIP (2103.00020), section 2.4; the same as transformers' CLIPTextModel on the same weights.
    """

    def __init__(
        self, vocabulary: int, width=64, layers=2, heads=2, length=24, end=END, activation="quick_gelu", eps=1e-5
    ):
        super().__init__()
        self.vocabulary = expect.integer("vocabulary", vocabulary, 1)
        self.width = expect.integer("width", width, 1)
        self.layers = expect.integer("layers", layers, 1)
        self.heads = expect.integer("heads", heads, 1)
        self.length = expect.integer("length", length, 2)
        self.end = expect.integer("end", end, 0, vocabulary - 1)
        self.activation = expect.choice("activation", activation, ACTIVATIONS)
        self.eps = expect.number("eps", eps, 0)
        self.token_embed = nn.Embedding(vocabulary, width)
        self.pos_embed = nn.Parameter(torch.zeros(length, width))
        nn.init.normal_(self.token_embed.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.01)
        self.blocks = nn.Sequential(*(Block(width, heads, True, activation, eps) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, ids: Tensor) -> Tensor:
        _check_ids(ids, self.token_embed.num_embeddings, len(self.pos_embed))
        return self.norm(self.blocks(self.token_embed(ids) + self.pos_embed[: ids.shape[1]]))

    def pooled(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, width), a text as one vector: what stands at its end, the one token that has read all of it."""
        h = self(ids)
        ends = ids == self.end
        if not ends.any(1).all():
            raise ValueError(f"ids: got a row without the id {self.end} that ends a text, expected one in each")
        return h[torch.arange(len(ids), device=ids.device), ends.int().argmax(1)]  # the first, where there are more


class LanguageModel(nn.Module):
    """Which token comes next? ids (B, L) -> logits (B, L, vocabulary): those at place i are for the token at i + 1.

    The text tower above, read out by a linear layer. Whatever stands at i has seen tokens 0 ... i and no more, so one
    pass asks at all places at once. `loss` is what `fit` trains. Source: Radford et al. 2018, "Improving Language
    Understanding by Generative Pre-Training", section 3.1.
    """

    def __init__(self, vocabulary: int, width=64, layers=2, heads=4, length: int = 24):
        super().__init__()
        self.text = TextEncoder(vocabulary, width, layers, heads, length)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.text(ids))

    def nats(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B,): -log p(text), the sum over its tokens after the start, its end included, padding not."""
        ids = expect.integers("ids", ids, "B L")
        logits = self(ids[:, :-1]).transpose(1, 2)  # (B, vocabulary, L - 1)
        return F.cross_entropy(logits, ids[:, 1:], ignore_index=PADDING, reduction="none").sum(1)

    def loss(self, ids: Tensor) -> Tensor:
        return self.nats(ids).mean()

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """ids (n, length) of texts drawn token by token, padding behind the end; without one where it ran too long."""
        ids = torch.full((expect.integer("n", n, 1), 1), START)
        over = torch.zeros(n, dtype=torch.bool)
        for _ in range(self.text.length - 1):
            drawn = self(ids)[:, -1].softmax(1).multinomial(1, generator=generator)
            ids = torch.cat([ids, drawn.masked_fill(over[:, None], PADDING)], dim=1)
            over = over | (ids[:, -1] == END)
        return ids


@part
class VisionTransformer(nn.Module):
    """A picture as a sentence of patches: (B, channels, size, size) -> (B, width), one vector a picture.

    Each patch x patch square becomes a token by one linear layer; a learned token in front, the class token, reads all
    of them, layer by layer, and its last state is the answer. time=True: a net that is also told t () or (B,).
    Source: Dosovitskiy et al. 2021 (2010.11929), fig. 1, with CLIP's norms before and after the blocks: the same as
    the vision model of transformers' CLIPModel on the same weights.
    """

    def __init__(
        self, size, patch, width=64, layers=4, heads=2, channels=3, time=False, activation="quick_gelu", eps=1e-5
    ):
        super().__init__()
        self.size = expect.integer("size", size, 1)
        self.patch = expect.integer("patch", patch, 1)
        if size % patch:
            raise ValueError(f"patch: got {patch}, expected a divisor of size = {size}")
        self.width = expect.integer("width", width, 1)
        self.layers = expect.integer("layers", layers, 1)
        self.heads = expect.integer("heads", heads, 1)
        self.channels = expect.integer("channels", channels, 1)
        self.time = expect.choice("time", time, (False, True))
        self.activation = expect.choice("activation", activation, ACTIVATIONS)
        self.eps = expect.number("eps", eps, 0)
        self.patch_embed = nn.Conv2d(channels, width, patch, stride=patch, bias=False)
        self.class_token = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.pos_embed = nn.Parameter(torch.randn((size // patch) ** 2 + 1, width) / math.sqrt(width))
        self.time_embed = time_mlp(64, width) if time else None
        if time:
            for weight in self.time_embed[-1].parameters():  # at first no time counts, so it can start from a CLIP
                nn.init.zeros_(weight)
        self.pre_norm = nn.LayerNorm(width, eps)
        self.post_norm = nn.LayerNorm(width, eps)
        self.blocks = nn.Sequential(*(Block(width, heads, False, activation, eps) for _ in range(layers)))

    def forward(self, x: Tensor, t=None) -> Tensor:
        """x (B, channels, size, size) -> (B, width). t goes with time=True and is refused without."""
        expect.tensor("x", x, f"B {self.channels} {self.size} {self.size}", like=self.class_token)
        if (t is None) == self.time:
            raise ValueError(f"t: got {t}, expected {'a time' if self.time else 'None (built without time=True)'}")
        tokens = self.patch_embed(x).flatten(2).mT  # (B, patches, width)
        first = self.class_token.expand(len(x), 1, -1)
        h = torch.cat([first, tokens], dim=1) + self.pos_embed  # (B, 1 + patches, width)
        if self.time:
            h = h + self.time_embed(expect.time("t", t, len(x)).to(x))[:, None]
        return self.post_norm(self.blocks(self.pre_norm(h))[:, 0])


def _check_ids(ids: Tensor, vocabulary: int, length: int) -> None:
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64:
        raise TypeError(f"ids: got {getattr(ids, 'dtype', type(ids).__name__)}, expected int64 token ids")
    if ids.ndim != 2 or not len(ids) or not 1 <= ids.shape[1] <= length:
        raise ValueError(f"ids: got shape {tuple(ids.shape)}, expected (B, L), L at most {length}")
    if not ids.is_cuda and (ids.min() < 0 or ids.max() >= vocabulary):
        raise ValueError(f"ids: got {ids.min().item()} to {ids.max().item()}, expected 0 to {vocabulary - 1}")
