"""Latent diffusion: each part against a case with a known answer, and what it refuses."""

import re

import pytest
import torch
from torch import nn

from minidiff import data
from minidiff.denoiser import Denoiser
from minidiff.latent import (
    CHUNK,
    SIZE,
    KLAutoencoder,
    LatentDiffusion,
    Pixels,
    guided,
    image_to_image,
    inpaint,
    keep_known,
    text_to_image,
)
from minidiff.lessons.lesson09 import claims as lesson09
from minidiff.lessons.lesson09.attention import attention_maps
from minidiff.nn import Attention
from minidiff.sampler import last, sample, times
from minidiff.schedule import cosine
from minidiff.train import fit
from minidiff.unet import UNet

TEXTS = ["", "a", "b", "a b"]  # ids: 0 padding, 1 start, 2 end, 3 and 4 the words


def tokenizer(texts: list[str]) -> torch.Tensor:
    """Words "a" and "b" to rows of four ids; four words are too many."""
    rows = [[1, *("ab".index(word) + 3 for word in text.split()), 2] for text in texts]
    if max(map(len, rows)) > 4:
        raise ValueError("texts: too long")
    return torch.tensor([row + [0] * (4 - len(row)) for row in rows])


class Words(nn.Module):
    """Token ids (B, L) -> (B, L, 6), each word by itself."""

    width = 6

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, self.width)

    def forward(self, ids):
        return self.table(ids)


class Paints(nn.Module):
    """A network for predict="x0" that knows its answer: 0.5 everywhere if it reads "a", -0.5 for "b", else 0."""

    def forward(self, x, t, ids):
        says = 0.5 * (ids == 3).any(1).float() - 0.5 * (ids == 4).any(1).float()
        return says[:, None, None, None].expand_as(x)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def knowing(f: int = 1) -> LatentDiffusion:
    """A model whose every answer is known; f = 1 on pixels, else on averages of f x f pixels."""
    autoencoder = Pixels() if f == 1 else Averages(f)
    return LatentDiffusion(autoencoder, Denoiser(Paints(), cosine(), predict="x0", null=[1, 2, 0, 0]), tokenizer).eval()


class Averages(nn.Module):
    """An autoencoder by hand: the mean of f x f pixels, and back as a square of that value."""

    def __init__(self, f):
        super().__init__()
        self.f, self.latent = f, 3

    def encode(self, x):
        mu = nn.functional.avg_pool2d(x, self.f)
        return mu, torch.full_like(mu, -30)

    def decode(self, z):
        return nn.functional.interpolate(z, scale_factor=self.f)


def learning() -> LatentDiffusion:
    """A small model with all real parts, its zero-initialised layers woken up."""
    net = UNet(channels=2, widths=(32, 64), attention=(0, 1), text=Words())
    model = LatentDiffusion(
        KLAutoencoder(latent=2, width=8), Denoiser(net, cosine(), predict="v", null=[1, 2, 0, 0], drop=0.1), tokenizer
    )
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and not part.weight.any():
            nn.init.normal_(part.weight, std=0.1)
    return model.eval()


def pictures(n: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, size, size) * 2 - 1


@pytest.mark.parametrize("f", [1, 2, 4, 8])
def test_codes_have_the_size_that_f_says_and_decode_to_the_picture_s(f):
    autoencoder, x = KLAutoencoder(latent=5, f=f, width=8), pictures(2, 16)
    mu, log_var = autoencoder.encode(x)
    assert mu.shape == log_var.shape == (2, 5, 16 // f, 16 // f)
    assert autoencoder.decode(mu).shape == autoencoder(x).shape == x.shape


def test_the_terms_are_the_error_of_a_draw_and_torch_s_own_kl():
    autoencoder, x = KLAutoencoder(width=8, beta=0.5).double(), pictures().double()
    nn.init.constant_(autoencoder.encoder[-1].bias, 0.3)
    torch.manual_seed(1)
    terms = autoencoder.terms(x)
    mu, log_var = autoencoder.encode(x)
    code = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    kl = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum() / x.numel()
    torch.manual_seed(1)
    rebuilt = autoencoder.decode(mu + code.stddev * torch.randn_like(mu))
    torch.testing.assert_close(terms["kl"], kl)
    torch.testing.assert_close(terms["reconstruction"], ((rebuilt - x) ** 2 + 10 * (rebuilt - x) ** 4).mean())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.5 * terms["kl"])


