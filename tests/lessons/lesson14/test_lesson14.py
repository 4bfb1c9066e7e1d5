"""Lesson 14's widgets and measurements."""

import pytest
import torch
import torch.nn.functional as F

from minidiff import checkpoints, data, seed_everything, train
from minidiff.autoregressive_prior import Quantiser
from minidiff.dalle import VQVAE
from minidiff.exercises.core import find
from minidiff.lessons.lesson14 import claims as lesson14
from minidiff.lessons.lesson14 import slips, widgets
from minidiff.scorecard import stored


def test_a_picture_is_written_from_the_top():
    model = checkpoints.shipped("dalle-shapes")
    writer = widgets.written(model, "a red circle", temperatures=(1.0,), n=2)
    whole = writer.picture.src
    assert writer.picture.alt == "a red circle: 64 of 64 tokens at temperature 1.0"
    writer.set(count=0)
    assert writer.picture.src != whole and writer.picture.alt.startswith("a red circle: 0 of 64")
    first = widgets._first(12, 8, 4)
    assert first[:4].all() and first[4:8, :16].all() and not first[4:8, 16:].any() and not first[8:].any()


def test_the_middle_of_two_pictures_is_neither():
    model = checkpoints.shipped("unclip-emoji")
    a, b = F.normalize(torch.randn(2, 1, 64), dim=2)
    middle = widgets.middles(model, {"a": a, "b": b}, n=1)
    half = middle.picture.src
    assert middle.picture.alt == "0.5 of the way from a to b"
    middle.set(share=0.0)
    start = middle.picture.src
    middle.set(share=1.0)
    assert len({half, start, middle.picture.src}) == 3


def test_the_tokens_keep_what_the_marker_reads():
    kept = lesson14.rebuilt(checkpoints.shipped("vqvae-shapes"), 100)
    assert kept["attributes"] > 0.9 and kept["pairs"] > 0.8


def test_without_revival_most_entries_stay_unused():
    images = data.shapes("train", 200)[0]
    seed_everything(0)
    young = VQVAE(width=32, blocks=1, revive=False)
    train.run(train.fit(young, data.batches(images, size=16), steps=60, lr=3e-3))
    with torch.no_grad():
        used = young.encode(images).unique().numel()
    assert used <= 256 // 4 and find("14.predict_collapse").answer == "c"


def by_edges(y, low, high, buckets):
    columns = [torch.linspace(a, b, buckets + 1) for a, b in zip(low.tolist(), high.tolist())]
    tokens = torch.stack(
        [torch.bucketize(y[:, k].contiguous(), edges[1:-1], right=True) for k, edges in enumerate(columns)], 1
    )
    middles = torch.stack([(edges[1:] + edges[:-1]) / 2 for edges in columns])
    return tokens, torch.stack([middles[k][tokens[:, k]] for k in range(len(columns))], dim=1)


def by_distance(y, low, high, buckets):
    middles = low[:, None] + (torch.arange(buckets) + 0.5) / buckets * (high - low)[:, None]
    tokens = (y[:, :, None] - middles).abs().argmin(2)
    return tokens, middles.expand(len(y), -1, -1).gather(2, tokens[:, :, None])[:, :, 0]


def by_loops(y, low, high, buckets):
    tokens = torch.zeros(y.shape, dtype=torch.int32)
    for i in range(len(y)):
        for k in range(len(low)):
            share = float((y[i, k] - low[k]) / (high[k] - low[k]))
            tokens[i, k] = min(max(int(share * buckets), 0), buckets - 1)
    return tokens, torch.lerp(low.expand_as(y), high.expand_as(y), (tokens + 0.5) / buckets)


@pytest.mark.parametrize("answer", [by_edges, by_distance, by_loops])
def test_numbers_may_be_put_into_buckets_in_other_ways(answer):
    seed_everything(0)
    find("14.bucket")(answer)


def by_gumbel(next_logits, start, n, temperature, top_k, generator):
    tokens = start
    for _ in range(n):
        values, places = (next_logits(tokens) / temperature).topk(top_k)
        noise = -torch.log(-torch.log(torch.rand(values.shape, generator=generator)))
        tokens = torch.cat([tokens, places.gather(1, (values + noise).argmax(1, keepdim=True))], dim=1)
    return tokens


def by_mask(next_logits, start, n, temperature, top_k, generator):
    tokens = start.new_zeros(len(start), start.shape[1] + n)
    tokens[:, : start.shape[1]] = start
    for k in range(start.shape[1], tokens.shape[1]):
        share = (next_logits(tokens[:, :k]).double() / temperature).softmax(-1)
        kept = share * (share >= share.topk(top_k).values[:, -1:])
        tokens[:, k] = kept.multinomial(1, generator=generator).squeeze(1)
    return tokens


