import numpy as np
import pytest
from fused_graphs import fused_graph
from onnx import helper

from kd3d.profiling.prediction.layer_work import layer_work

MAP = {"x": [1, 8, 4, 4]}


def _node(op, given, made, **attributes):
    return helper.make_node(op, given, [made], name=made, **attributes)


def _kernels(nodes, shapes, outputs, weights=(), precision="fp16"):
    """Kind and bytes of each kernel, conversions of the graph's tensors left out."""
    work = layer_work(fused_graph(nodes, shapes, outputs, weights), precision)
    return [
        (layer.kind, layer.read_bytes, layer.write_bytes)
        for layer in work
        if layer.kind != "reformat"
    ]


@pytest.mark.parametrize(
    ("op", "pool"), [("ReduceMean", "GlobalAveragePool"), ("ReduceMax", "GlobalMaxPool")]
)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_over_a_map_is_a_pooling(op, pool, keepdims):
    """Behind a convolution and ReLU, which it leaves in one kernel."""
    before = [_node("Conv", ["x", "w"], "a"), _node("Relu", ["a"], "b")]
    weights = {"w": (8, 8, 1, 1)}
    mean = _node(op, ["b"], "y", axes=[2, 3], keepdims=keepdims)
    found = _kernels([*before, mean], MAP, ["y"], weights)
    assert found == [("product", 8 * 16 * 2, 8 * 16 * 2), ("pool", 8 * 16 * 2, 8 * 2)]
    assert found == _kernels([*before, _node(pool, ["b"], "y")], MAP, ["y"], weights)


