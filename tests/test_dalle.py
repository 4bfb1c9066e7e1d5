"""Pictures as tokens: rounding with a gradient, a codebook that lives, the writer against GPT-2, cached drawing."""

import pytest
import torch

from minidiff import checkpoints, seeded
from minidiff.dalle import DALLE, VQVAE, choose, quantise, reranked
from minidiff.transformer import Block, Tokenizer


@pytest.fixture
def small():
    torch.manual_seed(0)
    words = Tokenizer.train(["a red circle", "a blue square"], vocabulary=265, length=12)
    return DALLE(VQVAE(latent=4, width=16, blocks=1, codes=20), words, side=4, width=16, layers=2, heads=2).eval()


def test_each_place_gets_its_closest_entry_and_its_gradient_straight():
    torch.manual_seed(0)
    z = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    codebook = torch.randn(7, 3, dtype=torch.float64)
    rounded, ids = quantise(z, codebook)
    for b, i, j in ((0, 0, 0), (1, 3, 4), (0, 2, 1)):
        away = (codebook - z[b, :, i, j]).square().sum(1)
        assert ids[b, i, j] == away.argmin()
        assert torch.allclose(rounded[b, :, i, j], codebook[ids[b, i, j]])
    weight = torch.randn_like(rounded)
    (slope,) = torch.autograd.grad((weight * rounded.sin()).sum(), z)
    assert torch.allclose(slope, weight * rounded.cos())  # of sin at the entry, as if z were the entry


def test_an_entry_is_the_running_mean_of_what_was_rounded_to_it():
    torch.manual_seed(0)
    model = VQVAE(latent=2, codes=3, revive=False)
    z = torch.randn(4, 2, 3, 3)
    ids = torch.zeros(4, 3, 3, dtype=torch.long)
    ids[:, 0] = 1
    before = model.codebook.clone()
    model.move(z, ids)
    rows = z.movedim(1, -1)
    assert torch.allclose(model.codebook[0], rows[ids == 0].mean(0), atol=1e-5)
    assert torch.allclose(model.codebook[1], rows[ids == 1].mean(0), atol=1e-5)
    assert torch.equal(model.codebook[2], before[2])  # nobody's closest: it stays
    model.move(z + 1, ids)
    mean = (rows[ids == 0].mean(0) * 0.99 + (rows[ids == 0] + 1).mean(0)) / 1.99
    assert torch.allclose(model.codebook[0], mean, atol=1e-5)


def test_dead_entries_begin_anew_at_places_of_the_batch():
    torch.manual_seed(0)
    model = VQVAE(latent=2, codes=50)
    z = torch.randn(4, 2, 3, 3)
    model.move(z, torch.zeros(4, 3, 3, dtype=torch.long))
    rows = z.movedim(1, -1).flatten(0, 2)
    assert torch.cdist(model.codebook[1:], rows).amin(1).max() < 1e-3
    assert (model.counts[1:] == 1).all()


def test_the_codebook_moves_in_training_alone():
    model = VQVAE(latent=4, width=16, blocks=1, codes=20)
    before = model.codebook.clone()
    model.eval().loss(torch.randn(2, 3, 32, 32))
    assert torch.equal(model.codebook, before)
    terms = model.train().terms(torch.randn(2, 3, 32, 32))
    assert not torch.equal(model.codebook, before)
    terms["reconstruction"].backward()
    assert model.encoder[1].weight.grad.abs().max() > 0  # through the rounding


def test_the_writer_is_gpt_2(small):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=small.words + 20,
        n_positions=28,
        n_embd=16,
        n_layer=2,
        n_head=2,
        activation_function="quick_gelu",
        tie_word_embeddings=False,
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    text = small.writer.text
    state = {"wte.weight": text.token_embed.weight, "wpe.weight": text.pos_embed}
    state |= {f"ln_f.{name}": weight for name, weight in text.norm.named_parameters()}
    for i, block in enumerate(text.blocks):
        state |= {f"h.{i}.{name}": weight for name, weight in _gpt2(block).items()}
    theirs.transformer.load_state_dict(state)
    theirs.lm_head.weight.data.copy_(small.writer.head.weight)
    tokens, ids = torch.randint(20, (3, 16)), small.read(["a red circle", "a blue square", ""])
    row = torch.cat([ids, small.words + tokens[:, :-1]], dim=1)
    with torch.no_grad():
        wanted = theirs(row).logits + small.writer.head.bias
        assert torch.allclose(small.logits(ids, tokens), wanted[:, 11:, small.words :], atol=1e-5)


