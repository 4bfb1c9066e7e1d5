"""Lesson 15's checks: the new word's vector, prior preservation, LoRA, hypernetwork, zero convolution."""

import torch
from torch import nn

from minidiff.exercises import close, exercise, require, shaped
from minidiff.lessons.lesson15 import solutions


@exercise(
    "15.embed",
    solution=solutions.embed,
    core=True,
    hints=(
        "Put the new row behind the table, so that its id is the next one. Then look the ids up as always.",
        "`torch.cat([table, row])` is the longer table, and indexing it with `ids` gives the vectors.",
        "`table.detach()` is the same numbers, and no gradient flows into them.",
    ),
)
def _(attempt):
    table, row = torch.randn(7, 4, requires_grad=True), torch.randn(1, 4, requires_grad=True)
    ids = torch.tensor([[1, 7, 3], [7, 0, 7]])
    got = shaped(attempt(ids, table, row), (2, 3, 4), "One vector for each id: (B, L, D).")
    right = solutions.embed(ids, table, row)
    slips = {"The new word's row stands behind the table, not in front of it.": torch.cat([row, table])[ids]}
    close(got, right, "Not the rows of the table with the new row behind it.", slips=slips)
    require(got.requires_grad, "No gradient reaches the new row: do not detach the whole.")
    got.sum().backward()
    close(row.grad if row.grad is not None else 0 * row, torch.full((1, 4), 3.0), "No gradient reaches the new row.")
    moved = table.grad is not None and bool(table.grad.any())
    require(not moved, "The other words move too: only the new row may have a gradient, so detach the table.")


@exercise(
    "15.prior_loss",
    solution=solutions.prior_loss,
    core=True,
    hints=(
        "The batch is the thing's rows first, and the prior's behind them. Each part has a mean of its own.",
        "`losses[:own]` are the thing's and `losses[own:]` the prior's.",
    ),
)
def _(attempt):
    for rows, own, weight in ((6, 2, 0.5), (9, 4, 2.0)):
        losses = torch.rand(rows) + torch.arange(rows)
        first, rest = losses[:own].mean(), losses[own:].mean()
        slips = {
            "The rows are changed: the thing's stand first.": losses[-own:].mean() + weight * losses[:-own].mean(),
            "The weight belongs to the prior, not to the thing.": weight * first + rest,
            "The weight is missing: it says how much the prior counts.": first + rest,
            "One mean over all rows lets the larger part count for more. Take two means.": losses.mean(),
            "Only the thing counts here, so nothing keeps the others in place.": first,
            "The prior is added to the loss, not subtracted.": first - weight * rest,
        }
        close(attempt(losses, own, weight), first + weight * rest, "Not the two means with the weight.", slips=slips)


@exercise(
    "15.new_lora",
    solution=solutions.new_lora,
    core=True,
    hints=(
        "The product up @ down has to be zero at first. How many of the two must be zero for that?",
        "If both are zero, each one's gradient is a product with the other, and neither ever moves.",
        "`up` is zeros, and `down` is random numbers of about size 1 / √into.",
    ),
)
def _(attempt):
    for out, into, rank in ((6, 5, 2), (3, 8, 1), (4, 900, 30)):
        got = attempt(out, into, rank)
        require(isinstance(got, tuple | list) and len(got) == 2, "Return two tensors: down, then up.")
        down = shaped(got[0], (rank, into), "down goes from `into` numbers to `rank`: shape (rank, into).")
        up = shaped(got[1], (out, rank), "up goes from `rank` numbers to `out`: shape (out, rank).")
        both = "Both are zero, so neither gets a gradient, and nothing is ever learned. Make down random."
        require(down.any() or up.any(), both)
        changed = "The model is changed before any training: up @ down must be zero, so one of the two is zero."
        require(not (up @ down).any(), changed)
        require(down.any(), "It is up that begins at zero, as in the paper, and down at random.")
        require(down.unique().numel() > 1, "Rows that are all alike learn alike: make down random.")
    size = down.std() * into**0.5  # of the last, which has numbers enough: 1 for a deviation of 1 / √into
    require(size < 3, "The numbers of down are large: divide by the root of `into`.")
    require(size > 0.2, "The numbers of down are small: divide by the root of `into`, not by more.")


