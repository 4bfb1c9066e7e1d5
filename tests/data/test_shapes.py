"""The world of `shapes`: drawn as it is said, said in many ways, and read back; and the eight photographs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minidiff import data
from minidiff.data.shapes import draw
from minidiff.data.shapes.figures import RGB, coverage
from minidiff.data.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    NOVEL,
    PLACES,
    SEEN,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    caption,
    compare,
)

shapes = data.shapes


def order(scene: Scene | None) -> Scene | None:
    """The same scene with its things in one order, as a picture has none."""
    return scene and replace(scene, things=tuple(sorted(scene.things, key=str)))


@pytest.mark.parametrize("split, objects", [("train", 1), ("train", 2), ("test", None), ("novel", 1), ("novel", 2)])
def test_what_is_drawn_is_read(split, objects):
    images, _ = shapes(split, 800, seed=1, objects=objects)
    truth = shapes.scenes(split, 800, seed=1, objects=objects)
    right = [order(seen) == order(scene) for seen, scene in zip(shapes.read(images.requires_grad_()), truth)]
    assert np.mean(right) >= 0.995


@st.composite
def any_scene(pick):
    """One or two things of any pair, side by side as the world places them, on a ground of another colour."""
    places = [[place] for place in PLACES] + [["left", "right"], ["right", "left"], ["top", "bottom"]]
    choose = lambda options: pick(st.sampled_from(options))  # noqa: E731
    things = [Thing(choose(SHAPES), choose(COLOURS), choose(SIZES), place) for place in choose(places)]
    return Scene(tuple(things), choose([c for c in BACKGROUNDS if c not in {thing.colour for thing in things}]))


@settings(max_examples=60)
@given(any_scene(), st.integers(0, 2**32))
def test_any_scene_is_read_as_it_was_drawn_and_understood_as_it_is_told(scene, seed):
    rng = np.random.default_rng(seed)
    [seen] = shapes.read(torch.from_numpy(draw(scene, rng))[None])
    assert order(seen) == order(scene)
    assert all(right for _, right in compare(shapes.asked(caption(scene, rng)), seen))


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(0, 1))
def test_any_picture_at_all_is_read_or_not_and_never_fails(seed, blocks, scale):
    rough = torch.rand(3, 3, blocks, blocks, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    pictures = scale * rough.repeat_interleave(32 // blocks, 2).repeat_interleave(32 // blocks, 3)
    for seen in shapes.read(pictures):
        assert seen is None or 1 <= len(seen.things) <= 2 and None not in seen.things and seen.background


def test_a_broken_picture_is_not_read():
    images, _ = shapes("train", 40, objects=1)
    noise = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    halved = images.clone()
    halved[:, :, ::2] = images.flip(0)[:, :, ::2]  # every second line of another picture
    blank = images[:, :, :1, :1].expand(-1, -1, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(images, 9, 1, 4)
    for broken, most in ((noise, 0), (halved, 0), (blank, 0), (blurred, 0.4), (images.mean(0, keepdim=True), 0)):
        assert np.mean([scene is not None for scene in shapes.read(broken)]) <= most


def test_three_things_or_a_figure_of_no_name_are_not_read():
    y, x = np.mgrid[:32, :32] + 0.5
    picture = np.full((3, 32, 32), RGB["white"][0])
    for centre in ((7, 7), (24, 8), (16, 24)):
        cover = coverage("circle", x - centre[0], y - centre[1], 4.0)
        picture += cover * (np.array(RGB["red"])[:, None, None] - picture)
    bar = np.full((3, 32, 32), RGB["white"][0])
    bar[:, 14:17, 4:28] = np.array(RGB["red"])[:, None, None]
    assert shapes.read(torch.from_numpy(np.stack([picture, bar]) * 2 - 1).float()) == [None, None]


def test_a_picture_is_a_function_of_seed_and_index():
    images, captions = shapes("train", 12)
    more, longer = shapes("train", 20)
    assert torch.equal(images, more[:12]) and captions == longer[:12]
    assert not torch.equal(images, shapes("train", 12, seed=1)[0])
    images.zero_()
    assert shapes("train", 12)[0].abs().sum() > 0  # a copy: the cache is not the caller's


def test_splits_keep_the_novel_pairs_apart():
    assert {shape for _, shape in NOVEL} == set(SHAPES) and {colour for colour, _ in NOVEL} == set(COLOURS)
    assert len(SEEN) + len(NOVEL) == 30
    pairs = {split: [[t.pair for t in s.things] for s in shapes.scenes(split, 1500)] for split in ("train", "novel")}
    assert {pair for scene in pairs["train"] for pair in scene} == set(SEEN)
    assert all(NOVEL & set(scene) for scene in pairs["novel"])
    assert {scene[0] for scene in pairs["novel"]} == NOVEL


def test_the_world_is_drawn_evenly():
    scenes = shapes.scenes("train", 3000)
    assert np.mean([len(scene.things) == 1 for scene in scenes]) == pytest.approx(2 / 3, abs=0.03)
    single = [scene.things[0] for scene in scenes if len(scene.things) == 1]
    for name, options in (("pair", SEEN), ("place", PLACES)):
        shares = [np.mean([getattr(thing, name) == option for thing in single]) for option in options]
        assert np.allclose(shares, 1 / len(options), atol=0.03)
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    assert not [scene for scene in scenes if scene.background in {thing.colour for thing in scene.things}]


@pytest.mark.parametrize("objects", [1, 2])
def test_a_caption_says_only_what_is_true(objects):
    rng = np.random.default_rng(0)
    scenes = shapes.scenes("test", 100, objects=objects)
    for scene in scenes:
        wordings = {caption(scene, rng) for _ in range(20)}
        assert len(wordings) > 5
        assert all(right for words in wordings for _, right in compare(shapes.asked(words), scene))


def test_a_wrong_picture_is_marked_down():
    wanted = shapes.asked("a large red circle on the left of a blue background")
    assert wanted == Scene((Thing("circle", "red", "large", "left"),), "blue")
    wrong = Scene((Thing("circle", "green", "large", "right"),), "blue")
    marks = dict(compare(wanted, wrong))
    assert marks == {"shape": True, "colour": False, "size": True, "place": False, "pair": False, "background": True}
    assert not any(right for _, right in compare(wanted, None))
    both = Scene((wanted.things[0], wrong.things[0]), "blue")
    assert not any(right for _, right in compare(wanted, both))  # two things where one was asked for


def test_two_things_may_be_said_in_any_order_but_not_mixed_up():
    a, b = Thing("circle", "red", "small", "left"), Thing("square", "blue", "large", "right")
    seen = Scene((b, a), "white")
    for prompt in (
        "a small red circle to the left of a large blue square on a white background",
        "on a white background there is a big blue square to the right of a little red circle",
        "a red circle and a blue square",
    ):
        assert all(right for _, right in compare(shapes.asked(prompt), seen)), prompt
    mixed = compare(shapes.asked("a red square and a blue circle"), seen)
    assert ("pair", False) in mixed and ("pair", True) not in mixed
    turned = compare(shapes.asked("a red circle to the right of a blue square"), seen)
    assert [name for name, right in turned if not right] == ["place", "place"]


@pytest.mark.parametrize("prompt", ["", "a circle", "a photo of a cat", "a red circle a red circle a red circle"])
def test_what_names_no_coloured_figure_is_not_understood(prompt):
    assert shapes.asked(prompt) is None


def test_marks_are_shares_of_what_was_asked():
    images, captions = shapes("test", 300)
    marks = shapes.marks(captions, images)
    assert marks.attributes > 0.99 and marks.pairs > 0.99
    assert list(sorted(marks.by)) == ["background", "colour", "place", "shape", "size"]
    shuffled = shapes.marks(captions, images.roll(1, 0))
    assert shuffled.attributes < 0.3 and shuffled.pairs < 0.1


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: shapes("valid"), "split: got 'valid'"),
        (lambda: shapes("train", 0), "n: got 0, expected"),
        (lambda: shapes("train", 5, objects=3), "objects: got 3"),
        (lambda: shapes.read(torch.zeros(2, 3, 16, 16)), r"images: got .*\(2, 3, 16, 16\)"),
        (lambda: shapes.marks(["a red circle"], torch.zeros(2, 3, 32, 32)), "prompts: got 1, expected 2"),
        (lambda: shapes.marks(["a cat"], torch.zeros(1, 3, 32, 32)), "prompts: got 'a cat', expected"),
        (lambda: data.photos(4), "size: got 4, expected"),
        (lambda: data.photo_crops(0), "n: got 0, expected"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_the_eight_photographs():
    images, captions = data.photos(48)
    assert images.shape == (8, 3, 48, 48) and len(set(captions)) == 8
    assert images.min() >= -1 and images.max() <= 1
    means = dict(zip(captions, images.mean((2, 3))))  # colours tell some of them apart: are the captions theirs?
    assert means["a facial photo of a tabby cat"].argmax() == 0  # a red cat
    assert means["a rocket standing on a launchpad"].argmax() == 2  # in a blue night
    for grey in ("a black-and-white silhouette of a horse", "a person looking at a camera on a tripod"):
        assert means[grey].std() < 0.01


def test_crops_are_squares_of_their_photograph():
    crops, captions = data.photo_crops(64, seed=2)
    whole, names = data.photos()
    assert captions == names * 8 and crops.shape == (64, 3, 32, 32)
    assert not torch.equal(crops[0], crops[8])
    colours = torch.cdist(crops.mean((2, 3)), whole.mean((2, 3)))  # a crop has about its photograph's mean colour
    assert (colours.argmin(1) == torch.arange(64) % 8).float().mean() > 0.7
    again = data.photo_crops(64, seed=2)[0]
    assert torch.equal(crops, again) and not torch.equal(crops, data.photo_crops(64, seed=3)[0])
