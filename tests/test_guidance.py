"""Guidance, against a Gaussian mixture's exact conditional, Bayes' rule on a grid, diffusers' and Imagen's forms."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from minidiff.data import GaussianMixture
from minidiff.guidance import cfg, clamp, classifier_guidance, dynamic_threshold, interval
from minidiff.sampler import last, sample, times
from minidiff.schedule import cosine, linear, straight, variance_exploding

KINDS = (0, 1, 0, 2, 1)  # the label of each component: two labels have two components, one has one
NULL = 3
SCHEDULES = {"cosine": cosine(), "linear": linear(), "flow": straight(), "exploding": variance_exploding(sigma_max=5.0)}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture() -> GaussianMixture:
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
    return GaussianMixture(weights, numbers(5, 2), torch.tensor([0.3, 0.2, 0.5, 0.4, 0.25]))


def given(mixture: GaussianMixture, label: int, kinds=KINDS) -> GaussianMixture:
    """p(x0 | label): the components of that label alone."""
    chosen = torch.tensor(kinds) == label
    weights = mixture.weights[chosen]
    return GaussianMixture(weights / weights.sum(), mixture.means[chosen], mixture.stds[chosen])


def exact(mixture, schedule, kinds=KINDS):
    """denoise(x, t[, cond]): E[x0 | x_t, label], of all labels where cond is the number of labels or left out."""
    null = max(kinds) + 1
    parts = [*(given(mixture, label, kinds) for label in range(null)), mixture]

    def denoise(x, t, cond=None):
        answers = torch.stack([part.denoise(x, *schedule(t)) for part in parts])  # (null + 1, B, 2)
        return answers[torch.full((len(x),), null) if cond is None else cond, torch.arange(len(x))]

    return denoise


def exact_log_prob(mixture, schedule, labels, kinds=KINDS):
    """log p(label | x_t), the responsibilities of the label's components added up."""
    member = (torch.tensor(kinds) == labels[:, None]).double()  # (B, components)

    def log_prob(x, t):
        return (mixture.responsibilities(x, *schedule(t)) * member).sum(1).log()

    return log_prob


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("rows", [2, 16])
@pytest.mark.parametrize("each", [False, True], ids=["one time", "a time a row"])
def test_at_scale_1_both_are_the_exact_conditional_denoiser(schedule, rows, each):
    m, x = mixture(), 1.5 * numbers(rows, 2, seed=1)
    labels, t = torch.arange(rows) % 3, torch.linspace(0.05, 0.95, rows, dtype=torch.float64)
    t = t if each else t[rows // 2]
    denoise = exact(m, schedule)
    wanted = denoise(x, t, labels)
    by_classifier = classifier_guidance(denoise, exact_log_prob(m, schedule, labels), schedule, 1.0)
    assert torch.allclose(by_classifier(x, t), wanted, rtol=0, atol=1e-6)
    assert torch.allclose(cfg(denoise, labels, NULL, 1.0)(x, t), wanted, rtol=0, atol=1e-12)
    assert (wanted - denoise(x, t)).abs().max() > 0.1  # the label does say something


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 3.0, 7.5])
def test_both_are_one_line_through_the_unconditional_and_the_conditional(scale):
    m, x, t = mixture(), numbers(6, 2, seed=2), torch.tensor(0.4, dtype=torch.float64)
    schedule, labels = cosine(), torch.arange(6) % 3
    denoise = exact(m, schedule)
    wanted = denoise(x, t) + scale * (denoise(x, t, labels) - denoise(x, t))
    assert torch.allclose(cfg(denoise, labels, NULL, scale)(x, t), wanted, rtol=0, atol=1e-12)
    log_prob = exact_log_prob(m, schedule, labels)
    assert torch.allclose(classifier_guidance(denoise, log_prob, schedule, scale)(x, t), wanted, rtol=0, atol=1e-6)


def test_cfg_asks_once_with_both_and_does_not_mix_rows():
    asked = []

    def denoise(x, t, cond):
        asked.append((len(x), t, cond))
        return x * cond[:, None]

    x, t = numbers(3, 2), torch.tensor([0.1, 0.2, 0.3])
    out = cfg(denoise, torch.tensor([1, 2, 3]), 5, 2.0)(x, t)
    [(rows, seen, cond)] = asked
    assert rows == 6 and cond.tolist() == [1, 2, 3, 5, 5, 5]
    assert torch.equal(seen, torch.cat([t, t]))
    assert torch.allclose(out, x * (5 + 2 * (torch.tensor([1, 2, 3]) - 5))[:, None])


def test_cfg_moves_away_from_negative_labels():
    m, x, t, schedule = mixture(), numbers(4, 2, seed=3), torch.tensor(0.5, dtype=torch.float64), linear()
    denoise, labels, negative = exact(m, schedule), torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 0])
    away, to = denoise(x, t, negative), denoise(x, t, labels)
    out = cfg(denoise, labels, negative, 3.0)(x, t)
    assert torch.allclose(out, away + 3 * (to - away))
    assert torch.allclose(out[3], to[3])  # away from itself is nowhere


