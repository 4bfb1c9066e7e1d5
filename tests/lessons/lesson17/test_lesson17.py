"""Lesson 17's widgets and measurements."""

from statistics import mean

import pytest
import torch

from minidiff import checkpoints, data, seeded
from minidiff.distill import ProgressiveStudent
from minidiff.flow_matching import FlowMatching
from minidiff.lessons.lesson17 import claims as lesson17
from minidiff.lessons.lesson17 import emoji, widgets
from minidiff.scorecard import stored


@pytest.fixture(scope="module")
def rings():
    return {name: checkpoints.load(file) for name, file in lesson17.RINGS.items()}


def test_the_paths_of_each_flow_are_drawn_and_come_back(rings):
    paths = widgets.paths(rings, n=20)
    first = paths.picture.src
    assert paths.picture.alt.startswith("independent, 50 steps: the ends are 0.")
    paths.set(steps=1)
    bent = float(paths.picture.alt.split(" are ")[1].split()[0])
    paths.set(flow="reflow")
    assert paths.picture.alt.startswith("reflow, 1 step: the ends are 0.") and paths.picture.src != first
    assert bent > 2 * float(paths.picture.alt.split(" are ")[1].split()[0])
    paths.reset()
    assert paths.picture.src == first


def test_the_distance_from_the_ring_is_measured():
    assert widgets.off_ring(torch.zeros(3, 2)) == pytest.approx(1.0, abs=0.5)
    assert widgets.off_ring(data.ring(500)) < 0.3 < widgets.off_ring(torch.full((3, 2), 3.0))


def test_few_steps_show_a_row_for_each_model():
    models = {name: checkpoints.load(name) for name in ("flow-matching-digits", "two-step-digits")}
    few = widgets.few_steps(models, counts=(1, 2))
    first = few.picture.src
    assert few.picture.alt == "ten digits in 2 steps by each of flow-matching-digits, two-step-digits"
    few.set(steps=1)
    assert few.picture.src != first
    few.reset()
    assert few.picture.src == first


def test_the_block_is_drawn_with_all_that_it_is_told():
    (ax,) = widgets.block_drawing().axes
    texts = {text.get_text() for text in ax.texts}
    assert {"shift1, scale1", "gate1", "shift2, scale2", "gate2", "attention", "time + label"} <= texts


def test_the_two_losses_share_a_gradient_and_a_wrong_sign_does_not():
    conditional, marginal = lesson17.gradients(5000)
    assert torch.cosine_similarity(conditional, marginal, dim=0) > 0.995
    assert torch.cosine_similarity(-conditional, marginal, dim=0) < 0


def test_the_student_is_nearer_to_twenty_steps_of_its_teacher_than_two_are():
    teacher, student = checkpoints.load("flow-matching-digits"), checkpoints.load("two-step-digits")
    assert isinstance(student, ProgressiveStudent) and (student.steps, student.worth) == (2, 8)
    labels = torch.arange(10)

    def drawn(model, steps):
        return lesson17._drawn(model, labels, steps, seeded(0))

    goal = drawn(teacher, 16)
    gaps = [(drawn(model, 2) - goal).square().mean().item() for model in (student, teacher)]
    assert gaps[0] < 0.3 * gaps[1]


def test_the_held_out_loss_is_the_same_twice_and_knows_a_model_from_none():
    model = checkpoints.load("dit-digits")
    again = lesson17.held_out_loss(model, draws=1)
    torch.rand(3)  # wherever the random numbers stand
    assert again == lesson17.held_out_loss(model, draws=1) < 0.2
    torch.manual_seed(0)
    assert lesson17.held_out_loss(FlowMatching(lesson17.digit_net(), null=10), draws=1) > 0.8


def test_the_stored_tables_have_each_method_with_three_seeds_and_each_size():
    rows = [row for row in stored.read("17_steps") if "seed" in row]
    cases = {(row["method"], row["steps"]) for row in rows}
    assert len(rows) == 3 * len(cases) and len(cases) == 1 + 3 * 5 + 4 * 3
    assert stored.command("17_steps") == stored.command("17_sizes") == lesson17.COMMAND
    sizes = stored.read("17_sizes")
    assert len(sizes) == len(lesson17.SIZES) + 1 and {row["steps"] for row in sizes} == {lesson17.TRIED}


