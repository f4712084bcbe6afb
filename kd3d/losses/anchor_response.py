"""The response of an Anchor3DHead: classes of all anchors, boxes and directions of the best."""

from functools import partial

import torch
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.heads.anchor3d import Anchor3DPrediction
from kd3d.losses.arguments import expect_gamma, expect_temperature
from kd3d.losses.logits import bernoulli_kl, softmax_kl
from kd3d.losses.precision import in_float32
from kd3d.losses.response import BACKGROUND_SCORE
from kd3d.on_device import on_device
from kd3d.registry import LOSSES

_VELOCITY_WEIGHT = 0.2  # as mmdet3d weighs velocities in the regression of its anchor heads


@in_float32
def anchor_response(
    student: Anchor3DPrediction,
    teacher: Anchor3DPrediction,
    *,
    cls_weight: float = 1.0,
    box_weight: float = 1.0,
    direction_weight: float = 0.2,
    gamma: float = 1.0,
    boxes: int = 256,
    temperature: float = 1.0,
) -> Tensor:
    """Classes, boxes and directions of an Anchor3DHead, normalised by what the teacher found.

    As ``dense_response`` does for images; response distillation of detectors is Chen et al.'s
    (2017), who weigh classes by hand where we weigh by disagreement. The teacher's mass of a
    frame is the sum over anchors of their best class score, where that is above
    ``BACKGROUND_SCORE``; at least 1.

    - classes: KL(teacher || student) of all anchors and classes, each term times
      ``|p_teacher - p_student| ** gamma``; its sum is divided by the mass.
    - boxes: of the teacher's ``boxes`` best anchors above the background, L1 in metres of centre
      and of log sizes, ``|sin|`` of the yaw's difference (a half turn is the direction's, as in
      SECOND, Yan et al., 2018), and of velocities times 0.2, where both heads predict them.
      Weighted by the teacher's best score and divided by the sum of those weights; at least 1.
    - direction: KL of the two half turns, weighted and divided as the boxes; left out where a head
      has none.

    The grids may differ in range and stride: each of the student's anchors is compared with the
    nearest of the teacher's of the same template. Anchors more than half a step outside of the
    teacher's have no say.

    Args:
        student: prediction for B frames.
        teacher: prediction with the same classes and anchor templates, the target; no gradient
            flows into it.
        cls_weight: of the classes.
        box_weight: of the boxes.
        direction_weight: of the direction.
        gamma: focusing exponent: 0 (none), or at least 1.
        boxes: anchors a frame whose boxes and directions are compared.
        temperature: above 0; softens the class probabilities, and their term is scaled by its
            square.

    Returns:
        Scalar, averaged over B.

    Raises:
        UserError: if frames, classes or anchor templates differ.
    """
    expect_temperature(temperature)
    expect_gamma(gamma)
    _expect_comparable(student, teacher)
    target, seen = _at_students_anchors(student, teacher)
    best = target.scores().amax(-1) * seen
    weight = torch.where(best > BACKGROUND_SCORE, best, 0.0)
    s, t = student.logits / temperature, target.logits / temperature
    focus = (s.sigmoid() - t.sigmoid()).abs() ** gamma
    classes = (bernoulli_kl(s, t) * focus).sum(-1) * seen * temperature**2
    weights, places = weight.topk(min(boxes, weight.shape[1]), dim=1)
    apart = box_weight * _box_distance(student, target, places)
    if student.directions is not None and target.directions is not None:
        turns = _gathered(student.directions, places), _gathered(target.directions, places)
        apart = apart + direction_weight * softmax_kl(*turns, class_axis=-1)
    located = (apart * weights).sum(1) / weights.sum(1).clamp(min=1)
    return (cls_weight * classes.sum(1) / weight.sum(1).clamp(min=1) + located).mean()


def _expect_comparable(student: Anchor3DPrediction, teacher: Anchor3DPrediction) -> None:
    shapes = [tuple(prediction.logits.shape) for prediction in (student, teacher)]
    lattices = student.levels is not None and teacher.levels is not None
    if shapes[0][::2] != shapes[1][::2] or (not lattices and shapes[0] != shapes[1]):
        raise UserError(
            f"expected equal shapes, got student {shapes[0]} and teacher {shapes[1]} logits "
            "(frames, anchors, classes); both heads need the same classes, and two ShapeAwareHeads "
            "the same anchors"
        )
    levels = [p.levels and len(p.levels) for p in (student, teacher)]
    moved = levels == [None, None] and student.ranges != teacher.ranges
    if student.templates != teacher.templates or levels[0] != levels[1] or moved:
        raise UserError(
            f"expected anchors of the same sizes, rotations and scales, got student "
            f"{student.templates} on {levels[0]} levels and teacher {teacher.templates} on "
            f"{levels[1]} levels; distil features, or add the teacher's boxes to the labels instead"
        )


