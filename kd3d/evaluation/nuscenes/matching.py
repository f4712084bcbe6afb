"""Greedy matching of predictions with ground truth by the distance of their centres.

The distances come from numpy, by the same routine as the devkit's, so that no compiler rounds one
differently; and they are computed only for the few pairs that can match at all.
"""

import numpy as np

from kd3d.evaluation.nuscenes.boxes import Boxes, Floats, Ints
from kd3d.evaluation.nuscenes.rotations import lengths

_MARGIN = 1 + 1e-9  # of squared distances that only select pairs


def score_order(score: Floats) -> Ints:
    """Positions by falling score; among equal scores the later position comes first."""
    return np.argsort(score, kind="stable")[::-1]


class Candidates:
    """The pairs of one class's predictions and objects that are near enough to match.

    Args:
        predictions: of one class, in the order in which they are matched.
        objects: ground truth of that class.
        frames: number of frames of the split.
        limit_m: pairs at this distance or beyond it are left out.
    """

    def __init__(self, predictions: Boxes, objects: Boxes, *, frames: int, limit_m: float) -> None:
        self._objects = len(objects)
        from kd3d.evaluation.nuscenes import matching_kernels as kernels  # needs numba

        by_frame = np.argsort(objects.frame, kind="stable")
        starts = np.searchsorted(objects.frame[by_frame], np.arange(frames + 1))
        near = (
            predictions.frame,
            np.ascontiguousarray(predictions.center_m[:, :2]),
            np.ascontiguousarray(objects.center_m[by_frame, :2]),
            starts,
            limit_m**2 * _MARGIN,
        )
        count = kernels.count_near(*near)
        self._start = np.concatenate([[0], np.cumsum(count)])
        position = kernels.list_near(*near, self._start)
        self._object = by_frame[position]
        prediction = np.repeat(np.arange(len(predictions)), count)
        self._distance_m = lengths(
            predictions.center_m[prediction, :2] - objects.center_m[self._object, :2]
        )

    def match(self, distance_m: float) -> Ints:
        """For each prediction the object it takes, or -1.

        In their order, each takes the nearest object that is still free, if that is nearer than
        ``distance_m``; of equally near ones the first.
        """
        from kd3d.evaluation.nuscenes import matching_kernels as kernels

        matched: Ints = kernels.match(
            self._start, self._object, self._distance_m, distance_m, self._objects
        )
        return matched
