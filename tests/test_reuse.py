"""What published homeworks ask for, done with public names alone: one's own network, channels, sizes, data and loop."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from minidiff import checkpoints, data, evaluate, metrics, plot, seeded, train
from minidiff.autoregressive import PixelModel, from_levels, to_levels
from minidiff.dalle import VQVAE
from minidiff.denoiser import Denoiser
from minidiff.flow import Flow
from minidiff.flow_matching import bend, optimal_coupling
from minidiff.gan import GAN
from minidiff.guidance import cfg, clamp
from minidiff.latent import LatentDiffusion, image_to_image, inpaint, keep_known, text_to_image
from minidiff.nn import PointNet
from minidiff.sampler import heun, last, sample, times
from minidiff.schedule import cosine, straight, variance_exploding
from minidiff.score import edm_times, precondition
from minidiff.unet import UNet
from minidiff.vae import VAE


def resized(n: int, size: int, channels: int = 1) -> torch.Tensor:
    """Real digits as another set has them: (n, channels, size, size)."""
    x = F.interpolate(data.digits("train")[0][:n], size=(size, size), mode="bilinear")
    return x.expand(-1, channels, -1, -1).contiguous()


def last_losses(model, *tensors, steps=40, **options) -> tuple[float, float]:
    """The mean loss of the first and of the last steps of a short training."""
    ticks = list(train.fit(model, data.batches(*tensors, size=32), steps, 2e-3, **options))
    losses = torch.stack([tick.loss for tick in ticks])
    return losses[:5].mean().item(), losses[-5:].mean().item()


def test_a_vae_of_mnists_size_and_one_of_cifars_in_colour():
    for x in (resized(64, 28), resized(64, 32, channels=3)):
        vae = VAE(code=8, size=x.shape[-1], channels=x.shape[1])
        first, final = last_losses(vae, x)
        assert final < first
        assert vae.sample(3).shape == (3, *x.shape[1:])


def test_a_vae_with_an_encoder_and_a_decoder_of_ones_own():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Linear(64, 2 * 4))
    decoder = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 144), nn.Unflatten(1, (1, 12, 12)))
    vae = VAE(code=4, size=12, encoder=encoder, decoder=decoder)
    x = resized(64, 12)
    first, final = last_losses(vae, x)
    assert final < first and vae.elbo(x).shape == (64,) and vae.sample(2).shape == (2, 1, 12, 12)


def test_a_gan_with_networks_of_ones_own():
    generator = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    judge = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    gan = GAN(code=2, generator=generator, discriminator=judge)
    train.run(train.fit_adversarial(gan, data.batches(data.moons(500), size=64), steps=20))
    assert gan.sample(7).shape == (7, 2)


def test_a_flow_with_a_network_of_ones_own_is_a_density():
    def net(dims, out):
        return nn.Sequential(nn.Linear(dims, 24), nn.Tanh(), nn.Linear(24, out))

    flow = Flow((2,), couplings=6, net=net)
    first, final = last_losses(flow, data.moons(1000))
    assert final < first
    line = torch.linspace(-6, 6, 241)
    grid = torch.cartesian_prod(line, line)
    mass = flow.log_prob(grid).exp().sum().item() * 0.05**2
    assert mass == pytest.approx(1, abs=0.02)
    plot.density(lambda points: flow.log_prob(points).exp())


def test_binary_mnist_pixel_by_pixel_and_the_lower_half_completed():
    x = (resized(64, 28) > 0).float() * 2 - 1
    model = PixelModel(shape=(1, 28, 28), levels=2, classes=0, width=8, blocks=1)
    first, final = last_losses(model, x, steps=20)
    assert final < first
    known = torch.zeros(28, 28, dtype=torch.bool)
    known[:27] = True
    done = model.complete(x[:2], known, generator=seeded())
    assert torch.equal(done[:, :, :27], x[:2, :, :27]) and set(done.unique().tolist()) <= {-1.0, 1.0}


def test_flow_matching_of_points_and_reflow_on_its_own_pairs():
    ring = data.ring(4000)
    torch.manual_seed(0)
    model = Denoiser(PointNet(2, width=64), straight(), predict="flow")
    train.run(train.fit(model, data.batches(ring, size=256), 400, 5e-3))
    noise = torch.randn(1000, 2, generator=seeded(1))
    drawn = last(sample(model, noise, times(30), model.schedule))
    other = data.ring(1000, seed=9)
    assert metrics.energy_distance(drawn, other) < metrics.energy_distance(noise, other) / 5
    straighter = Denoiser(PointNet(2, width=64), straight(), predict="flow")
    for tick in train.fit(Reflow(straighter), data.batches(drawn, noise, size=256), 20):
        assert tick.loss.isfinite()
    plot.paths(torch.stack([step.x[:20] for step in sample(straighter, noise[:20], times(5), straight())]))


class Reflow(nn.Module):
    """Pairs (x0, eps) that belong together in place of random ones."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser = denoiser

    def loss(self, x0, eps):
        return self.denoiser.loss(x0, eps=eps)


