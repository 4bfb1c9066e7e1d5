"""Cascades: what an enlarger is shown, the noise on it, and the whole beside a loop written by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minidiff import data, guidance, seeded
from minidiff.cascade import DEGRADATIONS, LEVEL, Cascade, EfficientUNet, Enlarger, degraded, noised, shown
from minidiff.denoiser import Denoiser
from minidiff.recipes.cascade import base, cropped, enlarger
from minidiff.sampler import times
from minidiff.schedule import cosine
from minidiff.support import parts
from minidiff.unet import UNet

WORDS = ["an owl", "red apple"]


def loud(model: nn.Module) -> nn.Module:
    """The model with every weight moved, so that layers which start at zero are heard."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=seeded(len(weight))))
    return model.eval()


@pytest.fixture(scope="module")
def cascade():
    torch.manual_seed(0)
    return Cascade(loud(base()), [loud(enlarger()), loud(enlarger())])


def ddim(denoise, x, t, schedule):
    """DDIM of lesson 07, written down: x at the last of the times t, which is 0."""
    for now, then in zip(t[:-1].tolist(), t[1:].tolist()):
        x0 = denoise(x, torch.tensor(now))
        (alpha, sigma), (alpha_then, sigma_then) = ([float(value) for value in schedule(each)] for each in (now, then))
        x = alpha_then * x0 + sigma_then * ((x - alpha * x0) / sigma)
    return x


def cut(denoiser, cond):
    return lambda x, t: denoiser(x, t, cond).clamp(-1, 1)


@torch.no_grad()
def by_hand(cascade, words, level, steps, scale):
    """Base and enlargers with plain loops, every random number drawn in its turn."""
    generator, schedule = seeded(3), cosine()
    denoiser = cascade.base.denoiser
    x = torch.randn(2, 3, 16, 16, generator=generator)
    told, nothing = cascade.base.read(words), cascade.base.read(["", ""])

    def guided(x, t):
        with_words, without = denoiser(torch.cat([x, x]), t, torch.cat([told, nothing])).chunk(2)
        return (without + scale * (with_words - without)).clamp(-1, 1)

    pictures = [ddim(guided, x, times(steps), schedule).clamp(-1, 1)]
    for i, each in enumerate(cascade.enlargers):
        small, levels = pictures[-1], torch.full((2,), level if i == 0 else 0.0)
        eps = torch.randn(small.shape, generator=generator)
        alpha, sigma = (value.float()[:, None, None, None] for value in schedule(levels))
        large = F.interpolate(alpha * small + sigma * eps, scale_factor=2, mode="bilinear")
        cond = torch.cat([large, levels[:, None, None, None].expand(2, 1, *large.shape[2:])], 1)
        x = torch.randn(2, 3, *large.shape[2:], generator=generator)
        pictures.append(ddim(cut(each.denoiser, cond), x, times(steps), schedule))
    return pictures


def test_a_cascade_is_a_loop_written_by_hand_bit_for_bit(cascade):
    wanted = by_hand(cascade, WORDS, 0.2, 2, 3.0)
    told = cascade.base.read(WORDS)
    generator = seeded(3)
    small = cascade.base.generate(told, steps=2, order=1, scale=3.0, limit=guidance.clamp, generator=generator)
    got = [small.clamp(-1, 1)]
    for each, level in zip(cascade.enlargers, (0.2, 0.0)):
        got.append(each(got[-1], level, steps=2, order=1, generator=generator))
    assert [x.shape[-1] for x in got] == [16, 32, 64]
    assert all(torch.equal(a, b) for a, b in zip(got, wanted))


def test_the_stages_are_its_parts_one_after_the_other(cascade):
    stages = cascade.stages(WORDS, steps=2, level=0.2, scale=3.0, generator=seeded(3))
    assert [x.shape[-1] for x in stages] == [16, 32, 64] and all(x.abs().max() <= 1 for x in stages)
    generator = seeded(3)
    small = cascade.base.generate(cascade.text(WORDS), steps=2, scale=3.0, limit=guidance.clamp, generator=generator)
    assert torch.equal(stages[0], small.clamp(-1, 1))
    middle = cascade.enlargers[0](stages[0], 0.2, steps=2, generator=generator)
    large = cascade.enlargers[1](middle, 0.0, steps=2, generator=generator)
    assert torch.equal(stages[1], middle) and torch.equal(stages[2], large)
    assert torch.equal(cascade(WORDS, steps=2, level=0.2, scale=3.0, generator=seeded(3)), large)
    again = cascade.enlarge(stages[0], level=0.2, steps=2, generator=(drawn := seeded(4)))
    middle = cascade.enlargers[0](stages[0], 0.2, steps=2, generator=drawn.manual_seed(4))
    assert torch.equal(again, cascade.enlargers[1](middle, 0.0, steps=2, generator=drawn))


