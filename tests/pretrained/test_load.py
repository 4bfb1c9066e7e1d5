"""`pretrained.load`: every layout that Stable Diffusion is published in gives the same model; the rest is refused."""

import json
import re
import shutil
from pathlib import Path

import published
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from minidiff import pretrained
from minidiff.clip import CLIP
from minidiff.pretrained import names

UNET, KL, TEXT = "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"
PROMPTS = ["the cat", ""]


@pytest.fixture(scope="module", params=["1.x", "2.x"])
def version(request, tmp_path_factory):
    """diffusers' pipeline of one version, and the folder that it is saved in."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd")
    theirs = published.pipeline(folder, **{"1.x": {}, "2.x": published.VERSION_2}[request.param])
    return request.param, theirs, folder


@pytest.fixture
def folder(version, tmp_path):
    """The folder once more, to be changed."""
    return Path(shutil.copytree(version[2], tmp_path / "sd"))


def weights(model) -> dict:
    return dict(model.named_parameters())


def same(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def rewritten(path: Path, change) -> None:
    """The file with `change` done to its names and weights."""
    save_file({name: weight.contiguous() for name, weight in change(load_file(path)).items()}, path)


def whole(version, folder):
    same(pretrained.load(folder), pretrained.load(version[2]))


def test_a_folder_is_read_lazily_and_in_the_dtype_that_was_asked_for(version, folder):
    ours = pretrained.load(folder)
    assert not ours.training and {weight.dtype for weight in ours.parameters()} == {torch.float32}
    assert ours.size == 16 and ours.denoiser.predict == {"1.x": "eps", "2.x": "v"}[version[0]]
    assert ours.scale.item() == pytest.approx(0.18215)
    with safe_open(folder / f"{UNET}.safetensors", "pt") as file:
        mapped = file.get_tensor("conv_in.weight")
        assert torch.equal(ours.denoiser.net.down[0][0].weight, mapped)
    half = pretrained.load(folder, dtype=torch.float16)
    assert {weight.dtype for weight in half.parameters()} == {torch.float16} and half.scale.dtype == torch.float32
    with pytest.raises(ValueError, match="dtype: got torch.int64, expected torch.float32"):
        pretrained.load(folder, dtype=torch.int64)


def test_half_weights_are_read_as_float32_on_a_cpu(version, folder):
    for name in (UNET, KL, TEXT):
        rewritten(folder / f"{name}.safetensors", lambda found: {key: value.half() for key, value in found.items()})
        (folder / f"{name}.safetensors").rename(folder / f"{name}.fp16.safetensors")
    ours, full = weights(pretrained.load(folder)), weights(pretrained.load(version[2]))
    assert {weight.dtype for weight in ours.values()} == {torch.float32}
    assert all(torch.equal(ours[name], full[name].half().float()) for name in full)


def sharded(folder: Path, name: str, variant: str = "") -> Path:
    found = load_file(folder / f"{name}.safetensors")
    (folder / f"{name}.safetensors").unlink()
    where = {key: f"{Path(name).name}-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(found)}
    for file in set(where.values()):
        save_file({key: found[key] for key in found if where[key] == file}, folder / Path(name).parent / file)
    index = folder / f"{name}.safetensors.index{variant}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_shards_are_put_together(version, folder, variant):
    index = sharded(folder, UNET, variant)
    whole(version, folder)
    said = json.loads(index.read_text())
    outside = {key: f"../{name}" for key, name in said["weight_map"].items()}
    index.write_text(json.dumps({"weight_map": outside}))
    with pytest.raises(ValueError, match="expected files beside it"):
        pretrained.load(folder)
    index.write_text(json.dumps(said))
    next((folder / "unet").glob("*-of-*")).unlink()
    with pytest.raises(FileNotFoundError, match="-of-00002.safetensors missing, which .*index"):
        pretrained.load(folder)


def test_a_full_weight_is_preferred_to_its_variants(version, folder):
    save_file({"damaged": torch.zeros(1)}, folder / f"{UNET}.non_ema.safetensors")
    save_file({"damaged": torch.zeros(1)}, folder / f"{UNET}.fp16.safetensors")
    whole(version, folder)


def test_the_autoencoders_attention_may_have_the_names_of_2022(version, folder):
    def older(found):
        for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            found = {key.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): found[key] for key in found}
        assert any("proj_attn" in key for key in found)
        return found

    rewritten(folder / f"{KL}.safetensors", older)
    whole(version, folder)


def test_a_text_tower_may_be_prefixed_or_not(version, folder):
    def turned(found):
        if all(key.startswith("text_model.") for key in found):
            return {key.removeprefix("text_model."): value for key, value in found.items()}
        return {f"text_model.{key}": value for key, value in found.items()}

    rewritten(folder / f"{TEXT}.safetensors", turned)
    whole(version, folder)
    positions = {"text_model.embeddings.position_ids": torch.arange(published.LENGTH)[None]}
    rewritten(folder / f"{TEXT}.safetensors", lambda found: turned(turned(found)) | positions)
    whole(version, folder)


def test_a_tokenizer_may_be_two_tables_or_one_file(version, folder):
    ours = pretrained.load(folder).ids(PROMPTS)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / "tables" / name, folder / "tokenizer")
    assert torch.equal(pretrained.load(folder).ids(PROMPTS), ours)


def test_the_folder_says_what_texts_are_filled_up_with(version, folder):
    path = folder / "tokenizer" / "tokenizer_config.json"
    for said in ("!", {"content": "!"}):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": said}))
        ids = pretrained.load(folder).ids("the cat")[0]
        assert ids[4:].tolist() == [0] * (published.LENGTH - 4) and ids[3] != 0
    path.write_text(json.dumps({"pad_token": "[PAD]"}))
    with pytest.raises(ValueError, match=r"has no token '\[PAD\]' to fill up with"):
        pretrained.load(folder)


# ------------------------------------------------------------------------------------------------- the original file


def original(version, path: Path) -> dict:
    """The model as its authors published it, one file, with what else lies in theirs."""
    ours = pretrained.load(version[2])
    newer = version[0] == "2.x"
    net, coder = ours.denoiser.net, ours.autoencoder
    file = renamed(weights(net), names.unet(net), 2, "model.diffusion_model.")
    file |= renamed(weights(coder), names.autoencoder(coder), 2, "first_stage_model.")
    prefix = "cond_stage_model." + ("model." if newer else "transformer.text_model.")
    tower = renamed(weights(net.text), names.text(net.text), 1 + newer, prefix)
    file |= fused(tower, prefix) if newer else tower
    convolutions = r"attn_1\.(q|k|v|proj_out)\.weight$"
    if not newer:
        convolutions += r"|proj_(in|out)\.weight$"
        file[f"{prefix}embeddings.position_ids"] = torch.arange(12)[None]
    file = {key: value[:, :, None, None] if re.search(convolutions, key) else value for key, value in file.items()}
    file |= {"betas": torch.zeros(1000), "model_ema.decay": torch.zeros(())}
    save_file({key: value.detach().contiguous().clone() for key, value in file.items()}, path)
    return file


def renamed(found: dict, table, column: int, prefix: str) -> dict:
    file = {}
    for row in table:
        for kind in ("weight", "bias"):
            name = f"{row[0]}.{kind}"
            which = {".key.": 0, ".value.": 1}
            half = next((i for part, i in which.items() if part in name), None)
            name = name.replace(".key.", ".key_value.").replace(".value.", ".key_value.")
            name = row[0] if row[0] in found and kind == "weight" else name
            if name in found:
                file[f"{prefix}{row[column]}.{kind}"] = found[name] if half is None else found[name].chunk(2)[half]
    return file


def fused(tower: dict, prefix: str) -> dict:
    """OpenCLIP's: queries, keys and values in one, a last layer more, the table of places bare."""
    file = {}
    for key, value in tower.items():
        if ".attn.query." in key:
            parts = [tower[key.replace("query", part)] for part in ("query", "key", "value")]
            file[key.replace("attn.query.", "attn.in_proj_")] = torch.cat(parts)
        elif ".attn.key." not in key and ".attn.value." not in key:
            file[key.replace("positional_embedding.weight", "positional_embedding")] = value
    last = {key.replace("blocks.1.", "blocks.2."): torch.zeros_like(file[key]) for key in file if "blocks.1." in key}
    return file | last | {f"{prefix}text_projection": torch.zeros(2, 2), f"{prefix}logit_scale": torch.zeros(())}


