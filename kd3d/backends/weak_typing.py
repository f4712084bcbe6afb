"""Makes the weakly typed networks of TensorRT 8 keep the types of their ONNX file.

Since TensorRT 10 a network can be strongly typed: what the file says is what runs. TensorRT 8
treats types as hints: half precision and INT8 need a builder flag, and with the flag every layer
may run in half precision, those that were kept in single precision for their sake too. So the
flags are set only for types that the file has, and single-precision layers of a half-precision
file are held to it.

Held by OBEY_PRECISION_CONSTRAINTS, with which a build fails where a layer has no kernel of its
type. With PREFER_PRECISION_CONSTRAINTS TensorRT would take another type there and warn: a layer
that the export keeps in single precision because it is fragile would run in half. Nothing but
single precision is asked for, which an engine of the fp32 file needs as well, so that no build
should fail by it. Python 3.8 and the standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorrt as trt

TENSORRT_VERSIONS = (8,)  # the major versions that run this module

# Their output type is what the file says; of all others TensorRT 8 may name a mere default, and
# they have the type of their inputs.
_CONVERT = ("CAST", "IDENTITY", "CONSTANT", "QUANTIZE", "DEQUANTIZE", "SHAPE", "FILL")


HELD = (
    "\nLayers that the file has in float32 are held to it (OBEY_PRECISION_CONSTRAINTS). If "
    "TensorRT names one of them as without an implementation, use another --precision, or "
    "TensorRT 10"
)
"""What to do where a build fails whose layers are held; behind TensorRT's own reason."""


def weak_network_flags(trt: Any) -> int:
    """Of a network as the ONNX parser of TensorRT 8 wants it: with the batch among its sizes."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def keep_types(trt: Any, network: trt.INetworkDefinition, config: trt.IBuilderConfig) -> list[str]:
    """Sets the builder's flags, and the precision of the layers that must stay in FP32.

    Returns:
        Names of the flags that were set: "FP16", "INT8".
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    half = _half_tensors(layers)
    flags = []
    if half:
        config.set_flag(trt.BuilderFlag.FP16)
        flags.append("FP16")
    if any(layer.type.name == "QUANTIZE" for layer in layers):
        config.set_flag(trt.BuilderFlag.INT8)
        flags.append("INT8")
    if half:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for layer in _single_precision(layers, half):
            layer.precision = trt.DataType.FLOAT
            for index in range(layer.num_outputs):
                if layer.get_output(index).dtype.name == "FLOAT":
                    layer.set_output_type(index, trt.DataType.FLOAT)
    return flags


def _half_tensors(layers: list[trt.ILayer]) -> set[str]:
    """Names of the tensors that the file has in half precision."""
    half: set[str] = set()
    for layer in layers:
        outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
        inherits = layer.type.name not in _CONVERT and not half.isdisjoint(_input_names(layer))
        for tensor in outputs:
            dtype = tensor.dtype.name
            if dtype == "HALF" or (inherits and dtype == "FLOAT"):
                half.add(tensor.name)
    return half


def _single_precision(layers: list[trt.ILayer], half: set[str]) -> list[trt.ILayer]:
    """Layers that make FP32 tensors from FP32 tensors; those that only move them too.

    A layer behind DequantizeLinear is left alone: it runs in INT8, and a precision of its own
    would keep it from that.
    """
    dequantized: set[str] = set()
    found = []
    for layer in layers:
        outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
        if layer.type.name == "DEQUANTIZE":
            dequantized.update(tensor.name for tensor in outputs)
        names = set(_input_names(layer))
        floats = any(tensor.dtype.name == "FLOAT" for tensor in outputs)
        if (
            layer.type.name not in _CONVERT
            and floats
            and half.isdisjoint(names)
            and dequantized.isdisjoint(names)
        ):
            found.append(layer)
    return found


def _input_names(layer: trt.ILayer) -> list[str]:
    tensors = [layer.get_input(index) for index in range(layer.num_inputs)]
    return [tensor.name for tensor in tensors if tensor is not None]
