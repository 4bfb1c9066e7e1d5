"""Each part against its formula written out with loops, in float64, and what it does with bad input."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minidiff import data, train
from minidiff.denoiser import Denoiser
from minidiff.nn import Attention, FiLM, PointNet, ResidualBlock, TimeEmbedding, attend, group_norm, time_mlp
from minidiff.schedule import cosine


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def rand(*shape, **options):
    return torch.randn(*shape, dtype=torch.float64, **options)


def awake(block: ResidualBlock) -> ResidualBlock:
    """The block after its zero-initialised convolution has learned something."""
    nn.init.normal_(block.conv2.weight, std=0.1)
    nn.init.normal_(block.conv2.bias, std=0.1)
    return block.double()


# Time embedding


@pytest.mark.parametrize("dim, batch", [(2, 1), (6, 2), (64, 16), (10, 33)])
def test_time_embedding_is_sines_then_cosines(dim, batch):
    t = torch.rand(batch, dtype=torch.float64)
    rows = []
    for value in t.tolist():
        angles = [1000 * value / 10_000 ** (2 * i / dim) for i in range(dim // 2)]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    torch.testing.assert_close(TimeEmbedding(dim)(t), torch.tensor(rows, dtype=torch.float64))


def test_time_embedding_equals_diffusers_at_the_steps():
    from diffusers.models.embeddings import get_timestep_embedding

    steps = torch.arange(0, 1001, 50)
    expected = get_timestep_embedding(steps, 128, downscale_freq_shift=0)
    torch.testing.assert_close(TimeEmbedding(128)(steps / 1000), expected, atol=2e-4, rtol=0)


def test_time_embedding_tells_neighbouring_steps_apart_and_moves_smoothly():
    t = torch.arange(1001) / 1000
    rows = TimeEmbedding(64)(t)
    gap = torch.cdist(rows, rows)
    assert gap.fill_diagonal_(9).min() > 0.1
    assert (rows[1:] - rows[:-1]).norm(dim=1).max() < 3  # of a diameter 2 sqrt(32) = 11


def test_a_single_time_gives_a_single_row():
    embed = TimeEmbedding(8)
    assert embed(torch.tensor(0.3)).shape == (1, 8)
    assert torch.equal(embed(torch.tensor(0.3)), embed(torch.full((5,), 0.3))[:1])
    assert torch.equal(embed(torch.tensor(0.0)), torch.tensor([[0.0] * 4 + [1.0] * 4]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_time_embedding_computes_half_precision_times_in_full(dtype):
    t = torch.tensor([0.25, 0.5, 0.8125], dtype=dtype)  # exact in both
    got = TimeEmbedding(32).to(dtype)(t)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), TimeEmbedding(32)(t.float()), atol=0.01, rtol=0)


def test_time_mlp_mixes_the_waves():
    mlp = time_mlp(16, 24).double()
    t = torch.rand(5, dtype=torch.float64)
    first, second = mlp[1], mlp[3]
    hidden = TimeEmbedding(16)(t) @ first.weight.T + first.bias
    expected = (hidden * torch.sigmoid(hidden)) @ second.weight.T + second.bias
    torch.testing.assert_close(mlp(t), expected)
    assert mlp(torch.tensor(0.5, dtype=torch.float64)).shape == (1, 24)


# Residual block


def normalised(x, norm: nn.GroupNorm):
    """Group norm with loops: each group of each picture to mean 0 and variance 1, then the channel's own gain."""
    out = torch.empty_like(x)
    size = x.shape[1] // norm.num_groups
    for b in range(len(x)):
        for start in range(0, x.shape[1], size):
            group = x[b, start : start + size]
            scaled = (group - group.mean()) / (group.var(correction=0) + norm.eps).sqrt()
            for c in range(size):
                out[b, start + c] = scaled[c] * norm.weight[start + c] + norm.bias[start + c]
    return out


