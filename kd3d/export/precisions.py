"""Adds the coarser precisions to an export folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.backends.bundle import MODEL_FILES, ModelFile
from kd3d.export.calibration_data import calibration_feeds
from kd3d.export.half_precision import fp16_from_onnx
from kd3d.export.operators import require_operators
from kd3d.export.proof import Exported
from kd3d.export.quantize import int8_from_onnx
from kd3d.export.trained_ranges import trained_ranges


def add_precision(
    exported: Exported,
    precision: str,
    cfg: Config,
    checkpoint: Mapping[str, Any],
    *,
    calibration: int,
    images: Sequence[str | Path] = (),
) -> tuple[Exported, str]:
    """Makes a file from model.onnx and names it in export.json.

    Args:
        exported: the folder.
        precision: "fp16" or "int8".
        cfg: config of the detector, for the data to calibrate int8 on.
        checkpoint: that was exported; the ranges in it, if it was trained for int8, are kept.
        calibration: frames to calibrate on.
        images: files to take instead.

    Returns:
        The folder with the new file, and what the file's maker says of it.

    Raises:
        UserError: if there is nothing to calibrate on, or the file cannot be made, or a TensorRT
            from 8.5 on would not take it.
    """
    source, target = (exported.folder / MODEL_FILES[name] for name in ("fp32", precision))
    if precision == "fp16":
        half = fp16_from_onnx(source, target, exported.feeds_of(precision))
        return _with_model(exported, precision, half.as_json()), half.text()
    feeds = calibration_feeds(exported, cfg, count=calibration, images=images)
    trained = trained_ranges(checkpoint, source)
    quantised = int8_from_onnx(source, target, feeds, **trained)
    return _with_model(exported, precision, quantised.as_json()), quantised.text()


def _with_model(exported: Exported, precision: str, report: Mapping[str, Any]) -> Exported:
    require_operators(exported.folder / MODEL_FILES[precision])
    entry = ModelFile.of(exported.folder / MODEL_FILES[precision], report)
    models = {**exported.manifest.models, precision: entry}
    changed = replace(exported, manifest=replace(exported.manifest, models=models))
    changed.manifest.write(exported.folder)
    return changed
