"""What is quantised together: tensors that share a scale, and the layers that read them.

Placement follows NVIDIA's guide for explicit quantisation: Q/DQ at the inputs of weighted layers
and of the layers that join or pass their outputs on, none at outputs. Joined tensors share one
scale, so that a concatenation moves int8 values and converts none. Of the two branches of an
addition, the one that comes straight from a weighted layer stays float: TensorRT adds the other in
the same kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kd3d.export.graphs.graph_parts import WEIGHTED, Graph

JOINING = ("Concat", "MaxPool", "Resize")  # their inputs and output share a scale
QUANTIZED = (*sorted(WEIGHTED), *JOINING, "Add")


@dataclass(frozen=True)
class Unit:
    """Tensors of one scale.

    Attributes:
        name: of its first tensor.
        tensors: activations, in the order of the graph.
        nodes: names of the layers that read them in int8, in the order of the graph.
    """

    name: str
    tensors: tuple[str, ...]
    nodes: tuple[str, ...]


def quantizable(graph: Graph) -> list[str]:
    """Names of the nodes of the trunk that can be computed in int8."""
    return [
        name
        for name in graph.trunk
        if name not in graph.selection and quantized_inputs(graph, graph.nodes[name])
    ]


def quantized_inputs(graph: Graph, node: Any) -> list[str]:
    """Activations that a node reads in int8."""
    if node.op_type not in QUANTIZED:
        return []
    if node.op_type in WEIGHTED:
        return [node.input[0]] if has_weight(graph, node) else []
    names = node.input[:1] if node.op_type in ("MaxPool", "Resize") else node.input
    activations = [n for n in names if n in graph.floats and n not in graph.constants]
    if node.op_type == "Add":
        if len(activations) < 2:
            return []
        return _without_fused(graph, activations)
    return activations if len(activations) == len(names) else []


def has_weight(graph: Graph, node: Any) -> bool:
    """Whether a weighted layer has a constant weight and an activation; attention has none."""
    first, second = node.input[0], node.input[1]
    return first in graph.floats and first not in graph.constants and second in graph.constants


def weight_axis(node: Any, dimensions: int) -> int:
    """The axis of a weight that counts output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else dimensions - 1


def scale_units(graph: Graph) -> list[Unit]:
    """All units of a model, in the order of its graph."""
    nodes = quantizable(graph)
    root: dict[str, str] = {}

    def find(tensor: str) -> str:
        while root.setdefault(tensor, tensor) != tensor:
            tensor = root[tensor]
        return tensor

    for name in nodes:
        node = graph.nodes[name]
        inputs = quantized_inputs(graph, node)
        for tensor in inputs:
            find(tensor)
        if node.op_type in JOINING:
            for tensor in (*inputs, node.output[0]):
                root[find(tensor)] = find(inputs[0])
    groups: dict[str, list[str]] = {}
    for tensor in root:
        groups.setdefault(find(tensor), []).append(tensor)
    return [
        Unit(
            name=tensors[0],
            tensors=tuple(tensors),
            nodes=tuple(n for n in nodes if set(tensors) & set(_read(graph, n))),
        )
        for tensors in groups.values()
    ]


def shared_ranges(units: list[Unit], ranges: Mapping[str, float]) -> dict[str, float]:
    """Of each unit's tensors the largest range, by the unit's name; at least a tiny one."""
    return {
        unit.name: max(1e-6, *(ranges.get(tensor, 0.0) for tensor in unit.tensors))
        for unit in units
    }


def _read(graph: Graph, name: str) -> list[str]:
    return quantized_inputs(graph, graph.nodes[name])


def _without_fused(graph: Graph, activations: list[str]) -> list[str]:
    """Without the first branch that comes from a weighted layer which nothing else reads."""
    for tensor in activations:
        maker = graph.producer.get(tensor)
        if maker is not None and maker.op_type in WEIGHTED and len(graph.users[tensor]) == 1:
            return [other for other in activations if other != tensor]
    return activations
