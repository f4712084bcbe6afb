"""Faults seeded into small graphs made by hand; the layer has to be named."""

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.backends.first_departure import first_departure
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.subgraph import InnerTensors, subgraph

C = 4  # channels of the graph below


def branched(seed=0, side_layers=1):
    """x -> conv0..3 in a row with ReLU, a side branch, both added, then a sum and a TopK."""
    generator = np.random.default_rng(seed)
    nodes, weights = [], []

    def conv(name, source):
        weights.append(
            numpy_helper.from_array(
                generator.normal(0, 0.4, (C, C, 3, 3)).astype(np.float32), f"{name}.weight"
            )
        )
        nodes.append(
            helper.make_node("Conv", [source, f"{name}.weight"], [name], name, pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"], f"{name}.relu"))
        return f"{name}.relu"

    source = "x"
    for index in range(4):
        source = conv(f"conv{index}", source)
    side = conv("side", "conv0.relu")
    for index in range(1, side_layers):
        side = conv(f"side{index}", side)
    nodes += [
        helper.make_node("Add", [source, side], ["sum"], "sum"),
        helper.make_node("Reshape", ["sum", "flat"], ["row"], "row"),
        helper.make_node("TopK", ["row", "k"], ["best", "place"], "topk"),
        helper.make_node("Mul", ["best", "two"], ["doubled"], "doubled"),
    ]
    weights += [
        numpy_helper.from_array(np.array([1, -1]), "flat"),
        numpy_helper.from_array(np.array([3]), "k"),
        numpy_helper.from_array(np.float32(2), "two"),
    ]
    graph = helper.make_graph(
        nodes,
        "branched",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, C, 6, 6])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("sum", "doubled")
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def change_weight(model, name, change):
    """The weights of one layer after ``change``."""
    weight = next(w for w in model.graph.initializer if w.name == f"{name}.weight")
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight)), weight.name))


@pytest.fixture
def find(tmp_path):
    """First departure of a changed copy of the graph."""
    model = branched()
    feeds = [{"x": np.random.default_rng(i).normal(size=(1, C, 6, 6)).astype("f4")} for i in (0, 1)]

    def run(change, limit=1e-3, model=model, head=""):
        faulty = copy.deepcopy(model)
        change(faulty)
        for name, graph in (("right", model), ("faulty", faulty)):
            onnx.save(graph, tmp_path / f"{name}.onnx")
        right, other = (
            InnerTensors(tmp_path / f"{name}.onnx", OnnxRuntimeBackend)
            for name in ("right", "faulty")
        )
        return first_departure(right, other, feeds, limit=limit, head=head)

    return run


def test_equal_graphs_do_not_depart(find):
    assert find(lambda model: None) is None


@pytest.mark.parametrize("layer", ["conv0", "conv2", "conv3", "side"])
@pytest.mark.parametrize(
    "fault",
    [
        lambda weight: weight * 0.01,  # collapsed
        lambda weight: weight[[1, 0, 2, 3]],  # two channels changed places
        lambda weight: np.where(np.arange(weight.size).reshape(weight.shape) == 7, np.nan, weight),
    ],
)
def test_the_layer_is_named(find, layer, fault):
    found = find(lambda model: change_weight(model, layer, lambda w: fault(w).astype(np.float32)))
    assert found.first.node == layer
    assert found.first.operator == "Conv"
    assert found.first.rms > found.limit
    assert all(read.rms == 0 for read in found.read)
    assert found.after[0].node == f"{layer}.relu"
    assert found.after[-1].node in ("sum", "row")  # what the TopK reads is the last that counts


def test_measured_values(find):
    def halve(model):
        change_weight(model, "side", lambda weight: weight / 2)

    found = find(halve)
    assert found.first.rms == pytest.approx(0.5)
    assert found.first.cosine == pytest.approx(1.0)
    assert found.first.non_finite == 0
    # four convolutions in a row, their ReLUs, the side branch, sum: 12 tensors, few probes
    assert found.probes <= 6


