"""How many images or frames a prediction takes a file for, where its inputs alone do not tell."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.errors import UserError
from kd3d.profiling.devices import load_device
from kd3d.profiling.roofline import predict_latency

ORIN = load_device("orin-agx-64gb")


@pytest.fixture
def rows(tmp_path):
    """A file of 60 pillars without a batch axis, two frames by the export.json beside it."""
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["pillars", "w"], ["features"], "mix")],
        "rows",
        [helper.make_tensor_value_info("pillars", TensorProto.FLOAT, [60, 64])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [60, 64])],
        [weight],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    content = {
        "models": {"fp32": {"file": path.name, "sha256": "", "kept_fp32": []}},
        "inputs": [{"name": "pillars", "shape": [60, 64], "dtype": "float32"}],
        "outputs": ["features"],
        "profiles": {},
        "batch": 2,
    }
    (tmp_path / "export.json").write_text(json.dumps(content))
    return path


def test_the_batch_of_pillars_is_that_of_their_export(rows):
    own, double, half = (predict_latency(rows, ORIN, batch=batch) for batch in (None, 4, 1))
    assert (own.batch, double.batch, half.batch) == (2, 4, 1)
    assert double.gflops == pytest.approx(2 * own.gflops)
    assert half.gflops == pytest.approx(own.gflops / 2)
    rows.with_name("export.json").unlink()
    assert predict_latency(rows, ORIN).batch == 1
    with pytest.raises(UserError, match=r"batch 4: .* inputs pillars \[60, 64\]; expected images"):
        predict_latency(rows, ORIN, batch=4)


def _rows(*shape):
    """A product of rows of 64 numbers."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[64, 64])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("shape", [(1, 64), (1, 100, 64)])
def test_rows_behind_a_first_axis_of_one_are_scaled(shape):
    own, one, four = (predict_latency(_rows(*shape), ORIN, batch=b) for b in (None, 1, 4))
    assert one == own
    assert four.gflops == pytest.approx(4 * own.gflops)


def test_a_given_number_of_pillars_is_that_of_one_frame():
    """Nothing beside the file tells the batch: 1 is what is taken without one."""
    model, sizes = _rows("pillars", 32, 64), {"pillars": 8000}
    own, one = (predict_latency(model, ORIN, batch=b, sizes=sizes) for b in (None, 1))
    assert one == own
    with pytest.raises(UserError, match=r"batch 2: .* inputs x \[8000, 32, 64\]"):
        predict_latency(model, ORIN, batch=2, sizes=sizes)


@pytest.mark.parametrize("shape", [(40000, 32, 64), (900, 1, 64)])
def test_a_fixed_number_of_rows_tells_no_batch(shape):
    for batch in (1, 4):
        with pytest.raises(UserError, match=f"batch {batch}: the file does not tell"):
            predict_latency(_rows(*shape), ORIN, batch=batch)
