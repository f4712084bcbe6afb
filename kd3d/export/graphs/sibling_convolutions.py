"""Makes one convolution of small ones that read the same tensor, as a head's branches do.

CPUs and tensor cores compute output channels by 8 or 16. A CenterHead of two tasks ends in twelve
convolutions of one to five channels, each padded to a block, each launched by itself; as one of
thirty channels they cost two blocks. The numbers stay: an output channel depends on no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kd3d.export.graphs.graph_parts import constant_tensors

BLOCK = 16  # a convolution of so many channels fills its block and is left alone
MERGED = "_and_siblings"  # how the name of a merged convolution ends


def merge_siblings(model: Any) -> int:
    """Merges convolutions of fewer than 16 channels that differ in their weights alone, in place.

    A Split after the merged one gives each output its old name; where a Concat joins neighbours
    again, they stay together.

    Args:
        model: an ``onnx.ModelProto`` of opset 13 or more, with constant weights.

    Returns:
        How many convolutions went into another.
    """
    constants = constant_tensors(model.graph)
    families: dict[tuple[Any, ...], list[Any]] = {}
    for node in model.graph.node:
        if _is_small(node, constants):
            families.setdefault(_kind(node, constants), []).append(node)
    siblings = [nodes for nodes in families.values() if len(nodes) > 1]
    for nodes in siblings:
        _merge(model.graph, nodes, constants)
    return sum(len(nodes) - 1 for nodes in siblings)


def _is_small(node: Any, constants: dict[str, Any]) -> bool:
    if node.op_type != "Conv" or any(name not in constants for name in node.input[1:]):
        return False
    grouped = any(a.name == "group" and a.i != 1 for a in node.attribute)
    return not grouped and constants[node.input[1]].dims[0] < BLOCK


def _kind(node: Any, constants: dict[str, Any]) -> tuple[Any, ...]:
    """What siblings have in common: what they read, the kernel, strides and padding."""
    weight = constants[node.input[1]]
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
    return (node.input[0], weight.data_type, tuple(weight.dims[1:]), *attributes)


def _merge(graph: Any, nodes: list[Any], constants: dict[str, Any]) -> None:
    from onnx import helper, numpy_helper

    first = nodes[0]
    name, whole = f"{first.name}{MERGED}", f"{first.output[0]}{MERGED}"
    weights = [numpy_helper.to_array(constants[node.input[1]]) for node in nodes]
    biases = [
        numpy_helper.to_array(constants[node.input[2]])
        if len(node.input) > 2
        else np.zeros(len(weight), weight.dtype)
        for node, weight in zip(nodes, weights, strict=True)
    ]
    parts = _rejoin(graph, [(n.output[0], len(w)) for n, w in zip(nodes, weights, strict=True)])
    arrays = {
        f"{name}.weight": np.concatenate(weights),
        f"{name}.bias": np.concatenate(biases),
        f"{name}.parts": np.array([channels for _, channels in parts], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(a, key) for key, a in arrays.items())
    weight, bias, sizes = arrays
    merged = helper.make_node("Conv", [first.input[0], weight, bias], [whole], name=name)
    merged.attribute.extend(first.attribute)
    outputs = [output for output, _ in parts]
    split = helper.make_node("Split", [whole, sizes], outputs, name=f"{name}/Split", axis=1)
    place = list(graph.node).index(first)
    for node in nodes:
        graph.node.remove(node)
    graph.node.insert(place, split)
    graph.node.insert(place, merged)


def _rejoin(graph: Any, parts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Parts (name, channels) with those made one that a Concat puts side by side in this order."""
    outputs = {output.name for output in graph.output}
    for node in list(graph.node):
        names = [name for name, _ in parts]
        if node.op_type != "Concat" or _axis(node) != 1 or node.input[0] not in names:
            continue
        start, count = names.index(node.input[0]), len(node.input)
        joined = parts[start : start + count]
        read_here_alone = all(
            name not in outputs and sum(n.input[:].count(name) for n in graph.node) == 1
            for name in node.input
        )
        if names[start : start + count] == list(node.input) and read_here_alone:
            whole = (node.output[0], sum(channels for _, channels in joined))
            parts = [*parts[:start], whole, *parts[start + count :]]
            graph.node.remove(node)
    return parts


def _axis(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 0)
