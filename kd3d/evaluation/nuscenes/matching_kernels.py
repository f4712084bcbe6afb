"""The loops of the matching, compiled. Imported where they run: numba comes with mmdet3d only.

They compare numbers that numpy has computed; what they compute themselves only selects pairs,
with a margin, so that rounding cannot change a result.
"""

from typing import Any

import numba
import numpy as np


def _compiled(function: Any) -> Any:  # Any: numba is untyped
    return numba.njit(cache=True, nogil=True)(function)


@_compiled
def count_near(frame, center_m, object_m, starts, limit):  # type: ignore[no-untyped-def]
    """Objects of its frame within reach, for each prediction."""
    count = np.zeros(len(frame), dtype=np.int64)
    for p in range(len(frame)):
        if frame[p] < 0:
            continue
        for o in range(starts[frame[p]], starts[frame[p] + 1]):
            x = center_m[p, 0] - object_m[o, 0]
            y = center_m[p, 1] - object_m[o, 1]
            if x * x + y * y <= limit:
                count[p] += 1
    return count


@_compiled
def list_near(frame, center_m, object_m, starts, limit, pair_start):  # type: ignore[no-untyped-def]
    """Those objects, one prediction's after another's."""
    found = np.empty(pair_start[-1], dtype=np.int64)
    n = 0
    for p in range(len(frame)):
        if frame[p] < 0:
            continue
        for o in range(starts[frame[p]], starts[frame[p] + 1]):
            x = center_m[p, 0] - object_m[o, 0]
            y = center_m[p, 1] - object_m[o, 1]
            if x * x + y * y <= limit:
                found[n] = o
                n += 1
    return found


@_compiled
def match(start, candidate, candidate_m, limit_m, objects):  # type: ignore[no-untyped-def]
    """The nearest free candidate below the limit, for one prediction after the other."""
    matched = np.full(len(start) - 1, -1, dtype=np.int64)
    taken = np.zeros(objects, dtype=np.bool_)
    for p in range(len(matched)):
        nearest = -1
        nearest_m = limit_m
        for pair in range(start[p], start[p + 1]):
            if candidate_m[pair] < nearest_m and not taken[candidate[pair]]:
                nearest = candidate[pair]
                nearest_m = candidate_m[pair]
        if nearest >= 0:
            taken[nearest] = True
        matched[p] = nearest
    return matched
