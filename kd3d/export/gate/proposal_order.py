"""Proposals of two runs in one order, so that they can be compared tensor by tensor.

A two-stage detector's rows are the best of thousands of boxes after an NMS. Where two scores tie
or an overlap meets the threshold, the last digit decides, and a row moves or is another box.
"""

from collections.abc import Mapping

import numpy as np

from kd3d.backends.base import Array

CLOSE = 1e-4  # rows that differ by less, as a share of the largest box and score, do not move


def in_proposal_order(
    expected: Mapping[str, Array],
    received: Mapping[str, Array],
    *,
    relative: float,
    rms: float,
    lost: float,
) -> dict[str, Array]:
    """``received`` with its rows in the order of their partners in ``expected``.

    Args:
        expected: boxes (B, P, ...) and scores (B, P, K).
        received: the same of the other program.
        relative: two rows are the same proposal if no value differs by more than this share of
            the largest value of its tensor,
        rms: and the root mean square of their differences is no more than this share of that of
            the tensor.
        lost: share of an image's rows that may have no partner: they are taken as equal. If more
            have none, nothing is, and the comparison shows the difference.
    """
    shapes = {name: array.shape for name, array in expected.items()}
    if shapes != {name: array.shape for name, array in received.items()}:
        return dict(received)
    ordered = {name: array.copy() for name, array in received.items()}
    largest = {name: float(np.abs(array).max()) for name, array in expected.items()}
    if not all(0 < value < np.inf for value in largest.values()):
        return ordered
    for image in range(len(expected["boxes"])):
        ours, theirs = (
            {name: tensors[name][image] / largest[name] for name in largest}
            for tensors in (expected, received)
        )
        if not all(np.isfinite(array).all() for array in theirs.values()):
            continue
        order = _partners(_rows(ours), _rows(theirs))
        apart = np.zeros(len(order), dtype=bool)
        for name, array in ours.items():
            axes = tuple(range(1, array.ndim))
            difference = np.abs(array - theirs[name][order])
            apart |= difference.max(axes) > relative
            apart |= (difference**2).mean(axes) > rms**2 * (array**2).mean()
        forgiven = apart.sum() <= lost * len(apart)
        for name, array in ordered.items():
            array[image] = array[image, order]
            if forgiven:
                array[image, apart] = expected[name][image, apart]
    return ordered


def _rows(tensors: Mapping[str, Array]) -> Array:
    """(P, values); the sum of their differences is the mean of each tensor's, added up."""
    flat = [array.reshape(len(array), -1) for array in tensors.values()]
    return np.concatenate([rows / rows.shape[1] for rows in flat], 1, dtype=np.float64)


def _partners(ours: Array, theirs: Array) -> Array:
    """For each of our rows the number of theirs; only rows that do not fit as they are move."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    order = np.arange(len(ours))
    moved = (np.abs(ours - theirs).sum(1) > CLOSE).nonzero()[0]
    if len(moved):
        distances = cdist(ours[moved], theirs[moved], "cityblock")
        order[moved] = moved[linear_sum_assignment(distances)[1]]
    return order
