"""What a dense head of MMDetection predicts, decoded differentiably, without branching on data.

Nothing of mmdet is imported: a head is known by its class name and read through the attributes
that mmdet 3 gives it. The same code serves the student under autograd, the teacher, and export.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.on_device import on_device

Levels = Sequence[Tensor]

_MAX_LOG_RATIO = abs(math.log(16 / 1000))  # mmdet's wh_ratio_clip, which no config changes


@dataclass(frozen=True, eq=False)
class DensePrediction:
    """Decoded output of a dense head for B images at N positions (every prior of every level).

    Attributes:
        logits: (B, N, K) classification logits; (B, N, K + 1) with the background last where
            ``softmax`` is set.
        boxes: (B, N, 4) as x1 y1 x2 y2 in pixels of the network's input, not clipped to it.
        objectness: (B, N) logit whose sigmoid multiplies the class score (YOLOX's objectness, the
            centerness of FCOS and ATSS), or None for a head without one.
        softmax: whether the classes exclude each other; else each has its own sigmoid.
    """

    logits: Tensor
    boxes: Tensor
    objectness: Tensor | None = None
    softmax: bool = False

    def scores(self) -> Tensor:
        """(B, N, K) probabilities in [0, 1] as the detector's own NMS ranks them."""
        scores = self.logits.softmax(-1)[..., :-1] if self.softmax else self.logits.sigmoid()
        if self.objectness is None:
            return scores
        return scores * self.objectness.sigmoid().unsqueeze(-1)


def dense_prediction(head: nn.Module, outputs: Sequence[Levels]) -> DensePrediction:
    """Decodes what ``head(feats)`` returned.

    FCOS multiplies its distances by the stride in eval mode only, so ``head.training`` must be
    what it was when the outputs were made.

    Args:
        head: a dense head of mmdet, or a subclass that does not change the decoding.
        outputs: per kind (classes, boxes, and what multiplies the score) a list of levels, each
            (B, channels, H, W).

    Returns:
        Boxes and logits in float32, positions in mmdet's order: levels, rows, columns, anchors.

    Raises:
        UserError: if the head's decoding is not known here.
    """
    decode = _DECODERS.get(mmdet_family(head))
    if decode is None:
        raise UserError(
            f"cannot decode the head {type(head).__name__}; supported are "
            f"{', '.join(sorted(_DECODERS))} and subclasses outside mmdet; "
            "distil its features instead, or tap its outputs one by one"
        )
    module: Any = head  # Any: attributes of an untyped library
    channels = int(module.cls_out_channels)
    logits = torch.cat([_positions(level, channels) for level in outputs[0]], dim=1)
    boxes = decode(module, outputs[1], [_size(level) for level in outputs[0]])
    objectness = None
    if len(outputs) > 2:
        objectness = torch.cat([_positions(level, 1) for level in outputs[2]], dim=1).squeeze(-1)
    softmax = not getattr(module, "use_sigmoid_cls", True)
    return DensePrediction(logits, boxes, objectness, softmax)


def is_decodable(head: nn.Module) -> bool:
    """Whether ``dense_prediction`` knows the head's decoding."""
    return mmdet_family(head) in _DECODERS


def mmdet_family(module: nn.Module) -> str:
    """Name of the nearest class that mmdet itself defines: users subclass, mmdet redefines."""
    for base in type(module).__mro__:
        if base.__module__.startswith("mmdet."):
            return base.__name__
    return type(module).__name__


