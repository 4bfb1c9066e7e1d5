"""The controls of an Explorer: each has a label, a unit, a value, and the default that Reset returns to."""

import ipywidgets
from ipywidgets import DOMWidget

from minidiff.support import expect


class Control:
    """One input of an Explorer. `shown` is the widget on the page; `source` is the one whose trait `value` moves.

    `width` is that of what stands beside its label, in CSS.
    """

    width = "280px"

    def __init__(self, label: str, source, shown: DOMWidget | None = None, unit: str = ""):
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"label: got {label!r}, expected a text that names the control")
        self.label = label
        self.unit = unit
        self.source = source
        self.shown = shown or source
        self.default = self.value
        if isinstance(self.source, ipywidgets.ValueWidget):
            self.source.description = self.source.tooltip = self.caption

    @property
    def caption(self) -> str:
        """The label with its unit: "speed (frames/s)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def value(self):
        """What `draw` is given. Setting it moves the control on the page too; ValueError for what it cannot show."""
        return self.source.value

    @value.setter
    def value(self, value):
        self.source.value = self.check(value)

    def check(self, value):
        """`value` if the control can take it, else a TypeError or ValueError that names the control."""
        raise NotImplementedError

    def text(self, value) -> str:
        """A short description of the control at `value`, for the title of a picture: "speed 2 frames/s"."""
        return f"{self.label} {plain(value)} {self.unit}".strip()

    def reset(self) -> None:
        """Back to the default."""
        self.value = self.default

    def close(self) -> None:
        """Take the control off the page and free it."""
        for part in {self.source, self.shown}:
            part.close()


class Slider(Control):
    """A number from `low` to `high` in steps; whole numbers if all four are. Arrow keys move it one step."""

    def __init__(self, label: str, low, high, step, value, unit: str = ""):
        self.whole = all(isinstance(number, int) for number in (low, high, step, value))
        self.low = expect.number("low", low)
        self.high = expect.number("high", high, low)
        value = expect.number("value", value, low, high)
        step = expect.number("step", step)
        if step <= 0:
            raise ValueError(f"step: got {step}, expected more than 0")
        places = max(0, len(f"{step:.6f}".rstrip("0").split(".")[1]))
        kind, form = (ipywidgets.IntSlider, "d") if self.whole else (ipywidgets.FloatSlider, f".{places}f")
        super().__init__(label, kind(value, min=low, max=high, step=step, readout_format=form), unit=unit)

    @property
    def value(self):
        """The number, a float without the slider's rounding noise (0.30000000000000004)."""
        return self.source.value if self.whole else float(f"{self.source.value:.9g}")

    @value.setter
    def value(self, value):
        self.source.value = self.check(value)

    def check(self, value):
        return (expect.integer if self.whole else expect.number)(self.label, value, self.low, self.high)


class Stops(Control):
    """A slider over the given `options` in their order, for what was computed ahead or is not evenly spaced."""

    def __init__(self, label: str, options, value, unit: str = ""):
        self.options = _hashable(options)
        value = expect.choice("value", value, self.options)
        texts = [(plain(option), option) for option in self.options]
        super().__init__(label, ipywidgets.SelectionSlider(options=texts, value=value), unit=unit)

    def check(self, value):
        return expect.choice(self.label, value, self.options)


class Choice(Control):
    """One of `options`, picked from a menu: a list, or a dict of the text shown -> the value `draw` is given."""

    def __init__(self, label: str, options, value, unit: str = ""):
        self.names = dict(options) if isinstance(options, dict) else {plain(option): option for option in options}
        value = expect.choice("value", value, _hashable(self.names.values()))
        super().__init__(label, ipywidgets.Dropdown(options=self.names, value=value), unit=unit)

    def check(self, value):
        return expect.choice(self.label, value, self.names.values())

    def text(self, value) -> str:
        return super().text(next(name for name, option in self.names.items() if option is value or option == value))


class Text(Control):
    """A line of text, handed over at Enter or when the line is left; `hint` stands in it while it is empty.

    The line is as long as the text that it starts with, and a note below it says that Enter applies.
    """

    def __init__(self, label: str, value: str = "", hint: str = ""):
        if not isinstance(value, str):
            raise TypeError(f"value: got {type(value).__name__}, expected a text")
        line = ipywidgets.Text(value, placeholder=hint, continuous_update=False)
        note = ipywidgets.HTML("Enter applies").add_class("minidiff-note")
        super().__init__(label, line, ipywidgets.VBox([line, note], layout={"align_items": "flex-end"}))
        self.width = f"{min(max(44, len(value) + 4), 84)}ch"

    def close(self) -> None:
        self.shown.children[1].close()
        super().close()

    def check(self, value) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{self.label}: got {type(value).__name__}, expected a text")
        return value

    def text(self, value) -> str:
        return f"{self.label}: {value or 'nothing'}"


def plain(value) -> str:
    """`value` as a short text: a float without trailing zeros."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _hashable(options) -> list:
    options = list(options)
    if not options:
        raise ValueError("options: got none, expected at least one")
    for option in options:
        try:
            hash(option)
        except TypeError:
            raise TypeError(f"options: got a {type(option).__name__}, expected values that can be hashed") from None
    return options
