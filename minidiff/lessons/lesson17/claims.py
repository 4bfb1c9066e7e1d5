"""Lesson 17 measured: one gradient, bends of paths, quality against steps, students, transformers against FLOPs."""

import time
from functools import partial
from statistics import mean

import torch
from torch import Tensor, nn

from minidiff import checkpoints, data, evaluate, generate, schedule, seeded
from minidiff.data import GaussianMixture
from minidiff.denoiser import Denoiser, PairedDenoiser
from minidiff.distill import ConsistencyStudent, ProgressiveStudent, reflow_pairs
from minidiff.dit import DiT, flops
from minidiff.flow_matching import FlowMatching, bend, marginal_velocity
from minidiff.lessons.lesson17 import emoji
from minidiff.lessons.lesson17.training import follows, loss_of, taught
from minidiff.sampler import sample, times
from minidiff.scorecard import real_digits, stored
from minidiff.scorecard.common import Claim, spread
from minidiff.unet import UNet

DDIM = "DDPM, DDIM's steps"
COMMAND = "python -m minidiff scorecard 17 --full"
DRAWN = 594  # digits a row of the tables: two chunks as large as the held-out set
LADDER = (1, 2, 4, 8, 20)
FEW = (1, 2, 4)
SIZES = ((4, 32, 2), (4, 64, 3), (4, 128, 4), (2, 64, 3))  # patch, width and layers of a DiT
TRIED = 400  # steps of training in the table of sizes
PAIRS = 3000  # of noise and what the flow makes of it, for reflow
ONE_FIELD = "equal up to a constant (2210.02747, theorem 2)"
REFLOW = "FID on CIFAR-10 in one step: 4.85 after reflow and distillation (2209.03003)"
PROGRESSIVE = "FID on CIFAR-10: 3.0 in 4 steps, 4.51 in 2, 9.12 in 1 (2202.00512)"
CONSISTENCY = "FID on CIFAR-10 in one step: 3.55 (2303.01469)"
TRANSFORMERS = "FID falls as Gflops rise, to 2.27 for XL/2 on ImageNet at 256 x 256 (2212.09748)"


def two_clouds() -> GaussianMixture:
    """Two round clouds one above the other, of equal weight, in the plane."""
    return GaussianMixture([0.5, 0.5], [[0.0, 1.5], [0.0, -1.5]], [0.3, 0.3])


def gradients(n: int = 20_000, t: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The gradient, flat, of the conditional and of the marginal loss by the weights of one small network."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    mixture = two_clouds()
    generator = seeded(seed)
    x0 = mixture.sample(n, generator)
    eps = torch.randn(n, 2, generator=generator)
    x = (1 - t) * x0 + t * eps
    targets = eps - x0, marginal_velocity(mixture, x, t)
    losses = [(net(x) - target).square().sum(1).mean() for target in targets]
    weights = list(net.parameters())
    return tuple(torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]) for loss in losses)


RINGS = {
    "independent": "flow-matching-ring",
    "optimal": "flow-matching-ring-optimal",
    "reflow": "flow-matching-ring-reflow",
}


def bends(seed: int = 0) -> dict[str, float]:
    """How far the shipped flows of points are from straight, over 1,000 paths."""
    noise = torch.randn(1000, 2, generator=seeded(seed))
    flows = {name: checkpoints.load(file) for name, file in RINGS.items()}
    return {name: bend(sample(model, noise, times(100), model.schedule)) for name, model in flows.items()}


# Digits


def digit_net() -> UNet:
    """The network of the shipped models."""
    return UNet(channels=1, classes=10)


def reflowed(steps: int = 300, pairs: int = PAIRS) -> Denoiser:
    """The shipped flow of digits, trained further on its own pairs."""
    flow = checkpoints.load("flow-matching-digits")
    noise = torch.randn(pairs, 1, 16, 16, generator=seeded(100))
    labels = torch.arange(pairs) % 10
    again = PairedDenoiser(digit_net(), schedule.straight(), "flow", null=10, times="uniform")
    again.net.load_state_dict(flow.net.state_dict())
    return taught(again, (reflow_pairs(flow, noise, labels), noise, labels), steps)