@pytest.mark.parametrize("axes", [[1, 2], [3], [1]])
def test_a_mean_over_other_axes_is_no_pooling(axes):
    mean = _node("ReduceMean", ["x"], "y", axes=axes)
    assert [kind for kind, *_ in _kernels([mean], {"x": [1, 8, 6, 4]}, ["y"])] == ["pointwise"]


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_zeros_around_a_map_are_the_padding_of_the_convolution(op):
    """Of 4 x 4 pixels, then; in the last form something else reads the padded map, too."""
    weights = {"w": (8, 8, 3, 3), "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    pad, conv = _node("Pad", ["x", "p"], "a"), _node(op, ["a", "w"], "y")
    assert [kernel[:2] for kernel in _kernels([pad, conv], MAP, ["y"], weights)] == [
        ("product", 8 * 16 * 2)
    ]
    for others in ({"mode": "reflect"}, {"mode": "edge"}):
        copied = _node("Pad", ["x", "p"], "a", **others)
        assert _kernels([copied, conv], MAP, ["y"], weights)[0][0] == "copy"
    read = _node("Sigmoid", ["a"], "z")
    assert _kernels([pad, conv, read], MAP, ["y", "z"], weights)[0][0] == "copy"


def test_a_crop_or_a_padding_of_channels_is_a_copy():
    conv = _node("Conv", ["a", "w"], "y")
    for channels, pads in ((8, [0, 0, -1, 0, 0, 0, 0, 0]), (9, [0, 1, 0, 0, 0, 0, 0, 0])):
        weights = {"w": (8, channels, 1, 1), "p": np.array(pads)}
        kernels = _kernels([_node("Pad", ["x", "p"], "a"), conv], MAP, ["y"], weights)
        assert [kind for kind, *_ in kernels] == ["copy", "product"]


def test_a_tensor_expanded_for_a_product_by_elements_is_broadcast():
    """A gate of (1, 8, 1, 1) on a map; expanded for a convolution it is a copy."""
    shapes, weights = {**MAP, "g": [1, 8, 1, 1]}, {"s": np.array([1, 8, 4, 4])}
    wide = _node("Expand", ["g", "s"], "a")
    found = _kernels([wide, _node("Mul", ["x", "a"], "y")], shapes, ["y"], weights)
    assert found == [("pointwise", 8 * 16 * 2 + 8 * 4, 8 * 16 * 2)]  # so few stay float32
    assert found == _kernels([_node("Mul", ["x", "g"], "y")], shapes, ["y"])
    conv = _node("Conv", ["a", "w"], "y")
    kinds = [k for k, *_ in _kernels([wide, conv], shapes, ["y"], {**weights, "w": (8, 8, 1, 1)})]
    assert kinds == ["copy", "product"]


def test_a_split_is_as_many_slices():
    """Thirds by Split, by Slices, and by Gathers of one place of an axis."""
    weights = {"i0": np.array(0), "i1": np.array(1), "i2": np.array(2), "axes": np.array([1])}
    weights |= {f"n{place}": np.array([place]) for place in range(4)}
    split = [helper.make_node("Split", ["x"], ["a", "b", "c"], axis=1)]
    slices = [
        _node("Slice", ["x", f"n{place}", f"n{place + 1}", "axes"], name)
        for place, name in enumerate("abc")
    ]
    gathers = [
        _node("Gather", ["x", f"i{place}"], name, axis=1) for place, name in enumerate("abc")
    ]
    for nodes in (split, slices, gathers):
        work = layer_work(fused_graph(nodes, {"x": [2, 3, 16]}, list("abc"), weights), "fp32")
        assert sum(layer.launches for layer in work) == 3
        assert sum(layer.read_bytes for layer in work) == 2 * 3 * 16 * 4
        assert {layer.kind for layer in work} == {"slice"}


def test_a_slice_of_a_slice_is_a_slice():
    """One axis after the other, or both at once: 4 of 8 channels, 2 of 4 rows."""
    weights = {"n0": np.array([0]), "n4": np.array([4]), "n2": np.array([2])}
    weights |= {"axis1": np.array([1]), "axis2": np.array([2]), "both": np.array([1, 2])}
    weights |= {"first": np.array([0, 0]), "last": np.array([4, 2])}
    one = [_node("Slice", ["x", "first", "last", "both"], "y")]
    two = [
        _node("Slice", ["x", "n0", "n4", "axis1"], "a"),
        _node("Slice", ["a", "n0", "n2", "axis2"], "y"),
    ]
    found = _kernels(two, MAP, ["y"], weights)
    assert found == [("slice", 4 * 8 * 2, 4 * 8 * 2)] == _kernels(one, MAP, ["y"], weights)


@pytest.mark.parametrize(
    ("op", "given", "more"),
    [
        ("Pad", ["x", "none"], {}),
        ("Slice", ["x", "zero", "end", "axis"], {}),
        ("Expand", ["x", "shape"], {}),
        ("Tile", ["x", "ones"], {}),
        ("Concat", ["x"], {"axis": 1}),
        ("Split", ["x"], {"axis": 1}),
    ],
)
def test_what_changes_nothing_is_no_kernel(op, given, more):
    weights = {"none": np.zeros(8, np.int64), "zero": np.array([0]), "end": np.array([99])}
    weights |= {"axis": np.array([2]), "shape": np.array([1, 8, 4, 4]), "w": (8, 8, 1, 1)}
    weights["ones"] = np.ones(4, np.int64)
    nodes = [_node(op, given, "a", **more), _node("Conv", ["a", "w"], "y")]
    assert [kind for kind, *_ in _kernels(nodes, MAP, ["y"], weights)] == ["product"]


def test_orders_that_change_one_after_the_other_change_once():
    """A head of attention, as exporters make it: another shape between the two."""
    nodes = [
        _node("Transpose", ["x"], "a", perm=[0, 2, 1, 3]),
        _node("Reshape", ["a", "rows"], "b"),
        _node("Transpose", ["b"], "y", perm=[0, 2, 1]),
    ]
    weights = {"rows": np.array([8, 4, 4])}
    found = _kernels(nodes, {"x": [2, 4, 4, 4]}, ["y"], weights)
    assert found == [("copy", 2 * 64 * 2, 2 * 64 * 2)]
    assert len(_kernels(nodes, {"x": [2, 4, 4, 4]}, ["y", "a"], weights)) == 2  # a result, too


def _attention(scales):
    """Of queries (2, 16, 8) and keys, scaled or not; keys are transposed before."""
    nodes = [_node("Transpose", ["k"], "t", perm=[0, 2, 1])]
    q, k = "q", "t"
    if "q" in scales:
        nodes.append(_node("Mul", ["q", "s"], "q2"))
        q = "q2"
    if "k" in scales:
        nodes.append(_node("Div", ["t", "s"], "k2"))
        k = "k2"
    return [*nodes, _node("MatMul", [q, k], "a"), _node("Softmax", ["a"], "p")]


def test_the_scale_of_attention_stands_on_queries_or_on_both():
    shapes, weights = {"q": [2, 16, 8], "k": [2, 16, 8], "v": [2, 16, 8]}, {"s": np.float32(0.5)}
    last = _node("MatMul", ["p", "v"], "y")
    on_both, on_queries, on_keys = (
        _kernels([*_attention(scales), last], shapes, ["y"], weights) for scales in ("qk", "q", "k")
    )
    assert on_both == on_queries
    kinds = ["transpose", "pointwise", "product", "attention", "product"]
    assert sorted(kind for kind, *_ in on_both) == sorted(kinds)
    assert "pointwise" in [kind for kind, *_ in on_keys]  # a scale alone is left where it is


def test_a_quotient_by_a_number_may_be_int8_as_a_product_is():
    nodes = [_node("Conv", ["x", "w"], "a"), _node("Div", ["a", "s"], "b")]
    nodes += [_node("Sigmoid", ["b"], "c"), _node("Conv", ["c", "w"], "y")]
    weights = {"w": (8, 8, 1, 1), "s": np.float32(2)}
    fused = fused_graph(nodes, MAP, ["y"], weights)
    (between,) = (w for w in layer_work(fused, "int8") if w.kind == "pointwise")
    assert between.math == "int8"
