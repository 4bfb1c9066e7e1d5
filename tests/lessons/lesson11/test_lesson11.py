"""Lesson 11's widgets show what the model says, here a small CLIP with random weights; what is measured is counted."""

import pytest
import torch

from minidiff import data
from minidiff.clip import CLIP, contrastive
from minidiff.lessons.lesson11 import cifar100, guided, named, verdicts, widgets
from minidiff.recipes.shapes import tokenizer
from minidiff.transformer import TextEncoder, VisionTransformer


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    words = tokenizer()
    vision = VisionTransformer(32, 8, width=32, layers=1, heads=2)
    return CLIP(vision, TextEncoder(words.vocabulary, width=32, layers=1, heads=2), 16, words).eval()


@pytest.fixture(scope="module")
def pairs():
    return data.shapes("test", n=8)


def shown(explorer, monkeypatch) -> dict[str, float]:
    """The bars that an explorer of captions draws for its values."""
    caught = []
    with monkeypatch.context() as patch:
        patch.setattr(widgets, "bars", lambda picture, shares, **rest: caught.append((picture, shares)))
        explorer.draw(**explorer.values)
    [found] = caught
    return found


def test_cosines_are_those_of_the_towers(clip, pairs):
    images, captions = pairs
    values = widgets.cosines(clip, images, captions[:3])
    assert values.shape == (8, 3) and not values.requires_grad
    ids = clip.tokenizer(captions[:3])
    assert torch.allclose(values, clip.similarity(images, ids), atol=1e-6)


def test_typed_captions_are_ranked_with_the_best_on_top(clip, pairs, monkeypatch):
    images, captions = pairs
    explorer = widgets.rank(clip, images, captions[:4])
    explorer.set(picture=2)
    picture, shares = shown(explorer, monkeypatch)
    assert torch.equal(picture, images[2])
    values = (clip.scale * clip.similarity(images[2:3], clip.tokenizer(captions[:4])))[0].softmax(0)
    assert [*shares] == [captions[k] for k in values.argsort(descending=True)]
    assert [*shares.values()] == pytest.approx(values.sort(descending=True).values.tolist(), abs=1e-5)
    first, share = next(iter(shares.items()))
    assert explorer.picture.alt.startswith(f"picture 3, and how well captions fit, best first: {first}: {share:.0%}; ")


def test_empty_lines_and_a_caption_typed_twice_count_once(clip, pairs, monkeypatch):
    explorer = widgets.rank(clip, pairs[0], ["a red circle", "", "  ", "a red circle "])
    assert shown(explorer, monkeypatch)[1] == {"a red circle": 1.0}
    explorer.set(caption1="", caption4="")
    assert shown(explorer, monkeypatch)[1] == {}
    assert explorer.picture.alt.endswith("none typed")
    explorer.set(caption2="круг", caption3="purpleish things")  # nothing is unknown
    assert set(shown(explorer, monkeypatch)[1]) == {"круг", "purpleish things"}


def test_words_that_the_model_does_not_read_are_named(clip, pairs):
    reading = CLIP(clip.vision, clip.text, 16, clip.tokenizer.knowing(["a red circle"])).eval()
    ranking = widgets.rank(reading, pairs[0], ["a red circle", "", "", ""])
    assert "left out" not in ranking.picture.alt
    ranking.set(caption2="a purplish circle")
    assert ranking.picture.alt.endswith("(not known, left out: purplish)")
    finder = widgets.nearest(reading, *pairs, "a red circle", unseen=4, n=3)
    assert "left out" not in finder.picture.alt
    finder.set(words="red wolf")
    assert "nearest to 'red wolf' (not known, left out: wolf) among all" in finder.picture.alt


def test_a_caption_that_is_too_long_is_said_in_place_of_the_picture(clip, pairs):
    explorer = widgets.rank(clip, pairs[0], ["a red circle"] * 4)
    with pytest.raises(ValueError, match="expected at most 24"):
        explorer.set(caption1="red " * 40)
    assert "expected at most 24" in explorer.picture.error and not explorer.picture.src
    explorer.reset()
    assert explorer.picture.src and not explorer.picture.error


