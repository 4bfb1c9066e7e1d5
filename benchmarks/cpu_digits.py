"""The course's U-Net beside two peers' on the 16x16 digits: speed and, with --seconds, quality.

The peers are diffusers' UNet2DModel and the Unet with labels of denoising-diffusion-pytorch (lucidrains), as near in
size as their widths allow. All are trained by the same `fit`, loss and average on the same batches, and take turns, so
that whatever else the machine does hits all. --size 32: the digits enlarged, for speed alone. Nothing is asserted: read
the ratios.

    OMP_NUM_THREADS=2 python benchmarks/cpu_digits.py --seconds 60
"""

import argparse
import time
from importlib.metadata import version
from statistics import median

import diffusers
import torch
import torch.nn.functional as F
from denoising_diffusion_pytorch.classifier_free_guidance import Unet
from torch import Tensor, nn

from minidiff import checkpoints, data, evaluate, plot, seed_everything, seeded
from minidiff.denoiser import Denoiser
from minidiff.sampler import last, sample, times
from minidiff.schedule import cosine
from minidiff.scorecard.common import real_digits
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


class Lucidrains(nn.Module):
    """denoising-diffusion-pytorch's Unet with labels, which has attention at every level, full at the lowest one."""

    def __init__(self):
        super().__init__()
        self.net = Unet(16, num_classes=NULL + 1, cond_drop_prob=0.0, dim_mults=(1, 2, 3, 4), channels=1)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.net(x, 1000 * t, cond)


class Runner:
    """One network on its way: steps of training and sampling on demand, and the seconds that each took."""

    def __init__(self, name: str, build, steps: int, seed: int, size: int):
        self.name, self.size = name, size
        seed_everything(seed)
        self.model = Denoiser(build(), cosine(), "v", null=NULL, drop=0.1)
        self.ema = Ema(self.model)
        images, labels = data.digits("train")
        batches = data.batches(F.interpolate(images, (size, size)), labels, size=BATCH, seed=seed)
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
        x = schedule.prior((n, 1, self.size, self.size), seeded(seed))
        begin = time.perf_counter()
        x = last(sample(lambda x, t: self.ema.model(x, t, labels).clamp(-1, 1), x, times(PASSES), schedule))
        self.sampling.append(time.perf_counter() - begin)
        return x.clamp(-1, 1), labels

    def row(self) -> dict:
        size = sum(weight.numel() for weight in self.model.parameters())
        trained, sampled = BATCH / median(self.training), BATCH / median(self.sampling)
        return {"network": self.name, "parameters": size, "trained/s": round(trained), "sampled/s": round(sampled)}


NETS = {"ours": lambda: UNet(classes=NULL), "diffusers": Diffusers, "lucidrains": Lucidrains}


def speed(rounds: int, size: int) -> list[Runner]:
    """Train and sample in turns. The first round warms up and is not counted."""
    all_ = [Runner(name, build, 10**6, 0, size) for name, build in NETS.items()]
    for turn in range(rounds + 1):
        for runner in all_:
            runner.train(5)
            runner.sample()
            if not turn:
                runner.training, runner.sampling = [], []
    return all_


def trained(seconds: float, measured: list[Runner], seed: int) -> list[Runner]:
    """As many steps as fit into `seconds` at the speed just measured, taken in turns."""
    steps = {runner.name: round(seconds / median(runner.training)) for runner in measured}
    fresh = [Runner(name, build, steps[name], seed, 16) for name, build in NETS.items()]
    while any([runner.train(max(1, runner.steps // 30)) for runner in fresh]):
        pass
    return fresh


def quality(runner: Runner, n: int) -> dict:
    pictures, labels = runner.sample(n)
    found = evaluate.quality(pictures, *real_digits())
    right = (checkpoints.load("classifier-digits")(pictures).argmax(1) == labels).float().mean().item()
    row = {"network": runner.name, "steps": runner.steps, "seconds": round(sum(runner.training))}
    return row | found.row() | {"labels right": round(right, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="turns of the measurement of speed")
    parser.add_argument("--seconds", type=float, default=0, help="then train each network for so long (0: do not)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, choices=(16, 32), default=16, help="of the pictures; quality is of 16")
    args = parser.parse_args()
    packages = ("torch", "diffusers", "denoising-diffusion-pytorch")
    print(*(f"{package} {version(package)}," for package in packages), end=" ")
    print(f"{torch.get_num_threads()} threads, {args.size}x{args.size}")
    measured = speed(args.rounds, args.size)
    print(plot.table([runner.row() for runner in measured]))
    ours, *peers = measured
    for peer in peers:
        print(f"{peer.name}: ours trains {median(peer.training) / median(ours.training):.2f} times as fast,", end=" ")
        print(f"samples {median(peer.sampling) / median(ours.sampling):.2f} times")
    if args.seconds and args.size == 16:
        rows = [quality(runner, 1188) for runner in trained(args.seconds, measured, args.seed)]
        floors = evaluate.floors(*real_digits())
        rows += [{"network": name} | found.row() for name, found in floors.items()]
        print(plot.table(rows))


if __name__ == "__main__":
    main()
