"""Few steps: targets by hand on an exact mixture, boundary conditions, students that leave their teachers alone."""

import pytest
import torch
from torch import nn

from minidiff import data, schedule, seeded, train
from minidiff.data import GaussianMixture
from minidiff.denoiser import Denoiser, PairedDenoiser
from minidiff.distill import (
    AsFlow,
    ConsistencyStudent,
    DistilledDiffusion,
    ProgressiveStudent,
    Student,
    boundary,
    consistency_function,
    consistency_sample,
    progressive_target,
    reflow_pairs,
)
from minidiff.flow_matching import FlowMatching, bend, euler, marginal_velocity, time_of
from minidiff.guidance import clamp
from minidiff.latent import LatentDiffusion, Pixels, text_to_image
from minidiff.nn import PointNet
from minidiff.sampler import last, sample, times
from minidiff.transformer import Tokenizer, WordEmbedding
from minidiff.unet import UNet

STUDENTS = {"progressive": ProgressiveStudent, "consistency": ConsistencyStudent}
each_student = pytest.mark.parametrize("kind", STUDENTS.values(), ids=STUDENTS)


@pytest.fixture
def clouds():
    return GaussianMixture(
        *(torch.tensor(part, dtype=torch.float64) for part in ([0.5, 0.5], [[-1.0], [1.0]], [0.2, 0.3]))
    )


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return FlowMatching(PointNet(2, 16)).eval()


def field(clouds):
    """The exact velocity, with a time for each row."""
    return lambda x, t: torch.cat([marginal_velocity(clouds, row[None], float(at)) for row, at in zip(x, t)])


# Targets


def test_one_step_to_the_target_is_two_of_the_teacher_by_hand(clouds):
    x = torch.tensor([[0.4], [-0.7]], dtype=torch.float64)
    t, s = torch.tensor([1.0, 0.5]).double(), torch.tensor([0.5, 0.0]).double()
    found = progressive_target(field(clouds), x, t, s)
    for i, (begin, middle, end) in enumerate([(1.0, 0.75, 0.5), (0.5, 0.25, 0.0)]):
        half = x[i] + (middle - begin) * marginal_velocity(clouds, x[i : i + 1], begin)[0]
        there = half + (end - middle) * marginal_velocity(clouds, half[None], middle)[0]
        assert torch.allclose(x[i] + (end - begin) * found[i], there)
    assert not torch.allclose(found, field(clouds)(x, t), atol=0.05)


def test_it_is_the_papers_target_in_x0_by_ddim(clouds):
    """2202.00512, algorithm 2, on the straight path: z'' of two DDIM steps, then the x that one step needs."""
    path = schedule.straight()
    z, t = torch.tensor([[0.4]], dtype=torch.float64), 0.8

    def x_hat(z, t):
        return clouds.denoise(z, 1 - t, t)

    def ddim(z, t, s):
        return (1 - s) * x_hat(z, t) + s / t * (z - (1 - t) * x_hat(z, t))

    second = ddim(ddim(z, t, 0.6), 0.6, 0.4)
    ratio = 0.4 / 0.8
    wanted = (second - ratio * z) / ((1 - 0.4) - ratio * (1 - 0.8))
    found = progressive_target(field(clouds), z, torch.tensor([t]).double(), torch.tensor([0.4]).double())
    assert torch.allclose(path.velocity(z, wanted, t), found)


def test_a_step_may_be_worth_many(clouds):
    x, t, s = torch.randn(5, 1, generator=seeded()).double(), torch.ones(5).double(), torch.zeros(5).double()
    found = progressive_target(field(clouds), x, t, s, worth=20)
    walked = last(euler(lambda x, t: marginal_velocity(clouds, x, float(t)), x, times(20)))
    assert torch.allclose(x - found, walked, atol=1e-6)
    with pytest.raises(ValueError, match="expected s < t"):
        progressive_target(field(clouds), x, s, t)


def test_the_boundary_condition_holds_whatever_the_network_says():
    x = torch.randn(3, 2)
    assert torch.equal(consistency_function(lambda x, t: 100 * x.cos(), x, torch.zeros(3)), x)
    assert not torch.equal(consistency_function(lambda x, t: 100 * x.cos(), x, torch.full((3,), 0.1)), x)
    skip, out = boundary(torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64))
    assert (skip[0], out[0]) == (1, 0) and 0 < skip[1] < 1 and skip[2] < 1e-4
    assert out[2] == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(ValueError, match="t: got less than 0.002"):
        boundary(0.001)


