"""Branches and loops: what is known is inlined, what is not stays in the graph."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.errors import UserError
from kd3d.profiling.devices import load_device
from kd3d.profiling.prediction.control_flow import captured
from kd3d.profiling.prediction.onnx_graph import graph_from_onnx
from kd3d.profiling.roofline import predict_latency


def _float(name, shape=None):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(nodes, inputs, constants=(), outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "toy",
        inputs,
        [_float(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _branch(name, nodes, weights=()):
    tensors = [numpy_helper.from_array(value, key) for key, value in weights]
    return helper.make_graph(nodes, name, [], [_float("out")], tensors)


WIDE = np.zeros((64, 64), np.float32)  # more than fits a shape
PRODUCT = helper.make_node("MatMul", ["a", "w"], ["out"])


def _choice(condition):
    """A branch with a weight of its own, or nothing; behind it another product."""
    then = _branch("then", [PRODUCT], [("w", WIDE)])
    other = _branch("else", [helper.make_node("Identity", ["a"], ["out"])])
    return [
        helper.make_node("Relu", ["x"], ["a"]),
        *condition,
        helper.make_node("If", ["c"], ["b"], then_branch=then, else_branch=other),
        helper.make_node("MatMul", ["b", "v"], ["y"]),
    ]


@pytest.mark.parametrize(("rows", "ops"), [(20, ["Relu", "MatMul"]), (4, ["Relu"])])
def test_a_branch_that_depends_on_sizes_is_the_one_taken(rows, ops):
    """More than 10 rows take the product."""
    condition = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"]),
        helper.make_node("Greater", ["rows", "ten"], ["c"]),
    ]
    constants = [("zero", np.array(0)), ("ten", np.array(10)), ("v", WIDE)]
    graph = graph_from_onnx(_model(_choice(condition), [_float("x", [rows, 64])], constants))
    kept = [node for node in graph.nodes if node.op != "Identity"]
    assert [node.op for node in kept] == [*ops, "MatMul"]
    assert graph.tensors[kept[1].inputs[1]].constant
    assert graph.tensors["y"].shape == (rows, 64)
    assert graph.warnings == ()


def test_a_branch_within_a_branch():
    inner = _branch("inner", [PRODUCT], [("w", WIDE)])
    nested = helper.make_node("If", ["c"], ["out"], then_branch=inner, else_branch=inner)
    outer = _branch("outer", [helper.make_node("Not", ["no"], ["c"]), nested])
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=outer, else_branch=outer)
    constants = [("yes", np.array(True)), ("no", np.array(False))]
    nodes = [helper.make_node("Relu", ["x"], ["a"]), choice]
    graph = graph_from_onnx(_model(nodes, [_float("x", [3, 64])], constants))
    assert [node.op for node in graph.nodes if node.op != "Identity"] == ["Relu", "MatMul"]
    assert captured(choice) == ["no", "a"]


def test_a_branch_chosen_while_running_is_refused():
    condition = [
        helper.make_node("ReduceMax", ["a"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "ten"], ["c"]),
    ]
    constants = [("ten", np.float32(10)), ("v", WIDE)]
    model = _model(_choice(condition), [_float("x", [20, 64])], constants)
    with pytest.raises(UserError, match="not counted: If "):
        predict_latency(model, load_device("orin-agx-64gb"))


def test_a_loop_of_constant_count_that_reads_activations_is_refused():
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Relu", ["x"], ["row"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), _float("row")],
    )
    loop = helper.make_node("Loop", ["count", ""], ["rows"], body=body)
    nodes = [loop, helper.make_node("MatMul", ["rows", "v"], ["y"])]
    model = _model(nodes, [_float("x", [4, 64])], [("count", np.array(4)), ("v", WIDE)])
    with pytest.raises(UserError, match="not counted: Loop "):
        predict_latency(model, load_device("orin-agx-64gb"))
