"""The part of a detector that is exported: images in, scored boxes out, no NMS."""

from typing import Any

import torch
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.heads.dense import dense_prediction

INPUT_NAME = "images"
SUPPORTED = (
    "single-stage detectors with a RetinaHead (AnchorHead), ATSSHead, GFLHead, FCOSHead, "
    "RTMDetHead (RTMDetSepBNHead) or YOLOXHead"
)


class Deployable(nn.Module):
    """Backbone, neck, head and box decoding of a single-stage detector.

    Attributes:
        output_names: "boxes", "scores", and "factors" where MMDetection chooses candidates
            before it multiplies the scores (centerness): see ``final_boxes``.
    """

    def __init__(self, detector: nn.Module, *, with_factors: bool) -> None:
        super().__init__()
        self.detector: Any = detector  # Any: attributes of an untyped library
        self.output_names = ("boxes", "scores", "factors")[: 3 if with_factors else 2]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores every prior.

        Args:
            images: (B, 3, H, W) float32 as after the detector's ``data_preprocessor``: channels
                in its order, normalised, padded. H and W are multiples of its pad divisor.

        Returns:
            boxes (B, N, 4) x1 y1 x2 y2, pixels of the input, not clipped; scores (B, N, K) in
            [0, 1] as NMS ranks them (objectness or centerness multiplied in); and, where
            ``output_names`` has it, factors (B, N) in [0, 1], what was multiplied in.
        """
        head = self.detector.bbox_head
        prediction = dense_prediction(head, head(self.detector.extract_feat(images)))
        outputs = (prediction.boxes, prediction.scores())
        if "factors" not in self.output_names:
            return outputs
        assert prediction.objectness is not None
        return (*outputs, prediction.objectness.sigmoid())

    @torch.no_grad()
    def level_sizes(self, images: Tensor) -> tuple[int, ...]:
        """Priors of each level for inputs of this size, in the order of N."""
        head = self.detector.bbox_head
        levels = head(self.detector.extract_feat(images))[0]
        channels = head.cls_out_channels
        return tuple(level.shape[1:].numel() // channels for level in levels)


def deployable(detector: nn.Module) -> Deployable:
    """Wraps a single-stage detector of MMDetection for export, in eval mode.

    The detector is shared, not copied.

    Raises:
        UserError: for a detector whose boxes are not decoded from dense predictions alone.
    """
    from mmdet.models import SingleStageDetector

    head = getattr(detector, "bbox_head", None)
    if not isinstance(detector, SingleStageDetector) or head is None:
        raise UserError(
            f"cannot export {type(detector).__name__}; supported are {SUPPORTED}. Two-stage and "
            "transformer detectors work with everything else: training, test, report"
        )
    with_factors = hasattr(head, "conv_centerness") or hasattr(head, "atss_centerness")
    return Deployable(detector, with_factors=with_factors).eval()
