"""The diffusion transformer: equal to diffusers', nothing at first, and it counts its work."""

import pytest
import torch
from torch import nn

from minidiff.dit import DiT, DiTBlock, flops, modulate, place_waves
from minidiff.transformer import WordEmbedding

diffusers = pytest.importorskip("diffusers")


def stirred(net: nn.Module) -> nn.Module:
    """The same net with all weights at random: nothing of it is zero."""
    torch.manual_seed(0)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.1)
    return net.eval()


class PublishedWaves(nn.Module):
    """diffusers' waves of a time: other lengths, and cosines first, than those of the paper's code."""

    def __init__(self, proj):
        super().__init__()
        self.proj = proj

    def forward(self, t):
        return self.proj(1000 * t)


def published(ours: DiT) -> nn.Module:
    """diffusers' DiT with the weights of `ours`, and `ours` with the published waves."""
    theirs = diffusers.DiTTransformer2DModel(
        num_attention_heads=ours.heads,
        attention_head_dim=ours.width // ours.heads,
        in_channels=ours.channels,
        num_layers=ours.layers,
        sample_size=ours.size,
        patch_size=ours.patch,
        num_embeds_ada_norm=ours.classes,
        norm_eps=1e-6,
    ).eval()
    pairs = {theirs.pos_embed.proj: ours.patch_embed, theirs.proj_out_1: ours.modulation, theirs.proj_out_2: ours.out}
    for block, own in zip(theirs.transformer_blocks, ours.blocks):
        query, key, value = own.attention.query, *halves(own.attention.key_value)
        attention = block.attn1
        pairs |= {attention.to_q: query, attention.to_k: key, attention.to_v: value}
        pairs |= {attention.to_out[0]: own.attention.out, block.norm1.linear: own.modulation}
        pairs |= {block.ff.net[0].proj: own.mlp[0], block.ff.net[2]: own.mlp[2]}
        pairs |= {block.norm1.emb.timestep_embedder.linear_1: ours.time_embed[1]}
        pairs |= {block.norm1.emb.timestep_embedder.linear_2: ours.time_embed[3]}
        pairs |= {block.norm1.emb.class_embedder.embedding_table: ours.label_embed}
    for there, here in pairs.items():
        there.load_state_dict(here.state_dict())
    ours.time_embed[0] = PublishedWaves(theirs.transformer_blocks[0].norm1.emb.time_proj)
    return theirs


def halves(layer: nn.Linear) -> list[nn.Linear]:
    parts = []
    for weight, bias in zip(layer.weight.chunk(2), layer.bias.chunk(2)):
        parts.append(nn.Linear(layer.in_features, len(weight)))
        parts[-1].load_state_dict({"weight": weight, "bias": bias})
    return parts


@pytest.mark.parametrize("patch", [2, 4])
@torch.no_grad()
def test_it_is_diffusers_transformer_on_the_same_weights(patch):
    ours = stirred(DiT(8, patch, width=16, layers=2, heads=2, channels=3, classes=5))
    theirs = published(ours)
    x, t, y = torch.randn(4, 3, 8, 8), torch.tensor([0.001, 0.2, 0.5, 1.0]), torch.tensor([0, 4, 5, 1])
    got, wanted = ours(x, t, y), theirs(x, (1000 * t).round().long(), class_labels=y).sample
    assert wanted.std() > 0.1 and torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(ours(x.mT, t, y), wanted, atol=1e-2)


def test_a_new_one_answers_0_and_its_blocks_do_nothing():
    net = DiT(8, 2, width=16, layers=2, heads=2, classes=3)
    x, t, y = torch.randn(3, 1, 8, 8), torch.rand(3), torch.arange(3)
    assert torch.equal(net(x, t, y), torch.zeros(3, 1, 8, 8))
    h = torch.randn(3, 16, 16)
    assert torch.equal(net.blocks[0](h, torch.randn(3, 16)), h)
    assert not torch.equal(stirred(DiTBlock(16, 2))(h, torch.randn(3, 16)), h)