def test_the_weights_of_a_cascade_are_all_counted(cascade):
    weights = cascade.weights()
    assert weights["text"] > 100_000 and sum(weights.values()) == sum(w.numel() for w in cascade.parameters())


def test_a_noised_picture_has_the_mean_and_the_spread_of_the_forward_process():
    small, level = torch.tensor([-0.5, 0.8]).view(2, 1, 1, 1).expand(2, 3, 100, 100), torch.tensor([0.1, 0.4])
    got = noised(small, level, torch.randn(small.shape, generator=seeded(0)), cosine())
    alpha, sigma = cosine()(level)
    assert got.mean((1, 2, 3)) == pytest.approx(alpha * small[:, 0, 0, 0], abs=0.01)
    assert got.std((1, 2, 3)) == pytest.approx(sigma, rel=0.02)
    clean = noised(small, torch.zeros(2), torch.randn(small.shape), cosine())
    assert torch.equal(clean, small)


def test_what_is_shown_is_the_interpolated_picture_and_its_level():
    small, level = torch.randn(2, 3, 4, 4), torch.tensor([0.1, 0.3])
    got = shown(small, level)
    assert got.shape == (2, 4, 8, 8) and torch.equal(got[:, 3].amax((1, 2)), level)
    assert torch.allclose(got[0, 0, 3, 3], (9 * small[0, 0, 1, 1] + 3 * (small[0, 0, 1, 2] + small[0, 0, 2, 1])
                                            + small[0, 0, 2, 2]) / 16)  # fmt: skip


@pytest.mark.parametrize("net", [lambda: UNet(channels=3, widths=(8, 16), known=4), lambda: EfficientUNet(3, (8, 16))])
def test_the_network_hears_the_level_and_sees_the_small_picture(net):
    torch.manual_seed(0)
    model = loud(enlarger(net=net()))
    x, small = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 8, 8)
    level = torch.tensor([0.1, 0.1])
    with torch.no_grad():
        answers = [
            model.denoiser(x, torch.tensor(0.5), shown(small, level)),
            model.denoiser(x, torch.tensor(0.5), shown(small, level + torch.tensor([0.3, 0.0]))),
            model.denoiser(x, torch.tensor(0.5), shown(small.flip(2), level)),
        ]
    assert (answers[1][0] - answers[0][0]).abs().max() > 1e-3 and torch.equal(answers[1][1], answers[0][1])
    assert (answers[2] - answers[0]).abs().max() > 1e-3


