"""Training: `fit` steps a model and yields after each step, `run` consumes that behind a bar, `Ema` averages it.

Nothing here knows a model: `fit` asks for `loss(*batch)` alone, `fit_adversarial` for the two networks of a GAN.
"""

from minidiff.train.adversarial import fit_adversarial
from minidiff.train.ema import Ema
from minidiff.train.loop import Tick
from minidiff.train.progress import run
from minidiff.train.single import fit

__all__ = ["Ema", "Tick", "fit", "fit_adversarial", "run"]
