"""Guidance: functions from a denoiser to a denoiser, so that no sampler and no network knows of it. Lesson 08.

A denoiser here is any `denoise(x, t) -> x0`, x and x0 (B, ...), t () or (B,). What these functions return is one again,
ready for `sampler.sample`; they nest in any order, limits on the values (`clamp`, `dynamic_threshold`) outermost.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.support import expect

Denoise = Callable[[Tensor, Tensor], Tensor]


def cfg(denoise, cond: Tensor, null, scale: float) -> Denoise:
    """Classifier-free guidance: uncond + scale (cond - uncond), by one call of denoise(x, t, cond) with 2B rows.

    cond: labels (B,), token ids (B, L), or a float tensor (B, ...), such as known pictures. null: what stands for "no
    condition", one number or a row; or a tensor of cond's shape, a condition to move away from (a negative prompt).
    scale 0 is unconditional, 1 conditional, above 1 exaggerates what the condition changes.
    Source: Ho and Salimans (2207.12598), eq. 6, where w = scale - 1, on eps; a mean of estimates of x0 is the same.
    """
    expect.function("denoise", denoise, "(x, t, cond) -> x0")
    scale = expect.number("scale", scale)
    both = _both(cond, null)  # (2B,) or (2B, L)
    rows = len(both) // 2

    def guided(x: Tensor, t: Tensor) -> Tensor:
        _time(x, t)
        if len(x) != rows:
            raise ValueError(f"x: got {len(x)} rows, expected {rows}, one for each row of cond")
        twice = torch.cat([x, x])
        answer = denoise(twice, torch.cat([t, t]) if t.ndim else t, both)
        with_cond, without = expect.alike("denoise(x, t, cond)", answer, "x", twice).chunk(2)
        return without + scale * (with_cond - without)

    return guided


def classifier_guidance(denoise: Denoise, log_prob, schedule, scale: float) -> Denoise:
    """Move the estimate where a classifier sees its class: x0 + scale (sigma² / alpha) grad_x log p(y | x_t, t).

    log_prob(x, t) -> (B,) in nats, of the noisy picture: the classifier must know noise. By Tweedie's formula the
    result is exactly E[x0 | x_t, y] at scale 1, where both parts are exact. Dhariwal and Nichol (2105.05233, algorithms
    1 and 2) take the gradient at the mean of the reverse step instead, a first-order form of this.
    ValueError where the schedule's alpha is 0, as x_t says nothing of x0 there, and for a log_prob of another shape or
    without a gradient by x.
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    expect.function("log_prob", log_prob, "(x, t) -> (B,)")
    expect.function("schedule", schedule, "of times, a Schedule")
    scale = expect.number("scale", scale)

    def guided(x: Tensor, t: Tensor) -> Tensor:
        _time(x, t)
        alpha, sigma = schedule(t, like=x)
        if (alpha == 0).any():
            raise ValueError("t: got a time with alpha = 0, where no classifier can see; expected an earlier one")
        return _estimate(denoise, x, t) + scale * sigma.square() / alpha * _gradient(log_prob, x, t)

    return guided


def _gradient(log_prob, x: Tensor, t: Tensor) -> Tensor:
    """The gradient by x of log_prob(x, t), each row's by that row, of x's shape."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        # (B, K) would sum over all labels
        value = expect.tensor("log_prob(x, t)", log_prob(leaf, t), str(len(x)), like=x)
        if not value.requires_grad:
            raise ValueError("log_prob(x, t): got a value without a gradient by x, expected none of torch.no_grad()")
        return torch.autograd.grad(value.sum(), leaf)[0]


def interval(guided: Denoise, plain: Denoise, low: float, high: float) -> Denoise:
    """`guided` at times in [low, high], `plain` outside (Kynkäänniemi et al., 2404.07724). t is () here."""
    expect.function("guided", guided, "(x, t) -> x0")
    expect.function("plain", plain, "(x, t) -> x0")
    low = expect.number("low", low, 0, 1)
    high = expect.number("high", high, low, 1)

    def chosen(x: Tensor, t: Tensor) -> Tensor:
        t = expect.tensor("t", t, "")  # compared in its own dtype: 0.8 in float32 is above 0.8 in float64
        return guided(x, t) if low <= t <= high else plain(x, t)

    return chosen


def clamp(denoise: Denoise, low: float = -1.0, high: float = 1.0) -> Denoise:
    """Estimates cut to [low, high], the range of pictures (DDPM's code does so at every step)."""
    expect.function("denoise", denoise, "(x, t) -> x0")
    low = expect.number("low", low)
    high = expect.number("high", high, low)
    return lambda x, t: _estimate(denoise, x, t).clamp(low, high)


def dynamic_threshold(denoise: Denoise, quantile: float = 0.995) -> Denoise:
    """Each estimate cut to [-s, s] and divided by s, s the larger of 1 and that quantile of its own |x0|.

    A clamp paints all that is too bright the same white; this keeps the shades apart (Imagen, 2205.11487, section 2.3).
    """
    expect.function("denoise", denoise, "(x, t) -> x0")
    quantile = expect.number("quantile", quantile, 0, 1)

    def limited(x: Tensor, t: Tensor) -> Tensor:
        x0 = _estimate(denoise, x, t)
        size = x0.flatten(1).abs().float().quantile(quantile, dim=1)  # torch has no quantile in half precision
        s = size.clamp(min=1).to(x0).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-s, s) / s

    return limited


def _time(x: Tensor, t: Tensor) -> None:
    """x is a batch, and t is () or a time for each of its rows."""
    expect.tensor("x", x, "B ...")
    expect.tensor("t", t, str(len(x)) if getattr(t, "ndim", 1) else "")


def _estimate(denoise: Denoise, x: Tensor, t: Tensor) -> Tensor:
    """What `denoise` says, of x's shape: one of another would be stretched to it by whatever comes next."""
    _time(x, t)
    return expect.alike("denoise(x, t)", denoise(x, t), "x", x)


def _both(cond: Tensor, null) -> Tensor:
    """The conditions, and after them as many times null: (2B, ...)."""
    pictures = isinstance(cond, Tensor) and cond.is_floating_point() and cond.ndim > 1
    if null is None:
        raise ValueError("null: got None, expected what stands for no condition: a label, a row of ids, a picture")
    cond = expect.tensor("cond", cond, "B ...") if pictures else expect.integers("cond", cond, "B ...")
    null = _null(null, cond)
    if null.shape not in (cond.shape, cond.shape[1:]) and not (pictures and not null.ndim):
        wanted = f"{tuple(cond.shape[1:])} or {tuple(cond.shape)}"
        raise ValueError(f"null: got shape {tuple(null.shape)}, expected {wanted} beside cond {tuple(cond.shape)}")
    return torch.cat([cond, null.to(cond).expand_as(cond)])


def _null(null, cond: Tensor) -> Tensor:
    """A number, a row or a tensor of cond's shape: of whole numbers where cond is."""
    if cond.is_floating_point():
        single = isinstance(null, float | int) and not isinstance(null, bool)
        return torch.tensor(float(null)) if single else expect.tensor("null", null, "...", like=cond)
    single = isinstance(null, int) and not isinstance(null, bool)
    return torch.tensor(null) if single else expect.integers("null", null, "...")