@pytest.mark.parametrize("shape, out, embed", [((2, 8, 5, 3), 8, None), ((3, 6, 4, 4), 16, 7), ((16, 16, 2, 16), 8, 5)])
def test_residual_block_is_its_formula(shape, out, embed):
    block = awake(ResidualBlock(shape[1], out, embed))
    x = rand(*shape)
    for norm in (block.norm1, block.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    embedding = None if embed is None else rand(shape[0], embed)
    h = F.conv2d(F.silu(normalised(x, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1)
    h = normalised(h, block.norm2)
    if embed is not None:
        both = F.silu(embedding) @ block.film.linear.weight.T + block.film.linear.bias
        for b in range(shape[0]):
            for c in range(out):
                h[b, c] = h[b, c] * (1 + both[b, c]) + both[b, out + c]
    h = F.conv2d(F.silu(h), block.conv2.weight, block.conv2.bias, padding=1)
    kept = x if shape[1] == out else F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, embedding), kept + h)


def test_a_new_block_is_its_shortcut():
    x, embedding = torch.randn(3, 8, 4, 4), torch.randn(3, 5)
    assert torch.equal(ResidualBlock(8, 8, 5)(x, embedding), x)
    wider = ResidualBlock(8, 12)
    assert torch.equal(wider(x), wider.shortcut(x))


def test_one_embedding_serves_the_whole_batch():
    block, x, embedding = awake(ResidualBlock(8, 8, 5)), rand(4, 8, 3, 3), rand(1, 5)
    torch.testing.assert_close(block(x, embedding), block(x, embedding.expand(4, 5)))


def test_the_embedding_moves_only_its_own_picture():
    block, x, embedding = awake(ResidualBlock(8, 8, 5)), rand(4, 8, 3, 3), rand(4, 5)
    other = embedding.clone()
    other[2] += 1
    moved = (block(x, other) - block(x, embedding)).flatten(1).abs().sum(dim=1)
    assert (moved > 0).tolist() == [False, False, True, False]


def test_gradients_reach_every_parameter_after_the_first_step():
    block, x, embedding = ResidualBlock(8, 16, 5), torch.randn(4, 8, 4, 4), torch.randn(4, 5)
    target = torch.randn(4, 16, 4, 4)
    optimiser = torch.optim.SGD(block.parameters(), lr=0.1)
    for step in range(2):
        optimiser.zero_grad()
        (block(x, embedding) - target).square().mean().backward()
        reached = {name: bool(p.grad.abs().sum() > 0) for name, p in block.named_parameters()}
        if step == 0:  # the zero convolution holds everything before it back for one step, and itself learns
            assert reached["conv2.weight"] and reached["shortcut.weight"] and not reached["conv1.weight"]
        optimiser.step()
    assert all(reached.values()), reached


def test_gradients_are_those_of_finite_differences():
    block = awake(ResidualBlock(4, 8, 3))
    inputs = (rand(2, 4, 3, 3, requires_grad=True), rand(2, 3, requires_grad=True))
    assert torch.autograd.gradcheck(block, inputs)
    attention, mask = Attention(4, 2, context=3).double(), torch.tensor([[True, False], [False, False]])
    inputs = (rand(2, 3, 4, requires_grad=True), rand(2, 2, 3, requires_grad=True), mask)
    assert torch.autograd.gradcheck(attention, inputs)


def test_residual_block_keeps_channels_last():
    x = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last)
    block = ResidualBlock(8, 16, 5).to(memory_format=torch.channels_last)
    assert block(x, torch.randn(2, 5)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "channels, groups", [(1, 1), (4, 1), (6, 1), (8, 2), (12, 1), (24, 2), (32, 8), (96, 8), (320, 8)]
)
def test_group_norm_has_at_most_eight_groups_of_four_or_more(channels, groups):
    assert group_norm(channels).num_groups == groups


# Attention


