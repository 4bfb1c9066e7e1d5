"""Lesson 03 measured: is the inverse exact, is the density one, how near is the ring, and the bits of the digits."""

import copy
import math
from statistics import mean

import torch
from torch import Tensor, distributions

from minidiff import data, metrics, profile, seed_everything, seeded
from minidiff.autoregressive import PixelModel
from minidiff.flow import Flow, dequantise
from minidiff.lessons.lesson02 import claims as lesson02
from minidiff.lessons.lesson03 import families
from minidiff.recipes import RECIPES
from minidiff.scorecard.common import Claim, spread, trained
from minidiff.train import Ema, fit, run
from minidiff.vae import VAE

EXACT = "exact by construction (1605.08803, section 3)"
SLICE = 300  # of the 1,500 training digits, put aside to choose when to stop


def digits(split: str) -> Tensor:
    """The 8x8 digits spread over the cells of their levels, always by the same u: what the flow's density is of."""
    return dequantise(data.digits(split, 8)[0], 1 / 8, seeded(0))


@torch.no_grad()
def round_trip(flow: Flow, x: Tensor) -> dict[str, float]:
    """The largest |inverse(forward(x)) - x| in float32, and in float64."""
    errors = {}
    for dtype in (torch.float32, torch.float64):
        model = copy.deepcopy(flow).to(dtype)
        rows = x.to(dtype)
        errors[str(dtype)[6:]] = (model.inverse(model(rows)[0]) - rows).abs().max().item()
    return errors


def log_det_error(flow: Flow, x: Tensor) -> float:
    """The largest difference between log_det and log|det| of autograd's whole Jacobian, in float64."""
    model = copy.deepcopy(flow).double()
    rows = x.double()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: model(row[None])[0].flatten()))(rows)
    reference = torch.linalg.slogdet(jacobian.flatten(2)).logabsdet
    with torch.no_grad():
        return (model(rows)[1] - reference).abs().max().item()


def plane(reach: float = 3.0, steps: int = 301) -> tuple[Tensor, float]:
    """The points (steps², 2) of a square grid from -reach to reach, and the area of one cell."""
    line = torch.linspace(-reach, reach, steps)
    return torch.cartesian_prod(line, line), (line[1] - line[0]).item() ** 2


@torch.no_grad()
def mass(flow: Flow) -> float:
    """The integral of the density of a flow in the plane: its sum over a grid."""
    points, area = plane(2.5, 401)
    return torch.cat([flow.log_prob(part) for part in points.split(4000)]).exp().sum().item() * area


@torch.no_grad()
def ring_gap(flow: Flow, n: int = 10_000) -> float:
    """How many nats a held-out point of the ring is less likely, on average, than under the exact mixture."""
    x = data.ring(n, seed=1)  # the training points are those of seed 0
    return (data.ring_mixture().log_prob(x) - flow.log_prob(x)).mean().item()


@torch.no_grad()
def tempered(flow: Flow, temperature: float) -> tuple[Tensor, Tensor]:
    """On `plane()`: the density p^(1/T²), scaled to area 1, and that of the samples from z ~ N(0, T² I)."""
    points, area = plane()
    z, log_det = flow(points)
    drawn = (distributions.Normal(0, temperature).log_prob(z).sum(1) + log_det).exp()
    wanted = (flow.log_prob(points) / temperature**2).exp()
    return wanted / (wanted.sum() * area), drawn / (drawn.sum() * area)


def distance(p: Tensor, q: Tensor) -> float:
    """The share of probability that lies elsewhere, 0 to 1, for two densities on `plane()`: half of ∫|p - q|."""
    return 0.5 * (p - q).abs().sum().item() * plane()[1]


@torch.no_grad()
def bits(flow: Flow, vae: VAE, pixels: PixelModel) -> list[dict]:
    """Rows of the table: held-out bits a pixel of the 8x8 digits, labels unknown, exact or an upper bound."""
    rows = lesson02.bits(vae, pixels)
    rows.insert(1, {"model": "Gaussian, full covariance (upper bound)", "bits/dim": _gaussian_bits()})
    rows.insert(-1, {"model": "flow (upper bound)", "bits/dim": flow_bits(flow)})
    return rows


@torch.no_grad()
def flow_bits(flow: Flow, x: Tensor | None = None, draws: int = 5) -> float:
    """Bits a pixel by the flow's bound, a mean over draws of u; of the held-out digits, or of x."""
    x = data.digits("test", 8)[0] if x is None else x
    bounds = [flow.bound(x, seeded(k)) for k in range(draws)]
    return mean(metrics.bits_per_dim(bound, 64) for bound in bounds)


def _gaussian_bits() -> float:
    generator = seeded(0)
    train = data.digits("train", 8)[0].repeat(8, 1, 1, 1)  # eight draws of u for each
    y = dequantise(train, 1 / 8, generator).flatten(1).double()
    gaussian = distributions.MultivariateNormal(y.mean(0), y.T.cov())
    return metrics.bits_per_dim(gaussian.log_prob(digits("test").flatten(1).double()), 64) + 3


