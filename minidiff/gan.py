"""Lesson 04: generative adversarial networks (Goodfellow et al., arXiv:1406.2661)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import expect
from minidiff.convnet import conv_decoder, conv_encoder
from minidiff.loop import Loop, Tick
from minidiff.noise import randn

FAKES = 16  # drawn for each real picture when the game is only measured, so that the figure hardly depends on them


class NonSaturating:
    """The discriminator says log-odds of "real". Its loss is the cross-entropy of that, the generator's -log D(fake).

    Goodfellow et al., section 3: minimising log(1 - D(fake)) instead, as equation 1 has it, has next to no slope where
    the discriminator is sure, which is where the generator begins.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-E[log D(real)] - E[log(1 - D(fake))] with D = sigmoid(score); scores (B,) -> ()."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-E[log D(fake)]."""
        return F.softplus(-fake).mean()


class Wasserstein:
    """The discriminator, here called a critic, gives a score; minus its loss says how far the fakes are from real ones.

    It estimates the Wasserstein distance as long as no slope of the critic exceeds 1 (Arjovsky et al.,
    arXiv:1701.07875, equation 2), which the gradient penalty sees to.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[D(fake)] - E[D(real)]; scores (B,) -> ()."""
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-E[D(fake)]."""
        return -fake.mean()


def gradient_penalty(score, real: Tensor, fake: Tensor) -> Tensor:
    """E[(|grad score(x)| - 1)²] at x drawn evenly on the lines from real to fake, row by row: a number ().

    score: (B, ...) -> (B,). Gulrajani et al., arXiv:1704.00028, equation 3, without its factor lambda.
    """
    at = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    x = (at * real + (1 - at) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


class Generator(nn.Module):
    """A code z (B, code), and a label where there are classes -> x: points (B, 2), or pictures (B, 1, size, size)."""

    def __init__(self, code: int, size: int | None = None, classes: int = 0, width: int = 32):
        super().__init__()
        self.code, self.classes = expect.integer("code", code, 1), expect.integer("classes", classes, 0)
        pictures = size and nn.Sequential(conv_decoder(code + classes, size, width=width), nn.Tanh())
        self.net = pictures or mlp(code + classes, 2, width)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        expect.tensor("z", z, f"B {self.code}")
        return self.net(torch.cat([z, one_hot(y, self.classes, z)], 1))


class Discriminator(nn.Module):
    """x, and the label it is shown with -> a score (B,), the higher the more it takes x for real. It may be any number.

    Points (B, 2) go through dense layers, pictures (B, 1, size, size) through strided convolutions as in DCGAN
    (Radford et al., arXiv:1511.06434), but without batch norm: it would tie the rows of a batch together, and the
    penalty is on each row's own slope. The label comes as `classes` more channels (or numbers), one of them 1.
    """

    def __init__(self, size: int | None = None, classes: int = 0, width: int = 32):
        super().__init__()
        self.shape = (2,) if size is None else (1, size, size)
        self.classes = expect.integer("classes", classes, 0)
        self.net = conv_encoder(1, size, channels=1 + classes, width=width) if size else mlp(2 + classes, 1, width)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        expect.tensor("x", x, " ".join(map(str, ("B", *self.shape))))
        planes = one_hot(y, self.classes, x).view(len(x), -1, *[1] * (x.ndim - 2))
        return self.net(torch.cat([x, planes.expand(-1, -1, *x.shape[2:])], 1))[:, 0]


class GAN(nn.Module):
    """A generator x = G(z), z ~ N(0, I), and a discriminator D that learns to tell its fakes from real ones.

    size: None for points (B, 2), else pictures (B, 1, size, size). classes: above 0 both networks see the label, a
    conditional GAN (Mirza and Osindero, arXiv:1411.1784). `objective` is a `NonSaturating` or `Wasserstein`; `penalty`
    is the weight of the gradient penalty (lambda), `turns` how often the discriminator moves for one move of the
    generator. It is trained by `gan.fit`, not by `train.fit`: one loss would not do.
    """

    def __init__(self, code=2, size=None, classes=0, width=32, objective=None, penalty=0.0, turns=1):
        super().__init__()
        self.code, self.classes, self.turns = code, classes, expect.integer("turns", turns, 1)
        self.objective, self.penalty = objective or NonSaturating(), expect.number("penalty", penalty, 0)
        self.generator = Generator(code, size, classes, width)
        self.discriminator = Discriminator(size, classes, width)

    def discriminator_terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The discriminator's loss against as many fakes as there are real x, with the penalty's part of it."""
        with torch.no_grad():
            fake = self.generator(self.codes(len(x)), y)
        loss = self.objective.discriminator(self.discriminator(x, y), self.discriminator(fake, y))
        if not self.penalty:
            return {"loss": loss}
        penalty = self.penalty * gradient_penalty(lambda mixed: self.discriminator(mixed, y), x, fake)
        return {"loss": loss + penalty, "penalty": penalty}

    def generator_loss(self, n: int, y: Tensor | None = None) -> Tensor:
        """The generator's loss on n fakes."""
        return self.objective.generator(self.discriminator(self.generator(self.codes(n), y), y))

    def terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Where the game stands on real x, without a penalty: "loss" is the discriminator's, "generator" the other's.

        No figure of quality: both are about the opponent of the moment. Sixteen fakes are drawn for each real one.
        """
        many = None if y is None else y.repeat(FAKES)
        fake = self.discriminator(self.generator(self.codes(FAKES * len(x)), many), many)
        loss = self.objective.discriminator(self.discriminator(x, y), fake)
        return {"loss": loss, "generator": self.objective.generator(fake)}

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The discriminator's loss, `terms(x, y)["loss"]`: on held-out pictures, how well it tells fakes from them."""
        return self.terms(x, y)["loss"]

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n draws G(z), z ~ N(0, temperature² I), in one pass: points (n, 2), or pictures in [-1, 1]."""
        z = self.codes(expect.integer("n", n, 1), generator)
        return self.generator(expect.number("temperature", temperature, 0) * z, labels)

    def codes(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes z ~ N(0, I), (n, code)."""
        return randn((n, self.code), next(self.parameters()), generator)


