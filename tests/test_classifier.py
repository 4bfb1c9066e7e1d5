"""The classifier whose features the course measures in."""

import pytest
import torch
import torch.nn.functional as F

from minidiff import data
from minidiff.classifier import Classifier


def test_shapes_and_that_the_head_sits_on_the_features():
    torch.manual_seed(0)
    model, x = Classifier(width=4).eval(), data.digits("test", 16)[0][:7]
    assert model.features(x).shape == (7, 64)
    assert torch.equal(model(x), model.head(model.features(x)))


def test_small_digits_are_seen_as_the_course_upsamples_them():
    model = Classifier(width=4).eval()
    small, large = data.digits("test", 8)[0][:7], data.digits("test", 16)[0][:7]
    assert torch.allclose(model.features(small), model.features(large), atol=1e-5)


def test_terms_are_cross_entropy_and_accuracy():
    torch.manual_seed(0)
    model = Classifier(width=4).eval()
    x, y = data.digits("test", 16)
    terms = model.terms(x, y)
    assert torch.allclose(terms["loss"], F.cross_entropy(model(x), y))
    assert terms["accuracy"].item() == pytest.approx((model(x).argmax(1) == y).float().mean().item())
    assert torch.equal(model.loss(x, y), terms["loss"])


@pytest.mark.parametrize("shape", [(2, 1, 12, 12), (2, 3, 16, 16), (16, 16), (2, 1, 8, 16)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="x: got float32 tensor of shape"):
        Classifier(width=4)(torch.zeros(shape))
    with pytest.raises(ValueError, match="classes: got 1"):
        Classifier(classes=1)
