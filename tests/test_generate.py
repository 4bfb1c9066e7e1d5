"""`draw`: a sampler by name, the guidance, labels in turn, chunks; with a denoiser that knows its exact answers."""

import pytest
import torch
from torch import nn

from minidiff import generate as drawing
from minidiff import seeded
from minidiff.denoiser import Denoiser
from minidiff.generate import draw, guided, in_turn
from minidiff.guidance import cfg, clamp
from minidiff.sampler import last, sample, times
from minidiff.schedule import cosine

MEANS = torch.tensor([-0.6, 0.0, 0.6, 0.0])  # of each label's pictures, null's last
STDS = torch.tensor([0.1, 0.1, 0.1, 0.5])


class Exact(nn.Module):
    """E[x0 | x_t, label] where each pixel is N(MEANS[label], STDS[label]²); null is a wide Gaussian over all three."""

    def __init__(self, classes=3):
        super().__init__()
        self.classes, self.weight = classes, nn.Parameter(torch.zeros(()))

    def forward(self, x, t, cond):
        m, s = MEANS[cond].reshape(-1, 1, 1, 1), STDS[cond].reshape(-1, 1, 1, 1)
        alpha, sigma = cosine()(t, like=x)
        return m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (x - alpha * m) + 0 * self.weight


@pytest.fixture
def denoiser():
    return Denoiser(Exact(), cosine(), "x0", null=3)


@pytest.mark.parametrize("sampler", drawing.SAMPLERS)
def test_pictures_are_of_their_labels(denoiser, sampler):
    labels = torch.arange(240) % 3
    pictures = draw(denoiser, labels, sampler=sampler, steps=40, shape=(1, 4, 4), generator=seeded())
    assert pictures.shape == (240, 1, 4, 4) and not pictures.requires_grad
    for label in range(3):
        mine = pictures[labels == label]
        assert abs(mine.mean() - MEANS[label]) < 0.02
        assert 0.07 < mine.std() < 0.12


@pytest.mark.parametrize(
    "name, options",
    [
        ({}, {"eta": 0.0}),
        ({"eta": 0.3}, {"eta": 0.3}),
        ({"sampler": "ddpm"}, {"eta": 1.0}),
        ({"sampler": "ddpm", "eta": 1}, {"eta": 1.0}),
        ({"sampler": "dpm"}, {"order": 2}),
        ({"sampler": "dpm", "eta": 1.0}, {"order": 2, "eta": 1.0}),
    ],
)
def test_a_name_stands_for_the_samplers_options(denoiser, name, options):
    labels, generator = torch.arange(6) % 3, seeded()
    drawn = draw(denoiser, labels, steps=7, shape=(1, 4, 4), generator=seeded(), **name)
    x = cosine().prior((6, 1, 4, 4), generator)
    denoise = clamp(lambda x, t: denoiser(x, t, labels))
    wanted = last(sample(denoise, x, times(7), cosine(), generator=generator, **options)).clamp(-1, 1)
    assert torch.equal(drawn, wanted.detach())


def test_guidance_exaggerates_the_label(denoiser):
    drawn = {
        scale: draw(denoiser, torch.zeros(64).long(), scale=scale, shape=(1, 4, 4), generator=seeded()).mean().item()
        for scale in (0.0, 1.0, 3.0)
    }
    assert drawn[3.0] < drawn[1.0] - 0.01 and drawn[1.0] < -0.5 and abs(drawn[0.0]) < 0.2
    x, t, labels = torch.randn(3, 1, 4, 4), torch.tensor(0.5), torch.arange(3)
    assert torch.equal(guided(denoiser, labels, 2.0)(x, t), cfg(denoiser, labels, 3, 2.0)(x, t))


def test_labels_in_turn_and_chunks(denoiser, monkeypatch):
    whole = draw(denoiser, 10, shape=(1, 4, 4), generator=seeded())
    assert torch.equal(whole, draw(denoiser, torch.arange(10) % 3, shape=(1, 4, 4), generator=seeded()))
    monkeypatch.setitem(drawing.CHUNK, "cpu", 4)
    assert torch.allclose(whole, draw(denoiser, 10, shape=(1, 4, 4), generator=seeded()), atol=1e-6)
    assert in_turn(denoiser, 5).tolist() == [0, 1, 2, 0, 1]


class Zero(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, t, cond):
        assert cond is None
        return self.weight * x


def test_a_network_without_labels():
    model = Denoiser(Zero(), cosine(), "x0")
    assert draw(model, 3, shape=(2, 4, 4)).abs().max() == 0
    with pytest.raises(ValueError, match="scale: got 2.0 for a network without labels"):
        draw(model, 3, scale=2.0)


def test_what_is_refused(denoiser):
    for options, wrong in (
        ({"sampler": "euler"}, "sampler: got 'euler'"),
        ({"sampler": "ddpm", "eta": 0.5}, "eta: got 0.5 with sampler='ddpm'"),
        ({"sampler": "dpm", "eta": 0.5}, "eta: got 0.5 with sampler='dpm', expected 0 or 1"),
        ({"eta": 2.0}, "eta: got 2.0"),
        ({"steps": 0}, "steps: got 0"),
    ):
        with pytest.raises(ValueError, match=wrong):
            draw(denoiser, 3, shape=(1, 4, 4), **options)
    with pytest.raises(ValueError, match="labels: got 0"):
        draw(denoiser, 0)
