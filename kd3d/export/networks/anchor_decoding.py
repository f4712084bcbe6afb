"""Boxes from the maps of an Anchor3DHead, in operators that ONNX and TensorRT have."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kd3d.export.networks.gathering import gather_rows

OUTPUTS = ("boxes", "scores")


def decode_anchors(head: Any, predictions: Any, anchors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The best ``nms_pre`` anchors of each level as boxes, as mmdet3d's head decodes them.

    The direction is in the yaw already. mmdet3d adds it after NMS; it turns a box by whole half
    turns, so NMS sees the same rectangle.

    Args:
        head: an Anchor3DHead of mmdet3d or a subclass that decodes alike.
        predictions: what it answers: scores, box deltas and directions of each level.
        anchors: of each level (N, 7 or 9), from ``anchors_of``.

    Returns:
        boxes (B, N, 7 or 9) x y z dx dy dz yaw [vx vy] in metres, radians, m/s, LiDAR frame, z
        the bottom; scores (B, N, K) in [0, 1], without a background.
    """
    found = []
    for level_anchors, *maps in zip(anchors, *predictions, strict=True):
        widths = (head.num_classes, head.box_code_size, 2)
        logits, deltas, direction = (_rows(m, w) for m, w in zip(maps, widths, strict=True))
        scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        backwards = (direction[..., 1:] > direction[..., :1]).to(deltas.dtype)
        count = int(deltas.shape[1])
        kept = _rows_kept(head, count)
        chosen = level_anchors.unsqueeze(0)
        if kept < count:
            order = scores.amax(2).topk(kept, 1).indices
            scores, deltas, backwards = (
                gather_rows(part, order) for part in (scores, deltas, backwards)
            )
            chosen = level_anchors[order]
        boxes = head.bbox_coder.decode(chosen, deltas)
        found.append((_turned(head, boxes, backwards), scores))
    boxes, scores = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return boxes, scores


def anchors_of(head: Any, predictions: Any) -> list[Tensor]:
    """Anchors (N, 7 or 9) of each level, in the order of the rows of its predictions."""
    device = predictions[0][0].device
    if hasattr(head, "featmap_sizes"):  # ShapeAwareHead: one grid a class, joined to one level
        grids = head.prior_generator.grid_anchors(head.featmap_sizes, device=device)
        grids = [torch.cat([part.reshape(-1, head.box_code_size) for part in g]) for g in grids]
    else:
        sizes = [level.shape[-2:] for level in predictions[0]]
        grids = head.prior_generator.grid_anchors(sizes, device=device)
    return [grid.reshape(-1, head.box_code_size) for grid in grids]


def anchor_groups(head: Any, anchors: Sequence[Tensor]) -> tuple[int, ...]:
    """Rows of each level in the outputs."""
    return tuple(_rows_kept(head, len(level)) for level in anchors)


def _rows_kept(head: Any, count: int) -> int:
    limit = int(head.test_cfg.get("nms_pre", -1))
    return min(limit, count) if limit > 0 else count


def _rows(maps: Tensor, width: int) -> Tensor:
    """(B, A * width, H, W) maps, or rows already, as (B, N, width)."""
    if maps.dim() == 4:
        maps = maps.permute(0, 2, 3, 1)
    batch, *sizes = (int(length) for length in maps.shape)
    return maps.reshape(batch, math.prod(sizes) // width, width)


def _turned(head: Any, boxes: Tensor, backwards: Tensor) -> Tensor:
    """Yaw limited to the half turn from ``dir_offset``, then turned round where the head says."""
    yaw = boxes[..., 6:7] - head.dir_offset
    yaw = yaw - torch.floor(yaw / math.pi + head.dir_limit_offset) * math.pi
    yaw = yaw + head.dir_offset + math.pi * backwards
    return torch.cat([boxes[..., :6], yaw, boxes[..., 7:]], -1)
