import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from kd3d.export.graphs.sibling_convolutions import BLOCK, merge_siblings


def graph_of(nodes, weights, outputs):
    """A model of one input x (2, 3, 6, 7)."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 6, 7])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list("BCHW")) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(name, *, source="x", bias=True, **attributes):
    inputs = [source, f"{name}.w", *([f"{name}.b"] if bias else [])]
    given = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **attributes}
    return helper.make_node("Conv", inputs, [f"{name}.y"], name=name, **given)


def weights_of(**channels):
    random = np.random.default_rng(0)
    found = {}
    for name, count in channels.items():
        found[f"{name}.w"] = random.normal(size=(count, 3, 3, 3)).astype(np.float32)
        found[f"{name}.b"] = random.normal(size=count).astype(np.float32)
    return found


def run(model):
    onnx.checker.check_model(model, full_check=True)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).normal(size=(2, 3, 6, 7)).astype(np.float32)
    return session.run(None, {"x": images})


def same(model, merged):
    """Merges, and says what is left; the results stay."""
    before = run(model)
    assert merge_siblings(model) == merged
    for expected, received in zip(before, run(model), strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    return [node.op_type for node in model.graph.node]


def test_branches_become_one_and_keep_their_names():
    nodes = [conv("a"), conv("b", bias=False), helper.make_node("Sigmoid", ["a.y"], ["s"])]
    weights = weights_of(a=2, b=5)
    del weights["b.b"]
    model = graph_of(nodes, weights, ["s", "b.y", "a.y"])
    assert same(model, 1) == ["Conv", "Split", "Sigmoid"]
    assert [list(node.output) for node in model.graph.node][1] == ["a.y", "b.y"]


@pytest.mark.parametrize(
    ("joined", "kinds"),
    [
        (["a.y", "b.y"], ["Conv", "Split"]),
        (["b.y", "a.y"], ["Conv", "Split", "Concat"]),  # another order
        (["b.y", "c.y"], ["Conv", "Split"]),
        (["a.y", "c.y"], ["Conv", "Split", "Concat"]),  # not beside each other
        (["c.y", "x"], ["Conv", "Split", "Concat"]),
    ],
)
def test_what_is_joined_again_is_not_taken_apart(joined, kinds):
    nodes = [conv("a"), conv("b"), conv("c"), helper.make_node("Concat", joined, ["j"], axis=1)]
    others = [f"{name}.y" for name in "abc" if f"{name}.y" not in joined]
    model = graph_of(nodes, weights_of(a=2, b=3, c=1), ["j", *others])
    assert same(model, 2) == kinds


def test_a_part_that_others_read_too_stays_apart():
    join = helper.make_node("Concat", ["a.y", "b.y"], ["j"], axis=1)
    model = graph_of([conv("a"), conv("b"), join], weights_of(a=2, b=3), ["j", "a.y"])
    assert same(model, 1) == ["Conv", "Split", "Concat"]


@pytest.mark.parametrize(
    "other",
    [
        conv("b", strides=[2, 2]),
        conv("b", dilations=[2, 2], pads=[2, 2, 2, 2]),
        conv("b", source="r"),
    ],
)
def test_others_are_left(other):
    nodes = [helper.make_node("Relu", ["x"], ["r"]), conv("a"), other]
    assert same(graph_of(nodes, weights_of(a=2, b=3), ["a.y", "b.y"]), 0)[1:] == ["Conv", "Conv"]


def test_a_convolution_that_fills_its_block_is_left():
    model = graph_of([conv("a"), conv("b")], weights_of(a=2, b=BLOCK), ["a.y", "b.y"])
    assert same(model, 0) == ["Conv", "Conv"]


def test_a_weight_that_is_computed_is_left():
    nodes = [helper.make_node("Relu", ["w"], ["b.w"]), conv("a"), conv("b")]
    weights = weights_of(a=2, b=3)
    weights["w"] = weights.pop("b.w")
    assert same(graph_of(nodes, weights, ["a.y", "b.y"]), 0) == ["Relu", "Conv", "Conv"]
