"""Lesson 01's module: the autoencoder, PCA behind the same words, Gaussian codes."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import nn

from minidiff import data
from minidiff.autoencoder import Autoencoder, GaussianCodes, LinearCode
from minidiff.nn import conv_decoder, conv_encoder


def digits():
    return data.digits("train", 16)[0]


@pytest.mark.parametrize("size", [8, 10, 16, 20, 28, 32, 48, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_convnet_shapes_mirror_each_other(size, channels):
    x = torch.randn(5, channels, size, size)
    z = conv_encoder(7, size, channels, width=4, hidden=6)(x)
    assert z.shape == (5, 7)
    assert conv_decoder(7, size, channels, width=4, hidden=6)(z).shape == x.shape


@pytest.mark.parametrize("size", [0, 4, 6, 17])
def test_convnet_refuses_other_sizes(size):
    with pytest.raises(ValueError, match=f"size: got {size}, expected"):
        conv_encoder(2, size)


def test_loss_is_the_mean_squared_error_of_the_reconstruction():
    torch.manual_seed(0)
    model, x = Autoencoder(code=3, width=4), digits()[:9]
    assert model.encode(x).shape == (9, 3)
    assert torch.allclose(model.loss(x), ((model.decode(model.encode(x)) - x) ** 2).mean())


def test_noise_corrupts_the_input_and_not_the_target():
    torch.manual_seed(0)
    model, x = Autoencoder(code=3, width=4, noise=0.5), digits()[:9]
    torch.manual_seed(1)
    loss = model.loss(x)
    torch.manual_seed(1)
    assert torch.allclose(loss, F.mse_loss(model(x + 0.5 * torch.randn_like(x)), x))


def test_a_short_training_beats_a_constant_picture():
    torch.manual_seed(0)
    model, x = Autoencoder(code=8, width=8), digits()[:256]
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
    assert model.loss(x) < 0.75 * F.mse_loss(x.mean(0, keepdim=True).expand_as(x), x)


def test_networks_of_ones_own_serve_sizes_that_the_courses_refuse():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 49, 5))
    decoder = nn.Sequential(nn.Linear(5, 3 * 49), nn.Unflatten(1, (3, 7, 7)))
    model, x = Autoencoder(code=5, size=7, channels=3, encoder=encoder, decoder=decoder), torch.randn(4, 3, 7, 7)
    assert torch.equal(model(x), decoder(encoder(x)))
    assert model.loss(x).item() == pytest.approx(F.mse_loss(decoder(encoder(x)), x).item())


@pytest.mark.parametrize("code", [1, 8, 40])
def test_linear_code_is_scikit_learns_pca(code):
    x, held_out = digits(), data.digits("test", 16)[0]
    ours = LinearCode(x, code)
    theirs = PCA(code, svd_solver="full").fit(x.flatten(1).double().numpy())
    z = torch.from_numpy(theirs.transform(held_out.flatten(1).double().numpy())).float()
    assert torch.allclose(ours.encode(held_out), z, atol=1e-5)
    back = torch.from_numpy(theirs.inverse_transform(z.double().numpy())).float().view_as(held_out)
    assert torch.allclose(ours.decode(z), back, atol=1e-5)


def test_linear_code_of_full_rank_loses_nothing():
    x = digits()[:200]
    pca = LinearCode(x, 61)  # upsampled from 8x8, of which three pixels never change
    assert F.mse_loss(pca.decode(pca.encode(x)), x) < 1e-6


def test_gaussian_codes_have_the_codes_mean_and_covariance():
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, -1.0, 0.1]])
    z = torch.randn(5000, 3, generator=generator) @ mix.T + torch.tensor([1.0, -2.0, 3.0])
    drawn = GaussianCodes(z).sample(50_000, generator)
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.05)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(z.T), atol=0.1)


def test_gaussian_codes_of_one_number():
    z = torch.tensor([[1.0], [2.0], [3.0]])
    assert GaussianCodes(z).sample(4, torch.Generator().manual_seed(0)).shape == (4, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Autoencoder(code=0), "code: got 0"),
        (lambda: Autoencoder(noise=-1), "noise: got -1.0"),
        (lambda: Autoencoder(code=2).encode(torch.zeros(2, 1, 8, 8)), "x: got float32 tensor of shape"),
        (lambda: Autoencoder(code=2).decode(torch.zeros(2, 3)), r"z: got .*expected shape \(B, 2\)"),
        (lambda: Autoencoder(code=2).loss(torch.zeros(16, 16)), "x: got"),
        (lambda: Autoencoder(2, encoder=nn.Flatten()).loss(digits()[:4]), r"encoder\(x\): .* \(4, 256\), .* \(4, 2\)"),
        (lambda: Autoencoder(2, decoder=nn.Linear(2, 256)).loss(digits()[:4]), r"decoder\(z\): .* \(4, 1, 16, 16\)"),
        (lambda: LinearCode(digits(), 0), "code: got 0"),
        (lambda: LinearCode(digits()[:5], 6), "code: got 6, expected between 1 and 5"),
        (lambda: LinearCode(digits() * float("nan"), 2), "x: got NaN"),
        (lambda: LinearCode(digits(), 2).decode(torch.zeros(1, 3)), "z: got"),
        (lambda: GaussianCodes(torch.zeros(1, 2)), "z: got .*at least 2 rows"),
        (lambda: GaussianCodes(torch.randn(5, 2)).sample(0), "n: got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
