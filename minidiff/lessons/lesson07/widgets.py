"""Lesson 07's widgets: steps and noise from one x_T, a walk from noise to picture, the arc between two noises."""

import torch
from torch import Tensor

from minidiff import seeded
from minidiff.denoiser import Denoiser
from minidiff.generate import guided
from minidiff.guidance import clamp
from minidiff.lessons.lesson07.solutions import slerp
from minidiff.sampler import Step, last, sample, times
from minidiff.widgets import Choice, Explorer, Player, Slider, Stops

STEPS = (1, 2, 5, 10, 20, 40)
NOISES = {"eta 0": {"eta": 0.0}, "eta 0.5": {"eta": 0.5}, "eta 1": {"eta": 1.0}}
NOISES["sigma-hat"] = {"eta": 1.0, "variance": "large"}


def steps_and_noise(model: Denoiser, n: int = 10, seed: int = 0) -> Explorer:
    """The labels 0, 1, ... from one x_T each, by any number of STEPS with any of NOISES: all are drawn ahead."""
    drawn = {(steps, noise): walk(model, steps, n, seed, noise)[-1].x for steps in STEPS for noise in NOISES}
    return Explorer(
        lambda steps, noise: drawn[steps, noise],
        alt=f"digits 0 to {n - 1} from the same noise, {{noise}}, after {{steps}} steps",
        columns=n // 2,
        steps=Stops("steps", STEPS, 10),
        noise=Choice("noise", list(NOISES), "eta 0"),
    ).add_class("steps")


def trajectory(model: Denoiser, steps: int = 30, n: int = 5, seed: int = 0) -> Explorer:
    """x_t above and the estimate of x0 below, step by step, for the labels 3, 4, ...; both walks are taken ahead."""
    walks = {noise: walk(model, steps, n, seed, noise, first=3) for noise in ("eta 0", "eta 1")}

    def draw(step, noise):
        now = walks[noise][step]
        return torch.cat([now.x, now.x0])

    return Explorer(
        draw,
        alt=lambda step, noise: (
            f"above x_t at t = {walks[noise][step].t:.2f}, below the estimates of x0, after {step} steps, {noise}"
        ),
        rows=("noisy: x_t", "estimate of x0"),
        step=Player("step", steps + 1, steps // 3, unit=f"of {steps}", speed=8),
        noise=Choice("noise", list(walks), "eta 0"),
    ).add_class("trajectory")


def between(model: Denoiser, steps: int = 5, seed: int = 11) -> Explorer:
    """A label from noise a (left), from b (right), and from a mixture: on the arc (second), straight (third)."""
    a, b = model.schedule.prior((2, 1, 16, 16), seeded(seed)).split(1)

    def draw(share, label):
        x = torch.cat([a, slerp(a, b, share), (1 - share) * a + share * b, b])
        return _end(model, x, torch.full((4,), label), steps)

    return Explorer(
        draw,
        alt="label {label}: from noise a, {share} of the way to b on the arc, the same on the straight line, from b",
        heads=("noise a", "on the arc", "straight line", "noise b"),
        share=Slider("share of b", 0.0, 1.0, 0.05, 0.5),
        label=Choice("label", list(range(10)), 2),
    ).add_class("between")


def walk(model: Denoiser, steps: int, n: int, seed: int, noise: str, first: int = 0) -> list[Step]:
    """All the Steps of n pictures of the labels first, first + 1, ..., from the same x_T for the same seed."""
    generator = seeded(seed)
    x = model.schedule.prior((n, 1, 16, 16), generator)
    denoise = clamp(guided(model, (first + torch.arange(n)) % 10))
    return list(sample(denoise, x, times(steps), model.schedule, generator=generator, **NOISES[noise]))


def _end(model: Denoiser, x: Tensor, labels: Tensor, steps: int) -> Tensor:
    return last(sample(clamp(guided(model, labels)), x, times(steps), model.schedule))
