"""Lesson 16's widgets and measurements."""

import pytest
import torch

from minidiff import checkpoints, data, seeded
from minidiff.lessons.lesson16 import claims as lesson16
from minidiff.lessons.lesson16 import widgets
from minidiff.sampler import times
from minidiff.scorecard import stored


def test_the_walker_counts_its_points_and_comes_back():
    walker = widgets.walker(lesson16.two_clouds(), n=100)
    first = walker.picture.src
    walker.set(start="upper right", steps=10)
    assert walker.picture.alt == "start upper right, 10 steps of size 0.1: 0% of the points are in the lower left cloud"
    assert walker.picture.src != first
    walker.set(start="lower left", steps=0)
    assert walker.picture.alt.endswith("100% of the points are in the lower left cloud")
    walker.reset()
    assert walker.picture.src == first


def test_the_ladder_shows_each_level():
    mixture = lesson16.two_clouds()
    clouds = [sigma * torch.randn(50, 2, generator=seeded()) for sigma in (10.0, 1.0)]
    ladder = widgets.ladder(mixture, [10.0, 1.0], clouds)
    assert ladder.picture.alt.startswith("level 0, sigma 10.00: ")
    first = ladder.picture.src
    ladder.set(level=1)
    assert ladder.picture.src != first and ladder.picture.alt.startswith("level 1, sigma 1.00: ")


def test_misplaced_points_are_counted():
    line = lesson16.line()
    assert lesson16.off_by(line.sample(20_000, seeded()), line) < 0.03
    assert lesson16.off_by(torch.ones(500, 1), line) > 0.9
    only_one = line.sample(20_000, seeded())
    assert lesson16.off_by(only_one[only_one > 0][:, None], line) == pytest.approx(0.3, abs=0.03)


def test_the_losses_share_a_gradient_and_a_wrong_sign_does_not():
    true, *others = lesson16.gradients(5000).values()
    assert min(torch.cosine_similarity(true, other, dim=0) for other in others) > 0.98
    assert torch.cosine_similarity(true, -others[0], dim=0) < 0


def test_the_times_of_a_likelihood_rise_to_one():
    t = lesson16.rising(0.01, 10)
    assert (t[0].item(), t[-1].item(), len(t)) == (0.01, 1.0, 11) and (t.diff() > 0).all()


def test_a_digit_costs_fewer_bits_by_the_ode_than_noise_does():
    model, x0 = checkpoints.load("ddpm-levels"), data.digits("test", 8)[0][:6]
    noise = torch.randint(0, 17, x0.shape, generator=seeded()) / 8 - 1
    digits, strange = (lesson16.level_bits(model, x, steps=6) for x in (x0, noise))
    assert 1 < digits < 2.85 < strange


def test_the_shipped_score_model_knows_digits_from_noise():
    model, x0 = checkpoints.load("ncsn-digits"), data.digits("test")[0][:40]
    eps = torch.randn(x0.shape, generator=seeded())
    assert model.schedule(1.0)[1].item() == pytest.approx(17, rel=1e-3)
    with torch.no_grad():
        losses = [model.losses(x0, torch.tensor(t), eps).mean().item() for t in times(5)[:-1].tolist()]
    assert max(losses) < 0.35 and losses[0] < 0.02  # 1 for a network that says nothing


def test_the_stored_table_has_each_sampler_and_both_floors_with_three_seeds():
    rows = stored.read("16_samplers")
    assert {row["seed"] for row in rows} == {0, 1, 2}
    assert len(rows) == 3 * 6 and stored.command("16_samplers") == lesson16.COMMAND


def test_the_cheap_claims_hold_and_can_fail(monkeypatch):
    claims = [lesson16._of_losses([0]), lesson16._of_likelihood([0]), *lesson16._of_digits()]
    assert all(claim.lesson == "16" and claim.paper and claim.ours for claim in claims)
    assert claims[0].holds and claims[1].holds and claims[2].holds
    monkeypatch.setattr(lesson16, "weights", lambda seed: {"plain": 0.5, "annealed": 0.5})
    assert not lesson16._of_weights([0]).holds
    monkeypatch.setattr(lesson16, "likelihood_gap", lambda seed: 0.5)
    assert not lesson16._of_likelihood([0]).holds
