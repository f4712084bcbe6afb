"""Adds the coarser precisions to an export folder, and proves that each file is right."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.backends.bundle import MODEL_FILES, ModelFile
from kd3d.errors import UserError
from kd3d.export.graphs.half_precision import fp16_from_onnx
from kd3d.export.graphs.operators import require_operators
from kd3d.export.int8.calibration_data import calibration_feeds
from kd3d.export.int8.quantize import int8_from_onnx
from kd3d.export.int8.trained_ranges import trained_ranges
from kd3d.export.proof import Exported, export_parity, parity_text, write_export_record

Add = Callable[[Exported, str], tuple[Exported, str]]
"""``add_precision`` with what a command gives it."""


@dataclass(frozen=True)
class Outcome:
    """What became of each precision of an export.

    Attributes:
        exported: the folder, with the files that could be made.
        failed: precisions whose files are not equal to PyTorch.
        unmade: by precision, why there is no file.
    """

    exported: Exported
    failed: Sequence[str]
    unmade: Mapping[str, str]

    @property
    def passed(self) -> list[str]:
        """Precisions whose files are equal to PyTorch."""
        return [name for name in self.exported.manifest.models if name not in self.failed]


def prove_precisions(
    exported: Exported,
    precisions: Iterable[str],
    add: Add,
    *,
    role: str = "",
    name: str = "",
) -> Outcome:
    """Makes, compares, records and prints each precision; without a right fp32 there is no other.

    Args:
        exported: the folder with its fp32 file.
        precisions: to add; fp32 comes first in any case.
        add: makes a file, see ``Add``.
        role: "teacher", "baseline", "control", "distilled" or "", for the record.
        name: of the run, for the record.

    Raises:
        UserError: a file cannot be made, and none failed before, which is to be looked into.
    """
    failed: list[str] = []
    unmade: dict[str, str] = {}
    for precision in dict.fromkeys(["fp32", *precisions]):
        if precision != "fp32":
            try:
                exported, made = add(exported, precision)
            except UserError as error:
                if not failed:
                    raise
                (exported.folder / MODEL_FILES[precision]).unlink(missing_ok=True)
                unmade[precision] = str(error)
                continue
            print(made)
        result = export_parity(exported, precision)
        write_export_record(exported, result, precision, role=role, name=name)
        print(parity_text(result, precision))
        failed += [] if result.passed else [precision]
        if "fp32" in failed:
            break
    return Outcome(exported, failed, unmade)


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
