"""Lesson 05's widgets: digits under noise, a schedule designed, the score of a cloud, the best guess at x0."""

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from minidiff import plot, seeded
from minidiff.data import GaussianMixture
from minidiff.schedule import Schedule, cosine, from_betas, linear, straight, variance_exploding
from minidiff.widgets import Choice, Explorer, Pad, Slider, Stops

SCHEDULES = {"linear": linear(), "cosine": cosine(), "flow": straight(), "variance exploding": variance_exploding()}
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def under_noise(images: Tensor, seed: int = 0) -> Explorer:
    """`images` (N, 1, H, W) at time t of a schedule, always with the same noise, and their signal-to-noise ratio."""
    eps = _noise(images, seed)

    def draw(t, schedule):
        x = shown(SCHEDULES[schedule], images, t, eps)
        return plot.grid(x, columns=8, title=f"{schedule}, t = {t:.2f}: {snr_text(SCHEDULES[schedule], t)}")

    return Explorer(
        draw,
        alt=lambda t, schedule: f"{len(images)} digits at t = {t:.2f}, {schedule}: {snr_text(SCHEDULES[schedule], t)}",
        t=Slider("time t", 0.0, 1.0, 0.02, 0.1),
        schedule=Choice("schedule", list(SCHEDULES), "linear"),
    ).add_class("noise")


def shown(schedule: Schedule, x0: Tensor, t: float, eps: Tensor) -> Tensor:
    """x_t at unit size, divided by sqrt(alpha² + sigma²), as a network is shown it; at t = 0 that is x0."""
    alpha, sigma = (value.item() for value in schedule(t))
    return schedule.add_noise(x0, t, eps) / (alpha**2 + sigma**2) ** 0.5


def snr_text(schedule: Schedule, t: float) -> str:
    """The signal-to-noise ratio in words: "SNR 0.42", "no noise", "no signal"."""
    log_snr = schedule.log_snr(t).item()
    if abs(log_snr) == float("inf"):
        return "no noise" if log_snr > 0 else "no signal"
    return f"SNR {torch.tensor(log_snr).exp().item():.2g}"


def designed(steps: int, last: float, bend: float) -> Schedule:
    """Betas from 1e-4 to `last`, on a line after the root of order `bend`: 1 is DDPM's way, 2 Stable Diffusion's."""
    return from_betas(torch.linspace(1e-4 ** (1 / bend), last ** (1 / bend), steps, dtype=torch.float64) ** bend)


def designer(images: Tensor, seed: int = 0) -> Explorer:
    """Betas of your own: the log-SNR they give beside linear and cosine, and `images` (N, 1, H, W) at five times."""
    eps = _noise(images, seed)

    def draw(steps, last, bend):
        return _design(designed(steps, last, bend), images, eps)

    def alt(steps, last, bend):
        left = designed(steps, last, bend)(1.0)[0].item() ** 2
        betas = f"{steps} steps to a last beta of {last}"
        return f"log-SNR and digits at five times: {betas}, bend {bend:g}, alpha_bar ends at {left:.2g}"

    return Explorer(
        draw,
        alt=alt,
        steps=Stops("steps", (50, 100, 200, 500, 1000), 1000),
        last=Slider("last beta", 0.005, 0.05, 0.005, 0.02),
        bend=Slider("bend", 1.0, 4.0, 0.5, 1.0),
    ).add_class("designer")


def _design(schedule: Schedule, images: Tensor, eps: Tensor) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.0), dpi=72, width_ratios=(1, 1.5))
    t = torch.linspace(0.002, 1, 250)
    lines = {"yours": schedule, "linear": SCHEDULES["linear"], "cosine": SCHEDULES["cosine"]}
    plot.curve({name: (t, s.log_snr(t)) for name, s in lines.items()}, left, xlabel="t", ylabel="log-SNR")
    left.set(ylim=(-13, 11), title=f"alpha_bar at the end: {schedule(1.0)[0].item() ** 2:.2g}")
    x = torch.cat([shown(schedule, images, time, eps) for time in TIMES])
    page = plot.tile(x.unflatten(0, (5, -1)).transpose(0, 1).flatten(0, 1), 5, scale=4)  # a column a time
    right.imshow(page, interpolation="nearest")
    width = page.shape[1] / len(TIMES)
    right.set_xticks([(k + 0.5) * width for k in range(len(TIMES))], [f"t = {time:g}" for time in TIMES])
    right.set(yticks=[])
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    figure.subplots_adjust(0.08, 0.17, 0.99, 0.88, 0.06)
    return figure


