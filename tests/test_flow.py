"""Lesson 03's module: exact inverses, log-determinants against autograd, densities against integrals."""

import math

import pytest
import torch
from torch import distributions, nn

from minidiff import checkpoints, data, seeded
from minidiff.flow import BOUND, ActNorm, Coupling, Flow, Logit, dequantise, masks
from minidiff.train import fit

TRAINED = ("flow-digits", "flow-ring")


def awake(model, size=0.3):
    """The model with every weight moved, as training would: a new coupling is the identity."""
    with torch.no_grad():
        for i, weight in enumerate(model.parameters()):
            weight.add_(size * torch.randn(weight.shape, generator=seeded(i), dtype=weight.dtype))
    return model.eval()


def real(name, n=64):
    """Rows that the trained model of that name was made for."""
    return dequantise(data.digits("test", 8)[0][:n], 1 / 8, seeded()) if name == "flow-digits" else data.ring(n, seed=5)


@pytest.fixture(scope="module")
def trained():
    return {name: checkpoints.load(name) for name in TRAINED}


def log_dets_of_autograd(model, x):
    """log|det dz/dx| of each row by the whole Jacobian."""
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: model(row[None])[0][0]))(x).flatten(1, x.ndim - 1)
    return torch.linalg.slogdet(jacobian.flatten(2)).logabsdet


# The layers.


@pytest.mark.parametrize("dims", [1, 2, 7])
def test_act_norm_starts_where_its_first_batch_has_mean_0_and_deviation_1(dims):
    layer, x = ActNorm(dims), 3 + 5 * torch.randn(200, dims, generator=seeded())
    z, log_det = layer.train()(x)
    assert torch.allclose(z.mean(0), torch.zeros(dims), atol=1e-5)
    assert torch.allclose(z.std(0, correction=0), torch.ones(dims), atol=1e-5)
    assert log_det.shape == (200,) and torch.allclose(log_det, -x.std(0, correction=0).log().sum())
    assert torch.allclose(layer.inverse(z), x, atol=1e-4)
    before = layer.shift.clone()
    layer(x + 100)
    assert torch.equal(layer.shift, before), "only the first batch sets it"


def test_act_norm_does_not_start_in_eval_mode_nor_divide_by_zero():
    layer, x = ActNorm(2), torch.ones(8, 2)
    assert torch.equal(layer.eval()(x)[0], x) and not layer.initialized
    z, log_det = layer.train()(x)
    assert z.abs().max() == 0 and torch.isfinite(log_det).all()


def test_a_number_that_does_not_change_in_the_first_batch_keeps_its_scale():
    """Else the act-norms of a flow would multiply it by 100 each, and the next batch by 100^4."""
    x = torch.randn(200, 3, generator=seeded())
    x[:, 1] = 0.3
    torch.manual_seed(0)
    model = Flow((3,), couplings=3, width=8).train()
    model(x)
    scales = torch.stack([layer.log_scale for layer in model.layers if isinstance(layer, ActNorm)])
    assert torch.equal(scales[:, 1], torch.zeros(4)) and (scales[0, [0, 2]] != 0).all()
    losses = [tick.loss.item() for tick in fit(model, data.batches(x, size=50), 60, 5e-3)]
    assert max(losses) < 5 and losses[-1] < losses[0]


def test_logit_is_the_inverse_of_a_sigmoid_with_autograds_slope():
    layer, x = Logit(-1, 1.125), torch.linspace(-1, 1.125, 40, dtype=torch.float64).view(8, 5)
    z, log_det = layer(x)
    p = 0.02 + 0.96 * (x + 1) / 2.125
    assert torch.allclose(z, (p / (1 - p)).log()) and torch.allclose(layer.inverse(z), x)
    assert torch.allclose(log_det, log_dets_of_autograd(layer, x))
    far = layer.inverse(torch.tensor([[-50.0, 50.0]]))
    assert torch.allclose(far, torch.tensor([[-1 - 0.02 / 0.96 * 2.125, 1.125 + 0.02 / 0.96 * 2.125]]))


@pytest.mark.parametrize("rows", [2, 16])
def test_a_coupling_passes_the_masked_part_and_scales_and_shifts_the_rest(rows):
    mask = torch.tensor([1.0, 0.0, 1.0])
    net = nn.Linear(3, 6)
    layer, x = Coupling(mask, net), torch.randn(rows, 3, generator=seeded())
    z, log_det = layer(x)
    log_s, t = net(x * mask).chunk(2, 1)
    log_s = BOUND * torch.tanh(log_s / BOUND)
    assert torch.equal(z[:, [0, 2]], x[:, [0, 2]])
    assert torch.allclose(z[:, 1], x[:, 1] * log_s[:, 1].exp() + t[:, 1])
    assert torch.allclose(log_det, log_s[:, 1]) and torch.allclose(layer.inverse(z), x, atol=1e-6)


