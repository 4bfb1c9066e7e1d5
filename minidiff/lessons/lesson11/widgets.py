"""Lesson 11's widgets: typed captions ranked, drawings nearest to words, the matrix, the temperature; their figures.

Pictures are encoded once; a typed caption is encoded when it comes, in some milliseconds.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minidiff import plot
from minidiff.clip import contrastive, embed
from minidiff.support.words import remark
from minidiff.widgets import Choice, Explorer, Stops, Text

SCALES = (1.0, 3.0, 10.0, 30.0, 100.0)
VIEWS = {
    "share, a picture's captions": 0,
    "share, a caption's pictures": 1,
    "cosine": None,  # whatever the scale is
}  # what a softmax adds up to


@torch.no_grad()
def cosines(clip, images: Tensor, captions: list[str]) -> Tensor:
    """(N, M): the cosine of each of N pictures with each of M captions."""
    return clip.encode_image(images) @ clip.encode_texts(captions).T


def rank(clip, images: Tensor, captions: list[str]) -> Explorer:
    """One of N pictures beside four captions to type over: the share that the model gives each, the best on top."""

    def draw(picture, **texts):
        left_out = _left_out(clip, *texts.values()).strip()
        return bars(images[picture], _shares(clip, images[picture], texts.values()), title=left_out)

    def alt(picture, **texts):
        ranked = _shares(clip, images[picture], texts.values())
        found = "; ".join(f"{text}: {share:.0%}" for text, share in ranked.items()) or "none typed"
        left_out = _left_out(clip, *texts.values())
        return f"picture {picture + 1}, and how well captions fit, best first: {found}{left_out}"

    hint = "type a caption, then press Enter"
    controls = {f"caption{k}": Text(f"caption {k}", text, hint) for k, text in zip(range(1, 5), captions)}
    picture = Choice("picture", {str(k + 1): k for k in range(len(images))}, 0)
    return Explorer(draw, alt=alt, picture=picture, **controls).add_class("rank")


def _shares(clip, picture: Tensor, texts) -> dict[str, float]:
    """The share of each text that is not empty, the largest first, for a picture (3, H, W)."""
    texts = [*dict.fromkeys(text.strip() for text in texts if text.strip())]
    values = (clip.scale.item() * cosines(clip, picture[None], texts))[0].softmax(0) if texts else torch.empty(0)
    return dict(sorted(zip(texts, values.tolist()), key=lambda item: -item[1]))


def nearest(clip, images: Tensor, names: list[str], words: str, unseen: int, n: int = 4) -> Explorer:
    """The n drawings nearest to typed words, with their names: among all of them, or the first `unseen` of them."""
    looks = embed(clip, images)
    choices = {f"all {len(images):,}": len(images), f"the {unseen} never trained on": unseen}
    which = {many: text for text, many in choices.items()}

    def draw(words, among):
        found = _found(clip, looks[:among], words, n)
        titles = [f"{names[k]} {cosine:.2f}" for k, cosine in found]
        page = {"columns": 4, "scale": 4, "titles": titles, "title": words + _left_out(clip, words)}
        return plot.grid(images[[k for k, _ in found]], **page) if found else torch.ones(1, 3, 32, 32)

    def alt(words, among):
        said = "; ".join(f"{names[k]}: {cosine:.2f}" for k, cosine in _found(clip, looks[:among], words, n))
        asked = f"{words!r}{_left_out(clip, words)} among {which[among]}"
        return f"the drawings nearest to {asked}, with their cosines: {said}" if said else "no words yet"

    words = Text("words", words, "type words, then press Enter")
    return Explorer(draw, alt=alt, words=words, among=Choice("among", choices, len(images))).add_class("nearest")


@torch.no_grad()
def _found(clip, looks: Tensor, words: str, n: int) -> list[tuple[int, float]]:
    """Which n of the pictures' vectors (N, D) are nearest to the words, and their cosines; [] for no words."""
    if not words.strip():
        return []
    top = (looks @ clip.encode_texts(words)[0]).topk(n)
    return list(zip(top.indices.tolist(), top.values.tolist()))


def matrix(clip, sets: dict[str, tuple[Tensor, list[str]]]) -> Explorer:
    """The matrix of N pictures and their N captions, for each of the named sets; as shares at a scale or as cosines."""
    table = {name: (images, texts, cosines(clip, images, texts)) for name, (images, texts) in sets.items()}

    def draw(pictures, show, scale):
        images, captions, values = table[pictures]
        return heat(_shown(values.T, VIEWS[show], scale), images, captions)

    def alt(pictures, show, scale):
        values = table[pictures][2]
        right = (values.argmax(1) == torch.arange(len(values))).sum()
        at = "" if VIEWS[show] is None else f" at scale {scale:g}"
        return f"{pictures}: {show}{at}; {right} of {len(values)} pictures fit their own caption best"

    return Explorer(
        draw,
        alt=alt,
        pictures=Choice("pictures", list(sets), next(iter(sets))),
        show=Choice("show", list(VIEWS), next(iter(VIEWS))),
        scale=Stops("scale", SCALES, 10.0),
    ).add_class("matrix")


