"""Control by sketches: at first nothing, then the zero convolutions, then the copy; the model beside it never moves."""

import copy

import pytest
import torch
from torch import nn

from minidiff import checkpoints, data, seeded
from minidiff.control import (
    Control,
    Controlled,
    agreement,
    crops,
    edges,
    figure_masks,
    scribbles,
    sketch_to_image,
    sketches,
    zero_convolution,
)
from minidiff.data.shapes.figures import coverage
from minidiff.latent import text_to_image
from minidiff.unet import UNet, walk_down

PROMPTS = ["a large red circle on a white background", "a blue cross on a yellow background"]


@pytest.fixture(scope="module")
def model():
    return checkpoints.load("ldm-shapes")


@pytest.fixture(scope="module")
def pictures():
    return data.shapes("test", 4)[0]


@pytest.fixture
def control(model):
    torch.manual_seed(0)
    return Control().follow(model)


def loud(control: Control) -> Control:
    """The same with random zero convolutions, as if trained."""
    generator = seeded(1)
    for weight in control.zeros.parameters():
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return control


def batch(model, pictures):
    ids = model.ids((PROMPTS * len(pictures))[: len(pictures)])
    return model.autoencoder.encode(pictures)[0].detach(), ids, sketches(pictures, seeded(0))


def moved(part: nn.Module) -> bool:
    """Whether a gradient has reached it."""
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in part.parameters())


def test_a_new_control_and_one_at_strength_0_are_the_model_alone(model, control, pictures):
    lines = edges(pictures[:2])
    alone = text_to_image(model, PROMPTS, steps=3, generator=seeded(0))
    draw = lambda **options: sketch_to_image(model, control, lines, PROMPTS, steps=3, generator=seeded(0), **options)  # noqa: E731
    assert torch.equal(draw(), alone) and torch.equal(draw(scale=3.0, strength=0.5), draw(scale=3.0, strength=2.0))
    loud(control)
    assert torch.equal(draw(strength=0.0), alone) and not torch.equal(draw(), alone)


def test_it_begins_as_a_copy_of_the_way_down(model, control):
    own, theirs = control.state_dict(), model.denoiser.net.state_dict()
    copied = {name for name in own if not name.startswith(("hint", "zeros"))}
    assert copied == {name for name in theirs if name.startswith(("down", "mid"))}
    assert all(torch.equal(own[name], theirs[name]) for name in copied)


def test_the_gradient_reaches_zeros_first_then_the_copy_then_the_sketchs_encoder(model, control, pictures):
    control.train()
    optimiser = torch.optim.Adam(control.parameters(), lr=1e-2)
    reached = []
    for _ in range(3):
        optimiser.zero_grad()
        control.loss(*batch(model, pictures)).backward()
        reached.append([moved(part) for part in (control.zeros[1:], control.mid, control.zeros[0], control.hint)])
        optimiser.step()
    assert reached == [[True, False, False, False], [True, True, True, False], [True] * 4]


def test_the_model_never_moves(model, control, pictures):
    before = copy.deepcopy(model.state_dict())
    control.train()
    optimiser = torch.optim.SGD([*control.parameters(), *control.model[0].parameters()], lr=1.0)
    for _ in range(2):
        control.loss(*batch(model, pictures)).backward()
        optimiser.step()
    for each in (model, control.model[0]):
        assert all(torch.equal(weight, before[name]) for name, weight in each.state_dict().items())
    names = [name for name, _ in control.named_parameters()]
    assert names and not any(name.startswith("model") for name in names)


def test_each_row_has_its_own_sketch_and_each_level_its_own_answer(model, control, pictures):
    loud(control)
    lines = edges(pictures[:2])
    torch.manual_seed(1)
    x, t, ids = torch.randn(2, 8, 8, 8), torch.tensor([0.3, 0.8]), model.ids(PROMPTS)
    net = model.denoiser.net
    with torch.no_grad():
        h, told = net.begin(x, t, ids)
        copied = walk_down(control, h + control.zeros[0](control.hint(lines)), told)
        added = [zero(each) for zero, each in zip(control.zeros[1:], copied)]
        assert [each.shape[1:] for each in added] == [(64, 8, 8), (128, 4, 4)]
        wanted = net(x, t, ids, [0.5 * each for each in added])
        found = Controlled(net, control, lines, 0.5)(torch.cat([x, x]), torch.cat([t, t]), torch.cat([ids, ids]))
    torch.testing.assert_close(found, torch.cat([wanted, wanted]), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="strict|argument"):
        net(x, t, ids, added[:1])


def test_what_is_added_goes_to_the_copy_of_its_level():
    """A U-Net whose copies are blank hears what is added there, and nothing else, from above the bottom."""
    torch.manual_seed(0)
    net = UNet(channels=1, widths=(8, 16, 16), skips=False)
    nn.init.normal_(net.out[-1].weight)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor(0.5)
    shapes = [(2, 8, 8, 8), (2, 16, 4, 4), (2, 16, 2, 2)]
    nothing = [torch.zeros(shape) for shape in shapes]
    alone = net(x, t)
    assert torch.equal(net(x, t, added=nothing), alone)
    for level in range(3):
        some = [torch.randn(shape) if i == level else torch.zeros(shape) for i, shape in enumerate(shapes)]
        assert not torch.equal(net(x, t, added=some), alone)


