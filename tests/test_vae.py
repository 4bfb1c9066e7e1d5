"""Lesson 02's module, against torch.distributions, numeric integrals and a model whose likelihood is known."""

import math

import pytest
import torch
from torch import distributions, nn

from minidiff import data
from minidiff.vae import VAE, Gaussian, Levels, gaussian_kl, log_normal, reparameterize


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(2, 2), (16, 1), (5, 7)])
def test_kl_is_that_of_torch_distributions(shape):
    mu, log_var = torch.randn(2, *shape, generator=seeded(), dtype=torch.float64)
    q = distributions.Normal(mu, (log_var / 2).exp())
    p = distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    assert torch.allclose(gaussian_kl(mu, log_var), distributions.kl_divergence(q, p).sum(-1))


def test_kl_is_its_monte_carlo_mean():
    mu, log_var = torch.tensor([[0.7, -1.2]]), torch.tensor([[-1.0, 0.4]])
    z = reparameterize(mu.expand(200_000, -1), log_var.expand(200_000, -1), seeded())
    zero = torch.zeros_like(z)
    estimate = (log_normal(z, mu.expand_as(z), log_var.expand_as(z)) - log_normal(z, zero, zero)).mean()
    assert estimate.item() == pytest.approx(gaussian_kl(mu, log_var).item(), abs=0.01)


def test_reparameterize_has_the_mean_the_deviation_and_the_gradient():
    mu = torch.tensor([1.5], requires_grad=True)
    log_var = torch.tensor([math.log(0.25)], requires_grad=True)
    z = reparameterize(mu.expand(100_000), log_var.expand(100_000), seeded())
    assert z.mean().item() == pytest.approx(1.5, abs=0.01)
    assert z.std().item() == pytest.approx(0.5, abs=0.01)
    z.pow(2).mean().backward()  # E[z²] = mu² + exp(log_var)
    assert mu.grad.item() == pytest.approx(3.0, abs=0.02)
    assert log_var.grad.item() == pytest.approx(0.25, abs=0.02)


def test_log_normal_is_torch_distributions_over_any_shape():
    x, mu, log_var = torch.randn(3, 4, 2, 5, generator=seeded(), dtype=torch.float64)
    expected = distributions.Normal(mu, (log_var / 2).exp()).log_prob(x).sum((1, 2))
    assert torch.allclose(log_normal(x, mu, log_var), expected)


def test_gaussian_likelihood_counts_every_pixel():
    x, out = torch.randn(2, 3, 1, 8, 8, generator=seeded())
    expected = distributions.Normal(out, 0.3).log_prob(x).sum((1, 2, 3))
    assert torch.allclose(Gaussian(0.3).log_prob(out, x), expected, atol=1e-3)


def test_levels_likelihood_sums_to_one_over_the_levels_of_a_pixel():
    out = torch.randn(17, 17, 8, 8, generator=seeded())[:1].expand(17, -1, -1, -1)
    x = torch.zeros(17, 1, 8, 8)
    x[:, 0, 2, 5] = torch.arange(17) / 8 - 1  # one pixel runs through its levels, the others stay
    total = torch.logsumexp(Levels().log_prob(out, x), 0)
    rest = torch.log_softmax(out, 1)[0, 8].sum() - torch.log_softmax(out, 1)[0, 8, 2, 5]
    assert total.item() == pytest.approx(rest.item(), abs=1e-3)
    assert Levels().mean(out).shape == (17, 1, 8, 8)
    assert Levels().mean(out).abs().max() <= 1


@pytest.mark.parametrize(("classes", "size", "likelihood"), [(0, 16, None), (10, 16, None), (0, 8, Levels())])
def test_terms_add_up_and_elbo_is_their_difference(classes, size, likelihood):
    torch.manual_seed(0)
    model = VAE(code=3, beta=2.0, classes=classes, size=size, width=4, likelihood=likelihood)
    x, y = data.digits("train", size)
    x, y = x[:32], y[:32] if classes else None
    torch.manual_seed(5)
    terms = model.terms(x, y)
    assert torch.allclose(terms["loss"], (terms["reconstruction"] + 2.0 * terms["kl"]) / (size * size))
    elbo = model.elbo(x, y, torch.Generator().manual_seed(5)).mean()
    assert elbo.item() == pytest.approx(-(terms["reconstruction"] + terms["kl"]).item(), rel=1e-5)
    torch.manual_seed(5)
    assert model.loss(x, y).item() == pytest.approx(terms["loss"].item())


