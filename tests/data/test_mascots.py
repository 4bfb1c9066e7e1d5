"""The mascots: each is told from what nearly is it, and from the figures of `shapes`."""

import numpy as np
import pytest
import torch

from minidiff import data
from minidiff.data import mascots
from minidiff.data.shapes.figures import RGB


def test_a_mascot_is_told_from_its_near_misses():
    ground = np.array(RGB["blue"])[:, None, None]
    for name in mascots.NAMES:
        pictures, captions = mascots.mascots(name)
        assert mascots.seen(pictures) == [(name, place, ground) for ground, place in mascots.SHOWN]
        assert len(captions) == 4 and all("{}" in caption for caption in captions)
        for miss, parts in mascots.near_misses(name).items():
            colour, cover = mascots._painted(parts, (0, 0))
            picture = torch.from_numpy(2 * (colour + ground * (1 - cover)) - 1).float()[None]
            assert mascots.seen(picture)[0] == (miss, "middle", "blue")
    figures, said = data.shapes("test", 30, objects=1)
    found = mascots.seen(figures)
    assert sum(name in text for (name, _, _), text in zip(found, said)) >= 28


def test_a_thing_beside_another_is_seen_in_its_half():
    both = mascots.mascot("rocket", "green", "right")
    left = mascots.mascot("hen", "green", "left")
    both[:, :, :16] = left[:, :, :16]
    assert mascots.seen(both[None], ("right",)) == [("rocket", "right", "green")]
    assert mascots.seen(both[None], ("left",)) == [("hen", "left", "green")]


@pytest.mark.parametrize("told", [{"name": "cat"}, {"background": "pink"}, {"place": "here"}])
def test_what_is_not_there_is_refused(told):
    with pytest.raises(ValueError, match=next(iter(told))):
        mascots.mascot(**{"name": "hen"} | told)
