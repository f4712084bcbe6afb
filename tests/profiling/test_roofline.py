import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from kd3d.errors import UserError
from kd3d.profiling.devices import load_device
from kd3d.profiling.prediction.kernel_time import Parameters
from kd3d.profiling.roofline import PROTOCOLS, fitted, predict_latency

ORIN = load_device("orin-agx-64gb")


def _network(channels=64, size=64, batch="batch", dtype=TensorProto.FLOAT, depth=6):
    """Convolutions with ReLU, without the weights' values."""
    nodes, weights = [], []
    source, width = "images", 3
    for index in range(depth):
        weights.append(TensorProto(name=f"w{index}", data_type=dtype, dims=[channels, width, 3, 3]))
        nodes += [
            helper.make_node("Conv", [source, f"w{index}"], [f"c{index}"], pads=[1] * 4),
            helper.make_node("Relu", [f"c{index}"], [f"r{index}"]),
        ]
        source, width = f"r{index}", channels
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", dtype, [batch, 3, size, size])],
        [helper.make_tensor_value_info(source, dtype, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_total_is_the_sum_of_its_parts_and_lies_in_the_interval():
    for protocol in PROTOCOLS:
        p = predict_latency(_network(), ORIN, protocol=protocol)
        assert p.total_ms == pytest.approx(p.gpu_ms + p.waiting_ms + p.harness_ms)
        assert p.low_ms < p.total_ms < p.high_ms
        assert p.gpu_ms == pytest.approx(sum(layer.latency_us for layer in p.layers) / 1e3)
    # symmetric as a factor, and as wide as the fit says
    assert p.high_ms / p.total_ms == pytest.approx(np.exp(fitted()[1]["log_half_width"]))
    assert p.coverage == 0.8


def test_operations_are_counted_by_hand():
    """First layer 3 to 64, five of 64 to 64, 3x3 on 64x64 pixels."""
    p = predict_latency(_network(), ORIN)
    assert p.gflops == pytest.approx(2 * 64 * 64 * 9 * 64 * (3 + 5 * 64) / 1e9)
    products = [layer for layer in p.layers if layer.kind == "product"]
    assert [layer.operators for layer in products] == ["Conv+Relu"] * 6


def test_no_layer_beats_the_roofline():
    p = predict_latency(_network(channels=256, size=128), ORIN, precision="int8")
    gflop_per_us = ORIN.operations_per_clock_sm["int8"] * ORIN.sms * ORIN.gpu_mhz / 1e9
    for layer in p.layers:
        assert layer.latency_us >= layer.gflops / gflop_per_us


def test_precisions_are_ordered():
    times = [
        predict_latency(_network(256, 160), ORIN, precision=name).total_ms
        for name in ("int8", "fp16", "fp32")
    ]
    assert times == sorted(times)


def test_power_modes_are_ordered():
    model = _network(256, 160)
    times = [
        predict_latency(model, load_device(f"orin-agx-64gb:{mode}")).total_ms
        for mode in ("maxn", "50w", "30w", "15w")
    ]
    assert times == sorted(times)
    assert predict_latency(model, ORIN, sms=8, gpu_mhz=624.75).gpu_ms == pytest.approx(
        predict_latency(model, load_device("orin-agx-64gb:30w")).gpu_ms
    )


def _maths(prediction):
    return [layer.math for layer in prediction.layers if layer.kind == "product"]


def _says(prediction, text):
    return any(text in warning for warning in prediction.warnings)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_typed_half_file_is_half_whatever_is_asked(precision):
    model = _network(dtype=TensorProto.FLOAT16)
    asked = predict_latency(model, ORIN, precision=precision)
    assert _maths(asked) == ["fp16"] * 6
    assert asked.total_ms == predict_latency(model, ORIN).total_ms
    says = f"its float32 ones fp32, which precision {precision} does not change"
    assert _says(asked, says) == (precision != "fp16")
    assert (asked.precision, asked.types) == (precision, "fp16")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_a_typed_half_file_keeps_in_float32_is_fp32(precision):
    """The last of its layers reads through a Cast, as those that an export keeps."""
    model = _network(dtype=TensorProto.FLOAT16, depth=2)
    model.graph.initializer[1].data_type = TensorProto.FLOAT
    model.graph.node.insert(2, helper.make_node("Cast", ["r0"], ["f"], to=TensorProto.FLOAT))
    model.graph.node[3].input[0] = "f"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    p = predict_latency(model, ORIN, precision=precision)
    assert _maths(p) == ["fp16", "fp32"]
    assert p.types == "fp16 and fp32"
    assert _says(p, f"its float32 ones fp32, which precision {precision} does not change")


def test_a_cast_alone_makes_no_typed_half_file():
    model = _network()
    model.graph.node.append(helper.make_node("Cast", ["r5"], ["h"], to=TensorProto.FLOAT16))
    model.graph.output[0].name = "h"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    p = predict_latency(model, ORIN, precision="int8")
    assert _maths(p) == ["int8"] * 6
    assert p.types == "int8"  # as asked: the file states nothing
    assert not _says(p, "float16")


def _quantised(weights=True, kind=TensorProto.INT8):
    """The first convolution of two reads through Q/DQ, its weight too; the second does not."""
    model = _network(depth=2)
    model.opset_import[0].version = 19  # the first with 8-bit floats
    constants = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("z", kind, [], [0]),
    ]
    model.graph.initializer.extend(constants)
    nodes = []
    for place, name in enumerate(["images", "w0"] if weights else ["images"]):
        nodes += [
            helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"]),
        ]
        model.graph.node[0].input[place] = f"{name}_d"
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("options", "rest"),
    [({}, "fp32"), ({"float_type": "fp16"}, "fp16"), ({"precision": "fp16"}, "fp32")],
)
def test_beside_quantised_layers_the_rest_is_what_the_file_states(protocol, options, rest):
    given = {"precision": "int8", **options}
    p = predict_latency(_quantised(), ORIN, protocol=protocol, **given)
    assert [layer.math for layer in p.layers if layer.kind == "product"] == ["int8", rest]
    assert p.types == f"int8 and {rest}"
    says = "its quantised layers are int8 and its float32 ones fp32, not fp16"
    assert any(says in warning for warning in p.warnings) == (given["precision"] == "fp16")