def test_cfg_takes_token_ids_with_a_row_for_null():
    def denoise(x, t, cond):
        return x + cond.sum(1, keepdim=True)

    ids = torch.tensor([[1, 2, 0], [3, 4, 5]])
    x, t = numbers(2, 2), torch.tensor(0.5)
    assert torch.allclose(cfg(denoise, ids, [0, 0, 0], 2.0)(x, t), x + torch.tensor([[6.0], [24.0]]))
    assert torch.allclose(cfg(denoise, ids, torch.tensor([7, 0, 0]), 0.0)(x, t), x + 7)
    assert torch.allclose(cfg(denoise, ids, ids.flip(0), 1.0)(x, t), x + torch.tensor([[3.0], [12.0]]))


def test_cfg_takes_known_pictures_with_a_picture_or_a_number_for_none():
    def denoise(x, t, cond):
        return x + cond

    known, x, t = torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.tensor(0.5)
    for null in (0.25, torch.full((1, 4, 4), 0.25), torch.full((2, 1, 4, 4), 0.25)):
        torch.testing.assert_close(cfg(denoise, known, null, 3.0)(x, t), 0.25 + 3 * (known - 0.25))


@pytest.mark.parametrize("schedule", [cosine(), variance_exploding(sigma_max=5.0)], ids=["cosine", "exploding"])
def test_cfg_equals_the_mean_of_predicted_noises(schedule):
    """diffusers' pipelines: noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond), on eps."""
    m, x, t = mixture(), numbers(6, 2, seed=4), torch.tensor(0.6, dtype=torch.float64)
    denoise, labels, scale = exact(m, schedule), torch.arange(6) % 3, 4.0
    alpha, sigma = schedule(t)
    eps_text, eps_uncond = ((x - alpha * denoise(x, t, c)) / sigma for c in (labels, torch.full((6,), NULL)))
    eps = eps_uncond + scale * (eps_text - eps_uncond)
    assert torch.allclose(cfg(denoise, labels, NULL, scale)(x, t), (x - sigma * eps) / alpha, atol=1e-9)


def test_classifier_guidance_equals_adms_algorithm_2():
    """eps - sqrt(1 - alpha_bar) grad log p(y | x_t) (2105.05233), with the gradient by finite differences."""
    m, x, schedule, labels = mixture(), numbers(6, 2, seed=5), linear(), torch.arange(6) % 3
    t = torch.tensor(0.3, dtype=torch.float64)
    denoise, log_prob = exact(m, schedule), exact_log_prob(m, schedule, labels)
    alpha, sigma = schedule(t)
    nudges = 1e-5 * torch.eye(2, dtype=torch.float64)
    gradient = torch.stack([(log_prob(x + n, t) - log_prob(x - n, t)) / 2e-5 for n in nudges], 1)
    eps = (x - alpha * denoise(x, t)) / sigma - 2.5 * sigma * gradient
    out = classifier_guidance(denoise, log_prob, schedule, 2.5)(x, t)
    assert torch.allclose(out, (x - sigma * eps) / alpha, atol=1e-7)


def adm_gap(h: float) -> tuple[float, float]:
    """One ancestral step of size h: how far ADM's mean, guided at the reverse mean, is from ours; how far it moved."""
    m, x, schedule, labels = mixture(), numbers(6, 2, seed=6), cosine(), torch.arange(6) % 3
    t = torch.tensor(0.5, dtype=torch.float64)
    denoise, log_prob = exact(m, schedule), exact_log_prob(m, schedule, labels)
    plain, std = schedule.posterior(x, denoise(x, t), t, t - h)
    ours, _ = schedule.posterior(x, classifier_guidance(denoise, log_prob, schedule, 2.0)(x, t), t, t - h)
    leaf = plain.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(log_prob(leaf, t - h).sum(), leaf)
    adm = plain + 2.0 * std**2 * gradient  # 2105.05233, algorithm 1
    return (adm - ours).abs().max().item(), (ours - plain).abs().max().item()


def test_adms_gradient_at_the_reverse_mean_is_the_first_order_form():
    gaps, moves = zip(*(adm_gap(0.02 / 2**k) for k in range(6)))
    orders = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert abs(orders[-1] - 2) < 0.1  # of the mean, where the move itself is of order 1:
    assert abs(np.log2(moves[-2] / moves[-1]) - 1) < 0.05
    assert gaps[-1] < 0.02 * moves[-1]