def test_consistency_of_an_exact_solution_is_complete(clouds):
    """f that solves the ODE gives one answer all along a path; one that only guesses E[x0] does not."""
    path = list(
        euler(lambda x, t: marginal_velocity(clouds, x, float(t)), torch.tensor([[0.4], [-1.0]]).double(), times(50))
    )
    ends = [consistency_function(lambda x, t: (x - path[-1].x) / t, step.x, torch.tensor(step.t)) for step in path[:-1]]
    assert max((end - ends[0]).abs().max() for end in ends) < 1e-9
    assert (path[0].x0 - path[-1].x).abs().min() > 0.3


# Other paths


class Exact(nn.Module):
    """What a network would say that knows the data: x0 of points on `path`, of size alpha² + sigma² = 1."""

    def __init__(self, clouds, path):
        super().__init__()
        self.clouds, self.path = clouds, path

    def forward(self, x, t, cond=None):
        rows = [self.clouds.denoise(row[None], *self.path(float(at))) for row, at in zip(x, t)]
        return torch.cat(rows) if cond is None else torch.cat(rows) + (cond - 1)[:, None]


PATHS = {"cosine": schedule.cosine(), "linear": schedule.linear()}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@each_path
def test_a_time_of_the_straight_path_is_as_noisy_as_its_own(path):
    own = torch.tensor([0.0, 0.03, 0.2, 0.5, 0.9], dtype=torch.float64)
    alpha, sigma = path(own)
    assert torch.allclose(time_of(path, sigma / (alpha + sigma)), own, atol=1e-4)
    assert time_of(path, torch.tensor(1.0)) == 1  # pure noise is later than all of it
    assert torch.allclose(time_of(schedule.straight(), own), own, atol=1e-9)


@each_path
def test_a_denoiser_as_a_flow_knows_the_same_data(path, clouds):
    flow = AsFlow(Denoiser(Exact(clouds, path), path, "x0"))
    x, t = torch.tensor([[0.4], [-0.7], [1.3]]).double(), torch.tensor([0.15, 0.5, 0.9]).double()
    wanted = torch.cat([clouds.denoise(row[None], 1 - float(at), float(at)) for row, at in zip(x, t)])
    assert torch.allclose(flow(x, t), wanted, atol=1e-4)
    assert torch.allclose(flow.velocity(x, t), field(clouds)(x, t), atol=1e-3)


def test_both_paths_lead_from_one_noise_to_one_end(clouds):
    """Other steps of one journey: the change of path changes no end."""
    path = PATHS["cosine"]
    denoiser = Denoiser(Exact(clouds, path), path, "x0")
    noise = torch.randn(8, 1, generator=seeded()).double()
    ends = last(sample(denoiser, noise, times(150), path))
    assert torch.allclose(last(euler(AsFlow(denoiser).velocity, noise, times(150))), ends, atol=0.03)
    rough = last(euler(AsFlow(denoiser).velocity, noise, times(2)))
    assert (rough - ends).abs().max() > 0.1


def test_a_teacher_is_guided_inside(clouds):
    path = PATHS["cosine"]
    denoiser = Denoiser(Exact(clouds, path), path, "x0", null=1)  # label 1 says nothing, label 3 adds 2
    x, t, labels = torch.zeros(2, 1).double(), torch.full((2,), 0.5).double(), torch.tensor([3, 1])
    plain, guided = AsFlow(denoiser)(x, t, labels), AsFlow(denoiser, 2.5)(x, t, labels)
    assert torch.allclose(guided - plain, torch.tensor([[3.0], [0.0]]).double())
    assert torch.allclose(AsFlow(denoiser, 2.5)(x, t), plain[1:].expand(2, 1))  # nothing told, nothing to exaggerate
    with pytest.raises(ValueError, match="scale: got 2 for a denoiser without null"):
        AsFlow(Denoiser(Exact(clouds, path), path, "x0"), 2)
    with pytest.raises(TypeError, match="denoiser: got PointNet, expected a Denoiser"):
        AsFlow(PointNet(2, 8))


def test_a_student_answers_as_its_teacher_does():
    torch.manual_seed(0)
    teacher = AsFlow(Denoiser(PointNet(2, 16), schedule.cosine(), "x0"))
    student = ProgressiveStudent(PointNet(2, 16), steps=2, worth=4, predict="x0").follow(teacher)
    x, half = torch.randn(5, 2), torch.full((5,), 0.5)  # where the times of both paths are nearly the same
    assert torch.allclose(student.velocity(x, half), teacher.velocity(x, half), atol=0.1)
    assert torch.allclose(student.velocity(x, 0.5), student.velocity(x, half))
    assert student.loss(torch.randn(64, 2)).requires_grad
    with pytest.raises(ValueError, match="t: got 0, where there is no noise"):
        student.velocity(x, torch.zeros(5))