def test_the_original_file_is_the_same_model_and_diffusers_reads_it_so(version, folder, tmp_path):
    path = tmp_path / "v1.safetensors"
    file = original(version, path)
    predict = None if version[0] == "1.x" else "v"
    same(pretrained.load(path, tokenizer=folder / "tokenizer", predict=predict), pretrained.load(version[2]))
    theirs = version[1]
    unet = convert_ldm_unet_checkpoint(dict(file), theirs.unet.config)
    assert unet.keys() == theirs.unet.state_dict().keys()
    assert all(torch.equal(unet[key], value) for key, value in theirs.unet.state_dict().items())
    vae = convert_ldm_vae_checkpoint(dict(file), theirs.vae.config)
    assert all(torch.equal(vae[key].reshape(value.shape), value) for key, value in theirs.vae.state_dict().items())


def test_what_one_file_does_not_say_is_asked_for(version, folder, tmp_path):
    path = tmp_path / "one.safetensors"
    original(version, path)
    if version[0] == "2.x":
        with pytest.raises(ValueError, match="does not say whether .* predict='v' for one of 768 pixels"):
            pretrained.load(path, tokenizer=folder / "tokenizer")
    with pytest.raises(FileNotFoundError, match="no tokenizer. Put vocab.json and merges.txt"):
        pretrained.load(path, predict="eps")
    shutil.copy(folder / "tokenizer" / "tokenizer.json", tmp_path)
    assert pretrained.load(path, predict="eps").size == 512
    wide = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}
    rewritten(path, lambda found: found | wide)
    with pytest.raises(ValueError, match="has 9 channels at its input, a model for inpainting alone"):
        pretrained.load(path, predict="eps")
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="holds no Stable Diffusion, expected weights named model.diffusion_model."):
        pretrained.load(path)