def score_field(mixtures: dict[str, GaussianMixture], schedule: Schedule, n: int = 400) -> Explorer:
    """A cloud at time t, and sigma times its exact score as arrows: minus the noise that is to be expected there."""
    clouds = {name: mixture.sample(n, seeded(0)) for name, mixture in mixtures.items()}
    eps = torch.randn(n, 2, generator=seeded(1))

    def draw(t, cloud):
        return _field(mixtures[cloud], schedule.add_noise(clouds[cloud], t, eps), schedule, t, f"{cloud}, t = {t:.2f}")

    return Explorer(
        draw,
        alt="{cloud} at t = {t:.2f}, arrows along its score",
        t=Slider("time t", 0.02, 1.0, 0.02, 0.06),
        cloud=Choice("cloud", list(mixtures), next(iter(mixtures))),
    ).add_class("score")


def _field(mixture: GaussianMixture, x: Tensor, schedule: Schedule, t: float, title: str) -> Figure:
    figure, ax = _square()
    ax.scatter(*x.T, s=5, color=plot.COLOURS[3], alpha=0.7, linewidths=0)
    line = torch.linspace(-2.6, 2.6, 15)
    at = torch.cartesian_prod(line, line)
    alpha, sigma = (value.item() for value in schedule(t))
    arrows = sigma * mixture.score(at, alpha, sigma)
    arrows = arrows * (2.5 / arrows.norm(dim=1, keepdim=True)).clamp(max=1)  # far from all data they are very long
    ax.quiver(*at.T, *arrows.T, color=plot.COLOURS[0], angles="xy", scale_units="xy", scale=8, width=0.004)
    ax.set_title(title)
    return figure


def best_guess(mixture: GaussianMixture, schedule: Schedule) -> Explorer:
    """Point at an x_t: which x0 it may have been, darker where likelier, and their mean, the best guess."""

    def known(x, t):
        at = torch.tensor([x])
        alpha_sigma = [value.item() for value in schedule(t)]
        return mixture.denoise(at, *alpha_sigma)[0].tolist(), mixture.responsibilities(at, *alpha_sigma)[0]

    def alt(x, t):
        guess, _ = known(x, t)
        return "from x_t = ({:.1f}, {:.1f}) at t = {:.2f} to the best guess ({:.1f}, {:.1f})".format(*x, t, *guess)

    pad = Pad("x_t", mixture.means[::6], corners=((-2.5, -2.5), (2.5, 2.5)), value=(1.1, 0.2))
    return Explorer(
        lambda x, t: _guess(mixture, x, *known(x, t)),
        alt=alt,
        x=pad,
        t=Slider("time t", 0.02, 1.0, 0.02, 0.1),
    ).add_class("guess")


def _guess(mixture: GaussianMixture, x, guess, likely: Tensor) -> Figure:
    figure, ax = _square()
    colour = dict(c=(likely / likely.max()).sqrt(), cmap="Oranges", vmin=-0.15, vmax=1)
    ax.scatter(*mixture.means.T, s=14, **colour, linewidths=0)
    ax.annotate("", guess, x, arrowprops=dict(arrowstyle="-|>", color="black", lw=1.5))
    ax.plot(*x, "o", color=plot.COLOURS[0], ms=8, label="x_t")
    ax.plot(*guess, "X", color="black", ms=9, label="E[x0 | x_t]")
    ax.legend(loc="upper left", frameon=False, ncols=2)
    return figure


def _square():
    figure, ax = plt.subplots(figsize=(4.4, 4.4), dpi=72)
    ax.set(xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), aspect="equal")
    ax.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(0.08, 0.07, 0.98, 0.93)
    return figure, ax


def _noise(images: Tensor, seed: int) -> Tensor:
    return torch.randn(images.shape, generator=seeded(seed))
