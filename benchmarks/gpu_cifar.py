"""The DDPM paper's CIFAR-10 size on one GPU: our U-Net beside diffusers', and 50,000 pictures by several samplers.

`speed` trains both on random pictures, bf16 and compiled, in turns: images/s and TFLOP/s. `pictures FILE` draws with a
checkpoint of ddpm-folder-paper and its folder (--folder): seconds for 50,000, and the Fréchet distance to the held-out
pictures in the features of a classifier that is trained here first on the folder. --tiny runs all of it on a CPU, with
networks that say nothing, to see that it runs; the last line is for a CPU and a small checkpoint. Nothing is asserted.

    python benchmarks/gpu_cifar.py speed
    python benchmarks/gpu_cifar.py pictures data/trained/ddpm-folder-paper.safetensors --folder data/cifar10_jpeg
    python benchmarks/gpu_cifar.py pictures data/trained/ddpm-folder.safetensors --folder data/cifar10_jpeg \
        --n 1000 --judge 2000 --only ddim eta dpm
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import diffusers
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minidiff import checkpoints, data, device, metrics, plot, seed_everything
from minidiff.gan import GAN
from minidiff.generate import draw
from minidiff.recipes import folder as folders
from minidiff.train import fit, run
from minidiff.unet import UNet

WANTED = 50_000
DRAWN = {"ddpm 1000": 2000}  # pictures that are drawn and timed where all 50,000 would take hours; marked in the table
METHODS = {
    "ddpm 1000": {"sampler": "ddpm", "steps": 1000},
    "ddim 50": {"sampler": "ddim", "steps": 50},
    "ddim 20": {"sampler": "ddim", "steps": 20},
    "eta 1, 20": {"sampler": "ddim", "steps": 20, "eta": 1.0},
    "ddim 10": {"sampler": "ddim", "steps": 10},
    "eta 1, 10": {"sampler": "ddim", "steps": 10, "eta": 1.0},
    "dpm 10": {"sampler": "dpm", "steps": 10},
}


class Diffusers(nn.Module):
    """UNet2DModel as in DDPM's configuration for CIFAR-10, or a tiny one, under our signature."""

    def __init__(self, tiny: bool):
        super().__init__()
        self.net = diffusers.UNet2DModel(
            sample_size=32,
            layers_per_block=2,
            block_out_channels=(32, 32, 32, 32) if tiny else (128, 256, 256, 256),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, 1000 * t).sample


def ours(tiny: bool) -> UNet:
    """folders.paper's network without its labels, as diffusers' has none."""
    widths = (32, 32, 32, 32) if tiny else (160, 320, 320, 320)
    return UNet(channels=3, widths=widths, blocks=2, attention=(1, 3))


class Stepper:
    """One network in training as the GPU likes it: channels last, bf16, the step compiled, nothing read back."""

    def __init__(self, name: str, net: nn.Module, batch: int, where: torch.device):
        self.name, self.where = name, where
        self.net = net.to(where, memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(net.parameters(), 2e-4, fused=True)
        self.x = torch.randn(batch, 3, 32, 32, device=where).contiguous(memory_format=torch.channels_last)
        self.t, self.seconds = torch.rand(batch, device=where), []
        self.size = sum(weight.numel() for weight in net.parameters())
        with FlopCounterMode(display=False) as counter:
            net(self.x[:1], self.t[:1])
        self.flop = counter.get_total_flops()  # of one picture, forward; a step of training takes three times that
        self.loss = torch.compile(self._loss) if where.type == "cuda" else self._loss

    def _loss(self) -> Tensor:
        with torch.autocast(self.where.type, torch.bfloat16):
            return F.mse_loss(self.net(self.x, self.t).float(), self.x)

    def steps(self, count: int) -> None:
        """Train for `count` steps and note the seconds of one: waits for the device once, at the end."""
        begin = time.perf_counter()
        for _ in range(count):
            self.optimiser.zero_grad()
            self.loss().backward()
            self.optimiser.step()
        wait(self.where)
        self.seconds.append((time.perf_counter() - begin) / count)

    def row(self) -> dict:
        rate = len(self.x) / median(self.seconds)
        made = {"network": self.name, "parameters, M": round(self.size / 1e6, 1), "GFLOP": round(self.flop / 1e9, 2)}
        return made | {"trained/s": round(rate), "TFLOP/s": round(3 * self.flop * rate / 1e12, 2)}


def wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()


def speed(args, where: torch.device) -> None:
    nets = {"ours": ours(args.tiny), "diffusers": Diffusers(args.tiny)}
    both = [Stepper(name, net, 4 if args.tiny else args.batch, where) for name, net in nets.items()]
    for stepper in both:
        stepper.steps(2 if args.tiny else 20)  # compiles and warms up
        stepper.seconds.clear()
    for _ in range(2 if args.tiny else 8):
        for stepper in both:
            stepper.steps(1 if args.tiny else 20)
    print(plot.table([stepper.row() for stepper in both]))
    mine, theirs = (median(stepper.seconds) for stepper in both)
    print(f"training {theirs / mine:.2f} times as fast")


class Judge(nn.Module):
    """A small classifier of the folder's pictures; what stands before its last layer judges the drawn ones."""

    def __init__(self, classes: int):
        super().__init__()
        widths = [3, 64, 128, 256]
        layers = [nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, widths[1:])]
        self.body = nn.Sequential(
            *(part for conv in layers for part in (conv, nn.BatchNorm2d(conv.out_channels), nn.SiLU()))
        )
        self.head = nn.Linear(256, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.head(self.features(x)), labels)


