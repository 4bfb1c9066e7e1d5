"""minidiff: the reference implementations that the course on generative image models imports."""

from minidiff.profile import device, pick, profile, seed_everything

__all__ = ["device", "pick", "profile", "seed_everything"]
__version__ = "0.1.0"
