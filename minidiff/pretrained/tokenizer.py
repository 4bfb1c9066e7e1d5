"""The tokenizer that is published with a CLIP, run by the `tokenizers` library. `transformer.Tokenizer` teaches how."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import Tensor

from minidiff.pretrained.weights import json_in
from minidiff.support import expect

WHOLE, TABLES = "tokenizer.json", ("vocab.json", "merges.txt")
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


class PublishedTokenizer:
    """CLIP's own byte-pair tokenizer: texts -> int64 (B, length), the same ids as transformers' CLIPTokenizer.

    folder: where tokenizer.json is, or else vocab.json and merges.txt. length: ids in a row, start and end included.
    padding: the token that rows are filled up with; that of tokenizer_config.json, else the end mark, unless given.
    It is called as `transformer.Tokenizer` is, but a word is marked at its end, not its beginning.
    FileNotFoundError says which files are missing, ValueError which folder's cannot be read.
    Source: Radford et al. 2021 (2103.00020), section 2.4.
    """

    def __init__(self, folder: str | Path, length: int = 77, padding: str | None = None):
        self.length = expect.integer("length", length, 2)
        self.coder = _read(Path(folder))
        self.vocabulary = self.coder.get_vocab_size()  # how many ids there are
        self.padding = self.coder.token_to_id(padding or _padding(Path(folder)))
        if self.padding is None:
            raise ValueError(
                f"{folder}: its tokenizer has no token {padding or _padding(Path(folder))!r} to fill up with"
            )

    def encode(self, text: str) -> list[int]:
        """The ids of one text with start and end, of any length; what the table lacks becomes the end mark."""
        return self._encoded(text).ids

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text as they read, without start and end, a space where a word ends: for looking at."""
        pieces = self._encoded(text).tokens[1:-1]
        return [self.coder.decoder.decode([piece]).replace("</w>", " ") for piece in pieces]

    def __call__(self, texts: str | list[str]) -> Tensor:
        """int64 (B, length), a row of ids a text, filled up with padding. ValueError for a text that does not fit.

        The empty text is start and end alone.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            raise ValueError("texts: got none, expected at least one str")
        rows = [self.encode(text) for text in texts]
        for text, ids in zip(texts, rows):
            if len(ids) > self.length:
                shown = text if len(text) <= 60 else text[:57] + "..."
                count = f"{len(ids)} tokens with start and end"
                raise ValueError(f"texts: got {shown!r}, {count}, expected at most {self.length}")
        rows = [ids + [self.padding] * (self.length - len(ids)) for ids in rows]
        return torch.tensor(rows, device="cpu")  # whatever the default device, so under "meta" too

    def _encoded(self, text: str):
        if not isinstance(text, str):
            raise TypeError(f"text: got {type(text).__name__}, expected a str")
        return self.coder.encode(text.encode("utf-8", "replace").decode())  # half a surrogate pair becomes "?"


def published(folder: Path) -> bool:
    """Has the folder any file of a tokenizer?"""
    return any((folder / name).is_file() for name in (WHOLE, *TABLES))


def _padding(folder: Path) -> str:
    """The padding token that the folder names: CLIP's is the end mark, OpenCLIP's is "!"."""
    said = json_in(folder / "tokenizer_config.json").get("pad_token") or END
    return said.get("content", END) if isinstance(said, dict) else str(said)


def _read(folder: Path) -> Tokenizer:
    whole = (folder / WHOLE).is_file()
    if not whole and (missing := [name for name in TABLES if not (folder / name).is_file()]):
        raise FileNotFoundError(f"{folder}: {' and '.join(missing)} missing, expected both or {WHOLE}")
    try:
        coder = Tokenizer.from_file(str(folder / WHOLE)) if whole else _from_tables(folder)
    except Exception as error:  # the library raises no narrower class
        raise ValueError(f"{folder}: its tokenizer cannot be read ({error}); download it again") from error
    coder.no_padding()  # both are done here, whatever was in use when it was saved
    coder.no_truncation()
    if coder.encode("").tokens != [START, END]:
        raise ValueError(f"{folder}: its tokenizer puts no {START} and {END} around a text, expected CLIP's")
    return coder


def _from_tables(folder: Path) -> Tokenizer:
    """What tokenizer.json would say: the two tables hold the merges alone, and all CLIPs share the rest."""
    table, merges = (str(folder / name) for name in TABLES)
    coder = Tokenizer(BPE.from_file(table, merges, unk_token=END, end_of_word_suffix="</w>"))
    coder.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    coder.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORD), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    coder.decoder = decoders.ByteLevel()
    ends = [(mark, coder.get_vocab()[mark]) for mark in (END, START)]  # KeyError in a table that is no CLIP's
    coder.add_special_tokens([START, END])
    coder.post_processor = processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)
    return coder