def test_a_float_weight_keeps_a_quantised_layer_in_float():
    p = predict_latency(_quantised(weights=False), ORIN, precision="int8")
    assert _maths(p) == ["fp32", "fp32"]
    assert _says(p, "1 products (Conv_2 + 1, ...) have Q/DQ on what they read and not on")
    assert not _says(predict_latency(_quantised(), ORIN, precision="int8"), "not on")


def test_eight_bit_floats_need_a_board_that_has_them():
    model = _quantised(kind=TensorProto.FLOAT8E4M3FN)
    with pytest.raises(UserError, match=r"Q/DQ of float8e4m3fn.*ampere"):
        predict_latency(model, ORIN, precision="int8")
    p = predict_latency(model, load_device("thor-t5000"), precision="int8")
    assert _maths(p)[0] == "int8"  # at its rate


def test_without_quantisers_int8_leaves_fp16():
    model = _network()
    model.graph.node.append(helper.make_node("Softmax", [model.graph.output[0].name], ["m"]))
    model.graph.output[0].name = "m"

    def math_of_softmax(protocol):
        p = predict_latency(model, ORIN, precision="int8", protocol=protocol)
        return next(layer.math for layer in p.layers if "Softmax" in layer.operators)

    found = {protocol: math_of_softmax(protocol) for protocol in PROTOCOLS}
    assert found == {"engine": "fp16", "python": "fp32", "mlperf": "fp16"}


