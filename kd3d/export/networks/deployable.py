"""The part of a detector that is exported: images in, scored boxes out, no final NMS."""

from typing import Protocol

import torch
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.export.detections.final_boxes import PostProcessing
from kd3d.export.networks.dense_network import DenseNetwork
from kd3d.export.networks.transformer_network import TransformerNetwork
from kd3d.export.networks.two_stage_network import TwoStageNetwork
from kd3d.heads.dense import is_decodable, mmdet_family

INPUT_NAME = "images"
SUPPORTED = (
    "single-stage detectors with a RetinaHead (AnchorHead), ATSSHead, GFLHead, FCOSHead, "
    "RTMDetHead (RTMDetSepBNHead) or YOLOXHead; two-stage detectors with an RPNHead and a "
    "StandardRoIHead without masks (Faster R-CNN); DETR"
)


class Network(Protocol):
    """What is exported of one kind of detector.

    Attributes:
        output_names: of what ``outputs`` returns, in order.
        postprocessing: from the outputs to detections.
        fixed_batch: the file can only be made for one batch size.
        rows_free: rows are the best of many, best first, so programs that agree to six digits
            may still swap rows with nearly equal scores.
        image_size: (H, W) px of the image before padding, a constant of the file; None where it
            is the whole input or does not matter.
    """

    output_names: tuple[str, ...]
    postprocessing: PostProcessing
    fixed_batch: bool
    rows_free: bool
    image_size: tuple[int, int] | None

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """What ``Deployable.forward`` returns."""
        ...

    def level_sizes(self, images: Tensor) -> tuple[int, ...]:
        """Rows of each level for inputs of this size."""
        ...


class Deployable(nn.Module):
    """A detector as it is exported; build it with ``deployable``.

    Attributes:
        detector: shared, not copied.
        output_names: "boxes", "scores", and "factors" where MMDetection chooses candidates
            before it multiplies the scores (centerness): see ``final_boxes``.
        postprocessing, fixed_batch, rows_free, image_size: see ``Network``.
    """

    def __init__(self, detector: nn.Module, network: Network) -> None:
        super().__init__()
        self.detector = detector
        self._network = network
        self.output_names = network.output_names
        self.postprocessing = network.postprocessing
        self.fixed_batch = network.fixed_batch
        self.rows_free = network.rows_free
        self.image_size = network.image_size

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores every prior, proposal or query.

        Args:
            images: (B, C, H, W) float32 as after the detector's ``data_preprocessor``: channels
                in its order, normalised, padded. H and W are multiples of its pad divisor.

        Returns:
            boxes (B, N, 4), or (B, N, K, 4) with one box a class, x1 y1 x2 y2, pixels of the
            input, not clipped; scores (B, N, K) in [0, 1] as NMS ranks them (objectness or
            centerness multiplied in); and, where ``output_names`` has it, factors (B, N) in
            [0, 1], what was multiplied in.
        """
        return self._network.outputs(images)

    @torch.no_grad()
    def level_sizes(self, images: Tensor) -> tuple[int, ...]:
        """Rows of each level for inputs of this size, in the order of N."""
        return self._network.level_sizes(images)


def deployable(detector: nn.Module, *, image_size: tuple[int, int] | None = None) -> Deployable:
    """Wraps a detector of MMDetection for export, in eval mode.

    The detector is shared, not copied.

    Args:
        detector: with its trained weights.
        image_size: (H, W) px of the images before padding, if smaller than the input. Two-stage
            detectors clip proposals to it and DETR masks the rest, so it is fixed in their file;
            single-stage ones do not need it.

    Raises:
        UserError: for a detector that cannot be exported, with those that can.
    """
    return Deployable(detector, _network(detector, image_size)).eval()


def _network(detector: nn.Module, image_size: tuple[int, int] | None) -> Network:
    from mmdet.models import SingleStageDetector, TwoStageDetector

    head = getattr(detector, "bbox_head", None)
    if isinstance(detector, SingleStageDetector) and head is not None and is_decodable(head):
        return DenseNetwork(detector)
    if isinstance(detector, TwoStageDetector) and hasattr(detector, "roi_head"):
        return TwoStageNetwork(detector, image_size)
    if mmdet_family(detector) == "DETR":
        return TransformerNetwork(detector, image_size)
    with_head = "" if head is None else f" with a {type(head).__name__}"
    raise UserError(
        f"cannot export {type(detector).__name__}{with_head}; supported are {SUPPORTED}. "
        "Others work with everything else: training, test, report"
    )
