"""`draw`: a sampler by name, the guidance, labels in turn, chunks; with a denoiser that knows its exact answers."""

import numpy as np
import pytest
import torch
from torch import nn

from minidiff import generate as drawing
from minidiff import seeded
from minidiff.denoiser import Denoiser
from minidiff.generate import draw, guided, in_turn, label_of
from minidiff.guidance import cfg, clamp
from minidiff.sampler import last, sample, times
from minidiff.schedule import cosine
from minidiff.unet import UNet

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


LABELS = {  # what is given as labels -> the labels that are drawn
    "list": ([2, 0], [2, 0]),
    "array": (np.array([2, 0]), [2, 0]),
    "array of one": (np.array([2]), [2]),
    "int32": (torch.tensor([2, 0], dtype=torch.int32), [2, 0]),
    "number in a tensor": (torch.tensor(4), [0, 1, 2, 0]),
    "number of numpy": (np.int64(4), [0, 1, 2, 0]),
    "names": (["dusk", "night"], [2, 0]),
    "array of names": (np.array(["dusk"]), [2]),
    "a name": ("dusk", [2]),
    "names and numbers": (["dusk", 1], [2, 1]),
    "tuple": (("night",), [0]),
    "no label": ([3], [3]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_given_as_they_come(denoiser, name):
    denoiser.class_names = ["night", "noon", "dusk"]
    given, labels = LABELS[name]
    drawn = draw(denoiser, given, shape=(1, 4, 4), generator=seeded())
    assert torch.equal(drawn, draw(denoiser, torch.tensor(labels), shape=(1, 4, 4), generator=seeded()))


def test_labels_that_are_none_are_refused(denoiser):
    for given, error in (
        (torch.tensor([1.0]), TypeError),
        ([True], TypeError),
        ([0.5], TypeError),
        (None, TypeError),
        (2.5, TypeError),
        ([], (TypeError, ValueError)),
        ([4], ValueError),
        ([-1], ValueError),
        (torch.tensor([[1, 2]]), ValueError),
        (["noon"], ValueError),
        (0, ValueError),
    ):
        with pytest.raises(error, match="labels: got"):
            draw(denoiser, given, shape=(1, 4, 4))


FLOWERS = ["Rose", "tulip", "rose", "caf\u00e9"]
NUMBERS = ["0", "1", "2", "10"]
NAMED = [  # classes, label, the number it stands for or a part of the error
    (FLOWERS, "tulip", 1),
    (FLOWERS, "TULIP", 1),
    (FLOWERS, " tulip ", 1),
    (FLOWERS, "Rose", 0),
    (FLOWERS, "rose", 2),
    (FLOWERS, "cafe\u0301", 3),
    (FLOWERS, "2", 2),
    (FLOWERS, 2, 2),
    (FLOWERS, "ROSE", "did you mean"),
    (FLOWERS, "tulp", "did you mean tulip"),
    (FLOWERS, "oak", "expected one of Rose, tulip, rose, caf\u00e9, or 0 to 3"),
    (FLOWERS, "4", "label: got 4, expected between 0 and 3"),
    (FLOWERS, "-1", "label: got -1"),
    (FLOWERS, 1.5, "label: got 1.5"),
    (NUMBERS, "10", 3),
    (NUMBERS, "2", 2),
    (NUMBERS, "3", "expected one of 0, 1, 2, 10$"),
    (["2", "1", "0", "x"], "0", 2),
    (["01", "02", "03", "04"], "1", "did you mean 01"),
    ([], "3", 3),
    ([], "rose", "expected a number from 0 to 3: this model does not know its classes by name"),
    (["a"], "a", "class_names: got 1 names, expected one for each of 4"),
]


@pytest.mark.parametrize("names, label, wanted", NAMED)
def test_a_class_is_meant_by_its_name_or_its_number(names, label, wanted):
    model = Denoiser(Exact(4), cosine(), "x0", null=4)
    model.class_names = names
    if isinstance(wanted, int):
        assert label_of(model, label) == wanted
    else:
        with pytest.raises((TypeError, ValueError), match=wanted):
            label_of(model, label)


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
    with pytest.raises(AssertionError):  # its own, as nobody knows what labels a network of another's takes
        draw(model, [1, 2], shape=(2, 4, 4))
    with pytest.raises(ValueError, match="scale: got 2.0 for a network without labels"):
        draw(model, 3, scale=2.0)


def test_points_are_drawn_in_their_own_shape_and_never_cut():
    model = Denoiser(Far(), cosine(), "x0")
    assert torch.equal(draw(model, 3, steps=2), torch.full((3, 2), 4.0))
    assert torch.equal(draw(model, 3, steps=2, limits=(-2, 2)), torch.full((3, 2), 2.0))
    assert draw(model, 3, steps=2, shape=(2, 4, 4)).max() == 1  # a picture's shape
    assert draw(model, 3, steps=2, shape=(2, 4, 4), limits=None).max() == 4  # codes


class Far(nn.Module):
    """A network for points that expects all of them at (4, 4)."""

    dims = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))

    def forward(self, x, t, cond=None):
        return self.weight.expand_as(x)


def test_a_shape_that_the_network_does_not_tell_is_asked_for():
    with pytest.raises(ValueError, match=r"shape: got None, expected that of one picture: \(3, 32, 32\), say"):
        draw(Denoiser(UNet(channels=3, widths=(8, 16)), cosine()), 2)
    for options, wrong in (
        ({"shape": 16}, "shape: got 16"),
        ({"limits": 1}, "limits: got 1"),
        ({"limits": (1, -1)}, "limits: got -1"),
    ):
        with pytest.raises((TypeError, ValueError), match=wrong):
            draw(Denoiser(Far(), cosine(), "x0"), 2, **options)


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
