"""minidiff: the reference implementations that the course on generative image models imports."""

import os

# Before torch is loaded, for its threads on Linux: each spins a moment for the next piece of work, and then sleeps. On
# two cores with nothing else to do that trains 1.5 times as fast as sleeping at once, beside a busy program 0.6 times;
# spinning on and on, as they do by themselves, would be 0.2 times there (benchmarks/README.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

try:
    from minidiff.support.profile import device, pick, profile, seed_everything, seeded
except ModuleNotFoundError as missing:  # `python -m minidiff doctor` still runs, and says what to install
    if missing.name not in ("torch", "numpy"):
        raise

__all__ = ["device", "pick", "profile", "seed_everything", "seeded"]
__version__ = "0.1.0"