def test_not_finite_is_counted(find):
    def overflow(model):
        change_weight(model, "conv1", lambda weight: np.full_like(weight, 3e38))

    found = find(overflow)
    assert found.first.node == "conv1"
    assert found.first.non_finite > 0
    assert found.first.rms == float("inf")


def test_a_channel_of_a_head_is_told_from_noise_before_it(find):
    """A quantised layer is noisier as a whole than one channel among many makes its tensor."""
    generator = np.random.default_rng(1)

    def change(model):
        change_weight(model, "conv0", lambda w: w + generator.normal(0, 0.12, w.shape).astype("f4"))
        channels = np.float32([1, 0, 1, 1]).reshape(4, 1, 1, 1)
        change_weight(model, "conv3", lambda w: w * channels)

    found = find(change, head="conv3")
    assert found.first.node == "conv3"
    assert 0.5 < found.first.rms < 3
    as_a_whole = find(change)
    assert as_a_whole.first.node == "conv0"
    assert as_a_whole.first.rms > 0.2


def test_two_faults_name_the_one_that_comes_first(find):
    def both(model):
        for layer in ("conv3", "conv1"):
            change_weight(model, layer, lambda weight: weight * 0.5)

    assert find(both).first.node == "conv1"


def test_a_long_branch_without_fault_does_not_hide_it(find):
    def halve(model):
        change_weight(model, "conv3", lambda weight: weight * 0.5)

    assert find(halve, model=branched(side_layers=20)).first.node == "conv3"


def test_small_differences_are_found_below_the_limit(find):
    found = find(lambda m: change_weight(m, "conv3", lambda w: w * np.float32(1.01)), limit=0.5)
    assert found.first.node == "conv3"
    assert found.limit < 0.01


def test_quantised_and_cast_tensors_are_matched_by_name(find):
    def quantise(scale):
        def insert(model):
            """Q/DQ on what conv2 reads; a scale too small clips it."""
            model.graph.initializer.extend(
                [
                    numpy_helper.from_array(np.float32(scale), "scale"),
                    numpy_helper.from_array(np.int8(0), "zero"),
                ]
            )
            nodes = list(model.graph.node)
            place = next(i for i, node in enumerate(nodes) if node.name == "conv2")
            nodes[place].input[0] = "conv1.dequantised"
            nodes[place:place] = [
                helper.make_node("QuantizeLinear", ["conv1.relu", "scale", "zero"], ["conv1.q"]),
                helper.make_node(
                    "DequantizeLinear", ["conv1.q", "scale", "zero"], ["conv1.dequantised"]
                ),
            ]
            del model.graph.node[:]
            model.graph.node.extend(nodes)

        return insert

    wrong, right = find(quantise(0.002), limit=0.1), find(quantise(0.1), limit=0.1)
    assert wrong.first.node == "conv2"
    assert [read.tensor for read in wrong.read] == ["conv1.relu"]
    assert wrong.first.rms > 0.3
    assert right.limit < 0.1  # nothing reaches what is asked: only its largest part is told


def test_a_fault_behind_the_sorting_is_named_if_what_is_sorted_agrees(find):
    def triple(model):
        two = next(w for w in model.graph.initializer if w.name == "two")
        two.CopyFrom(numpy_helper.from_array(np.float32(3), "two"))

    assert find(triple).first.node == "doubled"

    def both(model):
        triple(model)
        change_weight(model, "conv3", lambda weight: weight * 0.5)

    assert find(both).first.node == "conv3"


def test_subgraph_holds_only_what_is_needed():
    model = onnx.shape_inference.infer_shapes(branched())
    part = subgraph(model, ["conv1.relu", "side"])
    onnx.checker.check_model(part, full_check=True)
    assert {node.name for node in part.graph.node} == {
        *("conv0", "conv0.relu", "conv1", "conv1.relu", "side")
    }
    assert [output.name for output in part.graph.output] == ["conv1.relu", "side"]
    assert [weight.name for weight in part.graph.initializer] == [
        *("conv0.weight", "conv1.weight", "side.weight")
    ]
    assert len(model.graph.node) == 14  # 5 convolutions with ReLU, add, reshape, TopK, mul
