"""The emoji: as many names as drawings, combinations that are never trained on, and what a drawing is nearest to."""

import hashlib
import sys
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from minidiff import data
from minidiff.data.emoji import FOLDER, HELD_OUT, TONES, catalogue, plain
from minidiff.transformer import words

TRAIN = data.emoji("train", 32)
HELD = data.emoji("combinations", 32)


def everything() -> dict[str, torch.Tensor]:
    """The name of each drawing -> the drawing."""
    return dict(zip(TRAIN[1] + HELD[1], torch.cat([TRAIN[0], HELD[0]])))


@pytest.mark.parametrize("split, count", [("train", 3299), ("combinations", 171)])
@pytest.mark.parametrize("size", [32, 64])
def test_drawings_and_their_names(split, count, size):
    images, names = data.emoji(split, size)
    assert (images.shape, images.dtype) == ((count, 3, size, size), torch.float32)
    assert len(names) == len(set(names)) == count
    assert images.min() >= -1 and images.max() == 1 and images.min() < -0.95
    assert all(name == name.lower() == name.strip() and "_" not in name and "  " not in name for name in names)


def test_the_ground_is_white_and_something_is_on_it():
    images, _ = data.emoji(holdout=None)
    assert images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].min() > 0.9
    drawn = (images < 0.8).any(1).float().mean((1, 2))
    assert drawn.min() > 0.01 and drawn.max() < 1


def test_small_is_the_mean_of_four_pixels():
    assert torch.allclose(F.avg_pool2d(data.emoji("combinations", 64)[0], 2), HELD[0], atol=1e-6)


def test_colours_are_those_that_the_names_say():
    drawings = everything()
    colours = {f"{colour} circle": drawings[f"{colour} circle"][:, 16, 16] for colour in ("red", "green", "blue")}
    assert [colours[name].argmax().item() for name in colours] == [0, 1, 2]
    light, dark = (drawings[f"waving hand: {tone} skin tone"].mean() for tone in ("light", "dark"))
    assert light > dark + 0.1


def test_no_drawing_is_in_both_splits_and_every_drawing_is_in_one():
    names = data.emoji(holdout=None)[1]
    assert not set(TRAIN[1]) & set(HELD[1])
    assert sorted(TRAIN[1] + HELD[1]) == sorted(names) and len(names) == 3470
    assert torch.cdist(HELD[0].flatten(1), TRAIN[0].flatten(1)).min() > 0.5  # nor is one with another name


def test_every_word_of_what_is_held_out_is_in_training():
    for wording in (str, plain):
        seen = {word for name in TRAIN[1] for word in words(wording(name))}
        assert not {word for name in HELD[1] for word in words(wording(name))} - seen


def test_one_tone_of_every_second_thing_is_held_out_and_the_others_are_trained_on():
    trained, held = ({(a.thing, a.tones) for a in data.emoji.attributes(names)} for _, names in (TRAIN, HELD))
    toned = {pair for pair in held if len(pair[1]) == 1}
    assert max(Counter(thing for thing, _ in toned).values()) == 1
    for thing, tones in toned:
        assert {(thing, (tone,)) for tone in TONES} - {(thing, tones)} <= trained
    each = Counter(tones for _, tones in toned)
    assert len(each) == 5 and max(each.values()) - min(each.values()) <= 1
    things = {thing for thing, tones in trained | held if len(tones) == 1}
    assert len(toned) == (len(things) + 1) // 2
    assert set(HELD_OUT) <= set(HELD[1]) and sum(len(tones) == 2 for _, tones in held) == 5


def test_the_split_never_changes():
    """A checkpoint trained on another split would have seen the drawings that it is measured on."""
    told = hashlib.sha256("\n".join(HELD[1]).encode()).hexdigest()
    assert told == "696069fc41a29ef4532fff7e64ae9ad98591ddd59e4549de1e0976891b4c150e"


def test_names_are_known_in_chinese_too():
    chinese = data.emoji("train", 32, lang="zh")[1]
    pairs = dict(zip(TRAIN[1], chinese))
    assert len(set(chinese)) == len(chinese) == len(TRAIN[1])
    assert pairs["dog face"] == "狗脸" and pairs["flag: japan"] == "旗: 日本"
    assert pairs["woman firefighter: light skin tone"] == "女消防员: 较浅肤色"
    assert data.emoji.attributes(["女消防员：较浅肤色"])[0].name == "woman firefighter: light skin tone"


