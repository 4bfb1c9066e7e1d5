"""Every widget of every lesson in a real JupyterLab, by keyboard: it answers, rightly and in time, and comes back."""

import re
from itertools import groupby
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
LESSONS = sorted(path.name for path in Path(__file__).parents[2].joinpath("notebooks").glob("*.ipynb"))
MOVES = 10  # of a control, at most
SLOW = 250  # milliseconds after which a busy mark must be seen ...
FRAMES = 100  # ... give or take some frames of the page
BACK = {"ArrowRight": "ArrowLeft", "ArrowDown": "ArrowUp"}
BACK |= {back: key for key, back in BACK.items()}
TYPED = ["a small green square", "a yellow cross"]
DABS = 4 * ["ArrowLeft ArrowLeft ArrowLeft ArrowLeft ArrowUp Space"]  # out of the mask of lesson 09
# The parts of an Explorer's panel by name, from top to bottom; that which has the focus.
PARTS = """(box, focused) => {
  const name = (part) => [...part.classList].find((name) => /^minidiff-(?!pad$|paint$)/.test(name))?.slice(9);
  const parts = [...box.firstElementChild.children].filter((part) => !focused || part.contains(document.activeElement));
  return parts.map((part) => name(part) ?? part.innerText);
}"""
# 100 places on a slider in 2 seconds, here and there, the last of them its start (0) or its end (1); milliseconds.
DRAG = """async (control, end) => {
  const track = control.querySelector(".noUi-base").getBoundingClientRect(), began = performance.now();
  for (let k = 0; k < 100; k++) {
    const at = { clientX: track.x + (k < 99 ? 0.37 * k % 1 : end) * track.width, clientY: track.y + 2 };
    control.dispatchEvent(new MouseEvent("mousemove", { ...at, buttons: 1, bubbles: true, cancelable: true }));
    await new Promise((go) => setTimeout(go, began + 20 * (k + 1) - performance.now()));
  }
  return performance.now() - began;
}"""


@pytest.fixture(scope="module", params=LESSONS)
def lesson(notebook, request):
    book = notebook(request.param)
    book.number = request.param[:2]
    if not book.explorers():
        pytest.skip("this lesson has no widget")
    return book


def test_tab_goes_through_the_controls_from_top_to_bottom(lesson):
    for explorer in lesson.explorers():
        parts = explorer.box.evaluate(PARTS)
        explorer.keyed(parts[0]).focus()
        assert tabbed(explorer, "Tab") == parts
        explorer.box.get_by_role("button", name=parts[-1], exact=True).focus()
        assert tabbed(explorer, "Shift+Tab") == parts[::-1]


def test_every_control_answers_in_time_and_comes_back(lesson):
    """Each control is moved as far as it goes, and left one step from where it was; in the end all are moved back."""
    for explorer in explorers(lesson):
        stages, times = [], []
        for name in controls(explorer):
            picture, was, keys = explorer.picture(), setting(explorer, name), way(explorer, name)
            moved, once = until_another(explorer, name, keys, picture)
            times += moved
            near, here = explorer.changed(picture), setting(explorer, name)
            further = walk(explorer, name, keys[once:])
            undo(explorer, name, keys[once : once + len(further)], here)
            explorer.shows(near)
            times += further
            stages.append((name, keys[:once], was, picture))
        for name, keys, was, picture in reversed(stages):
            undo(explorer, name, keys, was)
            explorer.shows(picture)
        report(lesson, explorer, times)


def test_players_play(lesson):
    for explorer in explorers(lesson):
        if explorer.box.get_by_role("button", name="Play", exact=True).count():
            first = explorer.picture()
            explorer.button("Play")
            explorer.changed(first)
            explorer.button("Reset")
            explorer.shows(first)


def test_a_fast_drag_ends_on_the_last_value(lesson):
    sliders = [(e, name) for e in explorers(lesson) for name in controls(e) if slider(e, name)]
    if not sliders:
        pytest.skip("this lesson has no slider")
    explorer, name = sliders[0]
    handle = explorer.keyed(name)
    end = upwards(explorer, name)
    handle.hover()
    lesson.page.mouse.down()
    took = explorer.control(name).evaluate(DRAG, end)
    lesson.page.mouse.up()
    print(f"lesson {lesson.number}  {name}: 100 places in {took / 1000:.1f} s")
    explorer.settle()
    assert handle.get_attribute("aria-valuenow") == handle.get_attribute(f"aria-value{'max' if end else 'min'}")
    assert named(setting(explorer, name), explorer.image.get_attribute("alt"))
    last, away = explorer.picture(), "ArrowLeft" if end else "ArrowRight"
    explorer.press(name, away)
    explorer.changed(last)
    explorer.press(name, BACK[away])
    explorer.shows(last)
    explorer.button("Reset")


def test_no_control_is_dead_after_restart_and_run_all(lesson):
    lesson.restart()
    for explorer in explorers(lesson):
        name, first = controls(explorer)[0], explorer.picture()
        was, keys = setting(explorer, name), way(explorer, name)
        _, once = until_another(explorer, name, keys, first)
        explorer.changed(first)
        undo(explorer, name, keys[:once], was)
        explorer.shows(first)


def tabbed(explorer, key: str) -> list[str]:
    """The parts that have the focus one after the other, until nothing of the Explorer has it."""
    seen = []
    while (at := explorer.box.evaluate(PARTS, True)) and len(seen) < 60:
        seen += at
        explorer.page.keyboard.press(key)
    return [name for name, _ in groupby(seen)]


