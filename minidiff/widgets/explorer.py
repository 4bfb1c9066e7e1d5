"""An Explorer: one picture, redrawn whenever one of its controls moves."""

import io
import re
from collections.abc import Callable
from contextlib import contextmanager
from functools import lru_cache
from string import Formatter
from threading import RLock

import ipywidgets
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from minidiff import plot
from minidiff.support import expect
from minidiff.widgets.controls import Control
from minidiff.widgets.picture import SIZE, Picture, png

CACHE = 256  # pictures an Explorer remembers


class Explorer(ipywidgets.Box):
    """`draw(**values)` beside its controls; it is called again when one moves, and never twice for the same values.

    `draw` takes one keyword for each control and returns a picture as `png` takes it. Of several pictures, `columns`
    lie in a row; `rows` or `heads` instead are the names of their rows or of their columns. `alt` says what the picture
    shows to who cannot see it: a format string ("digit {label}") or a function of the values. What is slow to compute
    and shared by many settings (a trajectory) belongs in a `functools.cache`d function that `draw` indexes; cut into
    `Frames` behind a `Player` it can be watched and stopped. Meanwhile a busy mark shows.

    JupyterLab lets widgets answer on a thread of their own, also while a cell trains: `draw` must not switch a model
    between train() and eval(), nor touch the global random generators. An error in `draw` is shown as a line in place
    of the picture, and raised. `controls` are the `Control`s by name, `picture` is the `Picture`.
    """

    _parts = ()  # what `close` frees: nothing where the constructor raised

    def __init__(
        self, draw: Callable, *, alt: str | Callable, columns: int = 8, rows=(), heads=(), **controls: Control
    ):
        for name, control in controls.items():
            if not isinstance(control, Control):
                raise TypeError(f"{name}: got {type(control).__name__}, expected a control such as Slider")
        if not callable(draw):
            raise TypeError(f"draw: got {type(draw).__name__}, expected a function that returns a picture")
        self.draw = draw
        self.controls = controls
        self.picture = Picture()
        self.laid = dict(columns=expect.integer("columns", columns, 1), rows=tuple(rows), heads=tuple(heads))
        self._held = False
        self._lock = RLock()
        self._alt = _describer(alt, set(controls))
        self._png = lru_cache(CACHE)(lambda items: png(draw(**dict(items)), SIZE, **self.laid))
        reset = ipywidgets.Button(description="Reset", tooltip="Return every control to its default")
        reset.on_click(lambda _: self.reset())
        panel = ipywidgets.VBox([*(control.shown for control in controls.values()), reset])
        panel.layout.align_items = "flex-end"
        self._parts = (*controls.values(), self.picture, reset, panel)
        super().__init__([panel, self.picture], _dom_classes=["minidiff-explorer"])
        self.layout = dict(flex_flow="row wrap", align_items="flex-start", grid_gap="8px 24px", padding="4px")
        self._dress()
        self._refresh()

    @property
    def values(self) -> dict:
        """What `draw` is given now, by control."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **values) -> None:
        """Move some controls at once; the picture is drawn once."""
        moves = [(self._control(name), self._control(name).check(value)) for name, value in values.items()]
        with self._at_once():
            for control, value in moves:
                control.value = value

    def reset(self) -> None:
        """Every control back to its default."""
        with self._at_once():
            for control in self.controls.values():
                control.reset()

    def twin(self, settings: list[dict], title: str | None = None) -> Figure:
        """The same picture at a few settings, each a dict of the controls that differ from the default: for a page.

        The controls stay where they are.
        """
        if not settings:
            raise ValueError("settings: got none, expected three to five dicts of control -> value")
        pictures, titles = zip(*[self._still(setting, 900 // len(settings)) for setting in settings])
        height, width, _ = np.max([picture.shape for picture in pictures], 0)
        page = torch.ones(len(pictures), 3, height, width)
        for sheet, picture in zip(page, pictures):
            sheet[:, : picture.shape[0], : picture.shape[1]] = torch.tensor(picture).permute(2, 0, 1) / 127.5 - 1
        return plot.grid(page, columns=max(1, 1000 // width), titles=titles, title=title, scale=1)

    def close(self) -> None:
        """Stop and free the widget and its parts."""
        for part in self._parts:
            part.close()
        super().close()

    def _control(self, name: str) -> Control:
        return self.controls[expect.choice("control", name, self.controls)]

    def _still(self, setting: dict, size: int) -> tuple[np.ndarray, str]:
        setting = {name: self._control(name).check(value) for name, value in setting.items()}
        values = {name: control.default for name, control in self.controls.items()} | setting
        picture = Image.open(io.BytesIO(png(self.draw(**values), size, **self.laid))).convert("RGB")
        return np.asarray(picture), ", ".join(self.controls[name].text(value) for name, value in setting.items())

    def _dress(self) -> None:
        width = f"{2 + max((len(control.caption) for control in self.controls.values()), default=0)}ch"
        for name, control in self.controls.items():
            control.shown.add_class(f"minidiff-{name}")
            control.source.observe(self._refresh, "value")
            if hasattr(control.source, "style"):
                control.source.style.description_width = width
                control.source.layout.width = f"calc({width} + {control.width})"

    @contextmanager
    def _at_once(self):
        with self._lock:
            self._held = True
            try:
                yield
            finally:
                self._held = False
            self._refresh()

    def _refresh(self, _change=None) -> None:
        with self._lock:
            if self._held:
                return
            self.picture.busy = True
            try:
                values = self.values
                self.picture.show(self._png(tuple(values.items())), self._alt(**values))
            except BaseException as error:  # an interrupt too
                self.picture.fail(error)
                raise


def _describer(alt, names: set[str]) -> Callable[..., str]:
    if callable(alt):
        return alt
    if not isinstance(alt, str) or not alt.strip():
        raise TypeError(f"alt: got {alt!r}, expected a text or a function that says what the picture shows")
    used = {re.split(r"[.\[]", field)[0] for _, field, _, _ in Formatter().parse(alt) if field is not None}
    if used - names:
        raise ValueError(f"alt: got {sorted(used - names)}, expected only the controls {sorted(names)}")
    return alt.format