def _at_students_anchors(
    student: Anchor3DPrediction, teacher: Anchor3DPrediction
) -> tuple[Anchor3DPrediction, Tensor]:
    """The teacher's prediction at the student's anchors, detached, and (N,) 1 where it has one."""
    if (student.levels, student.ranges) == (teacher.levels, teacher.ranges):
        return teacher.detached(), student.logits.new_ones(student.logits.shape[1])
    places, seen = [], []
    start = 0  # of the level among all anchors of the teacher
    for own, other in zip(_lattices(student), _lattices(teacher), strict=True):
        place, near = _nearest(own, other)
        places.append(place + start)
        seen.append(near)
        start += other[..., 0].numel()
    return teacher.detached(torch.cat(places)), torch.cat(seen).float()


def _lattices(prediction: Anchor3DPrediction) -> list[Tensor]:
    """Of each level the places of its anchors in metres, (rows, columns, A, 2)."""
    assert prediction.levels is not None
    cells = [rows * columns for rows, columns in prediction.levels]
    templates = len(prediction.anchors) // sum(cells)
    levels = torch.split(prediction.anchors[:, :2], [count * templates for count in cells])
    return [
        level.view(rows, columns, templates, 2)
        for level, (rows, columns) in zip(levels, prediction.levels, strict=True)
    ]


def _nearest(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the nearest anchor of the same template, and whether it is within half a step.

    Args:
        student: (rows, columns, A, 2) x and y in metres of a lattice.
        teacher: likewise.
    """
    rows, columns, templates = teacher.shape[:3]
    first, last = teacher[0, 0], teacher[-1, -1]
    steps = on_device([max(columns - 1, 1), max(rows - 1, 1)], first.device, first.dtype)
    step = (last - first) / steps
    step = torch.where(step > 0, step, torch.inf)  # a single row or column holds everything
    cell = ((student - first) / step).round().long()  # ties and rounding decide between equals
    end = on_device([columns, rows], cell.device)
    near = ((cell >= 0) & (cell < end)).all(-1)
    column, row = cell[..., 0].clamp(0, columns - 1), cell[..., 1].clamp(0, rows - 1)
    template = torch.arange(templates, device=cell.device)
    return ((row * columns + column) * templates + template).flatten(), near.flatten()


def _box_distance(
    student: Anchor3DPrediction, teacher: Anchor3DPrediction, places: Tensor
) -> Tensor:
    """(B, boxes), summed over the parameters of a box."""
    frames = torch.arange(len(places), device=places.device).repeat_interleave(places.shape[1])
    codes = [p.codes_at(frames, places.flatten()) for p in (student, teacher)]
    apart = (codes[0] - codes[1]).abs()
    yaw = (codes[0][:, 6] - codes[1][:, 6]).sin().abs()
    velocities = min(student.deltas.shape[2], teacher.deltas.shape[2]) == 9
    total = apart[:, :6].sum(1) + yaw
    if velocities:
        total = total + _VELOCITY_WEIGHT * apart[:, 7:].sum(1)
    return total.view_as(places)


def _gathered(value: Tensor, places: Tensor) -> Tensor:
    return value.gather(1, places[..., None].expand(-1, -1, value.shape[2]))


@LOSSES.register_module()
class AnchorResponse(nn.Module):
    """See ``anchor_response``.

    Args:
        cls_weight: of the classes.
        box_weight: of the boxes.
        direction_weight: of the direction.
        gamma: focusing exponent of the classes: 0 (none), or at least 1.
        boxes: anchors a frame whose boxes and directions are compared.
        temperature: above 0, used where the call gives none.
    """

    needs_prediction = True

    def __init__(
        self,
        *,
        cls_weight: float = 1.0,
        box_weight: float = 1.0,
        direction_weight: float = 0.2,
        gamma: float = 1.0,
        boxes: int = 256,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        expect_temperature(temperature)
        expect_gamma(gamma)
        self._loss = partial(
            anchor_response,
            cls_weight=cls_weight,
            box_weight=box_weight,
            direction_weight=direction_weight,
            gamma=gamma,
            boxes=boxes,
        )
        self.temperature = temperature

    def forward(
        self,
        student: Anchor3DPrediction,
        teacher: Anchor3DPrediction,
        *,
        temperature: float | None = None,
    ) -> Tensor:
        """Scalar loss of two predictions."""
        chosen = self.temperature if temperature is None else temperature
        return self._loss(student, teacher, temperature=chosen)
