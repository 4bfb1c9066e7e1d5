"""The reading site: what a widget stands on, its twin on a page, the pages by hand, the site of a small notebook."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import store
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from minidiff.widgets import Choice, Explorer, Pad, Player, Slider, Stops, Text

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "site"))

import build  # noqa: E402
import museum  # noqa: E402
import slices  # noqa: E402
import twins  # noqa: E402

SMALL = [
    "import torch\nfrom minidiff.widgets import Explorer, Slider",
    "model = 1\ndef level(k):\n    return model * k / 4",
    "raise RuntimeError('training')",
    "model = 2\nslider = Slider('k', 0, 2, 1, 1)",
    "made = Explorer(lambda k: torch.full((4, 4), level(k)), alt='level {k}', k=slider)\nmade",
    "model = 3",
    "made.twin([{'k': k} for k in (0, 2)])",
]


def notebook(*sources):
    return new_notebook(cells=[new_markdown_cell("# Small\n\n$$x^2$$"), *map(new_code_cell, sources)])


def pictures(twin):
    return [np.asarray(Image.open(io.BytesIO(data)).convert("L")).mean().round() for data, _ in twin.frames]


def test_a_widget_is_made_from_what_it_stands_on_and_nothing_else():
    lines = slices.statements(notebook(*SMALL))
    [widget] = slices.widgets(lines)
    assert (widget.name, widget.cell) == ("made", 5)
    made, settings = slices.make(widget, lines)  # the training, which fails, is left out, and so is model = 3
    assert settings == [[{"k": 0}, {"k": 2}]]
    twin = twins.live(made, settings)
    assert [alt for _, alt in twin.frames] == ["level 0", "level 1", "level 2"]
    assert pictures(twin) == [128, 191, 255]


def test_a_function_reads_when_it_is_called():
    lines = slices.statements(
        notebook("a = 1", "def f():\n    return g()", "def g():\n    return a", "a = 2", "w = f()")
    )
    assert slices.needed([4], lines) == [1, 2, 3, 4]
    lines = slices.statements(notebook("a = 1", "b = [a for _ in range(2)]", "a = 2", "w = b"))
    assert slices.needed([3], lines) == [0, 1, 3]


@pytest.mark.parametrize(
    "source, binds, reads, later",
    [
        ("import torch.nn\nfrom a import b as c", "torch c", "", ""),
        ("x += y", "x", "x y", ""),
        ("for i, (j, *k) in rows:\n    a[i] = j", "i j k", "rows a i j", ""),
        ("with open(p) as f:\n    (n := len(f))", "f n", "open p len f", ""),
        ("try:\n    go()\nexcept Error as e:\n    del e", "e", "go Error", ""),
        ("x = {k: f(v) for k, v in k.items() if v > low}", "x", "k f low", ""),
        ("run(lambda t, s=start: s + t + [u for u in t][shift])", "", "run start shift", ""),
        ("@wrap\ndef f(x: int = one, *a, **k) -> Out:\n    y = x\n    return g(y, a, k)", "f", "wrap int one Out", "g"),
        ("def f():\n    def g():\n        return x + z\n    x = 1\n    return g", "f", "", "z"),
        ("def f():\n    global n\n    n += 1", "f", "", "n"),
        (
            "class A(B, metaclass=M):\n    side = size = 1\n    area = side * scale\n    def f(self): return size",
            "A",
            "B M",
            "scale size",
        ),
        ("match x:\n    case [first, *rest] as whole:\n        pass", "first rest whole", "x", ""),
    ],
)
def test_names_are_told_as_python_would_look_them_up(source, binds, reads, later):
    found = slices.statements(notebook(source))
    assert set().union(*(line.binds for line in found)) == set(binds.split())
    assert set().union(*(line.reads for line in found)) == set(reads.split())
    assert set().union(*(line.later for line in found)) == set(later.split())


def test_two_widgets_of_one_name_stay_apart_and_two_twins_of_one_together():
    twin = "w.twin([1])"
    lines = slices.statements(notebook("w = 1", "w", twin, "w.twin([2])", "w = 2\nw", twin))
    first, second = slices.widgets(lines)
    assert (len(first.twins), first.cell, len(second.twins), second.cell) == (2, 2, 1, 5)
    assert slices.make(first, lines) == (1, [[1], [2]])
    assert slices.make(second, lines) == (2, [[1]])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_widget_of_a_lesson_stands_on_a_training(path):
    lines = slices.statements(nbformat.read(path, as_version=4))
    found = slices.widgets(lines)
    assert found
    for widget in found:
        assert not any(lines[k].reads & {"fit", "run"} for k in slices.needed(widget.twins, lines))


def without_text(notebook):
    """The numbers of the cells with a stored picture that has no text, here or there, the twins of widgets apart."""
    twins_of_widgets = {line.cell for line in slices.statements(notebook) if line.twin}
    found = []
    for number, cell in enumerate(notebook.cells):
        pictures = [output.data for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        alt = store.described(cell)
        told = 10 < len(alt) <= 160 and all(data.get("text/plain") == alt for data in pictures)
        if pictures and number not in twins_of_widgets and not told:
            found.append(number)
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_stored_picture_of_a_lesson_has_a_text(path):
    """One sentence on what is to be seen, in the metadata for the site and with the picture for other readers.

    A twin's text is the widget's.
    """
    assert without_text(nbformat.read(path, as_version=4)) == []


def test_a_picture_without_a_text_is_seen():
    shown = notebook("draw()", "draw()", "draw()", "w = 1\nw.twin([1])", "print(1)")
    for cell, alt in zip(shown.cells[1:5], ("a half circle of points", "", "x" * 161, "")):
        cell.outputs = [new_output("display_data", {"image/png": "", "text/plain": alt})]
        cell.metadata["mystnb"] = {"image": {"alt": alt}}
    del shown.cells[2].metadata["mystnb"]
    assert without_text(shown) == [2, 3]
    shown.cells[1].outputs[0].data["text/plain"] = "<Figure>"
    assert without_text(shown) == [1, 2, 3]


def explorer(**controls):
    return Explorer(lambda **values: torch.zeros(2, 2), alt=lambda **values: json.dumps(values), **controls)


def test_alive_are_the_controls_that_the_twin_names():
    made = explorer(
        a=Slider("a", 0.0, 1.0, 0.5, 0.5, unit="nats"),
        b=Choice("b", {"one": 1, "two": 2}, 2),
        c=Slider("c", 0, 9, 1, 3),
    )
    twin = twins.live(made, [[{"a": 1.0}], [{"b": 1}]])
    assert [axis.caption for axis in twin.axes] == ["a (nats)", "b"]
    assert [axis.start for axis in twin.axes] == [1, 1]
    assert [json.loads(alt) for _, alt in twin.frames] == [dict(a=a, b=b, c=3) for a in (0.0, 0.5, 1.0) for b in (1, 2)]


def test_every_kind_of_control_has_its_axes():
    assert twins.axes_of(Stops("s", (1, 5, 50), 5), [])[0][1:4] == ([1, 5, 50], ["1", "5", "50"], 1)
    assert twins.axes_of(Player("p", 4, 2), [])[0].values == [0, 1, 2, 3]
    x, y = twins.axes_of(Pad("p", corners=((-1, -2), (1, 2)), value=(0.1, 0.0), names=("z1", "z2")), [])
    assert (x.caption, x.values[0], x.values[x.start], x.values[-1]) == ("z1", -1, 0.1, 1)
    assert (y.caption, y.values[0], y.values[y.start], y.values[-1]) == ("z2", -2, 0.0, 2)
    [text] = twins.axes_of(Text("prompt", "a circle"), ["a square", "a circle"])
    assert text.values == ["a circle", "a square"] and text.menu
    with pytest.raises(TypeError, match="expected an Explorer"):
        twins.live(3, [])


def test_a_page_says_what_it_lacks_and_plays_what_the_lesson_says_it_plays():
    made = explorer(step=Player("step", 3), prompt=Text("prompt", "a circle"))
    page = twins.page(twins.live(made, [[{"step": 1}]]), "made")
    assert re.search("Drawn ahead.*Not on this page: prompt\\.</p>", page)
    assert page.count('<button type="button">Play</button>') == 1
    whole = twins.page(twins.live(made, [[{"step": 1, "prompt": "a square"}]]), "made")
    assert "Not on this page" not in whole


def test_a_cell_that_fills_what_a_widget_stands_on_is_run_where_it_is_named():
    sources = ["nets = {}", "for name in 'ab':\n    nets[name] = f'net {name}'", "w = [*nets.values()]", "w.twin([1])"]
    lines = slices.statements(notebook(*sources))
    [widget] = slices.widgets(lines)
    assert slices.make(widget, lines)[0] == []
    assert slices.make(widget, lines, filled=2)[0] == ["net a", "net b"]
    for (lesson, _), cell in build.TRAINED.items():
        [path] = [path for path in NOTEBOOKS if path.stem == lesson]
        assert cell in [each.id for each in nbformat.read(path, as_version=4).cells]


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_what_a_learner_left_in_a_notebook_is_not_on_the_site(tmp_path):
    """As committed, if it is; else the file itself, unless it holds an error or was run in part."""
    path, whole = tmp_path / "00_small.ipynb", notebook("1", "2")
    for count, cell in enumerate(whole.cells[1:], start=1):
        cell.execution_count = count
    nbformat.write(whole, path)
    assert build.stored(path) == whole  # outside of git
    half, broken = nbformat.from_dict(whole), nbformat.from_dict(whole)
    half.cells[2].execution_count = None
    broken.cells[1].outputs = [new_output("error", ename="NameError", evalue="", traceback=[])]
    for wrong, words in ((half, "run in part only"), (broken, "code cell 1 holds an error")):
        nbformat.write(wrong, path)
        with pytest.raises(ValueError, match=f"00_small.ipynb: {words}"):
            build.stored(path)
    nbformat.write(whole, path)
    for arguments in (["init"], ["add", "."], ["commit", "-m", "one"]):
        git(tmp_path, *arguments)
    nbformat.write(broken, path)
    assert build.stored(path) == whole


def test_the_first_page_leads_to_every_lesson():
    """START.md, which JupyterLab opens on, and with it the site's index: a new lesson needs a line there."""
    start = (ROOT / "notebooks" / "START.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", start)
    assert all((ROOT / "notebooks" / link).exists() for link in links)
    rows = re.findall(r"^\| (\d\d) \| \[[^\]]+\]\((\S+)\) \|", start, re.M)
    assert [name for _, name in rows] == [path.name for path in NOTEBOOKS]
    assert all(name.startswith(number) for number, name in rows) and "glossary.md" in links
    assert all(word in start for word in ("Shift+Enter", "*Hint 1*", "Restart Kernel", "■", "museum"))
    page = build.index()
    assert all(f"(lessons/{path.name})" in page for path in NOTEBOOKS) and "START" not in page
    assert {"install.md", "api.md"} <= set(re.findall(r"\]\(([^)]+)\)", page))


