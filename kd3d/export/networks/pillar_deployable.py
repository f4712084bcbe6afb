"""The part of a pillar detector that is exported: pillars in, scored boxes out, no NMS."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.export.networks import anchor_decoding, center_decoding
from kd3d.export.networks.pillar_features import bev_map, check_encoder, pillar_features
from kd3d.export.voxelization import Voxelization

INPUT_NAMES = ("pillars", "num_points", "coordinates")
SUPPORTED = (
    "mmdet3d's CenterPoint (CenterHead), VoxelNet and MVXFasterRCNN (Anchor3DHead, "
    "FreeAnchor3DHead, ShapeAwareHead) on pillars: PillarFeatureNet or HardVFE with "
    "PointPillarsScatter"
)


class PillarDeployable(nn.Module):
    """Pillar encoder, scatter, backbone, neck, head and decoding of a pillar detector.

    Attributes:
        detector: shared, not copied.
        batch: frames of a run. Fixed, because all sizes but the number of pillars then are.
        voxelization: what the host does before.
        output_names: "boxes", "scores" and, for a CenterHead, "labels".
        groups: rows of each task (CenterHead) or level (anchors) in the outputs.
    """

    def __init__(self, detector: nn.Module, *, batch: int, voxelization: Voxelization) -> None:
        super().__init__()
        self.detector: Any = detector  # Any: attributes of an untyped library
        self.batch = batch
        self.voxelization = voxelization
        head = self.head
        with torch.no_grad():
            predictions = self._predictions(*self.example(1))
        self._anchors: list[Tensor] = []
        if hasattr(head, "task_heads"):
            self.output_names: tuple[str, ...] = center_decoding.OUTPUTS
            shape = predictions[0][0]["heatmap"].shape[-2:]
            self.groups = center_decoding.center_groups(head, shape)
        else:
            self.output_names = anchor_decoding.OUTPUTS
            self._anchors = anchor_decoding.anchors_of(head, predictions)
            self.groups = anchor_decoding.anchor_groups(head, self._anchors)

    @property
    def head(self) -> Any:
        """The detector's detection head."""
        return _part(self.detector, "bbox_head")

    def forward(self, pillars: Tensor, num_points: Tensor, coordinates: Tensor) -> Any:
        """Scores and decodes.

        Args:
            pillars: (P, M, C) float32 points, unused places 0; see ``voxelization``.
            num_points: (P,) int32.
            coordinates: (P, 4) int32 frame z y x; pillars that do not exist are ignored.

        Returns:
            As ``decode_center`` or ``decode_anchors``, named by ``output_names``.
        """
        predictions = self._predictions(pillars, num_points, coordinates)
        if not self._anchors:
            return center_decoding.decode_center(self.head, predictions)
        anchors = [level.to(pillars.device) for level in self._anchors]
        return anchor_decoding.decode_anchors(self.head, predictions, anchors)

    def example(self, pillars: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of empty pillars in the first cell."""
        points = self.voxelization.max_num_points
        encoder = _part(self.detector, "voxel_encoder")
        return (
            torch.zeros(pillars, points, point_features(encoder)),
            torch.ones(pillars, dtype=torch.int32),
            torch.zeros(pillars, 4, dtype=torch.int32),
        )

    def _predictions(self, pillars: Tensor, num_points: Tensor, coordinates: Tensor) -> Any:
        encoder, scatter = (_part(self.detector, n) for n in ("voxel_encoder", "middle_encoder"))
        features = pillar_features(encoder, pillars, num_points, coordinates)
        maps = bev_map(features, coordinates, batch=self.batch, rows=scatter.ny, columns=scatter.nx)
        levels = _part(self.detector, "backbone")(maps)
        neck = _part(self.detector, "neck")
        return self.head(levels if neck is None else neck(levels))


def pillar_deployable(
    detector: nn.Module, *, batch: int = 1, pillars: int | None = None
) -> PillarDeployable:
    """Wraps a pillar detector of mmdet3d for export, in eval mode.

    Args:
        detector: shared, not copied.
        batch: frames of a run.
        pillars: of every frame, filled up or cut off; None leaves their number free, up to the
            config's max_voxels.

    Raises:
        UserError: for a detector that is not supported.
    """
    encoder, scatter, head = (
        _part(detector, name) for name in ("voxel_encoder", "middle_encoder", "bbox_head")
    )
    heads = ("task_heads", "prior_generator")
    plain = type(scatter).__name__ == "PointPillarsScatter"
    if head is None or not plain or not any(hasattr(head, name) for name in heads):
        raise UserError(f"cannot export {type(detector).__name__}; supported are {SUPPORTED}")
    if hasattr(head, "prior_generator") and not head.use_direction_classifier:
        raise UserError("cannot export an anchor head without use_direction_classifier")
    check_encoder(encoder)
    settings = _voxelization(detector)
    if pillars is not None:
        settings = replace(settings, max_pillars=pillars, filled=True)
    if settings.grid != (scatter.nx, scatter.ny, 1):
        raise UserError(
            f"voxel_layer makes a grid of {settings.grid} cells (x, y, z), the middle encoder "
            f"takes ({scatter.nx}, {scatter.ny}, 1); make voxel_size, point_cloud_range and "
            "output_shape agree"
        )
    return PillarDeployable(detector.eval(), batch=batch, voxelization=settings).eval()


def is_pillar_detector(detector: nn.Module) -> bool:
    """Whether a detector reads voxels, so that only this module could export it."""
    return _part(detector, "voxel_encoder") is not None


def point_features(encoder: Any) -> int:
    """C of the points that an encoder takes."""
    decorations = (
        3 * encoder._with_cluster_center,
        3 * encoder._with_voxel_center,
        int(encoder._with_distance),
    )
    return int(encoder.in_channels) - sum(decorations)


def _voxelization(detector: Any) -> Voxelization:
    processor = detector.data_preprocessor
    layer = getattr(processor, "voxel_layer", None)
    if layer is None or getattr(processor, "voxel_type", "hard") != "hard":
        raise UserError("cannot export: data_preprocessor has no hard voxelisation (voxel=True)")
    return Voxelization(
        voxel_size_m=tuple(float(size) for size in layer.voxel_size),
        range_m=tuple(float(value) for value in layer.point_cloud_range),
        max_num_points=int(layer.max_num_points),
        max_pillars=int(layer.max_voxels[1]),
    )


def _part(detector: Any, name: str) -> Any:
    """A part of VoxelNet by its name, of MVXTwoStageDetector with the prefix of the points."""
    part = getattr(detector, f"pts_{name}", None)
    return getattr(detector, name, None) if part is None else part
