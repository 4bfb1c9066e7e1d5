"""Adapters: a new word alone moves, LoRA begins as nothing, what is worn comes off bit for bit, merged is worn."""

import copy

import pytest
import torch
from torch import nn

from minidiff import checkpoints, data, seeded
from minidiff.adapter import HOWS, TABLE, Adapter, LoRA, WithWord, merged, worn
from minidiff.latent import guided
from minidiff.personalize import LAYERS, attention_layers, fresh
from minidiff.sampler import last, sample, times

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


def noisy(adapter: Adapter) -> Adapter:
    """The same with random numbers added, as if trained."""
    generator = seeded(2)
    adapter.weights = {
        name: weight + 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in adapter.weights.items()
    }
    return adapter


@pytest.mark.parametrize("how, options", KINDS)
def test_a_new_adapter_and_one_at_strength_0_are_the_untouched_model(model, how, options):
    before = answer(model)
    with worn(model, fresh(model, "zib", how, **options)):
        assert torch.equal(answer(model), before) or how == "hypernetwork"  # there, one product is made in two halves
        torch.testing.assert_close(answer(model), before, rtol=1e-5, atol=1e-5)
    adapter = fresh(model, "zib", how, **options)
    if how == "dreambooth":
        adapter.weights |= {name: torch.randn_like(w) for name, w in model.denoiser.net.named_parameters()}
    with worn(model, noisy(adapter), 0.0):
        torch.testing.assert_close(answer(model), before, rtol=0, atol=1e-5 if how == "hypernetwork" else 0)


@pytest.mark.parametrize("layers", LAYERS)
def test_merged_is_worn(model, layers):
    adapter = noisy(fresh(model, "zib", "lora", layers=layers, rank=3, alpha=1.5))
    whole = merged(model, adapter, 0.7)
    assert not any(isinstance(layer, LoRA) for layer in whole.modules())
    for text in (KNOWN, "a zib"):
        with worn(model, adapter, 0.7):
            wanted = answer(model, text)
        found = answer(whole, text)
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_one_layer_merged_is_worn_to_a_millionth():
    """In float32, by the largest answer: a network adds up the rounding of its layers, and a run of 20 steps theirs."""
    torch.manual_seed(0)
    for make, x in ((nn.Linear(64, 128), torch.randn(50, 64)), (nn.Conv2d(32, 64, 3), torch.randn(5, 32, 8, 8))):
        out, *rest = make.weight.shape
        lora = LoRA(make, torch.randn(2, *rest) / 8, torch.randn(out, 2, *[1] * (len(rest) - 1)), 0.7)
        with torch.no_grad():
            wanted = lora(x)
            make.weight += lora.scale * lora.change()
            assert (make(x) - wanted).abs().max() <= 1e-6 * wanted.abs().max()


def test_merged_is_worn_after_a_whole_run_to_a_millionth(shapes):
    """In float64, pictures of 20 steps with guidance: the two are one function, and only rounding is between them."""
    adapter = noisy(fresh(shapes, "zib", "lora", layers="all", rank=2, alpha=1.5))
    adapter.weights = {name: weight.double() for name, weight in adapter.weights.items()}
    exact = copy.deepcopy(shapes).double()
    z = torch.randn(2, 8, 8, 8, generator=seeded(0)).double()

    @torch.no_grad()
    def run(model):
        denoise = guided(model, [KNOWN, "a zib on a red background"])
        return model.decode(last(sample(denoise, z, times(20), model.schedule, order=2)))

    with worn(exact, adapter):
        drawn = run(exact)
    assert drawn.std() > 0.1 and drawn.dtype == torch.float64
    assert (run(merged(exact, adapter)) - drawn).abs().max() <= 1e-6
    assert (run(merged(exact, adapter, 0.9)) - drawn).abs().max() > 1e-3


def test_scale_and_strength_count_once(shapes):
    x, weight = torch.randn(5, 8), torch.randn(6, 8)
    layer = nn.Linear(8, 6, bias=False)
    layer.weight.data = weight
    down, up = torch.randn(2, 8), torch.randn(6, 2)
    found = LoRA(layer, down, up, 0.5)(x)
    torch.testing.assert_close(found, x @ weight.T + 0.5 * x @ (up @ down).T)
    assert Adapter("lora", "", {}, {"rank": 4, "alpha": 1}).scale == 0.25
    adapter = noisy(fresh(shapes, "zib", "lora", rank=4, alpha=2))
    with worn(shapes, adapter, 3.0):
        name = attention_layers(shapes.denoiser.net)[0]
        assert shapes.denoiser.net.get_submodule(name).scale == 1.5


