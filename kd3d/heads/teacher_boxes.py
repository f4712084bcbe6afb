"""The boxes a teacher is sure of, as labels in addition to the ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.bev_boxes import inside_boxes
from kd3d.errors import UserError
from kd3d.heads.anchor3d import Anchor3DPrediction
from kd3d.heads.center import CenterPrediction


@dataclass(frozen=True, eq=False)
class TeacherBoxes:
    """Additional labels of one frame, best first.

    Attributes:
        boxes: (M, 9) x y z dx dy dz yaw vx vy, bottom-centred, in metres, rad and m/s.
        labels: (M,) int64 in the student's order.
    """

    boxes: Tensor
    labels: Tensor


@torch.no_grad()
def teacher_boxes(
    prediction: CenterPrediction | Anchor3DPrediction,
    boxes: Sequence[Tensor],
    class_names: Sequence[str],
    *,
    score_threshold: float | Mapping[str, float] = 0.3,
    distance_m: float = 0.5,
    count: int = 100,
) -> list[TeacherBoxes]:
    """What a teacher found and labels lack, as labels (Yang et al., 2022, SparseKD).

    Its boxes above the score threshold, best first; one is dropped where it overlaps ground truth
    or a better box of whatever class: where their centres are closer than ``distance_m``, or either
    centre lies in the other box. The paper adds all that is above a threshold; we leave out what
    doubles a label, by centres, as nuScenes matches, and without rotated IoU.

    Args:
        prediction: of the teacher, for B frames.
        boxes: ground truth of each frame, (N, 7 or more) as x y z dx dy dz yaw, in metres.
        class_names: of the student, in the order of its labels. A CenterHead's classes are matched
            by name, and those that the student lacks are dropped; an anchor head names none and
            must have as many classes, in the same order.
        score_threshold: in [0, 1), one or by class name (every class of the student).
        distance_m: between centres.
        count: boxes of each frame and class at most, before any are dropped.

    Returns:
        The boxes of each frame; empty where there are none.

    Raises:
        UserError: if a class has no threshold, or an anchor head has other classes.
    """
    names = tuple(class_names)
    own_labels = _labels_of_student(prediction, names)
    thresholds = _thresholds(score_threshold, names)
    found, labels, scores = prediction.detections(count)
    labels = labels.new_tensor(own_labels)[labels]
    sure = (scores > scores.new_tensor([*thresholds, torch.inf])[labels]).cpu()  # -1: the last
    frames = []
    for index, truth in enumerate(boxes):
        rank = scores[index].argsort(descending=True, stable=True)
        rank = rank[sure[index].to(rank.device)[rank]]
        kept = rank[_apart(found[index, rank], truth.to(found), distance_m)]
        frames.append(TeacherBoxes(found[index, kept], labels[index, kept]))
    return frames


def _labels_of_student(
    prediction: CenterPrediction | Anchor3DPrediction, names: tuple[str, ...]
) -> list[int]:
    """For each class of the teacher its label in the student, -1 if it has none."""
    if isinstance(prediction, CenterPrediction):
        return [names.index(name) if name in names else -1 for name in prediction.class_names]
    classes = prediction.logits.shape[-1]
    if classes != len(names):
        raise UserError(
            f"expected a teacher with the student's {len(names)} classes {list(names)}, got an "
            f"anchor head with {classes}; its classes have no names to match them by"
        )
    return list(range(classes))


def _thresholds(given: float | Mapping[str, float], names: tuple[str, ...]) -> list[float]:
    if not isinstance(given, Mapping):
        return [float(given)] * len(names)
    if set(given) != set(names):
        raise UserError(
            f"score_threshold: expected a value for each of {list(names)}, got {dict(given)}"
        )
    return [float(given[name]) for name in names]


def _apart(found: Tensor, truth: Tensor, distance_m: float) -> Tensor:
    """Index of the boxes, in order, that overlap neither ground truth nor one kept before."""
    free = ~_overlaps(found, truth, distance_m).any(1)
    # One copy to the host instead of a kernel for each box: the choice is one after another.
    overlaps = _overlaps(found, found, distance_m).cpu()
    blocked = ~free.cpu()
    kept = []
    for index in range(len(found)):
        if not blocked[index]:
            kept.append(index)
            blocked |= overlaps[index]
    return torch.tensor(kept, dtype=torch.long, device=found.device)


def _overlaps(boxes: Tensor, others: Tensor, distance_m: float) -> Tensor:
    """(N, M) bool of (N, 7 or more) and (M, 7 or more) boxes."""
    near = torch.cdist(boxes[:, :2], others[:, :2]) < distance_m
    return (
        near
        | inside_boxes(others[:, :2], boxes)
        | inside_boxes(boxes[:, :2], others).transpose(0, 1)
    )
