"""The base widgets without a browser: pictures, controls, Explorer, Player, and what a notebook shows of them."""

import asyncio
import base64
import gc
import io
import threading
import time
import weakref

import ipywidgets
import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.widgets import Choice, Explorer, Frames, Pad, Paint, Player, Slider, Stops, Text, png


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def on_show(explorer) -> np.ndarray:
    """The picture the Explorer shows."""
    return pixels(base64.b64decode(explorer.picture.src.removeprefix("data:image/png;base64,")))


def flat(level) -> torch.Tensor:
    return torch.full((4, 4), float(level))


def level(explorer) -> float:
    """The level of the `flat` picture that is shown."""
    [found] = np.unique(on_show(explorer))
    return found / 127.5 - 1


# pictures


def test_png_enlarges_each_pixel_to_a_square():
    x = torch.linspace(-1, 1, 16 * 16).reshape(16, 16)
    page = pixels(png(x))
    assert page.shape == (256, 256, 3)
    assert (page == np.kron(((x.numpy() + 1) * 127.5).round(), np.ones((16, 16)))[..., None]).all()
    for same in (x[None], x[None, None], x.numpy(), x.double(), x.clone().requires_grad_()):
        assert png(same) == png(x)


@pytest.mark.parametrize(
    "shape, size", [((100, 50), (600, 300)), ((3, 300, 300), (300, 300)), ((10, 1, 16, 16), (132, 540))]
)
def test_png_is_large_enough_to_see(shape, size):
    assert pixels(png(torch.zeros(shape))).shape == (*size, 3)


def test_png_lays_many_pictures_in_a_grid():
    page = pixels(png(torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, 8, 8), size=1, columns=2))
    assert page.shape == (17 * 8, 17 * 8, 3)
    assert page[0, 0].tolist() == [0] * 3 and page[0, -1].tolist() == [128] * 3 and page[-1, 0].tolist() == [255] * 3


def test_rows_and_columns_of_pictures_carry_their_names():
    x = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 1, 16, 16)
    for kind in ("rows", "heads"):
        page, other = (pixels(png(x, **{kind: names})) for names in (("noisy", "clean"), ("noisy", "mixed")))
        assert len(np.unique(page)) > 40 and not np.array_equal(page, other)  # the greys of letters
    with pytest.raises(ValueError, match="got 4 pictures, expected a multiple of 3"):
        png(x, rows=("a", "b", "c"))


def test_png_takes_images_figures_and_bytes():
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert (pixels(png(Image.fromarray(colours)))[::16, ::16] == colours).all()
    for drawn in (plt.figure(figsize=(3, 2), dpi=100), plt.figure(figsize=(3, 2), dpi=100).subplots()):
        data = png(drawn)
        assert pixels(data).shape == (200, 300, 3) and png(data) is data
    assert not plt.get_fignums()  # closed, or the notebook would show them too


@pytest.mark.parametrize(
    "picture, error, words",
    [
        (None, TypeError, "draw: got NoneType"),
        ([[0.0]], TypeError, "draw: got list"),
        (torch.zeros(3), ValueError, "draw: got shape .3,."),
        (torch.zeros(1, 1, 1, 2, 2), ValueError, "draw: got shape"),
        (torch.zeros(2, 8, 8), ValueError, "1 or 3 channels"),
        (torch.zeros(8, 8, dtype=torch.uint8), TypeError, "float tensor"),
        (torch.zeros(0, 8), ValueError, "empty"),
        (torch.full((8, 8), torch.nan), ValueError, "NaN"),
    ],
)
def test_png_refuses_what_is_no_picture(picture, error, words):
    with pytest.raises(error, match=words):
        png(picture)


# controls


def test_slider_gives_whole_numbers_or_rounded_floats():
    whole, part = Slider("k", 0, 9, 1, 3), Slider("t", 0, 2, 0.1, 1, unit="s")
    assert type(whole.value) is int and type(part.value) is float
    part.source.value = 0.1 * 3
    assert part.value == 0.3 and part.text(part.value) == "t 0.3 s" and part.caption == "t (s)"
    assert part.source.readout_format == ".1f" and Slider("t", 0, 1, 0.025, 0).source.readout_format == ".3f"
    part.reset()
    assert part.value == 1.0


def test_stops_and_choices_give_the_option():
    stops, menu = Stops("beta", [0.1, 1, 10], 1), Choice("tone", {"dark": -1, "light": 1}, 1)
    assert [text for text, _ in stops.source.options] == ["0.1", "1", "10"]
    stops.value, menu.value = 10, -1
    assert stops.value == 10 and menu.value == -1 and menu.text(-1) == "tone dark"
    assert Choice("kind", ["a", "b"], "a").value == "a"