def fit(
    gan: GAN, batches, steps=None, lr=1e-3, *, seconds=None, seed=0, ema=None, resume=None, betas=(0.5, 0.9)
) -> Iterator[Tick]:
    """Train both networks in place, turn by turn, and yield a Tick after each step, as `train.fit` does.

    Step k: the discriminator moves `gan.turns` times, on the batches k turns, k turns + 1, ...; then the generator
    moves once, on fresh fakes (1406.2661, algorithm 1). Each has an Adam of its own, with these `betas`: a long memory,
    such as Adam's usual (0.9, 0.999), is full of slopes from before the opponent moved, and the game swings.
    The tick's loss is the last one of the discriminator, its parts are "generator" (the generator's loss) and
    "penalty", where there is one. The rate, the random numbers, `ema`, `resume` and all errors are as in `train.fit`.
    """
    if not isinstance(gan, GAN):
        raise TypeError(f"gan: got {type(gan).__name__}, expected a GAN")
    first, second = (expect.number("betas", beta, 0, 0.9999) for beta in betas)
    return _Game(gan, batches, steps, seconds, lr, seed, ema, resume, betas=(first, second))


class _Game(Loop):
    """Two optimisers, two losses."""

    def make_optimisers(self) -> list[torch.optim.Optimizer]:
        players = self.model.discriminator, self.model.generator
        return [torch.optim.Adam(player.parameters(), betas=self.settings["betas"], fused=True) for player in players]

    def learn(self) -> tuple[dict[str, Tensor], Tensor]:
        for turn in range(self.model.turns):
            batch = self.batch(self.step * self.model.turns + turn)
            terms = self.model.discriminator_terms(*batch)
            slopes = self._move(0, terms["loss"])
        loss = self.model.generator_loss(len(batch[0]), *batch[1:])
        return terms | {"generator": loss}, loss.detach() + slopes + self._move(1, loss)

    def _move(self, player: int, loss: Tensor) -> Tensor:
        """One step of that player alone along its loss; the norm of its gradient."""
        weights = self.optimisers[player].param_groups[0]["params"]
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights)):
            weight.grad = slope
        self.optimisers[player].step()
        return nn.utils.get_total_norm([weight.grad for weight in weights])


def mlp(inside: int, out: int, width: int) -> nn.Sequential:
    """(B, inside) -> (B, out) through two hidden layers."""
    return nn.Sequential(
        nn.Linear(inside, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, out)
    )


def one_hot(y: Tensor | None, classes: int, x: Tensor) -> Tensor:
    """Labels y as rows (B, classes) of x's dtype; (B, 0) without classes. ValueError if only one of them is there."""
    if (y is None) != (classes == 0):
        raise ValueError(f"y: got {'none' if y is None else 'labels'}, but the model has {classes} classes")
    return x.new_zeros(len(x), 0) if y is None else F.one_hot(expect.labels("y", y, classes, len(x)), classes).to(x)