def judge(steps: int, where: torch.device) -> Callable[[Tensor], Tensor]:
    seed_everything(0)
    images, labels = (x.to(where) for x in folders.photographs("train"))
    model = Judge(int(labels.max()) + 1).to(where)
    run(fit(model, data.batches(images, labels, size=128), steps), desc="judge")

    @torch.no_grad()
    def features(x: Tensor) -> Tensor:
        return torch.cat([model.features(part.to(where)).cpu() for part in x.split(1000)])

    return features


def timed(draw_some: Callable[[int], Tensor], name: str, most: int, where: torch.device) -> tuple[Tensor, dict]:
    """Pictures, and the line that says how long 50,000 take: measured, or reckoned from fewer."""
    n = min(most, DRAWN.get(name, WANTED))
    draw_some(min(n, 1000) if where.type == "cuda" else 1)  # warm up
    wait(where)
    begin = time.perf_counter()
    pictures = draw_some(n)
    seconds = (time.perf_counter() - begin) * WANTED / n
    return pictures, {"method": name, "50,000 in, s": f"{seconds:.0f}{'' if n == WANTED else f' (from {n})'}"}


def gan(where: torch.device) -> Callable[[int], Tensor]:
    """Our GAN's generator at 32x32, in grey and untrained: its time is what is measured, not its pictures."""
    model = GAN(code=64, size=32, width=128).to(where).eval()
    return lambda n: torch.cat([model.sample(min(1000, n - done)).cpu() for done in range(0, n, 1000)])


def pictures(args, where: torch.device) -> None:
    features = judge(args.judge, where)
    real = features(folders.photographs("test")[0])
    model = (folders.small(**folders.labels()) if args.tiny else checkpoints.load(args.file)).to(where).eval()
    known = folders.photographs("train")[0]
    known = features(known[:: -(-len(known) // args.n)])  # of all classes: the folder's order is theirs
    rows = [{"method": "real ones, trained on", "FD to held-out": round(metrics.frechet_distance(known, real), 2)}]
    for name, options in METHODS.items():
        if not any(name.startswith(text) for text in args.only):
            continue
        options = options | ({"steps": 2} if args.tiny else {})
        found, row = timed(lambda n: draw(model, n, shape=(3, 32, 32), **options), name, args.n, where)  # noqa: B023
        rows.append(row | {"FD to held-out": round(metrics.frechet_distance(features(found), real), 2)})
    rows.append(timed(gan(where), "our GAN, untrained", args.n, where)[1])
    print(plot.table(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "pictures"))
    parser.add_argument("file", nargs="?", help="a checkpoint of ddpm-folder-paper")
    parser.add_argument("--folder", help="as of `minidiff train`")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--n", type=int, default=WANTED, help="how many pictures, at most")
    parser.add_argument("--judge", type=int, default=8000, metavar="STEPS", help="of the classifier that judges")
    parser.add_argument("--only", nargs="*", default=("",), metavar="TEXT", help="methods that begin so")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, to see that it runs")
    args = parser.parse_args()
    if args.folder:
        os.environ["MINIDIFF_FOLDER"] = args.folder
    where = torch.device("cpu") if args.tiny else device()
    if args.tiny:
        args.n = args.judge = 20
    elif args.what == "speed" and where.type != "cuda":
        parser.error("speed wants a GPU, or --tiny")
    machine = torch.cuda.get_device_name() if where.type == "cuda" else "a CPU"
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {machine}")
    {"speed": speed, "pictures": pictures}[args.what](args, where)


if __name__ == "__main__":
    main()