class Listens(nn.Module):
    """A net that keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.weight, self.heard = nn.Parameter(torch.zeros(())), []

    def forward(self, x, t, cond):
        self.heard.append(cond)
        return self.weight * x


@pytest.mark.parametrize("most", [0.0, 0.5])
def test_training_spoils_the_mean_of_each_square_and_tells_by_how_much(most):
    net = Listens()
    model = Enlarger(Denoiser(net, cosine(), "v"), most=most)
    large = torch.rand(200, 3, 8, 8, generator=seeded(0)) * 2 - 1
    torch.manual_seed(0)
    assert model.loss(large).requires_grad
    [cond] = net.heard
    level = cond[:, 3].mean((1, 2))
    clean = F.interpolate(F.avg_pool2d(large, 2), scale_factor=2, mode="bilinear")
    if not most:
        assert torch.equal(cond[:, :3], clean) and not level.any()
        return
    assert level.max() <= most and level.min() >= 0 and level.mean() == pytest.approx(most / 2, abs=0.03)
    alpha, sigma = cosine()(level, like=clean)
    noise = ((cond[:, :3] - alpha * clean) / sigma).std()
    flat = F.interpolate(torch.randn(200, 3, 4, 4), scale_factor=2, mode="bilinear").std()
    assert noise == pytest.approx(flat.item(), rel=0.05)


def test_an_enlarger_refuses_levels_that_it_was_not_trained_on():
    model = enlarger(most=0.2)
    for level in (0.3, -0.1):
        with pytest.raises(ValueError, match="level: got"):
            model(torch.zeros(1, 3, 8, 8), level)
    with pytest.raises(ValueError, match=r"level: got float32 tensor of shape \(1,\), expected shape \(2,\)"):
        shown(torch.zeros(2, 3, 4, 4), torch.zeros(1))
    with pytest.raises(TypeError, match="denoiser: got UNet, expected a Denoiser"):
        Enlarger(UNet(channels=3, widths=(8,), known=4))


def test_the_efficient_network_divides_by_root_two_and_works_on_a_quarter_of_the_pixels():
    torch.manual_seed(0)
    net = loud(EfficientUNet(3, (8, 16), (1, 2)))
    seen = []
    for stage in (*net.down, *net.up):
        stage.register_forward_pre_hook(lambda stage, args: seen.append(args[0]))
    x, cond = torch.randn(2, 3, 16, 16), torch.randn(2, 4, 16, 16)
    after = [stage.register_forward_hook(lambda stage, args, out: seen.append(out)) for stage in net.down]
    assert net(x, torch.tensor([0.5, 0.2]), cond).shape == x.shape and len(after) == 2
    inner, outer = seen[4], seen[5]
    assert [h.shape[-1] for h in seen] == [8, 8, 4, 4, 4, 8]
    assert torch.allclose(inner[:, 16:], seen[3] / 2**0.5) and torch.allclose(outer[:, 8:], seen[1] / 2**0.5)
    assert [len(stage.blocks) for stage in net.down] == [1, 2]
    assert parts.describe(parts.build(parts.describe(net))) == parts.describe(net)
    with pytest.raises(ValueError, match="blocks: got 1, expected one for each of 2 widths"):
        EfficientUNet(3, (8, 16), (1,))
    with pytest.raises(ValueError, match="x: got 10x16 pixels, expected multiples of 4"):
        net(x[:, :, :10], torch.tensor(0.5), cond[:, :, :10])


def test_a_degraded_picture_is_the_same_picture_in_worse_quality():
    drawings = data.emoji("combinations", 32)[0][:64]
    worse = degraded(drawings, seeded(0))
    assert worse.shape == drawings.shape and worse.min() >= -1 and worse.max() <= 1
    error = (worse - drawings).square().flatten(1).mean(1)
    assert 2 <= (error == 0).sum() <= 20  # of 64 an eighth is left alone
    assert 0.001 < error.median() < 0.05
    assert torch.equal(worse, degraded(drawings, seeded(0))) and not torch.equal(worse, degraded(drawings, seeded(1)))


@pytest.mark.parametrize("way", DEGRADATIONS)
def test_each_degradation_is_stronger_with_its_strength(way):
    drawings = data.emoji("combinations", 32)[0][5:6]
    mild, strong = ((way(drawings, strength) - drawings).square().mean() for strength in (0.1, 0.9))
    assert 0 < mild < strong / 1.5


def test_an_enlarger_learns_from_degraded_pictures_if_it_is_told_to(monkeypatch):
    seen = []
    monkeypatch.setattr(Denoiser, "loss", lambda self, x0, cond: seen.append(cond) or x0.mean())
    x0 = data.emoji("combinations", 32)[0][:32]
    for degrade in (False, True):
        enlarger(most=0.0, degrade=degrade).loss(x0)
    clean, worse = seen
    assert torch.equal(clean[:, :3], shown(F.avg_pool2d(x0, 2), torch.zeros(32))[:, :3])
    assert 0.001 < (clean - worse).square().mean() < 0.1


def test_a_crop_is_a_square_of_its_picture():
    x = torch.arange(8 * 3 * 64 * 64.0).view(8, 3, 64, 64)
    crops = cropped(x)
    assert crops.shape == (8, 3, 32, 32)
    assert torch.equal(crops - crops[:, :1, :1, :1], (x - x[:, :1, :1, :1])[:, :, :32, :32])
    assert len({int(crop[0, 0, 0]) % (3 * 64 * 64) for crop in crops}) > 1
    assert [int(crop[0, 0, 0]) // (3 * 64 * 64) for crop in crops] == list(range(8))


def test_an_enlarger_takes_the_level_that_it_knows():
    torch.manual_seed(0)
    small = torch.rand(2, 3, 8, 8)
    clean, noisy = loud(enlarger(most=0.0)), loud(enlarger(most=0.5))
    for net, level in ((clean, 0.0), (noisy, LEVEL)):
        grown = Cascade(base(), [net]).enlarge(small, steps=2, generator=seeded(0))
        assert torch.equal(grown, net(small, level, steps=2, generator=seeded(0)))
