import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from kd3d.distill.fake_quantization import (
    fake_quantized_activation,
    fake_quantized_weight,
    limit_of,
)


def test_rounds_half_to_even_and_holds_within_int8():
    """Scale 1: limit 127. Numbers beyond the limit end at 127 above and at -128 below."""
    value = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 126.6, 400.0, -127.6, -400.0])
    expected = [0.0, 2.0, 2.0, 0.0, -2.0, 127.0, 127.0, -128.0, -128.0]
    assert fake_quantized_activation(value, torch.tensor(127.0)).tolist() == expected


def test_gradient_passes_straight_where_nothing_was_cut_off():
    value = torch.tensor([0.4, 126.6, 127.6, -128.4, -129.0], requires_grad=True)
    weight = torch.arange(1.0, 6.0)
    (fake_quantized_activation(value, torch.tensor(127.0)) * weight).sum().backward()
    # rounded: 0, 127, 128, -128, -129; of these the third and the last are beyond -128 to 127
    assert value.grad.tolist() == [1.0, 2.0, 0.0, 4.0, 0.0]


def test_a_weight_has_one_scale_for_each_output_channel():
    weight = torch.tensor([[127.0, 0.6], [1.27, 0.006]], requires_grad=True)
    expected = torch.tensor([[127.0, 1.0], [1.27, 0.01]])  # scales 1 and 0.01
    torch.testing.assert_close(fake_quantized_weight(weight, 0), expected)
    fake_quantized_weight(weight, 0).sum().backward()
    assert weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]  # the largest is never cut off
    columns = fake_quantized_weight(weight.detach().T, 1)
    torch.testing.assert_close(columns, expected.T)


def test_folding_batch_norm_before_or_after_is_the_same():
    torch.manual_seed(0)
    weight = torch.randn(6, 4, 3, 3)
    factor = torch.tensor([2.0, -0.3, 1e-3, 50.0, 0.7, -9.0]).view(-1, 1, 1, 1)
    folded_after = fake_quantized_weight(weight, 0) * factor
    # equal but for where a quotient is within a rounding error of a half
    differs = (fake_quantized_weight(weight * factor, 0) - folded_after).abs() > 1e-4 * factor.abs()
    assert differs.float().mean() < 0.01


def test_nothing_but_zeros_stays_zero():
    zeros = torch.zeros(2, 3)
    assert fake_quantized_activation(zeros, torch.tensor(0.0)).abs().sum() == 0
    assert fake_quantized_weight(zeros, 0).abs().sum() == 0


def test_half_precision_keeps_its_type():
    value = torch.tensor([0.5, -1.0], dtype=torch.float16)
    result = fake_quantized_activation(value, torch.tensor(1.0))
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.float(), torch.tensor([64 / 127, -1.0]), atol=1e-3, rtol=0)


def test_the_limit_is_a_percentile_of_sizes():
    value = torch.arange(-100.0, 0.0).view(10, 10)
    assert limit_of(value, 100).item() == 100
    assert limit_of(value, 90).item() == 90
    assert limit_of(value, 0.1).item() == 1


def test_a_large_tensor_is_sampled_all_over():
    torch.manual_seed(0)
    value = torch.randn(4, 64, 64, 64)
    whole = value.abs().flatten().kthvalue(round(value.numel() * 0.99)).values
    torch.testing.assert_close(limit_of(value, 99), whole, rtol=0.03, atol=0)


def test_a_sample_sees_all_columns():
    value = torch.zeros(3, 2**16)
    value[:, 1::2] = 1  # a half
    assert limit_of(value, 75).item() == 1


def onnx_quantized(value: np.ndarray, limit: float) -> np.ndarray:
    """QuantizeLinear and DequantizeLinear as ONNX Runtime computes them."""
    constants = [
        numpy_helper.from_array(np.float32(limit) / np.float32(127), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, value.shape) for n in "xy")
    graph = helper.make_graph(nodes, "quantised", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": value})[0]


@pytest.mark.parametrize("limit", [1.0, 3.7, 127.0])
def test_equals_the_operators_of_the_file(limit):
    rng = np.random.default_rng(0)
    value = (rng.standard_normal(20000) * limit).astype(np.float32)  # a third is beyond the limit
    ours = fake_quantized_activation(torch.from_numpy(value), torch.tensor(limit)).numpy()
    theirs = onnx_quantized(value, limit)
    steps = np.abs(ours - theirs) * 127 / limit
    # we multiply by 1 / scale where ONNX divides: a quotient of nearly a half may go either way
    assert steps.max() < 1.01
    assert (steps > 0.01).mean() < 1e-3


def test_no_weight_is_read_on_the_host():
    """Each value that is read waits for a GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        fake_quantized_weight(torch.randn(4, 3, 3, 3), 0)
    calls = {event.key for event in profile.key_averages()}
    assert "aten::fake_quantize_per_channel_affine" in calls
    assert "aten::item" not in calls
