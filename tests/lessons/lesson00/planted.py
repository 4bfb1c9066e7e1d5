"""Slips that the checks of lesson 00 must catch, each with a hint of its own."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from minidiff.autoregressive import to_levels
from minidiff.lessons.lesson00 import solutions as right


def trained(
    model,
    batches,
    steps,
    lr,
    *,
    zero=True,
    back=True,
    step=True,
    late=False,
    up=False,
    same=False,
    keep=float,
    new=False,
    made=torch.optim.Adam,
):
    """right.train with one thing changed."""
    losses = []
    for k in range(steps):
        if new or k == 0:
            optimiser = made(model.parameters(), lr=lr, maximize=up)
        loss = model.loss(*batches[0 if same else k])
        if zero and not late:
            optimiser.zero_grad()
        if back:
            loss.backward()
        if late:
            optimiser.zero_grad()
        if step:
            optimiser.step()
        losses.append(keep(loss.detach()))
    return losses


def slip(**changes):
    return lambda model, batches, steps, lr: trained(model, batches, steps, lr, **changes)


def running_sum(model, batches, steps, lr):
    return torch.tensor(right.train(model, batches, steps, lr)).cumsum(0).tolist()


def first_alone(model, batches, steps, lr):
    return trained(model, batches, 1, lr)


def own_rate(model, batches, steps, lr):
    return trained(model, batches, steps, 1e-3)


def last_loss(model, batches, steps, lr):
    return trained(model, batches, steps, lr)[-1]


def from_one(model, batches, steps, lr):
    batches[0]
    return trained(model, batches, steps, lr)


class Masked(nn.Conv2d):
    """As right.MaskedConv, with the mask left to the subclass."""

    def __init__(self, channels_in, channels_out, kernel, own):
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)
        self.register_buffer("mask", self.masked(torch.ones(kernel, kernel), kernel // 2, own), persistent=False)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class OwnAlways(Masked):
    def masked(self, mask, middle, own):
        mask[middle, middle + 1 :] = 0
        mask[middle + 1 :] = 0
        return mask


class OwnNever(Masked):
    def masked(self, mask, middle, own):
        mask[middle, middle:] = 0
        mask[middle + 1 :] = 0
        return mask


class RowsBelow(Masked):
    def masked(self, mask, middle, own):
        mask[middle, middle + own :] = 0
        return mask


class RightToo(Masked):
    def masked(self, mask, middle, own):
        mask[middle, middle + 2 :] = 0
        mask[middle + 1 :] = 0
        return mask


class MiddleOfFive(Masked):
    def masked(self, mask, middle, own):
        mask[2, 2 + own :] = 0
        mask[3:] = 0
        return mask


class MaskedOnce(Masked):
    def masked(self, mask, middle, own):
        return right.MaskedConv(1, 1, len(mask), own).mask

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.weight.data *= self.mask

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


class NoBias(right.MaskedConv):
    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, padding=self.padding)


def mean_over_pixels(model, x, y):
    return right.log_prob(model, x, y) / 64


def no_softmax(model, x, y):
    return model(x, y).gather(1, to_levels(x)[:, None]).sum((1, 2, 3))


def over_columns(model, x, y):
    return model(x, y).log_softmax(-1).gather(1, to_levels(x)[:, None]).sum((1, 2, 3))


def over_pictures(model, x, y):
    return model(x, y).log_softmax(0).gather(1, to_levels(x)[:, None]).sum((1, 2, 3))


def of_probabilities(model, x, y):
    return model(x, y).softmax(1).gather(1, to_levels(x)[:, None]).sum((1, 2, 3))


def in_bits(model, x, y):
    return right.log_prob(model, x, y) / math.log(2)


def surprise(model, x, y):
    return -right.log_prob(model, x, y)


@torch.no_grad()
def walked(model, labels, generator, *, choose=None, swapped=False, copy=True, once=False, empty=-1.0):
    """right.paint with one thing changed."""
    x = torch.full((len(labels), 1, 8, 8), empty)
    blank = x.clone()
    for place in range(64):
        row, column = divmod(place, 8)[::-1] if swapped else divmod(place, 8)
        p = model(blank if once else x, labels)[:, :, row, column].softmax(dim=1)
        k = choose(p) if choose else torch.multinomial(p, 1, generator=generator)[:, 0]
        x[:, 0, row, column] = k / 8 - 1
        yield x.clone() if copy else x


def greedy(model, labels, generator=None):
    return walked(model, labels, generator, choose=lambda p: p.argmax(1))


def column_by_column(model, labels, generator=None):
    return walked(model, labels, generator, swapped=True)


def one_tensor(model, labels, generator=None):
    return walked(model, labels, generator, copy=False)


def asked_once(model, labels, generator=None):
    return walked(model, labels, generator, once=True)


def on_grey(model, labels, generator=None):
    return walked(model, labels, generator, empty=0.0)


def unseeded(model, labels, generator=None):
    return walked(model, labels, None)


def last_only(model, labels, generator=None):
    yield list(right.paint(model, labels, generator))[-1]


def in_nats(log_prob, dims):
    return -log_prob.mean() / dims


def of_the_whole_picture(log_prob, dims):
    return -log_prob.mean() / math.log(2)


def of_sixty_four(log_prob, dims):
    return -log_prob.mean() / (64 * math.log(2))


def summed(log_prob, dims):
    return -log_prob.sum() / (dims * math.log(2))


def of_each(log_prob, dims):
    return -log_prob / (dims * math.log(2))


def times_the_log(log_prob, dims):
    return -log_prob.mean() / dims * math.log(2)


def mean_picture(x):
    return x.mean(0)


def over_everything(x):
    return x.median()


def multiplied(logits, temperature):
    return (logits * temperature).softmax(1)


def without_zero(logits, temperature):
    return (logits / temperature).softmax(1)


def after_softmax(logits, temperature):
    return logits.softmax(1) / temperature


@torch.no_grad()
def in_place(model, x, labels, rows, generator=None):
    x.copy_(right.finish(model, x, labels, rows, generator))
    return x


def from_the_top(model, x, labels, rows, generator=None):
    return right.finish(model, x, labels, 0, generator)


def kept_whole(model, x, labels, rows, generator=None):
    return x.clone()


@torch.no_grad()
def all_in_one_pass(model, x, labels, rows, generator=None):
    x = x.clone()
    x[:, :, rows:] = -1.0
    x[:, 0, rows:] = (model(x, labels).argmax(1) / 8 - 1)[:, rows:]
    return x


@torch.no_grad()
def one_pass_over_the_old(model, x, labels, rows, generator=None):
    x = x.clone()
    p = model(x, labels).softmax(1).permute(0, 2, 3, 1)  # (B, 8, 8, 17)
    drawn = torch.multinomial(p.flatten(0, 2), 1, generator=generator).view(-1, 8, 8)
    x[:, 0, rows:] = drawn[:, rows:] / 8 - 1
    return x


@torch.no_grad()
def ended(model, x, labels, rows, generator, *, choose=None, by_column=False):
    """right.finish with one thing changed."""
    x = x.clone()
    x[:, :, rows:] = -1.0
    places = [(row, column) for row in range(rows, 8) for column in range(8)]
    for row, column in sorted(places, key=lambda place: place[::-1]) if by_column else places:
        p = model(x, labels)[:, :, row, column].softmax(dim=1)
        k = choose(p) if choose else torch.multinomial(p, 1, generator=generator)[:, 0]
        x[:, 0, row, column] = k / 8 - 1
    return x


def ended_by_column(model, x, labels, rows, generator=None):
    return ended(model, x, labels, rows, generator, by_column=True)


def ended_greedily(model, x, labels, rows, generator=None):
    return ended(model, x, labels, rows, generator, choose=lambda p: p.argmax(1))


def without_the_generator(model, x, labels, rows, generator=None):
    return ended(model, x, labels, rows, None)


def sampled_and_pasted(model, x, labels, rows, generator=None):
    drawn = model.sample(len(x), labels, generator=generator)
    return torch.cat([x[:, :, :rows], drawn[:, :, rows:]], dim=2)


def levels_as_shares(model, x, labels, rows, generator=None):
    drawn = ended(model, x, labels, rows, generator)
    return torch.cat([x[:, :, :rows], to_levels(drawn)[:, None, rows:] / 17 * 2 - 1], dim=2)


def for_one_label(model, x, labels, rows, generator=None):
    return right.finish(model, x, labels[:1].expand(len(x)), rows, generator)


def in_whole_numbers(logits, temperature):
    one_hot = F.one_hot(logits.argmax(1), logits.shape[1])
    return (logits / temperature).softmax(1) if temperature else one_hot


def as_logarithms(logits, temperature):
    return (logits / temperature).log_softmax(1) if temperature else right.tempered(logits, 0)


def a_row_too_late(model, x, labels, rows, generator=None):
    late = right.finish(model, x, labels, rows + 1, generator)
    late[:, :, rows] = -1.0
    return late


PLANTED = {
    "00.train": [
        slip(zero=False),
        slip(back=False),
        slip(step=False),
        slip(late=True),
        slip(up=True),
        slip(same=True),
        slip(keep=torch.Tensor.clone),
        slip(new=True),
        slip(made=torch.optim.SGD),
        running_sum,
        first_alone,
        own_rate,
        last_loss,
        from_one,
    ],
    "00.masked_conv": [OwnAlways, OwnNever, RowsBelow, RightToo, MiddleOfFive, MaskedOnce, NoBias],
    "00.log_prob": [mean_over_pixels, no_softmax, over_columns, over_pictures, of_probabilities, in_bits, surprise],
    "00.paint": [greedy, column_by_column, one_tensor, last_only, asked_once, on_grey, unseeded],
    "00.bits_per_dim": [in_nats, of_the_whole_picture, of_sixty_four, summed, of_each, times_the_log],
    "00.steadiest": [mean_picture, over_everything],
    "00.tempered": [multiplied, without_zero, after_softmax, as_logarithms, in_whole_numbers],
    "00.finish": [
        *(in_place, from_the_top, kept_whole, all_in_one_pass, one_pass_over_the_old, ended_by_column, ended_greedily),
        *(without_the_generator, sampled_and_pasted, levels_as_shares, for_one_label, a_row_too_late),
    ],
}
