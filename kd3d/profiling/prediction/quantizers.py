"""What the Q/DQ of an ONNX file say: the types between them, and what a board makes of those."""

from collections.abc import Iterable
from typing import Any

from onnx import TensorProto

from kd3d.errors import UserError

EIGHT_BITS = frozenset(["int8", "uint8", "float8e4m3fn", "float8e5m2"])
_BIASES = "int32"  # as ONNX Runtime quantises them; no QuantizeLinear makes it
_AFTER_ADA = ("float8", "float4")  # Ampere's tensor cores know neither
_VIEWS = frozenset(
    ["Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Transpose"]
)


def dequantized_types(graph: Any) -> dict[str, str]:  # Any: onnx's GraphProto
    """Tensor that comes through a DequantizeLinear, views aside -> the type it lay in: "int8".

    A QuantizeLinear's type is that of its zero point; without one it is uint8 (ONNX).
    """
    types = {tensor.name: _name(tensor.data_type) for tensor in graph.initializer}
    found: dict[str, str] = {}
    for node in graph.node:
        given = [*node.input, "", ""]
        if node.op_type == "Constant":
            types.update((node.output[0], _name(entry.t.data_type)) for entry in node.attribute)
        elif node.op_type == "QuantizeLinear":
            stated = next((entry.i for entry in node.attribute if entry.name == "output_dtype"), 0)
            types[node.output[0]] = types.get(given[2]) or (_name(stated) if stated else "uint8")
        elif node.op_type == "DequantizeLinear":
            found[node.output[0]] = types.get(given[0]) or types.get(given[2]) or "uint8"
        elif node.op_type in _VIEWS and given[0] in found:
            found[node.output[0]] = found[given[0]]
    return found


def check_types(types: Iterable[str], generation: str) -> list[str]:
    """Warnings about types of Q/DQ that are no int8.

    Args:
        types: of a file's Q/DQ; int32 is that of biases, which are no reason to warn.
        generation: of the board, "ampere" or "blackwell".

    Raises:
        UserError: for 8-bit and 4-bit floats on a board without them.
    """
    others = sorted(set(types) - EIGHT_BITS - {_BIASES})
    newer = sorted(name for name in set(types) if name.startswith(_AFTER_ADA))
    if newer and generation == "ampere":
        raise UserError(
            f"the file has Q/DQ of {', '.join(newer)}, and a board of generation {generation} has "
            "no tensor cores for that: no engine can be built; export it with Q/DQ of int8"
        )
    return [f"Q/DQ of {name}: what reads it is predicted in float" for name in others]


def _name(data_type: int) -> str:
    return str(TensorProto.DataType.Name(data_type)).lower()
