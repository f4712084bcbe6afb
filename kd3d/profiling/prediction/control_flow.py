"""Graphs within the nodes of an ONNX graph: branches that are known, and what they read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, helper


def captured(node: Any) -> list[str]:  # Any: onnx's NodeProto
    """Tensors of the graph around that the graphs within a node read; they are no inputs of it."""
    names: dict[str, None] = {}
    for inner in _graphs(node):
        own = {value.name for value in [*inner.input, *inner.initializer]}
        own |= {name for part in inner.node for name in part.output}
        read = [name for part in inner.node for name in (*part.input, *captured(part)) if name]
        read += [value.name for value in inner.output]
        names.update(dict.fromkeys(name for name in read if name not in own))
    return list(names)


def inline_known_branches(graph: Any, values: Mapping[str, NDArray[Any]]) -> bool:
    """Puts the branch that is taken in the place of each If whose condition is known.

    Args:
        graph: an onnx GraphProto, changed.
        values: tensors that are known, by name.

    Returns:
        Whether there was one.
    """
    known = [
        node
        for node in graph.node
        if node.op_type == "If" and np.size(values.get(node.input[0], ())) == 1
    ]
    for node in known:
        place = list(graph.node).index(node)
        taken = "then_branch" if values[node.input[0]].item() else "else_branch"
        branch = next(entry.g for entry in node.attribute if entry.name == taken)
        parts = _inlined(graph, node, branch, f"{node.output[0]}/")
        del graph.node[place]
        for part in reversed(parts):
            graph.node.insert(place, part)
    return bool(known)


def _inlined(graph: Any, node: Any, branch: Any, prefix: str) -> list[Any]:
    """The branch's nodes, what they make renamed; its weights go to the graph."""
    own = [tensor.name for tensor in branch.initializer]
    own += [name for part in branch.node for name in part.output if name]
    names = {name: prefix + name for name in own}
    for tensor in branch.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = names[tensor.name]
    parts = [onnx.NodeProto.FromString(part.SerializeToString()) for part in branch.node]
    for part in parts:
        _rename(part, names)
        part.name = prefix + (part.name or part.op_type)
    results = [names.get(value.name, value.name) for value in branch.output]
    return parts + [
        helper.make_node("Identity", [result], [name], name=f"{prefix}{name}")
        for result, name in zip(results, node.output, strict=True)
        if name
    ]


def _rename(node: Any, names: Mapping[str, str]) -> None:
    for field in (node.input, node.output):
        field[:] = [names.get(name, name) for name in field]
    for inner in _graphs(node):
        for part in inner.node:
            _rename(part, names)
        for value in inner.output:
            value.name = names.get(value.name, value.name)


def _graphs(node: Any) -> list[Any]:
    single = [entry.g for entry in node.attribute if entry.type == AttributeProto.GRAPH]
    several = [entry.graphs for entry in node.attribute if entry.type == AttributeProto.GRAPHS]
    return single + [graph for graphs in several for graph in graphs]