@pytest.mark.parametrize("view, dim", [("share, a picture's captions", 0), ("share, a caption's pictures", 1)])
def test_the_matrix_has_shares_that_add_up(clip, pairs, monkeypatch, view, dim):
    caught, (images, captions) = [], pairs
    explorer = widgets.matrix(clip, {"some": (images[:5], captions[:5]), "others": (images[5:], captions[5:])})
    monkeypatch.setattr(widgets, "heat", lambda values, *rest: caught.append(values))
    explorer.draw(pictures="some", show="cosine", scale=10.0)
    explorer.draw(pictures="some", show=view, scale=3.0)
    cosine, shares = caught[-2:]
    assert torch.allclose(cosine, clip.similarity(images[:5], clip.tokenizer(captions[:5])).T, atol=1e-6)  # by caption
    assert torch.allclose(shares, (3 * cosine).softmax(dim)) and torch.allclose(shares.sum(dim), torch.ones(5))
    explorer.draw(pictures="others", show="cosine", scale=1.0)
    assert caught[-1].shape == (3, 3)


def test_the_matrix_says_how_many_fit_best(clip, pairs, monkeypatch):
    values = torch.eye(8)
    values[:, 0] = 2.0  # the first caption fits every picture best; each other caption still fits its own best
    monkeypatch.setattr(widgets, "cosines", lambda clip, images, captions: values)
    explorer = widgets.matrix(clip, {"some": pairs})
    fit = "1 of 8 pictures fit their own caption best"
    assert explorer.picture.alt == f"some: share, a picture's captions at scale 10; {fit}"
    explorer.set(show="cosine", scale=30.0)
    assert explorer.picture.alt == f"some: cosine; {fit}"


def test_the_temperature_leaves_the_order_and_moves_the_loss(clip, pairs):
    explorer = widgets.temperature(clip, *pairs)
    cosine = clip.similarity(pairs[0], clip.tokenizer(pairs[1])).detach()
    for scale in (1.0, 100.0):
        explorer.set(scale=scale)
        share = (scale * cosine[0]).softmax(0).max()
        wanted = f"scale {scale:g}: the best caption gets {share:.0%} of the share, the loss is "
        assert explorer.picture.alt == f"{wanted}{contrastive(scale * cosine):.2f} nats"


def test_the_nearest_drawings_are_those_of_the_largest_cosines(clip, pairs, monkeypatch):
    caught, (images, captions) = [], pairs
    monkeypatch.setattr(
        widgets.plot, "grid", lambda x, **how: caught.append((x, how["titles"])) or torch.ones(1, 3, 4, 4)
    )
    explorer = widgets.nearest(clip, images, captions, "a red circle", unseen=4, n=3)
    cosine = clip.similarity(images, clip.tokenizer("a red circle"))[:, 0].detach()
    for among in (8, 4):
        explorer.draw(words="a red circle", among=among)
        shown, titles = caught[-1]
        top = cosine[:among].topk(3).indices
        assert torch.equal(shown, images[top])
        assert titles == [f"{captions[k]} {cosine[k]:.2f}" for k in top]
    assert explorer.picture.alt.startswith("the drawings nearest to 'a red circle' among all ")
    explorer.set(words="  ")
    assert explorer.picture.alt == "no words yet" and len(caught) == 3  # nothing was looked for


def test_figures_have_every_number_and_every_caption(pairs):
    images, captions = pairs
    figure = widgets.heat(torch.eye(8)[:3], images, captions[:3], title="Three captions")
    [ax] = figure.axes
    assert len(ax.texts) == 24 and len(ax.images) == 9 and ax.get_title() == "Three captions"
    assert {text.get_text() for text in ax.texts} == {"0.00", "1.00"}
    assert " ".join(ax.get_yticklabels()[1].get_text().split()) == captions[1]
    bars = widgets.bars(images[0], {"best": 0.9, "worse": 0.1}).axes[1]
    assert [bar.get_width() for bar in bars.patches] == [0.9, 0.1]
    assert bars.yaxis_inverted()  # the first on top