def explorers(lesson) -> list:
    """Those of a lesson; the laboratory has its own test, as its pictures are moves in a game."""
    return [explorer for explorer in lesson.explorers() if "laboratory" not in css(explorer)]


def css(explorer) -> list[str]:
    return explorer.box.get_attribute("class").split()


def controls(explorer) -> list[str]:
    """The names of an Explorer's controls, from top to bottom."""
    return [name for name in explorer.box.evaluate(PARTS) if name != "Reset"]


def slider(explorer, name: str) -> bool:
    return explorer.keyed(name).get_attribute("role") == "slider"


def setting(explorer, name: str) -> str:
    """What a control says it is set to."""
    keyed = explorer.keyed(name)
    if slider(explorer, name):
        return explorer.control(name).locator(".widget-readout").first.inner_text()
    said = keyed.evaluate("(e) => e.selectedOptions?.[0].text ?? e.value ?? e.nextElementSibling.textContent")
    return said.replace("\N{NO-BREAK SPACE}", " ")  # which ipywidgets puts into its menus


def upwards(explorer, name: str) -> bool:
    """Whether a slider or a menu has more settings after the present one than before it."""
    return explorer.keyed(name).evaluate("""(e) => {
      const [low, high, now] = ["Min", "Max", "Now"].map((which) => Number(e["ariaValue" + which]));
      return e.tagName === "SELECT" ? e.selectedIndex < (e.length - 1) / 2 : now < (low + high) / 2;
    }""")


def way(explorer, name: str) -> list[str]:
    """What moves a control to settings it has not had: keys, or texts to type. Perhaps more than it has room for."""
    tag = explorer.keyed(name).evaluate("(e) => e.className === 'minidiff-paint-canvas' ? 'PAINT' : e.tagName")
    up = tag in ("SELECT", "DIV") and upwards(explorer, name)
    return {
        "INPUT": TYPED[::-1] if name == "negative" else TYPED,  # away from what is asked for, a scale does nothing
        "PAINT": DABS,
        "CANVAS": MOVES // 2 * ["ArrowRight", "ArrowUp"],
        "SELECT": MOVES * ["ArrowDown" if up else "ArrowUp"],
        "DIV": MOVES * ["ArrowRight" if up else "ArrowLeft"],
    }[tag]


def put(explorer, name: str, text: str) -> None:
    """Press keys on a control, or type a text."""
    if text not in (*BACK, *DABS):
        explorer.keyed(name).fill(text)
        text = "Enter"
    for key in text.split():
        explorer.press(name, key)


def walk(explorer, name: str, keys: list[str]) -> list[tuple[float, float, float]]:
    """Move a control until `keys`, or its settings, are at an end: the answers, each to be right."""
    explorer.watch()
    answers = []
    for k, key in enumerate(keys):
        before = setting(explorer, name)
        put(explorer, name, key)
        if (now := setting(explorer, name)) == before:
            break
        answers = explorer.answers(k + 1)
        alt = explorer.image.get_attribute("alt")
        assert named(now, alt), f"{name} is at {now}, but the picture says: {alt}"
    return answers


def until_another(explorer, name: str, keys: list[str], picture: str) -> tuple[list, int]:
    """Move a control until the picture is another one: the answers, and how many of `keys` it took.

    Two settings may rightly look the same: no step of a sampler lies between them.
    """
    times, size = [], len(keys) if keys is DABS else 1
    for once in range(size, len(keys) + 1, size):
        times += (moved := walk(explorer, name, keys[once - size : once]))
        assert moved, f"{name} is dead"
        if explorer.picture() != picture:
            break
    return times, once


def undo(explorer, name: str, keys: list[str], was: str) -> None:
    """Move a control back to where it was before `keys`."""
    if keys and keys[0] in DABS:
        return explorer.button("Reset")
    for key in [BACK[key] for key in reversed(keys) if key in BACK] or keys[:1]:
        put(explorer, name, key if key in BACK else was)
    assert setting(explorer, name) == was


def named(now: str, alt: str) -> bool:
    """Whether a picture's text names a setting: in its words, or its numbers, perhaps rounded, perhaps in percent."""
    if now in alt or now == "any":  # which leaves a word of a prompt unsaid
        return True
    said = [(float(text.rstrip("%")) / (100 if "%" in text else 1), text) for text in re.findall(r"-?\d+\.?\d*%?", alt)]
    numbers = [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"[a-z]\w*", "", now))]
    return bool(numbers) and all(any(abs(a - v) <= slack(text) for a, text in said) for v in numbers)


def slack(text: str) -> float:
    """How far a number is, at most, from its rounded text: half of the last digit."""
    digits = len(text.rstrip("%").partition(".")[2]) + 2 * text.endswith("%")
    return 0.51 * 10.0**-digits


def report(lesson, explorer, times: list[tuple[float, float, float]]) -> None:
    """A line of the table; an answer that took long must have been announced by the busy mark."""
    sorted_ms = sorted(ms for ms, *_ in times)
    p50, p95 = (sorted_ms[min(len(times) - 1, round(q * len(times)))] for q in (0.5, 0.95))
    name = next(name for name in css(explorer) if not re.match("minidiff|lm-|jp-|jupyter|widget", name))
    busy = "busy mark" * (p95 > SLOW)
    print(f"lesson {lesson.number}  {name:12} {len(times):3} moves  p50 {p50:5.0f}  p95 {p95:5.0f} ms  {busy}")
    assert all(drawn and (mark or drawn < SLOW + FRAMES) for ms, drawn, mark in times if ms > SLOW), times
