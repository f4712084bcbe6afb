"""A parity as a Record."""

from pathlib import Path

import numpy as np

from kd3d.backends.parity import Parity
from kd3d.export.manifest import WEIGHTS_FILE, Manifest
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.profiling.environment import environment
from kd3d.report.record import Record

Conditions = dict[str, str | float | int | bool]


def parity_record(
    folder: Path,
    manifest: Manifest | PillarManifest,
    result: Parity,
    *,
    backend: str,
    precision: str,
    kind: str,
    role: str = "",
    name: str = "",
) -> Record:
    """How large the file of a precision is, and how far the backend's answers are from PyTorch.

    Args:
        folder: the export.
        manifest: of the folder.
        result: what was measured.
        backend: that ran the file.
        precision: of the file.
        kind: "export" or "parity".
        role: "teacher", "baseline", "control", "distilled" or "".
        name: of the run, such as "distilled/seed0".
    """
    model = manifest.models[precision]
    return Record(
        kind=kind,
        role=role,
        name=name,
        metrics={
            "file_size_mb": (folder / model.file).stat().st_size / 1e6,
            **_differences(result),
            **_inner_differences(result),
            "boxes": float(result.boxes.reference),
            "boxes_matched": result.matched,
        },
        config=manifest.config,
        config_hash=manifest.config_hash,
        checkpoint=manifest.checkpoint,
        checkpoint_hash=manifest.checkpoint_hash,
        parameters=manifest.parameters,
        files={"model": model.file, "weights": WEIGHTS_FILE},
        environment=environment(),
        conditions={
            "passed": result.passed,
            "boxes_decide": result.boxes_decide,
            "backend": backend,
            "precision": precision,
            "model_sha256": model.sha256,
            "kept_fp32": len(model.kept_fp32),
            "input": manifest.input_text,
            "batch": manifest.batch or "dynamic",
            "opset": manifest.opset,
            "parity_inputs": result.inputs,
            **_limits(manifest, result),
        },
    )


def parity_record_file(backend: str, precision: str, host: str = "") -> str:
    """Name of a parity's record in the export folder; ``host`` is the vehicle that ran it."""
    return f"record-parity-{backend}-{precision}{f'-on-{host}' if host else ''}.json"


def _differences(result: Parity) -> dict[str, float]:
    """Of all tensors and of each; what is not finite cannot stand in a record."""
    found: dict[str, float] = {}
    for metric, attribute in (
        ("max_abs_difference", "max_abs"),
        ("max_relative_difference", "max_relative"),
        ("relative_rms", "rms"),
    ):
        values = {name: getattr(tensor, attribute) for name, tensor in result.tensors.items()}
        found[metric] = max(values.values())
        found |= {f"{metric}/{name}": value for name, value in values.items()}
    found["non_finite"] = float(sum(tensor.non_finite for tensor in result.tensors.values()))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _inner_differences(result: Parity) -> dict[str, float]:
    """The worst level, last layer and decoded output, where they were compared."""
    found = {
        "relative_rms_of_a_level": [part.rms for part in result.parts.values()],
        "head_noise_ratio": [head.ratio for head in result.heads],
        "relative_rms_of_decoding": [found.rms for found in result.decoding.values()],
    }
    worst = {name: max(values) for name, values in found.items() if values}
    return {name: value for name, value in worst.items() if np.isfinite(value)}


def _limits(manifest: Manifest | PillarManifest, result: Parity) -> Conditions:
    """Boxes of an image and boxes in metres do not share all of them."""
    limits = result.tolerances
    found: Conditions = {
        "tolerance_relative": limits.relative,
        "tolerance_rms": limits.rms,
        "tolerance_part": limits.part,
        "tolerance_head_noise": limits.head_noise,
        "tolerance_decoding": limits.decoding,
        "tolerance_score": limits.score,
        "tolerance_confident": limits.confident,
        "tolerance_matched": limits.matched,
    }
    if isinstance(manifest, PillarManifest):
        return {**found, "tolerance_box": limits.box, "sample": manifest.sample}
    return {**found, "tolerance_iou": limits.iou}
