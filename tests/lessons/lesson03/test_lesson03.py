"""Lesson 03's widgets and measurements, on the shipped models."""

import math

import pytest
import torch

from minidiff import checkpoints, data
from minidiff.flow import Coupling, Flow
from minidiff.lessons.lesson03 import claims as lesson03
from minidiff.lessons.lesson03 import families, widgets
from minidiff.metrics import bits_per_dim


@pytest.fixture(scope="module")
def ring():
    return checkpoints.load("flow-ring")


@pytest.fixture(scope="module")
def digits():
    return checkpoints.load("flow-digits")


@pytest.fixture(scope="module")
def held_out():
    return data.digits("test", 8)


def awake(model):
    with torch.no_grad():
        for i, weight in enumerate(model.parameters()):
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i)))
    return model.eval()


# Widgets.


def test_the_trail_leads_from_z_to_its_x_and_counts_the_area(ring):
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    states, growth = widgets.trail(ring, z)
    assert len(states) == len(growth) == len(ring.layers) // 2 + 1
    assert torch.equal(states[0], z) and torch.equal(growth[0], torch.ones(50))
    with torch.no_grad():
        assert torch.allclose(states[-1], ring.inverse(z), atol=1e-5)
        assert torch.allclose(growth[-1].log(), -ring(states[-1])[1], atol=1e-3)


def test_the_growth_is_that_of_a_small_squares_area():
    flow = awake(Flow((2,), couplings=3, width=8)).double()
    corners = torch.tensor([[0.3, -0.4]]) + 1e-4 * torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    states, growth = widgets.trail(flow, corners.double())
    for state, times in zip(states, growth):
        x, y = state.T
        area = 0.5 * (x * y.roll(-1) - y * x.roll(-1)).sum().abs().item()
        assert area / 1e-8 == pytest.approx(times[0].item(), rel=1e-2)


def test_the_layers_widget_moves_its_square_and_says_how_it_grew(ring):
    explorer = widgets.layers(ring, n=20)
    assert explorer.values == {"place": (0.5, 0.5), "undone": 24}
    explorer.set(undone=0)
    assert explorer.picture.alt == "0 of 24 couplings undone: at z = (0.5, 0.5) a tiny square has 1.0 times its area"
    first = explorer.picture.src
    explorer.set(place=(-1.0, 0.5))
    assert explorer.picture.src != first and "z = (-1.0, 0.5)" in explorer.picture.alt
    explorer.set(place=(0.5, 0.5))
    assert explorer.picture.src == first


def test_temperature_stretches_the_same_codes(digits):
    explorer = widgets.temperatures(digits, n=6)
    eps = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5, 0.0):
        explorer.set(temperature=temperature)
        with torch.no_grad():
            x = digits.inverse(temperature * eps)
        wanted = ((x * 8).floor() / 8).clamp(-1, 1)
        assert torch.equal(explorer.draw(**explorer.values), wanted)


def test_the_way_between_two_digits_begins_and_ends_at_them(digits, held_out):
    x, y = held_out[0][:5], held_out[1][:5]
    explorer = widgets.between(digits, x, y)
    for way, end in ((0.0, 2), (1.0, 4)):
        explorer.set(a=2, b=4, way=way)
        first, code, pixels, second = explorer.draw(**explorer.values)
        assert torch.equal(first, x[2]) and torch.equal(second, x[4]) and torch.allclose(pixels, x[end])
        assert torch.allclose(code, x[end], atol=1e-4)
    explorer.set(way=0.5)
    assert explorer.picture.alt.startswith(f"digit {y[2]}, number 2, then 50% of the way to digit {y[4]}, number 4")
    with torch.no_grad():
        half = digits.inverse((digits(x[2:3] + 1 / 16)[0] + digits(x[4:5] + 1 / 16)[0]) / 2) - 1 / 16
    assert torch.allclose(explorer.draw(**explorer.values)[1], half[0].clamp(-1, 1), atol=1e-4)


# Measurements.


