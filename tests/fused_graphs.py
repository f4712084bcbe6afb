"""Small ONNX graphs, fused as the latency predictor fuses them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from kd3d.profiling.prediction.fusion import fuse
from kd3d.profiling.prediction.onnx_graph import graph_from_onnx


def fused_graph(nodes, shapes, outputs, weights=(), dtype=TensorProto.FLOAT):
    """Of inputs by shape, and of weights by shape or value."""
    inputs = [helper.make_tensor_value_info(k, dtype, v) for k, v in shapes.items()]
    results = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    tensors = [
        numpy_helper.from_array(np.zeros(dims, kind) if isinstance(dims, tuple) else dims, name)
        for name, dims in dict(weights).items()
    ]
    graph = helper.make_graph(nodes, "toy", inputs, results, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return fuse(graph_from_onnx(model))
