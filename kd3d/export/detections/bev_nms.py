"""Non-maximum suppression seen from above, with mmdet3d's rules. Arrays in, indices out."""

import numpy as np

from kd3d.backends.base import Array


def circle_nms(centers: Array, scores: Array, limit_m2: float, most: int | None) -> Array:
    """Drops boxes whose centre lies near that of a better one.

    Args:
        centers: (N, 2) x y.
        scores: (N,).
        limit_m2: squared distance up to which a box is dropped. mmdet3d compares its
            ``min_radius`` with the squared distance; so a min_radius of 4 reaches 2 m.
        most: boxes kept; None keeps all.

    Returns:
        (M,) indices, best first.
    """
    order = np.argsort(scores, kind="stable")[::-1]
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        apart = ((centers[order] - centers[best]) ** 2).sum(-1) > limit_m2
        order = order[apart]
    return np.array(kept[:most], dtype=np.int64)


def overlap_nms(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    *,
    rotated: bool = True,
    most_before: int | None = None,
    most: int | None = None,
) -> Array:
    """Drops boxes that overlap a better one by more than a threshold, seen from above.

    Args:
        boxes: (N, 7 or more) x y z dx dy dz yaw.
        scores: (N,).
        iou_threshold: of the areas.
        rotated: False takes every yaw as 0.
        most_before: boxes that enter, the best ones; None takes all.
        most: boxes kept; None keeps all.

    Returns:
        (M,) indices, best first.
    """
    import torch
    from mmcv.ops import nms, nms_rotated

    order = np.argsort(-scores, kind="stable")[:most_before]
    if not len(order):
        return order
    seen = torch.from_numpy(np.ascontiguousarray(boxes[order][:, [0, 1, 3, 4, 6]]))
    ranks = torch.from_numpy(np.ascontiguousarray(scores[order]))
    if rotated:
        kept = nms_rotated(seen, ranks, iou_threshold)[1]
    else:
        half = seen[:, 2:4] / 2
        corners = torch.cat([seen[:, :2] - half, seen[:, :2] + half], 1)
        kept = nms(corners, ranks, iou_threshold)[1]
    chosen: Array = order[kept.numpy()][:most]
    return chosen
