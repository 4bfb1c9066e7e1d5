"""A Paint: a picture to paint a mask on, with a finger, a mouse, or the arrow keys and the space bar."""

import anywidget
import numpy as np
import torch
import traitlets
from torch import Tensor

from minidiff.support import expect
from minidiff.widgets.controls import Control


class Paint(Control):
    """A mask over `picture` (3, H, W) in [-1, 1] as a control: `value` is bytes, one a pixel, 1 where it is painted.

    `mask(value)` makes it a bool tensor (H, W). `value`: the mask at the start, bool (H, W), by default empty. `brush`:
    the radius of a dab in pixels. `ink`: the colour of painted pixels, three numbers from 0 to 255; a chequered pattern
    unless given. `how`: the note above the pad. The page sends one message for each stroke.
    """

    def __init__(
        self, label: str, picture: Tensor, value: Tensor | None = None, brush: int = 2, ink=(), how: str | None = None
    ):
        picture = expect.tensor("picture", picture, "3 H W", finite=True).detach().cpu()
        self.label, self.height, self.width = label, *picture.shape[1:]
        value = torch.zeros(self.height, self.width, dtype=torch.bool) if value is None else value
        pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
        view = PaintView(width=self.width, height=self.height, brush=expect.integer("brush", brush, 0), label=label)
        view.ink, view.how = [expect.integer("ink", level, 0, 255) for level in ink], how or HOW
        view.pixels, view.value = pixels.numpy().tobytes(), self.check(value)
        super().__init__(label, view)

    def check(self, value) -> bytes:
        """`value`, bytes or a bool tensor (H, W), as bytes of 0 and 1."""
        if isinstance(value, Tensor) and value.dtype == torch.bool:
            if value.shape != (self.height, self.width):
                raise ValueError(f"{self.label}: got shape {tuple(value.shape)}, expected {self.height, self.width}")
            return value.cpu().numpy().astype(np.uint8).tobytes()
        if not isinstance(value, bytes):
            raise TypeError(f"{self.label}: got {type(value).__name__}, expected a bool tensor or bytes")
        if len(value) != self.height * self.width or set(value) - {0, 1}:
            wanted = f"{self.height * self.width} of 0 or 1"
            raise ValueError(f"{self.label}: got {len(value)} bytes of {sorted(set(value))[:4]}, expected {wanted}")
        return value

    def mask(self, value: bytes) -> Tensor:
        """The bytes as a bool tensor (H, W)."""
        return torch.tensor(list(value), dtype=torch.bool).reshape(self.height, self.width)

    def text(self, value) -> str:
        return f"{self.label}: {self.mask(self.check(value)).float().mean().item():.0%} of the picture"


HOW = "Paint over what is to be drawn anew, with the mouse or a finger. By keys: arrows move, the space bar paints."


