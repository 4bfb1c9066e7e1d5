"""A laboratory: a GAN in the plane that plays while one watches, or moves one player at a time."""

import asyncio
import time
from collections.abc import Sequence
from threading import RLock

import ipywidgets
import numpy as np
import torch
from IPython import get_ipython
from matplotlib.figure import Figure

from minidiff import plot
from minidiff.lessons.lesson04.match import DATA, LOSSES, SIDE, Match
from minidiff.widgets.controls import Choice, Stops
from minidiff.widgets.picture import Picture, png

FRAME = 0.08  # seconds of play from one picture to the next


class Laboratory(ipywidgets.Box):
    """A `Match` beside its controls: play and pause, one move of either player, data, loss, momentum, reset.

    It starts paused and plays until it is paused: one asyncio task plays a few rounds, shows them, and lets the buttons
    answer. A choice of data, loss or momentum begins a new match.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.picture = Picture()
        self._task = None
        self._lock = RLock()
        self.controls = {
            "data": Choice("data", list(DATA), "ring of 8"),
            "loss": Choice("loss", list(LOSSES), "non-saturating"),
            "momentum": Stops("momentum", (0.0, 0.5, 0.9), 0.5),
        }
        for name, control in self.controls.items():
            control.shown.add_class(f"minidiff-{name}")
            control.source.observe(lambda _: self._begin(), "value")
        words = {
            "Play": lambda: self.stop() if self.playing else self.play(),
            "Move discriminator": lambda: self._step("move_discriminator"),
            "Move generator": lambda: self._step("move_generator"),
            "Reset": self.reset,
        }
        self.buttons = [ipywidgets.Button(description=word, layout={"width": "160px"}) for word in words]
        for button, action in zip(self.buttons, words.values()):
            button.on_click(lambda _, action=action: action())
        panel = ipywidgets.VBox([*(control.shown for control in self.controls.values()), *self.buttons])
        super().__init__([panel, self.picture], _dom_classes=["minidiff-explorer", "laboratory"])
        self.layout = dict(flex_flow="row wrap", align_items="flex-start", grid_gap="8px 24px", padding="4px")
        self.reset()

    @property
    def playing(self) -> bool:
        return self._task is not None

    def play(self) -> asyncio.Task:
        """Play until `stop`. RuntimeError without a running event loop: outside a notebook."""
        if not self.playing:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)
            self.buttons[0].description = "Pause"
        return self._task

    def stop(self) -> None:
        """Pause where it is."""
        self._task = None  # left to end by itself: a click may come on another thread than the task's
        self.buttons[0].description = "Play"

    def reset(self) -> None:
        """Every control back to its default, and a new match, paused."""
        for control in self.controls.values():
            control.reset()
        self._begin()

    def twin(self, rounds: Sequence[int] = (0, 100, 400, 1600)) -> Figure:
        """The match of these settings after some numbers of rounds, each with its score, for a page."""
        match = self._new()
        done = 0
        pages = []
        titles = []
        for count in rounds:
            match.play(count - done)
            done, (modes, good) = count, match.covered()
            pages.append(torch.tensor(np.asarray(match.draw(900 // len(rounds)))).permute(2, 0, 1) / 127.5 - 1)
            titles.append(f"round {count}: {modes} modes, {good:.0%} good")
        return plot.grid(torch.stack(pages), columns=len(pages), titles=titles, scale=1)

    def _begin(self) -> None:
        self.stop()
        self._show(self._new())

    def _new(self) -> Match:
        chosen = {name: control.value for name, control in self.controls.items()}
        return Match(DATA[chosen["data"]](), chosen["loss"], chosen["momentum"], self.seed)

    def _step(self, move: str) -> None:
        self.stop()
        with self._lock:
            getattr(self.match, move)()
            self._show(self.match)

    def _show(self, match: Match) -> None:
        with self._lock:
            self.match = match
            self.picture.show(png(match.draw(), SIDE), match.text())

    async def _run(self) -> None:
        mine = asyncio.current_task()
        while self._task is mine:
            with self._lock:
                began = time.perf_counter()
                match = self.match
                while time.perf_counter() - began < FRAME:
                    match.play(1)
                self._show(match)
            await asyncio.sleep(0.03)  # for the buttons, and for the page to draw

    def _ended(self, task: asyncio.Task) -> None:
        if task is self._task:
            self.stop()
        error = None if task.cancelled() else task.exception()
        if error and get_ipython():
            get_ipython().showtraceback((type(error), error, error.__traceback__))