def test_langevin_dynamics_by_the_score_of_an_exact_denoiser():
    mixture, path = data.ring_mixture(), variance_exploding(0.05, 2.0)
    x = 2 * torch.randn(800, 2, generator=seeded())
    for t in torch.linspace(1, 0.02, 60):
        sigma = path(t.item())[1].item()
        for _ in range(4):
            score = path.score(x, mixture.denoise(x, *path(t.item())), t.item())
            x = x + 0.2 * sigma**2 * score + (0.4**0.5) * sigma * torch.randn(x.shape)
    real = mixture.sample(800, seeded(3))
    assert metrics.energy_distance(x, real) < 0.02
    plot.arrows(lambda points: path.score(points, mixture.denoise(points, *path(0.3)), 0.3))


def test_colour_from_grey_by_a_known_picture_and_guidance():
    grey = resized(64, 16)
    colour = torch.cat([grey, -grey, grey * 0], dim=1)
    model = Denoiser(UNet(channels=3, widths=(8, 16), known=1), cosine(), predict="v")
    first, final = last_losses(model, colour, grey)
    assert final < first
    denoise = clamp(cfg(model, grey[:4], torch.zeros_like(grey[:4]), scale=1.5))
    assert last(sample(denoise, torch.randn(4, 3, 16, 16), times(4), model.schedule)).shape == (4, 3, 16, 16)


def test_inpainting_and_sdedit_with_a_denoiser_of_pixels():
    model = checkpoints.load("ddpm-digits")
    x, labels = data.digits("test")
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., 8:, :] = True
    denoise = clamp(lambda z, t: model(z, t, labels[:6]))
    drawn = last(sample(keep_known(denoise, x[:6], mask), torch.randn(6, 1, 16, 16), times(20), model.schedule))
    torch.testing.assert_close(drawn[:, :, :8], x[:6, :, :8], atol=0.05, rtol=0)
    noisy = model.schedule.add_noise(x[:6], 0.4, torch.randn(6, 1, 16, 16))
    again = last(sample(denoise, noisy, times(8, start=0.4), model.schedule))
    assert (again - x[:6]).square().mean() < (x[6:12] - x[:6]).square().mean()


