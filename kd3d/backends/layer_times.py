"""Time, kind and type of each layer of an engine. Python 3.8 and tensorrt only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping  # noqa: UP035  (the vehicle runs Python 3.8)

if TYPE_CHECKING:
    import tensorrt as trt

    from kd3d.backends.device_run import DeviceRun

_RUNS = 10  # that are averaged, after one that does not count


@dataclass(frozen=True)
class LayerTime:
    """One layer of a built engine, which may be several of the ONNX file, fused.

    Attributes:
        name: TensorRT's, made of the names of the ONNX nodes.
        ms: mean over the profiled runs.
        kind: TensorRT's, as "CaskConvolution"; empty where the inspector does not tell.
        precision: type and format of its outputs, in the inspector's words; empty as above.
    """

    name: str
    ms: float
    kind: str
    precision: str


def measure_layers(trt: Any, engine: trt.ICudaEngine, run: DeviceRun) -> list[LayerTime]:
    """Runs with TensorRT's profiler.

    Args:
        trt: the module.
        engine: what runs.
        run: with its inputs loaded; it keeps the profiler, so use it for nothing else.
    """
    times: dict[str, list[float]] = {}
    profiler = _make_profiler(trt, times)
    run.report_layers_to(profiler)
    for _ in range(1 + _RUNS):
        run.enqueue()
        run.synchronize()
    found = inspected_layers(trt, engine)
    layers = []
    for name, values in times.items():
        kind, precision = found.get(name, ("", ""))
        counted = values[len(values) // (1 + _RUNS) :]
        layers.append(LayerTime(name, sum(counted) / _RUNS, kind, precision))
    return layers


def inspected_layers(trt: Any, engine: trt.ICudaEngine) -> dict[str, tuple[str, str]]:
    """Kind and precision by the layer's name, from the engine inspector.

    Empty where its text is no JSON: times are worth having without.
    """
    inspector: trt.EngineInspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return layers_from_json(json.loads(text))
    except json.JSONDecodeError:
        return {}


def layers_from_json(content: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The same from the inspector's JSON of TensorRT 8, 10 or 11.

    Layers are objects in an engine that was built with detailed verbosity, plain names otherwise.
    A tensor has "Format/Datatype" until TensorRT 10; 11 splits it in two.
    """
    found = {}
    for layer in content.get("Layers", []):
        if isinstance(layer, str):
            found[layer] = ("", "")
        else:
            outputs = [_type_text(tensor) for tensor in layer.get("Outputs", [])]
            texts = sorted({text for text in outputs if text})
            found[layer["Name"]] = (str(layer.get("LayerType", "")), ", ".join(texts))
    return found


def _type_text(tensor: Mapping[str, Any]) -> str:
    """All that a tensor says of its type and format, in the order it says it."""
    parts = [
        str(value)
        for key, value in tensor.items()
        if key.lower() in ("format/datatype", "datatype", "format")
    ]
    return " ".join(parts)


def _make_profiler(trt: Any, times: dict[str, list[float]]) -> Any:
    """Collects what TensorRT reports: milliseconds of every run, by layer."""

    class Profiler(trt.IProfiler):  # made here because trt is imported late
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(float(ms))

    return Profiler()