def painter(kind=LatentDiffusion, denoiser=Denoiser, *how, **more) -> LatentDiffusion:
    """A tiny model of pictures told words, untrained."""
    words = Tokenizer.train(["red", "blue"], vocabulary=300, length=8)
    null = [*words.encode(""), *[0] * 6]
    net = UNet(channels=3, widths=(8, 16), attention=(1,), text=WordEmbedding(words.vocabulary, 8, length=8))
    nn.init.normal_(net.out[-1].weight, std=0.3)
    return kind(Pixels(), denoiser(net, *how, null=null, **more), words, size=8, guidance=1.0)


def test_a_distilled_diffusion_takes_all_of_its_teacher_and_draws_in_its_own_steps():
    torch.manual_seed(0)
    teacher = painter(LatentDiffusion, Denoiser, schedule.cosine(), "x0")
    teacher.guidance = 3.0
    teacher.scale.fill_(0.5)
    model = painter(DistilledDiffusion, ProgressiveStudent, steps=2, worth=2, predict="x0").follow(teacher)
    assert model.scale == 0.5 and model.denoiser.teacher[0].scale == 3.0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), teacher.parameters(), strict=True))
    asked = []
    whole = model.denoiser.net.forward
    model.denoiser.net.forward = lambda x, t, cond=None: asked.append((len(x), t[0].item())) or whole(x, t, cond)
    drawn = text_to_image(model, ["red", "blue"], generator=seeded())
    assert drawn.shape == (2, 3, 8, 8) and asked == [(2, 1.0), (2, 0.5)]  # two answers, none of them without words
    text_to_image(model, ["red"], steps=3)
    assert len(asked) == 5
    again = painter(DistilledDiffusion, ProgressiveStudent, steps=2, worth=2, predict="x0")
    before = again.denoiser.net.out[-1].weight.clone()
    mu, ids = torch.randn(4, 3, 8, 8), model.ids(["red", "blue", "red", ""])
    assert torch.isfinite(again.listen(teacher).loss(mu, ids)) and torch.equal(
        again.denoiser.net.out[-1].weight, before
    )


# Students


@each_student
def test_a_student_begins_as_its_teacher_and_leaves_it_alone(kind, teacher):
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    student = kind(PointNet(2, 16), steps=4).follow(teacher)
    x, t = torch.randn(5, 2), torch.rand(5)
    assert torch.equal(student.velocity(x, t), teacher.velocity(x, t))
    assert student.state_dict().keys() == teacher.state_dict().keys()
    loss = student.loss(torch.randn(64, 2))
    loss.backward()
    assert all(weight.grad is None and weight.requires_grad for weight in teacher.parameters())
    train.run(train.fit(student, data.batches(data.ring(512), size=64), 5, lr=1e-2))
    assert all(torch.equal(before[name], weight) for name, weight in teacher.state_dict().items())
    assert not torch.equal(student.velocity(x, t), teacher.velocity(x, t))


def test_the_consistency_target_has_no_gradient(teacher):
    student = ConsistencyStudent(PointNet(2, 16), steps=4).follow(teacher)
    answers = []
    whole = student.velocity

    def watched(x, t, cond=None):
        answers.append(whole(x, t, cond))
        return answers[-1]

    student.velocity = watched
    student.loss(torch.randn(8, 2))
    assert [answer.requires_grad for answer in answers] == [False, True]


def test_a_flow_without_a_bend_has_nothing_to_teach(teacher):
    """Both losses are 0 for a teacher whose velocity is constant, and above it for another."""
    for kind in STUDENTS.values():
        flat = FlowMatching(PointNet(2, 16))
        nn.init.zeros_(flat.net.linear_out.weight)
        x0 = torch.randn(32, 2)
        assert kind(PointNet(2, 16), steps=2).follow(flat).loss(x0).item() < 1e-12
        assert kind(PointNet(2, 16), steps=2).follow(teacher).loss(x0).item() > 1e-6


def test_students_ask_only_at_their_own_times(teacher):
    student = ProgressiveStudent(PointNet(2, 16), steps=4).follow(teacher)
    asked = []
    whole = student.net.forward
    student.net.forward = lambda x, t, cond=None: asked.append(t) or whole(x, t, cond)
    student.loss(torch.randn(200, 2))
    assert set(asked[0].tolist()) == {0.25, 0.5, 0.75, 1.0}
    before = student.net.linear_out.weight.clone()
    assert torch.equal(student.listen(FlowMatching(PointNet(2, 16))).net.linear_out.weight, before)
    with pytest.raises(ValueError, match="teacher: got none, expected `follow"):
        Student(PointNet(2, 16)).loss(torch.randn(4, 2))


