"""Predicts the latency of an ONNX graph on a board of the Orin family, without one.

The graph is fused as TensorRT would fuse it (fusion.py), each kernel's operations and bytes are
counted (layer_work.py) and timed on a roofline (kernel_time.py), and the protocol's own time is
added. The few parameters were fitted on published latencies; ``roofline_parameters.yaml`` holds
them, with their conditions and the errors in cross-validation.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import yaml  # type: ignore[import-untyped]

from kd3d.errors import UserError
from kd3d.profiling.devices import Device
from kd3d.profiling.prediction.exported_sizes import counts_rows, exported_batch, exported_sizes
from kd3d.profiling.prediction.fusion import FusedGraph, fuse
from kd3d.profiling.prediction.kernel_time import Parameters, WorkTable, kernel_times, run_us
from kd3d.profiling.prediction.kernel_work import LayerWork
from kd3d.profiling.prediction.layer_work import (
    PRECISIONS,
    float_weights,
    has_quantizers,
    layer_work,
)
from kd3d.profiling.prediction.onnx_graph import OnnxGraph, graph_from_onnx
from kd3d.profiling.prediction.quantizers import check_types
from kd3d.profiling.prediction.unknown_operators import UNKNOWN_FACTOR, refuse_uncounted

PROTOCOLS = ("engine", "python", "mlperf")
PARAMETERS_FILE = Path(__file__).with_name("roofline_parameters.yaml")


@dataclass(frozen=True, kw_only=True)
class LayerLatency:
    """One kernel's predicted time.

    Attributes:
        name, operators, kind, math: as in LayerWork.
        latency_us: of the kernel on the GPU.
        compute_us, memory_us, start_us: its parts; compute and memory overlap.
        gflops: operations of products.
        megabytes: read and written, weights included.
    """

    name: str
    operators: str
    kind: str
    math: str
    latency_us: float
    compute_us: float
    memory_us: float
    start_us: float
    gflops: float
    megabytes: float

    @property
    def bound(self) -> str:
        """What takes most: "compute", "memory" or "start"."""
        parts = {
            "compute": self.compute_us,
            "memory": self.memory_us,
            "start": self.start_us,
        }
        return max(parts, key=lambda part: parts[part])


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Predicted latency of one run.

    Attributes:
        total_ms: most likely.
        low_ms, high_ms: the measured latency lies between with probability ``coverage``; wider
            where an operator is unknown.
        coverage: of the interval, for families of networks that the fit has not seen.
        gpu_ms: sum of the kernels.
        waiting_ms: of the GPU for the CPU, which enqueues the kernels.
        harness_ms: of the protocol around them. The three make ``total_ms``.
        layers: in the order of running.
        device: its name and mode; sms, gpu_mhz, emc_mhz: what was assumed.
        precision, protocol, batch: as asked.
        types: the precision, or what the file states in its place: "int8 and fp32".
        gflops: multiplications and additions of products, of the whole batch.
        warnings: what had to be assumed.
    """

    total_ms: float
    low_ms: float
    high_ms: float
    coverage: float
    gpu_ms: float
    waiting_ms: float
    harness_ms: float
    layers: tuple[LayerLatency, ...]
    device: str
    sms: int
    gpu_mhz: float
    emc_mhz: float
    precision: str
    types: str
    protocol: str
    batch: int
    gflops: float
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For JSON; each layer also names its bound."""
        content = asdict(self)
        content["layers"] = [{**asdict(layer), "bound": layer.bound} for layer in self.layers]
        return content


def predict_latency(
    model: str | Path | onnx.ModelProto,
    device: Device,
    *,
    precision: str = "fp16",
    protocol: str = "engine",
    batch: int | None = None,
    sms: int | None = None,
    gpu_mhz: float | None = None,
    emc_mhz: float | None = None,
    sizes: Mapping[str, int] | None = None,
    float_type: str | None = None,
) -> Prediction:
    """Predicts the latency of ``model`` on ``device``.

    Args:
        model: ONNX file or model; weights are not read. What the file states (float16 tensors,
            Q/DQ) is kept, and its float32 tensors beside them are fp32, as in an engine of it; a
            float32 file without Q/DQ is taken as if converted to ``precision``.
        device: board and power mode, from :func:`kd3d.profiling.devices.load_device`.
        precision: "fp32" (TF32 in tensor cores, TensorRT's default), "fp16" or "int8".
        protocol: "engine" (GPU compute time as trtexec prints it), "python" (one synchronous call
            of a Python runtime, without pre- and post-processing) or "mlperf" (SingleStream,
            CUDA graph, end to end).
        batch: images or frames; a file of fixed batch is scaled as if it were this one.
        sms: other than the board's mode has on line.
        gpu_mhz: other than the board's mode has.
        emc_mhz: other than the board's mode has.
        sizes: of free axes of the inputs, by name; by default "opt" of an export.json beside the
            file, which a warning tells.
        float_type: what "int8" leaves in float: "fp16" or "fp32". By default what the file
            states if it has Q/DQ, as an engine of it does: float32 tensors are fp32. Without
            Q/DQ fp16, but fp32 for "python", whose published runs set no fp16 flag beside int8.

    Raises:
        UserError: for a bad file, an open size, an unknown precision or protocol, a float type
            where nothing is int8.
    """
    _check("precision", precision, PRECISIONS)
    _check("protocol", protocol, PROTOCOLS)
    if batch is not None and batch < 1:
        raise UserError(f"batch {batch}: expected a number above 0")
    board = device.at(sms=sms, gpu_mhz=gpu_mhz, emc_mhz=emc_mhz)
    sizes = dict(sizes or {})
    taken = exported_sizes(model, sizes)
    graph = graph_from_onnx(model, batch=batch, sizes={**taken, **sizes})
    fused = fuse(graph)
    refuse_uncounted(fused.unknown)
    stated, half = has_quantizers(fused), _states_half(fused)
    taken_as = "int8" if stated else "fp32" if half else precision
    if float_type and taken_as != "int8":
        why = "the file states float16 without Q/DQ" if half else f"precision {precision}"
        raise UserError(
            f"float type {float_type}: is for what int8 leaves in float, and nothing is int8 here "
            f"({why}); leave it out"
        )
    float_type = float_type or ("fp32" if stated or protocol == "python" else "fp16")
    _check("float_type", float_type, ("fp16", "fp32"))
    own_batch = exported_batch(model) or graph.batch
    if own_batch is None and batch == 1 and counts_rows(model):
        own_batch = 1  # as without a batch: so many rows are those of one frame
    layers = layer_work(fused, taken_as, float_type)
    ratio = _ratio(graph, own_batch, batch)
    work = [layer.scaled(ratio) for layer in layers]
    warnings = [
        f'{name} {size}: taken from "opt" of the export.json beside the file (--size {name}=N)'
        for name, size in taken.items()
    ]
    warnings += _file_warnings(fused, board)
    if board.generation == "blackwell":
        warnings.append("Thor: fitted on one family of networks alone; the interval is Orin's")
    if stated and precision != "int8":
        warnings.append(
            f"the file has Q/DQ: its quantised layers are int8 and its float32 ones {float_type}, "
            f"not {precision}"
        )
    single = any(layer.operations and layer.math == "fp32" for layer in work)
    if half and not stated and (single or precision != "fp16"):
        warnings.append(
            "the file states float16: its float16 layers are fp16 and its float32 ones fp32, "
            f"which precision {precision} does not change"
        )
    return _prediction(
        work,
        board,
        precision=precision,
        types=_stated_types(work) if stated or half else precision,
        protocol=protocol,
        batch=batch or own_batch or 1,
        warnings=warnings,
    )


def _file_warnings(fused: FusedGraph, board: Device) -> list[str]:
    """What had to be assumed of the file, for this board."""
    graph, apart = fused.graph, float_weights(fused)
    warnings = [*graph.warnings, *check_types(graph.dequantized.values(), board.generation)]
    if apart:
        warnings.append(
            f"{len(apart)} products ({apart[0]}, ...) have Q/DQ on what they read and not on their "
            "weight: TensorRT runs them in float"
        )
    if fused.unknown:
        warnings.append(
            f"unknown operators, taken as bound by memory: {', '.join(fused.unknown)}; the "
            f"interval holds times {UNKNOWN_FACTOR} times shorter or longer for them"
        )
    return warnings


def _ratio(graph: OnnxGraph, own: int | None, batch: int | None) -> float:
    """Of the batch that is asked for to that of the file's shapes, ``own``."""
    if not batch or graph.free_batch:
        return 1.0
    if own is None:
        shapes = ", ".join(f"{name} {list(graph.tensors[name].shape)}" for name in graph.inputs)
        raise UserError(
            f"batch {batch}: the file does not tell how many images or frames it takes by its "
            f"inputs {shapes}; expected images or maps of four or five axes and one first axis for "
            "all, first axes of 1, or the export.json of tools/export.py beside the file; leave "
            "the batch out, or export the file for that batch"
        )
    return batch / own


def harness_ms(protocol: str, device: Device, parameters: Parameters) -> float:
    """Time of the protocol around the kernels; the CPU's clock sets its pace."""
    at_2_ghz = {
        "engine": 0.0,
        "python": parameters.python_ms,
        "mlperf": parameters.mlperf_ms,
    }[protocol]
    return at_2_ghz * device.cpu_slowness


@cache
def fitted() -> tuple[Parameters, dict[str, float]]:
    """The committed parameters, and "coverage" and "log_half_width" of the interval."""
    content = yaml.safe_load(PARAMETERS_FILE.read_text())
    return Parameters(**content["parameters"]), content["interval"]


def _prediction(
    work: list[LayerWork],
    device: Device,
    *,
    precision: str,
    types: str,
    protocol: str,
    batch: int,
    warnings: list[str],
) -> Prediction:
    parameters, interval = fitted()
    times = kernel_times(
        WorkTable.from_layers(work), device, parameters, cuda_graph=protocol == "mlperf"
    )
    layers = tuple(
        LayerLatency(
            name=layer.name,
            operators=layer.operators,
            kind=layer.kind,
            math=layer.math,
            latency_us=float(times.gpu[place]),
            compute_us=float(times.compute[place]),
            memory_us=float(times.memory[place]),
            start_us=float(times.start[place]),
            gflops=layer.operations / 1e9,
            megabytes=(layer.read_bytes + layer.weight_bytes + layer.write_bytes) / 1e6,
        )
        for place, layer in enumerate(work)
    )
    gpu_ms = float(times.gpu.sum()) / 1e3
    run_ms = run_us(times) / 1e3
    around_ms = harness_ms(protocol, device, parameters)
    total_ms = run_ms + around_ms
    spread = math.exp(interval["log_half_width"])
    unknown_ms = sum(layer.latency_us for layer in layers if layer.kind == "unknown") / 1e3
    return Prediction(
        total_ms=total_ms,
        low_ms=(total_ms - unknown_ms * (1 - 1 / UNKNOWN_FACTOR)) / spread,
        high_ms=(total_ms + unknown_ms * (UNKNOWN_FACTOR - 1)) * spread,
        coverage=interval["coverage"],
        gpu_ms=gpu_ms,
        waiting_ms=run_ms - gpu_ms,
        harness_ms=around_ms,
        layers=layers,
        device=f"{device.name}:{device.mode}",
        sms=device.sms,
        gpu_mhz=device.gpu_mhz,
        emc_mhz=device.emc_mhz,
        precision=precision,
        types=types,
        protocol=protocol,
        batch=batch,
        gflops=sum(layer.gflops for layer in layers),
        warnings=tuple(warnings),
    )


def _states_half(fused: FusedGraph) -> bool:
    """Whether the file computes in float16; one that only casts to it does not."""
    made = (fused.tensor(name) for layer in fused.layers for name in layer.outputs)
    return any(tensor.dtype in ("float16", "bfloat16") for tensor in made)


def _stated_types(work: list[LayerWork]) -> str:
    """Of a file's products, or of all its layers if it has none."""
    found = {layer.math for layer in work if layer.operations} or {layer.math for layer in work}
    return " and ".join(kind for kind in ("int8", "fp16", "fp32") if kind in found)


def _check(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UserError(f"{what} {given!r}: expected one of {', '.join(known)}")
