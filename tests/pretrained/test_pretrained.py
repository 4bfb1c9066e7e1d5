"""Published folders are transformers' own models, with the same ids for a text; what is wrong with one is told."""

import json
import pickle
import re
import unicodedata
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizerFast,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from minidiff.pretrained import PublishedTokenizer, from_folder
from minidiff.pretrained.clip import COLOURS
from minidiff.support import parts

TEXT = dict(vocab_size=99, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
TEXT |= dict(max_position_embeddings=16, bos_token_id=97, eos_token_id=98)
VISION = dict(hidden_size=48, intermediate_size=192, num_hidden_layers=3, num_attention_heads=3)
VISION |= dict(image_size=24, patch_size=8)


def saved(folder, end=98, config=None, dtype=torch.float32, **saving):
    """A CLIPModel of random weights, biases and norms too, and the folder that it is saved in."""
    text = TEXT | dict(eos_token_id=end)
    config = config or CLIPConfig(text_config=text, vision_config=VISION, projection_dim=20)
    model = CLIPModel(config).eval()
    for name, weight in model.named_parameters():
        if name != "logit_scale":
            torch.nn.init.normal_(weight, std=0.3)
    model.to(dtype).save_pretrained(folder, **saving)
    return model


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    return saved(folder), from_folder(folder), folder


@pytest.fixture
def copied(both, tmp_path):
    """The folder once more, to be changed."""
    for file in both[2].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def batch(rows=6):
    x, ids = torch.rand(rows, 3, 24, 24) * 2 - 1, torch.randint(0, 97, (rows, 16))
    ids[torch.arange(rows), torch.randint(2, 16, (rows,))] = 98
    return x, ids


def normalised(x):
    mean, std = (torch.tensor(COLOURS[name])[:, None, None] for name in ("image_mean", "image_std"))
    return (x / 2 + 0.5 - mean) / std


def test_a_published_folder_is_the_same_model(both):
    theirs, ours, _ = both
    x, ids = batch()
    with torch.no_grad():
        out = theirs(input_ids=ids, pixel_values=normalised(x), return_loss=True)
        torch.testing.assert_close(ours.encode_image(x), out.image_embeds, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.encode_text(ids), out.text_embeds, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.scale * ours.similarity(x, ids), out.logits_per_image, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.loss(x, ids), out.loss, atol=1e-5, rtol=0)
    assert not ours.training


@pytest.mark.parametrize(
    "file, inside", [("preprocessor_config.json", None), ("processor_config.json", "image_processor")]
)
def test_the_vision_tower_is_transformers_and_takes_its_own_colours(both, copied, file, inside):
    theirs, ours, _ = both
    grey = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # what folds into the first layer is then nothing
    (copied / file).write_text(json.dumps({inside: grey} if inside else grey))
    plain, (x, _) = from_folder(copied), batch()
    with torch.no_grad():
        torch.testing.assert_close(plain.vision(x), theirs.vision_model(x).pooler_output, atol=1e-5, rtol=0)
        assert (plain.vision(x) - ours.vision(x)).abs().max() > 0.01


def test_older_folders_mean_the_last_id_by_2(tmp_path):
    theirs, (_, ids) = saved(tmp_path, end=2), batch()
    with torch.no_grad():
        wanted = F.normalize(theirs.get_text_features(ids).pooler_output, dim=1)
        torch.testing.assert_close(from_folder(tmp_path).encode_text(ids), wanted, atol=1e-5, rtol=0)


def test_what_a_folder_lacks_is_said(copied):
    with pytest.raises(FileNotFoundError, match=r"config.json missing.*clip-vit-large-patch14"):
        from_folder(copied / "nowhere")
    (copied / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=f"{copied}: model.safetensors missing.*clip-vit-large-patch14"):
        from_folder(copied)
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="pytorch_model.bin: is a pickle, which can run any program"):
        from_folder(copied)


def test_a_shard_that_is_missing_is_named(both, tmp_path):
    both[0].save_pretrained(tmp_path, max_shard_size="60KB")
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"{tmp_path}: model-00002-of-.* missing, which model.safetensors.index"
    ):
        from_folder(tmp_path)


def towers(**changes):
    """The configuration of both with changes to each tower."""
    return CLIPConfig(text_config=TEXT | changes, vision_config=VISION | changes, projection_dim=20)


