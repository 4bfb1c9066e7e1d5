"""minidiff: the reference implementations that the course on generative image models imports."""

import os

# Before torch is loaded: its threads wait asleep. Spinning, they slow each other tenfold where another program, such as
# the browser that shows the notebook, wants one of few cores too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    from minidiff.profile import device, pick, profile, seed_everything, seeded
except ModuleNotFoundError as missing:  # `python -m minidiff doctor` still runs, and says what to install
    if missing.name not in ("torch", "numpy"):
        raise

__all__ = ["device", "pick", "profile", "seed_everything", "seeded"]
__version__ = "0.1.0"
