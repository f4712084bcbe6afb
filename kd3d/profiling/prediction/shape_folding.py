"""Shapes of all tensors of an ONNX graph, by inference and by computing its small shape tensors.

onnx's own inference stops where a shape is computed by operators that it does not follow (Div,
ConstantOfShape, Range, Where, ...). Here such nodes are evaluated when all they read is small and
known, what came out is written back, and inference goes on, until nothing new is learnt.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from kd3d.errors import UserError
from kd3d.profiling.prediction.control_flow import inline_known_branches

_LIMIT = 1024  # elements of a tensor that can still be a shape
_ROUNDS = 24
_VIEWS = frozenset(["Reshape", "Flatten", "Squeeze", "Unsqueeze"])


@dataclass
class Shapes:
    """What is known of the tensors, by name.

    Attributes:
        shapes: sizes.
        dtypes: numpy's names.
        values: of small tensors that depend on shapes and constants only.
    """

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    values: dict[str, NDArray[Any]] = field(default_factory=dict)


def fold_shapes(model: onnx.ModelProto, *, resized: bool = False) -> tuple[Shapes, list[str]]:
    """Infers all shapes; inputs must have theirs.

    Args:
        model: changed: its free sizes in value_info and outputs are cleared, and an If whose
            condition is known gives way to the branch that it takes.
        resized: inputs have other sizes than when the file was written: what it notes in
            value_info and outputs counts only where nothing else tells a shape.

    Returns:
        What is known, and warnings.

    Raises:
        UserError: if a node would have to make other numbers of elements of what it reads.
    """
    _forget_free_shapes(model.graph)
    noted = _take_notes(model.graph) if resized else {}
    _declare_domains(model)
    found = Shapes()
    _read_initializers(model.graph, found)
    warnings: list[str] = []
    _learn(model, found, warnings)
    if _give_back(model.graph, noted, found):
        _learn(model, found, warnings)
    _check_views(model.graph, found)
    return found, list(dict.fromkeys(warnings))


def _learn(model: onnx.ModelProto, found: Shapes, warnings: list[str]) -> None:
    """Infers and evaluates in turn, until nothing new is learnt."""
    opset = max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=17)
    known = -1
    for _ in range(_ROUNDS):
        _read_inferred(_inferred(model, warnings), found)
        _evaluate(model.graph, found, opset)
        inlined = inline_known_branches(model.graph, found.values)
        if inlined:
            _read_initializers(model.graph, found)
        elif len(found.shapes) + len(found.values) == known:
            break
        known = len(found.shapes) + len(found.values)
        if not _write_back(model.graph, found) and not inlined:
            break


def _forget_free_shapes(graph: Any) -> None:
    """A free size in the file's own notes would hide what the fixed inputs imply."""
    free = [
        value
        for value in graph.value_info
        if any(dim.dim_value <= 0 for dim in value.type.tensor_type.shape.dim)
    ]
    for value in free:
        graph.value_info.remove(value)
    for value in graph.output:
        if any(dim.dim_value <= 0 for dim in value.type.tensor_type.shape.dim):
            value.type.tensor_type.ClearField("shape")


def _take_notes(graph: Any) -> dict[str, Any]:
    """Takes out the shapes that the file notes of what nodes make; of weights they hold."""
    made = {name for node in graph.node for name in node.output}
    noted = {
        value.name: copy.deepcopy(value)
        for value in [*graph.value_info, *graph.output]
        if value.name in made and value.type.tensor_type.HasField("shape")
    }
    kept = [value for value in graph.value_info if value.name not in noted]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for value in graph.output:
        if value.name in noted:
            value.type.tensor_type.ClearField("shape")
    return noted


def _give_back(graph: Any, noted: Mapping[str, Any], found: Shapes) -> bool:
    """Writes the notes on tensors of unknown shape; False if there are none."""
    unknown = {name: value for name, value in noted.items() if name not in found.shapes}
    results = {value.name: value for value in graph.output}
    for name, value in unknown.items():
        (results[name] if name in results else graph.value_info.add()).CopyFrom(value)
    return bool(unknown)


def _declare_domains(model: onnx.ModelProto) -> None:
    """Operators of a set that the file does not declare would stop the inference of all others."""
    declared = {entry.domain for entry in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} - declared - {"ai.onnx"}):
        model.opset_import.append(helper.make_opsetid(domain, 1))


def _inferred(model: onnx.ModelProto, warnings: list[str]) -> Any:
    try:
        return shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # whatever onnx's C++ finds wrong: go on with what the file says
        reason = " ".join(str(error).split())[:200]
        warnings.append(f"shapes are those that the file notes, onnx infers none: {reason}")
        return model.graph