def test_pad_frames_its_points_and_starts_in_the_middle():
    points = torch.tensor([[0.0, -10.0], [2.0, 30.0]])
    pad = Pad("code", points, ["a", "b"], names=("u", "v"))
    assert pad.low == pytest.approx((-0.1, -12)) and pad.high == pytest.approx((2.1, 32))
    assert pad.value == (1.0, 10.0) and pad.text((0.5, 2.0)) == "u 0.5, v 2"
    assert np.frombuffer(pad.source.points, "<f4").tolist() == points.flatten().tolist()
    assert pad.source.kinds == ["a", "b"] and np.frombuffer(pad.source.kind, "<u2").tolist() == [0, 1]
    assert Pad("code", points, torch.tensor([7, 3])).source.kinds == ["3", "7"]
    assert Pad("code").value == (0.0, 0.0) and Pad("code").high == (3.0, 3.0)


def test_a_text_is_handed_over_whole():
    line = Text("prompt", "a red circle", hint="type")
    assert line.value == line.default == "a red circle" and not line.source.continuous_update
    line.value = ""
    assert line.text(line.value) == "prompt: nothing" and line.text("x") == "prompt: x"
    line.reset()
    assert line.value == "a red circle"
    _, note = line.shown.children
    assert note.value == "Enter applies"
    assert (line.width, Text("prompt", "word " * 12).width, Text("prompt", "word " * 40).width) == (
        "44ch",
        "64ch",
        "84ch",
    )
    line.close()
    assert note.comm is None


