"""Tiny ONNX files in each precision, and a vehicle to build them on: TensorRT faked, GPU faked."""

import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from fake_cudart import FakeCudart
from fake_onnx_model import OnnxModel
from fake_tensorrt import fake_tensorrt
from onnx import TensorProto, helper, numpy_helper

import kd3d.backends.cuda_runtime
from kd3d.backends.cuda_runtime import CudaError, open_cuda_runtime

PROFILES = {"images": {"min": [1, 3, 8, 8], "opt": [2, 3, 8, 8], "max": [4, 3, 8, 8]}}


def vehicle(monkeypatch, version, read_model=OnnxModel, **gpu):
    """Installs the fakes until the test ends.

    read_model: reads ONNX files and what engines hold of them; see ``wrong_layer``.

    Returns:
        trt (module), world (its inside), cudart.
    """
    cudart = FakeCudart(**gpu)
    module, world = fake_tensorrt(version, cudart, read_model)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(kd3d.backends.cuda_runtime.ctypes, "CDLL", lambda path: cudart)
    return SimpleNamespace(trt=module, world=world, cudart=cudart)


def need_gpu():
    """Skips the test where the real TensorRT cannot run."""
    pytest.importorskip("tensorrt", reason="no TensorRT")
    try:
        open_cuda_runtime()
    except CudaError as error:
        pytest.skip(f"no GPU: {error}")


def wrong_layer(name, factor):
    """Reads models so that an engine, and no ONNX file, has one layer's output times a factor."""

    class WrongModel(OnnxModel):
        def __init__(self, path, content=None):
            super().__init__(path, None if content is None else _multiplied(content, name, factor))

    return WrongModel


def _multiplied(content, name, factor):
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    graph = model.graph
    place = next((i for i, node in enumerate(graph.node) if node.name == name), None)
    if place is None:  # a part of a graph
        return content
    output = graph.node[place].output[0]
    types = {value.name: value.type.tensor_type for value in [*graph.value_info, *graph.output]}
    dtype = helper.tensor_dtype_to_np_dtype(types[output].elem_type)
    graph.initializer.append(numpy_helper.from_array(np.asarray(factor, dtype), "wrong.factor"))
    graph.node[place].output[0] = "wrong.right"
    inputs = ["wrong.right", "wrong.factor"]
    graph.node.insert(place + 1, helper.make_node("Mul", inputs, [output], name="wrong"))
    return model.SerializeToString()


def feeds(batch):
    """Inputs of the files below."""
    generator = np.random.default_rng(batch)
    return {
        "images": generator.normal(size=(batch, 3, 8, 8)).astype(np.float32),
        "offset": np.arange(4, dtype=np.int64),
    }


def write_onnx(path, precision="fp32"):
    """images (batch, 3, 8, 8), offset (4,) int64 -> scores (batch, 4, 8, 8), best (batch, 2) int64.

    A convolution with a ReLU, in half precision or INT8 (Q/DQ on what it reads and, by channel, on
    its kernel: TensorRT wants both) or ("mixed") one in each, then an instance norm (a plugin in
    TensorRT 8) and an Exp that stay in single precision.
    """
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    node, constants = helper.make_node, {"axes": np.array([2, 3]), "two": np.array([2])}
    constants["shape"] = np.array([1, 4, 1, 1])
    constants.update(ones=np.ones(4, np.float32), zeros=np.zeros(4, np.float32))
    source, weights, convolved, relued = "images", "kernel", "c", "features"
    before, between, after = [], [], []
    if precision == "fp16":
        kernel = kernel.astype(np.float16)
        source = "half_images"
        before = [node("Cast", ["images"], [source], to=TensorProto.FLOAT16, name="to_half")]
    if precision in ("int8", "mixed"):
        constants.update(scale=np.float32(0.05), zero=np.int8(0))
        constants["kernel_scale"] = np.abs(kernel).max(axis=(1, 2, 3)) / 127
        constants["kernel_zero"] = np.zeros(4, np.int8)
        source, weights = "dequantized", "dequantized_kernel"
        before = [
            *_quantize("images", ["scale", "zero"], source),
            *_quantize("kernel", ["kernel_scale", "kernel_zero"], weights, axis=0),
        ]
    if precision == "mixed":
        convolved = "half_c"
        between = [node("Cast", ["c"], [convolved], to=TensorProto.FLOAT16, name="to_half")]
    if precision in ("fp16", "mixed"):
        relued = "half_features"
        after = [node("Cast", [relued], ["features"], to=TensorProto.FLOAT, name="to_single")]
    constants["kernel"] = kernel
    nodes = [
        *before,
        node("Conv", [source, weights], ["c"], pads=[1, 1, 1, 1], name="conv"),
        *between,
        node("Relu", [convolved], [relued], name="relu"),
        *after,
        node("InstanceNormalization", ["features", "ones", "zeros"], ["normed"], name="norm"),
        node("Exp", ["normed"], ["raised"], name="exp"),
        node("Cast", ["offset"], ["real_offset"], to=TensorProto.FLOAT, name="cast_offset"),
        node("Reshape", ["real_offset", "shape"], ["broad_offset"], name="reshape"),
        node("Add", ["raised", "broad_offset"], ["scores"], name="add"),
        node("ReduceMax", ["scores"], ["peaks"], axes=[2, 3], keepdims=0, name="reduce"),
        node("TopK", ["peaks", "two"], ["values", "best"], name="topk"),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8]),
            helper.make_tensor_value_info("offset", TensorProto.INT64, [4]),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4, 8, 8]),
            helper.make_tensor_value_info("best", TensorProto.INT64, ["batch", 2]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _quantize(source, scale, target, **axis):
    """QuantizeLinear and DequantizeLinear; scale: names of the scale and the zero."""
    inner = f"quantized_{source}"
    pair = (("QuantizeLinear", source, inner), ("DequantizeLinear", inner, target))
    return [
        helper.make_node(kind, [read, *scale], [made], name=made, **axis)
        for kind, read, made in pair
    ]
