import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from onnx_toys import detector, images, weights, write_model

from kd3d.errors import UserError
from kd3d.export.graphs.graph_parts import read_graph
from kd3d.export.graphs.half_precision import HIGHEST, TAIL_ERROR, fp16_from_onnx
from kd3d.export.graphs.half_typing import half_precision_model
from kd3d.export.graphs.operators import check_operators


def run(path, feeds):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def types(path):
    """Element type of every tensor that a node makes."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


@pytest.fixture
def source(tmp_path):
    return detector(tmp_path / "model.onnx")


def test_weights_are_float16_and_the_ends_float32(source, tmp_path):
    report = fp16_from_onnx(source, tmp_path / "half.onnx", images(2))
    half, plain = onnx.load(tmp_path / "half.onnx"), onnx.load(source)
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    for name in ("stem.w_fp16", "stem.b_fp16", "large.w_fp16", "small.w_fp16", "head.w_fp16"):
        assert kinds[name] == TensorProto.FLOAT16
    assert kinds["stride"] == TensorProto.FLOAT  # of the decoding, which stays
    assert list(half.graph.input) == list(plain.graph.input)
    assert [o.name for o in half.graph.output] == ["boxes", "scores"]
    assert {types(tmp_path / "half.onnx")[n] for n in ("boxes", "scores")} == {TensorProto.FLOAT}
    assert report.kept_fp32 == ("exp", "boxes", "scores")
    assert half.opset_import[0].version == 17


def test_convolutions_compute_in_float16(source, tmp_path):
    fp16_from_onnx(source, tmp_path / "half.onnx", images(1))
    found = types(tmp_path / "half.onnx")
    trunk = ("stem", "stem_relu", "large", "small", "skip", "pool", "join", "head", "raw")
    assert {found[name] for name in trunk} == {TensorProto.FLOAT16}
    assert {found[name] for name in ("exp", "logit_fp32")} == {TensorProto.FLOAT}


def test_outputs_are_near(source, tmp_path):
    fp16_from_onnx(source, tmp_path / "half.onnx", images(2))
    (feeds,) = images(1, seed=5)
    expected, received = run(source, feeds), run(tmp_path / "half.onnx", feeds)
    for name in ("boxes", "scores"):
        largest = np.abs(expected[name]).max()
        np.testing.assert_allclose(received[name], expected[name], atol=5e-3 * largest)


def test_what_overflows_stays_and_is_named(tmp_path):
    source = detector(tmp_path / "model.onnx", overflow=True)
    report = fp16_from_onnx(source, tmp_path / "half.onnx", images(2))
    assert report.kept_fp32 == ("large", "small", "exp", "boxes", "scores")
    assert report.reasons["large"] == f"values beyond {HIGHEST:.0f}"
    assert "values beyond 32752: large, small" in report.text()
    found = types(tmp_path / "half.onnx")
    assert found["large"] == TensorProto.FLOAT
    assert found["skip"] == TensorProto.FLOAT16
    kinds = {t.name: t.data_type for t in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert kinds["large.w"] == kinds["small.w"] == TensorProto.FLOAT
    (feeds,) = images(1, seed=5)
    expected, received = run(source, feeds), run(tmp_path / "half.onnx", feeds)
    np.testing.assert_allclose(received["scores"], expected["scores"], atol=5e-3)


def test_layers_that_lose_too_much_stay(tmp_path):
    """The difference of two large values keeps few digits in float16."""
    nodes = [
        ("MatMul", ("rows", "w1"), "first", {}),
        ("Add", ("first", "large"), "raised", {}),
        ("Sub", ("raised", "large"), "lowered", {}),
        ("MatMul", ("lowered", "w2"), "out", {}),
    ]
    constants = {"w1": weights(8, 8), "w2": weights(8, 8, seed=1), "large": np.float32(1000)}
    source = write_model(tmp_path / "m.onnx", nodes, constants, ["out"], inputs={"rows": (4, 8)})
    feeds = [{"rows": weights(4, 8, seed=2, scale=3)}]
    report = fp16_from_onnx(source, tmp_path / "half.onnx", feeds)
    assert report.kept_fp32 == ("raised", "lowered")  # either alone would round in between
    assert report.noise["out"] < 0.01


def test_metres_before_the_first_layer_stay(tmp_path):
    """30.01 m - 30 m: float16 has steps of 16 mm there."""
    nodes = [
        ("Sub", ("points", "centre"), "offset", {}),
        ("Mul", ("offset", "ten"), "scaled", {}),
        ("MatMul", ("scaled", "w"), "out", {}),
    ]
    constants = {"centre": np.float32(30), "ten": np.float32(10), "w": weights(2, 8)}
    source = write_model(tmp_path / "m.onnx", nodes, constants, ["out"], inputs={"points": (4, 2)})
    points = 30 + np.random.default_rng(0).uniform(-0.1, 0.1, (4, 2)).astype(np.float32)
    report = fp16_from_onnx(source, tmp_path / "half.onnx", [{"points": points}])
    assert report.kept_fp32 == ("offset",)


NORMALISED = [
    ("Conv", ("images", "w1"), "first", {}),
    ("InstanceNormalization", ("first", "scale", "bias"), "norm", {}),
    ("Neg", ("norm",), "turned", {}),
    ("Conv", ("turned", "w2"), "out", {}),
]
NORMALISED_CONSTANTS = {
    "w1": weights(4, 3, 1, 1),
    "scale": 1 + weights(4, scale=0.1),
    "bias": weights(4, seed=1),
    "w2": weights(2, 4, 1, 1, seed=2),
}


def test_a_normalisation_whose_scale_tensorrt_8_misreads_stays(tmp_path):
    source = write_model(tmp_path / "m.onnx", NORMALISED, NORMALISED_CONSTANTS, ["out"])
    report = fp16_from_onnx(source, tmp_path / "half.onnx", images(2))
    assert report.kept_fp32 == ("norm",)
    assert "1 has a scale that TensorRT 8 reads as float32: norm" in report.text()
    half = onnx.load(tmp_path / "half.onnx")
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    assert {kinds[name] for name in ("scale", "bias")} == {TensorProto.FLOAT}
    assert {kinds[name] for name in ("w1_fp16", "w2_fp16")} == {TensorProto.FLOAT16}
    made = {name: node for node in half.graph.node for name in node.output}
    around = made["norm"].input[0], made["turned"].input[0]
    assert [made[name].op_type for name in around] == ["Cast", "Cast"]
    assert [made[name].input[0] for name in around] == ["first", "norm"]
    assert types(tmp_path / "half.onnx")["turned"] == TensorProto.FLOAT16
    assert check_operators(tmp_path / "half.onnx") == []


def test_what_stays_anyway_is_not_rounded_in_the_search_for_more(tmp_path):
    """The decoding before the normalisation loses nothing; the normalisation would."""
    nodes = [
        NORMALISED[0],
        ("Neg", ("first",), "turned", {}),
        ("InstanceNormalization", ("turned", "scale", "bias"), "out", {}),
    ]
    source = write_model(tmp_path / "m.onnx", nodes, NORMALISED_CONSTANTS, ["out"])
    assert read_graph(source).tail == ["turned", "out"]
    report = fp16_from_onnx(source, tmp_path / "half.onnx", images(2))
    assert report.kept_fp32 == ("out",)


def test_decoding_that_loses_nothing_becomes_float16(tmp_path):
    nodes = [("MatMul", ("rows", "w"), "first", {}), ("Neg", ("first",), "out", {})]
    source = write_model(
        tmp_path / "m.onnx", nodes, {"w": weights(2, 2)}, ["out"], inputs={"rows": (4, 2)}
    )
    report = fp16_from_onnx(source, tmp_path / "half.onnx", [{"rows": weights(4, 2, seed=1)}])
    assert report.kept_fp32 == ()
    assert types(tmp_path / "half.onnx")["out_fp16"] == TensorProto.FLOAT16


def test_one_cast_serves_all_users(source):
    graph = read_graph(source)
    model = half_precision_model(graph, {"skip", "pool", "join"})
    casts = [node.input[0] for node in model.graph.node if node.op_type == "Cast"]
    assert sorted(casts) == ["boxes_fp16", "images", "join", "scores_fp16", "small", "stem_relu"]
    onnx.checker.check_model(model, full_check=True)


def test_kept_neighbours_exchange_float32(source):
    """Rounded between them, their precision would be lost again."""
    model = half_precision_model(read_graph(source), {"exp", "boxes"})
    made = {name: node for node in model.graph.node for name in node.output}
    assert made["boxes"].op_type == "Mul"
    assert list(made["boxes"].input) == ["exp", "stride"]


def test_types_that_a_node_names_itself_follow(tmp_path):
    nodes = [
        ("Shape", ("images",), "shape", {}),
        ("ConstantOfShape", ("shape",), "filled", {"value": numpy_helper.from_array(FILL)}),
        ("Cast", ("shape",), "sizes", {"to": TensorProto.FLOAT}),
        ("Mul", ("filled", "images"), "out", {}),
        ("Mul", ("sizes", "sizes"), "squares", {}),
    ]
    path = write_model(tmp_path / "m.onnx", nodes, {}, ["out", "squares"])
    onnx.save(half_precision_model(read_graph(path), ()), tmp_path / "half.onnx")
    found = types(tmp_path / "half.onnx")
    assert found["filled"] == found["sizes"] == TensorProto.FLOAT16
    kinds = {node.op_type for node in onnx.load(tmp_path / "half.onnx").graph.node}
    assert "ConstantOfShape" not in kinds  # TensorRT 8.5 to 10 fill in float32 only
    (feeds,) = images(1)
    received = run(tmp_path / "half.onnx", feeds)
    np.testing.assert_allclose(received["out"], 2 * feeds["images"], rtol=1e-3)
    np.testing.assert_array_equal(received["squares"], [1, 9, 256, 256])


FILL = np.array([2], np.float32)


def test_scales_of_a_resize_stay_float32(tmp_path):
    constants = {"scales": np.array([1, 1, 2, 2], np.float32)}
    nodes = [("Resize", ("images", "", "scales"), "out", {"mode": "nearest"})]
    path = write_model(tmp_path / "m.onnx", nodes, constants, ["out"])
    onnx.save(half_precision_model(read_graph(path), ()), tmp_path / "half.onnx")
    kinds = {t.name: t.data_type for t in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert kinds == {"scales": TensorProto.FLOAT}
    assert run(tmp_path / "half.onnx", images(1)[0])["out"].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ([], "no calibration inputs"),
        ([{"other": np.zeros((1, 3, 16, 16), np.float32)}], "expected inputs"),
        ([{"images": np.full((1, 3, 16, 16), np.nan, np.float32)}], "not finite"),
    ],
)
def test_bad_inputs_are_refused_and_nothing_is_written(source, tmp_path, feeds, message):
    with pytest.raises(UserError, match=message):
        fp16_from_onnx(source, tmp_path / "half.onnx", feeds)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_the_report_goes_into_json(source, tmp_path):
    report = fp16_from_onnx(source, tmp_path / "half.onnx", images(1))
    assert report.as_json()["kept_fp32"] == ["exp", "boxes", "scores"]
    assert list(report.as_json()["relative_noise"]) == ["head"]
    assert 0 < report.noise["head"] < 2e-3
    assert TAIL_ERROR == 1e-4