def test_a_mask_is_bytes_on_the_page_and_a_tensor_here():
    start = torch.zeros(4, 6, dtype=torch.bool)
    start[1, 2] = start[3, 5] = True
    pad = Paint("mask", torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 4, 6), start)
    assert pad.source.pixels[:3] == bytes([255, 128, 0]) and len(pad.source.pixels) == 72
    assert len(pad.value) == 24 and torch.equal(pad.mask(pad.value), start)
    assert pad.text(start) == "mask: 8% of the picture"
    pad.source.value = memoryview(bytes(24))  # as it comes from the page
    assert not pad.mask(pad.value).any()
    pad.value = ~start
    assert torch.equal(pad.mask(pad.value), ~start)
    pad.reset()
    assert torch.equal(pad.mask(pad.value), start)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: Slider("", 0, 1, 0.1, 0), ValueError, "label: got ''"),
        (lambda: Slider("t", 0, 1, 0.1, 2), ValueError, "value: got 2"),
        (lambda: Slider("t", 1, 0, 0.1, 0), ValueError, "high: got 0"),
        (lambda: Slider("t", 0, 1, 0, 0), ValueError, "step: got 0"),
        (lambda: Slider("t", 0, "1", 0.1, 0), TypeError, "high: got '1'"),
        (lambda: setattr(Slider("t", 0, 1, 0.1, 0), "value", 7), ValueError, "t: got 7"),
        (lambda: setattr(Slider("k", 0, 9, 1, 0), "value", 1.5), TypeError, "k: got 1.5"),
        (lambda: Stops("k", [], 0), ValueError, "value: got 0|options: got none"),
        (lambda: Stops("k", [1, 2], 3), ValueError, "value: got 3"),
        (lambda: Stops("k", [[1], [2]], [1]), TypeError, "options: got a list"),
        (lambda: Choice("k", {"a": 1}, "a"), ValueError, "value: got 'a'"),
        (lambda: setattr(Choice("k", ["a"], "a"), "value", "b"), ValueError, "k: got 'b'"),
        (lambda: Pad("z", torch.zeros(3, 3)), ValueError, "points: "),
        (lambda: Pad("z", torch.zeros(3, 2), [1]), ValueError, "labels: got 1, .*3 points"),
        (lambda: Pad("z", corners=((0, 0), (1, 0))), ValueError, "corners: "),
        (lambda: Pad("z", corners=(0, 1)), TypeError, "corners: got 0"),
        (lambda: Pad("z", value=(9, 0)), ValueError, "z x: got 9"),
        (lambda: Pad("z", value=3), TypeError, "z: got 3"),
        (lambda: Text("prompt", 3), TypeError, "value: got int"),
        (lambda: setattr(Text("prompt"), "value", None), TypeError, "prompt: got NoneType"),
        (lambda: Paint("mask", torch.zeros(1, 4, 4)), ValueError, "picture: "),
        (lambda: Paint("mask", torch.zeros(3, 4, 4), ink=(0, 0, 300)), ValueError, "ink: got 300"),
        (lambda: Paint("mask", torch.zeros(3, 4, 4), torch.zeros(5, 4) > 0), ValueError, "mask: got shape .5, 4."),
        (lambda: Paint("mask", torch.zeros(3, 4, 4), torch.zeros(4, 4)), TypeError, "mask: got Tensor"),
        (lambda: setattr(Paint("mask", torch.zeros(3, 2, 2)), "value", b"aaaa"), ValueError, "mask: got 4 bytes"),
        (lambda: setattr(Paint("mask", torch.zeros(3, 2, 2)), "value", b"a"), ValueError, "expected 4 of 0 or 1"),
        (lambda: Player("k", 0), ValueError, "count: got 0"),
        (lambda: Player("k", 3, value=3), ValueError, "value: got 3"),
        (lambda: Player("k", 3, speed=3), ValueError, "speed: got 3"),
        (lambda: Frames([1, 2])[2], IndexError, "frame: got 2, expected less than 2"),
        (lambda: Frames([1, 2])[-1], ValueError, "frame: got -1"),
        (lambda: Explorer(flat, alt="x", level=3), TypeError, "level: got int"),
        (lambda: Explorer(None, alt="x"), TypeError, "draw: got NoneType"),
        (lambda: Explorer(flat, alt="", level=Slider("l", 0, 1, 1, 0)), TypeError, "alt: got ''"),
        (lambda: Explorer(flat, alt="{lvl:.1f}", level=Slider("l", 0, 1, 1, 0)), ValueError, "alt: got .'lvl'."),
        (lambda: Explorer(flat, alt="x", columns=0, level=Slider("l", 0, 1, 1, 0)), ValueError, "columns: got 0"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


# the Explorer


@pytest.fixture
def explorer():
    """A flat picture of level sign * amount; `drawn` lists what was drawn."""
    drawn = []

    def draw(amount, sign):
        drawn.append((amount, sign))
        return flat(amount * sign)

    amount, sign = Slider("amount", 0.0, 1.0, 0.2, 0.2), Choice("sign", {"plus": 1, "minus": -1}, 1)
    made = Explorer(draw, alt="level {amount} with sign {sign}", amount=amount, sign=sign)
    made.drawn = drawn
    return made


def test_explorer_draws_what_the_controls_say(explorer):
    assert level(explorer) == pytest.approx(0.2, abs=0.01) and explorer.picture.alt == "level 0.2 with sign 1"
    explorer.controls["amount"].source.value = 0.6  # as the page does
    assert level(explorer) == pytest.approx(0.6, abs=0.01) and explorer.picture.alt == "level 0.6 with sign 1"
    explorer.controls["sign"].source.value = -1
    assert level(explorer) == pytest.approx(-0.6, abs=0.01) and not explorer.picture.busy


def test_explorer_draws_the_same_values_once(explorer):
    for amount in (0.4, 0.2, 0.4, 0.2):
        explorer.set(amount=amount)
    assert explorer.drawn == [(0.2, 1), (0.4, 1)]


def test_explorer_moves_many_controls_in_one_go(explorer):
    explorer.set(amount=1.0, sign=-1)
    assert explorer.drawn[1:] == [(1.0, -1)] and explorer.values == {"amount": 1.0, "sign": -1}
    explorer.reset()
    assert explorer.values == {"amount": 0.2, "sign": 1} and level(explorer) == pytest.approx(0.2, abs=0.01)
    assert explorer.drawn[2:] == []


def test_the_reset_button_resets(explorer):
    explorer.set(amount=1.0)
    [button] = [part for part in explorer.children[0].children if isinstance(part, ipywidgets.Button)]
    button.click()
    assert explorer.values == {"amount": 0.2, "sign": 1}


def test_explorer_refuses_what_it_cannot_show(explorer):
    with pytest.raises(ValueError, match="control: got 'size'.*'amount', 'sign'"):
        explorer.set(size=3)
    with pytest.raises(ValueError, match="amount: got 3"):
        explorer.set(sign=-1, amount=3)
    assert explorer.values == {"amount": 0.2, "sign": 1}  # nothing moved
    with pytest.raises(ValueError, match="settings: got none"):
        explorer.twin([])


def test_an_error_is_shown_and_raised_and_forgotten():
    failing = Explorer(lambda k: 1 / k * flat(1), alt="number {k}", k=Slider("k", 0, 2, 1, 1))
    with pytest.raises(ZeroDivisionError):
        failing.controls["k"].source.value = 0
    picture = failing.picture
    assert picture.error.startswith("ZeroDivisionError: ") and (picture.src, picture.alt, picture.busy) == (
        "",
        "",
        False,
    )
    failing.reset()
    assert picture.src and picture.alt == "number 1" and not picture.error
    with pytest.raises(TypeError, match="draw: got NoneType"):
        Explorer(lambda: None, alt="nothing")


def test_the_busy_mark_is_there_while_it_draws():
    seen = []

    def draw(k):
        seen.extend(each.picture.busy for each in made)
        return flat(0)

    made = []
    made.append(Explorer(draw, alt="x", k=Slider("k", 0, 2, 1, 1)))
    made[0].set(k=2)
    assert seen == [True] and not made[0].picture.busy


def test_explorer_answers_two_threads():
    begun = threading.Event()

    def draw(amount):
        if amount == 0.5:
            begun.set()
            time.sleep(0.2)
        return flat(amount)

    made = Explorer(draw, alt="{amount}", amount=Slider("amount", 0.0, 1.0, 0.1, 0.0))
    slow = threading.Thread(target=setattr, args=(made.controls["amount"].source, "value", 0.5))
    slow.start()
    assert begun.wait(60)
    made.controls["amount"].source.value = 1.0
    slow.join()
    assert level(made) == 1 and made.picture.alt == "1.0"  # the slow one does not come after it


def test_twin_draws_each_setting_and_moves_nothing(explorer):
    explorer.set(amount=0.8, sign=-1)
    figure = explorer.twin([{}, {"amount": 1}, {"amount": 0.4, "sign": -1}], title="Levels")
    page = figure.axes[0].images[0].get_array()
    middle = [page[-20, page.shape[1] * (2 * k + 1) // 6, 0] / 127.5 - 1 for k in range(3)]
    assert middle == pytest.approx([0.2, 1, -0.4], abs=0.01)
    found = [text.get_text() for text in figure.axes[0].texts]
    assert found == ["", "amount 1", "amount 0.4, sign minus"] and figure.axes[0].get_title() == "Levels"
    assert explorer.values == {"amount": 0.8, "sign": -1} and explorer.picture.alt == "level 0.8 with sign -1"


def test_twin_of_figures_of_different_sizes():
    made = Explorer(lambda k: plt.figure(figsize=(k, 2)), alt="{k}", k=Slider("k", 1, 5, 1, 2))
    width, height = made.twin([{"k": 1}, {"k": 5}]).get_size_inches()
    assert width > 10 and 2 < height < 3 and len(plt.get_fignums()) == 1


def test_closing_frees_everything():
    parts = dict(k=Player("k", 5), z=Pad("z"), c=Choice("c", "ab", "a"), b=Stops("b", [1, 2], 1))
    made = Explorer(lambda **values: flat(0), alt="x", **parts)
    gone = weakref.ref(made)
    made.close()
    del made, parts
    gc.collect()
    assert gone() is None


def test_time_from_draw_to_picture():
    x = torch.rand(10, 1, 16, 16)
    made = Explorer(lambda k: x, alt="{k}", k=Slider("k", 0, 200, 1, 0))
    times = []
    for k in range(1, 201):
        start = time.perf_counter()
        made.set(k=k)
        times.append(1000 * (time.perf_counter() - start))
    print(f"ten digits, drawn to sent: p50 {np.quantile(times, 0.5):.1f} ms, p95 {np.quantile(times, 0.95):.1f} ms")


# the Player


@pytest.fixture
def movie():
    made = Explorer(lambda k: flat(k / 10), alt="frame {k}", k=Player("k", 6, speed=32))
    made.player = made.controls["k"]
    made.buttons = {button.description: button for button in made.player.shown.children[1].children[:4]}
    return made


def test_player_starts_paused_and_plays_to_the_end(movie):
    async def play():
        await asyncio.sleep(0.1)
        assert not movie.player.playing and movie.player.value == 0
        task = movie.player.play()
        assert movie.player.playing and movie.buttons["Play"].description == "Pause" and movie.player.play() is task
        await task
        await asyncio.sleep(0)

    for _ in range(2):  # the second time it begins anew
        movie.player.source.value = 0
        asyncio.run(play())
        assert movie.player.value == 5 and level(movie) == pytest.approx(0.5, abs=0.01)
        assert not movie.player.playing and movie.buttons["Play"].description == "Play"


def test_player_begins_anew_at_the_end(movie):
    seen = []
    movie.player.value = 5
    movie.player.source.observe(lambda change: seen.append(change.new), "value")

    async def play():
        await movie.player.play()

    asyncio.run(play())
    assert seen == [0, 1, 2, 3, 4, 5]


def test_player_pauses_and_one_task_plays(movie):
    seen = []
    movie.player.source.observe(lambda change: seen.append(change.new), "value")

    async def play():
        movie.buttons["Play"].click()
        for _ in range(9):  # pause and play, over and over: the tasks left behind must not move it
            movie.buttons["Play"].click()
            movie.buttons["Play"].click()
        await movie.player.play()

    asyncio.run(play())
    assert seen == [1, 2, 3, 4, 5]

    async def pause():
        movie.player.value = 0
        task = movie.player.play()
        movie.player.stop()
        await task
        assert movie.player.value == 0

    asyncio.run(pause())


def test_player_steps_and_rewinds(movie):
    for button, frame in [("Next", 1), ("Next", 2), ("Back", 1), ("Back", 0), ("Back", 0), ("Next", 1), ("First", 0)]:
        movie.buttons[button].click()
        assert movie.player.value == frame and movie.picture.alt == f"frame {frame}"
    movie.player.step(99)
    assert movie.player.value == 5


def test_an_error_ends_playing_and_is_raised():
    broken = Explorer(lambda k: flat(1 / (2 - k)), alt="x", k=Player("k", 6, speed=32))

    async def play():
        await broken.controls["k"].play()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(play())
    assert not broken.controls["k"].playing and broken.picture.error


def test_player_needs_a_loop(movie):
    with pytest.raises(RuntimeError, match="no running event loop"):
        movie.player.play()
    assert not movie.player.playing


def test_closing_stops_the_player(movie):
    async def play():
        task = movie.player.play()
        movie.close()
        await task

    asyncio.run(play())
    assert movie.player.value == 0


def test_frames_are_computed_when_asked_for_and_once():
    asked = []
    frames = Frames(asked.append(k) or 10 * k for k in range(5))
    assert not asked and frames[2] == 20 and asked == [0, 1, 2]
    assert frames[0] == 0 and frames[4] == 40 and asked == [0, 1, 2, 3, 4]


# in a notebook

CELLS = """
import torch
from minidiff import plot
from minidiff.widgets import Explorer, Player, Slider
x = torch.zeros(4, 1, 8, 8)
---
plot.grid(x)
---
plot.grid(x)
plot.rows({"a": x});
---
plot.grid(x);
---
plot.curve([1, 2]);
---
plot.table([{"a": 1.0}])
---
made = Explorer(lambda k: x / (k - 3), alt="frame {k}", k=Player("k", 6, speed=32))
made
---
made.set(k=3)
---
made.reset()
await made.controls["k"].play()
---
made.twin([{"k": 1}, {"k": 2}])
---
import asyncio
made.reset()
await asyncio.wait([made.controls["k"].play()])
print(made.picture.error, made.controls["k"].playing)
"""


@pytest.fixture(scope="module")
def cells():
    """The outputs of each cell above, run by a real kernel that draws as in a notebook."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS.strip().split("\n---\n")])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND", raising=False)
        nbclient.NotebookClient(book, allow_errors=True, timeout=600, kernel_name="python3").execute()
    return [cell.outputs for cell in book.cells]


def kinds(outputs) -> list[str]:
    """Of each output: the name of the error or stream, "picture", or what else it is."""
    return [
        output.get("ename") or output.get("name") or ("picture" if "image/png" in output.data else output.output_type)
        for output in outputs
    ]


def test_a_figure_is_shown_once(cells):
    assert [kinds(outputs) for outputs in (*cells[1:5], cells[9])] == [["picture"] * n for n in (1, 2, 1, 1, 1)]


def test_a_table_is_markdown(cells):
    assert cells[5][0].data["text/markdown"] == "| a |\n| ---: |\n| 1.00 |"


def test_an_error_in_a_picture_fails_the_cell(cells):
    assert "application/vnd.jupyter.widget-view+json" in cells[6][0].data
    assert kinds(cells[7]) == ["ValueError"] and "NaN" in cells[7][0].evalue  # 0 / 0
    assert "ValueError" in kinds(cells[8])


def test_an_error_while_it_plays_by_itself_is_reported(cells):
    assert sorted(kinds(cells[10])) == ["ValueError", "stdout"]
    [printed] = [output.text for output in cells[10] if output.output_type == "stream"]
    assert printed.startswith("ValueError: ") and printed.endswith(" False\n")
