"""A Pad: a plane with points on it, and a cursor moved with a finger, a mouse or the arrow keys."""

import anywidget
import numpy as np
import torch
import traitlets
from torch import Tensor

from minidiff.plot import COLOURS
from minidiff.support import expect
from minidiff.widgets.controls import Control, plain


class Pad(Control):
    """A point (x, y) as a control: `Explorer(lambda code: decode(code), code=Pad("code", codes, labels))`.

    `points` (N, 2) are drawn on the plane, each as the text of its entry in `labels` (N,), or as a dot. `corners` are
    the lowest and the highest (x, y), by default around the points; `value` is where it starts, by default the middle.
    """

    def __init__(
        self,
        label: str,
        points: Tensor | None = None,
        labels=None,
        *,
        corners: tuple[tuple[float, float], tuple[float, float]] | None = None,
        value: tuple[float, float] | None = None,
        names: tuple[str, str] = ("x", "y"),
    ):
        points = torch.zeros(0, 2) if points is None else points
        points = expect.tensor("points", points, "N 2", finite=True, rows=0).detach().cpu()
        self.low, self.high = _corners(points, corners)
        texts = [""] * len(points) if labels is None else [plain(text) for text in np.asarray(labels).tolist()]
        if len(texts) != len(points):
            raise ValueError(f"labels: got {len(texts)}, expected one for each of {len(points)} points")
        self.label, self.names = label, names
        kinds, kind = np.unique(texts, return_inverse=True)
        middle = [float(f"{(low + high) / 2:.3g}") for low, high in zip(self.low, self.high)]
        view = PadView(value=self.check(middle if value is None else value), low=self.low, high=self.high)
        view.points = points.numpy().astype("<f4").tobytes()
        view.kind = kind.astype("<u2").tobytes()
        view.kinds = kinds.tolist()
        view.names = list(names)
        view.label = label
        super().__init__(label, view)

    def check(self, value) -> tuple[float, float]:
        parts = zip("xy", _pair(self.label, value), self.low, self.high)
        return tuple(expect.number(f"{self.label} {axis}", v, low, high) for axis, v, low, high in parts)

    def text(self, value) -> str:
        return ", ".join(f"{name} {plain(float(v))}" for name, v in zip(self.names, value))


def _corners(points: Tensor, corners) -> tuple[tuple[float, float], tuple[float, float]]:
    if corners is None and len(points):
        margin = 0.05 * (points.amax(0) - points.amin(0)).clamp(min=1e-3)
        corners = (points.amin(0) - margin).tolist(), (points.amax(0) + margin).tolist()
    low, high = (_pair("corners", corner) for corner in corners or ((-3, -3), (3, 3)))
    if low[0] >= high[0] or low[1] >= high[1]:
        raise ValueError(f"corners: got {low} and {high}, expected the lowest (x, y), then the highest")
    return low, high


def _pair(name: str, value) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: got {value!r}, expected a pair (x, y)")
    return expect.number(name, value[0]), expect.number(name, value[1])


