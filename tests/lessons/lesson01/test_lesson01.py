"""Lesson 01's widgets and measurements, on the shipped models."""

import pytest
import torch
import torch.nn.functional as F

from minidiff import checkpoints, data, evaluate
from minidiff.autoencoder import Autoencoder, GaussianCodes, LinearCode
from minidiff.lessons.lesson01 import claims as lesson01
from minidiff.lessons.lesson01 import widgets
from minidiff.scorecard import Claim, real_digits


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("ae-digits")


@pytest.fixture(scope="module")
def held_out():
    return data.digits("test")


def shown(explorer) -> torch.Tensor:
    return explorer.draw(**explorer.values)


def test_latent_plane_decodes_under_the_finger_and_names_the_nearest_digit(held_out):
    plane, (x, y) = checkpoints.load("ae-digits-2"), held_out
    explorer = widgets.latent_plane(plane, x, y)
    z = plane.encode(x).detach()
    for k in (0, 7, 100):
        explorer.set(code=tuple(z[k].tolist()))
        assert torch.equal(shown(explorer), plane.decode(z[k][None]))
        assert explorer.picture.alt.endswith(f"the nearest encoded digit is a {y[k]}")


def test_code_sizes_shows_the_digit_the_autoencoder_and_pca(held_out):
    models = [checkpoints.load(name) for name in ("ae-digits-2", "ae-digits", "ae-digits-16")]
    train, x = data.digits("train")[0], held_out[0]
    explorer = widgets.code_sizes(models, train, x)
    assert explorer.values == {"numbers": 8, "digit": 0}
    explorer.set(numbers=16, digit=5)
    original, ours, theirs = shown(explorer)
    assert torch.equal(original, x[5])
    assert torch.equal(ours, models[2](x[5:6])[0])
    assert torch.allclose(theirs, LinearCode(train, 16).decode(LinearCode(train, 16).encode(x[5:6]))[0])


def test_disturbed_codes_add_noise_and_drop_numbers(model, held_out):
    x = held_out[0][:8]
    explorer = widgets.disturbed_codes(model, x)
    z = model.encode(x)
    assert torch.equal(shown(explorer), torch.cat([x, model.decode(z)]))
    explorer.set(dropped=model.code, noise=2.0)
    assert torch.allclose(shown(explorer)[8:], model.decode(z.mean(0).expand_as(z)), atol=1e-5)
    explorer.set(dropped=0)
    undone = (model.encode(shown(explorer)[8:]) - z).abs().mean()
    assert undone > 1, "noise of two spreads moves the codes"
    explorer.set(noise=0.0)
    assert torch.equal(shown(explorer)[8:], model.decode(z)), "no setting leaves a trace in the codes"


def test_held_out_error_is_the_squared_error_a_pixel_against_the_clean_picture(model, held_out):
    x = held_out[0]
    assert lesson01.held_out_error(model) == pytest.approx(F.mse_loss(model(x), x).item(), rel=1e-5)
    noisy = lesson01.held_out_error(model, noise=0.5)
    assert noisy == lesson01.held_out_error(model, noise=0.5) > 1.5 * lesson01.held_out_error(model)


def test_the_autoencoder_beats_pca_with_8_numbers_and_not_with_32(model):
    rows = lesson01.code_sizes([model, checkpoints.load("ae-digits-32")])
    assert [row["numbers"] for row in rows] == [8, 32]
    assert rows[0]["ratio"] == pytest.approx(rows[0]["autoencoder"] / rows[0]["PCA"])
    assert rows[0]["ratio"] <= lesson01.BOUND and rows[1]["ratio"] > 1


def test_drawn_decodes_each_kind_of_code(model):
    pictures = lesson01.drawn(model, n=300, seed=3)
    assert tuple(pictures) == lesson01.CODES
    assert all(x.shape == (300, 1, 16, 16) and x.abs().max() <= 1 for x in pictures.values())
    z = model.encode(data.digits("train")[0])
    generator = torch.Generator().manual_seed(3)
    normal = model.decode(torch.randn(300, 8, generator=generator)).clamp(-1, 1)
    fitted = model.decode(GaussianCodes(z).sample(300, generator)).clamp(-1, 1)
    for name, wanted in zip(lesson01.CODES, (model.decode(z[:300]).clamp(-1, 1), fitted, normal)):
        assert torch.allclose(pictures[name], wanted, atol=1e-5), name


def test_random_codes_are_worse_than_real_ones(model):
    quality = evaluate.compare(lesson01.drawn(model, n=600), *real_digits())
    real, fitted, normal = (quality[name].fd_held_out for name in lesson01.CODES)
    assert 2 * real < fitted < 0.6 * normal
    assert {"fresh real pictures", "a memoriser"} < set(quality)


def test_denoising_rows():
    rows = lesson01.denoising({"denoiser": checkpoints.load("dae-digits")}, noises=(0.0, 0.5))
    assert [row["noisy picture"] for row in rows] == [0, 0.25]
    assert rows[1]["denoiser"] < 0.25 / 3


def test_claims_are_made_over_seeds_and_say_why_when_they_fail(monkeypatch):
    monkeypatch.setattr(lesson01, "trained", lambda name, seed: checkpoints.load(name))
    claims = lesson01.claims([0, 1], full=False)
    assert all(isinstance(claim, Claim) and claim.lesson == "01" for claim in claims)
    assert [claim.holds for claim in claims] == [True, False, True, True] and "±" in claims[0].ours
    assert [bool(claim.why) for claim in claims] == [False, True, False, False]
    monkeypatch.setattr(lesson01, "trained", lambda name, seed: Autoencoder(code=8))
    claims = lesson01.claims([0], full=False)
    assert not any(claim.holds for claim in claims)