def one_step(steps: int = 150) -> Denoiser:
    """One step that is worth the two of the shipped student."""
    student = ProgressiveStudent(digit_net(), null=10, steps=1).follow(checkpoints.load("two-step-digits"))
    return taught(student, data.digits("train"), steps)


def consistent(steps: int = 300) -> Denoiser:
    """A consistency model of the shipped flow, on 8 times."""
    student = ConsistencyStudent(digit_net(), null=10, steps=8).follow(checkpoints.load("flow-matching-digits"))
    return taught(student, data.digits("train"), steps, lr=5e-4)


def methods() -> dict[str, tuple[Denoiser, tuple[int, ...]]]:
    """Each way to draw a digit, and the numbers of steps that it is tried with."""
    shipped = {DDIM: "ddpm-digits", "flow matching": "flow-matching-digits", "flow matching, DiT": "dit-digits"}
    long = {name: (checkpoints.load(file), LADDER) for name, file in shipped.items()}
    students = {"two-step student": checkpoints.load("two-step-digits"), "one-step student": one_step()}
    few = students | {"reflow": reflowed(), "consistency": consistent()}
    return long | {name: (model, FEW) for name, model in few.items()}


def row(name: str, steps: int, seed: int, draw, real) -> dict:
    """A row of the table of steps: quality of DRAWN digits, and the seconds that 1,000 of them take."""
    start = time.perf_counter()
    drawn = draw(seeded(seed))
    seconds = (time.perf_counter() - start) * 1000 / len(drawn)
    told = {"method": name, "steps": steps, "seed": seed}
    return told | evaluate.quality(drawn, *real).row() | {"seconds for 1,000": round(seconds, 2)}


def steps_table(seeds) -> list[dict]:
    """A row for each method, number of steps and sampling seed, the GAN of lesson 04 and the floors with them."""
    real = real_digits()
    labels = torch.arange(DRAWN) % 10
    gan = checkpoints.load("gan-digits")
    rows = []
    tried = methods()
    for seed in seeds:
        rows.append(row("GAN", 1, seed, lambda generator: generate.one_pass(gan, DRAWN, generator=generator), real))
        for name, (model, counts) in tried.items():
            for steps in counts:
                draw = partial(_drawn, model, labels, steps)
                rows.append(row(name, steps, seed, draw, real))
    floors = evaluate.floors(*real)
    return rows + [{"method": name} | quality.row() for name, quality in floors.items()]


def _drawn(model: Denoiser, labels: Tensor, steps: int, generator) -> Tensor:
    return generate.draw(model, labels, steps=steps, generator=generator)


def held_out_loss(model: FlowMatching, draws: int = 6) -> float:
    """The loss over the held-out digits, each under the same `draws` noises and times for every model."""
    return loss_of(model, *data.digits("test"), draws=draws)


def sizes_table(steps: int = TRIED, sizes=SIZES) -> list[dict]:
    """A row for each size of a DiT, and the U-Net: work, seconds, held-out loss, FD of digits after `steps` steps."""
    nets = {f"DiT, patch {p}, width {w}, {d} layers": DiT(16, p, w, d, 4, 1, 10) for p, w, d in sizes}
    real = real_digits()
    asked = torch.zeros(1, 1, 16, 16), torch.ones(1), torch.zeros(1, dtype=torch.long)
    rows = []
    for name, net in (nets | {"U-Net": digit_net()}).items():
        start = time.perf_counter()
        rate = 2e-3 if name == "U-Net" else 3e-3  # each net's own
        model = taught(FlowMatching(net, null=10, drop=0.1), data.digits("train"), steps, lr=rate)
        seconds = time.perf_counter() - start
        drawn = generate.draw(model, torch.arange(DRAWN) % 10, generator=seeded())
        count = sum(weight.numel() for weight in net.parameters())
        told = {"net": name, "MFLOPs": round(flops(net, *asked) / 1e6, 1), "weights": count, "steps": steps}
        measured = {"train (s)": round(seconds), "held-out loss": round(held_out_loss(model), 4)}
        rows.append(told | measured | evaluate.quality(drawn, *real).row())
    return rows


