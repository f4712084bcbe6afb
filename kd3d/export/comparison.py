"""How two runs of an export are compared: their final boxes, and rows whose order is free."""

from collections.abc import Mapping
from functools import partial

import torch

from kd3d.backends.base import Array
from kd3d.backends.box_matching import BoxArrays
from kd3d.backends.parity import Align, Detect
from kd3d.backends.tolerances import Tolerances
from kd3d.export.final_boxes import final_boxes
from kd3d.export.manifest import Manifest
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.export.proposal_order import in_proposal_order
from kd3d.export.row_order import in_reference_order


def detect_of(manifest: Manifest | PillarManifest) -> Detect:
    """From outputs to the final boxes of each image or frame of the batch."""
    if isinstance(manifest, PillarManifest):
        return partial(_boxes3d, manifest)
    return partial(_boxes, manifest)


def align_of(manifest: Manifest | PillarManifest, tolerances: Tolerances) -> Align | None:
    """Puts the candidate's rows in the reference's order; None where their order is fixed.

    Pillars: rows whose score ties with the lowest of the best may have been cut off on one side,
    those that differ by no more than ``tolerances.score``.
    """
    if isinstance(manifest, PillarManifest):
        return partial(in_reference_order, groups=manifest.groups, tied=tolerances.score)
    if manifest.rows_free:
        lost = 1 - tolerances.matched
        return partial(
            in_proposal_order, relative=tolerances.relative, rms=tolerances.rms, lost=lost
        )
    return None


def _boxes(manifest: Manifest, outputs: Mapping[str, Array]) -> list[BoxArrays]:
    tensors = {name: torch.from_numpy(array) for name, array in outputs.items()}
    found = []
    for index in range(len(tensors["boxes"])):
        detections = final_boxes(
            tensors["boxes"][index],
            tensors["scores"][index],
            manifest.postprocessing,
            factors=tensors["factors"][index] if "factors" in tensors else None,
            level_sizes=manifest.level_sizes,
            image_shape=manifest.image_size or manifest.input_size,
        )
        found.append(
            (detections.boxes.numpy(), detections.scores.numpy(), detections.labels.numpy())
        )
    return found


def _boxes3d(manifest: PillarManifest, outputs: Mapping[str, Array]) -> list[BoxArrays]:
    found = []
    for frame in range(manifest.batch):
        boxes = manifest.postprocessing(
            {name: array[frame] for name, array in outputs.items()}, manifest.groups
        )
        found.append((boxes.boxes, boxes.scores, boxes.labels))
    return found
