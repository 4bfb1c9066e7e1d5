"""The answers of lesson 04: what the learner writes, and the predictions."""

import torch
import torch.nn.functional as F

from minidiff.exercises.core import question


def discriminator_loss(real, fake):
    """Scores (B,) of real and of fake samples -> the loss, a number: -mean log D(real) - mean log(1 - D(fake))."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake):
    """Scores (B,) of fake samples -> the non-saturating loss, a number: -mean log D(fake), D = sigmoid(score)."""
    return F.softplus(-fake).mean()


def play(generator, discriminator, optimisers, x):
    """One round on real points x (B, 2); codes are (B, 2). optimisers: the discriminator's, then the generator's.

    Returns both losses, detached: the discriminator's, then the generator's.
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
    """Samples x (N, 2), K modes at means (K, 2), each of deviation std -> (modes covered, share of good samples)."""
    distance, nearest = torch.cdist(x, means).min(1)
    good = distance < 3 * std
    counts = torch.bincount(nearest[good], minlength=len(means))
    covered = counts >= 0.1 * len(x) / len(means)
    return int(covered.sum()), good.float().mean().item()


def minimax_loss(fake):
    """Scores (B,) of fake samples -> mean log(1 - D(fake)), D = sigmoid(score): the generator's loss in equation 1."""
    return -F.softplus(fake).mean()


def hinge_losses(real, fake):
    """Scores (B,) of real and of fake samples -> the discriminator's hinge loss, the generator's loss: two numbers."""
    discriminator = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return discriminator, -fake.mean()


def spectral_normalise(weight, steps=20):
    """weight (out, in) divided by its largest singular value, found by `steps` power iterations from a u of ones."""
    u = torch.ones(len(weight))
    for _ in range(steps):
        v = F.normalize(weight.T @ u, dim=0)
        u = F.normalize(weight @ v, dim=0)
    return weight / (u @ weight @ v)


def truncated_codes(n, code, threshold):
    """n codes (n, code) of normal numbers, where those beyond ±threshold are drawn again until none is left."""
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
