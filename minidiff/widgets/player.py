"""A Player: a frame number that can be played, paused, stepped and scrubbed; and Frames, computed as far as needed."""

import asyncio
from collections.abc import Iterable
from threading import RLock

import ipywidgets
from IPython import get_ipython

from minidiff.support import expect
from minidiff.widgets.controls import Control

SPEEDS = (1, 2, 4, 8, 16, 32)  # frames a second
WORDS = ("First", "Back", "Play", "Next")
NARROW = {"width": "62px"}


class Player(Control):
    """The frame 0 … count - 1 as a control: `Explorer(lambda step: frames[step], step=Player("step", len(frames)))`.

    It starts paused, plays to the last frame and pauses there; played again it begins anew. One asyncio task on the
    kernel's loop sets the frame, waits, and goes on, so a slow picture slows it down and the buttons still answer.
    """

    def __init__(self, label: str, count: int, value: int = 0, unit: str = "", speed: int = 8):
        self.last = expect.integer("count", count, 1) - 1
        value = expect.integer("value", value, 0, self.last)
        frame = ipywidgets.IntSlider(value, min=0, max=self.last)
        speed = expect.choice("speed", speed, SPEEDS)
        self._speed = ipywidgets.Dropdown(
            options=SPEEDS, value=speed, description="frames/s", layout={"width": "124px"}
        )
        self._speed.style.description_width = "initial"
        self._bar = ipywidgets.HBox([*self._buttons(), self._speed])
        self._task = None
        shown = ipywidgets.VBox([frame, self._bar], layout={"align_items": "flex-end"})
        super().__init__(label, frame, shown, unit)

    @property
    def playing(self) -> bool:
        """Whether it plays."""
        return self._task is not None

    def play(self) -> asyncio.Task:
        """Play to the end, from the start if it is there. The task, once awaited, raises what a picture raised.

        RuntimeError without a running event loop: outside a notebook.
        """
        if not self.playing:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)
            self._show()
        return self._task

    def stop(self) -> None:
        """Pause where it is."""
        # Left to end by itself: a click may be handled on another thread than the one whose loop has the task.
        self._task = None
        self._show()

    def step(self, frames: int) -> None:
        """Pause, and go that many frames on, or back if negative, as far as there are any."""
        self.stop()
        self.value = min(max(self.value + expect.integer("frames", frames), 0), self.last)

    def reset(self) -> None:
        self.stop()
        super().reset()

    def check(self, value) -> int:
        return expect.integer(self.label, value, 0, self.last)

    def close(self) -> None:
        self.stop()
        for part in (*self._bar.children, self._bar):
            part.close()
        super().close()

    async def _run(self) -> None:
        mine = asyncio.current_task()
        if self.value == self.last:
            self.value = 0
        while self.value < self.last:
            await asyncio.sleep(1 / self._speed.value)
            if self._task is not mine:  # paused, perhaps played again
                return
            self.value = min(self.value + 1, self.last)

    def _ended(self, task: asyncio.Task) -> None:
        if task is self._task:
            self.stop()
        error = None if task.cancelled() else task.exception()
        if error and get_ipython():
            get_ipython().showtraceback((type(error), error, error.__traceback__))

    def _buttons(self) -> list:
        # Words, not icons: a screen reader has no name for an icon font's letters.
        first, back, play, on = (ipywidgets.Button(description=text, layout=NARROW) for text in WORDS)
        first.on_click(lambda _: self.step(-self.last))
        back.on_click(lambda _: self.step(-1))
        play.on_click(lambda _: self.stop() if self.playing else self.play())
        on.on_click(lambda _: self.step(1))
        return [first, back, play, on]

    def _show(self) -> None:
        self._bar.children[2].description = "Pause" if self.playing else "Play"


class Frames:
    """The items of `source` by number, each computed when it or a later one is first asked for, and kept.

    So what takes long can be watched while it is computed, and stopped: `frames = Frames(sample(...))`, then
    `Explorer(lambda step: frames[step], step=Player("step", count))`. IndexError past the last item.
    """

    def __init__(self, source: Iterable):
        self._rest = iter(source)
        self._kept = []
        self._lock = RLock()

    def __getitem__(self, k: int):
        k = expect.integer("frame", k, 0)
        with self._lock:  # widgets answer on a thread of their own while cells run
            while len(self._kept) <= k:
                try:
                    self._kept.append(next(self._rest))
                except StopIteration:
                    raise IndexError(f"frame: got {k}, expected less than {len(self._kept)}") from None
        return self._kept[k]
