"""How two runs of an export are compared: final boxes, rows whose order is free, and levels."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from kd3d.backends.base import Array
from kd3d.backends.box_matching import BoxArrays
from kd3d.backends.parity import Align, Detect, Split
from kd3d.backends.tolerances import Tolerances
from kd3d.export.detections.final_boxes import final_boxes
from kd3d.export.gate.proposal_order import in_proposal_order
from kd3d.export.gate.row_order import in_reference_order
from kd3d.export.manifest import Manifest
from kd3d.export.pillar_manifest import PillarManifest

_PROBABILITIES = ("scores", "factors")
_LEAST = 1e-4  # score whose log-odds are compared: ONNX Runtime's sigmoid is right to 1e-7


def detect_of(manifest: Manifest | PillarManifest) -> Detect:
    """From outputs to the final boxes of each image or frame of the batch."""
    if isinstance(manifest, PillarManifest):
        return partial(_boxes3d, manifest)
    return partial(_boxes, manifest)


def align_of(manifest: Manifest | PillarManifest, tolerances: Tolerances) -> Align | None:
    """Puts the candidate's rows in the reference's order; None where their order is fixed.

    Rows near the lowest score of the best may have been cut off on one side.
    """
    if isinstance(manifest, PillarManifest):
        return _pillar_align(manifest, tolerances)
    if manifest.rows_free:
        lost = 1 - tolerances.matched
        return partial(
            in_proposal_order, relative=tolerances.relative, rms=tolerances.rms, lost=lost
        )
    return None


def decoding_align_of(manifest: Manifest | PillarManifest) -> Align | None:
    """The order of rows decoded from the same answers: none but ties may change places."""
    return _pillar_align(manifest, Tolerances()) if isinstance(manifest, PillarManifest) else None


def split_of(manifest: Manifest | PillarManifest, precision: str) -> Split | None:
    """Levels (or tasks) of the outputs, so that one that sees nothing is compared, too.

    None where a coarse precision may choose other rows as the best ones of a level.
    """
    if isinstance(manifest, PillarManifest):
        return partial(level_parts, sizes=manifest.groups) if precision == "fp32" else None
    if manifest.rows_free and precision != "fp32":
        return None
    return partial(level_parts, sizes=manifest.level_sizes)


def level_parts(outputs: Mapping[str, Array], *, sizes: Sequence[int]) -> dict[str, Array]:
    """Each level's rows of each float output, named "scores[2]".

    What lies in [0, 1] becomes log-odds: a level whose scores are all small is compared as well as
    one that is sure of itself.

    Args:
        outputs: (B, N, ...).
        sizes: rows of each level, N together.
    """
    edges = np.cumsum(sizes)[:-1]
    parts = {}
    for name, array in outputs.items():
        if array.dtype.kind != "f":
            continue
        values = _log_odds(array) if name in _PROBABILITIES else array
        for level, part in enumerate(np.split(values, edges, axis=1)):
            parts[f"{name}[{level}]"] = part
    return parts


def _pillar_align(manifest: PillarManifest, tolerances: Tolerances) -> Align:
    return partial(
        in_reference_order,
        groups=manifest.groups,
        box=tolerances.box,
        tied=tolerances.score,
        lost=1 - tolerances.matched,
    )


def _log_odds(scores: Array) -> Array:
    """Of scores in [0, 1], but for their ends, where float32 has no digits left."""
    kept = np.where(np.isfinite(scores), scores.astype(np.float64).clip(_LEAST, 1 - _LEAST), np.nan)
    found: Array = np.log(kept) - np.log1p(-kept)
    return found


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
