"""Lesson 06's widgets: the way from noise to digits, what is seen at each time, what a network's parts are for."""

import torch
from torch import Tensor

from minidiff import guidance, seeded
from minidiff.denoiser import Denoiser
from minidiff.generate import guided
from minidiff.sampler import sample, times
from minidiff.widgets import Choice, Explorer, Player, Slider


def trajectory(model: Denoiser, n: int = 10, steps: int = 50, size: int = 16, seed: int = 0) -> Explorer:
    """n digits on their way from noise: above x_t, below the estimate of x0 made from it, at each of `steps` steps."""
    labels = torch.arange(n) % 10
    generator = seeded(seed)
    denoise = guidance.clamp(guided(model, labels))
    x = model.schedule.prior((n, 1, size, size), generator)
    path = list(sample(denoise, x, times(steps), model.schedule, eta=1.0, generator=generator))

    def alt(step):
        t = path[step].t
        return f"step {step} of {steps}, time {t:.2f}: above the noisy digits x_t, below the estimates of x0"

    return Explorer(
        lambda step: torch.cat([path[step].x, path[step].x0]),
        alt=alt,
        rows=("noisy: x_t", "estimate of x0"),
        step=Player("step", steps + 1, steps // 2, unit=f"of {steps}", speed=8),
    ).add_class("trajectory")


def estimate(model: Denoiser, images: Tensor, labels: Tensor, seed: int = 0) -> Explorer:
    """Held-out digits at a time t: in rows the clean pictures x0, the noisy x_t, the estimate of x0."""
    eps = torch.randn(images.shape, generator=seeded(seed))

    def look(time):
        x = model.schedule.add_noise(images, time, eps)
        with torch.no_grad():
            return x, model(x, time, labels)

    def alt(time):
        error = (look(time)[1] - images).square().mean().item()
        return f"clean digits, below them noisy at time {time:.2f}, below their estimates; squared error {error:.3f}"

    return Explorer(
        lambda time: torch.cat([images, *look(time)]),
        alt=alt,
        rows=("clean: x0", "noisy: x_t", "estimate of x0"),
        time=Slider("time t", 0.02, 1.0, 0.02, 0.5),
    ).add_class("estimate")


def switched_off(models: dict[str, Denoiser], images: Tensor, seed: int = 0) -> Explorer:
    """Noisy held-out digits above, below the estimates of x0 by one of several networks, at a time t."""
    eps = torch.randn(images.shape, generator=seeded(seed))

    def draw(network, time):
        x = models[network].schedule.add_noise(images, time, eps)
        with torch.no_grad():
            return torch.cat([x, models[network](x, time)])

    return Explorer(
        draw,
        alt="noisy digits at time {time:.2f} above, below the estimates of x0 by the network: {network}",
        rows=("noisy: x_t", "estimate of x0"),
        network=Choice("network", list(models), next(iter(models))),
        time=Slider("time t", 0.02, 1.0, 0.02, 0.2),
    ).add_class("parts")
