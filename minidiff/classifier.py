"""Two small digit classifiers: one judges pictures, its features are what the course measures in; one knows noise."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.nn import FiLM, group_norm, time_mlp
from minidiff.schedule import Schedule
from minidiff.support import expect
from minidiff.support.parts import part


@part
class Classifier(nn.Module):
    """Which digit is it? (B, channels, size, size) in [-1, 1] -> logits (B, classes).

    Pictures of half that size are upsampled bilinearly, as `data.digits(size=16)` does with the 8x8 digits, so one
    classifier judges both sizes. size: a multiple of 4, at least 8.
    """

    def __init__(self, classes: int = 10, width: int = 32, size: int = 16, channels: int = 1):
        super().__init__()
        self.classes = expect.integer("classes", classes, 2)
        self.width = expect.integer("width", width, 1)
        self.size = _fourfold(size)
        self.channels = expect.integer("channels", channels, 1)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * (size // 4) ** 2, 64),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, classes))

    def features(self, x: Tensor) -> Tensor:
        """(B, channels, size or half of it, same) -> (B, 64), the layer before the logits.

        `metrics` compares pictures in these.
        """
        size = self.size
        expect.tensor("x", x, f"B {self.channels} H W", like=next(self.parameters()), scaled=True)
        if x.shape[2:] == (size // 2, size // 2):
            x = F.interpolate(x, size=(size, size), mode="bilinear")
        return self.body(expect.tensor("x", x, f"B {self.channels} {size} {size}"))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.head(self.features(x))

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats ("loss") and the share of right answers ("accuracy")."""
        logits = self(x)
        return _marked(logits, expect.labels("y", y, self.classes, len(x)))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the labels y (B,) in nats, a scalar."""
        return self.terms(x, y)["loss"]


@part
class NoisyClassifier(nn.Module):
    """Which digit was it, before noise? (x_t, t) -> logits (B, classes): the classifier that guidance asks.

    x_t (B, channels, size, size) = alpha x0 + sigma eps at time t, () or (B,), by the given schedule. It preserves the
    variance, so that x_t is of about unit size at any t. size: a multiple of 4, at least 8. Each layer is told t by
    FiLM: much noise asks for wide averages, little for detail, and for an answer less or more sure. Smooth layers
    throughout, because guidance takes its gradient by x.
    Source: Dhariwal & Nichol 2021 (2105.05233), section 4, who use half of a U-Net.
    """

    def __init__(self, schedule, classes: int = 10, width: int = 24, size: int = 16, channels: int = 1):
        super().__init__()
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule: got {type(schedule).__name__}, expected a Schedule")
        self.schedule = schedule
        self.classes = expect.integer("classes", classes, 2)
        self.width = expect.integer("width", width, 1)
        self.size = _fourfold(size)
        self.channels = expect.integer("channels", channels, 1)
        widths = (width, width, 2 * width, 2 * width)
        self.time_embed = time_mlp(32, 4 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 + i % 2, padding=1) for i, (a, b) in enumerate(pairwise((channels, *widths)))
        )
        self.norms = nn.ModuleList(group_norm(channels) for channels in widths)
        self.films = nn.ModuleList(FiLM(4 * width, channels) for channels in widths)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * (size // 4) ** 2, 64),
            nn.SiLU(),
            nn.Dropout(0.2),
            nn.Linear(64, classes),
        )

    def forward(self, x: Tensor, t) -> Tensor:
        """Logits (B, classes) of the noisy pictures x (B, channels, size, size) at time t, () or (B,)."""
        like = next(self.parameters())
        h = expect.tensor("x", x, f"B {self.channels} {self.size} {self.size}", like=like)
        t = torch.as_tensor(t) if isinstance(t, float | int) else t
        told = self.time_embed(expect.tensor("t", t, f"{len(x)}" if getattr(t, "ndim", 1) else "").to(x))
        for layer, norm, film in zip(self.layers, self.norms, self.films):
            h = F.silu(film(norm(layer(h)), told))
        return self.head(h)

    def log_prob(self, labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """(x_t, t) -> log p(label | x_t, t) in nats, (B,), for those labels (B,): what `classifier_guidance` takes."""
        labels = expect.labels("labels", labels, self.classes)

        def log_prob(x: Tensor, t) -> Tensor:
            expect.tensor("x", x, f"{len(labels)} {self.channels} {self.size} {self.size}")  # a picture for each label
            return -F.cross_entropy(self(x, t), labels, reduction="none")

        return log_prob

    def terms(self, x0: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats ("loss") and share of right answers ("accuracy") on pictures that are noised here."""
        shape = f"B {self.channels} {self.size} {self.size}"
        expect.tensor("x0", x0, shape, like=next(self.parameters()), scaled=True)
        y = expect.labels("y", y, self.classes, len(x0))
        t = self.schedule.spread(len(x0))
        return _marked(self(self.schedule.add_noise(x0, t, torch.randn_like(x0)), t), y)

    def loss(self, x0: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the labels y (B,) in nats, a scalar."""
        return self.terms(x0, y)["loss"]


def _marked(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(1) == y).float().mean()}


def _fourfold(size: int) -> int:
    """`size`, if it can be halved twice."""
    if expect.integer("size", size, 8) % 4:
        raise ValueError(f"size: got {size}, expected a multiple of 4, so that it can be halved twice")
    return size
