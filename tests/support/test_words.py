"""A prompt as it is typed is read as the plain one, and what a model never saw is named: for each shipped model."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minidiff import checkpoints, seeded
from minidiff.clip import classifier
from minidiff.data import emoji, shapes
from minidiff.data.emoji import plain
from minidiff.latent import text_to_image
from minidiff.recipes import emoji as drawn
from minidiff.recipes import shapes as worlds
from minidiff.support.words import told, understood, vocabulary

CIRCLE = "a large red circle on a blue background"
WOMAN = "woman firefighter medium-dark skin tone"
SAME = [  # typed, each the same as CIRCLE
    CIRCLE + ".",
    CIRCLE + ",",
    CIRCLE + "!?…",
    CIRCLE.upper(),
    "a large, red circle; on a blue background",
    "a large red-circle on a blue—background",
    "a large red_circle (on) a [blue] {background}",
    "“a large red circle” on ‘a’ blue/background",
    "**a large red circle** on a #blue `background`",
    "a large red circle\non a\r\n\tblue background\n",
    "\ufeffa large\u00a0red circle\u200bon a blue back\u00adground",
    "ａ ｌａｒｇｅ red circle，on a blue background。",
    CIRCLE + " \x00\x07",
    CIRCLE + " \ud800",
    "A LARGE RED C\u0130RCLE ON A BLUE BACKGROUND",  # as capitals are in Turkish
    "A LARGE RED CI\u0307RCLE ON A BLUE BACKGROUND",
]
NAMED = {  # typed -> what is read, what is named
    "a pink circle": ("a circle", ["pink"]),
    "two red circles.": ("red", ["two", "circles"]),
    "red circle 4k, 8K!": ("red circle", ["4k", "8k"]),
    "🔴 on a blue background": ("on a blue background", ["🔴"]),
    "red❤️circle": ("red circle", ["❤"]),
    "一个红色的圆": ("", ["一个红色的圆"]),
    "красный circle": ("circle", ["красный"]),
    "a pink-red circle": ("a red circle", ["pink"]),
    "a zebra-crossing": ("a", ["zebra-crossing"]),
    "the circle's top": ("the circle top", []),
    "disc disc DISC": ("", ["disc"]),
    "red circle\u203c\ufe0f": ("red circle", ["\u203c\ufe0f"]),
    "#\ufe0f\u20e3 1\u20e3": ("", ["#\ufe0f\u20e3", "1\u20e3"]),
    "": ("", []),
    " .,!\n": ("", []),
}


@pytest.fixture(scope="module")
def reader():
    return worlds.reader()


@pytest.mark.parametrize("typed", SAME, ids=ascii)
def test_signs_and_capitals_do_not_matter(reader, typed):
    assert reader.encode(typed) == reader.encode(CIRCLE) and reader.unknown(typed) == []


@pytest.mark.parametrize("typed", NAMED, ids=ascii)
def test_what_is_not_known_is_left_out_and_named(reader, typed):
    text, unknown = NAMED[typed]
    assert (reader.decode(reader.encode(typed)), reader.unknown(typed)) == (text, unknown)


def test_captions_are_read_as_in_training(reader):
    captions = shapes("test", 2000)[1]
    assert torch.equal(reader(captions), worlds.tokenizer()(captions)) and reader.unknown(captions) == []


def test_names_of_emoji_are_read_as_one_types_them():
    names = emoji(holdout=None, size=32)[1]
    reader = drawn.reader()
    assert reader.unknown(names) == []
    ids = reader(names)
    differ = (ids != drawn.tokenizer()([plain(name) for name in names])).any(dim=1).nonzero()[:, 0]
    assert [names[i] for i in differ] == ["a button (blood type)"]  # the price of the next line
    assert reader.encode("a red heart.") == reader.encode("The red heart") == reader.encode("red heart")
    assert reader.unknown("an eye") == [] and reader.tokens("a") == [" a"]
    for typed in (
        "Woman, Firefighter: medium-dark skin tone!",
        "woman-firefighter-medium‑dark-skin-tone",
        f"({WOMAN})",
    ):
        assert reader.encode(typed) == reader.encode(WOMAN)
    assert reader.tokens("see-no-evil-monkey.") == reader.tokens("see-no-evil monkey")
    assert reader.encode("flag: Co\u0302te d’Ivoire") == reader.encode("flag côte d'ivoire")


def test_a_sign_that_is_a_word_is_read_beside_others():
    reader = drawn.reader()
    for typed in ("keycap: #", "Keycap #.", "(keycap #)", "“keycap #”。"):
        assert reader.tokens(typed) == reader.tokens("keycap #") == [" keycap", " #"], typed
    assert reader.encode("** red heart **") == reader.encode("red heart")
    for quote in "’´`\u02bc＇":
        assert reader.encode(f"two o{quote}clock") == reader.encode("two o'clock")


@pytest.mark.parametrize("lang", ["sign", "chinese"])
def test_every_sign_and_every_chinese_name_is_named(lang):
    reader = drawn.reader()
    for entry in emoji.attributes(emoji(holdout=None, size=32)[1]):
        typed = getattr(entry, lang)
        assert typed.isascii() or reader.unknown(typed), typed


known = vocabulary(["red", "circle", "o'clock", "st.", "medium-dark", "#"])


@given(st.text(max_size=30))
def test_only_known_words_are_read_of_any_text(text):
    read, unknown = understood(text, known)
    assert set(read) <= set(known.values()) and all(word and len(word) <= 40 for word in unknown)


def test_a_long_word_takes_no_time_to_speak_of(reader):
    assert len(reader.unknown("x-" * 20_000)[0]) == 40
    assert told(["circels", *"abcdefghij"], ["circle"]).startswith(
        "left out, as training never showed it: circels (near: "
    )
    assert told(["q"] * 12, ["circle"]).endswith(" and 4 more") and told([], known) == ""


NAMES = [name for name in checkpoints.names() if name.startswith(("ldm-", "clip-"))]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_knows_its_words(name):
    model = checkpoints.load(name)
    assert model.unknown_words("xyzzy.") == ["xyzzy"]
    asked = [WOMAN + "."] if "emoji" in name else [CIRCLE + ".", "a photo of a red cross"]
    assert model.unknown_words(asked) == []
    if "emoji" not in name:
        assert (model.unknown_words("tabby") == []) == (name == "clip-photos")


@pytest.mark.parametrize("name, plain_prompt", [("ldm-shapes", CIRCLE), ("ldm-emoji", WOMAN)])
def test_the_picture_is_that_of_the_plain_prompt(name, plain_prompt):
    model = checkpoints.load(name)
    prompts = [plain_prompt, plain_prompt + ".", plain_prompt.title() + "!", f"“{plain_prompt}”", "🙃 " + plain_prompt]
    drawings = [text_to_image(model, prompt, steps=3, generator=seeded(0)) for prompt in prompts]
    assert all(torch.equal(drawing, drawings[0]) for drawing in drawings)


def test_clip_reads_a_label_without_its_signs_and_warns_of_one_it_does_not_know():
    clip = checkpoints.load("clip-shapes")
    plain_labels = classifier(clip, ["red circle", "blue cross"])
    torch.testing.assert_close(
        classifier(
            clip,
            ["Red-circle.", "“blue cross”"],
            ("a {}!", "a photo of a {}.", "this is a photo of a {}", "there is a {}"),
        ),
        plain_labels,
    )
    with pytest.warns(UserWarning, match="not among the words that this model was trained on: zebra"):
        classifier(clip, ["red circle", "zebra"])
