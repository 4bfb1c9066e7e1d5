"""The people in new colours: nothing but their clothes differs from a real drawing, and each is told from it."""

import pytest
import torch

from minidiff import data
from minidiff.data import mascots_emoji as mascots


def test_each_is_told_from_all_that_is_drawn():
    for name, (real, _) in mascots.OF.items():
        pictures = torch.stack([mascots.mascot(name, tone) for tone in mascots.ASKED])
        assert mascots.seen(pictures) == [(name, tone) for tone in mascots.ASKED]
        known = torch.stack([mascots._drawing(mascots._toned(real, tone)) for tone in mascots.ASKED])
        assert mascots.seen(known) == [(real, tone) for tone in mascots.ASKED]
        assert 0.1 < (pictures != known).float().mean() < 0.6


def test_the_four_pictures_and_the_prompts_say_what_they_show():
    pictures, captions = mascots.mascots("red mage")
    assert pictures.shape == (4, 3, 32, 32) and captions[:2] == ["{}", "{}: light skin tone"]
    assert mascots.seen(pictures) == [("red mage", tone) for tone in mascots.SHOWN]
    told = mascots.prompts("zib", 2)
    assert len(told) == 12 and told[:3] == ["zib", "zib", "zib: light skin tone"]
    assert data.emoji.attributes([told[-1].replace("zib", "mage")])[0].tones == ("dark",)


def test_skin_keeps_its_colour():
    skin, blue = torch.tensor([0.8, 0.2, -0.5])[:, None, None], torch.tensor([-0.5, 0.0, 0.9])[:, None, None]
    assert torch.equal(mascots.recoloured(skin, (0, 2)), skin)
    assert torch.equal(mascots.recoloured(blue, (0, 2)), blue.flip(0))


@pytest.mark.parametrize("told", [{"name": "cat"}, {"tone": "green"}])
def test_what_is_not_there_is_refused(told):
    with pytest.raises(ValueError, match=next(iter(told))):
        mascots.mascot(**{"name": "red mage"} | told)


def test_wrong_pictures_are_refused_by_name():
    for wrong in (torch.zeros(3, 32, 32), torch.zeros(1, 3, 16, 16), torch.full((1, 3, 32, 32), float("nan"))):
        with pytest.raises(ValueError, match="images"):
            mascots.seen(wrong)
    with pytest.raises(ValueError, match="each"):
        mascots.prompts("zib", 0)
