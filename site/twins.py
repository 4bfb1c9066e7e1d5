"""Widgets that live on a page without a kernel: every picture is drawn ahead, and a script shows the one asked for.

`live` moves a widget's own controls and keeps what it shows, so a page has the pictures and texts of the widget itself.
Alive are the controls that the notebook's twin of it names; the others stay at their defaults.
"""

import base64
import html
import io
import itertools
import json
from functools import singledispatch
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from minidiff.lessons.lesson04.laboratory import Laboratory
from minidiff.widgets import Choice, Control, Explorer, Pad, Player, Slider, Stops, png
from minidiff.widgets.controls import plain

FRAMES = 32  # pictures of a widget, about: its controls are thinned out until there are no more
MEGABYTE = 1_000_000  # and the bytes it may have on a page
ROUNDS = (0, 10, 20, 40, 60, 100, 150, 200, 300, 400, 600, 800, 1000, 1250, 1500)  # of the laboratory's game
AHEAD = "Drawn ahead for this page, at some of the settings. In JupyterLab every control answers, at any value."
STILL = "This widget stands still here, as its pictures need the lesson running. In JupyterLab it answers."
SCRIPT = (Path(__file__).parent / "twin.js").read_text("utf-8")


class Axis(NamedTuple):
    """One control of a page: its caption, its values, each with a text, and the index of the default."""

    caption: str
    values: list
    texts: list[str]
    start: int
    menu: bool = False  # a menu rather than a slider
    plays: bool = False  # with a button that plays it


class Twin(NamedTuple):
    """The frames (WebP bytes, text) of all combinations of the axes, the last axis moving fastest.

    `absent` are the captions of the widget's controls that a page does not have.
    """

    axes: list[Axis]
    frames: list[tuple[bytes, str]]
    absent: list[str] = []


@singledispatch
def live(widget, settings: list) -> Twin:
    """All that a page can show of `widget`, given the settings of the notebook's own twins of it."""
    raise TypeError(f"widget: got {type(widget).__name__}, expected an Explorer or a Laboratory")


@live.register
def _(widget: Explorer, settings: list) -> Twin:
    shown = list(itertools.chain.from_iterable(settings))
    rails = {}
    for name, control in widget.controls.items():
        if named := [setting[name] for setting in shown if name in setting]:
            rails[name] = axes_of(control, named)
    axes = thinned([axis for rail in rails.values() for axis in rail])
    frames = []
    for chosen in itertools.product(*(axis.values for axis in axes)):
        rest = iter(chosen)
        moves = {name: [next(rest) for _ in rail] for name, rail in rails.items()}
        widget.set(**{name: tuple(v) if len(v) > 1 else v[0] for name, v in moves.items()})
        frames.append((webp(base64.b64decode(widget.picture.src.split(",")[1])), widget.picture.alt))
    return Twin(axes, frames, [control.caption for name, control in widget.controls.items() if name not in rails])


@live.register
def _(widget: Laboratory, settings: list) -> Twin:
    frames, match = [], widget.match
    for done, count in zip((0, *ROUNDS), ROUNDS):
        match.play(count - done)
        frames.append((webp(png(match.draw())), match.text()))
    absent = [*widget.controls, *(button.description for button in widget.buttons)]
    rounds = Axis("round", list(ROUNDS), [str(count) for count in ROUNDS], 0, plays=True)
    return Twin([rounds], frames, [name for name in absent if name not in ("Play", "Reset")])


@singledispatch
def axes_of(control: Control, named: list) -> list[Axis]:
    """The axes of a control; of one without a range the default and the values `named`, to choose from."""
    values = []
    for value in (control.default, *map(control.check, named)):
        values += [] if value in values else [value]
    return [Axis(control.caption, values, [control.text(value) for value in values], 0, menu=True)]


@axes_of.register
def _(control: Slider, named: list) -> list[Axis]:
    low, high, step = control.low, control.high, control.source.step
    values = [float(f"{low + k * step:.9g}") for k in range(round((high - low) / step) + 1)]
    return [_axis(control.caption, [int(v) for v in values] if control.whole else values, control.default)]


@axes_of.register
def _(control: Stops, named: list) -> list[Axis]:
    return [_axis(control.caption, control.options, control.default)]


