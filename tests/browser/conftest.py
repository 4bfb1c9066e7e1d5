"""A real browser on a real JupyterLab: the fixtures `lab`, `page` and `notebook`, for the tests of this folder.

    def test_lesson(notebook):
        lesson = notebook("01_autoencoder.ipynb")        # opened, every cell run without an error
        pad = lesson.explorer("latent")                  # the first Explorer with this class, or a number: the nth
        first = pad.picture()
        pad.press("code", "ArrowRight", 3)               # the control named `code`
        pad.changed(first)                               # waits until the picture is another
        pad.button("Reset")
        pad.shows(first)                                 # waits until the picture is that one again

After each test the page must be clean: no error in the kernel or on the page, no request to the outside. One page
serves all tests of a module, so a fixture of that scope may open a notebook once for several.
Without chromium the tests are skipped, or fail where MINIDIFF_REQUIRE_BROWSER=1. MINIDIFF_SHOTS=FOLDER keeps a
screenshot of each test.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ARGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
KEYED = ".noUi-handle, select, input, canvas"  # what takes the keys of a control
MS = int(os.environ.get("BROWSER_TIMEOUT_MS", 180_000))
FOLDERS = "HOME JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR IPYTHONDIR MPLCONFIGDIR".split()
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is on the page, also those out of sight
}
READY = (
    "window.jupyterapp?.shell?.currentWidget?.context?.isReady && "
    "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"
)
RUN_ALL = """async () => {
  window.kernelErrors = [];  // also those of a widget's callback, which no cell shows
  const notebook = jupyterapp.shell.currentWidget;
  notebook.sessionContext.session.kernel.iopubMessage.connect((_, message) => {
    if (message.header.msg_type === "error") kernelErrors.push(message.content.ename + ": " + message.content.evalue);
  });
  await jupyterapp.commands.execute("notebook:run-all-cells");
  return notebook.content.widgets.filter((cell) => cell.model.type === "code").map((cell) =>
    [cell.model.executionCount, cell.model.outputs.toJSON().filter((output) => output.output_type === "error")
      .map((error) => error.ename + ": " + error.evalue)]);
}"""
RESTART = "async () => { await jupyterapp.shell.currentWidget.sessionContext.restartKernel(); }"
SHUT_DOWN = "async () => { await window.jupyterapp?.shell?.currentWidget?.sessionContext?.shutdown?.(); }"
DECODED = "(img) => img.decode().catch(() => img.decode()).then(() => img.naturalWidth)"  # again if it plays on
CLOCK = """(img) => {
  const busy = img.parentElement.querySelector(".minidiff-busy"), now = () => img.src + img.alt;
  let shown = now();
  const clock = new MutationObserver(() => {
    if (shown === now()) return;
    const seen = marked;
    shown = now();
    img.decode().then(() => {
      const now = performance.now();
      answers.push([now - moved, begun > moved ? now - begun + 0.1 : 0, seen]);
    }, () => {});  // the next picture came before this one was decoded
  });
  new MutationObserver((changes) => {  // on and off again may come as one
    const on = busy.className + changes.map((change) => change.oldValue);
    if (on.includes("minidiff-on") && begun <= moved) window.begun = performance.now();
  }).observe(busy, { attributes: true, attributeOldValue: true });
  Object.assign(window, { answers: [], moved: 0, begun: 0, marked: 0 });
  document.addEventListener("keydown", () => Object.assign(window, { moved: performance.now(), marked: 0 }), true);
  window.clock?.disconnect();
  window.clock = clock;
  clock.observe(img, { attributes: true, attributeFilter: ["src", "alt"] });
  requestAnimationFrame(function look() {
    window.marked = Math.max(marked, getComputedStyle(busy).opacity);
    if (window.clock === clock) requestAnimationFrame(look);
  });
}"""


@dataclass
class Lab:
    """A running JupyterLab: its address, and the folder it serves, a copy of the notebooks a test may add to."""

    url: str
    root: Path


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    sync_api()
    base = tmp_path_factory.mktemp("lab")
    root = Path(shutil.copytree(NOTEBOOKS, base / "root")) if NOTEBOOKS.is_dir() else base / "root"
    root.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", base / "lab.log"
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += [f"--ServerApp.root_dir={root}", "--IdentityProvider.token=", "--expose-app-in-browser"]
    options += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command = [sys.executable, "-m", "jupyterlab", *options]
    with open(log, "wb") as out:
        server = subprocess.Popen(command, env=_environment(base), stdout=out, stderr=out, start_new_session=True)
    try:
        _await_answer(url + "/api/status", server, log)
        yield Lab(url, root)
    finally:
        server.send_signal(signal.SIGTERM)  # the server ends its kernels too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture(scope="module")
def page(lab):
    """A page of the browser, Playwright's. `errors` gathers those of its scripts, `outside` what it asked of others."""
    with sync_api().sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        try:
            page = browser.new_page(viewport={"width": 1200, "height": 1400})
            page.set_default_timeout(MS)
            sync_api().expect.set_options(timeout=MS)
            page.errors, page.outside = [], []
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            inside = (lab.url, lab.url.replace("http", "ws"), "data:", "blob:")
            page.on("request", lambda asked: asked.url.startswith(inside) or page.outside.append(asked.url))
            yield page
        finally:
            browser.close()


