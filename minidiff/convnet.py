"""The small convolutional encoder and decoder that the families of small pictures share."""

from torch import nn


def conv_encoder(out: int, size: int = 16, channels: int = 1, width: int = 24, hidden: int = 128) -> nn.Sequential:
    """(B, channels, size, size) -> (B, out): halve the picture down to 4x4, then two dense layers."""
    layers, c = [], channels
    for level in range(_levels(size)):
        layers += [nn.Conv2d(c, width * 2**level, 4, stride=2, padding=1), nn.SiLU()]
        c = width * 2**level
    layers += [nn.Flatten(), nn.Linear(c * 4 * 4, hidden), nn.SiLU(), nn.Linear(hidden, out)]
    return nn.Sequential(*layers)


def conv_decoder(code: int, size: int = 16, channels: int = 1, width: int = 24, hidden: int = 128) -> nn.Sequential:
    """(B, code) -> (B, channels, size, size): the encoder's mirror image. No squashing at the end."""
    c = width * 2 ** (_levels(size) - 1)
    layers = [nn.Linear(code, hidden), nn.SiLU(), nn.Linear(hidden, c * 4 * 4), nn.SiLU(), nn.Unflatten(1, (c, 4, 4))]
    for _ in range(_levels(size) - 1):
        layers += [nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1), nn.SiLU()]
        c //= 2
    layers += [nn.ConvTranspose2d(c, channels, 4, stride=2, padding=1)]
    return nn.Sequential(*layers)


def _levels(size: int) -> int:
    if size < 8 or size & (size - 1):
        raise ValueError(f"size: got {size}, expected a power of two, at least 8")
    return (size // 4).bit_length() - 1