def test_the_page_on_installing_is_the_readmes_section():
    page = build.install()
    assert page.startswith("# Install it") and "make lab" in page and "\n## " not in page
    assert not re.findall(r"\]\((?!https?:)", page) and "widget of lesson" not in page  # what the site does not have


def test_thinned_axes_are_even_and_keep_both_ends_and_the_default():
    long = twins.Axis("long", list(range(100)), [str(k) for k in range(100)], 7)
    menu = twins.Axis("menu", list("abcd"), list("abcd"), 1, menu=True)
    thin, whole = twins.thinned([long, menu], 40)
    assert whole == menu
    assert len(thin.values) == 10 and thin.values[0] == 0 and thin.values[-1] == 99
    assert thin.values[thin.start] == 7 and thin.texts[thin.start] == "7"
    assert all(gap in range(4, 18) for gap in np.diff(thin.values))
    assert twins.thinned([menu], 40) == [menu]


def test_a_page_holds_everything_and_says_what_it_shows():
    made = explorer(a=Slider("<a>", 0, 2, 1, 1), b=Choice("b", ["x", "</script>"], "x"))
    page = twins.page(twins.live(made, [[{"a": 1, "b": "x"}]]), "made")
    assert not re.findall(r"https?://|src=\"(?!data:)", page)
    assert page.count("</script>") == 2 and "&lt;a&gt;" in page
    [known] = re.findall(r'<script type="application/json">(.*?)</script>', page)
    known = json.loads(known)
    assert len(known["frames"]) == 6 and known["texts"] == [["0", "1", "2"], ["x", "</script>"]]
    assert re.search(r'type="range" min="0" max="2" value="1"', page)
    assert all(base64.b64decode(src.split(",")[1]) and alt for src, alt in known["frames"])


