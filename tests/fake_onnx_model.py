"""An ONNX file as the fake TensorRT wants it: its graph to look at, ONNX Runtime to calculate."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, shape_inference

Layer = namedtuple("Layer", "name operator kind inputs types")

TYPES = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}
# TensorRT's layer for an operator; what is not named moves data.
KINDS = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "MatMul": "MATRIX_MULTIPLY",
    "Gemm": "MATRIX_MULTIPLY",
    "Relu": "ACTIVATION",
    "Sigmoid": "ACTIVATION",
    "Exp": "UNARY",
    "Cast": "CAST",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "MaxPool": "POOLING",
    "Resize": "RESIZE",
    "Softmax": "SOFTMAX",
    "TopK": "TOPK",
    "InstanceNormalization": "PLUGIN_V2",
    "Shape": "SHAPE",
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"], "ELEMENTWISE"),
    **dict.fromkeys(["ReduceMax", "ReduceMean", "ReduceSum"], "REDUCE"),
}


class OnnxModel:
    """``inputs`` and ``outputs``: (name, shape with names for free sizes, type); ``layers``."""

    def __init__(self, path, content=None):
        self.path = Path(path)
        self._content = self.path.read_bytes() if content is None else content
        model = shape_inference.infer_shapes(onnx.load_from_string(self._content))
        graph = model.graph
        constants = {tensor.name: TYPES[tensor.data_type] for tensor in graph.initializer}
        values = [*graph.value_info, *graph.output]
        types = {value.name: TYPES[value.type.tensor_type.elem_type] for value in values}
        self.inputs = [_entry(value) for value in graph.input if value.name not in constants]
        self.outputs = [_entry(value) for value in graph.output]
        self.layers = [
            Layer(name, "Constant", "CONSTANT", (), {name: kind})
            for name, kind in constants.items()
        ]
        for node in graph.node:
            outputs = {name: types[name] for name in node.output if name}
            name, kind = node.name or node.output[0], KINDS.get(node.op_type, "SHUFFLE")
            self.layers.append(Layer(name, node.op_type, kind, tuple(node.input), outputs))
        self._session = None

    def run(self, feeds):
        """ONNX Runtime's outputs by name; 32-bit integers are widened where the file has 64."""
        if self._session is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 3
            # as an engine, which does not saturate, and as OnnxRuntimeBackend
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            self._session = onnxruntime.InferenceSession(
                self._content, options, providers=["CPUExecutionProvider"]
            )
        names = [name for name, _, _ in self.outputs]
        wanted = {
            name: array.astype(dtype) for name, _, dtype in self.inputs for array in [feeds[name]]
        }
        return dict(zip(names, self._session.run(names, wanted), strict=True))


def _entry(value):
    tensor = value.type.tensor_type
    shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
    return value.name, shape, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
