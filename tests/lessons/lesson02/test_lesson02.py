"""Lesson 02's widgets and measurements, on the shipped models."""

import pytest
import torch

from minidiff import checkpoints, data, evaluate
from minidiff.lessons.lesson02 import claims as lesson02
from minidiff.lessons.lesson02 import widgets
from minidiff.metrics import bits_per_dim
from minidiff.scorecard import real_digits
from minidiff.vae import VAE, gaussian_kl


@pytest.fixture(scope="module")
def shipped():
    return {name: checkpoints.load(name) for name in [*lesson02.BETAS.values(), "ae-digits", "vae-digits-2"]}


@pytest.fixture(scope="module")
def held_out():
    return data.digits("test")


def shown(explorer) -> torch.Tensor:
    return explorer.draw(**explorer.values)


def test_the_plane_starts_in_the_middle_and_decodes_under_the_finger(shipped, held_out):
    model, (x, y) = shipped["vae-digits-2"], held_out
    explorer = widgets.latent_plane(model, x, y)
    assert explorer.values == {"code": (0.0, 0.0)}
    mu, _ = model.encode(x)
    for k in (3, 40):
        explorer.set(code=tuple(mu[k].tolist()))
        assert torch.equal(shown(explorer), model.decode(mu[k][None]))
        assert explorer.picture.alt.endswith(f"the nearest encoded digit is a {y[k]}")


def test_the_price_widget_shows_digits_rebuilt_ones_and_random_codes_of_that_beta(shipped, held_out):
    x = held_out[0][:5]
    explorer = widgets.price_of_a_code([shipped[name] for name in lesson02.BETAS.values()], x)
    assert explorer.values == {"beta": 1.0}
    model = shipped["vae-digits-beta-4"]
    explorer.set(beta=4.0)
    originals, rebuilt, random = shown(explorer).split(5)
    assert torch.equal(originals, x)
    assert torch.equal(rebuilt, model.decode(model.encode(x)[0]))
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(random, model.decode(z), atol=1e-5)


def test_temperature_stretches_the_same_codes(shipped):
    model = shipped["vae-digits"]
    explorer = widgets.temperatures(model, n=6)
    eps = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5, 0.0):
        explorer.set(temperature=temperature)
        assert torch.allclose(shown(explorer), model.decode(temperature * eps), atol=1e-5)


def test_entry_kl_sums_to_the_kl_of_the_whole_code():
    mu, log_var = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lesson02.entry_kl(mu, log_var).sum(), gaussian_kl(mu, log_var).mean())


def test_trade_rows_are_the_terms_of_the_elbo_and_follow_beta(shipped, held_out):
    models = [shipped[name] for name in lesson02.BETAS.values()]
    rows = lesson02.trade(models)
    assert [row["beta"] for row in rows] == list(lesson02.BETAS)
    elbo = models[1].elbo(held_out[0], generator=torch.Generator().manual_seed(0)).mean().item()
    assert rows[1]["reconstruction"] + rows[1]["KL"] == pytest.approx(-elbo, rel=1e-4)
    errors, kls = ([row[name] for row in rows] for name in ("reconstruction", "KL"))
    assert errors == sorted(errors) and kls == sorted(kls, reverse=True)
    assert rows[0]["numbers in use"] == 8 and rows[-1]["numbers in use"] == 0


def test_bounds_rise_with_k_from_the_elbo(shipped, held_out):
    model = shipped["vae-digits"]
    values = [row["bound (nats)"] for row in lesson02.bounds(model, ks=(1, 5, 20), repeats=2)]
    elbos = [model.elbo(held_out[0], generator=torch.Generator().manual_seed(i)).mean().item() for i in range(5)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(sum(elbos) / 5, abs=0.5)


def test_random_codes_of_the_vae_beat_a_standard_normal_in_lesson_01s_plane(shipped):
    pictures = lesson02.drawn(shipped["vae-digits"], shipped["ae-digits"], n=300)
    assert all(x.shape == (300, 1, 16, 16) for x in pictures.values())
    quality = evaluate.compare(pictures, *real_digits())
    vae, fitted, normal = (quality[name] for name in lesson02.WAYS)
    assert vae.fd_held_out < fitted.fd_held_out < normal.fd_held_out
    assert vae.precision > fitted.precision


def test_bits_are_ordered_and_the_uniform_is_log_17():
    rows = lesson02.bits(checkpoints.load("vae-digits-levels"), checkpoints.load("pixels-digits"), k=5)
    values = [row["bits/dim"] for row in rows]
    assert values[0] == pytest.approx(4.087, abs=1e-3)
    assert values == sorted(values, reverse=True)


def test_the_levels_vae_is_a_bound_on_the_same_bits(held_out):
    model = checkpoints.load("vae-digits-levels")
    x = data.digits("test", 8)[0]
    elbo = model.elbo(x, generator=torch.Generator().manual_seed(0))
    assert 1.5 < bits_per_dim(elbo, 64) < 2.4


def test_claims_are_made_over_seeds_and_fail_for_untrained_models(monkeypatch, shipped):
    monkeypatch.setattr(lesson02, "trained", lambda name, seed: checkpoints.load(name))
    claims = lesson02.claims([0, 1], full=False)
    holds = {claim.text: claim.holds for claim in claims}
    assert sum(holds.values()) >= len(holds) - 1  # recall is honestly lost to the fitted Gaussian
    assert all(claim.why for claim in claims if not claim.holds)
    torch.manual_seed(0)
    sweep = [[VAE(code=8, beta=beta).eval() for beta in lesson02.BETAS]]
    assert not lesson02._of_beta(sweep).holds
