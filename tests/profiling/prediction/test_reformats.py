"""Conversions between types: once for all readers, at the end of a kernel where that can be."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.profiling.prediction.fusion import fuse
from kd3d.profiling.prediction.layer_work import layer_work
from kd3d.profiling.prediction.onnx_graph import graph_from_onnx

CONSTANTS = {"s": np.float32(0.1), "z": np.int8(0)}


def _work(nodes, inputs, outputs, weights=(), precision="int8"):
    """Kernels; inputs and outputs are name to (shape, type)."""
    entries = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (shape, kind) in given.items()]
        for given in (inputs, outputs)
    ]
    values = {**CONSTANTS, **dict(weights)}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "toy", *entries, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return layer_work(fuse(graph_from_onnx(model)), precision)


def _quantised(source, target):
    return [
        helper.make_node("QuantizeLinear", [source, "s", "z"], [f"{target}_q"]),
        helper.make_node("DequantizeLinear", [f"{target}_q", "s", "z"], [target]),
    ]


def _float(*shape):
    return (list(shape), TensorProto.FLOAT)


def _reformats(work):
    return [layer.name for layer in work if layer.kind == "reformat"]


WEIGHT = {"wq": np.zeros((64, 64), np.int8)}
TOKENS = _float(1, 32, 64)  # 2048 numbers


def _products(source, names):
    """Through one Q/DQ and one weight."""
    nodes = [
        *_quantised(source, "read"),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["weight"]),
    ]
    return nodes + [helper.make_node("MatMul", ["read", "weight"], [name], name) for name in names]


def test_a_tensor_is_quantised_once_for_all_products():
    """Of an input and of what a pooling writes, which floats read, too."""
    work = _work(_products("x", "qkv"), {"x": TOKENS}, dict.fromkeys("qkv", TOKENS), WEIGHT)
    assert _reformats(work)[:1] == ["x (to int8)"]
    assert sum("to int8" in name for name in _reformats(work)) == 1
    pool = helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[1])
    results = {**dict.fromkeys("qkv", TOKENS), "p": TOKENS}
    work = _work([pool, *_products("p", "qkv")], {"x": TOKENS}, results, WEIGHT)
    assert sum("to int8" in name for name in _reformats(work)) == 1
    products = [layer for layer in work if layer.kind == "product"]
    assert [layer.read_bytes for layer in products] == [2048] * 3  # of int8, not of float


@pytest.mark.parametrize(("others", "written"), [("", 2048), ("n", 2048 * (1 + 2))])
def test_a_norm_quantises_what_it_writes(others, written):
    """And writes half beside, if that is read, too."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[1]),
        helper.make_node("LayerNormalization", ["p", "g", "g"], ["n"]),
        *_products("n", "q"),
    ]
    results = {"q": TOKENS, **dict.fromkeys(others, TOKENS)}
    weights = {**WEIGHT, "g": np.zeros(64, np.float32)}
    work = _work(nodes, {"x": TOKENS}, results, weights)
    assert not any("to int8" in name for name in _reformats(work))
    assert next(layer for layer in work if layer.kind == "pointwise").write_bytes == written


def test_as_if_int8_a_norm_writes_what_its_products_read():
    nodes = [
        helper.make_node("LayerNormalization", ["x", "g", "g"], ["n"]),
        *(helper.make_node("MatMul", ["n", "w"], [name]) for name in "qkv"),
    ]
    weights = {"w": np.zeros((64, 64), np.float32), "g": np.zeros(64, np.float32)}
    work = _work(nodes, {"x": TOKENS}, dict.fromkeys("qkv", TOKENS), weights)
    assert not any("to int8" in name for name in _reformats(work))
    assert next(layer for layer in work if layer.kind == "pointwise").write_bytes == 2048


def test_as_if_int8_what_is_multiplied_in_float_is_not_quantised():
    """A split and a sigmoid between two products; the last has a weight, or it has none."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Split", ["a"], ["b", "c"], axis=1),
        helper.make_node("Sigmoid", ["b"], ["d"]),
        helper.make_node("Reshape", ["c", "shape"], ["e"]),
    ]
    weights = {"w": np.zeros((64, 64), np.float32), "shape": np.array([1, 64, 16])}
    for factor, columns, math in (("e", 16, "fp16"), ("w", 64, "int8")):
        last = helper.make_node("MatMul", ["d", factor], ["y"])
        work = _work([*nodes, last], {"x": TOKENS}, {"y": _float(1, 16, columns)}, weights)
        assert _reformats(work) == ["x (to int8)", "y (output)"]
        between = [layer.math for layer in work if layer.kind in ("slice", "pointwise")]
        assert between == [math, math]


def test_as_if_int8_what_leads_to_no_product_is_not_quantised():
    """A last sigmoid reads what the product writes in float."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["y"]),
    ]
    work = _work(nodes, {"x": TOKENS}, {"y": TOKENS}, {"w": np.zeros((64, 64), np.float32)})
    assert _reformats(work) == ["x (to int8)", "y (output)"]
    product = next(layer for layer in work if layer.kind == "product")
    assert (product.math, product.write_bytes) == ("int8", 2048 * 2)


def test_a_softmax_alone_is_followed_by_a_reformat():
    nodes = [
        helper.make_node("Softmax", ["x"], ["n"]),
        helper.make_node("MatMul", ["n", "w"], ["y"]),
    ]
    weights = {"w": np.zeros((64, 64), np.float32)}
    work = _work(nodes, {"x": TOKENS}, {"y": TOKENS}, weights)
    assert "n (to int8)" in _reformats(work)


def test_a_residual_is_read_as_it_lies():
    """The product is int8, the residual half from a pooling: no kernel converts it."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[1]),
        *_products("x", "q"),
        helper.make_node("Add", ["q", "p"], ["y"]),
    ]
    work = _work(nodes, {"x": TOKENS}, {"y": TOKENS}, WEIGHT)
    assert not any(name.startswith("p ") for name in _reformats(work))
    product = next(layer for layer in work if layer.kind == "product")
    assert product.operators == "MatMul+Add"
    assert product.read_bytes == 2048 * (1 + 2)


@pytest.mark.parametrize(
    ("shape", "kind", "sizes"),
    [
        ((1, 8, 16, 16), TensorProto.FLOAT, [(4, 2), (2, 4)]),
        ((1, 8, 16, 16), TensorProto.FLOAT16, [(2, 2), (2, 2)]),  # channels change places
        ((1, 8, 256), TensorProto.FLOAT, [(4, 2), (2, 4)]),
        ((1, 8, 256), TensorProto.FLOAT16, []),
    ],
)
def test_inputs_and_outputs_are_of_the_files_type(shape, kind, sizes):
    """2048 numbers in, as many out: bytes of each that the reformats read and write."""
    weight = np.zeros((8, 8, *[1] * (len(shape) - 2)), helper.tensor_dtype_to_np_dtype(kind))
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    work = _work([node], {"x": (shape, kind)}, {"y": (shape, kind)}, {"w": weight}, "fp16")
    found = [layer for layer in work if layer.kind == "reformat"]
    assert [(r.read_bytes / 2048, r.write_bytes / 2048) for r in found] == sizes


@pytest.mark.parametrize(("kind", "size"), [(TensorProto.UINT8, 1), (TensorProto.INT64, 4)])
def test_bytes_of_images_and_of_indices(kind, size):
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", ["c"], ["y"]),
    ]
    (work,) = _work(nodes, {"x": ([1, 3, 32, 32], kind)}, {"y": _float(1, 3, 32, 32)}, (), "fp32")
    assert work.read_bytes == 3 * 32 * 32 * size
