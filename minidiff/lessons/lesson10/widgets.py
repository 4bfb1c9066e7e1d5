"""Lesson 10's widgets: what comes next after typed words, and whom each head of each block looks at."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from minidiff.lessons.lesson10 import figures, grammar
from minidiff.transformer import END, LanguageModel, Tokenizer
from minidiff.widgets import Choice, Explorer, Text

OVER = "(end)"  # what is shown for the end of a caption


@torch.no_grad()
def guesses(model: LanguageModel, words: Tokenizer, text: str, best: int = 8) -> dict[str, tuple[float, float]]:
    """Token -> (the model's probability, the exact one) after `text`: those that either of them finds likeliest."""
    ids = torch.tensor([words.encode(text)[:-1]])
    shares = model(ids)[0, -1].softmax(0)
    exact = {word or OVER: p for word, p in grammar.next_words(text.lower()).items()}
    found = {}
    for token in shares.topk(best).indices.tolist():
        name = OVER if token == END else _readable(words.decode([token]))
        found[name] = (shares[token].item(), exact.get(name, 0.0))
    return found


def next_word(model: LanguageModel, words: Tokenizer, text: str = "a small red") -> Explorer:
    """Type the beginning of a caption: the likeliest next tokens by the model, each beside its exact probability."""

    def draw(text) -> Figure:
        return figures.bars(guesses(model, words, text), f"after “{text}”")

    def alt(text):
        told = [f"{name} {ours:.0%} (exact {exact:.0%})" for name, (ours, exact) in guesses(model, words, text).items()]
        return f"after “{text}” the model expects: {', '.join(told[:4])}"

    return Explorer(draw, alt=alt, text=Text("caption", text, "type, then press Enter")).add_class("nextword")


@torch.no_grad()
def attention_weights(model: LanguageModel, ids: Tensor) -> list[Tensor]:
    """For ids (L,) the softmax of each block: (heads, L, L), whom each token looks at."""
    x = model.text.token_embed(ids[None]) + model.text.pos_embed[: len(ids)]
    found = []
    for part in model.text.blocks:
        found.append(part.attention.weights(part.norm1(x))[0])
        x = part(x)
    return found


def attention(model: LanguageModel, words: Tokenizer, text: str) -> Explorer:
    """Choose a block and a head: the matrix of its attention over a typed caption."""

    def draw(text, block, head) -> Figure:
        return figures.heat(*_one_head(model, words, text, block, head), f"block {block}, head {head}")

    def alt(text, block, head):
        weights, tokens = _one_head(model, words, text, block, head)
        last, seen = (tokens[which].strip() for which in (-1, weights[-1].argmax()))
        about = f"block {block}, head {head} on “{text}”"
        return f"{about}: the last token, {last}, looks most at {seen}, {weights[-1].max():.0%}"

    caption = Text("caption", text, "type, then press Enter")
    blocks, heads = (list(range(1, count + 1)) for count in (len(model.text.blocks), model.text.heads))
    controls = {"text": caption, "block": Choice("block", blocks, 1), "head": Choice("head", heads, 1)}
    return Explorer(draw, alt=alt, **controls).add_class("attention")


def _one_head(model: LanguageModel, words: Tokenizer, text: str, block: int, head: int) -> tuple[Tensor, list[str]]:
    """The matrix (L, L) of one head, counted from 1, over a text, and the names of its tokens."""
    ids = torch.tensor(words.encode(text)[:-1])
    return attention_weights(model, ids)[block - 1][head - 1], ["(start)", *words.tokens(text)]


def _readable(token: str) -> str:
    """A token as it can be drawn: single bytes may be control signs, and the marks of start and padding are empty."""
    return "".join(sign if sign.isprintable() else "�" for sign in token).strip() or "(nothing)"
