"""A picture on the page, with a text for those who cannot see it, a busy mark, and a line for what went wrong."""

import base64
import io

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from minidiff import plot
from minidiff.support import expect

SIZE = 256  # screen pixels, at least, for the width of a picture


def png(picture, size: int = SIZE, columns: int = 8, rows=(), heads=()) -> bytes:
    """`picture` as the bytes of a PNG file.

    An array or tensor (H, W), (C, H, W) or (N, C, H, W) in [-1, 1] is enlarged by a whole factor, so that every pixel
    stays a sharp square, to at least `size` screen pixels in width, and 64 for each of N pictures, which lie `columns`
    to a row; or with the texts `rows` beside their rows, or `heads` above the columns. A PIL image is taken for an
    array (H, W, 3). A figure (or its axes) is saved and closed; bytes are given back. TypeError for anything else,
    ValueError for a wrong shape or NaN.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, (Figure, Axes)):
        return _saved(picture.figure if isinstance(picture, Axes) else picture)
    if isinstance(picture, Image.Image):
        picture = torch.tensor(np.asarray(picture.convert("RGB"))).permute(2, 0, 1) / 127.5 - 1
    x = _batch(picture)
    if rows or heads:
        return _saved(_named(x, tuple(rows), tuple(heads)))
    columns = min(expect.integer("columns", columns, 1), len(x))
    width = max(1, x.shape[-1])
    scale = max(1, -(-expect.integer("size", size, 1) // (width * columns)), -(-plot.CELL // width) * (len(x) > 1))
    buffer = io.BytesIO()
    Image.fromarray(plot.tile(x, columns, scale=scale)).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def _batch(picture) -> torch.Tensor:
    if not isinstance(picture, (torch.Tensor, np.ndarray)):
        raise TypeError(f"draw: got {type(picture).__name__}, expected an array in [-1, 1], an image or a figure")
    x = torch.as_tensor(picture)
    if not 2 <= x.ndim <= 4:
        raise ValueError(f"draw: got shape {tuple(x.shape)}, expected (H, W), (C, H, W) or (N, C, H, W)")
    return x.reshape(1, *[1] * (3 - x.ndim), *x.shape) if x.ndim < 4 else x


def _named(x: torch.Tensor, rows: tuple[str, ...], heads: tuple[str, ...]) -> Figure:
    """The pictures under their heads, or in as many rows as have a name."""
    if len(x) % (count := len(rows or heads)):
        raise ValueError(f"draw: got {len(x)} pictures, expected a multiple of {count}, for {rows or heads}")
    if rows:
        return plot.rows(dict(zip(rows, x.chunk(count))))
    titles = [*heads, *[""] * (len(x) - count)]
    return plot.grid(x, columns=count, titles=titles, scale=max(1, 96 // x.shape[-1]))


def _saved(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    plt.close(figure)
    return buffer.getvalue()


class Picture(anywidget.AnyWidget):
    """An <img> on the page: `src` is a data URL, `alt` its text, `busy` a mark, `error` a line shown instead."""

    src = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)

    def show(self, data: bytes, alt: str) -> None:
        """Show the PNG `data`, described by `alt`."""
        with self.hold_sync():
            self.src = "data:image/png;base64," + base64.b64encode(data).decode()
            self.alt, self.error, self.busy = alt, "", False

    def fail(self, error: BaseException) -> None:
        """Show one line about `error` and no picture: the old one would not be what the controls say."""
        with self.hold_sync():
            self.src, self.alt, self.busy = "", "", False
            self.error = f"{type(error).__name__}: {error}".splitlines()[0]

    _esm = """
    function named(slider) {                                           // ipywidgets gives its sliders no spoken name,
      const handle = slider.querySelector("[role=slider]"), readout = slider.querySelector(".widget-readout");
      const speak = () => {                                            // and 0.26000000000000006 or "3" for a value
        if (handle.getAttribute("aria-valuetext") !== readout.textContent)
          handle.setAttribute("aria-valuetext", readout.textContent);
      };
      if (!handle || !readout) return;
      handle.setAttribute("aria-label", slider.querySelector("label").textContent);
      const watched = { subtree: true, childList: true, characterData: true, attributeFilter: ["aria-valuetext"] };
      new MutationObserver(speak).observe(slider, watched);
      speak();
    }
    function render({ model, el }) {
      const [img, error, busy] = ["img", "div", "div"].map((tag) => document.createElement(tag));
      error.setAttribute("role", "alert");
      busy.textContent = "drawing …";
      const show = () => {
        const src = model.get("src");
        img.hidden = !src;
        if (!src) img.removeAttribute("src");
        else if (img.src !== src) img.src = src;                       // set again, it would flicker
        img.alt = model.get("alt");
        error.textContent = model.get("error");
        error.hidden = !model.get("error");
        busy.className = model.get("busy") ? "minidiff-busy minidiff-on" : "minidiff-busy";
        el.setAttribute("aria-busy", model.get("busy"));
      };
      el.classList.add("minidiff-picture");
      img.className = "minidiff-image";
      error.className = "minidiff-error";
      model.on("change", show);
      show();
      el.append(img, error, busy);
      new ResizeObserver((_, first) => {                               // on the page now, beside the controls:
        first.disconnect();
        const controls = (kind) => el.closest(".minidiff-explorer")?.querySelectorAll(kind) ?? [];
        for (const slider of controls(".widget-slider")) named(slider);
        for (const part of controls("select, button"))                 // their keys are theirs, not the notebook's
          part.dataset.lmSuppressShortcuts = "true";
      }).observe(el);
    }
    export default { render };
    """
    _css = """
    .minidiff-explorer > .widget-vbox { min-width: 0; max-width: 100%; }
    .minidiff-explorer > .widget-vbox:has(.minidiff-pad) { flex: 1 1 240px; max-width: 372px; }
    .minidiff-explorer .widget-inline-hbox, .minidiff-explorer .widget-vbox { max-width: 100%; }
    @media (max-width: 640px) {                                        /* a telephone: labels above, not beside */
      .minidiff-explorer .widget-inline-hbox { flex-wrap: wrap; height: auto; }
      .minidiff-explorer .widget-inline-hbox > .widget-label { width: 100% !important; text-align: left; }
      .minidiff-explorer .widget-inline-hbox > :is(.slider-container, input, select) { flex: 1 1 0; min-width: 0; }
    }
    .minidiff-explorer.jupyter-widgets-disconnected::after {           /* ipywidgets shows a broken chain, no word */
      content: "The kernel was restarted, so this cannot answer. Run the cells again."; order: -1; flex-basis: 90%;
      color: var(--jp-error-color1, #c62828); }
    .minidiff-note { margin: 0 2px 4px; color: var(--jp-ui-font-color2, inherit); font-size: 12px; line-height: 1.3; }
    .minidiff-picture { position: relative; min-width: 160px; min-height: 40px; max-width: 100%;
      margin: 2px; }
    .minidiff-image { display: block; max-width: 100%; image-rendering: pixelated;
      outline: 1px solid var(--jp-border-color1, #bbb); }
    .minidiff-image[hidden], .minidiff-error[hidden] { display: none; }
    .minidiff-error { max-width: 480px; padding: 6px 10px; overflow-wrap: anywhere; border-left: 4px solid #c62828;
      color: var(--jp-ui-font-color1, #111); background: var(--jp-layout-color2, #eee); font-family: monospace; }
    .minidiff-busy { position: absolute; top: 6px; left: 6px; padding: 2px 8px; border-radius: 4px; opacity: 0;
      color: #fff; background: #222c; font: 12px sans-serif; pointer-events: none; }
    .minidiff-busy.minidiff-on { opacity: 1; transition: opacity 0.1s 0.15s; }
    """
