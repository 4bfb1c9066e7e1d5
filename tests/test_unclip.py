"""The prior's sentence and its mask, best of two, embeddings as prompts, ways between them."""

import pytest
import torch
import torch.nn.functional as F

from minidiff import seeded
from minidiff.clip import CLIP
from minidiff.denoiser import Denoiser
from minidiff.latent import KLAutoencoder
from minidiff.schedule import cosine
from minidiff.transformer import TextEncoder, Tokenizer, VisionTransformer
from minidiff.unclip import EmbeddingDiffusion, EmbeddingUNet, Prior, PriorNet, UnCLIP, between, changed, scores


@pytest.fixture
def prior():
    torch.manual_seed(0)
    words = Tokenizer.train(["a red heart", "a cat"], vocabulary=600, length=10)
    net = PriorNet(TextEncoder(words.vocabulary, 16, 1, 2, 10), embedding=8, width=16, layers=2, heads=2)
    blank = words.encode("")
    return Prior(Denoiser(net, cosine(), "x0", null=blank + [0] * 8, drop=0.1), words).eval()


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    net = EmbeddingUNet(embedding=8, channels=4, widths=(8, 16))
    autoencoder = KLAutoencoder(latent=4, width=16, blocks=1)
    return EmbeddingDiffusion(autoencoder, Denoiser(net, cosine(), "x0", null=[0] * 8, drop=0.1)).eval()


def test_the_answer_has_seen_every_token_and_no_token_sees_a_later_one(prior):
    net = prior.denoiser.net
    row = torch.randn(1, 14, 16)
    with torch.no_grad():
        before = net.blocks(row)
        for i in range(14):
            other = row.clone()
            other[0, i] += torch.randn(16)
            moved = (net.blocks(other) - before).abs().amax(2)[0] > 1e-6
            assert not moved[:i].any() and moved[i:].all()


def test_the_sentence_is_words_text_time_noisy_and_the_one_that_asks(prior):
    net, ids = prior.denoiser.net, prior.tokenizer(["a red heart"])
    x, t = torch.randn(1, 8), torch.tensor([0.4])
    with torch.no_grad():
        row = net.tokens(x, t, ids)
        later = net.tokens(x, torch.tensor([0.5]), ids)
        noisier = net.tokens(x + 1, t, ids)
        other = net.tokens(x, t, prior.tokenizer(["a cat"]))
        answer = net(x, t, ids)
        assert torch.allclose(answer, net.out(net.norm(net.blocks(row)))[:, 13])

    def places(changed):
        return ((changed - row).abs().amax(2)[0] > 1e-6).nonzero()[:, 0].tolist()

    assert row.shape == (1, 14, 16)
    assert places(later) == [12 - 1] and places(noisier) == [12]
    assert max(places(other)) == 10


def test_the_loss_is_that_of_scaled_embeddings_and_trains_no_part_of_clip(prior):
    z, ids = F.normalize(torch.randn(4, 8), dim=1), prior.tokenizer(["a cat"] * 4)
    torch.manual_seed(1)
    loss = prior.loss(z, ids)
    torch.manual_seed(1)
    assert loss == prior.denoiser.loss(8**0.5 * z, ids)
    loss.backward()
    net = prior.denoiser.net
    assert all(weight.grad is None for weight in [*net.text.parameters(), *net.project.parameters()])
    assert net.ask.grad.abs().max() > 0


def test_of_two_draws_the_better_one_is_kept(prior):
    ids = prior.tokenizer(["a cat", "a red heart"])
    drawn = prior.draw(ids.repeat_interleave(3, 0), generator=seeded()).unflatten(0, (2, 3))
    text = prior.denoiser.net.embed_text(ids)
    for by in ("dot", "cosine"):
        best = prior(ids, n=3, by=by, generator=seeded())
        order = scores(drawn, text, by).argmax(1)
        assert torch.allclose(best, F.normalize(drawn[torch.arange(2), order], dim=1), atol=1e-6)
    with pytest.raises(ValueError, match="by"):
        prior(ids, by="length")


def test_the_dot_product_likes_long_vectors_and_the_cosine_does_not():
    text = torch.tensor([[1.0, 0.0]])
    drawn = torch.tensor([[[0.6, 0.0], [2.0, 1.0]]])
    assert scores(drawn, text).argmax() == 1 and scores(drawn, text, "cosine").argmax() == 0


def test_the_decoder_hears_its_embedding():
    torch.manual_seed(0)
    net = EmbeddingUNet(embedding=8, channels=4, widths=(8, 16))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x, t = torch.randn(2, 4, 8, 8), torch.full((2,), 0.5)
    z = F.normalize(torch.randn(2, 8), dim=1)
    with torch.no_grad():
        assert not torch.allclose(net(x, t, z), net(x, t, z.flip(0)), atol=1e-3)


def test_zeros_are_no_embedding(decoder):
    assert decoder.read("").shape == (1, 8) and not decoder.read("").any()
    z = F.normalize(torch.randn(2, 8), dim=1)
    assert torch.equal(decoder.read(z), z)
    assert decoder(z, steps=2, generator=seeded()).shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="prompts: got"):
        decoder.read(torch.zeros(2, 9))


def test_words_go_to_an_embedding_to_a_picture_with_a_prior_and_without(prior, decoder):
    clip = CLIP(VisionTransformer(32, 8, 16, 1, 2), prior.denoiser.net.text, 8, prior.tokenizer)
    for made in (prior, None):
        model = UnCLIP(clip, made, decoder)
        once, again = (model(["a red heart", "a cat"], steps=2, generator=seeded()) for _ in range(2))
        assert once.shape == (2, 3, 32, 32) and torch.equal(once, again)
        told = model.embed(model.text("a cat"), generator=seeded())
        assert torch.allclose(told.norm(dim=1), torch.ones(1))
        assert torch.equal(told, clip.encode_text(model.text("a cat"))) == (made is None)


def test_the_way_between_two_embeddings_is_an_arc_walked_evenly():
    a, b = torch.eye(3)[:1], F.normalize(torch.tensor([[1.0, 2.0, 0.0]]), dim=1)
    whole = (a * b).sum().acos()
    for share in (0.0, 0.3, 1.0):
        point = between(a, b, share)
        assert point.norm() == pytest.approx(1) and (point * a).sum().clamp(max=1).acos() == pytest.approx(
            float(share * whole), abs=1e-3
        )
    turned = changed(a, torch.eye(3)[1:2], torch.eye(3)[2:3], 0.5)
    assert turned[0, 2] > 0.3 and turned[0, 1] < -0.3
