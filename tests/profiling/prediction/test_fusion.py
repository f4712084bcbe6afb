import numpy as np
import pytest
from fused_graphs import fused_graph
from onnx import helper

from kd3d.profiling.prediction.layer_work import layer_work


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
    fused = fused_graph(nodes, {"x": [1, 8, 4, 4]}, ["y"], {"w": (8, 8, 3, 3)})
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
    fused = fused_graph(nodes, {"x": [1, 8, 4, 4]}, ["y"], weights)
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
    fused = fused_graph(nodes, SHAPES, ["a", "b", "c", "d"], weights)
    assert [layer.outputs for layer in fused.layers] == [["a", "b"], ["c"], ["d"]]
    joint, *_ = (w for w in layer_work(fused, "fp32") if w.kind == "product")
    assert (joint.m, joint.n, joint.k) == (16, 8 + 24, 8)
    assert joint.weight_bytes == (8 + 24) * 8 * 4
    assert joint.write_bytes == (8 + 24) * 16 * 4  # both outputs; 8 and 24 need no padding


def test_an_activation_behind_one_of_several_stays_apart():
    nodes = [_conv("x", "w", "a"), *_silu("a", "y"), _conv("x", "w", "b")]
    fused = fused_graph(nodes, SHAPES, ["y", "b"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [("product", "Conv"), ("pointwise", "Sigmoid+Mul")]
    assert fused.layers[0].outputs == ["a", "b"]
    assert not fused.layers[1].epilogue


def test_convolutions_that_end_otherwise_are_not_joined():
    nodes = [_conv("x", "w", "a"), helper.make_node("Relu", ["a"], ["y"]), _conv("x", "w", "b")]
    fused = fused_graph(nodes, SHAPES, ["y", "b"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [("product", "Conv+Relu"), ("product", "Conv")]


@pytest.mark.parametrize(
    ("channels", "weight", "group", "taken"),
    [(8, (8, 8, 1, 1), 1, True), (3, (8, 3, 1, 1), 1, False), (8, (8, 1, 1, 1), 8, False)],
    ids=["dense", "image", "depthwise"],
)
def test_which_convolutions_take_an_activation(channels, weight, group, taken):
    nodes = [_conv("x", "w", "a", group=group), *_silu("a", "y")]
    fused = fused_graph(nodes, {"x": [1, channels, 4, 4]}, ["y"], {"w": weight})
    assert fused.layers[1].epilogue == taken
    in_half, in_full = (
        [w.epilogue for w in layer_work(fused, precision) if w.kind == "pointwise"]
        for precision in ("fp16", "fp32")
    )
    assert (in_half, in_full) == ([taken], [False])  # no kernel of TF32 ends with a SiLU


def test_a_matrix_product_takes_no_activation():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), *_silu("a", "y")]
    fused = fused_graph(nodes, {"x": [1, 8, 8]}, ["y"], {"w": (8, 8)})
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
    fused = fused_graph(nodes, SHAPES, ["y"], weights)
    (concat,) = (layer for layer in layer_work(fused, "fp32") if layer.kind == "concat")
    assert concat.launches == 2
    assert concat.read_bytes == concat.write_bytes == 2 * 8 * 16 * 4


def test_a_tensor_is_in_place_in_one_concatenation():
    """The last of two, as a DenseNet has them: what the first one joins are copies."""
    nodes = [
        _conv("x", "a", "A"),
        _conv("A", "b", "B"),
        helper.make_node("Concat", ["A", "B"], ["y"], axis=1),
        _conv("y", "c", "C"),
        helper.make_node("Concat", ["A", "B", "C"], ["z"], axis=1),
    ]
    weights = {"a": (8, 8, 1, 1), "b": (8, 8, 1, 1), "c": (8, 16, 1, 1)}
    fused = fused_graph(nodes, SHAPES, ["z"], weights)
    first, second = (layer for layer in layer_work(fused, "fp32") if layer.kind == "concat")
    assert (first.launches, first.read_bytes) == (2, 2 * 8 * 16 * 4)
    assert (second.launches, second.read_bytes) == (0, 0)


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
    fused = fused_graph(nodes, SHAPES, ["y", "b"], weights)
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
    fused = fused_graph(
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
    fused = fused_graph(nodes, {"x": [1, 8, 4, 4]}, ["y", "z"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [("product", "Conv"), ("pointwise", "Relu"), ("pool", "MaxPool")]


@pytest.mark.parametrize("op", ["Relu", "Sigmoid"])
def test_a_convolution_that_is_a_result_keeps_its_output(op):
    """What follows is a kernel apart, that reads what the first one wrote."""
    nodes = [_conv("x", "w", "a"), helper.make_node(op, ["a"], ["y"])]
    fused = fused_graph(nodes, SHAPES, ["a", "y"], {"w": (8, 8, 1, 1)})
    assert _layers(fused) == [("product", "Conv"), ("pointwise", op)]
    assert not fused.layers[1].epilogue
    product, _ = (work for work in layer_work(fused, "fp32") if work.kind != "reformat")
    assert (product.write_bytes, product.apart_bytes) == (8 * 16 * 4, 0)


def test_pointwise_neighbours_join_unless_that_makes_a_cycle():
    """exp and add have a convolution between them: together they would wait for themselves."""
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        _conv("a", "w", "b"),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["a", "c"], ["d"]),
        helper.make_node("Tanh", ["d"], ["y"]),
    ]
    fused = fused_graph(nodes, {"x": [1, 8, 4, 4]}, ["y"], {"w": (8, 8, 1, 1)})
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
    fused = fused_graph(nodes, {"x": [1, 4, 6]}, ["y"], {"shape": np.array([1, 4, 6])})
    assert _layers(fused) == [("pointwise", "Relu")]
    assert fused.layers[0].inputs == ["x"]


def _attention(op, mask=()):
    """Scores, their softmax and the mean of the values; a mask is added in the order given."""
    equations = ("bqc,bck->bqk", "bqk,bkc->bqc")
    first, second = ({"equation": e} if op == "Einsum" else {} for e in equations)
    return [
        helper.make_node(op, ["q", "k"], ["scores"], **first),
        *([helper.make_node("Add", mask, ["masked"])] if mask else []),
        helper.make_node("Softmax", ["masked" if mask else "scores"], ["p"]),
        helper.make_node(op, ["p", "v"], ["y"], **second),
    ]


ATTENTION = {"q": [2, 16, 8], "k": [2, 8, 16], "v": [2, 16, 8]}


@pytest.mark.parametrize("op", ["MatMul", "Einsum"])
@pytest.mark.parametrize(("precision", "kinds"), [("fp16", 1), ("fp32", 0)])
def test_attention_keeps_its_scores_inside(op, precision, kinds):
    work = layer_work(fused_graph(_attention(op), ATTENTION, ["y"]), precision)
    assert sum(layer.kind == "attention" for layer in work) == kinds
    scores = next(layer for layer in work if layer.operators == op)
    assert scores.write_bytes == (0 if precision == "fp16" else 2 * 16 * 16 * 4)
    assert (scores.m, scores.n, scores.k, scores.groups) == (16, 16, 8, 2)


def test_a_mask_of_attention_is_read_whichever_side_it_is_added_from():
    for mask in (["scores", "m"], ["m", "scores"]):
        fused = fused_graph(_attention("MatMul", mask), {**ATTENTION, "m": [2, 16, 16]}, ["y"])
        work = [layer for layer in layer_work(fused, "fp16") if layer.kind != "reformat"]
        scores, softmax, _ = work
        assert (scores.operators, scores.write_bytes) == ("MatMul", 0)
        assert (softmax.kind, softmax.read_bytes) == ("attention", 2 * 16 * 16 * 2)


def test_a_softmax_before_a_weight_and_a_residual_is_no_attention():
    nodes = _attention("MatMul")
    nodes[2] = helper.make_node("MatMul", ["p", "w"], ["product"])
    nodes.append(helper.make_node("Add", ["product", "v"], ["y"]))
    fused = fused_graph(nodes, ATTENTION, ["y"], {"w": (16, 8)})
    assert fused.layers[-1].operators == ("MatMul", "Add")
    assert not any(layer.attention for layer in fused.layers)


@pytest.mark.parametrize(("index", "kind"), [(1, "slice"), ([0, 2], "copy")])
def test_a_gather_of_one_place_is_a_slice(index, kind):
    """As qkv[:, 1] is exported; some places may lie anywhere."""
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=1)
    fused = fused_graph([node], {"x": [2, 3, 4]}, ["y"], {"i": np.array(index)})
    assert _layers(fused) == [(kind, "Gather")]


@pytest.mark.parametrize(("axis", "strided"), [(1, True), (2, False), (-1, False), (None, False)])
def test_a_softmax_along_the_rows_or_across_them(axis, strided):
    given = {} if axis is None else {"axis": axis}
    node = helper.make_node("Softmax", ["x"], ["y"], **given)
    (work,) = layer_work(fused_graph([node], {"x": [1, 16, 400]}, ["y"]), "fp32")
    assert work.strided == strided


def test_a_map_that_is_sampled_is_never_int8():
    sampled = helper.make_node("RoiAlign", ["a", "r", "i"], ["y"], output_height=7, output_width=7)
    weights = {"w": np.zeros((8, 8, 1, 1), np.float32), "i": np.zeros(5, np.int64)}
    tensors = {"x": [1, 8, 20, 20], "r": [5, 4]}
    fused = fused_graph([_conv("x", "w", "a"), sampled], tensors, ["y"], weights)
    assert _layers(fused) == [("product", "Conv"), ("sample", "RoiAlign")]
    names = [layer.name for layer in layer_work(fused, "int8", "fp16")]
    assert names == ["x (to int8)", "a", "RoiAlign_1", "y (output)"]  # a is written in fp16


def test_unknown_operators_are_named():
    node = helper.make_node("Mystery", ["x"], ["y"], domain="elsewhere")
    fused = fused_graph([node], {"x": [1, 4]}, ["y"])
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
    fused = fused_graph(nodes, {"x": [1, 8, 4, 4]}, ["y"], weights)
    work = {layer.name: layer for layer in layer_work(fused, "int8") if layer.kind == "product"}
    assert [layer.math for layer in work.values()] == ["int8", "fp16"]  # the second has no Q/DQ
    assert next(iter(work.values())).weight_bytes == 64
