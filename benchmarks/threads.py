"""All of torch's threads, one, or the quicker by trial: the time of a training's step, alone and beside a busy program.

The three ways take turns, in pieces of one training each, so whatever else the machine does hits all. Nothing is
asserted. As in a notebook that imports torch first, its threads spin as they do by themselves.

    python benchmarks/threads.py
"""

import argparse
import multiprocessing
import os
import time
from contextlib import contextmanager
from statistics import median

import torch  # before minidiff, which would tell its threads to spin less

from minidiff import data, plot, seed_everything
from minidiff.denoiser import Denoiser
from minidiff.schedule import cosine
from minidiff.train import fit
from minidiff.unet import UNet
from minidiff.vae import VAE

WAYS = {"all threads": str(torch.get_num_threads()), "one thread": "1", "by trial": ""}  # MINIDIFF_THREADS


def vae():
    """Lesson 02's, and what it is trained on."""
    return VAE(code=8), data.digits("train")[:1]


def unet():
    """Lesson 06's, and what it is trained on."""
    return Denoiser(UNet(classes=10), cosine(), "v", null=10, drop=0.1), data.digits("train")


def spin():
    """A busy program."""
    while True:
        pass


@contextmanager
def beside(count: int):
    """Inside, so many busy programs run."""
    programs = [multiprocessing.Process(target=spin, daemon=True) for _ in range(count)]
    for program in programs:
        program.start()
    time.sleep(0.5)  # until they are
    try:
        yield
    finally:
        for program in programs:
            program.terminate()


def seconds(make, way: str, steps: int) -> float:
    """The mean time of a step, in a training of that many: the trial's own cost is in it."""
    os.environ["MINIDIFF_THREADS"] = WAYS[way]
    seed_everything(0)
    model, tensors = make()
    ticks = fit(model, data.batches(*tensors, size=64), steps + 1)
    next(ticks)  # the first step prepares things
    begin = time.perf_counter()
    for _ in ticks:
        pass
    return (time.perf_counter() - begin) / steps


def measured(make, busy: int, steps: int, rounds: int) -> dict:
    """Each way's milliseconds a step: the median of the rounds."""
    taken = {way: [] for way in WAYS}
    with beside(busy):
        for _ in range(rounds):
            for way in WAYS:
                taken[way].append(seconds(make, way, steps))
    names = {0: "alone", 1: "beside a busy program"}
    row = {"training": make.__name__, "machine": names.get(busy, f"beside {busy} busy programs")}
    return row | {f"{way}, ms": round(1000 * median(times), 1) for way, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="of each training")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each way")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="busy programs beside it")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before")
    rows = []
    for make in (vae, unet):
        for busy in args.busy:
            rows.append(measured(make, busy, args.steps, args.rounds))
            print(rows[-1], flush=True)  # beside a busy program the next one may take long
    print(plot.table(rows))


if __name__ == "__main__":
    main()
