"""What each kernel of a fused graph computes and moves, for one precision.

Precision "fp32" means TF32 in tensor cores, as TensorRT does by default on Orin. A file of float32
is taken *as if* it were converted to fp16 or int8; types and Q/DQ that the file states are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kd3d.profiling.prediction.fused_layer import FusedLayer
from kd3d.profiling.prediction.fusion import POINTWISE, QUANTIZERS, FusedGraph
from kd3d.profiling.prediction.kernel_work import (
    BYTES,
    CHANNEL_STEP,
    LayerWork,
    stated_type,
    tensor_bytes,
)
from kd3d.profiling.prediction.linked_kernels import copy_into_concats, join_activations
from kd3d.profiling.prediction.onnx_graph import GraphNode, GraphTensor
from kd3d.profiling.prediction.product_size import product_size
from kd3d.profiling.prediction.quantizers import EIGHT_BITS
from kd3d.profiling.prediction.reformats import Conversions

PRECISIONS = ("fp32", "fp16", "int8")
_INT8_KINDS = frozenset(["pool", "resize", "concat", "slice"])
_FLOAT_OPERATORS = """
Softmax LogSoftmax LayerNormalization RMSNormalization InstanceNormalization GroupNormalization
ReduceMean ReduceSum ReduceL2 Erf Exp Log Pow Sqrt Div Sin Cos Atan Gelu LpNormalization
"""
_FLOAT_ONLY = frozenset(_FLOAT_OPERATORS.split())


def layer_work(fused: FusedGraph, precision: str, float_type: str = "fp16") -> list[LayerWork]:
    """Kernels with their sizes.

    Args:
        fused: the layers.
        precision: "fp32", "fp16" or "int8".
        float_type: what int8 leaves in float: "fp16" or "fp32".
    """
    storage = _storage(fused, precision, float_type)
    maths = [_math(fused, layer, precision, float_type, storage) for layer in fused.layers]
    conversions = Conversions(fused, storage, maths)
    kernels = join_activations(
        fused.layers,
        [
            _work(fused, layer, math, conversions)
            for layer, math in zip(fused.layers, maths, strict=True)
        ],
    )
    kernels = copy_into_concats(fused, kernels, storage)
    work: list[LayerWork] = []
    for before, kernel in zip(conversions.before, kernels, strict=True):
        work += [*before, kernel]
    return work + conversions.behind()


def has_quantizers(fused: FusedGraph) -> bool:
    """Whether the file states its int8 by Q/DQ."""
    return any(node.op in QUANTIZERS for node in fused.graph.nodes)


def _storage(fused: FusedGraph, precision: str, float_type: str) -> dict[str, str]:
    """Tensor to the type that it lies in memory as."""
    explicit = has_quantizers(fused)
    plain = {"fp32": "fp32", "fp16": "fp16", "int8": float_type}[precision]
    storage = {name: stated_type(fused.tensor(name)) for name in fused.graph.inputs}
    readers: dict[str, list[FusedLayer]] = {}
    for layer in fused.layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    takers = set() if explicit or precision != "int8" else _int8_takers(fused, readers)
    for layer in fused.layers:
        for name in layer.outputs:
            storage[name] = "fp16" if stated_type(fused.tensor(name)) == "fp16" else plain
            if explicit and name in fused.quantized and name not in fused.float_readers:
                storage[name] = "int8"
            elif id(layer) in takers:
                users = readers.get(name, [])
                apart = layer.kind == "product" and any(user.epilogue for user in users)
                if not apart and _wanted_in_int8(fused, users, takers):
                    storage[name] = "int8"
    return storage


def _int8_takers(fused: FusedGraph, readers: Mapping[str, Sequence[FusedLayer]]) -> set[int]:
    """Layers, by id, that an as-if conversion to int8 would give int8.

    Beside products with weights, those that lead to one: nobody quantises what is converted back.
    """
    takers: set[int] = set()
    for layer in reversed(fused.layers):
        behind = [user for name in layer.outputs for user in readers.get(name, [])]
        if _can_int8(fused, layer) and (
            layer.kind == "product" or _wanted_in_int8(fused, behind, takers)
        ):
            takers.add(id(layer))
    return takers


def _wanted_in_int8(fused: FusedGraph, users: Sequence[FusedLayer], takers: set[int]) -> bool:
    """Whether one of those who read a tensor takes int8, and none multiplies it in float."""
    products = [user for user in users if user.kind == "product"]
    return any(id(user) in takers for user in users) and all(
        _weight_of(fused, user.nodes[0]) is not None for user in products
    )


def _can_int8(fused: FusedGraph, layer: FusedLayer) -> bool:
    """Whether an as-if conversion to int8 would quantise the layer."""
    if layer.kind == "product":
        return _weight_of(fused, layer.nodes[0]) is not None
    if layer.kind == "pointwise":
        return set(layer.operators) <= POINTWISE - _FLOAT_ONLY
    return layer.kind in _INT8_KINDS


def _weight_of(fused: FusedGraph, node: GraphNode) -> GraphTensor | None:
    """The constant factor of a product."""
    for name in node.inputs[1:2] or ():
        tensor = fused.tensor(name)
        source = fused.tensor(fused.sources.get(name, name))
        if tensor.constant or source.constant:
            return tensor
    if node.op in ("MatMul", "Einsum") and fused.tensor(node.inputs[0]).constant:
        return fused.tensor(node.inputs[0])
    return None


def _math(
    fused: FusedGraph, layer: FusedLayer, precision: str, float_type: str, storage: dict[str, str]
) -> str:
    plain = {"fp32": "fp32", "fp16": "fp16", "int8": float_type}[precision]
    if stated_type(fused.tensor(layer.nodes[0].outputs[0])) == "fp16":
        plain = "fp16"
    if layer.kind != "product":
        kinds = {storage.get(name, plain) for name in layer.outputs}
        return "int8" if kinds == {"int8"} else plain
    if _weight_of(fused, layer.nodes[0]) is None:
        return plain
    if has_quantizers(fused):
        return "int8" if all(_through_quantizers(fused, layer.nodes[0])) else plain
    return "int8" if precision == "int8" else plain


def float_weights(fused: FusedGraph) -> list[str]:
    """Products whose activation comes through Q/DQ and whose weight does not: they stay float."""
    products = [layer for layer in fused.layers if layer.kind == "product"]
    weighted = [layer for layer in products if _weight_of(fused, layer.nodes[0]) is not None]
    return [
        layer.name
        for layer in weighted
        if _through_quantizers(fused, layer.nodes[0]) == (True, False)
    ]


def _through_quantizers(fused: FusedGraph, node: GraphNode) -> tuple[bool, bool]:
    """Whether a product's activation and its weight come through Q/DQ of eight bits.

    TensorRT multiplies in int8 only where both do ("Explicit Quantization" of its documentation).
    """
    types = fused.graph.dequantized
    names = node.inputs[:2]
    first = fused.tensor(names[0]).constant
    activation, weight = (names[1], names[0]) if first else (names[0], names[1])
    read = fused.sources.get(activation) in fused.quantized
    return read and types.get(activation) in EIGHT_BITS, types.get(weight) in EIGHT_BITS


def _work(fused: FusedGraph, layer: FusedLayer, math: str, conversions: Conversions) -> LayerWork:
    storage = conversions.storage
    inputs, outputs_stored = _stored(fused, layer, math)
    read = sum(
        tensor_bytes(fused.tensor(name), conversions.read_as(layer, name, math)) for name in inputs
    )
    written = sum(
        tensor_bytes(fused.tensor(name), storage.get(name, math)) for name in outputs_stored
    )
    outputs = [fused.tensor(name) for name in layer.outputs]
    work = LayerWork(
        name=layer.name,
        operators="+".join(layer.operators),
        kind="attention" if layer.attention and math != "fp32" else layer.kind,
        math=math,
        read_bytes=_read_bytes(layer, float(read), float(written)),
        write_bytes=float(written) + conversions.copied_bytes(layer),
        elements=float(sum(tensor.elements for tensor in outputs)),
        row_bytes=_row_bytes(outputs[0], storage.get(layer.outputs[0], math)),
        epilogue=layer.epilogue,
        launches=len(layer.outputs) if layer.kind == "slice" else 1,
        strided=any(_strides(fused, node) for node in layer.nodes),
    )
    if layer.kind == "product":
        return _with_product(fused, layer, work)
    return work


def _strides(fused: FusedGraph, node: GraphNode) -> bool:
    last = len(fused.tensor(node.outputs[0]).shape) - 1
    return node.op == "Softmax" and node.attributes.get("axis", -1) not in (-1, last)


def _stored(fused: FusedGraph, layer: FusedLayer, math: str) -> tuple[list[str], list[str]]:
    """Inputs and outputs that pass through memory: scores of fused attention do not.

    TensorRT has such kernels for half and 8-bit types, not for float32.
    """
    if math == "fp32":
        return layer.inputs, layer.outputs
    scores = {
        name
        for other in fused.layers
        if other.attention
        for name in (*other.scores, *other.outputs)
    }
    return (
        [name for name in layer.inputs if name not in scores],
        [name for name in layer.outputs if name not in scores],
    )


def _read_bytes(layer: FusedLayer, whole: float, written: float) -> float:
    """A slice or gather reads what it writes, not all that it is given."""
    partial = layer.kind == "slice" or layer.nodes[0].op.startswith("Gather")
    return min(whole, written) if partial else whole


def _with_product(fused: FusedGraph, layer: FusedLayer, work: LayerWork) -> LayerWork:
    node, parallel = layer.nodes[0], layer.parallel
    out = fused.tensor(node.outputs[0]).shape
    weight = _weight_of(fused, node)
    per_weight = BYTES[work.math]
    given = [fused.tensor(name).shape for name in node.inputs[:2]]
    shared = weight is not None and weight.name == node.inputs[1]
    m, n, k, groups = product_size(node, given[0], given[1], out, shared=shared)
    beside = [fused.tensor(other.inputs[1]) for other in parallel]
    n += sum(other.shape[0] for other in beside)
    weights = [*([weight] if weight else []), *beside]
    return replace(
        work,
        kind="depthwise" if groups > 1 and _one_channel(node, fused) else "product",
        m=float(m),
        n=float(n),
        k=float(k),
        groups=float(groups),
        weight_bytes=float(sum(tensor.elements for tensor in weights) * per_weight),
    )


def _one_channel(node: GraphNode, fused: FusedGraph) -> bool:
    """Whether each group of a convolution reads one channel, whatever it makes of it."""
    weight = fused.tensor(node.inputs[1]).shape
    if node.op == "ConvTranspose":  # (channels read, channels made by a group, height, width)
        return bool(weight[0] == node.attributes.get("group", 1))
    return node.op == "Conv" and weight[1] == 1


def _row_bytes(tensor: GraphTensor, kind: str) -> float:
    """Channels-last: bytes of one pixel or token."""
    channels = tensor.shape[1] if len(tensor.shape) == 4 else (tensor.shape or (1,))[-1]
    step = CHANNEL_STEP[kind]
    return float(-(-max(channels, 1) // step) * step * BYTES[kind])
