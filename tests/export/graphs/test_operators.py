import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys_tensorrt import write_onnx

from kd3d.errors import UserError
from kd3d.export.graphs.operators import (
    check_operators,
    float32_operators,
    operator_problems,
    require_operators,
    tensorrt_versions,
)

FLOAT, FLOAT16, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def model_of(nodes, constants=(), *, opset=17, kind=FLOAT, result=FLOAT, shape=(1, 4, 8, 8)):
    """Nodes from "x" to "y"."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in dict(constants).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ours", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(kind, inputs=("x",), outputs=("y",), **attributes):
    return helper.make_node(kind, inputs, outputs, name="n", **attributes)


def test_the_versions_are_those_of_the_boards():
    assert set(tensorrt_versions()) == {"8.5", "8.6", "10.3", "11"}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_precision_of_a_plain_file_fits(precision, tmp_path):
    assert check_operators(write_onnx(tmp_path / "m.onnx", precision)) == []


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        ([node("Det")], {}, ["Det: no such operator (TensorRT 8.5, 8.6, 10.3, 11)"]),
        ([node("HardSwish")], {}, ["HardSwish: no such operator (TensorRT 8.5)"]),
        ([node("Gelu")], {"opset": 20}, [
            "opset 20 is newer than 17 (TensorRT 8.5, 8.6)",
            "Gelu: no such operator (TensorRT 8.5, 8.6, 10.3)",
            "opset 20 is newer than 19 (TensorRT 10.3)",
        ]),
        ([helper.make_node("BEVPool", ["x"], ["y"], domain="ours")], {}, [
            "BEVPool of ours: no such operator (TensorRT 8.5, 8.6, 10.3, 11)"
        ]),
        ([node("ReduceMax", axes=[2])], {"kind": INT64, "result": INT64}, [
            "ReduceMax 'n': type INT32, not one of FP16, FP32 (TensorRT 8.5)",
            "ReduceMax 'n': type INT64, not one of FP16, FP32 (TensorRT 8.6)",
        ]),
        ([node("Relu")], {"kind": TensorProto.DOUBLE, "result": TensorProto.DOUBLE}, [
            "Relu 'n': type DOUBLE, not one of FP16, FP32, INT8 (TensorRT 8.5, 8.6)",
            "Relu 'n': type DOUBLE, not one of FP16, FP32, INT32, INT64, INT8 (TensorRT 10.3)",
            "Relu 'n': type DOUBLE, not one of FP16, FP32, INT32, INT64 (TensorRT 10.3, 11)",
        ]),
        ([node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])], {}, [
            "MaxPool 'n': dilations are not 1 (TensorRT 10.3, 11)"
        ]),
        ([node("MaxPool", outputs=("y", "indices"), kernel_shape=[2, 2])], {}, [
            "MaxPool 'n': has 2 outputs, more than 1 (TensorRT 8.5, 8.6, 10.3, 11)"
        ]),
        ([node("ScatterND", ("x", "i", "u"), reduction="add")],
         {"constants": {"i": np.array([[0]]), "u": np.zeros((1, 4, 8, 8), np.float32)}}, [
            "ScatterND 'n': reduction is add, not one of ['none'] (TensorRT 10.3, 11)"
        ]),
        ([node("Resize", ("x", "", "s"), mode="cubic")],
         {"constants": {"s": np.float32([1, 1, 2, 2])}}, [
            "Resize 'n': mode is cubic, not one of ['nearest', 'linear'] "
            "(TensorRT 8.5, 8.6, 10.3, 11)"
        ]),
        ([node("TopK", ("x", "k"), ("y", "i"))],
         {"constants": {"k": np.array([4000])}, "shape": (1, 5000)}, [
            "TopK 'n': k is 4000, at most 3839 are taken (TensorRT 10.3, 11)"
        ]),
        ([node("Shape", outputs=("s",)), node("Unsqueeze", ("x", "s"))], {}, [
            "Unsqueeze 'n': input 1 must be a constant (TensorRT 8.5, 8.6, 10.3, 11)"
        ]),
        ([node("InstanceNormalization", ("x", "s", "b"))],
         {"constants": dict.fromkeys("sb", np.ones(4, np.float16)), "kind": FLOAT16,
          "result": FLOAT16}, [
            f"InstanceNormalization 'n': input {index} is FLOAT16, but read as FLOAT "
            "(TensorRT 8.5, 8.6)"
            for index in (1, 2)
        ]),
        ([node("QuantizeLinear", ("x", "s", "z"))],
         {"constants": {"s": np.float32(1), "z": np.uint8(128)}, "result": TensorProto.UINT8}, [
            "QuantizeLinear 'n': its zero point is not 0 (TensorRT 8.5, 8.6, 10.3, 11)"
        ]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_versions(nodes, settings, expected):
    assert sorted(operator_problems(model_of(nodes, **settings))) == sorted(expected)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Relu")],
        [node("Shape", outputs=("s",)), node("Cast", ("s",), to=FLOAT)],  # 64-bit sizes
        [node("Greater", ("x", "x"), ("c",)), node("Where", ("c", "x", "x"))],  # typed by x, not c
        [node("Constant", (), ("k",), value=numpy_helper.from_array(np.array([2]))),
         node("Unsqueeze", ("x", "k"))],
    ],
)  # fmt: skip
def test_what_fits_is_left_alone(nodes):
    assert operator_problems(model_of(nodes)) == []


def test_a_normalisation_in_float32_fits():
    constants = dict.fromkeys("sb", np.ones(4, np.float32))
    assert operator_problems(model_of([node("InstanceNormalization", "xsb")], constants)) == []
    assert float32_operators() == {"InstanceNormalization"}


def test_files_are_user_errors(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(model_of([node("Det")]), path)
    with pytest.raises(UserError, match=r"m\.onnx: not every TensorRT takes it:\n  Det"):
        require_operators(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not an ONNX file"):
        check_operators(path)
