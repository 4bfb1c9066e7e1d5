"""The pictures of the bug museum, each drawn with a bug that the tests plant and with the right code beside it.

One function a picture, of the name that `museum.md` gives it. Data are exact mixtures in the plane, the digits, and
the shipped models.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from minidiff import checkpoints, data, guidance, latent, plot, seeded
from minidiff.generate import guided
from minidiff.lessons.lesson05 import solutions as solutions05
from minidiff.lessons.lesson06 import solutions as solutions06
from minidiff.lessons.lesson07 import solutions as solutions07
from minidiff.lessons.lesson08 import solutions as solutions08
from minidiff.lessons.lesson09 import solutions as solutions09
from minidiff.sampler import last, sample, times
from minidiff.schedule import Schedule, from_betas, linear

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from bugs import planted  # noqa: E402

EXHIBITS: dict[str, Callable[[], Figure]] = {}


def exhibit(function):
    """A picture of the museum."""
    EXHIBITS[function.__name__] = function
    return function


def draw(folder: Path) -> None:
    """Every exhibit as a PNG file in `folder`."""
    for name, picture in EXHIBITS.items():
        figure = picture()
        figure.savefig(folder / f"{name}.png", facecolor="white", dpi=110)
        plt.close(figure)


@exhibit
def subtracted() -> Figure:
    x0, schedule = _digits(10), linear()
    eps = torch.randn(x0.shape, generator=seeded())
    points = schedule(0.2, like=x0)
    x = schedule.add_noise(x0, 0.2, eps)
    wrong = planted("05")["05.estimate_x0"][0]
    return plot.rows(
        {
            "noisy": x,
            "x - eps": wrong(x, eps, *points),
            "right": solutions05.estimate_x0(x, eps, *points),
        }
    )


@exhibit
def columns() -> Figure:
    x0, schedule = _digits(16), linear()
    eps = torch.randn(x0.shape, generator=seeded())
    alpha, sigma = schedule(torch.linspace(0, 0.8, 16))
    wrong = planted("05")["05.add_noise"][0]
    right = solutions05.add_noise(x0, alpha, sigma, eps)
    return plot.rows({"alpha * x0": wrong(x0, alpha, sigma, eps)[::2], "right": right[::2]})


@exhibit
def unscaled() -> Figure:
    x0 = _digits(10)
    eps = torch.randn(x0.shape, generator=seeded())
    betas = {"1e-4 to 0.02": planted("05")["05.linear_betas"][0](100), "scaled": solutions05.linear_betas(100)}
    return plot.rows(
        {f"{name}, t = {t}": from_betas(b).add_noise(x0, t, eps) for name, b in betas.items() for t in (0.5, 1.0)}
    )


SLIPS = ["time off by one", "variance for deviation", "sigma² for sigma", "larger variance", "divided twice"]
SLIPS += ["noise in the last step", "sign of eps"]


@exhibit
def walks() -> Figure:
    """Algorithm 2 in 25 long steps down to eight narrow clouds, the exact denoiser, and seven slips in it."""
    means, std, schedule = data.ring_mixture().means, 0.06, linear(25)
    ring = data.GaussianMixture([1 / 8] * 8, means, [std] * 8)

    def net(x, t, cond=None):
        alpha, sigma = schedule(t.clamp(min=1e-3))
        return (x - alpha[:, None] * ring.denoise(x, alpha, sigma)) / sigma[:, None]

    ways = {"right": solutions06.ancestral} | dict(zip(SLIPS, planted("06")["06.ancestral"]))
    figure, axes = plt.subplots(2, 4, figsize=(9.6, 5.2), layout="constrained")
    for ax, (name, walk) in zip(axes.flat, ways.items()):
        x = walk(net, torch.randn(600, 2, generator=seeded()), schedule, seeded(1))
        ax.scatter(*_outward(x, means, std).T, s=4, color=plot.COLOURS[0 if name == "right" else 2], linewidths=0)
        for radius in (1, 2):
            ax.add_patch(plt.Circle((0, 0), radius, fill=False, ls="--"))
        ax.set(xlim=(-5, 5), ylim=(-5, 5), xticks=[], yticks=[], aspect="equal", title=name)
    return figure


def _outward(x, means, std):
    """Points (B, 2) from their nearest mean, in deviations, turned so that up is away from the middle of the ring."""
    near = means[torch.cdist(x, means).argmin(1)]
    (off_x, off_y), (up_x, up_y) = ((x - near) / std).T, (near / near.norm(dim=1, keepdim=True)).T
    return torch.stack([off_x * up_y - off_y * up_x, off_x * up_x + off_y * up_y], 1)


@exhibit
def early() -> Figure:
    wrong = dict(zip(["one step too few", "the same noise each step"], planted("07")["07.sample"]))
    ways = {"right": solutions07.ddim} | wrong
    model, noise, denoise = _model()
    return plot.rows(
        {name: way(denoise, noise, times(20), model.schedule, 1.0, seeded()).clamp(-1, 1) for name, way in ways.items()}
    )


@exhibit
def alphas() -> Figure:
    """As lesson 07 shows it: schedules that a sampler believes in, and the deviation of x_t on the way."""
    model, noise, denoise = _model()
    right = model.schedule

    def one_step(t):
        a = right(t)[0] / right((t - 1 / 1000).clamp(min=0))[0]
        return a, (1 - a**2).sqrt()

    def no_root(t):
        alpha, sigma = right(t)
        return alpha**2, sigma**2

    paths = {"right": right, "no square root": Schedule(no_root), "alpha for alpha_bar": Schedule(one_step)}
    walks = {name: list(sample(denoise, noise, times(20), path)) for name, path in paths.items()}
    lines = {name: ([step.t for step in walk], [step.x.std() for step in walk]) for name, walk in walks.items()}
    ax = plot.curve(lines, xlabel="time t", ylabel="deviation of x_t", title="The same noise, three ways down")
    ax.set(xlim=(1.02, -0.02))
    return ax.figure


@exhibit
def scale() -> Figure:
    model, noise, _ = _model(2)
    labels = torch.arange(len(noise)) % 10
    wrong = planted("08")["08.cfg"]
    ways = {
        "right, scale 1": solutions08.cfg(model, labels, model.null, 1.0),
        "1 taken for w": wrong[0](model, labels, model.null, 1.0),
        "right, scale 4": solutions08.cfg(model, labels, model.null, 4.0),
        "turned, scale 4": wrong[2](model, labels, model.null, 4.0),
    }
    return plot.rows({name: _drawn(model, denoise, noise) for name, denoise in ways.items()})


WISHES = ["a large red circle on a blue background", "a small yellow cross at the top of a black background"]
WISHES += ["a big cyan square on a white background", "a purple diamond on a green background", "a green triangle"]


@exhibit
def factor() -> Figure:
    model = checkpoints.load("ldm-shapes")
    x = model.schedule.prior((5, 8, 8, 8), seeded(5))
    z = _walked(model, latent.guided(model, WISHES), x) / model.scale
    pasted = planted("09")["09.measure"][-1](None, None)
    ways = {"right": 1, "not divided": model.scale, "divided by 0.18": model.scale / pasted}
    with torch.no_grad():
        return plot.rows({name: model.autoencoder.decode(by * z).clamp(-1, 1) for name, by in ways.items()})


@exhibit
def held() -> Figure:
    """Right halves painted anew, with an estimate that is held to the known codes on the left, or is not."""
    model = checkpoints.load("ldm-shapes")
    images = data.shapes("test", 8, 1, 1)[0][[0, 5, 1, 7]]
    mask = torch.zeros(4, 1, 32, 32, dtype=torch.bool)
    mask[..., 16:] = True
    known, anew = model.encode(images), solutions09.code_mask(mask, 4)
    denoise = latent.guided(model, ["a large cyan square on the right"] * 4)
    wrong, x = planted("09")["09.keep_known"], model.schedule.prior(known.shape, seeded(1))
    ways = {"right": solutions09.keep_known, "mask turned": wrong[0], "nothing held": wrong[3]}
    drawn = {name: model.decode(_walked(model, hold(denoise, known, anew), x)) for name, hold in ways.items()}
    return plot.rows({"the picture": images} | {name: torch.where(mask, y, images) for name, y in drawn.items()})


def _walked(model, denoise, x):
    return last(sample(denoise, x, times(20), model.schedule, order=2))


def _drawn(model, denoise, noise):
    return last(sample(guidance.clamp(denoise), noise, times(20), model.schedule))


def _model(seed: int = 0):
    """The shipped DDPM, noise for the labels 0 to 9, and its denoiser of these labels."""
    model = checkpoints.load("ddpm-digits")
    noise = model.schedule.prior((10, 1, 16, 16), seeded(seed))
    return model, noise, guidance.clamp(guided(model, torch.arange(10)))


def _digits(n: int):
    return data.digits("test")[0][:n]
