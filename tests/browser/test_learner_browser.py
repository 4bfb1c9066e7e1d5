"""What a learner does besides moving widgets, in a real JupyterLab: unfold answers, look up terms, stop a training."""

import re

import nbformat
import pytest
from conftest import sync_api
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow

TRAIN = """import torch
from minidiff import data
from minidiff.autoencoder import Autoencoder
from minidiff.train import fit, run

x, _ = data.digits("train")
model = Autoencoder(code=2)"""
ENDLESS = 'ticks = run(fit(model, data.batches(x, size=64), steps=1_000_000), desc="endless")'
AFTER = 'print("went on after", 0 < len(ticks) < 1_000_000, model.training)'
START = "() => { jupyterapp.commands.execute('notebook:run-all-cells'); }"
STOP = "() => jupyterapp.commands.execute('notebook:interrupt-kernel')"
IDLE = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@pytest.fixture(scope="module")
def lesson(lab, page):
    """Lesson 06 as it is stored: nothing has been run."""
    page.goto(f"{lab.url}/lab/tree/06_ddpm.ipynb?reset")
    page.wait_for_function(IDLE)
    return page


def test_hints_and_solution_are_folded_until_they_are_asked_for(lesson):
    solution = lesson.locator("details", has_text="def noise_loss").first
    code = solution.locator("pre").first
    assert not code.is_visible()
    solution.locator("summary").click()
    code.wait_for(state="visible")
    assert "torch.randn_like(x0)" in code.inner_text()
    assert lesson.locator("summary", has_text="Hint 1").count() >= 4


@pytest.mark.parametrize("word, term", [("skip connection",) * 2, ("U-Net",) * 2, ("Fréchet distance", "FD")])
def test_a_word_opens_the_glossary_where_it_stands(lab, page, lesson, word, term):
    page.goto(f"{lab.url}/lab/tree/06_ddpm.ipynb?reset")
    page.wait_for_function(IDLE)
    page.locator("a[href*=glossary]", has_text=word).first.click()
    heading = page.locator(".jp-MarkdownViewer h3", has_text=re.compile(f"^{term}"))
    sync_api().expect(heading).to_be_in_viewport()


def test_the_stop_button_ends_a_training_and_the_cells_below_go_on(lab, page):
    cells = [new_code_cell(source) for source in (TRAIN, ENDLESS, AFTER)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), lab.root / "stopped.ipynb")
    page.goto(f"{lab.url}/lab/tree/stopped.ipynb?reset")
    page.wait_for_function(IDLE)
    page.evaluate(START)
    page.get_by_text("endless 0%").first.wait_for()
    page.evaluate(STOP)
    page.get_by_text("Stopped after").first.wait_for()
    page.get_by_text("went on after True False").first.wait_for()