@exercise(
    "15.lora",
    solution=solutions.lora,
    core=True,
    hints=(
        "There are two ways from x to the answer, and they are added: the old layer, and the thin one.",
        "The thin way first goes down to `rank` numbers, `x @ down.T`, and then up.",
        "It counts alpha / rank times, and the rank is the number of rows of down.",
    ),
)
def _(attempt):
    for out, into, rank, alpha in ((6, 5, 2, 3.0), (4, 7, 4, 1.0)):
        x, weight = torch.randn(3, into), torch.randn(out, into)
        down, up = torch.randn(rank, into), torch.randn(out, rank)
        old, thin = x @ weight.T, x @ down.T @ up.T
        right = old + alpha / rank * thin
        close(
            attempt(x, weight, down, up, alpha),
            right,
            "Not W x + alpha / rank up down x.",
            slips=_slips(old, thin, alpha, rank),
        )


def _slips(old, thin, alpha, rank) -> dict:
    return {
        "The scale alpha / rank is forgotten.": old + thin,
        "The scale is alpha / rank, not alpha.": old + alpha * thin,
        "The scale is upside down: alpha / rank.": old + rank / alpha * thin,
        "The old layer is gone: a LoRA is added to it.": alpha / rank * thin,
        "The scale belongs to the thin way alone.": alpha / rank * (old + thin),
    }


@exercise(
    "15.merge",
    solution=solutions.merge,
    hints=(
        "What a LoRA adds is linear in x, so it is a matrix of its own. Which product has the shape of the weight?",
        "`up @ down` is (out, into). It counts strength * alpha / rank times.",
    ),
)
def _(attempt):
    for rank, alpha, strength in ((2, 3.0, 1.0), (3, 1.0, 0.4), (4, 2.0, -1.5)):
        weight, down, up = torch.randn(6, 5), torch.randn(rank, 5), torch.randn(6, rank)
        change = up @ down
        right = weight + strength * alpha / rank * change
        slips = {
            "alpha / rank is forgotten.": weight + strength * change,
            "The strength is ignored.": weight + alpha / rank * change,
            "The rank is missing: alpha / rank.": weight + strength * alpha * change,
            "The old weight is missing.": right - weight,
            "The rank is not always 2: it is the number of rows of `down`.": weight + strength * alpha / 2 * change,
            "The rank is the number of rows of `down`, not of the weight.": weight + strength * alpha / 6 * change,
        }
        if strength != 1:
            slips["The strength is for the change alone."] = strength * (weight + alpha / rank * change)
        close(attempt(weight, down, up, alpha, strength), right, "Not W + strength alpha / rank up down.", slips=slips)


@exercise(
    "15.two_in_one",
    solution=solutions.two_in_one,
    hints=(
        "The change is a B₁ A₁ + b B₂ A₂. Can you write this sum as one product of two larger matrices?",
        "Put the two downs below each other, and the two ups beside each other: the rank is the sum of both.",
        "`torch.cat([a * one[1], b * other[1]], dim=1)` is up.",
    ),
)
def _(attempt):
    for first, second in ((2, 3), (1, 1)):
        one = torch.randn(first, 5), torch.randn(6, first)
        other = torch.randn(second, 5), torch.randn(6, second)
        changes = [pair[1] @ pair[0] for pair in (one, other)]
        got = attempt(one, other, 0.7, -0.4)
        same = all(torch.equal(pair[1] @ pair[0], change) for pair, change in zip((one, other), changes))
        require(same, "The two LoRAs themselves are changed, but they are still needed. Make new tensors.")
        require(isinstance(got, tuple | list) and len(got) == 2, "Return two tensors: down, then up.")
        down = shaped(got[0], (first + second, 5), "The rank of both together is the sum of their ranks.")
        up = shaped(got[1], (6, first + second), "up is (out, rank of both).")
        right = 0.7 * changes[0] - 0.4 * changes[1]
        slips = {
            "The strengths are forgotten.": changes[0] + changes[1],
            "The strengths are changed for each other.": -0.4 * changes[0] + 0.7 * changes[1],
            "A strength counts once: on up or on down, not on both.": 0.49 * changes[0] + 0.16 * changes[1],
            "Both have the same strength here: the second LoRA counts b times.": 0.7 * (changes[0] + changes[1]),
        }
        close(up @ down, right, "up @ down is not a B₁ A₁ + b B₂ A₂.", slips=slips)


