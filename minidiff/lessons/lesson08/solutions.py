"""The answers of lesson 08: the functions that its learner writes, as the notebook shows them, and the predictions."""

import torch

from minidiff.exercises.core import question


def classifier_guidance(denoise, log_prob, schedule, scale):
    """A denoiser (x, t) guided to the labels of log_prob(x, t) (B,), made of the denoiser denoise(x, t)."""

    def guided(x, t):
        alpha, sigma = schedule(t, like=x)
        with torch.enable_grad():  # samplers run without gradients
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_prob(leaf, t).sum(), leaf)
        return denoise(x, t) + scale * sigma**2 / alpha * gradient

    return guided


def cfg(denoise, cond, null, scale):
    """A denoiser (x, t) guided to the labels cond (B,), made of denoise(x, t, cond) and the null label, a number."""
    both = torch.cat([cond, torch.full_like(cond, null)])

    def guided(x, t):
        with_label, without = denoise(torch.cat([x, x]), t, both).chunk(2)
        return without + scale * (with_label - without)

    return guided


def drop_labels(labels, null, drop):
    """Labels (B,), each replaced by the number `null` with probability `drop`, independently of the others: (B,)."""
    gone = torch.rand(len(labels)) < drop
    return torch.where(gone, null, labels)


def dynamic_threshold(x0, quantile):
    """Estimates x0 (B, C, H, W) cut to [-s, s] and divided by s, where s is each picture's quantile of |x0|, or 1."""
    s = x0.flatten(1).abs().quantile(quantile, dim=1).clamp(min=1)
    s = s.reshape(-1, 1, 1, 1)
    return x0.clamp(-s, s) / s


def two_labels(denoise, first, second, null, scale):
    """A denoiser (x, t) guided half to labels `first` and half to `second`, both (B,), made of denoise(x, t, cond)."""

    def guided(x, t):
        without = denoise(x, t, torch.full_like(first, null))
        pull = (denoise(x, t, first) + denoise(x, t, second)) / 2 - without
        return without + scale * pull

    return guided


def adm_mean(x, x0, log_prob, schedule, t, s, scale):
    """The mean of the step from t to s < t, of x's shape, guided as ADM derives it; x0 is the plain estimate at x."""
    mean, std = schedule.posterior(x, x0, t, s)
    with torch.enable_grad():
        leaf = mean.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(leaf, s).sum(), leaf)
    return mean + scale * std**2 * gradient


question(
    "08.predict_sharper",
    answer="b",
    hints={
        "a": "At each t this is the score of a product of *noised* densities, which is no noised form of the product.",
        "c": "At scale 4 the estimate leaves the mean of the label's own cloud, away from the other labels.",
    },
    why="the guided scores at different t belong to no one density, and the walk overshoots: its samples lie further "
    "from the other labels than those of p(x) p(y|x)^4 do",
)
question(
    "08.predict_trade",
    answer="c",
    hints={
        "a": "More pull towards what is typical of a label, and yet as many ways to write it?",
        "b": "The label pulls harder as the scale grows: why should the judge read it less often?",
    },
    why="samples gather where the label is surest: it is read more often, and rare ways to write it are lost",
)
question(
    "08.predict_clean_guide",
    answer="b",
    hints={
        "a": "At large t it is shown nearly pure noise, which it never saw. What is its gradient worth there?",
        "c": "It is sure of whatever it is shown, noise too: its gradient is not zero, and at large t weighs much.",
    },
    why="its gradient under noise points to patterns that fool it alone: another judge reads fewer of the pictures as "
    "asked, and fewer of them lie among the real ones",
)
