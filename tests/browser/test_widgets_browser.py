"""The base widgets in a real JupyterLab: they answer to keys and fingers, come back, play, and say what they show."""

import re
import time

import nbformat
import pytest

BEYOND = """(box) => {  // the parts of a widget that go beyond what is seen of its cell
  const room = box.closest(".jp-OutputArea-output").getBoundingClientRect();
  const parts = [...box.querySelectorAll("img, canvas, input, button, select, label, output, .widget-readout")];
  const wide = parts.filter((part) => part.offsetWidth && part.getBoundingClientRect().right > room.right + 1);
  return wide.map((part) => part.outerHTML.slice(0, 80));
}"""
SETUP = """
import time
import torch
from minidiff.widgets import Choice, Explorer, Pad, Paint, Player, Slider, Stops, Text

def blob(x, y, size=16):
    line = torch.linspace(-3, 3, size)
    return 2 * torch.exp(-(line - x) ** 2 - (-line[:, None] - y) ** 2) - 1
"""
CELLS = {
    "sliders": """
grey = Explorer(
    lambda temperature, count, tone: tone * blob(temperature - 1, 0).expand(count, 1, 16, 16),
    alt="{count} blobs at temperature {temperature}",
    temperature=Slider("temperature", 0.0, 2.0, 0.02, 1.0, unit="of 2"),
    count=Stops("number of pictures", [1, 2, 4, 8], 4, unit="blobs"),
    tone=Choice("tone", {"white on black": 1, "black on white": -1}, 1),
)
grey.add_class("t-sliders")""",
    "pad": """
torch.manual_seed(0)
codes, kinds = torch.randn(300, 2), torch.arange(300) % 10
plane = Explorer(
    lambda code: blob(*code),
    alt=lambda code: f"a blob at {code[0]:.2f}, {code[1]:.2f}",
    code=Pad("code", codes + kinds[:, None] / 4 - 1, kinds, corners=((-3, -3), (3, 3)), names=("z1", "z2")),
)
plane.add_class("t-pad")""",
    "slow": """
def slow(code):
    time.sleep(0.15)
    return blob(*code)
lazy = Explorer(slow, alt=lambda code: f"slowly {code[0]:.2f}, {code[1]:.2f}", code=Pad("code", names=("z1", "z2")))
lazy.add_class("t-slow")""",
    "player": """
frames = [blob(-2 + step / 10, 0) for step in range(40)]
movie = Explorer(
    lambda step: frames[step],
    alt="frame {step}",
    step=Player("step", len(frames), unit="of 40", speed=32),
)
movie.add_class("t-player")""",
    "broken": """
def broken(k):
    if k == 3:
        raise ValueError("three is not allowed")
    return blob(k, 0)
bad = Explorer(broken, alt="number {k}", k=Slider("number", 0, 5, 1, 2))
bad.add_class("t-broken")""",
    "typed": """
typed = Explorer(
    lambda prompt, mask: blob(len(prompt) / 40 - 1, sum(mask) / 99),
    alt="“{prompt}”",
    prompt=Text("prompt", "a small yellow triangle to the left of a large red square", hint="a prompt"),
    mask=Paint("mask", torch.zeros(3, 16, 16)),
)
typed.add_class("t-typed")""",
}


