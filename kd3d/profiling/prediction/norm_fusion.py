"""Norms that a file writes in single operators, as opsets before 17 do, as one node each.

A layer norm (Ba et al., 2016) is ReduceMean, Sub, Pow or Mul, ReduceMean, Add, Sqrt, Div; RMS norm
(Zhang & Sennrich, 2019) has no mean to subtract, and often Reciprocal and Mul for Div. TensorRT's
compiler makes one kernel of either. Scale and shift behind them are pointwise, as ever.
"""

from collections.abc import Mapping
from dataclasses import replace

from kd3d.profiling.prediction.onnx_graph import GraphNode, OnnxGraph


def join_norms(graph: OnnxGraph) -> OnnxGraph:
    """The graph with each such norm as one LayerNormalization or RMSNormalization."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    readers = graph.consumers()
    norms: dict[int, GraphNode] = {}  # by the last of its nodes
    swallowed: set[int] = set()
    for root in graph.nodes:
        parts = _norm_around(graph, makers, readers, root) if root.op == "Sqrt" else []
        if not parts or not _closed(graph, readers, parts):
            continue
        last = parts[-1]
        centred = any(part.op == "Sub" for part in parts)
        op = "LayerNormalization" if centred else "RMSNormalization"
        norms[id(last)] = GraphNode(last.name, op, parts[0].inputs[:1], last.outputs)
        swallowed.update(map(id, parts))
    kept = [node for node in graph.nodes if id(node) not in swallowed or id(node) in norms]
    return replace(graph, nodes=tuple(norms.get(id(node), node) for node in kept))


def _norm_around(
    graph: OnnxGraph,
    makers: Mapping[str, GraphNode],
    readers: Mapping[str, list[GraphNode]],
    root: GraphNode,
) -> list[GraphNode]:
    """Nodes of the norm that a square root belongs to, in order; none if it is in no norm."""
    epsilon = makers.get(root.inputs[0])
    mean = _made_by(makers, _plus_constant(graph, epsilon), "ReduceMean")
    square = makers.get(mean.inputs[0]) if mean else None
    if epsilon is None or mean is None or square is None or not _over_rows(graph, mean):
        return []
    if not _is_square(graph, square):
        return []
    value = square.inputs[0]
    behind = _divisions(graph, readers, root, value)
    before = _centring(graph, makers, value)
    return [*before, square, mean, epsilon, root, *behind] if behind else []


def _made_by(makers: Mapping[str, GraphNode], name: str, op: str) -> GraphNode | None:
    node = makers.get(name)
    return node if node is not None and node.op == op else None


def _plus_constant(graph: OnnxGraph, node: GraphNode | None) -> str:
    """What an epsilon is added to."""
    if node is None or node.op != "Add":
        return ""
    first, second = (graph.tensors[name] for name in node.inputs)
    if second.constant and second.elements == 1:
        return first.name
    return second.name if first.constant and first.elements == 1 else ""


def _over_rows(graph: OnnxGraph, mean: GraphNode) -> bool:
    """Whether the mean is that of the last axis, which stays with size 1."""
    shape = graph.tensors[mean.inputs[0]].shape
    return graph.tensors[mean.outputs[0]].shape == (*shape[:-1], 1)


def _is_square(graph: OnnxGraph, node: GraphNode) -> bool:
    first, *rest = node.inputs
    if node.op == "Pow":
        return graph.tensors[rest[0]].constant and graph.tensors[rest[0]].elements == 1
    return node.op == "Mul" and rest == [first]


def _centring(graph: OnnxGraph, makers: Mapping[str, GraphNode], value: str) -> list[GraphNode]:
    """The mean and its subtraction in front of a layer norm."""
    minus = _made_by(makers, value, "Sub")
    mean = _made_by(makers, minus.inputs[1], "ReduceMean") if minus else None
    if minus is None or mean is None or mean.inputs[0] != minus.inputs[0]:
        return []
    return [mean, minus] if _over_rows(graph, mean) else []


def _divisions(
    graph: OnnxGraph,
    readers: Mapping[str, list[GraphNode]],
    root: GraphNode,
    value: str,
) -> list[GraphNode]:
    """What divides the value by the root: Div, or a reciprocal and Mul."""
    (name,) = root.outputs
    behind: list[GraphNode] = []
    for _ in range(2):
        following = readers.get(name, [])
        if len(following) != 1:
            return []
        node = following[0]
        behind.append(node)
        numerator = node.inputs[0]
        if node.op == "Div" and numerator == value and len(behind) == 1:
            return behind
        if node.op == "Mul" and value in node.inputs and len(behind) == 2:
            return behind
        over = node.op == "Div" and graph.tensors[numerator].constant
        if node.op != "Reciprocal" and not over:
            return []
        (name,) = node.outputs
    return []


def _closed(
    graph: OnnxGraph, readers: Mapping[str, list[GraphNode]], parts: list[GraphNode]
) -> bool:
    """Whether nothing else reads what the nodes before the last one make."""
    own = set(map(id, parts))
    inner = {name for part in parts[:-1] for name in part.outputs}
    read = all(id(reader) in own for name in inner for reader in readers.get(name, []))
    return read and not inner & set(graph.outputs)
