"""Rows of two top-k outputs in one order, so that they can be compared tensor by tensor.

Two programs that agree to six digits sort nearly equal scores differently; row by row their
outputs then differ by whole boxes although both hold the same ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # Any: float32 or int32 from the networks
CLOSE = 1e-3  # rows that differ by less in every value are the same row
TIED = 1e-4  # scores that differ by less may change places, in single precision


def in_reference_order(
    expected: Mapping[str, Array],
    received: Mapping[str, Array],
    groups: Sequence[int],
    *,
    tied: float = TIED,
) -> dict[str, Array]:
    """``received`` with its rows in the order of their partners in ``expected``.

    Partners are found one to one, so that their values differ least in sum. A row whose score
    ties with the lowest of its group may have fallen out on one side; it is taken as equal. A yaw
    is moved by whole turns towards its partner's.

    Args:
        expected: boxes (B, N, 7 or 9), scores (B, N) or (B, N, K), perhaps labels (B, N).
        received: the same of the other program.
        groups: consecutive rows among which an order is free.
        tied: scores that differ by no more than this may change places.
    """
    shapes = {name: array.shape for name, array in expected.items()}
    if shapes != {name: array.shape for name, array in received.items()}:
        return dict(received)
    ordered = {name: array.copy() for name, array in received.items()}
    for frame in range(len(expected["boxes"])):
        start = 0
        for size in groups:
            rows = slice(start, start + size)
            theirs, ours = (
                {name: array[frame, rows] for name, array in tensors.items()}
                for tensors in (expected, received)
            )
            for name, array in _ordered(theirs, ours, tied).items():
                ordered[name][frame, rows] = array
            start += size
    turns = np.round((expected["boxes"][..., 6] - ordered["boxes"][..., 6]) / (2 * np.pi))
    ordered["boxes"][..., 6] += np.where(np.isfinite(turns), turns, 0) * 2 * np.pi
    return ordered


def _ordered(
    expected: dict[str, Array], received: dict[str, Array], limit: float
) -> dict[str, Array]:
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    first, second = _values(expected), _values(received)
    if not np.isfinite(second).all() or not np.isfinite(first).all():
        return received
    if (np.abs(first - second) <= CLOSE).all():
        return received
    order = linear_sum_assignment(cdist(first, second, "cityblock"))[1]
    apart = (np.abs(first - second[order]) > CLOSE).any(1)
    best = np.stack([_best(expected), _best(received)[order]])
    tied = apart & (np.abs(best - best[0].min()) <= limit).all(0)
    found = {name: array[order] for name, array in received.items()}
    for name, array in found.items():
        array[tied] = expected[name][tied]
    return found


def _values(rows: Mapping[str, Array]) -> Array:
    """One row of comparable numbers each; the yaw by its sine and cosine."""
    boxes = rows["boxes"].astype(np.float64)
    parts = [boxes[:, :6], np.sin(boxes[:, 6:7]), np.cos(boxes[:, 6:7]), boxes[:, 7:]]
    parts += [rows[name].reshape(len(boxes), -1) for name in rows if name != "boxes"]
    return np.concatenate(parts, 1)


def _best(rows: Mapping[str, Array]) -> Array:
    best: Array = rows["scores"].reshape(len(rows["boxes"]), -1).max(1)
    return best