def test_an_additive_coupling_moves_and_keeps_every_volume():
    layer = Coupling(torch.tensor([1.0, 0.0]), nn.Linear(2, 4), additive=True)
    x = torch.randn(5, 2, generator=seeded())
    z, log_det = layer(x)
    assert torch.equal(log_det, torch.zeros(5)) and not torch.allclose(z, x)
    assert torch.allclose(layer.inverse(z), x, atol=1e-6)


def test_masks_are_a_checkerboard_and_its_opposite():
    first, second = masks((1, 8, 8))
    board = first.view(8, 8)
    assert board[0, 0] == 1 and (board[:, 1:] != board[:, :-1]).all() and (board[1:] != board[:-1]).all()
    assert torch.equal(first + second, torch.ones(64))
    assert [mask.tolist() for mask in masks((2,))] == [[1, 0], [0, 1]]


# The whole.


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_the_inverse_of_trained_weights_is_exact_to_rounding(trained, name, dtype, most):
    model = checkpoints.load(name).to(dtype)
    with torch.no_grad():
        x = real(name, 297).to(dtype)
        assert (model.inverse(model(x)[0]) - x).abs().max() <= most
        z = torch.randn(297, *model.shape, generator=seeded(1), dtype=dtype)
        assert (model(model.inverse(z))[0] - z).abs().max() <= 10 * most


@pytest.mark.parametrize("name", TRAINED)
def test_the_log_determinant_of_trained_weights_is_autograds(trained, name):
    model = checkpoints.load(name).double()
    x = real(name, 8).double()
    with torch.no_grad():
        assert torch.allclose(model(x)[1], log_dets_of_autograd(model, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(2,), (3,), (1, 2, 4)])
@pytest.mark.parametrize("additive", [False, True])
def test_the_log_determinant_of_any_weights_is_autograds(shape, additive):
    model = awake(Flow(shape, couplings=3, width=8, additive=additive).double())
    x = torch.randn(5, *shape, generator=seeded(), dtype=torch.float64)
    z, log_det = model(x)
    assert z.shape == x.shape and log_det.shape == (5,)
    assert torch.allclose(log_det, log_dets_of_autograd(model, x), atol=1e-9)
    assert torch.allclose(model.inverse(z), x, atol=1e-9)
    assert (log_det.max() - log_det.min() < 1e-12) == additive


def test_log_prob_is_that_of_torch_distributions_for_a_linear_flow():
    model = Flow((2,), couplings=1, width=4).double().eval()  # its coupling is still the identity
    with torch.no_grad():
        model.layers[0].shift.copy_(torch.tensor([1.0, -2.0]))
        model.layers[0].log_scale.copy_(torch.tensor([0.5, -1.0]))
    x = torch.randn(9, 2, generator=seeded(), dtype=torch.float64)
    normal = distributions.Normal(model.layers[0].shift, (-model.layers[0].log_scale).exp())
    assert torch.allclose(model.log_prob(x), normal.log_prob(x).sum(1))


def test_the_trained_density_integrates_to_1(trained):
    line = torch.linspace(-2.5, 2.5, 401)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        mass = torch.cat([trained["flow-ring"].log_prob(part) for part in grid.split(4000)]).exp().sum()
    assert mass.item() * (line[1] - line[0]).item() ** 2 == pytest.approx(1, abs=0.01)


def test_the_ring_is_learned_within_a_tenth_of_a_nat(trained):
    x = data.ring(10_000, seed=1)  # held out: the recipe draws its training points with seed 0
    with torch.no_grad():
        gap = (data.ring_mixture().log_prob(x) - trained["flow-ring"].log_prob(x)).mean().item()
    assert 0 < gap < 0.1


# Levels.


def test_dequantise_fills_the_cell_of_each_level_and_no_more():
    x = data.digits("train", 8)[0][:200]
    y = dequantise(x, 1 / 8, seeded())
    assert torch.equal((y * 8).floor() / 8, x)
    u = (y - x) * 8
    assert u.mean().item() == pytest.approx(0.5, abs=0.01) and u.std().item() == pytest.approx(12**-0.5, abs=0.01)
    assert dequantise(x, 0.0) is x


def test_the_bound_is_exact_for_a_uniform_density_and_below_it_otherwise():
    class Box(Flow):
        def log_prob(self, y):  # p(y) = 2 on [0, 1/2): cells of 1/4 have probability 1/2
            return torch.full((len(y),), math.log(2))

    x = torch.tensor([[0.0], [0.25]])
    assert torch.allclose(Box((1,), bin=0.25).bound(x), torch.tensor([0.5, 0.5]).log())
    model = awake(Flow((1,), couplings=1, width=4, bin=1.0))
    u = (torch.arange(2000) + 0.5) / 2000
    x = torch.zeros(1, 1)
    exact = model.log_prob(u[:, None]).exp().mean().log()  # of the integral over the cell from 0 to 1
    mean = torch.stack([model.bound(x, seeded(s)) for s in range(500)]).mean()
    assert mean < exact < mean + 0.5


