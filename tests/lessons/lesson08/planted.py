"""Lesson 08's planted bugs: each must be told apart by a hint of its own."""

import torch


def by_classifier(sign=1, offset=0, power=2, divide=True, at=lambda t: t, reduce=torch.sum, grad=torch.enable_grad):
    def classifier_guidance(denoise, log_prob, schedule, scale):
        def guided(x, t):
            alpha, sigma = schedule(t, like=x)
            with grad():
                leaf = x.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(reduce(log_prob(leaf, at(t))), leaf)
            return denoise(x, t) + sign * (scale + offset) * sigma**power / (alpha if divide else 1) * gradient

        return guided

    return classifier_guidance


def without_classifier(combine):
    def cfg(denoise, cond, null, scale):
        return lambda x, t: combine(denoise(x, t, cond), denoise(x, t, torch.full_like(cond, null)), scale)

    return cfg


def in_place(labels, null, drop):
    labels[torch.rand(len(labels)) < drop] = null
    return labels


def asks_the_callers_x(denoise, log_prob, schedule, scale):
    def guided(x, t):
        alpha, sigma = schedule(t, like=x)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(log_prob(x.requires_grad_(), t).sum(), x)
        return denoise(x, t) + scale * sigma**2 / alpha * gradient

    return guided


def threshold(own=True, least=1.0, divide=True, absolute=True, cut=True):
    def dynamic_threshold(x0, quantile):
        size = x0.flatten(1).abs() if absolute else x0.flatten(1)
        s = (size.quantile(quantile, dim=1).reshape(-1, 1, 1, 1) if own else size.quantile(quantile)).clamp(min=least)
        return (x0.clamp(-s, s) if cut else x0) / (s if divide else 1)

    return dynamic_threshold


def another(s_of, low=None):
    """The threshold with s as `s_of(|x0|, quantile)` (B,), cut to `low` in place of s if given."""

    def dynamic_threshold(x0, quantile):
        s = s_of(x0.flatten(1).abs(), quantile).reshape(-1, 1, 1, 1)
        return (x0.clamp(-s, s) if low is None else x0.clamp(-low, low)) / s

    return dynamic_threshold


def pulls(together):
    def two_labels(denoise, first, second, null, scale):
        return lambda x, t: together(lambda c: denoise(x, t, c), first, second, torch.full_like(first, null), scale)

    return two_labels


def one_null_for_all(denoise, first, second, null, scale):
    return lambda x, t: denoise(x, t, null) + scale * (denoise(x, t, first) + denoise(x, t, second))


def adm(power=2, at="mean", late=False, scaled=True, reduce=torch.sum):
    def adm_mean(x, x0, log_prob, schedule, t, s, scale):
        mean, std = schedule.posterior(x, x0, t, s)
        leaf = {"mean": mean, "x": x, "x0": x0}[at].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(reduce(log_prob(leaf, t if late else s)), leaf)
        return mean + (scale if scaled else 1) * std**power * gradient

    return adm_mean


PLANTED = {
    "08.classifier_guidance": [
        by_classifier(sign=-1),
        by_classifier(offset=1),
        by_classifier(offset=-1),
        by_classifier(power=1),
        by_classifier(divide=False),
        by_classifier(at=lambda t: 0 * t),  # as if the classifier never saw noise
        by_classifier(reduce=torch.mean),
        by_classifier(grad=torch.no_grad),
        asks_the_callers_x,
        lambda denoise, log_prob, schedule, scale: by_classifier(sign=-1, power=1, divide=False)(
            denoise, log_prob, schedule, scale
        ),  # the formula for the noise
    ],
    "08.cfg": [
        without_classifier(lambda label, null, scale: label + scale * (label - null)),  # the paper's w, off by one
        without_classifier(lambda label, null, scale: null - scale * (label - null)),
        without_classifier(lambda label, null, scale: label + scale * (null - label)),
        without_classifier(lambda label, null, scale: label),
        without_classifier(lambda label, null, scale: null),
        without_classifier(lambda label, null, scale: null + scale * label),
    ],
    "08.drop_labels": [
        in_place,
        lambda labels, null, drop: torch.where(torch.rand(len(labels)) > drop, null, labels),
        lambda labels, null, drop: torch.where(torch.rand(()) < drop, null, labels),  # all or none
        lambda labels, null, drop: torch.where(torch.rand(len(labels)) < drop, 10, labels),  # a null of its own
        lambda labels, null, drop: torch.where(torch.arange(len(labels)) < drop * len(labels), null, labels),
        lambda labels, null, drop: torch.where(torch.randperm(len(labels)) < drop * len(labels), null, labels),
    ],
    "08.dynamic_threshold": [
        threshold(least=0.0),
        threshold(own=False),
        threshold(divide=False),
        threshold(absolute=False),
        threshold(cut=False),
        another(lambda size, quantile: size.quantile(quantile, dim=1).clamp(min=1), low=1),
        another(lambda size, quantile: size.quantile(quantile, dim=1).clamp(max=1)),
        another(lambda size, quantile: size.amax(1).clamp(min=1)),
    ],
    "08.two_labels": [
        pulls(lambda f, a, b, null, scale: f(null) + scale * (f(a) - f(null)) + scale * (f(b) - f(null))),
        pulls(lambda f, a, b, null, scale: f(null) + scale * (f((a + b) // 2) - f(null))),
        pulls(lambda f, a, b, null, scale: f(a) + scale * (f(b) - f(a))),
        pulls(lambda f, a, b, null, scale: f(b) + scale * (f(a) - f(b))),
        pulls(lambda f, a, b, null, scale: 2 * f(null) + scale * (f(a) + f(b) - 2 * f(null))),
        pulls(lambda f, a, b, null, scale: (1 + scale) * (f(a) + f(b)) / 2 - scale * f(null)),
        pulls(lambda f, a, b, null, scale: scale * (f(a) + f(b)) / 2),
        pulls(lambda f, a, b, null, scale: f(null) + scale * (f(a) + f(b) - f(null))),
        one_null_for_all,
    ],
    "08.adm_mean": [
        adm(power=1),
        adm(power=0),
        adm(at="x", late=True),  # as ADM's code does
        adm(late=True),
        adm(at="x0"),
        adm(scaled=False),
        adm(reduce=torch.mean),
    ],
}