def boxes_from_deltas(owner: Any, boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes moved by their size times a delta and scaled by its exponential (R-CNN).

    Args:
        owner: a head of mmdet with a ``bbox_coder``.
        boxes: (..., 4) x1 y1 x2 y2.
        deltas: (..., 4), broadcast against ``boxes``.

    Raises:
        UserError: for another box coder than DeltaXYWHBBoxCoder.
    """
    coder = owner.bbox_coder
    if type(coder).__name__ != "DeltaXYWHBBoxCoder" or coder.add_ctr_clamp:
        raise UserError(
            f"cannot decode {type(owner).__name__} with the box coder {type(coder).__name__}; "
            "expected DeltaXYWHBBoxCoder without add_ctr_clamp; distil its features instead"
        )
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    extent = boxes[..., 2:] - boxes[..., :2]
    stds, means = (on_device(v, deltas.device, deltas.dtype) for v in (coder.stds, coder.means))
    deltas = deltas * stds + means
    middle = centre + extent * deltas[..., :2]
    half = extent * deltas[..., 2:].clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def _size(level: Tensor) -> tuple[int, int]:
    """Rows and columns as plain integers, so that priors are constants of an exported graph."""
    return int(level.shape[-2]), int(level.shape[-1])


def _positions(level: Tensor, channels: int) -> Tensor:
    """(B, A * channels, H, W) to (B, H * W * A, channels) in float32."""
    return level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, channels).float()


def _priors(head: Any, like: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Per level (N, 2) points x y or (N, 4) anchors x1 y1 x2 y2, in pixels."""
    priors: list[Tensor] = head.prior_generator.grid_priors(
        sizes, dtype=torch.float32, device=like.device
    )
    return priors


def _stride(head: Any, level: int) -> int:
    """Pixels between two positions; mmdet's heads of this kind have square strides."""
    return int(head.prior_generator.strides[level][0])


def _boxes_from_anchors(head: Any, deltas: Levels, sizes: list[tuple[int, int]]) -> Tensor:
    anchors = torch.cat(_priors(head, deltas[0], sizes))
    delta = torch.cat([_positions(level, 4) for level in deltas], dim=1)
    return boxes_from_deltas(head, anchors, delta)


def _boxes_from_distances(points: Tensor, distances: Tensor) -> Tensor:
    """(N, 2) points and (B, N, 4) distances in pixels to left, top, right, bottom."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def _boxes_from_bins(head: Any, bins: Levels, sizes: list[tuple[int, int]]) -> Tensor:
    """Distances are the mean, in strides, of a distribution over bins (Li et al., 2020, GFL)."""
    number = int(head.reg_max) + 1
    bin_values = torch.arange(number, dtype=torch.float32, device=bins[0].device)
    anchors = torch.cat(_priors(head, bins[0], sizes))
    distances = []
    for index, level in enumerate(bins):
        sides = _positions(level, number)  # (B, H * W * 4, bins): four sides a position
        mean_bin = (sides.softmax(-1) * bin_values).sum(-1)
        distances.append(mean_bin.reshape(level.shape[0], -1, 4) * _stride(head, index))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    return _boxes_from_distances(centres, torch.cat(distances, dim=1))


def _boxes_from_pixels(head: Any, distances: Levels, sizes: list[tuple[int, int]]) -> Tensor:
    """RTMDet, and FCOS in eval mode: the head's forward has already multiplied by the stride."""
    points = torch.cat(_priors(head, distances[0], sizes))
    return _boxes_from_distances(
        points, torch.cat([_positions(level, 4) for level in distances], dim=1)
    )


def _boxes_from_fcos(head: Any, distances: Levels, sizes: list[tuple[int, int]]) -> Tensor:
    """With ``norm_on_bbox`` FCOS leaves distances in strides while it trains."""
    if head.norm_on_bbox and head.training:
        distances = [level * _stride(head, index) for index, level in enumerate(distances)]
    return _boxes_from_pixels(head, distances, sizes)


def _boxes_from_yolox(head: Any, offsets: Levels, sizes: list[tuple[int, int]]) -> Tensor:
    """Centre and log size in strides, relative to the cell's corner (Ge et al., 2021)."""
    points = torch.cat(_priors(head, offsets[0], sizes))
    strides = torch.cat(
        [
            points.new_full((rows * columns, 1), _stride(head, index))
            for index, (rows, columns) in enumerate(sizes)
        ]
    )
    offset = torch.cat([_positions(level, 4) for level in offsets], dim=1)
    middle = points + offset[..., :2] * strides
    half = offset[..., 2:].exp() * strides / 2
    return torch.cat([middle - half, middle + half], dim=-1)


_DECODERS: dict[str, Callable[[Any, Levels, list[tuple[int, int]]], Tensor]] = {
    "ATSSHead": _boxes_from_anchors,
    "AnchorHead": _boxes_from_anchors,
    "FCOSHead": _boxes_from_fcos,
    "GFLHead": _boxes_from_bins,
    "RPNHead": _boxes_from_anchors,
    "RTMDetHead": _boxes_from_pixels,
    "RTMDetSepBNHead": _boxes_from_pixels,
    "RetinaHead": _boxes_from_anchors,
    "RetinaSepBNHead": _boxes_from_anchors,
    "YOLOXHead": _boxes_from_yolox,
}
