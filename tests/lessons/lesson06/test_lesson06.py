"""Lesson 06's widgets and measurements, on the shipped models."""

import re

import pytest
import torch

from minidiff import checkpoints, data, evaluate, schedule
from minidiff.denoiser import Denoiser
from minidiff.lessons.lesson06 import claims as lesson06
from minidiff.lessons.lesson06 import figures, widgets
from minidiff.scorecard import real_digits
from minidiff.unet import UNet


@pytest.fixture(scope="module")
def shipped():
    return {name: checkpoints.load(name) for name in ("ddpm-digits", "ddpm-levels", "ddpm-levels-bound", "vae-digits")}


@pytest.fixture(scope="module")
def held_out():
    return data.digits("test")


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(0)
    nets = {name: UNet(widths=(4, 8), **off) for name, off in (("whole", {}), ("no skips", {"skips": False}))}
    return {name: Denoiser(awake(net), schedule.cosine(), "v").eval() for name, net in nets.items()}


def awake(net):
    """A new network answers 0: give its last layer weights, so that networks differ."""
    torch.nn.init.normal_(net.out[-1].weight, std=0.1)
    return net


def shown(explorer) -> torch.Tensor:
    return explorer.draw(**explorer.values)


def test_the_trajectory_goes_from_noise_to_digits_and_its_last_step_is_the_sample(shipped):
    explorer = widgets.trajectory(shipped["ddpm-digits"], n=4, steps=10)
    assert explorer.values == {"step": 5}
    explorer.set(step=0)
    x, x0 = shown(explorer).split(4)
    prior = schedule.cosine().prior((4, 1, 16, 16), torch.Generator().manual_seed(0))
    assert torch.allclose(x, prior) and not torch.allclose(x, x0)
    explorer.set(step=10)
    x, x0 = shown(explorer).split(4)
    assert torch.equal(x, x0) and x.abs().max() <= 1.01
    assert explorer.picture.alt.startswith("step 10 of 10, time 0.00")


def test_the_estimate_is_near_with_little_noise_and_its_error_is_told(shipped, held_out):
    x, y = held_out[0][:5], held_out[1][:5]
    explorer = widgets.estimate(shipped["ddpm-digits"], x, y)
    errors = []
    for time in (0.1, 0.5, 1.0):
        explorer.set(time=time)
        clean, noisy, guess = shown(explorer).split(5)
        assert torch.equal(clean, x)
        errors.append((guess - clean).square().mean().item())
        told = re.fullmatch(rf"clean digits.* at time {time:.2f}, .* squared error (.*)", explorer.picture.alt)
        assert float(told[1]) == pytest.approx(errors[-1], abs=6e-4)
    assert errors == sorted(errors) and errors[0] < 0.02


def test_switching_a_part_off_changes_the_estimates_and_not_the_noise(narrow, held_out):
    explorer = widgets.switched_off(narrow, held_out[0][:3])
    whole = shown(explorer)
    explorer.set(network="no skips")
    without = shown(explorer)
    assert torch.equal(whole[:3], without[:3]) and not torch.allclose(whole[3:], without[3:], atol=1e-3)
    explorer.set(time=1.0)
    assert not torch.allclose(shown(explorer)[:3], without[:3])
    assert explorer.picture.alt.endswith("by the network: no skips")


def test_the_drawing_has_the_shapes_that_the_stages_have():
    down, mid, up = figures.stage_shapes(UNet(channels=1, widths=(4, 8, 16), classes=3), 16)
    assert down == up == [(4, 16, 16), (8, 8, 8)] and mid == (16, 4, 4)
    texts = {text.get_text() for text in figures.draw_unet(UNet(widths=(4, 8)), 16).axes[0].texts}
    assert {"16×16\n4 channels", "8×8\n8 channels"} <= texts


def test_samples_beat_the_vae(shipped):
    pictures = lesson06.drawn(shipped["ddpm-digits"], shipped["vae-digits"], n=297, steps=10)
    assert all(x.shape == (297, 1, 16, 16) and x.abs().max() <= 1 for x in pictures.values())
    measured = evaluate.compare(pictures, *real_digits())
    ddpm, vae = (measured[way] for way in lesson06.WAYS)
    assert ddpm.fd_held_out < vae.fd_held_out


def test_bits_are_between_the_pixel_model_and_uniform_levels(shipped):
    rows = lesson06.bits_table(shipped["ddpm-levels"], shipped["ddpm-levels-bound"], draws=10)
    assert all(1.77 < row["bits/dim"] < 4.087 for row in rows)
    assert rows[1]["bits/dim"] != rows[0]["bits/dim"]  # the variance counts


def test_claims_are_made_over_seeds(monkeypatch, shipped):
    draw = lesson06.draw
    monkeypatch.setattr(lesson06, "trained", lambda name, seed: shipped[name])
    monkeypatch.setattr(lesson06, "draw", lambda model, n, **options: draw(model, 297, **options | {"steps": 5}))
    monkeypatch.setattr(
        lesson06, "bits", lambda model, draws=100, variance="small": 2.5 if variance == "small" else 2.6
    )
    claims = lesson06.claims([0, 1], full=False)
    assert all(claim.holds for claim in claims[:2])