def temperature(clip, images: Tensor, captions: list[str], which: int = 0, best: int = 5) -> Explorer:
    """What the scale, 1 / temperature, makes of the same cosines: a picture's best captions, and the loss of all N."""
    ids = clip.tokenizer(captions)
    values = cosines(clip, images, captions)
    same = (ids[:, None] == ids).all(2)
    top = values[which].topk(best).indices

    def loss(scale: float) -> float:
        return contrastive(scale * values, same).item()

    curve = [(scale, loss(scale)) for scale in torch.logspace(0, 2.3, 60).tolist()]

    def draw(scale):
        shares = (scale * values[which]).softmax(0)[top].tolist()
        return _beside_a_curve(images[which], [captions[k] for k in top], shares, curve, (scale, loss(scale)))

    def alt(scale):
        share = (scale * values[which]).softmax(0).max()
        return f"scale {scale:g}: the best caption gets {share:.0%} of the share, the loss is {loss(scale):.2f} nats"

    return Explorer(draw, alt=alt, scale=Stops("scale", (*SCALES, 200.0), 10.0)).add_class("temperature")


def _beside_a_curve(picture: Tensor, captions: list[str], shares: list[float], curve: list, at: tuple) -> Figure:
    """A picture, its captions' shares, and the loss along the scale with the point `at`."""
    shape = {"figsize": (10.5, 3.0), "layout": "constrained", "width_ratios": (1, 1.8, 1.3)}
    figure, (left, middle, right) = plt.subplots(1, 3, **shape)
    left.imshow(_pixels(picture))
    left.axis("off")
    _bars(middle, captions, shares, "share")
    plot.curve(tuple(zip(*curve)), right, xlabel="scale = 1 / temperature", ylabel="loss of all (nats)")
    right.plot(*at, "o", color=plot.COLOURS[2])
    right.set(xscale="log")
    return figure


def bars(picture: Tensor, shares: dict[str, float], xlabel: str = "share", title: str = "") -> Figure:
    """A picture (3, H, W) beside a bar for each caption, in the order given, the first on top."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained", width_ratios=(1, 2.6))
    left.imshow(_pixels(picture))
    left.axis("off")
    _bars(right, list(shares), list(shares.values()), xlabel)
    right.set_title(title, size=9)
    return figure


def best(images: Tensor, shares: Tensor, captions: list[str], k: int = 5) -> Figure:
    """Each of N pictures beside bars for the k captions with the largest of its shares (N, M), two pictures a row."""
    rows = -(-len(images) // 2)
    shape = {"figsize": (13, 2.1 * rows), "layout": "constrained", "width_ratios": (1, 2, 1, 2)}
    figure, axes = plt.subplots(rows, 4, **shape, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for picture, row, (left, right) in zip(images, shares, axes.reshape(-1, 2)):
        left.imshow(_pixels(picture))
        right.axis("on")
        top = row.topk(k)
        _bars(right, [captions[which] for which in top.indices], top.values.tolist(), "")
    return figure


def heat(values: Tensor, images: Tensor, captions: list[str], title: str = "") -> Figure:
    """A matrix (M, N) of M captions, the rows, and N pictures, the columns, with its numbers written in."""
    rows, columns = values.shape
    figure, ax = plt.subplots(figsize=(3.2 + 0.72 * columns, 0.5 + 0.62 * (rows + 1)), layout="constrained")
    ax.imshow(values.numpy(), cmap="viridis", aspect="auto")
    for column, picture in enumerate(images):
        where = (column - 0.46, column + 0.46, -0.55, -1.55)
        ax.imshow(_pixels(picture), extent=where, aspect="auto", interpolation="nearest")  # sharp, and a third smaller
    middle = (values.max() + values.min()) / 2
    for (row, column), value in np.ndenumerate(values.numpy()):
        colour = "black" if value > middle else "white"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", size=8, color=colour)
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -1.6), xticks=[], title=title)
    ax.set_yticks(range(rows), [textwrap.fill(caption, 34) for caption in captions], size=8)
    ax.spines[:].set_visible(False)
    return figure


def _bars(ax: Axes, captions: list[str], shares: list[float], xlabel: str) -> None:
    places = range(len(captions))
    ax.barh(places, shares, color=plot.COLOURS[0])
    ax.set_yticks(places, [textwrap.fill(caption, 34) for caption in captions], size=8)
    ax.set(xlim=(0, 1), xlabel=xlabel)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)


def _left_out(clip, *texts: str) -> str:
    """A remark that names the words which the model was not trained on and does not read; "" where there are none."""
    left_out = remark(clip.unknown_words([text for text in texts if text.strip()] or [""]))
    return left_out and f" {left_out}"


def _shown(values: Tensor, dim: int | None, scale: float) -> Tensor:
    return values if dim is None else (scale * values).softmax(dim)


def _pixels(picture: Tensor) -> np.ndarray:
    """(3, H, W) in [-1, 1] -> (H, W, 3) in [0, 1]."""
    return ((picture.clamp(-1, 1).permute(1, 2, 0) + 1) / 2).numpy()
