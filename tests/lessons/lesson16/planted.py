"""The bugs planted for lesson 16's exercises."""

import torch

from minidiff.lessons.lesson16.solutions import annealed, corrector, langevin_step, precondition, reverse_step


def half(error):
    return error.square().flatten(1).sum(1) / 2


def walked(size, order=1, own=True, again=False):
    def ladder(score, x, sigmas, step, each, generator):
        start = x
        for sigma in sigmas[::order]:
            x = start if again else x
            for _ in range(each):
                z = torch.randn(x.shape, generator=generator if own else None)
                x = langevin_step(x, score(x, sigma), size(step, sigma), z)
        return x

    return ladder


def gradient(score, x, v):
    s = score(x)
    return s, torch.autograd.grad((s * v).sum(), x, create_graph=True)[0]


def sliced(sign=1, first=0.5, both=True):
    def loss(score, x, v):
        s, found = gradient(score, x, v)
        return first * s.square().sum(1) + sign * (found * v if both else found).sum(1)

    return loss


PLANTED = {
    "16.denoising_loss": [
        lambda score, x0, sigma, eps: half(score(x0 + sigma * eps) - eps / sigma),  # the sign of the score
        lambda score, x0, sigma, eps: half(score(x0 + sigma * eps) + eps),
        lambda score, x0, sigma, eps: half(score(x0 + sigma * eps) + eps / sigma**2),
        lambda score, x0, sigma, eps: half(score(x0) + eps / sigma),
        lambda score, x0, sigma, eps: half(score(x0 + eps) + eps / sigma),  # noise of deviation 1
        lambda score, x0, sigma, eps: 2 * half(score(x0 + sigma * eps) + eps / sigma),
        lambda score, x0, sigma, eps: (score(x0 + sigma * eps) + eps / sigma).square().flatten(1).mean(1) / 2,
        lambda score, x0, sigma, eps: half(score(x0 + sigma * eps) + eps / sigma).mean(),
        lambda score, x0, sigma, eps: half(sigma * score(x0 + sigma * eps) + eps),  # NCSN's weighted loss
        lambda score, x0, sigma, eps: (score(x0 + sigma * eps) + eps / sigma).flatten(1).norm(dim=1) / 2,
    ],
    "16.langevin_step": [
        lambda x, score, step, z: x - step / 2 * score + step**0.5 * z,  # downhill
        lambda x, score, step, z: x + step / 2 * score + (step / 2) ** 0.5 * z,  # a factor √2 lost
        lambda x, score, step, z: x + step / 2 * score + (2 * step) ** 0.5 * z,
        lambda x, score, step, z: x + step * score + step**0.5 * z,
        lambda x, score, step, z: x + step / 2 * score + step * z,
        lambda x, score, step, z: x + step / 2 * score,
        lambda x, score, step, z: langevin_step(x, score, 2 * step, z),  # the other convention
        lambda x, score, step, z: langevin_step(0, score, step, z),
    ],
    "16.annealed": [
        walked(lambda step, sigma: step),  # not scaled with sigma²
        walked(lambda step, sigma: step * sigma),
        walked(lambda step, sigma: step * sigma**2, order=-1),
        walked(lambda step, sigma: step * sigma**2, own=False),
        walked(lambda step, sigma: step * sigma**2, again=True),
        lambda score, x, sigmas, *rest: annealed(lambda x, _: score(x, sigmas[0]), x, sigmas, *rest),
        lambda score, x, sigmas, *rest: annealed(score, x, sigmas[:1], *rest),  # a return in the loop
        lambda score, x, sigmas, step, each, generator: annealed(score, x, each * sigmas, step, 1, generator),
        lambda score, x, sigmas, step, each, generator: annealed(score, x, sigmas, step, 1, generator),
    ],
    "16.reverse_step": [
        lambda x, score, f, g, dt, z: reverse_step(x, -score, f, g, dt, z),
        lambda x, score, f, g, dt, z: x + (f * x - g**2 * score) * dt + g * dt**0.5 * z,
        lambda x, score, f, g, dt, z: x - (f * x - g**2 / 2 * score) * dt + g * dt**0.5 * z,
        lambda x, score, f, g, dt, z: x - (f * x - g * score) * dt + g * dt**0.5 * z,
        lambda x, score, f, g, dt, z: x - (f * x - g**2 * score) * dt + g * dt * z,
        lambda x, score, f, g, dt, z: x - f * x + g**2 * score * dt + g * dt**0.5 * z,  # brackets forgotten
        lambda x, score, f, g, dt, z: reverse_step(x, score, f, g, dt, 2**0.5 * z),
        lambda x, score, f, g, dt, z: reverse_step(x, score, f, g, dt, 0 * z),
        lambda x, score, f, g, dt, z: reverse_step(x, score, f, g, dt, g * z),
    ],
    "16.flow_drift": [
        lambda x, score, f, g: f * x - g**2 * score,  # the SDE's drift
        lambda x, score, f, g: f * x + g**2 / 2 * score,
        lambda x, score, f, g: f * x - g / 2 * score,
        lambda x, score, f, g: -(g**2) / 2 * score,
        lambda x, score, f, g: (f * x - g**2 * score) / 2,
        lambda x, score, f, g: -(f * x - g**2 / 2 * score),
    ],
    "16.sliced_loss": [
        sliced(first=1.0),
        sliced(first=0.0),
        sliced(sign=-1),
        sliced(both=False),
        lambda score, x, v: sliced()(score, x, v).detach(),
        lambda score, x, v: sliced()(score, x, v).mean(),
        lambda score, x, v: score(x).square().sum(1) / 2 + (gradient(score, x, v)[1].detach() * v).sum(1),
        lambda score, x, v: score(x).square().sum(1) / 2 + (gradient(score, x, 1)[1] * v).sum(1),
    ],
    "16.corrector": [
        lambda score, x, snr, z: langevin_step(
            x, score(x), 4 * (snr * score(x).norm(dim=1).mean() / z.norm(dim=1).mean()) ** 2, z
        ),
        lambda score, x, snr, z: langevin_step(
            x, score(x), 4 * snr * z.norm(dim=1).mean() / score(x).norm(dim=1).mean(), z
        ),
        lambda score, x, snr, z: corrector(score, x, snr / 2**0.5, z),
        lambda score, x, snr, z: corrector(score, x, snr / 2, z),
        lambda score, x, snr, z: corrector(score, x, 0.16, z),  # the paper's snr, whatever is asked for
        lambda score, x, snr, z: langevin_step(
            x, score(x), 4 * (snr * z.norm(dim=1) / score(x).norm(dim=1))[:, None] ** 2, z
        ),
    ],
    "16.precondition": [
        lambda sigma, sigma_data: (sigma**2 / (sigma**2 + sigma_data**2), *precondition(sigma, sigma_data)[1:]),
        lambda sigma, sigma_data: precondition(sigma, sigma_data)[:2] + (1 / (sigma**2 + sigma_data**2),),
        lambda sigma, sigma_data: (
            sigma_data**2 / (sigma**2 + sigma_data**2),
            sigma * sigma_data / (sigma**2 + sigma_data**2),
            1 / (sigma**2 + sigma_data**2) ** 0.5,
        ),
        lambda sigma, sigma_data: precondition(sigma, sigma_data)[0],
        lambda sigma, sigma_data: (precondition(sigma, sigma_data)[0] ** 0.5, *precondition(sigma, sigma_data)[1:]),
    ],
}
