"""Features of boxes from a pyramid, with every size fixed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kd3d.export.networks.proposals import NO_BOX_PX


def roi_features(extractor: Any, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """What mmdet's SingleRoIExtractor takes from the level that fits each box.

    A file cannot have as many boxes a level as there happen to be. So each level takes all boxes,
    those of other levels replaced by a box of one pixel, which costs next to nothing, and the
    right rows are added up.

    Args:
        extractor: SingleRoIExtractor with RoIAlign layers that average.
        levels: (B, C, H, W) maps, finest first.
        boxes: (B, P, 4) x1 y1 x2 y2 px, none without area: TensorRT's RoiAlign would divide by 0.

    Returns:
        (B * P, C, rows, columns).
    """
    batch, count = int(boxes.shape[0]), int(boxes.shape[1])
    rows = boxes.reshape(batch * count, 4)
    image = torch.arange(batch, device=boxes.device).repeat_interleave(count)
    extent = rows[:, 2:] - rows[:, :2]
    scale = (extent[:, 0] * extent[:, 1]).sqrt() / extractor.finest_scale + 1e-6
    nowhere = rows.new_tensor(NO_BOX_PX)
    align: Any = _RoiAlign.apply  # Any: torch gives it no types
    found = []
    for index, (level, layer) in enumerate(zip(levels, extractor.roi_layers, strict=True)):
        here = _on_level(scale, index, len(levels))
        features = align(level, torch.where(here[:, None], rows, nowhere), image, layer)
        found.append(torch.where(here[:, None, None, None], features, torch.zeros_like(features)))
    total = found[0]
    for features in found[1:]:
        total = total + features
    return total


def _on_level(scale: Tensor, level: int, levels: int) -> Tensor:
    """(R,) which boxes of a scale, in finest sizes, belong to a level: mmdet's floor(log2(scale)).

    Without a logarithm, whose last digit may decide differently in another program.
    """
    large, small = scale >= 2.0**level, scale < 2.0 ** (level + 1)
    if levels == 1:
        return scale >= 0
    if level == 0:
        return small
    return large if level == levels - 1 else large & small


class _RoiAlign(torch.autograd.Function):
    """mmcv's RoIAlign, as ONNX's operator in a file."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, boxes: Tensor, image: Tensor, layer: Any) -> Tensor:
        found: Tensor = layer(features, torch.cat([image[:, None].to(boxes), boxes], 1))
        return found

    @staticmethod
    def symbolic(graph: Any, features: Any, boxes: Any, image: Any, layer: Any) -> Any:
        height, width = layer.output_size
        return graph.op(
            "RoiAlign",
            features,
            boxes,
            image,
            mode_s="avg",
            coordinate_transformation_mode_s="half_pixel" if layer.aligned else "output_half_pixel",
            output_height_i=height,
            output_width_i=width,
            sampling_ratio_i=layer.sampling_ratio,
            spatial_scale_f=layer.spatial_scale,
        )