class PaintView(anywidget.AnyWidget):
    """What a Paint shows: the picture, and ink or a chequered pattern where it is painted. `value`, `pixels`: bytes."""

    value = traitlets.CBytes(b"").tag(sync=True)  # uint8 (H, W), 0 or 1
    pixels = traitlets.CBytes(b"").tag(sync=True)  # uint8 (H, W, 3)
    width = traitlets.Int(32).tag(sync=True)
    height = traitlets.Int(32).tag(sync=True)
    brush = traitlets.Int(2).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    ink = traitlets.List(traitlets.Int()).tag(sync=True)  # three levels, or none for the pattern
    how = traitlets.Unicode(HOW).tag(sync=True)

    _esm = """
    const read = (view) => new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    function render({ model, el }) {
      const [width, height, brush, label] = ["width", "height", "brush", "label"].map((name) => model.get(name));
      const canvas = document.createElement("canvas"), readout = document.createElement("output");
      const clear = document.createElement("button"), g = canvas.getContext("2d"), how = document.createElement("div");
      let mask = read(model.get("value")), last = null, at = [width >> 1, height >> 1];
      [canvas.width, canvas.height] = [width, height];

      function show() {
        const pixels = read(model.get("pixels")), image = g.createImageData(width, height), ink = model.get("ink");
        for (let i = 0; i < width * height; i++) {
          const light = (i % width + Math.floor(i / width)) % 2 ? 235 : 165;  // the usual sign of "nothing here"
          const painted = ink.length ? ink : [light, light, light];
          const rgb = mask[i] ? painted : pixels.subarray(3 * i, 3 * i + 3);
          image.data.set([...rgb, 255], 4 * i);
        }
        g.putImageData(image, 0, 0);
        if (document.activeElement === canvas) { g.strokeStyle = "#000"; g.strokeRect(at[0], at[1], 1, 1); }
        readout.textContent = `painted: ${mask.reduce((sum, bit) => sum + bit, 0)} of ${width * height} pixels`;
      }
      function dab(x, y) {                                             // a disc of pixels around that of (x, y)
        const [column, row] = [Math.floor(x), Math.floor(y)], inside = (k, size) => k >= 0 && k < size;
        for (let j = -brush; j <= brush; j++) for (let i = -brush; i <= brush; i++)
          if (Math.hypot(i, j) <= brush + 0.5 && inside(column + i, width) && inside(row + j, height))
            mask[(row + j) * width + column + i] = 1;
      }
      function stroke(e) {                                             // dabs on the way from the last place: no gaps
        const to = [e.offsetX / canvas.clientWidth * width, e.offsetY / canvas.clientHeight * height];
        const from = last ?? to, steps = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])) || 1;
        for (let k = 0; k <= steps; k++)
          dab(from[0] + (to[0] - from[0]) * k / steps, from[1] + (to[1] - from[1]) * k / steps);
        last = to; at = to.map(Math.floor); show();
      }
      function send() {
        model.set("value", new DataView(mask.slice().buffer));
        model.save_changes();
      }
      canvas.onpointerdown = (e) => { canvas.setPointerCapture(e.pointerId); last = null; stroke(e); };
      canvas.onpointermove = (e) => { if (canvas.hasPointerCapture(e.pointerId)) stroke(e); };
      canvas.onpointerup = canvas.onpointercancel = () => { last = null; send(); };
      canvas.onkeydown = (e) => {
        const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[e.key];
        if (!way) return;
        e.preventDefault(); e.stopPropagation();
        at = [Math.min(width - 1, Math.max(0, at[0] + way[0])), Math.min(height - 1, Math.max(0, at[1] + way[1]))];
        if (e.key === " ") { dab(...at); send(); }
        show();
      };
      canvas.onfocus = canvas.onblur = show;
      clear.textContent = "Clear"; clear.className = "jupyter-button";
      clear.onclick = () => { mask.fill(0); show(); send(); };
      canvas.tabIndex = 0; canvas.className = "minidiff-paint-canvas";
      canvas.setAttribute("role", "application");
      canvas.setAttribute("aria-label", `${label}: paint with the mouse, or move by arrow keys and paint by space`);
      canvas.dataset.lmSuppressShortcuts = "true";                     // the keys are ours, not the notebook's
      readout.className = "minidiff-readout"; readout.setAttribute("aria-live", "polite");
      el.classList.add("minidiff-paint");
      model.on("change:value", () => { mask = read(model.get("value")); show(); });
      show();
      how.className = "minidiff-note"; how.textContent = model.get("how");
      el.append(how, canvas, readout, clear);
    }
    export default { render };
    """
    _css = """
    .minidiff-paint { width: 320px; max-width: 100%; margin: 2px; }
    .minidiff-paint-canvas { display: block; width: 100%; touch-action: none; cursor: crosshair;
      image-rendering: pixelated; border-radius: 3px; }
    .minidiff-paint-canvas:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
    .minidiff-paint .minidiff-readout { display: inline-block; margin: 4px 12px 2px 0; font: 12px monospace;
      color: var(--jp-ui-font-color1, inherit); }
    """