def _check_views(graph: Any, found: Shapes) -> None:
    """A size that the file fixes does not follow those that are given: a baked-in batch of 1."""
    for node in graph.node:
        names = [name for name in (*node.input[:1], *node.output) if name in found.shapes]
        if node.op_type not in _VIEWS or len(names) < 2:
            continue
        given, made = (found.shapes[name] for name in names)
        if np.prod(given, dtype=np.int64) != np.prod(made, dtype=np.int64):
            raise UserError(
                f"{node.op_type} {node.name or node.output[0]!r}: cannot make {list(made)} of "
                f"{list(given)}; the file fixes a size there that is free elsewhere: leave --batch "
                "and --size at those of its export, or export it so that this size is free, too"
            )


def _read_initializers(graph: Any, found: Shapes) -> None:
    for tensor in graph.initializer:
        found.shapes[tensor.name] = tuple(tensor.dims)
        found.dtypes[tensor.name] = _dtype(tensor.data_type)
        if _has_values(tensor) and np.prod(tensor.dims, dtype=np.int64) <= _LIMIT:
            found.values[tensor.name] = numpy_helper.to_array(tensor)


def _has_values(tensor: Any) -> bool:
    """False where they lie in another file, or were left out to make this one small."""
    if tensor.data_location == TensorProto.EXTERNAL:
        return False
    fields = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    return 0 in tensor.dims or any(len(getattr(tensor, name)) for name in fields)


def _read_inferred(graph: Any, found: Shapes) -> None:
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        if kind.elem_type:
            found.dtypes[value.name] = _dtype(kind.elem_type)
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found.shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)


def _evaluate(graph: Any, found: Shapes, opset: int) -> None:
    """Computes nodes whose inputs are small and known."""
    for node in graph.node:
        if all(name in found.values or not name for name in node.output):
            continue
        if node.op_type == "Shape" and node.input[0] in found.shapes:
            _keep(found, node.output[0], _shape_of(node, found.shapes[node.input[0]]))
        elif node.op_type == "Size" and node.input[0] in found.shapes:
            size = np.prod(found.shapes[node.input[0]], dtype=np.int64)
            _keep(found, node.output[0], np.asarray(size, np.int64))
        elif node.domain in ("", "ai.onnx") and all(
            name in found.values for name in node.input if name
        ):
            if _large_outputs(node, found):
                continue
            for name, value in zip(node.output, _run(node, found, opset), strict=False):
                _keep(found, name, value)


def _large_outputs(node: Any, found: Shapes) -> bool:
    shapes = [found.shapes[name] for name in node.output if name in found.shapes]
    return any(np.prod(shape, dtype=np.int64) > _LIMIT for shape in shapes)


def _shape_of(node: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    given = {entry.name: entry.i for entry in node.attribute}
    return np.asarray(shape[given.get("start", 0) : given.get("end", len(shape))], np.int64)


def _keep(found: Shapes, name: str, value: Any) -> None:
    if not isinstance(value, np.ndarray | np.generic):
        return
    array = np.asarray(value)
    found.shapes[name] = array.shape
    found.dtypes[name] = array.dtype.name
    if array.size <= _LIMIT:
        found.values[name] = array


def _run(node: Any, found: Shapes, opset: int) -> list[Any]:
    names = list(dict.fromkeys(name for name in node.input if name))
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(found.values[name].dtype), None
        )
        for name in names
    ]
    outputs = [helper.make_tensor_value_info(name, 0, None) for name in node.output if name]
    graph = helper.make_graph([node], "shape", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        results = ReferenceEvaluator(model).run(None, {name: found.values[name] for name in names})
    except Exception:  # an operator that the evaluator lacks: the shape stays unknown
        return []
    return list(results)


def _write_back(graph: Any, found: Shapes) -> bool:
    """Computed values become constants, so that inference sees them; False if none is new."""
    present = {tensor.name for tensor in graph.initializer}
    fresh = {
        name
        for node in graph.node
        for name in node.output
        if name in found.values and name not in present
    }
    if not fresh:
        return False
    kept = [node for node in graph.node if not set(node.output) & fresh]
    del graph.node[:]
    graph.node.extend(kept)
    noted = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    for name in sorted(fresh):
        tensor = numpy_helper.from_array(found.values[name], name)
        if noted.get(name, tensor.data_type) != tensor.data_type:  # a Cast that a conversion forgot
            kind = helper.tensor_dtype_to_np_dtype(noted[name])
            tensor = numpy_helper.from_array(found.values[name].astype(kind), name)
        graph.initializer.append(tensor)
    return True


def _dtype(data_type: int) -> str:
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(data_type)).name)
    except (KeyError, TypeError, ValueError):
        return str(TensorProto.DataType.Name(data_type)).lower()
