"""Boxes seen from above: which positions they cover, and their corners, edges and centre."""

import torch
from torch import Tensor

from kd3d.on_device import on_device

# Of a box, in halves of its length and width: corners, midpoints of the edges, centre.
_NINE_POINTS = (
    (1, 1), (1, -1), (-1, -1), (-1, 1),
    (1, 0), (0, -1), (-1, 0), (0, 1),
    (0, 0),
)  # fmt: skip


def box_points(boxes: Tensor) -> Tensor:
    """Nine points of each box in metres: four corners, four midpoints of edges, the centre.

    Args:
        boxes: (N, 7 or more) as x y z dx dy dz yaw; yaw turns from x to y, dx lies along it.

    Returns:
        (N, 9, 2) x and y.
    """
    points = on_device(_NINE_POINTS, boxes.device, boxes.dtype)
    along = points / 2 * boxes[:, None, 3:5]
    cos, sin = boxes[:, None, 6].cos(), boxes[:, None, 6].sin()
    x_m = boxes[:, None, 0] + along[..., 0] * cos - along[..., 1] * sin
    y_m = boxes[:, None, 1] + along[..., 0] * sin + along[..., 1] * cos
    return torch.stack([x_m, y_m], dim=-1)


def inside_boxes(xy_m: Tensor, boxes: Tensor) -> Tensor:
    """Which positions lie within which box, seen from above.

    Args:
        xy_m: (P, 2) x and y.
        boxes: (N, 7 or more) as x y z dx dy dz yaw.

    Returns:
        (N, P) bool; the edge belongs to the box.
    """
    offset = xy_m[None] - boxes[:, None, :2]
    cos, sin = boxes[:, None, 6].cos(), boxes[:, None, 6].sin()
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    half = boxes[:, None, 3:5] / 2
    return (along.abs() <= half[..., 0]) & (across.abs() <= half[..., 1])