def drawn(mixture, label: int, scale: float, way: str, n: int, steps=200, kinds=KINDS):
    """n samples (n, 2) of that label by DDIM."""
    schedule, labels = cosine(), torch.full((n,), label)
    denoise, log_prob = exact(mixture, schedule, kinds), exact_log_prob(mixture, schedule, labels, kinds)
    by = {
        "cfg": cfg(denoise, labels, max(kinds) + 1, scale),
        "classifier": classifier_guidance(denoise, log_prob, schedule, scale),
    }
    return last(sample(by[way], numbers(n, 2, seed=8), times(steps), schedule))


def energy_p(a, b, permutations=200) -> float:
    """The p-value of a two-sample test: energy distance (Székely & Rizzo 2004) against random relabellings."""
    distances, n = torch.cdist(torch.cat([a, b]), torch.cat([a, b])), len(a)
    side = torch.cat([torch.ones(n), -torch.ones(len(b))]).double()
    shuffled = torch.stack([side] + [side[torch.randperm(2 * n)] for _ in range(permutations)])
    energies = -((shuffled @ distances) * shuffled).sum(1)
    return (energies >= energies[0]).double().mean().item()


@pytest.mark.parametrize("way", ["cfg", "classifier"])
def test_at_scale_1_both_sample_the_exact_conditional(way):
    m, label = mixture(), 1
    truth = given(m, label).sample(600, torch.Generator().manual_seed(1))
    assert energy_p(drawn(m, label, 1.0, way, n=600), truth) > 0.05
    assert energy_p(drawn(m, label, 0.0, way, n=600), truth) < 0.01  # the test can tell
    assert energy_p(drawn(m, label, 3.0, way, n=600), truth) < 0.01


def sharpened(x, scale, means=(-1.0, 1.0)):
    """The distribution function of p(x) p(y = 1 | x)^scale along the first axis, normalised on a grid."""
    grid = torch.linspace(-8, 12, 4001, dtype=torch.float64)
    log_normal = torch.stack([-((grid - mean) ** 2) / 2 for mean in means])
    log_density = log_normal.logsumexp(0) + scale * log_normal.log_softmax(0)[1]
    mass = (log_density - log_density.max()).exp().cumsum(0)
    return np.interp(x, grid, mass / mass[-1])


@pytest.mark.parametrize("way", ["cfg", "classifier"])
@pytest.mark.parametrize("scale, same", [(1.0, True), (2.0, False), (4.0, False)])
def test_above_scale_1_neither_samples_the_sharpened_density(way, scale, same):
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    half = GaussianMixture([0.5, 0.5], means, [1.0, 1.0])
    x = drawn(half, 1, scale, way, n=2000, steps=200, kinds=(0, 1))[:, 0]
    p = kstest(x.numpy(), lambda x: sharpened(x, scale)).pvalue
    assert p > 0.05 if same else p < 1e-6


def test_clamp_cuts_to_the_range_of_pictures():
    x, t = torch.tensor([[-3.0, -1.0, 0.2, 1.5]]), torch.tensor(0.5)
    assert clamp(lambda x, t: x)(x, t).tolist() == [[-1.0, -1.0, pytest.approx(0.2), 1.0]]
    assert clamp(lambda x, t: x, 0, 0.5)(x, t).tolist() == [[0.0, 0.0, pytest.approx(0.2), 0.5]]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_threshold_equals_imagens_pseudo_code(quantile):
    x = 3 * numbers(5, 3, 8, 8) * torch.linspace(0.05, 1, 5)[:, None, None, None]  # the first within [-1, 1]
    s = np.percentile(np.abs(x.numpy()), 100 * quantile, axis=(1, 2, 3))  # 2205.11487, figure A.10
    s = np.maximum(s, 1.0)[:, None, None, None]
    wanted = np.clip(x.numpy(), -s, s) / s
    out = dynamic_threshold(lambda x, t: x, quantile)(x, torch.tensor(0.5))
    assert np.allclose(out.numpy(), wanted) and out.abs().max() <= 1
    assert torch.equal(out[0], x[0])  # what is in range stays as it is
    for dtype in (torch.float16, torch.bfloat16):
        half = dynamic_threshold(lambda x, t: x, quantile)(x.to(dtype), torch.tensor(0.5))
        assert half.dtype == dtype and np.allclose(half.float().numpy(), wanted, atol=0.05)


