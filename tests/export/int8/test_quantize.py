from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx_toys import CHANNELS, detector, images, weights, write_model

from kd3d.backends.head_noise import accepted_from_json, head_differences
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.subgraph import InnerTensors
from kd3d.errors import UserError
from kd3d.export.int8.quantize import int8_from_onnx

LAYERS = ("stem", "large", "small", "head")


class Written:
    """An INT8 file, and what its Q/DQ pairs stand on."""

    def __init__(self, path):
        self.path = path
        self.model = onnx.load(path)
        onnx.checker.check_model(self.model, full_check=True)
        self.nodes = {node.name: node for node in self.model.graph.node}
        self.made = {name: node for node in self.model.graph.node for name in node.output}
        self.arrays = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}

    def pair(self, node, place):
        """(tensor behind Q/DQ, its scale, the axis or None) of an input; None where it is float."""
        dequantize = self.made.get(self.nodes[node].input[place])
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            return None
        quantize = self.made[dequantize.input[0]]
        assert list(quantize.input[1:]) == list(dequantize.input[1:])
        axes = [a.i for a in quantize.attribute if a.name == "axis"]
        scale = self.arrays[quantize.input[1]]
        return quantize.input[0], scale, axes[0] if scale.ndim else None

    def count(self):
        return Counter(node.op_type for node in self.model.graph.node)


def run(path, feeds):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.fixture
def source(tmp_path):
    return detector(tmp_path / "model.onnx")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "int8.onnx"


def test_weights_have_a_scale_for_each_output_channel(source, target):
    int8_from_onnx(source, target, images(4))
    written = Written(target)
    for layer in LAYERS:
        tensor, scale, axis = written.pair(layer, 1)
        weight = written.arrays[tensor]
        assert weight.dtype == np.float32
        assert axis == 0
        np.testing.assert_allclose(scale, np.abs(weight).max(axis=(1, 2, 3)) / 127, rtol=1e-6)


