"""An ONNX file as a list of nodes with all shapes known, weights not needed.

Weights count by their shape only, so a file whose external data is elsewhere, or that was written
without weights, serves as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, inliner

from kd3d.errors import UserError
from kd3d.profiling.prediction.control_flow import captured
from kd3d.profiling.prediction.input_sizes import fix_sizes, weight_names
from kd3d.profiling.prediction.quantizers import dequantized_types
from kd3d.profiling.prediction.shape_folding import fold_shapes


@dataclass(frozen=True)
class GraphTensor:
    """A tensor of the graph.

    Attributes:
        name: of it.
        shape: all sizes known.
        dtype: numpy's name, "float32".
        constant: a weight, or made of weights only.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool = False

    @property
    def elements(self) -> int:
        """Product of the sizes."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class GraphNode:
    """One operator; absent optional inputs are "" in ``inputs``."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)  # Any: ints, floats, strings, lists


@dataclass(frozen=True)
class OnnxGraph:
    """Nodes in an order that runs, and every tensor's shape.

    Attributes:
        nodes: those that work on activations; what depends on weights or shapes alone is left out.
        tensors: by name.
        inputs: names of the graph's inputs, weights left out.
        outputs: names of the graph's outputs.
        batch: images or frames of one run that the shapes stand for; None where the inputs do not
            tell it.
        free_batch: the file leaves it open.
        warnings: what had to be assumed.
        dequantized: tensors that come through Q/DQ, weights too, and the type between: "int8".
    """

    nodes: tuple[GraphNode, ...]
    tensors: Mapping[str, GraphTensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: int | None = 1
    free_batch: bool = False
    warnings: tuple[str, ...] = ()
    dequantized: Mapping[str, str] = field(default_factory=dict)

    def consumers(self) -> dict[str, list[GraphNode]]:
        """Tensor's name to the nodes that read it."""
        found: dict[str, list[GraphNode]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found


def read_onnx(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """The model without its external data.

    Raises:
        UserError: when the file is absent, a folder, or no ONNX model.
    """
    if isinstance(source, onnx.ModelProto):
        return source
    path = Path(source)
    if path.is_dir():
        files = ", ".join(str(file) for file in sorted(path.glob("*.onnx")))
        found = f"one of {files}" if files else "but no .onnx file is in it (tools/export.py)"
        raise UserError(f"{path}: is a folder; expected an ONNX file, {found}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected an ONNX model (tools/export.py makes one)")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read as an ONNX model: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise UserError(f"{path}: holds no ONNX graph; expected a model with nodes and an opset")
    return model


def graph_from_onnx(
    source: str | Path | onnx.ModelProto,
    *,
    batch: int | None = None,
    sizes: Mapping[str, int] | None = None,
) -> OnnxGraph:
    """Reads a model and works out every shape.

    Args:
        source: a file, or a model (left as it is).
        batch: size of free first axes [1]; it does not change a batch that the file fixes.
        sizes: of other free axes, by the name that the file gives them.

    Raises:
        UserError: for a bad file, a free size that is not given, or a size that no axis has.
    """
    given = read_onnx(source)
    model = onnx.ModelProto()
    # a function of the file would be an operator that nobody knows
    model.CopyFrom(inliner.inline_local_functions(given) if given.functions else given)
    weights = weight_names(model.graph)
    found_batch, free_batch = fix_sizes(model.graph, batch, dict(sizes or {}))
    dequantized = dequantized_types(model.graph)  # before small weights are folded
    shapes, warnings = fold_shapes(model, resized=free_batch or bool(sizes))
    weights |= {tensor.name for tensor in model.graph.initializer}  # those of branches, too
    tensors = _tensors(model.graph, shapes, weights, warnings)
    nodes = _active_nodes(model.graph, tensors, shapes.values)
    inputs = tuple(value.name for value in model.graph.input if value.name not in weights)
    outputs = tuple(value.name for value in model.graph.output)
    return OnnxGraph(
        nodes,
        tensors,
        inputs,
        outputs,
        batch=found_batch,
        free_batch=free_batch,
        warnings=tuple(warnings),
        dequantized=dequantized,
    )


def _tensors(
    graph: Any, shapes: Any, weights: set[str], warnings: list[str]
) -> dict[str, GraphTensor]:
    """Every tensor that a node reads or writes, constness carried along."""
    constant = weights | set(shapes.values)
    tensors: dict[str, GraphTensor] = {}

    def add(name: str, fallback: str = "") -> None:
        if not name or name in tensors:
            return
        shape = shapes.shapes.get(name)
        dtype = shapes.dtypes.get(name, "float32")
        if shape is None:
            other = tensors.get(fallback)
            shape = other.shape if other else ()
            dtype = other.dtype if other else dtype
            warnings.append(f"tensor {name!r}: shape unknown, taken as {list(shape)}")
        tensors[name] = GraphTensor(name, tuple(shape), dtype, name in constant)

    for value in [*graph.input, *graph.initializer]:
        add(value.name)
    for node in graph.node:
        present = [name for name in (*node.input, *captured(node)) if name]
        if all(name in constant or name in shapes.values for name in present):
            constant.update(node.output)
        for name in present:
            add(name)
        largest = max(present, key=lambda name: tensors[name].elements, default="")
        for name in node.output:
            add(name, largest)
    return tensors


def _active_nodes(
    graph: Any, tensors: Mapping[str, GraphTensor], values: Mapping[str, NDArray[Any]]
) -> tuple[GraphNode, ...]:
    """Nodes whose outputs depend on activations and are not mere shapes."""
    nodes = []
    for index, node in enumerate(graph.node):
        outputs = tuple(name for name in node.output if name)
        if not outputs or all(tensors[name].constant or name in values for name in outputs):
            continue
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        name = node.name or f"{node.op_type}_{index}"
        nodes.append(GraphNode(name, node.op_type, tuple(node.input), outputs, attributes))
    return tuple(nodes)
