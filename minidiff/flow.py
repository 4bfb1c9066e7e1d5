"""Lesson 03: the normalising flow, a chain of steps that can be undone (RealNVP, 1605.08803; Glow, 1807.03039)."""

import math

import torch
from torch import Tensor, nn

from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn

BOUND = 3.0  # a coupling multiplies by exp(-3) … exp(3): more than that is left to several of them


class ActNorm(nn.Module):
    """z = (x - shift) exp(log_scale), one shift and scale for each number: (B, D) -> (B, D).

    The first batch in train mode sets them, so that z has mean 0 and deviation 1; from then on they are learned (Glow,
    section 3.1). No scale starts above 1 / `least`, and that of a number which does not change in that batch is 1.
    ValueError for a first batch of one row, which has no deviation.
    """

    def __init__(self, dims: int, least: float = 1e-2):
        super().__init__()
        self.least = expect.number("least", least, 1e-6)
        self.shift = nn.Parameter(torch.zeros(expect.integer("dims", dims, 1)))
        self.log_scale = nn.Parameter(torch.zeros(dims))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, D) -> z (B, D) and log|det dz/dx| (B,), which is the same for every x."""
        self._check("x", x)
        if self.training and not self.initialized:
            self._start(x)
        return (x - self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """z (B, D) -> x (B, D)."""
        self._check("z", z)
        return z * (-self.log_scale).exp() + self.shift

    def _check(self, name: str, x: Tensor) -> None:
        expect.tensor(name, x, f"B {len(self.shift)}", like=self.shift)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        if len(x) < 2:
            raise ValueError("x: got 1 row in the first batch, expected at least 2: act-norm takes its scale from them")
        deviation = x.std(0, correction=0)
        # A large scale for a constant number would be multiplied by that of every act-norm that follows.
        constant = deviation < 1e-6
        self.shift.copy_(x.mean(0))
        self.log_scale.copy_(-deviation.clamp(min=self.least).masked_fill(constant, 1.0).log())
        self.initialized.fill_(True)


class Logit(nn.Module):
    """z = log(p / (1 - p)), p = margin + (1 - 2 margin) (x - low) / (high - low): from an interval to the whole line.

    Pixels crowd at both ends of their range, where couplings, which only scale and shift, cannot bend them into a
    normal shape (RealNVP, section 4.1). Whatever z is, `inverse` stays within the range and a little margin.
    """

    def __init__(self, low: float, high: float, margin: float = 0.02):
        super().__init__()
        self.margin = expect.number("margin", margin, 1e-6, 0.49)
        self.low, self.slope = expect.number("low", low), (1 - 2 * margin) / (expect.number("high", high, low) - low)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, D) -> z (B, D) and log|det dz/dx| (B,); NaN for an x beyond the range and its margin."""
        expect.tensor("x", x, "B D")
        p = self.margin + (x - self.low) * self.slope
        return torch.logit(p), (math.log(self.slope) - p.log() - torch.log1p(-p)).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """z (B, D) -> x (B, D)."""
        expect.tensor("z", z, "B D")
        return (z.sigmoid() - self.margin) / self.slope + self.low


