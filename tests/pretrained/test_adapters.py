"""Public LoRA files and learned words in a tiny Stable Diffusion: the same pictures as diffusers', in every format."""

import json

import published
import pytest
import torch
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from minidiff import pretrained
from minidiff.adapter import ROW, Adapter, worn
from minidiff.pretrained import adapters, names
from minidiff.pretrained.adapters import load_lora, load_word, save_lora, save_word

TEXT, T = "the cat", 500
RANK, ALPHA = 3, 2.0


@pytest.fixture(scope="module", params=["1.x", "2.x"])
def both(request, tmp_path_factory):
    """diffusers' pipeline and ours, and for each public layer name the two matrices of a LoRA."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd")
    theirs = published.pipeline(folder, **{"1.x": {}, "2.x": published.VERSION_2}[request.param])
    return theirs, pretrained.load(folder)


def matrices(theirs, kinds, generator) -> dict:
    """Public name -> down, up of each layer of these kinds: "attn" or conv of the U-Net, "self_attn" of the tower."""
    found = {}
    for side, net in (("unet", theirs.unet), ("text_encoder", theirs.text_encoder)):
        for name, layer in net.named_modules():
            weight = getattr(layer, "weight", None)
            if weight is None or weight.ndim < 2 or not any(kind in name for kind in kinds):
                continue
            if name.endswith(
                (
                    "to_q",
                    "to_k",
                    "to_v",
                    "to_out.0",
                    "proj",
                    "net.2",
                    "conv1",
                    "proj_in",
                    "fc1",
                    "conv2",
                    "conv",
                    "conv_shortcut",
                    "time_emb_proj",
                )
            ):
                out, into, *kernel = weight.shape
                down = 0.3 * torch.randn(RANK, into, *kernel, generator=generator)
                full = f"{side}.{'' if side == 'unet' or name.startswith('text_model') else 'text_model.'}{name}"
                found[full] = down, 0.3 * torch.randn(out, RANK, *[1] * len(kernel), generator=generator)
    return found


def kohya(pairs) -> dict:
    file = {}
    for name, (down, up) in pairs.items():
        key = name.replace("text_encoder.", "lora_te_").replace("unet.", "lora_unet_").replace(".", "_")
        file |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(ALPHA)}
    return file


def peft(pairs, alpha: bool) -> dict:
    file = {}
    for name, (down, up) in pairs.items():
        file |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        if alpha:
            file[f"{name}.alpha"] = torch.tensor(ALPHA)
    return file


def of_2023(pairs) -> dict:
    file = {}
    for name, (down, up) in pairs.items():
        front, _, leaf = name.replace("to_out.0", "to_out").rpartition(".")
        key = f"{front}.processor.{leaf}_lora" if name.startswith("unet") else f"{name}.lora_linear_layer"
        file |= {f"{key}.down.weight": down, f"{key}.up.weight": up}
    return file


ATTENTION = ("attn", "self_attn")
FORMATS = {  # layers, the file, whether alpha counts
    "kohya": (ATTENTION, kohya),
    "LoCon": ((*ATTENTION, "ff", "conv", "proj_in", "mlp", "emb_proj"), kohya),
    "peft": (ATTENTION, lambda pairs: peft(pairs, False)),
    "2023": (ATTENTION, of_2023),
}


@torch.no_grad()
def answers(theirs, ours, prompt=TEXT):
    """The U-Net's answer to a text, theirs and ours."""
    ids = ours.ids(prompt)
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    mine = ours.denoiser.net(z, torch.tensor((T + 1) / 1000), ids)
    padded = theirs.tokenizer(theirs.maybe_convert_prompt(prompt, theirs.tokenizer), padding="max_length")
    words = theirs.text_encoder(torch.tensor([padded["input_ids"]]))[0]
    return theirs.unet(z, T, words).sample, mine