def test_a_page_of_more_than_a_megabyte_is_refused():
    frames = [(twins.webp(museum_png()), "x" * 1_000_000)]
    with pytest.raises(ValueError, match="made: got 2.0 MB"):
        twins.page(twins.Twin([twins.Axis("a", [0], ["0"], 0)], frames), "made")


def museum_png():
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "png")
    return buffer.getvalue()


WORD = re.compile(
    r"^### (.+)\n\n(.+?)\.(?: In code: (.+?)\.)? (?:\[Lesson (\d+)\]\(.+?\)|Lesson (\d+))\. 中文: (.+)$", re.M
)


def rows(page):
    """What the glossary has: term, meaning, names in the code, lesson, Chinese; symbols in a table, words below it."""
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in page.splitlines()]
    symbols = [row for row in cells if len(row) == 5 and row[3].isdigit()]
    words = [[term, what, code or "", a or b, chinese] for term, what, code, a, b, chinese in WORD.findall(page)]
    assert len(words) == page.count("\n### ")
    return symbols + words


def test_words_are_linked_where_they_first_appear():
    page = (ROOT / "notebooks" / "glossary.md").read_text("utf-8")
    headings = {term.replace(" ", "-") for term in re.findall("^### (.+)$", page, re.M)}
    for path in NOTEBOOKS:
        links = re.findall(r"\[\*\*[^*]+\*\*\]\(glossary\.md#([^)]+)\)", path.read_text("utf-8"))
        assert len(links) >= 5 and len(set(links)) == len(links) and set(links) <= headings, path.name


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("GAN", "gan"),
        ("mode-collapse", "mode-collapse"),
        ("Hutchinson's-estimate", "hutchinsons-estimate"),
    ],
)
def test_a_link_to_a_word_becomes_that_of_the_site(tmp_path, monkeypatch, there, here):
    """JupyterLab keeps capitals and signs in the address of a heading, MyST does not."""
    told = new_markdown_cell(f"A [**word**](glossary.md#{there}) and the [glossary](glossary.md).")
    monkeypatch.setattr(build, "stored", lambda path: new_notebook(cells=[told]))
    monkeypatch.chdir(tmp_path)
    build._lesson(tmp_path / "99_x.ipynb", tmp_path / "copy.ipynb")
    [cell] = nbformat.read(tmp_path / "copy.ipynb", as_version=4).cells
    assert cell.source == f"A [**word**](glossary.md#{here}) and the [glossary](glossary.md)."