def test_round_trip_and_log_det_error_see_a_wrong_layer():
    flow, x = awake(Flow((2,), couplings=2, width=8)), torch.randn(9, 2)
    assert lesson03.round_trip(flow, x)["float64"] < 1e-12 and lesson03.log_det_error(flow, x) < 1e-12
    flow.layers[1].__class__ = type("Off", (Coupling,), {"inverse": lambda self, z: Coupling.inverse(self, z) + 1e-3})
    assert lesson03.round_trip(flow, x)["float64"] > 1e-4 and lesson03.log_det_error(flow, x) < 1e-12
    doubled = {"forward": lambda self, x: tuple(part * k for part, k in zip(Coupling.forward(self, x), (1, 2)))}
    flow.layers[1].__class__ = type("Doubled", (Coupling,), doubled)
    assert lesson03.log_det_error(flow, x) > 1e-3


def test_the_shipped_ring_is_a_density_near_the_exact_one(ring):
    assert lesson03.mass(ring) == pytest.approx(1, abs=0.01)
    assert 0 < lesson03.ring_gap(ring) < 0.1


def test_tempering_is_exact_for_additive_couplings_only():
    flows = {additive: awake(Flow((2,), couplings=4, width=8, additive=additive)) for additive in (True, False)}
    apart = {additive: lesson03.distance(*lesson03.tempered(flow, 0.5)) for additive, flow in flows.items()}
    assert apart[True] < 1e-3 < 0.02 < apart[False] <= 1


def test_distance_of_two_densities_that_do_not_meet_is_1():
    points, area = lesson03.plane()
    left, right = ((points[:, 0] < 0).float(), (points[:, 0] > 0).float())
    assert lesson03.distance(left / (left.sum() * area), right / (right.sum() * area)) == pytest.approx(1)


def test_the_flow_beats_independent_pixels_and_the_gaussian(digits):
    vae, pixels = checkpoints.load("vae-digits-levels"), checkpoints.load("pixels-digits")
    bits = {row["model"]: row["bits/dim"] for row in lesson03.bits(digits, vae, pixels)}
    assert bits["uniform, exact"] == pytest.approx(math.log2(17))
    assert bits["Gaussian, full covariance (upper bound)"] == pytest.approx(2.94, abs=0.01)
    flow = bits["flow (upper bound)"]
    assert bits["pixel by pixel, exact"] < flow < bits["independent pixels, exact"] - 0.2


def test_bits_of_a_flow_follow_from_its_density(digits, held_out):
    with torch.no_grad():
        log_p = digits.log_prob(lesson03.digits("test"))
    assert lesson03.flow_bits(digits, draws=1) == pytest.approx(bits_per_dim(log_p, 64) + 3, abs=1e-4)


def test_stopping_measures_both_parts_of_the_training_set():
    rows = lesson03.stopping([1, 30])
    assert [row["steps"] for row in rows] == [1, 30]
    assert rows[1]["put aside"] < rows[0]["put aside"] and rows[1]["train"] < rows[0]["train"]


def test_families_are_judged_side_by_side():
    rows = {row["model"]: row for row in families.families(("vae-digits", "flow-digits"), shipped=True, n=297)}
    assert list(rows)[:3] == ["fresh real pictures", "a memoriser", families.BASELINE]
    flow, vae = rows["flow-digits"], rows["vae-digits"]
    assert flow["drawn at"] == "8x8" and vae["drawn at"] == "16x16" and vae["bits/dim"] is None
    assert flow["bits/dim"].startswith("≤ 2.0") and flow["train (s)"] is None and flow["1,000 samples (s)"] > 0
    assert flow["FD held-out"] < rows[families.BASELINE]["FD held-out"]
    claims = families.claims(list(rows.values()), "03")
    assert [claim.holds for claim in claims] == [True, True]
    assert "bits/dim ≤ 2.0" in claims[1].ours and "precision" in claims[1].ours


def test_families_train_now_and_say_how_long():
    row = families.families(("flow-digits",), seed=3, n=297)[-1]
    assert row["train (s)"] >= 0 and row["parameters"] > 100_000


def test_a_claim_does_not_hold_for_an_untrained_flow():
    _, near = lesson03._of_the_ring([awake(Flow((2,), couplings=2, width=8))])
    assert not near.holds


@pytest.mark.slow
def test_the_claims_hold_for_the_shipped_models(monkeypatch):
    monkeypatch.setattr(lesson03, "trained", lambda name, seed: checkpoints.load(name))
    claims = lesson03.claims([0], full=False)
    assert [claim.holds for claim in claims] == [True] * 6, claims
    assert all(claim.lesson == "03" and claim.paper and claim.ours for claim in claims)
