"""The U-Net: what reaches its output and what does not, and what it refuses."""

import copy
import re

import pytest
import torch
from torch import nn

from minidiff.nn import Attention
from minidiff.unet import AttentionBlock, UNet


class Words(nn.Module):
    """Token ids (B, L) -> (B, L, 6), each word by itself."""

    width = 6

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, self.width)

    def forward(self, ids):
        return self.table(ids)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def awake(net: UNet) -> UNet:
    """The net after its zero-initialised convolutions have learned something."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and not part.weight.any():
            nn.init.normal_(part.weight, std=0.1)
    return net.double().eval()


def pictures(rows: int, channels: int = 1, height: int = 16, width: int = 16):
    return torch.randn(rows, channels, height, width, dtype=torch.float64), torch.rand(rows, dtype=torch.float64)


def moved(a: torch.Tensor, b: torch.Tensor) -> list[bool]:
    """Which pictures differ."""
    return ((a - b).flatten(1).abs().amax(1) > 1e-9).tolist()


SHAPES = [
    (dict(), (3, 1, 16, 16)),
    (dict(channels=3, widths=(8, 12, 16, 20), blocks=2, attention=(2, 3)), (2, 3, 16, 24)),
    (dict(channels=2, widths=(10,), attention=(0,)), (2, 2, 5, 7)),
    (dict(widths=(4, 8), blocks=3), (1, 1, 2, 6)),
]


@pytest.mark.parametrize("sizes, shape", SHAPES)
def test_a_picture_goes_in_and_comes_out_and_a_new_net_answers_zero(sizes, shape):
    net, x, t = UNet(**sizes), torch.randn(shape), torch.rand(shape[0])
    assert torch.equal(net(x, t), torch.zeros(shape))
    assert awake(net)(x.double(), t.double()).shape == shape


@pytest.mark.parametrize("sizes, shape", SHAPES)
def test_gradients_reach_every_weight(sizes, shape):
    net, x, t = awake(UNet(**sizes)), *pictures(*shape)
    (net(x, t) - x).square().mean().backward()
    silent = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not silent


def test_pictures_do_not_see_each_other():
    net, (x, t), labels = awake(UNet(classes=4, attention=(1, 2))), pictures(4), torch.tensor([0, 1, 4, 3])
    before = net(x, t, labels)
    for changed in range(4):
        pixels, times, other = x.clone(), t.clone(), labels.clone()
        pixels[changed, 0, 3, 5] += 1
        times[changed] = 1 - times[changed]
        other[changed] = 2
        for after in (net(pixels, t, labels), net(x, times, labels), net(x, t, other)):
            assert moved(before, after) == [row == changed for row in range(4)]
    torch.testing.assert_close(net(x[1:2], t[1:2], labels[1:2]), before[1:2])


def test_one_time_serves_all_pictures():
    net, (x, _) = awake(UNet(widths=(8, 12))), pictures(3)
    t = torch.tensor(0.4, dtype=torch.float64)
    torch.testing.assert_close(net(x, t), net(x, t.expand(3)))


def test_blind_to_time():
    (x, t), sizes = pictures(3), dict(widths=(8, 12), classes=3)
    net, labels = awake(UNet(time=False, **sizes)), torch.tensor([0, 1, 3])
    assert torch.equal(net(x, t, labels), net(x, 1 - t, labels))
    assert moved(net(x, t, labels), net(x, t, labels.flip(0))) == [True, False, True]
    seeing = UNet(**sizes)
    assert {k: v.shape for k, v in seeing.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_without_skips_only_what_the_smallest_picture_knows_gets_through():
    (x, t), net = pictures(2), awake(UNet(widths=(8, 12, 16)))
    for halve in net.downsample:  # nothing gets down either
        nn.init.zeros_(halve.weight)
    assert moved(net(x, t), net(x + 1, t)) == [True, True]  # by the copies
    net.skips = False
    assert moved(net(x, t), net(x + 1, t)) == [False, False]
    assert not UNet(skips=False).skips


def test_pixels_attend_by_the_formula():
    torch.manual_seed(1)
    block, h = AttentionBlock(64).double(), torch.randn(2, 64, 3, 5, dtype=torch.float64)
    assert torch.equal(block(h, None), h)
    nn.init.normal_(block.self_attention.out.weight)
    tokens = block.norm1(h).reshape(2, 64, 15).transpose(1, 2)
    q, (k, v) = block.self_attention.query(tokens), block.self_attention.key_value(tokens).chunk(2, dim=2)
    heads = []
    for c in (slice(32), slice(32, 64)):
        heads.append((q[..., c] @ k[..., c].mT / 32**0.5).softmax(2) @ v[..., c])
    gathered = block.self_attention.out(torch.cat(heads, 2)).transpose(1, 2).reshape(2, 64, 3, 5)
    torch.testing.assert_close(block(h, None), h + gathered)


def test_words_reach_their_own_picture_and_padding_none():
    net, (x, t) = awake(UNet(widths=(8, 12), attention=(1,), text=Words())), pictures(3)
    ids = torch.tensor([[3, 5, 0], [2, 0, 0], [0, 0, 0]])
    before = net(x, t, ids)
    assert before.isfinite().all()
    other = torch.tensor([[3, 6, 0], [2, 0, 0], [0, 0, 0]])
    assert moved(before, net(x, t, other)) == [True, False, False]
    torch.testing.assert_close(net(x, t, torch.cat([ids, torch.zeros_like(ids)], 1)), before)
    with torch.no_grad():
        net.text.table.weight[0] += 5
    torch.testing.assert_close(net(x, t, ids), before)


def test_a_known_picture_joins_the_input_and_is_the_only_condition():
    net, (x, t) = awake(UNet(channels=1, widths=(8, 12), known=3)), pictures(3)
    known = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    before = net(x, t, known)
    assert before.shape == x.shape
    known[1, 2, 5, 5] += 1
    assert moved(before, net(x, t, known)) == [False, True, False]
    for cond, message in [(None, "cond: got None"), (known[:2], "cond: got"), (known[:, :1], "cond: got")]:
        with pytest.raises(ValueError, match=re.escape(message)):
            net(x, t, cond)
    with pytest.raises(ValueError, match="known: got 3 with labels or text"):
        UNet(known=3, classes=2)


def test_attention_sits_at_the_levels_asked_for():
    def looks(net):
        return {name.split(".attention")[0] for name, part in net.named_modules() if isinstance(part, AttentionBlock)}

    assert not looks(UNet())
    assert looks(UNet(attention=(1,))) == {"down.1", "up.1"}
    assert looks(UNet(widths=(4, 8, 8), attention=(0, 2))) == {"down.0", "up.0", "mid"}
    assert not [part for part in UNet(attention=(2,)).modules() if isinstance(part, Attention) and part.context]


def test_it_learns_and_its_average_can_be_copied():
    net, (x, t) = UNet(widths=(8, 16)), (torch.randn(8, 1, 8, 8), torch.rand(8))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (net(x, t) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.8 and losses[-1] < 0.1
    twin = copy.deepcopy(net).eval()
    assert torch.equal(twin(x, t), net(x, t))


def test_bad_sizes_are_refused():
    for sizes, message in [
        (dict(channels=0), "channels: got 0"),
        (dict(widths=()), "widths: got"),
        (dict(widths=(8, 0)), "widths: got 0"),
        (dict(blocks=0), "blocks: got 0"),
        (dict(classes=-1), "classes: got -1"),
        (dict(attention=(4,)), "attention: got 4"),
        (dict(time=2), "time: got 2"),
        (dict(skips="no"), "skips: got 'no'"),
        (dict(text=Words()), "text: got"),
        (dict(text=Words(), attention=(2,), classes=3), "text: got"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            UNet(**sizes)
    with pytest.raises(TypeError, match="widths: got 8.5"):
        UNet(widths=(8.5,))


def test_bad_pictures_and_conditions_are_refused():
    net, labelled = UNet(widths=(4, 8, 8)), UNet(widths=(4, 8), classes=3)
    texted = UNet(widths=(4, 8), attention=(1,), text=Words())
    x, t, y = torch.zeros(2, 1, 16, 16), torch.zeros(2), torch.tensor([0, 3])
    for call, message in [
        (lambda: net(torch.zeros(2, 3, 16, 16), t), "x: got"),
        (lambda: net(torch.zeros(2, 1, 16, 18), t), "x: got 16x18 pixels, expected multiples of 4"),
        (lambda: net(torch.zeros(2, 1, 14, 16), t), "x: got 14x16"),
        (lambda: net(x, torch.zeros(3)), "t: got"),
        (lambda: net(x, t, y), "cond: got a value"),
        (lambda: labelled(x, t), "cond: got None"),
        (lambda: labelled(x, t, y + 1), "cond: got labels 1 to 4"),
        (lambda: labelled(x, t, y[:1]), "cond: got"),
        (lambda: texted(x, t), "cond: got None"),
        (lambda: texted(x, t, y), "cond: got"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    for call in (lambda: net(x, t.long()), lambda: labelled(x, t, y.float()), lambda: texted(x, t, y[:, None].float())):
        with pytest.raises(TypeError):
            call()


def test_a_net_with_text_is_told_by_the_sum_of_words_and_each_pixel_where_it_is():
    net, seen = awake(UNet(channels=2, widths=(4, 8), attention=(1,), text=Words())), {}
    for name in ("text_pool", "conv_in"):
        getattr(net, name).register_forward_pre_hook(lambda layer, args, name=name: seen.update({name: args[0]}))
    (x, t), ids = pictures(2, 2, 4, 6), torch.tensor([[1, 5, 2, 0], [1, 2, 0, 0]])
    net(x, t, ids)
    words = net.text(ids)
    sums = [words[0, :3].sum(0) / 3**0.5, words[1, :2].sum(0) / 2**0.5]
    torch.testing.assert_close(seen["text_pool"], torch.stack(sums))
    down, right = seen["conv_in"][1, 2:]
    assert torch.equal(seen["conv_in"][:, :2], x)
    torch.testing.assert_close(down[:, 3], torch.tensor([-1, -1 / 3, 1 / 3, 1], dtype=x.dtype), atol=1e-6, rtol=0)
    torch.testing.assert_close(right[2], torch.tensor([-1, -0.6, -0.2, 0.2, 0.6, 1], dtype=x.dtype), atol=1e-6, rtol=0)