def test_the_best_captions_of_each_picture_are_its_largest_shares(pairs):
    images, captions = pairs
    shares = torch.rand(3, 8, generator=torch.Generator().manual_seed(0))
    axes = widgets.best(images[:3], shares, captions, k=2).axes
    assert len(axes) == 8 and not axes[7].axison  # two pictures a row, the last place empty
    for row, ax in zip(shares, axes[1::2]):
        assert [bar.get_width() for bar in ax.patches] == pytest.approx(row.topk(2).values.tolist())
        shown = [" ".join(label.get_text().split()) for label in ax.get_yticklabels()]
        assert shown == [captions[k] for k in row.topk(2).indices]


def test_a_widget_says_what_it_shows(clip, pairs):
    made = [
        widgets.rank(clip, pairs[0], pairs[1][:4]),
        widgets.matrix(clip, {"some": pairs}),
        widgets.temperature(clip, *pairs),
        widgets.nearest(clip, *pairs, "a red circle", unseen=4),
    ]
    for explorer in made:
        assert explorer.picture.src.startswith("data:image/png") and len(explorer.picture.alt) > 30


class Reader:
    """In place of a CLIP of the emoji: it knows the drawings of `known` by heart, and takes all others for the last."""

    def __init__(self, known: int):
        images, self.names, _ = named.gallery()
        self.looks = {image.numpy().tobytes(): min(k, known) for k, image in enumerate(images)}

    def encode_image(self, x):
        return self.places([self.looks[image.numpy().tobytes()] for image in x])

    def encode_texts(self, texts):
        return self.places([self.names.index(text) for text in texts])

    def places(self, places):
        return torch.nn.functional.one_hot(torch.tensor(places), len(self.names)).float()


def test_names_are_looked_for_among_the_drawings_never_seen_and_among_all():
    rows = named.recall_table(Reader(171))
    assert [row["recall at 1"] for row in rows] == [1, 1, 1, 1]
    assert [row["chance at 1"] for row in rows] == [1 / 171] * 2 + [1 / 3470] * 2
    half = named.recall_table(Reader(90))
    assert half[0]["recall at 1"] == pytest.approx(91 / 171)
    shares = named.agreement(Reader(90))
    assert shares["name"] == pytest.approx(91 / 171) and shares["told before"] == 0
    assert shares["name"] <= shares["thing"] < 1 and shares["name"] < shares["skin tone"] < 1
    names = ["astronaut: dark skin tone", "green heart"]
    answers = ["astronaut: light skin tone", "red heart"]
    assert named.agreeing(names, answers) == {"name": 0, "thing": 0.5, "kind": 1, "skin tone": 0.5}


def test_what_is_looked_at_was_never_trained_on():
    images, names = named.chosen()
    unseen, unseen_names = data.emoji("combinations", 32)
    assert set(names) <= set(unseen_names) and torch.equal(images[0], unseen[unseen_names.index(names[0])])


def test_a_told_denoiser_is_compared_with_a_told_one():
    def row(told, way, share):
        return {"denoiser is told": told, "guided by": way, "attributes": share}

    nothing, prompt = guided.NOTHING, guided.PROMPT
    rows = [
        row(nothing, guided.NOBODY, 0.1),
        row(nothing, guided.BLIND, 0.15),
        row(nothing, guided.AWARE, 0.4),
        row(prompt, guided.NOBODY, 0.90),
        row(prompt, guided.AWARE, 0.91),
        row(prompt, guided.AWARE, 0.93),
        row(prompt, guided.FREE, 0.95),
    ]
    alone, fair = verdicts.of_guidance([rows])
    assert alone.holds and "0.400" in alone.ours and "0.93" not in alone.ours
    assert fair.holds and "0.930" in fair.ours and "0.400" not in fair.ours
    rows[-1]["attributes"] = 0.92
    assert not verdicts.of_guidance([rows])[1].holds


def test_cifar100_has_a_hundred_classes():
    assert len(cifar100.LABELS) == 100 == len(set(cifar100.LABELS)) and "lawn mower" in cifar100.LABELS
