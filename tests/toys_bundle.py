"""A device bundle without a detector: y = x W, in a file of a few kilobytes."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kd3d.backends.bundle import HASH_DIGITS
from kd3d.files import sha256_of

WIDTH = 8


def write_bundle(folder, *, precisions=("fp32",), width=WIDTH, ballast=0, batch=None):
    """Writes the bundle; W doubles with each precision, so that files and outputs differ.

    width: of x, W and y.
    ballast: kilobytes of random weights that no output needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((width, width)).astype(np.float32)
    models = {}
    for index, precision in enumerate(precisions):
        name = "model.onnx" if precision == "fp32" else f"model-{precision}.onnx"
        extra = generator.standard_normal(ballast * 256).astype(np.float32)
        onnx.save(_model(weights * 2**index, extra, batch), folder / name)
        sha256 = sha256_of(folder / name, HASH_DIGITS)
        models[precision] = {"file": name, "sha256": sha256, "kept_fp32": []}
    x = generator.standard_normal((1, width)).astype(np.float32)
    np.savez(folder / "sample.npz", **{"input/x": x, "output/y": x @ weights})
    content = {
        "models": models,
        "inputs": [{"name": "x", "shape": [batch, width], "dtype": "float32"}],
        "outputs": ["y"],
        "profiles": {},
        "batch": batch,
        "input_text": f"{width}",
        "config": "toy.py",
        "config_hash": "c" * 12,
        "checkpoint": "toy.pth",
        "checkpoint_hash": "d" * 12,
        "parameters": width * width,
    }
    (folder / "export.json").write_text(json.dumps(content))
    return folder


def _model(weights, extra, batch):
    shape = [batch or "n", len(weights)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(extra, "extra")],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)