class Mine(nn.Module):
    """A learner's own model: all that `fit` asks for is `loss`."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))

    def loss(self, x, y):
        return F.cross_entropy(self.net(x), y)


def test_a_loop_of_ones_own_pieces_and_a_model_that_comes_back(tmp_path):
    loader = DataLoader(TensorDataset(*data.digits("train")), batch_size=50, shuffle=True)
    ticks = train.fit(
        mine := Mine(),
        loader,
        steps=60,
        optimiser=lambda weights: torch.optim.SGD(weights, lr=0.02, momentum=0.9),
        rate=lambda done: 1 - done,
        clip=None,
        augment=lambda x: x + 0.05 * torch.randn_like(x),
        test=data.digits("test"),
        every=20,
    )
    curve = [tick.parts["test loss"].item() for tick in ticks if "test loss" in tick.parts]
    assert len(curve) == 3 and curve[-1] < 0.5
    path = checkpoints.save(mine, tmp_path / "mine.safetensors", data="digits")
    x, y = data.digits("test")
    assert checkpoints.load(path, into=Mine()).loss(x, y).item() == pytest.approx(mine.loss(x, y).item(), abs=1e-2)


def test_flow_matching_from_two_moons_to_eight_gaussians_by_minibatch_transport():
    moons, ring = data.moons(2000), data.ring(2000)
    bends = []
    for optimal in (False, True):
        torch.manual_seed(0)
        model = Denoiser(PointNet(2, width=64), straight(), predict="flow")
        train.run(train.fit(BetweenSets(model, optimal), data.batches(ring, moons, size=128), 300, 5e-3))
        start = data.moons(800, seed=5)
        path = list(sample(model, start, times(30), straight()))
        other = data.ring(800, seed=9)
        assert metrics.energy_distance(path[-1].x, other) < metrics.energy_distance(start, other) / 3
        bends.append(bend(path))
    assert bends[1] < bends[0] / 10


class BetweenSets(nn.Module):
    """Pairs of two data sets, in a batch the cheapest ones if `optimal`."""

    def __init__(self, denoiser, optimal):
        super().__init__()
        self.denoiser, self.optimal = denoiser, optimal

    def loss(self, ends, starts):
        return self.denoiser.loss(ends, eps=starts[optimal_coupling(ends, starts)] if self.optimal else starts)


def test_edm_around_a_network_of_ones_own():
    torch.manual_seed(0)
    model, path = EDM(variance_exploding(0.002, 80.0)), variance_exploding(0.002, 80.0)
    ring = data.ring(3000) / 2
    first, final = last_losses(model, ring, steps=400)
    assert final < first
    noise = 80 * torch.randn(800, 2, generator=seeded(1))
    drawn = last(heun(model, noise, edm_times(path, 18), path))
    assert metrics.energy_distance(drawn, data.ring(800, seed=9) / 2) < 0.05


class EDM(nn.Module):
    """D(x) = c_skip x + c_out F(c_in x, c_noise), with lognormal noise and its weight."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def denoised(self, x, sigma):
        skip, out, into, noise = precondition(sigma)
        return skip * x + out * self.net(torch.cat([into * x, noise], 1))

    def forward(self, x, t):
        return self.denoised(x, self.path(t, like=x)[1])

    def loss(self, x0):
        sigma = (1.2 * torch.randn(len(x0), 1) - 1.2).exp()
        error = self.denoised(x0 + sigma * torch.randn_like(x0), sigma) - x0
        return (error.square() / precondition(sigma)[1].square()).mean()


def test_a_vq_vae_in_grey_and_in_colour_with_a_prior_over_its_tokens():
    labels = data.digits("train")[1][:64]
    for x in (resized(64, 28), resized(64, 24, channels=3)):
        model = VQVAE(channels=x.shape[1], codes=32, latent=8, width=16, blocks=1)
        first, final = last_losses(model, x)
        assert final < first
        tokens = model.encode(x)
        prior = PixelModel(shape=(1, *tokens.shape[1:]), levels=32, width=16, blocks=1)
        first, final = last_losses(prior, from_levels(tokens, 32), labels, steps=20)
        assert final < first
        drawn = model.decode(to_levels(prior.sample(2, labels=[3, 7]), 32))
        assert drawn.shape == (2, *x.shape[1:])


class Halves(nn.Module):
    """An autoencoder of one's own for pictures in grey, as `LatentDiffusion` asks for it."""

    latent, f = 2, 4

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 4, 4), nn.ConvTranspose2d(2, 1, 4, 4)

    def encode(self, x):
        return self.down(x).chunk(2, 1)

    def decode(self, z):
        return self.up(z)

    def loss(self, x):
        return (self.decode(self.encode(x)[0]) - x).square().mean()