def attention_by_hand(layer: Attention, x, source, allowed):
    """Loops over picture, head and query; `allowed(b, i, j)` says whether query i may read key j."""
    d = layer.channels // layer.heads
    w_k, w_v = layer.key_value.weight.chunk(2)
    rows = torch.zeros_like(x)
    for b in range(len(x)):
        q, k, v = x[b] @ layer.query.weight.T, source[b] @ w_k.T, source[b] @ w_v.T
        for head in range(layer.heads):
            part = slice(head * d, (head + 1) * d)
            for i in range(x.shape[1]):
                keys = [j for j in range(source.shape[1]) if allowed(b, i, j)]
                if keys:
                    scores = torch.stack([q[i, part] @ k[j, part] for j in keys]) / math.sqrt(d)
                    rows[b, i, part] = sum(p * v[j, part] for p, j in zip(scores.softmax(0), keys))
    return rows @ layer.out.weight.T + layer.out.bias


@pytest.mark.parametrize("batch, length, channels, heads", [(2, 5, 8, 2), (1, 1, 6, 3), (16, 3, 4, 1), (3, 7, 12, 12)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_is_its_formula(batch, length, channels, heads, causal, masked):
    layer, x = Attention(channels, heads, causal=causal).double(), rand(batch, length, channels)
    mask = torch.rand(batch, length) < 0.6 if masked else None
    allowed = lambda b, i, j: (mask is None or mask[b, j]) and (j <= i or not causal)  # noqa: E731
    torch.testing.assert_close(layer(x, mask=mask), attention_by_hand(layer, x, x, allowed))


@pytest.mark.parametrize("batch, length, other, width", [(2, 5, 3, 7), (3, 1, 6, 4), (4, 4, 1, 9)])
@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_is_its_formula(batch, length, other, width, masked):
    layer = Attention(8, 2, context=width).double()
    x, context = rand(batch, length, 8), rand(batch, other, width)
    mask = torch.rand(batch, other) < 0.6 if masked else None
    expected = attention_by_hand(layer, x, context, lambda b, i, j: mask is None or mask[b, j])
    torch.testing.assert_close(layer(x, context, mask), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_of_attention_are_those_by_which_it_gathers(causal):
    layer, x = Attention(8, 2, causal=causal).double(), rand(3, 5, 8)
    weights = layer.weights(x)
    values = layer.key_value(x).chunk(2, dim=2)[1].unflatten(2, (2, 4)).transpose(1, 2)
    assert weights.shape == (3, 2, 5, 5) and torch.allclose(weights.sum(3), torch.ones(3, 2, 5).double())
    assert torch.allclose(layer.out((weights @ values).transpose(1, 2).flatten(2)), layer(x))
    assert bool((weights.triu(1) == 0).all()) == causal
    reader, words, mask = Attention(8, 2, context=3).double(), rand(2, 4, 3), torch.arange(4) < torch.tensor([[4], [2]])
    read = reader.weights(x[:2], words, mask)
    assert read.shape == (2, 2, 5, 4) and (read[1, :, :, 2:] == 0).all() and (read[0] > 0).all()


def test_attention_equals_torch_multihead_attention():
    ours, theirs = Attention(12, 3).double(), nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, mask = rand(4, 6, 12), torch.arange(6) < torch.tensor([[6], [4], [1], [3]])
    expected = theirs(x, x, x, key_padding_mask=~mask, need_weights=False)[0]
    torch.testing.assert_close(ours(x, mask=mask), expected)


def test_padding_changes_nothing():
    layer, x, context = Attention(8, 2, context=4).double(), rand(2, 3, 8), rand(2, 5, 4)
    mask = torch.arange(5).expand(2, 5) < 3
    torch.testing.assert_close(layer(x, context, mask), layer(x, context[:, :3]))
    torch.testing.assert_close(layer(x, context, torch.ones(2, 5, dtype=torch.bool)), layer(x, context))


def test_a_causal_token_never_reads_a_later_one():
    layer, x = Attention(8, 2, causal=True).double(), rand(2, 6, 8)
    later = x.clone()
    later[:, 4:] += 1
    before, after = layer(x), layer(later)
    assert torch.equal(before[:, :4], after[:, :4]) and not torch.isclose(before[:, 4:], after[:, 4:]).any()


def test_without_order_attention_is_equivariant():
    layer, x, order = Attention(8, 4).double(), rand(2, 6, 8), torch.randperm(6)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order])


def test_a_text_of_padding_only_gives_zeros_and_finite_gradients():
    q, k, v = (rand(2, 2, 3, 4, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[True, True, False], [False, False, False]])
    h = attend(q, k, v, mask)
    assert torch.equal(h[1], torch.zeros_like(h[1])) and h[0].abs().min() > 0
    h.square().sum().backward()
    for grad in (q.grad, k.grad, v.grad):
        assert torch.equal(grad[1], torch.zeros_like(grad[1])) and grad[0].abs().sum() > 0
    early = attend(q, k, v, torch.tensor([[False, True, True]] * 2), causal=True)
    assert torch.equal(early[:, :, 0], torch.zeros_like(early[:, :, 0])) and early[:, :, 1:].abs().min() > 0


def test_the_softmax_never_sees_a_query_without_keys(monkeypatch):
    # What 0/0 gives depends on the device's kernel, so no row of the mask that reaches it may be empty.
    seen = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: seen.append(k["attn_mask"]) or original(*a, **k)
    )
    Attention(4, 1, causal=True)(torch.randn(2, 3, 4), mask=torch.tensor([[False, True, True], [False] * 3]))
    assert seen[0].any(dim=-1).all()