def test_everything_is_symmetric_and_biases_are_float(source, target):
    int8_from_onnx(source, target, images(4))
    written = Written(target)
    kinds = ("QuantizeLinear", "DequantizeLinear")
    pairs = [node for node in written.model.graph.node if node.op_type in kinds]
    assert len(pairs) == 2 * (4 + 6)  # four weights; images, stem_relu, large, skip, pool, join
    for node in pairs:
        zero = written.arrays[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    read = {name for node in written.model.graph.node for name in node.input}
    assert written.arrays.keys() <= read
    assert written.nodes["stem"].input[2] == "stem.b"
    assert written.arrays["stem.b"].dtype == np.float32


def test_layers_joins_and_skips_read_int8_and_decoding_float(source, target):
    report = int8_from_onnx(source, target, images(4))
    written = Written(target)
    for layer in LAYERS:
        _, scale, axis = written.pair(layer, 0)
        assert scale.ndim == 0
        assert axis is None
    assert [written.pair("join", place)[0] for place in (0, 1)] == ["pool", "stem_relu"]
    assert written.pair("pool", 0)[0] == "skip"
    # the convolution's own branch is added in its kernel; the skip is read in int8
    assert written.pair("skip", 0) is None
    assert written.nodes["skip"].input[0] == "small"
    assert written.pair("skip", 1)[0] == "stem_relu"
    for name in ("flat", "exp", "boxes", "scores", "stem_relu"):
        assert written.pair(name, 0) is None
    assert report.kept_fp32 == ()
    assert (report.layers, report.weighted, report.inputs) == (4, 4, 4)


def test_joined_tensors_share_a_scale(source, target):
    int8_from_onnx(source, target, images(4))
    written = Written(target)
    joined = [("join", 0), ("join", 1), ("pool", 0), ("head", 0), ("skip", 1), ("large", 0)]
    scales = {float(written.pair(name, place)[1]) for name, place in joined}
    assert len(scales) == 1


def test_outputs_are_near_and_the_ends_unchanged(source, target):
    report = int8_from_onnx(source, target, images(8))
    (feeds,) = images(1, seed=7)
    expected, received = run(source, feeds), run(target, feeds)
    difference = received["scores"] - expected["scores"]
    assert 0 < np.sqrt((difference**2).mean()) < 0.02
    assert 0 < report.noise["head"] < 0.01
    assert list(report.noise) == ["head", "boxes", "scores"]
    plain, written = onnx.load(source).graph, onnx.load(target).graph
    assert list(plain.input) == list(written.input)
    assert [o.name for o in plain.output] == [o.name for o in written.output]
    assert onnx.load(target).opset_import[0].version == 17
    assert not onnx.load(target).metadata_props


def test_the_noise_in_export_json_is_that_of_the_file(tmp_path, target):
    source = detector(tmp_path / "model.onnx", bad_channel=True)  # more than what is always given
    report = int8_from_onnx(source, target, images(8), keep_float=())
    accepted = accepted_from_json(report.as_json())
    assert list(accepted) == ["head"]
    right, written = (InnerTensors(path, OnnxRuntimeBackend) for path in (source, target))
    (found,) = head_differences(right, written, images(4, seed=7), accepted)
    assert 0.5 < found.ratio < 1.2


def test_a_layer_that_int8_ruins_stays_float_and_is_named(tmp_path, target):
    """One channel a thousand times larger leaves the others no step of its scale."""
    source = detector(tmp_path / "model.onnx", bad_channel=True)
    report = int8_from_onnx(source, target, images(4))
    assert report.kept_fp32 == ("small",)
    assert report.damage["small"] > 0.1
    assert report.noise["head"] < 0.02
    assert "small (" in report.text()
    written = Written(target)
    assert written.pair("small", 0) is None
    assert written.pair("small", 1) is None
    assert report.as_json()["kept_fp32"] == ["small"]

    everything = int8_from_onnx(source, target, images(4), keep_float=())
    assert everything.kept_fp32 == ()
    assert everything.noise["head"] > 0.1


def test_named_layers_stay_float(source, target):
    report = int8_from_onnx(source, target, images(2), keep_float=["large", "join"])
    assert report.kept_fp32 == ("large", "join")
    written = Written(target)
    assert written.nodes["large"].input[0] == "stem_relu"  # plain, though others read it in int8
    assert list(written.nodes["join"].input) == ["pool", "stem_relu"]
    assert written.pair("skip", 1)[0] == "stem_relu"
    assert report.layers == 3


def test_trained_ranges_replace_the_calibrated_ones(source, target):
    report = int8_from_onnx(source, target, images(2), ranges={"stem": 2.54, "small": 12.7})
    written = Written(target)
    assert written.pair("stem", 0)[1] == pytest.approx(0.02)
    assert written.pair("small", 0)[1] == pytest.approx(0.1)
    assert report.percentiles["training"] == 2


def test_an_outlier_of_the_calibration_is_clipped(tmp_path, target):
    """The largest value would leave all others a few steps."""
    nodes = [("Conv", ("images", "w"), "out", {"kernel_shape": [1, 1]})]
    source = write_model(tmp_path / "m.onnx", nodes, {"w": weights(2, 3, 1, 1)}, ["out"])
    inputs = images(8)
    inputs[-2]["images"][0, 0, 0, 0] = 1e4  # every second is measured
    report = int8_from_onnx(source, target, inputs)
    (scale,) = Written(target).pair("out", 0)[1:2]
    assert scale * 127 < 10
    assert set(report.percentiles) <= {"99.9 %", "99.99 %"}


@pytest.mark.parametrize(("transposed", "axis"), [(0, 1), (1, 0)])
def test_linear_layers_have_scales_of_their_outputs(tmp_path, target, transposed, axis):
    shape = (5, 4) if transposed else (4, 5)
    nodes = [("Gemm", ("rows", "w", "b"), "out", {"transB": transposed})]
    constants = {"w": weights(*shape), "b": np.zeros(5, np.float32)}
    path = write_model(tmp_path / "m.onnx", nodes, constants, ["out"], inputs={"rows": (6, 4)})
    int8_from_onnx(path, target, [{"rows": weights(6, 4, seed=1)}])
    _, scale, found = Written(target).pair("out", 1)
    assert (scale.shape, found) == ((5,), axis)


def test_transposed_convolutions_have_scales_of_their_outputs(tmp_path, target):
    nodes = [("ConvTranspose", ("images", "w"), "out", {"strides": [2, 2]})]
    path = write_model(tmp_path / "m.onnx", nodes, {"w": weights(3, 5, 2, 2)}, ["out"])
    int8_from_onnx(path, target, images(2))
    _, scale, axis = Written(target).pair("out", 1)
    assert (scale.shape, axis) == ((5,), 1)


def test_inputs_may_differ_in_size(tmp_path, target):
    nodes = [("MatMul", ("pillars", "w"), "out", {})]
    path = write_model(
        tmp_path / "m.onnx", nodes, {"w": weights(4, 2)}, ["out"], inputs={"pillars": ("P", 4)}
    )
    report = int8_from_onnx(path, target, [{"pillars": weights(n, 4, seed=n)} for n in (3, 9, 5)])
    assert report.inputs == 3


def test_a_tensor_that_is_also_an_output_stays_float_there(tmp_path, target):
    nodes = [
        ("Conv", ("images", "w1"), "features", {"kernel_shape": [1, 1]}),
        ("Conv", ("features", "w2"), "out", {"kernel_shape": [1, 1]}),
    ]
    constants = {"w1": weights(CHANNELS, 3, 1, 1), "w2": weights(2, CHANNELS, 1, 1)}
    path = write_model(tmp_path / "m.onnx", nodes, constants, ["features", "out"])
    int8_from_onnx(path, target, images(2))
    written = Written(target)
    assert written.made["features"].op_type == "Conv"
    assert written.pair("out", 0)[0] == "features"


def test_attention_stays_float(tmp_path, target):
    """Neither factor is a weight."""
    nodes = [
        ("MatMul", ("rows", "w"), "keys", {}),
        ("Transpose", ("keys",), "turned", {"perm": [1, 0]}),
        ("MatMul", ("keys", "turned"), "attention", {}),
    ]
    path = write_model(
        tmp_path / "m.onnx", nodes, {"w": weights(4, 4)}, ["attention"], inputs={"rows": (6, 4)}
    )
    report = int8_from_onnx(path, target, [{"rows": weights(6, 4, seed=1)}])
    assert (report.layers, report.weighted) == (1, 2)
    assert list(Written(target).nodes["attention"].input) == ["keys", "turned"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": []}, "no calibration inputs"),
        ({"calibration": [{"images": np.zeros((1, 3, 16), np.float32)}]}, "input 0"),
        ({"calibration": [{"images": np.full((1, 3, 16, 16), np.inf, np.float32)}]}, "not finite"),
        ({"keep_float": ["stam"]}, "keep_float names stam"),
        ({"ranges": {"stam": 1.0}}, "ranges names stam"),
        ({"ranges": {"stem": 0.0}}, "positive number"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(source, tmp_path, options, message):
    given = {"calibration": images(1)} | options
    with pytest.raises(UserError, match=message):
        int8_from_onnx(source, tmp_path / "int8.onnx", given.pop("calibration"), **given)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_model_without_layers_is_refused(tmp_path):
    path = write_model(tmp_path / "m.onnx", [("Relu", ("images",), "out", {})], {}, ["out"])
    with pytest.raises(UserError, match="no convolution"):
        int8_from_onnx(path, tmp_path / "int8.onnx", images(1))


def test_layers_behind_a_selection_are_measured_by_themselves(tmp_path, target):
    """Rows are chosen anew when the first layer is rounded; that is no noise of the second."""
    nodes = [
        ("MatMul", ("rows", "w1"), "first", {}),
        ("ReduceMax", ("first",), "score", {"axes": [1], "keepdims": 0}),
        ("TopK", ("score", "eight"), "values", {"axis": 0}),
        ("Gather", ("first", "order"), "chosen", {}),
        ("MatMul", ("chosen", "w2"), "second", {}),
    ]
    constants = {"w1": weights(8, 8), "w2": weights(8, 8, seed=1), "eight": np.array([8])}
    path = tmp_path / "m.onnx"
    write_model(path, nodes, constants, ["second"], inputs={"rows": (64, 8)})
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "TopK").output.append("order")
    onnx.save(model, path)
    report = int8_from_onnx(path, target, [{"rows": weights(64, 8, seed=n)} for n in (2, 3)])
    assert report.kept_fp32 == ()
    assert report.layers == 2
    assert list(report.noise) == ["first"]
