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
    from mmcv.ops import box_iou_rotated

    assert criterion in (_UNION, _INTERSECTION), criterion
    if not len(boxes) or not len(others):
        return np.zeros((len(boxes), len(others)), np.float32)
    one, two = (torch.from_numpy(np.asarray(each, np.float32)) for each in (boxes, others))
    # mmcv's clockwise=True turns the first axis towards the second, which is the other way round
    over_union = box_iou_rotated(one, two, clockwise=False)
    if criterion == _UNION:
        overlaps: NDArray[np.float32] = over_union.numpy()
        return overlaps
    areas = (one[:, 2] * one[:, 3])[:, None] + (two[:, 2] * two[:, 3])[None]
    common: NDArray[np.float32] = (over_union / (1 + over_union) * areas).numpy()
    return common


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
