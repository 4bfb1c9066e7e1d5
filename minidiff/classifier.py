"""A small digit classifier: its features are what the course measures samples in."""

import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import expect


class Classifier(nn.Module):
    """Which digit is it? (B, 1, 16, 16) or (B, 1, 8, 8) in [-1, 1] -> logits (B, classes).

    8x8 digits are upsampled bilinearly, as `data.digits(size=16)` does, so one classifier judges both sizes.
    """

    def __init__(self, classes: int = 10, width: int = 32):
        super().__init__()
        self.classes = expect.integer("classes", classes, 2)
        width = expect.integer("width", width, 1)
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * 4 * 4, 64),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, classes))

    def features(self, x: Tensor) -> Tensor:
        """(B, 1, 16 or 8, same) -> (B, 64), the layer before the logits: `metrics` compares pictures in these."""
        expect.tensor("x", x, "B 1 H W")
        if x.shape[2:] == (8, 8):
            x = F.interpolate(x, size=(16, 16), mode="bilinear")
        return self.body(expect.tensor("x", x, "B 1 16 16"))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.head(self.features(x))

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats ("loss") and the share of right answers ("accuracy")."""
        logits = self(x)
        return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(1) == y).float().mean()}

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the labels y (B,) in nats, a scalar."""
        return self.terms(x, y)["loss"]