def test_the_glossary_names_what_there_is():
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "minidiff").rglob("*.py"))
    lessons = {path.name[:2]: path.read_text("utf-8").lower() for path in NOTEBOOKS}
    found = rows((ROOT / "notebooks" / "glossary.md").read_text("utf-8"))
    assert len(found) > 60 and len({row[0] for row in found}) == len(found)
    for term, meaning, code, lesson, chinese in found:
        assert meaning and re.search(r"[\u4e00-\u9fff]", chinese), term
        assert term.isascii() or "$" in term, f"{term}: JupyterLab does not find a heading of such letters by a link"
        for name in re.findall("`([^`]+)`", code):
            assert name in source or name == "held_out", f"{term}: {name} is not in the package"
        if lesson in lessons and not term.startswith("$"):
            assert term.lower() in lessons[lesson], f"{term} is not in lesson {lesson}"


def test_the_museum_shows_every_exhibit_with_a_text_for_it():
    page = (ROOT / "site" / "museum.md").read_text("utf-8")
    shown = dict((name, alt) for alt, name in re.findall(r"!\[([^\]]+)\]\(museum/(\w+)\.png\)", page))
    assert shown.keys() == museum.EXHIBITS.keys()
    assert all(len(alt) > 40 for alt in shown.values())
    ids = re.findall(r"`(\d\d\.\w+)`", page)
    assert len(ids) >= len(shown)
    assert all(name in museum.planted(name[:2]) for name in ids)


