"""What is exported of a single-stage detector: every prior, decoded and scored."""

from typing import Any

from torch import Tensor

from kd3d.export.detections.final_boxes import post_processing
from kd3d.heads.dense import dense_prediction


class DenseNetwork:
    """Backbone, neck, head and box decoding; takes any batch.

    Args:
        detector: a single-stage detector of MMDetection, whose library is untyped;
            ``dense_prediction`` knows its head.
    """

    fixed_batch = False
    rows_free = False
    image_size: tuple[int, int] | None = None

    def __init__(self, detector: Any) -> None:
        self._detector = detector
        head = self._detector.bbox_head
        with_factors = hasattr(head, "conv_centerness") or hasattr(head, "atss_centerness")
        names: tuple[str, ...] = ("boxes", "scores", "factors")
        self.output_names = names[: 3 if with_factors else 2]
        self.postprocessing = post_processing(head)

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Boxes (B, N, 4), scores (B, N, K) and, where candidates need them, factors (B, N)."""
        head = self._detector.bbox_head
        prediction = dense_prediction(head, head(self._detector.extract_feat(images)))
        outputs = (prediction.boxes, prediction.scores())
        if "factors" not in self.output_names:
            return outputs
        assert prediction.objectness is not None
        return (*outputs, prediction.objectness.sigmoid())

    def level_sizes(self, images: Tensor) -> tuple[int, ...]:
        """Priors of each level for inputs of this size."""
        head = self._detector.bbox_head
        levels = head(self._detector.extract_feat(images))[0]
        channels = head.cls_out_channels
        return tuple(level.shape[1:].numel() // channels for level in levels)