def test_it_hears_the_sum_of_the_words_without_their_order_and_without_padding():
    torch.manual_seed(0)
    net = stirred(DiT(8, 4, width=16, layers=2, heads=2, channels=2, text=WordEmbedding(20, 8, length=6)))
    x, t = torch.randn(1, 2, 8, 8).expand(4, -1, -1, -1), torch.full((4,), 0.5)
    ids = torch.tensor([[3, 4, 0, 0], [3, 5, 0, 0], [3, 4, 4, 0], [4, 3, 0, 0]])
    answers = net(x, t, ids)
    assert torch.allclose(net(x[:1], t[:1], ids[:1, :2]), answers[:1], atol=1e-5)  # without the padding
    assert torch.allclose(answers[3], answers[0], atol=1e-5)  # another order
    assert min((answers[0] - answers[k]).abs().max() for k in (1, 2)) > 1e-3  # another word, one word more
    with pytest.raises(ValueError, match="text: got a module with classes = 3, expected it with 0"):
        DiT(8, 4, width=16, classes=3, text=WordEmbedding(20, 8))
    with pytest.raises((TypeError, ValueError), match="cond: "):
        net(x, t)


def test_each_patch_comes_back_to_its_place():
    net = DiT(8, 4, width=16, layers=1, heads=2, channels=2)
    x = torch.randn(3, 2, 8, 8)
    tokens = nn.functional.unfold(x, 4, stride=4).mT  # (B, tokens, channels · patch · patch)
    tokens = tokens.unflatten(2, (2, 4, 4)).permute(0, 1, 3, 4, 2).flatten(2)
    assert torch.equal(net._picture(tokens), x)


def test_places_are_told_apart_and_a_net_without_them_could_not():
    waves = place_waves(4, 16)
    assert waves.shape == (16, 16) and torch.pdist(waves).min() > 0.1
    assert torch.equal(waves[0, :4], torch.zeros(4)) and torch.equal(waves[0, 4:8], torch.ones(4))
    assert torch.allclose(waves[1, 0], torch.tensor(1.0).sin())  # one to the right: the column's fastest sine
    assert torch.equal(waves[1, 8:], waves[0, 8:])  # in the same row


def test_modulation_is_one_for_all_tokens_of_a_row():
    h, shift, scale = torch.randn(2, 5, 3), torch.randn(2, 3), torch.randn(2, 3)
    assert torch.allclose(modulate(h, shift, scale)[1, 4], h[1, 4] * (1 + scale[1]) + shift[1])


def test_half_the_patch_is_four_times_the_work_with_as_many_weights():
    x, t = torch.randn(1, 1, 16, 16), torch.rand(1)
    large, small = (DiT(16, patch, width=32, layers=2, heads=2) for patch in (4, 2))
    assert 3.5 < flops(small, x, t) / flops(large, x, t) < 5.5
    count = [sum(weight.numel() for weight in net.blocks.parameters()) for net in (large, small)]
    assert count[0] == count[1]
    one = DiT(16, 4, width=32, layers=1, heads=2)
    block = 16 * 2 * 12 * 32**2 + 2 * 2 * 16 * 16 * 32 + 2 * 6 * 32**2  # layers, attention, modulation
    assert flops(large, x, t) - flops(one, x, t) == block


def test_what_does_not_fit_is_named():
    net = DiT(8, 2, width=16, layers=1, heads=2)
    with pytest.raises(ValueError, match="patch: got 3, expected a divisor of size = 8"):
        DiT(8, 3)
    with pytest.raises(ValueError, match="width: got 18, expected a multiple of 4"):
        DiT(8, 2, width=18)
    with pytest.raises(ValueError, match="x: .*8"):
        net(torch.randn(1, 1, 16, 16), torch.rand(1))
    with pytest.raises(ValueError, match="cond: got a value, expected None"):
        net(torch.randn(1, 1, 8, 8), torch.rand(1), torch.zeros(1, dtype=torch.long))