@pytest.fixture(scope="module")
def book(lab, notebook):
    """A notebook of the widgets above, opened and run."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in (SETUP, *CELLS.values())]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, lab.root / "widgets.ipynb")
    return notebook("widgets.ipynb")


def test_sliders_change_the_picture_and_back(book):
    grey = book.explorer("t-sliders")
    first = grey.picture()
    grey.alt("4 blobs at temperature 1.0")
    grey.press("temperature", "ArrowRight", 2)
    grey.alt("4 blobs at temperature 1.04")
    second = grey.changed(first)
    grey.press("count", "ArrowRight")
    grey.alt("8 blobs at temperature 1.04")
    grey.changed(second)
    grey.press("count", "ArrowLeft")
    grey.shows(second)
    grey.press("temperature", "ArrowLeft", 2)
    grey.shows(first)
    grey.choose("tone", "black on white")
    grey.changed(first)
    grey.press("temperature", "ArrowLeft", 3)
    grey.alt("4 blobs at temperature 0.94")
    grey.button("Reset")
    grey.shows(first)


def test_a_menu_and_a_button_keep_their_keys_from_the_notebook(book):
    grey = book.explorer("t-sliders")
    first, cells = grey.picture(), "jupyterapp.shell.currentWidget.content.widgets.length"
    count = book.page.evaluate(cells)
    grey.press("tone", "b")  # to "black on white"; the notebook would insert a cell
    changed = grey.changed(first)
    grey.press("tone", "ArrowUp")
    grey.shows(first)
    grey.press("tone", "ArrowDown")
    grey.shows(changed)
    grey.box.get_by_role("button", name="Reset").press("Enter")
    grey.shows(first)
    assert book.page.evaluate(cells) == count


def test_every_control_has_a_name_for_a_screen_reader(book):
    for which, role, name in [
        ("t-sliders", "slider", "temperature (of 2)"),
        ("t-sliders", "slider", "number of pictures (blobs)"),
        ("t-sliders", "combobox", "tone"),
        ("t-player", "slider", "step (of 40)"),
        ("t-player", "combobox", "frames/s"),
        ("t-pad", "application", "code: point with the mouse, or use the arrow keys"),
    ]:
        book.explorer(which).box.get_by_role(role, name=name, exact=True).wait_for()


def test_values_are_read_aloud_as_they_are_shown(book):
    grey = book.explorer("t-sliders")
    for name, key, shown in [
        ("temperature", "Home", ("0.26", "0.28", "0.30")),  # not 0.26000000000000006
        ("count", "Home", ("2", "4", "8")),  # not their places, 1, 2 and 3
    ]:
        grey.press(name, key)
        grey.press(name, "ArrowRight", 12 if name == "temperature" else 0)
        for text in shown:
            grey.press(name, "ArrowRight")
            handle = grey.keyed(name)
            book.page.wait_for_function(
                "([handle, text]) => handle.ariaValueText === text", arg=[handle.element_handle(), text]
            )
            assert grey.control(name).locator(".widget-readout").inner_text() == text
    grey.button("Reset")


def test_a_line_of_text_is_seen_whole_and_says_that_enter_applies(book):
    typed = book.explorer("t-typed")
    assert typed.control("prompt").inner_text().split() == ["prompt", "Enter", "applies"]
    assert typed.keyed("prompt").evaluate("(line) => line.scrollWidth <= line.clientWidth")
    typed.keyed("prompt").fill("a circle")
    typed.press("prompt", "Enter")
    typed.alt("“a circle”")
    typed.box.get_by_text("Paint over what is to be drawn anew").wait_for()


@pytest.mark.parametrize("width", [1024, 390])
def test_widgets_fit_a_narrow_window(book, width):
    size = book.page.viewport_size
    book.page.set_viewport_size({"width": width, "height": size["height"]})
    try:
        if width < 600:
            book.page.evaluate("jupyterapp.shell.collapseLeft()")
        for explorer in book.explorers():
            explorer.box.scroll_into_view_if_needed()
            assert explorer.box.evaluate(BEYOND) == [], explorer.box.get_attribute("class")
        plane = book.explorer("t-pad")
        pad, picture = plane.control("code").bounding_box(), plane.image.bounding_box()
        assert width < 600 or picture["x"] > pad["x"] + pad["width"]  # side by side: seen while the pad is moved
    finally:
        book.page.set_viewport_size(size)
        book.page.evaluate("jupyterapp.shell.expandLeft()")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_nothing_is_clipped(book, theme):
    book.theme(theme)
    texts = book.page.locator(".minidiff-explorer :is(label, .widget-readout, button, output, select)")
    assert texts.count() >= 12
    for text, clipped in texts.evaluate_all("(all) => all.map((e) => [e.innerText, e.scrollWidth > e.clientWidth])"):
        assert not clipped, text


def test_pad_follows_the_finger_and_the_arrow_keys(book):
    plane = book.explorer("t-pad")
    first = plane.picture()
    plane.alt("a blob at 0.00, 0.00")
    plane.drag("code", (0.3, 0.2), (0.8, 0.4))
    moved = plane.changed(first)
    plane.alt("a blob at 1.67, 0.33")
    plane.drag("code", (0.8, 0.4), (2.0, -1.0))  # out of the pad: it stays at the corner
    plane.alt("a blob at 3.00, 3.00")
    plane.press("code", "ArrowLeft", 2)
    plane.alt("a blob at 2.70, 3.00")
    active = "jupyterapp.shell.currentWidget.content.activeCellIndex"
    cell = book.page.evaluate(active)
    plane.press("code", "ArrowDown", 2)
    plane.alt("a blob at 2.70, 2.70")
    assert plane.control("code").locator("canvas").evaluate("(e) => e === document.activeElement")
    assert book.page.evaluate(active) == cell  # the notebook did not take the keys
    plane.button("Reset")
    plane.shows(first)
    assert moved != first


def test_fast_drag_over_a_slow_picture_ends_on_the_last_place(book):
    lazy = book.explorer("t-slow")
    lazy.picture()
    start = time.time()
    lazy.drag("code", (0.2, 0.2), (0.8, 0.4), steps=60)
    lazy.alt("slowly 1.67, 0.33")
    print(f"60 moves over a picture of 150 ms: at rest on the last for a second after {time.time() - start:.1f} s")
    assert lazy.control("code").locator("output").inner_text() == "z1 1.67, z2 0.330"


def test_player_plays_pauses_steps_and_rewinds(book):
    movie = book.explorer("t-player")
    first = movie.picture()
    time.sleep(0.3)
    movie.shows(first)  # it starts paused
    movie.choose("step", "2")  # slow enough that it is paused, by and by, before its end
    movie.button("Play")
    movie.changed(first)
    movie.button("Pause")
    paused = movie.box.get_by_role("button", name="Play", exact=True)
    paused.wait_for()
    held = movie.picture()
    time.sleep(0.3)
    movie.shows(held)
    movie.button("Next")
    movie.changed(held)
    movie.button("Back")
    movie.shows(held)
    movie.button("First")
    movie.shows(first)
    movie.press("step", "ArrowRight", 2)
    movie.alt("frame 2")
    movie.choose("step", "32")
    movie.button("Play")
    movie.alt("frame 39")  # it stops at the end ...
    paused.wait_for()
    movie.choose("step", "2")
    movie.button("Play")
    movie.alt(re.compile("frame [1-9]$"))  # ... and begins anew
    movie.button("Reset")
    movie.shows(first)


def test_an_error_is_shown_and_reported(book):
    bad = book.explorer("t-broken")
    first = bad.picture()
    bad.press("k", "ArrowRight")
    bad.box.get_by_text("ValueError: three is not allowed").wait_for()
    assert bad.image.is_hidden() and not bad.image.get_attribute("src")
    book.page.wait_for_function("kernelErrors.length")
    assert book.errors() == ["ValueError: three is not allowed"]
    bad.press("k", "ArrowLeft")
    bad.shows(first)
    assert bad.box.get_by_role("alert").is_hidden()


def test_a_slow_picture_says_so(book):
    lazy = book.explorer("t-slow")
    lazy.picture()
    lazy.watch()
    lazy.press("code", "ArrowLeft", 8)
    lazy.alt("slowly 0.47, 0.33")
    lazy.box.locator(".minidiff-busy:not(.minidiff-on)").wait_for(state="attached")
    assert book.page.evaluate("begun > moved")  # the mark was on, since the last key


def test_the_page_is_watched(book):
    page = book.page
    with page.expect_event("pageerror"), page.expect_request("http://192.0.2.1/planted.js"):
        page.evaluate("""() => {
          setTimeout(() => { throw new Error("planted"); });
          fetch("http://192.0.2.1/planted.js").catch(() => {});  // an address that nobody has
        }""")
    assert page.errors == ["planted"] and page.outside == ["http://192.0.2.1/planted.js"]
    with pytest.raises(AssertionError):
        book.assert_clean()
    page.errors.clear()
    page.outside.clear()


def test_time_from_a_move_to_the_picture(book):
    grey = book.explorer("t-sliders")
    grey.picture()
    for name, keys in (("new", ["ArrowRight"] * 50), ("seen", ["ArrowLeft"] * 50)):
        times = grey.answer_times("temperature", keys)
        print(f"{name} pictures: p50 {times[24]:.0f} ms, p95 {times[47]:.0f} ms of {len(times)} moves")
        assert len(times) == 50


def test_after_a_restart_a_widget_says_that_its_cell_is_to_be_run_again(book):
    """The last test of this page: its widgets are dead from here on."""
    words = "(box) => getComputedStyle(box, '::after').content"
    plane = book.explorer("t-pad")
    assert plane.box.evaluate(words) == "none"
    book.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    plane.box.and_(book.page.locator(".jupyter-widgets-disconnected")).wait_for()
    assert "Run the cells again" in plane.box.evaluate(words)