def test_training_rebuilds_better_than_the_mean_picture():
    x = torch.rand(64, 3, 1, 1).expand(-1, -1, 16, 16).contiguous() * 2 - 1
    autoencoder = KLAutoencoder(latent=3, width=8, blocks=0)
    list(fit(autoencoder, [(x,)] * 200, 200, 1e-2))
    assert (autoencoder(x) - x).square().mean() < 0.1 * (x - x.mean(0)).square().mean()


def test_pixels_are_their_own_code():
    x = pictures()
    assert torch.equal(Pixels().encode(x)[0], x) and torch.equal(Pixels().decode(x), x)


def test_the_measured_scale_makes_codes_of_the_size_and_decoding_undoes_it():
    model, x = knowing(), pictures(50) / 3
    scale = model.measure(model.autoencoder.encode(x)[0])
    assert scale == model.scale and model.encode(x).std().item() == pytest.approx(SIZE)
    torch.testing.assert_close(model.decode(model.encode(x)), x)
    assert model.decode(torch.full((1, 3, 4, 4), 1e3)).max() == 1


def test_the_loss_is_the_denoiser_s_of_scaled_codes_and_the_autoencoder_stays():
    model, mu, ids = learning(), torch.randn(4, 2, 8, 8), tokenizer(TEXTS)
    model.measure(3 * mu)
    torch.manual_seed(1)
    ours = model.loss(mu, ids)
    torch.manual_seed(1)
    assert ours == model.denoiser.loss(mu * model.scale, ids)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    list(fit(model, [(mu, ids)] * 3, 3, 1e-2))
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved and not any(name.startswith("autoencoder") for name in moved)
    assert not any(weight.requires_grad for weight in model.autoencoder.parameters())


def test_guided_is_the_formula_with_a_negative_in_place_of_nothing():
    model, z = knowing(), torch.zeros(2, 3, 8, 8)
    half = torch.tensor(0.5)
    assert (guided(model, ["a", "b"], 1.0)(z, half)[:, 0, 0, 0] == torch.tensor([0.5, -0.5])).all()
    assert (guided(model, ["a", "b"], 3.0)(z, half)[:, 0, 0, 0] == torch.tensor([1.5, -1.5])).all()
    assert (guided(model, ["a", "b"], 0.0)(z, half) == 0).all()
    assert (guided(model, ["a", ""], 3.0, "b")(z, half)[:, 0, 0, 0] == torch.tensor([2.5, 1.0])).all()
    assert (guided(model, ["a", ""], 3.0, ["b", ""])(z, half)[:, 0, 0, 0] == torch.tensor([2.5, 0.0])).all()


def test_no_words_are_the_unconditional_model():
    model, z, t = learning(), torch.randn(2, 2, 8, 8), torch.tensor(0.4)
    torch.testing.assert_close(guided(model, ["", ""], 1.0)(z, t), model.denoiser(z, t))
    torch.testing.assert_close(guided(model, ["", ""], 7.0)(z, t), model.denoiser(z, t))


def test_text_to_image_draws_what_each_prompt_says():
    images = text_to_image(knowing(4), ["a", "b", ""], scale=1.0, steps=3, size=16)
    assert images.shape == (3, 3, 16, 16)
    torch.testing.assert_close(images.mean((1, 2, 3)), torch.tensor([0.5, -0.5, 0.0]))