@exercise(
    "15.hyper",
    solution=solutions.hyper,
    hints=(
        "Each network's answer is added to the words before they meet the weight: words + net(words).",
        "The keys are `(words + key_net(words)) @ key.T`, and the values are made in the same way with the others.",
    ),
)
def _(attempt):
    words, key, value = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5, 4)
    key_net, value_net = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    got = attempt(words, key, value, key_net, value_net)
    require(isinstance(got, tuple | list) and len(got) == 2, "Return two tensors: keys, then values.")
    right = solutions.hyper(words, key, value, key_net, value_net)
    own = ((key, key_net, value_net), (value, value_net, key_net))
    for answer, wanted, swapped, (weight, net, other) in zip(got, right, right[::-1], own):
        after = words + key_net(words)
        slips = {
            "The words themselves are lost: add the network's answer to them.": net(words) @ weight.T,
            "Keys and values have a network each, and here it is the other's.": (words + other(words)) @ weight.T,
            "The network stands in front of the weight: words + net(words), then the weight.": words @ weight.T,
            "Return the keys first and the values second.": swapped,
            "Values have a weight of their own, `value`.": (words + net(words)) @ key.T,
            "The second network reads the words as they came in.": (after + value_net(after)) @ value.T,
            "The network's answer is added to the words, not subtracted.": (words - net(words)) @ weight.T,
        }
        close(answer, wanted, "Not (words + net(words)) times the weight.", slips=slips)
        require(answer.requires_grad, "No gradient reaches the networks: leave out `detach` and `no_grad`.")


@exercise(
    "15.zero_convolution",
    solution=solutions.zero_convolution,
    core=True,
    hints=(
        "A convolution of single pixels is `nn.Conv2d` with a kernel of size 1, from `channels` channels to as many.",
        "PyTorch begins with random numbers in two places of it: its weight and its bias.",
        "`nn.init.zeros_(layer.weight)` sets a weight to zero, and it can still be trained. The bias needs the same.",
    ),
)
def _(attempt):
    for channels in (5, 8):
        layer = attempt(channels)
        require(isinstance(layer, nn.Conv2d), "Return the layer itself, an `nn.Conv2d`.")
        has = (layer.in_channels, layer.out_channels)
        require(has == (channels, channels), f"It has {has} channels in and out, expected `channels` on both sides.")
        require(layer.kernel_size == (1, 1), "The kernel has the size 1, so that each pixel is treated by itself.")
        same = layer(torch.ones(1, channels, 3, 4)).shape == (1, channels, 3, 4)
        require(same, "The picture changes its size: a kernel of size 1 needs no padding, and its stride is 1.")
        require(layer.groups == 1, "Every channel that comes out looks at all that go in: leave `groups` at 1.")
        require(layer.bias is not None, "Keep the bias: it is trained as well. It only has to begin at zero.")
        require(not layer.weight.any(), "The weight is still random, so the model is changed before any training.")
        require(not layer.bias.any(), "The bias is still random: it adds a number to every pixel of a channel.")
        require(layer.weight.requires_grad and layer.bias.requires_grad, "Zero, but not frozen: it has to be trained.")
