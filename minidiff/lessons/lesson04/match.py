"""A match: two networks that play against each other in the plane, move by move, and what it looks like."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from minidiff import gan, plot, seeded
from minidiff.data import GaussianMixture, grid_mixture, ring_mixture
from minidiff.lessons.lesson04.solutions import coverage
from minidiff.support import expect

DATA = {"ring of 8": ring_mixture, "grid of 25": grid_mixture}
LOSSES = {"non-saturating": (gan.NonSaturating, 0.0), "Wasserstein, penalty": (gan.Wasserstein, 1.0)}
SIDE, STRIP = 380, 100  # screen pixels: the plane's side, the height of the losses below it
REACH, CELLS = 2.6, 48  # half the plane's width; cells of the field along a side
BLUE, ORANGE = (np.array([int(plot.COLOURS[k][i : i + 2], 16) for i in (1, 3, 5)]) for k in (0, 1))
BATCH = 128


class Match:
    """A GAN in the plane with both its optimisers: `move_discriminator()`, `move_generator()`, `draw()`.

    The same settings give the same game. momentum: Adam's first beta. The picture shows where the discriminator says
    real (orange) or fake (blue), real points (dark dots) and 256 of the generator (red crosses: their shape tells
    them apart too), and the losses of the last moves.
    """

    def __init__(self, data: GaussianMixture, loss: str = "non-saturating", momentum: float = 0.5, seed: int = 0):
        objective, penalty = LOSSES[expect.choice("loss", loss, LOSSES)]
        self.data, self.seed = data, seed
        self.moves, self.losses = [0, 0], ([], [])  # of the discriminator, of the generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.gan = gan.GAN(width=64, objective=objective(), penalty=penalty)
        betas = (expect.number("momentum", momentum, 0, 0.99), 0.999 if momentum > 0.8 else 0.9)
        self.players = self.gan.discriminator, self.gan.generator
        self.optimisers = [torch.optim.Adam(p.parameters(), 2e-3, betas, fused=True) for p in self.players]
        self.real = data.sample(300, seeded(seed))
        self.z = self.gan.codes(2000, seeded(seed))

    def move_discriminator(self) -> None:
        """The discriminator learns from a batch of real points and as many fakes."""
        self._move(0, lambda: self.gan.discriminator_terms(self.data.sample(BATCH))["loss"])

    def move_generator(self) -> None:
        """The generator learns from the discriminator's scores of a batch of fakes."""
        self._move(1, lambda: self.gan.generator_loss(BATCH))

    def play(self, rounds: int) -> "Match":
        """That many rounds: a move of the discriminator, then one of the generator."""
        for _ in range(rounds):
            self.move_discriminator()
            self.move_generator()
        return self

    def _move(self, player: int, loss) -> None:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):  # the learner's own numbers go on undisturbed
            torch.manual_seed(1_000_003 * self.seed + 2 * sum(self.moves) + player)
            value = loss()
            weights = list(self.players[player].parameters())
            for weight, slope in zip(weights, torch.autograd.grad(value, weights)):
                weight.grad = slope
            self.optimisers[player].step()
        self.moves[player] += 1
        self.losses[player].append(value.item())

    @torch.no_grad()
    def covered(self) -> tuple[int, float]:
        """How many modes 2,000 samples cover, and the share of good ones."""
        return coverage(self.gan.generator(self.z), self.data.means, self.data.stds[0])

    def text(self) -> str:
        """What the picture shows, in words."""
        modes, good = self.covered()
        moves = f"{self.moves[0]} moves of the discriminator, {self.moves[1]} of the generator"
        return f"{moves}: {modes} of {len(self.data.means)} modes covered, {good:.0%} of the samples good"

    @torch.no_grad()
    def draw(self, side: int = SIDE) -> Image.Image:
        """The plane, `side` screen pixels wide, and below it the losses."""
        page = Image.new("RGB", (side, side + STRIP), "white")
        page.paste(Image.fromarray(self._field()).resize((side, side), Image.Resampling.BILINEAR))
        pen = ImageDraw.Draw(page)
        for x, y in _places(self.real, side):
            pen.ellipse((x - 1.6, y - 1.6, x + 1.6, y + 1.6), fill="#282828")
        for x, y in _places(self.gan.generator(self.z[:256]), side):
            for up in (-2.6, 2.6):
                pen.line((x - 2.6, y + up, x + 2.6, y - up), fill=plot.COLOURS[2], width=1)
        pen.rectangle((0, side, side, side + STRIP), fill="white")
        self._curve(pen, 0, (6, side), side // 2 - 12)
        self._curve(pen, 1, (side // 2 + 6, side), side // 2 - 12)
        return page

    def _field(self) -> np.ndarray:
        """uint8 (CELLS, CELLS, 3): orange where the score is high, blue where it is low, white where undecided."""
        line = torch.linspace(-REACH, REACH, CELLS)
        y, x = torch.meshgrid(line.flip(0), line, indexing="ij")
        score = self.gan.discriminator(torch.stack([x, y], 2).view(-1, 2)).view(CELLS, CELLS)
        if isinstance(self.gan.objective, gan.Wasserstein):  # it has no zero of its own: only differences count
            score = (score - score.mean()) / score.std()
        share = (2 * torch.sigmoid(score) - 1).numpy()[..., None]  # -1 fake, 1 real
        colour = np.where(share > 0, ORANGE, BLUE)
        return (255 + np.abs(share) * 0.8 * (colour - 255)).astype(np.uint8)

    def _curve(self, pen: ImageDraw.ImageDraw, player: int, corner: tuple[int, int], width: int) -> None:
        """The last losses of a player as a line, from their least to their largest; the last one in figures."""
        (left, top), losses, height = corner, self.losses[player][-200:], STRIP - 32
        name = ("discriminator", "generator")[player]
        now = f" {losses[-1]:.2f}" if losses else ""
        words = f"{name}'s loss{now}" if width > 150 else f"{name}{now}"
        pen.text((left, top + 6), words, fill="black", font=ImageFont.load_default(11))
        top += 24
        pen.rectangle((left, top, left + width, top + height), outline="#bbb")
        if len(losses) > 1:
            low = min(losses)
            span = max(max(losses) - min(losses), 1e-6)
            across = width / (len(losses) - 1)
            line = [(left + k * across, top + height * (1 - (v - low) / span)) for k, v in enumerate(losses)]
            pen.line(line, fill=plot.COLOURS[2 * player], width=2)


def _places(points: torch.Tensor, side: int) -> list[list[float]]:
    """Where points (N, 2) of the plane lie on a picture `side` screen pixels wide, from its upper left corner."""
    return (side * (points / REACH * torch.tensor([1, -1]) + 1) / 2).clamp(-9, side + 9).tolist()