def test_a_fixed_batch_is_scaled_as_a_free_one_is_set():
    free = predict_latency(_network(), ORIN, batch=4)
    fixed = predict_latency(_network(batch=1), ORIN, batch=4)
    assert (free.batch, fixed.batch) == (4, 4)
    assert fixed.total_ms == pytest.approx(free.total_ms)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "fp8"}, "precision 'fp8': expected one of fp32, fp16, int8"),
        ({"protocol": "ros"}, "protocol 'ros': expected one of engine, python, mlperf"),
        ({"batch": 0}, "batch 0: expected a number above 0"),
        ({"float_type": "fp32"}, r"nothing is int8 here \(precision fp16\); leave it out"),
        ({"precision": "int8", "float_type": "bf16"}, "float_type 'bf16': expected one of fp16"),
    ],
)
def test_mistakes(options, says):
    with pytest.raises(UserError, match=says):
        predict_latency(_network(), ORIN, **options)


def test_a_typed_half_file_takes_no_float_type():
    model = _network(dtype=TensorProto.FLOAT16)
    with pytest.raises(UserError, match="the file states float16 without Q/DQ"):
        predict_latency(model, ORIN, precision="int8", float_type="fp16")


@pytest.mark.parametrize("domain", ["elsewhere", ""])
def test_unknown_operators_are_costed_and_named(domain):
    model = _network()
    last = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Mystery", [last], ["m"], domain=domain))
    model.graph.output[0].name = "m"
    p = predict_latency(model, ORIN)
    assert any("unknown operators" in warning and "Mystery" in warning for warning in p.warnings)
    assert p.total_ms > predict_latency(_network(), ORIN).total_ms
    # its own time may be a tenth or ten times as long
    (layer,) = (layer for layer in p.layers if layer.kind == "unknown")
    spread, us = np.exp(fitted()[1]["log_half_width"]), layer.latency_us
    assert p.high_ms == pytest.approx(spread * (p.total_ms + 9 * us / 1e3))
    assert p.low_ms == pytest.approx((p.total_ms - 0.9 * us / 1e3) / spread)


@pytest.mark.parametrize(
    ("op", "says"),
    [
        ("LSTM", "steps one after another"),
        ("QLinearConv", "export QuantizeLinear and DequantizeLinear"),
        ("MultiHeadAttention", "export them as Conv, Gemm, MatMul and Softmax"),
        ("DeformConv", "what offsets point at"),
        ("If", "without control flow"),
    ],
)
def test_operators_whose_work_is_not_counted_are_refused(op, says):
    model = _network()
    last = model.graph.output[0].name
    model.graph.node.append(helper.make_node(op, [last], ["m"], domain="elsewhere"))
    model.graph.output[0].name = "m"
    with pytest.raises(UserError, match=f"not counted: {op} .*{says}"):
        predict_latency(model, ORIN)


def test_an_einsum_of_three_tensors_is_refused():
    nodes = [helper.make_node("Einsum", ["a", "b", "c"], ["y"], equation="ij,jk,kl->il")]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "abc"]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])
    graph = helper.make_graph(nodes, "toy", inputs, [result])
    with pytest.raises(UserError, match="of more than two tensors; export it as products of two"):
        predict_latency(helper.make_model(graph), ORIN)


def test_a_prediction_for_thor_says_how_little_it_rests_on():
    p = predict_latency(_network(), load_device("thor-t5000"))
    assert [warning.split(";")[0] for warning in p.warnings] == [
        "Thor: fitted on one family of networks alone"
    ]
    assert predict_latency(_network(), ORIN).warnings == ()


def test_json_holds_numbers_that_json_allows():
    content = predict_latency(_network(), ORIN).as_json()
    assert json.loads(json.dumps(content, allow_nan=False))["layers"][0]["bound"]


def test_fitted_parameters_are_shares_where_they_should_be():
    parameters, interval = fitted()
    shares = ("tensor_int8", "tensor_fp16", "tensor_fp32", "memory", "apart", "view")
    assert all(0 < getattr(parameters, name) < 1 for name in shares)
    assert all(getattr(parameters, name) > 0 for name in Parameters.names())
    assert interval["held_in_cross_validation"] >= interval["coverage"]
