import math

import pytest
import torch

from kd3d.heads import DensePrediction
from kd3d.losses import DenseResponse, dense_response
from kd3d.losses.response import _score_logits, generalized_iou

LOG3 = math.log(3.0)
BOX = torch.tensor([[[0.0, 0.0, 2.0, 2.0]]])


def kl(p, q):
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def one(logit, box=BOX, objectness=None):
    """One image with one position and one class."""
    if objectness is not None:
        objectness = torch.tensor([[objectness]])
    return DensePrediction(torch.tensor([[[logit]]]), box, objectness)


def logit(p):
    return math.log(p / (1 - p))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0.0, 0.0, 2.0, 2.0], 1.0),
        ([1.0, 0.0, 3.0, 2.0], 2 / 6),  # hull = union
        ([3.0, 0.0, 5.0, 2.0], 0 - 2 / 10),  # apart: hull 10, union 8
        ([0.0, 0.0, 1.0, 1.0], 1 / 4),
        ([2.0, 2.0, 1.0, 1.0], 0.0),  # corners swapped: no area, inside the hull
    ],
)
def test_generalized_iou_by_hand(box, expected):
    assert generalized_iou(BOX, torch.tensor([[box]])).item() == pytest.approx(expected)


def test_equal_boxes_have_giou_one_exactly():
    corner = torch.rand(100, 2) * 1000
    boxes = torch.cat([corner, corner + torch.rand(100, 2) * 500 + 0.1], -1)
    assert (generalized_iou(boxes, boxes.clone()) == 1).all()


def test_classes_and_boxes_by_hand():
    student = one(-LOG3, torch.tensor([[[1.0, 0.0, 3.0, 2.0]]]))  # p 1/4
    teacher = one(LOG3)  # q 3/4, so weight 3/4 and mass 1, its floor
    boxes = 3 / 4 * (1 - 2 / 6)
    classes = kl(1 / 4, 3 / 4)
    assert dense_response(student, teacher, gamma=0).item() == pytest.approx(classes + boxes)
    focused = dense_response(student, teacher, gamma=2)
    assert focused.item() == pytest.approx(classes * (3 / 4 - 1 / 4) ** 2 + boxes)
    weighted = dense_response(student, teacher, gamma=0, cls_weight=3.0, box_weight=5.0)
    assert weighted.item() == pytest.approx(3 * classes + 5 * boxes)


def test_divided_by_the_mass_above_background():
    """Positions of teacher score 0.9, 0.9, 0.04: mass 1.8, and the third box has no say."""
    logits = torch.tensor([logit(0.9), logit(0.9), logit(0.04)]).view(1, 3, 1)
    far = BOX + 10
    teacher = DensePrediction(logits, BOX.repeat(1, 3, 1))
    student = DensePrediction(logits, torch.cat([BOX, far, far], 1))
    giou = 0 - (144 - 8) / 144
    expected = 0.9 * (1 - giou) / 1.8
    assert dense_response(student, teacher).item() == pytest.approx(expected)


def test_background_counts_for_classes():
    student, teacher = one(logit(0.5)), one(logit(0.04))
    assert dense_response(student, teacher, gamma=0).item() == pytest.approx(kl(0.5, 0.04))


def test_objectness_multiplies_the_score_and_is_distilled_where_the_teacher_sees_something():
    student, teacher = one(0.0, objectness=0.0), one(LOG3, objectness=LOG3)  # 1/4, 9/16
    expected = kl(1 / 4, 9 / 16) + 9 / 16 * kl(1 / 2, 3 / 4)
    assert dense_response(student, teacher, gamma=0).item() == pytest.approx(expected, rel=1e-5)


def test_head_without_objectness_learns_from_one_with():
    student, teacher = one(logit(0.25)), one(LOG3, objectness=LOG3)
    assert dense_response(student, teacher, gamma=0).item() == pytest.approx(kl(0.25, 9 / 16))


def test_score_logits_are_the_logits_of_scores():
    prediction = DensePrediction(
        torch.randn(2, 5, 3) * 3, torch.zeros(2, 5, 4), objectness=torch.randn(2, 5) * 3
    )
    torch.testing.assert_close(_score_logits(prediction).sigmoid(), prediction.scores())


def test_softmax_heads_by_hand():
    student = DensePrediction(torch.tensor([[[0.0, LOG3]]]), BOX, softmax=True)  # 1/4, 3/4
    teacher = DensePrediction(torch.zeros(1, 1, 2), BOX, softmax=True)  # 1/2, 1/2
    divergence = 0.5 * math.log(2.0) + 0.5 * math.log(2 / 3)
    assert dense_response(student, teacher, gamma=0).item() == pytest.approx(divergence)
    assert dense_response(student, teacher, gamma=1).item() == pytest.approx(divergence / 4)


def test_temperature_softens_classes_only():
    moved = torch.tensor([[[1.0, 0.0, 3.0, 2.0]]])
    student, teacher = one(-2 * LOG3, moved), one(2 * LOG3)  # at 2: 1/4, 3/4; teacher's own 9/10
    expected = 4 * kl(1 / 4, 3 / 4) + 9 / 10 * (1 - 2 / 6)
    received = dense_response(student, teacher, gamma=0, temperature=2.0)
    assert received.item() == pytest.approx(expected, rel=1e-5)


def test_kinds_of_head_must_agree():
    softmax = DensePrediction(torch.zeros(1, 1, 2), BOX, softmax=True)
    with pytest.raises(ValueError, match="a sigmoid student and a softmax teacher"):
        dense_response(one(0.0), softmax)


@pytest.mark.parametrize("gamma", [-1.0, 0.5])
def test_gamma_with_an_infinite_slope_is_refused(gamma):
    with pytest.raises(ValueError, match=f"gamma 0 or at least 1, got {gamma}"):
        DenseResponse(gamma=gamma)


def test_softmax_teacher_gets_no_gradient():
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    student = DensePrediction(torch.tensor([[[0.0, LOG3]]], requires_grad=True), BOX, softmax=True)
    dense_response(student, DensePrediction(logits, BOX, softmax=True)).backward()
    assert logits.grad is None
    assert student.logits.grad.abs().sum() > 0
