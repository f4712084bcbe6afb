"""Convolutions of one input that run as one kernel, side by side.

TensorRT joins convolutions that read the same tensor in the same way into one with all their output
channels ("a || b" in its layer names): the entries of a C3 block, the branches of a detection head.
What reads one of the outputs reads a slice of the joint one. An activation other than ReLU then
stays a kernel of its own.
"""

from collections.abc import Mapping, Sequence

from kd3d.profiling.prediction.fused_layer import FusedLayer
from kd3d.profiling.prediction.onnx_graph import GraphTensor, OnnxGraph

_Key = tuple[object, ...]
_SAME = ("kernel_shape", "strides", "pads", "dilations", "auto_pad")


def join_parallel(graph: OnnxGraph, layers: Sequence[FusedLayer]) -> list[FusedLayer]:
    """The layers, those that run side by side in the first one's ``parallel``."""
    first: dict[_Key, FusedLayer] = {}
    kept: list[FusedLayer] = []
    for layer in layers:
        key = _key(layer, graph.tensors)
        if key in first:
            first[key].parallel.append(layer.nodes[0])
            first[key].outputs += layer.outputs
            continue
        kept.append(layer)
        if key:
            first[key] = layer
    joint = {name for layer in kept if layer.parallel for name in layer.outputs}
    for layer in kept:
        layer.epilogue = layer.epilogue and not joint & set(layer.inputs)
    return kept


def _key(layer: FusedLayer, tensors: Mapping[str, GraphTensor]) -> _Key:
    """Equal for layers that can run side by side; empty for one that cannot with any.

    A residual sum keeps a layer apart, and so do other operators behind the convolution.
    """
    node = layer.nodes[0]
    if node.op != "Conv" or len(layer.inputs) != 1 or node.attributes.get("group", 1) != 1:
        return ()
    settings = (repr(node.attributes.get(name)) for name in _SAME)
    return (layer.inputs[0], layer.operators, tensors[node.inputs[1]].shape[1:], *settings)