def test_gradients_reach_every_parameter_of_attention():
    layer = Attention(8, 2, context=5)
    layer(torch.randn(2, 3, 8), torch.randn(2, 4, 5)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


# Points


def test_a_point_net_hears_of_its_own_time_and_label():
    net, x = PointNet(3, width=16, layers=2, classes=4).eval(), torch.randn(5, 3)
    t, y = torch.rand(5), torch.tensor([0, 1, 2, 3, 4])  # 4 is "no label"
    whole = net(x, t, y)
    assert whole.shape == (5, 3)
    rows = torch.cat([net(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(whole, rows)
    torch.testing.assert_close(net(x, torch.tensor(0.3), y), net(x, torch.full((5,), 0.3), y))
    assert (net(x, t.flip(0), y) - whole)[[0, 1, 3, 4]].abs().amax(1).min() > 1e-4
    assert (net(x, t, y.roll(1)) - whole).abs().amax(1).min() > 1e-4


def test_a_point_net_learns_the_ring_through_a_denoiser_and_more_of_it_with_labels():
    points, mode = data.ring_mixture().sample_labelled(2000, torch.Generator().manual_seed(0))
    final = {}
    for classes, batch in ((0, [points]), (8, [points, mode])):
        null = classes or None
        model = Denoiser(PointNet(2, width=32, classes=classes), cosine(), predict="eps", null=null)
        losses = [tick.loss for tick in train.fit(model, data.batches(*batch, size=128), 150, 5e-3)]
        final[classes] = torch.stack(losses[-30:]).mean()
        assert final[classes] < 0.7 * torch.stack(losses[:5]).mean()
    assert final[8] < 0.6 * final[0]


# Bad input

BAD = [
    (lambda: PointNet(0), ValueError, "dims: got 0"),
    (lambda: PointNet(layers=0), ValueError, "layers: got 0"),
    (lambda: PointNet(2)(torch.rand(4, 3), torch.rand(4)), ValueError, r"x: .* expected shape \(B, 2\)"),
    (lambda: PointNet(2)(torch.rand(1, 2), torch.rand(1), torch.tensor([0])), ValueError, "cond: got a value"),
    (lambda: PointNet(2, classes=3)(torch.rand(1, 2), torch.rand(1)), ValueError, "cond: got None"),
    (lambda: PointNet(2, classes=3)(torch.rand(1, 2), torch.rand(1), torch.tensor([4])), ValueError, "got labels 4"),
    (lambda: TimeEmbedding(7), ValueError, "dim: got 7"),
    (lambda: TimeEmbedding(0), ValueError, "dim: got 0"),
    (lambda: TimeEmbedding(8.0), TypeError, "dim: got 8.0"),
    (lambda: TimeEmbedding(8)(torch.tensor([3])), TypeError, "t: got int64 tensor"),
    (lambda: TimeEmbedding(8)(0.5), TypeError, "t: got 0.5"),
    (lambda: TimeEmbedding(8)(torch.rand(4, 1)), ValueError, r"t: got float32 tensor of shape \(4, 1\)"),
    (lambda: TimeEmbedding(8)(torch.rand(0)), ValueError, "t: got .* not empty"),
    (lambda: time_mlp(8, 0), ValueError, "out: got 0"),
    (lambda: group_norm(-4), ValueError, "channels: got -4"),
    (lambda: ResidualBlock(0, 8), ValueError, "channels_in: got 0"),
    (lambda: ResidualBlock(8, "8"), TypeError, "channels_out: got '8'"),
    (lambda: ResidualBlock(8, 8, embed=0), ValueError, "embed: got 0"),
    (lambda: ResidualBlock(8, 8)(torch.rand(2, 4, 4, 4)), ValueError, r"x: got .* expected shape \(B, 8, H, W\)"),
    (lambda: ResidualBlock(8, 8)(torch.rand(8, 4, 4)), ValueError, "x: got"),
    (lambda: ResidualBlock(8, 8)(torch.ones(2, 8, 4, 4, dtype=torch.int64)), TypeError, "x: got int64"),
    (lambda: ResidualBlock(8, 8, 5)(torch.rand(2, 8, 4, 4)), ValueError, "embedding: got None, expected an embedding"),
    (lambda: ResidualBlock(8, 8)(torch.rand(2, 8, 4, 4), torch.rand(2, 5)), ValueError, "embedding: .* expected None"),
    (lambda: ResidualBlock(8, 8, 5)(torch.rand(2, 8, 4, 4), torch.rand(2, 6)), ValueError, r"embedding: .* \(B, 5\)"),
    (lambda: ResidualBlock(8, 8, 5)(torch.rand(1, 8, 4, 4), torch.rand(3, 5)), ValueError, "embedding: got 3 rows"),
    (lambda: FiLM(5, 8)(torch.rand(2, 1, 4, 4), torch.rand(2, 5)), ValueError, "h: got"),
    (lambda: Attention(8, 3), ValueError, "heads: got 3, expected a divisor of channels = 8"),
    (lambda: Attention(8, 0), ValueError, "heads: got 0"),
    (lambda: Attention(8, 2, context=0), ValueError, "context: got 0"),
    (lambda: Attention(8, 2, causal="yes"), ValueError, "causal: got 'yes'"),
    (lambda: Attention(8, 2, context=4, causal=True), ValueError, "causal: got True"),
    (lambda: Attention(8, 2)(torch.rand(2, 3, 9)), ValueError, r"x: .* expected shape \(B, L, 8\)"),
    (lambda: Attention(8, 2)(torch.rand(2, 3, 8), torch.rand(2, 3, 8)), ValueError, "context: got a value"),
    (lambda: Attention(8, 2, context=4)(torch.rand(2, 3, 8)), ValueError, "context: got None"),
    (lambda: Attention(8, 2, context=4)(torch.rand(2, 3, 8), torch.rand(1, 3, 4)), ValueError, "context: got"),
    (lambda: Attention(8, 2)(torch.rand(2, 3, 8), mask=torch.ones(2, 3)), TypeError, "mask: got torch.float32"),
    (lambda: Attention(8, 2)(torch.rand(2, 3, 8), mask=[True]), TypeError, "mask: got list"),
    (
        lambda: Attention(8, 2)(torch.rand(2, 3, 8), mask=torch.ones(1, 3).bool()),
        ValueError,
        r"mask: got shape \(1, 3\)",
    ),
]


@pytest.mark.parametrize("call, error, words", BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
