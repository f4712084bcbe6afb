"""A float32 ONNX model rewritten so that its nodes compute in float16, but for those kept.

TensorRT's typed networks take each tensor's type from the file. onnxruntime's own converter
(``onnxruntime.transformers.float16``) rounds between two neighbours that are both kept in
float32, which undoes what keeping a box decoding is for, and leaves the nodes out of order.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from kd3d.backends.base import Array
from kd3d.export.graphs.graph_parts import Graph

# inputs that ONNX wants in float32 whatever the node computes in: region and scales of Resize
_FLOAT32_INPUTS = {"Resize": (1, 2)}


def half_precision_model(graph: Graph, kept: Collection[str]) -> Any:  # Any: onnx.ModelProto
    """The model with float16 weights and tensors; inputs and outputs stay float32.

    A Cast stands wherever a tensor goes from one precision to the other, one for all users.

    Args:
        graph: of a float32 model, left as it is.
        kept: names of nodes that compute in float32.
    """
    return _Rewriter(graph, kept).rewritten()


class _Rewriter:
    """Writes the nodes once, in order, and keeps what each tensor is called in each precision."""

    def __init__(self, graph: Graph, kept: Collection[str]) -> None:
        from onnx import TensorProto

        self._graph, self._kept = graph, set(kept)
        self._half_type, self._float_type = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)
        self._names: dict[tuple[str, bool], str] = {}  # (tensor, in half) -> its name
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._outputs = {output.name for output in graph.model.graph.output}

    def rewritten(self) -> Any:
        from onnx import ModelProto, numpy_helper

        model = ModelProto()
        model.CopyFrom(self._graph.model)
        for value in model.graph.input:
            self._names[value.name, False] = value.name
        for node in model.graph.node:
            self._write(node)
        for output in self._outputs & self._graph.floats:
            self._named(output, half=False)
        del model.graph.node[:]
        model.graph.node.extend(self._nodes)
        del model.graph.value_info[:]
        del model.graph.initializer[:]
        model.graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in self._constants.items()
        )
        return model

    def _write(self, node: Any) -> None:
        half = node.name not in self._kept and self._graph.touches_floats(node)
        always = _FLOAT32_INPUTS.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if name in self._graph.floats:
                node.input[place] = self._named(name, half=half and place not in always)
            elif name in self._graph.constants:
                self._constants[name] = self._graph.constants[name]
        for place, name in enumerate(node.output):
            if name in self._graph.floats:
                # an output of the graph keeps its name for the float32 tensor
                own = f"{name}_fp16" if half and name in self._outputs else name
                self._names[name, half] = own
                node.output[place] = own
        if half:
            self._retype_attributes(node)
        self._nodes.append(node)

    def _named(self, name: str, *, half: bool) -> str:
        """What a float tensor is called in this precision; made by a Cast if need be."""
        from onnx import helper

        if (name, half) not in self._names:
            suffixed = f"{name}_fp16" if half else f"{name}_fp32"
            if name in self._graph.constants:
                array = self._graph.constants[name]
                self._constants[suffixed if half else name] = (
                    array.astype(np.float16) if half else array
                )
                self._names[name, half] = suffixed if half else name
            else:
                made = name if not half and name in self._outputs else suffixed
                to = self._half_type if half else self._float_type
                source = self._names[name, not half]
                cast = helper.make_node("Cast", [source], [made], name=f"{suffixed}_cast", to=to)
                self._nodes.append(cast)
                self._names[name, half] = made
        return self._names[name, half]

    def _retype_attributes(self, node: Any) -> None:
        """The type that a node names itself: Cast, and the value that ConstantOfShape fills in."""
        from onnx import TensorProto, numpy_helper

        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                if attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT16
            elif attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
                value = numpy_helper.to_array(attribute.t).astype(np.float16)
                self._expand(node, value.reshape(1))
                break

    def _expand(self, node: Any, value: Array) -> None:
        """Turns a ConstantOfShape into an Expand: TensorRT fills in float32 only, before 11."""
        name = f"{node.output[0]}_value"
        self._constants[name] = value
        shape = node.input[0]
        node.op_type = "Expand"
        del node.input[:], node.attribute[:]
        node.input.extend([name, shape])
