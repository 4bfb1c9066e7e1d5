"""The reading site in a real browser, from a folder and over HTTP: its widgets live, its links lead somewhere."""

import importlib.util
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urldefrag

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("myst_nb"), reason='pip install -e ".[site]"'),
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The whole site, built as `make site` builds it."""
    sys.path.insert(0, str(ROOT / "site"))
    import build

    out, began = tmp_path_factory.mktemp("site") / "html", time.monotonic()
    missed = build.build(out, sorted((ROOT / "notebooks").glob("*.ipynb")))
    print(f"site: {time.monotonic() - began:.0f} s; still pictures only: {missed or 'none'}")
    return out


@pytest.fixture(scope="module", params=["file", "http"])
def lab(site, request):
    """In place of JupyterLab: where the site is, for the fixture `page`."""
    if request.param == "file":
        yield Address(site.as_uri())
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Address(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()


class Address:
    def __init__(self, url):
        self.url = url


@pytest.fixture(autouse=True, scope="module")
def console(page):
    """What the console warns of counts as an error, too."""
    page.on("console", lambda line: line.type in ("error", "warning") and page.errors.append(line.text))


@pytest.fixture(autouse=True)
def clean(page):
    """After each test: nothing asked of others, no error of a script or on the console."""
    page.errors.clear()
    page.outside.clear()
    yield
    assert not page.errors and not page.outside, (page.errors, page.outside)


def open_page(page, lab, name):
    page.goto(f"{lab.url}/{name}.html")
    page.wait_for_function("!window.MathJax || MathJax.startup?.promise !== undefined")


def shown(page, twin):
    img = page.locator(f"#twin-{twin} img")
    img.evaluate("(img) => img.decode()")
    return img.get_attribute("src"), img.get_attribute("alt")


def test_a_slider_is_moved_with_the_keyboard_and_comes_back(page, lab):
    open_page(page, lab, "lessons/02_vae")
    slider, first = page.get_by_label("temperature"), shown(page, "temperature")
    slider.focus()
    page.keyboard.press("End")
    src, alt = shown(page, "temperature")
    assert src != first[0] and alt.endswith("temperature 3.0")
    page.keyboard.press("ArrowLeft")
    assert "2.9" in shown(page, "temperature")[1] and slider.get_attribute("aria-valuetext") == "2.9"
    for _ in range(19):
        page.keyboard.press("ArrowLeft")
    assert shown(page, "temperature") == first
    page.keyboard.press("Home")
    page.reload()
    assert shown(page, "temperature")[1].endswith(
        page.get_by_label("temperature").get_attribute("aria-valuetext") + ".0"
    )


def test_a_slider_and_a_menu_together(page, lab):
    open_page(page, lab, "lessons/05_forward_diffusion")
    page.locator("#twin-noise-0").fill("9")
    page.get_by_label("schedule").select_option("flow")
    src, alt = shown(page, "noise")
    assert alt == "8 digits at t = 1.00, flow: no signal" and src.startswith("data:image/webp")


def test_a_player_plays_to_its_end_and_can_be_paused(page, lab):
    open_page(page, lab, "lessons/00_why_generate")
    figure, first = page.locator("#twin-player"), shown(page, "player")
    assert "Drawn ahead for this page" in figure.locator(".twin-note").inner_text()
    button, slider = figure.get_by_role("button"), figure.get_by_label("pixels drawn")
    button.click()
    page.wait_for_function("(src) => document.querySelector('#twin-player img').src !== src", arg=first[0])
    figure.get_by_role("button", name="Pause").click()
    held = shown(page, "player")
    page.wait_for_timeout(600)
    assert shown(page, "player") == held
    button.click()
    figure.get_by_role("button", name="Play").wait_for()  # by itself, at the end
    assert slider.input_value() == slider.get_attribute("max")


def test_the_first_page_says_how_a_lesson_works_and_how_to_install(page, lab):
    open_page(page, lab, "index")
    article = page.locator("article")
    assert "Shift+Enter" in article.inner_text() and article.locator("table a", has_text="DDIM").count() == 1
    article.get_by_role("link", name="install it").click()
    page.get_by_text("make lab", exact=False).first.wait_for()


def test_every_page_opens_and_every_link_leads_somewhere(page, lab):
    waiting, seen, twins = [f"{lab.url}/index.html"], set(), 0
    while waiting:
        url = waiting.pop()
        if url in seen or "/_" in url.removeprefix(lab.url):  # the sources of modules, and scripts
            continue
        seen.add(url)
        answer = page.goto(url)
        assert answer is None or answer.ok, url
        twins += page.locator("figure.twin").count()
        assert page.evaluate("[...document.images].every((img) => img.complete && img.naturalWidth)"), url
        found = page.evaluate("[...document.querySelectorAll('a[href]')].map((a) => a.href)")
        waiting += [urldefrag(link).url for link in found if link.startswith(lab.url) and ".html" in link]
    lessons = len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert {"index.html", "glossary.html", "museum.html", "api.html"} <= {url.split("/")[-1] for url in seen}
    assert sum("/lessons/" in url for url in seen) == lessons + 1 and twins >= 2 * lessons  # and the glossary


def test_formulas_are_set_and_pictures_have_texts(page, lab):
    open_page(page, lab, "lessons/05_forward_diffusion")
    page.wait_for_function("document.querySelectorAll('mjx-container svg').length > 5")
    open_page(page, lab, "museum")
    assert all(page.evaluate("[...document.querySelectorAll('article img')].map((img) => img.alt.length > 40)"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(page, lab, scheme):
    page.emulate_media(color_scheme=scheme)
    size = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 800})
    try:
        for name in ("index", "lessons/02_vae", "lessons/glossary", "museum"):
            open_page(page, lab, name)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), name
    finally:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme="light")
