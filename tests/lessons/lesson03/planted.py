"""Lesson 03's planted bugs: each must be told apart by a hint of its own."""

import math

import torch

from minidiff.lessons.lesson03 import solutions as right


def line(x, f, use):
    """log p on a line, with `use(log N(z), slope, log N(x))` for how they are put together."""
    x = x.detach().requires_grad_()
    z = f(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    normal, wrong = (-0.5 * (v**2 + math.log(2 * math.pi)) for v in (z, x))
    return use(normal, slope, wrong).detach()


class WithoutExp(right.ActNorm):
    def forward(self, x):
        return (x - self.shift) * self.log_scale, self.log_scale.sum().expand(len(x))


class DividesByTheScale(right.ActNorm):
    def forward(self, x):
        return (x - self.shift) / self.log_scale.exp(), self.log_scale.sum().expand(len(x))


class AddsTheShift(right.ActNorm):
    def forward(self, x):
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))


class MeanOfScales(right.ActNorm):
    def forward(self, x):
        return super().forward(x)[0], self.log_scale.mean().expand(len(x))


class InPlace(right.ActNorm):
    def forward(self, x):
        return x.sub_(self.shift).mul_(self.log_scale.exp()), self.log_scale.sum().expand(len(x))


class SixRows(right.ActNorm):
    def forward(self, x):
        return super().forward(x)[0], self.log_scale.sum().expand(6)


class ForwardTwice(right.ActNorm):
    def inverse(self, z):
        return self(z)[0]


class TimesTheScale(right.ActNorm):
    def inverse(self, z):
        return z * self.log_scale.exp() + self.shift


class OneLogDet(right.ActNorm):
    def forward(self, x):
        return super().forward(x)[0], self.log_scale.sum()


class BackInTheSameOrder(right.ActNorm):
    def inverse(self, z):
        return (z + self.shift) * (-self.log_scale).exp()


class SeesAll(right.Coupling):
    def scale_shift(self, x):
        log_s, t = (self.net(x) * (1 - self.mask).repeat(2)).chunk(2, dim=1)
        return 3 * torch.tanh(log_s / 3), t


class CountsAll(right.Coupling):
    def forward(self, x):
        log_s = self.net(x * self.mask).chunk(2, dim=1)[0]
        return super().forward(x)[0], (3 * torch.tanh(log_s / 3)).sum(1)


class FactorWithoutExp(right.Coupling):
    def forward(self, x):
        log_s, t = self.scale_shift(x)
        return torch.where(self.mask.bool(), x, x * log_s + t), log_s.sum(1)


class BareFactor(right.Coupling):
    def forward(self, x):
        log_s, t = self.scale_shift(x)
        return x * log_s + t, log_s.sum(1)


class TakesTheShiftAway(right.Coupling):
    def forward(self, x):
        log_s, t = self.scale_shift(x)
        return x * log_s.exp() - t, log_s.sum(1)


class Exchanged(right.Coupling):
    def forward(self, x):
        log_s, t = self.scale_shift(x)
        return x * t.exp() + log_s, log_s.sum(1)


class AddsTheShiftBack(right.Coupling):
    def inverse(self, z):
        log_s, t = self.scale_shift(z)
        return (z + t) * (-log_s).exp()


class HalvesExchanged(right.Coupling):
    def scale_shift(self, x):
        t, log_s = (self.net(x * self.mask) * (1 - self.mask).repeat(2)).chunk(2, dim=1)
        return 3 * torch.tanh(log_s / 3), t


class TanhAlone(right.Coupling):
    def scale_shift(self, x):
        log_s, t = (self.net(x * self.mask) * (1 - self.mask).repeat(2)).chunk(2, dim=1)
        return torch.tanh(log_s), t


class ChangesAll(right.Coupling):
    def scale_shift(self, x):
        log_s, t = self.net(x * self.mask).chunk(2, dim=1)
        return 3 * torch.tanh(log_s / 3), t


class Unbounded(right.Coupling):
    def scale_shift(self, x):
        return (self.net(x * self.mask) * (1 - self.mask).repeat(2)).chunk(2, dim=1)


class SignOfLogDet(right.Coupling):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z, -log_det


class NotUndone(right.Coupling):
    def inverse(self, z):
        log_s, t = self.scale_shift(z)
        return z * (-log_s).exp() - t


def chain(layers, x, use):
    """log p through the layers, with `use(z, log_dets, x)` for what is made of it."""
    z, log_dets = x, []
    for layer in layers:
        z, log_det = layer(z)
        log_dets.append(log_det)
    return use(z, log_dets, x)


def normal(z):
    return -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)


def early(layers, x):
    for layer in layers:
        z, log_det = layer(x)
        return normal(z) + log_det


def fed_x_again(layers, x):
    total = 0.0
    for layer in layers:
        z, log_det = layer(x)
        total = total + log_det
    return normal(z) + total