def older(folder):
    """As transformers wrote a configuration in 2022: both towers said twice, and the second way obeyed."""
    config = json.loads((folder / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        config[f"{tower}_dict"] = config[tower] | {"layer_norm_eps": 1e-3}
    (folder / "config.json").write_text(json.dumps(config))


KINDS = {  # kind of folder -> (the configuration, how it is saved, what is done to it afterwards)
    "as it is": (towers(), {}, lambda folder: None),
    "other eps": (towers(layer_norm_eps=1e-2), {}, lambda folder: None),
    "exact GELU": (towers(hidden_act="gelu"), {}, lambda folder: None),
    "shards": (towers(), {"max_shard_size": "60KB"}, lambda folder: None),
    "a variant": (towers(), {"variant": "fp16"}, lambda folder: None),
    "shards of a variant": (towers(), {"max_shard_size": "60KB", "variant": "fp16"}, lambda folder: None),
    "said twice": (towers(), {}, older),
    "no class in the configuration": (towers(), {}, lambda folder: without(folder, "model_type", "architectures")),
}


def without(folder, *names):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({n: value for n, value in config.items() if n not in names}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["float", "half", "bfloat"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_folder_is_the_model_that_transformers_reads(kind, dtype, tmp_path):
    config, saving, change = KINDS[kind]
    saved(tmp_path, config=config, dtype=dtype, **saving)
    change(tmp_path)
    ours, (x, ids) = from_folder(tmp_path), batch()
    theirs = CLIPModel.from_pretrained(tmp_path, dtype=torch.float32, variant=saving.get("variant")).eval()
    with torch.no_grad():
        wanted = theirs(input_ids=ids, pixel_values=normalised(x)).logits_per_image
        torch.testing.assert_close(ours.scale * ours.similarity(x, ids), wanted, atol=1e-4, rtol=0)
    assert {weight.dtype for weight in ours.parameters()} == {torch.float32}
    again = parts.build(json.loads(json.dumps(parts.describe(ours))))  # as a checkpoint's card has it
    again.load_state_dict(ours.state_dict())
    torch.testing.assert_close(again.eval().similarity(x, ids), ours.similarity(x, ids))


@pytest.mark.parametrize(
    "part, change, told",
    [
        ("vision_config", {"hidden_act": "relu"}, "vision_config has hidden_act = 'relu', expected quick_gelu or gelu"),
        ("text_config", {"layer_norm_eps": None}, "config.json: cannot be read as a CLIP's (eps: got None"),
        ("text_config", {"intermediate_size": 64}, "text_config has intermediate_size = 64, expected 128"),
        ("text_config", {"hidden_size": None}, "text_config has hidden_size = None, expected a whole number"),
        ("text_config", {"eos_token_id": None}, "config.json: cannot be read as a CLIP's"),
        ("vision_config", {"num_attention_heads": 5}, "config.json: cannot be read as a CLIP's (heads: got 5"),
        ("text_config", None, "config.json has text_config = None, expected a tower's sizes"),
        ("vision_config", [], "config.json has vision_config = [], expected a tower's sizes"),
        ("projection_dim", "20", "config.json: cannot be read as a CLIP's (width: got '20'"),
    ],
)
def test_another_architecture_is_refused_by_its_name_and_the_folders(copied, part, change, told):
    config = json.loads((copied / "config.json").read_text())
    config[part] = config[part] | change if isinstance(change, dict) else change
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=re.escape(str(copied)) + ".*" + re.escape(told)):
        from_folder(copied)


def test_half_a_clip_is_called_so(copied, tmp_path_factory):
    text = tmp_path_factory.mktemp("text_encoder")
    CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(text)
    with pytest.raises(ValueError, match=f"{text}: config.json describes a clip_text_model, expected clip: a whole"):
        from_folder(text)
    vision = tmp_path_factory.mktemp("vision")
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(vision)
    with pytest.raises(ValueError, match=f"{vision}: config.json describes a clip_vision_model"):
        from_folder(vision)
    (copied / "model.safetensors").write_bytes((text / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=f"{copied}.*half a CLIP, without a .*_model; expected a whole one"):
        from_folder(copied)


class Trap:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize(
    "name, damage",
    [
        ("config.json", lambda blob: blob[:50]),
        ("config.json", lambda blob: b"[]"),
        ("config.json", lambda blob: b"\xff"),
        ("model.safetensors", lambda blob: blob[:-1]),
        ("model.safetensors", lambda blob: b""),
        ("model.safetensors", lambda blob: pickle.dumps(Trap())),
        ("model.safetensors", lambda blob: blob.replace(b"visual_projection", b"visual_projectiom")),
        ("preprocessor_config.json", lambda blob: b"<html>Please log in</html>"),
        ("preprocessor_config.json", lambda blob: b'{"image_mean": [0.5]}'),
        ("preprocessor_config.json", lambda blob: b'{"image_std": null}'),
    ],
)
def test_a_damaged_file_of_a_folder_is_named(copied, monkeypatch, name, damage):
    monkeypatch.chdir(copied)
    whole = (copied / name).read_bytes() if (copied / name).exists() else b""
    (copied / name).write_bytes(damage(whole))
    with pytest.raises(ValueError, match=f"{name}: cannot be read .*(?s:.*); download it again") as caught:
        from_folder(copied)
    assert len(str(caught.value)) < 600 and not Path("sprung").exists()


# ------------------------------------------------------------------------------------------------------ the tokenizer

MERGES = ["t h", "th e</w>", "c a", "ca t</w>", "p h", "o f</w>", "d o", "o g"]
MARKS = ["<|startoftext|>", "<|endoftext|>"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The folder of a small tokenizer as OpenAI published CLIP's, and transformers' reading of it."""
    folder = tmp_path_factory.mktemp("tables")
    signs = [chr(b) for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]  # what a byte is written as
    signs += [chr(256 + i) for i in range(256 - len(signs))]
    pieces = [*signs, *(sign + "</w>" for sign in signs), *(pair.replace(" ", "") for pair in MERGES), *MARKS]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    return folder, CLIPTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizers(tables, tmp_path_factory):
    """From the two tables, and from tokenizer.json alone."""
    folder, theirs = tables
    alone = tmp_path_factory.mktemp("alone")
    theirs.backend_tokenizer.save(str(alone / "tokenizer.json"))
    return [PublishedTokenizer(folder, 32), PublishedTokenizer(alone, 32)]


TEXTS = ["A photo  of a cat", "it's 42 dogs!?", "猫 café", "", "the the_end", "20 m² and 2½x ⅷb", "\x1c\u3000a\u2028b"]
TEXTS += [unicodedata.normalize("NFD", "résumé, Ångström"), "\u212b \u2126 \u0344", "a<|endoftext|>b", "<|ENDOFTEXT|>"]


@pytest.mark.parametrize("kind", [0, 1], ids=["tables", "tokenizer.json"])
def test_the_published_tokenizer_is_transformers(tables, tokenizers, kind):
    ours, theirs = tokenizers[kind], tables[1]
    wanted = theirs(TEXTS, padding="max_length", max_length=32, return_tensors="pt").input_ids
    assert ours(TEXTS).dtype == torch.int64 and ours(TEXTS).tolist() == wanted.tolist()
    with torch.device("meta"):
        assert ours(TEXTS).tolist() == wanted.tolist()


pieces = st.sampled_from([*MARKS, " ", "'s", "the", "\u0301", "é", "²", "İ", "\n"]) | st.text(max_size=3)


@given(st.lists(pieces, max_size=8).map("".join))
def test_any_text_has_transformers_ids(tables, tokenizers, text):
    wanted = tables[1](text).input_ids
    assert [ours.encode(text) for ours in tokenizers] == [wanted, wanted]


def test_tokens_are_shown_as_they_read(tokenizers):
    for ours in tokenizers:
        shown = ours.tokens("The cat, a café dog")
        assert shown == ["the ", "cat ", ", ", "a ", "ca", "f", "�", "� ", "do", "g "]
        assert len(shown) == len(ours.encode("The cat, a café dog")) - 2


def test_a_text_that_does_not_fit_or_is_none_is_refused(tables, tokenizers):
    short = PublishedTokenizer(tables[0], 5)
    with pytest.raises(ValueError, match="texts: got 'the 1 2 3', 6 tokens with start and end, expected at most 5"):
        short(["the", "the 1 2 3"])
    with pytest.raises(ValueError, match="texts: got none"):
        short([])
    with pytest.raises(TypeError, match="text: got int, expected a str"):
        short([3])
    assert short("\ud800").tolist() == short("?").tolist()  # half a surrogate pair


def test_a_folders_tokenizer_comes_with_its_model(both, copied, tables):
    assert both[1].tokenizer is None
    tables[1].backend_tokenizer.save(str(copied / "tokenizer.json"))
    assert from_folder(copied).tokenizer("the cat").shape == (1, 16)
    (copied / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=f"{copied}: its tokenizer cannot be read .*; download it again"):
        from_folder(copied)
    (copied / "tokenizer.json").unlink()
    (copied / "vocab.json").write_bytes((tables[0] / "vocab.json").read_bytes())
    with pytest.raises(FileNotFoundError, match=f"{copied}: merges.txt missing, expected both or tokenizer.json"):
        from_folder(copied)
    (copied / "merges.txt").write_bytes((tables[0] / "merges.txt").read_bytes())
    assert from_folder(copied).tokenizer.tokens("The cat") == ["the ", "cat "]
    (copied / "vocab.json").write_text((tables[0] / "vocab.json").read_text().replace("<|endoftext|>", "</s>"))
    with pytest.raises(ValueError, match=f"{copied}: its tokenizer cannot be read .*endoftext"):
        from_folder(copied)


def test_a_tokenizer_saved_in_use_neither_cuts_nor_fills(tables, tmp_path):
    theirs = CLIPTokenizerFast.from_pretrained(tables[0])
    theirs("the cat the cat", truncation=True, padding="max_length", max_length=4)  # the library keeps both settings
    theirs.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert PublishedTokenizer(tmp_path).encode("the cat the cat") == tables[1]("the cat the cat").input_ids
    assert len(PublishedTokenizer(tmp_path).encode("")) == 2
