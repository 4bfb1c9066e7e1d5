"""Tuning: each way trains what it says and nothing else, the prior counts on its own rows, and the model stays."""

import pytest
import torch

from minidiff import checkpoints, seeded
from minidiff.adapter import HOWS, ROW, TABLE, worn
from minidiff.data import mascots
from minidiff.denoiser import Denoiser
from minidiff.latent import LatentDiffusion, Pixels, text_to_image
from minidiff.personalize import fresh, prior_preservation, tune
from minidiff.schedule import cosine
from minidiff.transformer import Tokenizer, WordEmbedding
from minidiff.unet import UNet

KNOWN = "a small red circle on a white background"
KINDS = [(how, {}) for how in HOWS] + [("lora", {"layers": "all", "rank": 2})]


@pytest.fixture(scope="module", params=["ldm-shapes", "sd-emoji"])
def model(request):
    return checkpoints.load(request.param)


@pytest.fixture(scope="module")
def shapes():
    return checkpoints.load("ldm-shapes")


def state(model) -> dict:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@torch.no_grad()
def answer(model, text=KNOWN):
    """The denoiser's estimate for fixed codes."""
    z = torch.randn(3, 8, 8, 8, generator=seeded(1))
    return model.denoiser(z, 0.6, model.ids([text] * 3))


def four(model):
    return torch.rand(4, 3, 32, 32, generator=seeded(3)) * 2 - 1


@pytest.mark.parametrize("how, options", KINDS)
def test_tuning_gives_an_adapter_and_leaves_the_model_alone(model, how, options):
    before, needed = state(model), [weight.requires_grad for weight in model.parameters()]
    adapter = tune(model, four(model), "zib", how, 2, prior=[KNOWN] * 3, **options)
    assert same(state(model), before) and needed == [weight.requires_grad for weight in model.parameters()]
    untrained = tune(model, four(model), "zib", how, 1, lr=1e-12, prior=[KNOWN] * 3, **options)
    moved = {name for name, weight in adapter.weights.items() if not torch.allclose(weight, untrained.weights[name])}
    trains_word = how in ("textual inversion", "dreambooth")
    assert (ROW in moved) == trains_word and bool(moved - {ROW}) == (how != "textual inversion")
    with worn(model, adapter):
        assert model.ids("a zib").max() == model.tokenizer.new[0]
        worn_answer = answer(model, "a zib")
    assert same(state(model), before)
    assert not torch.equal(worn_answer, answer(model, "a zib"))


def test_the_prior_counts_on_its_own_rows():
    losses = torch.tensor([1.0, 3.0, 10.0, 20.0, 30.0])
    assert prior_preservation(losses, 2, 0.5) == 2 + 0.5 * 20
    assert prior_preservation(losses, 5) == losses.mean()


def test_a_word_may_begin_as_another(shapes):
    table = shapes.denoiser.net.get_submodule(TABLE).weight
    row = fresh(shapes, "zib", "lora", like="purple circle").weights[ROW]
    assert torch.equal(row[0], table[shapes.tokenizer.encode("purple circle")[1:-1]].mean(0))


@pytest.mark.slow
def test_a_thing_is_learned_from_four_pictures(shapes):
    """A short run already draws the closest to a hen, without a prior."""
    pictures, captions = mascots.mascots("hen")
    adapter = tune(shapes, pictures, "zib", "lora", 120, captions=captions, layers="all", rank=2, lr=4e-3)
    prompts = ["a photo of a zib on the left of a red background"] * 6
    with worn(shapes, adapter):
        found = mascots.seen(text_to_image(shapes, prompts, generator=seeded(0)))
    assert sum("hen" in name for name, _, _ in found) >= 4
    assert not any("hen" in name for name, _, _ in mascots.seen(text_to_image(shapes, prompts, generator=seeded(0))))


REFUSED = [
    (lambda m: tune(m, torch.zeros(4, 3, 32), "zib"), "pictures: got"),
    (lambda m: tune(m, torch.zeros(1, 3, 32, 32), "circle"), "word: got 'circle', which the model knows already"),
    (lambda m: tune(m, torch.zeros(1, 3, 32, 32), "a zib"), "word: got 'a zib'"),
    (lambda m: tune(m, torch.zeros(1, 3, 32, 32), "zib", "magic"), "how: got 'magic'"),
    (lambda m: tune(m, torch.zeros(1, 3, 32, 32), "zib", captions=["a zib"]), "captions: got"),
    (lambda m: tune(m, torch.zeros(1, 3, 32, 32), "zib", layers="some"), "layers: got 'some'"),
    (lambda m: fresh(m, "zib", "lora", like="xyz"), "like: got 'xyz'"),
    (lambda m: prior_preservation(torch.ones(3), 4), "own: got 4"),
]


@pytest.mark.parametrize("call, told", REFUSED)
def test_bad_input_is_refused_by_name(shapes, call, told):
    before = state(shapes)
    with pytest.raises(ValueError) as caught:
        call(shapes)
    assert told in str(caught.value) and same(state(shapes), before)


@pytest.mark.parametrize("how, options", [("dreambooth", {}), ("lora", {"layers": "all"})])
def test_a_second_word_learned_beside_the_first_stands_by_itself(shapes, how, options):
    first = tune(shapes, four(shapes), "zib", how, 2, **options)
    with worn(shapes, first):
        second = tune(shapes, -four(shapes), "wug", how, 2, **options)
        assert second.weights.keys() == first.weights.keys()
        with worn(shapes, second):
            both = answer(shapes, "a zib, a wug")
    with worn(shapes, second):
        assert not torch.equal(answer(shapes, "a wug"), both)
    assert torch.isfinite(both).all()


def test_a_thing_in_grey_can_be_learned():
    torch.manual_seed(0)
    words = Tokenizer.train(["a circle"], vocabulary=265, length=16)
    text = WordEmbedding(words.vocabulary, 8, words.length)
    net = UNet(channels=1, widths=(8, 8), attention=(1,), text=text)
    denoiser = Denoiser(net, cosine(), "v", null=words("")[0])
    model = LatentDiffusion(Pixels(1), denoiser, words, size=8)
    adapter = tune(model, torch.rand(2, 1, 8, 8), "zib", "textual inversion", 2, captions=["a {}"] * 2)
    with worn(model, adapter):
        assert text_to_image(model, "a zib", steps=2).shape == (1, 1, 8, 8)