class LinearVAE(VAE):
    """x = w z + 0.5 noise in every pixel: p(x) is a known Gaussian, q is deliberately not the posterior."""

    def __init__(self):
        super().__init__(code=1, size=8, width=1, likelihood=Gaussian(0.5))
        self.weight = torch.linspace(-0.3, 0.3, 64).view(1, 1, 8, 8)

    def encode(self, x, y=None):
        mu = 0.4 * (x * self.weight).sum((1, 2, 3))[:, None]  # the posterior's is 0.45 of it, with variance 0.11
        return mu, torch.full_like(mu, math.log(0.2))

    def _decode(self, z, y=None):
        return z[:, :, None, None] * self.weight

    def exact(self, x):
        w = self.weight.flatten()
        return distributions.MultivariateNormal(torch.zeros(64), 0.25 * torch.eye(64) + torch.outer(w, w)).log_prob(
            x.flatten(1)
        )


def test_bounds_stand_in_order_below_the_exact_likelihood():
    model = LinearVAE()
    z = torch.randn(400, 1, generator=seeded(1))
    x = model._decode(z) + 0.5 * torch.randn(400, 1, 8, 8, generator=seeded(2))
    elbo = torch.stack([model.elbo(x, generator=seeded(s)) for s in range(50)]).mean().item()
    bounds = [model.iwae(x, k, generator=seeded(3)).mean().item() for k in (1, 5, 50, 1000)]
    exact = model.exact(x).mean().item()
    assert bounds[0] == pytest.approx(elbo, abs=0.1)
    assert bounds[0] < bounds[1] < bounds[2] < exact + 0.01
    assert bounds[3] == pytest.approx(exact, abs=0.02)


def test_each_channel_of_a_colour_picture_has_its_own_levels():
    """A grey picture under each channel's logits alone, against the three at once."""
    out, k = torch.randn(2, 3 * 5, 4, 4, generator=seeded()), torch.randint(5, (2, 3, 4, 4), generator=seeded())
    x, likelihood = k / 2 - 1, Levels(5)
    alone = [out.unflatten(1, (5, 3))[:, :, c] for c in range(3)]
    expected = sum(likelihood.log_prob(alone[c], x[:, c : c + 1]) for c in range(3))
    torch.testing.assert_close(likelihood.log_prob(out, x), expected)
    torch.testing.assert_close(likelihood.mean(out), torch.cat([likelihood.mean(each) for each in alone], 1))
    model = VAE(code=2, size=8, width=4, channels=3, likelihood=Levels(5))
    assert model.sample(2).shape == (2, 3, 8, 8)
    assert model.loss(torch.randint(5, (4, 3, 8, 8)) / 2 - 1).isfinite()


class Prior(nn.Module):
    """N(shift, I), its place learned."""

    def __init__(self, shift):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def log_prob(self, z):
        return log_normal(z, self.shift.expand_as(z), torch.tensor(0.0))

    def sample(self, n, generator=None):
        return self.shift + torch.randn(n, len(self.shift), generator=generator)


def test_a_prior_of_ones_own_takes_the_place_of_the_normal_one():
    made, x = [], torch.randn(64, 1, 8, 8, generator=seeded())
    for prior in (None, Prior([0.0, 0.0]), Prior([5.0, -5.0])):
        torch.manual_seed(0)
        made.append(VAE(code=2, size=8, width=4, prior=prior).eval())
    usual, same, far = made
    torch.testing.assert_close(usual.iwae(x, 5, generator=seeded(1)), same.iwae(x, 5, generator=seeded(1)))
    elbos = [torch.stack([model.elbo(x, generator=seeded(s)).mean() for s in range(20)]).mean() for model in made]
    assert elbos[1].item() == pytest.approx(elbos[0].item(), abs=0.1)  # one draw in place of the formula
    assert elbos[2] < elbos[0] - 10
    assert not torch.allclose(usual.sample(4, generator=seeded()), far.sample(4, generator=seeded()), atol=0.01)
    far.loss(x).backward()
    assert far.prior.shift.grad.abs().min() > 0


