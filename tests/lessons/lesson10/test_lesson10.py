"""Lesson 10: the exact probabilities of captions, the widgets, and what the table of pictures is said to show."""

import math

import numpy as np
import pytest
import torch

from minidiff import seeded
from minidiff.data.shapes.scene import caption, imagine
from minidiff.lessons.lesson10 import claims, grammar, trained, widgets
from minidiff.recipes.shapes import tokenizer
from minidiff.transformer import END, PADDING, START, LanguageModel

SENTENCE = "a small red circle above a blue square"


@pytest.fixture(scope="module")
def words():
    return tokenizer()


@pytest.fixture(scope="module")
def model(words):
    torch.manual_seed(0)
    return LanguageModel(words.vocabulary, width=32, layers=2, heads=4).eval()


def test_the_templates_are_all_there_is_and_none_twice():
    shares, texts = zip(*grammar.templates())
    assert sum(shares) == pytest.approx(1) and len(set(texts)) == len(texts)


def test_captions_of_the_program_have_the_probability_that_the_grammar_says():
    rng = np.random.default_rng(3)
    nats = [-grammar.log_prob(caption(imagine(rng, "train"), rng)) for _ in range(4000)]
    assert all(map(math.isfinite, nats))
    assert abs(np.mean(nats) - grammar.entropy()) < 4 * np.std(nats) / len(nats) ** 0.5


def test_the_probability_of_a_caption_is_the_product_of_its_next_words():
    for text in ("there is a red circle", "on a black background there is a big cyan square and a blue cross"):
        product, before = 1.0, ""
        for word in [*text.split(), None]:
            product *= grammar.next_words(before)[word]
            before = f"{before} {word}"
        assert math.log(product) == pytest.approx(grammar.log_prob(text))


@pytest.mark.parametrize("text", ["a red circle on a red background", "a red cross", "a circle", ""])
def test_what_the_program_never_writes_is_impossible(text):
    assert grammar.log_prob(text) == -math.inf


def test_a_language_model_counts_the_end_and_no_padding(model, words):
    ids = words([SENTENCE, "a red circle"])
    shares = model(ids).log_softmax(2)
    for row, nats, each in zip(ids, model.nats(ids), shares):
        last = row.tolist().index(END)
        wanted = -sum(each[i, row[i + 1]].item() for i in range(last))
        assert nats.item() == pytest.approx(wanted, rel=1e-4)
    assert model.loss(ids).item() == pytest.approx(model.nats(ids).mean().item())


def test_what_is_written_begins_at_the_start_and_is_padded_behind_its_end(model):
    with torch.no_grad():
        model.head.bias[END] += 3
        ids = model.sample(40, seeded())
        model.head.bias[END] -= 3
    assert (ids[:, 0] == START).all() and (ids == END).any(1).sum() > 20
    for row in ids[(ids == END).any(1)].tolist():
        assert set(row[row.index(END) + 1 :]) <= {PADDING}


def test_the_widget_shows_the_models_and_the_exact_probability(model, words):
    shown = widgets.guesses(model, words, "a small red", best=words.vocabulary)
    likely = model(words(["a small red"])[:, :4])[0, -1].softmax(0)
    assert shown["circle"] == (pytest.approx(likely[words.encode("circle")[1]].item()), pytest.approx(0.25))
    assert shown["cross"][1] == 0  # a red cross is never shown
    explorer = widgets.next_word(model, words)
    explorer.set(text="a zebra")
    assert explorer.picture.alt.startswith("after “a zebra” the model expects: ")
    with pytest.raises(ValueError, match="expected"):
        explorer.set(text="red " * 40)
    explorer.reset()
    assert explorer.picture.src and not explorer.picture.error


def test_the_attention_that_is_shown_is_the_models(model, words):
    ids = torch.tensor(words.encode(SENTENCE)[:-1])
    shown = widgets.attention_weights(model, ids)
    assert len(shown) == 2 and all(w.shape == (4, len(ids), len(ids)) for w in shown)
    for weights in shown:
        torch.testing.assert_close(weights.sum(2), torch.ones(4, len(ids)))
        assert weights.triu(1).abs().max() == 0
    part = model.text.blocks[0]
    x = part.norm1(model.text.token_embed(ids[None]) + model.text.pos_embed[: len(ids)])
    v = part.attention.key_value(x).chunk(2, dim=2)[1][0].unflatten(1, (4, -1)).transpose(0, 1)
    by_hand = part.attention.out((shown[0] @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(by_hand, part.attention(x)[0], atol=1e-5, rtol=1e-4)


def test_the_widget_of_attention_names_what_the_last_token_looks_at(model, words):
    explorer = widgets.attention(model, words, SENTENCE)
    explorer.set(block=2, head=3)
    weights = widgets.attention_weights(model, torch.tensor(words.encode(SENTENCE)[:-1]))[1][2, -1]
    seen = ["(start)", *SENTENCE.split()][weights.argmax()]
    told = f"block 2, head 3 on “{SENTENCE}”: the last token, square, looks most at {seen}, {weights.max():.0%}"
    assert explorer.picture.alt == told


def test_the_two_nets_have_nearly_equally_many_weights():
    counts = [sum(weight.numel() for weight in net().parameters()) for net in trained.NETS.values()]
    assert counts == [165_208, 169_144]


def test_the_table_is_read_as_it_is():
    rows = [
        {"net": net, "pictures": n, "accuracy": share}
        for net, few, many in ((trained.VIT, 0.5, 0.99), (trained.CNN, 0.7, 0.98))
        for n, share in ((300, few), (30_000, many))
    ]
    behind, ahead = claims.of_data(rows)
    assert behind.holds and ahead.holds and "0.5" in behind.ours
    rows[1]["accuracy"] = 0.97
    assert not claims.of_data(rows)[1].holds