def test_two_steps_of_the_student_are_within_a_tenth_of_twenty_of_its_teacher():
    rows = stored.read("17_steps")

    def fd(method, steps):
        return mean(row["FD held-out"] for row in rows if (row["method"], row.get("steps")) == (method, steps))

    assert fd("two-step student", 2) < 1.1 * fd("flow matching", 20) < fd("flow matching", 2)


def test_the_cheap_claims_hold_and_can_fail(monkeypatch):
    claims = [lesson17._of_gradients([0]), *lesson17._of_steps(), lesson17._of_sizes()]
    assert all(claim.lesson == "17" and claim.paper and claim.ours for claim in claims)
    assert [claim.holds for claim in claims] == [True, True, True, True, False, False, True]
    monkeypatch.setattr(lesson17, "bends", lambda seed: {"independent": 0.1, "optimal": 0.2, "reflow": 0.05})
    assert [claim.holds for claim in lesson17._of_bends([0])] == [False, True]
    monkeypatch.setattr(lesson17, "gradients", lambda seed: (torch.ones(2), torch.tensor([1.0, 0.0])))
    assert not lesson17._of_gradients([0]).holds


def test_the_measurements_run_in_small(monkeypatch):
    monkeypatch.setattr(lesson17.generate, "draw", lambda *args, **options: data.digits("test")[0])
    monkeypatch.setattr(lesson17, "held_out_loss", lambda model: 0.5)
    rows = lesson17.sizes_table(steps=2, sizes=((8, 8, 1),))
    assert [row["net"] for row in rows] == ["DiT, patch 8, width 8, 1 layers", "U-Net"]
    assert lesson17.one_step(1).steps == 1
    assert lesson17.reflowed(1, pairs=64).predict == "flow"


# The emoji


def test_the_students_tables_have_each_way_with_three_seeds_and_each_size():
    rows = stored.read("17_emoji")
    cases = {(row["method"], row["steps"], row["names"]) for row in rows}
    assert cases == {(way, n, kind) for way, (_, counts) in emoji.WAYS.items() for n in counts for kind in emoji.NAMES}
    assert len(rows) == 3 * len(cases) and {row["seed"] for row in rows} == {0, 1, 2}
    sizes = stored.read("17_emoji_sizes")
    assert [row["net"] for row in sizes] == list(emoji.nets()) and {row["steps"] for row in sizes} == {emoji.TRIED}
    assert stored.command("17_emoji") == stored.command("17_emoji_sizes") == lesson17.COMMAND


def test_the_claims_of_the_emoji_are_read_from_their_tables_and_can_fail(monkeypatch):
    assert [claim.holds for claim in emoji.claims()] == [True, True, False]
    case = {"method": "student", "steps": 2, "right": 0.8, "FD": 11.2}
    long = {"method": "teacher", "steps": 20, "right": 0.9, "FD": 10.0}
    rows = [side | {"names": kind} for side in (case, long) for kind in emoji.NAMES]
    monkeypatch.setattr(emoji.stored, "read", lambda name: rows)
    assert [emoji._of_steps(measure).holds for measure in ("right", "FD")] == [False, False]
    monkeypatch.setattr(emoji.stored, "read", lambda name: [row | {"right": 0.5, "FD": 3.0} for row in rows])
    assert all(emoji._of_steps(measure).holds for measure in ("right", "FD"))


def test_the_measurements_of_the_emoji_run_in_small():
    (row,) = emoji.sizes_table(steps=1, sizes=((8, 8, 1),))[:1]
    assert row["net"] == "DiT, patch 8, width 8, 1 layers" and 0.5 < row["held-out loss"] < 3
    assert row["weights"] < sum(w.numel() for w in emoji.nets(((8, 8, 1),))[row["net"]].parameters())
    codes, ids = emoji.unit_codes("train")
    assert codes.std() == pytest.approx(1, abs=0.01) and len(ids) == len(codes)
    monitored = emoji.drawn(checkpoints.load("two-step-emoji"), "never seen", 2, 0, n=20)
    assert monitored["thing"] > 0.7 and monitored["right"] > 0.4
