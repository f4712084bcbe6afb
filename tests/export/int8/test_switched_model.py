import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_toys import write_model

from kd3d.export.graphs.graph_parts import read_graph
from kd3d.export.int8.switched_model import SwitchedModel, relative_noise


def model(tmp_path, rounding, **options):
    nodes = [
        ("Mul", ("images", "third"), "a", {}),
        ("Mul", ("a", "third"), "b", {}),
    ]
    constants = {"third": np.float32(1 / 3)}
    path = write_model(tmp_path / "m.onnx", nodes, constants, ["b"], inputs={"images": (1,)})
    return SwitchedModel(read_graph(path), rounding, outputs=["a", "b"], **options)


def outputs_to_half(node, tensor, reads):
    if reads:
        return None
    half = helper.make_node("Cast", [tensor], ["half"], name="half", to=TensorProto.FLOAT16)
    back = helper.make_node("Cast", ["half"], ["back"], name="back", to=TensorProto.FLOAT)
    return node.name, [half, back]


def test_each_switch_rounds_its_own_node(tmp_path):
    switched = model(tmp_path, outputs_to_half)
    assert switched.switches == ["a", "b"]
    one, third = np.ones(1, np.float32), np.float32(1 / 3)
    half = np.float32(np.float16(third))
    assert half != third
    for on, a, b in (
        ([], third, third * third),
        (["a"], half, half * third),
        (["b"], third, np.float32(np.float16(third * third))),
        (["a", "b"], half, np.float32(np.float16(half * third))),
    ):
        received = switched.run({"images": one}, on)
        assert received["a"] == a
        assert received["b"] == b


def test_an_overflow_of_float16_is_seen(tmp_path):
    """ONNX Runtime computes float16 nodes in float32 on a CPU; the roundings must stay."""
    switched = model(tmp_path, outputs_to_half)
    received = switched.run({"images": np.full(1, 3e5, np.float32)}, ["a"])
    assert np.isposinf(received["b"]).all()  # 1e5 is beyond 65504


def test_settings_and_constants_reach_the_roundings(tmp_path):
    def replaced(node, tensor, reads):
        if reads:
            return None
        step = helper.make_node("Add", ["shift", "fixed"], ["sum"], name="sum")
        return "all", [step]

    switched = model(
        tmp_path,
        replaced,
        constants={"fixed": np.array([10], np.float32)},
        settings={"shift": np.array([1], np.float32)},
    )
    one = np.ones(1, np.float32)
    assert switched.run({"images": one}, ["all"])["b"] == 11
    switched.settings["shift"] = np.array([2], np.float32)
    assert switched.run({"images": one}, ["all"])["b"] == 12
    assert switched.run({"images": one})["b"] == pytest.approx(1 / 9)


def test_relative_noise_of_two_runs():
    expected = [np.array([3.0, 0.0]), np.array([4.0])]
    received = [np.array([3.0, 1.0]), np.array([4.0])]
    assert relative_noise(expected, received) == pytest.approx(1 / 5)  # sqrt(1 / (9 + 16))
    assert relative_noise(expected, expected) == 0
    assert relative_noise([np.zeros(2)], [np.zeros(2)]) == 0
    assert relative_noise(expected, [np.array([3.0, np.nan]), np.array([4.0])]) == np.inf
