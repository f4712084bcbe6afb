"""The response of anchor heads by hand, and between heads on other lattices."""

import math
from dataclasses import replace

import pytest
import torch

from kd3d.errors import UserError
from kd3d.heads import Anchor3DPrediction
from kd3d.losses import AnchorResponse, anchor_response
from kd3d.losses.anchor_response import _nearest


def kl(p, q):
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def logit(p):
    return math.log(p / (1 - p))


def lattice(rows, columns, step_m, start_m=0.5):
    """(rows * columns, 7) anchors of one template, 4 m x 2 m x 1.5 m."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = start_m + step_m * torch.stack([x, y], -1).view(-1, 2)
    box = torch.tensor([-1.0, 4.0, 2.0, 1.5, 0.0]).expand(rows * columns, 5)
    return torch.cat([places, box], dim=1)


def prediction(scores, rows=1, step_m=1.0, start_m=0.5):
    """One frame and class; scores of each anchor, row by row."""
    count = len(scores)
    anchors = lattice(rows, count // rows, step_m, start_m)
    return Anchor3DPrediction(
        torch.tensor(scores).logit().view(1, count, 1),
        torch.zeros(1, count, 7),
        torch.zeros(1, count, 2),
        anchors,
        templates=((4.0, 2.0, 1.5), (0.0,), (1.0,)),
        ranges=(tuple(anchors[0, :2].tolist()), tuple(anchors[-1, :2].tolist())),
        levels=((rows, count // rows),),
    )


def test_classes_by_hand():
    """Mass 0.9 + 0.6; the third is background to the teacher."""
    student, teacher = prediction([0.5, 0.6, 0.3]), prediction([0.9, 0.6, 0.04])
    received = anchor_response(student, teacher, gamma=0.0)
    assert received.item() == pytest.approx((kl(0.5, 0.9) + kl(0.3, 0.04)) / 1.5, rel=1e-5)
    focused = anchor_response(student, teacher, gamma=2.0)
    expected = (kl(0.5, 0.9) * 0.4**2 + kl(0.3, 0.04) * 0.26**2) / 1.5
    assert focused.item() == pytest.approx(expected, rel=1e-5)


def test_boxes_and_direction_by_hand():
    student, teacher = prediction([0.9, 0.6, 0.04]), prediction([0.9, 0.6, 0.04])
    student.deltas[0, 0, 0] = 0.1  # of the anchor's diagonal
    student.deltas[0, 0, 2] = 0.2  # of its height
    student.deltas[0, 1, 3] = 0.3  # of a logarithm
    student.deltas[0, 2] = 9.0  # background
    student.directions[0, 1, 0] = math.log(3.0)  # 3/4 to 1/2
    boxes = 0.9 * (0.1 * math.sqrt(20) + 0.2 * 1.5) + 0.6 * 0.3
    turned = 0.6 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    received = anchor_response(student, teacher, box_weight=2.0, direction_weight=0.5)
    assert received.item() == pytest.approx((2 * boxes + 0.5 * turned) / 1.5, rel=1e-5)
    best = anchor_response(student, teacher, boxes=1)
    assert best.item() == pytest.approx(0.9 * (0.1 * math.sqrt(20) + 0.3), rel=1e-5)


@pytest.mark.parametrize("yaw", [math.pi, -math.pi, 3 * math.pi])
def test_half_turns_belong_to_the_direction(yaw):
    student, teacher = prediction([0.9]), prediction([0.9])
    student.deltas[0, 0, 6] = yaw
    assert anchor_response(student, teacher).item() == pytest.approx(0, abs=1e-5)
    student.deltas[0, 0, 6] = math.pi / 6
    assert anchor_response(student, teacher).item() == pytest.approx(0.9 * 0.5, rel=1e-5)


def test_heads_without_direction_teach_the_rest():
    student, teacher = prediction([0.9]), prediction([0.9])
    student.directions[0, 0, 0] = 5.0
    assert anchor_response(student, replace(teacher, directions=None)).item() == 0


def test_nothing_found_is_finite():
    student, teacher = prediction([0.5, 0.01]), prediction([0.01, 0.01])
    student.deltas.fill_(5.0)
    assert anchor_response(student, teacher, gamma=0.0).item() == pytest.approx(kl(0.5, 0.01))


def test_teacher_on_a_finer_lattice_is_read_at_the_nearest_anchor():
    """Student's anchors at 1, 3 and 5 m; the teacher's at 0.8, 1.8, ... : 0, 2 and 4 are near."""
    teacher = prediction([0.9, 0.2, 0.6, 0.2, 0.7, 0.2], step_m=1.0, start_m=0.8)
    student = prediction([0.9, 0.6, 0.7], step_m=2.0, start_m=1.0)
    received = anchor_response(student, teacher, gamma=0.0)
    assert received.item() == pytest.approx(0.2 + 0.2, abs=1e-5)  # of boxes: 0.2 m along x and y


def test_anchors_outside_of_the_teachers_have_no_say():
    """Student's anchors at -0.5 ... 4.5 m, the teacher's at 0.5 ... 2.5 m."""
    teacher = prediction([0.9, 0.6, 0.7])
    student = prediction([0.99, 0.9, 0.6, 0.7, 0.99, 0.99], start_m=-0.5)
    student.anchors[:, 1] = 0.5
    assert anchor_response(student, teacher).item() == pytest.approx(0, abs=1e-6)


def on_two_levels(finer, coarser):
    """Both levels as one prediction: the anchors of the first, then those of the second."""
    parts = {
        name: torch.cat([getattr(finer, name), getattr(coarser, name)], dim=1)
        for name in ("logits", "deltas", "directions")
    }
    anchors = torch.cat([finer.anchors, coarser.anchors])
    return replace(finer, anchors=anchors, levels=finer.levels + coarser.levels, **parts)


def test_levels_are_compared_one_by_one():
    """The second level lies at 10 m, with two anchors of the teacher and one of the student."""
    teacher = on_two_levels(prediction([0.9, 0.2, 0.6]), prediction([0.3, 0.8], start_m=10.0))
    student = on_two_levels(prediction([0.9, 0.6], step_m=2.0), prediction([0.3], start_m=10.0))
    assert anchor_response(student, teacher).item() == pytest.approx(0, abs=1e-6)


def test_nearest_is_found_by_rows_columns_and_template():
    teacher = lattice(3, 4, 1.0)[:, :2].view(3, 4, 1, 2).repeat(1, 1, 2, 1)
    student = torch.tensor([[[[2.4, 1.7], [0.4, 2.6]]]])  # columns 2, 0 and rows 1, 2
    place, near = _nearest(student, teacher)
    assert place.tolist() == [(1 * 4 + 2) * 2 + 0, (2 * 4 + 0) * 2 + 1]
    assert near.all()


def test_other_anchors_are_refused():
    student, teacher = prediction([0.9]), prediction([0.9])
    other = replace(teacher, templates=((3.0, 2.0, 1.5), (0.0,), (1.0,)))
    with pytest.raises(UserError, match="expected anchors of the same sizes, rotations and scales"):
        anchor_response(student, other)
    with pytest.raises(UserError, match="on None levels"):
        anchor_response(student, replace(teacher, levels=None))
    with pytest.raises(UserError, match="gamma 0 or at least 1"):
        AnchorResponse(gamma=0.5)