@pytest.fixture(scope="module")
def notebook(lab, page):
    """A function that opens a notebook of the served folder, runs it, and returns it as a `Notebook`."""

    def open_and_run(name: str) -> Notebook:
        page.evaluate(SHUT_DOWN)  # the kernel of the one before: each holds half a gigabyte
        page.goto(f"{lab.url}/lab/tree/{name}?reset")
        return Notebook(page).run()

    yield open_and_run
    page.evaluate(SHUT_DOWN)


@pytest.fixture(autouse=True)
def clean(page, request):
    """After each test: a screenshot if wanted, and no error, no outside request."""
    yield
    if shots := os.environ.get("MINIDIFF_SHOTS"):
        page.screenshot(path=Path(shots, f"{request.node.name}.png"))
    Notebook(page).assert_clean()


@dataclass
class Notebook:
    """A notebook that was run; `page` is Playwright's."""

    page: object

    def explorer(self, which: int | str = 0) -> "Explored":
        """The nth Explorer of the notebook, or the first that has a CSS class."""
        found = self.page.locator(f".minidiff-explorer{'' if isinstance(which, int) else '.' + which}")
        found = found.nth(which if isinstance(which, int) else 0)
        found.scroll_into_view_if_needed()
        return Explored(self.page, found)

    def explorers(self) -> "list[Explored]":
        """All of them, in their order."""
        return [self.explorer(k) for k in range(self.page.locator(".minidiff-explorer").count())]

    def restart(self) -> "Notebook":
        """A new kernel, every cell run again."""
        self.page.evaluate(RESTART)
        return self.run()

    def run(self) -> "Notebook":
        """Run every cell, none with an error."""
        self.page.wait_for_function(READY)
        cells = self.page.evaluate(RUN_ALL)
        wrong = {k: errors or "not run" for k, (count, errors) in enumerate(cells, start=1) if errors or not count}
        assert cells and not wrong, f"code cells {wrong}"
        return self

    def theme(self, name: str) -> None:
        """Change JupyterLab's theme: "JupyterLab Dark" or "JupyterLab Light"."""
        self.page.evaluate("(theme) => jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
        self.page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached")

    def errors(self) -> list[str]:
        """What the kernel reported so far; forgets it, for a test that sets off an error on purpose."""
        return self.page.evaluate("kernelErrors.splice(0)")

    def assert_clean(self) -> None:
        """No error in the kernel or on the page, and nothing asked of the outside."""
        assert (self.page.evaluate("window.kernelErrors ?? []"), self.page.errors, self.page.outside) == ([], [], [])


@dataclass
class Explored:
    """An Explorer on the page. Controls are named by the keywords it was made with; every wait has a limit."""

    page: object
    box: object

    @property
    def image(self):
        """Playwright's locator of the <img>."""
        return self.box.locator("img.minidiff-image")

    def control(self, name: str):
        """Playwright's locator of a control."""
        return self.box.locator(f".minidiff-{name}")

    def picture(self) -> str:
        """The picture on show, as a data URL."""
        sync_api().expect(self.image).to_have_attribute("src", re.compile("^data:image/png;base64,"))
        assert self.image.evaluate(DECODED) >= 16
        return self.image.get_attribute("src")

    def changed(self, old: str) -> str:
        """Wait until the picture is another than `old`, and return it."""
        sync_api().expect(self.image).not_to_have_attribute("src", old)
        return self.picture()

    def shows(self, picture: str) -> None:
        """Wait until the picture is that one."""
        sync_api().expect(self.image).to_have_attribute("src", picture)

    def alt(self, text: str | re.Pattern) -> None:
        """Wait until the picture's text for those who cannot see it is `text`, or matches it."""
        sync_api().expect(self.image).to_have_attribute("alt", text)

    def press(self, name: str, key: str, times: int = 1) -> None:
        """Press a key on a slider, a player's slider, a menu, a line of text or a pad."""
        for _ in range(times):
            self.keyed(name).press(key)

    def keyed(self, name: str):
        """Playwright's locator of the part of a control that takes its keys."""
        return self.control(name).locator(KEYED).first

    def choose(self, name: str, text: str) -> None:
        """Pick an entry of a menu."""
        self.control(name).locator("select").first.select_option(label=text)

    def write(self, name: str, text: str) -> None:
        """Type over a line of text and press Enter."""
        self.keyed(name).fill(text)
        self.keyed(name).press("Enter")

    def button(self, text: str) -> None:
        """Press the button with this text."""
        self.box.get_by_role("button", name=text, exact=True).click()

    def drag(self, name: str, start, end, steps: int = 10) -> None:
        """Drag over a pad from `start` to `end`, each (across, down) as a share of its canvas, 0 to 1."""
        canvas = self.control(name).locator("canvas")
        canvas.scroll_into_view_if_needed()
        canvas.hover()  # waits until the canvas stands still: outputs above it may still be growing
        at = canvas.bounding_box()
        (x0, y0), (x1, y1) = [(at["x"] + u * at["width"], at["y"] + v * at["height"]) for u, v in (start, end)]
        self.page.mouse.move(x0, y0)
        self.page.mouse.down()
        self.page.mouse.move(x1, y1, steps=steps)
        self.page.mouse.up()
        self.settle()

    def settle(self, seconds: float = 1.0) -> None:
        """Wait until the picture is not drawn, nor changed, for so long: the places of a drag arrive one by one."""
        shown, since = None, time.monotonic()
        while time.monotonic() - since < seconds:
            now = self.image.get_attribute("src"), self.image.get_attribute("alt")
            if now != shown or self.box.locator("[aria-busy=true]").count():
                shown, since = now, time.monotonic()
            self.page.wait_for_timeout(100)

    def watch(self) -> None:
        """From now on keep the time of each of the `answers`: from a key to another picture, or another text of it."""
        self.image.evaluate(CLOCK)

    def answers(self, count: int) -> list[tuple[float, float, float]]:
        """Wait for so many: each one's milliseconds, those since it was begun, and the busy mark's opacity by then."""
        self.page.wait_for_function("(count) => answers.length >= count", arg=count)
        return self.page.evaluate("answers")

    def answer_times(self, name: str, keys: list[str]) -> list[float]:
        """Press `keys` one by one, each of which must change the picture: milliseconds until it was there, sorted."""
        self.watch()
        for k, key in enumerate(keys):
            self.press(name, key)
            self.answers(k + 1)
        return sorted(ms for ms, *_ in self.answers(len(keys)))


def sync_api():
    """Playwright's module; skips the test, or fails it where a browser is required, if that or chromium is missing."""
    try:
        from playwright import sync_api
    except ImportError:
        sync_api = None
    if sync_api is None or not CHROMIUM:
        missing = "chromium is not installed" if sync_api else "playwright is not installed"
        (pytest.fail if os.environ.get("MINIDIFF_REQUIRE_BROWSER") == "1" else pytest.skip)(missing)
    return sync_api


def _environment(base: Path) -> dict:
    """This process's environment with every folder of Jupyter's under `base`, so that no user setting is read."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST", "MPL"))}
    env.setdefault("MINIDIFF_PROFILE", "ci")
    for name in [*FOLDERS, "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]:
        env[name] = str(base / name.lower())
        os.makedirs(env[name])
    for name, values in SETTINGS.items():
        path = Path(env["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", name + ".jupyterlab-settings")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    return env


def _await_answer(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.time() + MS / 1000
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            if server.poll() is not None or time.time() > end:
                pytest.fail(log.read_text())
            time.sleep(0.1)