def as_labels(texts: list[str]) -> torch.Tensor:
    """A tokenizer whose words are labels; "" is none."""
    return torch.tensor([int(text or 10) for text in texts])


def test_latents_of_an_autoencoder_of_ones_own_with_labels_in_place_of_words():
    x, labels = resized(64, 28), data.digits("train")[1][:64]
    own = Halves()
    first, final = last_losses(own, x)
    assert final < first
    denoiser = Denoiser(UNet(channels=2, widths=(8,), classes=10), cosine(), predict="v", null=10, drop=0.1)
    model = LatentDiffusion(own, denoiser, as_labels, size=28)
    codes = own.encode(x)[0].detach()
    model.measure(codes)
    first, final = last_losses(model, codes, labels)
    assert final < first
    drawn = text_to_image(model, ["3", "7"], steps=3)
    over = image_to_image(model, x[:2], "5", 0.5, steps=4)
    assert drawn.shape == over.shape == inpaint(model, x[:2], torch.ones(28, 28), "5", steps=2).shape == (2, 1, 28, 28)


def rows_of_the_readme() -> list[str]:
    """The code of each line of the README's table "to do this, call that"."""
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    table = text[text.index("| to do this | call that |") :].partition("\n\n")[0]
    return ["\n".join(re.findall(r"`([^`]+)`", row.rsplit("|", 2)[1])) for row in table.splitlines()[2:]]


def test_each_line_of_the_readmes_table_runs(tmp_path, monkeypatch):
    """One after the other, as a learner may type them, with names that say what they are."""
    monkeypatch.chdir(tmp_path)
    for name in ("rose", "tulip"):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (20, 20), (90 * k, 100, 50)).save(tmp_path / "flowers" / name / f"{k}.png")
    known = {
        **linked_by_the_readme(),
        "net": UNet(channels=1, widths=(8, 8), attention=()),
        "digits": checkpoints.load("ddpm-digits"),
        "painter": checkpoints.load("ldm-shapes"),
        "clip": checkpoints.load("clip-shapes"),
        "control": checkpoints.load("control-shapes").follow(checkpoints.load("ldm-shapes")),
        "classifier": checkpoints.load("classifier-digits"),
        "labels": torch.tensor([3, 7]),
        "real": data.digits("train")[0][:300],
        "held_out": data.digits("test")[0],
        "samples": data.digits("train")[0][300:600],
        "noise": torch.randn(2, 1, 16, 16),
        "x": torch.randn(2, 1, 16, 16),
        "t": torch.tensor(0.5),
        "mask": torch.ones(32, 32),
        "points": torch.randn(50, 2),
        "others": torch.randn(60, 2),
    }
    rows = rows_of_the_readme()
    assert len(rows) >= 20
    for row in rows:
        exec(row.replace("steps=400", "steps=2"), known)
        known["labels"] = torch.tensor([3, 7])
    assert known["names"] == ["rose", "tulip"] and known["images"].shape == (4, 3, 16, 16)
    assert known["x0"].shape == (2, 1, 16, 16) and last(known["steps"]).shape == (2, 1, 16, 16)
    assert known["anew"].shape == (2, 3, 32, 32) and known["shares"].shape == (2, 2)
    assert known["zibs"].shape == (1, 3, 32, 32) and known["planned"].shape == (2, 3, 32, 32)
    assert known["nats"].shape == (2,) and list(known["table"]) == ["mine", *evaluate.FLOORS]
    assert (tmp_path / "mine.png").is_file() and ["pink"] in [eval(row, known) for row in rows if "unknown" in row]


def linked_by_the_readme() -> dict:
    """The files that the README links below its table, by their names, and what each of them defines."""
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    below = text[text.index("\nWhere they are:") :].partition("\n\n")[0]
    names = re.findall(r"\]\(minidiff/(\w+)", below)
    modules = {name: import_module(f"minidiff.{name}") for name in names}
    defined = {
        name: found
        for module in modules.values()
        for name, found in vars(module).items()
        if getattr(found, "__module__", None) == module.__name__
    }
    return defined | modules
