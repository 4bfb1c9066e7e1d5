"""The public surface under wrong input: every tensor that a function takes comes in the wrong rank, size or type.

Each call of the two tables is right. In it one argument at a time is replaced; then the answer is that of the right
call, where the replacement says the same (a list of labels, say), or a TypeError or ValueError that names the argument.
Nothing is broadcast in silence.
"""

from functools import partial

import pytest
import surface_images
import surface_words
import torch
from surface import faults, public
from surface_images import COSINE, LABELS, LARGE, NOISE, B, M, T, X
from torch import nn

from minidiff import plot

TABLES = (surface_images, surface_words)
CALLS = {name: (*call, table.HANDED_ON) for table in TABLES for name, call in table.CALLS.items()}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_input_is_refused_by_name_and_never_broadcast(name):
    assert not (found := faults(*CALLS[name])), "\n".join([name, *found])


def test_no_public_function_is_left_out():
    walked = {name.partition(" ")[0] for name in CALLS}
    aside = {name for table in TABLES for name in table.ASIDE.split()}
    assert set(public()) - walked == aside, "a new public function: give a right call of it in a table"


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: M["autoencoder"].loss(x),
        lambda x: M["vae"].loss(x, LABELS),
        lambda x: M["classifier"].loss(x, LABELS),
        lambda x: M["noisy"].loss(x, LABELS),
        lambda x: M["bound"].loss(x, LABELS),
        lambda x: M["denoiser"].losses(x.flatten(1)[:, :2], T, NOISE, LABELS),
        lambda x: M["gan"].terms(x.flatten(1)[:, :2], LABELS),
        lambda x: M["cells"].loss(x[..., :8, :8]),
        lambda x: M["pixels"].loss(x[..., :8, :8], LABELS),
        lambda x: M["levels"].loss(x[..., :8, :8]),
        lambda x: plot.grid(x),
    ],
)
def test_levels_of_0_to_255_are_refused_with_the_remedy_and_0_to_1_is_not(loss):
    loss((LARGE + 1) / 2)
    plot.plt.close("all")
    with pytest.raises(ValueError, match=r"(x|x0|images): got values from .*expected (about|between) -1"):
        loss((LARGE + 1) * 127.5)
    with pytest.raises(TypeError, match=r"(x|x0|images): got uint8 tensor .*; pictures in bytes become one by x / 127"):
        loss(((LARGE + 1) * 127.5).byte())


@pytest.mark.parametrize("y", [LABELS + 1, LABELS - 1, LABELS[:, None], LABELS.float(), nn.functional.one_hot(LABELS)])
def test_labels_that_count_from_1_are_refused_though_a_null_label_follows_the_last(y):
    for loss in (M["denoiser"].loss, M["bound"].loss, M["classifier"].loss, M["vae"].loss):
        x = X if loss == M["denoiser"].loss else LARGE
        with pytest.raises((TypeError, ValueError), match="^(y|cond): got"):
            loss(x, y)
    M["denoiser"].losses(X, T, NOISE, torch.full((B,), 3))  # a row without a label


def test_a_seed_is_no_generator():
    for draw in (partial(M["vae"].sample, 2, LABELS[:2]), partial(COSINE.prior, (2,)), partial(M["codes"].sample, 2)):
        with pytest.raises(TypeError, match=r"generator: got 0 \(int\), expected a torch.Generator"):
            draw(generator=0)
