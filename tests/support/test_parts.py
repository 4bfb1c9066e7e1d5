"""A model as a description in JSON, and back."""

import json

import pytest
import torch
from torch import nn

from minidiff.autoencoder import Autoencoder
from minidiff.autoregressive import PixelModel
from minidiff.classifier import Classifier, NoisyClassifier
from minidiff.denoiser import Denoiser
from minidiff.flow import Flow
from minidiff.gan import GAN, Discriminator, Generator, Wasserstein
from minidiff.nn import PointNet
from minidiff.schedule import cosine, linear, variance_exploding
from minidiff.support.parts import PARTS, build, describe, part
from minidiff.unet import UNet
from minidiff.vae import VAE, Gaussian, Levels

MODELS = {
    "autoencoder": lambda: Autoencoder(code=3, width=4, noise=0.5, size=28, channels=3),
    "vae": lambda: VAE(code=3, beta=2.0, classes=4, size=8, width=4, likelihood=Levels()),
    "vae with a width of its noise": lambda: VAE(code=2, width=4, likelihood=Gaussian(0.3)),
    "gan": lambda: GAN(code=3, size=16, width=8, objective=Wasserstein(), penalty=2.0, turns=3),
    "gan with parts given": lambda: GAN(code=3, generator=Generator(3, width=9), discriminator=Discriminator(width=7)),
    "flow": lambda: Flow((1, 4, 4), couplings=2, width=8, dropout=0.1, bin=0.25, activation=nn.ReLU),
    "pixels": lambda: PixelModel(shape=(3, 4, 5), levels=4, width=8, blocks=2, classes=0),
    "classifier": lambda: Classifier(classes=3, width=4, size=28, channels=3),
    "noisy classifier": lambda: NoisyClassifier(linear(50), classes=3, width=8),
    "denoiser of points": lambda: Denoiser(PointNet(3, width=8, classes=2), cosine(), predict="v", null=2, drop=0.1),
    "denoiser of pictures": lambda: Denoiser(UNet(widths=(4, 8), attention=(1,)), variance_exploding(), predict="x0"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_description_builds_the_same_model_and_says_every_argument(name):
    model = MODELS[name]()
    text = json.dumps(describe(model))
    again = build(json.loads(text))
    assert type(again) is type(model) and json.dumps(describe(again)) == text
    shapes = [{key: x.shape for key, x in each.state_dict().items()} for each in (model, again)]
    assert shapes[0] == shapes[1]


def test_defaults_are_written_down_too():
    assert describe(Gaussian()) == {"part": "Gaussian", "sigma": 0.7}
    assert describe(VAE())["encoder"] is None and describe(VAE())["width"] == 24
    assert describe(GAN())["generator"] is None and describe(Autoencoder())["decoder"] is None


def test_a_part_of_ones_own_is_named_and_registered_it_is_described():
    class Mine(nn.Module):
        def __init__(self, width=3):
            super().__init__()
            self.layer = nn.Linear(width, 6)

    with pytest.raises(TypeError, match="VAE.encoder: Mine is no part of the course's"):
        describe(VAE(code=3, encoder=Mine()))
    with pytest.raises(TypeError, match="Flow.activation: Tanh is no part of the course's"):
        describe(Flow(activation=nn.Tanh))
    with pytest.raises(TypeError, match="Flow.net: Linear is no part of the course's"):
        describe(Flow(net=nn.Linear))
    try:
        part(Mine)
        with pytest.raises(TypeError, match="Mine does not keep its argument 'width': self.width"):
            describe(Mine())
        mine = Mine()
        mine.width = 3
        assert describe(mine) == {"part": "Mine", "width": 3}
    finally:
        del PARTS["Mine"]


@pytest.mark.parametrize("name", ["os.system", "", None, 3, ["VAE"], {"a": 1}])
def test_only_known_parts_are_built(name):
    with pytest.raises(ValueError, match="part: got"):
        build({"part": name})
    with pytest.raises(ValueError, match="part: got"):
        build({"class": name})


def test_no_two_parts_have_one_name():
    with pytest.raises(ValueError, match="part: got a second 'VAE'"):
        part(type("VAE", (), {"__module__": "mine"}))
    assert PARTS["VAE"] is VAE


def test_a_weight_that_was_trained_is_not_in_the_description():
    assert not [value for value in describe(UNet()).values() if isinstance(value, torch.Tensor)]
