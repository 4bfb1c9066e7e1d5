"""Lesson 04: generative adversarial networks (Goodfellow et al., arXiv:1406.2661)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.nn import conv_decoder, conv_encoder
from minidiff.support import expect
from minidiff.support.parts import part
from minidiff.support.rng import randn

FAKES = 16  # drawn for each real picture when the game is only measured, so that the figure hardly depends on them


@part
class NonSaturating:
    """The discriminator says log-odds of "real". Its loss is the cross-entropy of that, the generator's -log D(fake).

    Goodfellow et al., section 3: minimising log(1 - D(fake)) instead, as equation 1 has it, has next to no slope where
    the discriminator is sure, which is where the generator begins.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-E[log D(real)] - E[log(1 - D(fake))] with D = sigmoid(score); scores (B,) -> ()."""
        _scores(real=real, fake=fake)
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-E[log D(fake)]."""
        _scores(fake=fake)
        return F.softplus(-fake).mean()


@part
class Wasserstein:
    """The discriminator, here called a critic, gives a score; minus its loss says how far the fakes are from real ones.

    It estimates the Wasserstein distance as long as no slope of the critic exceeds 1 (Arjovsky et al.,
    arXiv:1701.07875, equation 2), which the gradient penalty sees to.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[D(fake)] - E[D(real)]; scores (B,) -> ()."""
        _scores(real=real, fake=fake)
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-E[D(fake)]."""
        _scores(fake=fake)
        return -fake.mean()


def gradient_penalty(score, real: Tensor, fake: Tensor) -> Tensor:
    """E[(|grad score(x)| - 1)²] at x drawn evenly on the lines from real to fake, row by row: a number ().

    score: (B, ...) -> (B,) or (B, 1). Gulrajani et al., arXiv:1704.00028, equation 3, without its factor lambda.
    ValueError for real and fake of unequal shapes, and for scores of another one.
    """
    expect.alike("fake", fake, "real", real, "B ...")
    at = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    x = (at * real + (1 - at) * fake).detach().requires_grad_()
    scores = expect.function("score", score, "of x (B, ...)")(x)
    if scores.shape != (len(x), 1):
        expect.tensor("score(x)", scores, f"{len(x)}")
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


@part
class Generator(nn.Module):
    """A code z (B, code), and a label where there are classes -> x: points (B, 2) or pictures.

    Pictures have the shape (B, channels, size, size) and lie in [-1, 1]; a size of None makes points.
    """

    def __init__(self, code: int, size: int | None = None, classes: int = 0, width: int = 32, channels: int = 1):
        super().__init__()
        self.code = expect.integer("code", code, 1)
        self.size = size
        self.classes = expect.integer("classes", classes, 0)
        self.width = expect.integer("width", width, 1)
        self.channels = expect.integer("channels", channels, 1)
        if size is None:
            self.net = mlp(code + classes, 2, width)
        else:
            self.net = nn.Sequential(conv_decoder(code + classes, size, channels, width), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z (B, code) and labels y (B,) where there are classes -> x."""
        expect.tensor("z", z, f"B {self.code}", like=next(self.parameters()))
        return self.net(torch.cat([z, one_hot(y, self.classes, z)], 1))


