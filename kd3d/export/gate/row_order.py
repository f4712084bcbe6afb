"""Rows of two top-k outputs in one order, so that they can be compared tensor by tensor.

Two programs that agree to six digits sort nearly equal scores differently; row by row their
outputs then differ by whole boxes although both hold the same ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kd3d.backends.base import Array

CLOSE = 1e-3  # if no value differs by more, no row has moved
TIED = 1e-4  # scores that differ by less tie, in single precision


def in_reference_order(
    expected: Mapping[str, Array],
    received: Mapping[str, Array],
    groups: Sequence[int],
    *,
    box: float,
    tied: float,
    lost: float,
) -> dict[str, Array]:
    """``received`` with its rows in the order of their partners in ``expected``.

    Rows are paired one to one, so that their values differ least in sum. A row near the lowest
    score of its group may have been cut off on one side: one that does not match its partner is
    taken as equal, unless more do not than noise cuts off. A yaw is moved by whole turns towards
    its partner's.

    Args:
        expected: boxes (B, N, 7 or 9), scores (B, N) or (B, N, K), perhaps labels (B, N).
        received: the same of the other program.
        groups: consecutive rows among which an order is free.
        box: two rows match if no value differs by more than this: metres, sine and cosine of the
            yaw, m/s, scores, labels,
        tied: and their best scores by no more than this, which is also near the lowest.
        lost: share of a group's rows that may not match, beside those that noise likely cuts off.
            If more do not, nothing is taken as equal, and the comparison shows the difference.
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
            for name, array in _ordered(theirs, ours, box, tied, lost).items():
                ordered[name][frame, rows] = array
            start += size
    turns = np.round((expected["boxes"][..., 6] - ordered["boxes"][..., 6]) / (2 * np.pi))
    ordered["boxes"][..., 6] += np.where(np.isfinite(turns), turns, 0) * 2 * np.pi
    return ordered


def _ordered(
    expected: dict[str, Array], received: dict[str, Array], box: float, tied: float, lost: float
) -> dict[str, Array]:
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    first, second = _values(expected), _values(received)
    if not np.isfinite(second).all() or not np.isfinite(first).all():
        return received
    if (np.abs(first - second) <= CLOSE).all():
        return received
    order = linear_sum_assignment(cdist(first, second, "cityblock"))[1]
    found = {name: array[order] for name, array in received.items()}
    best = np.stack([_best(expected), _best(found)])
    apart = (np.abs(first - second[order]) > box).any(1) | (np.abs(best[0] - best[1]) > tied)
    near = apart & (np.abs(best - best[0].min()) <= tied).all(0)
    if near.sum() <= _likely_cut_off(best[0], best[:, ~apart]) + lost * len(order):
        for name, array in found.items():
            array[near] = expected[name][near]
    return found


def _likely_cut_off(scores: Array, matching: Array) -> float:
    """How many rows noise moves across the lowest score, if it moves all as it does some.

    Args:
        scores: (N,) of the rows.
        matching: (2, M) on both sides of those that match: their differences are the noise.
    """
    moves = np.append(np.abs(matching[0] - matching[1]), TIED).clip(min=TIED)
    above = scores - scores.min()
    return float((moves >= above[:, None]).mean(1).sum())


def _values(rows: Mapping[str, Array]) -> Array:
    """One row of comparable numbers each; the yaw by its sine and cosine."""
    boxes = rows["boxes"].astype(np.float64)
    parts = [boxes[:, :6], np.sin(boxes[:, 6:7]), np.cos(boxes[:, 6:7]), boxes[:, 7:]]
    parts += [rows[name].reshape(len(boxes), -1) for name in rows if name != "boxes"]
    return np.concatenate(parts, 1)


def _best(rows: Mapping[str, Array]) -> Array:
    best: Array = rows["scores"].reshape(len(rows["boxes"]), -1).max(1)
    return best
