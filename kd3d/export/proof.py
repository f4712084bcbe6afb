"""Proof that an exported file is right: parity with PyTorch, kept as a Record."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.parity import BoxArrays, Detect, Parity, parity
from kd3d.export.deployable import Deployable
from kd3d.export.final_boxes import final_boxes
from kd3d.export.manifest import MODEL_FILE, WEIGHTS_FILE, Manifest
from kd3d.export.open_backend import backend_from_module
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.profiling.environment import environment
from kd3d.report.record import Record

RECORD = "record-export.json"
Images = NDArray[np.float32]


def export_parity(
    module: Deployable, folder: Path, manifest: Manifest, images: Sequence[Images]
) -> Parity:
    """Compares model.onnx in ONNX Runtime with the PyTorch module, tensors and final boxes.

    Args:
        module: the detector that was exported.
        folder: holds model.onnx.
        manifest: of the folder.
        images: network inputs (B, 3, H, W).
    """
    reference = backend_from_module(module, manifest)
    candidate = OnnxRuntimeBackend(folder / MODEL_FILE)
    detect = _detect(manifest)
    return parity(
        reference, candidate, [{manifest.input_name: image} for image in images], detect=detect
    )


def random_images(manifest: Manifest, count: int, seed: int = 0) -> list[Images]:
    """Network inputs of coloured noise in the range that the preprocessing gives.

    Where the file takes any batch, every second input has two images.
    """
    generator = np.random.default_rng(seed)
    mean, std = (manifest.preprocessing[key] for key in ("mean", "std"))
    offset, scale = (np.array(v or d).reshape(-1, 1, 1) for v, d in ((mean, [0.0]), (std, [1.0])))
    return [
        ((generator.uniform(0, 255, (batch, 3, *manifest.input_size)) - offset) / scale).astype(
            np.float32
        )
        for batch in (manifest.batch or 1 + index % 2 for index in range(count))
    ]


def write_export_record(
    folder: Path,
    manifest: Manifest | PillarManifest,
    result: Parity,
    *,
    role: str = "",
    name: str = "",
) -> Path:
    """Writes record-export.json: file size and how far the file is from PyTorch.

    Args:
        folder: the export.
        manifest: of the folder.
        result: of ``export_parity``.
        role: "teacher", "baseline", "control", "distilled" or "".
        name: of the run, such as "distilled/seed0".
    """
    metrics = {
        "file_size_mb": (folder / MODEL_FILE).stat().st_size / 1e6,
        "max_abs_difference": max(d.max_abs for d in result.tensors.values()),
        "max_relative_difference": max(d.max_relative for d in result.tensors.values()),
        "boxes": float(result.reference_boxes),
        "boxes_matched": result.matched,
    }
    for tensor, difference in result.tensors.items():
        metrics[f"max_abs_difference/{tensor}"] = difference.max_abs
        metrics[f"max_relative_difference/{tensor}"] = difference.max_relative
    limits = result.tolerances
    record = Record(
        kind="export",
        role=role,
        name=name,
        metrics={key: value for key, value in metrics.items() if np.isfinite(value)},
        config=manifest.config,
        config_hash=manifest.config_hash,
        checkpoint=manifest.checkpoint,
        checkpoint_hash=manifest.checkpoint_hash,
        parameters=manifest.parameters,
        files={"model": MODEL_FILE, "weights": WEIGHTS_FILE},
        environment=environment(),
        conditions={
            "passed": result.passed,
            "boxes_decide": result.boxes_decide,
            "input": manifest.input_text,
            "batch": manifest.batch or "dynamic",
            "opset": manifest.opset,
            "parity_inputs": result.inputs,
            "tolerance_relative": limits.relative,
            **_of_the_kind(manifest, result),
            "tolerance_score": limits.score,
            "tolerance_matched": limits.matched,
        },
    )
    return record.write(folder / RECORD)


def parity_text(result: Parity) -> str:
    """The parity as a small table, for the terminal."""
    lines = [f"parity over {result.inputs} inputs: {'passed' if result.passed else 'FAILED'}"]
    for name, difference in result.tensors.items():
        lines.append(
            f"  {name:8} max difference {difference.max_abs:.2e}, "
            f"relative {difference.max_relative:.2e} (limit {result.tolerances.relative:.0e})"
        )
    if not result.reference_boxes:
        lines.append("  final boxes: none, no score reaches the threshold of test_cfg")
    else:
        lines.append(
            f"  final boxes: {result.matched_boxes} of {result.reference_boxes} matched "
            f"(limit {result.tolerances.matched:.0%})"
            + ("" if result.boxes_decide else "; not counted, their scores tie")
        )
    return "\n".join(lines)


def _of_the_kind(
    manifest: Manifest | PillarManifest, result: Parity
) -> dict[str, str | float | int | bool]:
    """Conditions that boxes of an image and boxes in metres do not share."""
    if isinstance(manifest, PillarManifest):
        return {"tolerance_box": result.tolerances.box, "sample": manifest.sample}
    return {"tolerance_iou": result.tolerances.iou}


def _detect(manifest: Manifest) -> Detect:
    def detect(outputs: Mapping[str, NDArray[np.generic]]) -> list[BoxArrays]:
        tensors = {name: torch.from_numpy(array) for name, array in outputs.items()}
        found = []
        for index in range(len(tensors["boxes"])):
            detections = final_boxes(
                tensors["boxes"][index],
                tensors["scores"][index],
                manifest.postprocessing,
                factors=tensors["factors"][index] if "factors" in tensors else None,
                level_sizes=manifest.level_sizes,
                image_shape=manifest.input_size,
            )
            found.append(
                (detections.boxes.numpy(), detections.scores.numpy(), detections.labels.numpy())
            )
        return found

    return detect