@pytest.mark.parametrize("options", [{}, {"order": 1}, {"order": 1, "eta": 1.0}])
def test_text_to_image_is_the_sampler_on_codes_in_chunks(options):
    model, prompts = learning(), ["a", "b"] * (CHUNK // 2) + ["a b"]
    ours = text_to_image(model, prompts, steps=2, scale=2.0, generator=torch.Generator().manual_seed(1), **options)
    generator, theirs = torch.Generator().manual_seed(1), []
    x = model.schedule.prior((CHUNK + 1, 2, 8, 8), generator)
    for rows in (slice(CHUNK), slice(CHUNK, None)):
        denoise = guided(model, prompts[rows], 2.0)
        walk = sample(denoise, x[rows], times(2), model.schedule, generator=generator, **{"order": 2} | options)
        theirs.append(model.decode(last(walk)))
    torch.testing.assert_close(ours, torch.cat(theirs))


def test_image_to_image_goes_from_the_picture_to_the_prompt_with_strength():
    model, x = knowing(), pictures()
    torch.testing.assert_close(image_to_image(model, x, "a", 0), x)
    assert (image_to_image(model, x, ["a", "b"], 1.0, scale=1.0)[0] == 0.5).all()


def test_image_to_image_starts_from_the_noised_code_and_takes_its_share_of_steps():
    model, x = learning(), pictures()
    ours = image_to_image(model, x, "a", 0.5, steps=8, scale=1.0, generator=torch.Generator().manual_seed(1))
    z = model.encode(x)
    z = model.schedule.add_noise(z, 0.5, torch.randn(z.shape, generator=torch.Generator().manual_seed(1)))
    steps = list(sample(guided(model, ["a", "a"], 1.0), z, times(4, 0.5), model.schedule, order=2))
    torch.testing.assert_close(ours, model.decode(steps[-1].x))


def test_inpaint_paints_inside_the_mask_and_leaves_the_rest_bit_for_bit():
    model, x = knowing(4), pictures()
    mask = torch.zeros(32, 32)
    mask[3:17, 8:20] = 1
    out = inpaint(model, x, mask, ["a", "b"], scale=1.0, steps=3)
    assert torch.equal(out[:, :, mask == 0], x[:, :, mask == 0])
    torch.testing.assert_close(out[:, 0, 10, 10], torch.tensor([0.5, -0.5]))
    of_each = inpaint(model, x, torch.stack([mask, 0 * mask])[:, None].bool(), "a", scale=1.0, steps=3)
    assert torch.equal(of_each[0], out[0]) and torch.equal(of_each[1], x[1])


def test_a_code_is_painted_anew_if_any_of_its_pixels_is():
    model, x, seen = knowing(4), pictures(1), []
    mask = torch.zeros(32, 32)
    mask[7, 8] = 1  # in the code of rows 4 to 7, columns 8 to 11
    model.denoiser.net.register_forward_pre_hook(lambda net, args: seen.append(args[0]))
    inpaint(model, x, mask, "a", scale=1.0, steps=4, generator=torch.Generator().manual_seed(0))
    alpha, sigma = model.schedule(0.25)
    noise = model.schedule.prior((1, 3, 8, 8), torch.Generator().manual_seed(0))
    x1, alpha1 = noise, model.schedule(1.0)[0]
    known = alpha * model.encode(x) + sigma * (x1 - alpha1 * model.encode(x)) / model.schedule(1.0)[1]
    apart = (seen[-1] - known).abs().amax((0, 1)) > 1e-4  # known places stand on the line from picture to noise
    assert apart.nonzero().tolist() == [[1, 2]]


def test_keep_known_replaces_the_estimate_outside_the_mask_only():
    mask = torch.tensor([[True, False]])[None, None]
    out = keep_known(lambda x, t: x + 1, torch.full((1, 1, 1, 2), 9.0), mask)(
        torch.zeros(1, 1, 1, 2), torch.tensor(0.5)
    )
    assert out.tolist() == [[[[1.0, 9.0]]]]


def test_attention_maps_are_the_weights_that_the_layers_use():
    model, z, ids = learning(), torch.randn(2, 2, 8, 8), tokenizer(["a", "a b"])
    maps = attention_maps(model, z, torch.tensor(0.5), ids)
    assert maps.shape == (2, 4, 8, 8)
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 8, 8))
    assert (maps[0, 3] == 0).all() and (maps[0, :3] > 0).all()
    torch.testing.assert_close(maps, sum(by_hand(model, z, ids)) / 4)


