"""Damage to one channel, level or scale of a quantised ONNX file, as a fault may do it."""

import copy
import json

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kd3d.backends.bundle import FILE_NAME, MODEL_FILES, ModelFile

KINDS = ("scale", "zeroed", "swapped", "collapsed")


def damaged(model, head, kind):
    """A copy whose layer that makes ``head`` is broken, and no other; None where it cannot be.

    kind: "scale": the range of its input is thirty times too small (none where it stayed float);
    "zeroed": one channel; "swapped": two channels; "collapsed": all answer their bias.
    """
    model = copy.deepcopy(model)
    node = next(node for node in model.graph.node if head in node.output)
    if kind == "scale":
        return model if _shrink_range(model.graph, node) else None
    return model if _change_channels(model.graph, node, kind) else None


def put_in_place(folder, precision, model):
    """Writes another model over the file of a precision, as if it had been exported so."""
    path = folder / MODEL_FILES[precision]
    onnx.save(model, path)
    content = json.loads((folder / FILE_NAME).read_text())
    content["models"][precision]["sha256"] = ModelFile.of(path).sha256
    (folder / FILE_NAME).write_text(json.dumps(content))


def _shrink_range(graph, node):
    made = {name: other for other in graph.node for name in other.output}
    dequantise = made.get(node.input[0])
    if dequantise is None or dequantise.op_type != "DequantizeLinear":
        return False
    quantise = made[dequantise.input[0]]
    arrays = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    scale = np.float32(arrays[quantise.input[1]] / 30)
    graph.initializer.append(numpy_helper.from_array(scale, "damage.scale"))
    pair = ["damage.scale", quantise.input[2]]
    nodes = list(graph.node)
    place = nodes.index(node)
    nodes[place:place] = [
        helper.make_node("QuantizeLinear", [quantise.input[0], *pair], ["damage.q"]),
        helper.make_node("DequantizeLinear", ["damage.q", *pair], ["damage.dq"]),
    ]
    node.input[0] = "damage.dq"
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _change_channels(graph, node, kind):
    """Gives the node weights (and a bias) of its own: a head shares them among its levels."""
    made = {name: other for other in graph.node for name in other.output}
    arrays = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    source = node.input[1]
    while source in made:  # behind Q/DQ
        source = made[source].input[0]
    weight = np.moveaxis(arrays[source], _axis(node, arrays[source]), 0).copy()
    bias = arrays[node.input[2]].copy() if len(node.input) > 2 else np.zeros(len(weight), "f4")
    if kind == "collapsed":
        weight[:] = 0
    elif kind == "zeroed":
        weight[len(weight) // 2], bias[len(weight) // 2] = 0, 0
    elif len(weight) < 2:
        return False
    else:
        for array in (weight, bias):
            array[[0, -1]] = array[[-1, 0]]
    weight = np.ascontiguousarray(np.moveaxis(weight, 0, _axis(node, weight)))
    for place, (name, array) in enumerate({"weight": weight, "bias": bias}.items(), 1):
        if place < len(node.input):
            graph.initializer.append(numpy_helper.from_array(array, f"damage.{name}"))
            node.input[place] = f"damage.{name}"
    return True


def _axis(node, weight):
    """Of the output channels."""
    if node.op_type == "Conv":
        return 0
    assert node.op_type in ("Gemm", "MatMul"), node.op_type
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else weight.ndim - 1
