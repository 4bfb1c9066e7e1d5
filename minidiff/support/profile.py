"""How large, and where: the profile (`ci`, `cpu`, `gpu`) picks the sizes, the device says where it computes."""

import os
import random

import numpy as np
import torch

from minidiff.support import expect

PROFILES = ("ci", "cpu", "gpu")


def profile() -> str:
    """The profile named by MINIDIFF_PROFILE, else `gpu` where CUDA answers, else `cpu`."""
    named = os.environ.get("MINIDIFF_PROFILE")
    if named:
        return expect.choice("MINIDIFF_PROFILE", named, PROFILES)
    return "gpu" if torch.cuda.is_available() else "cpu"


def pick(cpu, *, ci, gpu=None):
    """The value for the profile in use: `steps = pick(600, ci=20)`; a GPU gets that of a CPU unless `gpu` says more."""
    return {"ci": ci, "cpu": cpu, "gpu": cpu if gpu is None else gpu}[profile()]


def device() -> torch.device:
    """Where to compute: MINIDIFF_DEVICE, else CUDA in profile `gpu`, else the CPU. RuntimeError if it is not there."""
    named = os.environ.get("MINIDIFF_DEVICE")
    name = named or ("cuda" if profile() == "gpu" else "cpu")
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen).item()  # the number must come back: a device may be known and not there
    except (RuntimeError, AssertionError) as error:
        source = "MINIDIFF_DEVICE" if named else f"profile {profile()}"
        reason = str(error).partition("\n")[0]
        raise RuntimeError(f"{source}: got {name!r}, expected a device that answers ({reason})") from error
    return chosen


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch: the same seed gives the same result on the same machine and thread count.

    (A training chooses between thread counts unless MINIDIFF_THREADS names one: `minidiff.support.threads`.)
    """
    seed = expect.integer("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seeded(seed: int = 0) -> torch.Generator:
    """A new generator, on the CPU: what is drawn from it is the same on every device (`noise.randn` moves it there)."""
    return torch.Generator().manual_seed(expect.integer("seed", seed, 0, 2**64 - 1))
