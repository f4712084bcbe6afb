import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.profiling.fusion import fuse
from kd3d.profiling.layer_work import layer_work
from kd3d.profiling.onnx_graph import graph_from_onnx


def _fused(nodes, shapes, outputs, weights=(), dtype=TensorProto.FLOAT):
    inputs = [helper.make_tensor_value_info(k, dtype, v) for k, v in shapes.items()]
    results = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    tensors = [
        numpy_helper.from_array(np.zeros(dims, kind) if isinstance(dims, tuple) else dims, name)
        for name, dims in dict(weights).items()
    ]
    graph = helper.make_graph(nodes, "toy", inputs, results, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return fuse(graph_from_onnx(model))


def _conv(source, weight, target, **attributes):
    return helper.make_node("Conv", [source, weight], [target], name=target, **attributes)


def _silu(source, target):
    return [
        helper.make_node("Sigmoid", [source], [f"{target}_s"]),
        helper.make_node("Mul", [source, f"{target}_s"], [target]),
    ]


def _layers(fused):
    return [(layer.kind, "+".join(layer.operators)) for layer in fused.layers]


def test_residual_block_is_two_kernels():
    nodes = [
        _conv("x", "w", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        _conv("b", "w", "c", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "x"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    fused = _fused(nodes, {"x": [1, 8, 4, 4]}, ["y"], {"w": (8, 8, 3, 3)})
    assert _layers(fused) == [("product", "Conv+Relu"), ("product", "Conv+Add+Relu")]
    assert fused.layers[1].inputs == ["b", "x"]  # the residual is read by the second
    assert fused.layers[1].outputs == ["y"]


def test_batch_norm_and_relu6_go_into_the_convolution():
    nodes = [
        _conv("x", "w", "a"),
        helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
        helper.make_node("Clip", ["b", "low", "high"], ["y"]),
    ]
    weights = {"w": (8, 8, 1, 1), "s": (8,), "low": np.float32(0), "high": np.float32(6)}
    fused = _fused(nodes, {"x": [1, 8, 4, 4]}, ["y"], weights)
    assert _layers(fused) == [("product", "Conv+BatchNormalization+Clip")]


SHAPES = {"x": [1, 8, 4, 4]}


def test_convolutions_side_by_side_are_one_kernel():
    """Two of one input and kernel; the third strides, the fourth has groups."""
    nodes = [
        _conv("x", "w", "a"),
        _conv("x", "v", "b"),
        _conv("x", "w", "c", strides=[2, 2]),
        _conv("x", "g", "d", group=2),
    ]
    weights = {"w": (8, 8, 1, 1), "v": (24, 8, 1, 1), "g": (8, 4, 1, 1)}
    fused = _fused(nodes, SHAPES, ["a", "b", "c", "d"], weights)
    assert [layer.outputs for layer in fused.layers] == [["a", "b"], ["c"], ["d"]]
    joint, *_ = (w for w in layer_work(fused, "fp32") if w.kind == "product")
    assert (joint.m, joint.n, joint.k) == (16, 8 + 24, 8)
    assert joint.weight_bytes == (8 + 24) * 8 * 4
    assert joint.write_bytes == (8 + 24) * 16 * 4  # both outputs; 8 and 24 need no padding


def test_an_activation_behind_one_of_several_stays_apart():
    nodes = [_conv("x", "w", "a"), *_silu("a", "y"), _conv("x", "w", "b")]
    fused = _fused(nodes, SHAPES, ["y", "b"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [("product", "Conv"), ("pointwise", "Sigmoid+Mul")]
    assert fused.layers[0].outputs == ["a", "b"]
    assert not fused.layers[1].epilogue


def test_convolutions_that_end_otherwise_are_not_joined():
    nodes = [_conv("x", "w", "a"), helper.make_node("Relu", ["a"], ["y"]), _conv("x", "w", "b")]
    fused = _fused(nodes, SHAPES, ["y", "b"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [("product", "Conv+Relu"), ("product", "Conv")]


@pytest.mark.parametrize(
    ("channels", "weight", "group", "taken"),
    [(8, (8, 8, 1, 1), 1, True), (3, (8, 3, 1, 1), 1, False), (8, (8, 1, 1, 1), 8, False)],
    ids=["dense", "image", "depthwise"],
)
def test_which_convolutions_take_an_activation(channels, weight, group, taken):
    nodes = [_conv("x", "w", "a", group=group), *_silu("a", "y")]
    fused = _fused(nodes, {"x": [1, channels, 4, 4]}, ["y"], {"w": weight})
    assert fused.layers[1].epilogue == taken
    in_half, in_full = (
        [w.epilogue for w in layer_work(fused, precision) if w.kind == "pointwise"]
        for precision in ("fp16", "fp32")
    )
    assert (in_half, in_full) == ([taken], [False])  # no kernel of TF32 ends with a SiLU


def test_a_matrix_product_takes_no_activation():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), *_silu("a", "y")]
    fused = _fused(nodes, {"x": [1, 8, 8]}, ["y"], {"w": (8, 8)})
    assert not fused.layers[1].epilogue


def test_a_concatenation_copies_what_was_not_written_in_place():
    """Of five inputs: a sum with a shortcut and a pooled map are copied, 2 of 5 x 8 channels."""
    nodes = [
        _conv("x", "w", "a"),
        _conv("a", "w", "b"),
        *_silu("b", "c"),
        _conv("c", "w", "d"),
        helper.make_node("Add", ["d", "a"], ["e"]),
        helper.make_node("MaxPool", ["a"], ["f"], kernel_shape=[1, 1]),
        _conv("a", "v", "g"),
        helper.make_node("Concat", ["c", "e", "f", "g", "a"], ["y"], axis=1),
    ]
    weights = {"w": (8, 8, 1, 1), "v": (8, 8, 3, 3)}
    nodes[-2].attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
    fused = _fused(nodes, SHAPES, ["y"], weights)
    (concat,) = (layer for layer in layer_work(fused, "fp32") if layer.kind == "concat")
    assert concat.launches == 2
    assert concat.read_bytes == concat.write_bytes == 2 * 8 * 16 * 4


def test_what_surrounds_a_sorting_is_one_kernel_before_and_one_behind():
    """Two heads, joined, rated and sorted; then the best rows are gathered and scaled."""
    nodes = [
        _conv("x", "w", "a"),
        _conv("x", "v", "b", strides=[2, 2]),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("ReduceMax", ["rows"], ["best"], axes=[2], keepdims=0),
        helper.make_node("TopK", ["best", "count"], ["values", "index"], axis=1),
        helper.make_node("Unsqueeze", ["index", "axis"], ["wide"]),
        helper.make_node("GatherElements", ["rows", "wide"], ["picked"], axis=1),
        helper.make_node("Mul", ["picked", "two"], ["y"]),
    ]
    weights = {
        "w": (8, 8, 1, 1),
        "v": (8, 8, 1, 1),
        "shape": np.array([1, 8, 16]),
        "count": np.array([4]),
        "axis": np.array([2]),
        "two": np.float32(2),
    }
    fused = _fused(nodes, SHAPES, ["y", "b"], weights)
    assert _layers(fused) == [
        ("product", "Conv"),
        ("product", "Conv"),
        ("pointwise", "Sigmoid+Transpose+ReduceMax"),
        ("sort", "TopK"),
        ("pointwise", "GatherElements+Mul"),
    ]
    before, behind = fused.layers[2], fused.layers[4]
    assert (before.inputs, before.outputs) == (["a"], ["rows", "best"])
    assert set(behind.inputs) == {"rows", "index"}
    assert not before.epilogue  # it is more than an activation


def test_silu_is_one_kernel_marked_as_an_epilogue():
    fused = _fused(
        [_conv("x", "w", "a"), *_silu("a", "y")], {"x": [1, 8, 4, 4]}, ["y"], {"w": (8, 8, 1, 1)}
    )
    assert _layers(fused) == [("product", "Conv"), ("pointwise", "Sigmoid+Mul")]
    assert fused.layers[1].epilogue


def test_a_convolution_read_twice_keeps_its_output():
    nodes = [
        _conv("x", "w", "a"),
        helper.make_node("Relu", ["a"], ["y"]),
        helper.make_node("MaxPool", ["a"], ["z"], kernel_shape=[2, 2]),
    ]
    fused = _fused(nodes, {"x": [1, 8, 4, 4]}, ["y", "z"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [("product", "Conv"), ("pointwise", "Relu"), ("pool", "MaxPool")]


def test_pointwise_neighbours_join_unless_that_makes_a_cycle():
    """exp and add have a convolution between them: together they would wait for themselves."""
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        _conv("a", "w", "b"),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["a", "c"], ["d"]),
        helper.make_node("Tanh", ["d"], ["y"]),
    ]
    fused = _fused(nodes, {"x": [1, 8, 4, 4]}, ["y"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [
        ("pointwise", "Exp"),
        ("product", "Conv"),
        ("pool", "MaxPool"),
        ("pointwise", "Add+Tanh"),
    ]


def test_views_vanish_and_transpositions_of_one_axis_too():
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0, 2]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    fused = _fused(nodes, {"x": [1, 4, 6]}, ["y"], {"shape": np.array([1, 4, 6])})
    assert _layers(fused) == [("pointwise", "Relu")]
    assert fused.layers[0].inputs == ["x"]


@pytest.mark.parametrize(("precision", "kinds"), [("fp16", 1), ("fp32", 0)])
def test_attention_keeps_its_scores_inside(precision, kinds):
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    shapes = {"q": [2, 16, 8], "k": [2, 8, 16], "v": [2, 16, 8]}
    work = layer_work(_fused(nodes, shapes, ["y"]), precision)
    assert sum(layer.kind == "attention" for layer in work) == kinds
    scores = next(layer for layer in work if layer.operators == "MatMul")
    assert scores.write_bytes == (0 if precision == "fp16" else 2 * 16 * 16 * 4)
    assert (scores.m, scores.n, scores.k, scores.groups) == (16, 16, 8, 2)


@pytest.mark.parametrize(("axis", "strided"), [(1, True), (2, False), (-1, False), (None, False)])
def test_a_softmax_along_the_rows_or_across_them(axis, strided):
    given = {} if axis is None else {"axis": axis}
    node = helper.make_node("Softmax", ["x"], ["y"], **given)
    (work,) = layer_work(_fused([node], {"x": [1, 16, 400]}, ["y"]), "fp32")
    assert work.strided == strided


def test_unknown_operators_are_named():
    node = helper.make_node("Mystery", ["x"], ["y"], domain="elsewhere")
    fused = _fused([node], {"x": [1, 4]}, ["y"])
    assert fused.unknown == ("Mystery",)
    assert fused.layers[0].kind == "unknown"


def test_quantizers_make_int8_products():
    scale = np.float32(0.1)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        _conv("xd", "wd", "a"),
        helper.make_node("Relu", ["a"], ["b"]),
        _conv("b", "w2", "y"),
    ]
    weights = {
        "s": scale,
        "z": np.int8(0),
        "wq": np.zeros((8, 8, 1, 1), np.int8),
        "w2": (8, 8, 1, 1),
    }
    fused = _fused(nodes, {"x": [1, 8, 4, 4]}, ["y"], weights)
    work = {layer.name: layer for layer in layer_work(fused, "int8") if layer.kind == "product"}
    assert [layer.math for layer in work.values()] == ["int8", "fp16"]  # the second has no Q/DQ
    assert next(iter(work.values())).weight_bytes == 64
