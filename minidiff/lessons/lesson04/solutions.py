"""The answers of lesson 04: what it writes by hand and what it leaves open, as `solution` shows it, and predictions."""

import torch
import torch.nn.functional as F

from minidiff.exercises.core import question


def discriminator_loss(real, fake):
    """Scores (B,) of real and of fake samples -> -mean log D(real) - mean log(1 - D(fake)), D = sigmoid(score)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake):
    """Scores (B,) of fake samples -> -mean log D(fake), D = sigmoid(score)."""
    return F.softplus(-fake).mean()


def play(generator, discriminator, optimisers, x):
    """One round on real x (B, 2): first the discriminator moves, then the generator. optimisers: theirs, in this order.

    Returns both losses, the discriminator's first.
    """
    fake = generator(torch.randn(len(x), 2))
    d_loss = discriminator_loss(discriminator(x), discriminator(fake.detach()))
    optimisers[0].zero_grad()
    d_loss.backward()
    optimisers[0].step()

    fake = generator(torch.randn(len(x), 2))
    g_loss = generator_loss(discriminator(fake))
    optimisers[1].zero_grad()
    g_loss.backward()
    optimisers[1].step()
    return d_loss.detach(), g_loss.detach()


def gradient_penalty(critic, real, fake):
    """critic: (B, 2) -> (B,). The mean of (length of its slope - 1)² at random places between real and fake (B, 2)."""
    at = torch.rand(len(real), 1)
    x = (at * real + (1 - at) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return ((slope.norm(dim=1) - 1) ** 2).mean()


def coverage(x, means, std):
    """Samples x (N, 2) and K modes at means (K, 2) -> (number of modes covered, share of good samples).

    Good: within 3 std of the nearest mode. Covered: a mode with a tenth or more of its fair share, N / K, of good ones.
    """
    distance, nearest = torch.cdist(x, means).min(1)
    good = distance < 3 * std
    counts = torch.bincount(nearest[good], minlength=len(means))
    covered = counts >= 0.1 * len(x) / len(means)
    return int(covered.sum()), good.float().mean().item()


def minimax_loss(fake):
    """Scores (B,) of fake samples -> mean log(1 - D(fake)), which the generator minimises in equation 1 of the paper.

    Its slope by the score is -D(fake): 0 for a fake that the discriminator is sure of. That of -log D is D(fake) - 1.
    """
    return -F.softplus(fake).mean()


def hinge_losses(real, fake):
    """Scores (B,) -> the discriminator's and the generator's hinge loss (Lim and Ye, arXiv:1705.02894).

    Real scores above 1 and fake ones below -1 are good enough: they pull no more.
    """
    discriminator = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return discriminator, -fake.mean()


def spectral_normalise(weight, steps=20):
    """weight (out, in) divided by its largest singular value, which `steps` power iterations find.

    As a map it then stretches no vector, so that a critic made of such layers has no slope above 1
    (Miyato et al., arXiv:1802.05957; they take one step at each training step, from the last one's u).
    """
    u = torch.ones(len(weight))
    for _ in range(steps):
        v = F.normalize(weight.T @ u, dim=0)
        u = F.normalize(weight @ v, dim=0)
    return weight / (u @ weight @ v)


def truncated_codes(n, code, threshold):
    """n codes (n, code) of normal numbers, those beyond ±threshold drawn again until none is left.

    Clamping would pile up at ±threshold all that lay beyond: codes with many such numbers were never seen in training.
    """
    z = torch.randn(n, code)
    while (far := z.abs() > threshold).any():
        z[far] = torch.randn(int(far.sum()))
    return z


question(
    "04.predict_even",
    answer="b",
    hints={
        "a": "Calling everything fake there loses as often as it wins: half of what lies there is real.",
        "c": "Calling everything real there loses as often as it wins: half of what lies there is fake.",
    },
    why="where real and fake are equally dense, nobody can do better than 1/2: D* = p / (p + q)",
)
question(
    "04.predict_start",
    answer="a",
    hints={
        "b": "Look at log(1 - D) where D is nearly 0: it hardly changes with the score.",
        "c": "They agree about what is best, but not about how steep the way is where D is nearly 0.",
    },
    why="the slope of -log D by the score is D - 1, nearly -1 there; that of log(1 - D) is -D, nearly 0",
)
question(
    "04.predict_modes",
    answer="c",
    hints={
        "a": "The generator is only told where the discriminator is fooled now, not which places it leaves out.",
        "b": "In the pictures below, some circles do have red points in them: count those.",
    },
    why="one to four of eight, and not for long: when the discriminator catches up, the generator moves on",
)
question(
    "04.predict_curve",
    answer="c",
    hints={
        "a": "Two beginners can be just as evenly matched as two masters.",
        "b": "An even game can be one in which both get better and better.",
    },
    why="a loss says how one player does against the other of that moment, and both move: it measures no pictures",
)
question(
    "04.predict_truncation",
    answer="a",
    hints={
        "b": "Codes near 0 were the most frequent in training; do they decode better or worse than rare ones?",
        "c": "Compare the rows at 0.5 and at 2: both what they look like and how much they differ.",
    },
    why="codes near the middle decode well but all alike: precision is bought with recall",
)