class PadView(anywidget.AnyWidget):
    """What a Pad shows: a focusable canvas; `value` is in the coordinates of the plane, to three digits of its size.

    The page sends one message at a time and keeps only the newest position meanwhile (ipywidgets' own throttle), so a
    fast drag over a slow picture ends on the last one.
    """

    value = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.0, 0.0)).tag(sync=True)
    low = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(-3.0, -3.0)).tag(sync=True)
    high = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(3.0, 3.0)).tag(sync=True)
    points = traitlets.CBytes(b"").tag(sync=True)  # float32 (N, 2)
    kind = traitlets.CBytes(b"").tag(sync=True)  # uint16 (N,), an index of `kinds`
    kinds = traitlets.List(traitlets.Unicode()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), ["x", "y"]).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    colours = traitlets.List(traitlets.Unicode(), COLOURS).tag(sync=True)

    _esm = """
    const SIDE = 340, LEFT = 34, BOTTOM = 34, INNER = SIDE - LEFT;      // CSS pixels
    const read = (view, type) => view?.byteLength ? new type(view.buffer.slice(view.byteOffset,
      view.byteOffset + view.byteLength)) : new type(0);
    function ticks(low, high) {                                        // round numbers, some four to seven
      const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
      const step = power * [1, 2, 5, 10].find((k) => k * power >= raw), out = [];
      for (let k = Math.ceil(low / step); k * step <= high; k++) out.push(Number((k * step).toPrecision(6)));
      return out;
    }
    function render({ model, el }) {
      const canvas = document.createElement("canvas"), readout = document.createElement("output");
      const ratio = window.devicePixelRatio || 1, paper = document.createElement("canvas");
      for (const sheet of [canvas, paper]) sheet.width = sheet.height = SIDE * ratio;
      const [low, high, names] = ["low", "high", "names"].map((name) => model.get(name));
      const span = [high[0] - low[0], high[1] - low[1]];
      const left = (x) => LEFT + (x - low[0]) / span[0] * INNER, top = (y) => (high[1] - y) / span[1] * INNER;
      const sketch = (sheet) => {
        const g = sheet.getContext("2d");
        g.setTransform(ratio, 0, 0, ratio, 0, 0);
        return g;
      };

      function background() {
        const g = sketch(paper), points = read(model.get("points"), Float32Array);
        const kind = read(model.get("kind"), Uint16Array), kinds = model.get("kinds"), colours = model.get("colours");
        g.fillStyle = "#fff"; g.fillRect(0, 0, SIDE, SIDE);
        g.font = "11px sans-serif"; g.textAlign = "center"; g.textBaseline = "middle"; g.lineWidth = 1;
        for (const axis of [0, 1]) for (const tick of ticks(low[axis], high[axis])) {
          const at = Math.round(axis ? top(tick) : left(tick)) + 0.5;
          g.strokeStyle = tick ? "#e4e4e4" : "#bbb"; g.beginPath();
          if (axis) { g.moveTo(LEFT, at); g.lineTo(SIDE, at); } else { g.moveTo(at, 0); g.lineTo(at, INNER); }
          g.stroke(); g.fillStyle = "#333";
          if (at > 8 && at < SIDE - 8) g.fillText(tick, axis ? LEFT / 2 + 4 : at, axis ? at : INNER + 9);
        }
        g.strokeStyle = "#888"; g.strokeRect(LEFT + 0.5, 0.5, INNER - 1, INNER - 1);
        g.font = "12px sans-serif"; g.fillText(names[0], LEFT + INNER / 2, SIDE - 8);
        g.save(); g.translate(7, INNER / 2); g.rotate(-Math.PI / 2); g.fillText(names[1], 0, 0); g.restore();
        g.font = "bold 11px sans-serif"; g.beginPath(); g.rect(LEFT, 0, INNER, INNER); g.clip();
        for (let i = 0; i < kind.length; i++) {
          const [x, y] = [left(points[2 * i]), top(points[2 * i + 1])], text = kinds[kind[i]];
          g.fillStyle = `color-mix(in srgb, ${colours[kind[i] % colours.length]} 78%, black)`;  // small, so darker
          if (text) g.fillText(text, x, y); else { g.beginPath(); g.arc(x, y, 2.5, 0, 7); g.fill(); }
        }
      }
      function show() {
        const g = sketch(canvas), [x, y] = model.get("value");
        g.drawImage(paper, 0, 0, SIDE, SIDE);
        for (const [width, colour] of [[5, "#fff"], [2.5, "#000"]]) {
          g.lineWidth = width; g.strokeStyle = colour; g.beginPath(); g.arc(left(x), top(y), 8, 0, 7); g.stroke();
        }
        g.fillStyle = "#000"; g.beginPath(); g.arc(left(x), top(y), 2, 0, 7); g.fill();
        readout.textContent = `${names[0]} ${x.toPrecision(3)}, ${names[1]} ${y.toPrecision(3)}`;
      }
      function snap(v, axis) {                                         // to three digits of the plane's size
        const unit = 10 ** Math.floor(Math.log10(span[axis]) - 2.5);
        return Number((Math.round(v / unit) * unit).toPrecision(6));
      }
      function move(x, y) {
        const inside = (v, axis) => Math.min(high[axis], Math.max(low[axis], Number(v.toPrecision(6))));
        model.set("value", [inside(x, 0), inside(y, 1)]);
        model.save_changes();
      }
      const point = (e) => move(snap(low[0] + (e.offsetX / canvas.clientWidth * SIDE - LEFT) / INNER * span[0], 0),
        snap(high[1] - e.offsetY / canvas.clientHeight * SIDE / INNER * span[1], 1));
      canvas.onpointerdown = (e) => { canvas.setPointerCapture(e.pointerId); point(e); };
      canvas.onpointermove = (e) => { if (canvas.hasPointerCapture(e.pointerId)) point(e); };
      canvas.onkeydown = (e) => {
        const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
        if (!way) return;
        e.preventDefault(); e.stopPropagation();
        const [x, y] = model.get("value");                             // no snap to the grid: the way back ends here
        move(x + way[0] * snap(span[0] / 40, 0), y + way[1] * snap(span[1] / 40, 1));
      };
      canvas.tabIndex = 0; canvas.className = "minidiff-canvas";
      canvas.setAttribute("role", "application");
      canvas.setAttribute("aria-label", `${model.get("label")}: point with the mouse, or use the arrow keys`);
      canvas.dataset.lmSuppressShortcuts = "true";                     // the arrow keys are ours, not the notebook's
      readout.setAttribute("aria-live", "polite");
      readout.className = "minidiff-readout"; el.classList.add("minidiff-pad");
      model.on("change:value", show);
      background(); show();
      el.append(canvas, readout);
    }
    export default { render };
    """
    _css = """
    .minidiff-pad { width: 340px; max-width: 100%; margin: 2px; }
    .minidiff-canvas { display: block; width: 100%; touch-action: none; cursor: crosshair; border-radius: 3px; }
    .minidiff-canvas:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
    .minidiff-readout { display: block; margin: 2px 0 2px 34px; color: var(--jp-ui-font-color1, inherit);
      font: 12px monospace; }
    """
