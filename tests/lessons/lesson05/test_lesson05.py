"""Lesson 05's widgets and measurements, which are exact: no model is loaded."""

import math

import pytest
import torch

from minidiff import data
from minidiff.lessons.lesson05 import claims as lesson05
from minidiff.lessons.lesson05 import widgets
from minidiff.sampler import sample, times
from minidiff.schedule import cosine, linear, straight, variance_exploding
from minidiff.widgets import png


@pytest.fixture(scope="module")
def digits():
    return data.digits("train")[0]


@pytest.fixture(scope="module")
def roll():
    return lesson05.roll()


# Widgets


def test_digits_under_noise_keep_their_noise_and_say_their_ratio(digits):
    explorer = widgets.under_noise(digits[:4])
    assert explorer.picture.alt == "4 digits at t = 0.10, linear: SNR 8.7"
    pictures = {png(explorer.draw(t=t, schedule="linear")) for t in (0.1, 0.1, 0.5)}
    assert len(pictures) == 2
    explorer.set(t=0.0)
    assert explorer.picture.alt.endswith("no noise")
    explorer.set(t=1.0, schedule="flow")
    assert explorer.picture.alt.endswith("flow: no signal")


@pytest.mark.parametrize("schedule", widgets.SCHEDULES.values(), ids=widgets.SCHEDULES)
def test_shown_pictures_have_unit_size_and_begin_with_the_digit(schedule, digits):
    eps = torch.randn(digits.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(widgets.shown(schedule, digits, 0.0, eps), digits)
    late = widgets.shown(schedule, digits, 1.0, eps)
    assert late.std().item() == pytest.approx(1, abs=0.05)
    alpha, sigma = schedule(0.4)
    expected = (alpha * digits + sigma * eps) / (alpha**2 + sigma**2) ** 0.5
    assert torch.allclose(widgets.shown(schedule, digits, 0.4, eps), expected.float(), atol=1e-5)


def test_the_ratio_in_words():
    assert widgets.snr_text(straight(), 0.5) == "SNR 1"
    assert widgets.snr_text(variance_exploding(), 1.0) == "SNR 0.0004"


def test_a_design_begins_as_ddpm_and_follows_its_sliders(digits):
    t = torch.linspace(0, 1, 11)
    assert torch.allclose(widgets.designed(1000, 0.02, 1.0)(t)[0], linear()(t)[0])
    # Stable Diffusion's shape: a line through the roots of the betas
    betas = torch.linspace(1e-4**0.5, 0.02**0.5, 100) ** 2
    a, b = widgets.designed(100, 0.02, 2.0).transition((t[1:] * 100).round() / 100, t[1:] - 0.01)
    assert torch.allclose(b**2, betas[(t[1:] * 100).round().long() - 1], rtol=1e-2)
    explorer = widgets.designer(digits[:2])
    first = explorer.picture.src
    assert explorer.picture.alt.endswith("alpha_bar ends at 4e-05")
    explorer.set(steps=100)
    assert explorer.picture.alt.endswith("alpha_bar ends at 0.36") and explorer.picture.src != first
    explorer.reset()
    assert explorer.picture.src == first


def test_every_design_is_a_schedule(digits):
    for steps in (50, 1000):
        for last in (0.005, 0.05):
            for bend in (1.0, 4.0):
                log_snr = widgets.designed(steps, last, bend).log_snr(torch.linspace(0.01, 1, 50))
                assert torch.isfinite(log_snr).all() and (log_snr.diff() < 0).all()


def test_the_score_field_and_the_guess_answer_and_come_back(roll):
    for explorer, move in (
        (widgets.score_field({"roll": roll, "ring": data.ring_mixture()}, linear(), n=50), {"t": 0.5}),
        (widgets.best_guess(roll, linear()), {"x": (-1.0, 1.0)}),
    ):
        first = explorer.picture.src
        explorer.set(**move)
        assert explorer.picture.src != first
        explorer.reset()
        assert explorer.picture.src == first


def test_the_guess_is_the_exact_mean(roll):
    explorer = widgets.best_guess(roll, linear())
    explorer.set(x=(1.0, -0.5), t=0.3)
    guess = roll.denoise(torch.tensor([[1.0, -0.5]]), *(float(value) for value in linear()(0.3)))[0]
    assert explorer.picture.alt == "from x_t = (1.0, -0.5) at t = 0.30 to the best guess ({:.1f}, {:.1f})".format(
        *guess
    )


# Measurements


def test_the_roll_is_the_toy(roll):
    toy, fresh = data.swiss_roll(3000), roll.sample(3000, torch.Generator().manual_seed(0))
    assert abs(lesson05.energy_distance(toy, fresh)) < 0.003
    assert lesson05.on_the_roll(toy, roll) > 0.98 and lesson05.on_the_roll(fresh, roll) > 0.98
    assert lesson05.energy_distance(toy + 0.2, fresh) > 0.01
    assert roll.log_prob(toy).mean().item() == pytest.approx(roll.log_prob(fresh).mean().item(), abs=0.06)


def test_what_is_left_over_is_the_kl_in_bits(digits):
    alpha, sigma = (value.item() for value in linear(50)(1.0))
    x0 = digits.flatten().double()
    p, noise = torch.distributions.Normal(alpha * x0, sigma), torch.distributions.Normal(torch.zeros_like(x0), 1)
    bits = torch.distributions.kl_divergence(p, noise).mean().item() / math.log(2)
    assert lesson05.left_over(linear(50)) == pytest.approx(bits, rel=1e-3)
    assert lesson05.left_over(linear()) == pytest.approx(1.6e-5, rel=0.05)
    assert lesson05.left_over(straight()) == 0


def test_digits_are_readable_while_there_is_little_noise():
    assert lesson05.readable(linear(), 0.1) > 0.97
    assert lesson05.readable(cosine(), 1.0) < 0.2
    assert lesson05.readable(linear(), 0.75) < 0.2 < 0.45 < lesson05.readable(cosine(), 0.75)


def test_the_finite_denoiser_knows_its_pictures_and_ends_in_their_mean(digits):
    known = digits[:40]
    denoise = lesson05.finite(known, cosine())
    x = cosine().add_noise(known, 0.1, torch.randn(known.shape, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(denoise(x, 0.1), known, atol=1e-4)
    assert torch.allclose(denoise(torch.randn_like(known), 1.0), known.mean(0).expand_as(known), atol=0.02)
    drawn = lesson05.drawn_from(known, cosine(), n=20, steps=20)
    assert torch.cdist(drawn.flatten(1), known.flatten(1)).amin(1).max() < 1e-3


def test_the_notebooks_way_back_is_the_samplers_with_eta_1(roll):
    """The posterior with the exact guess in place of x0 has the mean and the noise of the sampler's step."""
    schedule, x = linear(), torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    denoise = lesson05.exact(roll, schedule)
    first, second = list(sample(denoise, x, times(20), schedule, eta=1.0, generator=torch.Generator().manual_seed(1)))[
        :2
    ]
    mean, std = schedule.posterior(x, denoise(x, 1.0), 1.0, 0.95)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first.x, x)
    assert torch.allclose(second.x, mean + std * noise, atol=1e-4)


def test_betas_that_are_not_scaled_bring_back_the_wrong_labels():
    known, labels = data.digits("train")

    def counts(schedule):
        drawn = lesson05.drawn_from(known, schedule)
        nearest = torch.cdist(drawn.flatten(1), known.flatten(1)).argmin(1)
        return torch.bincount(labels[nearest], minlength=10)

    real = torch.bincount(labels, minlength=10) / 3
    scaled, wrong = ((counts(schedule) - real).abs().sum() for schedule in (linear(100), lesson05.unscaled()))
    assert wrong > 1.5 * scaled


def test_the_best_guess_gives_the_exact_mean_of_a_step_back():
    """On a grid: E[x_s | x_t] is the posterior's mean at E[x0 | x_t], for a small step and for a large one."""
    line, schedule = data.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.1]), linear()
    grid, here = torch.linspace(-5, 5, 8001, dtype=torch.float64), torch.tensor([[0.3]], dtype=torch.float64)
    for s in (0.299, 0.2, 0.02):
        a, b = schedule.transition(0.3, s)
        weight = (line.log_prob(grid[:, None], *schedule(s)) - (0.3 - a * grid) ** 2 / (2 * b**2)).softmax(0)
        mean, _ = schedule.posterior(here, line.denoise(here, *schedule(0.3)), 0.3, s)
        assert (weight * grid).sum().item() == pytest.approx(mean.item(), abs=1e-4)


def test_tweedie_holds_to_double_precision():
    assert lesson05.tweedie_error() < 1e-8


def test_claims_hold_over_seeds_and_can_fail(monkeypatch):
    claims = lesson05.claims([0, 1], full=False)
    assert [claim.holds for claim in claims] == [True] * 4
    assert all(claim.lesson == "05" and claim.paper and claim.ours for claim in claims)
    monkeypatch.setattr(lesson05, "linear", lesson05.unscaled)
    assert not lesson05._of_the_end().holds and not lesson05._of_the_last_quarter([0]).holds
    monkeypatch.setattr(lesson05, "way_back", lambda steps, n, seed: torch.randn(n, 2))
    assert not lesson05._of_the_way_back([0], lesson05.STEPS).holds
