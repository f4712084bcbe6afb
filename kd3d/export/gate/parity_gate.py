"""The gate before the vehicle: is each file in each backend what PyTorch is, on three levels?"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from kd3d.backends.bundle import MODEL_FILES, Bundle
from kd3d.backends.first_departure import Departure, first_departure
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.parity import Parity, parity
from kd3d.backends.ssh import Host, Say
from kd3d.backends.subgraph import InnerTensors
from kd3d.backends.tolerances import Tolerances, tolerances_of
from kd3d.export.folder import trace_images
from kd3d.export.gate.candidates import Candidates
from kd3d.export.gate.comparison import align_of, decoding_align_of, detect_of, split_of
from kd3d.export.gate.gate_inputs import GateInputs, gate_inputs
from kd3d.export.gate.inner_parity import decoding_departure, inner_parity
from kd3d.export.gate.metric_parity import MetricChange, SampleMetric
from kd3d.export.gate.parity_record import parity_record
from kd3d.export.manifest import WEIGHTS_FILE, Manifest
from kd3d.export.networks.pillar_deployable import PillarDeployable
from kd3d.export.pillar_export import trace_pillars
from kd3d.report.record import Record

CANDIDATES = ("onnxruntime", "tensorrt")
REFERENCE = ("onnxruntime", "fp32")  # backend and precision that others are compared with inside


@dataclass(frozen=True)
class Verdict:
    """One file in one backend.

    Attributes:
        backend: that ran the file.
        precision: of the file.
        parity: of tensors and boxes.
        metric: of the task; None where it was not asked or its data is not here.
        departure: the first layer that departs, of a failure; None where none was found.
    """

    backend: str
    precision: str
    parity: Parity
    metric: MetricChange | None
    departure: Departure | None

    @property
    def passed(self) -> bool:
        """All levels that were measured."""
        return self.parity.passed and (self.metric is None or self.metric.passed)


@dataclass(frozen=True)
class Gate:
    """What the gate found.

    Attributes:
        inputs: of the comparison.
        verdicts: one for each backend and precision that ran.
        left_out: what was not asked for by name and cannot run here, with the reason.
        host: name of the vehicle that ran the candidates; empty for this machine.
    """

    inputs: GateInputs
    verdicts: Sequence[Verdict]
    left_out: Sequence[str]
    host: str = ""

    @property
    def passed(self) -> bool:
        """Everything that ran agrees, and export.json and sample.npz are right."""
        return not self.inputs.faults and all(verdict.passed for verdict in self.verdicts)


def parity_gate(
    folder: str | Path,
    *,
    backends: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    frames: int = 4,
    metric_samples: int = 0,
    changes: dict[str, float] | None = None,
    host: Host | None = None,
    say: Say = print,
) -> Gate:
    """Compares every file in every backend with PyTorch.

    Args:
        folder: written by tools/export.py.
        backends: of ``CANDIDATES``; None is all that can run here, and TensorRT on a vehicle.
        precisions: None is all that the folder holds.
        frames: of the test split, beside the sample, for tensors and boxes.
        metric_samples: of the test split, for the task metric; 0 leaves it out.
        changes: of tolerances, by the names of ``Tolerances``, for all precisions.
        host: a vehicle that runs the candidates; the references are run here.
        say: told what is being done, and what is left out.

    Raises:
        UserError: for a folder that is no export or holds none of these precisions, and for a
            backend that was asked for and cannot run.
    """
    folder, bundle = Path(folder), Bundle.read(folder)
    say(f"PyTorch on {folder}" if (folder / WEIGHTS_FILE).is_file() else "the recorded sample")
    inputs = gate_inputs(folder, frames=frames)
    metric = SampleMetric(folder, metric_samples) if metric_samples and inputs.module else None
    left_out: list[str] = []
    if metric and not metric.is_here():
        left_out.append("task metric: the test split of the config is not on this machine")
        metric = None
    if host is not None:
        backends = backends or CANDIDATES[1:]
    if backends is None:
        missing = _no_tensorrt()
        backends = CANDIDATES[:1] if missing else CANDIDATES
        left_out += [missing] if missing else []
    candidates = Candidates(bundle, host, say)
    expected = metric.measure("pytorch", "fp32") if metric else None
    verdicts = []
    for backend, precision in (
        (backend, name) for backend in backends for name in precisions or bundle.models
    ):
        tolerances = replace(tolerances_of(backend, precision), **(changes or {}))
        say(f"{backend} {precision}: tensors and boxes")
        result, reasons = _parity(inputs, candidates, backend, precision, tolerances)
        left_out += reasons
        change = None
        if metric and expected:
            say(f"{backend} {precision}: task metric")
            found = metric.measure(backend, precision, host)
            change = MetricChange(
                found.name,
                expected.value,
                found.value,
                found.samples,
                tolerances.metric,
                found.synthetic,
            )
        verdict = Verdict(backend, precision, result, change, None)
        if not verdict.passed:
            say(f"{backend} {precision}: looking for the first layer that departs")
            departure = _departure(inputs, candidates, verdict, tolerances)
            verdict = replace(verdict, departure=departure)
        verdicts.append(verdict)
    return Gate(inputs, verdicts, left_out, host.name if host else "")


def verdict_record(folder: Path, gate: Gate, verdict: Verdict) -> Record:
    """A verdict as a record of kind "parity"."""
    record = parity_record(
        folder,
        gate.inputs.manifest,
        verdict.parity,
        backend=verdict.backend,
        precision=verdict.precision,
        kind="parity",
    )
    metrics, conditions = dict(record.metrics), dict(record.conditions)
    conditions["passed"] = verdict.passed and not gate.inputs.faults
    conditions["host"] = gate.host or "this machine"
    conditions["reference"] = "sample.npz" if gate.inputs.module is None else "pytorch"
    if verdict.metric is not None:
        change = verdict.metric
        metrics |= {change.name: change.candidate, f"{change.name}_lost": change.lost}
        conditions |= {"metric_samples": change.samples, "tolerance_metric": change.limit}
    if verdict.departure is not None:
        first = verdict.departure.first
        conditions |= {"departs_at": first.layer, "departs_operator": first.operator}
    return replace(record, metrics=metrics, conditions=conditions)


def _no_tensorrt() -> str:
    """Why TensorRT cannot run here; empty if it can."""
    if find_spec("tensorrt") is None:
        return "tensorrt: not installed here"
    return "" if torch.cuda.is_available() else "tensorrt: no GPU here"


def _parity(
    inputs: GateInputs,
    candidates: Candidates,
    backend: str,
    precision: str,
    tolerances: Tolerances,
) -> tuple[Parity, Sequence[str]]:
    """Of tensors, boxes and inside the file; and what was left out inside."""
    sets = inputs.feeds_of(precision)
    result = parity(
        inputs.reference,
        candidates.file(backend, precision),
        sets,
        detect=detect_of(inputs.manifest),
        align=align_of(inputs.manifest, tolerances),
        split=split_of(inputs.manifest, precision),
        tolerances=tolerances,
    )
    if (backend, precision) == REFERENCE:
        return result, ()
    with tempfile.TemporaryDirectory(prefix="kd3d-parity-") as work_dir:
        inside = inner_parity(
            *(candidates.bundle, precision, sets),
            real=any(inputs.real),
            align=decoding_align_of(inputs.manifest),
            open_file=candidates.parts(backend, Path(work_dir)),
        )
    return replace(result, heads=inside.heads, decoding=inside.decoding), inside.left_out


def _departure(
    inputs: GateInputs, candidates: Candidates, verdict: Verdict, tolerances: Tolerances
) -> Departure | None:
    """Compares the inside of the file with that of what is right.

    Right is model.onnx in ONNX Runtime, fed with the file's own last layers if only their decoding
    departs; for that file itself, the graph traced anew from the weights. None where there is
    nothing to compare with, or nothing inside departs.
    """
    bundle = candidates.bundle
    with tempfile.TemporaryDirectory(prefix="kd3d-parity-") as work_dir:
        right = bundle.folder / MODEL_FILES["fp32"]
        sets = inputs.feeds_of(verdict.precision)[:2]
        parts = candidates.parts(verdict.backend, Path(work_dir))
        result = verdict.parity
        if result.heads_agree and not result.decoding_agrees:
            return decoding_departure(
                *(bundle, verdict.precision, sets), limit=tolerances.decoding, open_file=parts
            )
        if (verdict.backend, verdict.precision) == REFERENCE:
            if inputs.module is None:
                return None
            right = _traced(inputs, Path(work_dir) / "traced.onnx")
        return first_departure(
            InnerTensors(right, OnnxRuntimeBackend),
            InnerTensors(bundle.model_path(verdict.precision), parts),
            sets,
            limit=tolerances.layer,
            head=_failed_head(result),
        )


def _failed_head(result: Parity) -> str:
    """The noisiest last layer, where nothing but last layers failed; else an empty text."""
    if result.heads_agree or not (result.tensors_agree and result.parts_agree):
        return ""
    return max(result.heads, key=lambda head: head.ratio).head


def _traced(inputs: GateInputs, path: Path) -> Path:
    module, manifest = inputs.module, inputs.manifest
    if isinstance(module, PillarDeployable):
        return trace_pillars(module, path, opset=manifest.opset)
    assert module is not None
    assert isinstance(manifest, Manifest)
    shape = (manifest.channels, *manifest.input_size)
    return trace_images(module, path, shape=shape, batch=manifest.batch, opset=manifest.opset)
