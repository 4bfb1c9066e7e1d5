"""The course's U-Net beside diffusers' UNet2DModel on the 16x16 digits: speed and, with --seconds, quality.

Both are trained by the same `fit`, loss and average on the same batches, and take turns, so that whatever else the
machine does hits both. Nothing is asserted: read the ratios.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE python benchmarks/cpu_digits.py --seconds 60
"""

import argparse
import time
from statistics import median

import diffusers
import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, metrics, plot, seed_everything
from minidiff.denoiser import Denoiser
from minidiff.sampler import last, sample, times
from minidiff.schedule import cosine
from minidiff.scorecard.common import judge
from minidiff.train import Ema, fit
from minidiff.unet import UNet

BATCH, LR, PASSES, NULL = 64, 2e-3, 20, 10


class Diffusers(nn.Module):
    """UNet2DModel under our signature: (32, 64, 64), one layer a block, attention at the lowest level."""

    def __init__(self):
        super().__init__()
        self.net = diffusers.UNet2DModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            num_class_embeds=NULL + 1,
        )

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.net(x, 1000 * t, class_labels=cond).sample


class Runner:
    """One network on its way: steps of training and sampling on demand, and the seconds that each took."""

    def __init__(self, name: str, build, steps: int, seed: int):
        self.name = name
        seed_everything(seed)
        self.model = Denoiser(build(), cosine(), "v", null=NULL, drop=0.1)
        self.ema = Ema(self.model)
        batches = data.batches(*data.digits("train"), size=BATCH, seed=seed)
        self.ticks = fit(self.model, batches, steps, LR, seed=seed, ema=self.ema)
        self.steps, self.training, self.sampling = steps, [], []  # seconds of each slice, a step and a run of sampling

    def train(self, steps: int) -> bool:
        """Up to `steps` more steps; False when there are none left."""
        begin = time.perf_counter()
        done = sum(1 for _ in zip(range(steps), self.ticks))
        if done:
            self.training += [(time.perf_counter() - begin) / done] * done
        return done == steps

    @torch.no_grad()
    def sample(self, n: int = BATCH, seed: int = 0) -> tuple[Tensor, Tensor]:
        """n pictures with their labels, by DDIM in 20 passes of the averaged network."""
        labels, schedule = torch.arange(n) % NULL, self.model.schedule
        x = schedule.prior((n, 1, 16, 16), torch.Generator().manual_seed(seed))
        begin = time.perf_counter()
        x = last(sample(lambda x, t: self.ema.model(x, t, labels).clamp(-1, 1), x, times(PASSES), schedule))
        self.sampling.append(time.perf_counter() - begin)
        return x.clamp(-1, 1), labels

    def row(self) -> dict:
        size = sum(weight.numel() for weight in self.model.parameters())
        trained, sampled = BATCH / median(self.training), BATCH / median(self.sampling)
        return {"network": self.name, "parameters": size, "trained/s": round(trained), "sampled/s": round(sampled)}


def runners(steps: dict[str, int], seed: int = 0) -> list[Runner]:
    nets = {"ours": lambda: UNet(classes=NULL), "diffusers": Diffusers}
    return [Runner(name, build, steps[name], seed) for name, build in nets.items()]


def speed(rounds: int) -> list[Runner]:
    """Train and sample in turns. The first round warms up and is not counted."""
    both = runners({"ours": 10**6, "diffusers": 10**6})
    for turn in range(rounds + 1):
        for runner in both:
            runner.train(5)
            runner.sample()
            if not turn:
                runner.training, runner.sampling = [], []
    return both


def trained(seconds: float, both: list[Runner], seed: int) -> list[Runner]:
    """As many steps as fit into `seconds` at the speed just measured, taken in turns."""
    fresh = runners({runner.name: round(seconds / median(runner.training)) for runner in both}, seed)
    while any([runner.train(max(1, runner.steps // 30)) for runner in fresh]):
        pass
    return fresh


def quality(runner: Runner, n: int) -> dict:
    pictures, labels = runner.sample(n)
    found = metrics.quality(pictures, data.digits("train")[0], data.digits("test")[0], judge())
    right = (checkpoints.load("classifier-digits")(pictures).argmax(1) == labels).float().mean().item()
    row = {"network": runner.name, "steps": runner.steps, "seconds": round(sum(runner.training))}
    return row | found.row() | {"labels right": round(right, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="turns of the measurement of speed")
    parser.add_argument("--seconds", type=float, default=0, help="then train each network for so long (0: do not)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {torch.get_num_threads()} threads")
    both = speed(args.rounds)
    ours, theirs = both
    print(plot.table([runner.row() for runner in both]))
    print(f"training {median(theirs.training) / median(ours.training):.2f} times as fast,", end=" ")
    print(f"sampling {median(theirs.sampling) / median(ours.sampling):.2f} times")
    if args.seconds:
        rows = [quality(runner, 1188) for runner in trained(args.seconds, both, args.seed)]
        floors = metrics.floors(data.digits("train")[0], data.digits("test")[0], judge())
        rows += [{"network": name} | found.row() for name, found in floors.items()]
        print(plot.table(rows))


if __name__ == "__main__":
    main()
