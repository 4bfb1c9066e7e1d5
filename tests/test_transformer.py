"""The tokenizer loses nothing and merges as byte-pair encoding does; the text tower is transformers' CLIPTextModel."""

import copy
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTextConfig, CLIPTextModel

from minidiff.pretrained.clip import _renamed
from minidiff.transformer import END, PADDING, START, TextEncoder, Tokenizer, WordEmbedding, merge

CAPTIONS = ["a large red circle on a blue background", "a small green square on the left, on a white background"]
TOKENIZER = Tokenizer.train(CAPTIONS, vocabulary=400)


def test_training_merges_the_most_frequent_pair_first():
    #  " ab ab ab ac": (a, b) and (space, a) and so on; worked out by hand
    tokenizer = Tokenizer.train(["ab ab ab ac"], vocabulary=259 + 3)
    space, a, b, c = (3 + byte for byte in b" abc")
    assert tokenizer.merges == [(space, a), (259, b), (259, c)]
    assert tokenizer.encode("ab ac b") == [START, 260, 261, space, b, END]
    assert Tokenizer.train(["ab ab ab ac"]).vocabulary == 262  # nothing is left to merge
    assert Tokenizer.train(["ab ab ab ac"], vocabulary=259).merges == []


def test_pairs_are_merged_from_the_left_in_the_order_of_training():
    assert merge([1, 1, 1, 2], (1, 1), 9) == [9, 1, 2]
    a, b, c = (3 + byte for byte in b"abc")
    tokenizer = Tokenizer([(b, c), (a, b)])  # " abc": b c was found first, so a is left alone
    assert tokenizer.encode("abc")[2:-1] == [a, 259]


def test_a_known_word_is_one_token_and_none_reaches_over_a_space():
    assert TOKENIZER.tokens("A large  circle, on the left") == [" a", " large", " circle", ",", " on", " the", " left"]
    assert all(b" " not in piece[1:] for piece in TOKENIZER.pieces)
    assert Tokenizer.train(CAPTIONS, vocabulary=400).merges == TOKENIZER.merges


@given(st.text(max_size=40))
def test_any_text_survives(text):
    ids = TOKENIZER.encode(text)
    assert (ids[0], ids[-1]) == (START, END) and min(ids[1:-1], default=3) >= 3 and max(ids) < TOKENIZER.vocabulary
    wanted = " ".join(text.lower().split())
    assert TOKENIZER.decode(ids) == wanted.encode("utf-8", "replace").decode()


def test_rows_are_filled_up_and_decoded_without_marks():
    rows = TOKENIZER(["a red circle", "", "猫"])
    assert rows.shape == (3, 24) and rows.dtype == torch.int64
    assert rows[1].tolist() == [START, END] + [PADDING] * 22
    assert [TOKENIZER.decode(row) for row in rows] == ["a red circle", "", "猫"]
    assert torch.equal(TOKENIZER("a red circle"), rows[:1])
    assert Tokenizer(TOKENIZER.merges, length=5)("a red circle").tolist() == rows[:1, :5].tolist()  # it just fits
    assert copy.deepcopy(TOKENIZER).decode(rows[0]) == "a red circle"
    assert TOKENIZER.decode([3 + 0xE7]) == "\N{REPLACEMENT CHARACTER}"  # a third of a sign


