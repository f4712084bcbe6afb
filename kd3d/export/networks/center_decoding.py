"""Boxes from the maps of a CenterHead, in operators that ONNX and TensorRT have."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd3d.export.networks.gathering import gather_cells

OUTPUTS = ("boxes", "scores", "labels")


def decode_center(head: Any, predictions: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The best ``max_num`` cells of each task as boxes, as CenterPoint's coder decodes them.

    Args:
        head: a CenterHead of mmdet3d.
        predictions: what it answers: for each task a list with one dict of (B, C, H, W) maps.

    Returns:
        boxes (B, T * K, 7 or 9) x y z dx dy dz yaw [vx vy] in metres, radians, m/s, LiDAR frame,
        z the bottom; scores (B, T * K) in [0, 1]; labels (B, T * K) int32, classes numbered
        through all tasks. Tasks follow one another, each by falling score.
    """
    found, offset = [], 0
    for classes, levels in zip(head.num_classes, predictions, strict=True):
        boxes, scores, labels = _decode_task(head, levels[0])
        found.append((boxes, scores, (labels + offset).to(torch.int32)))
        offset += classes
    boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return boxes, scores, labels


def center_groups(head: Any, shape: tuple[int, int]) -> tuple[int, ...]:
    """Rows of each task in the outputs, for maps of this (H, W)."""
    kept = min(int(head.bbox_coder.max_num), shape[0] * shape[1])
    return (kept,) * len(head.num_classes)


def _decode_task(head: Any, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    coder = head.bbox_coder
    size = [float(coder.out_size_factor * cell) for cell in coder.voxel_size[:2]]
    scores, labels, cells = _best_cells(maps["heatmap"].sigmoid(), int(coder.max_num))
    x, y = _cell_numbers(maps["heatmap"])
    names = ["reg", "height", "dim", "rot", *(["vel"] if "vel" in maps else [])]
    values = torch.cat([maps[name] for name in names], 1)
    batch, channels, *shape = (int(length) for length in values.shape)
    values = values.reshape(batch, channels, shape[0] * shape[1])
    values = torch.cat([values, torch.stack([x, y]).repeat(batch, 1, 1)], 1)
    part = gather_cells(values, cells).unbind(1)
    dims = [torch.exp(d) if head.norm_bbox else d for d in part[3:6]]
    boxes = [
        (part[-2] + part[0]) * size[0] + float(coder.pc_range[0]),
        (part[-1] + part[1]) * size[1] + float(coder.pc_range[1]),
        part[2] - dims[2] * 0.5,
        *dims,
        _atan2(part[6], part[7]),
        *part[8:-2],
    ]
    return torch.stack(boxes, 2), scores, labels


def _best_cells(heatmap: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, classes and cells (B, K) of the highest values, best first.

    Chosen per class and then among those, as CenterPoint's coder does, so that ties fall alike.
    """
    batch, classes, height, width = (int(length) for length in heatmap.shape)
    kept = min(limit, height * width)
    scores, cells = heatmap.reshape(batch, classes, height * width).topk(kept, 2)
    if classes == 1:
        return scores[:, 0], torch.zeros_like(cells[:, 0]), cells[:, 0]
    scores, order = scores.flatten(1).topk(kept, 1)
    # whole numbers below 2^24, so that this quotient is exact where it must be
    labels = torch.floor(order.to(torch.float32) / kept)
    return scores, labels.to(cells.dtype), cells.flatten(1).gather(1, order)


def _cell_numbers(heatmap: Tensor) -> tuple[Tensor, Tensor]:
    """Column and row (H * W,) of each cell, as constants of the traced graph."""
    rows, columns = np.indices([int(length) for length in heatmap.shape[2:]], dtype=np.float32)
    x, y = (torch.from_numpy(index.reshape(-1)).to(heatmap.device) for index in (columns, rows))
    return x, y


def _atan2(sine: Tensor, cosine: Tensor) -> Tensor:
    """Angle in [-pi, pi]; ONNX has the arc tangent of a quotient only."""
    tiny = cosine.new_tensor(1e-30)
    angle = torch.atan(sine / torch.where(cosine == 0, tiny, cosine))
    half, zero = cosine.new_tensor(math.pi), cosine.new_tensor(0.0)
    return angle + torch.where(cosine < 0, torch.where(sine < 0, -half, half), zero)
