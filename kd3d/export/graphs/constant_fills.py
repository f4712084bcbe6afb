"""Writes small integer tensors of one value into an ONNX graph instead of making them when it runs.

torch.nn.functional.pad and repeat leave ConstantOfShape with known sizes behind, for arithmetic on
sizes; onnxscript folds none of them, nor what follows. TensorRT 8.5's matrix has it for
floating-point tensors only, and those that are large are better made when the graph runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kd3d.export.graphs.graph_parts import constant_tensors

MOST_VALUES = 1024


def fold_integer_fills(model: Any) -> int:
    """Replaces each ConstantOfShape of integers with known sizes by a Constant, in place.

    Args:
        model: an ``onnx.ModelProto``.

    Returns:
        How many were replaced.
    """
    from onnx import helper, numpy_helper

    constants = constant_tensors(model.graph)
    folded = 0
    for index, node in enumerate(model.graph.node):
        known = node.op_type == "ConstantOfShape" and node.input[0] in constants
        if not known or not node.attribute:  # without a value it is 0.0
            continue
        sizes = numpy_helper.to_array(constants[node.input[0]])
        value = numpy_helper.to_array(node.attribute[0].t)
        if value.dtype.kind != "i" or np.prod(sizes, dtype=np.int64) > MOST_VALUES:
            continue
        tensor = numpy_helper.from_array(np.full(tuple(sizes), value[0], dtype=value.dtype))
        made = helper.make_node("Constant", [], [node.output[0]], name=node.name, value=tensor)
        model.graph.node[index].CopyFrom(made)
        folded += 1
    return folded
