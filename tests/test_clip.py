"""CLIP: its loss, its vectors, its guides, and what it is used for. Against transformers: pretrained/."""

import math
import re
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from minidiff import data
from minidiff.clip import CLIP, NoisyCLIP, classifier, contrastive, embed, recall, zero_shot
from minidiff.data.shapes.scene import COLOURS as NAMES
from minidiff.data.shapes.scene import SHAPES
from minidiff.lessons.lesson11 import claims as lesson11
from minidiff.lessons.lesson11 import guided as guided11
from minidiff.schedule import cosine
from minidiff.transformer import TextEncoder, Tokenizer, VisionTransformer

LABELS = ["red circle", "blue square", "green cross"]
TOKENIZER = Tokenizer.train([f"this is a photo of there {' '.join(LABELS)}"])
IDS = torch.tensor([[1, 5, 6, 2, 0], [1, 7, 2, 0, 0], [1, 8, 9, 4, 2]])


def small(**options) -> CLIP:
    return CLIP(
        VisionTransformer(8, 4, 16, 1, 2, **options), TextEncoder(TOKENIZER.vocabulary, 16, 1, 2), 12, TOKENIZER
    )


def noisy() -> NoisyCLIP:
    vision = VisionTransformer(8, 4, 16, 1, 2, time=True)
    torch.nn.init.normal_(vision.time_embed[-1].weight)  # a new one does not tell times apart
    return NoisyCLIP(vision, TextEncoder(TOKENIZER.vocabulary, 16, 1, 2), cosine(), 12, TOKENIZER)


def test_the_loss_is_the_mean_of_two_cross_entropies():
    logits = torch.randn(5, 5, dtype=torch.float64)
    p, q = logits.softmax(1).diagonal(), logits.softmax(0).diagonal()
    torch.testing.assert_close(contrastive(logits), -(p.log().mean() + q.log().mean()) / 2)
    torch.testing.assert_close(contrastive(logits.T), contrastive(logits))
    assert contrastive(torch.zeros(7, 7)).item() == pytest.approx(math.log(7))


def test_an_equal_caption_is_no_wrong_answer():
    logits, same = torch.randn(4, 4), torch.eye(4, dtype=torch.bool)
    assert torch.equal(contrastive(logits, same), contrastive(logits))
    same[0, 2] = same[2, 0] = True
    changed = logits.clone()
    changed[0, 2], changed[2, 0] = 50.0, -50.0
    torch.testing.assert_close(contrastive(changed, same), contrastive(logits, same))
    assert contrastive(torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)) == 0  # no wrong answers at all
    model, x = small(), torch.randn(3, 3, 8, 8)
    repeated = torch.cat([IDS, IDS[:1]])
    for each in (model, noisy()):
        terms = each.terms(torch.cat([x, x[:1]]), repeated)
        assert terms["loss"].isfinite() and set(terms) == {"loss", "accuracy", "temperature"}
        assert torch.equal(each.scale, 1 / terms["temperature"])
    alone = model.terms(torch.cat([x[:1], x[:1]]), repeated[[0, 3]])
    assert alone["loss"] == 0 and alone["accuracy"] == 1


def test_vectors_have_length_one_and_the_temperature_is_learned_up_to_its_limit():
    model, x = small(), torch.randn(3, 3, 8, 8)
    for vectors in (
        model.encode_image(x),
        model.encode_text(IDS),
        noisy().encode_image(x, torch.tensor([0.1, 0.5, 1])),
    ):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model.similarity(x, IDS), model.encode_image(x) @ model.encode_text(IDS).T)
    assert model.scale.item() == pytest.approx(1 / 0.07)
    model.loss(x, IDS).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.vision.parameters())
    assert model.logit_scale.grad
    model.logit_scale.data.fill_(9.0)
    assert model.scale.item() == 100