def test_a_saved_control_draws_the_same_and_does_not_hold_the_model(model, control, pictures, tmp_path):
    loud(control).half().float()  # as a checkpoint keeps them
    path = checkpoints.save(control, tmp_path / "control.safetensors")
    assert path.stat().st_size < 2_500_000
    again = checkpoints.load(path)
    lines = edges(pictures[:2])
    draw = lambda control: sketch_to_image(model, control, lines, PROMPTS, steps=2, generator=seeded(0))  # noqa: E731
    assert torch.equal(draw(again), draw(control))
    with pytest.raises(ValueError, match=r"model: got none, expected `follow\(model\)`"):
        again.loss(*batch(model, pictures))
    assert torch.isfinite(again.listen(model).loss(*batch(model, pictures)))


REFUSED = [
    (
        lambda m, c: sketch_to_image(m, c, torch.zeros(2, 1, 16, 16), PROMPTS),
        "sketches: got float32 tensor of shape (2, 1, 16, 16)",
    ),
    (
        lambda m, c: sketch_to_image(m, c, torch.zeros(2, 3, 32, 32), PROMPTS),
        "sketches: got float32 tensor of shape (2, 3, 32, 32)",
    ),
    (lambda m, c: sketch_to_image(m, c, torch.full((2, 1, 32, 32), 255.0), PROMPTS), "sketches"),
    (lambda m, c: sketch_to_image(m, c, torch.zeros(3, 1, 32, 32), PROMPTS), "prompts: got 2"),
    (lambda m, c: c.loss(torch.zeros(2, 8, 8, 8), m.ids(PROMPTS), torch.zeros(2, 1, 16, 16)), "sketches: got"),
    (lambda m, c: Control(f=3), "f: got 3, expected a power of 2"),
    (lambda m, c: Control(drop=2.0), "drop: got 2.0"),
    (lambda m, c: edges(torch.zeros(3, 32, 32)), "images: got"),
    (lambda m, c: scribbles(torch.zeros(2, 3, 32, 32)), "lines: got"),
]


@pytest.mark.parametrize("call, told", REFUSED)
def test_bad_input_is_refused_by_name(model, control, call, told):
    with pytest.raises((ValueError, TypeError)) as caught:
        call(model, control)
    assert told in str(caught.value)


def test_a_zero_convolution_answers_0_and_learns():
    layer = zero_convolution(3)
    x = torch.randn(2, 3, 4, 4)
    assert not layer(x).any() and layer(x).shape == x.shape and layer.kernel_size == (1, 1)
    layer(x).sum().backward()
    assert layer.weight.grad.any() and layer.bias.grad.any()


def test_edges_are_the_outline_and_no_texture(pictures):
    square = -torch.ones(1, 3, 32, 32)
    square[:, 0, 8:20, 10:24] = 1
    inside = torch.zeros(1, 1, 32, 32)
    inside[:, :, 7:21, 9:25] = 1
    inside[:, :, 9:19, 11:23] = 0
    found = edges(square)
    assert torch.equal(found * (1 - inside), torch.zeros_like(found))  # nothing but the pixels on its two sides
    assert found.sum() >= inside.sum() - 4  # without the outermost of its corners, perhaps
    masks = figure_masks(pictures)
    grown = nn.functional.max_pool2d(masks.float(), 5, stride=1, padding=2)
    assert not (edges(pictures) * (1 - grown)).any()  # the grounds have stripes and grain, and no edges


def test_a_scribble_stays_near_its_line(pictures):
    lines = edges(pictures)
    drawn = scribbles(lines, seeded(0))
    assert not torch.equal(drawn, lines) and set(drawn.unique().tolist()) == {0.0, 1.0}
    near = nn.functional.max_pool2d(lines, 7, stride=1, padding=3)
    assert (drawn * (1 - near)).sum() < 0.02 * drawn.sum()
    assert torch.equal(sketches(pictures, seeded(3)), sketches(pictures, seeded(3)))


def test_masks_and_their_agreement():
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    disc = torch.tensor(coverage("circle", x.numpy() - 16, y.numpy() - 16, 6.0)).float()
    picture = (2 * disc - 1).expand(1, 3, 32, 32)
    assert agreement(figure_masks(picture), disc[None, None] > 0.25).item() > 0.95
    one, other = torch.zeros(2, 1, 4, 4, dtype=torch.bool), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    one[0, 0, :2], other[0, 0, 1:3] = True, True
    assert agreement(one, other).tolist() == pytest.approx([1 / 3, 0])


def test_crops_enlarge_every_second_picture_and_leave_the_rest():
    x = data.shapes("test", 60)[0]
    cut = crops(x, seeded(0))
    same = (cut - x).abs().flatten(1).amax(1) < 1e-4
    assert 20 < same.sum() < 40 and torch.equal(cut, crops(x, seeded(0)))
    area = lambda images: figure_masks(images).flatten(1).sum(1).float()  # noqa: E731
    grown = area(cut)[~same] / area(x)[~same]
    assert 1.2 < grown.median() < 2.3


def test_a_model_of_other_sizes_is_refused_by_name(model):
    for options, told in [
        ({"widths": (64, 96)}, r"model: got a U-Net with widths = \[64, 128\], expected \[64, 96\]"),
        ({"blocks": 2}, "model: got a U-Net with blocks = 1, expected 2"),
        ({"attention": ()}, r"model: got a U-Net with attention = \[1\], expected \[\]"),
        ({"words": 32}, "model: got words of width 64, expected 32"),
    ]:
        with pytest.raises(ValueError, match=told):
            Control(**options).follow(model)
    with pytest.raises(TypeError, match="model: got Denoiser, expected a LatentDiffusion"):
        Control().follow(model.denoiser)


def test_sketches_are_of_0_and_1_in_training_too(model, control, pictures):
    mu, ids, lines = batch(model, pictures)
    with pytest.raises(ValueError, match="sketches: got values from -1 to 1, expected between 0 and 1"):
        control.loss(mu, ids, 2 * lines - 1)
