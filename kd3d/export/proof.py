"""Proof that an exported file is right: parity with PyTorch on the machine that exports it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from kd3d.backends.base import Feeds
from kd3d.backends.bundle import Bundle
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.parity import Parity, parity
from kd3d.backends.recorded import RecordedBackend, recorded
from kd3d.backends.tolerances import TOLERANCES
from kd3d.export.gate.comparison import align_of, decoding_align_of, detect_of, split_of
from kd3d.export.gate.inner_parity import inner_parity
from kd3d.export.gate.parity_record import parity_record, parity_record_file
from kd3d.export.manifest import Manifest
from kd3d.export.networks.deployable import Deployable
from kd3d.export.networks.pillar_deployable import PillarDeployable
from kd3d.export.open_backend import backend_from_module
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.report.record import EXPORT_FILE


@dataclass(frozen=True)
class Exported:
    """An export folder whose detector is still at hand.

    Attributes:
        folder: holds export.json and all it names.
        module: what was exported.
        manifest: content of export.json.
        feeds: inputs to compare on; those of real images or frames come first.
        real: how many of them are real.
    """

    folder: Path
    module: Deployable | PillarDeployable
    manifest: Manifest | PillarManifest
    feeds: Sequence[Feeds]
    real: int

    @cached_property
    def reference(self) -> RecordedBackend:
        """What PyTorch answers to ``feeds``; it is run once for all precisions."""
        return recorded(backend_from_module(self.module, self.manifest), self.feeds)

    def feeds_of(self, precision: str) -> Sequence[Feeds]:
        """All inputs for fp32. Others are made for what a camera or LiDAR sees: the real ones."""
        return self.feeds if precision == "fp32" or not self.real else self.feeds[: self.real]


def export_parity(exported: Exported, precision: str = "fp32") -> Parity:
    """Compares a file in ONNX Runtime with the PyTorch module: tensors, final boxes, and inside.

    Args:
        exported: the folder and its detector.
        precision: of the file.
    """
    manifest, tolerances = exported.manifest, TOLERANCES[precision]
    feeds = exported.feeds_of(precision)
    result = parity(
        exported.reference,
        OnnxRuntimeBackend(exported.folder / manifest.models[precision].file),
        feeds,
        detect=detect_of(manifest),
        align=align_of(manifest, tolerances),
        split=split_of(manifest, precision),
        tolerances=tolerances,
    )
    if precision == "fp32":  # the others are compared with this one
        return result
    inside = inner_parity(
        *(Bundle.read(exported.folder), precision, feeds),
        real=bool(exported.real),
        align=decoding_align_of(manifest),
        open_file=OnnxRuntimeBackend,
    )
    return replace(result, heads=inside.heads, decoding=inside.decoding)


def write_export_record(
    exported: Exported, result: Parity, precision: str = "fp32", *, role: str = "", name: str = ""
) -> Path:
    """Writes how large a file is and how far from PyTorch.

    record-export.json is of fp32; another precision's is as tools/parity.py writes it.

    Args:
        exported: the folder.
        result: of ``export_parity``.
        precision: of the file.
        role: "teacher", "baseline", "control", "distilled" or "".
        name: of the run, such as "distilled/seed0".
    """
    record = parity_record(
        exported.folder,
        exported.manifest,
        result,
        backend="onnxruntime",
        precision=precision,
        kind="export" if precision == "fp32" else "parity",
        role=role,
        name=name,
    )
    return record.write(exported.folder / export_record_file(precision))


def export_record_file(precision: str) -> str:
    """Name of what ``write_export_record`` writes."""
    return EXPORT_FILE if precision == "fp32" else parity_record_file("onnxruntime", precision)


def worst_part(result: Parity) -> str:
    """Which level of the outputs differs most; empty if none was compared."""
    if not result.parts:
        return ""
    name = max(result.parts, key=lambda part: result.parts[part].rms)
    return f"levels: {name} rms {result.parts[name].rms:.1e} (limit {result.tolerances.part:g})"


def worst_head(result: Parity) -> str:
    """Which last layer is noisiest; empty if none was compared."""
    if not result.heads:
        return ""
    worst = max(result.heads, key=lambda head: head.ratio)
    return (
        f"last layers: {worst.head}[{worst.channel}] {worst.ratio:.2g} times the export's noise "
        f"(limit {result.tolerances.head_noise:g})"
    )


def worst_decoding(result: Parity) -> str:
    """Which output is decoded most wrongly; empty if none was compared."""
    if not result.decoding:
        return ""
    name = max(result.decoding, key=lambda output: result.decoding[output].rms)
    return (
        f"decoding: {name} rms {result.decoding[name].rms:.1e} from what model.onnx makes of the "
        f"same last layers (limit {result.tolerances.decoding:g})"
    )


def parity_text(result: Parity, precision: str = "fp32") -> str:
    """The parity as a small table, for the terminal."""
    limits = result.tolerances
    verdict = "passed" if result.passed else "FAILED"
    lines = [f"{precision} parity over {result.inputs} inputs: {verdict}"]
    for name, found in result.tensors.items():
        lines.append(
            f"  {name:8} max difference {found.max_abs:.2e}, "
            f"relative {found.max_relative:.2e} (limit {limits.relative:.0e}), "
            f"rms {found.rms:.2e} (limit {limits.rms:.0e})"
            + (f"; {found.non_finite} values are not finite" if found.non_finite else "")
        )
    inside = (worst_part(result), worst_head(result), worst_decoding(result))
    lines += [f"  {text}" for text in inside if text]
    counts = result.boxes
    if not counts.reference and not counts.candidate:
        lines.append("  final boxes: none, no score reaches the threshold of test_cfg")
    else:
        lines.append(
            f"  final boxes: {counts.reference_matched} of {counts.reference} matched, "
            f"{counts.candidate_matched} of the file's {counts.candidate} "
            f"(limit {limits.matched:.0%})"
            + ("" if result.boxes_decide else "; not counted, their scores tie")
        )
    return "\n".join(lines)
