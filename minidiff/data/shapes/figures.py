"""The figures of `shapes`: their colours, places, sizes and outlines. Drawn from here, and recognised by it."""

import numpy as np

SIZE = 32
RGB = {  # in [0, 1]
    "red": (0.85, 0.12, 0.12),
    "green": (0.10, 0.62, 0.20),
    "blue": (0.15, 0.25, 0.88),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.62, 0.18, 0.72),
    "cyan": (0.15, 0.78, 0.85),
    "black": (0.08, 0.08, 0.08),
    "white": (0.92, 0.92, 0.92),
}
PLACE = {"left": (-8, 0), "right": (8, 0), "top": (0, -8), "bottom": (0, 8), "middle": (0, 0)}  # x, y from the middle
RADIUS = {"small": (4.0, 4.2), "large": (5.6, 5.9)}  # of the circle, pixels; the others have about its area


def coverage(shape: str, x, y, radius) -> np.ndarray:
    """How much of each pixel a figure covers, in [0, 1]: x, y are pixels from its middle, `radius` the circle's."""
    distance = {
        "circle": lambda: np.hypot(x, y) - radius,
        "square": lambda: np.maximum(abs(x), abs(y)) - 0.886 * radius,
        "diamond": lambda: (abs(x) + abs(y)) / 2**0.5 - 0.886 * radius,
        # three half-planes around the centre of gravity, which lies 0.35 radii below the middle of its height
        "triangle": lambda: np.maximum(y - 1.05 * radius, (3**0.5 * abs(x) - (y - 0.35 * radius)) / 2 - 0.7 * radius),
        "cross": lambda: np.minimum(_bar(x, y, radius), _bar(y, x, radius)),
    }[shape]()
    return np.clip(0.5 - distance, 0, 1)


def _bar(along, across, radius):
    return np.maximum(abs(along) - 1.2 * radius, abs(across) - 0.4 * radius)
