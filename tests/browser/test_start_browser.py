"""The first thing a learner sees in a real JupyterLab: the page START.md, from which a lesson opens."""

import re
from pathlib import Path

MAKEFILE = Path(__file__).parents[2] / "Makefile"
CUT = """() => [...document.querySelectorAll(".jp-DirListing-itemText")].filter((name) => name.offsetWidth)
  .map((name) => [name.innerText, name.scrollWidth > name.clientWidth])"""


def test_make_lab_opens_on_the_start_page_and_a_click_opens_a_lesson(lab, page):
    [opened] = re.findall(r"--LabApp.default_url=(\S+)", MAKEFILE.read_text("utf-8"))
    page.goto(f"{lab.url}{opened}?reset")
    start = page.locator(".jp-MarkdownViewer")  # set as a page, not as its source
    start.locator("h1", has_text="Start here").wait_for()
    page.locator(".jp-DirListing-itemText", has_text="latent_diffusion").wait_for()
    names = dict(page.evaluate(CUT))
    assert {"START.md", "glossary.md"} <= names.keys() and not [name for name, cut in names.items() if cut]
    assert all(name.endswith((".md", ".ipynb")) for name in names)  # nothing beside the lessons that is not to read
    start.locator("a", has_text="DDIM").click()
    page.locator(".jp-NotebookPanel h1").first.wait_for()
    assert page.evaluate("jupyterapp.shell.currentWidget.context.path") == "07_ddim.ipynb"
