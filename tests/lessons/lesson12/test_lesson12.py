"""Lesson 12: its widgets show what the model draws, its tables count rightly, its cells run on published weights."""

import builtins
import copy
import json
import os

import published
import pytest
import torch

from minidiff import checkpoints, data, seeded
from minidiff.exercises.core import find
from minidiff.latent import image_to_image, text_to_image
from minidiff.lessons.lesson12 import claims, loops, probes, slips, solutions, widgets
from minidiff.sampler import leading_times, times
from minidiff.stable_diffusion import scaled_linear


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("sd-emoji")


def titles(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_console_draws_what_it_is_set_to(model, monkeypatch):
    explorer = widgets.console(model, "penguin", n=2)
    seen = []
    monkeypatch.setattr(widgets.plot, "grid", lambda images, **how: seen.append(images) or images)
    explorer.set(prompt="owl", sampler="DDIM", steps=5, scale=3.0, times="leading")
    options = {"steps": 5, "scale": 3.0, "order": 1, "grid": leading_times, "negative": "", "generator": seeded(0)}
    assert torch.allclose(seen[-1], text_to_image(model, ["owl"] * 2, **options), atol=1e-5)
    assert explorer.picture.alt == "2 emoji of “owl”, away from “”, scale 3, 5 steps of DDIM, leading times"


def test_a_drawing_is_made_over(model, monkeypatch):
    images = data.emoji("combinations", 32)[0][:3]
    seen = []
    monkeypatch.setattr(widgets.plot, "grid", lambda images, **how: seen.append(images) or images)
    explorer = widgets.make_over(model, images, "owl")
    explorer.set(picture=2, strength=0.3)
    again = images[2:3].expand(3, -1, -1, -1)
    wanted = image_to_image(model, again, ["owl"] * 3, 0.3, steps=20, generator=seeded(1))
    assert torch.equal(seen[-1][:1], images[2:3]) and torch.allclose(seen[-1][1:], wanted, atol=1e-5)


def test_the_visited_times_are_those_of_the_samplers():
    axes = widgets.visited_times(scaled_linear(), 10, "leading").axes[0]
    assert axes.lines[1].get_xdata().tolist() == leading_times(10).tolist()
    assert axes.get_title() == "from t = 0.902, where alpha is 0.118, to t = 0.001"
    axes = widgets.visited_times(scaled_linear(), 10, "trailing").axes[0]
    assert axes.lines[1].get_xdata().tolist() == times(10).tolist()


def test_the_published_sizes_and_costs():
    large = claims.on_meta()
    assert large.weights() == claims.PUBLISHED
    whole, half = claims.flops(large, 512), claims.flops(large, 256)
    assert whole["decoder"] == pytest.approx(4 * half["decoder"], rel=0.1)  # its one attention grows faster
    assert 4 * half["generator"] < whole["generator"] < 8 * half["generator"]
    text, unet, decoder = claims.costs(large, 512)
    assert [row["passes"] for row in (text, unet, decoder)] == [2, 40, 1]
    assert unet["10⁹ operations"] == pytest.approx(40 * whole["generator"], abs=1)


def test_the_miniature_draws_names_that_it_never_saw(model):
    row = claims.asked(model, 30, steps=20)
    assert row["right"] > 0.5 and 0 < row["varied"] < 0.5  # by chance 1 of 3,470
    assert claims.asked(model, 12, scale=0.0, steps=5)["right"] < 0.3


def test_the_layer_of_the_lesson_is_the_packages():
    torch.manual_seed(0)
    layer, h, words = probes.transformer(), torch.randn(2, 8, 3, 4), torch.randn(2, 5, 6)
    assert torch.allclose(solutions.spatial_transformer(layer, h, words), layer(h, None, words), atol=1e-5)


def in_float64(layer, h, words):
    exact = solutions.spatial_transformer(copy.deepcopy(layer).double(), h.double(), words.double())
    return exact.to(h.dtype)


def both_halves_at_once(model, prompts, z, t, scale):
    told = model.read([""] * len(prompts) + list(prompts))
    for now, then in zip(t, t[1:]):
        without, with_words = model.denoiser(torch.cat([z, z]), now, told).chunk(2)
        x0 = torch.lerp(without, with_words, scale)
        (alpha, sigma), (alpha_then, sigma_then) = model.schedule(now), model.schedule(then)
        z = (sigma_then / sigma * z + (alpha_then - alpha * sigma_then / sigma) * x0).to(z.dtype)
    return model.decode(z)


def by_unfolding(conv, h):
    patches = torch.nn.functional.pad(h, (0, 1, 0, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
    return torch.einsum("bchwij,ocij->bohw", patches, conv.weight) + conv.bias[:, None, None]


def as_a_tensor(ids, length, start, end):
    row = torch.full((length,), end)
    row[0] = start
    if len(ids) + 2 > length:
        raise ValueError
    row[1 : 1 + len(ids)] = torch.tensor(ids, dtype=torch.long)
    return row


@pytest.mark.parametrize(
    "name, answer",
    [
        ("spatial_transformer", in_float64),
        ("draw", both_halves_at_once),
        ("halve", by_unfolding),
        ("padded", as_a_tensor),
        ("leading_times", lambda steps: [(k * (1000 // steps) + 2) / 1000 for k in range(steps)][::-1] + [0.001]),
    ],
)
def test_other_right_answers_are_accepted(name, answer):
    torch.manual_seed(0)
    find(f"12.{name}")(answer)


def test_each_slip_leads_elsewhere():
    torch.manual_seed(0)
    z, t = torch.randn(2, 4, 3, 3), torch.tensor([0.9, 0.5, 0.2, 0.001]).double()
    layer, conv = probes.transformer(), torch.nn.Conv2d(3, 5, 3, stride=2)
    with torch.no_grad():
        tables = [
            probes.transformer_slips(layer, torch.randn(2, 8, 3, 4), torch.randn(2, 5, 6)),
            loops.draw_slips(["one cat", "two dogs"], z, t, 3.0),
            slips.leading(solutions.leading_times(20).double()),
            slips.alpha_bar(solutions.alpha_bar(0.00085, 0.012, 1000)),
            slips.halved_wrongly(conv, torch.randn(2, 3, 8, 6)),
            slips.rescaled(solutions.alpha_bar(0.00085, 0.012, 1000)),
        ]
    for table in tables:
        values = [value.double() for value in table.values()]
        pairs = [(a, b) for k, b in enumerate(values) for a in values[:k] if a.shape == b.shape]
        assert not any(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


def test_the_loop_of_the_lesson_is_the_samplers_first_order(model):
    z = model.schedule.prior((2, 8, 8, 8), seeded(0))
    with torch.no_grad():
        mine = solutions.draw(model, ["owl", "penguin"], z, times(10), 2.0)
    theirs = text_to_image(model, ["owl", "penguin"], steps=10, order=1, scale=2.0, generator=seeded(0))
    assert torch.allclose(mine, theirs, atol=1e-3)


def test_the_cells_draw_with_published_weights(tmp_path, monkeypatch, capsys):
    published.pipeline(tmp_path / "sd")
    monkeypatch.setenv("MINIDIFF_SD", str(tmp_path / "sd"))
    monkeypatch.setenv("MINIDIFF_PROFILE", "ci")
    shown = []
    monkeypatch.setattr(builtins, "display", shown.append, raising=False)
    root = os.path.join(os.path.dirname(__file__), *[".."] * 3)
    with open(os.path.join(root, "notebooks", "12_stable_diffusion.ipynb"), encoding="utf-8") as file:
        cells = {cell["id"]: "".join(cell["source"]) for cell in json.load(file)["cells"]}
    cells["real-draw"] = cells["real-draw"].replace("a photograph of an astronaut riding a horse", "the cat")
    cells["real-load"] = cells["real-load"].replace("a cat", "the cat")
    names = {}
    for name in ("setup", "draw-code", "real-load", "real-draw"):
        exec(cells[name], names)
    assert len(shown) == 1 and "s a pass" in capsys.readouterr().out
    assert names["painted"].shape == (1, 3, 16, 16) and names["painted"].isfinite().all()