def test_a_convolution_changes_as_its_merged_weight_does():
    layer = nn.Conv2d(4, 6, 3, padding=1, stride=2)
    lora = LoRA(layer, torch.randn(2, 4, 3, 3), torch.randn(6, 2, 1, 1), 0.7)
    x = torch.randn(2, 4, 8, 8)
    wanted = torch.conv2d(x, layer.weight + 0.7 * lora.change(), layer.bias, 2, 1)
    torch.testing.assert_close(lora(x), wanted, rtol=1e-4, atol=1e-4)


def test_two_are_nested_and_come_off_in_any_case(shapes):
    before = state(shapes)
    one, other = (noisy(fresh(shapes, word, "lora")) for word in ("zib", "wug"))
    with pytest.raises(RuntimeError, match="stop"):
        with worn(shapes, one), worn(shapes, other, 0.5):
            assert shapes.ids("zib wug")[0, 1:3].tolist() == [493, 494]
            assert shapes.unknown_words("a zib, a wug, a dax") == ["dax"]
            raise RuntimeError("stop")
    assert same(state(shapes), before) and shapes.unknown_words("zib") == ["zib"]


@pytest.mark.parametrize("how, options", KINDS)
def test_a_saved_adapter_is_loaded_again(shapes, tmp_path, how, options):
    adapter = noisy(fresh(shapes, "zib", how, **options))
    loaded = Adapter.load(adapter.save(tmp_path / "zib.safetensors"))
    assert (loaded.how, loaded.word, loaded.settings) == (adapter.how, "zib", adapter.settings)
    assert same(loaded.weights, adapter.weights)
    assert (tmp_path / "zib.safetensors").stat().st_size < 150_000


def test_only_the_new_words_ids_are_new(shapes):
    base = shapes.tokenizer
    words = WithWord(base, "Zib")
    texts = [*data.shapes("train", 200)[1], "", "a zibra", "zib-like"]
    assert torch.equal(words(texts), base(texts))
    assert words.encode("a ZIB, a red circle") == [1, base.encode("a")[1], 493, *base.encode("a red circle")[1:-1], 2]
    assert words.unknown("a zib and a wug") == ["wug"]
    with pytest.raises(ValueError, match="expected at most 24"):
        words("zib " * 30)


def test_the_other_words_vectors_do_not_move(shapes):
    with worn(shapes, fresh(shapes, "zib", "textual inversion")):
        table = shapes.denoiser.net.get_submodule(TABLE)
        assert table.num_embeddings == 494
        table(torch.tensor([[493, 5]])).sum().backward()
        assert table.row.grad.abs().sum() > 0
    shapes.zero_grad()


def of_two_dtypes(model) -> Adapter:
    """A LoRA whose last layer has one matrix in half precision."""
    adapter = fresh(model, "zib", "lora")
    *_, last_one = adapter.weights
    adapter.weights[last_one] = adapter.weights[last_one].half()
    return adapter


REFUSED = [
    (lambda m: merged(m, fresh(m, "zib", "hypernetwork")), "adapter: got a hypernetwork"),
    (lambda m: worn(m, Adapter("lora", "", {"x.down": torch.zeros(1, 1)})).__enter__(), "does not fit this model"),
    (lambda m: worn(m, of_two_dtypes(m)).__enter__(), "does not fit this model (up: got float16"),
    (lambda m: Adapter.load("nowhere.txt"), "path: got 'nowhere.txt'"),
]


@pytest.mark.parametrize("call, told", REFUSED)
def test_bad_input_is_refused_by_name(shapes, call, told):
    before = state(shapes)
    with pytest.raises(ValueError) as caught:
        call(shapes)
    assert told in str(caught.value) and same(state(shapes), before)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no adapter"):
        Adapter.load(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError):
        Adapter.load(tmp_path / "y.safetensors")


def test_a_lora_is_of_a_linear_layer_or_a_convolution():
    with pytest.raises(TypeError, match="layer: got MultiheadAttention, expected a linear layer or a convolution"):
        LoRA(nn.MultiheadAttention(8, 2), torch.zeros(4, 8), torch.zeros(24, 4))
    with pytest.raises(TypeError, match="down: got float64 tensor"):
        LoRA(nn.Linear(6, 8), torch.zeros(4, 6).double(), torch.zeros(8, 4))
