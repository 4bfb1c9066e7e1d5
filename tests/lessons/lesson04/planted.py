"""Lesson 04's planted bugs: each must be told apart by a hint of its own."""

import torch
import torch.nn.functional as F

from minidiff.lessons.lesson04.solutions import (
    coverage,
    discriminator_loss,
    generator_loss,
    hinge_losses,
    minimax_loss,
    truncated_codes,
)


def play(
    generator, discriminator, optimisers, x, *, cut=False, zero=True, together=False, detach=True, raw=False, codes=None
):
    fake = generator(torch.randn(codes or len(x), 2))
    d_loss = discriminator_loss(discriminator(x), discriminator(fake.detach() if detach else fake))
    late = generator(torch.randn(codes or len(x), 2))
    early = generator_loss(discriminator(late))
    if zero:
        optimisers[0].zero_grad()
    d_loss.backward()
    slopes = torch.autograd.grad(early, list(generator.parameters()), retain_graph=True)
    optimisers[0].step()
    g_loss = generator_loss(discriminator(late.detach() if cut else late))
    if zero:
        optimisers[1].zero_grad()
    if together:
        g_loss = early
        for weight, slope in zip(generator.parameters(), slopes):
            weight.grad = slope
    else:
        g_loss.backward()
    optimisers[1].step()
    return (d_loss, g_loss) if raw else (d_loss.detach(), g_loss.detach())


def penalty(critic, real, fake, *, rows=1, graph=True, mean=False, power=2):
    at = torch.rand(len(real), rows)
    x = (at * real + (1 - at) * fake).detach().requires_grad_()
    scores = critic(x)
    (slope,) = torch.autograd.grad(scores.mean() if mean else scores.sum(), x, create_graph=graph)
    return (slope.norm(dim=1) ** (power / 2) - 1).square().mean() if power == 2 else (slope.norm(dim=1) ** 2 - 1).mean()


def one_place(critic, real, fake):
    x = (0.5 * real + 0.5 * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return ((slope.norm(dim=1) - 1) ** 2).mean()


def any_mode(x, means, std):
    distance, nearest = torch.cdist(x, means).min(1)
    return len(nearest[distance < 3 * std].unique()), coverage(x, means, std)[1]


def within_one(x, means, std):
    return coverage(x, means, std / 3)


def tenth_of_all(x, means, std):
    distance, nearest = torch.cdist(x, means).min(1)
    counts = torch.bincount(nearest[distance < 3 * std], minlength=len(means))
    return int((counts >= 0.1 * len(x)).sum()), coverage(x, means, std)[1]


def one_mean(critic, real, fake):
    x = (torch.rand(len(real), 1) * (real - fake) + fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slope.norm(dim=1).mean() - 1) ** 2


def squared_distance(x, means, std):
    distance = torch.cdist(x, means).min(1).values
    return coverage(x, means, std)[0], (distance**2 < 3 * std).float().mean().item()


def tenth_by_heart(x, means, std):
    distance, nearest = torch.cdist(x, means).min(1)
    counts = torch.bincount(nearest[distance < 3 * std], minlength=len(means))
    return int((counts >= 2.5).sum()), coverage(x, means, std)[1]


def no_length(weight, steps=20):
    u = torch.ones(len(weight))
    for _ in range(steps):
        v = weight.T @ u
        u = weight @ v
    return weight / (u @ weight @ v)


def one_sided(critic, real, fake):
    at = torch.rand(len(real), 1)
    x = (at * real + (1 - at) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (F.relu(slope.norm(dim=1) - 1) ** 2).mean()


def svd_at_once(weight, steps=20):
    return weight / torch.linalg.matrix_norm(weight, 2)


def always_the_same(n, code, threshold):
    torch.manual_seed(0)
    return truncated_codes(n, code, threshold)


PLANTED = {
    "04.discriminator_loss": [
        lambda real, fake: -discriminator_loss(real, fake),
        lambda real, fake: discriminator_loss(fake, real),
        lambda real, fake: -F.logsigmoid(real).mean() - F.logsigmoid(fake).mean(),
        lambda real, fake: -torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(fake)).log().mean(),
        lambda real, fake: F.softplus(real).mean() + F.softplus(fake).mean(),
        lambda real, fake: F.softplus(-real).mean() - F.softplus(fake).mean(),
        lambda real, fake: F.softplus(-real).mean(),
        lambda real, fake: F.softplus(fake).mean(),
        lambda real, fake: discriminator_loss(real, fake).detach(),
        lambda real, fake: discriminator_loss(real.clamp(-20, 20), fake.clamp(-20, 20)),
        lambda real, fake: (F.softplus(-real).sum() + F.softplus(fake).sum()) / 12,  # B by heart
    ],
    "04.generator_loss": [
        minimax_loss,
        lambda fake: -generator_loss(fake),
        lambda fake: -minimax_loss(fake),
        lambda fake: F.softplus(-fake).sum(),
        lambda fake: -fake.mean(),
        lambda fake: generator_loss(fake).detach(),
        lambda fake: generator_loss(fake.clamp(-20, 20)),
    ],
    "04.play": [
        lambda *args: play(*args, cut=True),
        lambda *args: play(*args, zero=False),
        lambda *args: play(*args, together=True),
        lambda *args: play(*args)[::-1],
        lambda *args: play(*args, detach=False),
        lambda *args: play(*args, raw=True),
        lambda *args: play(*args, codes=16),  # B by heart
    ],
    "04.gradient_penalty": [
        lambda *args: penalty(*args, rows=2),
        lambda *args: penalty(*args, mean=True),
        lambda *args: penalty(*args, power=1),
        one_place,
        one_sided,
        one_mean,
        lambda *args: penalty(*args, graph=False).detach(),
    ],
    "04.coverage": [any_mode, tenth_of_all, within_one, squared_distance, tenth_by_heart],
    "04.minimax": [
        generator_loss,
        lambda fake: -minimax_loss(fake),
        lambda fake: -generator_loss(fake),
        lambda fake: minimax_loss(fake).detach(),
        lambda fake: minimax_loss(fake.clamp(-20, 20)),
    ],
    "04.hinge": [
        lambda real, fake: (F.relu(1 + real).mean() + F.relu(1 - fake).mean(), -fake.mean()),
        lambda real, fake: (F.relu(1 - real).mean() + F.relu(1 - fake).mean(), -fake.mean()),
        lambda real, fake: (hinge_losses(real, fake)[0], F.relu(1 - fake).mean()),
        lambda real, fake: hinge_losses(real, fake)[::-1],
        lambda real, fake: (hinge_losses(real, fake)[0], fake.mean()),
    ],
    "04.spectral": [lambda weight, steps=20: weight / weight.norm(), svd_at_once, no_length],
    "04.truncate": [
        lambda n, code, threshold: torch.randn(n, code).clamp(-threshold, threshold),
        lambda n, code, threshold: (torch.randn(n, code) * threshold / 4).clamp(-threshold, threshold),
        lambda n, code, threshold: threshold * (2 * torch.rand(n, code) - 1),
        lambda n, code, threshold: truncated_codes(n, code, threshold).abs(),
        lambda n, code, threshold: truncated_codes(n, code, 1.0),
        always_the_same,
    ],
}