def test_the_sequence_says_what_the_name_says():
    modifiers = {chr(0x1F3FB + i): tone for i, tone in enumerate(TONES)}
    for known in catalogue():
        assert tuple(modifiers[char] for char in known.sign if char in modifiers) == known.tones, known.name


def test_attributes_are_read_from_a_name_however_it_is_typed():
    for name in ("woman firefighter: medium-dark skin tone", "Woman  FIREFIGHTER medium-dark skin tone"):
        [told] = data.emoji.attributes([name])
        assert (told.thing, told.tones, told.kind) == ("woman firefighter", ("medium-dark",), "person-role")
    assert [each.name for each in data.emoji.attributes(["Pin\u0303ata", "flag: Re\u0301union"])] == [
        "piñata",
        "flag: réunion",
    ]
    told = data.emoji.attributes(["person: dark skin tone, curly hair", "Eight o’clock", "handshake", "flag italy"])
    assert [each.thing for each in told] == ["person: curly hair", "eight o'clock", "handshake", "flag: italy"]
    assert [each.tones for each in told] == [("dark",), (), (), ()]
    assert [each.kind for each in told] == ["person", "time", "hand", "flag"]


def test_a_drawing_is_its_own_nearest_at_both_sizes_and_with_some_noise():
    for size in (32, 64):
        images, names = data.emoji("combinations", size)
        assert data.emoji.nearest(images) == names
    noisy = HELD[0] + 0.1 * torch.randn(HELD[0].shape)
    assert sum(a == b for a, b in zip(data.emoji.nearest(noisy), HELD[1])) > 160


def test_marks_are_shares_of_what_was_asked():
    images, names = HELD
    marks = data.emoji.marks(names, images)
    assert marks.right == 1 and marks.by == {"thing": 1, "kind": 1, "tone": 1}
    asked = ["waving hand: light skin tone", "waving hand: dark skin tone", "dog face", "cat face"]
    got = ["waving hand: light skin tone", "waving hand: light skin tone", "wolf", "red circle"]
    drawings = everything()
    marks = data.emoji.marks(asked, torch.stack([drawings[name] for name in got]))
    assert marks.right == 0.25 and marks.by == {"thing": 0.5, "kind": 0.75, "tone": 0.5}


def test_what_is_given_is_the_callers_own():
    images, names = data.emoji("combinations", 32)
    images.zero_(), names.clear()
    again = data.emoji("combinations", 32)
    assert torch.equal(again[0], HELD[0]) and again[1] == HELD[1]


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: data.emoji("test"), "split: got 'test' .*expected one of 'train', 'combinations'"),
        (lambda: data.emoji(size=16), "size: got 16 .*expected one of 32, 64"),
        (lambda: data.emoji(lang="de"), "lang: got 'de' .*expected one of 'en', 'zh'"),
        (lambda: data.emoji(holdout="clocks"), "holdout: got 'clocks' .*expected one of 'combinations', None"),
        (lambda: data.emoji("combinations", holdout=None), "split: got 'combinations' with holdout=None"),
        (lambda: data.emoji.attributes(["womn firefighter"]), "got 'womn firefighter', .* such as 'woman firefighter'"),
        (lambda: data.emoji.nearest(torch.zeros(1, 3, 16, 16)), "images: got 16x16 pixels, expected 32x32 or 64x64"),
        (lambda: data.emoji.nearest(torch.full((1, 3, 32, 32), torch.nan)), "images: got NaN"),
        (lambda: data.emoji.marks(["dog face"], torch.zeros(2, 3, 32, 32)), "prompts: got 1, expected 2"),
        (lambda: data.emoji.marks(["dog face"], "dog.png"), "images: got 'dog.png'"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises((TypeError, ValueError), match=told):
        call()


def test_a_missing_sheet_is_told(monkeypatch, tmp_path):
    assert {path.name for path in FOLDER.iterdir()} >= {"NOTICE", "make_sheet.py", "names.json", "sheet.webp"}
    module = sys.modules["minidiff.data.emoji"]  # by its dotted name one finds the function
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "_sheet", module._sheet.__wrapped__)
    with pytest.raises(FileNotFoundError, match="git checkout -- data/emoji"):
        data.emoji()