# Claims


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims; `full` measures the stored tables again: one training seed, three sampling seeds."""
    if full:
        stored.write("17_steps", COMMAND, steps_table(range(3)))
        stored.write("17_sizes", COMMAND, sizes_table())
        stored.write("17_emoji", COMMAND, emoji.steps_table(range(3)))
        stored.write("17_emoji_sizes", COMMAND, emoji.sizes_table())
    return [_of_gradients(seeds), *_of_bends(seeds), *_of_steps(), _of_sizes(), *emoji.claims()]


def _of_gradients(seeds) -> Claim:
    cosines = [torch.cosine_similarity(*gradients(seed=seed), dim=0).item() for seed in seeds]
    text = "the conditional loss has the gradient of the marginal one"
    return Claim("17", text, ONE_FIELD, f"cosine at least {min(cosines):.4f}", min(cosines) > 0.99)


def _of_bends(seeds) -> list[Claim]:
    found = [bends(seed) for seed in seeds]
    sides = {name: [each[name] for each in found] for name in found[0]}
    ours = ", ".join(f"{name} {spread(values)}" for name, values in sides.items())
    middle = {name: mean(values) for name, values in sides.items()}
    source = "straighter (2302.00482; 2209.03003)"
    return [
        Claim("17", f"paths are straighter {text}", source, ours, middle[name] < middle["independent"])
        for name, text in (("optimal", "with optimal couplings"), ("reflow", "after reflow"))
    ]


STUDENTS = (  # what is said of one of them, its row of the table, what the papers have
    ("two steps of a student are within 10 % of twenty of its teacher", ("two-step student", 2), PROGRESSIVE),
    ("one step of a student is within 10 % of twenty of its teacher", ("one-step student", 1), PROGRESSIVE),
    ("one step of a consistency model is within 10 % of twenty of its teacher", ("consistency", 1), CONSISTENCY),
    ("one step after reflow is within 10 % of twenty before", ("reflow", 1), REFLOW),
)


def _of_steps() -> list[Claim]:
    rows = stored.read("17_steps")
    made = stored.command("17_steps")

    def fd(name, steps):
        return [row["FD held-out"] for row in rows if (row["method"], row.get("steps")) == (name, steps)]

    ours = f"FD {spread(fd('flow matching', 4))} against {spread(fd(DDIM, 4))}"
    better = mean(fd("flow matching", 4)) < mean(fd(DDIM, 4))
    text = "at 4 steps flow matching draws better than DDPM with DDIM's steps, the same network as long trained"
    found = [Claim("17", text, "fewer evaluations (2210.02747)", ours, better, stored=made)]
    long = fd("flow matching", 20)
    for text, case, source in STUDENTS:
        ours = f"FD {spread(fd(*case))} against {spread(long)}"
        found.append(Claim("17", text, source, ours, mean(fd(*case)) <= 1.1 * mean(long), stored=made))
    return found


def _of_sizes() -> Claim:
    rows = [row for row in stored.read("17_sizes") if row["net"] != "U-Net"]
    work, weights = follows(rows, "MFLOPs"), follows(rows, "weights")
    ours = (
        f"correlation of the held-out loss with log FLOPs {work:.2f}, with log weights {weights:.2f} (4 sizes, 1 seed)"
    )
    text = "the loss of a diffusion transformer follows its FLOPs more closely than its number of weights"
    return Claim("17", text, TRANSFORMERS, ours, work < min(weights, -0.9), stored=stored.command("17_sizes"))