def test_what_does_not_fit_is_refused():
    for call, message in [
        (lambda: Tokenizer([], 5)("abcd"), "texts: got 'abcd', 7 tokens with start and end, expected at most 5"),
        (lambda: TOKENIZER([]), "texts: got none"),
        (lambda: Tokenizer.train([]), "texts: got none"),
        (lambda: Tokenizer.train(["a"], vocabulary=258), "vocabulary: got 258"),
        (lambda: Tokenizer([(3, 259)]), "merges: got (3, 259)"),
        (lambda: Tokenizer([(3, 0)]), "merges: got 0"),
        (lambda: Tokenizer([], 1), "length: got 1"),
        (lambda: TOKENIZER.decode([TOKENIZER.vocabulary]), "ids: got"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    for texts, kind in ((None, "NoneType"), (3, "int"), (b"a", "bytes")):
        for read in (TOKENIZER, TOKENIZER.knowing(["a"]).unknown):
            with pytest.raises(TypeError, match=f"texts: got {kind}, expected at least one str"):
                read(texts)
    for call in (lambda: TOKENIZER(["a", 3]), lambda: TOKENIZER.encode(None), lambda: Tokenizer.train([b"a"])):
        with pytest.raises(TypeError, match="text"):
            call()


def test_a_word_by_itself():
    words = WordEmbedding(50, width=6, length=8)
    ids = torch.tensor([[1, 7, 9, 2], [1, 9, 7, 2]])
    out = words(ids)
    assert out.shape == (2, 4, 6) and words.width == 6
    changed = words(torch.tensor([[1, 7, 8, 2], [1, 9, 7, 2]]))
    assert ((changed - out).abs().amax(2) > 0).tolist() == [[False, False, True, False], [False] * 4]
    torch.testing.assert_close(out[0, 1] - words.pos_embed[1], out[1, 2] - words.pos_embed[2])  # 7, in two places
    torch.testing.assert_close(words(ids[:, :2]), out[:, :2])


@pytest.mark.parametrize("width, layers, heads, length", [(32, 2, 4, 24), (48, 1, 3, 9)])
def test_the_text_tower_is_transformers(width, layers, heads, length):
    sizes = dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width)
    theirs = CLIPTextModel(
        CLIPTextConfig(vocab_size=60, max_position_embeddings=length, eos_token_id=59, projection_dim=8, **sizes)
    ).eval()
    for weight in theirs.parameters():  # new ones have biases of zero and norms of one
        torch.nn.init.normal_(weight, std=0.3)
    ours = TextEncoder(60, width, layers, heads, length, end=59)
    weights = {f"text_model.{name.removeprefix('text_model.')}": w for name, w in theirs.state_dict().items()}
    ours.load_state_dict({name.removeprefix("text."): w for name, w in _renamed(weights).items()})
    ids = torch.randint(0, 59, (5, length))
    for row, end in zip(ids, (2, 4, length - 1, 3, 1)):
        row[end:] = 59  # the first one counts: published tokenizers fill rows up with it
    with torch.no_grad():
        out = theirs(ids)
        torch.testing.assert_close(ours(ids), out.last_hidden_state, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.pooled(ids), out.pooler_output, atol=1e-5, rtol=0)


def test_a_word_reads_what_stands_before_it_and_padding_changes_nothing():
    tower = TextEncoder(50, 16, 2, 2, 12)
    ids = torch.tensor([[1, 7, 9, 5, 2, 0, 0]])
    out, later = tower(ids), ids.clone()
    later[0, 3] = 6
    assert ((tower(later) - out).abs().amax(2) > 1e-6).tolist() == [[False] * 3 + [True] * 4]
    longer = torch.cat([ids, ids.new_zeros(1, 5)], 1)
    torch.testing.assert_close(tower.pooled(longer), tower.pooled(ids))
    torch.testing.assert_close(tower.pooled(ids), out[:, 4])
    assert tower.width == 16


def test_bad_ids_are_refused():
    for net in (WordEmbedding(50, 8, 6), TextEncoder(50, 8, 1, 1, 6)):
        for ids, message in [
            (torch.zeros(1, 7, dtype=torch.int64), "ids: got shape (1, 7), expected (B, L), L at most 6"),
            (torch.zeros(3, dtype=torch.int64), "ids: got shape (3,)"),
            (torch.zeros(0, 3, dtype=torch.int64), "ids: got shape (0, 3)"),
            (torch.full((1, 3), 50), "ids: got 50 to 50, expected 0 to 49"),
            (torch.full((1, 3), -1), "ids: got -1 to -1"),
        ]:
            with pytest.raises(ValueError, match=re.escape(message)):
                net(ids)
        with pytest.raises(TypeError, match="ids: got torch.float32"):
            net(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="ids: got a row without the id 2"):
        TextEncoder(50, 8, 1, 1, 6).pooled(torch.ones(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="end: got 50"):
        TextEncoder(50, end=50)