def stopping(lengths: list[int], seed: int = 0) -> list[dict]:
    """How long to train: for each number of steps, bits/dim on 1,200 training digits and on the 300 put aside.

    The held-out digits have no say in it. `flow-digits` takes the best number, rounded, on all 1,500.
    """
    x = data.digits("train", 8)[0]
    order = torch.randperm(len(x), generator=seeded(seed))
    aside, rest = x[order[:SLICE]], x[order[SLICE:]]
    rows = []
    for steps in lengths:
        recipe = RECIPES["flow-digits"]
        seed_everything(seed)
        model = recipe.build()
        ema = Ema(model)
        batches = data.batches(rest, size=recipe.batch, seed=seed)
        run(fit(model, batches, steps, recipe.lr, seed=seed, ema=ema), desc=f"{steps} steps")
        rows.append({"steps": steps, "train": flow_bits(ema.model, rest), "put aside": flow_bits(ema.model, aside)})
    return rows


def claims(seeds: list[int], full: bool) -> list[Claim]:
    """The lesson's claims over training seeds; `full` adds the table of families and the choice of the steps."""
    rings, flows = ([trained(name, seed) for seed in seeds] for name in ("flow-ring", "flow-digits"))
    found = [*_of_exactness(rings, flows), *_of_the_ring(rings), _of_temperature(rings), *_of_bits(seeds, flows)]
    if full:
        found += [_of_stopping(), *families.claims(families.families(seed=seeds[0]), "03")]
    return found


def _of_exactness(rings: list[Flow], flows: list[Flow]) -> list[Claim]:
    pairs = [(flow, data.ring(297, seed=1)) for flow in rings] + [(flow, digits("test")) for flow in flows]
    trips = [round_trip(*pair) for pair in pairs]
    single, double = (max(trip[name] for trip in trips) for name in ("float32", "float64"))
    text = "inverse(forward(x)) = x, held-out points and digits: to 1e-4 in float32, to 1e-10 in float64"
    ours = f"largest error {single:.0e} and {double:.0e}"
    wrong = max(log_det_error(flow, x[:16]) for flow, x in pairs)
    other = "log_det is log|det| of autograd's Jacobian (float64, to 1e-9)"
    return [
        Claim("03", text, EXACT, ours, single <= 1e-4 and double <= 1e-10),
        Claim("03", other, EXACT, f"largest difference {wrong:.0e}", wrong <= 1e-9),
    ]


def _of_the_ring(rings: list[Flow]) -> list[Claim]:
    masses = [mass(flow) for flow in rings]
    gaps = [ring_gap(flow) for flow in rings]
    holds = max(gaps) < 0.1
    text = "ring of eight: the mean held-out log-likelihood is within 0.1 nat of the exact mixture's"
    return [
        Claim("03", "the learned density integrates to 1 ± 0.01", "1", spread(masses, 4), _all_one(masses)),
        Claim("03", text, "0: the exact mixture", f"{spread(gaps)} nats below", holds),
    ]


def _all_one(masses: list[float]) -> bool:
    return all(math.isclose(each, 1, abs_tol=0.01) for each in masses)


def _of_temperature(rings: list[Flow]) -> Claim:
    far = [distance(*tempered(flow, 0.7)) for flow in rings]
    text = "affine couplings: at temperature 0.7 samples do not follow p^(1/T²) (share of probability elsewhere)"
    return Claim("03", text, "0 for additive ones only (1807.03039, section 6)", spread(far), min(far) > 0.02)


def _of_bits(seeds: list[int], flows: list[Flow]) -> list[Claim]:
    vaes, painters = ([trained(name, seed) for seed in seeds] for name in ("vae-digits-levels", "pixels-digits"))
    tables = [{row["model"]: row["bits/dim"] for row in bits(*models)} for models in zip(flows, vaes, painters)]
    columns = {name: [table[name] for table in tables] for name in tables[0]}
    ours = columns["flow (upper bound)"]
    holds = max(ours) < columns["independent pixels, exact"][0]
    others = ", ".join(f"{name} {spread(values)}" for name, values in columns.items() if not name.startswith("flow"))
    text = "8x8 digits, held-out bits/dim: the flow's bound is below independent pixels"
    paper = "RealNVP 3.49, PixelRNN 3.00, on CIFAR-10 (1605.08803, table 1)"
    return [Claim("03", text, paper, f"flow {spread(ours)}; {others}", holds)]


def _of_stopping() -> Claim:
    steps = RECIPES["flow-digits"].steps[profile()]
    rows = stopping([steps // 4, steps // 2, steps, 2 * steps, 4 * steps])
    aside = {row["steps"]: row["put aside"] for row in rows}
    text = "the recipe's number of steps is the best on digits put aside from the training set (to 0.02 bits/dim)"
    ours = ", ".join(f"{steps} steps {value:.2f}" for steps, value in aside.items())
    holds = aside[steps] < min(aside.values()) + 0.02
    return Claim("03", text, "no figure", ours, holds)
