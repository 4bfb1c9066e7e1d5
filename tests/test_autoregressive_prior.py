"""Embeddings as tokens and back, what the writer may see, its cache, the upper half, guidance, unCLIP with it."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from minidiff import seeded
from minidiff.autoregressive_prior import AutoregressivePrior, NumberNet, Quantiser
from minidiff.clip import CLIP
from minidiff.denoiser import Denoiser
from minidiff.latent import KLAutoencoder
from minidiff.schedule import cosine
from minidiff.transformer import TextEncoder, Tokenizer, VisionTransformer
from minidiff.unclip import EmbeddingDiffusion, EmbeddingUNet, UnCLIP

NAMES = ["a red heart", "a cat"]


@pytest.fixture
def z():
    """Unit vectors (200, 8), of unlike variance along the axes."""
    return F.normalize(torch.randn(200, 8, generator=seeded(3)) * torch.linspace(2, 0.2, 8) + 0.3, dim=1)


@pytest.fixture
def prior(z):
    torch.manual_seed(0)
    words = Tokenizer.train(NAMES, vocabulary=600, length=10)
    net = NumberNet(TextEncoder(words.vocabulary, 16, 1, 2, 10), Quantiser(8, 5, 6), 4, width=16, layers=2, heads=2)
    for weight in (net.token_in.weight, net.out.weight, net.dot_in.weight):
        torch.nn.init.normal_(weight)
    return AutoregressivePrior(net, words, drop=0.3).measure(z, words(NAMES * 100)).eval()


def test_the_axes_are_those_of_scikit_learn_the_largest_variance_first(z):
    quantiser, oracle = Quantiser(8, 5, 6).measure(z), PCA(5).fit(z.double().numpy())
    agree = (quantiser.axes.double() * torch.from_numpy(oracle.components_)).sum(1).abs()
    assert torch.allclose(agree, torch.ones(5, dtype=torch.float64), atol=1e-5)
    variance = quantiser.coordinates(z).var(0).double()
    assert torch.allclose(variance, torch.from_numpy(oracle.explained_variance_), rtol=1e-3)
    assert (variance.diff() < 0).all()


def test_an_embedding_comes_back_within_half_a_bucket_along_each_axis(z):
    quantiser = Quantiser(8, 8, 6).measure(z)
    tokens = quantiser.encode(z)
    away = (quantiser.coordinates(quantiser.decode(tokens)) - quantiser.coordinates(z)).abs()
    assert (away <= quantiser.bucket / 2 + 1e-5).all() and (away.amax(0) > quantiser.bucket / 4).all()
    assert (tokens.amin(0) == 0).all() and (tokens.amax(0) == 5).all()
    assert torch.equal(quantiser.encode(quantiser.decode(tokens)), tokens)
    beyond = quantiser.mean + 100 * quantiser.axes.sum(0)
    assert torch.equal(quantiser.encode(torch.stack([beyond, -beyond])), torch.tensor([[5] * 8, [0] * 8]))


def test_axes_that_are_left_out_come_back_as_the_mean(z):
    few, all_of_them = Quantiser(8, 3, 6).measure(z), Quantiser(8, 8, 6).measure(z)
    last = all_of_them.coordinates(few.decode(few.encode(z)))[:, 3:]
    assert last.abs().max() < 1e-5


def test_no_logit_sees_its_own_token_or_a_later_one_and_each_sees_all_before(prior):
    ids, dot = prior.tokenizer(NAMES[:1]), torch.tensor([2])
    tokens = torch.tensor([[0, 1, 2, 3, 4]])
    with torch.no_grad():
        before = prior.net(tokens, dot, ids)
        for axis in range(5):
            other = tokens.clone()
            other[0, axis] = 5
            moved = (prior.net(other, dot, ids) - before).abs().amax(2)[0] > 1e-6
            assert not moved[: axis + 1].any() and moved[axis + 1 :].all()
        for told in ((dot + 1, ids), (dot, prior.tokenizer(NAMES[1:]))):
            assert ((prior.net(tokens, *told) - before).abs().amax(2) > 1e-6).all()


def test_the_same_bucket_of_another_axis_is_another_token(prior):
    vectors = prior.net.written(torch.full((1, 4), 3))[0] - prior.net.pos_embed[12:16]
    assert (torch.pdist(vectors) > 1).all()


def test_with_a_cache_the_logits_are_those_of_one_pass(prior, monkeypatch):
    asked, following = [], NumberNet.following
    monkeypatch.setattr(NumberNet, "following", lambda net, *args: asked.append(following(net, *args)) or asked[-1])
    ids = prior.tokenizer(NAMES)
    drawn = prior.draw(ids, generator=seeded())
    dot = torch.randint(2, 4, (2,), generator=seeded())  # what the draw begins with
    with torch.no_grad():
        whole = prior.net(prior.net.quantiser.encode(drawn), dot, ids)
    assert torch.allclose(torch.stack(asked, 1), whole, atol=1e-4) and whole.shape == (2, 5, 6)


def test_the_dot_product_is_drawn_from_the_upper_half_whose_buckets_are_equally_full(prior, z, monkeypatch):
    ids = prior.tokenizer(NAMES * 100)
    full = torch.bincount(torch.bucketize(prior._dots(z, ids), prior.edges), minlength=4)
    assert full.tolist() == [50, 50, 50, 50]
    told = []
    monkeypatch.setattr(NumberNet, "told", lambda net, dot, ids: told.append(dot) or torch.zeros(len(ids), 12, 16))
    prior.draw(ids, generator=seeded())
    assert set(told[0].tolist()) == {2, 3}


def test_guidance_moves_the_logits_away_from_those_without_text(prior):
    ids = prior.tokenizer(["a cat"] * 3)
    draw = {scale: prior.draw(ids, scale=scale, temperature=0.0, generator=seeded()) for scale in (0.0, 1.0, 4.0)}
    blank = prior.draw(prior._null(ids), temperature=0.0, generator=seeded())
    assert torch.equal(draw[0.0], blank)
    assert not torch.equal(draw[1.0], draw[4.0])


def test_the_loss_asks_for_every_number_and_hides_texts_while_it_trains(prior, z):
    ids = prior.tokenizer(NAMES * 2)
    tokens, dot = prior.net.quantiser.encode(z[:4]), torch.bucketize(prior._dots(z[:4], ids), prior.edges)
    logits = prior.net(tokens, dot, ids).log_softmax(2)
    assert prior.loss(z[:4], ids).item() == pytest.approx(-logits.gather(2, tokens[..., None]).mean().item(), rel=1e-5)
    hidden = AutoregressivePrior(prior.net, prior.tokenizer, drop=1.0).train()
    hidden.edges.copy_(prior.edges)
    blank = prior.net(tokens, dot, prior._null(ids)).log_softmax(2)
    assert hidden.loss(z[:4], ids).item() == pytest.approx(-blank.gather(2, tokens[..., None]).mean().item(), rel=1e-5)
    prior.loss(z[:4], ids).backward()
    assert all(weight.grad is None for weight in [*prior.net.text.parameters(), *prior.net.project.parameters()])
    assert prior.net.token_in.weight.grad.abs().max() > 0


def test_unclip_runs_with_it(prior):
    torch.manual_seed(0)
    net = EmbeddingUNet(embedding=8, channels=4, widths=(8, 16))
    autoencoder = KLAutoencoder(latent=4, width=16, blocks=1)
    decoder = EmbeddingDiffusion(autoencoder, Denoiser(net, cosine(), "x0", null=[0] * 8, drop=0.1)).eval()
    model = UnCLIP(CLIP(VisionTransformer(32, 8, 16, 1, 2), prior.net.text, 8, prior.tokenizer), prior, decoder)
    once, again = (model(NAMES, steps=2, generator=seeded()) for _ in range(2))
    assert once.shape == (2, 3, 32, 32) and torch.equal(once, again)
    ids = model.text(NAMES)
    drawn = prior.draw(ids.repeat_interleave(3, 0), generator=seeded()).unflatten(0, (2, 3))
    best = (drawn * prior.net.embed_text(ids)[:, None]).sum(2).argmax(1)
    told = model.embed(ids, n=3, generator=seeded())
    assert torch.allclose(told, F.normalize(drawn[torch.arange(2), best], dim=1), atol=1e-6)
