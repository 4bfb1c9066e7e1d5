"""The answers of lesson 06: the functions that its learner writes, as the notebook shows them, and the predictions."""

import copy
import math

import torch

from minidiff.exercises.core import question


def noise_loss(net, x0, schedule):
    """The loss of algorithm 1 for clean pictures x0 (B, ...), where net(x, t) predicts the noise: a scalar."""
    t = schedule.grid[torch.randint(schedule.steps, (len(x0),))]  # (B,), a time of its own for each picture
    alpha, sigma = schedule(t, like=x0)
    eps = torch.randn_like(x0)
    x = alpha * x0 + sigma * eps
    return ((net(x, t) - eps) ** 2).mean()


def ancestral(net, x, schedule, generator):
    """Algorithm 2: pure noise x (B, ...) at t = 1 becomes samples (B, ...), one step for each time of the grid."""
    steps = schedule.steps
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        (_, sigma_t), (_, sigma_s) = schedule(t), schedule(s)
        a, b = schedule.transition(t, s)
        eps = net(x, torch.full((len(x),), t))
        x = (x - b**2 / sigma_t * eps) / a
        if i > 1:  # the last step adds nothing
            x = x + sigma_s * b / sigma_t * torch.randn(x.shape, generator=generator)
    return x


def waves(t, dim):
    """Times t (B,) as waves (B, dim): the sines of 1000 t w_i for i = 0 ... dim/2 - 1, and then their cosines."""
    i = torch.arange(dim // 2)
    w = 10000 ** (-2 * i / dim)  # (dim/2,), from quick to slow
    angle = 1000 * t[:, None] * w  # (B, dim/2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def attention(q, k, v):
    """Queries q (B, L, d), keys k (B, M, d), values v (B, M, c): what each query gathers from the values, (B, L, c)."""
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])  # (B, L, M)
    return scores.softmax(dim=2) @ v


def from_velocity(v, x, alpha, sigma):
    """x0 and eps, a pair, from v = alpha eps - sigma x0 and x = alpha x0 + sigma eps, where alpha² + sigma² = 1."""
    return alpha * x - sigma * v, sigma * x + alpha * v


def averaged(model, ticks, decay=0.99):
    """Go through the training `ticks` of `model`; return another model with the running average of its weights."""
    average = copy.deepcopy(model)
    for _ in ticks:
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), model.parameters()):
                mean.mul_(decay).add_(weight, alpha=1 - decay)
    return average


def nearness(samples, train, n=50):
    """Samples (M, ...) and training pictures (N, ...): distance to the nearest / mean of the n nearest, (M,)."""
    distances = torch.cdist(samples.flatten(1), train.flatten(1))  # (M, N)
    near = distances.topk(n, largest=False).values  # (M, n), the nearest first
    return near[:, 0] / near.mean(1)


def step_cost(x0, estimate, snr_s, snr_t):
    """KL of the step from t to s, for pictures x0 and estimates (B, C, H, W) and two numbers: nats (B,)."""
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
