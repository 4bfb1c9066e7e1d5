"""Published weights in the course's own modules, and the tokenizers that belong to them."""

from minidiff.pretrained.clip import from_folder
from minidiff.pretrained.tokenizer import PublishedTokenizer

__all__ = ["PublishedTokenizer", "from_folder"]
