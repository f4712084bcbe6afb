"""Norms written in single operators cost what the norms of opset 17 and 23 do."""

import numpy as np
import pytest
from fused_graphs import fused_graph
from onnx import helper

from kd3d.profiling.prediction.layer_work import layer_work

TOKENS = [2, 16, 64]
CONSTANTS = {"g": (64,), "two": np.float32(2), "one": np.float32(1), "e": np.float32(1e-6)}
LAYER = [
    helper.make_node("ReduceMean", ["x"], ["mu"], axes=[2]),
    helper.make_node("Sub", ["x", "mu"], ["d"]),
]
SQUARES = {
    "pow": lambda value: helper.make_node("Pow", [value, "two"], ["square"]),
    "mul": lambda value: helper.make_node("Mul", [value, value], ["square"]),
}


def _root(epsilon=("v", "e")):
    return [
        helper.make_node("ReduceMean", ["square"], ["v"], axes=[2]),
        helper.make_node("Add", epsilon, ["w"]),
        helper.make_node("Sqrt", ["w"], ["root"]),
    ]


DIVISIONS = {
    "div": lambda value: [helper.make_node("Div", [value, "root"], ["n"])],
    "reciprocal": lambda value: [
        helper.make_node("Reciprocal", ["root"], ["r"]),
        helper.make_node("Mul", [value, "r"], ["n"]),
    ],
    "1 / root": lambda value: [
        helper.make_node("Div", ["one", "root"], ["r"]),
        helper.make_node("Mul", ["r", value], ["n"]),
    ],
}
SCALE = helper.make_node("Mul", ["n", "g"], ["y"])


def _norm(kind, square="pow", division="div", **given):
    before, value = (LAYER, "d") if kind == "LayerNormalization" else ([], "x")
    return [*before, SQUARES[square](value), *_root(**given), *DIVISIONS[division](value), SCALE]


def _operators(nodes, outputs=("y",)):
    fused = fused_graph(nodes, {"x": TOKENS}, outputs, CONSTANTS)
    return ["+".join(layer.operators) for layer in fused.layers]


@pytest.mark.parametrize("kind", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("epsilon", [("v", "e"), ("e", "v")])
def test_a_norm_in_single_operators_is_one_kernel(kind, square, division, epsilon):
    nodes = _norm(kind, square, division, epsilon=epsilon)
    assert _operators(nodes) == [f"{kind}+Mul"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_it_does_the_work_of_the_one_operator(precision):
    """4 or 2 bytes of 2048 numbers in and out, and the conversions around it."""
    one = [helper.make_node("LayerNormalization", ["x", "g"], ["n"]), SCALE]
    several, single = (
        layer_work(fused_graph(nodes, {"x": TOKENS}, ["y"], CONSTANTS), precision)
        for nodes in (_norm("LayerNormalization"), one)
    )
    assert len(several) == len(single)
    for found, expected in zip(several, single, strict=True):
        for name in ("kind", "math", "read_bytes", "write_bytes", "elements", "operators"):
            assert getattr(found, name) == getattr(expected, name)


@pytest.mark.parametrize("outputs", [("y", "v"), ("y", "d")])
def test_what_is_a_result_stays_apart(outputs):
    found = _operators(_norm("LayerNormalization"), outputs)
    assert found == ["ReduceMean+Sub+Pow+ReduceMean", "Add+Sqrt", "Div+Mul"]


def test_what_another_node_reads_stays_apart():
    other = helper.make_node("MaxPool", ["d"], ["z"], kernel_shape=[1])
    found = _operators([*_norm("LayerNormalization"), other], ("y", "z"))
    assert "Add+Sqrt" in found


@pytest.mark.parametrize(
    "last",
    [
        helper.make_node("Div", ["root", "x"], ["n"]),
        helper.make_node("Div", ["g", "root"], ["n"]),
        helper.make_node("Mul", ["x", "root"], ["n"]),
    ],
)
def test_what_divides_something_else_is_no_norm(last):
    nodes = [*_norm("RMSNormalization")[:-2], last, SCALE]
    assert not any("Normalization" in name for name in _operators(nodes))


def test_a_mean_over_another_axis_is_no_norm_of_rows():
    nodes = _norm("RMSNormalization")
    nodes[1] = helper.make_node("ReduceMean", ["square"], ["v"], axes=[1])
    assert not any("Normalization" in name for name in _operators(nodes))


@pytest.mark.parametrize("behind", [[], [helper.make_node("Reciprocal", ["root"], ["r"])]])
def test_a_root_that_is_split_is_no_norm(behind):
    read = "r" if behind else "root"
    split = helper.make_node("Split", [read], ["a", "b"], axis=1)
    nodes = [SQUARES["pow"]("x"), *_root(), *behind, split]
    assert not any("Normalization" in found for found in _operators(nodes, ("a", "b")))