def z_again(layers, z):
    for layer in reversed(layers):
        x = layer.inverse(z)
    return x


def forwards(layers, z):
    for layer in layers:
        z = layer.inverse(z)
    return z


def takes_away(layers, z):
    while len(layers):
        z = layers[-1].inverse(z)
        del layers[-1]
    return z


def product(x, weight):
    return torch.einsum("ij,bjhw->bihw", weight, x)


PLANTED = {
    "03.line": [
        lambda x, f: line(x, f, lambda normal, slope, _: normal + slope),  # no logarithm
        lambda x, f: line(x, f, lambda normal, slope, _: normal + 0.5 * math.log(2 * math.pi) + slope.log()),
        lambda x, f: line(x, f, lambda normal, slope, _: normal),  # the slope forgotten
        lambda x, f: line(x, f, lambda normal, slope, _: normal - slope.log()),  # the sign
        lambda x, f: line(x, f, lambda _, slope, wrong: wrong + slope.log()),  # the density of x
        lambda x, f: line(x, f, lambda normal, slope, _: normal + slope.log().abs()),
        lambda x, f: line(x, f, lambda normal, slope, _: normal.exp() * slope),  # the density
        lambda x, f: line(x, f, lambda normal, slope, _: normal.sum() + slope.log().sum()),  # all together
    ],
    "03.act_norm": [
        DividesByTheScale,
        AddsTheShift,
        WithoutExp,
        MeanOfScales,
        OneLogDet,
        BackInTheSameOrder,
        InPlace,
        SixRows,
        ForwardTwice,
        TimesTheScale,
    ],
    "03.coupling": [
        TanhAlone,
        CountsAll,
        FactorWithoutExp,
        HalvesExchanged,
        SeesAll,
        ChangesAll,
        Unbounded,
        SignOfLogDet,
        NotUndone,
        BareFactor,
        TakesTheShiftAway,
        Exchanged,
        AddsTheShiftBack,
    ],
    "03.log_prob": [
        fed_x_again,
        early,
        lambda layers, x: -right.log_prob(layers, x),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(z) + log_dets[0]),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: -0.5 * (z**2).sum(1) + sum(log_dets)),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(z) / 3 + sum(log_dets)),  # a mean over D = 3
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(z) + log_dets[-1]),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(z)),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(z) - sum(log_dets)),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(x) + sum(log_dets)),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(z) + math.log(2 * math.pi) + sum(log_dets)),
        lambda layers, x: chain(layers, x, lambda z, log_dets, x: normal(z).mean() + sum(log_dets).mean()),
    ],
    "03.bits": [
        lambda log_p: -log_p.sum() / (64 * math.log(2)) + 3,
        lambda log_p: (-log_p.mean() / math.log(2) + 3) / 64,
        lambda log_p: -log_p.mean() / 64 + 3,  # nats
        lambda log_p: -log_p.mean() / (64 * math.log(2)),  # the cells forgotten
        lambda log_p: -log_p.mean() / (64 * math.log(2)) - 3,  # the sign
        lambda log_p: log_p.mean() / (64 * math.log(2)) - 3,  # the sign of the whole
        lambda log_p: -log_p.mean() / (64 * math.log(2)) + math.log(8),
    ],
    "03.undo": [
        forwards,
        z_again,
        takes_away,
        lambda layers, z: layers[-1].inverse(z),
        lambda layers, z: right.undo(layers[1:], z),
        lambda layers, z: z + 1,
    ],
    "03.squeeze": [
        lambda x: x.reshape(len(x), 4, x.shape[2] // 2, x.shape[3] // 2),
        lambda x: right.squeeze(x)[:, [0, 2, 1, 3]],
        lambda x: x.reshape(len(x), 4, x.shape[2] // 2, x.shape[3] // 2)[:, [1, 0, 2, 3]],
        lambda x: right.squeeze(x)[:, :1].repeat(1, 4, 1, 1),
    ],
    "03.conv1x1": [
        lambda x, weight: (product(x, weight), len(x) * right.conv1x1(x, weight)[1]),
        lambda x, weight: (product(x, weight), x.shape[1] * torch.linalg.slogdet(weight).logabsdet.expand(len(x))),
        lambda x, weight: (product(x, weight), torch.linalg.slogdet(weight).logabsdet.expand(len(x))),
        lambda x, weight: (product(x, weight.T), right.conv1x1(x, weight)[1]),
        lambda x, weight: (product(x, weight), (x[0].numel() * torch.linalg.slogdet(weight).logabsdet).expand(len(x))),
        lambda x, weight: (product(x, weight), (x[0, 0].numel() * torch.linalg.det(weight).log()).expand(len(x))),
        lambda x, weight: (product(x, weight), (10 * torch.linalg.slogdet(weight).logabsdet).expand(len(x))),
        lambda x, weight: (product(x, weight), (len(x[0, 0]) * torch.linalg.slogdet(weight).logabsdet).expand(len(x))),
    ],
}
