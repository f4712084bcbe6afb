"""Which final boxes of two programs are the same box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple  # noqa: UP035  (the vehicle runs Python 3.8)

import numpy as np

from kd3d.backends.base import Array
from kd3d.backends.tolerances import Tolerances

BoxArrays = Tuple[Array, Array, Array]  # noqa: UP006
"""Of one image: boxes (M, 4) x1 y1 x2 y2, scores (M,), labels (M,).
Of one LiDAR frame: boxes (M, 7 or more) x y z dx dy dz yaw in metres and radians."""


@dataclass(frozen=True)
class BoxCounts:
    """Boxes that count on both sides, and those of them that have a partner on the other.

    Attributes:
        reference: boxes of the reference that count.
        candidate: boxes of the candidate that count.
        reference_matched: of the first, with a partner among all of the candidate's.
        candidate_matched: of the second, with a partner among all of the reference's.
    """

    reference: int = 0
    candidate: int = 0
    reference_matched: int = 0
    candidate_matched: int = 0

    def __add__(self, other: BoxCounts) -> BoxCounts:
        return BoxCounts(
            self.reference + other.reference,
            self.candidate + other.candidate,
            self.reference_matched + other.reference_matched,
            self.candidate_matched + other.candidate_matched,
        )


def count_boxes(reference: BoxArrays, candidate: BoxArrays, tolerances: Tolerances) -> BoxCounts:
    """Compares the final boxes of one frame; ``tolerances.confident`` says which of them count."""
    best = reference[1].max() if len(reference[1]) else 0.0
    least = tolerances.confident * best
    counted = [boxes[1] >= least for boxes in (reference, candidate)]
    pairs = matching_boxes(reference, candidate, tolerances)
    matched = [sum(bool(mask[pair[side]]) for pair in pairs) for side, mask in enumerate(counted)]
    return BoxCounts(int(counted[0].sum()), int(counted[1].sum()), *matched)


def matching_boxes(
    first: BoxArrays, second: BoxArrays, tolerances: Tolerances
) -> list[tuple[int, int]]:
    """Rows of two boxes each with equal label, close scores, and the same place within tolerance.

    Each box is used once; boxes of ``first`` choose in order.
    """
    if not len(first[1]) or not len(second[1]):
        return []
    boxes = first[0].astype(np.float64), second[0].astype(np.float64)
    if boxes[0].shape[1] == 4:
        near = _iou(*boxes) - tolerances.iou
    else:
        near = tolerances.box - _largest_difference(*boxes)
    scores = np.abs(first[1][:, None] - second[1]) <= tolerances.score
    allowed = (first[2][:, None] == second[2]) & scores & (near >= 0)
    near = np.where(allowed, near, -1.0)
    pairs = []
    for row in range(len(near)):
        column = int(near[row].argmax())
        if near[row, column] >= 0:
            pairs.append((row, column))
            near[:, column] = -1.0
    return pairs


def _largest_difference(first: Array, second: Array) -> Array:
    """(M, N) of 3D boxes; the yaw by the shorter way round."""
    difference = np.abs(first[:, None] - second[None])
    turn = difference[..., 6] % (2 * np.pi)
    difference[..., 6] = np.minimum(turn, 2 * np.pi - turn)
    largest: Array = difference.max(-1)
    return largest


def _iou(first: Array, second: Array) -> Array:
    """(M, N) overlap of boxes; two equal boxes without area overlap fully."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inner = (high - low).clip(min=0).prod(-1)
    area = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(-1) for boxes in (first, second)]
    union = area[0][:, None] + area[1][None] - inner
    equal = (first[:, None] == second[None]).all(-1)
    ratio: Array = np.where(equal, 1.0, inner / np.where(union > 0, union, 1.0))
    return ratio