def by_pairs(z, codebook):
    ids = (z[:, None] - codebook[None, :, :, None, None]).square().sum(2).argmin(1)
    return codebook[ids].permute(0, 3, 1, 2).detach() + (z - z.detach()), ids


def token_by_token(model, ids, tokens, words):
    row = torch.cat([ids, words + tokens], dim=1)
    losses = [F.cross_entropy(model(row[:, :k])[:, -1], row[:, k]) for k in range(ids.shape[1], row.shape[1])]
    return torch.stack(losses).mean()


def set_place_by_place(blocks, words, *four):
    row = words.new_empty(len(words), words.shape[1] + 4, words.shape[2])
    row[:, :-4] = words
    for k, single in enumerate(four):
        row[:, k - 4] = single
    return blocks(row)[:, -1]


def by_mean_square(features):
    return features / features.square().mean(dim=1, keepdim=True).sqrt()


@pytest.mark.parametrize(
    "name, answer",
    [
        ("draw_tokens", by_gumbel),
        ("draw_tokens", by_mask),
        ("quantise", by_pairs),
        ("token_loss", token_by_token),
        ("read_out", set_place_by_place),
        ("prior_target", by_mean_square),
    ],
)
def test_other_right_answers_are_accepted(name, answer):
    seed_everything(0)
    find(f"14.{name}")(answer)


def test_each_slip_leads_elsewhere():
    seed_everything(0)
    z, codebook, features = torch.randn(2, 3, 4, 5), torch.randn(7, 3), 3 * torch.randn(5, 16)
    ids, tokens = torch.randint(9, (2, 6)), torch.randint(5, (2, 6))
    low, high, y = -torch.rand(4) - 0.2, torch.linspace(3.0, 0.5, 4), 2 * torch.randn(9, 4)
    placed = find("14.bucket").solution(y, low, high, 5)[0]
    tables = [
        slips.numbered(z, codebook),
        slips.rounded(z, codebook),
        slips.likeliest(torch.tensor([[2, 4], [0, 3]]), 4),
        slips.misread(torch.randn(3, 5, 4), *torch.randn(4, 3, 4)),
        slips.misplaced(y, low, high, 5),
        slips.mistold(y, placed, low, high, 5),
        slips.shifted(ids, tokens, 9),
        slips.sized(features),
    ]
    for table in tables:
        values = [value.double() for value in table.values()]
        pairs = [(a, b) for k, b in enumerate(values) for a in values[:k] if a.shape == b.shape]
        assert not any(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


def test_the_learners_buckets_are_those_of_the_quantiser():
    z = F.normalize(torch.randn(50, 6), dim=1)
    quantiser = Quantiser(6, 4, 8).measure(z)
    tokens, middles = find("14.bucket").solution(quantiser.coordinates(z), quantiser.low, quantiser.high, 8)
    assert torch.equal(tokens, quantiser.encode(z))
    assert torch.allclose(quantiser.mean + middles @ quantiser.axes, quantiser.decode(tokens), atol=1e-5)


def test_prompts_can_be_marked_and_names_are_of_their_split():
    said = lesson14.prompts("novel", 7)
    assert len(said) == 7 and all(data.shapes.asked(text) for text in said)
    assert set(lesson14.names("test", 20)) <= set(data.emoji("combinations", 32)[1])
    assert not set(lesson14.names("train", 20)) & set(data.emoji("combinations", 32)[1])


def test_rows_of_seeds_are_averaged():
    rows = [
        {"way": "a", "seed": 0, "right": 0.2},
        {"way": "a", "seed": 1, "right": 0.4},
        {"way": "b", "seed": 0, "right": 1.0},
    ]
    assert lesson14.averaged(rows, "way") == [{"way": "a", "right": pytest.approx(0.3)}, {"way": "b", "right": 1.0}]


def test_unclip_draws_what_it_is_asked_for():
    names = lesson14.names("train", 20)
    drawn = lesson14.unclip()(names, steps=5, generator=torch.Generator().manual_seed(0))
    assert data.emoji.marks(names, drawn).right > 0.3  # by chance one of 3,470


def test_each_claim_is_read_from_a_stored_table():
    assert all(claim.stored for claim in lesson14.claims([0], full=False))
    for name in ("14_dalle", "14_unclip"):
        rows = stored.read(name)
        assert {row["seed"] for row in rows} == {0, 1, 2}


def test_a_claim_that_does_not_hold_says_whether_the_seeds_overlap_or_all_say_the_opposite():
    def why(more, less):
        return lesson14._compared("", "", more, less, "", "the opposite").why

    assert [why([3, 4], [1, 2]), why([2, 4], [1, 3]), why([1, 2], [3, 4])] == ["", lesson14.OVERLAP, "the opposite"]
