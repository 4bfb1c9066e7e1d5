"""Pictures, curves, points in the plane and tables. Every function returns what it drew and shows nothing itself.

What comes back can be saved: `grid(images).savefig("digits.png")`, `curve(losses).figure.savefig("loss.png")`, and
`PIL.Image.fromarray(tile(images)).save("digits.png")` for the pictures alone, pixel by pixel.

Pictures are float (N, C, H, W) in [-1, 1], one channel (grey) or three; values outside are clamped, as a model may
overshoot. Colours are M. Petroff's ten, told apart by colour-blind readers too (arXiv 2107.02270, table 1); lines and
points also differ in dash and shape. Figures are opaque white: legible on a light page and on a dark one.
"""

import io
import math
import textwrap
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minidiff.support import expect
from minidiff.support.tables import rounded, table

__all__ = ["COLOURS", "arrows", "curve", "density", "grid", "paths", "rows", "scatter", "table", "tile"]

COLOURS = "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()
DASHES = ("-", "--", "-.", ":")
SHAPES = "osD^v<>PX*"
DPI = 100
CELL = 64  # screen pixels, at least, for the side of a picture in a grid


def tile(images, columns: int = 8, *, scale: int = 1, gap: int | None = None, lead: int = 0) -> np.ndarray:
    """All `images` (N, C, H, W) in one picture: uint8 (height, width, 3), `columns` to a row, on white.

    Every pixel becomes a square of `scale` pixels. `gap` pixels (before scaling; a sixteenth of the width if None)
    lie between pictures, and `lead` more above each row. TypeError or ValueError for anything but pictures.
    """
    x = _pictures(images)
    n, _, h, w = x.shape
    columns = min(expect.integer("columns", columns, 1), n)
    scale = expect.integer("scale", scale, 1)
    gap = max(1, w // 16) if gap is None else expect.integer("gap", gap, 0)
    rows = -(-n // columns)
    lead = expect.integer("lead", lead, 0)
    page = np.full((rows, h + gap + lead, columns, w + gap, 3), 255, np.uint8)
    for k, picture in enumerate(_bytes(x)):
        page[k // columns, lead : lead + h, k % columns, :w] = picture
    page = page.reshape(rows * (h + gap + lead), columns * (w + gap), 3)
    page = page[: len(page) - gap, : page.shape[1] - gap]
    return page.repeat(scale, 0).repeat(scale, 1)


def grid(images, columns: int = 8, titles=None, title: str | None = None, scale: int | None = None) -> Figure:
    """The pictures `images` (N, C, H, W) in a grid, each under its entry of `titles`: N texts or numbers, a tensor too.

    `scale` is the side in screen pixels of one of their pixels; None makes each picture about 64 wide, or as wide as
    its title needs.
    """
    x = _pictures(images)
    n, _, h, w = x.shape
    columns = min(expect.integer("columns", columns, 1), n)
    texts = _texts(titles, n)
    scale = _scale(w, texts) if scale is None else expect.integer("scale", scale, 1)
    texts = [_wrapped(text, w * scale) for text in texts]
    gap = max(1, min(w // 16, 12 // scale))  # a gap between large pictures need not be large
    lead = math.ceil(max(13 * text.count("\n") + 16 for text in texts) / scale) if any(texts) else 0
    figure, ax = _page(tile(x, columns, gap=gap, lead=lead), scale, title)
    for k, text in enumerate(texts):
        at = (k % columns * (w + gap) + w / 2 - 0.5, (k // columns) * (h + gap + lead) + lead - 0.5)
        ax.annotate(text, at, (0, 2), textcoords="offset points", ha="center", va="bottom", size=8)
    return _fit(figure, ax)


def rows(images: dict, title: str | None = None, scale: int | None = None) -> Figure:
    """One labelled row of pictures for each entry of `images`, label -> (N, C, H, W), all with one C, H and W."""
    if not isinstance(images, dict) or not images:
        raise TypeError(f"images: got {type(images).__name__}, expected a dict of label -> pictures")
    sets = {str(label): _pictures(x, f"images[{label!r}]") for label, x in images.items()}
    shapes = {tuple(x.shape[1:]) for x in sets.values()}
    if len(shapes) > 1:
        raise ValueError(f"images: got pictures of shapes {sorted(shapes)}, expected one shape")
    _, h, w = shapes.pop()
    scale = _scale(w) if scale is None else expect.integer("scale", scale, 1)
    longest = max(len(x) for x in sets.values())
    blank = [torch.cat([x, x.new_ones(longest - len(x), *x.shape[1:])]) for x in sets.values()]
    figure, ax = _page(tile(torch.cat(blank), longest, gap=(gap := max(1, w // 16))), scale, title)
    centres = [k * (h + gap) + h / 2 - 0.5 for k in range(len(sets))]
    ax.set_yticks(centres, [textwrap.fill(label, 28) for label in sets])
    return _fit(figure, ax)


def curve(values, ax: Axes | None = None, *, xlabel="", ylabel="", title="") -> Axes:
    """A line through `values`: numbers against 0, 1, …, or a pair (xs, ys), or a dict label -> either of these."""
    lines = values if isinstance(values, dict) else {"": values}
    if not lines:
        raise ValueError("values: got an empty dict, expected at least one line")
    lines = {str(label): _line(label, line) for label, line in lines.items()}
    ax = _axes(ax, (5.5, 3.4), xlabel, ylabel, title)
    for k, (label, (xs, ys)) in enumerate(lines.items()):
        ax.plot(xs, ys, DASHES[k % 4], color=COLOURS[k % 10], label=label, marker="." if len(ys) < 20 else "")
    if isinstance(values, dict):
        ax.legend(frameon=False)
    return ax


def scatter(points, labels=None, ax: Axes | None = None, *, xlabel="", ylabel="", title="") -> Axes:
    """The points (N, 2), coloured and shaped by `labels` (N,), numbers or texts; both axes have one scale."""
    xy = expect.tensor("points", _tensor(points), "N 2", finite=True).numpy()
    labels = None if labels is None else np.asarray(_tensor(labels))
    if labels is not None and labels.shape != (len(xy),):
        raise ValueError(f"labels: got shape {labels.shape}, expected ({len(xy)},)")
    ax = _axes(ax, (4.8, 4.2), xlabel, ylabel, title)
    for k, label in enumerate([None] if labels is None else np.unique(labels)):
        chosen = xy if label is None else xy[labels == label]
        style = dict(color=COLOURS[k % 10], marker=SHAPES[(k + k // 10) % 10], s=max(8, min(24, 8000 / len(xy))))
        ax.scatter(*chosen.T, **style, alpha=0.8, linewidths=0, label=label)
    ax.set_aspect("equal", adjustable="datalim")
    if labels is not None:
        beside = dict(loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 + k // 15, fontsize=9)
        ax.legend(frameon=False, markerscale=1.5, handletextpad=0.2, columnspacing=0.8, **beside)
    return ax


def paths(trajectories, ax: Axes | None = None, *, xlabel="", ylabel="", title="") -> Axes:
    """The paths of N points, `trajectories` (T, N, 2): a line for each through its T places, T at least 2.

    A ring marks where a path starts, a dot where it ends; both axes have one scale. The steps of a sampler are
    stacked for it: `paths(torch.stack([step.x for step in steps]))`.
    """
    xy = expect.tensor("trajectories", _tensor(trajectories), "T N 2", finite=True, rows=2).numpy()
    ax = _axes(ax, (4.8, 4.2), xlabel, ylabel, title)
    ax.plot(xy[..., 0], xy[..., 1], color=COLOURS[3], linewidth=0.8, alpha=0.7)
    size = max(8, min(24, 8000 / xy.shape[1]))
    ax.scatter(*xy[0].T, s=size, facecolors="white", edgecolors=COLOURS[0], zorder=3, label="start")
    ax.scatter(*xy[-1].T, s=size, color=COLOURS[2], linewidths=0, zorder=3, label="end")
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(frameon=False, handletextpad=0.2, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return ax


def density(
    values, ax: Axes | None = None, *, limits=(-3, 3), side=200, log=False, xlabel="", ylabel="", title=""
) -> Axes:
    """A density over the square that reaches from low to high, the `limits`, along both axes: the darker, the higher.

    `values`: a function of points (N, 2), float32, -> (N,), which is asked at side x side points; or the values
    themselves, (H, W), those of the lowest y in row 0. With `log` they are logarithms, and their exponentials are
    drawn: `density(flow.log_prob, log=True)`. ValueError for other shapes, and for NaN or infinity.
    """
    low, high = _limits(limits)
    if callable(values):
        points = _plane(low, high, expect.integer("side", side, 1))
        found = expect.tensor("values(points)", _tensor(values(points)), str(len(points))).view(side, side)
    else:
        found = expect.tensor("values", _tensor(values), "H W")
    found = expect.tensor("values", found.exp() if log else found, "H W", finite=True)
    ax = _axes(ax, (4.8, 4.2), xlabel, ylabel, title)
    ax.imshow(found.numpy(), origin="lower", extent=(low, high, low, high), cmap="Blues")
    return ax


def arrows(field: Callable, ax: Axes | None = None, *, limits=(-3, 3), side=20, xlabel="", ylabel="", title="") -> Axes:
    """A vector field in the plane: an arrow at each of side x side points of the square from low to high, the `limits`.

    `field` is a function of points (N, 2), float32, -> (N, 2), the arrows. Each starts at its point; lengths compare
    with one another, and are not those of the axes. ValueError for another shape, and for NaN or infinity.
    """
    if not callable(field):
        raise TypeError(f"field: got {type(field).__name__}, expected a function of points (N, 2)")
    points = _plane(*_limits(limits), expect.integer("side", side, 1))
    found = expect.tensor("field(points)", _tensor(field(points)), f"{len(points)} 2", finite=True)
    ax = _axes(ax, (4.8, 4.2), xlabel, ylabel, title)
    ax.quiver(*points.T.numpy(), *found.T.numpy(), angles="xy", color=COLOURS[8], width=0.004)
    ax.set_aspect("equal", adjustable="datalim")
    return ax


class _Shown(Figure):
    """A figure that a notebook shows once, also as a cell's last value (pyplot would show it again after the cell)."""

    def _ipython_display_(self) -> None:
        plt.close(self)
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        display({"image/png": buffer.getvalue(), "text/plain": repr(self)}, raw=True)


def _tensor(x):
    return torch.as_tensor(x).detach().cpu() if isinstance(x, (Tensor, np.ndarray)) else x


def _pictures(x, name="images") -> Tensor:
    x = expect.tensor(name, _tensor(x), "N C H W", finite=True, scaled=True).float()
    if x.shape[1] not in (1, 3):
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected 1 or 3 channels")
    return x


def _bytes(x: Tensor) -> np.ndarray:
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().byte()
    return x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()  # (N, H, W, 3)


def _limits(limits) -> tuple[float, float]:
    if not isinstance(limits, tuple | list) or len(limits) != 2:
        raise TypeError(f"limits: got {limits!r}, expected a pair (low, high)")
    low, high = (expect.number("limits", limit) for limit in limits)
    if low >= high:
        raise ValueError(f"limits: got {limits!r}, expected low < high")
    return low, high


def _plane(low: float, high: float, side: int) -> Tensor:
    """The centres of side x side equal squares that make up the square from low to high: (side * side, 2)."""
    line = low + (high - low) * (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(line, line, indexing="ij")  # from below, and there from the left
    return torch.stack([x, y], -1).flatten(0, 1)


def _scale(width: int, texts=()) -> int:
    longest = max((len(word) for text in texts for word in text.split()), default=0)
    return max(1, round(CELL / width), -(-7 * longest // width))  # no word wider than its picture


def _texts(titles, n: int) -> list[str]:
    if isinstance(titles, Tensor | np.ndarray) and titles.ndim != 1:
        raise ValueError(f"titles: got shape {tuple(titles.shape)}, expected ({n},)")
    if titles is not None and (isinstance(titles, str) or not hasattr(titles, "__iter__")):
        raise TypeError(f"titles: got {titles!r:.60}, expected a title for each of the {n} pictures")
    texts = [""] * n if titles is None else [rounded(title) for title in titles]
    if len(texts) != n:
        raise ValueError(f"titles: got {len(texts)}, expected one for each of the {n} pictures")
    return texts


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, max(4, width // 6), break_long_words=False)


def _page(picture: np.ndarray, scale: int, title: str | None) -> tuple[Figure, Axes]:
    """A figure with the picture drawn in it at `scale` screen pixels to the pixel, and no frame."""
    height, width, _ = picture.shape
    figure = plt.figure(
        figsize=(width * scale / DPI, height * scale / DPI), dpi=DPI, facecolor="white", FigureClass=_Shown
    )
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(picture, interpolation="nearest", aspect="auto")
    ax.set(xticks=[], yticks=[], title=title or "")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure, ax


def _fit(figure: Figure, ax: Axes, pad: int = 6) -> Figure:
    """Grow the figure until titles and labels fit too: the picture keeps its place on whole screen pixels."""
    size = ax.get_window_extent().frozen()
    need = ax.get_tightbbox()
    left = math.ceil(-need.x0) + pad
    low = math.ceil(-need.y0) + pad
    width = math.ceil(need.x1) + left + pad
    height = math.ceil(need.y1) + low + pad
    figure.set_size_inches(width / DPI, height / DPI)
    ax.set_position((left / width, low / height, size.width / width, size.height / height))
    return figure


def _axes(ax: Axes | None, size, xlabel, ylabel, title) -> Axes:
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax: got {type(ax).__name__}, expected matplotlib's Axes or None")
    if ax is None:
        ax = plt.figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained").subplots()
        ax.spines[["top", "right"]].set_visible(False)
    ax.set(**{k: v for k, v in dict(xlabel=xlabel, ylabel=ylabel, title=title).items() if v})
    return ax


def _line(label, line) -> tuple[np.ndarray, np.ndarray]:
    name = f"values {label!r}" if label else "values"
    pair = isinstance(line, tuple) and len(line) == 2
    ys = _numbers(name, line[1] if pair else line)
    xs = _numbers(name, line[0]) if pair else np.arange(ys.size)
    if ys.ndim != 1 or xs.shape != ys.shape or not len(ys):
        raise ValueError(f"{name}: got shapes {xs.shape} and {ys.shape}, expected two equal (N,), N > 0")
    return xs, ys


def _numbers(name: str, values) -> np.ndarray:
    try:
        return np.asarray(_tensor(values), float)
    except (TypeError, ValueError) as error:  # texts, None, rows of unequal length
        raise TypeError(f"{name}: got {values!r:.60}, expected numbers (N,)") from error
