"""The first stage of a two-stage detector as a fixed number of proposals, chosen as mmdet does."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.export.networks.gathering import gather_rows
from kd3d.export.networks.nms_mask import kept_by_nms

NO_BOX_PX = (0.0, 0.0, 1.0, 1.0)  # some area: TensorRT's RoiAlign divides by it


@dataclass(frozen=True)
class ProposalSettings:
    """How many boxes of the first stage go on to the second.

    Attributes:
        per_level: best boxes of each level that enter NMS.
        iou_threshold: of NMS, in each level by itself.
        count: proposals of an image.
        min_size_px: boxes must be wider and higher than this.
    """

    per_level: int
    iou_threshold: float
    count: int
    min_size_px: float = 0


@dataclass(frozen=True, eq=False)
class Proposals:
    """Boxes (B, P, 4) x1 y1 x2 y2 px by falling score, and scores (B, P).

    Where an image has fewer than P, the rest have score 0 and the box ``NO_BOX_PX``.
    """

    boxes: Tensor
    scores: Tensor


def select_proposals(
    boxes: Tensor,
    scores: Tensor,
    level_sizes: Sequence[int],
    settings: ProposalSettings,
    image_size: tuple[int, int],
) -> Proposals:
    """The best boxes of all levels after NMS of each level.

    MMDetection moves each level's boxes apart and runs one NMS; here every level is a group of
    its own and keeps its coordinates, which are then not rounded. An overlap that differs from
    the threshold in its last digits may so be judged otherwise.

    Args:
        boxes: (B, N, 4) decoded, not clipped.
        scores: (B, N) objectness in [0, 1].
        level_sizes: rows of each level, in the order of N.
        settings: how many, and what is dropped.
        image_size: (H, W) px to which boxes are clipped.
    """
    width = min(settings.per_level, max(level_sizes))
    sizes = list(level_sizes)
    levels = zip(torch.split(boxes, sizes, 1), torch.split(scores, sizes, 1), strict=True)
    chosen = [_best(*level, width) for level in levels]
    boxes, scores = (torch.stack(parts, 1) for parts in zip(*chosen, strict=True))
    batch, groups = int(boxes.shape[0]), int(boxes.shape[1])

    limit = boxes.new_tensor([image_size[1], image_size[0]] * 2)
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    large = (boxes[..., 2:] - boxes[..., :2]).amin(-1) > settings.min_size_px
    scores = torch.where(large, scores, torch.zeros_like(scores))
    kept = kept_by_nms(
        boxes.reshape(batch * groups, width, 4),
        scores.reshape(batch * groups, width),
        settings.iou_threshold,
    )
    scores = (scores.reshape(batch * groups, width) * kept).reshape(batch, groups * width)
    scores, order = scores.topk(min(settings.count, groups * width), 1)
    boxes = gather_rows(boxes.reshape(batch, groups * width, 4), order)
    exists = (scores > 0).unsqueeze(-1)
    return Proposals(torch.where(exists, boxes, boxes.new_tensor(NO_BOX_PX)), scores)


def _best(boxes: Tensor, scores: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The ``width`` best rows, filled up with zeros where a level has fewer."""
    batch, count = int(boxes.shape[0]), int(boxes.shape[1])
    if count > width:
        scores, order = scores.topk(width, 1)
        return gather_rows(boxes, order), scores
    rest = width - count
    return (
        torch.cat([boxes, boxes.new_zeros(batch, rest, 4)], 1),
        torch.cat([scores, scores.new_zeros(batch, rest)], 1),
    )