def test_progressive_distillation_makes_one_step_of_two():
    torch.manual_seed(0)
    x0 = data.moons(2000)
    teacher = FlowMatching(PointNet(2, 64))
    train.run(train.fit(teacher, data.batches(x0, size=256), 300, lr=5e-3))
    student = ProgressiveStudent(PointNet(2, 64), steps=1).follow(teacher)
    noise = torch.randn(500, 2, generator=seeded())

    def gap(model, steps):
        with torch.no_grad():
            return (last(sample(model, noise, times(steps), model.schedule)) - goal).square().mean().item()

    goal = last(euler(teacher.velocity, noise, times(2)))
    before = gap(student, 1)
    train.run(train.fit(student, data.batches(x0, size=256), 150, lr=2e-3))
    assert gap(student, 1) < 0.2 * before


def test_reflow_straightens():
    torch.manual_seed(0)
    flow = FlowMatching(PointNet(2, 64))
    train.run(train.fit(flow, data.batches(data.ring(4000), size=256), 300, lr=5e-3))
    noise = torch.randn(4000, 2, generator=seeded())
    drawn = reflow_pairs(flow, noise, batch=1000)
    assert torch.allclose(drawn[:5], last(euler(flow.velocity, noise[:5], times(20))), atol=1e-5)
    again = PairedDenoiser(PointNet(2, 64), schedule.straight(), "flow", times="uniform")
    again.net.load_state_dict(flow.net.state_dict())
    train.run(train.fit(again, data.batches(drawn, noise, size=256), 300, lr=2e-3))

    def bent(model):
        return bend(sample(model, noise[:500], times(50), model.schedule))

    assert bent(again) < 0.3 * bent(flow)


def test_consistency_sampling_adds_noise_in_between_and_none_at_the_end():
    asked = []

    def denoise(x, t):
        asked.append((float(t), x))
        return torch.zeros_like(x)

    noise = torch.randn(4000, 2, generator=seeded())
    x = consistency_sample(denoise, noise, torch.tensor([1.0, 0.5, 0.0]), seeded(1))
    assert torch.equal(x, torch.zeros(4000, 2)) and [t for t, _ in asked] == [1.0, 0.5]
    assert asked[1][1].std().item() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="expected times that fall to 0"):
        consistency_sample(denoise, noise, torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize("predict", ["x0", "v"])
def test_a_consistency_student_may_answer_with_x0_or_v(predict):
    torch.manual_seed(0)
    teacher = AsFlow(Denoiser(PointNet(2, 16), schedule.cosine(), predict))
    student = ConsistencyStudent(PointNet(2, 16), steps=1, predict=predict).listen(teacher)
    losses = [tick.loss for tick in train.fit(student, data.batches(data.ring(512), size=64), 40, lr=1e-2)]
    assert losses[-1] < losses[0] / 2
    x = torch.randn(3, 2)
    assert torch.equal(consistency_function(student.velocity, x, torch.zeros(3)), x)


def test_weights_that_would_mean_something_else_are_not_taken():
    teacher = AsFlow(Denoiser(PointNet(2, 16), schedule.cosine(), "eps"))
    with pytest.raises(ValueError, match="teacher: got one whose network predicts 'eps', expected 'flow'"):
        ProgressiveStudent(PointNet(2, 16)).follow(teacher)
    assert ProgressiveStudent(PointNet(2, 16)).listen(teacher).loss(torch.randn(4, 2)).isfinite()


def test_a_teachers_estimates_can_be_kept_in_range():
    """A network of eps that is a little wrong is far out where there is hardly any picture."""
    torch.manual_seed(0)
    denoiser = Denoiser(PointNet(2, 16), schedule.cosine(), "eps")
    x = torch.randn(20, 2)
    assert AsFlow(denoiser)(x, 1.0).abs().max() > 1000
    assert AsFlow(denoiser, limit=clamp)(x, 1.0).abs().max() <= 1


def test_answers_of_another_shape_and_times_that_rise_are_refused():
    x, t = torch.randn(4, 2), torch.rand(4)
    with pytest.raises(ValueError, match=r"velocity\(x, t\): got shape \(4, 1\)"):
        consistency_function(lambda x, t: x[:, :1], x, t)
    with pytest.raises(ValueError, match=r"velocity\(x, t\): got shape \(4, 1\)"):
        progressive_target(lambda x, t: x[:, :1], x, t, t / 2)
    with pytest.raises(ValueError, match=r"denoise\(x, t\): got shape \(4, 1\)"):
        consistency_sample(lambda x, t: x[:, :1], x, times(2))
    with pytest.raises(ValueError, match="times: got"):
        consistency_sample(lambda x, t: x, x, torch.tensor([0.5, 1.0, 0.0]))
