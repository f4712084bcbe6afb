"""One operation that files write in several ways, brought into one form.

Exporters, their versions and authors write the same thing differently, and TensorRT makes the same
kernels of it: an average over a map is a pooling, zeros around a map are the padding of the
convolution behind them, and two changes of order are one ("Types of Fusions" of its documentation).
The scale of attention may stand on the queries, or its root on queries and keys ("Fused Attention"
there). A tensor that is expanded for an element-wise operator is broadcast by it, a slice of a
slice is a slice, and what pads, crops or repeats nothing is nothing.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kd3d.profiling.prediction.onnx_graph import GraphNode, OnnxGraph

_POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}
_PADDED = frozenset(["Conv", "ConvTranspose"])
# Of these, what comes out with the shape of what went in is the same tensor.
_MAYBE_IDLE = frozenset(["Concat", "Expand", "Pad", "Resize", "Slice", "Split", "Tile", "Upsample"])
_SHAPES = frozenset(["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
_ORDERS = _SHAPES | {"Cast", "Transpose"}


def in_one_form(graph: OnnxGraph, broadcasting: frozenset[str]) -> OnnxGraph:
    """The graph with such operators in one form; what does nothing by itself is an Identity.

    Args:
        graph: as the file has it.
        broadcasting: operators that take tensors of different shapes, element by element.
    """
    readers = graph.consumers()
    scales = _scales_of_keys(graph, readers)
    nodes = []
    for node in graph.nodes:
        behind = [] if set(node.outputs) & set(graph.outputs) else readers.get(node.outputs[0], [])
        operators = {reader.op for reader in behind}
        if _pools_a_map(graph, node):
            nodes.append(replace(node, op=_POOLS[node.op], inputs=node.inputs[:1]))
        elif _is_idle(graph, node):
            nodes.append(_identity(node, node.inputs[0]))
        elif id(node) in scales:
            nodes.append(_identity(node, scales[id(node)]))
        elif node.op == "Div" and graph.tensors[node.inputs[1]].constant:
            nodes.append(replace(node, op="Mul"))
        elif operators and (
            (node.op == "Expand" and operators <= broadcasting)
            or (node.op == "Slice" and operators == {"Slice"})
            or (node.op == "Transpose" and _turns_again(graph, readers, node.outputs[0]))
            or (operators <= _PADDED and _pads_a_map(graph, node))
        ):
            nodes.append(_identity(node, node.inputs[0]))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _identity(node: GraphNode, source: str) -> GraphNode:
    return replace(node, op="Identity", inputs=(source,), attributes={})


def _is_idle(graph: OnnxGraph, node: GraphNode) -> bool:
    """Whether it crops, pads, repeats or joins nothing, for this size of the input."""
    given, made = (graph.tensors[name].shape for name in (node.inputs[0], node.outputs[0]))
    return node.op in _MAYBE_IDLE and given == made


def _turns_again(graph: OnnxGraph, readers: Mapping[str, list[GraphNode]], name: str) -> bool:
    """Whether a change of order alone reads the tensor, be it in another shape."""
    while len(behind := readers.get(name, [])) == 1 and name not in graph.outputs:
        if behind[0].op not in _SHAPES:
            return behind[0].op == "Transpose"
        (name,) = behind[0].outputs
    return False


def _pools_a_map(graph: OnnxGraph, node: GraphNode) -> bool:
    """Whether it reduces all axes of a map but batch and channels."""
    if node.op not in _POOLS:
        return False
    given, made = (graph.tensors[name].shape for name in (node.inputs[0], node.outputs[0]))
    return len(given) > 3 and made[:2] == given[:2] and np.prod(made[2:]) == 1


def _pads_a_map(graph: OnnxGraph, node: GraphNode) -> bool:
    """Whether it puts zeros, or another number, around the rows and columns of a map."""
    if node.op != "Pad" or node.attributes.get("mode", b"constant") != b"constant":
        return False
    given, made = (graph.tensors[name].shape for name in (node.inputs[0], node.outputs[0]))
    return made[:2] == given[:2] and all(m >= g for m, g in zip(made, given, strict=True))


def _scales_of_keys(graph: OnnxGraph, readers: Mapping[str, list[GraphNode]]) -> dict[int, str]:
    """Scales of second factors, by node, where the first factor has one, too: what is scaled."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    found = {}
    for node in graph.nodes:
        if node.op != "MatMul":
            continue
        first, second = (_scale_before(graph, makers, readers, name) for name in node.inputs)
        if first and second:
            scaled, source = second
            found[id(makers[scaled])] = source
    return found


def _scale_before(
    graph: OnnxGraph,
    makers: Mapping[str, GraphNode],
    readers: Mapping[str, list[GraphNode]],
    name: str,
) -> tuple[str, ...]:
    """What a scale by one number makes and reads, through changes of order; empty without one."""
    node = makers.get(name)
    while node is not None and len(readers.get(name, [])) == 1 and name not in graph.outputs:
        if node.op in ("Mul", "Div"):
            first, second = (graph.tensors[given] for given in node.inputs)
            if second.constant and second.elements == 1:
                return name, first.name
            if node.op == "Mul" and first.constant and first.elements == 1:
                return name, second.name
            return ()
        if node.op not in _ORDERS:
            return ()
        name = node.inputs[0]
        node = makers.get(name)
    return ()