@axes_of.register
def _(control: Player, named: list) -> list[Axis]:
    return [_axis(control.caption, list(range(control.last + 1)), control.default)._replace(plays=True)]


@axes_of.register
def _(control: Choice, named: list) -> list[Axis]:
    values = list(control.names.values())
    return [Axis(control.caption, values, list(control.names), values.index(control.default), menu=True)]


@axes_of.register
def _(control: Pad, named: list) -> list[Axis]:
    lines = zip(control.names, control.low, control.high, control.default)
    return [
        _axis(
            name, sorted({*(min(max(float(f"{v:.3g}"), low), high) for v in np.linspace(low, high, 11)), start}), start
        )
        for name, low, high, start in lines
    ]


def _axis(caption: str, values: list, default) -> Axis:
    return Axis(caption, list(values), [plain(value) for value in values], list(values).index(default))


def thinned(axes: list[Axis], most: int = FRAMES) -> list[Axis]:
    """The axes with so few values that their combinations are at most `most`: evenly spread, the default among them.

    Menus are left whole, unless nothing else is left to shorten.
    """
    counts = [len(axis.values) for axis in axes]
    while prod(counts) > most:
        counts[max(range(len(axes)), key=lambda k: (counts[k] > 2, not axes[k].menu, counts[k]))] -= 1
    return [_fewer(axis, count) for axis, count in zip(axes, counts)]


def _fewer(axis: Axis, count: int) -> Axis:
    kept = np.linspace(0, len(axis.values) - 1, count).round().astype(int)
    kept[np.abs(kept - axis.start).argmin()] = axis.start
    values, texts = ([each[k] for k in kept] for each in (axis.values, axis.texts))
    return axis._replace(values=values, texts=texts, start=kept.tolist().index(axis.start))


def webp(picture: bytes) -> bytes:
    """The picture without any loss, in about half of the bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(buffer, "webp", lossless=True)
    return buffer.getvalue()


def page(twin: Twin, name: str) -> str:
    """The twin as HTML that needs nothing but itself. ValueError beyond a megabyte."""
    start = 0
    for axis in twin.axes:
        start = start * len(axis.values) + axis.start
    picture, alt = twin.frames[start]
    width, height = Image.open(io.BytesIO(picture)).size
    frames = [["data:image/webp;base64," + base64.b64encode(data).decode(), text] for data, text in twin.frames]
    known = json.dumps({"frames": frames, "texts": [axis.texts for axis in twin.axes]}).replace("<", "\\u003c")
    text = f"""<figure class="twin" id="twin-{name}">
<img src="{frames[start][0]}" alt="{html.escape(alt)}" width="{width}" height="{height}">
<figcaption>{"".join(_control(axis, f"twin-{name}-{k}") for k, axis in enumerate(twin.axes))}</figcaption>
{note(AHEAD, twin.absent)}
<script type="application/json">{known}</script>
<script>{SCRIPT}</script>
</figure>"""
    if len(text) > MEGABYTE:
        raise ValueError(f"{name}: got {len(text) / MEGABYTE:.1f} MB of frames, expected at most 1")
    return text


def note(text: str, absent: list[str] = ()) -> str:
    """A line of HTML on what the page cannot do, with the captions of the controls that it lacks."""
    without = f" Not on this page: {', '.join(absent)}." if absent else ""
    return f'<p class="twin-note">{html.escape(text + without)}</p>'


def _control(axis: Axis, key: str) -> str:
    caption, texts = html.escape(axis.caption), [html.escape(text) for text in axis.texts]
    if axis.menu:
        mark = [" selected" * (k == axis.start) for k in range(len(texts))]
        options = "".join(f'<option value="{k}"{mark[k]}>{text}</option>' for k, text in enumerate(texts))
        return f'<label for="{key}">{caption}</label><select id="{key}">{options}</select><span></span>'
    return (
        f'<label for="{key}">{caption}</label><input id="{key}" type="range" min="0" max="{len(texts) - 1}" '
        f'value="{axis.start}"><output for="{key}">{texts[axis.start]}</output>'
        + '<span></span><button type="button">Play</button><span></span>'
        * axis.plays
    )
