"""Lesson 01's widgets: what codes decode to. Each function returns an Explorer."""

import torch
from torch import Tensor

from minidiff import seeded
from minidiff.autoencoder import Autoencoder, LinearCode
from minidiff.widgets import Explorer, Pad, Slider, Stops


def latent_plane(model: Autoencoder, images: Tensor, labels: Tensor) -> Explorer:
    """A model with two numbers a code: point at the plane and see the decoded picture; `images` lie there as labels."""
    return plane_of_codes(model, _encoded(model, images), labels).add_class("latent")


def plane_of_codes(model, codes: Tensor, labels: Tensor, **pad) -> Explorer:
    """The plane with `codes` (N, 2) on it, each as its label (N,), and what `model` decodes; `pad` goes to `Pad`."""

    def draw(code):
        return _decoded(model, torch.tensor([code]))

    def alt(code):
        nearest = (codes - torch.tensor(code)).norm(dim=1).argmin()
        return f"decoded from the code ({code[0]:.1f}, {code[1]:.1f}); the nearest encoded digit is a {labels[nearest]}"

    return Explorer(draw, alt=alt, code=Pad("code", codes, labels, names=("z1", "z2"), **pad))


def code_sizes(models: list[Autoencoder], train: Tensor, images: Tensor) -> Explorer:
    """One of `images`, then what the autoencoder and PCA (fitted to `train`) rebuild from as many numbers."""
    pairs = {model.code: (model, LinearCode(train, model.code)) for model in models}

    def draw(numbers, digit):
        x = images[digit][None]
        return torch.cat([x, *(_decoded(model, _encoded(model, x)) for model in pairs[numbers])])

    return Explorer(
        draw,
        alt="held-out digit {digit}, rebuilt from {numbers} numbers by the autoencoder, and by PCA",
        heads=("held out", "autoencoder", "PCA"),
        numbers=Stops("code size", sorted(pairs), sorted(pairs)[len(pairs) // 2], unit="numbers"),
        digit=Slider("held-out digit", 0, len(images) - 1, 1, 0),
    ).add_class("sizes")


def disturbed_codes(model, images: Tensor) -> Explorer:
    """`images` above, below them decoded from disturbed codes: noise added, numbers set to their mean.

    model: whatever has `encode` and `decode`, a learner's own class too.
    """
    z = _encoded(model, images)
    generator = seeded(0)
    eps = torch.randn(z.shape, generator=generator)
    order = torch.randperm(z.shape[1], generator=generator)

    def draw(noise, dropped):
        disturbed = z + noise * z.std(0) * eps
        disturbed[:, order[:dropped]] = z.mean(0)[order[:dropped]]
        return torch.cat([images, _decoded(model, disturbed)])

    return Explorer(
        draw,
        alt="{dropped} numbers of each code dropped, noise of {noise} spreads added to the others",
        rows=("held out", "decoded from disturbed codes"),
        noise=Slider("noise", 0.0, 2.0, 0.1, 0.0, unit="spreads"),
        dropped=Slider("dropped", 0, z.shape[1], 1, 0, unit="numbers"),
    ).add_class("disturbed")


@torch.no_grad()
def _encoded(model, x: Tensor) -> Tensor:
    return model.encode(x)


@torch.no_grad()
def _decoded(model, z: Tensor) -> Tensor:
    return model.decode(z)
