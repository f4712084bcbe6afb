"""Proposals of two runs in one order, so that they can be compared tensor by tensor.

A two-stage detector's rows are the best of thousands of boxes after an NMS. Where two scores tie
or an overlap meets the threshold, the last digit decides, and a row moves or is another box.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # Any: float32 from the networks


def in_proposal_order(
    expected: Mapping[str, Array], received: Mapping[str, Array], *, relative: float, lost: float
) -> dict[str, Array]:
    """``received`` with its rows in the order of their partners in ``expected``.

    Args:
        expected: boxes (B, P, ...) and scores (B, P, K).
        received: the same of the other program.
        relative: rows are partners if no value differs by more than this share of the largest
            value of its tensor.
        lost: share of an image's rows that may have no partner: they are taken as equal. If more
            have none, nothing is, and the comparison shows the difference.
    """
    shapes = {name: array.shape for name, array in expected.items()}
    if shapes != {name: array.shape for name, array in received.items()}:
        return dict(received)
    ordered = {name: array.copy() for name, array in received.items()}
    limits = {name: relative * float(np.abs(array).max()) for name, array in expected.items()}
    if not all(0 < limit < np.inf for limit in limits.values()):
        return ordered
    for image in range(len(expected["boxes"])):
        ours = _rows({name: array[image] for name, array in expected.items()}, limits)
        theirs = _rows({name: array[image] for name, array in received.items()}, limits)
        if not np.isfinite(theirs).all():
            continue
        order = _partners(ours, theirs)
        apart = _apart(ours, theirs[order])
        for name, array in ordered.items():
            array[image] = array[image, order]
            if apart.sum() <= lost * len(apart):
                array[image, apart] = expected[name][image, apart]
    return ordered


def _rows(tensors: Mapping[str, Array], limits: Mapping[str, float]) -> Array:
    """(P, values) in units of what may differ."""
    parts = [tensors[name].reshape(len(tensors[name]), -1) / limits[name] for name in limits]
    return np.concatenate(parts, 1, dtype=np.float64)


def _apart(first: Array, second: Array) -> Array:
    different: Array = (np.abs(first - second) > 1).any(1)
    return different


def _partners(ours: Array, theirs: Array) -> Array:
    """For each of our rows the number of theirs; only rows that do not fit as they are move."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    order = np.arange(len(ours))
    moved = _apart(ours, theirs).nonzero()[0]
    if len(moved):
        # beyond the limit all are strangers: without it one stranger would displace many partners
        distances = np.minimum(cdist(ours[moved], theirs[moved], "chebyshev"), 2.0)
        order[moved] = moved[linear_sum_assignment(distances)[1]]
    return order
