import numpy as np
import pytest
from onnx_toys import detector, weights, write_model

from kd3d.errors import UserError
from kd3d.export.graphs.graph_parts import read_graph


def test_parts_of_a_detector(tmp_path):
    graph = read_graph(detector(tmp_path / "model.onnx"))
    assert graph.front == []
    assert graph.trunk == [
        *("stem", "stem_relu", "large", "small", "skip", "pool", "join"),
        "head",
    ]
    assert graph.tail == ["flat", "raw", "exp", "boxes", "scores"]
    assert graph.heads == ["head"]
    assert graph.tail_of("scores") == {"flat", "raw", "scores"}
    assert graph.choosing_tail({"Reshape", "Split"}) == {"flat", "raw"}
    assert not graph.selection


def test_what_prepares_the_input_is_the_front(tmp_path):
    nodes = [
        ("Sub", ("points", "centre"), "offset", {}),
        ("MatMul", ("offset", "w"), "linear", {}),
    ]
    constants = {"centre": np.float32(3), "w": weights(4, 2)}
    path = write_model(
        tmp_path / "m.onnx", nodes, constants, ["linear"], inputs={"points": ("P", 4)}
    )
    graph = read_graph(path)
    assert (graph.front, graph.trunk, graph.tail) == (["offset"], ["linear"], [])
    assert graph.heads == ["linear"]  # an output of the graph counts as read


def two_stages(path):
    """A first layer, the choice of three rows by score, a second layer on them."""
    nodes = [
        ("MatMul", ("rows", "w1"), "first", {}),
        ("Exp", ("first",), "decoded", {}),
        ("ReduceMax", ("first",), "score", {"axes": [1], "keepdims": 0}),
        ("TopK", ("score", "three"), "values", {"axis": 0}),
        ("Gather", ("decoded", "order"), "chosen", {}),
        ("MatMul", ("chosen", "w2"), "second", {}),
        ("Neg", ("second",), "boxes", {}),
    ]
    constants = {"w1": weights(4, 4), "w2": weights(4, 4), "three": np.array([3])}
    write_model(path, nodes, constants, ["boxes"], inputs={"rows": (8, 4)})
    import onnx

    model = onnx.load(path)
    next(n for n in model.graph.node if n.op_type == "TopK").output.append("order")
    onnx.save(model, path)
    return path


def test_the_choice_of_proposals_is_set_apart(tmp_path):
    graph = read_graph(two_stages(tmp_path / "m.onnx"))
    assert graph.selection == {"decoded", "score", "values", "chosen"}
    assert graph.heads == ["first", "second"]
    assert graph.first_heads() == ["first"]
    assert graph.after_selection() == {"second", "boxes"}
    assert graph.plain_outputs() == []


def test_outputs_in_a_fixed_order(tmp_path):
    graph = read_graph(detector(tmp_path / "m.onnx"))
    assert graph.plain_outputs() == ["boxes", "scores"]


def test_constant_nodes_become_initializers(tmp_path):
    import onnx
    from onnx import helper, numpy_helper

    path = write_model(tmp_path / "m.onnx", [("Mul", ("images", "two"), "out", {})], {}, ["out"])
    model = onnx.load(path)
    two = numpy_helper.from_array(np.float32(2))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["two"], value=two))
    onnx.save(model, path)
    graph = read_graph(path)
    assert list(graph.nodes) == ["out"]
    assert graph.constants["two"] == 2


def test_nodes_without_a_name_get_one(tmp_path):
    import onnx

    path = detector(tmp_path / "m.onnx")
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, path)
    assert len(read_graph(path).nodes) == 13


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: path.unlink(), "no ONNX file"),
        (lambda path: path.write_bytes(b"no model"), "not an ONNX file"),
        (lambda path: path.write_bytes(b""), "not an ONNX file"),
        (lambda path: detector_of_opset(path, 12), "opset 12"),
        (lambda path: quantized(path), "quantised already"),
    ],
)
def test_other_files_are_refused(tmp_path, break_it, message):
    path = detector(tmp_path / "m.onnx")
    break_it(path)
    with pytest.raises(UserError, match=message):
        read_graph(path)


def detector_of_opset(path, opset):
    write_model(path, [("Relu", ("images",), "out", {})], {}, ["out"], opset=opset)


def quantized(path):
    constants = {"s": np.float32(1), "z": np.int8(0)}
    nodes = [
        ("QuantizeLinear", ("images", "s", "z"), "q", {}),
        ("DequantizeLinear", ("q", "s", "z"), "out", {}),
    ]
    write_model(path, nodes, constants, ["out"])
