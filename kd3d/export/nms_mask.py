"""NMS inside the file, with outputs of a fixed size."""

from typing import Any

import torch
from torch import Tensor


def kept_by_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Marks the boxes that NMS keeps, in each group by itself.

    In a file this is ONNX's NonMaxSuppression, whose answer has as many rows as boxes are kept.
    It is filled up to one row a box right behind it, so that every later size is fixed.

    Args:
        boxes: (G, N, 4) x1 y1 x2 y2.
        scores: (G, N); boxes with 0 do not take part.
        iou_threshold: a box is dropped if it overlaps a better one by more.

    Returns:
        (G, N), 1 for kept boxes and 0 for others.
    """
    mark: Any = _KeptByNms.apply  # Any: torch gives it no types
    kept: Tensor = mark(boxes, scores, iou_threshold, tuple(int(size) for size in scores.shape))
    return kept


class _KeptByNms(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, scores: Tensor, iou_threshold: float, shape: tuple[int, int]
    ) -> Tensor:
        from mmcv.ops import nms

        kept = torch.zeros_like(scores)
        for group in range(shape[0]):
            rows = (scores[group] > 0).nonzero().squeeze(-1)
            _, chosen = nms(boxes[group, rows], scores[group, rows], iou_threshold)
            kept[group, rows[chosen]] = 1
        return kept

    @staticmethod
    def symbolic(
        graph: Any, boxes: Any, scores: Any, iou_threshold: float, shape: tuple[int, int]
    ) -> Any:
        groups, count = shape
        rows = groups * count

        def integers(*values: int) -> Any:
            return graph.op("Constant", value_t=torch.tensor(values))

        def floats(value: float, *sizes: int) -> Any:
            return graph.op("Constant", value_t=torch.full(sizes, value))

        chosen = graph.op(  # (kept, 3): group, class, box
            "NonMaxSuppression",
            boxes,
            graph.op("Unsqueeze", scores, integers(1)),
            integers(count),
            floats(iou_threshold, 1),
            floats(0.0, 1),
        )
        cells = graph.op("Gather", chosen, integers(0, 2), axis_i=1)
        rest = torch.tensor([[0, count]]).repeat(rows, 1)  # a column that is cut off below
        filled = graph.op("Concat", cells, graph.op("Constant", value_t=rest), axis_i=0)
        filled = graph.op("Slice", filled, integers(0), integers(rows), integers(0))
        canvas = floats(0.0, groups, count + 1)
        marked = graph.op("ScatterND", canvas, filled, floats(1.0, rows))
        return graph.op("Slice", marked, integers(0), integers(count), integers(1))
