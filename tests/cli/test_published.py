"""`sample` of a published folder paints, and says what it cannot do."""

import numpy as np
import published
import pytest
from transformers import CLIPConfig, CLIPModel

from minidiff.cli.main import main
from minidiff.pretrained.fetch import PUBLISHED


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd")
    published.pipeline(folder)
    return folder


def test_a_published_folder_paints_what_it_is_asked_for(folder, tmp_path, capsys):
    out = tmp_path / "cats.npz"
    command = ["sample", str(folder), "--prompt", "the cat", "--negative", "a dog", "--steps", "2", "--size", "16x24"]
    assert main([*command, "--out", str(out)]) == 0
    with np.load(out) as found:
        assert found["images"].shape == (1, 3, 16, 24) and found["prompts"].tolist() == ["the cat"]
    assert "images (1, 3, 16, 24) with prompts" in capsys.readouterr().out
    assert main([*command, "--n", "2", "--scale", "3", "--sampler", "ddim", "--out", str(tmp_path / "cats.png")]) == 0


@pytest.mark.parametrize(
    "options, told",
    [
        (["--size", "15"], "size: got 15, expected a multiple of 4"),
        (["--label", "3"], "--label: "),
        (["--temperature", "1"], "--temperature: "),
        (["--size", "large"], "got 'large', expected a number of pixels"),
    ],
)
def test_what_it_cannot_do_is_refused(folder, tmp_path, capsys, options, told):
    assert main(["sample", str(folder), "--prompt", "a", *options, "--out", str(tmp_path / "x.npz")]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "x.npz").exists()


def test_a_clip_draws_nothing(tmp_path, capsys):
    text = dict(vocab_size=99, hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4)
    vision = dict(hidden_size=48, intermediate_size=192, num_hidden_layers=1, num_attention_heads=3)
    vision |= dict(image_size=24, patch_size=8)
    CLIPModel(CLIPConfig(text_config=text | {"eos_token_id": 98}, vision_config=vision)).save_pretrained(tmp_path)
    assert main(["sample", str(tmp_path), "--out", str(tmp_path / "x.npz")]) == 2
    assert "there is nothing to sample, a CLIP draws no pictures" in capsys.readouterr().err


def test_the_help_names_what_can_be_fetched(capsys):
    with pytest.raises(SystemExit):
        main(["fetch", "--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in PUBLISHED)
