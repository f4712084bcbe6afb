"""Without ModelOpt, which would have to be downloaded."""

import json

import numpy as np
import onnx
import pytest
from modelopt_files import fixed_bundle, take_over, weighted_layers, write_calibration
from onnx import TensorProto, helper, numpy_helper
from toys_bundle import write_bundle
from toys_export import pillar_bundle

from kd3d.backends.bundle import Bundle
from kd3d.errors import UserError


@pytest.mark.parametrize(
    ("precisions", "batch", "words"),
    [
        (("fp32",), 1, "no int8; export with --precision int8"),
        (("fp32", "int8"), None, "free sizes; export with --batch 1 or --pillars"),
    ],
)
def test_exports_that_cannot_be_compared(precisions, batch, words, tmp_path):
    folder = write_bundle(tmp_path / "bundle", precisions=precisions, batch=batch)
    with pytest.raises(UserError, match=words):
        fixed_bundle(folder)


def test_another_file_takes_the_place_of_the_int8_file(tmp_path):
    folder = write_bundle(tmp_path / "bundle", precisions=("fp32", "int8"), batch=1)
    assert fixed_bundle(folder).models["int8"].file == "model-int8.onnx"
    (folder / "model-int8.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\n")
    with pytest.raises(UserError, match=r"model-int8\.onnx"):
        Bundle.read(folder).verify("int8")
    take_over(folder)
    Bundle.read(folder).verify("int8")
    assert json.loads((folder / "export.json").read_text())["models"]["fp32"]["sha256"]


def test_layers_are_counted_by_what_they_read(tmp_path):
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    scale = numpy_helper.from_array(np.float32(1), "s"), numpy_helper.from_array(np.int8(0), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["a"], name="first"),
        helper.make_node("Conv", ["a", "w"], ["y"], name="second"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 2, 2]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight, *scale])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert dict(weighted_layers(tmp_path / "m.onnx")) == {"first": True, "second": False}


def test_calibration_is_what_kd3d_calibrates_on(tmp_path):
    folder = pillar_bundle(tmp_path / "bundle")
    path = write_calibration(folder, 2, tmp_path / "feeds.npz")
    with np.load(path) as feeds:
        assert set(feeds.files) == {"pillars", "num_points", "coordinates"}
        assert len({len(feeds[name]) for name in feeds.files}) == 1
