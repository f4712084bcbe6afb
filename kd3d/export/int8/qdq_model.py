"""Writes Q/DQ into a float32 model with onnxruntime's static quantiser, in TensorRT's form."""

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.export.graphs.graph_parts import Graph, rename
from kd3d.export.int8.quantization_units import QUANTIZED, quantized_inputs, weight_axis

# tells the quantiser that shapes are inferred, so that it does not warn on the root logger
_PREPROCESSED = ("onnx.quant.pre_process", "onnxruntime.quant")


def qdq_model(graph: Graph, nodes: Collection[str], ranges: Mapping[str, float]) -> Any:
    """The model with the given nodes in int8.

    Everything is symmetric with zero point 0: activations per tensor, weights per output channel
    behind a Q/DQ pair of their own (TensorRT 8.5 folds that; it also takes no int8 weights).
    Biases stay float.

    Args:
        graph: of the float32 model, left as it is.
        nodes: names of those to quantise.
        ranges: of each tensor that they read, the absolute value that becomes 127.

    Returns:
        An onnx.ModelProto.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data

    source = onnx.ModelProto()
    source.CopyFrom(graph.model)
    source.metadata_props.add(key=_PREPROCESSED[0], value=_PREPROCESSED[1])
    limits = {  # 1 where the quantiser asks for more than we want; it is taken out again
        name: TensorData(lowest=np.float32(-limit), highest=np.float32(limit))
        for name, limit in {**dict.fromkeys(graph.floats, 1.0), **ranges}.items()
    }
    axes = {
        graph.nodes[name].op_type: weight_axis(
            graph.nodes[name], graph.constants[graph.nodes[name].input[1]].ndim
        )
        for name in nodes
        if graph.nodes[name].op_type in ("Gemm", "MatMul")
    }
    with tempfile.TemporaryDirectory() as folder:
        cache, target = Path(folder) / "ranges.json", Path(folder) / "model.onnx"
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, limits), cache)
        quantize_static(
            source,
            target,
            calibration_cache_path=cache,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_quantize=sorted(nodes),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "AddQDQPairToWeight": True,
                "QuantizeBias": False,
                "ForceQuantizeNoInputCheck": True,
                "QDQKeepRemovableActivations": True,
                "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
                "QDQOpTypePerChannelSupportToAxis": axes,
            },
        )
        model = onnx.load(target)
    del model.metadata_props[:]
    model.metadata_props.extend(graph.model.metadata_props)
    _place(model, graph, set(nodes))
    return model


def _place(model: Any, graph: Graph, nodes: set[str]) -> None:
    """Lets each node read int8 or float as planned, and removes the Q/DQ that nothing reads.

    The quantiser gives a quantised tensor to all its readers and to the outputs of the graph, and
    quantises both branches of an addition.
    """
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    dequantized = {n.input[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    read_as: dict[str, str] = {}
    for quantizer in quantizers:
        pair = dequantized[quantizer.output[0]]
        if pair.output[0] in graph.producer:  # an output of the graph: the plain tensor is renamed
            tensor = pair.output[0]
            plain = quantizer.input[0]
            pair.output[0] = f"{tensor}_int8"
            for node in model.graph.node:
                rename(node.output, plain, tensor)
            quantizer.input[0] = tensor
        read_as[quantizer.input[0]] = pair.output[0]
    for node in model.graph.node:
        original = graph.nodes.get(node.name)
        if original is None:
            continue
        read = quantized_inputs(graph, original) if node.name in nodes else []
        for place, tensor in enumerate(original.input):
            if tensor in graph.floats and tensor not in graph.constants:
                node.input[place] = read_as[tensor] if tensor in read else tensor
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        used = {name for node in model.graph.node for name in node.input}
        for node in [node for node in model.graph.node if node.op_type == kind]:
            if node.output[0] not in used:
                model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)  # their scales