def apart(pair) -> float:
    wanted, found = pair
    return ((wanted - found).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("form", FORMATS)
def test_a_public_lora_is_diffusers(both, tmp_path, form):
    theirs, ours = both
    kinds, write = FORMATS[form]
    path = tmp_path / "lora.safetensors"
    save_file(write(matrices(theirs, kinds, torch.Generator().manual_seed(3))), path)
    before = answers(theirs, ours)
    theirs.load_lora_weights(path)
    try:
        adapter = load_lora(path, ours)
        with worn(ours, adapter):
            pair = answers(theirs, ours)
        assert apart((before[0], pair[0])) > 0.05  # it changes something
        assert apart(pair) < 1e-5
        with worn(ours, adapter, 0.0):
            assert torch.equal(answers(theirs, ours)[1], before[1])
    finally:
        theirs.unload_lora_weights()
    assert torch.equal(answers(theirs, ours)[1], before[1])


def test_an_alpha_beside_the_matrices_counts_in_either_spelling(both, tmp_path):
    pairs = matrices(both[0], ATTENTION, torch.Generator().manual_seed(3))
    save_file(kohya(pairs), tmp_path / "kohya.safetensors")
    save_file(peft(pairs, True), tmp_path / "peft.safetensors")
    one, other = (load_lora(tmp_path / f"{name}.safetensors", both[1]).weights for name in ("kohya", "peft"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_alpha_in_the_header_of_diffusers_own_files_counts(tmp_path):
    torch.manual_seed(0)
    theirs = published.pipeline(tmp_path)
    ours = pretrained.load(tmp_path)
    config = LoraConfig(r=4, lora_alpha=10, init_lora_weights=False, target_modules=["to_q", "to_v"])
    theirs.unet.add_adapter(config)
    layers = get_peft_model_state_dict(theirs.unet)
    told = _collate_lora_metadata({"unet": theirs.unet})
    theirs.save_lora_weights(tmp_path / "lora", unet_lora_layers=layers, **told)
    theirs.unet.delete_adapters("default")
    theirs.load_lora_weights(tmp_path / "lora")
    with worn(ours, load_lora(tmp_path / "lora" / "pytorch_lora_weights.safetensors", ours)):
        assert apart(answers(theirs, ours)) < 1e-5


@pytest.mark.parametrize("option", [{"alpha_pattern": {"to_q": 8.0}}, {"use_rslora": True}])
def test_alphas_that_differ_are_refused_wherever_they_are_told(tmp_path, option):
    theirs = published.pipeline(tmp_path)
    ours = pretrained.load(tmp_path)
    theirs.unet.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_v"], **option))
    layers = get_peft_model_state_dict(theirs.unet)
    theirs.save_lora_weights(tmp_path / "a", unet_lora_layers=layers, **_collate_lora_metadata({"unet": theirs.unet}))
    with pytest.raises(ValueError, match="alpha_pattern|rslora"):
        load_lora(tmp_path / "a" / "pytorch_lora_weights.safetensors", ours)
    (tmp_path / "b").mkdir()
    save_file(layers, tmp_path / "b" / "adapter_model.safetensors")
    (tmp_path / "b" / "adapter_config.json").write_text(json.dumps({"lora_alpha": 2} | option))
    with pytest.raises(ValueError, match="alpha_pattern|rslora"):
        load_lora(tmp_path / "b", ours)


def test_a_word_without_a_vector_is_refused(both, tmp_path):
    save_file({"<x>": torch.zeros(())}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="x.safetensors: holds a vector of shape"):
        load_word(tmp_path / "x.safetensors", both[1])


def test_ours_loads_in_diffusers(both, tmp_path):
    theirs, ours = both
    source = tmp_path / "theirs.safetensors"
    save_file(kohya(matrices(theirs, ATTENTION, torch.Generator().manual_seed(4))), source)
    weights = load_lora(source, ours).weights
    adapter = Adapter("lora", "", weights, {"rank": 4, "alpha": 2})  # with a scale of its own, 0.5
    theirs.load_lora_weights(save_lora(adapter, ours, tmp_path / "ours.safetensors"))
    try:
        with worn(ours, adapter):
            assert apart(answers(theirs, ours)) < 1e-5
    finally:
        theirs.unload_lora_weights()


@pytest.mark.parametrize("name, rows", [("<cat-toy>", 1), ("zib", 3)])
def test_a_learned_word_is_diffusers(tmp_path, name, rows):
    torch.manual_seed(0)
    theirs = published.pipeline(tmp_path)  # one of its own: a word cannot be taken out of it
    ours = pretrained.load(tmp_path)
    vectors = torch.randn(rows, 128)
    path = tmp_path / "learned_embeds.safetensors"
    save_word(Adapter("textual inversion", name, {ROW: vectors}), path)
    assert torch.equal(load_file(path)[name], vectors)
    theirs.load_textual_inversion(path)
    said = f"the {name} cat"
    plain = ours.ids(TEXT)
    with worn(ours, load_word(path, ours)):
        assert apart(answers(theirs, ours, said)) < 1e-5
        assert torch.equal(ours.ids(TEXT), plain)
        assert ours.ids(said)[0, 2 : 2 + rows].tolist() == list(
            range(len(theirs.tokenizer) - rows, len(theirs.tokenizer))
        )
    save_file({"emb_params": vectors}, tmp_path / "toy.safetensors")
    assert load_word(tmp_path / "toy.safetensors", ours).word == "toy"


LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
REFUSED = {
    f"{LAYER}.hada_w1_a": "holds a LoHa",
    f"{LAYER}.lokr_w1": "holds a LoKr",
    f"{LAYER}.dora_scale": "holds a DoRA",
    f"{LAYER}.lora_mid.weight": "holds a LoCon in Tucker form",
    "lora_te1_text_model_x.lora_down.weight": "Stable Diffusion XL",
    "lora_transformer_blocks_0.lora_down.weight": "a LoRA of a diffusion transformer",
    "lora_unet_nowhere.lora_down.weight": "lora_unet_nowhere.lora_down.weight is of no layer here",
    f"{LAYER}.lora_down.weight": "has one of its two matrices",
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_no_lora_is_refused_by_name(both, tmp_path, key):
    save_file({key: torch.zeros(3, 64)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="x.safetensors") as caught:
        load_lora(tmp_path / "x.safetensors", both[1])
    assert REFUSED[key] in str(caught.value)


def test_pickles_and_words_of_others_are_refused(both, tmp_path):
    (tmp_path / "x.pt").write_bytes(b"1")
    for read in (load_lora, load_word):
        with pytest.raises(ValueError, match="pickle"):
            read(tmp_path / "x.pt", both[1])
    for content, told in (
        ({"clip_l": torch.zeros(1, 128), "clip_g": torch.zeros(1, 160)}, "XL"),
        ({"zib": torch.zeros(1, 99)}, "another version"),
    ):
        save_file(content, tmp_path / "x.safetensors")
        with pytest.raises(ValueError, match=told):
            load_word(tmp_path / "x.safetensors", both[1])


def test_every_layer_of_the_tables_can_be_named(both):
    found = set(adapters._layers("x", both[1]).values())
    net = both[1].denoiser.net
    assert found == {row[0] for row in names.unet(net)} | {f"text.{row[0]}" for row in names.text(net.text)}