class Coupling(nn.Module):
    """z = x where `mask` is 1, and x exp(log_s) + t elsewhere, with log_s and t read from the masked part of x.

    What decides is passed on unchanged, so the inverse can read the same log_s and t, whatever `net` (B, D) -> (B, 2 D)
    is (RealNVP, equation 9; inverted as in 7 and 8). log_s stays within ±BOUND. With `additive` it is 0
    and no volume changes (NICE, arXiv:1410.8516).
    """

    def __init__(self, mask: Tensor, net: nn.Module, additive: bool = False):
        super().__init__()
        self.register_buffer("mask", expect.tensor("mask", mask, "D"), persistent=False)
        self.net, self.additive = net, additive

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, D) -> z (B, D) and log|det dz/dx| (B,): the sum of log_s, as the Jacobian is triangular."""
        log_s, t = self._scale_shift("x", x)
        return x * log_s.exp() + t, log_s.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """z (B, D) -> x (B, D)."""
        log_s, t = self._scale_shift("z", z)
        return (z - t) * (-log_s).exp()

    def scale_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log_s and t (B, D) from x or from z, which agree where the mask is 1; both are 0 there."""
        return self._scale_shift("x", x)

    def _scale_shift(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        dims = len(self.mask)
        expect.tensor(name, x, f"B {dims}", like=self.mask)
        answer = expect.tensor("net(x)", self.net(x * self.mask), f"{len(x)} {2 * dims}", like=x)
        log_s, t = (answer * (1 - self.mask).repeat(2)).chunk(2, dim=1)
        return (torch.zeros_like(log_s) if self.additive else BOUND * torch.tanh(log_s / BOUND)), t


@part
class Flow(nn.Module):
    """A density of points or pictures by a change of variables: log p(x) = log N(z; 0, I) + log|det dz/dx|.

    shape: of one row, (2,) for points, (1, 8, 8) for pictures. `couplings` times act-norm and an affine coupling with a
    network of `width`; the masks take turns. bin: the width of a cell where x are levels in [-1, 1] (digits: 1/8).
    `loss`, `bound` and `sample` then speak of levels, `forward`, `inverse` and `log_prob` of the numbers y = x + bin u,
    whose range a `Logit` opens first.
    net: a function of your own (dims, out) -> a network (B, dims) -> (B, out), called once for each coupling, in place
    of the dense one of that width, dropout and activation.
    """

    def __init__(
        self, shape=(2,), couplings=8, width=64, dropout=0.0, bin=0.0, additive=False, activation=nn.SiLU, net=None
    ):
        super().__init__()
        self.shape = tuple(expect.integer("shape", side, 1) for side in shape)
        self.dims = math.prod(self.shape)
        self.couplings = expect.integer("couplings", couplings, 1)
        self.width = expect.integer("width", width, 1)
        self.dropout = expect.number("dropout", dropout, 0, 1)
        self.bin = expect.number("bin", bin, 0)
        self.additive, self.activation, self.net = additive, activation, net
        layers = [Logit(-1, 1 + bin)] if bin else []
        turns = masks(self.shape)
        for k in range(couplings):
            layers += [ActNorm(self.dims), Coupling(turns[k % len(turns)], self._network(), additive)]
        self.layers = nn.ModuleList([*layers, ActNorm(self.dims)])

    def _network(self) -> nn.Module:
        """(B, dims) -> (B, 2 dims), one's own or the course's."""
        if self.net is None:
            return _dense(self.dims, self.width, self.dropout, self.activation)
        if isinstance(self.net, nn.Module):
            raise TypeError(f"net: got a {type(self.net).__name__}, expected a function (dims, out) that makes one")
        network = self.net(self.dims, 2 * self.dims)
        answer = network(torch.zeros(2, self.dims))
        expect.tensor("net(dims, out)(x)", answer, f"2 {2 * self.dims}")
        return network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, *shape) -> z (B, *shape), and log|det dz/dx| (B,) in nats: the layers' sum."""
        z = self._rows("x", x)
        total = z.new_zeros(len(z))
        for layer in self.layers:
            z, log_det = layer(z)
            total = total + log_det
        return z.view_as(x), total

    def inverse(self, z: Tensor) -> Tensor:
        """z (B, *shape) -> the x (B, *shape) that `forward` takes there: the layers' inverses in reverse order."""
        x = self._rows("z", z)
        for layer in reversed(self.layers):
            x = layer.inverse(x)
        return x.view_as(z)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,), exact: log N(forward(x); 0, I) + log|det| (RealNVP, equation 3)."""
        z, log_det = self(x)
        return log_det - 0.5 * (z.flatten(1).square() + math.log(2 * math.pi)).sum(1)

    def bound(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """log p(y) + D log bin <= log P(x) for levels x, in nats, (B,), with y = x + bin u, one draw of u a row.

        P(x) is the integral of p over the cell of x, and the log of a mean is at least the mean of the log
        (Theis et al., arXiv:1511.01844, section 3.1).
        """
        width = expect.number("bin", self.bin, 1e-9)  # without cells there are no levels to speak of
        self._levels(x)
        return self.log_prob(dequantise(x, width, generator)) + self.dims * math.log(width)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats a number: "prior", -log N(z; 0, I); "log_det", the volume's share; "loss" = prior - log_det = -log p."""
        z, log_det = self(dequantise(self._levels(x), self.bin))
        prior = 0.5 * (z.square() + math.log(2 * math.pi)).mean()
        log_det = log_det.mean() / self.dims
        return {"loss": prior - log_det, "prior": prior, "log_det": log_det}

    def loss(self, x: Tensor) -> Tensor:
        """-log p(x + bin u) in nats a number, averaged over the batch: a scalar."""
        return self.terms(x)["loss"]

    def sample(self, n: int, labels: None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n draws (n, *shape): inverse(z) of z ~ N(0, temperature² I), one pass. With `bin`, cut to levels in [-1, 1].

        That is p^(1/temperature²) up to its constant where log|det| is the same everywhere (additive couplings), else
        a different density (Glow, section 6).
        """
        if labels is not None:
            raise ValueError("labels: got some, expected None: the model has no classes")
        like, temperature = next(self.parameters()), expect.number("temperature", temperature, 0)
        z = randn((expect.integer("n", n, 1), *self.shape), like, generator)
        x = self.inverse(temperature * z)
        return ((x / self.bin).floor() * self.bin).clamp(-1, 1) if self.bin else x

    def _levels(self, x: Tensor) -> Tensor:
        """x, data: in [-1, 1] where they are levels."""
        shape = " ".join(["B", *map(str, self.shape)])
        like = next(self.parameters())
        return expect.unit("x", x, shape, like) if self.bin else expect.tensor("x", x, shape, like=like, scaled=True)

    def _rows(self, name: str, x: Tensor) -> Tensor:
        shape = " ".join(["B", *map(str, self.shape)])
        return expect.tensor(name, x, shape, like=next(self.parameters())).flatten(1)


def dequantise(x: Tensor, bin: float, generator: torch.Generator | None = None) -> Tensor:
    """y = x + bin u, u uniform in [0, 1): levels, spread over the cells that begin at them. The same shape as x."""
    expect.tensor("x", x, "...")
    expect.generator("generator", generator)
    if not expect.number("bin", bin, 0):
        return x
    where = generator.device if generator is not None else x.device
    return x + bin * torch.rand(x.shape, generator=generator, device=where, dtype=x.dtype).to(x.device)


def masks(shape: tuple[int, ...]) -> list[Tensor]:
    """The masks (D,) that couplings take in turn, of 0 and 1: a checkerboard, then its opposite.

    Every number is changed once in two couplings. For points (2,): (1, 0), then (0, 1).
    """
    shape = [expect.integer("shape", side, 1) for side in shape]
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).sum(0).flatten()
    return [((places + turn + 1) % 2).float() for turn in range(2)]


def _dense(dims: int, width: int, dropout: float, activation: type[nn.Module]) -> nn.Sequential:
    """(B, dims) -> (B, 2 dims). The last layer starts at zero, so that a new coupling changes nothing."""
    last = nn.Linear(width, 2 * dims)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    hidden = [nn.Linear(dims, width), activation(), nn.Linear(width, width), activation(), nn.Dropout(dropout)]
    return nn.Sequential(*hidden, last)
