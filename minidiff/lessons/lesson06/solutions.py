"""The answers of lesson 06: what it writes by hand and what it leaves open, as `solution` shows it, and predictions."""

import copy
import math

import torch

from minidiff.exercises.core import question


def noise_loss(net, x0, schedule):
    """Algorithm 1's loss for clean pictures x0 (B, ...): net(x, t, None) predicts the noise. A scalar."""
    t = schedule.grid[torch.randint(schedule.steps, (len(x0),))]  # (B,): each picture has a time of its own
    alpha, sigma = schedule(t, like=x0)
    eps = torch.randn_like(x0)
    x = alpha * x0 + sigma * eps
    return ((net(x, t, None) - eps) ** 2).mean()


def ancestral(net, x, schedule, generator):
    """Algorithm 2: noise x (B, ...) at t = 1 -> samples, one step for each time of the schedule's grid."""
    steps = schedule.steps
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        (_, sigma_t), (_, sigma_s) = schedule(t), schedule(s)
        a, b = schedule.transition(t, s)  # a² = 1 - beta, b² = beta
        eps = net(x, torch.full((len(x),), t), None)
        x = (x - b**2 / sigma_t * eps) / a
        if i > 1:  # nothing is added in the last step
            x = x + sigma_s * b / sigma_t * torch.randn(x.shape, generator=generator)
    return x


def attention(q, k, v):
    """q, k (B, L, d), v (B, L, c): each row of q gathers from v where its k resembles it -> (B, L, c)."""
    likeness = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])  # (B, L, L)
    return likeness.softmax(dim=2) @ v


def from_velocity(v, x, alpha, sigma):
    """A predicted v = alpha eps - sigma x0 and x = alpha x0 + sigma eps, alpha² + sigma² = 1 -> x0, eps."""
    return alpha * x - sigma * v, sigma * x + alpha * v


def averaged(model, ticks, decay=0.99):
    """Consume the training `ticks` of `model`; return another model with the running average of its weights.

    After each tick: average = decay * average + (1 - decay) * weight, starting from the weights before the first.
    """
    average = copy.deepcopy(model)
    for _ in ticks:
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), model.parameters()):
                mean.mul_(decay).add_(weight, alpha=1 - decay)
    return average


def nearness(samples, train, n=50):
    """Samples (M, ...), training pictures (N, ...) -> (M,): distance to the nearest / mean of the n nearest."""
    distances = torch.cdist(samples.flatten(1), train.flatten(1))  # (M, N)
    near = distances.topk(n, largest=False).values  # (M, n), the nearest first
    return near[:, 0] / near.mean(1)


def step_price(x0, estimate, snr_s, snr_t):
    """What the step from t to s costs, 1/2 (SNR_s - SNR_t) |x0 - estimate|², pictures (B, C, H, W) -> nats (B,)."""
    return 0.5 * (snr_s - snr_t) * ((x0 - estimate) ** 2).flatten(1).sum(1)


question(
    "06.predict_blind",
    answer="b",
    hints={
        "a": "Zero is the best guess for someone who sees nothing. This network sees x.",
        "c": "At t = 1 there is nearly no picture left: x = 0 · x0 + 1 · eps.",
    },
    why="at t = 1 the noisy point is the noise, so its best prediction is x itself, and its error 0",
)
question(
    "06.predict_losses",
    answer="d",
    hints={
        "a": "Its number lies between the others, but it is the very same denoiser. What is each error measured in?",
        "b": "Its number is the smallest, but it is the very same denoiser. What is each error measured in?",
        "c": "Its number is the largest, but it is the very same denoiser. What is each error measured in?",
    },
    why="one and the same denoiser has three losses: they are its squared error in x0, weighted differently over t",
)
question(
    "06.predict_skips",
    answer="a",
    hints={
        "b": "Which digit it is can be seen on a picture of 8 by 8 pixels too: the small levels know that.",
        "c": "The time comes in at every block, on the small levels as well.",
    },
    why="the copies are the only way past the halving: without them every pixel has to survive on the small map",
)
question(
    "06.predict_copies",
    answer="c",
    hints={
        "a": "A clean average digit is never what 1,500 separate pictures call likely.",
        "b": "New digits would need density between the training pictures. This p(x) has none there.",
    },
    why="it is exact for a p(x) that consists of the training pictures alone, so its samples are those pictures",
)