@pytest.mark.parametrize("name", ["subtracted", "columns", "unscaled"])
def test_an_exhibit_is_drawn(name):
    assert museum.EXHIBITS[name]().get_size_inches().min() > 1


def bands(name, count):
    """The pixels of an exhibit's rows of pictures."""
    page = np.asarray(museum.EXHIBITS[name]().axes[0].images[0].get_array(), float)
    return [page[k * len(page) // count :][: len(page) // count] for k in range(count)]


def test_codes_divided_by_another_factor_are_pale_or_glare():
    right, undivided, pasted = (band.std() for band in bands("factor", 3))
    assert undivided < 0.6 * right and pasted > 1.15 * right


def test_what_was_not_held_is_seen():
    old, right, turned, free = bands("held", 4)
    assert abs(turned - old).mean() < 0.75 * abs(right - old).mean()
    assert abs(free - old).mean() > 1.5 * abs(right - old).mean()


def test_every_slip_of_the_walk_is_seen():
    """In the share of points within the circles, in how high they lie, or in how flat they are."""

    def look(ax):
        x, y = np.asarray(ax.collections[0].get_offsets()).clip(-9, 9).T
        return np.array([(np.hypot(x, y) < 2).mean(), np.median(y), np.quantile(y, 0.8) - np.quantile(y, 0.2)])

    right, *slips = map(look, museum.walks().axes)
    assert len(slips) == 7
    assert all(abs(slip - right).max() > 0.25 for slip in slips), (right, slips)


def test_the_page_of_the_package_names_modules_that_exist():
    text = build.api()
    assert "automodule:: minidiff.schedule" in text and "automodule:: minidiff.data\n" in text
    assert text.count("automodule") == sum(map(len, build.API.values()))


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning", "ignore::DeprecationWarning")  # of Sphinx, about myst
@pytest.mark.slow
def test_a_site_is_built_and_what_fails_is_told(tmp_path, monkeypatch, capfd):
    pytest.importorskip("myst_nb")
    broken = [*SMALL[:-1], "made.twin(1 / 0)"]
    dot = io.BytesIO()
    Image.new("L", (1, 1)).save(dot, "png")
    still = new_output("display_data", {"image/png": base64.b64encode(dot.getvalue()).decode()})
    for name, sources in {"00_small": SMALL, "01_broken": broken}.items():
        stored = notebook(*sources)
        stored.cells[-1].outputs = [still]  # of the twin
        nbformat.write(stored, tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(build, "API", {"One": ("expect",)})
    monkeypatch.setattr(museum, "EXHIBITS", {})
    with_table = notebook("1 + 1")
    with_table.cells[1].outputs = [new_output("display_data", {"text/markdown": "| a | b |\n|---|---|\n| c | d |"})]
    nbformat.write(with_table, tmp_path / "02_table.ipynb")
    missed = build.build(tmp_path / "html", sorted(tmp_path.glob("*.ipynb")))
    assert missed == ["01_broken: made: ZeroDivisionError: division by zero"]
    assert "training" not in capfd.readouterr().out  # which a cell prints on the way
    pages = {path.stem: path.read_text("utf-8") for path in (tmp_path / "html").rglob("*.html")}
    assert 'id="twin-made"' in pages["00_small"] and 'id="twin-made"' not in pages["01_broken"]
    assert 'alt="made in some settings"' in pages["00_small"]
    assert twins.AHEAD in pages["00_small"] and twins.STILL in pages["01_broken"]
    assert "tex-svg.js" in pages["00_small"]
    assert "<table" in pages["02_table"]
    loaded = re.findall(r'(?:<script[^>]*\bsrc|<link(?=[^>]*stylesheet)[^>]*\bhref)="([^"]+)"', "".join(pages.values()))
    assert loaded and not [link for link in loaded if "//" in link]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_widget_of_a_lesson_is_alive(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and back: the lesson is drawn in its own folder
    missed = build._lesson(path, tmp_path / path.name)
    assert not missed, "\n".join(missed)