def _gpt2(block: Block) -> dict:
    """A block's weights under GPT-2's names, whose linear layers are stored the other way round."""
    attention = block.attention
    linear = {"mlp.c_fc": block.fc1, "mlp.c_proj": block.fc2, "attn.c_proj": attention.out}
    found = {f"{name}.weight": layer.weight.T for name, layer in linear.items()}
    found |= {f"{name}.bias": layer.bias for name, layer in linear.items()}
    for part in ("weight", "bias"):
        found[f"ln_1.{part}"] = getattr(block.norm1, part)
        found[f"ln_2.{part}"] = getattr(block.norm2, part)
        both = torch.cat([getattr(attention.query, part), getattr(attention.key_value, part)])
        found[f"attn.c_attn.{part}"] = both.T if part == "weight" else both
    return found


def test_drawing_with_a_cache_is_drawing_without(small):
    ids = small.read(["a red circle", "a blue square"])
    with torch.no_grad():
        tokens = torch.randint(20, (2, 3))
        caches_whole = small.generate(ids, temperature=0.0, given=tokens).flatten(1)
        for i in range(3, 16):
            blank = torch.cat([caches_whole[:, :i], torch.zeros(2, 1, dtype=torch.long)], dim=1)
            assert torch.equal(small.logits(ids, blank)[:, i].argmax(1), caches_whole[:, i])
    assert torch.equal(caches_whole[:, :3], tokens)
    once, again = (small(["a red circle"], generator=seeded(1)) for _ in range(2))
    assert torch.equal(once, again) and once.shape == (1, 3, 16, 16)


def test_no_place_sees_the_token_that_it_predicts(small):
    ids, tokens = small.read("a red circle"), torch.randint(20, (1, 16))
    with torch.no_grad():
        before = small.logits(ids, tokens)
        for i in (0, 7, 15):
            other = tokens.clone()
            other[0, i] = (tokens[0, i] + 1) % 20
            moved = (small.logits(ids, other) - before).abs().amax(2)[0] > 1e-6
            assert not moved[: i + 1].any() and (i == 15 or moved[i + 1])


def test_tokens_are_drawn_from_the_softmax_of_the_likeliest():
    logits = torch.tensor([[1.0, 3.0, 2.0, -4.0]]).expand(20_000, -1)
    often = torch.bincount(choose(logits, 0.5, 2, seeded()), minlength=4) / 20_000
    assert torch.allclose(
        often, torch.tensor([0, 1 / (1 + 2.718281828**-2), 1 - 1 / (1 + 2.718281828**-2), 0]), atol=0.02
    )
    assert (choose(logits[:3], 0.0) == 1).all()
    with pytest.raises(ValueError, match="top_k: got 9"):
        choose(logits[:3], 1.0, 9)


def test_reranking_puts_the_picture_first_that_clip_likes_best(small):
    clip = checkpoints.shipped("clip-shapes")
    small.decode = lambda tokens: torch.rand(len(tokens), 3, 32, 32, generator=seeded(3))
    small.decoder = small.decode
    images, cosines = reranked(small, clip, ["a red circle"], 5, generator=seeded())
    assert images.shape == (1, 5, 3, 32, 32) and (cosines.diff() <= 0).all()
    with torch.no_grad():
        again = clip.encode_image(images[0]) @ clip.encode_texts("a red circle").T
    assert torch.allclose(again[:, 0], cosines[0], atol=1e-5)


def test_wrong_sizes_and_tokens_are_refused(small):
    with pytest.raises(ValueError, match="multiples of f = 4"):
        small.vqvae.encode(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match="ids"):
        small.vqvae.decode(torch.full((1, 8, 8), 20))


def test_ids_that_are_a_pictures_tokens_are_no_words(small):
    """Labels counted from 1, say, in place of a text: the last of them would be read as the first entry."""
    tokens = torch.zeros(2, 16, dtype=torch.long)
    beyond = torch.full((2, 3), small.words)
    for call in (lambda: small.loss(tokens, beyond), lambda: small.generate(beyond)):
        with pytest.raises(ValueError, match=f"ids: got numbers from {small.words} to {small.words}"):
            call()


def test_a_picture_of_another_size_is_refused(small):
    """It would train, and be drawn with rows of another length."""
    with pytest.raises(ValueError, match=r"tokens: got int64 tensor of shape \(2, 9\), expected shape \(B, 16\)"):
        small.loss(torch.zeros(2, 9, dtype=torch.long), small.read(["a red circle"] * 2))
    with pytest.raises(ValueError, match="x: got values from 0 to 255"):
        small.vqvae.loss(torch.linspace(0, 255, 2 * 3 * 64).reshape(2, 3, 8, 8))