def test_an_encoder_and_a_decoder_of_ones_own_see_the_label():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear((3 + 2) * 49, 6))
    decoder = nn.Sequential(nn.Linear(3 + 2, 3 * 49), nn.Unflatten(1, (3, 7, 7)))
    model = VAE(code=3, size=7, channels=3, classes=2, encoder=encoder, decoder=decoder)
    x, y = torch.randn(4, 3, 7, 7), torch.tensor([0, 1, 1, 0])
    mu, log_var = model.encode(x, y)
    assert mu.shape == log_var.shape == (4, 3)
    assert not torch.allclose(mu, model.encode(x, 1 - y)[0])
    assert model.sample(2, y[:2]).shape == (2, 3, 7, 7) and model.loss(x, y).isfinite()


def test_samples_are_clamped_seeded_and_follow_the_temperature():
    torch.manual_seed(0)
    model = VAE(code=4, width=4).eval()
    with torch.no_grad():
        a, b = model.sample(6, generator=seeded(3)), model.sample(6, generator=seeded(3))
        cold = model.sample(6, temperature=0.0)
    assert a.shape == (6, 1, 16, 16) and torch.equal(a, b) and a.abs().max() <= 1
    assert torch.allclose(cold, cold[:1].expand_as(cold), atol=1e-5)


def test_conditional_samples_depend_on_the_label():
    torch.manual_seed(0)
    model = VAE(code=4, width=4, classes=10).eval()
    with torch.no_grad():
        zeros = model.sample(3, torch.tensor([0, 0, 0]), generator=seeded())
        ones = model.sample(3, torch.tensor([1, 1, 1]), generator=seeded())
    assert not torch.allclose(zeros, ones)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VAE(code=0), "code: got 0"),
        (lambda: VAE(beta=-1), "beta: got -1.0"),
        (lambda: VAE(size=15), "size: got 15, expected an even number of pixels"),
        (lambda: Gaussian(0), "sigma: got 0"),
        (lambda: Levels(1), "levels: got 1"),
        (lambda: gaussian_kl(torch.zeros(4, 3), torch.zeros(3)), r"log_var: got shape \(3,\), .* mu, \(4, 3\)"),
        (lambda: reparameterize(torch.zeros(4, 3), torch.zeros(4, 1)), r"log_var: got shape \(4, 1\)"),
        (lambda: log_normal(torch.zeros(4, 3), torch.zeros(3), torch.zeros(4, 3)), r"mu: got shape \(3,\)"),
        (lambda: log_normal(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(3)), r"log_var: got shape \(3,\)"),
        (lambda: Gaussian().log_prob(torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8)), "out: got shape"),
        (lambda: Levels().log_prob(torch.zeros(2, 17, 8, 8), torch.zeros(1, 1, 8, 8)), "out: got shape"),
        (lambda: VAE(code=2, encoder=nn.Flatten()).loss(torch.zeros(4, 1, 16, 16)), r"encoder\(x\): .* \(4, 4\)"),
        (lambda: VAE(code=2, decoder=nn.Linear(2, 256)).sample(3), r"decoder\(z\): .* \(3, 1, 16, 16\)"),
        (
            lambda: VAE(code=2, prior=distributions.Normal(0.0, 1.0)).loss(torch.zeros(4, 1, 16, 16)),
            r"prior.log_prob\(z\): .* expected shape \(4,\)",
        ),
        (lambda: VAE(code=2).encode(torch.zeros(2, 1, 8, 8)), "x: got"),
        (lambda: VAE(code=2).decode(torch.zeros(2, 3)), "z: got"),
        (lambda: VAE(code=2).encode(torch.zeros(2, 1, 16, 16), torch.zeros(2).long()), "y: got some"),
        (lambda: VAE(code=2, classes=3).encode(torch.zeros(2, 1, 16, 16)), "y: got none"),
        (lambda: VAE(code=2, classes=3).decode(torch.zeros(2, 2), torch.tensor([0, 3])), "y: got labels 0 to 3"),
        (lambda: VAE(code=2, classes=3).decode(torch.zeros(2, 2), torch.tensor([0])), "y: got"),
        (lambda: VAE(code=2).iwae(torch.zeros(2, 1, 16, 16), 0), "k: got 0"),
        (lambda: VAE(code=2).sample(0), "n: got 0"),
        (lambda: VAE(code=2).sample(1, temperature=float("nan")), "temperature: got nan"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