# ------------------------------------------------------------------------------------------------- what is refused

first_version = pytest.mark.parametrize("version", ["1.x"], indirect=True)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickles_are_refused_with_the_reason(tmp_path, suffix):
    (tmp_path / f"model{suffix}").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match=f"model{suffix}: is a pickle, which can run any program"):
        pretrained.load(tmp_path / f"model{suffix}")


@first_version
def test_a_folder_of_pickles_alone_is_refused_with_the_reason(version, folder):
    (folder / f"{UNET}.safetensors").rename(folder / f"{UNET}.bin")
    with pytest.raises(ValueError, match="diffusion_pytorch_model.bin: is a pickle"):
        pretrained.load(folder)
    (folder / f"{UNET}.bin").unlink()
    with pytest.raises(FileNotFoundError, match="unet: diffusion_pytorch_model.safetensors missing"):
        pretrained.load(folder)


CHANGED = [
    ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "holds a StableDiffusionXLPipeline, expected"),
    ("unet/config.json", {"in_channels": 9}, "9 channels at its input, a model for inpainting alone"),
    ("unet/config.json", {"act_fn": "gelu"}, "unet: config.json has act_fn = 'gelu', expected silu"),
    ("unet/config.json", {"time_embedding_act_fn": "silu"}, "has time_embedding_act_fn = 'silu', expected None"),
    ("unet/config.json", {"timestep_post_act": "silu"}, "has timestep_post_act = 'silu', expected None"),
    ("unet/config.json", {"addition_embed_type": "text_time"}, "has addition_embed_type = 'text_time', expected None"),
    ("unet/config.json", {"down_block_types": ["AttnDownBlock2D"] * 2}, "down_block_types = "),
    ("unet/config.json", {"block_out_channels": [32, 96]}, "unet: its weights do not fit: "),
    ("unet/config.json", {"layers_per_block": 2}, " is missing"),
    ("vae/config.json", {"use_quant_conv": False}, "has use_quant_conv = False, expected True"),
    ("vae/config.json", {"layers_per_block": 0}, "blocks: got 0"),
    ("text_encoder/config.json", {"hidden_act": "relu"}, "hidden_act = 'relu', expected one of quick_gelu, gelu"),
    ("text_encoder/config.json", {"hidden_size": 64}, "has intermediate_size = 512, expected 256"),
    ("scheduler/scheduler_config.json", {"beta_schedule": "odd"}, "beta_schedule = 'odd', expected one of"),
    ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "scheduler_config.json: cannot be read ('flow')"),
    ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "has rescale_betas_zero_snr = True"),
]


@first_version
@pytest.mark.parametrize("file, change, told", CHANGED)
def test_another_architecture_is_refused_by_what_differs(version, folder, file, change, told):
    said = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(said | change))
    with pytest.raises(ValueError) as caught:
        pretrained.load(folder)
    assert told in str(caught.value) and str(folder) in str(caught.value)
    if "cannot be read" not in told and "blocks" not in told:  # it came as it is published
        assert "download it again" not in str(caught.value)


@first_version
@pytest.mark.parametrize("file", [f"{UNET}.safetensors", "vae/config.json", "tokenizer/tokenizer.json"])
def test_a_damaged_file_is_named(version, folder, file):
    (folder / file).write_bytes((folder / file).read_bytes()[:200])
    with pytest.raises(ValueError, match=f"{folder}.*cannot be read(?s:.*); download it again"):
        pretrained.load(folder)


NEEDED = ["unet/config.json", "text_encoder/model.safetensors", "tokenizer/tokenizer.json"]
NEEDED += ["scheduler/scheduler_config.json"]  # says what the network predicts


@first_version
@pytest.mark.parametrize("file", NEEDED)
def test_a_missing_file_is_named(version, folder, file):
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=Path(file).parent.name):
        pretrained.load(folder)


def test_a_clip_is_loaded_as_one(tmp_path):
    text = dict(vocab_size=99, hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4)
    text |= dict(eos_token_id=98)
    vision = dict(hidden_size=48, intermediate_size=192, num_hidden_layers=1, num_attention_heads=3)
    vision |= dict(image_size=24, patch_size=8)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)).save_pretrained(tmp_path)
    assert isinstance(pretrained.load(tmp_path), CLIP)
    with pytest.raises(FileNotFoundError, match="config.json missing"):
        pretrained.load(tmp_path / "nowhere")
