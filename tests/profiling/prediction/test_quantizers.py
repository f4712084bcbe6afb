import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.errors import UserError
from kd3d.profiling.prediction.quantizers import check_types, dequantized_types


def _graph(nodes, constants):
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
        for name, value in constants.items()
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])
    return helper.make_graph(nodes, "toy", [given], [], tensors)


SCALE = {"s": np.float32(0.1)}


def _pair(source, zero=(), **given):
    return [
        helper.make_node("QuantizeLinear", [source, "s", *zero], ["q"], **given),
        helper.make_node("DequantizeLinear", ["q", "s", *zero], ["d"]),
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.INT8, "int8"),
        (TensorProto.FLOAT8E4M3FN, "float8e4m3fn"),
        (TensorProto.INT4, "int4"),
        (TensorProto.INT16, "int16"),
    ],
)
def test_the_zero_point_states_the_type(kind, name):
    zero = helper.make_tensor("z", kind, [], [0])
    assert dequantized_types(_graph(_pair("x", ["z"]), {**SCALE, "z": zero})) == {"d": name}
    constant = helper.make_node("Constant", [], ["z"], value=zero)
    assert dequantized_types(_graph([constant, *_pair("x", ["z"])], SCALE)) == {"d": name}
    assert dequantized_types(_graph(_pair("x", output_dtype=kind), SCALE)) == {"d": name}


def test_without_a_zero_point_it_is_uint8():
    assert dequantized_types(_graph(_pair("x"), SCALE)) == {"d": "uint8"}


def test_a_weight_that_lies_in_int8_and_is_turned():
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("Transpose", ["d"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    graph = _graph(nodes, {**SCALE, "w": np.zeros((4, 8), np.int8)})
    assert dequantized_types(graph) == {"d": "int8", "t": "int8"}


def test_types_that_a_board_lacks():
    assert check_types(["int8", "uint8"], "ampere") == []
    assert check_types(["int4", "int8", "int4"], "ampere") == [
        "Q/DQ of int4: what reads it is predicted in float"
    ]
    for name in ("float8e4m3fn", "float8e5m2", "float4e2m1"):
        with pytest.raises(UserError, match=f"Q/DQ of {name}, .* export it with Q/DQ of int8"):
            check_types([name], "ampere")
    assert check_types(["float8e4m3fn"], "blackwell") == []


def test_biases_as_onnx_runtime_quantises_them():
    """They lie in int32 and have no QuantizeLinear; the product stays int8."""
    node = helper.make_node("DequantizeLinear", ["b", "s"], ["d"])
    types = dequantized_types(_graph([node], {**SCALE, "b": np.zeros(8, np.int32)}))
    assert types == {"d": "int32"}
    assert check_types(types.values(), "ampere") == []
