"""One kernel's work: operations and bytes, and what a tensor weighs in memory."""

from dataclasses import dataclass, replace

from kd3d.profiling.prediction.onnx_graph import GraphTensor

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
# Channels-last formats pad the channels to this many, so thin layers move more than they hold.
CHANNEL_STEP = {"fp32": 4, "fp16": 8, "int8": 32}
_THIN = 4  # images have formats of their own: four channels
_INTEGER_BYTES = 4  # TensorRT keeps indices in 32 bits
_BYTE_TYPES = frozenset(["uint8", "int8", "bool"])  # images, quantised numbers, masks


@dataclass(frozen=True)
class LayerWork:
    """One kernel's work.

    Attributes:
        name: of the layer.
        operators: in it, joined by "+".
        kind: as in FusedLayer, and "depthwise", "reformat", "attention" (a softmax inside the
            kernel of the products around it: only its arithmetic counts).
        math: "fp32" (TF32 in products), "fp16" or "int8".
        m, n, k: of the (implicit) matrix product of each group; 0 for other kinds.
        groups: products of that size.
        read_bytes, write_bytes: of activations; weight_bytes: of weights.
        elements: that the kernel writes.
        row_bytes: of what lies together of a pixel (all channels) in the output.
        epilogue: a pointwise layer right behind a product.
        apart_bytes: of a product, what it writes more when its epilogue is a kernel apart: the
            intermediate tensor lies in float even in int8.
        launches: kernels that it takes: one for each input of a concatenation that is copied, and
            for each part of a split, which TensorRT's parser makes a slice.
        strided: holds a softmax over an axis that is not the last.
    """

    name: str
    operators: str
    kind: str
    math: str
    m: float = 0
    n: float = 0
    k: float = 0
    groups: float = 1
    read_bytes: float = 0
    weight_bytes: float = 0
    write_bytes: float = 0
    elements: float = 0
    row_bytes: float = 1024
    epilogue: bool = False
    apart_bytes: float = 0
    launches: float = 1
    strided: bool = False

    @property
    def operations(self) -> float:
        """Multiplications and additions of products: 2 m n k groups."""
        return 2.0 * self.m * self.n * self.k * self.groups

    def scaled(self, ratio: float) -> "LayerWork":
        """The work of ``ratio`` times as many images; weights stay."""
        if ratio == 1:
            return self
        per_head = self.kind == "product" and self.weight_bytes == 0
        return replace(
            self,
            m=self.m if per_head else self.m * ratio,
            groups=self.groups * ratio if per_head else self.groups,
            read_bytes=self.read_bytes * ratio,
            write_bytes=self.write_bytes * ratio,
            elements=self.elements * ratio,
            apart_bytes=self.apart_bytes * ratio,
        )


def tensor_bytes(tensor: GraphTensor, kind: str, pad: bool = True) -> float:
    """Of the whole tensor; channels are padded as TensorRT pads them, unless ``pad`` is off."""
    if not is_float(tensor):
        return float(tensor.elements * (1 if tensor.dtype in _BYTE_TYPES else _INTEGER_BYTES))
    elements = float(tensor.elements)
    if pad and is_map(tensor):
        channels = tensor.shape[1]
        step = min(CHANNEL_STEP[kind], _THIN) if channels <= _THIN else CHANNEL_STEP[kind]
        if channels:
            elements *= -(-channels // step) * step / channels
    return elements * BYTES[kind]


def is_map(tensor: GraphTensor) -> bool:
    """Whether its channels lie in rows, or last, as a kernel wants them: (B, C, H, W)."""
    return len(tensor.shape) == 4 and tensor.shape[2] * tensor.shape[3] > 1


def stated_type(tensor: GraphTensor) -> str:
    """As the file types it: "fp16" or "fp32"."""
    return "fp16" if tensor.dtype in ("float16", "bfloat16") else "fp32"


def is_float(tensor: GraphTensor) -> bool:
    """Whether it holds numbers, not indices."""
    return "float" in tensor.dtype
