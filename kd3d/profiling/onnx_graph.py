"""An ONNX file as a list of nodes with all shapes known, weights not needed.

Weights count by their shape only, so a file whose external data is elsewhere, or that was written
without weights, serves as well.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, inliner

from kd3d.errors import UserError
from kd3d.profiling.control_flow import captured
from kd3d.profiling.shape_folding import fold_shapes

_BATCH_NAMES = re.compile(r"(batch.*|bs|n|b|unk.*|dynamic.*|\?|-1|)", re.IGNORECASE)
# Inputs of these operators, from this place on, are weights even where a file has no values.
_WEIGHT_SLOTS = {
    "Conv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "BatchNormalization": 1,
    "InstanceNormalization": 1,
    "LayerNormalization": 1,
    "PRelu": 1,
}


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
        batch: images or frames of one run that the shapes stand for; None where neither an image
            nor a first axis that all outputs share tells it.
        free_batch: the file leaves it open.
        warnings: what had to be assumed.
    """

    nodes: tuple[GraphNode, ...]
    tensors: Mapping[str, GraphTensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: int | None = 1
    free_batch: bool = False
    warnings: tuple[str, ...] = ()

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
    weights = {tensor.name for tensor in model.graph.initializer} | _weight_inputs(model.graph)
    found_batch, free_batch = _fix_sizes(model.graph, weights, batch, dict(sizes or {}))
    shapes, warnings = fold_shapes(model)
    weights |= {tensor.name for tensor in model.graph.initializer}  # those of branches, too
    tensors = _tensors(model.graph, shapes, weights, warnings)
    nodes = _active_nodes(model.graph, tensors, shapes.values)
    inputs = tuple(value.name for value in model.graph.input if value.name not in weights)
    outputs = tuple(value.name for value in model.graph.output)
    found_batch = found_batch or _batch_of_outputs([tensors[name].shape for name in outputs])
    return OnnxGraph(nodes, tensors, inputs, outputs, found_batch, free_batch, tuple(warnings))


def free_sizes(source: str | Path | onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Shapes of the graph's inputs as the file gives them; a free size is its name or "?"."""
    graph = read_onnx(source).graph
    weights = {tensor.name for tensor in graph.initializer} | _weight_inputs(graph)
    return {
        value.name: tuple(
            dim.dim_value if dim.dim_value > 0 else (dim.dim_param or "?")
            for dim in value.type.tensor_type.shape.dim
        )
        for value in graph.input
        if value.name not in weights
    }


def is_batch(axis: int, name: str) -> bool:
    """Whether a free axis of an input is taken as the batch."""
    return axis == 0 and _BATCH_NAMES.fullmatch(name) is not None


def _weight_inputs(graph: Any) -> set[str]:  # Any: onnx's GraphProto
    """Graph inputs that are weights: a file exported without them lists them so."""
    used: dict[str, set[bool]] = {}
    for node in graph.node:
        first = _WEIGHT_SLOTS.get(node.op_type, 99)
        for place, name in enumerate(node.input):
            used.setdefault(name, set()).add(place >= first)
    fixed = {
        value.name
        for value in graph.input
        if all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)
    }
    return {name for name in fixed if used.get(name) == {True}}


def _fix_sizes(
    graph: Any, weights: set[str], batch: int | None, sizes: dict[str, int]
) -> tuple[int | None, bool]:
    """Writes numbers into free axes of the inputs.

    Returns:
        The batch, None if no input tells it, and whether it was free.
    """
    unused = set(sizes)
    free = sorted({name for names in _names(graph) for name in names})
    batches: list[int] = []
    free_batch = False
    for value in graph.input:
        if value.name in weights:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value > 0:
                size = dim.dim_value
            elif dim.dim_param in sizes:
                size = sizes[dim.dim_param]
                unused.discard(dim.dim_param)
            elif is_batch(axis, dim.dim_param):
                size = batch or 1
                free_batch = True
            else:
                label = dim.dim_param or "?"
                raise UserError(
                    f"input {value.name!r}: axis {axis} ({label!r}) has no size in the file; "
                    f"give one: --size {label}=NUMBER (no export.json beside the file says it), "
                    "or export with fixed sizes"
                )
            if axis == 0 and len(value.type.tensor_type.shape.dim) == 4:
                batches.append(size)
            dim.dim_value = size
    if unused:
        raise UserError(
            f"--size {sorted(unused)[0]}: no free axis of an input has that name; "
            f"free are: {', '.join(free) or 'none'}"
        )
    if batches:
        return batches[0], free_batch
    return (batch or 1 if free_batch else None), free_batch


def _batch_of_outputs(shapes: Sequence[tuple[int, ...]]) -> int | None:
    """Of pillars and other rows without a batch axis: boxes and scores come by the frame."""
    sizes = {shape[0] if shape else 0 for shape in shapes}
    return max(sizes) or None if len(sizes) == 1 else None


def _names(graph: Any) -> list[list[str]]:
    return [
        [dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param]
        for value in graph.input
    ]


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


def check_sizes(entries: Sequence[str]) -> dict[str, int]:
    """``["height=384"]`` to a dict.

    Raises:
        UserError: for another form.
    """
    sizes = {}
    for entry in entries:
        name, _, number = entry.partition("=")
        if not name or not number.isdigit() or int(number) < 1:
            raise UserError(f"--size {entry}: expected NAME=NUMBER, as in --size pillars=12000")
        sizes[name] = int(number)
    return sizes
