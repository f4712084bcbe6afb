"""Overlaps of turned boxes on a CPU, for MMDetection3D's KITTI evaluation.

mmdet3d computes them in a CUDA kernel that is compiled when its module is imported, so on a machine
without a GPU its evaluation ends with an error. Everything around the kernel runs anywhere.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

KERNEL = "mmdet3d.evaluation.functional.kitti_utils.rotate_iou"
_UNION, _INTERSECTION = -1, 2  # what mmdet3d calls criterion


def turned_overlaps(
    boxes: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], criterion: int = _UNION
) -> NDArray[np.float32]:
    """Overlap of every box with every other one, as mmdet3d's ``rotate_iou_gpu_eval`` gives it.

    Args:
        boxes: (N, 5) as x z length width yaw in a KITTI camera's frame seen from above: yaw turns
            the x axis away from z.
        others: (K, 5) likewise.
        criterion: -1 for intersection over union, 2 for the intersection in square metres.

    Returns:
        (N, K).
    """
    assert criterion in (_UNION, _INTERSECTION), criterion
    one, two = (np.asarray(each, np.float64).reshape(-1, 5) for each in (boxes, others))
    reach_m = [np.hypot(each[:, 2], each[:, 3]) / 2 for each in (one, two)]
    apart_m = np.hypot(*(one[:, None, axis] - two[None, :, axis] for axis in (0, 1)))
    rows, columns = np.nonzero(apart_m < reach_m[0][:, None] + reach_m[1])
    shared = shapely.area(shapely.intersection(_polygons(one)[rows], _polygons(two)[columns]))
    if criterion == _UNION:
        areas = [each[:, 2] * each[:, 3] for each in (one, two)]
        shared = shared / (areas[0][rows] + areas[1][columns] - shared)
    overlaps = np.zeros(apart_m.shape, np.float32)
    overlaps[rows, columns] = shared
    return overlaps


def _polygons(boxes: NDArray[np.float64]) -> NDArray[np.object_]:
    """(N,) polygons; KITTI's length points along (cos yaw, -sin yaw)."""
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    along = np.stack([cos, -sin], 1) * boxes[:, 2:3] / 2
    across = np.stack([sin, cos], 1) * boxes[:, 3:4] / 2
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    corners = [boxes[:, :2] + a * along + b * across for a, b in signs]
    found: NDArray[np.object_] = shapely.polygons(np.stack(corners, 1))
    return found


@contextmanager
def overlaps_without_cuda() -> Iterator[None]:
    """Has mmdet3d find ``turned_overlaps`` where it looks for its kernel, if there is no GPU."""
    if torch.cuda.is_available():
        yield
        return
    stand_in = ModuleType(KERNEL)
    stand_in.rotate_iou_gpu_eval = turned_overlaps  # type: ignore[attr-defined]
    before = sys.modules.get(KERNEL)
    sys.modules[KERNEL] = stand_in
    try:
        yield
    finally:
        del sys.modules[KERNEL]
        if before is not None:
            sys.modules[KERNEL] = before
