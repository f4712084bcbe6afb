"""From the tensors of an exported detector to its detections, as MMDetection's own heads do it.

This is what a vehicle has to redo after the network; ``STEPS`` says it in words and
``export.json`` carries the words beside the settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.errors import UserError

STEPS = (
    "1. Candidates. multi_label: every (prior, class) whose candidate score is above "
    "score_threshold; otherwise the best class of each prior if its score is at least "
    "score_threshold. The candidate score is scores, divided by factors (B, N) where the file "
    "has that output. Its box is boxes[b, n], or boxes[b, n, class] where boxes is (B, N, K, 4).",
    "2. nms_pre > 0: of each level (consecutive runs of level_sizes priors) keep the nms_pre "
    "highest candidate scores.",
    "3. clip: limit x to [0, width] and y to [0, height] of the image before padding.",
    "4. Divide boxes by the scale factor (x, y) of resizing, to pixels of the original image.",
    "5. min_size_px >= 0: drop boxes whose width or height is not above it.",
    "6. NMS of each class by itself with nms.iou_threshold on scores, highest first (nms empty: "
    "only sorted), then the first max_per_image (-1: all).",
)


@dataclass(frozen=True)
class PostProcessing:
    """How a detector turns its scored boxes into detections.

    Attributes:
        score_threshold: below it nothing is a candidate.
        nms: mmcv's NMS settings, {"type": "nms", "iou_threshold": 0.5}; empty for detectors
            that find each object once (DETR).
        max_per_image: detections kept; -1 keeps all.
        nms_pre: candidates kept a level; -1 keeps all.
        min_size_px: boxes must be wider and higher than this; -1 takes all.
        multi_label: a prior may be a candidate for several classes.
        clip: boxes end at the image border.
    """

    score_threshold: float
    nms: Mapping[str, Any] = field(default_factory=dict)  # Any: mmcv's own settings
    max_per_image: int = -1
    nms_pre: int = -1
    min_size_px: float = -1
    multi_label: bool = True
    clip: bool = True

    def as_json(self) -> dict[str, Any]:
        """Plain values for export.json."""
        return asdict(self) | {"nms": dict(self.nms)}


@dataclass(frozen=True)
class Detections:
    """Of one image: boxes (M, 4) x1 y1 x2 y2 px, scores (M,), labels (M,), highest score first."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def post_processing(head: nn.Module) -> PostProcessing:
    """The settings in the ``test_cfg`` of an MMDetection dense head.

    Raises:
        UserError: if the head has no ``test_cfg`` with an NMS.
    """
    settings = getattr(head, "test_cfg", None)
    if settings is None or settings.get("nms") is None:
        raise UserError(
            f"{type(head).__name__} has no test_cfg with nms; the config needs model.test_cfg"
        )
    if hasattr(head, "multi_level_conv_obj"):  # YOLOX: one class a prior, no clipping, no limits
        return PostProcessing(
            settings.get("score_thr", 0.0), dict(settings.nms), multi_label=False, clip=False
        )
    return PostProcessing(
        settings.get("score_thr", 0.0),
        dict(settings.nms),
        max_per_image=settings.get("max_per_img", -1),
        nms_pre=settings.get("nms_pre", -1),
        min_size_px=settings.get("min_bbox_size", -1),
        clip=bool(getattr(head.bbox_coder, "clip_border", True)),
    )


def final_boxes(
    boxes: Tensor,
    scores: Tensor,
    settings: PostProcessing,
    *,
    factors: Tensor | None = None,
    level_sizes: Sequence[int] | None = None,
    image_shape: tuple[int, int] | None = None,
    scale_factor: tuple[float, float] = (1.0, 1.0),
) -> Detections:
    """Detections of one image, equal to ``detector.predict`` of MMDetection.

    Args:
        boxes: (N, 4), or (N, K, 4) with one box a class; x1 y1 x2 y2, pixels of the network input.
        scores: (N, K) as NMS ranks them.
        settings: thresholds and limits.
        factors: (N,) in (0, 1], what ``scores`` were multiplied with after MMDetection chooses
            candidates (FCOS centerness).
        level_sizes: priors of each level, in order; None takes all as one level.
        image_shape: (H, W) px before padding, for clipping.
        scale_factor: (x, y) network pixels per pixel of the original image.
    """
    from mmcv.ops import batched_nms

    candidate_scores = scores if factors is None else scores / factors[:, None]
    rows, labels = _candidates(candidate_scores, settings, level_sizes)
    kept = boxes[rows] if boxes.dim() == 2 else boxes[rows, labels]
    ranks = scores[rows, labels]
    if settings.clip and image_shape is not None:
        limit = kept.new_tensor([image_shape[1], image_shape[0]] * 2)
        kept = torch.minimum(kept.clamp(min=0), limit)
    kept = kept / kept.new_tensor([*scale_factor, *scale_factor])
    if settings.min_size_px >= 0:
        large = ((kept[:, 2:] - kept[:, :2]) > settings.min_size_px).all(-1)
        kept, ranks, labels = kept[large], ranks[large], labels[large]
    if not len(kept):
        return Detections(kept, ranks, labels)
    scored, order = batched_nms(kept, ranks, labels, dict(settings.nms) or None)
    limit_count = len(order) if settings.max_per_image < 0 else settings.max_per_image
    return Detections(
        scored[:limit_count, :4], scored[:limit_count, 4], labels[order[:limit_count]]
    )


def _candidates(
    scores: Tensor, settings: PostProcessing, level_sizes: Sequence[int] | None
) -> tuple[Tensor, Tensor]:
    """Rows and classes (M,), (M,) that go on to NMS, each level's by falling score."""
    if not settings.multi_label:
        best, labels = scores.max(-1)
        rows = (best >= settings.score_threshold).nonzero().squeeze(-1)
        return rows, labels[rows]
    sizes = [len(scores)] if level_sizes is None else list(level_sizes)
    assert sum(sizes) == len(scores), (sizes, len(scores))
    chosen, start = [], 0
    for level in torch.split(scores, sizes):
        cells = (level > settings.score_threshold).nonzero()
        order = level[cells[:, 0], cells[:, 1]].sort(descending=True).indices
        if settings.nms_pre > 0:
            order = order[: settings.nms_pre]
        chosen.append(cells[order] + cells.new_tensor([start, 0]))
        start += len(level)
    rows, labels = torch.cat(chosen).unbind(1)
    return rows, labels
