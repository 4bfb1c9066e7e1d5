"""Every recipe builds, and its data is what its model's loss takes; every shipped checkpoint comes from one."""

import json
import shutil

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from minidiff import checkpoints
from minidiff.recipes import RECIPES
from minidiff.recipes import folder as folders
from minidiff.support import parts


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_a_model_that_its_data_fits(name, photographs):
    recipe = RECIPES[name]
    needed = checkpoints.needed(recipe)
    made = {split: recipe.data(split, *needed) for split in ("train", "test")}
    model = recipe.fresh(needed, *made["train"])
    for split, rows in (("train", 1500), ("test", 297)):
        tensors = made[split]
        assert all(len(x) == rows for x in tensors) or "digits" not in name
        loss = model.loss(*(x[:8] for x in tensors))
        assert loss.shape == () and torch.isfinite(loss)
    assert set(recipe.steps) == {"ci", "cpu", "gpu"} and recipe.steps["ci"] == 20


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_model_is_described_whole_and_built_again(name, photographs):
    recipe = RECIPES[name]
    model = recipe.build(**recipe.args())
    again = parts.build(json.loads(json.dumps(parts.describe(model))))
    assert parts.describe(again) == parts.describe(model)
    shapes = [{key: x.shape for key, x in each.state_dict().items()} for each in (model, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", checkpoints.names())
def test_a_shipped_checkpoint_is_of_the_recipe_of_its_name_trained_to_its_end(name):
    card = checkpoints.card(name)
    with torch.device("meta"):  # an older card lacks arguments that are new: they have their defaults
        there, here = parts.build(card["model"]), RECIPES[name].build()
    assert card["recipe"] == name and parts.describe(there) == parts.describe(here)
    assert card["steps"] == RECIPES[name].steps["cpu"]
    assert card["command"] == f"python -m minidiff train {name} --steps {card['steps']} --profile cpu --seed 0"


@pytest.mark.parametrize("name", checkpoints.names())
def test_a_shipped_checkpoint_scores_what_its_card_says(name):
    recipe, card = RECIPES[name], checkpoints.card(name)
    torch.manual_seed(0)
    model, needed = checkpoints.load(name), checkpoints.needed(recipe)
    told = card["metrics"]["test_loss"]
    margin = 0.05 * abs(told) + 1e-3
    losses = []
    # many a loss draws noise, and times; a contrastive one depends on the size of the batch: then more are drawn
    while not losses or len(losses) < 8 and not min(losses) - margin <= told <= max(losses) + margin:
        losses.append(recipe.held_out_loss(model, needed))
    assert min(losses) - margin <= told <= max(losses) + margin


def test_the_papers_network_has_the_papers_size():
    """DDPM for CIFAR-10 (2006.11239, appendix B): 35.7 million weights; 12.4 GFLOP a picture, by diffusers' twin."""
    with torch.device("meta"):
        net = folders.paper(classes=10).net
        picture, t, label = torch.zeros(1, 3, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter, pytest.MonkeyPatch.context() as patch:
            # on "meta" there is nothing to read
            patch.setattr("minidiff.support.expect.labels", lambda name, y, classes, count: y)
            net(picture, t, label)
    assert sum(weight.numel() for weight in net.parameters()) == pytest.approx(35.7e6, rel=0.1)
    assert counter.get_total_flops() == pytest.approx(12.4e9, rel=0.1)


def test_a_folder_is_held_out_in_part_and_decides_the_labels(photographs, monkeypatch):
    (train, labels), (test, _) = folders.photographs("train"), folders.photographs("test")
    assert train.shape == (21, 3, 32, 32) and test.shape == (3, 3, 32, 32) and labels.unique().tolist() == [0, 1]
    assert (train[:, None] - test).abs().flatten(2).amax(2).min() > 0.1  # no picture is in both
    assert folders.labels() == {"classes": 2}
    other = photographs.with_name("split")
    for split in ("train", "test"):
        shutil.copytree(photographs, other / split)
    (other / "train" / "bee" / "00.png").unlink()
    monkeypatch.setenv("MINIDIFF_FOLDER", str(other))
    assert [len(folders.photographs(split)[0]) for split in ("train", "test")] == [23, 24]
    assert folders.labels() == {"classes": 2}


def test_a_class_that_is_only_tested_is_refused(photographs, monkeypatch, capsys):
    other = photographs.with_name("odd")
    for split in ("train", "test"):
        shutil.copytree(photographs, other / split)
    (other / "test" / "bee").rename(other / "test" / "bat")  # before ant and bee in no order that both have
    monkeypatch.setenv("MINIDIFF_FOLDER", str(other))
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=r"with no bat in train/, expected each class there \(ant, bee\)"):
            folders.photographs(split)
    shutil.rmtree(other / "test" / "bat")
    (_, labels), (_, tested) = folders.photographs("train"), folders.photographs("test")
    assert labels.unique().tolist() == [0, 1] and tested.unique().tolist() == [0] and folders.labels() == {"classes": 2}
    assert "none in test/ of bee" in capsys.readouterr().out


def test_val_is_held_out_where_there_is_no_test(photographs, monkeypatch, capsys):
    other = photographs.with_name("three")
    shutil.copytree(photographs, other / "Training")
    shutil.copytree(photographs, other / "valid")
    (other / "valid" / "ant" / "00.png").unlink()
    monkeypatch.setenv("MINIDIFF_FOLDER", str(other))
    assert [len(folders.photographs(split)[0]) for split in ("train", "test")] == [24, 23]
    folders._read.cache_clear()
    shutil.copytree(photographs / "bee", other / "test" / "bee")
    assert [len(folders.photographs(split)[0]) for split in ("train", "test")] == [24, 12]
    assert "The pictures in val/ are neither trained on nor tested with" in capsys.readouterr().out


def test_the_only_picture_of_a_class_is_trained_on(photographs, capsys):
    for path in photographs.glob("ant/*.png"):
        if path.name != "00.png":
            path.unlink()
    (_, labels), (_, others) = folders.photographs("train"), folders.photographs("test")
    assert labels.tolist() == [0] + [1] * 10 and others.tolist() == [1, 1]
    assert capsys.readouterr().out == "13 pictures in 2 classes: ant 1, bee 12\n"
    folders._read.cache_clear()
    for path in photographs.glob("bee/*.png"):
        if path.name != "00.png":
            path.unlink()
    assert folders.photographs("train")[1].tolist() == folders.photographs("test")[1].tolist() == [0, 1]
    assert "none is held out: the loss at the end is of the pictures trained on" in capsys.readouterr().out
