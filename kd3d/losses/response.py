"""The response of dense detection heads: which scores, and which boxes where there is something."""

from functools import partial

import torch
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.heads.dense import DensePrediction
from kd3d.losses.arguments import expect_gamma, expect_temperature
from kd3d.losses.logits import bernoulli_kl, softmax_kl
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES

BACKGROUND_SCORE = 0.05  # mmdet's usual score threshold: below it the detector reports nothing
_SMALLEST_AREA_PX = 1e-6


@in_float32
def dense_response(
    student: DensePrediction,
    teacher: DensePrediction,
    *,
    cls_weight: float = 1.0,
    box_weight: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Scores and boxes of a dense head, normalised by what the teacher found in the image.

    The teacher's mass of an image is the sum over positions of its best class score, where that is
    above ``BACKGROUND_SCORE``; at least 1. An image's loss is ``(classes + boxes) / mass``:

    - classes: KL(teacher || student) over *all* positions and classes, each term times
      ``|p_teacher - p_student| ** gamma`` (as the quality focal loss, Li et al., 2020). Without it
      (gamma 0) a student at p = 0.01 where the teacher has 0.002 pays 0.005 a position and class:
      480 a class on 10^5 positions of background, against about 3 for a position it misses.
    - boxes: ``1 - GIoU`` (Rezatofighi et al., 2019) weighted by the teacher's best class score.

    Of sigmoid heads the score compared is the one that NMS ranks: with an objectness, the product.
    So heads with and without one can teach each other. Where both have it, its own KL is added,
    weighted as boxes are, because most heads train it only where there is an object.

    Args:
        student: prediction for B images.
        teacher: prediction of the same shapes, the target; no gradient flows into it.
        cls_weight: of the classes and the objectness.
        box_weight: of the boxes.
        gamma: focusing exponent: 0 (none), or at least 1.
        temperature: above 0; softens the class probabilities, and their term is scaled by its
            square. Mass and boxes do not depend on it.

    Returns:
        Scalar, averaged over B.

    Raises:
        UserError: if shapes or conventions differ.
    """
    _expect_comparable(student, teacher)
    expect_temperature(temperature)
    best = teacher.scores().detach().amax(-1)
    weight = torch.where(best > BACKGROUND_SCORE, best, torch.zeros_like(best))
    mass = weight.sum(1).clamp(min=1)
    classes = _class_divergence(student, teacher, gamma, temperature) * temperature**2
    if student.objectness is not None and teacher.objectness is not None:
        classes = classes + weight * bernoulli_kl(student.objectness, teacher.objectness)
    boxes = weight * (1 - generalized_iou(student.boxes, teacher.boxes.detach()))
    total = cls_weight * classes.sum(1) + box_weight * boxes.sum(1)
    return (total / mass).mean()


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """GIoU in [-1, 1] of matching boxes (Rezatofighi et al., 2019).

    Args:
        boxes: (..., 4) as x1 y1 x2 y2 in px; a negative extent counts as none.
        others: the same shape.

    Returns:
        (...), exactly 1 for equal boxes with an area.
    """
    common = _area(
        torch.maximum(boxes[..., :2], others[..., :2]),
        torch.minimum(boxes[..., 2:], others[..., 2:]),
    )
    hull = _area(
        torch.minimum(boxes[..., :2], others[..., :2]),
        torch.maximum(boxes[..., 2:], others[..., 2:]),
    )
    union = _area(boxes[..., :2], boxes[..., 2:]) + _area(others[..., :2], others[..., 2:]) - common
    gap = (hull - union) / hull.clamp(min=_SMALLEST_AREA_PX)
    return common / union.clamp(min=_SMALLEST_AREA_PX) - gap


def _area(low: Tensor, high: Tensor) -> Tensor:
    """Area in square px between two corners; 0 if they do not span any."""
    extent = (high - low).clamp(min=0)
    return extent[..., 0] * extent[..., 1]


def _class_divergence(
    student: DensePrediction, teacher: DensePrediction, gamma: float, temperature: float
) -> Tensor:
    """(B, N), summed over classes."""
    if student.softmax:
        s, t = student.logits / temperature, teacher.logits.detach() / temperature
        divergence = softmax_kl(s, t, class_axis=-1)
        disagreement = (s.softmax(-1) - t.softmax(-1)).abs().sum(-1) / 2
        return divergence * disagreement**gamma
    s, t = _score_logits(student) / temperature, _score_logits(teacher).detach() / temperature
    return (bernoulli_kl(s, t) * (s.sigmoid() - t.sigmoid()).abs() ** gamma).sum(-1)


def _score_logits(prediction: DensePrediction) -> Tensor:
    """(B, N, K) logits of ``scores()`` of a sigmoid head.

    The odds of a product of two sigmoids are ``1 / (e^-a + e^-b + e^-(a+b))``.
    """
    if prediction.objectness is None:
        return prediction.logits
    a, b = -prediction.logits, -prediction.objectness.unsqueeze(-1)
    return -torch.logaddexp(torch.logaddexp(a, b), a + b)


def _expect_comparable(student: DensePrediction, teacher: DensePrediction) -> None:
    if student.softmax != teacher.softmax:
        kinds = ["softmax" if p.softmax else "sigmoid" for p in (student, teacher)]
        raise UserError(
            f"expected heads of one kind, got a {kinds[0]} student and a {kinds[1]} teacher; "
            "distil their features instead"
        )
    if student.logits.shape != teacher.logits.shape or student.boxes.shape != teacher.boxes.shape:
        raise UserError(
            f"expected equal shapes, got student {tuple(student.logits.shape)} and teacher "
            f"{tuple(teacher.logits.shape)} logits (images, positions, classes); both heads need "
            "the same strides, anchors a position and classes"
        )


@LOSSES.register_module()
class DenseResponse(nn.Module):
    """See ``dense_response``.

    Args:
        cls_weight: of the classes and the objectness.
        box_weight: of the boxes.
        gamma: focusing exponent of the classes: 0 (none), or at least 1.
        temperature: above 0, used where the call gives none.
    """

    needs_prediction = True

    def __init__(
        self,
        *,
        cls_weight: float = 1.0,
        box_weight: float = 1.0,
        gamma: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        expect_temperature(temperature)
        expect_gamma(gamma)
        self._loss = partial(
            dense_response, cls_weight=cls_weight, box_weight=box_weight, gamma=gamma
        )
        self.temperature = temperature

    def forward(
        self,
        student: DensePrediction,
        teacher: DensePrediction,
        *,
        temperature: float | None = None,
    ) -> Tensor:
        """Scalar loss of two predictions."""
        chosen = self.temperature if temperature is None else temperature
        return self._loss(student, teacher, temperature=chosen)
