"""NMS inside the file, of tensors of a fixed size alone.

ONNX's NonMaxSuppression answers with as many rows as boxes are kept. TensorRT refuses what is made
of such a size further on ("data-dependent shapes"), so the file decides on each box by itself.
"""

import torch
from torch import Tensor

STEPS = 16
"""Longest chain of boxes, each dropped but for the one before it, that is followed to its end."""


def kept_by_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Marks the boxes that NMS keeps, in each group by itself.

    A box is kept if none that overlaps it and is better is kept. That is asked ``STEPS`` times of
    all boxes at once; what follows from a chain of that many is right from then on. Of 1000 boxes
    around 12 objects the longest was 9.

    Args:
        boxes: (G, N, 4) x1 y1 x2 y2.
        scores: (G, N); boxes with 0 do not take part. Of equal ones the first is the better.
        iou_threshold: a box is dropped if it overlaps a better one by more.

    Returns:
        (G, N), 1 for kept boxes and 0 for others.
    """
    exists = scores > 0
    drops = _overlaps(boxes, iou_threshold) & _is_better(scores) & exists.unsqueeze(1)
    drops_others = drops.to(scores.dtype)
    kept = exists.to(scores.dtype)
    for _ in range(STEPS):
        dropped = (drops_others * kept.unsqueeze(1)).amax(-1) > 0.5
        kept = (exists & ~dropped).to(scores.dtype)
    return kept


def _overlaps(boxes: Tensor, iou_threshold: float) -> Tensor:
    """(G, N, N) bool."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    width = torch.minimum(x2.unsqueeze(2), x2.unsqueeze(1))
    width = width - torch.maximum(x1.unsqueeze(2), x1.unsqueeze(1))
    height = torch.minimum(y2.unsqueeze(2), y2.unsqueeze(1))
    height = height - torch.maximum(y1.unsqueeze(2), y1.unsqueeze(1))
    inner = width.clamp(min=0) * height.clamp(min=0)
    area = (x2 - x1) * (y2 - y1)
    overlaps: Tensor = inner > iou_threshold * (area.unsqueeze(2) + area.unsqueeze(1) - inner)
    return overlaps


def _is_better(scores: Tensor) -> Tensor:
    """(G, N, N) bool: whether the box of the last axis comes before that of the one before it."""
    other, own = scores.unsqueeze(1), scores.unsqueeze(2)
    count = int(scores.shape[-1])
    earlier = torch.ones(count, count, dtype=torch.bool, device=scores.device).tril(-1)
    return (other > own) | ((other == own) & earlier)
