"""Quality against evaluations of the network and seconds, for ddpm, ddim, dpm and heun on the shipped ddpm-digits.

All draw the same labels from the same noise with the same network; the judge and its floors are those of lesson 07.
--full adds DDPM with 1,000 steps, which takes minutes.

    OMP_NUM_THREADS=2 python benchmarks/sampling.py
"""

import argparse
import time

import torch

from minidiff import checkpoints, evaluate, plot
from minidiff.lessons.lesson07.few_steps import drawn, figures
from minidiff.sampler import heun, sample
from minidiff.scorecard.common import real_digits

N = 297  # as many as there are held-out digits
METHODS = {
    "ddpm": (sample, {"eta": 1.0}, (20, 50, 100)),
    "ddim": (sample, {}, (5, 10, 20, 50, 100)),
    "dpm": (sample, {"order": 2}, (5, 10, 20)),
    "heun": (heun, {}, (5, 10, 20)),
}


def row(model, name: str, steps: int) -> dict:
    """One line of the table. An evaluation is one pass of the network for each picture."""
    walk, options, _ = METHODS[name]
    passed = []  # rows of each pass
    hook = model.net.register_forward_hook(lambda net, inputs, out: passed.append(len(out)))
    begin = time.perf_counter()
    pictures = drawn(model, steps, N, walk=walk, **options)
    seconds = time.perf_counter() - begin
    hook.remove()
    made = {"sampler": name, "steps": steps, "evaluations": round(sum(passed) / N)}
    return made | {"pictures/s": round(N / seconds, 1)} | figures(pictures).row()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="DDPM with 1,000 steps too")
    full = parser.parse_args().full
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {N} digits")
    model = checkpoints.load("ddpm-digits")
    drawn(model, 2, 64)  # warm up
    wanted = [(name, steps) for name, (_, _, counts) in METHODS.items() for steps in counts]
    rows = [row(model, name, steps) for name, steps in wanted + [("ddpm", 1000)] * full]
    floors = evaluate.floors(*real_digits(n=N))
    print(plot.table(rows + [{"sampler": name} | found.row() for name, found in floors.items()]))


if __name__ == "__main__":
    main()
