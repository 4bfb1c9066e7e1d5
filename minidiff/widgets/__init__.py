"""Things to play with in a notebook: an `Explorer` redraws one picture as its controls move.

    Explorer(draw, alt="a digit at temperature {temperature}", temperature=Slider("temperature", 0, 2, 0.1, 1.0))

`draw(temperature=1.0)` returns the picture; each keyword names a control: `Slider`, `Stops`, `Choice`, `Text`, `Pad` (a
plane to point at), `Paint` (a mask painted over a picture) or `Player` (a frame number that plays). A lesson's own
widgets are in `minidiff.widgets.lessonNN`: functions that return an Explorer.
"""

from minidiff.widgets.controls import Choice, Control, Slider, Stops, Text
from minidiff.widgets.explorer import Explorer
from minidiff.widgets.pad import Pad
from minidiff.widgets.paint import Paint
from minidiff.widgets.picture import Picture, png
from minidiff.widgets.player import Frames, Player

__all__ = [
    "Choice",
    "Control",
    "Explorer",
    "Frames",
    "Pad",
    "Paint",
    "Picture",
    "Player",
    "Slider",
    "Stops",
    "Text",
    "png",
]