@part
class Discriminator(nn.Module):
    """x, and the label it is shown with -> a score (B,), the higher the more it takes x for real. It may be any number.

    Points (B, 2) go through dense layers, pictures (B, channels, size, size) through strided convolutions as in DCGAN
    (Radford et al., arXiv:1511.06434), but without batch norm: it would tie the rows of a batch together, and the
    penalty is on each row's own slope. The label comes as `classes` more channels (or numbers), one of them 1.
    """

    def __init__(self, size: int | None = None, classes: int = 0, width: int = 32, channels: int = 1):
        super().__init__()
        self.size = size
        self.classes = expect.integer("classes", classes, 0)
        self.width = expect.integer("width", width, 1)
        self.channels = expect.integer("channels", channels, 1)
        self.shape = (2,) if size is None else (channels, size, size)
        if size is None:
            self.net = mlp(2 + classes, 1, width)
        else:
            self.net = conv_encoder(1, size, channels + classes, width)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x (B, *shape) and labels y (B,) where there are classes -> scores (B,)."""
        expect.tensor("x", x, " ".join(map(str, ("B", *self.shape))), like=next(self.parameters()))
        planes = one_hot(y, self.classes, x).view(len(x), -1, *[1] * (x.ndim - 2))
        return self.net(torch.cat([x, planes.expand(-1, -1, *x.shape[2:])], 1))[:, 0]


@part
class GAN(nn.Module):
    """A generator x = G(z), z ~ N(0, I), and a discriminator D that learns to tell its fakes from real ones.

    size: None for points (B, 2), else pictures (B, channels, size, size). classes: above 0 both networks see the label,
    a conditional GAN (Mirza and Osindero, arXiv:1411.1784). `objective` is a `NonSaturating`, a `Wasserstein` or one of
    your own, with losses discriminator(real, fake) and generator(fake) of scores (B,); `penalty` is the weight of the
    gradient penalty (lambda), `turns` how often the discriminator moves for one move of the generator. It is trained by
    `train.fit_adversarial`, not by `train.fit`: one loss would not do.
    generator, discriminator: networks of your own in place of a `Generator` and a `Discriminator`, z (B, code) -> x and
    x -> a score (B,) or (B, 1). With classes they are called with the labels as a second argument.
    """

    def __init__(
        self,
        code=2,
        size=None,
        classes=0,
        width=32,
        objective=None,
        penalty=0.0,
        turns=1,
        channels=1,
        generator=None,
        discriminator=None,
    ):
        super().__init__()
        self.code = expect.integer("code", code, 1)
        self.size, self.classes, self.width, self.channels = size, classes, width, channels
        self.objective = _objective(objective or NonSaturating())
        self.penalty = expect.number("penalty", penalty, 0)
        self.turns = expect.integer("turns", turns, 1)
        self.own = {"generator": generator, "discriminator": discriminator}
        self.generator = Generator(code, size, classes, width, channels) if generator is None else generator
        self.discriminator = Discriminator(size, classes, width, channels) if discriminator is None else discriminator

    def described(self) -> dict:
        """Networks of one's own, None for the course's, as a checkpoint writes them down."""
        return self.own

    def discriminator_terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The discriminator's loss against as many fakes as there are real x, with the penalty's part of it."""
        expect.tensor("x", x, "B ...", like=next(self.parameters()), scaled=True)
        with torch.no_grad():
            fake = expect.alike("generator(z)", self.fake(self.codes(len(x)), y), "x", x)
        loss = self._loss("discriminator", self.score(x, y), self.score(fake, y))
        if not self.penalty:
            return {"loss": loss}
        penalty = self.penalty * gradient_penalty(lambda mixed: self.score(mixed, y), x, fake)
        return {"loss": loss + penalty, "penalty": penalty}

    def generator_loss(self, n: int, y: Tensor | None = None) -> Tensor:
        """The generator's loss on n fakes."""
        return self._loss("generator", self.score(self.fake(self.codes(n), y), y))

    def _loss(self, player: str, *scores: Tensor) -> Tensor:
        """That player's loss by the objective, a number ()."""
        return expect.tensor(f"objective.{player}", getattr(self.objective, player)(*scores), "")

    def fake(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """What the generator makes of codes z (B, code), and of labels where there are classes."""
        expect.tensor("z", z, f"B {self.code}", like=next(self.parameters()))
        y = expect.condition("y", y, self.classes, len(z))
        return self.generator(z) if y is None else self.generator(z, y)

    def score(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The discriminator's score of x, (B,). ValueError where a network of one's own gives another shape."""
        expect.tensor("x", x, "B ...", like=next(self.parameters()))
        y = expect.condition("y", y, self.classes, len(x))
        score = self.discriminator(x) if y is None else self.discriminator(x, y)
        if isinstance(score, Tensor) and score.shape == (len(x), 1):
            score = score[:, 0]
        return expect.tensor("discriminator(x)", score, f"{len(x)}", like=x)

    def terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Where the game stands on real x, without a penalty: "loss" is the discriminator's, "generator" the other's.

        No figure of quality: both are about the opponent of the moment. Sixteen fakes are drawn for each real one.
        """
        expect.tensor("x", x, "B ...", like=next(self.parameters()), scaled=True)
        y = expect.condition("y", y, self.classes, len(x))
        many = None if y is None else y.repeat(FAKES)
        fake = self.score(self.fake(self.codes(FAKES * len(x)), many), many)
        loss = self._loss("discriminator", self.score(x, y), fake)
        return {"loss": loss, "generator": self._loss("generator", fake)}

    def loss(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The discriminator's loss, `terms(x, y)["loss"]`: on held-out pictures, how well it tells fakes from them."""
        return self.terms(x, y)["loss"]

    def sample(self, n: int, labels: Tensor | None = None, temperature: float = 1.0, generator=None) -> Tensor:
        """n draws G(z), z ~ N(0, temperature² I), in one pass: points (n, 2), or pictures in [-1, 1]."""
        z = self.codes(n, generator)
        labels = expect.condition("labels", labels, self.classes, len(z))
        return self.fake(expect.number("temperature", temperature, 0) * z, labels)

    def codes(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes z ~ N(0, I), (n, code)."""
        return randn((expect.integer("n", n, 1), self.code), next(self.parameters()), generator)


def _objective(value):
    """`value` if it has the losses of both players: an object, not its class."""
    if isinstance(value, type) or not all(hasattr(value, name) for name in ("discriminator", "generator")):
        name = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"objective: got {name}, expected an object with discriminator(real, fake) and generator(fake)")
    return value


def mlp(inside: int, out: int, width: int) -> nn.Sequential:
    """(B, inside) -> (B, out) through two hidden layers."""
    inside = expect.integer("inside", inside, 1)
    out = expect.integer("out", out, 1)
    width = expect.integer("width", width, 1)
    return nn.Sequential(
        nn.Linear(inside, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, out)
    )


def one_hot(y: Tensor | None, classes: int, x: Tensor) -> Tensor:
    """Labels y as rows (B, classes) of x's dtype; (B, 0) without classes. ValueError if only one of them is there."""
    expect.tensor("x", x, "B ...")
    y = expect.condition("y", y, classes, len(x))
    return x.new_zeros(len(x), 0) if y is None else F.one_hot(y, classes).to(x)


def _scores(**scores: Tensor) -> None:
    for name, score in scores.items():
        expect.tensor(name, score, "B")