def by_hand(model, z, ids):
    """The maps of each cross-attention by torch's own attention: it returns its weights if values are one-hot."""
    found = []

    def look(layer, args):
        x, words, mask = args
        q = layer.query(x).unflatten(2, (layer.heads, -1)).transpose(1, 2)
        k = layer.key_value(words)[..., : layer.channels].unflatten(2, (layer.heads, -1)).transpose(1, 2)
        one_hot = torch.eye(4).expand(*k.shape[:2], 4, 4)
        weights = nn.functional.scaled_dot_product_attention(q, k, one_hot, attn_mask=mask[:, None, None])
        side = int(x.shape[1] ** 0.5)
        maps = weights.mean(1).mT.unflatten(2, (side, side))
        found.append(maps.repeat_interleave(8 // side, 2).repeat_interleave(8 // side, 3))

    layers = [part for part in model.modules() if isinstance(part, Attention) and part.context]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    model.denoiser(z, torch.tensor(0.5), ids)
    for handle in handles:
        handle.remove()
    return found


X, M = torch.zeros(2, 3, 32, 32), torch.zeros(32, 32)
REFUSED = [
    (lambda m: KLAutoencoder(f=0), ValueError, "f: got 0"),
    (
        lambda m: KLAutoencoder().encode(torch.zeros(1, 3, 30, 32)),
        ValueError,
        "x: got 30x32 pixels, expected multiples",
    ),
    (lambda m: KLAutoencoder().encode(torch.zeros(1, 1, 32, 32)), ValueError, "x: got"),
    (lambda m: KLAutoencoder().decode(torch.zeros(1, 3, 8, 8)), ValueError, "z: got"),
    (lambda m: LatentDiffusion(Pixels(), Paints(), tokenizer), TypeError, "denoiser: got Paints"),
    (lambda m: m.measure(torch.ones(2, 3, 8, 8)), ValueError, "mu: got codes that are all alike"),
    (lambda m: m.measure(torch.ones(2, 1, 8, 8)), ValueError, "mu: got"),
    (lambda m: m.ids([]), ValueError, "prompts: got []"),
    (lambda m: m.ids(["a", 3]), ValueError, "prompts: got ['a', 3]"),
    (lambda m: m.ids("a b a b"), ValueError, "too long"),
    (lambda m: guided(m, ["a", "b"], 2.0, ["a", "b", "a"]), ValueError, "negative: got 3 texts"),
    (lambda m: guided(m, "a", float("nan")), ValueError, "scale: got nan"),
    (lambda m: text_to_image(m, "a", steps=0), ValueError, "steps: got 0"),
    (lambda m: text_to_image(m, "a", size=2), ValueError, "size: got 2"),
    (lambda m: text_to_image(m, "a", size=35), ValueError, "size: got 35, expected a multiple of 4"),
    (lambda m: image_to_image(m, X, "a", 1.5), ValueError, "strength: got 1.5, expected between 0 and 1"),
    (lambda m: image_to_image(m, X, "a", -0.1), ValueError, "strength: got -0.1"),
    (lambda m: image_to_image(m, X, ["a"] * 3, 0.5), ValueError, "prompts: got 3 texts, expected one, or one for each"),
    (lambda m: inpaint(m, X, M[:31], "a"), ValueError, "mask: got shape (31, 32), expected (32, 32) or (2, 1, 32, 32)"),
    (lambda m: inpaint(m, X, M[None], "a"), ValueError, "mask: got shape (1, 32, 32)"),
    (lambda m: inpaint(m, X, M + 0.5, "a"), ValueError, "mask: got other numbers than 0 and 1"),
    (lambda m: inpaint(m, X[0], M, "a"), ValueError, "images: got"),
]


@pytest.mark.parametrize("call, error, words", REFUSED)
def test_bad_input_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=re.escape(words)):
        call(knowing(4))


def test_figures_mark_what_was_drawn_against_what_was_asked_for(monkeypatch):
    real = data.shapes("test", 30, 1, 2)[0]
    monkeypatch.setattr(lesson09, "text_to_image", lambda model, said, **options: real)
    row = lesson09.figures(None, "test", 2, 30)
    assert row == {"figures": "two", "scale": 2.0, "attributes": 1.0, "pairs": 1.0}
    monkeypatch.setattr(lesson09, "text_to_image", lambda model, said, **options: real.flip(0))
    assert lesson09.figures(None, "test", 2, 30)["pairs"] < 0.3


def test_pixels_lose_nothing_and_averages_lose_outlines():
    assert lesson09.rebuilt(Pixels(), 30) == {"error": 0.0, "attributes": 1.0, "pairs": 1.0}
    lost = lesson09.rebuilt(Averages(8), 30)
    assert lost["error"] > 0.01 and lost["pairs"] < 0.5


@pytest.mark.parametrize("f", [1, 8])
def test_the_row_of_f_has_the_time_it_was_given_and_nearly_the_same_weights(f):
    row = lesson09.with_f(f, 0.5, n=2, pictures=200)
    assert (row["f"], row["seconds"], row["of them autoencoder"]) == (f, 0.5, 0.0 if f == 1 else 0.125)
    assert row["denoiser"] == pytest.approx(1.26e6, rel=0.02)
    assert {"rebuilt pairs", "attributes", "pairs", "seconds a picture"} <= row.keys()


def test_the_claim_on_f_needs_codes_ahead_of_pixels_at_every_budget():
    rows = [{"f": f, "seconds": s, "attributes": round(f / 10 + s / 1000, 2)} for f in (1, 4, 8) for s in (60, 240)]
    [claim] = lesson09.of_factors(rows)
    assert claim.holds and "60 s: f = 1 0.16, f = 4 0.46, f = 8 0.86; 240 s: f = 1 0.34" in claim.ours
    rows[0]["attributes"] = 0.9
    assert lesson09.of_factors(rows)[0].holds is False
    assert lesson09.of_factors([])[0].holds is None


def test_the_claims_on_the_shipped_model_need_their_shares_in_the_mean_over_seeds():
    def rows(attributes, pairs=0.9):
        return [{"attributes": a, "pairs": pairs} for a in attributes]

    assert lesson09._of_seen(rows([0.96, 0.99]), rows([0.1])).holds
    late = lesson09._of_seen(rows([0.95, 0.97]), rows([0.1]))
    assert late.holds is False
    assert not lesson09._of_seen(rows([0.99]), rows([0.6])).holds  # a baseline that hears the text
    assert lesson09._of_novel(rows([0.91])).holds and not lesson09._of_novel(rows([0.91], 0.7)).holds
    assert (
        lesson09._of_two(rows([0.9]), rows([0.9], 0.3)).holds and not lesson09._of_two(rows([0.9]), rows([0.9])).holds
    )
    assert lesson09._of_live(rows([0.9])).holds and not lesson09._of_live(rows([0.89])).holds


class Own(nn.Module):
    """An autoencoder of one's own: halves the picture."""

    latent, f = 2, 2

    def __init__(self, answer=lambda codes: (codes, codes)):
        super().__init__()
        self.down, self.up, self.answer = nn.Conv2d(1, 2, 2, 2), nn.ConvTranspose2d(2, 1, 2, 2), answer

    def encode(self, x):
        return self.answer(self.down(x))

    def decode(self, z):
        return self.up(z)


def test_an_autoencoder_of_ones_own_is_asked_for_a_pair_and_for_its_size():
    x = torch.rand(3, 1, 14, 14)
    denoiser = Denoiser(UNet(channels=2, widths=(8,)), cosine(), "v")
    model = LatentDiffusion(Own(), denoiser, tokenizer, size=14)
    assert model.decode(model.encode(x)).shape == x.shape
    with pytest.raises(TypeError, match=r"autoencoder.encode\(x\): got Tensor, expected a pair"):
        LatentDiffusion(Own(lambda codes: codes), denoiser, tokenizer).encode(x)  # its first row would be taken for mu
    wrong = Own()
    wrong.f = 1
    with pytest.raises(ValueError, match=r"encode\(x\)\[0\]: got .*\(3, 2, 7, 7\), expected .*\(3, 2, 14, 14\)"):
        LatentDiffusion(wrong, denoiser, tokenizer).encode(x)
    with pytest.raises(ValueError, match=r"autoencoder.decode\(z\): got .*\(3, 1, 14, 14\), expected .*\(3, C, 7, 7\)"):
        LatentDiffusion(wrong, denoiser, tokenizer).decode(torch.zeros(3, 2, 7, 7))
    with pytest.raises(TypeError, match="autoencoder: got Linear, expected a module with latent, f, encode"):
        LatentDiffusion(nn.Linear(2, 2), denoiser, tokenizer)


def test_pictures_in_levels_are_refused():
    levels = torch.linspace(0, 255, 2 * 3 * 64).reshape(2, 3, 8, 8)
    model = LatentDiffusion(Pixels(3), Denoiser(UNet(channels=3, widths=(8,)), cosine(), "v"), tokenizer, size=8)
    calls = [lambda: KLAutoencoder().loss(levels), lambda: image_to_image(model, levels, "", 0.5)]
    for call in [*calls, lambda: inpaint(model, levels, torch.ones(8, 8), "")]:
        with pytest.raises(ValueError, match="got values from 0 to 255, expected about -1 to 1"):
            call()
