"""Does an ONNX file use only what TensorRT's parser is published to take, from 8.5 to 11?

The support matrices of ONNX-TensorRT lie beside this file as data, with their sources. An operator
that a version lacks stops the export here, not on the vehicle.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from kd3d.errors import UserError
from kd3d.export.graphs.graph_parts import constant_tensors, load_onnx

MATRICES = Path(__file__).with_name("tensorrt_operators.json")

# ONNX's names of types to those of the matrix. A 64-bit integer is a 32-bit one where the matrix
# has no other: TensorRT 8 narrows it by itself.
_TYPES = {
    "FLOAT": "FP32",
    "FLOAT16": "FP16",
    "INT8": "INT8",
    "UINT8": "UINT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "BOOL": "BOOL",
}
# The input whose type counts, where it is not the first; the result's type where there is none.
_TYPED_BY = {"Where": 1, "OneHot": 2, "ConstantOfShape": None, "Constant": None}
_Q_DQ = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Matrix:
    """What one version takes.

    Attributes:
        types: of each supported operator, "FP32", "INT64", ...
        opset: the newest.
        constant_inputs: numbers of the inputs that must be known when the engine is built.
        float32_inputs: numbers of those that are read as float32 whatever their type.
        attributes: by operator and attribute, the values that are taken.
        undilated: pooling operators without dilation.
        outputs: how many outputs an operator may have.
        largest_k: of TopK; None without a limit.
    """

    types: Mapping[str, frozenset[str]]
    opset: int
    constant_inputs: Mapping[str, list[int]]
    float32_inputs: Mapping[str, list[int]]
    attributes: Mapping[str, Mapping[str, list[Any]]]  # Any: numbers or texts, as ONNX has them
    undilated: list[str]
    outputs: Mapping[str, int]
    largest_k: int | None


def check_operators(onnx_path: str | Path) -> list[str]:
    """Problems of a file, one text each, with the versions that have it; empty if there is none.

    Raises:
        UserError: if the file cannot be read.
    """
    return operator_problems(load_onnx(onnx_path))


def require_operators(onnx_path: str | Path) -> None:
    """Raises a UserError that lists the problems of a file."""
    problems = check_operators(onnx_path)
    if problems:
        listed = "\n".join(f"  {text}" for text in problems)
        raise UserError(f"{onnx_path}: not every TensorRT takes it:\n{listed}")


def operator_problems(model: Any) -> list[str]:
    """The same of an ``onnx.ModelProto``."""
    graph = _Graph(model)
    found: dict[str, list[str]] = {}
    for version, names in tensorrt_versions().items():
        for name in names:
            for text in _problems(graph, _matrix(name)):
                found.setdefault(text, [])
                if version not in found[text]:
                    found[text].append(version)
    return [f"{text} (TensorRT {', '.join(versions)})" for text, versions in found.items()]


def tensorrt_versions() -> dict[str, list[str]]:
    """The versions that are checked, each with the matrices that a file must fit."""
    versions: dict[str, list[str]] = _content()["tensorrt"]
    return versions


def float32_operators() -> frozenset[str]:
    """Operators whose weights must be float32 for at least one of the versions."""
    names = {name for names in tensorrt_versions().values() for name in names}
    return frozenset(operator for name in names for operator in _matrix(name).float32_inputs)


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(MATRICES.read_text(encoding="utf-8"))
    return content


@cache
def _matrix(name: str) -> Matrix:
    entry = _content()["matrices"][name]
    types = {
        operator: frozenset(kinds.split())
        for kinds, operators in entry["operators"].items()
        for operator in operators.split()
    }
    rest = (field.name for field in fields(Matrix) if field.name != "types")
    return Matrix(types, **{key: entry[key] for key in rest})


class _Graph:
    """Nodes, the types of their tensors, and constants of an ``onnx.ModelProto``."""

    def __init__(self, model: Any) -> None:
        import onnx

        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.nodes = list(model.graph.node)
        self.opset = max(entry.version for entry in model.opset_import if not entry.domain)
        self.constants = constant_tensors(model.graph)
        name_of = onnx.TensorProto.DataType.Name
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        self.types = {value.name: name_of(value.type.tensor_type.elem_type) for value in values}
        self.types.update({n: name_of(t.data_type) for n, t in self.constants.items()})

    def type_of(self, node: Any) -> str:
        """Type that counts for a node, as ONNX names it; empty if it is not known."""
        place = _TYPED_BY.get(node.op_type, 0)
        name = node.output[0] if place is None or not node.input else node.input[place]
        return str(self.types.get(name, ""))

    def values(self, name: str) -> list[Any]:
        """Numbers of a constant."""
        from onnx import numpy_helper

        return list(numpy_helper.to_array(self.constants[name]).reshape(-1))


def _problems(graph: _Graph, matrix: Matrix) -> Iterator[str]:
    if graph.opset > matrix.opset:
        yield f"opset {graph.opset} is newer than {matrix.opset}"
    for node in graph.nodes:
        label = f"{node.op_type} '{node.name or node.output[0]}'"
        if node.domain not in ("", "ai.onnx") or node.op_type not in matrix.types:
            domain = f" of {node.domain}" if node.domain else ""
            yield f"{node.op_type}{domain}: no such operator"
            continue
        for text in (*_type_problems(graph, node, matrix), *_node_problems(graph, node, matrix)):
            yield f"{label}: {text}"


def _type_problems(graph: _Graph, node: Any, matrix: Matrix) -> Iterator[str]:
    onnx_type = graph.type_of(node)
    allowed = matrix.types[node.op_type]
    kind = _TYPES.get(onnx_type, onnx_type)
    if kind == "INT64" and not any("INT64" in kinds for kinds in matrix.types.values()):
        kind = "INT32"
    if kind not in allowed:
        yield f"type {kind or 'unknown'}, not one of {', '.join(sorted(allowed))}"


def _node_problems(graph: _Graph, node: Any, matrix: Matrix) -> Iterator[str]:
    from onnx import helper

    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    for index in matrix.constant_inputs.get(node.op_type, []):
        given = index < len(node.input) and node.input[index]
        if given and given not in graph.constants:
            yield f"input {index} must be a constant"
    for index in matrix.float32_inputs.get(node.op_type, []):
        kind = graph.types.get(node.input[index], "")
        if kind != "FLOAT":
            yield f"input {index} is {kind or 'unknown'}, but read as FLOAT"
    for name, allowed in matrix.attributes.get(node.op_type, {}).items():
        value = attributes.get(name)
        value = value.decode() if isinstance(value, bytes) else value
        if value is not None and value not in allowed:
            yield f"{name} is {value}, not one of {allowed}"
    if node.op_type in matrix.undilated and set(attributes.get("dilations", [1])) != {1}:
        yield "dilations are not 1"
    used = [name for name in node.output if name]
    if len(used) > matrix.outputs.get(node.op_type, len(used)):
        yield f"has {len(used)} outputs, more than {matrix.outputs[node.op_type]}"
    yield from _value_problems(graph, node, matrix)


def _value_problems(graph: _Graph, node: Any, matrix: Matrix) -> Iterator[str]:
    """Limits of constants: the number of the best, and zero points."""
    if node.op_type == "TopK" and matrix.largest_k and node.input[1] in graph.constants:
        k = int(graph.values(node.input[1])[0])
        if k > matrix.largest_k:
            yield f"k is {k}, at most {matrix.largest_k} are taken"
    if node.op_type in _Q_DQ and len(node.input) > 2 and node.input[2]:
        point = node.input[2]
        if point not in graph.constants or any(graph.values(point)):
            yield "its zero point is not 0"
