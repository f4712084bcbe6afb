"""Which nodes of a graph run as one kernel, as TensorRT would fuse them.

A convolution or matrix product takes the batch norm, bias, activation and residual sum behind it.
Pointwise operators, normalisations and softmax that follow one another become one kernel. Views
(Reshape, Squeeze, ...) and Q/DQ vanish. Convolutions of one input run side by side, and what stands
around a sorting takes few kernels. What cannot be fused is a kernel of its own. TensorRT's
documentation ("Types of Fusions") lists the first of these; the rest is what layer names of engines
of TensorRT 8.5 to 10.7 show, in public dumps. A SiLU behind a convolution is inside its kernel in
most of them, but not in all: such a layer is marked, and its cost is a fitted parameter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kd3d.profiling.prediction.equal_forms import in_one_form
from kd3d.profiling.prediction.fused_layer import FusedLayer
from kd3d.profiling.prediction.norm_fusion import join_norms
from kd3d.profiling.prediction.onnx_graph import GraphNode, GraphTensor, OnnxGraph
from kd3d.profiling.prediction.parallel_fusion import join_parallel
from kd3d.profiling.prediction.product_size import is_einsum_product
from kd3d.profiling.prediction.region_fusion import join_regions

VIEWS = frozenset(["Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"])
QUANTIZERS = frozenset(["QuantizeLinear", "DequantizeLinear"])
PRODUCTS = frozenset(["Conv", "ConvTranspose", "Gemm", "MatMul"])  # and Einsum, if it is one
_MATRIX = frozenset(["Gemm", "MatMul", "Einsum"])
# Inside a convolution's own epilogue in every precision.
_EPILOGUE = frozenset(["Relu", "Clip", "LeakyRelu", "BatchNormalization", "Add", "Sub", "PRelu"])
_IMAGE_CHANNELS = 4
_POINTWISE_OPERATORS = """
Abs And Atan Ceil Celu Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid
HardSwish IsInf IsNaN Less LessOrEqual Log Max Min Mish Mod Mul Neg Not Or Pow Reciprocal Round Selu
Sigmoid Sign Sin Softplus Softsign Sqrt Sum Swish Tan Tanh ThresholdedRelu Trilu Where Xor
"""
POINTWISE = _EPILOGUE | frozenset(_POINTWISE_OPERATORS.split())
_NORMALISER_OPERATORS = """
GroupNormalization InstanceNormalization LayerNormalization LogSoftmax LpNormalization
RMSNormalization ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Softmax
"""
_NORMALISERS = frozenset(_NORMALISER_OPERATORS.split())
_KINDS = {
    "pool": ["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LRN"],
    "resize": ["Resize", "Upsample"],
    "sample": ["GridSample", "RoiAlign"],  # not in INT8
    "concat": ["Concat"],
    "slice": ["Slice", "Split"],
    "copy": [
        *["Transpose", "Pad", "Expand", "Tile", "Gather", "GatherElements", "GatherND"],
        *["ScatterND", "ScatterElements", "DepthToSpace", "SpaceToDepth", "ConstantOfShape"],
        *["ReverseSequence", "Range", "EyeLike", "OneHot"],
    ],
    "sort": ["TopK", "NonMaxSuppression", "NonZero", "ArgMax", "ArgMin", "Unique", "CumSum"],
}
_KIND_OF = {op: kind for kind, ops in _KINDS.items() for op in ops}


@dataclass(frozen=True)
class FusedGraph:
    """Layers in an order that runs.

    Attributes:
        graph: they were made from.
        layers: kernels.
        sources: tensor's name to the tensor that holds its data, through views and Q/DQ.
        quantized: sources that a QuantizeLinear or DequantizeLinear stands on.
        float_readers: sources that some layer reads without Q/DQ between.
        unknown: operators that no rule covers.
    """

    graph: OnnxGraph
    layers: tuple[FusedLayer, ...]
    sources: dict[str, str]
    quantized: frozenset[str]
    float_readers: frozenset[str]
    unknown: tuple[str, ...]

    def tensor(self, name: str) -> GraphTensor:
        """The tensor of that name."""
        return self.graph.tensors[name]


def fuse(graph: OnnxGraph) -> FusedGraph:
    """Groups the nodes into kernels."""
    graph = in_one_form(join_norms(graph), POINTWISE)
    sources, quantized, plain = _follow_views(graph)
    working = [node for node in graph.nodes if not _is_view(graph, node)]
    layers = _cluster(graph, working, sources)
    _connect(graph, layers, sources)
    layers = join_regions(layers)
    _connect(graph, layers, sources)
    results = frozenset(sources.get(name, name) for name in graph.outputs)
    layers = join_parallel(graph, _join_epilogues(graph, layers, results))
    _mark_transposes(layers)
    _mark_attention(graph, layers, sources)
    unknown = sorted({layer.nodes[0].op for layer in layers if layer.kind == "unknown"})
    return FusedGraph(graph, tuple(layers), sources, quantized, plain, tuple(unknown))


def _is_view(graph: OnnxGraph, node: GraphNode) -> bool:
    if node.op == "Transpose":  # only axes of size 1 change places
        return _moves_nothing(graph, node)
    return node.op in VIEWS or node.op in QUANTIZERS


def _moves_nothing(graph: OnnxGraph, node: GraphNode) -> bool:
    shape = graph.tensors[node.inputs[0]].shape
    order = node.attributes.get("perm") or list(range(len(shape)))[::-1]
    real = [axis for axis in order if axis < len(shape) and shape[axis] != 1]
    return real == sorted(real)


def _follow_views(graph: OnnxGraph) -> tuple[dict[str, str], frozenset[str], frozenset[str]]:
    sources: dict[str, str] = {}
    through_q: set[str] = set()  # tensors that are a Q/DQ's output
    quantized: set[str] = set()
    plain: set[str] = set()
    for node in graph.nodes:
        if _is_view(graph, node):
            source = sources.get(node.inputs[0], node.inputs[0])
            for name in node.outputs:
                sources[name] = source
            if node.op in QUANTIZERS or node.inputs[0] in through_q:
                through_q.update(node.outputs)
                quantized.add(source)
            continue
        for name in node.inputs:
            if name and name not in through_q:
                plain.add(sources.get(name, name))
    plain.update(sources.get(name, name) for name in graph.outputs if name not in through_q)
    return sources, frozenset(quantized), frozenset(plain)


def _kind(graph: OnnxGraph, node: GraphNode) -> str:
    if node.op in PRODUCTS:
        return "product"
    if node.op in POINTWISE or node.op in _NORMALISERS:
        return "pointwise"
    if node.op == "Einsum" and len(node.inputs) <= 2:
        one = len(node.inputs) == 1  # axes that change places or are summed over
        return "copy" if one else "product" if is_einsum_product(node) else "pointwise"
    if node.op == "Gather" and _takes_one(graph, node):
        return "slice"
    return _KIND_OF.get(node.op, "unknown")


def _takes_one(graph: OnnxGraph, node: GraphNode) -> bool:
    """Whether a Gather is a slice: of one place, as qkv[:, 0] is exported."""
    index = graph.tensors[node.inputs[1]]
    return index.constant and index.elements == 1


def _cluster(
    graph: OnnxGraph, nodes: Sequence[GraphNode], sources: dict[str, str]
) -> list[FusedLayer]:
    """One layer a node, but pointwise neighbours in one, as long as that makes no cycle."""
    layers: list[FusedLayer] = []
    home: dict[str, int] = {}  # tensor to the layer that writes it
    before: list[int] = []  # bit set of the layers that a layer waits for
    for node in nodes:
        read = _activations(graph, node, sources)
        homes = {home[name] for name in read if name in home}
        kind = _kind(graph, node)
        place = None
        if kind == "pointwise":
            place = _partner(graph, node, layers, homes, before)
        if place is None:
            place = len(layers)
            layers.append(FusedLayer(kind, []))
            before.append(0)
        layers[place].nodes.append(node)
        for other in homes - {place}:
            before[place] |= before[other] | 1 << other
        for name in node.outputs:
            home[name] = place
    return _in_running_order(layers, before)


def _partner(
    graph: OnnxGraph,
    node: GraphNode,
    layers: Sequence[FusedLayer],
    homes: Iterable[int],
    before: Sequence[int],
) -> int | None:
    """The pointwise layer that the node can join: the latest one that nothing else waits on."""
    elements = _widest(graph, node)
    homes = list(homes)
    for place in sorted(homes, reverse=True):
        layer = layers[place]
        if layer.kind != "pointwise" or _widest(graph, layer.nodes[0]) != elements:
            continue
        others = [other for other in homes if other != place]
        if not any(before[other] >> place & 1 for other in others):
            return place
    return None


def _widest(graph: OnnxGraph, node: GraphNode) -> int:
    names = [name for name in (*node.inputs, *node.outputs) if name]
    return max(graph.tensors[name].elements for name in names)


def _in_running_order(layers: list[FusedLayer], before: list[int]) -> list[FusedLayer]:
    """A joined node may wait for layers made after its partner: sort by what each waits for."""
    depth = sorted(range(len(layers)), key=lambda place: (bin(before[place]).count("1"), place))
    return [layers[place] for place in depth]


def _activations(graph: OnnxGraph, node: GraphNode, sources: dict[str, str]) -> list[str]:
    found = []
    for name in node.inputs:
        if not name:
            continue
        source = sources.get(name, name)
        tensor = graph.tensors[source]
        if not tensor.constant:
            found.append(source)
    return list(dict.fromkeys(found))


def _connect(graph: OnnxGraph, layers: Sequence[FusedLayer], sources: dict[str, str]) -> None:
    """Fills inputs and outputs of each layer."""
    readers: dict[str, set[int]] = {}
    for place, layer in enumerate(layers):
        own = {name for node in layer.nodes for name in node.outputs}
        read = [name for node in layer.nodes for name in _activations(graph, node, sources)]
        layer.inputs = [name for name in dict.fromkeys(read) if name not in own]
        for name in layer.inputs:
            readers.setdefault(name, set()).add(place)
    results = {sources.get(name, name) for name in graph.outputs}
    for layer in layers:
        made = [name for node in layer.nodes for name in node.outputs]
        kept = [name for name in made if name in readers or name in results]
        layer.outputs = kept or made[-1:]


def _mark_transposes(layers: Sequence[FusedLayer]) -> None:
    """A transposition beside a matrix product may be part of how the product reads or writes."""
    products = [
        layer for layer in layers if layer.nodes[0].op in _MATRIX and layer.kind == "product"
    ]
    touched = {name for layer in products for name in (*layer.inputs, *layer.outputs)}
    for layer in layers:
        if layer.nodes[0].op == "Transpose" and touched & {*layer.inputs, *layer.outputs}:
            layer.kind = "transpose"


def _mark_attention(
    graph: OnnxGraph, layers: Sequence[FusedLayer], sources: dict[str, str]
) -> None:
    """Scores between two matrix products need not be stored where one kernel does all three."""
    writer = {name: layer for layer in layers for name in layer.outputs}
    reader = {name: layer for layer in layers for name in layer.inputs}
    for layer in layers:
        if "Softmax" not in layer.operators:
            continue
        behind = [reader[name] for name in layer.outputs if name in reader]
        if any(_of_activations(graph, other, sources) for other in behind):
            layer.scores = [
                name
                for name in layer.inputs
                if name in writer and _of_activations(graph, writer[name], sources)
            ]


def _of_activations(graph: OnnxGraph, layer: FusedLayer, sources: dict[str, str]) -> bool:
    """Whether the layer is a matrix product without a weight; a residual sum in it is none."""
    node = layer.nodes[0]
    names = [sources.get(name, name) for name in node.inputs[:2]]
    matrix = layer.kind == "product" and node.op in ("MatMul", "Einsum")
    return matrix and not any(graph.tensors[name].constant for name in names)


def _join_epilogues(
    graph: OnnxGraph, layers: list[FusedLayer], results: frozenset[str]
) -> list[FusedLayer]:
    """Pointwise layers that a product alone feeds: inside it, or marked as its epilogue.

    A product that is a result of the graph, too, has to be written: what follows stays apart.
    """
    writer = {name: layer for layer in layers for name in layer.outputs}
    readers: dict[str, list[FusedLayer]] = {}
    for layer in layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    swallowed: set[int] = set()
    for layer in layers:
        if layer.kind != "pointwise":
            continue
        products = [
            name
            for name in layer.inputs
            if writer.get(name) is not None
            and writer[name].kind == "product"
            and len(readers[name]) == 1
            and name not in results
            and id(layer) not in swallowed
        ]
        if not products:
            continue
        name = products[-1]
        product = writer[name]
        if set(layer.operators) <= _EPILOGUE and len(layer.inputs) <= 2 and not product.epilogue:
            product.nodes += layer.nodes
            product.inputs += [other for other in layer.inputs if other != name]
            product.outputs = layer.outputs
            swallowed.add(id(layer))
            for other in layer.outputs:
                writer[other] = product
        else:
            layer.epilogue = _may_take(graph, product, layer)
    return [layer for layer in layers if id(layer) not in swallowed]


def _may_take(graph: OnnxGraph, product: FusedLayer, layer: FusedLayer) -> bool:
    """Whether a convolution's kernel can end with the layer: SiLU and the like, in tensor cores.

    Not so in a first layer of three channels nor in a depthwise convolution, whose kernels are of
    another kind, and not behind a matrix product.
    """
    node = product.nodes[0]
    if node.op not in ("Conv", "ConvTranspose") or not set(layer.operators) <= POINTWISE:
        return False
    channels = graph.tensors[node.inputs[0]].shape[1]
    return channels > _IMAGE_CHANNELS and node.attributes.get("group", 1) < channels
