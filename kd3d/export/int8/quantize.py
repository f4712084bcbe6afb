"""An INT8 ONNX file by explicit Q/DQ: calibrated over real inputs, damage measured layer by layer.

onnxruntime's static quantiser collects the ranges and writes Q/DQ. NVIDIA ModelOpt does the same on
its calibrators; it chooses neither range nor layers by what they do to the detector, and needs
other versions of onnx and NumPy than MMDetection takes; tools/modelopt compares them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd3d.backends.base import Feeds
from kd3d.backends.head_noise import ENTRY, AcceptedNoise
from kd3d.errors import UserError
from kd3d.export.graphs.graph_parts import WEIGHTED, Graph, read_graph, save_model
from kd3d.export.int8.calibration import check_calibration, percentile_ranges
from kd3d.export.int8.qdq_model import qdq_model
from kd3d.export.int8.quantization_search import Choice, QuantizationSearch
from kd3d.export.int8.quantization_units import (
    QUANTIZED,
    quantizable,
    quantized_inputs,
    scale_units,
)

_SHOWN = 8  # names a line of the text; export.json has them all


@dataclass(frozen=True)
class Int8Report:
    """What is quantised, what stayed float, and the damage that was measured.

    Attributes:
        kept_fp32: names of the layers that stay float although they could be int8.
        damage: of these, where it was measured: noise power over signal power at the worst head
            that the layer alone would add.
        layers: weighted layers in int8.
        weighted: weighted layers of the file.
        inputs: calibration inputs.
        percentiles: percentile of the absolute values -> number of scales set by it.
        noise: at each head, noise power over signal power of the file.
        accepted: the same for each channel, as the gate wants it.
    """

    kept_fp32: tuple[str, ...]
    damage: dict[str, float]
    layers: int
    weighted: int
    inputs: int
    percentiles: dict[str, int]
    noise: dict[str, float]
    accepted: dict[str, AcceptedNoise]

    def as_json(self) -> dict[str, Any]:  # Any: what json writes
        """For export.json."""
        return {
            "kept_fp32": list(self.kept_fp32),
            "calibration": {"inputs": self.inputs, "scales_by_percentile": self.percentiles},
            "noise_to_signal": self.noise,
            ENTRY: {head: noise.as_json() for head, noise in self.accepted.items()},
        }

    def text(self) -> str:
        """For the terminal."""
        scales = ", ".join(f"{count} by {name}" for name, count in self.percentiles.items())
        lines = [
            f"int8: {self.layers} of {self.weighted} weighted layers; calibrated over "
            f"{self.inputs} inputs; scales: {scales}"
        ]
        if self.kept_fp32:
            names = [
                f"{name} ({self.damage[name]:.3f})" if name in self.damage else name
                for name in self.kept_fp32
            ]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"  stay float: {', '.join(names[:_SHOWN])}{more}")
        if self.noise:
            worst = max(self.noise, key=lambda name: self.noise[name])
            lines.append(
                f"  noise over signal at the last layers: at most {self.noise[worst]:.4f} ({worst})"
            )
        return "\n".join(lines)


def int8_from_onnx(
    source: str | Path,
    target: str | Path,
    calibration: Sequence[Feeds],
    *,
    keep_float: Sequence[str] | None = None,
    ranges: Mapping[str, float] | None = None,
) -> Int8Report:
    """Writes ``source`` with explicit Q/DQ, whole or not at all.

    Decoding, proposal selection and what prepares the first layer's input stay float. Which range
    a tensor gets (a percentile of its absolute values) and which layers stay float is chosen by
    the noise that they alone cause where the last layers answer.

    Args:
        source: a float32 file.
        target: of the file to write.
        calibration: real inputs, at least one, better 32; one is in memory at a time.
        keep_float: names of layers that stay float. None: chosen by measurement; empty: none.
        ranges: name of a weighted layer -> the absolute value of its input that becomes 127, as
            training chose it. It replaces the calibrated range.

    Raises:
        UserError: if the source, an input, a name or a range cannot be used.
    """
    graph = read_graph(source)
    nodes = quantizable(graph)
    if not any(graph.nodes[name].op_type in WEIGHTED for name in nodes):
        raise UserError(f"{source}: no convolution or linear layer that could be quantised")
    _check_names(source, nodes, keep_float, ranges)
    check_calibration(source, calibration)
    units = scale_units(graph)
    percentiles = percentile_ranges(source, calibration, QUANTIZED)
    search = QuantizationSearch(graph, units, percentiles, _given(graph, ranges), calibration)
    choice = search.choose(keep_float)
    kept = set(choice.kept)
    save_model(qdq_model(graph, [n for n in nodes if n not in kept], choice.ranges), target)
    return _report(graph, nodes, choice, len(calibration))


def _report(graph: Graph, nodes: Sequence[str], choice: Choice, inputs: int) -> Int8Report:
    kept = set(choice.kept)
    weighted = [name for name in nodes if graph.nodes[name].op_type in WEIGHTED]
    return Int8Report(
        kept_fp32=tuple(name for name in nodes if name in kept),
        damage=choice.damage,
        layers=sum(name not in kept for name in weighted),
        weighted=sum(node.op_type in WEIGHTED for node in graph.nodes.values()),
        inputs=inputs,
        percentiles=choice.percentiles,
        noise=choice.noise,
        accepted=choice.accepted,
    )


def _given(graph: Graph, ranges: Mapping[str, float] | None) -> dict[str, float]:
    """Ranges by tensor instead of by layer; the largest where layers share their input."""
    given: dict[str, float] = {}
    for name, limit in (ranges or {}).items():
        tensor = quantized_inputs(graph, graph.nodes[name])[0]
        given[tensor] = max(given.get(tensor, 0.0), float(limit))
    return given


def _check_names(
    source: str | Path,
    nodes: Sequence[str],
    keep_float: Sequence[str] | None,
    ranges: Mapping[str, float] | None,
) -> None:
    for what, names in (("keep_float", keep_float or ()), ("ranges", ranges or {})):
        unknown = sorted(set(names) - set(nodes))
        if unknown:
            raise UserError(
                f"{source}: {what} names {', '.join(unknown[:3])}, which is no layer that can be "
                f"quantised; expected names of ONNX nodes such as '{nodes[0]}'"
            )
    for name, limit in (ranges or {}).items():
        if not 0 < limit < float("inf"):
            raise UserError(f"ranges['{name}']: expected a positive number, got {limit}")