@pytest.mark.parametrize("answer", [lambda x: x[:, :1], lambda x: x[:1], lambda x: x.double(), lambda x: None])
def test_a_denoiser_of_another_shape_is_named_and_never_broadcast(answer):
    def denoise(x, t, cond=None):
        return answer(x)

    labels = torch.tensor([1, 2, 0])
    for guided in (
        cfg(denoise, labels, 3, 2.0),
        classifier_guidance(denoise, lambda x, t: x.sum(1), cosine(), 1.0),
        clamp(denoise),
        dynamic_threshold(denoise),
    ):
        with pytest.raises((TypeError, ValueError), match=r"denoise\(x, t.*\): got"):
            guided(torch.zeros(3, 2), torch.tensor(0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interval_guides_between_two_times_ends_included(dtype):
    chosen = interval(lambda x, t: "guided", lambda x, t: "plain", 0.2, 0.8)
    seen = [chosen(None, t) for t in torch.tensor([1.0, 0.81, 0.8, 0.5, 0.2, 0.19, 0.0], dtype=dtype)]
    assert seen == ["plain", "plain", "guided", "guided", "guided", "plain", "plain"]


def test_they_nest_around_a_sampler():
    m, schedule, labels = mixture(), cosine(), torch.arange(6) % 3
    denoise = exact(m, schedule)
    guided = interval(cfg(denoise, labels, NULL, 3.0), lambda x, t: denoise(x, t, labels), 0.1, 0.9)
    for limited in (clamp(guided), dynamic_threshold(guided)):
        x = last(sample(limited, numbers(6, 2), times(10), schedule))
        assert x.abs().max() <= 1


LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    "make, error, told",
    [
        (lambda f: cfg(f, 3, 10, 1.0), TypeError, "cond: got 3 .*expected whole numbers"),
        (lambda f: cfg(f, torch.ones(2), 10, 1.0), TypeError, "cond: got float32 tensor"),
        (lambda f: cfg(f, torch.ones(2, dtype=torch.bool), 10, 1.0), TypeError, "cond: got bool tensor"),
        (lambda f: cfg(f, torch.tensor(3), 10, 1.0), ValueError, r"cond: got int64 tensor of shape \(\)"),
        (lambda f: cfg(f, LABELS, 1.5, 1.0), TypeError, "null: got 1.5"),
        (lambda f: cfg(f, LABELS, torch.tensor([1, 2, 3]), 1.0), ValueError, r"null: got shape \(3,\)"),
        (lambda f: cfg(f, torch.ones(2, 4).long(), 0, 1.0), ValueError, r"null: got shape \(\), expected \(4,\)"),
        (lambda f: cfg(f, LABELS, 10, float("nan")), ValueError, "scale: got nan"),
        (lambda f: cfg(f, LABELS, None, 1.0), ValueError, "null: got None, expected what stands for no condition"),
        (lambda f: cfg(f, LABELS, 10, "2"), TypeError, "scale: got '2'"),
        (lambda f: classifier_guidance(f, f, cosine(), None), TypeError, "scale: got None"),
        (lambda f: interval(f, f, 0.8, 0.2), ValueError, "high: got 0.2, expected between 0.8 and 1"),
        (lambda f: interval(f, f, -0.1, 0.2), ValueError, "low: got -0.1"),
        (lambda f: interval(f, f, 0.1, 0.2)(torch.ones(2, 2), torch.ones(2)), ValueError, "t: got float32 tensor"),
        (lambda f: clamp(f, 1, -1), ValueError, "high: got -1"),
        (lambda f: dynamic_threshold(f, 99.5), ValueError, "quantile: got 99.5, expected between 0 and 1"),
    ],
)
def test_bad_arguments_are_refused(make, error, told):
    with pytest.raises(error, match=told):
        make(lambda x, t, cond=None: x)


def test_cfg_refuses_another_number_of_rows():
    guided = cfg(lambda x, t, cond: x, LABELS, 10, 1.0)
    with pytest.raises(ValueError, match="x: got 3 rows, expected 2, one for each row of cond"):
        guided(torch.ones(3, 2), torch.tensor(0.5))


def classified(log_prob, t=0.5, schedule=None):
    guided = classifier_guidance(lambda x, t: x, log_prob, schedule or cosine(), 1.0)
    return guided(torch.ones(2, 3), torch.tensor(t))


def test_classifier_guidance_refuses_what_has_no_use():
    with pytest.raises(ValueError, match="t: got a time with alpha = 0"):
        classified(lambda x, t: x.sum(1), 1.0, straight())
    assert classified(lambda x, t: x.sum(1), 0.99, straight()).isfinite().all()
    assert classified(lambda x, t: x.sum(1), 1.0).isfinite().all()  # cosine: alpha(1) is small, not 0
    with pytest.raises(ValueError, match=r"log_prob\(x, t\): got float32 tensor of shape \(2, 3\)"):
        classified(lambda x, t: x)  # a row of log-probabilities: which label?
    with pytest.raises(ValueError, match="without a gradient by x"):
        classified(torch.no_grad()(lambda x, t: x.sum(1)))


def test_classifier_guidance_leaves_no_graph_behind():
    x = torch.ones(2, 3, requires_grad=True)
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        out = classifier_guidance(lambda x, t: x, lambda x, t: x @ weight, cosine(), 1.0)(x, torch.tensor(0.5))
    assert not out.requires_grad and weight.grad is None and x.grad is None