def test_it_learns_to_pair():
    model, x = small(), torch.randn(3, 3, 8, 8)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        loss = model.loss(x, IDS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1 and model.terms(x, IDS)["accuracy"] == 1


def test_a_classifier_is_the_mean_of_its_prompts():
    model, x = small(), torch.randn(5, 3, 8, 8)
    one = classifier(model, LABELS, "a {}")
    torch.testing.assert_close(one, model.encode_texts([f"a {label}" for label in LABELS]))
    two = classifier(model, LABELS, ["a {}", "there is a {}"])
    torch.testing.assert_close(two, F.normalize(one + model.encode_texts([f"there is a {k}" for k in LABELS]), dim=1))
    p = zero_shot(model, x, LABELS, ["a {}"])
    torch.testing.assert_close(p, (model.encode_image(x) @ one.T * model.scale).softmax(1))
    assert p.shape == (5, 3) and not p.requires_grad
    torch.testing.assert_close(embed(model, x), model.encode_image(x))
    for labels in ("red circle", [], None, 3, [None], ["red circle", 3], [b"red"], iter(())):
        with pytest.raises(ValueError, match="labels: got"):
            zero_shot(model, x, labels)
    for templates in ("no place", [], ["a {}", "b"], "{} {x}", "a {} and {}", "a {0}", "a {", [3], None, 3, b"a {}"):
        with pytest.raises(ValueError, match="templates: got"):
            classifier(model, LABELS, templates)
    with pytest.raises(ValueError, match="expected ids for a model without a tokenizer"):
        CLIP(model.vision, model.text).encode_texts("a")


def test_recall_counts_right_answers_among_the_nearest():
    similarity = torch.tensor([[0.9, 0.8, 0.0], [0.7, 0.2, 0.1], [0.3, 0.2, 0.15]])
    assert [recall(similarity, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert recall(similarity.T, 1) == pytest.approx(2 / 3)
    right = torch.eye(3, dtype=torch.bool)
    right[1, 0] = True
    assert recall(similarity, 1, right) == pytest.approx(2 / 3)
    for call, message in [
        (lambda: recall(similarity, 4), "k: got 4, expected between 1 and 3"),
        (lambda: recall(similarity, 1, right[:2]), "right: got shape (2, 3)"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_guides_are_scaled_cosines_with_a_gradient_by_the_picture():
    x, t = torch.randn(3, 3, 8, 8, requires_grad=True), torch.tensor(0.4)
    model, aware = small(), noisy()
    torch.testing.assert_close(model.guide(IDS)(x, t), model.scale * model.similarity(x, IDS).diagonal())
    wanted = aware.scale * (aware.encode_image(x, t) * aware.encode_text(IDS)).sum(1)
    torch.testing.assert_close(aware.guide(IDS)(x, t), wanted)
    assert (aware.guide(IDS)(x, t) - aware.guide(IDS)(x, torch.tensor(0.9))).abs().max() > 1e-4
    aware.guide(IDS)(x, t).sum().backward()
    assert x.grad.flatten(1).any(1).all()


def test_a_noisy_clip_learns_from_noisy_pictures():
    model, seen = noisy(), []
    model.vision.register_forward_pre_hook(lambda _, args: seen.append(args))
    x = torch.full((4, 3, 8, 8), 0.5)
    torch.manual_seed(3)
    model.loss(x, IDS[[0, 1, 2, 0]])
    [(noised, t)] = seen
    alpha, _ = model.schedule(t, like=x)
    assert t.sort().values.sub(torch.tensor([0.125, 0.375, 0.625, 0.875])).abs().max() <= 0.126
    assert ((noised - alpha * x).flatten(1).std(1) - model.schedule(t)[1]).abs().max() < 0.15


def test_bad_sizes_and_inputs_are_refused():
    model = small()
    for call, message in [
        (lambda: VisionTransformer(32, 5), "patch: got 5, expected a divisor of size = 32"),
        (lambda: VisionTransformer(32, 8, heads=3), "heads: got 3"),
        (lambda: model.encode_image(torch.zeros(1, 3, 9, 8)), "x: got"),
        (lambda: model.vision(torch.zeros(1, 3, 8, 8), 0.5), "t: got 0.5, expected None"),
        (lambda: noisy().vision(torch.zeros(1, 3, 8, 8)), "t: got None, expected a time"),
        (lambda: model.encode_texts("猫" * 10), "texts: got"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


class Oracle:
    """In place of a CLIP: it reads pictures and captions without error, colour and shape of the first thing alone."""

    scale = torch.tensor(10.0)

    def encode_image(self, x):
        return torch.stack([self.vector(scene) for scene in data.shapes.read(x)])

    def encode_texts(self, texts):
        return torch.stack([self.vector(data.shapes.asked(text)) for text in texts])

    def vector(self, scene):
        thing = scene.things[0]
        colours, shapes = ([float(name == one) for name in names] for one, names in self.names(thing))
        return torch.tensor(colours + shapes) / 2**0.5

    def names(self, thing):
        return (thing.colour, NAMES), (thing.shape, SHAPES)


class Blind(Oracle):
    """One that does not tell shapes apart."""

    def names(self, thing):
        return (thing.colour, NAMES), ("circle", SHAPES)


def test_zero_shot_is_measured_among_all_pairs():
    for row in lesson11.zero_shot_table(Oracle(), n=60):
        assert (row["seen pairs"], row["novel pairs"], row["harmonic mean"]) == (1, 1, 1)
    images, right = lesson11.single("novel", 60)
    assert len(lesson11.LABELS) == 30 and images.shape == (60, 3, 32, 32)
    assert [lesson11.LABELS[k] for k in right] == [" ".join(scene.things[0].pair) for scene in data.shapes.read(images)]
    rows = lesson11.zero_shot_table(Blind(), n=60)
    assert all(0.1 < row["seen pairs"] < 0.35 for row in rows)  # a fifth, and one shape is always its answer


def test_retrieval_takes_whatever_is_true_for_right():
    rows = lesson11.retrieval(Oracle(), n=40)
    assert [row["way"] for row in rows] == ["picture to caption", "caption to picture"]
    assert all(row["recall at 5"] >= row["recall at 1"] > 0.3 > row["chance at 1"] > 1 / 41 for row in rows)


def test_a_shape_left_out_is_measured_apart():
    known, never = lesson11.left_out_table(Oracle(), Blind(), n=100)
    assert (known["crosses"], known["other shapes"]) == (1, 1)
    assert never["crosses"] == 0 and 0.1 < never["other shapes"] < 0.5


def test_photographs_are_matched_with_eight_captions():
    class Index(Oracle):  # it knows the eight by heart, as the rows of an identity
        def encode_image(self, x):
            return torch.eye(8)[[k % 8 for k in range(len(x))]]

        def encode_texts(self, texts):
            return torch.eye(8)[[data.photos()[1].index(text) for text in texts]]

    similarity, shares = lesson11.photographs(Index())
    assert torch.equal(similarity, torch.eye(8)) and shares.argmax(1).tolist() == list(range(8))
    assert lesson11.crops(Index(), n=16) == 1


def test_guidance_draws_a_code_for_each_prompt_from_the_same_noise():
    calls = []

    class Tiny:
        autoencoder, schedule = type("A", (), {"latent": 8, "f": 4}), cosine()

        @staticmethod
        def ids(said):
            return torch.ones(len(said), 4, dtype=torch.int64)

        @staticmethod
        def denoiser(x, t):
            calls.append(len(x))
            return torch.full_like(x, 9.0)

    z = guided11.codes(Tiny(), guided11.nobody(Tiny()), ["a"] * 120, steps=3)
    assert z.shape == (120, 8, 8, 8) and z.max() <= guided11.LIMIT and calls == [100] * 3 + [20] * 3


def test_a_guide_pushes_a_denoiser_that_was_told_the_prompt_and_one_that_was_not():
    class Model:
        schedule, ids = cosine(), torch.ones(2, 4, dtype=torch.int64)

        @staticmethod
        def denoiser(x, t, ids=None):
            return torch.full_like(x, 0.0 if ids is None else 0.5)

    pull = SimpleNamespace(guide=lambda ids: lambda x, t: 2 * x.flatten(1).sum(1))  # its gradient is 2 everywhere
    x, t = torch.zeros(2, 8, 8, 8), torch.tensor(0.5)
    alpha, sigma = Model.schedule(t)
    push = 0.01 * 2 * sigma**2 / alpha
    for told, base in ((guided11.NOTHING, 0.0), (guided11.PROMPT, 0.5)):
        torch.testing.assert_close(guided11.nobody(Model, told)(Model.ids)(x, t), torch.full_like(x, base))
        moved = guided11.by_clip(Model, pull, 0.01, told)(Model.ids)(x, t)
        torch.testing.assert_close(moved, (base + push).expand_as(x).to(x))


def test_both_clips_read_the_same_codes_with_more_and_more_noise():
    images, added = lesson11.single("test", 20)[0], []

    class Aware(Oracle):  # what was noised, it knows by heart
        schedule = cosine()

        def encode_image(self, x, t):
            alpha, sigma = self.schedule(torch.tensor(t))
            added.append((x - alpha * images) / sigma)
            return super().encode_image(images)

    class Lost(Oracle):
        def encode_image(self, x):
            assert x.shape == images.shape and not torch.equal(x, images)
            return torch.ones(len(x), len(NAMES) + len(SHAPES))

    painter = SimpleNamespace(encode=lambda x: x)
    rows = lesson11.noise_table(painter, Lost(), Aware(), times=(0.3, 0.6), n=20)
    assert [(row["t"], row[guided11.AWARE]) for row in rows] == [(0.3, 1), (0.6, 1)]
    assert all(row[guided11.BLIND] < 0.3 for row in rows)
    torch.testing.assert_close(*added, atol=1e-4, rtol=0)


def test_a_noisy_clip_can_start_from_a_clip():
    model, vision, x = small(), VisionTransformer(8, 4, 16, 1, 2, time=True), torch.randn(2, 3, 8, 8)
    aware = NoisyCLIP(vision, TextEncoder(TOKENIZER.vocabulary, 16, 1, 2), cosine(), 12, TOKENIZER)
    aware.load_state_dict(aware.state_dict() | model.state_dict())
    torch.testing.assert_close(aware.encode_image(x, torch.tensor([0.2, 0.9])), model.encode_image(x))


def test_a_vision_tower_of_ones_own_gives_a_vector_a_picture():
    class Tower(torch.nn.Module):
        width = 8

        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, x):
            return self.answer(x.flatten(1)[:, :8])

    text = TextEncoder(300, 8, 1)
    x = torch.randn(4, 1, 7, 7)
    assert CLIP(Tower(lambda h: h), text, 16).encode_image(x).shape == (4, 16)
    for wrong in (lambda h: h[:1], lambda h: h.unsqueeze(1), lambda h: h[:, :5], lambda h: (h,)):
        with pytest.raises((TypeError, ValueError), match=r"vision\(x\): got .*expected .*shape \(4, 8\)"):
            embed(CLIP(Tower(wrong), text, 16), x)
    with pytest.raises(TypeError, match="vision: got Sequential, expected one that says .* `width`"):
        CLIP(torch.nn.Sequential(), text)