def test_terms_add_up_to_the_loss():
    model, x = awake(Flow((1, 8, 8), couplings=2, width=8, bin=1 / 8)), data.digits("train", 8)[0][:16]
    torch.manual_seed(3)
    terms = model.terms(x)
    torch.manual_seed(3)
    loss = model.loss(x)
    assert torch.equal(terms["loss"], loss) and torch.allclose(terms["prior"] - terms["log_det"], loss)
    torch.manual_seed(3)
    y = dequantise(x, 1 / 8)
    assert loss.item() == pytest.approx(-model.log_prob(y).mean().item() / 64, rel=1e-5)


def test_samples_are_levels_seeded_and_follow_the_temperature(trained):
    model = trained["flow-digits"]
    with torch.no_grad():
        a, b = model.sample(6, generator=seeded(3)), model.sample(6, generator=seeded(3))
        y = model.inverse(torch.randn(6, 1, 8, 8, generator=seeded(3)))
        cold, warm = model.sample(6, temperature=0.0), model.sample(6, temperature=0.5, generator=seeded(3))
    assert a.shape == (6, 1, 8, 8) and torch.equal(a, b) and not torch.equal(a, warm)
    assert torch.equal(a, ((y * 8).floor() / 8).clamp(-1, 1)), "the level whose cell y is in"
    assert a.abs().max() <= 1 and torch.equal(a, (a * 8).round() / 8)
    assert torch.equal(cold, cold[:1].expand_as(cold))


def test_points_are_sampled_as_they_come():
    model = awake(Flow((2,), couplings=2, width=8))
    with torch.no_grad():
        x = model.sample(5, generator=seeded(4))
        z, _ = model(x)
    assert torch.allclose(z, torch.randn(5, 2, generator=seeded(4)), atol=1e-5)


def test_temperature_tempers_an_additive_flow_and_not_an_affine_one():
    """Sampled at T, a flow has the density log N(z; 0, T²) + log|det|. Is that p^(1/T²) up to a constant?"""
    x = torch.randn(200, 2, generator=seeded())
    for additive in (True, False):
        model = awake(Flow((2,), couplings=4, width=8, additive=additive))
        z, log_det = model(x)
        at_half = distributions.Normal(0, 0.5).log_prob(z).sum(1) + log_det
        difference = (at_half - 4 * model.log_prob(x)).detach()
        assert (difference.std() < 1e-3) == additive


def test_a_net_of_ones_own_decides_in_every_coupling():
    asked = []

    def net(dims, out):
        asked.append((dims, out))
        return nn.Sequential(nn.Linear(dims, 6), nn.Tanh(), nn.Linear(6, out))

    model = Flow((1, 2, 3), couplings=4, net=net).double().eval()
    assert asked == [(6, 12)] * 4
    x = torch.randn(5, 1, 2, 3, generator=seeded(), dtype=torch.float64)
    z, log_det = model(x)
    assert torch.allclose(model.inverse(z), x) and torch.allclose(log_det, log_dets_of_autograd(model, x))
    assert log_det.std() > 0


def test_a_short_training_bends_a_gaussian_into_moons():
    torch.manual_seed(0)
    x = data.moons(2000)
    model = Flow((2,), couplings=6, width=32)
    *_, last = fit(model, data.batches(x, size=200), 150, 5e-3)
    normal = distributions.MultivariateNormal(x.mean(0), x.T.cov()).log_prob(x).mean()
    with torch.no_grad():
        assert model.log_prob(x).mean() > normal + 0.5
    assert last.parts.keys() == {"prior", "log_det"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Flow((2,), couplings=0), "couplings: got 0"),
        (lambda: Flow((0,)), "shape: got 0"),
        (lambda: Flow((2,), width=0), "width: got 0"),
        (lambda: Flow((2,), bin=-1.0), "bin: got -1.0"),
        (lambda: Flow((2,))(torch.zeros(3, 3)), "x: got"),
        (lambda: Flow((2,)).inverse(torch.zeros(2)), "z: got"),
        (lambda: Flow((2,)).sample(0), "n: got 0"),
        (lambda: Flow((2,)).sample(2, temperature=-1), "temperature: got -1.0"),
        (lambda: Flow((2,)).sample(2, torch.zeros(2).long()), "labels: got some"),
        (lambda: Flow((2,)).bound(torch.zeros(3, 2)), "bin: got 0"),
        (lambda: Coupling(torch.zeros(2, 2), nn.Identity()), "mask: got"),
        (lambda: ActNorm(0), "dims: got 0"),
        (lambda: Flow((2,)).loss(torch.zeros(1, 2)), "x: got 1 row in the first batch, expected at least 2"),
        (lambda: Flow((2,), net=lambda dims, out: nn.Linear(dims, dims)), r"net\(dims, out\)\(x\): .* \(2, 4\)"),
        (lambda: Logit(1, 0), "high: got 0"),
        (lambda: Logit(0, 1, margin=0.5), "margin: got 0.5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_net_is_a_function_that_makes_networks_and_not_one_of_them():
    with pytest.raises(TypeError, match=r"net: got a Linear, expected a function \(dims, out\)"):
        Flow((2,), net=nn.Linear(2, 4))
